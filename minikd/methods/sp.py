"""Similarity preservation: samples similar for the teacher should be similar for the student (Tung & Mori 2019).

Idea. The similarities between the samples of a batch form a matrix. A sample's row says which other samples activate
the same features. The student matches the teacher's rows.

Loss. G = f f^T (B, B) for features f (B, W), u_i = G_i / ‖G_i‖ its rows at L2 norm 1, and U the teacher's::

    L = CE(y, p) + γ / B² Σ_ij (u_ij - U_ij)²

Gradient. du = 2 γ (u - U) / B². `unit_rows_backward` leads through the norm of each row, and `gram_backward` through
the Gram matrix: df = (dG + dG^T) f. A sample without any active feature has a row of zeros; that row stays 0.

Defaults. γ = 3000, as in the paper on CIFAR-10. It is large because L is small, about 2 / B for two random matrices.
The last hidden layers. The rows are divided by their L2 norms (some libraries use sums, or the norm of the whole
matrix).

When. Use it if teacher and student have layers of different widths and no regressor is wanted. After relu all
similarities are positive, so much of G is the same for all samples, and one batch shows only few relations.

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
    """`fit` on labels and on the teacher's similarities between samples.

    Parameters
    ----------
    student, x, labels, strength, **options
        As for every method: see minikd/methods/base.py. `layer` and `teacher_layer` choose hidden layers.
    teacher : MLP or array (N, W)
        A network, or features from any source.
    gamma : float
        γ, at least 0.
    """
    weight = check_number("strength", strength, 0) * check_number("gamma", gamma, 0)
    return teach_features(student, teacher, x, labels, sp_loss, weight=weight, **options)


METHOD = Method(
    "sp", "similarities between samples, as vectors", "Tung & Mori 2019, arXiv 1907.09682", train, teacher="network"
)
