"""The functions of the bug museum: broken versions of each exhibit, and right ones that compute in different ways.

Each function is wrapped by a guard (`of_logits`, `of_networks`, ...). The guard checks the arguments that a learner's
test passes, because the functions run on the grader's side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops

Function = Callable[..., Any]
LARGEST = 200_000  # numbers in one argument, or in a result of it
ROWS = 2_000  # samples in a batch
STEPS = 4_000  # samples times steps


# ---- what the functions accept -----------------------------------------------------------------------------------


def matrix(name: str, value: Any, rows: int | None = None, columns: int | None = None) -> np.ndarray:
    """`value` as a float64 matrix of this size. Otherwise ValueError, which is raised in the learner's test."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.ndim != 2 or value.size > LARGEST:
        raise ValueError(f"{name} must be a matrix of at most {LARGEST:,} numbers")
    for axis, size in enumerate((rows, columns)):
        if size is not None and value.shape[axis] != size:
            raise ValueError(f"{name} must have {size} {'rows' if axis == 0 else 'columns'}, got {value.shape[axis]}")
    if 0 in value.shape:
        raise ValueError(f"{name} must not be empty")
    return value.astype(np.float64)


def at_most(what: str, size: int, limit: int = LARGEST) -> None:
    """ValueError if a call would need more time or memory than a test should need."""
    if size > limit:
        raise ValueError(f"{what} must be at most {limit:,}, got {size:,}")


def number(name: str, value: Any, low: float = 0.0, high: float = 1e6) -> float:
    """`value` as a number in (low, high]."""
    if not isinstance(value, np.ndarray) or value.ndim or value.dtype.kind not in "bfiu":
        raise ValueError(f"{name} must be a number")
    result = float(value)
    if not low < result <= high:
        raise ValueError(f"{name} must lie in ({low:g}, {high:g}], got {result:g}")
    return result


def whole(name: str, value: Any, most: int = 10_000) -> int:
    """`value` as a whole number from 0 to `most`."""
    result = number(name, value, -1e-9, most)
    if result != int(result):
        raise ValueError(f"{name} must be a whole number, got {result:g}")
    return int(result)


def of_logits(loss: Function) -> Function:
    """A function (zs, zt, T) -> loss, dzs that checks its arguments first."""

    def checked(zs: Any, zt: Any, T: Any) -> Any:
        zs = matrix("zs", zs)
        at_most("the rows of zs", len(zs), ROWS)
        return loss(zs, matrix("zt", zt, *zs.shape), number("T", T))

    return checked


# ---- E11 to E15: losses ------------------------------------------------------------------------------------------


def kd(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """T² mean KL(q || p), from log-probabilities."""
    logp, logq = ops.log_softmax(zs, T), ops.log_softmax(zt, T)
    p, q = np.exp(logp), np.exp(logq)
    return T**2 * (q * (logq - logp)).sum() / len(zs), T * (p - q) / len(zs)


def kd_by_entropy(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """The same, as cross-entropy minus entropy."""
    logp, q = ops.log_softmax(zs, T), ops.softmax(zt, T)
    with_zero = np.where(q > 0, q, 1.0)
    cross, entropy = -(q * logp).sum(axis=1), -(q * np.log(with_zero)).sum(axis=1)
    return float(np.mean((cross - entropy) * T * T)), (ops.softmax(zs, T) - q) / len(zs) * T


def kd_by_rows(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """The same, a sample at a time, from the last class to the first."""
    loss, dz = 0.0, np.zeros_like(zs)
    for i in range(len(zs)):
        row, drow = kd(zs[i : i + 1, ::-1].copy(), zt[i : i + 1, ::-1].copy(), T)
        loss += row / len(zs)
        dz[i] = drow[0, ::-1] / len(zs)
    return loss, dz


RIGHT = (kd, kd_by_entropy, kd_by_rows)


def scaled(factor: Callable[[np.ndarray, float], float], on_loss: bool = True) -> Function:
    """Broken: the gradient, and the loss as well with `on_loss`, times a factor that depends on (zs, T)."""

    def broken(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
        loss, dz = kd(zs, zt, T)
        return loss * factor(zs, T) if on_loss else loss, dz * factor(zs, T)

    return broken


def softmax_twice(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """Broken: the loss gets the student's probabilities instead of its logits."""
    p = ops.softmax(zs, T)
    loss, dp = kd(p, zt / T, 1.0)
    return T**2 * loss, T**2 * ops.softmax_backward(dp, p, T)


def teacher_twice(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """Broken: the teacher's probabilities are used as its logits."""
    return kd(zs, T * ops.softmax(zt, T), T)


def log_of_softmax(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """Broken: log(softmax), the logarithm of a probability that can be 0."""
    p, q = ops.softmax(zs, T), ops.softmax(zt, T)
    return T**2 * (q * (np.log(q) - np.log(p))).sum() / len(zs), T * (p - q) / len(zs)


def log_of_clipped(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """Broken: log(softmax + tiny), which is finite but wrong for small probabilities."""
    p, q = ops.softmax(zs, T), ops.softmax(zt, T)
    return T**2 * (q * (np.log(q + 1e-12) - np.log(p + 1e-12))).sum() / len(zs), T * (p - q) / len(zs)


def swapped_arguments(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """Broken: the divergence in the other direction, KL(p || q), with its own right gradient."""
    logp, logq = ops.log_softmax(zs, T), ops.log_softmax(zt, T)
    p, row = np.exp(logp), logp - logq
    return T**2 * (p * row).sum() / len(zs), T * p * (row - (p * row).sum(axis=1, keepdims=True)) / len(zs)


def swapped_teacher(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """Broken: teacher and student are exchanged, and the gradient is the teacher's."""
    return kd(zt, zs, T)
