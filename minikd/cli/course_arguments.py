"""The arguments of `minikd course` and their help. Nothing here loads NumPy, so that help is quick."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

VISIBILITIES = ("visible", "hidden", "after_due_date", "after_published")


def add_course(commands: Any, parser_class: Any) -> None:
    """Add `course` and what it can do to the parser of the command."""
    course = commands.add_parser("course", help="exercises to write, to check, to set and to grade")
    actions = course.add_subparsers(metavar="ACTION", required=True, parser_class=parser_class)
    _add_learner(actions)
    _add_instructor(actions)


def _action(actions: Any, name: str, words: str) -> Any:
    p = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    p.set_defaults(run="course", action=name)
    return p.add_argument


def _add_learner(actions: Any) -> None:
    add = _action(actions, "start", "make the skeleton of the exercises in a folder; never overwrites")
    add("folder", type=Path, metavar="DIR", help="a new or empty folder")
    add("--notebook", action="store_true", help="as a notebook")
    add = _action(actions, "check", "check your work, all of it or some exercises, and say what is wrong")
    add("names", type=_exercise, nargs="*", metavar="E4", help="exercises (default all that are begun)")
    add("--folder", type=Path, default=Path(), metavar="DIR", help="where your work is (default here)")
    add("--watch", action="store_true", help="check again whenever a file is saved")
    add = _action(actions, "hint", "a hint for an exercise: there are three, and none is the solution")
    add("name", type=_exercise, metavar="E4", help="an exercise")
    add("-n", type=int, choices=(1, 2, 3), default=1, help="which hint (default 1)")
    add = _action(actions, "progress", "how far your work is")
    add("--folder", type=Path, default=Path(), metavar="DIR", help="where your work is (default here)")


def _add_instructor(actions: Any) -> None:
    add = _action(actions, "grade", "grade a folder of submissions, a folder or file for each student")
    add("folder", type=Path, metavar="DIR", help="where the submissions are")
    add("--out", type=Path, required=True, metavar="CSV", help="the table of grades; details go into a .json beside it")
    _add_weights(add)
    add("--jobs", type=int, default=1, metavar="N", help="submissions at a time (default 1)")
    add("--resume", action="store_true", help="go on with a run that was stopped")
    _add_class(add)
    add = _action(
        actions, "report", "tables, feedback and a summary of a class, from grades.json; nothing is run again"
    )
    add("grades", type=Path, metavar="JSON", help="what `grade` wrote beside its table")
    add("--out", type=Path, metavar="CSV", help="the table of grades")
    _add_class(add)
    add = _action(actions, "gradescope", "grade one submission, and write Gradescope's results.json")
    add("submission", type=Path, metavar="SUBMISSION", help="a folder or file")
    add("--out", type=Path, required=True, metavar="JSON", help="the file that Gradescope reads")
    _add_weights(add)
    _add_visibility(add)
    add = _action(actions, "bundle", "make the zip file to upload to Gradescope")
    add("out", type=Path, metavar="ZIP", help="grader.zip, say")
    _add_weights(add)
    _add_visibility(add)
    add = _action(actions, "replay", "grade one submission again with the inputs of a recorded seed, and say all")
    add("submission", type=Path, metavar="SUBMISSION", help="a folder or file")
    add("--seed", type=int, required=True, metavar="N", help="the seed in the table of grades")
    _add_weights(add)
    _action(actions, "selftest", "see that the reference earns all points and the skeleton none, and what protects")
    add = _action(actions, "similar", "pairs of submissions that are alike up to names and layout: a place to look")
    add("folder", type=Path, metavar="DIR", help="where the submissions are")


def _add_class(add: Any) -> None:
    add("--roster", type=Path, metavar="CSV", help="who is in the class: identifiers and names, as a gradebook exports")
    add("--manual", type=Path, metavar="CSV", help="identifier, exercise, points to add, comment, of each correction")
    add("--gradebook", type=Path, metavar="CSV", help="write identifier, name and score, for a gradebook to import")
    add("--feedback", type=Path, metavar="DIR", help="write a page and a Markdown file for each student there")
    add(
        "--picture", type=Path, metavar="PNG", help="draw the scores, and the exercises that were most often not solved"
    )


def _add_weights(add: Any) -> None:
    add("--weights", type=Path, metavar="TOML", help="points by exercise, `E4 = 10` a line (default 5 each)")


def _add_visibility(add: Any) -> None:
    add("--visibility", choices=VISIBILITIES, default="visible", help="of the tests to the student (default visible)")
    words = "of the tests of one exercise, as in E4=hidden; may be repeated"
    add("--visibility-of", type=_visibility_of, action="append", default=[], metavar="E4=KIND", help=words)
    add(
        "--stdout-visibility",
        choices=VISIBILITIES,
        default="hidden",
        help="of the grader's own output (default hidden)",
    )


def _visibility_of(text: str) -> tuple[str, str]:
    name, _, kind = text.partition("=")
    if kind not in VISIBILITIES:
        raise argparse.ArgumentTypeError(f"must be an exercise, =, and one of {', '.join(VISIBILITIES)}, got {text!r}")
    return _exercise(name), kind


def _exercise(text: str) -> str:
    name = text.upper() if text[:1] in "eE" else f"E{text}"
    if name not in {f"E{i}" for i in range(1, 24)}:
        raise argparse.ArgumentTypeError(f"an exercise must be one of E1 to E23, got {text!r}")
    return name
