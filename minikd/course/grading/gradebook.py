"""Grading: every check of every exercise on every submission, with inputs that nobody could know before.

All submissions of a run get the same inputs, drawn from a fresh seed that is recorded, so that a disputed grade can be
looked at again: `replay`. Results are kept as they come, and the table is written last, at once.
"""

from __future__ import annotations

import csv
import io
import json
import math
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from ...checkpoint import write_atomically
from ...checks import check_count
from ...errors import CheckpointError
from ..exercises import EXERCISES
from ..exercises.exercise import POINTS, Result, run_check
from ..sandbox.runner import Runner
from .submission import SubmissionError, read, student, submissions

BUDGET = 40.0  # seconds that a submission may keep the grader waiting, all checks together
CALL = 4.0  # seconds of one call


@dataclass
class Grade:
    """What a submission is worth, check by check."""

    student: str
    seed: int
    results: list[Result] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def score(self, exercise: str | None = None) -> float:
        """The points of an exercise, or of all."""
        return math.fsum(r.score for r in self.results if exercise in (None, r.exercise))

    def max_score(self, exercise: str | None = None) -> float:
        """The most that there is to be had."""
        return math.fsum(r.max_score for r in self.results if exercise in (None, r.exercise))


def new_seed() -> int:
    """A seed that nobody could know before."""
    return secrets.randbits(48)


def grade(path: Path, talk: Any, seed: int, weights: Mapping[str, float] = {}, only: Sequence[str] = ()) -> Grade:
    """Run all checks, or those of the exercises `only`, on the submission at `path`; never raises for what is there.

    talk      a `Runner` or `Plain`
    weights   points of an exercise, by name; POINTS where it is not named
    """
    submission = read(path)
    graded = Grade(submission.name, seed, problems=submission.problems)
    begun, hopeless = time.monotonic(), ""
    for name in only or EXERCISES:
        exercise, factor, slow = EXERCISES[name], weights.get(name, POINTS) / POINTS, ""
        for index, check in enumerate(exercise.checks):
            stop = hopeless or slow
            if not submission.sources and not stop:
                stop = "; ".join(submission.problems)
            if not stop and time.monotonic() - begun > BUDGET:
                hopeless = stop = f"not run: the {BUDGET:.0f} seconds for all of a submission were used up"
            if stop:
                result = Result(name, check.name, 0.0, POINTS * check.share, "missing", stop)
            else:
                result = run_check(exercise, index, talk, submission.sources, seed)
                if result.kind == "loading":
                    hopeless = f"not run: {result.words}"
                elif result.kind == "time":
                    slow = "not run: an earlier check of this exercise took too long"
            points = result.max_score * factor
            graded.results.append(Result(**{**asdict(result), "score": points * result.passed, "max_score": points}))
    graded.seconds = time.monotonic() - begun
    graded.layers = list(talk.layers)
    return graded


# ---- a class ----------------------------------------------------------------------------------------------------

_runner: Runner | None = None


def _begin() -> None:
    """A process of a pool: it has a forkserver of its own, with a user of its own."""
    global _runner
    _runner = Runner(CALL)


def _grade_one(path: Path, seed: int, weights: Mapping[str, float]) -> Grade:
    assert _runner is not None
    return grade(path, _runner, seed, weights)


def grade_class(
    folder: Path,
    out: Path,
    weights: Mapping[str, float] = {},
    jobs: int = 1,
    resume: bool = False,
    seed: int | None = None,
    notify: Callable[[Grade, int, int], None] = lambda grade, done, total: None,
) -> list[Grade]:
    """Grade every submission in `folder`; write `out` (CSV), and beside it the details of every check (JSON).

    resume   go on with a run that was stopped: its seed, and the grades that it had, are in a file beside `out`
    notify   called as notify(grade, how many are done, how many there are)
    """
    check_count("jobs", jobs)
    paths = submissions(folder)
    log = out.with_name(f".{out.name}.part")
    try:
        if out.is_dir():
            raise CheckpointError(f"{out} is a folder: --out must be the file to write")
        seed, done = _begun(log, resume, weights, new_seed() if seed is None else seed)
        with log.open("a") as lines:
            todo = [path for path in paths if path.name not in done]
            for path, graded in _in_pool(todo, seed, weights, jobs):
                done[path.name] = graded
                lines.write(json.dumps({"file": path.name, "grade": asdict(graded)}) + "\n")
                lines.flush()
                notify(graded, len(done), len(paths))
        grades = [done[path.name] for path in paths]
        write_atomically(out.with_suffix(".json"), details(grades).encode())
        write_atomically(out, table(grades).encode())
        log.unlink()
    except OSError as error:
        raise CheckpointError(f"cannot write {error.filename or out}: {error.strerror}") from error
    return grades


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that are started meanwhile never hear Ctrl-C: it is for who waits for them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _in_pool(paths: Sequence[Path], seed: int, weights: Mapping[str, float], jobs: int) -> Any:
    """(path, grade) as they come. If a submission manages to kill the process that grades it, the others go on."""
    todo, alone = list(paths), False
    while todo:
        width = 1 if alone else min(jobs, len(todo))
        some = todo[:1] if alone else list(todo)
        with ProcessPoolExecutor(width, get_context("spawn"), initializer=_begin) as pool:
            try:
                with _deaf():
                    futures = {pool.submit(_grade_one, path, seed, weights): path for path in some}
                for future in as_completed(futures):
                    path = futures[future]
                    try:
                        graded = future.result()
                    except BrokenProcessPool:
                        if not alone:
                            continue  # nobody knows whose fault it was: those that are left are graded one at a time
                        graded = nothing(path, seed, weights, "the submission ended the process that graded it")
                    todo.remove(path)
                    yield path, graded
            except BaseException:  # Ctrl-C above all: what runs is given up, and is graded again with resume
                pool.shutdown(wait=False, cancel_futures=True)
                for process in active_children():
                    process.terminate()
                raise
        alone = bool(todo)


def nothing(path: Path, seed: int, weights: Mapping[str, float], why: str) -> Grade:
    """A grade of 0, with the reason."""
    results = [
        Result(e.name, c.name, 0.0, weights.get(e.name, POINTS) * c.share, "died", why)
        for e in EXERCISES.values()
        for c in e.checks
    ]
    return Grade(student(path), seed, results, [why])


def _begun(log: Path, resume: bool, weights: Mapping[str, float], seed: int) -> tuple[int, dict[str, Grade]]:
    """The seed of a run and the grades that are done. `log` is begun, or goes on after its last whole line."""
    header = {"seed": seed, "weights": dict(weights)}
    if not resume or not log.exists():
        write_atomically(log, (json.dumps(header) + "\n").encode())
        return seed, {}
    try:
        lines = [line for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        header, *rest = [json.loads(line) for line in lines]
        done = {row["file"]: from_dict(row["grade"]) for row in rest}
        seed, of_old = int(header["seed"]), header["weights"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{log} is not the beginning of a run: delete it to grade anew ({error!r})") from error
    if of_old != dict(weights):
        raise CheckpointError(f"{log} was begun with other weights: leave --resume out to grade anew")
    write_atomically(log, "".join(lines).encode())
    return seed, done


def from_dict(row: dict[str, Any]) -> Grade:
    """A grade as `details` has it."""
    return Grade(**{**row, "results": [Result(**result) for result in row["results"]]})


def table(grades: Sequence[Grade]) -> str:
    """The grades as CSV: student, score, max_score, E1 to E20, seed, seconds, problems."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "score", "max_score", *EXERCISES, "seed", "seconds", "problems"])
    for g in grades:
        points = [f"{g.score(name):g}" for name in EXERCISES]
        problems = "; ".join(g.problems)
        row = [
            _cell(g.student),
            f"{g.score():g}",
            f"{g.max_score():g}",
            *points,
            g.seed,
            f"{g.seconds:.1f}",
            _cell(problems),
        ]
        writer.writerow(row)
    return text.getvalue()


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return "'" + text if text[:1] in tuple("=+-@\t\r\n＝＋－＠") else text


def details(grades: Sequence[Grade]) -> str:
    """Every check of every grade, as JSON."""
    return (
        json.dumps(
            [asdict(g) | {"score": g.score(), "max_score": g.max_score()} for g in grades], indent=1, allow_nan=False
        )
        + "\n"
    )


def read_weights(path: Path) -> dict[str, float]:
    """Points by exercise from a TOML file with lines such as `E4 = 10`."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef]
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SubmissionError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise SubmissionError(f"{path} is not TOML: {error}") from error
    for name, points in content.items():
        if name not in EXERCISES:
            raise SubmissionError(f"{path} must name exercises from E1 to E20, got {name!r}")
        if isinstance(points, bool) or not isinstance(points, int | float) or not 0 <= points < math.inf:
            raise SubmissionError(f"{path}: the points of {name} must be a number from 0, got {points!r}")
    return {name: float(points) for name, points in content.items()}
