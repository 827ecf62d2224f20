"""Which method is best? `minikd compare` trains one student by every method, with everything else the same.

For each seed, one teacher is trained on all samples. Then the same student is trained by every method on a few samples:
from the same initial weights, on the same batches in the same order, for the same number of steps, by the same
optimizer. (A method with two stages starts the order again in its second stage. Some methods also train other
networks, such as ancestors, peers or assistants. The column "cost" includes their time.)

All methods are tuned in the same way, by the mean validation accuracy over the first TUNING_SEEDS seeds. The
temperature comes first, if the method has one, over TEMPERATURES. At the best temperature follows the strength, which
is the weight of the teacher against the labels in multiples of the method's default, over STRENGTHS and beyond them
while an end is the best. The comparison uses test errors over all seeds. They are paired by seed with those of the
student on labels alone.

Two methods have less data than the others, so each has a control of its own. "self-supervised" learns from images
without labels; its control "unlabelled" is soft targets at soft weight 1. "data-free" has no data at all; its control
"noise" is a student that is taught on random noise.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import load_arrays
from ..checks import check_choice, check_count
from ..errors import DivergedError
from ..methods import METHODS, Method
from ..methods.data_free import random_samples
from ..scale.pool import Workers, pool
from .config import Config
from .distill import Experiment, check_fitting, experiment_in, teacher_seeds, tidy
from .environment import machine, provenance, suited_threads
from .files import make_folder, read_json, write_json
from .intervals import mean_interval, verdict
from .progress import Notify, silent
from .records import Record, grouped, score, scores_of
from .summary import ALL, ROWS, shown
from .text import dashed, text_table, with_half_width

TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 16.0)
STRENGTHS = (1 / 256, 1 / 64, 1 / 16, 1 / 4, 1.0, 4.0, 16.0, 64.0, 256.0)
FARTHEST = 4.0**8  # if an end of STRENGTHS is the best, the search goes on up to this value and down to 1 over it
TUNING_SEEDS = 3  # the default; the other seeds are trained at the chosen setting only
BATCH_SIZE = 64  # at most, because comparing all samples of a batch costs its square or cube
LABELS = "labels"  # the control of most methods
CONTROLS = ("teacher", LABELS, ALL)  # entries that are not methods
AGAINST = {"labels": LABELS, "images": "unlabelled", "nothing": "noise"}  # what a method reads -> its control
without_labels = replace(METHODS["kd"], train=partial(METHODS["kd"].train, soft_weight=1.0), weighted=False)
on_noise = replace(without_labels, train=partial(without_labels.train, augment=random_samples))
UNITS = ("percentage points", "nats a letter")  # for classes, for a language model
ENTRIES: dict[str, Method] = {**METHODS, "unlabelled": without_labels, "noise": on_noise}
Setting = tuple[str, float | None, float]  # method, temperature (None if it has none), strength


def settings_for(data: str = "digits", **given: Any) -> Config:
    """The recipe of a data set with batches of at most BATCH_SIZE, and with as many student steps as in the recipe."""
    recipe = Config.for_data(data, **{name: given[name] for name in ("images",) if name in given})
    batch_size = min(BATCH_SIZE, recipe.batch_size)
    epochs = max(1, recipe.epochs * batch_size // recipe.batch_size)
    others = {name: given.get("epochs", getattr(recipe, name)) for name in ("teacher_epochs", "all_epochs")}
    return Config.for_data(data, **{"epochs": epochs, "batch_size": batch_size, **others, **given})


def compare(
    config: Config,
    methods: Sequence[str],
    folder: Path,
    jobs: int = 1,
    notify: Notify = silent,
    tuning_seeds: int = TUNING_SEEDS,
) -> dict[str, Any]:
    """Train all networks, or load those that are trained already; write folder/compare.json and return its content.

    Parameters
    ----------
    config : Config
        As for `minikd distill`. Its `method`, `temperature` and `soft_weight` are not used.
    methods : sequence of str
        Names in METHODS.
    folder : Path
        Where networks and results are kept.
    jobs : int
        Number of networks to train at the same time, each in a process of its own.
    notify : Notify
        Is called with the number of networks that are done.
    tuning_seeds : int
        Number of seeds, from the first on, that decide temperature and strength. Fewer take less time.
    """
    for method in methods:
        check_choice("methods", method, METHODS)
        check_fitting(method, config.data)
    check_count("tuning_seeds", tuning_seeds)
    check_count("jobs", jobs)
    experiment = experiment_in(folder, config)  # bad settings are an error now
    make_folder(folder)
    tidy(folder)
    tuning = range(min(tuning_seeds, config.seeds))
    with pool(jobs, blas_threads=suited_threads(config.data, jobs)) as workers:
        records = _train_all(tuple(dict.fromkeys(methods)), tuning, _Rounds(experiment, workers, notify))
        made_on = workers.map(machine, [()])[0]
    settings = asdict(config)
    for name in ("method", "temperature", "soft_weight"):
        del settings[name]
    tuned = {"temperatures": TEMPERATURES, "strengths": STRENGTHS, "tuning_seeds": len(tuning)}
    content = {**provenance(), "settings": settings, **tuned, "machine": made_on, "records": records}
    write_json(folder / "compare.json", content)
    return content


def _train_all(methods: Sequence[str], tuning: range, rounds: _Rounds) -> list[Record]:
    """A record for every network of a comparison. The seeds `tuning` decide each method's temperature and strength."""
    rivals = dict.fromkeys(AGAINST[METHODS[m].reads] for m in methods)
    names = (*methods, *(name for name in rivals if name in ENTRIES and name not in methods))
    seeds = range(rounds.experiment.config.seeds)
    controls: list[Setting] = [(name, None, 1.0) for name in (LABELS, ALL)[: 1 + rounds.experiment.few]]
    first = [(name, t, s) for name in names for t in _temperatures(name) for s in _strengths(name, t)]
    later = sum(len(_strengths(name, None)) - 1 for name in names if ENTRIES[name].temperature)
    teachers = sorted({seed for name in methods for seed in teacher_seeds(name, seeds)} | set(seeds))
    rounds.total = len(teachers) + (len(controls) + len(names)) * len(seeds)
    rounds.total += (len(first) + later - len(names)) * len(tuning)
    records = [r for r in rounds.train([("teacher", None, 1.0)], teachers) if r["seed"] in seeds]
    records += rounds.train(controls, seeds) + rounds.train(first, tuning)
    records += rounds.train([s for name in names for s in _at_best_temperature(name, records, tuning)], tuning)
    while beyond := [s for name in names for s in _beyond_the_end(name, records, tuning)]:
        rounds.total += len(beyond) * len(tuning)
        records += rounds.train(beyond, tuning)
    groups = by_setting(records)
    return records + rounds.train([best_of(name, groups, tuning)[0] for name in names], seeds[len(tuning) :])


def _temperatures(name: str) -> tuple[float | None, ...]:
    return TEMPERATURES if ENTRIES[name].temperature else (None,)


def _default_temperature(name: str) -> Any:
    return signature(ENTRIES[name].train).parameters[ENTRIES[name].temperature].default


def _strengths(name: str, temperature: float | None) -> tuple[float, ...]:
    """The strengths to try; while temperatures are tried, the default only."""
    return STRENGTHS if ENTRIES[name].weighted and temperature is None else (1.0,)


def _at_best_temperature(name: str, records: list[Record], tuning: Sequence[int]) -> list[Setting]:
    """The strengths that remain to be tried, at the best temperature, for a method that has one."""
    if not ENTRIES[name].temperature:
        return []
    (_, temperature, _), _ = best_of(name, by_setting(records), tuning)
    return [(name, temperature, s) for s in _strengths(name, None) if s != 1]


def _beyond_the_end(name: str, records: list[Record], tuning: Sequence[int]) -> list[Setting]:
    """The untried neighbours of a method's best strength so far."""
    best, _ = best_of(name, by_setting(records), tuning)
    tried = _strengths_tried(best, records)
    beyond = [s for s in (best[2] / 4, best[2] * 4) if s not in tried and 1 / FARTHEST <= s <= FARTHEST]
    return [(name, best[1], s) for s in beyond] if len(tried) > 1 else []


def _strengths_tried(best: Setting, records: Sequence[Record]) -> set[float]:
    """The strengths tried at the temperature of a setting, including those at which a student diverged."""
    return {strength for *others, strength in map(setting_of, records) if others == list(best[:2])}


class _Rounds:
    """Trains networks on workers, one round after the other, and counts them."""

    def __init__(self, experiment: Experiment, workers: Workers, notify: Notify) -> None:
        self.experiment, self.workers, self.notify = experiment, workers, notify
        self.done = self.total = 0

    def train(self, settings: Sequence[Setting], seeds: Sequence[int]) -> list[Record]:
        """A record for each setting and seed, in this order."""
        run = self.experiment.config, self.experiment.folder
        tasks = [(*run, setting, seed) for setting in settings for seed in seeds]
        records = {}
        for setting, seed, record in self.workers.as_completed(_train_network, tasks):
            self.done += 1
            records[setting, seed] = record
            self.notify(self.done, self.total, f"{kind_of(setting)}: network {self.done} of {self.total}")
        return [records[setting, seed] for *_, setting, seed in tasks]


def _train_network(config: Config, folder: Path, setting: Setting, seed: int) -> tuple[Setting, int, Record]:
    """Train one network, or continue it. The teachers are trained already."""
    experiment = experiment_in(folder, config)
    name, temperature, strength = setting
    record: Record = {"method": name, "temperature": temperature, "strength": strength, "seed": seed}
    trained = experiment.train_teacher(seed)
    try:
        if name in (LABELS, ALL):
            trained = experiment.train_student(name, seed, trained.model)
        elif name != "teacher":
            options: dict[str, Any] = {"strength": strength}
            if temperature is not None:
                options[ENTRIES[name].temperature] = type(_default_temperature(name))(temperature)
            trained = experiment.teach(ENTRIES[name], seed, trained.model, kind_of(setting), **options)
    except DivergedError as error:  # a setting that cannot be trained is also a result
        return setting, seed, {**record, "failed": str(error)}
    record["seconds"] = _seconds(folder, f"{kind_of(setting)}-{seed}")
    return setting, seed, {**record, **scores_of(trained, experiment.data)}


def kind_of(setting: Setting) -> str:
    """The name of a network's file, before its seed."""
    name, temperature, strength = setting
    if name in CONTROLS:
        return name
    return f"{name}-{strength:g}" if temperature is None else f"{name}-T{temperature:g}-{strength:g}"


def _seconds(folder: Path, stem: str) -> float:
    """Training seconds of a network and of those trained for it, summed over interrupted runs."""
    paths = [folder / f"{stem}.safetensors", *folder.glob(f"{stem}-[a-z]*.safetensors")]
    notes = (load_arrays(path)[1].get("training") for path in paths if path.exists())
    return float(sum(json.loads(note)["seconds"] for note in notes if note is not None))


def setting_of(record: Record) -> Setting:
    """The setting of a record."""
    return record["method"], record["temperature"], record["strength"]


def by_setting(records: Sequence[Record]) -> dict[Setting, list[Record]]:
    """The records of each setting, by seed. A setting with a diverged student is left out."""
    return grouped(records, setting_of)


def best_of(name: str, groups: dict[Setting, list[Record]], tuning: Sequence[int]) -> tuple[Setting, list[Record]]:
    """The setting of a method with the best mean validation score over the seeds `tuning`, and its records.

    Among equal settings, it is the one nearest to the default.
    """

    def rank(setting: Setting) -> tuple[float, float, float]:
        _, temperature, strength = setting
        default = _default_temperature(name) if temperature else 1
        distance = abs(np.log((temperature or 1) / default))
        of_tuning = [r for r in groups[setting] if r["seed"] in tuning]
        merits = [-r["val_nll"] if is_language(r) else r["val_accuracy"] for r in of_tuning]
        return float(np.mean(merits)), -abs(np.log(strength)), -distance

    best = max((setting for setting in groups if setting[0] == name), key=rank)
    return best, groups[best]


def is_language(record: Record) -> bool:
    """Whether the record is of a language model, which is ranked by NLL."""
    return "perplexity" in record


def of_language(content: dict[str, Any]) -> bool:
    """Whether the comparison is one of language models."""
    return any(map(is_language, content["records"]))


def judged(record: Record) -> float:
    """The score that ranks methods, lower is better: test errors in percent, or a language model's nats per letter."""
    return score(record, "nll" if is_language(record) else "error", "")


def summary(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each method with its tuned setting and its gain. The teacher comes first, then the fewest errors.

    Returns
    -------
    list of dict
        Each row has these keys, among others:

        - error, half: test errors in percent, or nats per letter; mean over seeds, half-width of the 95 % interval
        - unit: "percentage points" or "nats a letter"
        - gain, gain_half: errors of the control `against` minus those of this method, paired by seed, and the
          half-width of the interval
        - at_end: whether the tuned strength is the weakest or strongest that was tried
        - cost: training time in multiples of labels alone. The fastest seed of each counts, because other work on the
          machine can only make a seed slower.
    """
    groups, tuning = by_setting(content["records"]), range(content["tuning_seeds"])
    names = dict.fromkeys(name for name, _, _ in groups)
    labels = best_of(LABELS, groups, tuning)[1] if LABELS in names else []
    rows = []
    for name in names:
        best, chosen = best_of(name, groups, tuning)
        against = AGAINST[ENTRIES[name].reads] if name in ENTRIES else LABELS
        base = best_of(against, groups, tuning)[1] if against in names else labels
        error, half = mean_interval([judged(r) for r in chosen])
        pairs = zip(chosen, base, strict=True)
        gain, gain_half = mean_interval([judged(other) - judged(r) for r, other in pairs])
        cost = min(r["seconds"] for r in chosen) / max(min(r["seconds"] for r in labels), 1e-9)
        tried = _strengths_tried(best, content["records"])
        row = {"method": name, "temperature": best[1], "strength": best[2], "tuned": len(tried) > 1}
        row["at_end"] = len(tried) > 1 and best[2] in (min(tried), max(tried))
        row |= {"error": error, "half": half, "against": against, "gain": gain, "gain_half": gain_half, "cost": cost}
        row |= {"nll": float(np.mean([r["nll"] for r in chosen]))}
        row |= {"other_error": float(np.mean([score(r, "error", "") for r in chosen]))}
        row |= {"unit": UNITS[of_language(content)]}
        has_rival = name not in CONTROLS and name != against
        rows.append({**row, "verdict": verdict(gain, gain_half) if has_rival else ""})
    order = [*CONTROLS[:1], *AGAINST.values()]
    return sorted(rows, key=lambda r: (r["method"] != "teacher", order.index(r["against"]), r["error"]))


def cells(content: dict[str, Any]) -> list[tuple[str, ...]]:
    """The summary as text: a header, then a row per method. Methods with a control of their own come last."""
    rows = summary(content)
    language = of_language(content)
    heads, digits = (("NLL", "lower by", "", "errors %"), 3) if language else (("errors %", "fewer by", "", "NLL"), 2)
    lines: list[tuple[str, ...]] = [("method", *heads, "T", "strength", "cost")]
    for row in rows:
        name = row["method"]
        errors = with_half_width(row["error"], row["half"], digits)
        gain = with_half_width(row["gain"], row["gain_half"], digits, "+") if row["verdict"] else "-"
        other = f"{row['other_error']:.1f}" if language else f"{row['nll']:.3f}"
        temperature = "-" if row["temperature"] is None else f"{row['temperature']:g}"
        strength = f"× {_fraction(row['strength'])}{' |' * row['at_end']}" if row["tuned"] else "-"
        cost = "-" if name in ("teacher", ALL) else f"{row['cost']:.1f}"
        words = ROWS.get(name, name)
        lines.append((words, errors, gain, row["verdict"], other, temperature, strength, cost))
    return lines


def _fraction(strength: float) -> str:
    return f"{strength:g}" if strength >= 1 else f"1/{1 / strength:g}"


def method_table(content: dict[str, Any]) -> str:
    """The cells as text of at most 80 columns."""
    return text_table(cells(content))


def caption(content: dict[str, Any]) -> str:
    """The caption of the table, in a few sentences."""
    settings, strengths, temperatures = content["settings"], content["strengths"], content["temperatures"]
    student, teacher = dashed(settings["student"]), dashed(settings["teacher"])
    decided = [row for row in summary(content) if row["verdict"]]
    rivals = ", ".join(f"{row['method']} against {row['against']}" for row in decided if row["against"] != LABELS)
    gain = f"Lower by: {UNITS[True]}" if of_language(content) else f"Fewer by: {UNITS[False]}"
    tuning = f"{content['tuning_seeds']} seed{'s' * (content['tuning_seeds'] > 1)}"
    return (
        f"{settings['data']}, student {student} on {shown(Config.from_json(settings))}, teacher {teacher} on all, "
        f"{settings['epochs']} epochs, {settings['seeds']} seeds; 95 % intervals. {gain} against "
        f"labels alone, paired by seed{f' ({rivals})' * bool(rivals)}. Of {len(decided)} comparisons, about "
        f"{len(decided) / 20:.1f} would be decided by chance alone. Tuned on validation samples, {tuning}: T "
        f"from {min(temperatures):g} to {max(temperatures):g}, by factors of 2; strength from "
        f"{_fraction(min(strengths))} to {max(strengths):g} times the method's default, by factors of 4, and further "
        f"if an end was the best (a bar: it still is)."
    )


def read(path: Path) -> dict[str, Any]:
    """The numbers that `compare` wrote. CheckpointError for any other file."""

    def check(content: dict[str, Any]) -> dict[str, Any]:
        caption(content), summary(content), Config.from_json(content["settings"])
        return content

    return read_json(path, "the numbers of a comparison", check)
