"""One training loop for teacher and student alike.

`fit` repeats the training step; `distill` is `fit` with the teacher's logits as one more target and the
distillation loss as the loss. Every random draw of an epoch (order of the samples, augmentation, dropout) comes
from the seed and the epoch's number alone, so a run that was killed and resumed ends with the same bits as one
that was not, and no generator has to be saved.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from .backend import Array, get_xp, to_device, to_numpy
from .checkpoint import load_arrays, save_arrays
from .checks import check_loss, check_mix, check_options, check_samples, check_type
from .cli.progress import Progress, epoch_words
from .errors import CheckpointError
from .losses import Loss, distillation_loss
from .metrics import Classifier, History, evaluate, logits_of
from .mlp import MLP
from .ops import take_rows as rows_of
from .optim import Adam, Optimizer, Schedule, constant
from .scale.processes import Ranks
from .scale.stream import Stream, checksum, in_pieces, opened, reading, shuffled

Augment = Callable[[Array, Any], Array]  # (x, generator) -> x


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
    comm: Any = None,
) -> History:
    """Train `model` in place and return its History.

    x            (N, D);  targets  an array, or a tuple of arrays, with one row for each row of x. Arrays of integers
                 of shape (N,) are class labels. Instead of an array, a function x -> rows may compute them from
                 the (augmented) rows of a batch. Arrays are moved to the model's device once; what is not in
                 memory, as a np.memmap, is read in blocks, and its rows are shuffled by blocks (see stream.py)
    loss         called as loss(logits, *targets) with the rows of one batch; returns (loss, dlogits), or, if it also
                 looks at model.hidden, (loss, dlogits, hidden_grads): see MLP.backward
    optimizer    SGD, Adam or AdamW made for this model; by default Adam(model)
    batch_size   rows a step; the last batch of an epoch holds what is left over
    schedule     progress in [0, 1) -> a factor for the optimizer's learning rate (see minikd.optim)
    augment      (rows of x, NumPy or CuPy Generator) -> rows to train on instead
    validation   (x, labels), evaluated after each epoch
    seed         draws the order of the samples, augmentation and dropout
    checkpoint   a file that is replaced, atomically, after each epoch; MLP.load reads it too
    resume       go on from `checkpoint` if it is there (and start anew if not); the result has the same bits as
                 if there had been no interruption. Without a schedule, more epochs than before may be asked for
    progress     show a progress bar where there is a terminal
    callbacks    called as callback(model, history) after each epoch
    comm         a communicator of mpi4py: its processes, all of which call fit with the same arguments, train one
                 network together (see parallel.py); the first writes `checkpoint` and shows the progress

    DivergedError when the parameters are no longer finite or the loss is not, or grows a millionfold: then the model
    is spoilt, but `checkpoint` holds the last good epoch.
    CheckpointError for a checkpoint that is damaged or belongs to another run. ValueError and TypeError for arguments.
    """
    check_type("model", model, MLP, "an MLP")
    ranks, augment = Ranks(comm, augment is not None), augment or (lambda x, rng: x)
    functions: dict[str, Any] = {"loss": loss, "schedule": schedule or constant, "augment": augment}
    counts: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    check_options(functions, counts, callbacks, validation, checkpoint, resume)
    if validation is not None:
        evaluate(model, *validation)  # its checks, now rather than after an epoch
        validation = (to_device(validation[0], model.device), validation[1])
    run = _Run(model, x, targets, optimizer or Adam(model), validation or (), ranks, **functions, **counts)
    history = ranks.begin(run, partial(run.resume, checkpoint if resume else None))
    bar = Progress(epochs, quiet=not (progress and ranks.first), log=False)
    try:
        for epoch in range(len(history), epochs):
            started = time.perf_counter()
            row = {"epoch": epoch + 1, "loss": run.train_epoch(epoch), "lr": run.optimizer.lr}
            if validation is not None:
                row |= {f"val_{name}": score for name, score in evaluate(model, *validation).items()}
            history.rows.append(row)
            history.seconds += time.perf_counter() - started
            if checkpoint is not None and ranks.first:
                run.save(checkpoint, history)
            for callback in callbacks:
                callback(model, history)
            bar.update(epoch + 1, epoch_words(row, epochs))
    finally:
        bar.close()
        run.optimizer.lr = run.lr
    return history


@dataclass
class _Run:
    """The arguments of one call of `fit`, each looked at before anything changes, and placed on the model's device."""

    model: MLP
    x: Array
    targets: Any
    optimizer: Optimizer
    validation: Sequence[Array]
    ranks: Ranks  # the processes that share each batch: most often this one alone
    loss: Loss
    schedule: Schedule
    augment: Augment
    epochs: int
    batch_size: int
    seed: int
    limit: float = 0.0  # a loss beyond this has diverged, finite or not

    def __post_init__(self) -> None:
        check_type("optimizer", self.optimizer, Optimizer, "an SGD, Adam or AdamW")
        if self.optimizer.model is not self.model:
            raise ValueError("optimizer must be made for the model that is trained, got one made for another")
        self.lr = self.optimizer.lr
        self.x, self.targets = opened(self.x, self.targets, self.model)

    def train_epoch(self, epoch: int) -> float:
        """Every sample once, in an order drawn from (seed, epoch); the mean loss. DivergedError names the batch."""
        xp, model, loss, optimizer = get_xp(self.model.device), self.model, self.loss, self.optimizer
        order = shuffled(self.x, self.seed, epoch, model.device)
        noise = xp.random.default_rng(int(np.random.SeedSequence((self.seed, epoch, 1)).generate_state(1)[0]))
        model.seed_dropout(self.seed, epoch, 2)
        starts = range(0, len(self.x), self.batch_size)
        values = xp.zeros(len(starts), "float64")
        # A run that diverges says so below, once.
        with np.errstate(over="ignore", invalid="ignore"), self.ranks.sharing(model):
            for step, start in enumerate(starts):
                optimizer.lr = self.lr * float(self.schedule((epoch + step / len(starts)) / self.epochs))
                x, *targets = self._draw(order[start : start + self.batch_size], noise)
                logits = model.forward(x, train=True)
                value, *grads = loss(logits, *targets)
                model.backward(*grads, need_dx=False)
                values[step] = value = self.ranks.sum(value, model.grad)
                optimizer.step()
                # On a GPU a look at each loss would make every step wait; there it is looked at once an epoch.
                if xp is np and not math.isfinite(value):
                    break
            size = float(model.theta @ model.theta)  # infinite before any weight is
        values = to_numpy(values)
        self.limit = self.limit or 1e6 * max(1.0, abs(values[0]))
        check_loss(values, self.limit, size, epoch, optimizer.lr)
        return float(np.average(values, weights=np.diff([*starts, len(self.x)])))

    def _draw(self, batch: Array, noise: Any) -> list[Array]:
        mine = self.ranks.share(len(batch))
        x = rows_of(self.x, batch if self.ranks.whole else batch[mine])
        x = self.ranks.own(self.augment(x, noise)) if self.ranks.whole else x
        return [x, *(target(x) if callable(target) else rows_of(target, batch[mine]) for target in self.targets)]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What must be the same for a resumed run to end as if it had never stopped."""
        rates = [float(self.schedule(i / 8)) for i in range(9)]
        return {
            "epochs": self.epochs if len(set(rates)) > 1 else "any",  # a constant rate does not know how long it lasts
            **{name: getattr(self, name) for name in ("batch_size", "seed")},
            "optimizer": json.dumps({"lr": self.lr, **self.optimizer.settings()}),
            "schedule": rates,
            "functions": [describe_function(f) for f in (self.loss, self.augment, *self.targets) if callable(f)],
            "data": [checksum(a) for a in (self.x, *self.targets, *self.validation) if not callable(a)],
        }

    def save(self, path: str | os.PathLike[str], history: History) -> None:
        """A model file that also holds the optimizer's state and the history."""
        state = self.optimizer.state()
        training = {"settings": self.settings, "t": state.pop("t"), "rows": history.rows, "seconds": history.seconds}
        vectors = {f"optimizer.{name}": vector for name, vector in state.items()}
        metadata = {**self.model.metadata(), "training": json.dumps(training)}
        save_arrays(path, {"theta": self.model.theta, **vectors}, metadata, sync=False)

    def resume(self, path: str | os.PathLike[str] | None) -> History:
        """Put model and optimizer back to the last checkpoint; an empty History where there is none yet.

        CheckpointError, with model and optimizer untouched, where the file is damaged or of another run.
        """
        if path is None or not Path(path).exists():
            return History()
        arrays, metadata = load_arrays(path)
        MLP.from_arrays(arrays, metadata, "cpu", source=str(path))  # the checks of a model file
        try:
            training = json.loads(metadata["training"])
            # The network's shape as the file's own metadata tell it, for it is those that theta was checked against.
            then = {**training["settings"], "model": metadata["mlp"]}
            now = {**json.loads(json.dumps(self.settings)), "model": self.model.metadata()["mlp"]}
            different = [f"{k} (then {then.get(k)}, now {now[k]})" for k in now if then.get(k) != now[k]]
            if different:
                raise CheckpointError(f"{path} belongs to another run, with a different {'; '.join(different)}")
            vectors = {name.removeprefix("optimizer."): a for name, a in arrays.items() if name != "theta"}
            history = History([dict(row) for row in training["rows"]], float(training["seconds"]))
            if not 0 < len(history) <= self.epochs:
                raise ValueError(f"the history of {len(history)} epochs does not fit")
            self.optimizer.restore({"t": training["t"], **vectors})
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise CheckpointError(f"{path} does not hold a training run: {error!r}") from error
        self.model.theta[...] = to_device(arrays["theta"], self.model.device)
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
    """Train `student` in place on labels and on what `teacher` says about x; the teacher is never changed.

    teacher       an MLP (run without dropout), a callable x -> logits, or an (N, K) array of logits made anywhere
    x, labels     (N, D), (N,); labels may be None with soft_weight 1
    temperature, soft_weight   see `distillation_loss`
    fit_options   everything else that `fit` takes

    The teacher's logits are computed once and looked up by index. With `augment` they are computed for each
    augmented batch instead: the teacher must speak of what the student sees.
    """
    x, labels, teacher = reading(x), reading(labels), reading(teacher)
    check_type("student", student, MLP, "an MLP")
    if {"loss", "targets"} & set(fit_options):
        raise TypeError("loss and targets are what distill decides itself; call fit for a loss of your own")
    check_samples("x", x, columns=student.sizes[0])
    check_mix(labels, temperature, soft_weight, (len(x), student.sizes[-1]))
    teacher_logits = ask(teacher, student, x, fit_options.get("augment"))
    targets = ((lambda x: None) if labels is None else labels, teacher_logits)  # labels that nobody looks at, or labels
    loss = partial(distillation_loss, temperature=temperature, soft_weight=soft_weight)
    return fit(student, x, targets, loss=loss, **fit_options)


def ask(teacher: Classifier, student: MLP, x: Array, augment: Augment | None = None) -> Any:
    """What `teacher` says of x, as a target for `fit`: its logits (N, K), computed once, on the student's device.

    With `augment` it is a function of the augmented rows instead: the teacher must speak of what the student sees.
    ValueError and TypeError for a teacher that cannot be asked, or is the student itself.
    """
    if teacher is student or getattr(teacher, "__self__", None) is student:  # student.predict is the student, too
        raise ValueError("teacher must be another network than student: a network cannot be its own fixed target")
    if augment is not None and not (isinstance(teacher, MLP) or callable(teacher)):
        raise ValueError("teacher must be an MLP or a callable with augment: an array holds its logits for the plain x")

    def teacher_logits(x: Array) -> Array:
        logits = logits_of(in_pieces(teacher, x), x, student.sizes[-1], "teacher")
        return logits if isinstance(logits, Stream) else to_device(logits, student.device)

    # Told by checkpoints, so that a run is not resumed with another teacher.
    weights = checksum(teacher.theta) if isinstance(teacher, MLP) else describe_function(teacher)
    teacher_logits.__qualname__ = f"logits of {weights}"
    return teacher_logits(x) if augment is None else teacher_logits


def describe_function(function: Callable[..., Any]) -> str:
    """A name that is the same in the next process: "distillation_loss {'temperature': 4.0, 'soft_weight': 0.9}"."""
    inner, options = (function.func, function.keywords) if isinstance(function, partial) else (function, {})
    return f"{getattr(inner, '__qualname__', type(inner).__name__)} {options}"
