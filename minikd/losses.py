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

from .backend import Array, xp_of
from .checks import check_classes, check_distillation, check_matrix, check_number, check_probabilities, check_soft
from .fast import fused
from .ops import log_softmax, softmax

Loss = Callable[..., tuple[Any, ...]]  # (logits, *targets) -> (loss, dlogits), or also hidden_grads: see MLP.backward


@fused
def cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Cross-entropy with class labels: L = -mean_i log p_i[y_i].  logits (B, K), labels (B,) -> L, dlogits (B, K)

    Gradient: L_i = -log p_y, so (*) with T = 1 gives dL_i/dz_j = -([y = j] - p_j) = p_j - y_j, and the mean over
    the batch divides by B:

        dlogits = (p - y) / B

    On a GPU the range of the labels is not checked here, since looking would stop the pipeline; `fit` checks it
    once. ValueError for shapes and labels that do not fit, TypeError for labels that are not integers.
    """
    logits = check_matrix("logits", logits)
    labels = check_classes(labels, logits)
    return hard_loss(logits, labels)


def hard_loss(logits: Array, labels: Array) -> tuple[Array, Array]:
    """`cross_entropy` without its checks."""
    xp, batch = xp_of(logits), len(logits)
    i = xp.arange(batch)
    logp = log_softmax(logits)  # (B, K)
    loss = -logp[i, labels].sum() / batch
    dlogits = xp.exp(logp)
    dlogits[i, labels] -= 1  # p - y
    return loss, dlogits / batch


@fused
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
    logits = check_matrix("logits", logits)
    targets = check_soft("targets", targets, logits)
    check_probabilities("targets", targets)
    T = check_number("temperature", temperature, 0, open_low=True)
    return soft_loss(logits, targets, T)


def soft_loss(logits: Array, targets: Array, T: float) -> tuple[Array, Array]:
    """`soft_cross_entropy` without its checks."""
    xp, batch = xp_of(logits), len(logits)
    logp = log_softmax(logits, T)  # (B, K)
    t = targets.astype(logp.dtype, copy=False)
    # A logit of -inf rules a class out. Where the target agrees, 0 · -inf counts as 0, not as NaN.
    loss = -(t * xp.where(t == 0, 0, logp)).sum() / batch
    return loss, (xp.exp(logp) - t) / (T * batch)


@fused
def distillation_loss(
    logits: Array, labels: Array | None, teacher_logits: Array, *, temperature: float = 4.0, soft_weight: float = 0.9
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
    logits, labels, teacher_logits = check_distillation(logits, labels, teacher_logits, temperature, soft_weight)
    T, w = float(temperature), float(soft_weight)
    hard, dhard = hard_loss(logits, labels) if w < 1 else (0, 0)  # a term without weight is not computed
    soft, dsoft = soft_loss(logits, softmax(teacher_logits, T), T) if w > 0 else (0, 0)
    return (1 - w) * hard + w * T * T * soft, (1 - w) * dhard + w * T * T * dsoft


class DivergenceLoss:
    """`distillation_loss` and its gradient, with a value that goes to 0: what `distill` trains with.

    CE(q^T, p^T) = KL(q^T || p^T) + H(q^T), and the teacher's entropy H(q^T) does not depend on the student. The value
    without it,

        (1 - w) CE(y, p) + w T² KL(q^T || p^T),

    shows how far the student still is from its teacher.

    known   the teacher's logits for all samples (N, K), whose entropy is computed once; or None, where they are not
            known beforehand, and the entropy of each batch is computed with the batch
    """

    def __init__(self, known: Array | None, temperature: float, soft_weight: float) -> None:
        self.mix = {"temperature": temperature, "soft_weight": soft_weight}
        self.fingerprint = f"distillation_loss {self.mix}"  # the same training, so the same checkpoints
        self.known = None if known is None else float(self.entropy(known))

    def entropy(self, v: Array) -> Array:
        """The teacher's part of the loss, w T² H(q^T), averaged over the rows of v (N, K)."""
        return self.mix["soft_weight"] * distillation_loss(v, None, v, **{**self.mix, "soft_weight": 1.0})[0]

    def __call__(self, logits: Array, labels: Array | None, teacher_logits: Array) -> tuple[Array, Array]:
        """Logits (B, K), labels (B,), teacher_logits (B, K) -> loss, dlogits (B, K)"""
        loss, dlogits = distillation_loss(logits, labels, teacher_logits, **self.mix)
        return loss - (self.entropy(teacher_logits) if self.known is None else self.known), dlogits
