"""The checks as tests: `pytest`, or `pytest -m E4` for one exercise."""

from minikd.course.tests import *  # noqa: F403
