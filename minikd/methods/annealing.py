"""Annealing: begin with a faint teacher, let it grow clear, end with the labels (Jafari et al. 2021).

Idea. A teacher's logits are a sharp function that a small student cannot fit from the start. First teach it a
flattened version, then ever less flattened ones; and when it regresses the teacher, fine-tune it on labels alone.

Loss. T falls in whole steps from T_max to 1 during the first stage, and the teacher's logits come scaled:

    Φ(T) = 1 - (T - 1) / T_max                     from 1/T_max to 1
    stage 1:  L = 1/(B K) Σ_ik (z_ik - Φ(T) v_ik)²,      dlogits = 2 (z - Φ v) / (B K)
    stage 2:  L = CE(y, p)

Every Φ v is a target of the same kind, so the gradient is that of `matching_loss`.

Schedules. Not only T: any option of any loss here may change as training goes on. `Scheduled(loss, optimizer, steps,
temperature=..., soft_weight=...)` calls each option that is a function with the progress, from 0 to 1:

    Scheduled(distillation_loss, adam, steps, temperature=lambda s: 9 - 8 * s, soft_weight=lambda s: 0.9 * (1 - s))

Defaults. T_max = 10 and three quarters of the steps for stage 1; the paper tunes T_max between 7 and 10 or so, and
gives stage 2 fewer epochs.

When. With a large gap between teacher and student. The longer first stage has no labels, so a wrong teacher is
followed.

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
    """Stage 1: mean squared difference to phi times the teacher's logits; stage 2: cross-entropy with the labels."""
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
    """`fit` in two stages; `strength` is teacher : labels in steps, so teacher_share is 3 : 1 at strength 1."""
    check_count("max_temperature", max_temperature)
    share = check_number("teacher_share", teacher_share, 0, 1)
    check_number("strength", strength, 0)
    share = share * strength / (share * strength + 1 - share) if strength else 0.0
    update = optimizer(student)

    def phi(progress: float) -> float:
        # The small number is against rounding: 0.3 of 10 steps are 3 and not 2.
        steps_taken = math.floor(max_temperature * progress / share + 1e-9) if share else 0
        return min(steps_taken + 1, max_temperature) / max_temperature  # T = max_temperature - steps_taken

    def stage(progress: float) -> int:
        return 1 if progress < share - 1e-9 else 2

    loss = Scheduled(annealed_loss, update, steps_of(len(x), fit_options), phi=phi, stage=stage)
    return teach(student, teacher, x, labels, loss, optimizer=lambda model: update, **fit_options)


METHOD = Method(
    "annealing",
    "a faint teacher that grows clear, then labels",
    "Jafari et al. 2021, arXiv 2104.07163",
    train,
    parallel=True,
    temperature="max_temperature",
)
