"""Reverse KL: penalise what the student says and the teacher would not say (Gu et al. 2023, "MiniLLM").

Idea. The divergence of `kd`, KL(q || p), is large wherever the teacher q has probability and the student p has none. So
a small student spreads over everything that the teacher finds possible (mode covering), and also over what lies
between. The other direction, KL(p || q), is large wherever the student has probability and the teacher has none. It
costs nothing to leave out a class of the teacher's, so the student keeps to those that it can imitate (mode seeking). A
language model that samples from p then says fewer things that the teacher would not say.

Loss. p = softmax(z) and p^T = softmax(z / T) are the student's, q^T = softmax(v / T) the teacher's, w the soft_weight::

    L = (1 - w) CE(y, p) + w T² mean_i KL(p^T_i || q^T_i),         KL(p || q) = Σ_k p_k (log p_k - log q_k)

Gradient. For one row, with g_k = log(p_k / q_k) and dp_k/dz_j = p_k ([k = j] - p_j) / T::

    dKL/dz_j = Σ_k dp_k/dz_j (g_k + 1) = p_j (g_j + 1) / T - p_j Σ_k p_k (g_k + 1) / T
             = p_j (g_j - KL) / T

The 1, which comes from the p inside the logarithm, cancels, because the p_k sum to 1. A class with p_j = 0 has no
gradient, however large q_j is: the student learns nothing about a class that it never gives. As in `kd`, the factor T²
keeps the size of the gradient at every T. As T grows, T² KL(p^T || q^T) and T² KL(q^T || p^T) have the same limit,
‖z - v‖² / (2 K) of centred logits. The mean over the batch divides by B::

    dlogits = [(1 - w) (p - y) + w T p^T (g - KL)] / B

Defaults. T = 1, because a language model is sampled at T = 1, and w = 0.9 as in `kd`. MiniLLM takes the divergence of
whole sequences, which the student generates (`on-policy`), and adds cross-entropy on other texts.

When. Use it for a small student that generates. With student 64 on 1,000 words of the data set "words" (w = 1, 5
seeds), the teacher gives the student's own words an NLL of 2.04 nats a letter, instead of 2.19 with forward KL. It
gives its own words 1.90. Held-out words have 2.15 instead of 2.08: mode seeking costs likelihood (`minikd reproduce
language`). A class that the teacher rules out (a logit of -infinity) makes this loss infinite; use `jsd` or `skewed`
then.

Source: arXiv 2306.08543, section 2.1.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..backend import Array, xp_of
from ..metrics import History
from ..mlp import MLP
from .base import Method, mix, mixed_loss, teach


def reverse_kl(logp: Array, logq: Array) -> tuple[Array, Array]:
    """KL(p || q) of each row, and its gradient p (log(p / q) - KL).  (B, K), (B, K) -> (B,), (B, K)"""
    p, g = xp_of(logp).exp(logp), logp - logq
    KL = (p * g).sum(axis=1)
    return KL, p * (g - KL[:, None])


def reverse_kl_loss(
    logits: Array, labels: Array | None, teacher_logits: Array, *, temperature: float = 1.0, soft_weight: float = 0.9
) -> tuple[Any, Array]:
    """(1 - w) CE(y, p) + w T² KL(p^T || q^T).  logits, teacher_logits (B, K), labels (B,) or None -> L, (B, K)"""
    return mixed_loss(logits, labels, teacher_logits, reverse_kl, temperature=temperature, soft_weight=soft_weight)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    temperature: float = 1.0,
    soft_weight: float = 0.9,
    **options: Any,
) -> History:
    """`fit` on labels and on the reverse KL divergence from the teacher.

    Parameters
    ----------
    student, teacher, x, labels, strength, **options
        As for every method: see minikd/methods/base.py.
    temperature : float
        T, above 0.
    soft_weight : float
        w, in [0, 1].
    """
    loss = partial(reverse_kl_loss, temperature=temperature, soft_weight=mix(soft_weight, strength))
    return teach(student, teacher, x, labels, loss, **options)


METHOD = Method(
    "reverse-kl",
    "KL(student || teacher): mode seeking",
    "Gu et al. 2023, arXiv 2306.08543",
    train,
    parallel=True,
    temperature="temperature",
)
