"""The bug museum's functions: for each exhibit broken versions, and right ones that compute the same in different ways.

Each is wrapped by a guard (`of_logits`, `of_networks`, ...) that looks at what a learner's test hands over, for they
run on the grader's side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops

Function = Callable[..., Any]
LARGEST = 200_000  # numbers in one argument


# ---- what the functions accept -----------------------------------------------------------------------------------


def matrix(name: str, value: Any, rows: int | None = None, columns: int | None = None) -> np.ndarray:
    """`value` as a float64 matrix of that size; ValueError, which reaches the learner's test, where it is not one."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.ndim != 2 or value.size > LARGEST:
        raise ValueError(f"{name} must be a matrix of at most {LARGEST:,} numbers")
    for axis, size in enumerate((rows, columns)):
        if size is not None and value.shape[axis] != size:
            raise ValueError(f"{name} must have {size} {'rows' if axis == 0 else 'columns'}, got {value.shape[axis]}")
    if 0 in value.shape:
        raise ValueError(f"{name} must not be empty")
    return value.astype(np.float64)


def number(name: str, value: Any, low: float = 0.0, high: float = 1e6) -> float:
    """`value` as a number in (low, high]."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number") from None
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
    """A function (zs, zt, T) -> loss, dzs that looks at its arguments first."""

    def checked(zs: Any, zt: Any, T: Any) -> Any:
        zs = matrix("zs", zs)
        return loss(zs, matrix("zt", zt, *zs.shape), number("T", T))

    return checked


# ---- E11 to E15: losses ------------------------------------------------------------------------------------------


def kd(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """T² mean KL(q || p), from logarithms."""
    logp, logq = ops.log_softmax(zs, T), ops.log_softmax(zt, T)
    p, q = np.exp(logp), np.exp(logq)
    return T**2 * (q * (logq - logp)).sum() / len(zs), T * (p - q) / len(zs)


def kd_by_entropy(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """The same, as cross-entropy less entropy."""
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
    """The right function, loss and gradient times a factor of (zs, T)."""

    def broken(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
        loss, dz = kd(zs, zt, T)
        return loss * factor(zs, T) if on_loss else loss, dz * factor(zs, T)

    return broken


def softmax_twice(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """The loss was handed probabilities where it wanted logits."""
    p = ops.softmax(zs, T)
    loss, dp = kd(p, zt / T, 1.0)
    return T**2 * loss, T**2 * ops.softmax_backward(dp, p, T)


def teacher_twice(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """The teacher's probabilities taken for its logits."""
    return kd(zs, T * ops.softmax(zt, T), T)


def log_of_softmax(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """log(softmax): the logarithm of a probability that has become 0."""
    p, q = ops.softmax(zs, T), ops.softmax(zt, T)
    return T**2 * (q * (np.log(q) - np.log(p))).sum() / len(zs), T * (p - q) / len(zs)


def log_of_clipped(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """log(softmax + tiny): finite, and wrong where it matters."""
    p, q = ops.softmax(zs, T), ops.softmax(zt, T)
    return T**2 * (q * (np.log(q + 1e-12) - np.log(p + 1e-12))).sum() / len(zs), T * (p - q) / len(zs)


def swapped_arguments(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """The divergence the other way round, with its own right gradient: KL(p || q)."""
    logp, logq = ops.log_softmax(zs, T), ops.log_softmax(zt, T)
    p, row = np.exp(logp), logp - logq
    return T**2 * (p * row).sum() / len(zs), T * p * (row - (p * row).sum(axis=1, keepdims=True)) / len(zs)


def swapped_teacher(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """Teacher and student exchanged, and the gradient is the teacher's."""
    return kd(zt, zs, T)


# ---- E16: one object as both -------------------------------------------------------------------------------------


def of_networks(train: Function) -> Function:
    """A function (student, teacher, x, T, lr, steps) -> student, teacher that looks at its arguments first."""

    def checked(student: Any, teacher: Any, x: Any, T: Any, lr: Any, steps: Any) -> Any:
        student = matrix("student", student)
        teacher, x = matrix("teacher", teacher, *student.shape), matrix("x", x, columns=len(student))
        return train(student, teacher, x, number("T", T), number("lr", lr), whole("steps", steps, 200))

    return checked


def descend(student: np.ndarray, teacher: np.ndarray, x: np.ndarray, T: float, lr: float, steps: int) -> Any:
    """Steps of gradient descent on `kd`, for linear networks x W."""
    student = student.copy()
    for _ in range(steps):
        student -= lr * (x.T @ kd(x @ student, x @ teacher, T)[1])
    return student, teacher


def descend_by_rows(student: np.ndarray, teacher: np.ndarray, x: np.ndarray, T: float, lr: float, steps: int) -> Any:
    """The same, gradients added up a sample at a time."""
    for _ in range(steps):
        dz = kd_by_rows(x @ student, x @ teacher, T)[1]
        student = student - lr * sum(np.outer(x[i], dz[i]) for i in range(len(x)))
    return student, teacher + 0.0


def student_is_teacher(student: np.ndarray, teacher: np.ndarray, x: np.ndarray, T: float, lr: float, steps: int) -> Any:
    """`student = teacher`: perfect at once, and nothing is learned."""
    return descend(teacher, teacher, x, T, lr, steps)


def teacher_is_student(student: np.ndarray, teacher: np.ndarray, x: np.ndarray, T: float, lr: float, steps: int) -> Any:
    """`teacher = student`: the loss is 0, and nothing moves."""
    return descend(student, student, x, T, lr, steps)


# ---- E17, E18: modes ---------------------------------------------------------------------------------------------


def of_teacher(targets: Function) -> Function:
    """A function (h, W, T, rate, seed) -> q that looks at its arguments first."""

    def checked(h: Any, W: Any, T: Any, rate: Any, seed: Any) -> Any:
        h = matrix("h", h)
        return targets(
            h, matrix("W", W, rows=h.shape[1]), number("T", T), number("rate", rate, -1e-9, 0.95), whole("seed", seed)
        )

    return checked


def soft_targets(h: np.ndarray, W: np.ndarray, T: float, rate: float, seed: int) -> Any:
    """In evaluation mode: no dropout."""
    return ops.softmax(h @ W, T)


def soft_targets_by_hand(h: np.ndarray, W: np.ndarray, T: float, rate: float, seed: int) -> Any:
    """The same by other products."""
    z = np.stack([(row[:, None] * W).sum(axis=0) for row in h]) / T
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def targets_in_training(rescale: bool) -> Function:
    """In training mode: hidden units are dropped."""

    def broken(h: np.ndarray, W: np.ndarray, T: float, rate: float, seed: int) -> Any:
        mask = np.random.default_rng(seed).random(h.shape) >= rate
        return ops.softmax((h * mask / ((1 - rate) if rescale else 1)) @ W, T)

    return broken


def of_student(hidden: Function) -> Function:
    """A function (x, W, b, rate, seed) -> h that looks at its arguments first."""

    def checked(x: Any, W: Any, b: Any, rate: Any, seed: Any) -> Any:
        x = matrix("x", x)
        W = matrix("W", W, rows=x.shape[1])
        if not isinstance(b, np.ndarray) or b.shape != W.shape[1:]:
            raise ValueError(f"b must have shape {W.shape[1:]}")
        if x.shape[0] * W.shape[1] > LARGEST:
            raise ValueError(f"h would have more than {LARGEST:,} numbers")
        return hidden(np.maximum(x @ W + b, 0), number("rate", rate, -1e-9, 0.95), whole("seed", seed))

    return checked


def dropped(h: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """In training mode: inverted dropout."""
    return h * (np.random.default_rng(seed).random(h.shape) >= rate) / (1 - rate)


def dropped_otherwise(h: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """The same, by other random numbers."""
    return h * np.random.default_rng((seed, 1)).binomial(1, 1 - rate, h.shape) * (1 / (1 - rate))


def not_dropped(h: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """In evaluation mode."""
    return h


def shrunk(h: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """In evaluation mode, with the units scaled down instead of dropped."""
    return h * (1 - rate)


# ---- E19: norms --------------------------------------------------------------------------------------------------


def of_features(similarity: Function) -> Function:
    """A function f -> G that looks at its argument first."""

    def checked(f: Any) -> Any:
        f = matrix("f", f)
        if len(f) > 400:
            raise ValueError("f must have at most 400 rows")
        return similarity(f @ f.T)

    return checked


def rows_by(order: float) -> Function:
    """Rows divided by their norm; a row of zeros stays one."""

    def normalised(G: np.ndarray) -> np.ndarray:
        norms = np.linalg.norm(G, ord=order, axis=1, keepdims=True)
        return G / np.where(norms > 0, norms, 1.0)

    return normalised


def rows_by_root(G: np.ndarray) -> Any:
    """By the square root of the sum of squares, the largest taken out first."""
    top = np.abs(G).max(axis=1, keepdims=True)
    u = G / np.where(top > 0, top, 1.0)
    return u / np.sqrt(np.maximum((u * u).sum(axis=1, keepdims=True), 1e-300))


# ---- E20: a cache ------------------------------------------------------------------------------------------------


def of_cache(epoch: Function) -> Function:
    """A function (x, cache, order) -> x, targets, in the order of an epoch, that looks at its arguments first."""

    def checked(x: Any, cache: Any, order: Any) -> Any:
        x = matrix("x", x)
        cache = matrix("cache", cache, rows=len(x))
        if not isinstance(order, np.ndarray) or sorted(order.ravel().tolist()) != list(range(len(x))):
            raise ValueError(f"order must hold each row number from 0 to {len(x) - 1} once")
        return epoch(x, cache, order.ravel().astype(int))

    return checked


def in_step(x: np.ndarray, cache: np.ndarray, order: np.ndarray) -> Any:
    """Rows and their targets, by the same numbers."""
    return x[order], cache[order]


def in_step_by_joining(x: np.ndarray, cache: np.ndarray, order: np.ndarray) -> Any:
    """The same: joined first, shuffled as one."""
    both = np.hstack([x, cache])[order]
    return both[:, : x.shape[1]], both[:, x.shape[1] :]


def not_shuffled(x: np.ndarray, cache: np.ndarray, order: np.ndarray) -> Any:
    """The data are shuffled, the cache is not."""
    return x[order], cache


def shuffled_back(x: np.ndarray, cache: np.ndarray, order: np.ndarray) -> Any:
    """The cache is shuffled by the inverse order."""
    return x[order], cache[np.argsort(order)]
