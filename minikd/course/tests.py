"""The checks as pytest tests with a marker for each exercise. `test_coursework.py` in the skeleton imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .exercises import EXERCISES
from .exercises.exercise import run_check
from .grading.grade import new_seed
from .grading.submission import read_submission
from .learner import notes as notes_of
from .learner import own_work_runner
from .sandbox.runner import Runner
from .sandbox.unprotected import UnprotectedRunner

__all__ = ["runner", "test_exercise"]

CASES = [
    pytest.param(name, i, marks=getattr(pytest.mark, name), id=f"{name}-{check.name.replace(' ', '-')}")
    for name, exercise in EXERCISES.items()
    for i, check in enumerate(exercise.checks)
]


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner | UnprotectedRunner]:
    """One forkserver for all checks."""
    with own_work_runner() as one:
        yield one


@pytest.mark.parametrize(("name", "index"), CASES)
def test_exercise(name: str, index: int, runner: Runner | UnprotectedRunner, request: pytest.FixtureRequest) -> None:
    """One check of one exercise, on the solutions in the folder of the test file."""
    folder = request.path.parent
    result = run_check(EXERCISES[name], index, runner, read_submission(folder).sources, new_seed())
    if not result.passed:
        notes = "".join(f"\n{note}" for note in notes_of([result]))
        pytest.fail(f"{name}, {result.check}: {result.words}{notes}", pytrace=False)
