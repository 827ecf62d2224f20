"""Teachers in, students out: networks and answers that other frameworks made, and files that they can read."""

from .teachers import Answers, Teacher, read_teacher

__all__ = ["Answers", "Teacher", "read_teacher"]
