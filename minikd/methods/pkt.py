"""Probabilistic knowledge transfer: similarities between samples as probabilities (Passalis & Tefas 2018).

Idea. As in `sp`, but a sample's similarities to the others become the probabilities of drawing them as its neighbour. A
divergence brings the student's distribution close to the teacher's. So near neighbours count more than far ones.

Loss. u_i = f_i / ‖f_i‖ are the features at L2 norm 1, S = (u u^T + 1) / 2 in [0, 1], p_ij = S_ij / Σ_k S_ik the
student's probabilities, and q_ij the teacher's::

    L = CE(y, p) + γ / B² Σ_ij q_ij log(q_ij / p_ij)

Gradient. In the sum, row by row, log p_ij = log S_ij - log Σ_k S_ik. So with s_i = Σ_k S_ik and Σ_j q_ij = 1::

    dL/dS_ij = γ / B² (1 / s_i - q_ij / S_ij)

Then dC = dS / 2 for the cosines C = u u^T, and `gram_backward` and `unit_rows_backward` lead to f. If S is 0 (exactly
opposite features, which relu does not have), it counts as 1e-7. The reference code adds as much inside the logarithm.

Defaults. γ = 30,000 and the last hidden layers, as in RepDistiller, whose mean is over all B² pairs, including each
sample with itself. The paper gives no weight, because it uses no labels, and leaves out the pairs of a sample with
itself.

When. Use it like `sp`: for retrieval, or for features of different widths. The paper's best application has a teacher
with other inputs (other sensors, hand-made features).

Source: arXiv 1803.10837.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array, xp_of
from ..checks import check_number
from ..metrics import History
from ..mlp import MLP
from .base import Method, check_pair, teach_features
from .linear_algebra import as_float, gram_backward, unit_rows, unit_rows_backward

LEAST = 1e-7  # what a similarity counts as at least


def pkt_loss(features: Array, teacher_features: Array) -> tuple[Any, Array]:
    """Σ_ij q_ij log(q_ij / p_ij) / B², without γ.  features (B, W), teacher_features (B, W') -> L, dfeatures (B, W)"""
    features, teacher_features = check_pair(features, teacher_features)
    xp = xp_of(features)
    u, norms = unit_rows(as_float(features))
    S, sums, p = _neighbours(u)
    _, _, q = _neighbours(unit_rows(as_float(teacher_features))[0])
    value = (q * xp.log(q / p)).mean()
    dS = xp.where(S > LEAST, (1 / sums - q / S) / S.size, 0)
    return value, unit_rows_backward(gram_backward(dS / 2, u), u, norms)


def _neighbours(u: Array) -> tuple[Array, Array, Array]:
    """Similarities S (B, B), their sums by row (B, 1), and the probabilities S / sums (B, B)."""
    S = xp_of(u).maximum((u @ u.T + 1) / 2, LEAST)
    sums = S.sum(axis=1, keepdims=True)
    return S, sums, S / sums


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    gamma: float = 30_000.0,
    **options: Any,
) -> History:
    """`fit` on labels and on the teacher's neighbours of each sample.

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
    return teach_features(student, teacher, x, labels, pkt_loss, weight=weight, **options)


METHOD = Method(
    "pkt",
    "similarities between samples, as probabilities",
    "Passalis & Tefas 2018, arXiv 1803.10837",
    train,
    teacher="network",
)
