"""Grading a class: its table, its seeds, weights, and a run that is killed and goes on."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coursework import E1_ALONE, MUSEUM, SOLUTION

from minikd.cli.main import main
from minikd.course import learner
from minikd.course.exercises import EXERCISES
from minikd.course.grading import gradescope
from minikd.course.grading.collect import passed_over, submissions
from minikd.course.grading.grade import Grade, grade, read_weights
from minikd.course.grading.gradebook import details, from_dict, grade_class, table
from minikd.course.grading.members import members
from minikd.course.grading.similar import functions, similar
from minikd.course.grading.submission import SubmissionError, read_submission
from minikd.course.sandbox import messages
from minikd.course.sandbox.conversation import Child
from minikd.course.sandbox.runner import Runner

CHECKS = sum(len(exercise.checks) for exercise in EXERCISES.values())
SPARE = "raise NotImplementedError\n"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="submissions of others are run on POSIX systems alone")


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class: right, half right, broken, and with names that somebody chose to do harm."""
    folder = tmp_path_factory.mktemp("class")
    (folder / "ada").mkdir()
    (folder / "ada" / "solution.py").write_text(SOLUTION)
    (folder / "ada" / "museum.py").write_text(MUSEUM)
    (folder / "bob.py").write_text(E1_ALONE)
    cells = [{"cell_type": "markdown", "source": "# mine"},
             {"cell_type": "code", "source": "%matplotlib inline\n!ls\n"},
             {"cell_type": "code", "source": E1_ALONE.splitlines(keepends=True)}]  # fmt: skip
    (folder / "cyd.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (folder / "dan.py").write_text("def log_softmax(z, T:\n")
    (folder / "eve.py").write_text("import collections\ncollections._sys.modules['os']._exit(0)\n")
    (folder / "=cmd|'-C calc'!A0.py").write_text(E1_ALONE)
    (folder / "x\n100,100\x1b[2J.py").write_text("1 / 0\n")
    (folder / "\udcffodd").mkdir()
    return folder


@pytest.fixture(scope="module")
def graded(school: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Grade]]:
    out = tmp_path_factory.mktemp("grades") / "grades.csv"
    return out, grade_class(school, out, seed=77)


def scores(grades: list[Grade]) -> dict[str, list[tuple[float, str]]]:
    return {g.student: [(r.score, r.kind) for r in g.results] for g in grades}


def test_a_class_is_graded_and_a_broken_submission_stops_nobody(graded: tuple[Path, list[Grade]]) -> None:
    points = {g.student: g.score() for g in graded[1]}
    assert points == {"ada": 115, "bob": 5, "cyd": 5, "dan": 0, "eve": 0, "=cmd|'-C calc'!A0": 5,
                      "x�100,100�[2J": 0, "�odd": 0}  # fmt: skip
    for g in graded[1]:
        assert len(g.results) == CHECKS and g.max_score() == 115 and g.seed == 77
        assert all(math.isfinite(r.score) and 0 <= r.score <= r.max_score for r in g.results)


def test_the_table_has_a_row_for_each_student_and_no_formula(graded: tuple[Path, list[Grade]]) -> None:
    out, grades = graded
    rows = list(csv.reader(io.StringIO(out.read_text("utf-8"))))
    assert rows[0] == ["student", "score", "max_score", *EXERCISES, "seed", "seconds", "problems"]
    assert len(rows) == 1 + len(grades) and {len(row) for row in rows} == {len(rows[0])}
    by_name = {row[0]: row for row in rows[1:]}
    assert by_name["ada"][1:27] == ["115", "115", *["5"] * 23, "77"][:26]
    assert "'=cmd|'-C calc'!A0" in by_name and not any(row[0][:1] in "=+-@" for row in rows)
    assert all(c.isprintable() for row in rows for cell in row for c in cell)
    for first in ("=1", "+1", "-1", "@x", "\tx", "＝1"):
        assert table(members([Grade(first, 1)])).splitlines()[1].startswith("'" + first)


def test_the_details_are_json_that_can_be_read_back(graded: tuple[Path, list[Grade]]) -> None:
    out, grades = graded
    rows = json.loads(out.with_suffix(".json").read_text(), parse_constant=pytest.fail)
    assert [row.pop("score") for row in rows] == [g.score() for g in grades]
    assert [row.pop("max_score") for row in rows] == [115.0] * len(grades)
    assert [from_dict(row) for row in rows] == grades
    assert sorted(path.name for path in out.parent.iterdir()) == ["grades.csv", "grades.json"], "nothing else is left"


@pytest.mark.slow
def test_two_at_a_time_give_the_same_grades(graded: tuple[Path, list[Grade]], school: Path, tmp_path: Path) -> None:
    assert scores(grade_class(school, tmp_path / "g.csv", jobs=2, seed=77)) == scores(graded[1])


def test_each_run_has_a_seed_of_its_own_and_replay_gives_the_same_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "class").mkdir()
    source = "def log_softmax(z, T):\n    return z - T\n"
    (tmp_path / "class" / "ann.py").write_text(source)
    (first,) = grade_class(tmp_path / "class", tmp_path / "a.csv")
    (second,) = grade_class(tmp_path / "class", tmp_path / "b.csv")
    assert first.seed != second.seed and f",{first.seed}," in (tmp_path / "a.csv").read_text()
    words = first.results[0].words
    assert words != second.results[0].words, "other inputs, other numbers"
    with pytest.raises(SystemExit):
        main(["course", "replay", str(tmp_path / "class" / "ann.py"), "--seed", str(first.seed)])
    printed = " ".join(capsys.readouterr().out.split())
    assert " ".join(words.split()) in printed and f"0 of 115, seed {first.seed}" in printed


def test_all_submissions_of_a_run_get_the_same_inputs(tmp_path: Path) -> None:
    source = "def log_softmax(z, T):\n    print(repr(z.tolist()), T)\n    return z\n"
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(source)
    one, two = grade_class(tmp_path, tmp_path / "g.csv")
    assert [r.output for r in one.results] == [r.output for r in two.results] and one.results[0].output


def test_weights_scale_points_and_nothing_else(school: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.toml"
    weights.write_text("E1 = 20\nE4 = 0\nE20 = 2.5\n")
    with Runner(4.0) as runner:
        graded = grade(school / "bob.py", runner, 1, read_weights(weights))
    assert (graded.score(), graded.score("E1"), graded.max_score()) == (20.0, 20.0, 20 * 5 + 22.5)
    assert graded.max_score("E4") == 0 and graded.max_score("E20") == 2.5


@pytest.mark.parametrize(
    ("content", "said"),
    [("E99 = 1", "E99"), ("E1 = -1", "must be a number from 0"), ("E1 = nan", "must be a number from 0"),
     ("E1 = inf", "must be a number from 0"), ("E1 = true", "must be a number"), ("E1 = '5'", "must be a number"),
     ("E1 5", "not TOML"), ("[E1]\nx = 1", "must be a number"), (None, "cannot read")],
)  # fmt: skip
def test_weights_that_are_none_are_one_clear_line(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SubmissionError, match=said) as caught:
        read_weights(path)
    assert "weights.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nowhere", "--out", "g.csv"], "cannot read the folder nowhere"), (["empty", "--out", "g.csv"], "no submissions"),
     (["class", "--out", "missing/g.csv"], "cannot write"), (["class", "--out", "taken.csv"], "is a folder"),
     (["class", "--out", "g.txt"], "must be a .csv file"), (["class", "--out", "g.csv", "--jobs", "0"], "jobs"),
     (["class", "--out", "g.csv", "--weights", "no.toml"], "cannot read no.toml")],
)  # fmt: skip
def test_what_cannot_be_graded_is_one_clear_line_and_nothing_is_half_written(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "class", "taken.csv"):
        Path(folder).mkdir()
    Path("class/a.py").write_text(SPARE)
    with pytest.raises(SystemExit) as stopped:
        main(["course", "grade", *arguments])
    error = capsys.readouterr().err
    assert stopped.value.code in (1, 2) and said in error and error.count("\n") == 1 and "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class", "empty", "taken.csv"]


def processes() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue


@pytest.mark.slow
@pytest.mark.parametrize(("how", "jobs"), [("killed", 1), ("killed while it wrote", 1), ("Ctrl-C", 1), ("Ctrl-C", 2)])
def test_a_run_that_was_stopped_goes_on_where_it_was(how: str, jobs: int, tmp_path: Path) -> None:
    folder, out = tmp_path / "class", tmp_path / "grades.csv"
    folder.mkdir()
    for i in range(5):
        (folder / f"s{i}.py").write_text("import time\ntime.sleep(0.02)\n" + (E1_ALONE if i % 2 else SPARE))
    log = tmp_path / ".grades.csv.part"
    command = [sys.executable, "-m", "minikd", "course", "grade", str(folder), "--out", str(out), "--jobs", str(jobs)]
    said = tmp_path / "said"
    with said.open("w") as stderr:
        process = subprocess.Popen(command, start_new_session=True, stderr=stderr, cwd=tmp_path)
    begun = time.monotonic()
    while not log.exists() or log.read_text().count("\n") < 3:
        assert process.poll() is None and time.monotonic() - begun < 120
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT if how == "Ctrl-C" else signal.SIGKILL)
    process.wait(60)
    if how == "Ctrl-C":
        assert process.returncode == 130 and "--resume" in said.read_text() and "Traceback" not in said.read_text()
    assert not out.exists() and not out.with_suffix(".json").exists()
    if how == "killed while it wrote":
        with log.open("a") as file:
            file.write('{"file": "s4.py", "gra')  # it was killed while it wrote
    lines = [line for line in log.read_text().splitlines() if line.endswith("}")]
    seed, done = json.loads(lines[0])["seed"], len(lines) - 1
    seen: list[str] = []
    grades = grade_class(folder, out, resume=True, notify=lambda g, *_: seen.append(g.student))
    assert len(seen) == 5 - done and len(grades) == 5, "what was done is not done again"
    assert {g.seed for g in grades} == {seed}
    anew = grade_class(folder, tmp_path / "anew.csv", seed=seed)
    assert scores(grades) == scores(anew)
    assert not log.exists()
    if sys.platform == "linux":
        for _ in range(100):
            if not any(str(folder) in line for line in processes()):
                break
            time.sleep(0.05)
        assert not any(str(folder) in line for line in processes())


def test_without_resume_a_run_begins_anew_and_other_weights_cannot_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "a.py").write_text(SPARE)
    log = tmp_path / ".g.csv.part"
    old = json.dumps({"seed": 5, "weights": {}}) + "\n"
    log.write_text(old)
    with pytest.raises(Exception, match="other weights"):
        grade_class(tmp_path / "class", tmp_path / "g.csv", {"E1": 1.0}, resume=True)
    assert log.read_text() == old
    (graded,) = grade_class(tmp_path / "class", tmp_path / "g.csv")
    assert graded.seed != 5
    log.write_text("nonsense\n")
    with pytest.raises(Exception, match="not the beginning of a run"):
        grade_class(tmp_path / "class", tmp_path / "g.csv", resume=True)


def test_details_of_no_grade_are_empty() -> None:
    assert json.loads(details([])) == []


# ---- one submission never costs another anything -----------------------------------------------------------------


class Liar:
    """A runner whose processes answer anything whatever: made-up messages, or the bytes of `answers` in turn."""

    seconds, layers, output = 4.0, (), ""

    def __init__(self, answers: Callable[[], bytes]) -> None:
        self.answers = answers

    @contextmanager
    def open(self, *_: Any) -> Iterator[Child]:
        left = bytearray()

        def receive(size: int, deadline: float) -> bytes:
            while len(left) < size:
                left.extend(self.answers())
            part = bytes(left[:size])
            del left[:size]
            return part

        yield Child(lambda message, deadline: None, receive, self.seconds)


def npy(shape: str, data: bytes = b"") -> bytes:
    """A message of one array whose header claims that shape."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (64 - (10 + len(header) + 1) % 64) + b"\n"
    payload = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data
    return messages._frame(b"A", payload)


HUGE = (f"({2**63}, 0)", f"({2**62}, 0)", f"(0, {2**64})")
HOSTILE_SHAPES = [*HUGE, "(True,)", "(-1,)", f"({'0, ' * 9})", "(1.0,)"]


@pytest.mark.parametrize("shape", HOSTILE_SHAPES)
def test_an_array_that_claims_an_impossible_shape_is_no_message(shape: str) -> None:
    with pytest.raises(messages.MessageError, match=r"an array (that claims|whose header)"):
        messages.unpack(npy(shape, b"\0" * 8 if shape in ("(True,)", "(1.0,)") else b""))


def framed(*values: bytes) -> bytes:
    """A list of values that are packed already."""
    return messages._frame(b"L", b"".join(values))


def made_up(rng: random.Random) -> bytes:
    """A message that no honest process sends, or might."""
    kinds = ["ok", "callback", "missing", "todo", "assert", "raised", "", "ask"]
    value: Callable[[int], bytes] = lambda depth: rng.choice(  # noqa: E731
        [
            lambda: npy(rng.choice([*HOSTILE_SHAPES, "()", "(3,)", "(2, 2)"]), b"\0" * rng.choice((0, 8, 24, 32))),
            lambda: messages.pack(rng.choice(["0", "-1", "x" * 50, "", kinds[rng.randrange(8)]])),
            lambda: messages.pack(rng.choice([None, float("nan"), 3, True, 1j, np.zeros((2, 3)), np.arange(2)])),
            lambda: messages._frame(b"F", rng.choice([b"0", b"99999", b"\xb2"])),
            lambda: messages._frame(b"U", b"object"),
            lambda: framed(*(value(depth + 1) for _ in range(rng.randrange(4)))) if depth < 3 else messages.pack(None),
        ]
    )()
    return framed(messages.pack(rng.choice(kinds)), *(value(0) for _ in range(rng.randrange(4))))


def test_whatever_a_process_answers_every_check_gets_a_result(tmp_path: Path) -> None:
    (tmp_path / "ada.py").write_text("x = 1\n")
    for seed in range(40):
        rng = random.Random(seed)
        graded = grade(tmp_path / "ada.py", Liar(lambda rng=rng: made_up(rng)), seed)  # type: ignore[arg-type]
        assert [r.exercise for r in graded.results] == [n for n, e in EXERCISES.items() for _ in e.checks]
        assert not [r.trace for r in graded.results if r.trace] and graded.score() == 0
        json.dumps(gradescope.results(graded), allow_nan=False)


def test_a_failure_of_the_grader_itself_costs_one_check_and_is_told_to_the_instructor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(fresh: Any, rng: Any) -> None:
        raise RuntimeError("a mistake in the check")

    first = EXERCISES["E1"]
    checks = (replace(first.checks[0], run=broken), *first.checks[1:])
    monkeypatch.setitem(EXERCISES, "E1", replace(first, checks=checks))
    for name in ("ada", "bob"):
        shutil.copy(learner.HERE / "reference" / "solution.py", tmp_path / f"{name}.py")
    out = tmp_path.parent / f"{tmp_path.name}-out" / "grades.csv"
    out.parent.mkdir()
    with pytest.raises(SystemExit, match="0"):
        main(["course", "grade", str(tmp_path), "--out", str(out)])
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["student"] for row in rows] == ["ada", "bob"]
    for row in rows:
        assert float(row["E1"]) == 2.5 and float(row["E2"]) == 5
        assert row["problems"].startswith("E1, equals the reference: the grader itself failed (RuntimeError)")
    (result, *_) = json.loads(out.with_suffix(".json").read_text())[0]["results"]
    assert result["kind"] == "grader" and "Traceback" in result["trace"] and "tell your instructor" in result["words"]
    with pytest.raises(SystemExit, match="0"):
        main(["course", "gradescope", str(tmp_path / "ada.py"), "--out", str(tmp_path / "results.json")])
    assert json.loads((tmp_path / "results.json").read_text())["tests"][0]["status"] == "failed"


def test_what_is_not_graded_is_said_and_a_student_is_graded_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ada").mkdir()
    for name in (
        "ada/solution.py",
        "ada.py",
        "bob.ipynb",
        "bob.py",
        "upper.PY",
        "late.zip",
        "notes.txt",
        "e\x1b[2J.zip",
    ):
        (tmp_path / name).write_text("x = 1\n")
    assert [path.name for path in submissions(tmp_path)] == ["ada", "bob.py", "upper.PY"]
    said = passed_over(tmp_path)
    assert [words for words in said if "ada" in words or "bob" in words] == [
        "ada.py is not graded: ada is",
        "bob.ipynb is not graded: bob.py is",
    ]
    assert "late.zip is not graded: it is no folder, .py or .ipynb file" in said and len(said) == 5
    assert "\x1b" not in "".join(said)
    assert read_submission(tmp_path / "upper.PY").sources == [("upper.PY", "x = 1\n")]


def test_similar_is_quick_whatever_a_line_holds_and_prints_clean_names(tmp_path: Path) -> None:
    source = (learner.HERE / "reference" / "solution.py").read_text()
    bad = "x = 1" + " " * 300_000 + "$\n", "(\n" + " " * 300_000 + "$\n", ("(" + " " * 90 + "$\n") * 3000
    for name in ("a\x1b[31m.py", "b.py"):
        (tmp_path / name).write_text(source + "\n" + bad[0])
    begun = time.process_time()
    for text in bad:
        functions(text)
    (pair,) = similar(submissions(tmp_path))
    assert time.process_time() - begun < 5 and len(pair.exercises) > 3
    assert pair.one.isprintable() and pair.other == "b.py"
