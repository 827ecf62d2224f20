"""Teachers in, students out: networks and answers that other frameworks made, and files that they can read."""

from .teachers import Answers, Teacher, from_probabilities, read_teacher

__all__ = ["Answers", "Teacher", "from_probabilities", "read_teacher"]
