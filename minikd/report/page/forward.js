"use strict";
// The forward pass of minikd's MLP, on weights that travel in the page as float16.
const forward = (() => {
  const { bytes } = numbers;

  /** All 65,536 float16 numbers: sign, 5 bits of exponent, 10 of fraction (IEEE 754). */
  const HALVES = Float32Array.from({ length: 65536 }, (_, half) => {
    const exponent = (half >> 10) & 31;
    const fraction = (half & 1023) / 1024;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
    return half >> 15 ? -size : size;
  });

  /** Little-endian float16 as float32. */
  function halves(base64) {
    const raw = bytes(base64);
    return Float32Array.from({ length: raw.length / 2 }, (_, i) => HALVES[raw[2 * i] + 256 * raw[2 * i + 1]]);
  }

  /** erf(x), to 1.5e-7. Source: Abramowitz and Stegun 1964, formula 7.1.26. */
  function erf(x) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return Math.sign(x) * (1 - series * Math.exp(-x * x));
  }

  const ACTIVATIONS = {
    relu: (z) => (z > 0 ? z : 0),
    tanh: Math.tanh,
    sigmoid: (z) => (1 + Math.tanh(z / 2)) / 2,
    gelu: (z) => (z * (1 + erf(z * Math.SQRT1_2))) / 2,
  };

  /** The function x -> logits of a network {sizes, activation, theta}; theta has all weights, then all biases. */
  function network({ sizes, activation, theta }) {
    const parameters = halves(theta);
    const act = ACTIVATIONS[activation];
    let end = 0;
    const take = (count) => parameters.subarray(end, (end += count));
    const layers = sizes.slice(1).map((outputs, i) => ({ outputs, W: take(sizes[i] * outputs) }));
    for (const layer of layers) layer.b = take(layer.outputs);
    return (x) =>
      layers.reduce((a, { outputs, W, b }, i) => {
        const z = Float64Array.from(b); // z = a W + b, an input at a time: many are 0
        for (let n = 0; n < a.length; n += 1) {
          if (a[n] === 0) continue;
          for (let k = 0, at = n * outputs; k < outputs; k += 1, at += 1) z[k] += a[n] * W[at];
        }
        return i < layers.length - 1 ? z.map(act) : z;
      }, x);
  }

  return { network };
})();
