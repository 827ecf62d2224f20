"""Logit standardisation: compare logits after giving both the same mean and standard deviation (Sun et al. 2024).

Idea. A shared temperature asks the student to match the range of the teacher's logits. A small network can hardly do
that, and it need not, because only the relations between logits matter. So the logits of each sample, the student's and
the teacher's, are standardised first. This is a separate temperature for each sample of each network.

Loss. With z̄ the mean and σ the standard deviation (over K - 1) of a sample's K logits::

    Z(z) = (z - z̄) / σ,     p = softmax(Z(z) / T),     q = softmax(Z(v) / T)
    L = a CE(y, softmax(z)) + b T² KL(q || p)

Gradient. Let g = dL/dZ = b T (p - q) / B, by `distillation_loss`. Z is c / σ with c = z - z̄. From σ² = Σ c² / (K - 1)
follows dσ/dz_j = c_j / ((K - 1) σ) = Z_j / (K - 1), and so::

    dL/dz = (g - mean(g) - Z Σ_k g_k Z_k / (K - 1)) / σ

where mean(g) is 0 here. The parts of g that change all logits alike (along 1) or their spread (along Z) are removed.
This is the invariance in another form: the second term of L does not change when a row of z, or of v, is scaled or
shifted. Logits that are all equal have no spread. They are standardised to 0, and the second term has no gradient
there.

Defaults. a = 0.1, b = 9 and T = 2, as in the reference code for plain distillation. That code divides by σ + 1e-7. Here
it is max(σ, 1e-12), so that the standard deviation is exactly 1 even if logits are close to each other.

When. Use it with a teacher whose logits are far larger than the student's. The student's confidence is then not the
teacher's: only the labels determine its calibration.

Source: arXiv 2403.01427.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..backend import Array, xp_of
from ..checks import check_matrix, check_number, check_soft
from ..losses import cross_entropy
from ..metrics import History
from ..mlp import MLP
from .base import Method, teach
from .kd import kl_loss
from .linear_algebra import TINY, as_float, centre_rows


def standardise(z: Array) -> tuple[Array, Array]:
    """Rows with mean 0 and standard deviation 1, (B, K), and the deviations they had, (B, 1)."""
    xp = xp_of(z)
    centred = centre_rows(z)
    deviation = xp.sqrt((centred * centred).sum(axis=1, keepdims=True) / max(z.shape[1] - 1, 1))
    return centred / xp.maximum(deviation, TINY), deviation


def standardise_backward(dZ: Array, Z: Array, deviation: Array) -> Array:
    """From dL/dZ to dL/dz, (B, K), for Z, deviation = standardise(z)."""
    xp = xp_of(dZ)
    along = (dZ * Z).sum(axis=1, keepdims=True) / max(Z.shape[1] - 1, 1)
    dz = (dZ - dZ.mean(axis=1, keepdims=True) - along * Z) / xp.maximum(deviation, TINY)
    return xp.where(deviation <= TINY, 0, dz)  # "<=", so that NaN stays NaN


def standardised_loss(
    logits: Array,
    labels: Array,
    teacher_logits: Array,
    *,
    hard_weight: float = 0.1,
    soft_weight: float = 9.0,
    temperature: float = 2.0,
) -> tuple[Any, Array]:
    """a CE + b T² KL of standardised logits. a is hard_weight, b soft_weight, and they need not add up to 1.

    logits, teacher_logits (B, K), labels (B,) -> L, dlogits (B, K)
    """
    logits = check_matrix("logits", logits)
    teacher_logits = check_soft("teacher_logits", teacher_logits, logits)
    a, b = check_number("hard_weight", hard_weight, 0), check_number("soft_weight", soft_weight, 0)
    hard, dhard = cross_entropy(logits, labels)
    Z, deviation = standardise(as_float(logits))
    soft, dZ = kl_loss(Z, None, standardise(as_float(teacher_logits))[0], temperature=temperature, soft_weight=1.0)
    return a * hard + b * soft, a * dhard + standardise_backward(b * dZ, Z, deviation)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    hard_weight: float = 0.1,
    soft_weight: float = 9.0,
    temperature: float = 2.0,
    **options: Any,
) -> History:
    """`fit` on labels and on the teacher's logits, standardised.

    Parameters
    ----------
    student, teacher, x, labels, **options
        As for every method: see minikd/methods/base.py.
    strength : float
        A factor of soft_weight.
    hard_weight, soft_weight : float
        a and b, at least 0.
    temperature : float
        T, above 0.
    """
    soft_weight = check_number("strength", strength, 0) * soft_weight
    loss = partial(standardised_loss, hard_weight=hard_weight, soft_weight=soft_weight, temperature=temperature)
    return teach(student, teacher, x, labels, loss, **options)


METHOD = Method(
    "standardised",
    "soft targets of standardised logits",
    "Sun et al. 2024, arXiv 2403.01427",
    train,
    parallel=True,
    temperature="temperature",
)
