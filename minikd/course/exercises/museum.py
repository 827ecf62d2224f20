"""E11 to E20, the bug museum: mistakes that were really published, and tests that catch them.

The learner writes a test of a function. It must fail, by an AssertionError, on each broken version, and pass on each
right one, also where that computes the same in another way, and so to other last digits. The functions run here, on
the grader's side: what the test is handed only asks for their numbers, so there is no source to look at, and which
version it is handed is known to nobody there. Each version is tried twice, each time in a fresh process, and all must
come out right: a test that guesses passes an exhibit once in 256 times or less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..sandbox.conversation import Failed
from .exercise import Check, Exercise, Open, Wrong
from .museum_losses import (
    RIGHT,
    Function,
    log_of_clipped,
    log_of_softmax,
    of_logits,
    scaled,
    softmax_twice,
    swapped_arguments,
    swapped_teacher,
    teacher_twice,
)
from .museum_training import (
    descend,
    descend_by_rows,
    dropped,
    dropped_otherwise,
    in_step,
    in_step_by_joining,
    not_dropped,
    not_shuffled,
    of_cache,
    of_features,
    of_networks,
    of_student,
    of_teacher,
    rows_by,
    rows_by_root,
    shrunk,
    shuffled_back,
    soft_targets,
    soft_targets_by_hand,
    student_is_teacher,
    targets_in_training,
    teacher_is_student,
)

# ---- the exhibits ------------------------------------------------------------------------------------------------


def trials(
    name: str, guard: Callable[[Function], Function], broken: tuple[Function, ...], right: tuple[Function, ...]
) -> Check:
    """The one check of an exhibit: the test called `name`, tried on every version, in an order that nobody knows."""

    def run(fresh: Open, rng: np.random.Generator) -> None:
        versions = 2 * ([(f, True) for f in broken] + [(f, False) for f in right])
        for i in rng.permutation(len(versions)):
            function, is_broken = versions[i]
            failed, words = False, ""
            with fresh() as child:
                try:
                    child.call(name, guard(function))
                except Failed as error:
                    if error.kind != "assert":
                        raise
                    failed, words = True, error.words
            if is_broken and not failed:
                raise Wrong("the test passes on a broken version, which it should catch")
            if failed and not is_broken:
                said = f": AssertionError: {words}" if words else ""
                raise Wrong(f"the test fails on a right version, which computes the same in its own way{said}")

    return Check("fails on the broken versions and passes on the right ones", 1.0, run)


def exhibit(number: int, title: str, hints: tuple[str, str, str], *versions: Any) -> Exercise:
    """An exhibit: what is wrong, three hints, and (guard, broken versions, right versions)."""
    name = f"test_e{number}"
    return Exercise(number, title, (name,), hints, (trials(name, *versions),))


MUSEUM = (
    exhibit(
        11,
        "T² is missing",
        (
            "With T = 1 nobody can tell. Take T = 4.",
            "What does the loss tend to as T grows, with T² and without? Or compute loss and gradient for one small "
            "example by the formula.",
            "dz must be T (p - q) / B: compute p and q in the test, and compare with np.allclose.",
        ),
        of_logits,
        (scaled(lambda z, T: T**-2), scaled(lambda z, T: 1 / T), scaled(lambda z, T: T**-2, on_loss=False)),
        RIGHT,
    ),
    exhibit(
        12,
        "a mean over classes, too",
        (
            "The loss of a batch of one sample must be the divergence of that sample: how large is it?",
            "A mean over all entries divides by B K instead of B.",
            "Compute (1/B) sum_i sum_k q log(q / p) in the test, times T².",
        ),
        of_logits,
        (scaled(lambda z, T: 1 / z.shape[1]), scaled(lambda z, T: 1 / z.shape[1], on_loss=False)),
        RIGHT,
    ),
    exhibit(
        13,
        "softmax taken twice",
        (
            "Probabilities lie between 0 and 1; taken for logits they are nearly all alike.",
            "Where student and teacher have the same logits, the loss is 0. Is it here? And where they are far apart, "
            "how large?",
            "It may be the teacher's softmax that is taken twice: compare with loss and gradient of the formula.",
        ),
        of_logits,
        (softmax_twice, teacher_twice),
        RIGHT,
    ),
    exhibit(
        14,
        "the logarithm of a probability that has become 0",
        (
            "Small logits show nothing. Which ones make a probability underflow?",
            "Besides being finite, the loss must be right: for logits (1e4, 0) of the student and (0, 0) of the "
            "teacher it can be worked out on paper.",
            "For far apart logits, log p_k = z_k / T - max(z) / T, nearly exactly.",
        ),
        of_logits,
        (log_of_softmax, log_of_clipped),
        RIGHT,
    ),
    exhibit(
        15,
        "teacher and student swapped",
        (
            "KL(q || p) is not KL(p || q): find an example in which they differ much.",
            "Which of the two must the gradient change? Make a small step against dz by the student's logits: the loss "
            "must fall.",
            "A gradient that points the wrong way, or a divergence the other way round: comparing loss and dz with the "
            "formula catches both.",
        ),
        of_logits,
        (swapped_arguments, swapped_teacher),
        RIGHT,
    ),
    exhibit(
        16,
        "one object as both",
        (
            "What must be so of the teacher after training? And of the student after 0 steps, and after 1?",
            "If both are one object the loss is 0 from the start: a student that is perfect at once, or that never "
            "moves.",
            "Compare the student after one step with student - lr x^T dz, and the teacher with what you handed over.",
        ),
        of_networks,
        (student_is_teacher, teacher_is_student),
        (descend, descend_by_rows),
    ),
    exhibit(
        17,
        "the teacher left in training mode",
        (
            "In evaluation mode there is no chance in what a teacher says.",
            "Ask twice, with different seeds and a rate above 0.",
            "Equal up to rounding, not to the last bit: right versions differ there.",
        ),
        of_teacher,
        (targets_in_training(True), targets_in_training(False)),
        (soft_targets, soft_targets_by_hand),
    ),
    exhibit(
        18,
        "the student left in evaluation mode",
        (
            "In training, dropout sets a share `rate` of the hidden units to 0. Count them.",
            "Take an input for which every unit is surely positive before dropout, and many of them, so that the share "
            "is no luck.",
            "What is kept is scaled by 1 / (1 - rate). Which mask is drawn is not laid down: test shares and values, "
            "with room for chance.",
        ),
        of_student,
        (not_dropped, shrunk),
        (dropped, dropped_otherwise),
    ),
    exhibit(
        19,
        "L1 where L2 was meant",
        (
            "What is the length of each row of G?",
            "np.linalg.norm(G, axis=1) is the L2 norm.",
            "For a single row the two norms are alike; take several samples, none of them zero.",
        ),
        of_features,
        (rows_by(1), rows_by(np.inf)),
        (rows_by(2), rows_by_root),
    ),
    exhibit(
        20,
        "cached logits out of step with shuffled data",
        (
            "Make a cache from which one can tell its row: cache = x W for some W.",
            "Afterwards, the targets must still be what belongs to each x.",
            "An order that is its own inverse (a swap) cannot tell shuffling from shuffling back: take a longer cycle.",
        ),
        of_cache,
        (not_shuffled, shuffled_back),
        (in_step, in_step_by_joining),
    ),
)
