"""One training loop for teacher and student alike, and distillation on top of it.

A step of training is five lines, in `_Run.train_epoch`: predict, compare, work out the gradient, step; before them
stands the line that draws the batch. A teacher is trained on labels and a student on labels and the teacher's
logits; only `loss` and `targets` differ.

A run is deterministic: everything random in an epoch (order of the samples, augmentation, dropout) is drawn from the
seed and the number of the epoch. A run that was killed and resumed therefore ends with the same bits as one that was
not, and no generator has to be saved.

Two kinds of objects may stand in for what `fit` does itself: a Source (minikd/data/source.py) for an array, and for
`Alone` the processes that train one network together (minikd/scale/processes.py).
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from . import fast
from .backend import Array, generator, get_xp, place, shuffled, to_device, to_numpy
from .checkpoint import fingerprint, load_arrays, run_in, save_run
from .checks import check_labelled, check_loss, check_mix, check_options, check_run, check_source, check_type, is_source
from .errors import CheckpointError
from .losses import DivergenceLoss, Loss
from .metrics import Classifier, History, evaluate, teacher_targets
from .mlp import MLP
from .ops import take_rows
from .optim import Adam, Optimizer, Schedule, constant

Augment = Callable[[Array, Any], Array]  # (x, generator) -> x


class Alone:
    """The processes that train a network, where there is one: it takes whole batches and adds up nothing."""

    first = True  # whether this process shows the progress and writes the checkpoint

    def begin(self, run: Any, resume: Callable[[], History]) -> History:
        """Start all processes from what `resume` restores in the first one."""
        return resume()

    def sharing(self, model: MLP) -> AbstractContextManager[Any]:
        """While it is entered, dropout draws masks for whole batches and takes this process's rows of them."""
        return nullcontext()

    def share(self, batch: int) -> slice:
        """Which rows of a batch of so many rows are this process's."""
        return slice(0, batch)

    def sum(self, loss: Array, grad: Array) -> Array:
        """The loss of the whole batch, from the loss of this process's rows; `grad` likewise, in place."""
        return loss


def fit(
    model: MLP,
    x: Array,
    targets: Any,
    *,
    loss: Loss,
    optimizer: Optimizer | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    schedule: Schedule | None = None,
    augment: Augment | None = None,
    validation: tuple[Array, Array] | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callable[[MLP, History], Any]] = (),
    processes: Any = None,
) -> History:
    """Train `model` in place and return its History.

    x            (N, D);  targets  an array, or a tuple of arrays, with one row for each row of x. Arrays of integers
                 of shape (N,) are class labels. Instead of an array, a function x -> rows may compute them from
                 the (augmented) rows of a batch. Arrays are NumPy's, CuPy's, or those of pandas, PyTorch and others
                 that np.asarray reads, and are moved to the model's device once. Data that are not in memory, such as
                 a np.memmap, are wrapped in a Source: minikd.scale.stream.Stream
    loss         called as loss(logits, *targets) with the rows of one batch; returns (loss, dlogits), or, if it also
                 looks at model.hidden, (loss, dlogits, hidden_grads): see MLP.backward
    optimizer    SGD, Adam or AdamW made for this model; by default Adam(model)
    batch_size   rows a step; the last batch of an epoch holds what is left over
    schedule     progress in [0, 1) -> a factor for the optimizer's learning rate (see minikd.optim)
    augment      (rows of x, NumPy or CuPy Generator) -> rows to train on instead
    validation   (x, labels), evaluated after each epoch
    seed         draws the order of the samples, augmentation and dropout
    checkpoint   a file that is replaced, atomically, after each epoch; MLP.load reads it as well
    resume       go on from `checkpoint` if it is there (and start anew if not); the result has the same bits as
                 if there had been no interruption. Without a schedule, more epochs than before may be asked for
    progress     show a progress bar in a terminal or a notebook
    callbacks    called as callback(model, history) after each epoch
    processes    minikd.scale.processes.Processes(comm): the processes of an MPI communicator, which all call fit with
                 the same arguments, train one network together; the first writes `checkpoint` and shows the progress

    DivergedError when the parameters are no longer finite or the loss is not, or grows a millionfold: the model
    is then unusable, but `checkpoint` holds the last good epoch.
    CheckpointError for a checkpoint that is damaged or belongs to another run. ValueError and TypeError for arguments.
    """
    check_type("model", model, MLP, "an MLP")
    check_options(callbacks, checkpoint, resume)
    optimizer, schedule, team = optimizer or Adam(model), schedule or constant, processes or Alone()
    run = _Run(model, optimizer, x, targets, loss, schedule, augment, validation, team, epochs, batch_size, seed)
    history: History = team.begin(run, partial(run.resume, checkpoint if resume else None))
    rounds = _shown(range(len(history), epochs), progress and team.first)
    try:
        for epoch in rounds:
            started = time.perf_counter()
            row = {"epoch": epoch + 1, "loss": run.train_epoch(epoch), "lr": optimizer.lr, **run.scores()}
            history.rows.append(row)
            history.seconds += time.perf_counter() - started
            if not isinstance(rounds, range):
                rounds.set_postfix({name: row[name] for name in ("loss", "val_accuracy") if name in row})
            if checkpoint is not None and team.first:
                run.save(checkpoint, history)
            for callback in callbacks:
                callback(model, history)
    finally:
        optimizer.lr = run.lr
    return history


def _shown(epochs: range, wanted: bool) -> Any:
    """The numbers of the epochs, and with them tqdm's bar in a terminal or a notebook; no bar in a log file, say."""
    if not (wanted and (getattr(sys.stderr, "isatty", bool)() or "ipykernel" in sys.modules)):
        return epochs
    from tqdm.auto import tqdm

    return tqdm(epochs, initial=epochs.start, total=epochs.stop, unit="epoch", dynamic_ncols=True)


@dataclass
class _Run:
    """The arguments of one call of `fit`, checked before anything changes, and placed on the model's device."""

    model: MLP
    optimizer: Optimizer
    x: Any
    targets: Any
    loss: Loss
    schedule: Schedule
    augment: Augment | None
    validation: Any
    processes: Any
    epochs: int
    batch_size: int
    seed: int
    limit: float = 0.0  # a loss beyond this has diverged, finite or not

    def __post_init__(self) -> None:
        model = self.model
        check_type("optimizer", self.optimizer, Optimizer, "an SGD, Adam or AdamW")
        arrays = check_run(self)
        if self.validation is not None:
            evaluate(model, *self.validation)  # its checks, now rather than after an epoch
            self.validation = (to_device(self.validation[0], model.device), self.validation[1])
        self.lr = self.optimizer.lr
        self.x, *self.targets = (place(array, model.device, model.dtype) for array in arrays)

    def scores(self) -> dict[str, float]:
        """The columns of the History that validation adds."""
        scores = evaluate(self.model, *self.validation) if self.validation else {}
        return {f"val_{name}": score for name, score in scores.items()}

    def train_epoch(self, epoch: int) -> float:
        """Every sample once, in an order drawn from (seed, epoch); the mean loss. DivergedError names the batch."""
        model, loss, optimizer, processes = self.model, self.loss, self.optimizer, self.processes
        for source in (value for value in (self.x, *self.targets) if is_source(value)):
            source.begin_epoch(model, self.seed, epoch)
        order = self.x.order(self.seed, epoch) if is_source(self.x) else shuffled(self.x, self.seed, epoch)
        noise = generator(model.device, self.seed, epoch, 1)
        model.seed_dropout(self.seed, epoch, 2)
        starts = range(0, len(self.x), self.batch_size)
        values = get_xp(model.device).zeros(len(starts), "float64")
        # A run that diverges says so below, once.
        with np.errstate(over="ignore", invalid="ignore"), processes.sharing(model):
            for step, start in enumerate(starts):
                optimizer.lr = self.lr * float(self.schedule((epoch + step / len(starts)) / self.epochs))
                x, *targets = self._draw(order[start : start + self.batch_size], noise)
                logits = model.forward(x, train=True)
                value, *grads = loss(logits, *targets)
                model.backward(*grads, need_dx=False)
                values[step] = value = processes.sum(value, model.grad)
                optimizer.step()
                # On a GPU a look at each loss would make every step wait; there it is looked at once an epoch.
                if model.device == "cpu" and not math.isfinite(value):
                    break
            size = float(model.theta @ model.theta)  # infinite before any weight is
        values = to_numpy(values)
        self.limit = self.limit or 1e6 * max(1.0, abs(values[0]))
        check_loss(values, self.limit, size, epoch, optimizer.lr)
        return float(np.average(values, weights=np.diff([*starts, len(self.x)])))

    def _draw(self, batch: Array, noise: Any) -> list[Array]:
        """x and the targets of a batch, of which several processes take a share each."""
        mine, device = self.processes.share(len(batch)), self.model.device
        rows = batch[mine]
        x = self._rows(self.x, rows if self.augment is None else batch).astype(self.model.dtype, copy=False)
        if self.augment is not None:  # it may mix the rows of a batch, so each process augments all of them
            x = self.augment(x, noise)
            x = x if len(rows) == len(batch) else x[mine]
        return [x, *(place(t(x), device) if callable(t) else self._rows(t, rows) for t in self.targets)]

    def _rows(self, value: Any, index: Array) -> Array:
        if is_source(value):
            return place(value[to_numpy(index)], self.model.device, self.model.dtype)
        return take_rows(value, index if self.model.device == "cpu" else to_device(index, "cuda"))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What must be the same for a resumed run to end as if it had never stopped."""
        rates = [float(self.schedule(i / 8)) for i in range(9)]
        values = (self.loss, self.augment, self.x, *self.targets, *(self.validation or ()))
        return {
            "epochs": self.epochs if len(set(rates)) > 1 else "any",  # a constant rate does not know how long it lasts
            "batch_size": self.batch_size,
            "seed": self.seed,
            "optimizer": json.dumps({"lr": self.lr, **self.optimizer.settings()}),
            "schedule": rates,
            "functions": [fingerprint(f) for f in values if callable(f)],
            "data": [fingerprint(a) for a in values if hasattr(a, "dtype") and not callable(a)],
        }

    def save(self, path: str | os.PathLike[str], history: History) -> None:
        """A model file that also holds the optimizer's state and the history."""
        kernels = fast.name(self.model.device)
        progress = {"settings": self.settings, "rows": history.rows, "seconds": history.seconds, "kernels": kernels}
        save_run(path, self.model.theta, self.model.metadata(), self.optimizer.state(), progress)

    def resume(self, path: str | os.PathLike[str] | None) -> History:
        """Put model and optimizer back to the last checkpoint; an empty History where there is none yet.

        CheckpointError, with model and optimizer untouched, where the file is damaged or of another run.
        """
        if path is None or not Path(path).exists():
            return History()
        arrays, metadata = load_arrays(path)
        saved = MLP.from_arrays(arrays, metadata, "cpu", source=str(path))  # the checks of a model file
        try:
            settings = {**self.settings, "model": self.model.metadata()["mlp"]}
            state, progress = run_in(path, arrays, {**metadata, "model": metadata["mlp"]}, settings)
            history = History([dict(row) for row in progress["rows"]], float(progress["seconds"]))
            if not 0 < len(history) <= self.epochs:
                raise ValueError(f"the history of {len(history)} epochs does not fit")
            self.optimizer.restore(state)
            if (then := progress["kernels"]) != (now := fast.name(self.model.device)):
                words = f"with kernels {then}, and goes on with {now} (MINIKD_KERNELS): the last bits may differ"
                warnings.warn(f"{path} was trained {words}", stacklevel=4)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise CheckpointError(f"{path} does not hold a training run: {error!r}") from error
        self.model.theta[...] = to_device(saved.theta, self.model.device)
        return history


def distill(
    student: MLP,
    teacher: Classifier,
    x: Array,
    labels: Array | None,
    *,
    temperature: float = 4.0,
    soft_weight: float = 0.9,
    **fit_options: Any,
) -> History:
    """Train `student` in place on labels and on the teacher's logits for x; the teacher is never changed.

    teacher       an MLP (run without dropout), a callable x -> logits, or an (N, K) array of logits made anywhere
    x, labels     (N, D), (N,); labels may be None with soft_weight 1
    temperature, soft_weight   see `distillation_loss`
    fit_options   everything else that `fit` takes

    The loss in the history and in the progress bar is (1 - w) CE(labels) + w T² KL(teacher || student): it is
    `distillation_loss` without the teacher's entropy, so it goes to 0. The gradient is the same.
    The teacher's logits are computed once and looked up by index. With `augment` they are computed for each
    augmented batch instead: the teacher must speak of what the student sees. ValueError for a teacher that answers with
    probabilities; a warning for an array of 200 rows or more that agrees with the labels no more than by chance.
    """
    check_type("student", student, MLP, "an MLP")
    if {"loss", "targets"} & set(fit_options):
        raise TypeError("loss and targets are what distill decides itself; call fit for a loss of your own")
    check_source("teacher", teacher)
    x, labels = check_labelled(x, labels, student.sizes)
    check_mix(labels, temperature, soft_weight)
    logits = place(teacher_targets(teacher, student, x, labels, fit_options.get("augment")), student.device)
    loss = DivergenceLoss(None if callable(logits) or is_source(logits) else logits, temperature, soft_weight)
    return fit(student, x, (no_labels if labels is None else labels, logits), loss=loss, **fit_options)


def no_labels(x: Array) -> None:
    """The target None, for a loss that does not look at its labels."""
