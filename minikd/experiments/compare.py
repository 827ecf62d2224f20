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
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import load_arrays, write_atomically
from ..checks import check_choice, check_count
from ..cli.progress import Progress
from ..errors import CheckpointError
from ..methods import METHODS
from ..metrics import evaluate
from ..scale.pool import pool
from .config import Config
from .distill import Experiment, tidy
from .environment import machine
from .intervals import mean_interval
from .summary import Trained

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


def compare(config: Config, methods: Sequence[str], folder: Path, jobs: int = 1, quiet: bool = False) -> dict[str, Any]:
    """Train everything, or read what is trained already; write folder/compare.json and .png; returns the former.

    config   as for `minikd distill`; its `method`, `temperature` and `soft_weight` are not used
    jobs     seeds at a time, in processes of their own
    quiet    say nothing of progress on stderr
    """
    from ..report import plots

    check_count("jobs", jobs)
    for method in methods:
        check_choice("methods", method, METHODS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the folder {folder}: {error.strerror}") from error
    tidy(folder)
    methods = tuple(dict.fromkeys(methods))
    runs = 1 + sum(len(_strengths(method)) for method in methods)
    total = config.seeds * (config.teacher_epochs + runs * config.epochs)
    with Progress(total, quiet=quiet, line=jobs == 1, log=False) as progress:
        tasks = [(config, methods, folder, seed, progress) for seed in range(config.seeds)]
        with pool(jobs) as workers:
            done = workers.map(one_seed, tasks)
    settings = asdict(config)
    for name in ("method", "temperature", "soft_weight"):
        del settings[name]
    content = {
        "command": shlex.join(["minikd", *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "settings": settings,
        "strengths": STRENGTHS,
        "machine": machine(),
        "records": [record for records in done for record in records],
    }
    write_atomically(folder / "compare.json", (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    plots.save(plots.comparison(summary(content)), folder / "compare.png")
    return content


def one_seed(
    config: Config, methods: Sequence[str], folder: Path, seed: int, progress: Progress
) -> list[dict[str, Any]]:
    """A record for each network of a seed: teacher, control, and the student by each method at each strength."""
    before = progress.total // config.seeds * seed
    experiment = Experiment(config, folder, lambda epochs, words: progress.update(before + epochs, words))
    records = []

    def record(method: str, strength: float, trained: Trained) -> None:
        validation = evaluate(trained.model, experiment.data.x_val, experiment.data.y_val)
        seconds = _seconds(folder, f"{trained.kind}-{seed}")
        scores = {"val_accuracy": validation.accuracy, "val_nll": validation.nll, **trained.scores}
        records.append({"method": method, "strength": strength, "seed": seed, "seconds": seconds, **scores})
        progress.say(f"seed {seed + 1}/{config.seeds}: {trained.kind}, {seconds:.0f} s")

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
        name, half, gain_half = row["method"], row["half"], row["gain_half"]
        errors = f"{row['error']:.2f}" + ("" if np.isnan(half) else f" ±{half:.2f}")
        gain = f"{row['gain']:+.2f}" + ("" if np.isnan(gain_half) else f" ±{gain_half:.2f}")
        control = name in ("teacher", LABELS)
        strength = f"× {row['strength']:g}" if row["tuned"] else "-"
        cost = "-" if name == "teacher" else f"{row['cost']:.1f}"
        lines.append((name, strength, errors, "-" if control else gain, f"{row['nll']:.3f}", cost, row["verdict"]))
    return lines


def table(content: dict[str, Any]) -> str:
    """The cells as text of 80 columns."""
    widths = (-15, 8, 11, 17, 5, 4, -13)  # negative: to the left
    return "\n".join(
        " ".join(f"{text:{'<' if w < 0 else '>'}{abs(w)}}" for text, w in zip(line, widths, strict=True)).rstrip()
        for line in cells(content)
    )


def caption(content: dict[str, Any]) -> str:
    """What the table is about, in a sentence or two."""
    settings = content["settings"]
    by = {record["method"] for record in content["records"]} - {"teacher", LABELS}
    sizes = {who: "-".join(map(str, settings[who])) for who in ("teacher", "student")}
    return (
        f"{settings['data']}, student {sizes['student']}, teacher {sizes['teacher']}, {settings['epochs']} epochs, "
        f"{settings['seeds']} seeds; intervals of 95 %. Strength: of the teacher's part, tuned on validation samples "
        f"over {', '.join(f'{s:g}' for s in content['strengths'])} times the method's default. "
        f"Of {len(by)} methods that made no difference, {len(by) / 20:.1f} would seem to, by luck."
    )


def read(path: Path) -> dict[str, Any]:
    """The numbers that `compare` wrote. CheckpointError for a file that is not such a one."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        caption(content), summary(content)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} does not hold the numbers of a comparison: {error!r}") from error
    return content
