"""The main job: does a teacher help a student?

For each seed four networks are trained: a teacher; and three times the same small student, from the same initial
weights, on the same batches, for the same number of steps, which differ in nothing but what they are told:

    labels     the right class, nothing else
    smoothed   the right class, with a little probability for every other class alike (label smoothing, Szegedy et
               al. 2016, arXiv 1512.00567): the control, which regularises as a teacher does but knows nothing
    distilled  what the teacher thinks of every class, and the right class, by one of the methods of the gallery

The folder of a run holds everything: the settings, each network, the scores, the curves and the pictures. Each
network's file is also the checkpoint of its training, so resuming a run is running it again: what is finished is
read, what was interrupted goes on from its last epoch, and the rest is trained.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .backend import DEVICES
from .checkpoint import write_atomically
from .data import DATASETS, Data, load_data
from .errors import CheckpointError, MinikdError, check_choice, check_count, check_number
from .exchange.teachers import Answers, Teacher, check_fits, describe_teacher, given_teacher, keep_copy
from .intervals import mean_interval
from .losses import cross_entropy, soft_cross_entropy
from .methods import METHODS
from .metrics import History, Scores, evaluate
from .mlp import MLP
from .ops import ACTIVATIONS
from .optim import Adam, cosine
from .parallel import METHODS as TOGETHER
from .parallel import Ranks
from .terminal import epoch_words
from .training import fit

STUDENTS = ("labels", "smoothed", "distilled")
NAMES = {"teacher": "teacher", "labels": "labels alone", "smoothed": "label smoothing", "distilled": "distilled"}
SMOOTHING = 0.1
# The scores by which a student is judged against labels alone: name, factor, unit, digits, and the sign of a gain.
JUDGED = {"accuracy": ("accuracy", 100, "points", ".1f", 1), "nll": ("NLL", 1, "nats", ".3f", -1)}
# A teacher that is sure of everything has nothing to add. Dropout keeps it in doubt where there is doubt; smoothed
# labels would do for accuracy, but wipe out which wrong classes are likelier (Müller et al. 2019, arXiv 1906.02629).
TEACHER_DROPOUT = (0.0, 0.5)  # of the inputs, of hidden units
COMMITTEE = 100_000  # the second teacher of seed 0 is teacher 100,000
STUDENT_SEED = 1000  # student seeds start here, so that no student starts from its teacher's random numbers


# Where a data set calls for other defaults than Config's; all were chosen on validation data.
RECIPES: dict[str, dict[str, Any]] = {
    "digits": {},
    "mnist": {
        "student": (100,),
        "temperature": 2.0,
        "epochs": 20,
        "teacher_epochs": 15,
        "batch_size": 128,
        "lr": 3e-3,
        "teacher_lr": 1e-3,
    },
    "fsdd": {"student": (16,), "epochs": 60, "teacher_epochs": 30, "lr": 3e-3, "teacher_lr": 1e-3},
    "udhr": {
        "student": (16,),
        "temperature": 2.0,
        "epochs": 20,
        "teacher_epochs": 10,
        "batch_size": 128,
        "lr": 3e-3,
        "teacher_lr": 1e-3,
    },
}


@dataclass(frozen=True)
class Config:
    """What a run is made of; two runs with the same settings on the same machine end with the same bits.

    teacher and student are widths of hidden layers; epochs and lr are the students', teacher_epochs and teacher_lr
    the teacher's, and learning rates fall along a cosine to zero. `teacher_from` names the file of a trained teacher
    (see exchange/teachers.py), for all seeds; `activation` is that of its hidden layers, if the file does not tell.
    `temperature` and `soft_weight` are options of the method "kd"; the others keep their defaults.
    """

    data: str = "digits"
    teacher: tuple[int, ...] = (256, 256)
    student: tuple[int, ...] = (64,)
    method: str = "kd"
    temperature: float = 4.0
    soft_weight: float = 0.9
    epochs: int = 100
    teacher_epochs: int = 50
    batch_size: int = 32
    lr: float = 3e-2
    teacher_lr: float = 2e-3
    seeds: int = 5
    device: str = "cpu"
    teacher_from: str | None = None
    activation: str | None = None

    def __post_init__(self) -> None:
        check_choice("data", self.data, DATASETS)
        check_choice("device", self.device, DEVICES)
        check_choice("method", self.method, METHODS)
        if self.activation is not None:
            check_choice("activation", self.activation, ACTIVATIONS)
            if self.teacher_from is None:
                raise ValueError("activation belongs to --teacher-from, whose file may not tell it: leave it out")
        for name in ("teacher", "student"):
            for width in getattr(self, name):
                check_count(f"{name} widths", width)
        for name in ("epochs", "teacher_epochs", "batch_size", "seeds"):
            check_count(name, getattr(self, name))
        for name in ("temperature", "lr", "teacher_lr"):
            check_number(name, getattr(self, name), 0, open_low=True)
        check_number("soft_weight", self.soft_weight, 0, 1)

    @classmethod
    def for_data(cls, data: str = "digits", **given: Any) -> Config:
        """The recipe of a data set, changed by what is given. ValueError and TypeError for settings that cannot be."""
        if "epochs" in given:  # whoever sets one of the two most likely wants a shorter or longer run in all
            given = {"teacher_epochs": given["epochs"], **given}
        return cls(data=data, **{**RECIPES.get(data, {}), **given})

    @classmethod
    def read(cls, folder: Path) -> Config:
        """The settings of the run in `folder`. CheckpointError where there are none."""
        try:
            values = json.loads((folder / "config.json").read_text())["settings"]
            lists: dict[str, Any] = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
            return cls(**{**values, **lists})
        except OSError as error:
            raise CheckpointError(f"{folder} is not the folder of a run: it has no config.json") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"the config.json in {folder} is damaged: {error}") from error

    def write(self, folder: Path) -> None:
        """Begin a run: make the folder, and note the settings and versions in it."""
        from . import __version__

        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot make the folder {folder}: {error.strerror}") from error

        versions = {"minikd": __version__, "numpy": np.__version__, "python": platform.python_version()}
        content = {"settings": asdict(self), "versions": versions, "machine": platform.machine()}
        write_atomically(folder / "config.json", json.dumps(content, indent=2).encode())


class MethodError(MinikdError):
    """A method cannot be used with these networks, epochs or batches."""


@dataclass
class Trained:
    """One network of a run, with how it got there and how it does on the test images."""

    kind: str  # "teacher" or one of STUDENTS
    seed: int
    model: Any  # an MLP; a given teacher may be any Teacher
    history: History
    scores: Scores


class Experiment:
    """A run in its folder. `notify(epochs, words)` is told of progress: how many epochs of all are done."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        notify: Callable[[int, str], None] = lambda n, words: None,
        ranks: Ranks | None = None,
    ) -> None:
        self.config, self.folder, self.notify, self.ranks = config, folder, notify, ranks or Ranks()
        if self.ranks.size > 1 and config.method not in TOGETHER:
            raise MethodError(f"method {config.method} is for one process; several train: {', '.join(TOGETHER)}")
        self._begun = 0  # epochs of all networks that were begun
        self.data: Data = load_data(config.data)
        self.n_inputs, self.n_classes = self.data.x_train.shape[1], len(self.data.class_names)
        self.given_teacher: Teacher | None = None
        if config.teacher_from:
            # The run keeps a copy, so that it does not depend on a file elsewhere.
            teacher = given_teacher(folder, config.teacher_from, config.activation, config.device)
            check_fits(teacher, config.teacher_from, config.data, self.data.x_train, self.n_classes)
            if METHODS[config.method].teacher == "network" and not isinstance(teacher, MLP):
                words = f"method {config.method} looks at the layers of its teacher"
                raise CheckpointError(f"{words}, which {config.teacher_from} does not show: take another method")
            self.given_teacher = teacher

    @property
    def teacher_words(self) -> str:
        """The teacher in a few words: its hidden layers, given or to be trained, or what else it is."""
        if self.given_teacher is not None:
            return describe_teacher(self.given_teacher)
        return "-".join(map(str, self.config.teacher)) or "without hidden layers"

    @property
    def total_epochs(self) -> int:
        """How many epochs the run has in all."""
        teachers = self.config.teacher_epochs * (self.given_teacher is None)
        return self.config.seeds * (len(STUDENTS) * self.config.epochs + teachers)

    def run(self) -> list[Trained]:
        """Train, or read where already trained, every network; write history.csv and metrics.json."""
        if self.ranks.first:
            tidy(self.folder)
        if self.given_teacher is not None and self.ranks.first:
            keep_copy(self.given_teacher, self.folder)
        done: list[Trained] = []
        for seed in range(self.config.seeds):
            if seed == 0 or self.given_teacher is None:  # a given teacher is one for all seeds
                teacher = self.train_teacher(seed)
                done.append(teacher)
            done += [self.train_student(kind, seed, teacher.model) for kind in STUDENTS]
        if self.ranks.first:
            self._write(done)
        return done

    def train_teacher(self, seed: int) -> Trained:
        """The teacher of a seed, or the given one."""
        if self.given_teacher is not None:
            untested = isinstance(self.given_teacher, Answers)  # they speak of training samples alone
            scores = Scores() if untested else self._test(self.given_teacher)
            return Trained("teacher", seed, self.given_teacher, History(), scores)
        dropout = (TEACHER_DROPOUT[0], *(TEACHER_DROPOUT[1] for _ in self.config.teacher))
        model = self._network(self.config.teacher, seed, dropout)
        options = self._options(self.config.teacher_epochs, "teacher", "teacher", seed)
        adam = Adam(model, self.config.teacher_lr)
        history = fit(model, self.data.x_train, self.data.y_train, loss=cross_entropy, optimizer=adam, **options)
        return Trained("teacher", seed, model, history, self._test(model))

    def train_student(self, kind: str, seed: int, teacher: Teacher) -> Trained:
        """The student of a seed, one of STUDENTS."""
        if kind == "distilled":
            kd = {"temperature": self.config.temperature, "soft_weight": self.config.soft_weight}
            return self.teach(self.config.method, seed, teacher, kind, **(kd if self.config.method == "kd" else {}))
        student = self._network(self.config.student, STUDENT_SEED + seed)
        options = self._options(self.config.epochs, kind, NAMES[kind], seed)
        labels = self.data.y_train
        targets, loss = (
            (labels, cross_entropy)
            if kind == "labels"
            else (smooth_labels(labels, self.n_classes, SMOOTHING), soft_cross_entropy)
        )
        adam = Adam(student, self.config.lr)
        history = fit(student, self.data.x_train, targets, loss=loss, optimizer=adam, **options)
        return Trained(kind, seed, student, history, self._test(student, teacher))

    def teach(self, method: str, seed: int, teacher: Teacher, kind: str, **method_options: Any) -> Trained:
        """The student of a seed, taught by a method of the gallery; `kind` names the network's file."""
        student = self._network(self.config.student, STUDENT_SEED + seed)
        options = self._options(self.config.epochs, kind, NAMES.get(kind, kind), seed) | method_options
        options["optimizer"] = partial(Adam, lr=self.config.lr)
        how = METHODS[method]
        # The others of a committee have numbers that no seed has.
        committee = [self.train_teacher(COMMITTEE * i + seed).model for i in range(1, how.teachers)]
        asked: list[Any] = [t.logits if isinstance(t, Answers) else t for t in (teacher, *committee)]
        source = asked if committee else asked[0]
        try:
            history = how.train(student, source, self.data.x_train, self.data.y_train, **options)
        except ValueError as error:
            raise MethodError(f"method {method}: {error}") from error
        return Trained(kind, seed, student, history, self._test(student, teacher))

    def _test(self, model: Any, teacher: Teacher | None = None) -> Scores:
        teacher = None if isinstance(teacher, Answers) else teacher
        return evaluate(model, self.data.x_test, self.data.y_test, teacher=teacher)

    def _network(self, hidden: tuple[int, ...], seed: int, dropout: Any = 0.0) -> MLP:
        return MLP((self.n_inputs, *hidden, self.n_classes), dropout=dropout, seed=seed, device=self.config.device)

    def _options(self, epochs: int, kind: str, name: str, seed: int) -> dict[str, Any]:
        words = f"seed {seed + 1}/{self.config.seeds}, {name}"
        before, self._begun = self._begun, self._begun + epochs
        self.notify(before, words)

        def callback(model: MLP, history: History) -> None:
            epoch = history.rows[-1]
            self.notify(before + min(epochs, len(history)), f"{words}: {epoch_words(epoch, epochs)}")

        return {
            "epochs": epochs,
            "batch_size": self.config.batch_size,
            "schedule": cosine(),
            "validation": (self.data.x_val, self.data.y_val),
            "seed": seed,
            "checkpoint": self.folder / f"{kind}-{seed}.safetensors",
            "resume": True,
            "progress": False,
            "callbacks": (callback,),
            "comm": self.ranks.comm,
        }

    def _write(self, done: list[Trained]) -> None:
        rows: list[dict[str, Any]] = [{"model": t.kind, "seed": t.seed, **row} for t in done for row in t.history.rows]
        History(rows).save_csv(self.folder / "history.csv")
        results = [
            {
                "model": t.kind,
                "seed": t.seed,
                "parameters": t.model.num_params,
                "seconds": t.history.seconds,
                **t.scores,
            }
            for t in done
        ]
        against_labels: dict[str, Any] = {kind: {} for kind in STUDENTS[1:]}
        for kind, differences in against_labels.items():
            for score in JUDGED:
                mean, half = gain(done, kind, score)
                differences[score] = {"mean": mean, "half_width_95": None if math.isnan(half) else half}
        content = {"test": results, "against_labels": against_labels, "verdict": verdict(done)}
        write_atomically(self.folder / "metrics.json", json.dumps(content, indent=2, allow_nan=False).encode())


def tidy(folder: Path) -> None:
    """Delete what a save that was killed half-way has left. Not while anything is saved there."""
    for stale in folder.glob(".*.tmp"):
        stale.unlink(missing_ok=True)


def load_network(path: Path, data: Data, name: str, device: str) -> MLP:
    """The network in a file, which must fit the data set `name`; CheckpointError where it does not."""
    model, ends = MLP.load(path, device), (data.x_train.shape[1], len(data.class_names))
    if (model.sizes[0], model.sizes[-1]) != ends:
        raise CheckpointError(
            f"{path} takes {model.sizes[0]} inputs and knows {model.sizes[-1]} classes, "
            f"but {name} has {ends[0]} and {ends[1]}"
        )
    return model


def smooth_labels(labels: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """(1 - smoothing) one_hot(labels) + smoothing / classes.  labels (N,) -> targets (N, classes)"""
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1 - smoothing
    return targets


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

        def cell(name: str, digits: int, factor: float = 1, runs: list[Trained] = runs) -> str:
            values = [factor * t.scores[name] for t in runs if name in t.scores]
            spread = f"±{np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
            return f"{np.mean(values):.{digits}f}{spread}" if values else "-"

        scores = (
            cell("errors", 1),
            cell("accuracy", 1, 100),
            cell("nll", 3),
            cell("ece", 1, 100),
            cell("agreement", 1, 100),
        )
        seconds = f"{np.mean([t.history.seconds for t in runs]):.1f}" if runs[0].history.rows else "-"
        lines.append(
            (
                NAMES[kind],
                "-" if runs[0].model.num_params is None else f"{runs[0].model.num_params:,}",
                *scores,
                seconds,
            )
        )
    return lines


def table(done: list[Trained]) -> str:
    """The cells as text, in columns."""
    lines = cells(done)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        " ".join(
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
