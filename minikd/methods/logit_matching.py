"""Logit matching: the student regresses the teacher's logits (Ba & Caruana 2014; Kim et al. 2021).

Idea. Before they are squeezed through a softmax, logits show small differences between unlikely classes as plainly
as large ones. So match the numbers themselves.

Loss. The mean squared difference, beside the labels; w is the soft_weight:

    L = (1 - w) CE(y, p) + w / (B K) sum_ik (z_ik - v_ik)²,        dlogits = [(1 - w) (p - y) + 2 w (z - v) / K] / B

since d (z_ik - v_ik)² / dz_ik = 2 (z_ik - v_ik).

As a limit. `distillation_loss` derives that T² KL(q^T || p^T) -> |z° - v°|² / (2 K) for each sample as T ->
infinity, where z° and v° are z and v less their own means: up to a factor 2, and up to a shift of all logits of a
sample, which no softmax notices and this loss does, soft targets at a high temperature are logit matching.

Defaults. w = 0.9, as for soft targets. Ba & Caruana have no labels at all (w = 1), and normalise the logits first.

When. With a confident teacher, whose soft targets have too little in them, and, by `matching_loss` with w = 1 in
`fit`, on unlabelled data. It asks the student to copy even what cannot matter, such as how far apart two hopeless
classes are; a small student pays for that.

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
    """(1 - w) CE(y, p) + w · mean squared difference of the logits; labels may be None with w = 1."""
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
    """`fit` on labels and on the teacher's logits as numbers."""
    loss = partial(matching_loss, soft_weight=mix(soft_weight, strength))
    return teach(student, teacher, x, labels, loss, **options)


METHOD = Method(
    "logits",
    "regress the teacher's logits",
    "Ba & Caruana 2014, arXiv 1312.6184; Kim et al. 2021, 2105.08919",
    train,
    parallel=True,
)
