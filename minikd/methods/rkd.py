"""Relational distillation: match distances and angles between samples (Park et al. 2019).

Idea. A representation is useful because of how samples lie relative to each other in it, not because of their
coordinates. So the distances between the samples of a batch, and the angles of their triangles, should be the same in
the student as in the teacher. The two networks need not have the same number of features.

Loss. For features f (B, W) let d_ij = ‖f_i - f_j‖, μ the mean of all d_ij > 0, e_ij = (f_j - f_i) / d_ij, and h Huber's
function. With the teacher's in capitals::

    h(x) = x²/2 for |x| < 1,  |x| - 1/2 beyond
    L_distance = mean over i, j     of h(d_ij / μ - D_ij / M)
    L_angle    = mean over i, j, k  of h(a_ijk - A_ijk),     a_ijk = e_ij · e_ik, the cosine of the angle at i
    L = CE(y, p) + 25 L_distance + 50 L_angle

Gradient. Everything depends on f only through the Gram matrix G = c c^T, where c is f minus its mean (which changes no
difference, and keeps precision)::

    d_ij² = G_ii + G_jj - 2 G_ij,     a_ijk = (G_jk - G_ij - G_ik + G_ii) / (d_ij d_ik)

So find dL/dG, and then df = (dG + dG^T) c by `gram_backward`. For the distances, with s = h'(d/μ - D/M) / B²::

    dL/dd_ij = s_ij / μ - [d_ij > 0] / n · Σ_kl s_kl d_kl / μ²,       n the number of distances > 0

because each distance is also in the mean. For the angles, with s = h'(a - A) / B³, the numerators N get s_ijk / (d_ij
d_ik). Because a_ijk is the same for (j, k) and (k, j)::

    dL/dd_ij = -2 / d_ij · Σ_k s_ijk a_ijk
    dL/dG_jk = Σ_i dN_ijk,    dL/dG_ij = -2 Σ_k dN_ijk,    dL/dG_ii = Σ_jk dN_ijk,    added up

Last, a d_ij > 0 passes dL/dd_ij / (2 d_ij) on to d_ij². Samples at the same point have no direction, so the gradient of
their distance is 0. A batch of one has no relations, so its loss and gradient are 0.

Invariance. L does not change when the features are rotated, moved or scaled.

Defaults. 25 and 50, the last hidden layers, and means over all B² and B³ entries, as in the reference code. For
classification that code adds soft targets, and scales features to length 1 first.

When. Use it for representations that are compared by distance (retrieval, metric learning), or with a teacher of other
classes. For a classifier it adds little to the teacher's probabilities. Angles take B³ numbers, so keep batches small.

Source: arXiv 1904.05068, equations 6 to 11.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..backend import Array, xp_of
from ..checks import check_number
from ..metrics import History
from ..mlp import MLP
from .base import Method, check_pair, teach_features
from .linear_algebra import TINY, as_float, gram_backward, huber


def rkd_loss(
    features: Array, teacher_features: Array, *, distance_weight: float = 25.0, angle_weight: float = 50.0
) -> tuple[Any, Array]:
    """distance_weight · L_distance + angle_weight · L_angle, and its gradient.

    features (B, W), teacher_features (B, W') -> L, dfeatures (B, W)
    """
    features, teacher_features = check_pair(features, teacher_features)
    check_number("distance_weight", distance_weight, 0)
    check_number("angle_weight", angle_weight, 0)
    c, teacher = (as_float(f) - f.mean(axis=0) for f in (features, teacher_features))
    G = c @ c.T
    d, D = distances(G), distances(teacher @ teacher.T)
    far, dfar = distance_part(d, D)
    value, dd, dG = distance_weight * far, distance_weight * dfar, 0.0
    if angle_weight:
        angle, by_distance, by_gram = angle_part(G, d, angles(teacher @ teacher.T, D))
        value, dd, dG = value + angle_weight * angle, dd + angle_weight * by_distance, angle_weight * by_gram
    dsquare = dd * inverse(d) / 2  # with respect to d_ij² = G_ii + G_jj - 2 G_ij
    dG = dG - 2 * dsquare + _diagonal((dsquare + dsquare.T).sum(axis=1))
    return value, gram_backward(dG, c)


def distances(G: Array) -> Array:
    """d_ij = sqrt(G_ii + G_jj - 2 G_ij), (B, B), and exactly 0 between a sample and itself."""
    xp = xp_of(G)
    square = xp.diagonal(G)
    d = xp.sqrt(xp.maximum(square[:, None] + square - 2 * G, 0))
    return d * (1 - xp.eye(len(G), dtype=G.dtype))


def inverse(d: Array) -> Array:
    """1 / d, and 0 if d is 0."""
    xp = xp_of(d)
    return xp.where(d <= TINY, 0, 1 / xp.maximum(d, TINY)).astype(d.dtype)  # "<=", so that NaN stays NaN


def distance_part(d: Array, D: Array) -> tuple[Any, Array]:
    """L_distance and its derivative with respect to d.  d, D (B, B)"""
    xp = xp_of(d)
    (mu, n), (M, _) = _mean_distance(d), _mean_distance(D)
    value, slope = huber(d / mu - D / M)
    s = slope / d.size
    through_mean = (s * d).sum() / (mu * mu * n)
    return value.mean(), xp.where(d <= 0, 0, s / mu - through_mean)


def _mean_distance(d: Array) -> tuple[Any, Any]:
    """The mean of the distances above 0, and how many there are. Both are 1 if there are none."""
    xp = xp_of(d)
    n = xp.maximum((d > 0).sum(), 1).astype(d.dtype)  # in float32 an integer would make the gradient float64
    mean = d.sum() / n
    return xp.where(mean <= 0, 1, mean).astype(d.dtype), n


def angles(G: Array, d: Array) -> Array:
    """a_ijk, the cosine of the angle at i between j and k: (B, B, B)."""
    xp, w = xp_of(G), inverse(d)
    corner = G[None, :, :] - G[:, :, None] - G[:, None, :] + xp.diagonal(G)[:, None, None]
    return corner * w[:, :, None] * w[:, None, :]


def angle_part(G: Array, d: Array, A: Array) -> tuple[Any, Array, Array]:
    """L_angle, and its derivatives with respect to d, and to G except through d.  G, d (B, B), A (B, B, B)"""
    w, a = inverse(d), angles(G, d)
    value, slope = huber(a - A)
    s = slope / a.size
    dd = -2 * w * (s * a).sum(axis=2)
    dN = s * w[:, :, None] * w[:, None, :]
    at_i = dN.sum(axis=2)  # (i, j)
    return value.mean(), dd, dN.sum(axis=0) - 2 * at_i + _diagonal(at_i.sum(axis=1))


def _diagonal(values: Array) -> Array:
    return xp_of(values).diag(values)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
    **options: Any,
) -> History:
    """`fit` on labels and on the distances and angles between the teacher's features.

    Parameters
    ----------
    student, x, labels, strength, **options
        As for every method: see minikd/methods/base.py. `layer` and `teacher_layer` choose hidden layers.
    teacher : MLP or array (N, W)
        A network, or features from any source.
    distance_weight, angle_weight : float
        The weights of the two terms, at least 0.
    """
    loss = partial(rkd_loss, distance_weight=distance_weight, angle_weight=angle_weight)
    return teach_features(student, teacher, x, labels, loss, weight=check_number("strength", strength, 0), **options)


METHOD = Method(
    "rkd", "distances and angles between samples", "Park et al. 2019, arXiv 1904.05068", train, teacher="network"
)
