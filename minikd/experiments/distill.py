"""The main job: does a teacher help a student?

For each seed, four networks are trained: a teacher, and the same small student three times. The students start from the
same initial weights and take the same number of steps on the same batches. Only their targets differ:

- labels: the labels only.
- smoothed: the label, with the same small probability for every other class (label smoothing, Szegedy et al. 2016,
  arXiv 1512.00567). It is the control that regularises as a teacher does, but without a teacher's knowledge.
- distilled: the labels and the teacher's probabilities for all classes, by one of the methods in METHODS.

The teacher is trained on all training samples. The three students are shown the same few samples, or no samples of some
classes, because a teacher helps most in these cases. Then a fourth student ("all") is trained on the labels of all
samples, to show what the missing labels are worth.

The folder of a run holds everything: the settings, each network, the scores, the curves and the pictures. Each
network's file is also the checkpoint of its training. To resume a run is to run it again: finished networks are loaded,
interrupted ones continue from their last epoch, and the others are trained.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_choice, is_source
from ..data import Data, few, load_data
from ..data.words import OneHot
from ..errors import CheckpointError, MinikdError
from ..exchange.teachers import Answers, Teacher, check_fits, check_order, describe_teacher
from ..losses import Loss, cross_entropy, soft_cross_entropy
from ..methods import METHODS, Method
from ..metrics import History, Scores, evaluate
from ..mlp import MLP
from ..optim import Adam, cosine
from ..scale.pool import Workers, tell
from ..scale.processes import Processes
from ..scale.stream import Stream
from ..training import fit
from .config import Config
from .given_teacher import given_teacher, keep_copy
from .progress import Notify, epoch_words, silent
from .summary import ALL, NAMES, ROWS, STUDENTS, Trained, write
from .text import dashed

SMOOTHING = 0.1
# An overconfident teacher adds little to the labels. Dropout keeps its probabilities soft for ambiguous samples. Label
# smoothing would also help its accuracy, but removes which wrong classes are likelier (Müller et al. 2019, 1906.02629).
TEACHER_DROPOUT = (0.0, 0.5)  # of the inputs, of hidden units
CURVE_SAMPLES = 1000  # validation samples, at most, that are evaluated after every epoch; choices of settings use all
COMMITTEE = 100_000  # the second teacher of seed 0 is teacher 100,000
STUDENT_SEED = 1000  # student seeds start here, so that no student starts from its teacher's random numbers


class MethodError(MinikdError):
    """A method cannot be used with these networks, epochs or batches."""


class Experiment:
    """A run in its folder. `notify` is called with the number of epochs that are done."""

    def __init__(
        self, config: Config, folder: Path, notify: Notify = silent, processes: Processes | None = None
    ) -> None:
        self.config, self.folder, self.notify = config, folder, notify
        self.processes = processes or Processes()
        if self.processes.size > 1 and not METHODS[config.method].parallel:
            parallel = ", ".join(name for name, method in METHODS.items() if method.parallel)
            raise MethodError(f"method {config.method} is for one process; several train: {parallel}")
        check_fitting(config.method, config.data)
        self._begun = 0  # epochs of all networks begun so far
        self._epochs: dict[tuple[str, int], int] = {}  # epochs of networks that workers train
        self._heard = notify  # is called with their sum
        self.data: Data = load_data(config.data)
        self.n_inputs, self.n_classes = self.data.x_train.shape[1], len(self.data.class_names)
        for name in config.without:
            check_choice("without", name, self.data.class_names)
        self.unseen = tuple(self.data.class_names.index(name) for name in config.without)
        self._curve = slice(None, None, -(-len(self.data.y_val) // CURVE_SAMPLES))
        self.shown(0)  # too many or too few images are an error now
        for hidden in (config.teacher, config.student):
            self._network(hidden, 0)  # and so are networks too large for the memory
        self.given_teacher: Teacher | None = None
        if config.teacher_from:
            # The run keeps a copy, so that it does not depend on the original file.
            teacher = given_teacher(folder, config.teacher_from, config.activation, config.device)
            check_fits(teacher, config.teacher_from, config.data, self.data.x_train, self.n_classes)
            if not config.trust_teacher:
                check_order(teacher, config.teacher_from, config.data, self.data.y_train)
            if METHODS[config.method].teacher == "network" and not isinstance(teacher, MLP):
                words = f"method {config.method} looks at the layers of its teacher"
                raise CheckpointError(f"{words}, which {config.teacher_from} does not show: take another method")
            self.given_teacher = teacher

    @property
    def teacher_words(self) -> str:
        """The teacher in a few words: its hidden layers, or its kind if it is not an MLP."""
        if self.given_teacher is not None:
            return describe_teacher(self.given_teacher)
        return dashed(self.config.teacher, "without hidden layers")

    @property
    def few(self) -> bool:
        """Whether the students are shown only a part of the training samples."""
        return self.config.images is not None or bool(self.unseen)

    @property
    def students(self) -> tuple[str, ...]:
        """The kinds of students of the run."""
        return (*STUDENTS, ALL) if self.few else STUDENTS

    def shown(self, seed: int) -> Any:
        """The training samples that the students of a seed are shown, as an index of rows."""
        if not self.few:
            return slice(None)
        words = getattr(self.data.x_train, "word", None)
        return few(self.data.y_train, self.config.images, without=self.unseen, seed=seed, words=words)

    def _rows(self, rows: Any) -> tuple[Any, Any]:
        """Training samples and labels in these rows. A part of a Source is also a Source."""
        x = self.data.x_train
        return (x.take(rows) if is_source(x) else x[rows]), self.data.y_train[rows]

    @property
    def total_epochs(self) -> int:
        """The number of epochs of all networks of the run."""
        config = self.config
        teachers = config.teacher_epochs * (self.given_teacher is None)
        return config.seeds * (len(STUDENTS) * config.epochs + teachers + config.all_epochs * self.few)

    def run(self, workers: Workers | None = None) -> list[Trained]:
        """Train every network, or load it if it is trained already; write history.csv and metrics.json."""
        if self.processes.first:
            tidy(self.folder)
        if self.given_teacher is not None and self.processes.first:
            keep_copy(self.given_teacher, self.folder)
        if workers is not None and workers.count > 1:
            self._train(workers)  # the loop below then loads all networks
        done: list[Trained] = []
        for seed in range(self.config.seeds):
            if seed == 0 or self.given_teacher is None:  # a given teacher serves all seeds
                teacher = self.train_teacher(seed)
                done.append(teacher)
            done += [self.train_student(kind, seed, teacher.model) for kind in self.students]
        if self.processes.first:
            write(done, self.folder)
        return done

    def _train(self, workers: Workers) -> None:
        """Train every network, several at the same time: first the teachers, then the students."""
        seeds = range(self.config.seeds)
        teachers = [] if self.given_teacher is not None else teacher_seeds(self.config.method, seeds)
        rounds = [[("teacher", seed) for seed in teachers], [(kind, seed) for seed in seeds for kind in self.students]]
        self._heard, self.notify = self.notify, silent
        for networks in rounds:
            tasks = [(self.config, self.folder, kind, seed) for kind, seed in networks]
            for kind, seed in workers.as_completed(_train_network, tasks):
                self._epochs[kind, seed] = self._length(kind)

    def hear(self, kind: str, seed: int, epochs: int, words: str) -> None:
        """Note the number of epochs that a worker has trained a network, and notify."""
        self._epochs[kind, seed] = epochs
        self._heard(sum(self._epochs.values()), self.total_epochs, words)

    def _length(self, kind: str) -> int:
        lengths = {"teacher": self.config.teacher_epochs, ALL: self.config.all_epochs}
        return lengths.get(kind, self.config.epochs)

    def train_teacher(self, seed: int) -> Trained:
        """The teacher of a seed, or the given one."""
        if self.given_teacher is not None:
            untested = isinstance(self.given_teacher, Answers)  # they exist for training samples only
            scores = Scores() if untested else self._test(self.given_teacher)
            return Trained("teacher", seed, self.given_teacher, History(), scores)
        dropout = (TEACHER_DROPOUT[0], *(TEACHER_DROPOUT[1] for _ in self.config.teacher))
        model = self._network(self.config.teacher, seed, dropout)
        options = self._options(self.config.teacher_epochs, "teacher", "teacher", seed)
        adam = Adam(model, self.config.teacher_lr)
        history = fit(model, self.data.x_train, self.data.y_train, loss=cross_entropy, optimizer=adam, **options)
        return Trained("teacher", seed, model, history, self._test(model))

    def train_student(self, kind: str, seed: int, teacher: Teacher, file: str = "") -> Trained:
        """The student of a seed, one of STUDENTS or ALL; `file` names the network's file, by default `kind` does."""
        if kind == "distilled":
            kd = {"temperature": self.config.temperature, "soft_weight": self.config.soft_weight}
            return self.teach(self.config.method, seed, teacher, kind, **(kd if self.config.method == "kd" else {}))
        student = self._network(self.config.student, STUDENT_SEED + seed)
        epochs, rows = (self.config.all_epochs, slice(None)) if kind == ALL else (self.config.epochs, self.shown(seed))
        options = self._options(epochs, file or kind, ROWS[kind], seed)
        x, targets = self._rows(rows)
        loss: Loss = cross_entropy
        if kind == "smoothed":
            targets, loss = smooth_labels(targets, self.n_classes, SMOOTHING), soft_cross_entropy
        history = fit(student, x, targets, loss=loss, optimizer=Adam(student, self.config.lr), **options)
        return Trained(kind, seed, student, history, self._test(student, teacher))

    def teach(self, method: str | Method, seed: int, teacher: Teacher, kind: str, **method_options: Any) -> Trained:
        """The student of a seed, taught by a method or one of that name; `kind` names the network's file."""
        student = self._network(self.config.student, STUDENT_SEED + seed)
        options = self._options(self.config.epochs, kind, NAMES.get(kind, kind), seed) | method_options
        options["optimizer"] = partial(Adam, lr=self.config.lr)
        how = METHODS[method] if isinstance(method, str) else method
        # The other teachers of a committee have seeds that no run uses.
        committee = [self.train_teacher(COMMITTEE * i + seed).model for i in range(1, how.teachers)]
        rows = self.shown(seed)
        asked = [self._answers(t, rows) if isinstance(t, Answers) else t for t in (teacher, *committee)]
        source = asked if committee else asked[0]
        try:
            with warnings.catch_warnings():
                if isinstance(teacher, Answers):  # the whole file was checked already, or is trusted
                    warnings.filterwarnings("ignore", "the largest logit of teacher")
                history = how.train(student, source, *self._rows(rows), **options)
        except ValueError as error:
            raise MethodError(f"method {how.name}: {error}") from error
        return Trained(kind, seed, student, history, self._test(student, teacher))

    def _test(self, model: Any, teacher: Teacher | None = None) -> Scores:
        teacher = None if isinstance(teacher, Answers) else teacher
        x, labels = self.data.x_test, self.data.y_test
        scores = evaluate(model, x, labels, teacher=teacher)
        if isinstance(x, OneHot):
            scores["perplexity"] = math.exp(scores.nll)
        if self.unseen:
            rows = np.isin(labels, self.unseen)
            scores["unseen"] = evaluate(model, x[rows], labels[rows]).accuracy
        return scores

    def _answers(self, teacher: Answers, rows: Any) -> Any:
        """The teacher's logits for the samples that are shown: a few rows, or all of them read from the disk."""
        assert teacher.logits is not None
        return np.ascontiguousarray(teacher.logits[rows]) if self.few else Stream(teacher.logits)

    def _network(self, hidden: tuple[int, ...], seed: int, dropout: Any = 0.0) -> MLP:
        return MLP((self.n_inputs, *hidden, self.n_classes), dropout=dropout, seed=seed, device=self.config.device)

    def _options(self, epochs: int, kind: str, name: str, seed: int) -> dict[str, Any]:
        words = f"seed {seed + 1}/{self.config.seeds}, {name}"
        before, self._begun = self._begun, self._begun + epochs
        self.notify(before, self.total_epochs, words)

        def callback(model: MLP, history: History) -> None:
            epoch = history.rows[-1]
            done = before + min(epochs, len(history))
            self.notify(done, self.total_epochs, f"{words}: {epoch_words(epoch, epochs)}")

        return {
            "epochs": epochs,
            "batch_size": self.config.batch_size,
            "schedule": cosine(),
            "validation": (self.data.x_val[self._curve], self.data.y_val[self._curve]),
            "seed": seed,
            "checkpoint": self.folder / f"{kind}-{seed}.safetensors",
            "resume": True,
            "progress": False,
            "callbacks": (callback,),
            "processes": self.processes,
        }


def check_fitting(method: str, data: str) -> None:
    """MethodError if the method works only with another data set."""
    if not METHODS[method].suits(data):
        raise MethodError(f"method {method} is for the data set {METHODS[method].only} alone, got {data}")


@lru_cache(1)
def experiment_in(folder: Path, config: Config) -> Experiment:
    """The run in a folder, cached in each process, so that the data are read once."""
    return Experiment(config, folder)


def _train_network(config: Config, folder: Path, kind: str, seed: int) -> tuple[str, int]:
    """Train one network of a run, or continue it; returns its kind and seed. A student's teacher is trained already."""
    experiment = experiment_in(folder, config)

    def notify(done: int, total: int, words: str, **_: Any) -> None:
        tell(kind, seed, done, words)

    experiment.notify = silent
    teacher = None if kind == "teacher" else experiment.train_teacher(seed).model
    experiment.notify, experiment._begun = notify, 0
    if teacher is None:
        experiment.train_teacher(seed)
    else:
        experiment.train_student(kind, seed, teacher)
    return kind, seed


def teacher_seeds(method: str, seeds: Iterable[int]) -> list[int]:
    """The seeds of the teachers that these seeds' students need; a committee has several per seed."""
    return [COMMITTEE * i + seed for i in range(METHODS[method].teachers) for seed in seeds]


def tidy(folder: Path) -> None:
    """Delete the temporary files of a save that was killed. Call it only while nothing is saved there."""
    for stale in folder.glob(".*.tmp"):
        stale.unlink(missing_ok=True)


def load_network(path: Path, data: Data, name: str, device: str) -> MLP:
    """The network in a file. CheckpointError if it does not fit the data set `name`."""
    model, ends = MLP.load(path, device), (data.x_train.shape[1], len(data.class_names))
    if (model.sizes[0], model.sizes[-1]) != ends:
        raise CheckpointError(
            f"{path} has {model.sizes[0]} inputs and {model.sizes[-1]} classes, but {name} has {ends[0]} and {ends[1]}"
        )
    return model


def smooth_labels(labels: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """(1 - smoothing) one_hot(labels) + smoothing / classes.  labels (N,) -> targets (N, classes)"""
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1 - smoothing
    return targets
