"""The losses: what a network is trained to minimise. Each loss returns its own gradient.

Each loss takes logits z (B, K) and returns `(loss, dlogits)`: the mean over the batch, and its derivative with respect
to the logits, (B, K), derived by hand through the softmax. Nothing here depends on a network.

In the derivations p = softmax(z) and p^T = softmax(z / T) belong to the student. The teacher's logits are v, and
q^T = softmax(v / T) are its softened probabilities. y is the one-hot label. Each derivation looks at one row i of the
batch. All of them need one fact, in which [k = j] is 1 if k is j and 0 otherwise::

    d log p^T_k / dz_j = ([k = j] - p^T_j) / T                                                               (*)

because log p^T_k = z_k/T - log sum_j e^(z_j/T).

NaN in the logits gives a NaN loss, as in NumPy. `fit` turns that into a DivergedError.
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
    """Cross-entropy with class labels, averaged over the batch.

    With p = softmax(z)::

        L = -mean_i log p_i[y_i]

    Parameters
    ----------
    logits : array (B, K)
        z, real numbers.
    labels : integer array (B,)
        The class indices, in [0, K).

    Returns
    -------
    loss : scalar
        L, in nats.
    dlogits : array (B, K)
        dL/dz.

    Raises
    ------
    ValueError
        The shapes do not fit, or a label is no class. On a GPU the labels are not checked here, because a look at them
        would stop the pipeline; `fit` checks them once.
    TypeError
        The labels are not integers, or an argument is not an array.

    Notes
    -----
    Gradient: L_i = -log p_y, so (*) at the top of losses.py, with T = 1, gives
    dL_i/dz_j = -([y = j] - p_j) = p_j - y_j. The mean over the batch divides by B::

        dlogits = (p - y) / B

    References
    ----------
    Goodfellow, Bengio & Courville 2016, "Deep Learning", section 6.2.2.3.

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import cross_entropy
    >>> loss, dlogits = cross_entropy(np.array([[2.0, 1.0, 0.0]]), np.array([0]))
    >>> round(float(loss), 4)
    0.4076
    >>> dlogits.round(3)
    array([[-0.335,  0.245,  0.09 ]])
    """
    logits = check_matrix("logits", logits)
    labels = check_classes(labels, logits)
    return hard_loss(logits, labels)


def hard_loss(logits: Array, labels: Array) -> tuple[Array, Array]:
    """`cross_entropy` without its checks.  logits (B, K), labels (B,) -> L, dlogits (B, K)"""
    xp, batch = xp_of(logits), len(logits)
    i = xp.arange(batch)
    logp = log_softmax(logits)  # (B, K)
    loss = -logp[i, labels].sum() / batch
    dlogits = xp.exp(logp)  # p (B, K)
    dlogits[i, labels] -= 1  # p - y
    return loss, dlogits / batch  # (p - y) / B, (B, K)


@fused
def soft_cross_entropy(logits: Array, targets: Array, *, temperature: float = 1.0) -> tuple[Array, Array]:
    """Cross-entropy with soft targets, averaged over the batch.

    With temperature T::

        L = -mean_i sum_k t_ik log softmax(z_i / T)_k

    This is the distillation formula L_KD = -sum_i t_i log s_i, where s are the student's and t the teacher's softened
    outputs. There is no factor T² in it; `distillation_loss` adds that.

    Parameters
    ----------
    logits : array (B, K)
        z, real numbers.
    targets : array (B, K)
        t, one distribution a row.
    temperature : float
        T, above 0. It divides the logits only; the targets are used as they are.

    Returns
    -------
    loss : scalar
        L, in nats.
    dlogits : array (B, K)
        dL/dz.

    Raises
    ------
    ValueError
        T <= 0, the shapes do not fit, or rows of `targets` are not probabilities. The last is not checked on a GPU.
    TypeError
        An argument is not an array or not a number, or the arrays are on different devices.

    Notes
    -----
    Gradient: by (*) at the top of losses.py, dL_i/dz_j = -sum_k t_k ([k = j] - p^T_j) / T, which is
    -(t_j - p^T_j sum_k t_k) / T. The probabilities t_k sum to 1, so::

        dlogits = (p^T - t) / (T B)

    References
    ----------
    Hinton, Vinyals & Dean 2015, arXiv 1503.02531, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import soft_cross_entropy
    >>> loss, dlogits = soft_cross_entropy(np.array([[2.0, 1.0, 0.0]]), np.array([[0.5, 0.3, 0.2]]))
    >>> round(float(loss), 4)
    1.1076
    >>> dlogits.round(3)
    array([[ 0.165, -0.055, -0.11 ]])
    """
    logits = check_matrix("logits", logits)
    targets = check_soft("targets", targets, logits)
    check_probabilities("targets", targets)
    T = check_number("temperature", temperature, 0, open_low=True)
    return soft_loss(logits, targets, T)


def soft_loss(logits: Array, targets: Array, T: float) -> tuple[Array, Array]:
    """`soft_cross_entropy` without its checks.  logits, targets (B, K) -> L, dlogits (B, K)"""
    xp, batch = xp_of(logits), len(logits)
    logp = log_softmax(logits, T)  # (B, K)
    t = targets.astype(logp.dtype, copy=False)
    # A logit of -inf rules a class out. If the target is 0 there, 0 · -inf counts as 0, not as NaN.
    loss = -(t * xp.where(t == 0, 0, logp)).sum() / batch
    return loss, (xp.exp(logp) - t) / (T * batch)  # (p^T - t) / (T B), (B, K)


@fused
def distillation_loss(
    logits: Array, labels: Array | None, teacher_logits: Array, *, temperature: float = 4.0, soft_weight: float = 0.9
) -> tuple[Array, Array]:
    """The distillation loss: cross-entropy with labels, mixed with cross-entropy with a teacher.

    With CE(t, p) the cross-entropy of target t and prediction p, averaged over the batch::

        L = (1 - w) CE(y, softmax(z)) + w T² CE(softmax(v / T), softmax(z / T))

    Parameters
    ----------
    logits : array (B, K)
        z, the student's logits.
    labels : integer array (B,) or None
        The class indices, in [0, K). They may be None if w is 1: then the data need no labels.
    teacher_logits : array (B, K)
        v, the teacher's logits. They are constants.
    temperature : float
        T, above 0. It softens both networks' probabilities in the teacher's term.
    soft_weight : float
        w, the weight of the teacher's term, from 0 (labels alone) to 1 (the teacher alone).

    Returns
    -------
    loss : scalar
        L, in nats.
    dlogits : array (B, K)
        dL/dz.

    Raises
    ------
    ValueError
        T <= 0, soft_weight is outside [0, 1], or the shapes do not fit.
    TypeError
        An argument is not an array or not a number, or the arrays are on different devices.

    Notes
    -----
    Gradient: the two terms are `cross_entropy` and `soft_cross_entropy` with t = q^T, and T²/T = T, so::

        dlogits = [(1 - w) (p - y) + w T (p^T - q^T)] / B

    Why T²: let T be large. Then e^(z/T) ≈ 1 + z/T and p^T_j ≈ (1 + z_j/T) / (K + sum_k z_k/T). For logits of zero mean
    the sum is 0 and p^T_j - q^T_j ≈ (z_j - v_j) / (K T). The gradient of the soft term divides by T once more, so it
    shrinks like 1/T². The factor T² compensates, so that w means the same at every T. What is left::

        w T (p^T - q^T) -> w (z - v) / K        as T -> infinity

    is the gradient of w (z - v)² / (2 K), summed over the classes. In the limit, distillation is logit matching. Each
    row of z and v counts from its own mean there, because softmax does not change when all logits of a row are shifted.

    References
    ----------
    Hinton, Vinyals & Dean 2015, arXiv 1503.02531, sections 2 and 2.1.

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import distillation_loss
    >>> z, v = np.array([[2.0, 1.0, 0.0]]), np.array([[5.0, 3.0, -2.0]])
    >>> loss, dlogits = distillation_loss(z, np.array([0]), v, temperature=4.0, soft_weight=0.9)
    >>> round(float(loss), 4)
    14.4885
    >>> dlogits.round(3)
    array([[-0.546, -0.027,  0.573]])
    """
    logits, labels, teacher_logits = check_distillation(logits, labels, teacher_logits, temperature, soft_weight)
    T, w = float(temperature), float(soft_weight)
    hard, dhard = hard_loss(logits, labels) if w < 1 else (0, 0)  # a term of weight 0 is not computed
    soft, dsoft = soft_loss(logits, softmax(teacher_logits, T), T) if w > 0 else (0, 0)
    return (1 - w) * hard + w * T * T * soft, (1 - w) * dhard + w * T * T * dsoft  # L, dlogits (B, K)


class DivergenceLoss:
    """`distillation_loss` and its gradient, with a value that goes to 0: what `distill` trains with.

    CE(q^T, p^T) = KL(q^T || p^T) + H(q^T), and the teacher's entropy H(q^T) does not depend on the student. The value
    without it shows how far the student still is from its teacher::

        (1 - w) CE(y, p) + w T² KL(q^T || p^T)

    Parameters
    ----------
    known : array (N, K) or None
        The teacher's logits for all samples, whose entropy is computed once. If they are not known beforehand (None),
        the entropy of each batch is computed with the batch.
    temperature, soft_weight : float
        T and w, as in `distillation_loss`.
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
