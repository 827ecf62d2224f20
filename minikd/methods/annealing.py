"""Annealing: start with a flattened teacher, sharpen it step by step, and end with the labels (Jafari et al. 2021).

Idea. A teacher's logits are a sharp function that a small student cannot fit from the start. First the student learns a
flattened version, then less and less flattened ones. When it can regress the teacher, it is fine-tuned on labels alone.

Loss. T falls in whole steps from T_max to 1 during the first stage, and the teacher's logits are scaled::

    Φ(T) = 1 - (T - 1) / T_max                     from 1/T_max to 1
    stage 1:  L = 1/(B K) Σ_ik (z_ik - Φ(T) v_ik)²,      dlogits = 2 (z - Φ v) / (B K)
    stage 2:  L = CE(y, p)

Every Φ v is a target of the same kind, so the gradient is that of `matching_loss`.

Schedules. Any option of any loss here may change during training, not only T. `Scheduled` calls each option that is a
function with the progress, from 0 to 1::

    Scheduled(distillation_loss, adam, steps, temperature=lambda s: 9 - 8 * s, soft_weight=lambda s: 0.9 * (1 - s))

Defaults. T_max = 10, and stage 1 takes three quarters of the steps. The paper tunes T_max between 7 and 10 or so, and
gives stage 2 fewer epochs.

When. Use it if the gap between teacher and student is large. The first stage, which is the longer one, uses no labels,
so the student follows a wrong teacher there.

Source: arXiv 2104.07163, equations 5 to 8.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array
from ..checks import check_count, check_number, wrong
from ..losses import cross_entropy
from ..metrics import History
from ..mlp import MLP
from ..optim import Adam
from .base import MakeOptimizer, Method, Scheduled, steps_of, teach
from .logit_matching import matching_loss


def annealed_loss(
    logits: Array, labels: Array, teacher_logits: Array, *, phi: float = 1.0, stage: int = 1
) -> tuple[Any, Array]:
    """Stage 1: mean squared difference to phi · teacher_logits. Stage 2: cross-entropy with the labels.

    logits, teacher_logits (B, K), labels (B,) -> L, dlogits (B, K)
    """
    check_number("phi", phi, 0, 1)
    if stage not in (1, 2):
        raise wrong("stage", "be 1 or 2", stage)
    if stage == 2:
        return cross_entropy(logits, labels)
    return matching_loss(logits, None, phi * teacher_logits, soft_weight=1.0)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    max_temperature: int = 10,
    teacher_share: float = 0.75,
    **fit_options: Any,
) -> History:
    """`fit` in two stages.

    Parameters
    ----------
    student, teacher, x, labels, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    strength : float
        The ratio of teacher to labels in steps, as a multiple of the ratio that teacher_share sets (3 : 1).
    max_temperature : int
        T_max, at least 1.
    teacher_share : float
        The share of the steps in stage 1, in [0, 1].
    """
    check_count("max_temperature", max_temperature)
    share = check_number("teacher_share", teacher_share, 0, 1)
    check_number("strength", strength, 0)
    share = share * strength / (share * strength + 1 - share) if strength else 0.0
    update = optimizer(student)

    def phi(progress: float) -> float:
        # The small number corrects rounding: 0.3 of 10 steps must be 3 and not 2.
        steps_taken = math.floor(max_temperature * progress / share + 1e-9) if share else 0
        return min(steps_taken + 1, max_temperature) / max_temperature  # T = max_temperature - steps_taken

    def stage(progress: float) -> int:
        return 1 if progress < share - 1e-9 else 2

    loss = Scheduled(annealed_loss, update, steps_of(len(x), fit_options), phi=phi, stage=stage)
    return teach(student, teacher, x, labels, loss, optimizer=lambda model: update, **fit_options)


METHOD = Method(
    "annealing",
    "flattened logits, less and less, then labels",
    "Jafari et al. 2021, arXiv 2104.07163",
    train,
    parallel=True,
    temperature="max_temperature",
)
