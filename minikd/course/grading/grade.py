"""The grade of one submission: every check of every exercise, on inputs from a seed that cannot be known in advance."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..exercises import EXERCISES
from ..exercises.exercise import POINTS, Result, run_checks
from ..sandbox.processes import Processes
from ..sandbox.runner import Runner
from ..sandbox.unprotected import UnprotectedRunner
from .submission import Entry, SubmissionError, read_submission

CALL_SECONDS = 4.0  # for one call, and for one load


@dataclass
class Grade:
    """The points of a submission, check by check."""

    student: str
    seed: int
    results: list[Result] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    seconds: float = 0.0
    known_as: list[str] = field(default_factory=list)  # see Entry

    def score(self, exercise: str | None = None) -> float:
        """The points of an exercise, or of all exercises."""
        return math.fsum(r.score for r in self.results if exercise in (None, r.exercise))

    def max_score(self, exercise: str | None = None) -> float:
        """The maximum of the points."""
        return math.fsum(r.max_score for r in self.results if exercise in (None, r.exercise))


def new_seed() -> int:
    """A seed that cannot be known in advance."""
    return secrets.randbits(48)


def grade(
    path: Path | Entry,
    runner: Runner | UnprotectedRunner,
    seed: int,
    weights: Mapping[str, float] = {},
    only: Sequence[str] = (),
) -> Grade:
    """Run all checks, or those of the exercises `only`, on a submission. The submission's content never makes it raise.

    `weights` holds the points of exercises, by name. An exercise without an entry has POINTS.
    """
    submission = read_submission(path)
    graded = Grade(submission.name, seed, problems=submission.problems)
    begun = time.monotonic()
    skip = "" if submission.sources else "; ".join(submission.problems)  # why no check is run
    with Processes(runner, submission.sources) as processes:
        for result in run_checks([EXERCISES[name] for name in only or EXERCISES], processes, seed, skip):
            factor = weights.get(result.exercise, POINTS) / POINTS
            if result.trace:
                graded.problems.append(f"{result.exercise}, {result.check}: {result.words}")
            graded.problems += result.left_out.splitlines()
            score, most = result.score * factor, result.max_score * factor
            graded.results.append(replace(result, left_out="", score=score, max_score=most))
    graded.seconds = time.monotonic() - begun
    graded.layers = list(runner.layers)
    return graded


def read_weights(path: Path) -> dict[str, float]:
    """The points of exercises from a TOML file with lines such as `E4 = 10`."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef]
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SubmissionError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise SubmissionError(f"{path} is not TOML: {error}") from error
    for name, points in content.items():
        if name not in EXERCISES:
            raise SubmissionError(f"{path} must name exercises from E1 to E23, got {name!r}")
        if isinstance(points, bool) or not isinstance(points, int | float) or not 0 <= points < math.inf:
            raise SubmissionError(f"{path}: the points of {name} must be a number from 0, got {points!r}")
    return {name: float(points) for name, points in content.items()}
