"""DIST: match the correlations of the teacher's probabilities instead of their values (Huang et al. 2022).

Idea. A much stronger teacher is too exact a target. The student needs only its relations: which classes of this sample
are more likely than others, and which samples are more likely to be of this class. So the loss asks for a correlation
of 1 instead of a divergence of 0.

Loss. P = softmax(z / τ) and Q = softmax(v / τ), (B, K). ρ is Pearson's correlation of two vectors::

    ρ(a, b) = ã · b̃ / (‖ã‖ ‖b̃‖),     ã = a minus its mean
    inter = 1 - mean over rows i of ρ(P_i, Q_i)            the classes of a sample
    intra = 1 - mean over columns k of ρ(P_:k, Q_:k)       the samples of a class
    L = CE(y, softmax(z)) + τ² (β inter + γ intra)

Gradient. With u = ã/‖ã‖ and w = b̃/‖b̃‖, ρ = u · w, and `unit_rows_backward` gives dρ/dã = (w - ρ u) / ‖ã‖. Subtracting
the mean from a vector subtracts the mean from its gradient. But u and w have mean 0 already, so dρ/da is the same. The
gradient then goes through the softmax (`softmax_backward`). A vector without variation has no correlation: its ρ is 0
and so is the gradient. The same holds for intra in a batch of one sample.

Invariance. inter does not change when a row of Q is scaled (by a positive number) or shifted. intra does not change
when a column is.

Defaults. β = γ = 1 and τ = 1, as in the reference code. With another τ, the factor τ² keeps the size of the gradients,
as T² does in kd. Others use β = γ = 2 with τ = 4 on CIFAR-100. The reference adds 1e-8 to ‖ã‖ ‖b̃‖. Nothing is added
here, because with a very confident teacher the columns of P and Q vary less than that: with 100 classes the 1e-8
changes gradients by up to 80 % of the largest.

When. Use it with a teacher that is far stronger than the student, but not with few classes: with two, the correlation
of a row is 1 or -1.

Source: arXiv 2205.10536, equations 4, 6 and 8.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..backend import Array
from ..checks import check_matrix, check_number, check_soft
from ..losses import cross_entropy
from ..metrics import History
from ..mlp import MLP
from ..ops import softmax, softmax_backward
from .base import Method, teach
from .linear_algebra import as_float, centre_rows, unit_rows, unit_rows_backward


def correlation_loss(a: Array, b: Array) -> tuple[Any, Array]:
    """1 - mean over rows of Pearson's correlation, and its gradient with respect to a.  a, b (n, m) -> L, da (n, m)"""
    (u, norms), (w, _) = (unit_rows(centre_rows(m)) for m in (a, b))
    return 1 - (u * w).sum() / len(a), unit_rows_backward(-w / len(a), u, norms)


def dist_loss(
    logits: Array,
    labels: Array,
    teacher_logits: Array,
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> tuple[Any, Array]:
    """CE + τ² (β inter + γ intra), and its gradient.  logits, teacher_logits (B, K), labels (B,) -> L, (B, K)

    `beta`, `gamma` and `temperature` are β, γ and τ. ValueError for τ <= 0, for a negative weight and for shapes that
    do not fit.
    """
    logits = check_matrix("logits", logits)
    teacher_logits = check_soft("teacher_logits", teacher_logits, logits)
    beta, gamma = check_number("beta", beta, 0), check_number("gamma", gamma, 0)
    T = check_number("temperature", temperature, 0, open_low=True)
    value, dlogits = cross_entropy(logits, labels)
    P, Q = softmax(as_float(logits), T), softmax(as_float(teacher_logits), T)
    inter, by_row = correlation_loss(P, Q)
    intra, by_column = correlation_loss(P.T, Q.T)
    dP = T * T * (beta * by_row + gamma * by_column.T)
    return value + T * T * (beta * inter + gamma * intra), dlogits + softmax_backward(dP, P, T)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
    **options: Any,
) -> History:
    """`fit` on labels and on correlations with the teacher.

    Parameters
    ----------
    student, teacher, x, labels, optimizer, **options
        As for every method: see minikd/methods/base.py.
    strength : float
        A factor of both β and γ.
    beta, gamma : float
        β and γ, at least 0.
    temperature : float
        τ, above 0.
    """
    strength = check_number("strength", strength, 0)
    loss = partial(dist_loss, beta=strength * beta, gamma=strength * gamma, temperature=temperature)
    return teach(student, teacher, x, labels, loss, **options)


METHOD = Method(
    "dist",
    "correlate with the teacher, by sample and by class",
    "Huang et al. 2022, arXiv 2205.10536",
    train,
    temperature="temperature",
)
