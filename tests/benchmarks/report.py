"""Medians, ratios and tables."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from statistics import median
from textwrap import wrap
from typing import Any

WIDTH = 100  # columns of a terminal
Results = dict[str, dict[str, Any]]  # what `processes.in_turn` returns


def add_medians(results: Results) -> Results:
    """Put the median of its rounds beside the numbers of each measurement."""
    for result in results.values():
        if result["status"] == "ok":
            result["median"] = median(result["rounds"])
    return results


def ratio(results: Results, above: str, below: str) -> dict[str, Any]:
    """The median over rounds of the ratio within a round, all ratios and their range; {} where one is not there."""
    pair = [results.get(name, {}) for name in (above, below)]
    if any(result.get("status") != "ok" for result in pair):
        return {}
    ratios = [a / b for a, b in zip(*(result["rounds"] for result in pair), strict=True)]
    return {"median": median(ratios), "low": min(ratios), "high": max(ratios), "rounds": ratios}


def geometric_mean(values: Sequence[float]) -> float | None:
    """The geometric mean, None of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def seconds(value: float) -> str:
    """A time with a unit that fits it: 1.234 s, 12.34 ms, 123.4 µs."""
    for scale, unit in ((1, "s"), (1e-3, "ms")):
        if value >= scale:
            return f"{value / scale:.4g} {unit}"
    return f"{value / 1e-6:.4g} µs"


def time_cell(results: Results, name: str) -> str:
    """The median time of a measurement, or why there is none."""
    result = results.get(name, {"status": "-"})
    return seconds(result["median"]) if result["status"] == "ok" else result["status"]


def ratio_cell(value: dict[str, Any], spread: bool = False) -> str:
    """The median of a ratio, with spread=True also the lowest and the highest of a round."""
    if not value:
        return "-"
    return f"{value['median']:.2f}" + (f" ({value['low']:.2f}-{value['high']:.2f})" if spread else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of text: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append(" ".join(cells).rstrip())
    return "\n".join(lines)


def complaints(rows: Sequence[tuple[str, Results]]) -> list[str]:
    """What could not be measured, and why: a paragraph for each message, however many measurements had it."""
    said: dict[str, list[str]] = {}
    for where, results in rows:
        for name, result in results.items():
            if "message" in result:
                names = said.setdefault(result["message"], [where])
                names += [name] if name not in names else []
    lines = []
    for message, (where, *names) in said.items():
        text = f"{', '.join(names)} ({where}): {message}"
        lines += wrap(text, WIDTH, max_lines=4, break_on_hyphens=False, placeholder=" ...", subsequent_indent="  ")
    return lines


def say(text: str) -> None:
    """What is being measured, for whoever waits."""
    sys.stdout.flush()
    print(f"... {text}", file=sys.stderr, flush=True)
