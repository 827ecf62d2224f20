"""Soft targets: the student imitates the teacher's softened probabilities (Hinton, Vinyals & Dean 2015).

Idea. A teacher's wrong classes are not all equally wrong. Their ranking is knowledge that a label does not contain. A
temperature T makes the small probabilities large enough to be learnt from.

Loss. p = softmax(z) and p^T = softmax(z / T) are the student's, q^T = softmax(v / T) the teacher's, w the soft_weight::

    L = (1 - w) CE(y, p) + w T² CE(q^T, p^T),         dlogits = [(1 - w) (p - y) + w T (p^T - q^T)] / B

This is `minikd.distillation_loss`, which derives it. Many libraries write a divergence instead of the cross-entropy:
CE(q, p) = KL(q || p) + H(q), and the teacher's entropy H(q) does not depend on z. So `kl_loss` has the same gradient,
and is smaller by w T² H(q^T). At w = 1 it is 0, and so is its gradient, if the student's probabilities equal the
teacher's.

Defaults. T = 4 and w = 0.9 are what most later papers compare with. This paper reports T from 1 to 20, and "a
considerably lower weight" for the labels.

When. Use it first, and as the baseline. It gains little if the teacher is certain of everything, if there are only two
classes (one number a sample), or if the student is so small that it should not follow the teacher everywhere.

Source: arXiv 1503.02531.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..losses import cross_entropy, distillation_loss
from ..metrics import History
from ..mlp import MLP
from ..ops import log_softmax
from ..optim import Adam
from ..training import distill
from .base import MakeOptimizer, Method, check_student, mix
from .linear_algebra import divergence, mean_rows


def kl_loss(
    logits: Array, labels: Array | None, teacher_logits: Array, *, temperature: float = 4.0, soft_weight: float = 0.9
) -> tuple[Any, Array]:
    """(1 - w) CE(y, p) + w T² KL(q^T || p^T).  logits, teacher_logits (B, K), labels (B,) or None -> L, dlogits (B, K)

    The gradient is that of `distillation_loss`.
    """
    T, w = temperature, soft_weight
    _, dlogits = distillation_loss(logits, labels, teacher_logits, temperature=T, soft_weight=w)
    hard = cross_entropy(logits, labels)[0] if w < 1 else 0.0
    soft = divergence(*(log_softmax(z.astype("float64"), T) for z in (teacher_logits, logits)))  # (B,)
    return ((1 - w) * hard + w * T * T * mean_rows(soft)).astype(dlogits.dtype), dlogits


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    temperature: float = 4.0,
    soft_weight: float = 0.9,
    optimizer: MakeOptimizer = Adam,
    **options: Any,
) -> History:
    """`minikd.distill` at the soft_weight that `strength` makes of the one given.

    Parameters
    ----------
    student, teacher, x, labels, strength, optimizer, **options
        As for every method: see minikd/methods/base.py.
    temperature : float
        T, above 0.
    soft_weight : float
        w, in [0, 1].
    """
    x, labels = check_student(student, x, labels)
    mixture = {"temperature": temperature, "soft_weight": mix(soft_weight, strength)}
    return distill(student, teacher, x, labels, **mixture, optimizer=optimizer(student), **options)


METHOD = Method(
    "kd",
    "soft targets at a temperature",
    "Hinton et al. 2015, arXiv 1503.02531",
    train,
    parallel=True,
    temperature="temperature",
)
