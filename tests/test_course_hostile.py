"""Hostile and broken submissions: none earns a point that it should not, or harms its neighbours or the grader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coursework import COURSE, PACKAGE
from coursework import SOLUTION as GOOD
from hostile import CASES, HONEST, Case

from minikd.course.grading import gradescope
from minikd.course.grading.grade import Grade, grade
from minikd.course.sandbox.runner import Runner

LIMIT = 90  # seconds for a submission, however it tries

pytestmark = pytest.mark.skipif(os.name != "posix", reason="submissions of others are run on POSIX systems alone")


def write(case: Case, folder: Path) -> Path:
    """The case as a submission."""
    folder.mkdir()
    source = case.source
    blanks = {
        "good": GOOD,
        "good_crlf": GOOD.replace("\n", "\r\n"),
        "folders": [str(PACKAGE.parent), str(Path(np.__file__).parents[1])],
        "package": str(PACKAGE / "losses.py"),
        "reference": str(COURSE / "reference" / "solution.py"),
    }
    if isinstance(source, tuple):
        cells = [{"cell_type": "code", "source": cell.replace("{good}", GOOD)} for cell in source]
        (folder / "solution.ipynb").write_text(json.dumps({"cells": cells}))
        return folder
    if isinstance(source, str):
        source = source.format(**blanks).encode()
    (folder / "solution.py").write_bytes(source)
    return folder


def survivors(runner: Runner) -> list[str]:
    """Processes that a submission has left behind: children of the forkserver, or anything of its user."""
    assert runner._server is not None
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        if fields["State"].startswith("Z"):
            continue
        of_user = os.getuid() == 0 and fields["Uid"].split()[0] == str(runner.uid)
        if of_user or fields["PPid"].strip() == str(runner._server.pid):
            found.append(f"{fields['Name']} {fields['Pid']}")
    return found


# One or two of each kind of attack, and of what is odd but right; all the others are slow tests.
QUICK = {
    *("os._exit in a call", "endless loop in a call", "fork bomb", "forged prints", "bytes on the pipe", "NaN"),
    *("a verdict on the pipe", "patched numpy", "stack frames", "uses minikd", "reads the package's source"),
    *("kills its parent", "strided results", "helper classes", "imports what nothing uses"),
}


def some_quick(cases: list[Case]) -> list[Any]:
    """Cases as parameters of a test, by name; those that are not QUICK are slow."""
    return [pytest.param(case, id=case.name, marks=() if case.name in QUICK else pytest.mark.slow) for case in cases]


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """One forkserver for all: whatever a submission does must not matter to the next."""
    with Runner(seconds=1.5) as one:
        yield one


def grade_between_neighbours(case: Case, folder: Path, runner: Runner) -> Grade:
    """Grade the case between two right submissions, which must get all their points; say what becomes of it."""
    (folder / "before").mkdir(), (folder / "after").mkdir()
    for name in ("before", "after"):
        (folder / name / "solution.py").write_text(GOOD)
    write(case, folder / "case")
    before = grade(folder / "before", runner, 1, only=("E1",))
    begun = time.monotonic()
    graded = grade(folder / "case", runner, 2, only=("E1", "E4"))
    seconds = time.monotonic() - begun
    after = grade(folder / "after", runner, 3, only=("E1",))
    left = survivors(runner) if sys.platform == "linux" else []
    assert before.score() == after.score() == 5.0, "the neighbours' scores"
    assert not left, f"survivors: {left}"
    assert seconds < LIMIT
    content = json.loads(json.dumps(gradescope.results(graded), allow_nan=False))
    assert [test["max_score"] > 0 and 0 <= test["score"] <= test["max_score"] for test in content["tests"]] == [
        True
    ] * 7
    assert all(c.isprintable() or c == "\n" for test in content["tests"] for c in test["output"])
    return graded


@pytest.mark.parametrize("case", some_quick(CASES))
def test_a_hostile_submission_earns_what_it_deserves(case: Case, tmp_path: Path, runner: Runner) -> None:
    graded = grade_between_neighbours(case, tmp_path, runner)
    of_e1 = [result for result in graded.results if result.exercise == "E1"]
    assert (graded.score("E1"), graded.score("E4")) == (case.e1, case.e4), graded.results
    assert {result.kind for result in of_e1} <= set(case.kinds), [(r.kind, r.words) for r in of_e1]


@pytest.mark.parametrize("case", some_quick(HONEST))
def test_an_odd_but_right_submission_earns_all(case: Case, tmp_path: Path, runner: Runner) -> None:
    graded = grade_between_neighbours(case, tmp_path, runner)
    assert (graded.score("E1"), graded.score("E4")) == (5.0, 5.0), [
        (r.kind, r.words) for r in graded.results if not r.passed
    ]


def test_there_are_at_least_forty_hostile_submissions_each_of_its_own_name() -> None:
    names = [case.name for case in (*CASES, *HONEST)]
    assert len(CASES) >= 40 and len(set(names)) == len(names)
    page = (PACKAGE.parent / "docs" / "testing.md").read_text("utf-8")
    assert f"holds {len(CASES)} submissions that lie" in page


def test_links_and_missing_files_are_problems_and_not_sources(tmp_path: Path, runner: Runner) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text(GOOD)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "solution.py").symlink_to(secret)
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "empty" / "solution.py")
    for name, words in (
        ("linked", "links are not followed"),
        ("folder", "links are not followed"),
        ("empty", "regular file"),
    ):
        graded = grade(tmp_path / name, runner, 1)
        assert graded.score() == 0 and graded.max_score() == 115, name
        assert words in " ".join(graded.problems), graded.problems


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(os, "getuid") or os.getuid() != 0,
    reason="needs root to become somebody else",
)
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv, of util-linux")
def test_the_same_holds_where_the_grader_is_an_ordinary_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for folder in list(tmp_path.parents)[:3]:
        folder.chmod(folder.stat().st_mode | 0o055)
    # An ordinary user who may read this checkout and this Python, wherever they lie, and nothing more.
    user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all,+dac_read_search",
            "--ambient-caps", "-all,+dac_read_search"]  # fmt: skip
    here = str(Path(__file__).parent)
    code = (
        "import sys, tempfile\nfrom pathlib import Path\n"
        f"sys.path[:0] = [{here!r}, {str(PACKAGE.parent)!r}]\n"
        "import test_course_hostile as t\n"
        "names = set(sys.argv[1:])\n"
        "runner = t.Runner(seconds=1.5)\n"
        "for case in (*t.CASES, *t.HONEST):\n"
        "    if case.name in names:\n"
        f"        folder = Path(tempfile.mkdtemp(dir={str(tmp_path)!r}))\n"
        "        graded = t.grade_between_neighbours(case, folder, runner)\n"
        "        assert (graded.score('E1'), graded.score('E4')) == (case.e1, case.e4), (case.name, graded.results)\n"
        "        assert 'user' not in graded.layers\n"
        "        print(case.name)\n"
        "runner.close()\n"
    )
    names = [
        "kills its parent", "kills everybody", "fork bomb", "double-forked daemon", "results.json at once", "8 GB",
        "os._exit in a call", "writes to its parent", "reads the package's source", "bytes on the pipe",
        "endless loop in a call", "noisy prints", "slow but honest",
    ]  # fmt: skip
    result = subprocess.run([*user, sys.executable, "-c", code, *names], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.splitlines() == [case.name for case in (*CASES, *HONEST) if case.name in names]
