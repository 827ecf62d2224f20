"""The functions of E21 to E23 in the bug museum: mistakes in distilling language models; see museum.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from .museum_losses import LARGEST, ROWS, Function, at_most, matrix, number

# ---- E21: the two divergences ------------------------------------------------------------------------------------


def reverse_kl(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """T² mean KL(p || q), from the student p to the teacher q, and its gradient in zs."""
    logp, row = ops.log_softmax(zs, T), ops.log_softmax(zs, T) - ops.log_softmax(zt, T)
    p = np.exp(logp)
    divergence = (p * row).sum(axis=1, keepdims=True)
    return T**2 * divergence.mean(), T * p * (row - divergence) / len(zs)


def reverse_kl_by_entropy(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """The same, as cross-entropy minus entropy; the gradient by the Jacobian of the softmax."""
    logp, logq = ops.log_softmax(zs, T), ops.log_softmax(zt, T)
    p = np.exp(logp)
    loss = -(p * logq).sum(axis=1) + (p * logp).sum(axis=1)
    return float(np.mean(loss) * T * T), T**2 * ops.softmax_backward((logp - logq + 1) / len(zs), p, T)


def reverse_kl_by_rows(zs: np.ndarray, zt: np.ndarray, T: float) -> Any:
    """The same, a sample at a time, from the last class to the first."""
    rows = [reverse_kl(zs[i : i + 1, ::-1], zt[i : i + 1, ::-1], T) for i in range(len(zs))]
    return sum(row / len(zs) for row, _ in rows), np.concatenate([d[:, ::-1] / len(zs) for _, d in rows])


def loss_of(one: Function, other: Function) -> Function:
    """The loss of one function with the gradient of another."""

    def mixed(*arguments: Any) -> Any:
        return one(*arguments)[0], other(*arguments)[1]

    return mixed


# ---- E22: a mixture ----------------------------------------------------------------------------------------------


def of_mixture(loss: Function) -> Function:
    """A function (zs, zt, beta) -> loss, dzs that checks its arguments first."""

    def checked(zs: Any, zt: Any, beta: Any) -> Any:
        zs = matrix("zs", zs)
        at_most("the rows of zs", len(zs), ROWS)
        share = number("beta", beta, 0, 1)
        if share == 1:
            raise ValueError("beta must lie in (0, 1), got 1")
        return loss(zs, matrix("zt", zt, *zs.shape), share)

    return checked


def jensen_shannon(zs: np.ndarray, zt: np.ndarray, beta: float) -> Any:
    """Mean of beta KL(q || m) + (1 - beta) KL(p || m), m = beta q + (1 - beta) p, and its gradient in zs."""
    logp, logq = ops.log_softmax(zs), ops.log_softmax(zt)
    logm = np.logaddexp(np.log(beta) + logq, np.log1p(-beta) + logp)
    return from_logs(logp, logq, logm, beta)


def jensen_shannon_by_sum(zs: np.ndarray, zt: np.ndarray, beta: float) -> Any:
    """The same, from probabilities."""
    p, q = ops.softmax(zs), ops.softmax(zt)
    tiny = np.finfo(float).tiny
    logm = np.log(np.maximum(beta * q + (1 - beta) * p, tiny))
    return from_logs(np.log(np.maximum(p, tiny)), np.log(np.maximum(q, tiny)), logm, beta)


def from_logs(logp: np.ndarray, logq: np.ndarray, logm: np.ndarray, beta: float) -> Any:
    """The divergence for any m. dL/dp_k = (1 - beta) log(p_k / m_k), then back through the softmax."""
    p, q = np.exp(logp), np.exp(logq)
    rows = beta * (q * (logq - logm)).sum(axis=1) + (1 - beta) * (p * (logp - logm)).sum(axis=1)
    return rows.mean(), ops.softmax_backward((1 - beta) * (logp - logm) / len(p), p)


def of_mixed_logs(normalise: bool) -> Function:
    """Broken: the log-probabilities are mixed, with or without normalising the mixture."""

    def broken(zs: np.ndarray, zt: np.ndarray, beta: float) -> Any:
        logp, logq = ops.log_softmax(zs), ops.log_softmax(zt)
        mixed = beta * logq + (1 - beta) * logp
        return from_logs(logp, logq, ops.log_softmax(mixed) if normalise else mixed, beta)

    return broken


# ---- E23: padding ------------------------------------------------------------------------------------------------


def of_words(loss: Function) -> Function:
    """A function (z, y, lengths) -> loss, dz that checks its arguments first."""

    def checked(z: Any, y: Any, lengths: Any) -> Any:
        if not isinstance(z, np.ndarray) or z.dtype.kind not in "fiu" or z.ndim != 3 or not 0 < z.size <= LARGEST:
            raise ValueError(f"z must have three axes, (B, L, K), and at most {LARGEST:,} numbers")
        words, longest, classes = z.shape
        y = whole_numbers("y", y, (words, longest), 0, classes - 1)
        lengths = whole_numbers("lengths", lengths, (words,), 1, longest)
        return loss(z.astype(np.float64), y, np.arange(longest) < lengths[:, None])

    return checked


def whole_numbers(name: str, value: Any, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """`value` as whole numbers of this shape from `low` to `high`."""
    found = np.asarray(value)
    if found.dtype.kind not in "iu" or found.shape != shape or ((found < low) | (found > high)).any():
        raise ValueError(f"{name} must be whole numbers from {low} to {high}, of shape {shape}")
    return found.astype(np.int64)


def letters(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cross-entropy of each letter (B, L), and its gradient (B, L, K)."""
    logp = ops.log_softmax(z.reshape(-1, z.shape[2])).reshape(z.shape)
    is_label = np.arange(z.shape[2]) == y[:, :, None]
    return -(logp * is_label).sum(axis=2), np.exp(logp) - is_label


def mean_of_letters(z: np.ndarray, y: np.ndarray, real: np.ndarray) -> Any:
    """The mean over all real letters of the batch."""
    loss, dz = letters(z, y)
    return (loss * real).sum() / real.sum(), dz * real[:, :, None] / real.sum()


def mean_of_letters_by_word(z: np.ndarray, y: np.ndarray, real: np.ndarray) -> Any:
    """The same, word by word, without the padding."""
    total, loss, dz = int(real.sum()), 0.0, np.zeros_like(z)
    for i, length in enumerate(real.sum(axis=1)):
        each, d = letters(z[i : i + 1, :length], y[i : i + 1, :length])
        loss += float(each.sum()) / total
        dz[i, :length] = d[0] / total
    return loss, dz


def padding_in_the_mean(z: np.ndarray, y: np.ndarray, real: np.ndarray) -> Any:
    """Broken: padding has no loss but is counted, so the loss of a word changes beside a longer one."""
    loss, dz = mean_of_letters(z, y, real)
    return loss * real.mean(), dz * real.mean()


def padding_as_letters(z: np.ndarray, y: np.ndarray, real: np.ndarray) -> Any:
    """Broken: padding is learned like letters."""
    return mean_of_letters(z, y, np.ones_like(real))
