"""Coursework: exercises for learners, checks with immediate feedback, and a grader that isolates submissions."""

from __future__ import annotations

from typing import Any


def load_ipython_extension(ipython: Any) -> None:
    """Called by `%load_ext minikd.course`. It adds the magic `%check E4`."""
    from .notebook import check

    ipython.register_magic_function(lambda line: check(ipython, line), "line", "check")
