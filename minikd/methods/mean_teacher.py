"""Mean teacher: learn from a moving average of one's own weights (Tarvainen & Valpola 2017).

Idea. The average of a network's weights over its last steps is a better network than that of the last step. So the
average is the teacher. It costs one copy of the weights, and improves as the student does.

Loss. After each step the average's weights become θ̄ <- d θ̄ + (1 - d) θ. With p = softmax(z) and q the average's
softmax::

    L = CE(y, p) + w(t) / (B K) Σ_ik (p_ik - q_ik)²,       dp = 2 w (p - q) / (B K)

The gradient continues through the softmax by `softmax_backward`; q is a constant in it. The loss has a squared
difference and not a divergence, because then an uncertain average has a smaller gradient. Early in training the average
is poor, so w grows in: w(t) = w exp(-5 (1 - t)²) for t = 0..1 over a share of the steps. The average also forgets
faster at first: d is at most 1 - 1/(step + 1).

Defaults. d = 0.999, w = 100, grown in over the first quarter of the steps (the paper: 100 · the share of samples with
labels, over 40,000 steps). In the paper student and average see different noise (dropout, moved images), which makes
them differ, and the average is used in the end. Here both see the same batch, so give the student dropout, otherwise
there is little to learn. The trained network is the student, and its average is kept beside its checkpoint.

When. Use it with many unlabelled samples and few labels, for which it was made. As self-distillation on labelled
samples it is a regulariser.

Source: arXiv 1703.01780, equations 1 and 2.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from ..backend import Array
from ..checks import check_matrix, check_number, check_soft
from ..losses import cross_entropy
from ..metrics import History
from ..mlp import MLP
from ..ops import softmax, softmax_backward
from ..optim import Adam
from .base import MakeOptimizer, Method, Scheduled, check_student, fit_along, new_like, steps_of
from .linear_algebra import as_float


def consistency_loss(
    logits: Array, labels: Array, teacher_logits: Array, *, weight: float = 100.0
) -> tuple[Any, Array]:
    """CE + w · mean squared difference of probabilities.  logits, teacher_logits (B, K), labels (B,) -> L, (B, K)"""
    logits = check_matrix("logits", logits)
    teacher_logits = check_soft("teacher_logits", teacher_logits, logits)
    check_number("weight", weight, 0)
    value, dlogits = cross_entropy(logits, labels)
    p = softmax(as_float(logits))
    difference = p - softmax(as_float(teacher_logits))
    pull = softmax_backward(difference * (2 * weight / difference.size), p)
    return value + weight * (difference * difference).mean(), dlogits + pull


class Average:
    """A network whose weights are a moving average of another's. As a target for `fit` it maps x to its logits.

    `fit` computes its targets once a step, before the student's forward pass. The average moves then, and once more
    after the last step.
    """

    def __init__(self, student: MLP, average: MLP, decay: float) -> None:
        self.student, self.average, self.decay, self.steps = student, average, decay, 0
        average.theta[...] = student.theta
        self.fingerprint = f"moving average, decay {decay}"

    def __call__(self, x: Array) -> Array:
        """Move the average towards the student, then return its logits for x."""
        self.move()
        return self.average.forward(x)

    def move(self) -> None:
        """Add the student's present weights to the average."""
        decay = min(1 - 1 / (self.steps + 1), self.decay)
        self.average.theta *= decay
        self.average.theta += (1 - decay) * self.student.theta
        self.steps += 1


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    weight: float = 100.0,
    decay: float = 0.999,
    ramp: float = 0.25,
    average: MLP | None = None,
    **fit_options: Any,
) -> History:
    """`fit` on labels and on the probabilities of a moving average of the student. No other teacher is used.

    Parameters
    ----------
    student, x, labels, strength, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    teacher : None
        It is not used.
    weight : float
        w, at least 0.
    decay : float
        d, in [0, 1].
    ramp : float
        The share of the steps over which the weight grows in.
    average : MLP, optional
        A network of the student's sizes in which the average is kept, for later use.
    """
    x, labels = check_student(student, x, labels)
    check_number("decay", decay, 0, 1)
    ramp = check_number("ramp", ramp, 0, 1)
    weight = check_number("weight", weight, 0) * check_number("strength", strength, 0)
    average = new_like(student, 1, fit_options) if average is None else average
    if average is student or average.sizes != student.sizes:
        raise ValueError(f"average must be another network of the student's sizes {student.sizes}, got {average!r}")
    update = optimizer(student)
    grown = partial(_grown, weight=weight, ramp=ramp)
    loss = Scheduled(consistency_loss, update, steps_of(len(x), fit_options), weight=grown)
    teaching = Average(student, average, decay)
    options = {"loss": loss, "optimizer": update, **fit_options}
    return fit_along(average, "average", student, x, (labels, teaching), finish=teaching.move, **options)


def _grown(progress: float, weight: float, ramp: float) -> float:
    return weight * math.exp(-5 * max(0.0, 1 - progress / ramp) ** 2) if ramp else weight


METHOD = Method(
    "mean-teacher",
    "a moving average of the student itself",
    "Tarvainen & Valpola 2017, arXiv 1703.01780",
    train,
    teacher="none",
)
