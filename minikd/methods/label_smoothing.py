"""Label smoothing: distillation from a uniform teacher (Szegedy et al. 2016; Yuan et al. 2020).

Idea. Give the label's class slightly less than 1 and every class the same small probability, so that the network
becomes less confident. It is the control for every method here: its gain needs no knowledge.

Loss. With ε the smoothing, y the one-hot label, and the uniform teacher 1/K for every class::

    L = (1 - ε) CE(y, p) + ε CE(1/K, p) = CE((1 - ε) y + ε/K, p),        dlogits = [p - (1 - ε) y - ε/K] / B

The first form is `distillation_loss` at T = 1 with soft_weight ε and teacher logits that are all 0 (or all equal). So
label smoothing is distillation from a uniform teacher. CE is linear in its target, which gives the second form. The
gradient is that of `soft_cross_entropy`.

Defaults. ε = 0.1, as in the first paper on ImageNet, whose smoothed label is also (1 - ε) y + ε/K.

When. It is often a cheap gain in accuracy and calibration. But a teacher that was trained with it has lost its ranking
of the wrong classes, and teaches worse (Müller et al. 2019; `minikd reproduce muller2019`).

Sources: arXiv 1512.00567, section 7; arXiv 1909.11723, section 3.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..backend import Array, xp_of
from ..checks import check_number
from ..losses import distillation_loss
from ..metrics import History
from ..mlp import MLP
from ..optim import Adam
from ..training import fit
from .base import MakeOptimizer, Method, check_student, mix


def smoothed_loss(logits: Array, labels: Array, *, smoothing: float = 0.1) -> tuple[Any, Array]:
    """(1 - ε) CE(y, p) + ε CE(1/K, p).  logits (B, K), labels (B,) -> L, dlogits (B, K)"""
    uniform = xp_of(logits).zeros_like(logits)
    check_number("smoothing", smoothing, 0, 1)
    return distillation_loss(logits, labels, uniform, temperature=1.0, soft_weight=smoothing)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    smoothing: float = 0.1,
    **fit_options: Any,
) -> History:
    """`fit` on smoothed labels. No teacher is used.

    Parameters
    ----------
    student, x, labels, strength, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    teacher : None
        It is not used.
    smoothing : float
        ε, in [0, 1].
    """
    x, labels = check_student(student, x, labels)
    loss = partial(smoothed_loss, smoothing=mix(smoothing, strength))
    return fit(student, x, labels, loss=loss, optimizer=optimizer(student), **fit_options)


METHOD = Method(
    "label-smoothing",
    "a uniform teacher: the control",
    "Szegedy et al. 2016, arXiv 1512.00567",
    train,
    teacher="none",
    parallel=True,
)
