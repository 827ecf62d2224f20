"""Generalised Jensen-Shannon divergence: between forward and reverse KL (Agarwal et al. 2023, "GKD").

Idea. Forward KL penalises every class of the teacher's that the student misses. Reverse KL penalises every class that
the student adds. This divergence compares both networks with a mixture m of the two, and the weight β of the teacher in
m sets the balance. It is bounded, because m is large wherever q or p is. So it is finite even if the teacher rules a
class out.

Loss. q is the teacher's softmax at T, p the student's, m = β q + (1 - β) p, and w the soft_weight::

    JSD_β = β KL(q || m) + (1 - β) KL(p || m),         L = (1 - w) CE(y, p) + w T² mean_i JSD_β

Gradient. p occurs in both terms, and also in m, where dm_k/dp_k = 1 - β::

    d/dp_k β Σ q log(q / m)        = -β q_k (1 - β) / m_k
    d/dp_k (1 - β) Σ p log(p / m)  = (1 - β) [log(p_k / m_k) + 1 - p_k (1 - β) / m_k]

The fractions and the 1 add up to (1 - β) [1 - (β q_k + (1 - β) p_k) / m_k] = 0, so dJSD/dp_k = (1 - β) log(p_k / m_k).
The softmax turns this into the gradient of `reverse_kl`, with m instead of q::

    dJSD/dz_j = (1 - β) p_j (log(p_j / m_j) - KL(p || m)) / T

The ends. As β -> 0, m -> p, and as β -> 1, m -> q. At both ends JSD_β itself goes to 0, and so does its gradient, so
nothing can be learnt there. There is a limit only after division by β, or by 1 - β::

    JSD_β / β -> KL(q || p), forward,    as β -> 0          JSD_β / (1 - β) -> KL(p || q), reverse,    as β -> 1

For the first limit, log(p / m) = -β (q / p - 1) + O(β²) turns the gradient divided by β into p - q. For the second, put
q for m. Several libraries use the two KLs at β = 0 and β = 1. Their loss jumps there, from about 0.01 KL at β = 0.01 to
KL at β = 0. Here β lies between 0 and 1, and the ends are methods of their own, `kd` and `reverse-kl`.

Defaults. β = 0.5, the symmetric divergence, which is at most log 2. T = 1, w = 0.9 as in `reverse-kl`. The gradient is
small (at β = 0.5 and p near q a quarter of that of KL), so a larger `strength` may help.

When. Use it if forward KL is too broad and reverse KL costs too much likelihood. In the setting of `reverse-kl`,
held-out words have 2.10 nats a letter at β = 0.5, and the teacher gives the student's own words 2.11: both values lie
between those of the two KLs.

Source: arXiv 2306.13649, equation 1 and section 3.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..backend import Array
from ..checks import check_number
from ..metrics import History
from ..mlp import MLP
from .base import Method, mix, mixed_loss, teach
from .linear_algebra import divergence, log_mixture
from .reverse_kl import reverse_kl


def jsd(logp: Array, logq: Array, beta: float) -> tuple[Array, Array]:
    """JSD_β of each row, and its gradient with respect to the student's logits.  (B, K), (B, K) -> (B,), (B, K)"""
    logm = log_mixture(beta, logq, logp)
    KL_pm, slope = reverse_kl(logp, logm)
    return beta * divergence(logq, logm) + (1 - beta) * KL_pm, (1 - beta) * slope


def jsd_loss(
    logits: Array,
    labels: Array | None,
    teacher_logits: Array,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    soft_weight: float = 0.9,
) -> tuple[Any, Array]:
    """(1 - w) CE(y, p) + w T² JSD_β(q^T, p^T).  logits, teacher_logits (B, K), labels (B,) or None -> L, (B, K)

    ValueError for a beta that is not between 0 and 1: at both ends the divergence is 0.
    """
    beta = check_number("beta", beta, 0, 1, open_low=True, open_high=True)
    between = partial(jsd, beta=beta)
    return mixed_loss(logits, labels, teacher_logits, between, temperature=temperature, soft_weight=soft_weight)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    beta: float = 0.5,
    temperature: float = 1.0,
    soft_weight: float = 0.9,
    **options: Any,
) -> History:
    """`fit` on labels and on the Jensen-Shannon divergence between teacher and student.

    Parameters
    ----------
    student, teacher, x, labels, strength, **options
        As for every method: see minikd/methods/base.py.
    beta : float
        β, strictly between 0 and 1.
    temperature : float
        T, above 0.
    soft_weight : float
        w, in [0, 1].
    """
    loss = partial(jsd_loss, beta=beta, temperature=temperature, soft_weight=mix(soft_weight, strength))
    return teach(student, teacher, x, labels, loss, **options)


METHOD = Method(
    "jsd",
    "between forward and reverse KL",
    "Agarwal et al. 2023, arXiv 2306.13649",
    train,
    parallel=True,
    temperature="temperature",
)
