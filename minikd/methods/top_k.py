"""Top k: distil from the k largest probabilities, because many APIs show no others (Anshumann et al. 2025).

Idea. A teacher behind an API, or one whose outputs are stored, often gives the probabilities of its k most likely
classes and no others. The remainder, Q = 1 - Σ_known q, belongs to the rest, but how it is divided is unknown. There
are three ways to continue, and each is a target t instead of q.

Loss. p is the student's softmax, P = Σ_rest p its probability of the rest, w the soft_weight::

    "rest"           t_j = q_j    where known      t_j = Q p_j / P elsewhere
    "renormalised"   t_j = q_j / (1 - Q)           0
    "cut"            t_j = q_j                     0

    D = Σ_j t_j (log t_j - log p_j),         L = (1 - w) CE(y, p) + w mean_i D

Gradient. With t as a constant, dD/dz_j = -Σ_k t_k ([k = j] - p_j) = p_j Σ_k t_k - t_j. That is all for the last two. In
"rest" t depends on p, but there D = Σ_known q_j log(q_j / p_j) + Q log(Q / P), the KL divergence of k + 1 classes, one
of which is the rest. With dP/dz_j = p_j ([j in rest] - P)::

    d/dz_j (-Q log P) = Q p_j - [j in rest] Q p_j / P

and the sum of all is p_j (Σ_known q + Q) - t_j = p_j - t_j: the same formula, with Σ_k t_k = 1.

What each loses. "rest" loses only the order of the rest: the student's own proportions are the target there, and
nothing false is taught. "renormalised" treats the rest as impossible, so the student becomes more confident than the
teacher by the factor 1 / (1 - Q). "cut" has the same minimum as "renormalised": its D is (1 - Q) times that one, plus
(1 - Q) log(1 - Q). So a sample counts less if less of it is known, and D is negative at its minimum, where a divergence
would be 0.

With k = K or more all three are KL(q || p). With k = K - 1 "rest" is KL(q || p) as well, because a single class has no
order.

Defaults. k = 5, as APIs show; "rest"; w = 0.9. There is no temperature, because softening q needs all of it.

When. Use it if only the k largest are known. Student 64 on 1,000 words of the data set "words", k = 5 of 27 (tutorial
14, w = 1, 5 seeds): held-out words have 2.21 nats a letter with "rest", 2.83 with "cut" and 2.88 with "renormalised",
and 2.08 if all 27 are known. With the last two the student never says anything rare: the teacher gives their words 1.82
and 1.83, its own 1.89. In the gallery the k classes are taken from the teacher's full logits. `cached_logits(...,
top=k)` of minikd/scale/answers.py stores k logits a row, and spreads the rest evenly.

Source: Anshumann et al. 2025, arXiv 2503.16870. They show that keeping the k largest gives a biased estimate of q. They
draw the classes that are kept from q instead, which gives an unbiased one; `sequence-level` does that with one draw.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..backend import Array, xp_of
from ..checks import check_choice, check_count
from ..metrics import History
from ..mlp import MLP
from .base import Method, mix, mixed_loss, teach

RESTS = ("rest", "renormalised", "cut")


def top_k(logp: Array, logq: Array, k: int, rest: str) -> tuple[Array, Array]:
    """D of each row, and its gradient p Σ t - t.  (B, K), (B, K) -> (B,), (B, K)"""
    xp, (rows, classes) = xp_of(logp), logp.shape
    known = xp.zeros(logp.shape, bool)
    known[xp.arange(rows)[:, None], xp.argsort(-logq, axis=1)[:, :k]] = True
    if rest == "rest" and k < classes:
        others = _log_sum(logq, ~known) + logp - _log_sum(logp, ~known)  # log(Q p / P)
    else:
        others = xp.full_like(logp, -xp.inf)
    logt = xp.where(known, logq - (_log_sum(logq, known) if rest == "renormalised" else 0), others)
    t = xp.exp(logt)
    D = (t * xp.where(t == 0, 0, logt - logp)).sum(axis=1)
    return D, xp.exp(logp) * t.sum(axis=1, keepdims=True) - t


def _log_sum(logp: Array, where: Array) -> Array:
    """log Σ p over the classes in `where`; -infinity if they all have p = 0.  (B, K) -> (B, 1)"""
    xp = xp_of(logp)
    chosen = xp.where(where, logp, -xp.inf)
    largest = chosen.max(axis=1, keepdims=True)
    none = largest == -xp.inf
    total = xp.exp(chosen - xp.where(none, 0, largest)).sum(axis=1, keepdims=True)  # 1 or more, or 0 where none
    return largest + xp.log(total + none)


def top_k_loss(
    logits: Array,
    labels: Array | None,
    teacher_logits: Array,
    *,
    k: int = 5,
    rest: str = "rest",
    soft_weight: float = 0.9,
) -> tuple[Any, Array]:
    """(1 - w) CE(y, p) + w D.  logits, teacher_logits (B, K), of which k a row are known, labels (B,) -> L, (B, K)

    ValueError for a k below 1 and for an unknown treatment of the rest. With k above K all classes are known.
    """
    check_choice("rest", rest, RESTS)
    known = partial(top_k, k=check_count("k", k), rest=rest)
    return mixed_loss(logits, labels, teacher_logits, known, temperature=1.0, soft_weight=soft_weight)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    k: int = 5,
    rest: str = "rest",
    soft_weight: float = 0.9,
    **options: Any,
) -> History:
    """`fit` on labels and on the k largest probabilities of the teacher.

    Parameters
    ----------
    student, teacher, x, labels, strength, **options
        As for every method: see minikd/methods/base.py.
    k : int
        How many probabilities are known, at least 1.
    rest : str
        "rest", "renormalised" or "cut".
    soft_weight : float
        w, in [0, 1].
    """
    loss = partial(top_k_loss, k=k, rest=rest, soft_weight=mix(soft_weight, strength))
    return teach(student, teacher, x, labels, loss, **options)


METHOD = Method(
    "top-k",
    "the k largest probabilities, as an API shows them",
    "Anshumann et al. 2025, arXiv 2503.16870",
    train,
    parallel=True,
)
