"""Logit matching: the student regresses the teacher's logits (Ba & Caruana 2014; Kim et al. 2021).

Idea. Logits show small differences between unlikely classes as clearly as large ones; after the softmax they are hard
to see. So the student matches the logits themselves.

Loss. The mean squared difference, added to the labels' loss; w is the soft_weight::

    L = (1 - w) CE(y, p) + w / (B K) sum_ik (z_ik - v_ik)²,        dlogits = [(1 - w) (p - y) + 2 w (z - v) / K] / B

because d (z_ik - v_ik)² / dz_ik = 2 (z_ik - v_ik).

As a limit. Let z° and v° be z and v minus their own means. `distillation_loss` derives that, for each sample::

    T² KL(q^T || p^T) -> ‖z° - v°‖² / (2 K)        as T -> infinity

So soft targets at a high temperature are logit matching, up to a factor 2, and up to a shift of all logits of a sample,
which changes this loss but no softmax.

Defaults. w = 0.9, as for soft targets. Ba & Caruana use no labels at all (w = 1), and normalise the logits first.

When. Use it with a confident teacher, whose soft targets contain too little, and on unlabelled data (`matching_loss`
with w = 1 in `fit`). It asks the student to copy even what cannot matter, such as the difference between two very
unlikely classes. That costs a small student accuracy.

Sources: arXiv 1312.6184; arXiv 2105.08919, which compares with soft targets at every T.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..backend import Array
from ..checks import check_matrix, check_number, check_soft
from ..losses import cross_entropy
from ..metrics import History
from ..mlp import MLP
from .base import Method, mix, teach
from .linear_algebra import as_float


def matching_loss(
    logits: Array, labels: Array | None, teacher_logits: Array, *, soft_weight: float = 0.9
) -> tuple[Any, Array]:
    """(1 - w) CE(y, p) + w · mean squared difference of the logits, and its gradient.

    logits, teacher_logits (B, K), labels (B,), or None with w = 1 -> L, dlogits (B, K)
    """
    logits = check_matrix("logits", logits)
    teacher_logits = check_soft("teacher_logits", teacher_logits, logits)
    w = check_number("soft_weight", soft_weight, 0, 1)
    difference = as_float(logits) - teacher_logits
    value = w * (difference * difference).mean()
    dlogits = difference * (2 * w / difference.size)
    if w == 1:
        return value, dlogits
    if labels is None:
        raise ValueError(f"labels may be None only with soft_weight 1, got soft_weight {soft_weight!r}")
    hard, dhard = cross_entropy(logits, labels)
    return value + (1 - w) * hard, dlogits + (1 - w) * dhard


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    soft_weight: float = 0.9,
    **options: Any,
) -> History:
    """`fit` on labels and on the teacher's logits as numbers.

    Parameters
    ----------
    student, teacher, x, labels, strength, **options
        As for every method: see minikd/methods/base.py.
    soft_weight : float
        w, in [0, 1].
    """
    loss = partial(matching_loss, soft_weight=mix(soft_weight, strength))
    return teach(student, teacher, x, labels, loss, **options)


METHOD = Method(
    "logits",
    "regress the teacher's logits",
    "Ba & Caruana 2014, arXiv 1312.6184; Kim et al. 2021, 2105.08919",
    train,
    parallel=True,
)
