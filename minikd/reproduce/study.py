"""What a study is: a protocol, what the paper says, and the rule by which a measurement confirms it or does not.

A study measures the same things once for each seed. A `Row` of its table says which of them, and what the paper
claims about it: a number, a range of numbers, or nothing. The verdict compares that claim with the 95 % interval of
our mean over seeds:

    the claim is a number    BEATS         the whole interval is better than the paper's number
                             MATCHES       the number is in the interval, and the interval is narrow enough to tell
                             MISSES        the whole interval is worse
    the claim is a range     MATCHES       the whole interval is in the range
                             MISSES        the whole interval is outside
    either                   INCONCLUSIVE  neither can be said; always so with a single seed

The paper's own number is most often from a single run, and is taken as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..experiments.intervals import mean_interval
from ..experiments.text import text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .lab import Lab

Values = Mapping[str, Sequence[float]]  # by name, what was measured: one number a seed, in the order of the seeds

BEATS, MATCHES, MISSES, INCONCLUSIVE = "BEATS", "MATCHES", "MISSES", "INCONCLUSIVE"
WIDEST = 0.25  # an interval that reaches further from its middle than this part of the paper's number tells nothing
ABOVE_0 = (0.0, math.inf)  # the claim that a difference is positive
WIDTHS = (-39, 12, 14, -12)  # of the table's columns: 80 in all, with the gaps between them; negative: to the left


@dataclass(frozen=True)
class Row:
    """A line of a study's table.

    words     what is measured, and how, in a line or two
    measure   its name among the values that the study returns
    paper     what the paper claims of it: a number; a range (low, high), open at both ends; or None
    unit      what follows a number: "" or " %"
    digits    behind the decimal point
    better    "lower" or "higher", where the paper's number can be beaten
    """

    words: str
    measure: str
    paper: float | tuple[float, float] | None = None
    unit: str = ""
    digits: int = 1
    better: str = "lower"

    def claim(self) -> str:
        """The paper's side, in words."""
        if self.paper is None:
            return "-"
        if not isinstance(self.paper, tuple):
            return f"{self.paper:g}{self.unit}"
        low, high = self.paper
        if math.isinf(high):
            return f"above {low:g}{self.unit}"
        return f"below {high:g}{self.unit}" if math.isinf(low) else f"±{high:g}{self.unit}"


@dataclass(frozen=True)
class Study:
    """A published experiment: how it is run with one seed, what the paper says came out, and its picture.

    full, quick   the protocol, and one that takes a minute and shows how it goes
    run           (lab, protocol) -> what was measured, by name, for the seed of that lab
    draw          (figure, values, the first seed's lab, protocol) draws the study's picture
    data          the data set of the lab
    """

    name: str
    title: str
    source: str
    rows: tuple[Row, ...]
    full: Any
    quick: Any
    run: Callable[[Lab, Any], dict[str, float]]
    draw: Callable[[Figure, Values, Lab, Any], None]
    data: str = "mnist"


def verdict(row: Row, values: Sequence[float]) -> str:
    """What the values of some seeds say about the paper's claim; "" where there is no claim."""
    if row.paper is None:
        return ""
    mean, half = mean_interval(values)
    if math.isnan(half):
        return INCONCLUSIVE
    low, high = mean - half, mean + half
    if isinstance(row.paper, tuple):
        if row.paper[0] < low and high < row.paper[1]:
            return MATCHES
        return MISSES if high <= row.paper[0] or row.paper[1] <= low else INCONCLUSIVE
    if low <= row.paper <= high:
        return MATCHES if half <= WIDEST * abs(row.paper) else INCONCLUSIVE
    return BEATS if (high < row.paper) == (row.better == "lower") else MISSES


def measured_rows(study: Study, values: Values) -> list[Row]:
    """The rows of the study's table for which there are values."""
    return [row for row in study.rows if row.measure in values]


def judge(study: Study, values: Values) -> list[dict[str, Any]]:
    """A record for each row that was measured (a short protocol leaves some out).

    In it the paper's claim, the mean, standard deviation and 95 % interval over seeds, and the verdict.
    """
    records = []
    for row in measured_rows(study, values):
        numbers = values[row.measure]
        mean, half = mean_interval(numbers)
        spread = None if len(numbers) < 2 else float(np.std(numbers, ddof=1))
        interval = None if math.isnan(half) else [mean - half, mean + half]
        record = {"row": row.words, "measure": row.measure, "paper": row.claim(), "mean": mean, "sd": spread}
        records.append({**record, "interval_95": interval, "verdict": verdict(row, numbers)})
    return records


def means(values: Values, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """For a picture: of each measure the mean over seeds and the half-width of its interval (0 for one seed), (n,)."""
    mean, half = np.array([mean_interval(values[name]) for name in names]).T
    return mean, np.nan_to_num(half)


def study_table(study: Study, values: Values) -> str:
    """The study's rows as text of 80 columns: what | paper | ours (mean ± sd over seeds) | verdict."""
    lines = [("", "paper", "ours", "verdict")]
    for row, record in zip(measured_rows(study, values), judge(study, values), strict=True):
        spread = "" if record["sd"] is None else f"±{record['sd']:.{row.digits}f}"
        ours = f"{record['mean']:.{row.digits}f}{spread}{row.unit}"
        first, *rest = wrap(row.words, -WIDTHS[0], subsequent_indent="  ")
        lines += [(first, row.claim(), ours, record["verdict"]), *((more, "", "", "") for more in rest)]
    return text_table(lines, WIDTHS)
