"""The report of a run: one file, report.html, that works offline and shows the results, an explorer and pictures.

It is built from the run's folder only. So old runs can also be looked at, and the same folder always gives the same
file. Text and pictures are made here. The explorer, in which a reader changes temperature and weights, is plain
JavaScript (page/*.js) on the numbers that samples.py chooses.
"""

from __future__ import annotations

import csv
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..backend import to_numpy
from ..checkpoint import write_atomically
from ..data import DATASETS, Data, load_data
from ..errors import CheckpointError
from ..exchange.teachers import Answers, describe_teacher
from ..experiments import compare, selection, summary, sweep
from ..experiments.config import Config
from ..experiments.distill import load_network
from ..experiments.files import DAMAGED, check_numbers, read_json, resume_command
from ..experiments.given_teacher import read_copy
from ..experiments.summary import ALL, NAMES, STUDENTS, Trained
from ..experiments.text import dashed
from ..fast.threads import limited_blas
from ..methods import METHODS
from ..metrics import History, Scores
from ..mlp import MLP
from . import plots, run_plots
from .page import Own, confusion_table, figure, gallery, html_table, page
from .samples import Network, pack
from .weights import can_travel, pack_networks

NAME = "report.html"
TESTED = ("accuracy", "errors", "nll", "ece")  # the scores of a network
COLUMNS = ("epoch", "loss", "lr", "val_accuracy", "val_errors", "val_nll", "val_ece")  # of a history


def write(folder: Path) -> Path:
    """Build the report of the finished run in `folder` and write it there, atomically; returns where it is.

    CheckpointError, which says what to do, if there is no run, or if it is unfinished or damaged. DataError if the
    run's data set is not available.
    """
    path = folder / NAME
    write_atomically(path, build(folder).encode())
    return path


def find(folder: Path) -> Path:
    """The path of the report of the run in `folder`, written now if there is none. Raises what `write` does."""
    path = folder / NAME
    return path if path.is_file() and any((folder / file).exists() for file in REPORTS) else write(folder)


def explore(folder: Path, browser: bool = True) -> str:
    """Open the report of the run in `folder` in the browser, if that is wanted and there is one; returns what to say.

    Raises what `write` does.
    """
    return show(find(folder), browser)


def show(path: Path, browser: bool) -> str:
    """Open a page in the browser, if that is wanted and there is one; returns what to say."""
    if not browser:
        return str(path)
    if webbrowser.open(path.resolve().as_uri()):
        return f"{path} is open in the browser"
    return f"there is no browser to open it in: {path}"


def build(folder: Path, kinds: Mapping[str, Callable[[Path], str]] | None = None) -> str:
    """The report of the finished run in `folder`, as HTML. Raises what `write` does.

    kinds  what else to make of a folder: the file that a finished run has -> a function of the folder
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder: give the folder of a run, such as runs/digits-1")
    with limited_blas(1):  # another number of threads might give other last digits, and so another file
        for file, of in (kinds or REPORTS).items():
            if (folder / file).exists():
                return of(folder)
    if (folder / "config.json").exists():
        raise CheckpointError(f"the run in {folder} is not finished: {resume_command('distill', folder)}")
    if (folder / "labels-0.safetensors").exists() or (folder / "teacher-0.safetensors").exists():
        words = f"{resume_command('compare', folder)}, and the options that were given"
        raise CheckpointError(f"the comparison in {folder} is not finished: {words}")
    raise CheckpointError(f"{folder} is not the folder of a run: make one with minikd distill, compare or sweep")


# ---- a run of `minikd distill` -----------------------------------------------------------------------------------


def finished(folder: Path, config: Config, data: Data) -> list[Trained]:
    """Every network of a finished run with its history and scores, as `Experiment.run` returned them, on the CPU.

    CheckpointError if a file is missing or damaged.
    """
    histories = _histories(folder / "history.csv")

    def networks(content: Any) -> list[Trained]:
        done = []
        for result in content["test"]:
            scores = dict(result)
            kind, seed, seconds = scores.pop("model"), scores.pop("seed"), scores.pop("seconds")
            del scores["parameters"]
            tested = bool(scores) or kind != "teacher"  # a teacher that is a file of logits has no scores
            check_numbers(result, {*TESTED * tested, *scores, "seed", "seconds"})
            model: Any = read_copy(folder) if kind == "teacher" and config.teacher_from else None
            if model is None:
                model = load_network(folder / f"{kind}-{seed}.safetensors", data, config.data, "cpu")
            done.append(Trained(kind, seed, model, History(histories.get((kind, seed), []), seconds), Scores(scores)))
        if {t.kind for t in done} - {ALL} != {"teacher", *STUDENTS}:
            raise ValueError("networks are missing in metrics.json")
        return done

    return read_json(folder / "metrics.json", "the scores of a finished run", networks)


def _histories(path: Path) -> dict[tuple[str, int], list[dict[str, float]]]:
    """The rows of history.csv by kind of network and seed."""
    histories: dict[tuple[str, int], list[dict[str, float]]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                key = row.pop("model"), int(row.pop("seed"))
                check_numbers(epoch := {name: float(value) for name, value in row.items()}, COLUMNS)
                histories.setdefault(key, []).append(epoch)
        lengths = {(kind, len(rows)) for (kind, _), rows in histories.items()}
        if len(lengths) > len({kind for kind, _ in histories}):
            raise ValueError("the networks of different seeds have different numbers of epochs")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except DAMAGED as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from error
    return histories


def networks_of_run(data: Data, done: list[Trained]) -> list[Network]:
    """The networks of the first seed that a page shows, those that can be asked, the teacher first."""
    shown = [t for t in done if t.seed == 0 and t.kind != ALL and not isinstance(t.model, Answers)]
    return [Network(NAMES[t.kind], t.kind, _logits(t.model, data), model=t.model) for t in shown]


def _own(config: Config, data: Data, networks: list[Network], temperature: float, soft_weight: float) -> Own | None:
    """What makes the section in which a reader draws, where there is one."""
    if not can_travel(config.data, data, networks):
        return None
    return partial(pack_networks, config.data, data, networks, temperature, soft_weight)


def _of_run(folder: Path) -> str:
    config = Config.read(folder)
    data = load_data(config.data)
    done = finished(folder, config, data)
    first = {t.kind: t for t in done if t.seed == 0}
    shown = {kind: t for kind, t in first.items() if kind != ALL and not isinstance(t.model, Answers)}
    networks = networks_of_run(data, done)
    seeds = f"Mean ± standard deviation over {config.seeds} seeds" if config.seeds > 1 else "One seed"
    how = METHODS[config.method].title
    if config.method == "kd":
        how += f", T = {config.temperature:g}, soft weight {config.soft_weight:g}"
    return page(
        title=f"Distillation on {config.data}",
        verdict=summary.regime(config, data, done),
        settings=[*_settings(config, first["teacher"].model, first["distilled"].model), ("method", how)],
        table=html_table(
            summary.cells(done),
            f"{seeds}, on {len(data.y_test):,} test samples of {config.data}.",
            first=("errors", "perplexity", "NLL"),
        )
        + html_table(
            summary.verdict_cells(done),
            summary.ONE_SEED if config.seeds == 1 else "Does the teacher help?",
            "verdict",
            first=("score", ""),
        ),
        numbers=pack(data, DATASETS[config.data], networks, config.temperature, config.soft_weight)
        if "teacher" in shown
        else None,
        pictures=_curves([t for t in done if t.kind != ALL]) + _looks(list(shown.values()), data),
        colours=run_plots.COLOURS,
        version=__version__,
        own=_own(config, data, networks, config.temperature, config.soft_weight) if "teacher" in shown else None,
    )


def _curves(done: list[Trained]) -> str:
    """Learning curves of all seeds; an empty string if no network was trained."""
    if not any(len(t.history) for t in done):
        return ""
    figures = []
    for column, name, factor, digits in (("val_nll", "NLL", 1, 3), ("val_accuracy", "accuracy in %", 100, 1)):
        ends: dict[str, list[float]] = {}
        for t in done:
            if len(t.history):
                ends.setdefault(NAMES[t.kind], []).append(factor * t.history[column][-1])
        last = ", ".join(f"{kind} {np.mean(values):.{digits}f}" for kind, values in ends.items())
        words = f"Validation {name} by epoch. After the last epoch: {last}."
        figures.append(figure(plots.svg(run_plots.learning_curves(done, NAMES, columns=(column,))), words))
    return gallery("Learning curves", figures, "two")


def _looks(networks: list[Trained], data: Data) -> str:
    """The confusion matrix and the reliability of each network, on the test samples."""
    counts = [run_plots.confusion(_logits(t.model, data), data.y_test) for t in networks]  # (K, K) each
    wrongs = [c - np.diag(np.diag(c)) for c in counts]
    most, small = max(wrong.max() for wrong in wrongs), len(data.class_names) > plots.MANY_CLASSES
    confusions = []
    for trained, count, wrong in zip(networks, counts, wrongs, strict=True):
        i, j = (data.class_names[k] for k in np.unravel_index(wrong.argmax(), wrong.shape))
        words = f", most often {i} predicted as {j} ({_times(wrong.max())})" if wrong.any() else ""
        table = confusion_table(NAMES[trained.kind], count, data.class_names, most, small)
        confusions.append(figure(table, f"{wrong.sum()} errors on {count.sum():,} test samples{words}.", small))
    ece = ", ".join(f"{NAMES[t.kind]} {100 * t.scores['ece']:.1f}\u00a0%" for t in networks)
    svg = plots.svg(run_plots.reliabilities({NAMES[t.kind]: t.model for t in networks}, data))
    title = "Confusion matrices: rows are true classes, columns are predicted classes"
    return gallery(title, confusions, "two" if small else "", most) + gallery(
        "Reliability: on the diagonal, confidence equals accuracy", [figure(svg, f"ECE: {ece}.", True)], "one"
    )


def _times(count: int) -> str:
    return f"{count} times" if count > 1 else "once"


def _settings(config: Config, teacher: Any, student: MLP) -> list[tuple[str, str]]:
    """The settings of a run in words, name and value."""
    origin = f"{config.teacher_epochs} epochs, learning rate {config.teacher_lr:g}"
    seeds = f"{config.seeds} seed{'s' * (config.seeds > 1)}"
    return [
        ("data", DATASETS[config.data].summary),
        ("teacher", f"{_network(teacher)}; {'trained before' if config.teacher_from else origin}"),
        ("student", f"{_network(student)}; {config.epochs} epochs, learning rate {config.lr:g}"),
        ("shown to the student", summary.shown(config)),
        ("training", f"batches of {config.batch_size}, {seeds}, on {config.device.replace('cpu', 'CPU')}"),
    ]


def _network(model: Any) -> str:
    """A network in a few words, also a given teacher that is not an MLP."""
    if isinstance(model, Answers):
        return f"{describe_teacher(model)}, {model.shape[0]:,} samples"
    if not isinstance(model, MLP):
        return f"{describe_teacher(model)}, {model.num_params:,} parameters"
    return f"{dashed(model.sizes[1:-1], 'no')} hidden units, {model.num_params:,} parameters"


# ---- a run of `minikd compare` -----------------------------------------------------------------------------------


def networks_of_comparison(folder: Path, config: Config, rows: Sequence[dict[str, Any]], data: Data) -> list[Network]:
    """The networks of the first seed of a comparison, the teacher first, then labels alone and the best methods."""
    order = {name: i for i, name in enumerate(("teacher", compare.LABELS))}
    networks = []
    for row in sorted(rows, key=lambda row: order.get(row["method"], len(order))):
        if row["method"] != ALL:
            kind = compare.kind_of((row["method"], row["temperature"], row["strength"]))
            model = load_network(folder / f"{kind}-0.safetensors", data, config.data, "cpu")
            always, name = row["method"] in order, NAMES.get(row["method"], row["method"])
            networks.append(
                Network(name, row["method"] if always else "distilled", _logits(model, data), always, model)
            )
    return networks


def _of_comparison(folder: Path) -> str:
    content = compare.read(folder / "compare.json")
    config, rows = Config.from_json(content["settings"]), compare.summary(content)
    data = load_data(config.data)
    networks = networks_of_comparison(folder, config, rows, data)
    models = {network.kind: network.model for network in networks}
    kd = Config.for_data(config.data)  # where the explorer begins
    words = "Percentage points fewer test errors than labels alone, with 95 % intervals."
    return page(
        title=f"Distillation methods on {config.data}",
        verdict=_comparison_verdict(rows),
        settings=_settings(config, models["teacher"], models[compare.LABELS]),
        table=html_table(compare.cells(content), compare.caption(content)),
        numbers=pack(data, DATASETS[config.data], networks, kd.temperature, kd.soft_weight),
        pictures=figure(plots.svg(plots.comparison(rows)), words, wide=True),
        colours=run_plots.COLOURS,
        version=__version__,
        own=_own(config, data, networks, kd.temperature, kd.soft_weight),
    )


def _comparison_verdict(rows: Sequence[dict[str, Any]]) -> str:
    """How many methods help against labels alone, in two sentences."""
    verdicts = [row["verdict"] for row in rows if row["verdict"] and row["against"] == compare.LABELS]
    counts = {word: verdicts.count(word) for word in ("helps", "hurts", "undecided")}
    best = next((row["method"] for row in rows if row["verdict"]), "none")
    return (
        f"Verdicts on {len(verdicts)} methods against labels alone: {counts['helps']} helps, {counts['hurts']} hurts, "
        f"{counts['undecided']} undecided. {best} has the fewest errors on average."
    )


# ---- a run of `minikd sweep` -------------------------------------------------------------------------------------


def _of_sweep(folder: Path) -> str:
    plan, records = sweep.read(folder)
    base, students = plan.base, sum(r["model"] != "teacher" for r in records)
    if students < len(plan.students) * base.seeds:
        raise CheckpointError(f"the sweep in {folder} is not finished: {resume_command('sweep', folder)}")
    cells, words = selection.result(plan, records)
    picture, said = run_plots.of_sweep(plan, records)
    teacher = f"{dashed(base.teacher, 'no')} hidden units; {base.teacher_epochs} epochs"
    return page(
        title=f"Sweep on {base.data}",
        verdict=words,
        settings=[
            ("data", DATASETS[base.data].summary),
            ("teacher", f"{teacher}, learning rate {base.teacher_lr:g}"),
            ("students", "; ".join(f"{dashed(widths, 'no')} hidden units" for widths in plan.student)),
            ("training", f"batches of {base.batch_size}, learning rate {base.lr:g}, {base.seeds} seeds"),
            ("method", METHODS[base.method].title),
        ],
        table=html_table(cells, "Mean over seeds, with its 95 % interval."),
        numbers=None,
        pictures=figure(plots.svg(picture), said, wide=True),
        colours=run_plots.COLOURS,
        version=__version__,
    )


def _logits(model: Any, data: Data) -> np.ndarray:
    return to_numpy(model.predict(data.x_test))


# The file that a finished run has -> what makes its report.
REPORTS = {"compare.json": _of_comparison, "metrics.json": _of_run, sweep.FILE: _of_sweep}
