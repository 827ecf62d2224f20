"""Results as text for a terminal of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate


def text_table(rows: Sequence[Sequence[str]], widths: Sequence[int] | None = None, gap: str = " ") -> str:
    """Rows of texts in columns of these widths. A column with a negative width is aligned to the left.

    Without widths, each column is as wide as its longest text, and only the first is aligned to the left. Columns that
    do not fit into 80 characters follow in a second table, which repeats the first column.
    """
    if widths is None:
        longest = [max(map(len, column)) for column in zip(*rows, strict=True)]
        widths = [-longest[0], *longest[1:]]
        ends = accumulate(w + len(gap) for w in longest)
        if (fits := max(2, sum(end <= 80 + len(gap) for end in ends))) < len(longest):
            parts = [row[:fits] for row in rows], [(row[0], *row[fits:]) for row in rows]
            return "\n\n".join(text_table(part, gap=gap) for part in parts)
    return "\n".join(
        gap.join(text.ljust(-w) if w < 0 else text.rjust(w) for text, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def dashed(widths: Sequence[int], none: str = "none") -> str:
    """The widths of hidden layers as text: (256, 256) -> "256-256"."""
    return "-".join(map(str, widths)) or none


def with_half_width(mean: float, half: float, digits: int, sign: str = "") -> str:
    """A mean with the half-width of its interval, if there is one: "3.20 ±0.41", with the sign "+": "+3.20 ±0.41"."""
    return f"{mean:{sign}.{digits}f}" + ("" if math.isnan(half) else f" ±{half:.{digits}f}")
