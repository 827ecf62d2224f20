"""The checks as pytest tests, with a marker for each exercise: `test_coursework.py` in the skeleton imports them."""

from __future__ import annotations

import pytest

from .exercise import run_check
from .exercises import EXERCISES
from .grading import new_seed
from .runner import Plain
from .submission import read

__all__ = ["test_exercise"]

CASES = [
    pytest.param(name, i, marks=getattr(pytest.mark, name), id=f"{name}-{check.name.replace(' ', '-')}")
    for name, exercise in EXERCISES.items()
    for i, check in enumerate(exercise.checks)
]


@pytest.mark.parametrize(("name", "index"), CASES)
def test_exercise(name: str, index: int, request: pytest.FixtureRequest) -> None:
    """One check of one exercise, on the work in the folder of the test file."""
    folder = request.path.parent
    result = run_check(EXERCISES[name], index, Plain(), read(folder).sources, new_seed())
    if not result.passed:
        pytest.fail(f"{name}, {result.check}: {result.words}", pytrace=False)
