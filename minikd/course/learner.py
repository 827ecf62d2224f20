"""The commands for learners: start, check, hint and progress."""

from __future__ import annotations

import json
import os
import re
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from ..checkpoint import write_atomically
from ..errors import CheckpointError
from .exercises import EXERCISES
from .exercises.exercise import POINTS, Exercise, Result, run_checks
from .grading.grade import CALL_SECONDS, new_seed
from .grading.submission import SubmissionError, read_submission
from .sandbox.conversation import LOADING_SECONDS, Sources
from .sandbox.processes import Processes
from .sandbox.runner import Runner
from .sandbox.unprotected import UnprotectedRunner

HERE = Path(__file__).parent
SKELETON = HERE / "skeleton"
NOTEBOOK = "coursework.ipynb"
MAX_OUTPUT = 1000  # characters of a solution's printed output that are shown
SLOW_LOAD = 0.1  # seconds
IN_JUPYTER = (
    "`%check E1` checks the cells that you have executed. Grading executes the saved notebook from top to bottom."
)
UNPROTECTED = "here, your code can use files and the network; grading runs on Linux or macOS, and refuses both"


def start(folder: Path, notebook: bool = False) -> list[Path]:
    """Copy the skeleton into a folder, without overwriting any file; returns the paths of the new files."""
    files = {path.name: path.read_bytes() for path in sorted(SKELETON.iterdir()) if path.is_file()}
    if notebook:
        for name in ("solution.py", "museum.py"):
            del files[name]
        files[NOTEBOOK] = as_notebook().encode()
    there = [name for name in files if (folder / name).exists()]
    if there:
        taken = ", ".join(there)
        raise CheckpointError(f"{folder} has {taken} already, and nothing is overwritten: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise CheckpointError(f"cannot write to {folder}: {error.strerror}") from error
    return [folder / name for name in files]


def as_notebook() -> str:
    """The skeleton as a notebook, with a text cell and code cells for each exercise."""
    cells: list[dict[str, Any]] = []

    def add(kind: str, text: str) -> None:
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{len(cells):02d}", "metadata": {}, "source": text}
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))

    for name in ("solution.py", "museum.py"):
        head, *functions = re.split(r"\n\n\n(?=def )", (SKELETON / name).read_text(encoding="utf-8").rstrip())
        docstring, imports = head.removeprefix('"""').split('"""')
        title, _, rest = docstring.partition("\n")
        first = name == "solution.py"
        add("markdown", f"# {title}\n{rest}" + first * f"\n{IN_JUPYTER}")
        add("code", imports.strip() + first * "\n\n%load_ext minikd.course")
        for function in functions:
            number = re.search(r'NotImplementedError\("(E\d+)"\)', function)
            exercise = EXERCISES[number[1]] if number else None
            if exercise and function.startswith(f"def {exercise.functions[0]}("):
                add("markdown", f"## {exercise.name}: {exercise.title}")
            add("code", function)
            if exercise and function.startswith(f"def {exercise.functions[-1]}("):
                add("code", f"%check {exercise.name}")
    content = {
        "cells": cells,
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1) + "\n"


def check(folder: Path, names: Sequence[str], seed: int | None = None) -> Iterator[tuple[Exercise, list[Result]]]:
    """Run the checks of some exercises on the solutions in a folder, one exercise after another."""
    if not folder.exists():
        raise SubmissionError(f"there is no {folder} (`minikd course start DIR` makes the skeleton)")
    submission = read_submission(folder.resolve())
    if not submission.sources:
        problems = "; ".join(submission.problems)
        raise SubmissionError(f"{folder}: {problems} (`minikd course start DIR` makes the skeleton)")
    yield from check_sources(submission.sources, names, seed, submission.problems)


def check_sources(
    sources: Sources, names: Sequence[str], seed: int | None = None, problems: Sequence[str] = ()
) -> Iterator[tuple[Exercise, list[Result]]]:
    """The same for sources, under the rules of grading. Notes are in the first result of an exercise."""
    exercises = [EXERCISES[name] for name in dict.fromkeys(names)]
    seed, told = new_seed() if seed is None else seed, [*problems]
    with own_work_runner() as runner, Processes(runner, sources) as processes:
        told += [] if isinstance(runner, Runner) else [UNPROTECTED]
        is_slow = False
        for name, group in groupby(run_checks(exercises, processes, seed), lambda result: result.exercise):
            results = list(group)
            if not is_slow and processes.slowest > SLOW_LOAD:
                is_slow = True
                told.append(SLOW.format(seconds=processes.slowest))
            results[0] = replace(results[0], left_out="\n".join([*told, results[0].left_out]))
            told = []
            yield EXERCISES[name], results


SLOW = (
    "loading your files took {seconds:.1f} s. "
    f"Grading loads them about 130 times, which may take {LOADING_SECONDS:.0f} s in all: "
    'put demonstrations under `if __name__ == "__main__":`'
)


def own_work_runner() -> Runner | UnprotectedRunner:
    """The runner for a learner's own solutions: restricted as in grading if the system has fork, otherwise not."""
    return Runner(CALL_SECONDS) if os.name == "posix" else UnprotectedRunner(CALL_SECONDS)


def wrapped(text: str, indent: str = "") -> str:
    """Wrap the lines of a text at 80 columns. Only a longer word makes a longer line."""
    return "\n".join(
        textwrap.fill(line, 80, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)
        for line in text.strip().splitlines()
        if line.strip()
    )


def summary(exercise: Exercise, results: Sequence[Result]) -> str:
    """A line for an exercise: name, title, and points or "not begun"."""
    score = sum(result.score for result in results)
    state = "not begun" if is_idle(results) else f"{score:g} of {POINTS:g}"
    return f"{exercise.name:<4} {exercise.title:<52} {state:>10}"


def notes(results: Sequence[Result]) -> list[str]:
    """Notes besides the results of the checks, for example about files and cells that could not be executed."""
    return [line for result in results for line in result.left_out.splitlines() if line]


def is_idle(results: Sequence[Result]) -> bool:
    """Whether the learner has not begun the exercise."""
    return all(result.kind == "todo" for result in results)


def first_output(results: Sequence[Result]) -> str:
    """The printed output of the first check that has any, truncated."""
    said = next((result.output for result in results if result.output.strip()), "")
    return said[:MAX_OUTPUT] + (" ..." if len(said) > MAX_OUTPUT else "")


def report(exercise: Exercise, results: Sequence[Result]) -> str:
    """The results of an exercise's checks, and the printed output of the first check that has any."""
    lines = [f"{exercise.name}  {exercise.title}"]
    for result in results:
        lines.append(f"  {'ok  ' if result.passed else 'no  '}{result.check}")
        if not result.passed:
            lines.append(wrapped(result.words, " " * 6))
    if said := first_output(results):
        lines += ["  it printed:", wrapped(said, " " * 6)]
    return "\n".join(lines)


def hint(name: str, number: int) -> str:
    """The hint with this number, 1 to 3."""
    return EXERCISES[name].hints[number - 1]


def changes(folder: Path, interval: float = 0.5) -> Iterator[None]:
    """Yield whenever a file in the folder changes."""

    def stamps() -> dict[Path, int]:
        found = {}
        for file in [folder] if folder.is_file() else [*folder.rglob("*.py"), *folder.rglob("*.ipynb")]:
            with suppress(OSError):  # an editor may be replacing it
                found[file] = file.stat().st_mtime_ns
        return found

    def wait(seen: dict[Path, int]) -> Iterator[None]:
        while True:
            time.sleep(interval)
            now = stamps()
            if now != seen:
                seen = now
                yield

    return wait(stamps())
