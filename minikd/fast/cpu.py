"""Kernels for the CPU, compiled by Numba: several lines of ops.py, losses.py and optim.py, each in one pass.

The plain formulas and their derivations are in these three files. The results agree with them to rounding. Each public
function here has the name and arguments of one that is marked `@fused`. It calls loops that compute one element, or one
row of logits, after another. It takes NumPy arrays of float32 or float64 with any strides, and declines everything else
by returning NotImplemented. Functions without a loop here (tanh, gelu, gathering rows) are those for which NumPy's own
code is as fast or faster. The loops run on one thread: memory is slower than the arithmetic, so a second thread would
gain nothing.

Numba compiles a loop when it is first called with arrays of a certain type and layout, and keeps the result on disk.
With error_model="numpy" a division by 0 is no exception, and only then can LLVM compute several elements at once. The
order of the terms in a sum may change (FLAGS), but NaN and infinity must be treated correctly, so fastmath=True is not
used.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

import numba
import numpy as np
from numba.core import event

from .. import fast
from ..backend import Array

FLOATS = (np.dtype("float32"), np.dtype("float64"))
INDEX = np.dtype("int64")  # the only type of labels for which the loops are compiled
NO_LABELS = np.zeros(0, INDEX)
REFUSED = -math.inf  # no loss has this value: it means that the body must run and explain what is wrong
FLAGS = {"contract", "reassoc", "arcp", "nsz", "afn"}


def _compiled(fastmath: Any, loop: Any) -> Any:
    options = {"error_model": "numpy", "nogil": True, "fastmath": fastmath}
    try:
        return numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # there is no folder in which Numba could keep compiled code
        return numba.njit(**options)(loop)


elementwise = partial(_compiled, False)  # every operation rounds as NumPy's does
summing = partial(_compiled, FLAGS)  # the terms of a sum may be added in any order


class _Announcement(event.Listener):
    """One line on stderr before the first loop is compiled."""

    def on_start(self, event: Any) -> None:
        """Numba calls this for everything that it compiles, ours or not."""
        if not fast.quiet and event.data["dispatcher"].py_func.__module__ == __name__:
            fast.quiet = True
            print("minikd: Numba compiles its kernels, which takes some seconds once", file=sys.stderr)

    def on_end(self, event: Any) -> None:
        """Print nothing at the end."""


event.register("numba:compile", _Announcement())


# ---- activations ----------------------------------------------------------------------------------------------


@elementwise
def _bias_relu(z, b, a):
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += b[j]
            a[i, j] = zero if z[i, j] < zero else z[i, j]  # in this form NaN stays NaN


@elementwise
def _relu_backward(da, a, dz):
    zero, one = a.dtype.type(0), a.dtype.type(1)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            dz[i, j] = da[i, j] * (one if a[i, j] > zero else zero)


@elementwise
def _tanh_backward(da, a, dz):
    one = a.dtype.type(1)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            dz[i, j] = da[i, j] * (one - a[i, j] * a[i, j])


@elementwise
def _sigmoid_backward(da, a, dz):
    one = a.dtype.type(1)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            dz[i, j] = da[i, j] * (a[i, j] * (one - a[i, j]))


@elementwise
def _sum_rows(dz, db):
    db[:] = 0
    for i in range(dz.shape[0]):
        for j in range(dz.shape[1]):
            db[j] += dz[i, j]


_BACKWARD = {"relu": _relu_backward, "tanh": _tanh_backward, "sigmoid": _sigmoid_backward}


def bias_activation(z: Array, b: Array, activation: str) -> Any:
    """`ops.bias_activation`."""
    if activation != "relu" or z.dtype not in FLOATS or b.dtype != z.dtype:
        return NotImplemented
    a = np.empty(z.shape, z.dtype)
    _bias_relu(z, b, a)
    return a


def activation_backward(da: Array, z: Array, a: Array, activation: str) -> Any:
    """`ops.activation_backward`."""
    if activation not in _BACKWARD or da.dtype not in FLOATS or a.dtype != da.dtype:
        return NotImplemented
    dz = np.empty(da.shape, da.dtype)
    _BACKWARD[activation](da, a, dz)
    return dz


def bias_gradient(dz: Array, out: Array = None) -> Any:
    """`ops.bias_gradient`."""
    if dz.dtype not in FLOATS or (out is not None and out.dtype != dz.dtype):
        return NotImplemented
    db = np.empty(dz.shape[1], dz.dtype) if out is None else out
    _sum_rows(dz, db)
    return db


# ---- losses ---------------------------------------------------------------------------------------------------


@summing
def _exp(x):
    """x <- e^x, in place, for x (n,) without positive numbers.

    For float32 it uses operations that a processor does on several numbers at once; a library's exp takes one number
    after another. It computes e^x = (e^(x / 4096))^4096 in float64, by the first terms of the series and 12 squarings,
    to about 1e-12.
    """
    if x.itemsize == 8:
        for i in range(x.size):
            x[i] = math.exp(x[i])
    else:
        for i in range(x.size):
            t = (-104.0 if x[i] < -104 else float(x[i])) / 4096  # e^-104 is 0 in float32; NaN stays
            power = 1 + t * (1 + t / 2 * (1 + t / 3 * (1 + t / 4 * (1 + t / 5))))
            for _ in range(12):
                power *= power
            x[i] = power


@summing
def _softmax(z, T, p):
    """p <- softmax(z / T), row by row. Returns top_i = max_j z_ij and log_total_i = log sum_j e^((z_ij - top_i)/T)."""
    top, log_total = np.empty_like(p[:, 0]), np.empty_like(p[:, 0])
    for i in range(z.shape[0]):
        top[i] = z[i, 0]
        for j in range(1, z.shape[1]):
            if z[i, j] > top[i]:  # NaN is skipped here, and makes the sum NaN
                top[i] = z[i, j]
        for j in range(z.shape[1]):
            p[i, j] = (z[i, j] - top[i]) / T
    _exp(p.reshape(p.size))
    for i in range(z.shape[0]):
        total = p[i].sum()
        log_total[i] = math.log(total)
        for j in range(z.shape[1]):
            p[i, j] /= total
    return top, log_total


@elementwise
def _astray(labels, classes):
    """Whether a label is not the number of a class."""
    astray = False
    for i in range(labels.size):
        astray |= labels[i] < 0 or labels[i] >= classes
    return astray


@summing
def _distributions(t):
    """Whether the rows are certainly probabilities. The body decides about rows that nearly are."""
    for i in range(t.shape[0]):
        total = 0.0
        for j in range(t.shape[1]):
            if t[i, j] < 0:
                return False
            total += t[i, j]
        if not abs(total - 1) < 9e-4:
            return False
    return True


@elementwise  # the order is fixed: z - top must be computed before log_total is subtracted
def _hard_loss(z, labels, dlogits):
    one, batch = z.dtype.type(1), z.dtype.type(z.shape[0])
    top, log_total = _softmax(z, one, dlogits)
    loss = 0.0
    for i in range(z.shape[0]):
        loss -= (z[i, labels[i]] - top[i]) - log_total[i]
        dlogits[i, labels[i]] -= one
        for j in range(z.shape[1]):
            dlogits[i, j] /= batch
    return loss / z.shape[0]


@elementwise  # the order is fixed: z - top must be computed before log_total is subtracted
def _soft_loss(z, t, T, dlogits):
    batch = z.dtype.type(z.shape[0])
    top, log_total = _softmax(z, T, dlogits)
    loss = 0.0
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            logp = (z[i, j] - top[i]) / T - log_total[i]
            loss -= t[i, j] * (0 if t[i, j] == 0 else logp)  # 0 · -inf would be NaN
            dlogits[i, j] = (dlogits[i, j] - t[i, j]) / (T * batch)
    return loss / z.shape[0]


@summing
def _cross_entropy(z, labels, dlogits):
    return REFUSED if _astray(labels, z.shape[1]) else _hard_loss(z, labels, dlogits)


@summing
def _soft_cross_entropy(z, t, T, dlogits):
    return _soft_loss(z, t, T, dlogits) if _distributions(t) else REFUSED


@summing
def _distillation_loss(z, labels, v, T, w, dlogits):
    one = z.dtype.type(1)
    hard = soft = 0.0
    if _astray(labels, z.shape[1]):
        return REFUSED
    if w < one:
        hard = _hard_loss(z, labels, dlogits)
    else:
        dlogits[:] = 0
    if w > 0:
        q, dsoft = np.empty_like(dlogits), np.empty_like(dlogits)
        _softmax(v, T, q)
        soft = _soft_loss(z, q, T, dsoft)
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                dlogits[i, j] = (one - w) * dlogits[i, j] + w * T * T * dsoft[i, j]
    return (one - w) * hard + w * T * T * soft


def _typed(array: Array, dtype: Any) -> Array:
    return array if array.dtype is dtype else array.astype(dtype)


def _as_floats(logits: Array) -> Array:
    """Logits as the loops take them, with integers as float64. None if the loops cannot take them."""
    z = logits.astype("float64") if logits.dtype.kind in "iu" else logits
    return z if z.dtype in FLOATS and z.ndim == 2 and z.size else None


def _fits(array: Any, z: Array) -> bool:
    """Whether a teacher's logits or targets have the shape of the logits z."""
    return type(array) is np.ndarray and array.shape == z.shape and array.dtype.kind in "fiu"


def _are_labels(labels: Any, z: Array) -> bool:
    return type(labels) is np.ndarray and labels.shape == z.shape[:1] and labels.dtype.kind in "iu"


def cross_entropy(logits: Array, labels: Array) -> Any:
    """`losses.cross_entropy`."""
    z = _as_floats(logits)
    if z is None or not _are_labels(labels, z):
        return NotImplemented
    dlogits = np.empty(z.shape, z.dtype)
    loss = _cross_entropy(z, _typed(labels, INDEX), dlogits)
    return NotImplemented if loss == REFUSED else (z.dtype.type(loss), dlogits)


def soft_cross_entropy(logits: Array, targets: Array, *, temperature: float = 1.0) -> Any:
    """`losses.soft_cross_entropy`."""
    z, T = _as_floats(logits), temperature
    if z is None or not _fits(targets, z) or type(T) not in (float, int) or not 0 < T < math.inf:
        return NotImplemented
    kind, dlogits = z.dtype.type, np.empty(z.shape, z.dtype)
    loss = _soft_cross_entropy(z, _typed(targets, z.dtype), kind(T), dlogits)
    return NotImplemented if loss == REFUSED else (kind(loss), dlogits)


def distillation_loss(
    logits: Array, labels: Array | None, teacher_logits: Array, *, temperature: float = 4.0, soft_weight: float = 0.9
) -> Any:
    """`losses.distillation_loss`."""
    z, v, T, w = _as_floats(logits), teacher_logits, temperature, soft_weight
    if z is None or not _fits(v, z) or not (w == 1 if labels is None else _are_labels(labels, z)):
        return NotImplemented
    if type(T) not in (float, int) or type(w) not in (float, int) or not (0 < T < math.inf and 0 <= w <= 1):
        return NotImplemented
    kind, dlogits = z.dtype.type, np.empty(z.shape, z.dtype)
    labels = NO_LABELS if labels is None else _typed(labels, INDEX)
    loss = _distillation_loss(z, labels, _typed(v, z.dtype), kind(T), kind(w), dlogits)
    return NotImplemented if loss == REFUSED else (kind(loss), dlogits)


# ---- optimizers -----------------------------------------------------------------------------------------------


@elementwise
def _sgd(theta, g, u, lr, momentum, nesterov, decay):
    kind = theta.dtype.type
    lr, momentum, decay = kind(lr), kind(momentum), kind(decay)
    for i in range(theta.size):
        step = g[i] if decay == 0 else g[i] + decay * theta[i]
        if momentum != 0:
            u[i] = momentum * u[i] + step
            step = step + momentum * u[i] if nesterov else u[i]
        theta[i] -= lr * step


@elementwise
def _adam(theta, g, m, v, beta1, beta2, rate, inverse_root, eps, l2, shrink):
    kind = theta.dtype.type
    c1, c2 = kind(1 - beta1), kind(1 - beta2)
    beta1, beta2, rate, eps = kind(beta1), kind(beta2), kind(rate), kind(eps)
    inverse_root, l2, shrink = kind(inverse_root), kind(l2), kind(shrink)
    for i in range(theta.size):
        slope = g[i] if l2 == 0 else g[i] + l2 * theta[i]
        m[i] = beta1 * m[i] + c1 * slope
        v[i] = beta2 * v[i] + c2 * slope * slope
        kept = theta[i] if shrink == 0 else theta[i] - shrink * theta[i]
        theta[i] = kept - rate * m[i] / (math.sqrt(v[i]) * inverse_root + eps)


def sgd(theta: Array, g: Array, u: Array | None, lr: float, momentum: float, nesterov: bool, decay: float) -> Any:
    """`optim.sgd`."""
    u = theta if u is None else u  # without momentum the kernel does not use u
    if theta.dtype not in FLOATS or not g.dtype == u.dtype == theta.dtype:
        return NotImplemented
    return _sgd(theta, g, u, float(lr), momentum, nesterov, float(decay))


def adam(
    theta: Array, g: Array, m: Array, v: Array,
    t: int, lr: float, beta1: float, beta2: float, eps: float, l2: float, shrink: float,
) -> Any:  # fmt: skip
    """`optim.adam`."""
    if theta.dtype not in FLOATS or not g.dtype == m.dtype == v.dtype == theta.dtype:
        return NotImplemented
    rate, inverse_root = float(lr) / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
    return _adam(theta, g, m, v, beta1, beta2, rate, inverse_root, eps, l2, float(shrink))
