"""Skewed KL: mix a little of one distribution into the other before comparing them (Ko et al. 2024, "DistiLLM").

Idea. A KL divergence becomes very large where its second distribution is nearly 0, and then a few classes dominate the
gradient. With a share of the first distribution mixed into the second, their ratio is at most 1 / α. Then the loss is
bounded, the gradient is smoother, and the divergence is still 0 only for p = q.

Loss. q is the teacher's softmax at T, p the student's, α the share that is mixed in, w the soft_weight::

    forward   D = KL(q || α q + (1 - α) p)
    reverse   D = KL(p || (1 - α) q + α p)          L = (1 - w) CE(y, p) + w T² mean_i D

Gradient. For any D of p, dp_k/dz_j = p_k ([k = j] - p_j) / T gives dD/dz_j = p_j (d_j - Σ_k p_k d_k) / T with
d_k = dD/dp_k, and a constant added to all d_k cancels. With m the mixture::

    forward   d_k = -(1 - α) q_k / m_k
    reverse   d_k = log(p_k / m_k) - α p_k / m_k    (and + 1, a constant)

Both are computed with p_k q_k / m_k and p_k p_k / m_k from logarithms, which neither overflow nor divide by 0. At α = 0
they are the gradients of `kd`, (p - q) / T, and of `reverse-kl`.

Defaults. α = 0.1 as in the paper, for both directions; forward; T = 1 and w = 0.9 as in `reverse-kl`.

When. Use it instead of either KL if training with it is unstable, or if the teacher rules classes out: the reverse
direction stays finite then.

Source: arXiv 2402.03898, section 3.1.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..backend import Array, xp_of
from ..checks import check_choice, check_number
from ..metrics import History
from ..mlp import MLP
from .base import Method, mix, mixed_loss, teach
from .linear_algebra import divergence, log_mixture

DIRECTIONS = ("forward", "reverse")


def skewed_kl(logp: Array, logq: Array, alpha: float, direction: str) -> tuple[Array, Array]:
    """The skewed KL of each row, and its gradient by the student's logits.  (B, K), (B, K) -> (B,), (B, K)"""
    exp, forward = xp_of(logp).exp, direction == "forward"
    first, second = (logq, logp) if forward else (logp, logq)
    logm = log_mixture(alpha, first, second)
    p, ratio = exp(logp), exp(logp + first - logm)  # p q / m, or p p / m
    pd = -(1 - alpha) * ratio if forward else p * (logp - logm) - alpha * ratio  # p_k d_k
    return divergence(first, logm), pd - p * pd.sum(axis=1, keepdims=True)


def skewed_loss(
    logits: Array,
    labels: Array | None,
    teacher_logits: Array,
    *,
    alpha: float = 0.1,
    direction: str = "forward",
    temperature: float = 1.0,
    soft_weight: float = 0.9,
) -> tuple[Any, Array]:
    """(1 - w) CE(y, p) + w T² times the skewed KL.  logits, teacher_logits (B, K), labels (B,) or None -> L, (B, K)

    ValueError for an alpha outside [0, 1) and for a direction that is neither "forward" nor "reverse".
    """
    check_choice("direction", direction, DIRECTIONS)
    skewed = partial(skewed_kl, alpha=check_number("alpha", alpha, 0, 1, open_high=True), direction=direction)
    return mixed_loss(logits, labels, teacher_logits, skewed, temperature=temperature, soft_weight=soft_weight)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    alpha: float = 0.1,
    direction: str = "forward",
    temperature: float = 1.0,
    soft_weight: float = 0.9,
    **options: Any,
) -> History:
    """`fit` on labels and on a skewed KL divergence from the teacher.

    Parameters
    ----------
    student, teacher, x, labels, strength, **options
        As for every method: see minikd/methods/base.py.
    alpha : float
        α, in [0, 1).
    direction : str
        "forward" or "reverse".
    temperature : float
        T, above 0.
    soft_weight : float
        w, in [0, 1].
    """
    how: dict[str, Any] = {"alpha": alpha, "direction": direction, "temperature": temperature}
    loss = partial(skewed_loss, **how, soft_weight=mix(soft_weight, strength))
    return teach(student, teacher, x, labels, loss, **options)


METHOD = Method(
    "skewed",
    "KL to a mixture of teacher and student",
    "Ko et al. 2024, arXiv 2402.03898",
    train,
    parallel=True,
    temperature="temperature",
)
