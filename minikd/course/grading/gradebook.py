"""Grade a class: all submissions on the same inputs. Results are saved as they come, and tables are written at the end.

The inputs are drawn from a new seed. The seed is recorded, so that `replay` can repeat a disputed grade.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from ...checkpoint import write_atomically
from ...checks import check_count
from ...errors import CheckpointError
from ...scale.pool import pool
from ..exercises import EXERCISES
from ..exercises.exercise import Result
from ..sandbox.runner import Runner
from .collect import submissions
from .grade import CALL_SECONDS, Grade, grade, new_seed
from .members import Member, members
from .submission import Entry, SubmissionError

STOP_SECONDS = 5.0  # for a stopped worker to give its runner back


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

    Parameters
    ----------
    folder, out : Path
        The submissions, and the table of grades.
    weights : mapping
        Points of exercises, by name.
    jobs : int
        Number of submissions to grade at the same time.
    resume : bool
        Continue a run that was stopped. Its seed and finished grades are in a file beside `out`.
    seed : int or None
        The seed of the inputs; None for a new one.
    notify : callable
        Called as notify(grade, number done, number in all).
    """
    check_count("jobs", jobs)
    entries = submissions(folder)
    log = out.with_name(f".{out.name}.part")
    try:
        if out.is_dir():
            raise CheckpointError(f"{out} is a folder: --out must be the file to write")
        seed, done = _start_or_resume(log, resume, weights, new_seed() if seed is None else seed)
        with log.open("a", encoding="utf-8") as lines:
            todo = [entry for entry in entries if entry.key not in done]
            for entry, graded in _grade_all(todo, seed, weights, jobs):
                done[entry.key] = graded
                lines.write(json.dumps({"file": entry.key, "grade": asdict(graded)}) + "\n")
                lines.flush()
                notify(graded, len(done), len(entries))
        grades = [done[entry.key] for entry in entries]
        write_atomically(out.with_suffix(".json"), details(grades).encode())
        write_atomically(out, table(members(grades)).encode())
        log.unlink()
    except OSError as error:
        raise CheckpointError(f"cannot write {error.filename or out}: {error.strerror}") from error
    return grades


def _grade_all(
    entries: Sequence[Entry], seed: int, weights: Mapping[str, float], jobs: int
) -> Iterator[tuple[Entry, Grade]]:
    """(entry, grade) as they finish. Each worker has its own forkserver, which has its own user."""
    runners = [Runner(CALL_SECONDS) for _ in range(min(jobs, len(entries)))]
    idle: SimpleQueue[Runner] = SimpleQueue()
    for runner in runners:
        idle.put(runner)

    def grade_one(entry: Entry) -> tuple[Entry, Grade]:
        runner = idle.get()
        try:
            return entry, replace(grade(entry, runner, seed, weights), known_as=list(entry.known_as))
        finally:
            idle.put(runner)

    try:
        with pool(max(1, len(runners)), threads=True, blas_threads=1) as workers:
            yield from workers.as_completed(grade_one, [(entry,) for entry in entries])
    finally:  # for example after Ctrl-C: running submissions are dropped, and graded again with resume
        for runner in runners:
            runner.stop()
        for _ in runners:
            with suppress(Empty):
                idle.get(timeout=STOP_SECONDS).close()


def _start_or_resume(log: Path, resume: bool, weights: Mapping[str, float], seed: int) -> tuple[int, dict[str, Grade]]:
    """The seed of a run and its finished grades. `log` is begun, or truncated after its last whole line."""
    header = {"seed": seed, "weights": dict(weights)}
    if not resume or not log.exists():
        write_atomically(log, (json.dumps(header) + "\n").encode())
        return seed, {}
    try:
        lines = [line for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        header, *rest = [json.loads(line) for line in lines]
        done = {row["file"]: from_dict(row["grade"]) for row in rest}
        seed, old_weights = int(header["seed"]), header["weights"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{log} is not the beginning of a run: delete it to start again ({error!r})") from error
    if old_weights != dict(weights):
        raise CheckpointError(f"{log} was begun with other weights: leave out --resume to start again")
    write_atomically(log, "".join(lines).encode())
    return seed, done


def read_grades(path: Path) -> list[Grade]:
    """The grades in a file made by `details`."""
    try:
        grades = [from_dict(row) for row in json.loads(path.read_text(encoding="utf-8"))]
        _ = [EXERCISES[result.exercise] for grade in grades for result in grade.results]  # KeyError: another version
        return grades
    except OSError as error:
        raise SubmissionError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = "the .json file that `minikd course grade` wrote is wanted"
        raise SubmissionError(f"{path} holds no grades: {wanted}") from error


def from_dict(row: dict[str, Any]) -> Grade:
    """A grade from its entry in `details`."""
    own = {name: value for name, value in row.items() if name not in ("score", "max_score")}
    return Grade(**{**own, "results": [Result(**result) for result in row["results"]]})


def table(members: Sequence[Member]) -> str:
    """The grades as CSV: student, score, max_score, E1 to E23, seed, seconds, problems.

    With a roster, identifier and name come first.
    """
    skip = 0 if any(member.known_as for member in members) else 2
    columns = "identifier", "name", "student", "score", "max_score", *EXERCISES, "seed", "seconds", "problems"
    rows = [columns[skip:]]
    for m in members:
        who = m.identifier if m.known_as else "", m.name, m.student
        points = [f"{score:g}" for score in (m.score(), m.max_score, *map(m.score, EXERCISES))]
        run = [str(m.grade.seed), f"{m.grade.seconds:.1f}"] if m.grade else ["", ""]
        said = [m.remark] * bool(m.remark) + (m.grade.problems if m.grade else [])
        rows.append((*map(_cell, who[skip:]), *points, *run, _cell("; ".join(said))))
    return _csv(rows)


def import_table(members: Sequence[Member]) -> str:
    """identifier, name and score as CSV for import into a gradebook; without a roster, of all submissions."""
    listed = [member for member in members if member.known_as] or members
    rows = [(_cell(m.identifier), _cell(m.name), f"{m.score():g}") for m in listed]
    return _csv([("identifier", "name", "score"), *rows])


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cell(text: str) -> str:
    """A text in a form that no spreadsheet reads as a formula."""
    return "'" + text if text[:1] in tuple("=+-@\t\r\n＝＋－＠") else text


def details(grades: Sequence[Grade]) -> str:
    """Every check of every grade, as JSON."""
    rows = [asdict(g) | {"score": g.score(), "max_score": g.max_score()} for g in grades]
    return json.dumps(rows, indent=1, allow_nan=False) + "\n"
