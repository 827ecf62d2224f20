"""All exercises, by name."""

from __future__ import annotations

from .exercise import Exercise
from .functions import FUNCTIONS
from .museum import MUSEUM

EXERCISES: dict[str, Exercise] = {exercise.name: exercise for exercise in (*FUNCTIONS, *MUSEUM)}
