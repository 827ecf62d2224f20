"""The functions of E16 to E20 in the bug museum; see museum.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from .museum_losses import LARGEST, ROWS, STEPS, Function, at_most, kd, kd_by_rows, matrix, number, whole

# ---- E16: one object as both -------------------------------------------------------------------------------------


def of_networks(train: Function) -> Function:
    """A function (student, teacher, x, T, lr, steps) -> student, teacher that checks its arguments first."""

    def checked(student: Any, teacher: Any, x: Any, T: Any, lr: Any, steps: Any) -> Any:
        student = matrix("student", student)
        teacher, x = matrix("teacher", teacher, *student.shape), matrix("x", x, columns=len(student))
        steps = whole("steps", steps, 200)
        at_most("the rows of x, times steps,", len(x) * max(steps, 1), STEPS)
        at_most("the rows of x times the columns of student", len(x) * student.shape[1])
        at_most(
            "the rows of x times the entries of student, times steps,", len(x) * student.size * steps, 100 * LARGEST
        )
        return train(student, teacher, x, number("T", T), number("lr", lr), steps)

    return checked


def descend(student: np.ndarray, teacher: np.ndarray, x: np.ndarray, T: float, lr: float, steps: int) -> Any:
    """Steps of gradient descent on `kd`, for linear networks x W."""
    student = student.copy()
    for _ in range(steps):
        student -= lr * (x.T @ kd(x @ student, x @ teacher, T)[1])
    return student, teacher


def descend_by_rows(student: np.ndarray, teacher: np.ndarray, x: np.ndarray, T: float, lr: float, steps: int) -> Any:
    """The same, with gradients summed sample by sample, and weights in units of the learning rate."""
    student = student / lr
    for _ in range(steps):
        dz = kd_by_rows(x @ (student * lr), x @ teacher, T)[1]
        student = student - sum(np.outer(x[i], dz[i]) for i in range(len(x)))
    return student * lr, teacher + 0.0


def student_is_teacher(student: np.ndarray, teacher: np.ndarray, x: np.ndarray, T: float, lr: float, steps: int) -> Any:
    """Broken: `student = teacher`, which is perfect at once and learns nothing."""
    return descend(teacher, teacher, x, T, lr, steps)


def teacher_is_student(student: np.ndarray, teacher: np.ndarray, x: np.ndarray, T: float, lr: float, steps: int) -> Any:
    """Broken: `teacher = student`, so the loss is 0 and nothing changes."""
    return descend(student, student, x, T, lr, steps)


# ---- E17, E18: modes ---------------------------------------------------------------------------------------------


def of_teacher(targets: Function) -> Function:
    """A function (h, W, T, rate, seed) -> q that checks its arguments first."""

    def checked(h: Any, W: Any, T: Any, rate: Any, seed: Any) -> Any:
        h = matrix("h", h)
        W = matrix("W", W, rows=h.shape[1])
        at_most("the rows of h", len(h), ROWS)
        at_most("the rows of h times the entries of W", len(h) * W.size, 100 * LARGEST)
        at_most("the rows of h times the columns of W", len(h) * W.shape[1])
        return targets(h, W, number("T", T), number("rate", rate, -1e-9, 0.95), whole("seed", seed))

    return checked


def soft_targets(h: np.ndarray, W: np.ndarray, T: float, rate: float, seed: int) -> Any:
    """The teacher in evaluation mode, without dropout."""
    return ops.softmax(h @ W, T)


def soft_targets_by_hand(h: np.ndarray, W: np.ndarray, T: float, rate: float, seed: int) -> Any:
    """The same, with the products computed in another way."""
    z = np.stack([(row[:, None] * W).sum(axis=0) for row in h]) / T
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def targets_in_training(rescale: bool) -> Function:
    """Broken: the teacher in training mode, with dropout of hidden units."""

    def broken(h: np.ndarray, W: np.ndarray, T: float, rate: float, seed: int) -> Any:
        mask = np.random.default_rng(seed).random(h.shape) >= rate
        return ops.softmax((h * mask / ((1 - rate) if rescale else 1)) @ W, T)

    return broken


def of_student(hidden: Function) -> Function:
    """A function (x, W, b, rate, seed) -> h that checks its arguments first."""

    def checked(x: Any, W: Any, b: Any, rate: Any, seed: Any) -> Any:
        x = matrix("x", x)
        W = matrix("W", W, rows=x.shape[1])
        if not isinstance(b, np.ndarray) or b.shape != W.shape[1:] or b.dtype.kind not in "fiu":
            raise ValueError(f"b must have shape {W.shape[1:]}")
        at_most("the rows of x times the columns of W", len(x) * W.shape[1])
        return hidden(np.maximum(x @ W + b, 0), number("rate", rate, -1e-9, 0.95), whole("seed", seed))

    return checked


def dropped(h: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """The student in training mode, with inverted dropout."""
    return h * (np.random.default_rng(seed).random(h.shape) >= rate) / (1 - rate)


def dropped_otherwise(h: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """The same, with other random numbers."""
    return h * np.random.default_rng((seed, 1)).binomial(1, 1 - rate, h.shape) * (1 / (1 - rate))


def not_dropped(h: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Broken: the student in evaluation mode."""
    return h


def shrunk(h: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Broken: evaluation mode, with units scaled down instead of dropped."""
    return h * (1 - rate)


# ---- E19: norms --------------------------------------------------------------------------------------------------


def of_features(similarity: Function) -> Function:
    """A function f -> G that checks its argument first."""

    def checked(f: Any) -> Any:
        f = matrix("f", f)
        at_most("the rows of f", len(f), 400)
        return similarity(f @ f.T)

    return checked


def rows_by(order: float) -> Function:
    """Divide the rows by their norm of this order; a row of zeros stays a row of zeros."""

    def normalised(G: np.ndarray) -> np.ndarray:
        norms = np.linalg.norm(G, ord=order, axis=1, keepdims=True)
        return G / np.where(norms > 0, norms, 1.0)

    return normalised


def rows_by_root(G: np.ndarray) -> Any:
    """Divide rows by the root of the sum of squares, after dividing by the largest entry."""
    top = np.abs(G).max(axis=1, keepdims=True)
    u = G / np.where(top > 0, top, 1.0)
    return u / np.sqrt(np.maximum((u * u).sum(axis=1, keepdims=True), 1e-300))


# ---- E20: a cache ------------------------------------------------------------------------------------------------


def of_cache(epoch: Function) -> Function:
    """A function (x, cache, order) -> x, targets in the order of an epoch that checks its arguments first."""

    def checked(x: Any, cache: Any, order: Any) -> Any:
        x = matrix("x", x)
        cache = matrix("cache", cache, rows=len(x))
        order = order if isinstance(order, np.ndarray) else np.array(order if isinstance(order, list) else [])
        if order.size != len(x) or order.dtype.kind not in "iu" or (np.sort(order.ravel()) != np.arange(len(x))).any():
            raise ValueError(f"order must hold each row number from 0 to {len(x) - 1} once")
        return epoch(x, cache, order.ravel())

    return checked


def in_step(x: np.ndarray, cache: np.ndarray, order: np.ndarray) -> Any:
    """Rows and their targets, by the same row numbers."""
    return x[order], cache[order]


def in_step_by_joining(x: np.ndarray, cache: np.ndarray, order: np.ndarray) -> Any:
    """The same, joined first and then shuffled together."""
    both = np.hstack([x, cache])[order]
    return both[:, : x.shape[1]], both[:, x.shape[1] :]


def not_shuffled(x: np.ndarray, cache: np.ndarray, order: np.ndarray) -> Any:
    """Broken: the data are shuffled, the cache is not."""
    return x[order], cache


def shuffled_back(x: np.ndarray, cache: np.ndarray, order: np.ndarray) -> Any:
    """Broken: the cache is shuffled by the inverse order."""
    return x[order], cache[np.argsort(order)]
