"""Similarity preservation: samples that are alike to the teacher shall be alike to the student (Tung & Mori 2019).

Idea. Of a batch, take the matrix of similarities between its samples; a sample's row says which others it activates
the same features as. Match the rows.

Loss. G = f f^T (B, B) of features f (B, W), u_i = G_i / |G_i| its rows at L2 norm 1, and U the teacher's:

    L = CE(y, p) + γ / B² Σ_ij (u_ij - U_ij)²

Gradient. du = 2 γ (u - U) / B², then back through the norm of each row (`unit_rows_backward`), then through the Gram
matrix (`gram_backward`): df = (dG + dG^T) f. A sample without any active feature has a row of zeros; that row stays
0.

Defaults. γ = 3000, as in the paper on CIFAR-10, where L is small: two random matrices differ by about 2 / B. The
last hidden layers. The rows are divided by their L2 norms (some libraries use sums, or the norm of the whole
matrix).

When. Where teacher and student have layers of different widths and no regressor is wanted. After relu all
similarities are positive, so much of G is alike for all samples; one batch shows but few relations.

Source: arXiv 1907.09682, equations 1 to 4.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..checks import check_number
from ..metrics import History
from ..mlp import MLP
from .base import Method, check_pair, teach_features
from .linear_algebra import as_float, gram_backward, unit_rows, unit_rows_backward


def sp_loss(features: Array, teacher_features: Array) -> tuple[Any, Array]:
    """Σ_ij (u_ij - U_ij)² / B², without γ.  features (B, W), teacher_features (B, W') -> L, dfeatures (B, W)"""
    features, teacher_features = check_pair(features, teacher_features)
    f, teacher = as_float(features), as_float(teacher_features)
    u, norms = unit_rows(f @ f.T)
    U, _ = unit_rows(teacher @ teacher.T)
    difference = u - U
    du = 2 * difference / difference.size
    return (difference * difference).mean(), gram_backward(unit_rows_backward(du, u, norms), f)


def train(
    student: MLP, teacher: Any, x: Array, labels: Array, *, strength: float = 1.0, gamma: float = 3000.0, **options: Any
) -> History:
    """`fit` on labels and on which samples are alike to the teacher."""
    weight = check_number("strength", strength, 0) * check_number("gamma", gamma, 0)
    return teach_features(student, teacher, x, labels, sp_loss, weight=weight, **options)


METHOD = Method(
    "sp", "similarities between samples, as vectors", "Tung & Mori 2019, arXiv 1907.09682", train, teacher="network"
)
