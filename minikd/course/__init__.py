"""Coursework: exercises that a learner writes, checks that answer at once, and a grader that cannot be talked round."""

from __future__ import annotations

from typing import Any


def load_ipython_extension(ipython: Any) -> None:
    """What `%load_ext minikd.course` calls: from then on there is `%check E4`."""
    from .notebook import check

    ipython.register_magic_function(lambda line: check(ipython, line), "line", "check")
