"""Medians, ratios and tables, which are Markdown that a terminal can show as well."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from statistics import median
from textwrap import wrap
from typing import Any

WIDTH = 100  # columns of a paragraph
RATIOS_IN_A_TABLE = 5  # of more, half stand in a second one
TOLERATED = 0.03  # of the CPUs' time, for other programs
LABELS = ("network", "batch", "samples", "minikd")  # of a row, in this order
Results = dict[str, dict[str, Any]]  # what `processes.in_turn` returns


def row_of(labels: dict[str, Any], results: Results, ratios: Sequence[str]) -> dict[str, Any]:
    """A row of a section: its labels, the rounds and medians of each contender, and the ratios "above/below"."""
    for result in results.values():
        if result["status"] == "ok":
            result["median"] = median(result["rounds"])
    return {**labels, "contenders": results, "ratios": {name: ratio(results, *name.split("/")) for name in ratios}}


def ratio(results: Results, above: str, below: str) -> dict[str, float]:
    """The median over rounds of the ratio within a round, and its range; {} where one of the two is missing."""
    pair = [results.get(name, {}) for name in (above, below)]
    if any(result.get("status") != "ok" for result in pair):
        return {}
    ratios = [a / b for a, b in zip(*(result["rounds"] for result in pair), strict=True)]
    return {"median": median(ratios), "low": min(ratios), "high": max(ratios)}


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def seconds(value: float) -> str:
    """A time with a unit that fits it: 1.234 s, 12.34 ms, 123.4 µs."""
    for scale, unit in ((1, "s"), (1e-3, "ms")):
        if value >= scale:
            return f"{value / scale:.4g} {unit}"
    return f"{value / 1e-6:.4g} µs"


def megabytes(value: float) -> str:
    """A number of bytes."""
    return f"{value / 1e6:,.0f} MB"


def cell(result: dict[str, Any], unit: Any = seconds) -> str:
    """The median of a measurement, or why there is none."""
    return unit(result["median"]) if result.get("status") == "ok" else result.get("status", "-")


def ratio_cell(value: dict[str, float]) -> str:
    """The median of a ratio, with the lowest and the highest of a round."""
    if not value:
        return "-"
    spread = "" if value["low"] == value["high"] else f" ({value['low']:.2f}-{value['high']:.2f})"
    return f"{value['median']:.2f}{spread}"


def section_tables(rows: Sequence[dict[str, Any]], unit: Any = seconds) -> str:
    """The medians of all contenders, a row of the section in each line, and below them their ratios."""
    labels = [name for name in LABELS if name in rows[0]]
    names = list(dict.fromkeys(name for row in rows for name in row["contenders"]))
    ratios = list(dict.fromkeys(name for row in rows for name in row["ratios"]))
    left = [[f"{row[name]:,}" if isinstance(row[name], int) else row[name] for name in labels] for row in rows]
    times = [[cell(row["contenders"].get(name, {}), unit) for name in names] for row in rows]
    tables = [table([*labels, *names], [a + b for a, b in zip(left, times, strict=True)])]
    many = len(ratios) if len(ratios) <= RATIOS_IN_A_TABLE else math.ceil(len(ratios) / 2)
    for i in range(0, len(ratios), many):
        some = ratios[i : i + many]
        lines = [
            start + [ratio_cell(row["ratios"].get(name, {})) for name in some]
            for start, row in zip(left, rows, strict=True)
        ]
        if len(rows) > 1:
            lines.append(["geometric mean", *[""] * (len(labels) - 1), *(_mean_cell(rows, name) for name in some)])
        tables.append(table([*labels, *some], lines))
    return "\n\n".join([*tables, *complaints(rows)])


def _mean_cell(rows: Sequence[dict[str, Any]], name: str) -> str:
    medians = [row["ratios"][name]["median"] for row in rows if row["ratios"].get(name)]
    return f"{geometric_mean(medians):.2f}" if medians else "-"


def list_table(row: dict[str, Any], unit: Any, words: dict[str, str]) -> str:
    """One row of a section as a table of its own: a contender in each line, with the ratios that it is above in."""
    below = list(dict.fromkeys(name.split("/")[1] for name in row["ratios"]))
    lines = []
    for name, result in row["contenders"].items():
        ratios = [row["ratios"].get(f"{name}/{other}", {}) for other in below]
        lines.append([words.get(name, name), cell(result, unit), *map(ratio_cell, ratios)])
    found = table(["", "median", *(f"over {words.get(other, other)}" for other in below)], lines)
    return "\n\n".join([found, *complaints([row])])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    widths = [max(3, *(len(row[i]) for row in (head, *rows))) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(text.rjust(n) for text, n in zip(row[1:], widths[1:], strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = "|".join([f"|{'-' * (widths[0] + 2)}", *(f"{'-' * (n + 1)}:" for n in widths[1:])])
    return "\n".join([line(head), f"{rule}|", *map(line, rows)])


def complaints(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What could not be measured, and why: a paragraph for each message, however many measurements had it."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for name, result in row["contenders"].items():
            if "message" in result and name not in said.setdefault(result["message"], []):
                said[result["message"]].append(name)
    return [paragraph(f"{', '.join(names)}: {message}", lines=4) for message, names in said.items()]


def warning(section: dict[str, Any]) -> str:
    """A paragraph where other programs took too much of the CPUs' time, else nothing."""
    share = section.get("share_of_others") or 0
    if share < TOLERATED:
        return ""
    return paragraph(
        f"WARNING: meanwhile other programs took {share:.0%} of the CPUs' time: do not trust these numbers."
    )


def paragraph(text: str, lines: int | None = None) -> str:
    """A text in lines of a terminal."""
    return "\n".join(wrap(text, WIDTH, max_lines=lines, break_on_hyphens=False, placeholder=" ..."))


def say(text: str) -> None:
    """What is being measured, for whoever waits."""
    sys.stdout.flush()
    print(f"... {text}", file=sys.stderr, flush=True)
