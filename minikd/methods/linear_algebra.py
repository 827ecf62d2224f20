"""Parts of derivations that several methods use: subtract means, divide by norms, and the gradients of both."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import Array, xp_of

TINY = 1e-12  # a norm below this counts as this: then what is divided by it is 0, not NaN


def centre_rows(m: Array) -> Array:
    """Rows minus their means.  (n, m) -> (n, m). What is left of a row without variation is rounding, and becomes 0."""
    xp = xp_of(m)
    centred = m - m.mean(axis=1, keepdims=True)
    rounding = 16 * float(np.finfo(m.dtype).eps) * xp.abs(m).max(axis=1, keepdims=True)
    constant = xp.abs(centred).max(axis=1, keepdims=True) <= rounding  # "<=", so that a row with NaN is not constant
    return xp.where(constant, xp.zeros_like(centred), centred)


def unit_rows(f: Array) -> tuple[Array, Array]:
    """Rows scaled to L2 norm 1, u = f / ‖f‖, and the norms.  f (B, W) -> (B, W), (B, 1). A row of zeros stays zero."""
    xp = xp_of(f)
    norms = xp.sqrt((f * f).sum(axis=1, keepdims=True))
    return f / xp.maximum(norms, TINY), norms


def unit_rows_backward(du: Array, u: Array, norms: Array) -> Array:
    """From dL/du to dL/df for u = f / ‖f‖.  du, u (B, W), norms (B, 1) -> (B, W)

    du_a/df_b = ([a = b] - u_a u_b) / ‖f‖, so dL/df = (du - (du · u) u) / ‖f‖. The part of du along u changes only the
    length, which does not matter after the division. The result is 0 for a row of zeros, which has no direction.
    """
    xp = xp_of(du)
    turned = (du - (du * u).sum(axis=1, keepdims=True) * u) / xp.maximum(norms, TINY)
    return xp.where(norms <= TINY, 0, turned)  # "<=", so that NaN stays NaN


def gram_backward(dG: Array, f: Array) -> Array:
    """From dL/dG to dL/df for G = f f^T.  dG (B, B), f (B, W) -> (B, W)

    G_ij = f_i · f_j, so f_i occurs in row i and in column i.
    """
    return (dG + dG.T) @ f


def huber(difference: Array) -> tuple[Array, Array]:
    """Huber's function: d² / 2 for abs(d) < 1, abs(d) - 1/2 beyond. Also its slope, d clipped to [-1, 1]."""
    xp = xp_of(difference)
    slope = xp.clip(difference, -1, 1)
    return slope * (difference - slope / 2), slope


def one_hot(labels: Array, like: Array) -> Array:
    """labels (B,) -> (B, K), 1 at the label's class and 0 elsewhere, in the type of the logits `like` (B, K)."""
    xp = xp_of(like)
    return (xp.arange(like.shape[1]) == labels[:, None]).astype(like.dtype)


def as_float(array: Array) -> Array:
    """The array itself, or as float64 if it holds integers."""
    return array if array.dtype.kind == "f" else array.astype("float64")


def divergence(logq: Array, logp: Array) -> Array:
    """KL(q || p) = sum_k q_k (log q_k - log p_k) of each row, in float64.  (B, K), (B, K) -> (B,)

    A class with q = 0 adds 0, even if its logit is -infinity. It is computed in float64, because at a high temperature
    the two logarithms agree in all but their last digits, and the loss multiplies the difference by T².
    """
    xp = xp_of(logq)
    logq, logp = logq.astype("float64"), logp.astype("float64")
    q = xp.exp(logq)
    counted = [xp.where(q == 0, 0, log) for log in (logq, logp)]
    return (q * (counted[0] - counted[1])).sum(axis=1)


def log_mixture(a: float, first: Array, second: Array) -> Array:
    """log(a e^first + (1 - a) e^second), any shape, for a in [0, 1]. Using logarithms avoids underflow."""
    if a in (0, 1):
        return first if a else second
    return xp_of(first).logaddexp(math.log(a) + first, math.log1p(-a) + second)


def mean_rows(values: Array) -> Any:
    """The sum over all entries, divided by the number of rows: the mean over a batch."""
    return values.sum() / len(values)
