"use strict";
// What the sections of a page share: elements, tables whose cells hold a number and a bar, and the choice of light or
// dark. No names from the data are ever read as HTML.
const widgets = (() => {
  const FEW = 12; // up to so many classes are all shown
  const TOP = 8; // of more classes, those that the teacher thinks likeliest
  const { softmax, gradient, argmax, roundUp, short, plain, signed } = numbers;
  const byId = (id) => document.getElementById(id);

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  const options = (select, entries) => select.append(...entries.map(([value, text]) => element("option", { value }, text)));
  const fixed = (words) => words.replaceAll(" = ", "\u00a0=\u00a0"); // not to be broken there
  /** Write a text where it is another: what stays the same costs no layout. */
  function write(place, text) {
    if (place.textContent !== text) place.textContent = text;
  }

  const on = (id, type, act) => byId(id).addEventListener(type, (event) => act(event.target, event));

  // ---- tables of bars. A column is a network {name, kind, z}, z its logits; the first one is the teacher

  const tables = {}; // by id: what it shows, and its cells

  /** The rows of the tables: single classes, and perhaps all others in one. */
  function groups(classes, columns, label, all) {
    const every = classes.map((name, k) => ({ name, members: [k] }));
    if (classes.length <= FEW || all) return every;
    const order = every.map((_, k) => k).sort((a, b) => columns[0].z[b] - columns[0].z[a]);
    const kept = new Set([...order.slice(0, TOP), ...(label === null ? [] : [label])]);
    for (const { z } of columns) kept.add(argmax(z));
    const rest = order.filter((k) => !kept.has(k));
    return [...order.filter((k) => kept.has(k)).map((k) => every[k]), { name: `${rest.length} others`, members: rest }];
  }

  /** An empty table with bars: `columns` are {name, formula, kind}, `rows` are groups of classes. */
  function build(id, caption, columns, rows, label, signs) {
    const head = columns.map(({ name, formula, kind }) =>
      element("th", { scope: "col", class: kind }, name, ...(formula ? [element("small", {}, formula)] : [])),
    );
    const cells = rows.map(() =>
      columns.map(({ kind }) => {
        const number = element("data", {});
        const bar = element("i", {});
        const track = element("span", { class: signs ? "track signs" : "track", "aria-hidden": "true" }, bar);
        return { number, bar, cell: element("td", { class: kind }, element("div", {}, number, track)) };
      }),
    );
    const body = rows.map(({ name, members }, r) => {
      const isLabel = members.length === 1 && members[0] === label;
      const words = isLabel ? [name, element("b", {}, "label")] : [name];
      const row = element("tr", isLabel ? { class: "truth" } : {}, element("th", { scope: "row" }, ...words));
      row.append(...cells[r].map(({ cell }) => cell));
      return row;
    });
    const title = element("caption");
    byId(id).replaceChildren(
      element("table", { class: "bars" }, title, element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "class"), ...head)), element("tbody", {}, ...body)),
    );
    title.textContent = caption;
    return { cells, title };
  }

  /** The table `id`, built anew only where its rows or columns are others. */
  function table(id, caption, columns, rows, label, signs) {
    const key = JSON.stringify([columns, rows, label]);
    if (!tables[id] || tables[id].key !== key) tables[id] = { key, ...build(id, caption, columns, rows, label, signs) };
    write(tables[id].title, caption);
    return tables[id].cells;
  }

  /** Write one number, and draw its bar from `from` to `from + size`, in shares of the track. */
  function set({ number, bar }, value, text, from, size) {
    number.value = String(value);
    write(number, text);
    bar.style.left = `${100 * from}%`;
    bar.style.width = `${100 * size}%`;
  }

  const together = (values, { members }) => members.reduce((sum, k) => sum + values[k], 0);

  /** The probabilities of each network, softened by T; an empty table where the networks were shown nothing (no z). */
  function probabilities(id, title, columns, rows, label, T) {
    const heads = columns.map(({ name, kind }) => ({ name, kind }));
    const cells = table(id, fixed(`${title}, at T = ${short(T)}`), heads, rows, label, false);
    columns.forEach(({ z }, c) => {
      const p = z && softmax(z, T);
      const top = z && argmax(p);
      rows.forEach((row, r) => {
        const value = p ? together(p, row) : 0;
        set(cells[r][c], value, p ? plain(value) : "", 0, value);
        cells[r][c].cell.classList.toggle("top", row.members.includes(top));
      });
    });
  }

  /** The gradient on the logits of a student, by its parts; without a label (null) the teacher's part alone. */
  function slopes(id, student, teacher, rows, label, T, w) {
    const parts = student.z ? gradient(student.z, label, teacher.z, T, w) : [[], [], []];
    const values = parts.map((part) => rows.map((row) => together(part, row) || 0));
    const columns = [
      { name: "from the label", formula: "(1\u00a0−\u00a0w) (p\u00a0−\u00a0y)", kind: "label" },
      { name: "from the teacher", formula: "w\u00a0T (pᵀ\u00a0−\u00a0qᵀ)", kind: "teacher" },
      { name: "together", formula: "dz", kind: "sum" },
    ];
    const shown = label === null ? [1] : [0, 1, 2];
    const end = roundUp(Math.max(...shown.flatMap((c) => values[c]).map(Math.abs)));
    const title = `Gradient on the logits of “${student.name}”: bars from −${short(end)} to ${short(end)}`;
    const cells = table(id, title, shown.map((c) => columns[c]), rows, label, true);
    shown.forEach((which, c) =>
      values[which].forEach((value, r) => {
        const size = Math.abs(value) / end / 2;
        set(cells[r][c], value, student.z ? signed(value) : "", value < 0 ? 0.5 - size : 0.5, size);
      }),
    );
  }

  /** The factors of the gradient's two parts, as a formula with numbers. */
  const formula = (T, w) => `= ${(1 - w).toFixed(2)} (p − y) + ${(w * T).toFixed(2)} (pᵀ − qᵀ)`;

  /** What each network thinks in words, its two likeliest classes. */
  function opinions(classes, columns, T) {
    const said = columns.map(({ name, z }) => {
      const p = softmax(z, T);
      const [first, second] = [...p.keys()].sort((a, b) => p[b] - p[a]);
      return `${name}: ${classes[first]} ${p[first].toFixed(2)}, ${classes[second]} ${p[second].toFixed(2)}`;
    });
    return `${said.join("; ")}.`;
  }

  // ---- the page

  /** Announce changes to screen readers in the element `id`, once, after a pause; `words` makes the text then. */
  function announcer(id) {
    let later;
    const cancel = () => clearTimeout(later);
    const announce = (words) => {
      cancel();
      later = setTimeout(() => { byId(id).textContent = words(); }, 700);
    };
    return { announce, cancel };
  }

  function scheme() {
    const button = byId("scheme");
    const wish = matchMedia("(prefers-color-scheme: dark)");
    const show = () => button.setAttribute("aria-pressed", (document.documentElement.dataset.scheme || (wish.matches ? "dark" : "light")) === "dark");
    button.addEventListener("click", () => {
      document.documentElement.dataset.scheme = button.getAttribute("aria-pressed") === "true" ? "light" : "dark";
      show();
    });
    wish.addEventListener("change", show);
    show();
  }

  /** How wide the names of classes are in the tables. */
  function nameWidth(classes) {
    const longest = Math.max(...classes.map(({ length }) => length));
    document.documentElement.style.setProperty("--name", `${Math.min(longest, 12)}ch`);
  }

  scheme();
  return { FEW, byId, element, options, fixed, write, on, groups, probabilities, slopes, formula, opinions, announcer, nameWidth };
})();
