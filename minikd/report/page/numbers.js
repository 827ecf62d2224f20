"use strict";
// What the page computes, apart from its elements: softmax, the gradient of distillation_loss, and numbers as text.
const numbers = (() => {
  const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

  /** Bytes in which a run of zeros stands as 0 and its length: most of a drawing is paper. */
  function unpacked(base64) {
    const found = [];
    const packed = bytes(base64);
    for (let i = 0; i < packed.length; i += 1) {
      if (packed[i]) found.push(packed[i]);
      else for (let n = packed[(i += 1)]; n > 0; n -= 1) found.push(0);
    }
    return Uint8Array.from(found);
  }

  /** Little-endian float32 as float64, in which everything is computed. */
  function floats(base64) {
    const raw = new DataView(bytes(base64).buffer);
    return Float64Array.from({ length: raw.byteLength / 4 }, (_, i) => raw.getFloat32(4 * i, true));
  }

  /** softmax(z / T), with the largest logit taken off first so that nothing overflows. */
  function softmax(z, T) {
    const top = Math.max(...z);
    const e = z.map((value) => Math.exp((value - top) / T));
    const total = e.reduce((sum, value) => sum + value, 0);
    return e.map((value) => value / total);
  }

  /** The gradient on logits z of one sample, (1 - w) (p - y) + w T (p^T - q^T), by its two parts and their sum. The
      label may be null: then the first part, and so the sum, means nothing. */
  function gradient(z, label, v, T, w) {
    const [p, pT, qT] = [softmax(z, 1), softmax(z, T), softmax(v, T)];
    const hard = p.map((value, k) => (1 - w) * (value - (k === label ? 1 : 0)));
    const soft = pT.map((value, k) => w * T * (value - qT[k]));
    return [hard, soft, hard.map((value, k) => value + soft[k])];
  }

  const argmax = (values) => values.indexOf(Math.max(...values));

  /** The next larger of 1, 2, 5, 10, ... times a power of ten, for the ends of an axis. */
  function roundUp(value) {
    const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-3)));
    return power * [1, 2, 5, 10].find((step) => value <= step * power * (1 + 1e-9));
  }

  const short = (T) => String(Number(T.toPrecision(3)));
  const plain = (value) => value.toFixed(3);
  const signed = (value) => (plain(Math.abs(value)) === "0.000" ? "" : value < 0 ? "−" : "+") + plain(Math.abs(value));

  return { bytes, floats, unpacked, softmax, gradient, argmax, roundUp, short, plain, signed };
})();
