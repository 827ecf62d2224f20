"""Whose files are whose: plain names, and those of the platforms from which all submissions are downloaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from coursework import E1_ALONE

from minikd.course.grading.collect import passed_over, submissions
from minikd.course.grading.gradebook import grade_class
from minikd.course.grading.similar import similar
from minikd.course.grading.submission import MAX_FILES, read_submission

CANVAS = [
    "lovelaceada_LATE_12345_67890_solution-1.py",
    "lovelaceada_12345_67880_solution.py",
    "lovelaceada_LATE_12345_67891_museum.py",
    "hopper-murraygrace_12399_67777_work.ipynb",
    "hopper-murraygrace_12399_67778_report.pdf",
]
MOODLE = [
    "Ada Lovelace_123456_assignsubmission_file_solution.py",
    "Ada Lovelace_123456_assignsubmission_file_museum.py",
    "Ada Lovelace_123999_assignsubmission_file_solution.py",
    "Grace M. Hopper_123457_assignsubmission_file_/solution.py",
    "Grace M. Hopper_123457_assignsubmission_file_/museum.py",
    "Zoë O'Neil-李_123458_assignsubmission_file/a_1_2.py",
]
BLACKBOARD = [
    "Homework 1_ada01_attempt_2026-11-01-10-20-30_solution.py",
    "Homework 1_ada01_attempt_2026-11-01-10-20-30_museum.py",
    "Homework 1_ada01_attempt_2026-10-31-23-59-59_solution.py",
    "Homework 1_ada01_attempt_2026-11-01-10-20-30.txt",
    "Homework 1_x_01_attempt_2026-11-01-10-20-30_solution.py",
    "Homework 1_y_01_attempt_2026-11-02-10-20-30_solution.py",
]
BRIGHTSPACE = [
    "12345-678 - Ada Lovelace - Nov 1, 2026 1020 AM - solution.py",
    "12345-678 - Ada Lovelace - Nov 1, 2026 1020 AM - museum.py",
    "12345-678 - Ada Lovelace - Nov 1, 2026 920 AM - solution.py",
    "12345-678 - Ada Lovelace - Oct 31, 2026 1159 PM - solution.py",
    "12345-678 - Mary-Ann Smith - Sep 24, 2026 926 PM/solution.py",
    "12345-678 - Mary-Ann Smith - Sep 24, 2026 1226 PM/solution.py",
    "12345-678 - Cyd - Nov 1, 2026 120 AM - solution.py",
    "12345-678 - Cyd - Nov 1, 2026 1205 AM - solution.py",
    "12345-678 - Eve - Foo 99, 2026 926 PM - solution.py",
]


def write(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"where = {name!r}\n")
    return folder


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["ada/solution.py", "ada.py", "bob.ipynb", "hw_1_01_bob.py", "hw_1_02_cyd.py"],
         {"ada": ["ada"], "bob": ["bob.ipynb"], "hw_1_01_bob": ["hw_1_01_bob.py"], "hw_1_02_cyd": ["hw_1_02_cyd.py"]}),
        (CANVAS, {"hopper-murraygrace": [CANVAS[3]], "lovelaceada": [CANVAS[0], CANVAS[2]]}),
        (MOODLE, {"Ada Lovelace_123456": [MOODLE[1], MOODLE[0]], "Ada Lovelace_123999": [MOODLE[2]],
                  "Grace M. Hopper": [MOODLE[3].split("/")[0]], "Zoë O'Neil-李": [MOODLE[5].split("/")[0]]}),
        (BLACKBOARD, {"ada01": [BLACKBOARD[1], BLACKBOARD[0]], "Homework 1_x_01": [BLACKBOARD[4]],
                      "Homework 1_y_01": [BLACKBOARD[5]]}),
        (BRIGHTSPACE, {"Ada Lovelace": [BRIGHTSPACE[1], BRIGHTSPACE[0]],
                       "Mary-Ann Smith": [BRIGHTSPACE[4].split("/")[0]],
                       "Cyd": [BRIGHTSPACE[6]], BRIGHTSPACE[8].removesuffix(".py"): [BRIGHTSPACE[8]]}),
    ],
    ids=["plain", "Canvas", "Moodle", "Blackboard", "Brightspace"],
)  # fmt: skip
def test_the_files_of_a_student_are_one_submission_of_the_latest_attempt(
    names: list[str], wanted: dict[str, list[str]], tmp_path: Path
) -> None:
    found = submissions(write(tmp_path, names))
    assert {entry.student: [path.name for _, path in entry.files] for entry in found} == wanted
    said = " ".join(passed_over(tmp_path))
    graded = {file for files in wanted.values() for file in files}
    for name in {name.split("/")[0] for name in names}:
        assert (f"{name} is not graded: " in said) == (name not in graded), name


def test_what_is_passed_over_is_named_with_its_reason(tmp_path: Path) -> None:
    assert passed_over(write(tmp_path, CANVAS)) == [
        f"{CANVAS[4]} is not graded: it is no folder, .py or .ipynb file",
        f"{CANVAS[1]} is not graded: a later attempt is",
    ]


def test_the_files_get_back_the_names_that_the_student_gave_them(tmp_path: Path) -> None:
    write(tmp_path, CANVAS)
    _, ada = submissions(tmp_path)
    submission = read_submission(ada)
    assert submission.name == "lovelaceada" and submission.problems == []
    assert submission.sources == [
        ("solution.py", f"where = {CANVAS[0]!r}\n"),
        ("museum.py", f"where = {CANVAS[2]!r}\n"),
    ]


def test_students_whose_names_look_alike_are_kept_apart(tmp_path: Path) -> None:
    write(tmp_path, ["x\n.py", "x\r.py", "Participant_1_assignsubmission_file_a.py"])
    write(tmp_path, ["Participant_2_assignsubmission_file_a.py", "y" * 120 + "1.py", "y" * 120 + "2.py"])
    write(tmp_path, ["Participant_1/a.py"])
    assert sorted(entry.student for entry in submissions(tmp_path)) == [
        "Participant_1", "Participant_1 (2)", "Participant_2", "x�", "x� (2)", "y" * 100, "y" * 100 + " (2)",
    ]  # fmt: skip


def test_links_and_too_many_files_of_a_student_are_problems(tmp_path: Path) -> None:
    write(tmp_path, [f"a_1000_{i + 1000}_f{i}.py" for i in range(MAX_FILES + 3)])
    (tmp_path / "a_1000_900_solution.py").symlink_to(tmp_path / "a_1000_1000_f0.py")
    (entry,) = submissions(tmp_path)
    submission = read_submission(entry)
    assert len(submission.sources) == MAX_FILES
    assert submission.problems == [
        "solution.py is a link, and links are not followed",
        f"more than {MAX_FILES} files: only the first are read",
    ]


@pytest.mark.skipif(os.name != "posix", reason="submissions of others are run on POSIX systems alone")
def test_a_platforms_files_are_graded_resumed_and_compared(tmp_path: Path) -> None:
    folder, out = tmp_path / "class", tmp_path / "grades.csv"
    folder.mkdir()
    for name in (*BLACKBOARD[:2], BLACKBOARD[4]):
        (folder / name).write_text(E1_ALONE if name.endswith("solution.py") else "")
    first = grade_class(folder, out, seed=1)
    assert [(g.student, g.score()) for g in first] == [("ada01", 5.0), ("01", 5.0)]
    log = tmp_path / ".grades.csv.part"
    kept = {"file": "/".join(sorted(BLACKBOARD[:2])), "grade": json.loads(out.with_suffix(".json").read_text())[0]}
    for name in ("score", "max_score"):
        del kept["grade"][name]
    log.write_text(json.dumps({"seed": 1, "weights": {}}) + "\n" + json.dumps(kept) + "\n")
    seen: list[str] = []
    again = grade_class(folder, out, resume=True, notify=lambda g, *_: seen.append(g.student))
    assert seen == ["01"] and [g.known_as for g in again] == [["id ada01"], ["id 01"]]
    (pair,) = similar(submissions(folder))  # type: ignore[arg-type]
    assert (pair.one, pair.other) == ("ada01", "01")
