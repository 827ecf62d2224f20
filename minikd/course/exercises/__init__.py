"""All exercises, by name."""

from __future__ import annotations

from .exercise import Exercise
from .museum import MUSEUM
from .written import WRITTEN

EXERCISES: dict[str, Exercise] = {exercise.name: exercise for exercise in (*WRITTEN, *MUSEUM)}
