"""What the student is told: losses that return their own gradient.

Each loss takes logits z (B, K) and returns `(loss, dlogits)`: a mean over the batch, and its derivative with
respect to the logits, (B, K), worked out by hand through the softmax. Nothing here knows about networks.

In the derivations p = softmax(z) and p^T = softmax(z / T) belong to the student, v are the teacher's logits and
q^T = softmax(v / T) its softened probabilities, y is the one-hot label, and one row i of the batch is looked at.
The one fact that all of them need, with [k = j] = 1 where k is j and 0 elsewhere:

    d log p^T_k / dz_j = ([k = j] - p^T_j) / T                                                               (*)

because log p^T_k = z_k/T - log sum_j e^(z_j/T).

NaN in gives NaN out, as in NumPy; `fit` is what turns that into a DivergedError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .backend import Array, xp_of
from .checks import (
    check_labels,
    check_matrix,
    check_mix,
    check_number,
    check_probabilities,
    check_same_library,
    check_soft,
)
from .fast import kernels_of
from .fast.machine import count, empty

Loss = Callable[..., tuple[Any, ...]]  # (logits, *targets) -> (loss, dlogits), or also hidden_grads: see MLP.backward


def cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Cross-entropy with class labels: L = -mean_i log p_i[y_i].  logits (B, K), labels (B,) -> L, dlogits (B, K)

    Gradient: L_i = -log p_y, so (*) with T = 1 gives dL_i/dz_j = -([y = j] - p_j) = p_j - y_j, and the mean over
    the batch divides by B:

        dlogits = (p - y) / B

    On a GPU the range of the labels is not checked here, since looking would stop the pipeline; `fit` checks it
    once. ValueError for shapes and labels that do not fit, TypeError for labels that are not integers.
    """
    check_matrix("logits", logits)
    check_labels("labels", labels, *logits.shape)
    check_same_library("labels", labels, logits)
    return _mix(logits, labels, None, 1.0, 0.0)


def soft_cross_entropy(logits: Array, targets: Array, *, temperature: float = 1.0) -> tuple[Array, Array]:
    """Cross-entropy with soft targets: L = -mean_i sum_k t_ik log softmax(z_i / T)_k.

    logits (B, K), targets t (B, K) whose rows are probabilities -> L, dlogits (B, K).  This is the distillation
    formula L_KD = -sum_i t_i log s_i, with s the student's and t the teacher's (softened) outputs; T² is left to
    `distillation_loss`.

    Gradient: by (*), dL_i/dz_j = -sum_k t_k ([k = j] - p^T_j) / T = -(t_j - p^T_j sum_k t_k) / T, and the
    probabilities t_k sum to 1, so

        dlogits = (p^T - t) / (T B)

    Source: Hinton, Vinyals & Dean 2015, arXiv 1503.02531, section 2. ValueError for T <= 0, for shapes that do
    not fit and (off the GPU) for rows of `targets` that are not probabilities.
    """
    check_matrix("logits", logits)
    check_soft("targets", targets, logits)
    check_probabilities("targets", targets)
    T = check_number("temperature", temperature, 0, open_low=True)
    xp, (batch, classes) = xp_of(logits), logits.shape
    s, p, log_total = _softmaxes((logits,), T, 0)
    t = empty(xp, p[0].shape, p.dtype)  # (K, B)
    t[...] = targets.T
    loss = (log_total.sum() - xp.vdot(t, s)) / batch
    p[0] -= t
    dlogits = xp.multiply(p[0].T, 1 / (T * batch), out=empty(xp, (batch, classes), p.dtype))
    return loss, dlogits


def distillation_loss(
    logits: Array,
    labels: Array | None,
    teacher_logits: Array,
    *,
    temperature: float = 4.0,
    soft_weight: float = 0.9,
) -> tuple[Array, Array]:
    """Labels and a teacher: L = (1 - w) CE(z, labels) + w T² CE(softmax(v / T), softmax(z / T)), w = soft_weight.

    logits z (B, K), labels (B,), teacher_logits v (B, K) -> L, dlogits (B, K).  w is the weight of the teacher's
    term, from 0 (labels alone) to 1 (the teacher alone; then `labels` may be None: nobody needs to have labelled
    the data).

    Gradient: the two terms are `cross_entropy` and `soft_cross_entropy` with t = q^T, and T²/T = T, so

        dlogits = [(1 - w) (p - y) + w T (p^T - q^T)] / B

    Why T². Let T be large. Then e^(z/T) ≈ 1 + z/T and p^T_j ≈ (1 + z_j/T) / (K + sum_k z_k/T). For logits of
    zero mean the sum is 0 and p^T_j - q^T_j ≈ (z_j - v_j) / (K T): the soft term's own gradient, which divides
    by T once more, shrinks like 1/T². The factor T² takes that back, so that w means the same at every T. What is
    left,

        w T (p^T - q^T) -> w (z - v) / K        as T -> infinity,

    is the gradient of w |z - v|² / (2 K): in the limit, distilling is matching logits (and each row of z and v
    counts from its own mean, for softmax does not notice a shift).

    Source: Hinton, Vinyals & Dean 2015, arXiv 1503.02531, sections 2 and 2.1. ValueError for T <= 0, for a
    soft_weight outside [0, 1] and for shapes that do not fit.
    """
    check_matrix("logits", logits)
    check_mix(labels, temperature, soft_weight, logits.shape)
    check_soft("teacher_logits", teacher_logits, logits)
    if labels is not None:
        check_same_library("labels", labels, logits)  # their shape and range have been looked at in check_mix
    return _mix(logits, labels, teacher_logits, float(temperature), float(soft_weight))


def _mix(logits: Array, labels: Array, teacher_logits: Array, T: float, w: float) -> tuple[Array, Array]:
    """`distillation_loss`; with w = 0, where no teacher is asked, `cross_entropy`."""
    kernels = kernels_of(logits)
    if kernels is not None and logits.shape[1] <= kernels.MAX_CLASSES:
        loss, dlogits = kernels.distillation_loss(logits, labels, teacher_logits, temperature=T, soft_weight=w)
        return loss, dlogits
    xp, (batch, classes) = xp_of(logits), logits.shape
    hard, soft = w < 1, w > 0
    s, p, log_total = _softmaxes((logits,) * hard + (logits, teacher_logits) * soft, T, int(hard))
    # With t the target, -sum_k t_k log p_k = log_total - sum_k t_k s_k, since the t_k sum to 1.
    loss, total = 0.0, log_total.sum(axis=(1, 2))
    if hard:
        y = xp.equal(labels, count(xp, classes)[:, None], out=empty(xp, (classes, batch), p.dtype))  # one-hot
        loss = loss + (1 - w) / batch * (total[0] - xp.vdot(y, s[0]))
        p[0] -= y
        p[0] *= (1 - w) / batch
    if soft:
        q = p[-1]
        loss = loss + w * T * T / batch * (total[-2] - xp.vdot(q, s[-2]))
        p[-2] -= q
        p[-2] *= w * T / batch
    if hard and soft:
        p[0] += p[1]
    dlogits = empty(xp, (batch, classes), p.dtype)
    dlogits[...] = p[0].T
    return loss, dlogits


def _softmaxes(logits: tuple[Array, ...], T: float, first: int) -> tuple[Array, Array, Array]:
    """Several softmaxes in one go, those from the `first` on at temperature T.  n times (B, K) ->

    s = (z - max z) / T and p = softmax(z / T), both (n, K, B), and log sum_k e^(s_k), (n, 1, B). Classes stand before
    the batch because a maximum or sum over few classes is then taken over whole rows at once, ten times as fast.
    """
    xp, (batch, classes) = xp_of(logits[0]), logits[0].shape
    shape, dtype = (len(logits), classes, batch), _float(logits[0])
    s, p, top = empty(xp, shape, dtype), empty(xp, shape, dtype), empty(xp, (len(logits), 1, batch), dtype)
    for i, z in enumerate(logits):
        s[i] = z.T
    s -= s.max(axis=1, keepdims=True, out=top)
    if T != 1:
        s[first:] /= T
    # A class may be ruled out by a logit of -inf; but 0 · -inf, in the losses, would be NaN.
    xp.maximum(s, -6e4 if dtype.itemsize == 2 else -3e38, out=s)
    xp.exp(s, out=p)
    p /= p.sum(axis=1, keepdims=True, out=top)
    return s, p, xp.log(top, out=top)


def _float(logits: Array) -> np.dtype:
    """The precision to compute in: the logits' own, or float64 for integers."""
    dtype = logits.dtype if logits.dtype.kind == "f" else np.dtype("float64")
    return dtype if dtype.isnative else dtype.newbyteorder("=")
