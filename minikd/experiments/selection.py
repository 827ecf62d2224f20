"""Which setting of a sweep is best, and which cannot be told from it? By validation scores, never by test scores.

Two settings are compared seed by seed, for they share the teacher, the order of the samples and, if their students are
alike, the initial weights: what counts is the mean of the differences and its 95 % interval.
"""

from __future__ import annotations

from textwrap import fill
from typing import Any

import numpy as np

from .intervals import mean_interval
from .sweep import Record, Setting, Sweep, setting_of
from .text import dashed, text_table, with_half_width

SCORES = {"error": ("validation errors, %", 2), "nll": ("validation NLL, nats", 3)}  # words, digits; less is better
MOST_ROWS = 30  # at most, in the table
MOST_NAMES = 6  # at most, in a sentence
Row = dict[str, Any]


def score(record: Record, name: str, part: str = "val_") -> float:
    """A score of a student, on validation samples or (part "") on test samples: errors in percent, or NLL in nats."""
    return float(100 - 100 * record[f"{part}accuracy"] if name == "error" else record[f"{part}nll"])


def by_setting(records: list[Record]) -> dict[Setting, list[Record]]:
    """The students of each setting, by seed; without settings of which a student diverged."""
    groups: dict[Setting, list[Record]] = {}
    for record in sorted((r for r in records if r["model"] == "student"), key=lambda r: r["seed"]):
        groups.setdefault(setting_of(record), []).append(record)
    return {setting: group for setting, group in groups.items() if not any("failed" in r for r in group)}


def ranking(records: list[Record], by: str = "error") -> list[Row]:
    """A row for each setting, the best first, by its mean validation score `by`, one of SCORES; of equals by the other.

    error, error_half, nll, nll_half   validation scores: mean over seeds, half-width of the 95 % interval
    behind, behind_half                how far the setting is behind the best in `by`, paired by seed
    apart                              whether that is more than its interval: it can be told from the best
    """
    groups = by_setting(records)
    rows: list[Row] = []
    for setting, group in groups.items():
        row: Row = {"setting": setting}
        for name in SCORES:
            row[name], row[f"{name}_half"] = mean_interval([score(r, name) for r in group])
        rows.append(row)
    rows.sort(key=lambda row: (row[by], *(row[name] for name in SCORES)))
    for row in rows:
        best = groups[rows[0]["setting"]]
        pairs = zip(groups[row["setting"]], best, strict=True)
        row["behind"], row["behind_half"] = mean_interval([score(a, by) - score(b, by) for a, b in pairs])
        row["apart"] = row["behind"] > row["behind_half"]  # never with one seed, where that is NaN
    return rows


def name_of(setting: Setting) -> str:
    """A setting in words."""
    student, temperature, soft_weight = setting
    parts = [f"student {dashed(student)}"]
    parts += [f"T = {temperature:g}"] if temperature is not None else []
    return ", ".join(parts + ([f"soft weight {soft_weight:g}"] if soft_weight is not None else []))


def cells(records: list[Record]) -> list[tuple[str, ...]]:
    """The ranking by validation errors as text: a head, then a row a setting."""
    lines: list[tuple[str, ...]] = [("student", "T", "weight", "val. errors %", "behind the best", "val. NLL", "")]
    for i, row in enumerate(ranking(records)):
        student, *options = row["setting"]
        texts = ["-" if value is None else f"{value:g}" for value in options]
        behind = with_half_width(row["behind"], row["behind_half"], 2) if i else "-"
        verdict = "" if row["apart"] else "not apart" if i else "best"
        errors, nll = (with_half_width(row[name], row[f"{name}_half"], digits) for name, (_, digits) in SCORES.items())
        lines.append((dashed(student), *texts, errors, behind, nll, verdict))
    return lines


def setting_table(records: list[Record]) -> str:
    """The cells as text of 80 columns, the MOST_ROWS best settings at most."""
    widths = (-9, 5, 6, 13, 15, 12, -9)
    lines = cells(records)
    more = f"\nand {len(lines) - MOST_ROWS - 1} more" if len(lines) > MOST_ROWS + 1 else ""
    return text_table(lines[: MOST_ROWS + 1], widths) + more


def verdict(records: list[Record]) -> str:
    """What was chosen, what cannot be told from it, and how the chosen setting does on the test samples."""
    groups, rows = by_setting(records), ranking(records)
    failed = len({setting_of(r) for r in records if r["model"] == "student"}) - len(groups)
    if not rows:
        return "No setting could be trained: a student of each diverged."
    best, chosen = rows[0], groups[rows[0]["setting"]]
    seeds = len(chosen)
    like = [name_of(row["setting"]) for row in rows[1:] if not row["apart"]]
    text = f"Chosen by validation errors, of {len(rows)} settings: {name_of(best['setting'])}. "
    if seeds < 2:
        text += "One seed cannot tell any other from it: try --seeds 5. "
    elif like:
        more = f" and {len(like) - MOST_NAMES} more" if len(like) > MOST_NAMES else ""
        text += f"{len(like)} cannot be told from it by {seeds} seeds: {'; '.join(like[:MOST_NAMES])}{more}. "
    else:
        text += f"{seeds} seeds tell all others from it. "
    text += f"The lowest validation NLL: {name_of(ranking(records, 'nll')[0]['setting'])}. "
    text += f"Of {failed} settings a student diverged, and they are left out. " if failed else ""
    errors, nll = (
        with_half_width(*mean_interval([score(r, name, "") for r in chosen]), digits)
        for name, (_, digits) in SCORES.items()
    )
    return (
        f"{text}The best of many is partly lucky on the samples that chose it; on the test samples, which had no say, "
        f"it makes {errors} % errors, NLL {nll}."
    )


def report(records: list[Record]) -> str:
    """Table and verdict, in 80 columns."""
    return f"{setting_table(records)}\n\n{fill(verdict(records), 80)}"


def maps(sweep: Sweep, records: list[Record]) -> list[list[dict[str, Any]]]:
    """What `plots.heat_maps` draws: a row of maps for each score, in it a map for each student.

    values (soft weights, temperatures), NaN where a student diverged;  best, level: where the best setting is, and
    those that cannot be told from it, by this score.
    """
    shape = len(sweep.soft_weight), len(sweep.temperature)
    rows = []
    for name, (words, digits) in SCORES.items():
        ranked = {row["setting"]: (i, row) for i, row in enumerate(ranking(records, name))}
        row_of_maps = []
        for student in sweep.student:
            values, best, level = np.full(shape, np.nan), np.zeros(shape, bool), np.zeros(shape, bool)
            for at in np.ndindex(shape):
                setting = student, sweep.temperature[at[1]], sweep.soft_weight[at[0]]
                if setting in ranked:
                    place, row = ranked[setting]
                    values[at], best[at], level[at] = row[name], place == 0, not row["apart"]
            marks = {"values": values, "best": best, "level": level, "digits": digits}
            row_of_maps.append({"title": f"student {dashed(student)}\n{words}", **marks})
        rows.append(row_of_maps)
    return rows
