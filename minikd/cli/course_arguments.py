"""The arguments of `minikd course` and their help. Nothing here imports NumPy, so that --help is fast."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

VISIBILITIES = ("visible", "hidden", "after_due_date", "after_published")


def add_course(commands: Any, parser_class: Any) -> None:
    """Add the subcommand `course` and its actions to the parser of the command."""
    course = commands.add_parser("course", help="coursework: write exercises, check them, grade a class")
    actions = course.add_subparsers(metavar="ACTION", required=True, parser_class=parser_class)
    _add_learner(actions)
    _add_instructor(actions)


def _action(actions: Any, name: str, words: str) -> Any:
    p = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    p.set_defaults(run="course", action=name)
    return p.add_argument


def _add_learner(actions: Any) -> None:
    add = _action(actions, "start", "copy the skeleton of the exercises into a folder; nothing is overwritten")
    add("folder", type=Path, metavar="DIR", help="a new or empty folder")
    add("--notebook", action="store_true", help="make one notebook instead of Python files")
    add = _action(actions, "check", "check your solutions, and explain what is wrong")
    add("names", type=_exercise, nargs="*", metavar="E4", help="exercises to check (default: all that you have begun)")
    add("--folder", type=Path, default=Path(), metavar="DIR", help="folder with your solutions (default: this one)")
    add("--watch", action="store_true", help="check again after each save")
    add = _action(actions, "hint", "show one of the three hints for an exercise; none is the solution")
    add("name", type=_exercise, metavar="E4", help="the exercise")
    add("-n", type=int, choices=(1, 2, 3), default=1, help="which hint (default 1)")
    add = _action(actions, "progress", "show your points for each exercise")
    add("--folder", type=Path, default=Path(), metavar="DIR", help="folder with your solutions (default: this one)")


def _add_instructor(actions: Any) -> None:
    add = _action(actions, "grade", "grade a class: one folder or file for each student")
    add("folder", type=Path, metavar="DIR", help="folder with the submissions")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="CSV",
        help="write the table of grades, and the details into a .json beside it",
    )
    _add_weights(add)
    add("--jobs", type=int, default=1, metavar="N", help="submissions to grade at the same time (default 1)")
    add("--resume", action="store_true", help="continue a run that was stopped")
    _add_class(add)
    add = _action(actions, "report", "write tables, feedback and a summary from grades.json, without grading again")
    add("grades", type=Path, metavar="JSON", help="the .json file that `grade` wrote beside its table")
    add("--out", type=Path, metavar="CSV", help="write the table of grades here")
    _add_class(add)
    add = _action(actions, "gradescope", "grade one submission, and write results.json for Gradescope")
    add("submission", type=Path, metavar="SUBMISSION", help="folder or file of the submission")
    add("--out", type=Path, required=True, metavar="JSON", help="write the results here")
    _add_weights(add)
    _add_visibility(add)
    add = _action(actions, "bundle", "make the zip file to upload to Gradescope")
    add("out", type=Path, metavar="ZIP", help="file to write, such as grader.zip")
    _add_weights(add)
    _add_visibility(add)
    add = _action(actions, "replay", "grade one submission again with the inputs of a recorded seed")
    add("submission", type=Path, metavar="SUBMISSION", help="folder or file of the submission")
    add("--seed", type=int, required=True, metavar="N", help="seed, from the table of grades")
    _add_weights(add)
    _action(actions, "selftest", "check the grader: full points for the reference, none for the skeleton")
    add = _action(actions, "similar", "list pairs of submissions that are alike up to names and layout")
    add("folder", type=Path, metavar="DIR", help="folder with the submissions")


def _add_class(add: Any) -> None:
    add("--roster", type=Path, metavar="CSV", help="the class: identifiers and names, as exported by a gradebook")
    add("--manual", type=Path, metavar="CSV", help="corrections: identifier, exercise, points to add and comment")
    add("--gradebook", type=Path, metavar="CSV", help="write identifier, name and score, for import into a gradebook")
    add("--feedback", type=Path, metavar="DIR", help="write an HTML page and a Markdown file for each student here")
    add("--picture", type=Path, metavar="PNG", help="draw the scores and the exercises that most students missed")


def _add_weights(add: Any) -> None:
    add("--weights", type=Path, metavar="TOML", help="points of exercises, with lines like `E4 = 10` (default 5)")


def _add_visibility(add: Any) -> None:
    kinds: dict[str, Any] = {"choices": VISIBILITIES, "metavar": "KIND"}
    words = f"when students see the tests: {', '.join(VISIBILITIES)} (default visible)"
    add("--visibility", default="visible", help=words, **kinds)
    words = "the same for one exercise, as in E4=hidden; may be repeated"
    add("--visibility-of", type=_visibility_of, action="append", default=[], metavar="E4=KIND", help=words)
    add("--stdout-visibility", default="hidden", help="the same for the grader's output (default hidden)", **kinds)


def _visibility_of(text: str) -> tuple[str, str]:
    name, _, kind = text.partition("=")
    if kind not in VISIBILITIES:
        raise argparse.ArgumentTypeError(f"must be EXERCISE=KIND, KIND one of {', '.join(VISIBILITIES)}, got {text!r}")
    return _exercise(name), kind


def _exercise(text: str) -> str:
    name = text.upper() if text[:1] in "eE" else f"E{text}"
    if name not in {f"E{i}" for i in range(1, 24)}:
        raise argparse.ArgumentTypeError(f"an exercise must be one of E1 to E23, got {text!r}")
    return name
