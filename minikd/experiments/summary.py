"""The results of `minikd distill`: a table of scores, and one of differences with intervals and verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data import DATASETS, Data
from ..metrics import History, Scores
from .config import Config
from .files import write_json
from .intervals import mean_interval
from .intervals import verdict as judge
from .text import text_table

STUDENTS = ("labels", "smoothed", "distilled")  # on the same samples
ALL = "all"  # on the labels of all samples, if the others are shown a few
NAMES = {"teacher": "teacher", "labels": "labels alone", "smoothed": "label smoothing", "distilled": "distilled"}
ROWS = {**NAMES, ALL: "all labels"}  # of the table
ONE_SEED = "One seed cannot tell this from luck: try --seeds 5."
# The scores that compare a student with labels alone: label, factor, unit, digits, and the sign of a gain.
JUDGED = {"accuracy": ("accuracy", 100, "points", ".1f", 1), "nll": ("NLL", 1, "nats", ".3f", -1)}
# The scores of the table: name, header, factor, digits. The last is used only if a class was not shown to the students.
PERPLEXITY = ("perplexity", "perplexity", 1, 2)  # of a language model, in place of the first
SHOWN = (
    ("errors", "errors", 1, 1),
    ("accuracy", "acc. %", 100, 1),
    ("nll", "NLL", 1, 3),
    ("ece", "ECE %", 100, 1),
    ("agreement", "agree %", 100, 1),
    ("unseen", "unseen %", 100, 1),
)


@dataclass
class Trained:
    """One network of a run, with its training history and its test scores."""

    kind: str  # "teacher", one of STUDENTS, or ALL
    seed: int
    model: Any  # an MLP; a given teacher may be any Teacher
    history: History
    scores: Scores


def gain(done: list[Trained], kind: str, score: str) -> tuple[float, float]:
    """The difference of a student's test score from labels alone: mean over seeds, half-width of its 95 % interval.

    Students are paired by seed, because those of a seed start from the same weights and see the same batches.
    """
    scores = {(t.kind, t.seed): t.scores[score] for t in done if t.kind in STUDENTS}
    return mean_interval([scores[kind, s] - scores["labels", s] for k, s in scores if k == kind])


def verdict_cells(done: list[Trained]) -> list[tuple[str, ...]]:
    """The differences of both students from labels alone, as text: a header, then a row per student and score."""
    lines: list[tuple[str, ...]] = [("against labels alone", "score", "difference", "95 % interval", "")]
    for kind in ("distilled", "smoothed"):
        name = NAMES[kind]
        for score, (words, factor, unit, digits, sign) in JUDGED.items():
            mean, half = (factor * value for value in gain(done, kind, score))
            interval = "-" if math.isnan(half) else f"{mean - half:+{digits}} to {mean + half:+{digits}}"
            lines.append((name, words, f"{mean:+{digits}} {unit}", interval, judge(sign * mean, half)))
            name = ""
    return lines


def verdict(done: list[Trained]) -> str:
    """The differences as text of 80 columns."""
    table = text_table(verdict_cells(done), (-20, -8, 13, 16, -9), gap="  ")
    return f"{table}\n\n{ONE_SEED}" if len({t.seed for t in done}) == 1 else table


def shown(config: Config, n_train: int = 0) -> str:
    """The training samples of the students: "100 images", "all images, no 3"; with n_train "100 of 899 images"."""
    count = "all" if config.images is None else f"{config.images:,}"
    total = "" if not n_train else f" {n_train:,}" if config.images is None else f" of {n_train:,}"
    return f"{count}{total} {DATASETS[config.data].noun}{''.join(f', no {name}' for name in config.without)}"


def regime(config: Config, data: Data, done: list[Trained]) -> str:
    """What teacher and students were trained on, when this happens in practice, and the errors with all labels."""
    noun, n_train = DATASETS[config.data].noun, data.n_train
    seen = f"The students are shown {shown(config, n_train)}"
    if all(t.kind != ALL for t in done):
        return f"{seen}. A teacher helps most when they are few: see --images."
    teacher = "is given" if config.teacher_from else "has learned from all"
    case = f"{seen}; the teacher {teacher}. This happens when labels are costly or the teacher's training data"
    score, of, on, digits = "errors", f"Of {len(data.y_test):,} test {noun}, the student errs", "on ", ".1f"
    if any("perplexity" in t.scores for t in done):
        of = f"Over {len(data.y_test):,} letters of test words, the student's NLL is"
        score, on, digits = "nll", "", ".3f"
    mean = {kind: np.mean([t.scores[score] for t in done if t.kind == kind]) for kind in (*STUDENTS, ALL)}
    return (
        f"{case} are not available. {of} {on}{mean['labels']:{digits}} with these labels alone, "
        f"{on}{mean['distilled']:{digits}} distilled, and {on}{mean[ALL]:{digits}} with the labels of all {n_train:,}."
    )


def cells(done: list[Trained]) -> list[tuple[str, ...]]:
    """The test scores, mean ± standard deviation over seeds: a header, then a row per kind of network."""
    kinds = [kind for kind in ROWS if any(t.kind == kind for t in done)]
    shown = SHOWN if any("unseen" in t.scores for t in done) else SHOWN[:-1]
    if any("perplexity" in t.scores for t in done):
        shown = (PERPLEXITY, *shown[1:])
    lines: list[tuple[str, ...]] = [("", *(head for _, head, _, _ in shown), "params", "time s")]
    for kind in kinds:
        runs = [t for t in done if t.kind == kind]

        def cell(name: str, _: str, factor: float, digits: int, runs: list[Trained] = runs) -> str:
            values = [factor * t.scores[name] for t in runs if name in t.scores]
            spread = f"±{np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
            return f"{np.mean(values):.{digits}f}{spread}" if values else "-"

        seconds = f"{np.mean([t.history.seconds for t in runs]):.1f}" if runs[0].history.rows else "-"
        parameters = "-" if runs[0].model.num_params is None else f"{runs[0].model.num_params:,}"
        lines.append((ROWS[kind], *(cell(*score) for score in shown), parameters, seconds))
    return lines


def score_table(done: list[Trained]) -> str:
    """The cells as text, in columns."""
    return text_table(cells(done))


def write(done: list[Trained], folder: Path) -> None:
    """Write history.csv and metrics.json, the numbers of a finished run, into its folder."""
    rows: list[dict[str, Any]] = [{"model": t.kind, "seed": t.seed, **row} for t in done for row in t.history.rows]
    History(rows).save_csv(folder / "history.csv")
    results = [
        {"model": t.kind, "seed": t.seed, "parameters": t.model.num_params, "seconds": t.history.seconds, **t.scores}
        for t in done
    ]
    against_labels: dict[str, Any] = {kind: {} for kind in STUDENTS[1:]}
    for kind, differences in against_labels.items():
        for score, (_, _, _, _, sign) in JUDGED.items():
            mean, half = gain(done, kind, score)
            words = {"mean": mean, "half_width_95": None if math.isnan(half) else half}
            differences[score] = {**words, "verdict": judge(sign * mean, half)}
    write_json(folder / "metrics.json", {"test": results, "against_labels": against_labels})
