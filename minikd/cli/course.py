"""`minikd course`: runs an action, prints its results and writes its files. See course_arguments.py for arguments."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..checkpoint import write_atomically
from ..course import learner
from ..course.exercises import EXERCISES
from ..course.exercises.exercise import POINTS
from ..course.grading import gradescope
from ..course.grading.collect import passed_over, submissions
from ..course.grading.feedback import write_feedback
from ..course.grading.grade import CALL_SECONDS, Grade, grade, new_seed, read_weights
from ..course.grading.gradebook import grade_class, import_table, read_grades, table
from ..course.grading.members import Member, members
from ..course.grading.roster import Note, Person, read_notes, read_roster
from ..course.grading.similar import copies, similar
from ..course.grading.submission import SubmissionError
from ..course.grading.summary import lines, summary
from ..course.sandbox.runner import Runner
from ..errors import CheckpointError
from ..fast.threads import limited_blas

LAYERS = {
    "user": "submissions run as a user that owns no files (only if the grader is root)",
    "limits": "memory, CPU time, files and processes are limited",
    "landlock": "submissions cannot open files (Linux 5.13 or newer)",
    "seccomp": "only system calls needed for computing (Linux, x86-64 and ARM)",
}


def run(options: argparse.Namespace) -> int:
    """Run the action; returns the exit code."""
    with limited_blas(1):  # the arrays of the exercises are small
        code: int = ACTIONS[options.action](options) or 0
    return code


def start(options: argparse.Namespace) -> None:
    """Run minikd course start."""
    made = learner.start(options.folder, options.notebook)
    print(learner.wrapped(f"{options.folder} holds {', '.join(path.name for path in made)}"))
    print(f"Write the functions, then check them:\n  cd {options.folder}\n  minikd course check E1")


def check(options: argparse.Namespace) -> int:
    """Run minikd course check; the exit code is 1 if a check fails."""
    if not options.watch:
        return _check_once(options)
    changes = learner.changes(options.folder)
    try:
        while True:
            try:
                _check_once(options)
            except SubmissionError as error:  # a file is being saved at this moment
                print(f"minikd: {error}", file=sys.stderr)
            print("watching: stop with Ctrl-C", file=sys.stderr, flush=True)
            next(changes)
            print()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 0


def _check_once(options: argparse.Namespace) -> int:
    wrong, idle = False, []
    for exercise, results in learner.check(options.folder, options.names or list(EXERCISES)):
        for note in learner.notes(results):
            print(learner.wrapped(f"note: {note}"))
        if not options.names and learner.is_idle(results):
            idle.append(exercise.name)
            continue
        wrong |= not all(result.passed for result in results)
        print(learner.report(exercise, results), flush=True)
    if idle:
        print(learner.wrapped(f"not begun: {' '.join(idle)}"))
    return int(wrong)


def hint(options: argparse.Namespace) -> None:
    """Run minikd course hint."""
    print(learner.wrapped(f"{options.name}, hint {options.n} of 3: {learner.hint(options.name, options.n)}"))


def progress(options: argparse.Namespace) -> None:
    """Run minikd course progress."""
    total = 0.0
    for exercise, results in learner.check(options.folder, list(EXERCISES)):
        total += sum(result.score for result in results)
        print(learner.summary(exercise, results), flush=True)
    print(f"{'in all':<57} {f'{total:g} of {POINTS * len(EXERCISES):g}':>10}")


def grade_all(options: argparse.Namespace) -> int:
    """Run minikd course grade."""

    def notify(graded: Grade, done: int, total: int) -> None:
        words = f"{graded.score():g} of {graded.max_score():g}"
        print(f"{done}/{total} {graded.student}: {words}, {graded.seconds:.1f} s", file=sys.stderr, flush=True)

    roster, notes = _read_class(options)  # first, because grading takes long
    weights = read_weights(options.weights) if options.weights else {}
    if options.jobs < 1:
        raise SubmissionError(f"--jobs must be at least 1, got {options.jobs}")
    for words in passed_over(options.folder):
        print(learner.wrapped(f"minikd: {words}"), file=sys.stderr)
    try:
        grades = grade_class(options.folder, options.out, weights, options.jobs, options.resume, notify=notify)
    except KeyboardInterrupt:
        print("minikd: stopped, and nothing is lost. To go on: the same command with --resume", file=sys.stderr)
        return 130
    print(learner.wrapped(f"details of every check: {options.out.with_suffix('.json')}; seed {grades[0].seed}"))
    _say_layers(next((g.layers for g in grades if g.layers), []))
    _report(options, members(grades, roster, notes))
    return 0


def report(options: argparse.Namespace) -> None:
    """Run minikd course report: print and write everything that `grade` prints and writes at its end."""
    roster, notes = _read_class(options)
    _report(options, members(read_grades(options.grades), roster, notes))


def _read_class(options: argparse.Namespace) -> tuple[list[Person], list[Note]]:
    for flag, path, suffix in (("out", options.out, ".csv"), ("picture", options.picture, ".png")):
        if path and path.suffix != suffix:
            raise SubmissionError(f"--{flag} must be a {suffix} file, got {path}")
    roster = read_roster(options.roster) if options.roster else []
    return roster, read_notes(options.manual) if options.manual else []


def _report(options: argparse.Namespace, everybody: list[Member]) -> None:
    found = summary(everybody)
    for line in lines(found):
        print(line if line.startswith(" ") else learner.wrapped(line))
    if options.out:
        _write(options.out, table(everybody).encode())
    if options.gradebook:
        _write(options.gradebook, import_table(everybody).encode())
    if options.feedback:
        write_feedback(everybody, options.feedback)
    if options.picture:
        from ..report import plots, style

        failed = {f"{name} {EXERCISES[name].title}": count for name, count in found.failed}
        _write(options.picture, style.png(plots.class_summary(found.histogram, found.max_score, failed)))
    for words in ("out", "gradebook", "feedback", "picture"):
        if path := getattr(options, words):
            print(f"  {words:<9}  {path}")


def to_gradescope(options: argparse.Namespace) -> None:
    """Run minikd course gradescope; it writes results.json even for a broken submission."""
    graded = _grade(options, new_seed())
    each = dict(options.visibility_of)
    content = gradescope.results(graded, options.visibility, options.stdout_visibility, each)
    _write(options.out, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    print(f"{graded.score():g} of {graded.max_score():g}: {options.out}")
    _say_layers(graded.layers)


def bundle(options: argparse.Namespace) -> None:
    """Run minikd course bundle."""
    weights = None
    if options.weights:
        read_weights(options.weights)
        weights = options.weights.read_text(encoding="utf-8")
    flags = f"--visibility {options.visibility} --stdout-visibility {options.stdout_visibility}"
    flags += "".join(f" --visibility-of {name}={kind}" for name, kind in options.visibility_of)
    _write(options.out, gradescope.bundle(weights, flags))
    print(f"{options.out}: upload it as the autograder of a programming assignment")


def replay(options: argparse.Namespace) -> None:
    """Run minikd course replay: every check, with the inputs of this seed."""
    graded = _grade(options, options.seed)
    for name, exercise in EXERCISES.items():
        print(learner.report(exercise, [result for result in graded.results if result.exercise == name]))
    print(f"{graded.score():g} of {graded.max_score():g}, seed {options.seed}")


def selftest(options: argparse.Namespace) -> int:
    """Run minikd course selftest; the exit code is 1 if the grader gives wrong points."""
    wrong = False
    layers: list[str] = []
    for folder, expected in (("reference", POINTS * len(EXERCISES)), ("skeleton", 0.0)):
        with Runner(seconds=CALL_SECONDS) as runner:
            graded = grade(learner.HERE / folder, runner, new_seed())
        layers = graded.layers or layers
        print(f"{folder}: {graded.score():g} of {graded.max_score():g} points, {graded.seconds:.1f} s")
        wrong |= graded.score() != expected
        for result in graded.results:
            if result.passed != bool(expected):
                print(f"  {result.exercise}, {result.check}: {result.kind} {result.words}")
    _say_layers(layers)
    return int(wrong)


def look_alike(options: argparse.Namespace) -> None:
    """Run minikd course similar."""
    entries = submissions(options.folder)
    pairs = similar(entries)
    for pair in pairs:
        names = " ".join(pair.exercises)
        print(f"{pair.one}  {pair.other}: {len(pair.exercises)} alike by {pair.similarity:.0%}: {names}")
    found: dict[str, list[str]] = {}
    for copy in copies(entries):
        found.setdefault(copy.student, []).append(f"{copy.function} ({copy.original}, {copy.similarity:.0%})")
    for student, words in sorted(found.items(), key=lambda item: -len(item[1])):
        print(learner.wrapped(f"{student}  minikd: {len(words)} alike: {', '.join(words)}"))
    print(learner.wrapped(f"{len(pairs)} pairs are alike up to names and layout; like minikd's code: {len(found)}"))
    print("Alike is not copied: short functions have few right forms. Compare first.")


def _grade(options: argparse.Namespace, seed: int) -> Grade:
    if not options.submission.exists():
        raise SubmissionError(f"there is no submission at {options.submission}")
    weights = read_weights(options.weights) if options.weights else {}
    with Runner(seconds=CALL_SECONDS) as runner:
        return grade(options.submission, runner, seed, weights)


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error


def _say_layers(layers: list[str]) -> None:
    for name, words in LAYERS.items():
        line = f"{'protected' if name in layers else 'NOT PROTECTED'}: {words}"
        print(learner.wrapped(line, "  "), file=sys.stderr)


ACTIONS: dict[str, Any] = {
    "start": start, "check": check, "hint": hint, "progress": progress, "grade": grade_all, "gradescope": to_gradescope,
    "report": report, "bundle": bundle, "replay": replay, "selftest": selftest, "similar": look_alike,
}  # fmt: skip
