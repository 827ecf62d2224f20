"""Coursework: exercises that a learner writes, checks that answer at once, and a grader that cannot be talked round."""
