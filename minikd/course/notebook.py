"""`%check E4` in Jupyter: checks the functions that executed cells define, and shows the results below the cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ..fast.threads import limited_blas
from . import learner
from .exercises import EXERCISES
from .exercises.exercise import Exercise, Result
from .grading.submission import MAX_CELLS, SubmissionError, read_submission

ORDER = "the cells that you have executed were checked; grading executes the saved notebook from top to bottom"


@dataclass(frozen=True)
class Report:
    """The results of checks. Jupyter shows them as a table, a terminal as text.

    `said` holds notes and the exercises that are not begun.
    """

    checked: Sequence[tuple[Exercise, list[Result]]]
    said: Sequence[str]

    def __repr__(self) -> str:
        reports = [learner.report(exercise, results) for exercise, results in self.checked]
        return "\n".join([*reports, *map(learner.wrapped, self.said)])

    def _repr_html_(self) -> str:
        left = 'style="text-align: left; white-space: pre-wrap"'
        rows = []
        for exercise, results in self.checked:
            rows.append([f"<b>{exercise.name}  {escape(exercise.title)}</b>", "", ""])
            for result in results:
                rows.append([escape(result.check), "right" if result.passed else "wrong", escape(result.words)])
            if said := learner.first_output(results):
                rows.append(["it printed", "", escape(said)])
        cells = ["".join(f"<td {left}>{cell}</td>" for cell in row) for row in rows]
        table = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table>{table}</table>" + "".join(f"<p>{escape(line)}</p>" for line in self.said)


def check(ipython: Any, line: str) -> Report:
    """Check the exercises named in a line, or all that are begun.

    An exercise that no executed cell defines is checked from the files in this folder, as the command does.
    """
    names = ["E" + name.upper().removeprefix("E") for name in line.replace(",", " ").split()]
    if unknown := [name for name in names if name not in EXERCISES]:
        return Report([], [f"{unknown[0]} must be one of E1 to E23"])
    cells = executed(ipython)
    here = [name for name in names or EXERCISES if defines(cells, EXERCISES[name])]
    saved = [name for name in names or EXERCISES if name not in here]
    found: list[tuple[Exercise, list[Result]]] = []
    said = []
    with limited_blas(1):  # the arrays of the exercises are small
        if here:
            files = [source for source in read_submission(Path.cwd()).sources if isinstance(source[1], str)]
            found += learner.check_sources([*files, ("notebook.ipynb", cells)], here)
            said.append(ORDER)
        try:
            found += learner.check(Path(), saved) if saved else []
        except SubmissionError:  # there is no file
            said += [f"{' '.join(saved)}: execute the cell that defines it, and check again"] if names else []
    found.sort(key=lambda pair: pair[0].number)
    begun = [(exercise, results) for exercise, results in found if names or not learner.is_idle(results)]
    idle = [exercise.name for exercise, results in found if (exercise, results) not in begun]
    said += [note for _, results in found for note in learner.notes(results)]
    return Report(begun, [*said, *([f"not begun: {' '.join(idle)}"] if idle else [])])


def executed(ipython: Any) -> list[tuple[str, str]]:
    """(label, text) of the cells that ran in this kernel, in order. Of equal cells, only the last one counts."""
    last = {text: number for number, text in enumerate(ipython.history_manager.input_hist_raw) if text.strip()}
    return [(f"In [{number}]", text) for text, number in sorted(last.items(), key=lambda item: item[1])][-MAX_CELLS:]


def defines(cells: Sequence[tuple[str, str]], exercise: Exercise) -> bool:
    """Whether one of the cells seems to define one of the exercise's functions."""
    names = "|".join(exercise.functions)
    pattern = re.compile(rf"^\s*(?:(?:async\s+)?def\s+(?:{names})\b|(?:{names})\s*=[^=]|from\s.*\b(?:{names})\b)", re.M)
    return any(pattern.search(text) for _, text in cells)
