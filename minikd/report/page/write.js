"use strict";
// Finish a word: each network draws the next letter from its probabilities, again and again, until it ends the word.
(() => {
  const WORDS = 5; // of each network
  const LONGEST = 20; // letters
  const PAUSE = 70; // ms between letters

  const { softmax, short } = numbers;
  const { byId, element, options, on, groups, probabilities, opinions, announcer, nameWidth } = widgets;
  const page = JSON.parse(byId("own").textContent);
  const K = page.classes.length; // the first class ends a word, and fills a context on its left
  const networks = page.networks.map((network) => ({ ...network, forward: forward.network(network) }));
  const state = { T: page.temperature, seed: 1, student: networks.find(({ always }) => !always) || networks[networks.length - 1] };

  /** Random numbers in [0, 1) from a seed: mulberry32, by Tommy Ettinger, in the public domain. */
  function generator(seed) {
    let a = seed;
    return () => {
      a = (a + 0x6d2b79f5) | 0;
      let t = Math.imul(a ^ (a >>> 15), a | 1);
      t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  /** The logits of the letter after `text`: the symbols of the context as one-hot columns. */
  function next(network, text) {
    const x = new Float32Array(K * page.context);
    const symbols = text.slice(-page.context).padStart(page.context, page.classes[0]);
    [...symbols].forEach((symbol, i) => { x[K * i + page.classes.indexOf(symbol)] = 1; });
    return network.forward(x);
  }

  /** What a network appends to a beginning, drawn with these random numbers; it ends with the end mark, or is long. */
  function finish(network, beginning, random) {
    let text = beginning;
    for (const u of random) {
      const p = softmax(next(network, text), state.T);
      let k = 0;
      for (let sum = p[0]; k < K - 1 && sum <= u; sum += p[k]) k += 1;
      if (k === 0) return text.slice(beginning.length);
      text += page.classes[k];
    }
    return `${text.slice(beginning.length)}…`;
  }

  let timer; // of the letters that are still to come
  const { announce, cancel } = announcer("draw-news");

  /** Write the words letter by letter; at once where no motion is wanted. */
  function write(beginning, found) {
    clearTimeout(timer);
    const rows = found.map(({ name, kind, ends }) => {
      const words = ends.map((end) => ({ end, letters: element("b") }));
      const items = words.map(({ letters }) => element("li", {}, beginning, letters));
      return { words, row: element("div", { class: kind }, element("dt", {}, name), element("dd", {}, element("ul", {}, ...items))) };
    });
    byId("words").replaceChildren(...rows.map(({ row }) => row));
    const every = rows.flatMap(({ words }) => words);
    const longest = Math.max(...every.map(({ end }) => end.length));
    const step = (count) => {
      for (const { end, letters } of every) letters.textContent = end.slice(0, count);
      if (count < longest) timer = setTimeout(step, PAUSE, count + 1);
    };
    step(matchMedia("(prefers-reduced-motion: reduce)").matches ? longest : 0);
  }

  function answer() {
    const { T, seed, student } = state;
    const beginning = lettersOf(byId("begin").value);
    const random = generator(seed);
    const draws = Array.from({ length: WORDS }, () => Array.from({ length: LONGEST }, random));
    const shown = networks.filter((network) => network.always || network === student);
    const found = shown.map((network) => ({ ...network, ends: draws.map((draw) => finish(network, beginning, draw)) }));
    write(beginning, found);
    const columns = shown.map((network) => ({ name: network.name, kind: network.kind, z: next(network, beginning) }));
    const title = beginning ? `The letter after “${beginning}”` : "The first letter";
    probabilities("draw-probabilities", title, columns, groups(page.classes, columns, null, false), null, T);
    byId("draw-temperature-value").textContent = short(T);
    byId("draw-temperature").setAttribute("aria-valuetext", short(T));
    announce(() => {
      const said = found.map(({ name, ends }) => `${name}: ${ends.map((end) => beginning + end).join(", ")}`);
      return `Temperature ${short(T)}. ${said.join("; ")}. Next letter, ${opinions(page.classes, columns, T)}`;
    });
  }

  /** The letters of a text that the networks know; capital ones become small, and accents go. */
  const lettersOf = (text) => [...text.toLowerCase().normalize("NFKD")].filter((letter) => page.classes.indexOf(letter) > 0).join("");

  /** Only letters stay in the field, and the caret stays where it is. A keyboard that composes would write all letters
      again if the field changed meanwhile. */
  function typed(input, { isComposing }) {
    const known = lettersOf(input.value);
    if (known !== input.value && !isComposing) {
      const caret = lettersOf(input.value.slice(0, input.selectionEnd)).length;
      input.value = known;
      input.setSelectionRange(caret, caret);
    }
    answer();
  }

  nameWidth(["other"]); // "19 others" is the longest
  options(byId("draw-student"), networks.slice(1).map(({ name }, n) => [n + 1, name]));
  byId("draw-student").value = networks.indexOf(state.student);
  byId("draw-student").parentNode.hidden = networks.every(({ always }) => always); // all are shown
  byId("draw-temperature").value = Math.log2(state.T);
  byId("begin").value = "th";
  on("begin", "input", typed);
  on("begin", "compositionend", typed);
  on("another", "click", () => { state.seed += 1; answer(); });
  on("draw-temperature", "input", (slider) => { state.T = 2 ** slider.valueAsNumber; answer(); });
  on("draw-student", "change", (select) => { state.student = networks[select.value]; answer(); });
  answer();
  cancel(); // nothing has happened yet that would have to be announced
})();
