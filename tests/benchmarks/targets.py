"""What minikd must reach, as ratios within one run, and whether a run's numbers reach it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from report import LABELS, geometric_mean, table


class Target(NamedTuple):
    """A limit for one ratio of a section: for its mean, or for each row that has all of `labels` in it."""

    section: str
    ratio: str
    limit: float
    mean: bool = False  # the geometric mean over rows, and not each of them
    least: bool = False  # the ratio must be at least the limit, and not at most
    labels: tuple[str, ...] = ()


TARGETS = (
    Target("step", "fast/jax", 1.05),
    Target("step", "fast/jax", 0.80, mean=True),
    Target("step", "fast/torch", 0.95),
    Target("step", "fast/torch", 0.45, mean=True),
    Target("step", "floor/fast", 0.82, least=True, labels=("1200",)),
    Target("step", "fast/old", 0.85),
    Target("step", "fast/old", 1.03),  # what the new layout of the package alone may cost
    Target("step", "plain/torch", 1.5),
    Target("step", "plain/old", 1.35),
    Target("step", "plain/old", 1.15, mean=True),
    *(
        Target("fit", ratio, 1.05, labels=(name,))
        for name in ("plain", "fast")
        for ratio in ("fit/steps", "distill/fit")
    ),
    Target("memory", "plain/old", 1.05),
    Target("import", "minikd/numpy", 1.35),
)


def judge(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Each target with what was found: the figure and its row, and `met`, which is None where anything is missing."""
    return [_judge(target, document["sections"].get(target.section, {})) for target in TARGETS]


def targets_table(verdicts: Sequence[dict[str, Any]], quick: bool) -> str:
    """The table of `judge`."""
    words = {True: "met", False: "MISSED", None: "not measured"}
    rows = []
    for verdict in verdicts:
        found = "-" if verdict["found"] is None else f"{verdict['found']:.3f}"
        rows.append([verdict["target"], verdict["limit"], found, verdict["where"], words[verdict["met"]]])
    title = "### Targets" + (" (of a quick run, which decides nothing)" if quick else "")
    return f"{title}\n\n{table(['ratio', 'limit', 'found', 'where', ''], rows)}"


def _judge(target: Target, section: dict[str, Any]) -> dict[str, Any]:
    rows = section.get("rows", [])
    rows = [row for row in rows if all(label in _where(row) for label in target.labels)]
    medians = [row["ratios"].get(target.ratio, {}).get("median") for row in rows]
    found, where = None, ""
    if section.get("complete") and medians and None not in medians:
        if target.mean:
            found = geometric_mean(medians)
        else:
            found = (min if target.least else max)(medians)
            where = _where(rows[medians.index(found)]) if len(rows) > 1 else ""
    which = "geometric mean" if target.mean else "each"
    return {
        "target": f"{target.section}: {target.ratio}, {', '.join([which, *target.labels])}",
        "limit": f"{'≥' if target.least else '≤'} {target.limit:.2f}",
        "found": found,
        "where": where,
        "met": None if found is None else found >= target.limit if target.least else found <= target.limit,
    }


def _where(row: dict[str, Any]) -> str:
    """The labels of a row."""
    return ", ".join(f"batch {row[name]}" if name == "batch" else str(row[name]) for name in LABELS if name in row)
