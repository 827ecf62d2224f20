"use strict";
// The explorer of the report. It computes what minikd computes, softmax and the gradient of distillation_loss, on the
// logits in the page, and draws them as tables whose cells hold a number and a bar. No names from the data are ever
// read as HTML.
(() => {
  const MOST = 80; // samples in the strip
  const FEW = 12; // up to so many classes are all shown
  const TOP = 8; // of more classes, those that the teacher thinks likeliest

  const { bytes, floats, softmax, gradient, argmax, roundUp, short, plain, signed } = numbers;
  const byId = (id) => document.getElementById(id);
  const page = JSON.parse(byId("numbers").textContent);
  const K = page.classes.length;

  const networks = page.networks.map((network) => ({ ...network, logits: floats(network.logits) }));
  const teacher = networks[0];
  const pixels = page.pixels && bytes(page.pixels);
  const logits = (network, sample) => network.logits.subarray(K * sample, K * (sample + 1));
  const onLabels = networks.find(({ kind }) => kind === "labels");
  // The best method of a comparison, or else the last student.
  const student = networks.find(({ always }) => !always) || networks[networks.length - 1];
  const state = { sample: 0, T: page.temperature, w: page.softWeight, student, all: false };

  // ---- words and elements

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  const options = (select, entries) => select.append(...entries.map(([value, text]) => element("option", { value }, text)));
  const fixed = (words) => words.replaceAll(" = ", "\u00a0=\u00a0"); // not to be broken there
  const nameOf = (sample) => `Test ${page.noun} ${page.index[sample]}`;

  /** The picture of a sample: its ink alone, dark on a light page and, by the style sheet, light on a dark one. */
  function picture(sample) {
    const [height, width] = page.shape;
    const canvas = element("canvas", { width, height });
    const image = canvas.getContext("2d").createImageData(width, height);
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        // Of a sound, row 0 is the lowest pitch, which belongs at the bottom.
        const from = (page.sounds ? height - 1 - row : row) * width + column;
        image.data[4 * (row * width + column) + 3] = pixels[sample * width * height + from];
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  /** The sample as one looks at it: picture, or text. */
  const look = (sample) => (page.texts ? element("q", {}, page.texts[sample]) : pixels ? picture(sample) : page.index[sample]);

  // ---- which sample

  const cards = new Map(); // sample -> its card in the strip

  function card(sample) {
    if (!cards.has(sample)) {
      const radio = element("input", { type: "radio", name: "sample", value: sample });
      radio.addEventListener("change", () => pick(sample));
      const label = element("label", { class: "card" }, radio, look(sample), element("span"));
      cards.set(sample, { radio, label, number: label.lastChild });
    }
    return cards.get(sample);
  }

  /** How strongly the teacher leans, at T, from a sample's label to class `to`, or to any other class (-1). */
  function leaning(sample, to) {
    const q = softmax(logits(teacher, sample), state.T);
    return to < 0 ? 1 - q[page.labels[sample]] : q[to];
  }

  /** Fill the strip: samples of the one class, ordered by how strongly the teacher leans to the other. */
  function rank() {
    const [is, to] = [Number(byId("is").value), Number(byId("for").value)];
    const ranked = page.labels
      .map((label, sample) => ({ label, sample }))
      .filter(({ label }) => (is < 0 || label === is) && label !== to)
      .map(({ label, sample }) => ({ label, sample, value: leaning(sample, to) }))
      .sort((a, b) => b.value - a.value);
    const some = ranked.filter(({ sample }, place) => place < MOST || sample === state.sample);
    for (const { label, sample, value } of some) {
      const { radio, number } = card(sample);
      number.textContent = plain(value);
      radio.setAttribute("aria-label", `${nameOf(sample)}, ${page.classes[label]}, ${plain(value)}`);
    }
    byId("strip").replaceChildren(...some.map(({ sample }) => card(sample).label));
    const what = to < 0 ? "any other class" : page.classes[to];
    const count = some.length < ranked.length ? `the first ${some.length} of ${ranked.length}` : `all ${ranked.length}`;
    byId("order").textContent = ranked.length
      ? fixed(`Sorted by the teacher's probability of ${what} at T = ${short(state.T)}: `) + count
      : "There are none: choose two different classes";
    return some.map(({ sample }) => sample);
  }

  /** After other classes were chosen: a new strip, and its first sample. */
  function choose() {
    const samples = rank();
    byId("strip").scrollLeft = 0;
    if (samples.length) pick(samples[0]);
  }

  function pick(sample) {
    state.sample = sample;
    card(sample).radio.checked = true;
    byId("sample-name").textContent = `${nameOf(sample)}: ${page.classes[page.labels[sample]]}`;
    const parts = [look(sample)];
    if (page.sounds) {
      const src = `data:audio/wav;base64,${page.sounds[sample]}`;
      parts.push(element("audio", { controls: "", src, "aria-label": `Recording: ${page.classes[page.labels[sample]]}` }));
    }
    byId("sample").replaceChildren(...parts);
    draw();
  }

  // ---- tables of bars

  const tables = {}; // by id: what it shows, and its cells

  /** The rows of the tables: single classes, and perhaps all others in one. */
  function groups(columns) {
    const every = page.classes.map((name, k) => ({ name, members: [k] }));
    if (K <= FEW || state.all) return every;
    const v = logits(teacher, state.sample);
    const order = every.map((_, k) => k).sort((a, b) => v[b] - v[a]);
    const kept = new Set([...order.slice(0, TOP), page.labels[state.sample]]);
    for (const network of columns) kept.add(argmax(logits(network, state.sample)));
    const rest = order.filter((k) => !kept.has(k));
    return [...order.filter((k) => kept.has(k)).map((k) => every[k]), { name: `${rest.length} others`, members: rest }];
  }

  /** An empty table with bars: `columns` are {name, formula, kind}, `rows` are groups of classes. */
  function build(id, caption, columns, rows, signs) {
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
      const isLabel = members.length === 1 && members[0] === page.labels[state.sample];
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
  function table(id, caption, columns, rows, signs) {
    const key = JSON.stringify([columns, rows, page.labels[state.sample]]);
    if (!tables[id] || tables[id].key !== key) tables[id] = { key, ...build(id, caption, columns, rows, signs) };
    tables[id].title.textContent = caption;
    return tables[id].cells;
  }

  /** Write one number, and draw its bar from `from` to `from + size`, in shares of the track. */
  function set({ number, bar }, value, text, from, size) {
    number.value = String(value);
    number.textContent = text;
    bar.style.left = `${100 * from}%`;
    bar.style.width = `${100 * size}%`;
  }

  const together = (values, { members }) => members.reduce((sum, k) => sum + values[k], 0);

  function drawProbabilities(columns, rows) {
    const heads = columns.map(({ name, kind }) => ({ name, kind }));
    const cells = table("probabilities", fixed(`What each network thinks, at T = ${short(state.T)}`), heads, rows, false);
    columns.forEach((network, c) => {
      const p = softmax(logits(network, state.sample), state.T);
      const values = rows.map((row) => together(p, row));
      const top = argmax(p);
      rows.forEach((row, r) => {
        set(cells[r][c], values[r], plain(values[r]), 0, values[r]);
        cells[r][c].cell.classList.toggle("top", row.members.includes(top));
      });
    });
  }

  function drawSlopes(rows) {
    const { student, sample, T, w } = state;
    const parts = gradient(logits(student, sample), page.labels[sample], logits(teacher, sample), T, w);
    const values = parts.map((part) => rows.map((row) => together(part, row)));
    const end = roundUp(Math.max(...values.flat().map(Math.abs)));
    const columns = [
      { name: "from the label", formula: "(1\u00a0−\u00a0w) (p\u00a0−\u00a0y)", kind: "label" },
      { name: "from the teacher", formula: "w\u00a0T (pᵀ\u00a0−\u00a0qᵀ)", kind: "teacher" },
      { name: "together", formula: "dz", kind: "sum" },
    ];
    const cells = table("slopes", `What the student “${student.name}” would feel: bars from −${short(end)} to ${short(end)}`, columns, rows, true);
    values.forEach((column, c) =>
      column.forEach((value, r) => {
        const size = Math.abs(value) / end / 2;
        set(cells[r][c], value, signed(value), value < 0 ? 0.5 - size : 0.5, size);
      }),
    );
    const [p, soft] = [1 - w, w * T].map((factor) => factor.toFixed(2));
    byId("formula").textContent = `= ${p} (p − y) + ${soft} (pᵀ − qᵀ)`;
  }

  // ---- all together

  let later; // what changed is told once, after a rest

  function tell(columns) {
    clearTimeout(later);
    later = setTimeout(() => {
      const said = columns.map((network) => {
        const p = softmax(logits(network, state.sample), state.T);
        const [first, second] = [...p.keys()].sort((a, b) => p[b] - p[a]);
        return `${network.name}: ${page.classes[first]} ${p[first].toFixed(2)}, ${page.classes[second]} ${p[second].toFixed(2)}`;
      });
      byId("news").textContent = `${nameOf(state.sample)}, temperature ${short(state.T)}. ${said.join("; ")}.`;
    }, 700);
  }

  function draw() {
    const columns = networks.filter((network) => network.always || network === state.student);
    const rows = groups(columns);
    drawProbabilities(columns, rows);
    drawSlopes(rows);
    const chosen = columns.map((network) => `${network.name} ${page.classes[argmax(logits(network, state.sample))]}`);
    byId("opinions").textContent = `Taken for: ${chosen.join(", ")}`;
    byId("temperature-value").textContent = short(state.T);
    byId("temperature").setAttribute("aria-valuetext", short(state.T));
    byId("weight-value").textContent = state.w.toFixed(2);
    byId("weight").setAttribute("aria-valuetext", state.w.toFixed(2));
    tell(columns);
  }

  function reset() {
    state.T = page.temperature;
    state.w = page.softWeight;
    byId("temperature").value = Math.log2(state.T);
    byId("weight").value = state.w;
    rank();
    draw();
  }

  /** How much a sample shows at once: best, teacher and student are right and the student on labels alone is wrong. */
  function interest(sample) {
    const isRight = (network) => argmax(logits(network, sample)) === page.labels[sample];
    if (!onLabels || argmax(logits(teacher, sample)) === argmax(logits(onLabels, sample))) return 0;
    return !isRight(teacher) ? 1 : !isRight(student) ? 2 : 3;
  }

  /** Begin with the most interesting sample, and of several with the one that the teacher doubts most. */
  function start() {
    const doubt = (sample) => interest(sample) + leaning(sample, -1);
    const sample = argmax(page.labels.map((_, each) => doubt(each)));
    const label = page.labels[sample];
    const q = [...softmax(logits(teacher, sample), state.T)];
    q[label] = -1;
    const wrong = onLabels ? argmax(logits(onLabels, sample)) : label;
    byId("is").value = label;
    byId("for").value = wrong === label ? argmax(q) : wrong;
    state.sample = sample;
    rank();
    pick(sample);
    const [strip, chosen] = [byId("strip"), card(sample).label].map((e) => e.getBoundingClientRect().left);
    byId("strip").scrollLeft += chosen - strip - 6;
  }

  function colours() {
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

  const longest = Math.max(...page.classes.map(({ length }) => length));
  document.documentElement.style.setProperty("--name", `${Math.min(longest, 12)}ch`);
  const named = page.classes.map((name, k) => [k, name]);
  options(byId("is"), [[-1, "any class"], ...named]);
  options(byId("for"), [[-1, "any other class"], ...named]);
  options(byId("student"), networks.slice(1).map(({ name }, n) => [n + 1, name]));
  byId("student").value = networks.indexOf(state.student);
  byId("all-control").hidden = K <= FEW;
  byId("reset").textContent = `Back to T = ${short(page.temperature)}, w = ${short(page.softWeight)}`;

  const on = (id, type, act) => byId(id).addEventListener(type, (event) => act(event.target));
  on("is", "change", choose);
  on("for", "change", choose);
  on("temperature", "input", (slider) => { state.T = 2 ** slider.valueAsNumber; rank(); draw(); });
  on("weight", "input", (slider) => { state.w = slider.valueAsNumber; draw(); });
  on("student", "change", (select) => { state.student = networks[select.value]; draw(); });
  on("all", "change", (box) => { state.all = box.checked; draw(); });
  on("reset", "click", reset);
  colours();
  start();
  reset();
})();
