"""Several teachers: one student learns from the mean of an ensemble (Hinton et al. 2015; TextBrewer, Yang et al. 2020).

Idea. Several networks that are trained from different initial weights make different errors. Their mean is better and
softer than each of them. One student replaces the whole ensemble.

Two means. With teachers' logits v^m, m = 1..M::

    of logits          v̄ = 1/M Σ_m v^m
    of probabilities   q̄ = 1/M Σ_m softmax(v^m / T),      as logits: T log q̄, because softmax(T log q̄ / T) = q̄

The two means are different, because softmax(v̄ / T) is, up to a factor for each sample, the geometric mean of the
probabilities, prod_m (q^m_k)^(1/M). With the mean of logits, one teacher that rules a class out rules it out for all.
With the mean of probabilities, a class keeps 1/M of the probability that one teacher gives it. For teachers
q^1 = (0.99, 0.01) and q^2 = (0.01, 0.99) both means are (½, ½). For (0.99, 0.01) and (0.5, 0.5) the mean of logits
gives (0.91, 0.09), and the mean of probabilities (0.745, 0.255). As T grows they become equal, because softmax is then
nearly linear.

The gradient is that of `distillation_loss` with those logits.

Defaults. Three teachers, and the mean of their probabilities: our choice. The first paper leaves it open ("an
arithmetic or geometric mean"), and TextBrewer takes the mean of logits.

When. Use it if teachers are cheap. An ensemble is usually better than one teacher. Training costs M times as much, but
the student costs the same in use.

Sources: arXiv 1503.02531, sections 1 and 2; arXiv 2002.12620.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from ..backend import Array, to_device, xp_of
from ..checks import check_choice, check_count, check_number
from ..losses import cross_entropy
from ..metrics import Classifier, History, Predictor
from ..mlp import MLP
from ..ops import log_softmax
from ..optim import Adam
from ..training import fit
from . import kd
from .base import MakeOptimizer, Method, check_student, companion_options, new_like

MEANS = ("logits", "probabilities")


def _answers(teachers: Sequence[Classifier], x: Array) -> list[Array]:
    """The logits of each teacher for x, on the device of the first teacher's."""
    first, *others = (Predictor(teacher, f"teacher {i + 1}").logits(x) for i, teacher in enumerate(teachers))
    device = "cpu" if isinstance(first, np.ndarray) else "cuda"
    return [first, *(to_device(logits, device) for logits in others)]


def mean_logits(*teachers: Classifier) -> Callable[[Array], Array]:
    """A teacher x -> the mean of the teachers' logits, (N, K)."""
    check_count("the number of teachers", len(teachers))

    def committee(x: Array) -> Array:
        first, *others = _answers(teachers, x)
        return sum(others, first) / len(teachers)

    return committee


def mean_probabilities(*teachers: Classifier, temperature: float = 1.0) -> Callable[[Array], Array]:
    """A teacher x -> T log mean_m softmax(v^m / T): logits whose softmax at T is the mean of the teachers', (N, K)."""
    check_count("the number of teachers", len(teachers))
    T = check_number("temperature", temperature, 0, open_low=True)

    def committee(x: Array) -> Array:
        logs = [log_softmax(logits, T) for logits in _answers(teachers, x)]
        return T * (reduce(xp_of(logs[0]).logaddexp, logs) - math.log(len(logs)))

    return committee


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    mean: str = "probabilities",
    n_teachers: int = 3,
    temperature: float = 4.0,
    **fit_options: Any,
) -> History:
    """`kd` from an ensemble of teachers.

    Parameters
    ----------
    student, x, labels, strength, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    teacher : list of teachers, or MLP
        With one MLP, n_teachers - 1 more of its sizes are trained on the labels, like the student: as many epochs, the
        same optimizer.
    mean : str
        "probabilities" or "logits".
    n_teachers : int
        The number of teachers if `teacher` is one MLP.
    temperature : float
        T, above 0.
    """
    x, labels = check_student(student, x, labels)
    check_choice("mean", mean, MEANS)
    check_count("n_teachers", n_teachers)
    teachers = list(teacher) if isinstance(teacher, list | tuple) else [teacher]
    if any(t is student for t in teachers):
        raise ValueError("teacher must not hold the student: a network cannot be its own fixed target")
    if fit_options.get("augment") is not None and any(Predictor(t, "teacher").fixed for t in teachers):
        raise ValueError("teacher must be MLPs or functions with augment: an array holds its logits for the plain x")
    if isinstance(teacher, MLP):
        for i in range(1, n_teachers):
            another = new_like(student, i, fit_options, teacher.sizes)
            another.dropout = teacher.dropout
            options = companion_options(fit_options, f"teacher-{i}")
            fit(another, x, labels, loss=cross_entropy, optimizer=optimizer(another), **options)
            teachers.append(another)
    committee = mean_logits(*teachers) if mean == "logits" else mean_probabilities(*teachers, temperature=temperature)
    options = {**fit_options, "temperature": temperature}
    return kd.train(student, committee, x, labels, strength=strength, optimizer=optimizer, **options)


METHOD = Method(
    "ensemble",
    "the mean of several teachers",
    "Hinton et al. 2015, arXiv 1503.02531",
    train,
    teachers=3,
    temperature="temperature",
)
