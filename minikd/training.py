"""One training loop for teacher and student, and distillation on top of it.

A step of training is five lines, in `_Run.train_epoch`: forward pass, loss, backward pass, step, with the line before
them that draws the batch. A teacher is trained on labels, a student on labels and the teacher's logits. Only `loss` and
`targets` differ.

A run is deterministic: everything random in an epoch (order of the samples, augmentation, dropout) is drawn from the
seed and the number of the epoch. So a run that was killed and resumed ends with the same bits as one that was not, and
no generator has to be saved.

Two kinds of objects may replace what `fit` does itself: a Source (minikd/data/source.py) replaces an array, and the
processes that train one network together (minikd/scale/processes.py) replace `Alone`.
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
    """The processes that train a network, if there is only one: it takes whole batches, and there is nothing to sum."""

    first = True  # this process shows the progress and writes the checkpoint

    def begin(self, run: Any, resume: Callable[[], History]) -> History:
        """Start all processes from what `resume` restores in the first one."""
        return resume()

    def sharing(self, model: MLP) -> AbstractContextManager[Any]:
        """Within this context, dropout draws masks for whole batches and takes this process's rows of them."""
        return nullcontext()

    def share(self, batch: int) -> slice:
        """The rows of a batch that are this process's, as a slice. `batch` is the number of rows."""
        return slice(0, batch)

    def sum(self, loss: Array, grad: Array) -> Array:
        """The loss of the whole batch, from the loss of this process's rows. `grad` is summed likewise, in place."""
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

    Parameters
    ----------
    model : MLP
        The network.
    x : array (N, D)
        The samples. Arrays may be NumPy's, CuPy's, or any that np.asarray reads (pandas, PyTorch). They are moved to
        the model's device once. Data that are not in memory, such as a np.memmap, must be wrapped in a Source:
        `minikd.scale.stream.Stream`.
    targets : array, callable, or tuple of these
        One row for each row of x. Integers of shape (N,) are class labels. A function x -> rows computes targets from
        the (augmented) rows of a batch.
    loss : callable
        `loss(logits, *targets)` -> (loss, dlogits) for the rows of one batch. A loss that also depends on model.hidden
        returns (loss, dlogits, hidden_grads): see `MLP.backward`.
    optimizer : SGD, Adam or AdamW, optional
        Made for this model; by default Adam(model).
    epochs : int
        How often each sample is used.
    batch_size : int
        Rows a step. The last batch of an epoch holds the rows that are left.
    schedule : callable, optional
        Progress in [0, 1) -> a factor for the learning rate (see `minikd.optim`).
    augment : callable, optional
        (rows of x, NumPy or CuPy Generator) -> rows to train on instead.
    validation : tuple (x, labels), optional
        Evaluated after each epoch.
    seed : int
        Seeds the order of the samples, augmentation and dropout.
    checkpoint : str or os.PathLike, optional
        A file that is replaced, atomically, after each epoch. MLP.load reads it also.
    resume : bool
        Continue from `checkpoint` if it exists, otherwise start from the beginning. The result has the same bits as
        without the interruption. Without a schedule, `epochs` may be larger than before.
    progress : bool
        Show a progress bar in a terminal or a notebook.
    callbacks : sequence of callable
        Called as callback(model, history) after each epoch.
    processes : Processes, optional
        `minikd.scale.processes.Processes(comm)`: the processes of an MPI communicator train one network together. All
        of them call fit with the same arguments. The first writes `checkpoint` and shows the progress.

    Returns
    -------
    History
        The loss and scores of each epoch.

    Raises
    ------
    DivergedError
        The loss or the parameters are no longer finite, or the loss has grown by a factor of one million. The model is
        then unusable, but `checkpoint` holds the last good epoch.
    CheckpointError
        The checkpoint is damaged or belongs to another run.
    ValueError, TypeError
        An argument is wrong. The message names it.

    Notes
    -----
    For a batch of B rows, fit minimises the mean of the loss over the batch. Each step is::

        logits = model.forward(x, train=True)
        value, dlogits = loss(logits, *targets)
        model.backward(dlogits)
        optimizer.step()

    References
    ----------
    Goodfellow, Bengio & Courville 2016, "Deep Learning", section 8.1.3 (training on minibatches).

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import MLP, cross_entropy, fit
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2)).astype("float32")
    >>> labels = (x[:, 0] > x[:, 1]).astype(int)
    >>> history = fit(MLP((2, 8, 2)), x, labels, loss=cross_entropy, epochs=5, batch_size=20, progress=False)
    >>> len(history), history["loss"][-1] < history["loss"][0]
    (5, True)
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
    """The epoch numbers, wrapped in tqdm's bar in a terminal or a notebook. In a log file there is no bar."""
    if not (wanted and (getattr(sys.stderr, "isatty", bool)() or "ipykernel" in sys.modules)):
        return epochs
    from tqdm.auto import tqdm

    return tqdm(epochs, initial=epochs.start, total=epochs.stop, unit="epoch", dynamic_ncols=True)


@dataclass
class _Run:
    """The arguments of one call of `fit`, checked before anything changes, and moved to the model's device."""

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
    limit: float = 0.0  # a loss beyond this limit has diverged, even if it is finite

    def __post_init__(self) -> None:
        model = self.model
        check_type("optimizer", self.optimizer, Optimizer, "an SGD, Adam or AdamW")
        arrays = check_run(self)
        if self.validation is not None:
            evaluate(model, *self.validation)  # for its checks: they should fail now, not after an epoch
            self.validation = (to_device(self.validation[0], model.device), self.validation[1])
        self.lr = self.optimizer.lr
        self.x, *self.targets = (place(array, model.device, model.dtype) for array in arrays)

    def scores(self) -> dict[str, float]:
        """The columns that validation adds to the History."""
        scores = evaluate(self.model, *self.validation) if self.validation else {}
        return {f"val_{name}": score for name, score in scores.items()}

    def train_epoch(self, epoch: int) -> float:
        """Use every sample once, in an order drawn from (seed, epoch). Returns the mean loss. DivergedError names the
        batch.
        """
        model, loss, optimizer, processes = self.model, self.loss, self.optimizer, self.processes
        for source in (value for value in (self.x, *self.targets) if is_source(value)):
            source.begin_epoch(model, self.seed, epoch)
        order = self.x.order(self.seed, epoch) if is_source(self.x) else shuffled(self.x, self.seed, epoch)
        noise = generator(model.device, self.seed, epoch, 1)
        model.seed_dropout(self.seed, epoch, 2)
        starts = range(0, len(self.x), self.batch_size)
        values = get_xp(model.device).zeros(len(starts), "float64")
        # check_loss below reports a run that diverges, once.
        with np.errstate(over="ignore", invalid="ignore"), processes.sharing(model):
            for step, start in enumerate(starts):
                optimizer.lr = self.lr * float(self.schedule((epoch + step / len(starts)) / self.epochs))
                x, *targets = self._draw(order[start : start + self.batch_size], noise)
                logits = model.forward(x, train=True)
                value, *grads = loss(logits, *targets)
                model.backward(*grads, need_dx=False)
                values[step] = value = processes.sum(value, model.grad)
                optimizer.step()
                # On a GPU a look at each loss would make every step wait, so it is checked once an epoch there.
                if model.device == "cpu" and not math.isfinite(value):
                    break
            size = float(model.theta @ model.theta)  # the square becomes infinite before a weight does
        values = to_numpy(values)
        self.limit = self.limit or 1e6 * max(1.0, abs(values[0]))
        check_loss(values, self.limit, size, epoch, optimizer.lr)
        return float(np.average(values, weights=np.diff([*starts, len(self.x)])))

    def _draw(self, batch: Array, noise: Any) -> list[Array]:
        """x and the targets of a batch. With several processes, each takes its share of the rows."""
        mine, device = self.processes.share(len(batch)), self.model.device
        rows = batch[mine]
        x = self._rows(self.x, rows if self.augment is None else batch).astype(self.model.dtype, copy=False)
        if self.augment is not None:  # augment may mix the rows of a batch, so each process augments all of them
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
            "epochs": self.epochs if len(set(rates)) > 1 else "any",  # a constant rate does not depend on the epochs
            "batch_size": self.batch_size,
            "seed": self.seed,
            "optimizer": json.dumps({"lr": self.lr, **self.optimizer.settings()}),
            "schedule": rates,
            "functions": [fingerprint(f) for f in values if callable(f)],
            "data": [fingerprint(a) for a in values if hasattr(a, "dtype") and not callable(a)],
        }

    def save(self, path: str | os.PathLike[str], history: History) -> None:
        """Write a model file that also holds the optimizer's state and the history."""
        kernels = fast.name(self.model.device)
        progress = {"settings": self.settings, "rows": history.rows, "seconds": history.seconds, "kernels": kernels}
        save_run(path, self.model.theta, self.model.metadata(), self.optimizer.state(), progress)

    def resume(self, path: str | os.PathLike[str] | None) -> History:
        """Restore model and optimizer from the last checkpoint. An empty History if there is none yet.

        CheckpointError if the file is damaged or of another run. Model and optimizer then stay as they were.
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
    """Train `student` in place on labels and on the teacher's logits for x. The teacher is never changed.

    The loss is `distillation_loss`, with z the student's logits, v the teacher's, T the temperature, w the
    soft_weight::

        L = (1 - w) CE(y, softmax(z)) + w T² CE(softmax(v / T), softmax(z / T))

    Parameters
    ----------
    student : MLP
        The network to train.
    teacher : MLP, callable or array (N, K)
        A network (run without dropout), a function x -> logits, or logits from any source, one row for each row of x.
    x : array (N, D)
        The samples.
    labels : integer array (N,) or None
        Their classes. None is allowed with soft_weight 1.
    temperature : float
        T, above 0.
    soft_weight : float
        w, the weight of the teacher's term, in [0, 1].
    **fit_options
        Everything else that `fit` takes, except loss and targets.

    Returns
    -------
    History
        The loss and scores of each epoch.

    Warns
    -----
    UserWarning
        The teacher is an array that agrees with 200 labels or more no better than by chance.

    Raises
    ------
    ValueError, TypeError
        An argument is wrong, the teacher is the student, or it gives probabilities instead of logits. The message names
        the argument.
    DivergedError, CheckpointError
        As for `fit`.

    Notes
    -----
    The teacher's logits are computed once and looked up by index. With `augment` they are computed for each augmented
    batch instead, so that the teacher sees what the student sees.

    The history and the progress bar show this loss without the teacher's entropy: (1 - w) CE + w T² KL, which goes to
    0. The gradient is the same.

    References
    ----------
    Hinton, Vinyals & Dean 2015, arXiv 1503.02531, sections 2 and 2.1.

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import MLP, distill
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2)).astype("float32")
    >>> labels = (x[:, 0] > x[:, 1]).astype(int)
    >>> def teacher(x):
    ...     return np.stack([-3 * (x[:, 0] - x[:, 1]), 3 * (x[:, 0] - x[:, 1])], axis=1)
    >>> history = distill(MLP((2, 8, 2)), teacher, x, labels, temperature=2.0, epochs=5, progress=False)
    >>> history["loss"][-1] < history["loss"][0]
    True
    """
    check_type("student", student, MLP, "an MLP")
    if {"loss", "targets"} & set(fit_options):
        raise TypeError("loss and targets must be left out: distill decides them, and fit takes your own")
    check_source("teacher", teacher)
    x, labels = check_labelled(x, labels, student.sizes)
    check_mix(labels, temperature, soft_weight)
    logits = place(teacher_targets(teacher, student, x, labels, fit_options.get("augment")), student.device)
    loss = DivergenceLoss(None if callable(logits) or is_source(logits) else logits, temperature, soft_weight)
    return fit(student, x, (no_labels if labels is None else labels, logits), loss=loss, **fit_options)


def no_labels(x: Array) -> None:
    """The target None, for a loss that does not use its labels."""
