"""int8 networks: an MLP in 8-bit integers, as TensorFlow Lite specifies it, computed here in NumPy.

A number r is stored as an integer q in [-128, 127] on a grid with a scale s and a zero point z::

    r = s (q - z)                                                        (Jacob et al. 2017, eq. 1)

A layer r_k = sum_d w_dk x_d + b_k has a grid for its inputs (s_x, z_x) and one for its outputs (s_r, z_r). Weights have
the zero point 0 and one scale s_k for each output; biases have the scale s_x s_k::

    s_k = max_d |w_dk| / 127
    s_r (q_r - z_r) = s_x s_k [ sum_d W_kd (q_x - z_x) + B_k ]
    q_r = z_r + M_k a_k,   M_k = s_x s_k / s_r,   a_k = sum_d W_kd q_x + (B_k - z_x sum_d W_kd)

The term in parentheses does not depend on the sample, so it is stored as the bias. a_k is a sum of integers in 32 bits.
M_k is the only real number left. It is m / 2^n with an integer m in [2^30, 2^31), so M_k a_k takes a product of 64 bits
and a shift::

    q_r = clamp(z_r + floor((m a_k + 2^(n-1)) / 2^n), -128, 127)         (one rounding, halves up)

This is TensorFlow Lite's rounding with TFLITE_SINGLE_ROUNDING. Without it, TensorFlow Lite rounds twice, and the result
sometimes differs by 1. The grid of an activation covers its smallest and largest value on training samples, and 0, in
255 steps. After relu the smallest value is 0. So z_r = -128 there, and the clamp at -128 is relu itself.

Sources: https://www.tensorflow.org/lite/performance/quantization_spec; Jacob et al. 2017, arXiv 1712.05877.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backend import to_numpy
from ..checks import check_finite, check_samples
from ..mlp import MLP, PIECE
from ..ops import dense, linear

MOST_INPUTS = 2**15  # of a layer: |B| <= 2^30 and 2^15 products of 127 and at most 256 stay below 2^31


class Grid(NamedTuple):
    """The real numbers scale (q - zero_point), with q from -128 to 127. The scale is exact in float32."""

    scale: float
    zero_point: int


class Int8Layer(NamedTuple):
    """A layer with D inputs and K outputs, in the names of the formulas above."""

    W: np.ndarray  # (K, D) int8, in [-127, 127]
    b: np.ndarray  # (K,) int32, B_k - z_x sum_d W_kd
    multiplier: np.ndarray  # (K,) int32, m
    shift: np.ndarray  # (K,) uint8, n
    zero_point: int  # z_r


@dataclass(frozen=True)
class Int8Network:
    """int8 layers with relu between them. `inputs` and `logits` are the grids of the network's inputs and outputs."""

    inputs: Grid
    layers: tuple[Int8Layer, ...]
    logits: Grid

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, hidden layers, classes."""
        return (self.layers[0].W.shape[1], *(len(layer.W) for layer in self.layers))

    @property
    def nbytes(self) -> int:
        """Bytes of the tables: weights, biases, multipliers and shifts."""
        return sum(array.nbytes for layer in self.layers for array in layer[:4])

    def quantise(self, x: np.ndarray) -> np.ndarray:
        """floor(x / s + z + 1/2), clamped, in float32, as the C file does it.  x (N, D) -> int8 (N, D)"""
        v = x.astype(np.float32) / np.float32(self.inputs.scale) + np.float32(self.inputs.zero_point)
        q: np.ndarray = ((np.clip(v, -128, 127) + np.float32(128.5)).astype(np.int32) - 128).astype(np.int8)  # (N, D)
        return q

    def forward(self, q: np.ndarray) -> np.ndarray:
        """Logits on their grid, with the same bits as those of the C file.  q (N, D) int8 -> (N, K) int8"""
        for layer in self.layers:
            # BLAS has no integer products, but float64 holds these sums exactly.
            a = (q.astype(np.float64) @ layer.W.T.astype(np.float64)).astype(np.int64) + layer.b  # (N, K)
            n = layer.shift.astype(np.int64)  # (K,)
            scaled = (a * layer.multiplier + (np.int64(1) << (n - 1))) >> n  # (N, K)
            q = np.clip(layer.zero_point + scaled, -128, 127).astype(np.int8)  # (N, K)
        return q

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Logits as float32.  x (N, D) -> (N, K)"""
        q = self.forward(self.quantise(to_numpy(x)))
        logits: np.ndarray = (q.astype(np.float32) - self.logits.zero_point) * np.float32(self.logits.scale)
        return logits


def quantise(model: MLP, samples: Any) -> Int8Network:
    """The network in int8, with ranges of activations measured on training samples (N, D).

    ValueError for an activation other than relu, for a layer of more than 32,768 inputs, which 32 bits cannot sum up,
    and for numbers that are not finite. TypeError if the samples are not an array.
    """
    if model.activation != "relu" and len(model.weights) > 1:
        raise ValueError(f"activation must be relu in int8, got {model.activation!r}; the float file also has others")
    if max(model.sizes[:-1]) > MOST_INPUTS:
        raise ValueError(f"sizes must be at most {MOST_INPUTS:,} inputs a layer in int8, got {max(model.sizes[:-1]):,}")
    theta = [(to_numpy(W), to_numpy(b)) for W, b in zip(model.weights, model.biases, strict=True)]
    grids = [_grid(low, high) for low, high in _ranges(theta, check_samples("samples", samples, model.sizes[0]))]
    layers = [_layer(*parameters, *grids[i : i + 2]) for i, parameters in enumerate(theta)]
    return Int8Network(grids[0], tuple(layers), grids[-1])


@np.errstate(over="ignore", invalid="ignore")  # check_finite tells
def _ranges(theta: list[tuple[np.ndarray, np.ndarray]], x: Any) -> np.ndarray:
    """Smallest and largest value, with 0 included, of inputs, hidden layers and logits: (layers + 1, 2)"""
    ranges = np.zeros((len(theta) + 1, 2))
    for start in range(0, len(x), PIECE):
        a = np.asarray(x[start : start + PIECE]).astype(theta[0][0].dtype)
        for i in range(len(theta) + 1):
            if i > 0:
                W, b = theta[i - 1]
                a = linear(a, W, b) if i == len(theta) else dense(a, W, b, "relu")[1]  # (rows, width)
            ranges[i] = min(ranges[i, 0], a.min()), max(ranges[i, 1], a.max())
    check_finite("activations in float32", ranges.astype(np.float32))  # scales are float32
    return ranges


def _grid(low: float, high: float) -> Grid:
    """255 steps from low <= 0 to high >= 0, moved so that 0 is on the grid."""
    scale = float(np.float32((high - low) / 255)) or 1.0  # all values were 0: any scale will do
    return Grid(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def _layer(W: np.ndarray, b: np.ndarray, x: Grid, r: Grid) -> Int8Layer:
    """A layer on the grids of its inputs and outputs.  W (D, K), b (K,)"""
    W, b = W.T.astype(np.float64), b.astype(np.float64)  # (K, D), (K,)
    s = np.maximum(np.abs(W).max(axis=1) / 127, np.abs(b) / (2**30 * x.scale))  # (K,): a large bias must also fit
    s[s == 0] = 1.0
    Wq = np.rint(W / s[:, None]).astype(np.int8)  # (K, D)
    bq = np.rint(b / (x.scale * s)) - x.zero_point * Wq.sum(axis=1, dtype=np.int64)  # (K,)
    M = np.minimum(x.scale * s / r.scale, 2.0**29)  # (K,): from 2^8 on every a_k but 0 is clamped anyway
    n = np.minimum(31 - np.frexp(M)[1], 62)  # (K,), M = m / 2^n
    m = np.minimum(np.rint(np.ldexp(M, n)), 2**31 - 1)  # (K,): M just below a power of 2 rounds to 2^31
    tables = Wq, bq.astype(np.int32), m.astype(np.int32), n.astype(np.uint8)
    return Int8Layer(*tables, zero_point=r.zero_point)
