"""Choose the best setting of a sweep, and find those that do not differ from it significantly.

Only validation scores are used, never test scores. Two settings are compared seed by seed, because for each seed they
share the teacher, the order of the samples and, for students of the same size, the initial weights. The comparison is
the mean of the differences with its 95 % interval.
"""

from __future__ import annotations

from textwrap import fill
from typing import Any

import numpy as np

from ..data import DATASETS
from ..errors import MinikdError
from .intervals import mean_interval
from .intervals import verdict as judge
from .records import Record, grouped, score
from .summary import NAMES, STUDENTS
from .sweep import CONTROLS, Setting, Sweep, setting_of
from .text import dashed, text_table, with_half_width

SCORES = {"error": ("validation errors, %", 2), "nll": ("validation NLL, nats", 3)}  # label, digits; lower is better
MOST_ROWS = 30  # at most, in the table
MOST_NAMES = 6  # at most, in a sentence
Row = dict[str, Any]


def by_setting(records: list[Record]) -> dict[Setting, list[Record]]:
    """The students of each setting, by seed. A setting with a diverged student is left out."""
    return grouped(sorted((r for r in records if r["model"] == "student"), key=lambda r: r["seed"]), setting_of)


def ranking(records: list[Record], by: str = "error") -> list[Row]:
    """A row for each setting, sorted by its mean validation score `by`, one of SCORES. Ties are sorted by the other.

    Returns
    -------
    list of dict
        Each row has these keys:

        - setting: the setting
        - error, error_half, nll, nll_half: validation scores; mean over seeds, half-width of the 95 % interval
        - behind, behind_half: difference from the best setting in `by`, paired by seed
        - apart: whether this difference is significant, that is, larger than the half-width of its interval
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
    parts = [f"student {dashed(setting.student)}"]
    parts += [f"T = {setting.temperature:g}"] if setting.temperature is not None else []
    return ", ".join(parts + ([f"soft weight {setting.soft_weight:g}"] if setting.soft_weight is not None else []))


def cells(records: list[Record]) -> list[tuple[str, ...]]:
    """The ranking by validation errors as text: a header, then a row per setting."""
    lines: list[tuple[str, ...]] = [("student", "T", "weight", "val. errors %", "behind the best", "val. NLL", "")]
    for i, row in enumerate(ranking(records)):
        student, *options, _ = row["setting"]
        texts = ["-" if value is None else f"{value:g}" for value in options]
        behind = with_half_width(row["behind"], row["behind_half"], 2) if i else "-"
        verdict = "" if row["apart"] else "undecided" if i else "best"
        errors, nll = (with_half_width(row[name], row[f"{name}_half"], digits) for name, (_, digits) in SCORES.items())
        lines.append((dashed(student), *texts, errors, behind, nll, verdict))
    return lines


def setting_table(records: list[Record]) -> str:
    """The cells as text of 80 columns, with at most the MOST_ROWS best settings."""
    widths = (-9, 5, 6, 13, 15, 12, -9)
    lines = cells(records)
    more = f"\nand {len(lines) - MOST_ROWS - 1} more" if len(lines) > MOST_ROWS + 1 else ""
    return text_table(lines[: MOST_ROWS + 1], widths) + more


def verdict(records: list[Record]) -> str:
    """The chosen setting, the settings that are undecided against it, and its scores on the test samples."""
    groups, rows = by_setting(records), ranking(records)
    failed = len({setting_of(r) for r in records if r["model"] == "student"}) - len(groups)
    if not rows:
        return "No setting could be trained: a student diverged for each."
    best, chosen = rows[0], groups[rows[0]["setting"]]
    seeds = len(chosen)
    like = [name_of(row["setting"]) for row in rows[1:] if not row["apart"]]
    text = f"Chosen by validation errors, of {len(rows)} settings: {name_of(best['setting'])}. "
    if seeds < 2:
        text += "One seed decides nothing: try --seeds 5. "
    elif like:
        more = f" and {len(like) - MOST_NAMES} more" if len(like) > MOST_NAMES else ""
        text += f"Undecided against it with {seeds} seeds: {'; '.join(like[:MOST_NAMES])}{more}. "
    else:
        text += f"All others are significantly worse ({seeds} seeds). "
    text += f"The lowest validation NLL: {name_of(ranking(records, 'nll')[0]['setting'])}. "
    text += f"Of {failed} settings a student diverged, and they are left out. " if failed else ""
    errors, nll = (
        with_half_width(*mean_interval([score(r, name, "") for r in chosen]), digits)
        for name, (_, digits) in SCORES.items()
    )
    return (
        f"{text}Its validation scores are optimistic, because they were used to choose it. On the test samples "
        f"it makes {errors} % errors, NLL {nll}."
    )


def result(sweep: Sweep, records: list[Record]) -> tuple[list[tuple[str, ...]], str]:
    """The table of a sweep as cells, and its conclusion in words."""
    if len(sweep.images) > 1:
        return image_cells(sweep, records), image_words(sweep)
    return cells(records), verdict(records)


def report(sweep: Sweep, records: list[Record]) -> str:
    """The table and the conclusion, in 80 columns."""
    lines, words = result(sweep, records)
    table = text_table(lines, (-10, 13, 15, 13, 13, -9)) if len(sweep.images) > 1 else setting_table(records)
    return f"{table}\n\n{fill(words, 80)}"


def by_images(sweep: Sweep, records: list[Record]) -> list[Row]:
    """A row for each number of images, with the test errors in percent of each kind of student, one value per seed.

    Returns
    -------
    list of dict
        Each row has the kinds of students as keys, and also these:

        - images: the number of images, None for all
        - setting: of the distilled student, with the fewest validation errors at this number of images
        - gain, gain_half: errors of labels alone minus those of the distilled student, paired by seed
    """
    rows = []
    for images in sweep.images:
        mine = sorted((r for r in records if r.get("images", ()) == images), key=lambda r: r["seed"])
        if not (best := ranking(mine)) or any("failed" in r for r in mine if r["model"] in CONTROLS):
            raise MinikdError(f"students that were shown {images or 'all'} images diverged: try other settings")
        row: Row = {"images": images, "setting": best[0]["setting"]}
        for kind in CONTROLS:
            row[kind] = [score(r, "error", "") for r in mine if r["model"] == kind]
        row["distilled"] = [score(r, "error", "") for r in by_setting(mine)[row["setting"]]]
        pairs = zip(row["labels"], row["distilled"], strict=True)
        row["gain"], row["gain_half"] = mean_interval([alone - distilled for alone, distilled in pairs])
        rows.append(row)
    return rows


def image_cells(sweep: Sweep, records: list[Record]) -> list[tuple[str, ...]]:
    """The rows of `by_images` as text, after a header and before the teacher."""
    noun = DATASETS[sweep.base.data].noun
    lines: list[tuple[str, ...]] = [(noun, *(NAMES[kind] for kind in STUDENTS), "fewer by", "")]
    for row in by_images(sweep, records):
        errors = [with_half_width(*mean_interval(row[kind]), 2) for kind in STUDENTS]
        gain = with_half_width(row["gain"], row["gain_half"], 2, "+")
        shown = "all" if row["images"] is None else f"{row['images']:,}"
        lines.append((shown, *errors, gain, judge(row["gain"], row["gain_half"])))
    teacher = with_half_width(*mean_interval(teacher_errors(sweep, records)), 2)
    return [*lines, ("teacher", "-", "-", teacher, "-", "")]


def teacher_errors(sweep: Sweep, records: list[Record]) -> list[float]:
    """Test errors in percent of each seed's first teacher."""
    teachers = sorted((r["seed"], score(r, "error", "")) for r in records if r["model"] == "teacher")
    return [error for seed, error in teachers if seed < sweep.base.seeds]


def image_words(sweep: Sweep) -> str:
    """The caption of the table of `image_cells`."""
    base, several = sweep.base, len(sweep.temperature) * len(sweep.soft_weight) > 1
    how = "at the setting with the fewest validation errors" if several else name_of(sweep.settings[0])
    return (
        f"{base.data}: test errors in percent by the number of training {DATASETS[base.data].noun} that the student "
        f"is shown; mean and 95 % interval over {base.seeds} seeds. Distilled: {how}. The teacher is trained on "
        f'all of them. "Fewer by": percentage points against labels alone, paired by seed.'
    )


def maps(sweep: Sweep, records: list[Record]) -> list[list[dict[str, Any]]]:
    """The input of `plots.heat_maps`: a row of maps for each score, with a map for each student.

    A map has `values` (soft weights, temperatures), which are NaN if a student diverged. Its masks `best` and `level`
    mark the best setting by this score, and the settings that do not differ from it significantly.
    """
    shape = len(sweep.soft_weight), len(sweep.temperature)
    rows = []
    for name, (words, digits) in SCORES.items():
        ranked = {row["setting"]: (i, row) for i, row in enumerate(ranking(records, name))}
        row_of_maps = []
        for student in sweep.student:
            values, best, level = np.full(shape, np.nan), np.zeros(shape, bool), np.zeros(shape, bool)
            for at in np.ndindex(shape):
                setting = Setting(student, sweep.temperature[at[1]], sweep.soft_weight[at[0]], sweep.images[0])
                if setting in ranked:
                    place, row = ranked[setting]
                    values[at], best[at], level[at] = row[name], place == 0, not row["apart"]
            marks = {"values": values, "best": best, "level": level, "digits": digits}
            row_of_maps.append({"title": f"student {dashed(student)}\n{words}", **marks})
        rows.append(row_of_maps)
    return rows
