"use strict";
// Draw your own: a drawing is prepared as the images of the data set were, and teacher and students answer at once.
// The ink is a bitmap of its own, of the same size on every screen, so that a drawing means the same everywhere.
(() => {
  const SIDE = 224; // of the bitmap, in its pixels: 8 for one of MNIST's, 7 for one of the digits' bitmaps of 32×32
  const PEN = 8; // radius of the pen
  const STEP = 4; // of the keyboard's pen

  const { unpacked, argmax, short } = numbers;
  const { byId, options, write, on, groups, probabilities, slopes, formula, opinions, announcer, nameWidth } = widgets;
  const page = JSON.parse(byId("own").textContent);
  const [height, width] = page.shape;
  const pixels = unpacked(page.pixels);
  const networks = page.networks.map((network) => ({ ...network, forward: forward.network(network) }));
  const canvas = byId("canvas");
  const context = canvas.getContext("2d");

  // The content is a test image (or none, null) and strokes upon it, each a list of points [x, y] on the bitmap.
  let content = { image: null, strokes: [] };
  const undone = []; // what it was before
  const ink = new Uint8Array(SIDE * SIDE); // 0 is paper, 255 is ink
  const state = { label: null, T: page.temperature, w: page.softWeight, student: networks[networks.length - 1] };
  let turn = 0; // of the test images

  // ---- ink

  /** Put a line into the bitmap, all that is nearer to it than the pen's radius; its edge is a pixel soft. */
  function line([x0, y0], [x1, y1]) {
    const reach = PEN + 1;
    const [left, right] = [Math.min(x0, x1) - reach, Math.max(x0, x1) + reach].map((x) => Math.min(SIDE, Math.max(0, Math.floor(x))));
    const [top, bottom] = [Math.min(y0, y1) - reach, Math.max(y0, y1) + reach].map((y) => Math.min(SIDE, Math.max(0, Math.floor(y))));
    const [dx, dy] = [x1 - x0, y1 - y0];
    const squared = dx * dx + dy * dy || 1;
    for (let row = top; row < bottom; row += 1) {
      for (let column = left; column < right; column += 1) {
        const [x, y] = [column + 0.5 - x0, row + 0.5 - y0];
        const along = Math.min(1, Math.max(0, (x * dx + y * dy) / squared));
        const far = Math.hypot(x - along * dx, y - along * dy);
        const value = Math.round(255 * Math.min(1, Math.max(0, PEN + 0.5 - far)));
        if (value > ink[row * SIDE + column]) ink[row * SIDE + column] = value;
      }
    }
  }

  /** A test image as a bitmap {cells, values}: its own pixels, or of the digits' counts a bitmap that has them. */
  function bitmap(image) {
    const values = pixels.subarray(image * width * height, (image + 1) * width * height);
    return page.data === "digits" ? { cells: 32, values: spread(values) } : { cells: width, values };
  }

  /** 32×32 pixels whose counts in blocks of 4×4 are these: in a block, those nearest to the ink of its neighbours. */
  function spread(counts) {
    const at = (row, column) => counts[Math.min(7, Math.max(0, row)) * 8 + Math.min(7, Math.max(0, column))];
    const found = new Uint8Array(32 * 32);
    for (let block = 0; block < 64; block += 1) {
      const [row, column] = [block >> 3, block & 7];
      const pull = [...Array(16).keys()].map((i) => {
        const [y, x] = [((i >> 2) - 1.5) / 4, ((i & 3) - 1.5) / 4];
        const [down, right] = [Math.sign(y), Math.sign(x)];
        const [v, u] = [Math.abs(y), Math.abs(x)];
        const near = (1 - u) * at(row, column) + u * at(row, column + right);
        return (1 - v) * near + v * ((1 - u) * at(row + down, column) + u * at(row + down, column + right));
      });
      const order = [...pull.keys()].sort((a, b) => pull[b] - pull[a]);
      for (const i of order.slice(0, Math.round((counts[block] * 16) / 255))) found[(4 * row + (i >> 2)) * 32 + 4 * column + (i & 3)] = 255;
    }
    return found;
  }

  /** The bitmap anew, from all of the content. */
  function refill() {
    ink.fill(0);
    if (content.image !== null) {
      const { cells, values } = bitmap(content.image);
      for (let i = 0; i < ink.length; i += 1) {
        const [row, column] = [Math.floor(((i / SIDE) | 0) * cells / SIDE), Math.floor((i % SIDE) * cells / SIDE)];
        ink[i] = values[row * cells + column];
      }
    }
    for (const points of content.strokes) points.forEach((point, i) => line(points[Math.max(0, i - 1)], point));
  }

  // ---- from ink to an image of the data set

  /** The smallest box that holds all ink, or null where there is none. */
  function box() {
    const found = { left: SIDE, top: SIDE, right: 0, bottom: 0 };
    for (let i = 0; i < ink.length; i += 1) {
      if (!ink[i]) continue;
      const [row, column] = [(i / SIDE) | 0, i % SIDE];
      if (row < found.top) found.top = row;
      if (column < found.left) found.left = column;
      if (column >= found.right) found.right = column + 1;
      found.bottom = row + 1;
    }
    return found.right ? found : null;
  }

  /** Averages over equal parts of the first axis, and the two axes exchanged: (from, across) -> (across, to). */
  function averages(values, from, across, to) {
    const found = new Float64Array(across * to);
    for (let part = 0; part < to; part += 1) {
      const [start, end] = [(part * from) / to, ((part + 1) * from) / to];
      for (let row = Math.floor(start); row < Math.min(from, Math.ceil(end)); row += 1) {
        const share = (Math.min(end, row + 1) - Math.max(start, row)) / (end - start);
        for (let column = 0; column < across; column += 1) found[column * to + part] += share * values[row * across + column];
      }
    }
    return found;
  }

  /** What is in the box, scaled to rows × columns by area: ink from 0 to 255. */
  function scaled({ left, top, right, bottom }, rows, columns) {
    const [tall, wide] = [bottom - top, right - left];
    const cut = new Float64Array(tall * wide);
    for (let row = 0; row < tall; row += 1) cut.set(ink.subarray((top + row) * SIDE + left, (top + row) * SIDE + right), row * wide);
    return averages(averages(cut, tall, wide, rows), wide, rows, columns);
  }

  /** As MNIST's images were made: scaled into 20×20 with its proportions kept, then the centre of mass into the middle
      of 28×28, by whole pixels. */
  function mnist(found) {
    const [tall, wide] = [found.bottom - found.top, found.right - found.left];
    const [rows, columns] = [tall, wide].map((size) => Math.max(1, Math.round((20 * size) / Math.max(tall, wide))));
    const grey = scaled(found, rows, columns).map(Math.round);
    let [mass, y, x] = [0, 0, 0];
    grey.forEach((value, i) => {
      mass += value;
      y += value * (Math.floor(i / columns) + 0.5);
      x += value * ((i % columns) + 0.5);
    });
    const [down, right] = [[y, rows], [x, columns]].map(([sum, size]) => Math.min(28 - size, Math.max(0, Math.ceil(14 - sum / mass))));
    const image = new Uint8Array(28 * 28);
    grey.forEach((value, i) => { image[(down + Math.floor(i / columns)) * 28 + right + (i % columns)] = value; });
    return image;
  }

  /** A pixel of 32×32 and its four neighbours, 0 outside. */
  const plus = (on, i) => [on[i], on[i - 32] || 0, on[i + 32] || 0, i % 32 ? on[i - 1] : 0, i % 32 < 31 ? on[i + 1] : 0];

  /** As the digits' images were made by NIST's programs: scaled to 20×32 in the middle of 32×32, strokes thinned or
      thickened until 256 to 412 pixels are ink, straightened, and counted in blocks of 4×4. */
  function digits(found) {
    const [tall, wide] = [found.bottom - found.top, found.right - found.left];
    const columns = Math.round(Math.min(20, Math.max(1, (2 * 32 * wide) / tall))); // a stroke is not made a block
    let on = bits(found, columns);
    const count = on.reduce((sum, pixel) => sum + pixel, 0);
    const times = count > 560 || count < 108 ? 2 : count > 412 || count < 256 ? 1 : 0;
    for (let n = 0; n < times; n += 1) on = on.map((_, i) => (count > 412 ? Math.min(...plus(on, i)) : Math.max(...plus(on, i))));
    return counted(straightened(on));
  }

  /** What is in the box as 32×32 pixels that are ink (1) or not, stretched to 32 rows and some columns in the middle. */
  function bits(found, columns) {
    const left = (32 - columns) >> 1;
    const on = new Uint8Array(32 * 32);
    scaled(found, 32, columns).forEach((value, i) => { on[Math.floor(i / columns) * 32 + left + (i % columns)] = value >= 127.5 ? 1 : 0; });
    return on;
  }

  function counted(on) {
    const counts = new Uint8Array(64);
    on.forEach((pixel, i) => { counts[(i >> 7) * 8 + ((i >> 2) & 7)] += pixel; });
    return counts;
  }

  /** Rows shifted so that the leftmost pixels near the top and near the bottom stand above each other. */
  function straightened(on) {
    const first = (row) => on.subarray(32 * row, 32 * row + 32).indexOf(1);
    const rows = [...Array(32).keys()].filter((row) => first(row) >= 0);
    const [top, bottom] = [rows[0] + 2, rows[rows.length - 1] - 2]; // the outermost rows are noisy
    if (!(bottom > top) || first(top) < 0 || first(bottom) < 0) return on;
    const slant = (first(top) - first(bottom)) / (bottom - top);
    return on.map((_, i) => {
      const column = (i & 31) - Math.round(((i >> 5) - 16) * slant);
      return column >= 0 && column < 32 ? on[(i & ~31) + column] : 0;
    });
  }

  const prepare = { mnist, digits }[page.data];

  /** What goes into the networks, whole numbers up to page.levels; null where nothing is drawn. A test image on which
      nobody drew is what it is. */
  function image() {
    if (content.image !== null && !content.strokes.length) {
      const own = pixels.subarray(content.image * width * height, (content.image + 1) * width * height);
      return own.map((value) => Math.round((value * page.levels) / 255));
    }
    // One of the digits has been through all steps but the last, and twice they would bend it; MNIST's leave it alone.
    if (content.image !== null && page.data === "digits") return counted(bits({ left: 0, top: 0, right: SIDE, bottom: SIDE }, 32));
    const found = box();
    return found && prepare(found);
  }

  // ---- what one sees

  /** Pixels from 0 to `most` as a canvas's content: ink alone, black; the style sheet makes it white on a dark page. */
  function show(target, cells, values, most) {
    if (target.width !== cells) [target.width, target.height] = [cells, values.length / cells];
    const picture = target.getContext("2d").createImageData(cells, values.length / cells);
    values.forEach((value, i) => { picture.data[4 * i + 3] = (255 * value) / most; });
    target.getContext("2d").putImageData(picture, 0, 0);
  }

  function begin(points) {
    context.lineCap = "round";
    context.lineJoin = "round";
    context.lineWidth = 2 * PEN;
    context.beginPath();
    context.moveTo(...points[0]);
    for (const point of points) context.lineTo(...point);
    context.stroke();
  }

  /** The canvas anew, in the pixels that the screen has. */
  function paint() {
    const size = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    [canvas.width, canvas.height] = [size, size];
    context.setTransform(size / SIDE, 0, 0, size / SIDE, 0, 0);
    if (content.image !== null) {
      const small = document.createElement("canvas");
      const { cells, values } = bitmap(content.image);
      show(small, cells, values, 255);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, SIDE, SIDE);
    }
    content.strokes.forEach(begin);
  }

  const { announce, cancel } = announcer("draw-news");
  let place = ""; // of the keyboard's pen

  /** Who takes it for what, in one sentence. */
  function agreement(columns) {
    const sides = new Map();
    for (const { name, z } of columns) sides.set(argmax(z), [...(sides.get(argmax(z)) || []), name]);
    if (sides.size === 1) return `All ${columns.length} networks take it for ${page.classes[argmax(columns[0].z)]}.`;
    const parts = [...sides].map(([k, names]) => {
      const all = names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]} take` : `${names[0]} takes`;
      return `${all} it for ${page.classes[k]}`;
    });
    const sentence = `${parts.join("; ")}.`;
    return sentence[0].toUpperCase() + sentence.slice(1);
  }

  /** Ask the networks, and show what they answer. */
  function answer() {
    const seen = image();
    const { label, T, w, student } = state;
    const x = seen && Float32Array.from(seen, (value) => value / page.levels);
    const shown = networks.filter((network) => network.always || network === student);
    const columns = shown.map(({ name, kind, forward: ask }) => ({ name, kind, z: x && ask(x) }));
    const rows = groups(page.classes, columns, label, true);
    show(byId("view"), width, seen || new Uint8Array(width * height), page.levels);
    probabilities("draw-probabilities", "Class probabilities", columns, rows, label, T);
    slopes("draw-slopes", columns[shown.indexOf(student)], columns[0], rows, label, T, w);
    byId("invitation").hidden = x !== null;
    write(byId("draw-opinions"), x ? agreement(columns) : "Nothing is drawn yet.");
    write(byId("draw-formula"), label === null ? "Set a label to see its part." : formula(T, w));
    write(byId("draw-temperature-value"), short(T));
    byId("draw-temperature").setAttribute("aria-valuetext", short(T));
    write(byId("draw-weight-value"), w.toFixed(2));
    byId("draw-weight").setAttribute("aria-valuetext", w.toFixed(2));
    announce(() => place + (x ? `${agreement(columns)} Temperature ${short(T)}. ${opinions(page.classes, columns, T)}` : "The drawing area is empty."));
  }

  /** After the content was changed as a whole. */
  function renew() {
    refill();
    paint();
    answer();
  }

  /** Other content, which can be undone; with another test image goes its label. */
  function change(next, label = state.label) {
    undone.push({ content, label: state.label });
    content = next;
    setLabel(label);
  }

  function undo() {
    if (!undone.length) return;
    const before = undone.pop();
    if (before.content.image !== content.image) setLabel(before.label);
    content = before.content;
    place = "";
    renew();
  }

  function clear() {
    change({ image: null, strokes: [] }, content.image === null ? state.label : null);
    place = "";
    renew();
  }

  function setLabel(label) {
    state.label = label;
    byId("draw-label").value = label === null ? "" : label;
  }

  /** The next test image becomes the content, and its class the label. */
  function take() {
    const next = turn % page.labels.length;
    turn += 1;
    change({ image: next, strokes: [] }, page.labels[next]);
    place = `Test image ${page.index[content.image]}, label ${page.classes[state.label]}. `;
    renew();
  }

  // ---- strokes

  let current = null; // the points of the stroke that is being drawn

  function start(point) {
    current = [point];
    change({ ...content, strokes: [...content.strokes, current] });
    line(point, point);
    begin(current);
    answer();
  }

  function extend(points) {
    for (const point of points) {
      const last = current[current.length - 1];
      line(last, point);
      begin([last, point]);
      current.push(point);
    }
    answer();
  }

  const rounded = (value) => Math.round(16 * value) / 16;

  function where({ clientX, clientY }) {
    const { left, top, width: wide, height: tall } = canvas.getBoundingClientRect();
    return [rounded(((clientX - left) * SIDE) / wide), rounded(((clientY - top) * SIDE) / tall)];
  }

  let pointer = null; // the finger, mouse button or pen that draws; others are ignored meanwhile

  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    lift();
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    byId("cursor").hidden = true;
    place = "";
    start(where(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    extend((all.length ? all : [event]).map(where));
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(end, (event) => {
      if (event.pointerId === pointer) pointer = current = null;
    });
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault()); // a finger that rests is no wish for it

  // ---- the keyboard's pen

  const pen = { x: SIDE / 2, y: SIDE / 2, down: false };
  const held = new Set(); // arrow keys: two of them move it aslant

  /** End the stroke, of any pen. */
  function lift() {
    pen.down = false;
    pointer = current = null;
    held.clear();
    byId("cursor").classList.remove("down");
  }

  function showPen() {
    const cursor = byId("cursor");
    cursor.hidden = false;
    cursor.style.left = `${(100 * pen.x) / SIDE}%`;
    cursor.style.top = `${(100 * pen.y) / SIDE}%`;
    cursor.classList.toggle("down", pen.down);
    const [across, down] = [pen.x, pen.y].map((value) => Math.round((100 * value) / SIDE));
    place = `Pen ${pen.down ? "down" : "up"}, ${across} % from the left, ${down} % from the top. `;
  }

  function move(step) {
    const go = (less, more) => step * (held.has(more) - held.has(less));
    const inside = (value) => Math.min(SIDE, Math.max(0, value));
    pen.x = inside(pen.x + go("ArrowLeft", "ArrowRight"));
    pen.y = inside(pen.y + go("ArrowUp", "ArrowDown"));
    showPen();
    if (pen.down) extend([[pen.x, pen.y]]);
    else announce(() => place);
  }

  canvas.addEventListener("keydown", (event) => {
    if (pointer !== null || event.altKey) return;
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key.toLowerCase() === "z") {
      lift();
      undo();
    } else if (command) return;
    else if (event.key.startsWith("Arrow")) {
      held.add(event.key);
      move(event.shiftKey ? 4 * STEP : STEP);
    } else if (event.key === " ") {
      if (event.repeat) return event.preventDefault();
      if (pen.down) lift();
      else pen.down = true;
      showPen();
      if (pen.down) start([pen.x, pen.y]);
      else announce(() => place + byId("draw-opinions").textContent);
    } else return;
    event.preventDefault();
  });
  canvas.addEventListener("keyup", (event) => held.delete(event.key));
  canvas.addEventListener("blur", () => {
    lift();
    place = "";
    byId("cursor").hidden = true;
  });
  canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) showPen(); });

  // ---- all together

  nameWidth(page.classes);
  options(byId("draw-label"), [["", "no label"], ...page.classes.map((name, k) => [k, name])]);
  options(byId("draw-student"), networks.slice(1).map(({ name }, n) => [n + 1, name]));
  state.student = networks.find(({ always }) => !always) || state.student;
  byId("draw-student").value = networks.indexOf(state.student);
  byId("draw-temperature").value = Math.log2(state.T);
  byId("draw-weight").value = state.w;

  on("undo", "click", () => { lift(); undo(); });
  on("clear", "click", () => { lift(); clear(); });
  on("take", "click", () => { lift(); take(); });
  on("draw-label", "change", ({ value }) => {
    state.label = value === "" ? null : Number(value);
    place = ""; // may name another label
    answer();
  });
  on("draw-temperature", "input", (slider) => { state.T = 2 ** slider.valueAsNumber; answer(); });
  on("draw-weight", "input", (slider) => { state.w = slider.valueAsNumber; answer(); });
  on("draw-student", "change", (select) => { state.student = networks[select.value]; answer(); });
  addEventListener("resize", paint);
  new ResizeObserver(paint).observe(canvas);
  renew();
  cancel(); // nothing has happened yet that would have to be announced
})();
