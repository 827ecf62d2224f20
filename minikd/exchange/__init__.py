"""Files of other frameworks: teachers are read from them, and students are written to them."""

from .teachers import Answers, Teacher, from_probabilities, read_teacher

__all__ = ["Answers", "Teacher", "from_probabilities", "read_teacher"]
