"""E11 to E23, the bug museum: mistakes from published code, and tests that catch them.

The learner writes a test of a function. It must fail with an AssertionError on each broken version, and pass on each
right version. Right versions compute the same result in different ways, so their last digits differ. The functions run
on the grader's side. The test gets a proxy that only returns their numbers, so it cannot read the source or find out
which version it has. Each version is tried twice, each time in a fresh process, and all trials must be right. A test
that guesses passes an exhibit at most once in 256 times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..sandbox.conversation import Failed
from . import museum_language as language
from . import museum_losses as losses
from . import museum_training as training
from .exercise import Check, Exercise, Open, Wrong
from .museum_losses import RIGHT, Function, of_logits, scaled

# ---- the exhibits ------------------------------------------------------------------------------------------------


def trials(
    name: str, guard: Callable[[Function], Function], broken: tuple[Function, ...], right: tuple[Function, ...]
) -> Check:
    """The only check of an exhibit: the test called `name` is tried on every version, in a random order."""

    def run(fresh: Open, rng: np.random.Generator) -> None:
        versions = 2 * ([(f, True) for f in broken] + [(f, False) for f in right])
        for i in rng.permutation(len(versions)):
            function, is_broken = versions[i]
            failed, words = False, ""
            # Always a fresh process, because a test that remembers earlier versions could tell them apart by comparing.
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


def exhibit(number: int, title: str, *versions: Any) -> Exercise:
    """An exhibit: number, title, and (guard, broken versions, right versions)."""
    name = f"test_e{number}"
    return Exercise(number, title, (name,), (trials(name, *versions),))


MUSEUM = (
    exhibit(
        11,
        "T² is missing",
        of_logits,
        (scaled(lambda z, T: T**-2), scaled(lambda z, T: 1 / T), scaled(lambda z, T: T**-2, on_loss=False)),
        RIGHT,
    ),
    exhibit(
        12,
        "a mean over the classes as well",
        of_logits,
        (scaled(lambda z, T: 1 / z.shape[1]), scaled(lambda z, T: 1 / z.shape[1], on_loss=False)),
        RIGHT,
    ),
    exhibit(13, "softmax taken twice", of_logits, (losses.softmax_twice, losses.teacher_twice), RIGHT),
    exhibit(
        14,
        "the logarithm of a probability that has become 0",
        of_logits,
        (losses.log_of_softmax, losses.log_of_clipped),
        RIGHT,
    ),
    exhibit(15, "teacher and student swapped", of_logits, (losses.swapped_arguments, losses.swapped_teacher), RIGHT),
    exhibit(
        16,
        "one object as both",
        training.of_networks,
        (training.student_is_teacher, training.teacher_is_student),
        (training.descend, training.descend_by_rows),
    ),
    exhibit(
        17,
        "the teacher left in training mode",
        training.of_teacher,
        (training.targets_in_training(True), training.targets_in_training(False)),
        (training.soft_targets, training.soft_targets_by_hand),
    ),
    exhibit(
        18,
        "the student left in evaluation mode",
        training.of_student,
        (training.not_dropped, training.shrunk),
        (training.dropped, training.dropped_otherwise),
    ),
    exhibit(
        19,
        "L1 where L2 was meant",
        training.of_features,
        (training.rows_by(1), training.rows_by(np.inf)),
        (training.rows_by(2), training.rows_by_root),
    ),
    exhibit(
        20,
        "cached logits out of step with shuffled data",
        training.of_cache,
        (training.not_shuffled, training.shuffled_back),
        (training.in_step, training.in_step_by_joining),
    ),
    exhibit(
        21,
        "the two KL divergences swapped",
        of_logits,
        (losses.kd, language.loss_of(language.reverse_kl, losses.kd), language.loss_of(losses.kd, language.reverse_kl)),
        (language.reverse_kl, language.reverse_kl_by_entropy, language.reverse_kl_by_rows),
    ),
    exhibit(
        22,
        "log-probabilities mixed instead of probabilities",
        language.of_mixture,
        (language.of_mixed_logs(True), language.of_mixed_logs(False)),
        (language.jensen_shannon, language.jensen_shannon_by_sum),
    ),
    exhibit(
        23,
        "padding counted in the mean",
        language.of_words,
        (language.padding_in_the_mean, language.padding_as_letters),
        (language.mean_of_letters, language.mean_of_letters_by_word),
    ),
)
