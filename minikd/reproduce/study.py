"""What a study is: a protocol, the paper's claims, and the rule that compares a measurement with a claim.

A study measures the same quantities for each seed. A `Row` of its table names one of them, and the paper's claim about
it: a number, a range of numbers, or nothing. The verdict compares the claim with the 95 % interval of our mean over
seeds.

If the claim is a number:

- BEATS: the whole interval is better than the paper's number
- MATCHES: the number is in the interval, and the interval is narrow
- MISSES: the whole interval is worse

If the claim is a range:

- MATCHES: the whole interval is in the range
- MISSES: the whole interval is outside the range

Otherwise, and always with a single seed, the verdict is INCONCLUSIVE. The paper's own number usually comes from a
single run and is used as it is.
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

Values = Mapping[str, Sequence[float]]  # measurements by name: one number per seed, in the order of the seeds

BEATS, MATCHES, MISSES, INCONCLUSIVE = "BEATS", "MATCHES", "MISSES", "INCONCLUSIVE"
WIDEST = 0.25  # a half-width above this share of the paper's number is inconclusive
ABOVE_0 = (0.0, math.inf)  # the claim that a difference is positive
WIDTHS = (-39, 12, 14, -12)  # of the table's columns, 80 with the gaps between them; negative: aligned to the left


@dataclass(frozen=True)
class Row:
    """A row of a study's table.

    Parameters
    ----------
    words : str
        What is measured, and how.
    measure : str
        Its name among the values that the study returns.
    paper : float, tuple or None
        The paper's claim: a number, an open range (low, high), or None.
    unit : str
        The text after a number: "" or " %".
    digits : int
        Decimal digits.
    better : str
        "lower" or "higher", for claims that are a number.
    """

    words: str
    measure: str
    paper: float | tuple[float, float] | None = None
    unit: str = ""
    digits: int = 1
    better: str = "lower"

    def claim(self) -> str:
        """The paper's claim as text."""
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
    """A published experiment: how one seed is run, the paper's claims, and the picture.

    Parameters
    ----------
    name, title, source : str
        The study's name, its title, and the paper's arXiv number.
    rows : tuple of Row
        The table.
    full, quick
        The protocol, and a short one of about a minute.
    run : callable
        (lab, protocol) -> measurements by name, for the seed of the lab.
    draw : callable
        (figure, values, the first seed's lab, protocol) draws the picture.
    data : str
        The data set of the lab.
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
    """The verdict of these values, one per seed, on the paper's claim; "" if there is no claim."""
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
    """The rows of the study's table that have values."""
    return [row for row in study.rows if row.measure in values]


def judge(study: Study, values: Values) -> list[dict[str, Any]]:
    """A record for each row that was measured; a short protocol leaves some rows out.

    A record holds the paper's claim, the mean, standard deviation and 95 % interval over seeds, and the verdict.
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
    """For a picture: each measure's mean over seeds and half-width of its interval (0 for one seed), both (n,)."""
    mean, half = np.array([mean_interval(values[name]) for name in names]).T
    return mean, np.nan_to_num(half)


def study_table(study: Study, values: Values) -> str:
    """The study's rows as text of 80 columns: measure | paper | ours (mean ± sd over seeds) | verdict."""
    lines = [("", "paper", "ours", "verdict")]
    for row, record in zip(measured_rows(study, values), judge(study, values), strict=True):
        spread = "" if record["sd"] is None else f"±{record['sd']:.{row.digits}f}"
        ours = f"{record['mean']:.{row.digits}f}{spread}{row.unit}"
        first, *rest = wrap(row.words, -WIDTHS[0], subsequent_indent="  ")
        lines += [(first, row.claim(), ours, record["verdict"]), *((more, "", "", "") for more in rest)]
    return text_table(lines, WIDTHS)
