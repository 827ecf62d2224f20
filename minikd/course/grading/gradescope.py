"""Gradescope: the results of one submission in its format, and the zip file that an instructor uploads.

Field names and paths follow https://gradescope-autograders.readthedocs.io/en/latest/specs/ .
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from ... import __version__
from ..exercises import EXERCISES
from .grade import Grade

MAX_WORDS = 4000  # characters of the words about one check
PACKAGE = Path(__file__).parents[2]


def results(
    graded: Grade, visibility: str = "visible", stdout: str = "hidden", visibility_of: Mapping[str, str] = {}
) -> dict[str, Any]:
    """The content of results.json. Every check, run or not, is a test with a finite score and max_score.

    Parameters
    ----------
    graded : Grade
        The grade of the submission.
    visibility, stdout : str
        Visibility of the tests, and of the grader's printed output.
    visibility_of : mapping
        Visibility of the tests of single exercises, by name, if it differs.
    """
    tests = []
    numbers: dict[str, int] = {}
    for result in graded.results:
        numbers[result.exercise] = numbers.get(result.exercise, 0) + 1
        exercise = EXERCISES[result.exercise]
        said = f"\n\nIt printed:\n{result.output[:1000]}" if result.output else ""
        tests.append(
            {
                "score": result.score,
                "max_score": result.max_score,
                "status": "passed" if result.passed else "failed",
                "name": f"{result.exercise} {exercise.title}: {result.check}",
                "name_format": "text",
                "number": f"{exercise.number}.{numbers[result.exercise]}",
                "output": ("Right." if result.passed else result.words[:MAX_WORDS]) + said,
                "output_format": "text",
                "tags": [result.exercise, result.kind],
                "visibility": visibility_of.get(result.exercise, visibility),
                "extra_data": {"exercise": result.exercise, "check": result.check, "kind": result.kind},
            }
        )
    problems = "".join(f"\n{problem}" for problem in graded.problems)
    points = f"{graded.score():g} of {graded.max_score():g}"
    return {
        "score": graded.score(),
        "execution_time": round(graded.seconds, 3),
        "output": f"minikd {__version__}: {points} points, seed {graded.seed}.{problems}",
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "visibility": visibility,
        "stdout_visibility": stdout,
        "extra_data": {"seed": graded.seed, "layers": graded.layers, "minikd": __version__},
        "tests": tests,
    }


SETUP = """#!/usr/bin/env bash
# Runs once, as root, when Gradescope builds the image.
set -euo pipefail
apt-get update
apt-get install -y python3 python3-pip python3-venv
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install /autograder/source/minikd
/autograder/venv/bin/minikd course selftest
"""

RUN = """#!/usr/bin/env bash
# Runs for each submission, as root. The student's code runs as another user, see minikd/course/sandbox/child.py.
set -euo pipefail
cd /autograder
exec /autograder/venv/bin/minikd course gradescope /autograder/submission --out /autograder/results/results.json OPTIONS
"""


def bundle(weights: str | None = None, options: str = "") -> bytes:
    """The zip file, with setup.sh and run_autograder at its root and minikd's source beside them.

    `weights` is the text of a weights file, `options` are flags for `minikd course gradescope`.
    """
    if weights is not None:
        options = f"--weights /autograder/source/weights.toml {options}"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, content: bytes, mode: int = 0o644) -> None:
            about = zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0))  # a fixed date, so that the bytes are always the same
            about.external_attr, about.compress_type = (0o100000 | mode) << 16, zipfile.ZIP_DEFLATED
            archive.writestr(about, content)

        add("setup.sh", SETUP.encode(), 0o755)
        add("run_autograder", RUN.replace(" OPTIONS", f" {options}".rstrip()).encode(), 0o755)
        add("minikd/pyproject.toml", pyproject().encode())
        if weights is not None:
            add("weights.toml", weights.encode())
        for path in sorted(PACKAGE.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                add(f"minikd/minikd/{path.relative_to(PACKAGE).as_posix()}", path.read_bytes())
    return buffer.getvalue()


def pyproject() -> str:
    """The pyproject.toml that installs the package in the bundle."""
    base = [re.sub(r"\s", "", r) for r in requires("minikd") or () if "extra ==" not in r]
    return (
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
        f'[project]\nname = "minikd"\nversion = "{__version__}"\nrequires-python = ">=3.10"\n'
        f"dependencies = {json.dumps(base)}\n\n"
        '[project.scripts]\nminikd = "minikd.cli.main:main"\n\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["minikd"]\n'
    )
