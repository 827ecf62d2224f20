"""Teacher-free distillation: a virtual teacher that is always right, made from the labels (Yuan et al. 2020).

Idea. Much of the effect of soft targets is regularisation, which needs no real teacher. A virtual teacher gives the
label's class the probability a, shares the rest equally among the other classes, and is then softened.

Loss. u is the virtual distribution, u_t = a, u_k = (1 - a) / (K - 1), and τ a temperature::

    q = softmax(u / τ),        L = (1 - w) CE(y, p) + w CE(q, p),        dlogits = [(1 - w)(p - y) + w (p - q)] / B

The derivation is that of `distillation_loss` at T = 1, with u/τ as the teacher's logits. Note that u, which holds
probabilities, goes into the softmax as it is: q_t : q_k = e^((a - u_k) / τ). So at τ = 20 q is nearly uniform, and this
is label smoothing with ε ≈ w, except for a few percent more on the label's class.

Defaults. a = 0.99, τ = 20, w = 0.1, and the student's own p at temperature 1, as in the reference code for ResNet-18 on
CIFAR-100 (where the second term is also a mean over classes, times 100, which cancels). In the paper's equation the
student has the temperature also.

When. Use it if there is no teacher. Compare it with label smoothing before you conclude that it does more.

Source: arXiv 1909.11723, section 5.2.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..backend import Array
from ..checks import check_labels, check_matrix, check_number
from ..losses import distillation_loss
from ..metrics import History
from ..mlp import MLP
from ..optim import Adam
from ..training import fit
from .base import MakeOptimizer, Method, check_student, mix
from .linear_algebra import as_float, one_hot


def virtual_teacher_loss(
    logits: Array, labels: Array, *, correct: float = 0.99, temperature: float = 20.0, soft_weight: float = 0.1
) -> tuple[Any, Array]:
    """(1 - w) CE(y, p) + w CE(softmax(u / τ), p).  logits (B, K), labels (B,) -> L, dlogits (B, K)

    `correct` is a, in [0, 1], `temperature` is τ, and `soft_weight` is w.
    """
    logits = check_matrix("logits", logits)
    labels = check_labels("labels", labels, *logits.shape)
    a, classes = check_number("correct", correct, 0, 1), logits.shape[1]
    check_number("temperature", temperature, 0, open_low=True)
    rest = (1 - a) / max(classes - 1, 1)
    u = rest + (a - rest) * one_hot(labels, as_float(logits))
    return distillation_loss(logits, labels, u / temperature, temperature=1.0, soft_weight=soft_weight)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    soft_weight: float = 0.1,
    **fit_options: Any,
) -> History:
    """`fit` on labels and on a virtual teacher made from them. No other teacher is used.

    Parameters
    ----------
    student, x, labels, strength, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    teacher : None
        It is not used.
    soft_weight : float
        w, in [0, 1].
    """
    x, labels = check_student(student, x, labels)
    loss = partial(virtual_teacher_loss, soft_weight=mix(soft_weight, strength))
    return fit(student, x, labels, loss=loss, optimizer=optimizer(student), **fit_options)


METHOD = Method(
    "virtual-teacher",
    "a teacher made up from the labels",
    "Yuan et al. 2020, arXiv 1909.11723",
    train,
    teacher="none",
    parallel=True,
)
