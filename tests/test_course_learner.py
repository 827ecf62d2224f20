"""What a learner sees: start, check, hint, progress, the tests; and `similar`, a place for instructors to look."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from coursework import COURSE, MUSEUM, SOLUTION

from minikd.cli import course as command
from minikd.cli.main import main
from minikd.course import learner
from minikd.course.exercises import EXERCISES
from minikd.course.grading.similar import functions, similar
from minikd.fast.threads import VARIABLES, blas_threads, limited_blas


def course(*arguments: str | Path) -> int:
    """`minikd course ...`: its exit code."""
    with pytest.raises(SystemExit) as stopped:
        main(["course", *map(str, arguments)])
    return int(stopped.value.code or 0)


def test_start_makes_the_skeleton_and_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "hw"
    assert course("start", folder) == 0
    names = ["museum.py", "pytest.ini", "solution.py", "test_coursework.py"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        assert (folder / name).read_bytes() == (COURSE / "skeleton" / name).read_bytes()
    (folder / "solution.py").write_text("mine")
    (folder / "museum.py").unlink()
    assert course("start", folder) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert (folder / "solution.py").read_text() == "mine" and not (folder / "museum.py").exists()
    taken = tmp_path / "file"
    taken.write_text("x")
    assert course("start", taken) == 2 and "cannot write" in capsys.readouterr().err


def test_check_says_what_is_wrong_within_80_columns_and_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = SOLUTION.replace(
        "return loss.mean(), dz / len(zs)", "print('here \x1b[2J I am')\n    return loss.mean(), dz"
    )
    (tmp_path / "solution.py").write_text(source)
    assert course("check", "E4", "--folder", tmp_path) == 1
    out = capsys.readouterr().out
    assert "no  loss and gradient, and by a formula" in out
    assert "dz[" in out and "Central differences" in out and "it printed:\n      here" in out
    assert max(map(len, out.splitlines())) <= 80 and "\x1b" not in out
    assert course("check", "1", "e3", "--folder", tmp_path) == 0
    assert capsys.readouterr().out.startswith("E1  log-softmax")
    with pytest.raises(SystemExit) as stopped:
        main(["course", "check", "E24"])
    assert stopped.value.code == 2 and "must be one of E1 to E23" in capsys.readouterr().err


def test_check_without_names_passes_over_what_is_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    course("start", tmp_path / "hw")
    capsys.readouterr()
    assert course("check", "--folder", tmp_path / "hw") == 0
    out = capsys.readouterr().out
    assert out.split() == ["not", "begun:", *EXERCISES] and max(map(len, out.splitlines())) <= 80
    assert course("check", "E1", "--folder", tmp_path / "hw") == 1


@pytest.mark.parametrize("what", ["nowhere", "empty"])
def test_a_folder_without_work_is_one_clear_line(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for action in ("check", "progress"):
        assert course(action, "--folder", tmp_path / what) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "minikd course start DIR" in error


@pytest.mark.slow
def test_progress_of_a_right_solution_is_100_of_100_and_no_exercise_takes_2_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "solution.py").write_text(SOLUTION)
    (tmp_path / "museum.py").write_text(MUSEUM)
    before = os.times()
    assert course("progress", "--folder", tmp_path) == 0
    used = sum(b - a for a, b in zip(before[:4], os.times()[:4], strict=True))
    out = capsys.readouterr().out
    assert re.fullmatch(r"in all +115 of 115", out.splitlines()[-1]) and len(out.splitlines()) == 24
    assert max(map(len, out.splitlines())) <= 80
    assert used < 23, "seconds of processor time for 23 exercises, with all processes: fewer than one each"


@pytest.mark.parametrize("n", [1, 2, 3])
def test_hints_are_printed_and_wrapped(n: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert course("hint", "E10", "-n", str(n)) == 0
    out = capsys.readouterr().out
    assert " ".join(out.split()) == f"E10, hint {n} of 3: {EXERCISES['E10'].hints[n - 1]}"
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.slow
def test_the_notebook_earns_nothing_empty_and_all_with_the_solutions_in_its_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert course("start", tmp_path, "--notebook") == 0
    path = tmp_path / learner.NOTEBOOK
    notebook = json.loads(path.read_text())
    assert not (tmp_path / "solution.py").exists()
    titles = [c["source"] for c in notebook["cells"] if c["cell_type"] == "markdown" and c["source"].startswith("## ")]
    assert titles == [f"## {e.name}: {e.title}" for e in EXERCISES.values()]
    assert course("progress", "--folder", tmp_path) == 0
    assert "0 of 115" in capsys.readouterr().out.splitlines()[-1]
    for source in (SOLUTION, MUSEUM):
        bodies = dict(re.findall(r"(?ms)^def (\w+)\((.*?)(?=\n\n\n|\Z)", source))
        for cell in notebook["cells"]:
            name = re.match(r"def (\w+)\(", cell["source"])
            if name and name[1] in bodies and "NotImplementedError" in cell["source"]:
                cell["source"] = f"def {name[1]}({bodies[name[1]]}"
        helpers = [f"def {name}({bodies[name]}" for name in bodies if name.startswith("_") or name in HELPERS]
        cell = {"cell_type": "code", "metadata": {}, "source": "\n\n\n".join(helpers), "outputs": []}
        notebook["cells"].append(cell | {"execution_count": None})
    path.write_text(json.dumps(notebook))
    assert course("progress", "--folder", tmp_path) == 0
    assert "115 of 115" in capsys.readouterr().out.splitlines()[-1]


HELPERS = ("softmax", "formula", "equals_formula")


def test_check_names_once_the_cells_that_could_not_be_executed_and_progress_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [SOLUTION, "import matplotlib.pyplot as plt\nplt.plot([1.0])", "%%bash\nls", "pip install numpy"]
    cells = [{"cell_type": "code", "metadata": {}, "source": text} for text in texts]
    (tmp_path / "coursework.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    assert course("check", "E1", "E2", "--folder", tmp_path) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "note: coursework.ipynb, cell 2, line 2, is left out: ModuleNotFoundError:\n  matplotlib cannot"
    )
    assert out.count("note: ") == 2 and "note: coursework.ipynb, cell 3 is left out: SyntaxError: %%bash" in out
    assert max(map(len, out.splitlines())) <= 80
    (tmp_path / "broken.ipynb").write_text("no notebook")
    course("check", "E1", "--folder", tmp_path)
    assert "note: broken.ipynb is not a notebook" in capsys.readouterr().out
    course("progress", "--folder", tmp_path)
    assert "note" not in capsys.readouterr().out


def test_the_notebook_is_one_by_the_format() -> None:
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.reads(learner.as_notebook(), as_version=4))


def test_the_tests_of_the_skeleton_are_the_checks_with_a_marker_for_each_exercise(tmp_path: Path) -> None:
    course("start", tmp_path / "hw")
    path = tmp_path / "hw" / "solution.py"
    path.write_text(SOLUTION.replace("-logp[rows, y].mean()", "-logp[rows, y].sum()"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    for marker, passed, failed in (("E1 or E2", 6, 0), ("E1 or E3", 3, 3)):
        ran = subprocess.run([*command, "-m", marker], cwd=path.parent, capture_output=True, text=True, timeout=120)
        assert f"{passed} passed" in ran.stdout and (f"{failed} failed" in ran.stdout) == bool(failed), ran.stdout
    assert "loss must be" in ran.stdout and "Traceback" not in ran.stdout


def test_watching_checks_again_when_a_file_is_saved_and_ends_well_with_ctrl_c(tmp_path: Path) -> None:
    path = tmp_path / "solution.py"
    path.write_text("def log_softmax(z, T):\n    raise NotImplementedError('E1')\n")
    command = [sys.executable, "-u", "-m", "minikd", "course", "check", "E1", "--watch", "--folder", str(tmp_path)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **options) as process:
        at_the_latest = threading.Timer(120, process.kill)
        at_the_latest.start()
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "watching" in line and "ok  equals the reference\n" not in "".join(lines):
                path.write_text(SOLUTION)
            elif "watching" in line:
                process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        at_the_latest.cancel()
    text = "".join(lines)
    assert text.count("watching: stop with Ctrl-C") == 2 and "not written yet" in text and "Traceback" not in text


def test_every_course_command_has_one_blas_thread_and_gives_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    seen: list[int | None] = []
    monkeypatch.setitem(command.ACTIONS, "progress", lambda options: seen.append(blas_threads()))
    with limited_blas(2):
        before = blas_threads()
        assert course("progress") == 0
        assert seen == [1] and blas_threads() == before


# ---- submissions that are alike -------------------------------------------------------------------------------------

ONE = '''
def kd_loss(zs, zt, T):
    """Mine."""
    logp = log_softmax(zs, T)  # the student
    logq = log_softmax(zt, T)
    p, q = np.exp(logp), np.exp(logq)
    loss = T ** 2 * (q * (logq - logp)).sum() / len(zs)
    return loss, T * (p - q) / len(zs)
'''
COPIED = """
def kd_loss(student, teacher, temperature):
    lp = log_softmax(student, temperature)
    lq = log_softmax(teacher,
                     temperature)
    a, b = np.exp(lp), np.exp(lq)

    # all my own work
    value = temperature ** 2 * (b * (lq - lp)).sum() / len(student)
    return value, temperature * (a - b) / len(student)
"""
INDEPENDENT = """
def kd_loss(zs, zt, T):
    n = zs.shape[0]
    total, grad = 0.0, np.empty_like(zs)
    for i in range(n):
        s = zs[i] / T - zs[i].max() / T
        t = zt[i] / T - zt[i].max() / T
        s -= np.log(np.exp(s).sum())
        t -= np.log(np.exp(t).sum())
        total += np.dot(np.exp(t), t - s)
        grad[i] = T / n * (np.exp(s) - np.exp(t))
    return total * T * T / n, grad
"""
ANOTHER = """
def kd_loss(zs, zt, T):
    def soft(z):
        e = np.exp((z - z.max(1, keepdims=True)) / T)
        return e / np.sum(e, axis=1, keepdims=True)
    teacher, student = soft(zt), soft(zs)
    entropy = -np.mean(np.sum(teacher * np.log(teacher), axis=1))
    cross = -np.mean(np.sum(teacher * np.log(student), axis=1))
    gradient = student - teacher
    gradient *= T / zs.shape[0]
    return T * T * (cross - entropy), gradient
"""


def pairs(folder: Path, sources: dict[str, str]) -> set[tuple[str, str]]:
    for name, source in sources.items():
        (folder / f"{name}.py").write_text("import numpy as np\n" + source)
    return {(Path(p.one).stem, Path(p.other).stem) for p in similar(sorted(folder.iterdir()))}


def test_renamed_and_reformatted_copies_are_found_and_independent_work_is_not(tmp_path: Path) -> None:
    found = pairs(tmp_path, {"a": ONE, "b": COPIED, "c": INDEPENDENT, "d": ANOTHER})
    assert found == {("a", "b")}


def test_a_group_of_copies_in_a_small_class_is_found(tmp_path: Path) -> None:
    found = pairs(tmp_path, {"a": ONE, "b": COPIED, "c": ONE.replace(" loss", " x"), "d": INDEPENDENT, "e": ANOTHER})
    assert found == {("a", "b"), ("a", "c"), ("b", "c")}


def test_a_snippet_that_a_class_shares_does_not_drown_it(tmp_path: Path) -> None:
    sources = {f"s{i}": ONE for i in range(12)} | {"x": INDEPENDENT, "y": INDEPENDENT.replace("total", "sum_")}
    assert pairs(tmp_path, sources) == {("x", "y")}


def test_what_cannot_be_read_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.py").write_bytes(b"\xff\xfe")
    (tmp_path / "broken.py").write_text("def kd_loss(zs, zt, T:\n   (((\n")
    assert pairs(tmp_path, {"a": ONE, "b": COPIED}) == {("a", "b")}
    assert functions("def f(x):\n    'doc'\n    return x + 1  # c\n") == [
        ("f", ["(", "N", ")", ":", "return", "N", "+", "1"])
    ]
    assert course("similar", tmp_path) == 0
    out = capsys.readouterr().out
    assert "a.py  b.py: 1 alike" in out and "Alike is not copied" in out


@pytest.mark.slow
def test_a_class_of_200_is_compared_in_seconds(tmp_path: Path) -> None:
    for i in range(200):
        (tmp_path / f"s{i:03d}.py").write_text(SOLUTION.replace("T * (p - q)", f"T * (p - q) + {i}"))
    begun = time.process_time()
    similar(sorted(tmp_path.iterdir()))
    assert time.process_time() - begun < 15
