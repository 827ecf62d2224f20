"use strict";
// The explorer of the report. It computes what minikd computes, softmax and the gradient of distillation_loss, on the
// logits in the page, and draws them as tables whose cells hold a number and a bar. No names from the data are ever
// read as HTML.
(() => {
  const MOST = 80; // samples in the strip

  const { floats, unpacked, softmax, argmax, short, plain } = numbers;
  const { FEW, byId, element, options, fixed, on, groups, probabilities, slopes, formula, opinions, announcer, nameWidth } = widgets;
  const page = JSON.parse(byId("numbers").textContent);
  const K = page.classes.length;

  const networks = page.networks.map((network) => ({ ...network, logits: floats(network.logits) }));
  const teacher = networks[0];
  const pixels = page.pixels && unpacked(page.pixels);
  const logits = (network, sample) => network.logits.subarray(K * sample, K * (sample + 1));
  const onLabels = networks.find(({ kind }) => kind === "labels");
  // The best method of a comparison, or else the last student.
  const student = networks.find(({ always }) => !always) || networks[networks.length - 1];
  const state = { sample: 0, T: page.temperature, w: page.softWeight, student, all: false };

  // ---- words and elements

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

  // ---- all together

  const { announce } = announcer("news");

  function draw() {
    const { sample, student, T, w } = state;
    const label = page.labels[sample];
    const shown = networks.filter((network) => network.always || network === student);
    const columns = shown.map((network) => ({ ...network, z: logits(network, sample) }));
    const rows = groups(page.classes, columns, label, state.all);
    probabilities("probabilities", "Class probabilities", columns, rows, label, T);
    slopes("slopes", columns[shown.indexOf(student)], columns[0], rows, label, T, w);
    byId("formula").textContent = formula(T, w);
    const chosen = columns.map(({ name, z }) => `${name} ${page.classes[argmax(z)]}`);
    byId("opinions").textContent = `Predicted: ${chosen.join(", ")}`;
    byId("temperature-value").textContent = short(T);
    byId("temperature").setAttribute("aria-valuetext", short(T));
    byId("weight-value").textContent = w.toFixed(2);
    byId("weight").setAttribute("aria-valuetext", w.toFixed(2));
    announce(() => `${nameOf(state.sample)}, temperature ${short(state.T)}. ${opinions(page.classes, columns, state.T)}`);
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

  nameWidth(page.classes);
  const named = page.classes.map((name, k) => [k, name]);
  options(byId("is"), [[-1, "any class"], ...named]);
  options(byId("for"), [[-1, "any other class"], ...named]);
  options(byId("student"), networks.slice(1).map(({ name }, n) => [n + 1, name]));
  byId("student").value = networks.indexOf(state.student);
  byId("all-control").hidden = K <= FEW;
  byId("reset").textContent = `Back to T = ${short(page.temperature)}, w = ${short(page.softWeight)}`;

  on("is", "change", choose);
  on("for", "change", choose);
  on("temperature", "input", (slider) => { state.T = 2 ** slider.valueAsNumber; rank(); draw(); });
  on("weight", "input", (slider) => { state.w = slider.valueAsNumber; draw(); });
  on("student", "change", (select) => { state.student = networks[select.value]; draw(); });
  on("all", "change", (box) => { state.all = box.checked; draw(); });
  on("reset", "click", reset);
  start();
  reset();
})();
