"""Gradescope: results as it documents them, and a zip file that really installs and grades."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from coursework import COURSE, E1_ALONE

from minikd.cli.main import main
from minikd.course.exercises import EXERCISES
from minikd.course.grading import gradescope
from minikd.course.grading.grade import grade
from minikd.course.sandbox.runner import Runner

CHECKS = sum(len(exercise.checks) for exercise in EXERCISES.values())

pytestmark = pytest.mark.skipif(os.name != "posix", reason="submissions of others are run on POSIX systems alone")


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    """A submission that earns the points of E1."""
    path = tmp_path / "bob.py"
    path.write_text(E1_ALONE)
    return path


TOP = {"score": float, "execution_time": float, "output": str, "output_format": str,
       "test_output_format": str, "test_name_format": str, "visibility": str, "stdout_visibility": str,
       "extra_data": dict, "tests": list}  # fmt: skip
TEST = {"score": float, "max_score": float, "status": str, "name": str, "name_format": str, "number": str,
        "output": str, "output_format": str, "tags": list, "visibility": str, "extra_data": dict}  # fmt: skip
FORMATS = ("text", "html", "simple_format", "md", "ansi")


def check_results(content: dict[str, Any], visibility: str, stdout: str) -> None:
    """As https://gradescope-autograders.readthedocs.io/en/latest/specs/ has it."""
    for fields, found in [(TOP, content), *[(TEST, test) for test in content["tests"]]]:
        assert {name: type(value) for name, value in found.items()} == fields
        assert found["visibility"] == visibility
        assert all(found[name] in FORMATS for name in fields if name.endswith("_format"))
        assert math.isfinite(found["score"])
    assert content["stdout_visibility"] == stdout
    assert len(content["tests"]) == CHECKS
    assert len({test["number"] for test in content["tests"]}) == CHECKS
    for test in content["tests"]:
        assert test["status"] in ("passed", "failed") and 0 <= test["score"] <= test["max_score"]
        assert (test["status"] == "passed") == (test["score"] > 0) and all(isinstance(tag, str) for tag in test["tags"])
    assert {test["tags"][0] for test in content["tests"]} == set(EXERCISES), "exercises that are missing are there"
    assert content["score"] == pytest.approx(sum(test["score"] for test in content["tests"]))


def test_results_for_gradescope_have_every_field_with_its_type(submission: Path) -> None:
    with Runner(4.0) as runner:
        grades = [grade(path, runner, 77) for path in (submission, submission.parent / "missing")]
    for one in grades:
        content = json.loads(json.dumps(gradescope.results(one), allow_nan=False))
        check_results(content, "visible", "hidden")
        assert "seed 77" in content["output"]


@pytest.mark.parametrize("what", ["bob.py", "nobody", "empty"])
def test_the_command_for_gradescope_writes_results_of_whatever_is_there(
    what: str, submission: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results" / "results.json"
    (tmp_path / "empty").mkdir()
    path = submission if what == "bob.py" else tmp_path / what
    arguments = ["course", "gradescope", str(path), "--out", str(out), "--visibility", "after_published"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--stdout-visibility", "visible"])
    if what == "nobody":
        assert stopped.value.code == 1 and "there is no submission" in capsys.readouterr().err and not out.exists()
        return
    assert stopped.value.code == 0
    content = json.loads(out.read_text())
    check_results(content, "after_published", "visible")
    assert content["score"] == (5.0 if what == "bob.py" else 0.0)


def test_single_exercises_have_a_visibility_of_their_own(submission: Path, tmp_path: Path) -> None:
    out, zipped = tmp_path / "results.json", tmp_path / "grader.zip"
    options = ["--visibility", "after_published", "--visibility-of", "E4=hidden", "--visibility-of", "e20=visible"]
    for arguments in (["gradescope", str(submission), "--out", str(out)], ["bundle", str(zipped)]):
        with pytest.raises(SystemExit) as stopped:
            main(["course", *arguments, *options])
        assert stopped.value.code == 0
    content = json.loads(out.read_text())
    seen = {test["tags"][0]: set() for test in content["tests"]}
    for test in content["tests"]:
        seen[test["tags"][0]].add(test["visibility"])
    others = {name: {"after_published"} for name in EXERCISES}
    assert seen == others | {"E4": {"hidden"}, "E20": {"visible"}} and content["visibility"] == "after_published"
    with zipfile.ZipFile(zipped) as archive:
        run = archive.read("run_autograder").decode()
    assert run.endswith(" --stdout-visibility hidden --visibility-of E4=hidden --visibility-of E20=visible\n")


@pytest.mark.parametrize("text", ["E4", "E4=secret", "E24=hidden", "=hidden", "E4=hidden=x"])
def test_a_visibility_that_is_none_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["course", "bundle", "grader.zip", "--visibility-of", text])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "--visibility-of" in error and "must be" in error and "Traceback" not in error


def test_the_bundle_is_what_gradescope_wants_and_the_same_bytes_each_time() -> None:
    content = gradescope.bundle("E1 = 10\n", "--visibility hidden")
    assert content == gradescope.bundle("E1 = 10\n", "--visibility hidden")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        assert {"setup.sh", "run_autograder", "weights.toml", "minikd/pyproject.toml"} <= set(names)
        for name in ("setup.sh", "run_autograder"):
            about = archive.getinfo(name)
            assert about.external_attr >> 16 == stat.S_IFREG | 0o755
            assert archive.read(name).startswith(b"#!/usr/bin/env bash\n") and b"\r" not in archive.read(name)
        run = archive.read("run_autograder").decode()
        assert "--weights /autograder/source/weights.toml --visibility hidden\n" in run
        assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)
        for name in ("sandbox/child.py", "sandbox/restrictions.py", "skeleton/solution.py", "reference/museum.py"):
            assert archive.read(f"minikd/minikd/course/{name}") == (COURSE / name).read_bytes()


@pytest.mark.slow
def test_the_bundle_installs_and_grades_as_gradescope_would_have_it(submission: Path, tmp_path: Path) -> None:
    """setup.sh's installation and run_autograder itself, with /autograder somewhere else and NumPy from here."""
    home = tmp_path / "autograder"
    with zipfile.ZipFile(io.BytesIO(gradescope.bundle("E1 = 10\n", "--visibility visible"))) as archive:
        archive.extractall(home / "source")
    (home / "submission").mkdir()
    (home / "results").mkdir()
    shutil.copy(submission, home / "submission" / "solution.py")
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    (site / "here.pth").write_text("\n".join(here) + "\n")
    pip = [str(home / "venv" / "bin" / "pip"), "install", "-q", "--no-deps", str(home / "source" / "minikd")]
    installed = subprocess.run(pip, capture_output=True, text=True)
    if "hatchling" in installed.stderr and "No matching distribution" in installed.stderr:
        pytest.skip("no package index to take the build tool hatchling from")
    assert installed.returncode == 0, installed.stderr
    script = home / "run_autograder"
    script.write_text((home / "source" / "run_autograder").read_text().replace("/autograder", str(home)))
    script.chmod(0o755)
    ran = subprocess.run([str(script)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    content = json.loads((home / "results" / "results.json").read_text())
    check_results(content, "visible", "hidden")
    assert content["score"] == 10.0
    with Runner(4.0) as runner:
        own = grade(submission, runner, content["extra_data"]["seed"], {"E1": 10.0})
    want = gradescope.results(own)
    assert [(t["score"], t["max_score"], t["name"], t["output"]) for t in content["tests"]] == [
        (t["score"], t["max_score"], t["name"], t["output"]) for t in want["tests"]
    ]
    assert content["extra_data"]["layers"] == own.layers
