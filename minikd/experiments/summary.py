"""What a run of the main job came to: differences with intervals, a sentence, a table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..metrics import History, Scores
from .files import write_json
from .intervals import mean_interval
from .text import text_table

STUDENTS = ("labels", "smoothed", "distilled")
NAMES = {"teacher": "teacher", "labels": "labels alone", "smoothed": "label smoothing", "distilled": "distilled"}
# The scores by which a student is judged against labels alone: name, factor, unit, digits, and the sign of a gain.
JUDGED = {"accuracy": ("accuracy", 100, "points", ".1f", 1), "nll": ("NLL", 1, "nats", ".3f", -1)}
# The scores of the table: name, factor, digits.
SHOWN = (("errors", 1, 1), ("accuracy", 100, 1), ("nll", 1, 3), ("ece", 100, 1), ("agreement", 100, 1))


@dataclass
class Trained:
    """One network of a run, with how it got there and how it does on the test images."""

    kind: str  # "teacher" or one of STUDENTS
    seed: int
    model: Any  # an MLP; a given teacher may be any Teacher
    history: History
    scores: Scores


def gain(done: list[Trained], kind: str, score: str) -> tuple[float, float]:
    """How a student's test score differs from that on labels alone: mean over seeds, half-width of its 95 % interval.

    Seeds are paired: both students of a seed start from the same weights and see the same batches.
    """
    scores = {(t.kind, t.seed): t.scores[score] for t in done if t.kind in STUDENTS}
    return mean_interval([scores[kind, s] - scores["labels", s] for k, s in scores if k == kind])


def verdict(done: list[Trained]) -> str:
    """One sentence on what distillation did to accuracy and NLL, with intervals, beside what the control did."""
    seeds = len({t.seed for t in done})
    clauses = []
    for score, (name, factor, unit, digits, sign) in JUDGED.items():
        mean, half = (factor * value for value in gain(done, "distilled", score))
        control = factor * gain(done, "smoothed", score)[0]
        word = "gains" if mean * sign > 0 else "loses"
        if seeds > 1 and abs(mean) <= half:
            word = f"makes no difference that {seeds} seeds can show"
        interval = f"95 % interval {mean - half:+{digits}} to {mean + half:+{digits}}; " if seeds > 1 else ""
        clauses.append(f"{word} in {name}, {mean:+{digits}} {unit} ({interval}label smoothing {control:+{digits}})")
    sentence = f"Against labels alone, distillation {' and '.join(clauses)}."
    return sentence if seeds > 1 else f"{sentence} One seed cannot tell this from luck: try --seeds 5."


def cells(done: list[Trained]) -> list[tuple[str, ...]]:
    """The scores on the test samples, mean ± standard deviation over seeds: a head, then a row a kind of network."""
    lines: list[tuple[str, ...]] = [("", "params", "errors", "acc. %", "NLL", "ECE %", "agree %", "time s")]
    for kind in ("teacher", *STUDENTS):
        runs = [t for t in done if t.kind == kind]

        def cell(name: str, factor: float, digits: int, runs: list[Trained] = runs) -> str:
            values = [factor * t.scores[name] for t in runs if name in t.scores]
            spread = f"±{np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
            return f"{np.mean(values):.{digits}f}{spread}" if values else "-"

        scores = [cell(*score) for score in SHOWN]
        seconds = f"{np.mean([t.history.seconds for t in runs]):.1f}" if runs[0].history.rows else "-"
        parameters = "-" if runs[0].model.num_params is None else f"{runs[0].model.num_params:,}"
        lines.append((NAMES[kind], parameters, *scores, seconds))
    return lines


def score_table(done: list[Trained]) -> str:
    """The cells as text, in columns."""
    return text_table(cells(done))


def write(done: list[Trained], folder: Path) -> None:
    """history.csv and metrics.json, the numbers of a finished run, in its folder."""
    rows: list[dict[str, Any]] = [{"model": t.kind, "seed": t.seed, **row} for t in done for row in t.history.rows]
    History(rows).save_csv(folder / "history.csv")
    results = [
        {"model": t.kind, "seed": t.seed, "parameters": t.model.num_params, "seconds": t.history.seconds, **t.scores}
        for t in done
    ]
    against_labels: dict[str, Any] = {kind: {} for kind in STUDENTS[1:]}
    for kind, differences in against_labels.items():
        for score in JUDGED:
            mean, half = gain(done, kind, score)
            differences[score] = {"mean": mean, "half_width_95": None if math.isnan(half) else half}
    content = {"test": results, "against_labels": against_labels, "verdict": verdict(done)}
    write_json(folder / "metrics.json", content)
