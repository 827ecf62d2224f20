"""Which method is best? `minikd compare`: the gallery on one student, with everything else the same.

For each seed one teacher is trained, and then the same student by every method: from the same initial weights, on the
same batches in the same order, for the same number of steps, by the same optimizer. (Methods of two stages begin the
order anew in the second; "data-free" has batches of its own; and where a method trains other networks besides,
ancestors, peers or assistants, those come on top: the column "cost" tells, in which teachers are left out.) How
strongly the teacher counts against the labels is tuned for each method alike: the student is trained at each of
STRENGTHS, multiples of the method's own default, and the one with the best mean accuracy over seeds on the validation
samples is the one whose test errors are shown. What is compared is then paired by seed, with the student on labels
alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import load_arrays
from ..checks import check_choice, check_count
from ..methods import METHODS
from ..metrics import evaluate
from ..scale.pool import pool
from .config import Config
from .distill import Experiment, tidy
from .environment import machine, provenance, suited_threads
from .files import make_folder, read_json, write_json
from .intervals import mean_interval
from .progress import Notify, silent
from .summary import Trained
from .text import dashed, text_table, with_half_width

STRENGTHS = (0.0625, 0.25, 1.0, 4.0)
LABELS = "labels"  # the control
BATCH_SIZE = 64  # at most, for what compares the samples of a batch takes its square or cube


def settings_for(data: str = "digits", **given: Any) -> Config:
    """The recipe of a data set with batches of at most BATCH_SIZE, and as many steps of the student as it has there."""
    recipe = Config.for_data(data)
    batch_size = min(BATCH_SIZE, recipe.batch_size)
    epochs = max(1, recipe.epochs * batch_size // recipe.batch_size)
    teacher = {"teacher_epochs": given.get("epochs", recipe.teacher_epochs)}  # as Config.for_data has it
    return Config.for_data(data, **{"epochs": epochs, "batch_size": batch_size, **teacher, **given})


def compare(
    config: Config, methods: Sequence[str], folder: Path, jobs: int = 1, notify: Notify = silent
) -> dict[str, Any]:
    """Train everything, or read what is trained already; write folder/compare.json, and return what is in it.

    config   as for `minikd distill`; its `method`, `temperature` and `soft_weight` are not used
    jobs     seeds at a time, in processes of their own
    notify   is told how many of all epochs are done; with several jobs each process calls a copy of it
    """
    check_count("jobs", jobs)
    for method in methods:
        check_choice("methods", method, METHODS)
    make_folder(folder)
    tidy(folder)
    methods = tuple(dict.fromkeys(methods))
    with pool(jobs, blas_threads=suited_threads(config.data, jobs)) as workers:
        done = workers.map(one_seed, [(config, methods, folder, seed, notify) for seed in range(config.seeds)])
        made_on = workers.map(machine, [()])[0]
    settings = asdict(config)
    for name in ("method", "temperature", "soft_weight"):
        del settings[name]
    content = {
        **provenance(),
        "settings": settings,
        "strengths": STRENGTHS,
        "machine": made_on,
        "records": [record for records in done for record in records],
    }
    write_json(folder / "compare.json", content)
    return content


def one_seed(config: Config, methods: Sequence[str], folder: Path, seed: int, notify: Notify) -> list[dict[str, Any]]:
    """A record for each network of a seed: teacher, control, and the student by each method at each strength."""
    networks = 1 + sum(len(_strengths(method)) for method in methods)
    each = config.teacher_epochs + networks * config.epochs
    so_far = 0  # epochs of this seed

    def tell(done: int, total: int, words: str, *, stays: bool = False, left: float | None = None) -> None:
        nonlocal so_far
        so_far = done
        notify(each * seed + done, each * config.seeds, words, stays=stays, left=left)

    experiment = Experiment(config, folder, tell)
    records = []

    def record(method: str, strength: float, trained: Trained) -> None:
        validation = evaluate(trained.model, experiment.data.x_val, experiment.data.y_val)
        seconds = _seconds(folder, f"{trained.kind}-{seed}")
        scores = {"val_accuracy": validation.accuracy, "val_nll": validation.nll, **trained.scores}
        records.append({"method": method, "strength": strength, "seed": seed, "seconds": seconds, **scores})
        tell(so_far, each, f"seed {seed + 1}/{config.seeds}: {trained.kind}, {seconds:.0f} s", stays=True)

    teacher = experiment.train_teacher(seed)
    record("teacher", 1.0, teacher)
    record(LABELS, 1.0, experiment.train_student(LABELS, seed, teacher.model))
    for method in methods:
        for strength in _strengths(method):
            kind = f"{method}-{strength:g}"
            record(method, strength, experiment.teach(method, seed, teacher.model, kind, strength=strength))
    return records


def _strengths(method: str) -> tuple[float, ...]:
    return STRENGTHS if METHODS[method].weighted else (1.0,)


def _seconds(folder: Path, stem: str) -> float:
    """How long the network of that name, and those trained for it, were trained, interrupted runs added up."""
    paths = [folder / f"{stem}.safetensors", *folder.glob(f"{stem}-[a-z]*.safetensors")]
    notes = (load_arrays(path)[1].get("training") for path in paths if path.exists())
    return float(sum(json.loads(note)["seconds"] for note in notes if note is not None))


def summary(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each method, the fewest errors first: its tuned strength, its errors, and how they differ from labels'.

    error, half        test errors in percent: mean over seeds and half-width of the 95 % interval
    gain, gain_half    errors of labels alone less this method's, paired by seed, and the half-width of the interval
    cost               time of training, in multiples of labels alone: the fastest seed of each, for what else a
                       machine does can only make a seed slower
    """
    by_name: dict[str, dict[float, list[dict[str, Any]]]] = {}
    for record in content["records"]:
        by_name.setdefault(record["method"], {}).setdefault(record["strength"], []).append(record)
    labels = by_name[LABELS][1.0]
    rows = []
    for name, strengths in by_name.items():
        # Of equals the one nearest to the default is taken.
        best = max(strengths, key=lambda s: (np.mean([r["val_accuracy"] for r in strengths[s]]), -abs(np.log(s))))
        chosen = strengths[best]
        error, half = mean_interval([100 - 100 * r["accuracy"] for r in chosen])
        gain, gain_half = mean_interval(
            [100 * (r["accuracy"] - base["accuracy"]) for r, base in zip(chosen, labels, strict=True)]
        )
        cost = min(r["seconds"] for r in chosen) / max(min(r["seconds"] for r in labels), 1e-9)
        row = {"method": name, "strength": best, "tuned": len(strengths) > 1, "error": error, "half": half}
        nll = float(np.mean([r["nll"] for r in chosen]))
        row |= {"gain": gain, "gain_half": gain_half, "nll": nll, "cost": cost}
        rows.append({**row, "verdict": verdict(row)})
    return sorted(rows, key=lambda row: (row["method"] != "teacher", row["error"]))


def verdict(row: dict[str, Any]) -> str:
    """Whether a method differs from labels alone by more than its interval."""
    if row["method"] in ("teacher", LABELS):
        return ""
    if not abs(row["gain"]) > row["gain_half"]:  # "not >" so that NaN, of a single seed, is no difference
        return "no difference"
    return "fewer errors" if row["gain"] > 0 else "more errors"


def cells(content: dict[str, Any]) -> list[tuple[str, ...]]:
    """The summary as text: a head, then a row a method."""
    lines: list[tuple[str, ...]] = [("method", "strength", "errors %", "fewer than labels", "NLL", "cost", "")]
    for row in summary(content):
        name = row["method"]
        errors = with_half_width(row["error"], row["half"], 2)
        gain = with_half_width(row["gain"], row["gain_half"], 2, "+")
        control = name in ("teacher", LABELS)
        strength = f"× {row['strength']:g}" if row["tuned"] else "-"
        cost = "-" if name == "teacher" else f"{row['cost']:.1f}"
        lines.append((name, strength, errors, "-" if control else gain, f"{row['nll']:.3f}", cost, row["verdict"]))
    return lines


def method_table(content: dict[str, Any]) -> str:
    """The cells as text of 80 columns."""
    return text_table(cells(content), (-15, 8, 11, 17, 5, 4, -13))


def caption(content: dict[str, Any]) -> str:
    """What the table is about, in a sentence or two."""
    settings = content["settings"]
    by = {record["method"] for record in content["records"]} - {"teacher", LABELS}
    student, teacher = dashed(settings["student"]), dashed(settings["teacher"])
    return (
        f"{settings['data']}, student {student}, teacher {teacher}, {settings['epochs']} epochs, "
        f"{settings['seeds']} seeds; intervals of 95 %. Strength: of the teacher's part, tuned on validation samples "
        f"over {', '.join(f'{s:g}' for s in content['strengths'])} times the method's default. "
        f"Of {len(by)} methods that made no difference, {len(by) / 20:.1f} would seem to, by luck."
    )


def read(path: Path) -> dict[str, Any]:
    """The numbers that `compare` wrote. CheckpointError for a file that is not such a one."""

    def check(content: dict[str, Any]) -> dict[str, Any]:
        caption(content), summary(content), Config.from_json(content["settings"])
        return content

    return read_json(path, "the numbers of a comparison", check)
