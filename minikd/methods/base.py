"""The form of a method of distillation, and the parts that methods share.

Each other file of this folder is a method: the idea, a loss with its gradient derived by hand, and a `train` that
passes the loss to `fit`. There are two kinds of losses::

    on logits     loss(logits, labels, teacher_logits, ...) -> (loss, dlogits), all (B, K) except the labels (B,)
    on features   loss(features, teacher_features, ...) -> (loss, dfeatures), (B, W) and (B, W'): hidden activations

A loss is a mean over the batch, in nats if it is a cross-entropy or a divergence. It raises ValueError or TypeError,
with the name of the argument, for arguments that do not fit. The paper is named at the end of each file.

One function of a common form trains the student of every method::

    train(student, teacher, x, labels, *, strength=1.0, optimizer=Adam, **fit_options) -> History

    student      the network to be trained, in place
    teacher      an MLP, a callable x -> logits or an array of logits, as the method's METHOD says
    x, labels    the training samples (N, D) and their classes (N,)
    strength     the weight of the teacher's part relative to the labels', in multiples of the method's default
    optimizer    a function that makes one for a network, for example partial(Adam, lr=3e-3), because some methods
                 train several networks
    fit_options  everything else that `fit` takes

So methods can be compared by training the same student with each of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from numbers import Integral
from pathlib import Path
from typing import Any

from ..backend import Array, to_device, xp_of
from ..checkpoint import fingerprint, load_arrays
from ..checks import (
    as_array,
    check_distillation,
    check_labelled,
    check_matrix,
    check_number,
    check_same_library,
    check_type,
    describe,
)
from ..losses import Loss, cross_entropy
from ..metrics import History, teacher_targets
from ..mlp import MLP, PIECE
from ..ops import ACTIVATIONS, linear, log_softmax
from ..optim import Adam, Optimizer
from ..training import fit
from .linear_algebra import as_float, mean_rows

FeatureLoss = Callable[[Array, Array], tuple[Any, Array]]  # (features, teacher_features) -> (loss, dfeatures)
MakeOptimizer = Callable[[MLP], Optimizer]


@dataclass(frozen=True)
class Method:
    """An entry of the gallery.

    Parameters
    ----------
    name : str
        What `--method` takes.
    title : str
        The method in a few words.
    source : str
        The paper.
    train : callable
        The function that trains a student, in the form described in minikd/methods/base.py.
    weighted : bool
        Whether `strength` changes anything.
    teacher : str
        "logits": anything that has logits. "network": an MLP. "none": the method needs no teacher.
    teachers : int
        How many teachers the method uses. Several are passed as a list.
    parallel : bool
        Whether several processes can train it together (minikd/scale/processes.py): its loss must be a mean over the
        samples of a batch, each on its own.
    temperature : str
        The option of `train` that softens the teacher's probabilities, or "".
    reads : str
        What it needs of the data: "labels" (and samples), "images" without labels, or "nothing".
    only : str
        The only data set for which the method works, or "" for all.
    """

    name: str
    title: str
    source: str
    train: Callable[..., History]
    weighted: bool = True
    teacher: str = "logits"
    teachers: int = 1
    parallel: bool = False
    temperature: str = ""
    reads: str = "labels"
    only: str = ""

    def suits(self, data: str) -> bool:
        """Whether the method can be used on the data set of that name."""
        return self.only in ("", data)


# ---- training on logits -----------------------------------------------------------------------------------------


def teach(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    loss: Loss,
    *,
    optimizer: MakeOptimizer = Adam,
    **fit_options: Any,
) -> History:
    """`fit` the student with loss(logits, labels, teacher_logits). `teacher` is an MLP, a callable or logits."""
    x, labels = check_student(student, x, labels)
    targets = labels, teacher_targets(teacher, student, x, labels, fit_options.get("augment"))
    return fit(student, x, targets, loss=loss, optimizer=optimizer(student), **fit_options)


def check_student(student: Any, x: Any, labels: Any) -> tuple[Any, Any]:
    """The student must be an MLP. Returns samples and labels that it can be trained on, as arrays."""
    check_type("student", student, MLP, "an MLP")
    if labels is None:
        raise TypeError("labels must be given, because this method learns from them")
    return check_labelled(x, labels, student.sizes)


def mixed_loss(
    logits: Array,
    labels: Array | None,
    teacher_logits: Array,
    divergence: Callable[[Array, Array], tuple[Array, Array]],
    *,
    temperature: float,
    soft_weight: float,
) -> tuple[Any, Array]:
    """(1 - w) CE(y, p) + w T² mean_i D(p^T_i, q^T_i), for a divergence D of the student's p and the teacher's q.

    divergence(log p, log q), both (B, K) in float64, returns D (B,) and dD/dz (B, K) at T = 1. At another T, z / T
    replaces z, so dD/dz is 1 / T of that::

        dlogits = [(1 - w) (p - y) + w T dD/d(z/T)] / B
    """
    logits, labels, teacher_logits = check_distillation(logits, labels, teacher_logits, temperature, soft_weight)
    T, w, dtype = float(temperature), float(soft_weight), as_float(logits).dtype
    hard, dhard = cross_entropy(logits, labels) if w < 1 else (0.0, 0.0)
    if w == 0:
        return hard, dhard
    D, dD = divergence(*(log_softmax(z.astype("float64"), T) for z in (logits, teacher_logits)))
    value, dlogits = (1 - w) * hard + w * T * T * mean_rows(D), (1 - w) * dhard + w * T / len(D) * dD
    return value.astype(dtype), dlogits.astype(dtype)


def mix(soft_weight: float, strength: float) -> float:
    """The soft_weight whose ratio of teacher to labels, w : (1 - w), is `strength` times the ratio at `soft_weight`."""
    s = check_number("strength", strength, 0) * check_number("soft_weight", soft_weight, 0, 1)
    if strength == 1:
        return soft_weight
    return s / (s + 1 - soft_weight) if s else 0.0


class Scheduled:
    """A loss with options that may change during training: each option is a number, or a function of progress.

    Progress is the share of `steps` that the optimizer has taken, in [0, 1). It is in every checkpoint, so that a
    resumed run continues where it was.
    """

    def __init__(self, loss: Loss, optimizer: Optimizer, steps: int, **options: Any) -> None:
        self.loss, self.optimizer, self.steps, self.options = loss, optimizer, steps, options
        points = {k: [v(i / 8) for i in range(8)] if callable(v) else v for k, v in options.items()}
        self.fingerprint = f"scheduled {fingerprint(loss)} {points} {steps}"

    def __call__(self, logits: Array, *targets: Array) -> tuple[Any, ...]:
        """The loss, with the present values of the options."""
        progress = self.optimizer.t / self.steps
        now = {name: value(progress) if callable(value) else value for name, value in self.options.items()}
        return self.loss(logits, *targets, **now)


def steps_of(n: int, fit_options: dict[str, Any]) -> int:
    """How many steps `fit` takes with n samples."""
    return int(option(fit_options, "epochs") * -(-n // option(fit_options, "batch_size")))


def option(fit_options: dict[str, Any], name: str) -> Any:
    """An option of `fit`, as given or by default."""
    return fit_options.get(name, signature(fit).parameters[name].default)


# ---- training on features ---------------------------------------------------------------------------------------


def teach_features(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    loss: FeatureLoss,
    *,
    weight: float,
    layer: int = -1,
    teacher_layer: int = -1,
    optimizer: MakeOptimizer = Adam,
    **fit_options: Any,
) -> History:
    """`fit` the student with CE(labels) + weight · loss(its hidden layer, the teacher's).

    `teacher` is an MLP, whose hidden layer `teacher_layer` is used, or an array (N, W) of features from any source.
    `layer` is the student's hidden layer: 0 is the first, -1 the last.
    """
    x, labels = check_student(student, x, labels)
    layer = check_layer("layer", layer, student)
    if option(fit_options, "batch_size") == 1:
        raise ValueError("batch_size must be at least 2: this method compares the samples of a batch; got 1")
    targets = labels, feature_targets(teacher, student, x, teacher_layer, fit_options.get("augment"))
    both = OnHidden(student, layer, loss, weight)
    return fit(student, x, targets, loss=both, optimizer=optimizer(student), **fit_options)


class OnHidden:
    """CE(labels) + weight · loss(student.hidden[layer], teacher_features), as a loss for `fit`.

    Without labels, called as (logits, teacher_features), it is the loss on the hidden layer alone.
    """

    def __init__(self, student: MLP, layer: int, loss: FeatureLoss, weight: float = 1.0) -> None:
        self.student, self.layer, self.loss, self.weight = student, layer, loss, weight
        self.fingerprint = f"{fingerprint(loss)} of hidden[{layer}], weight {weight}"

    def __call__(self, logits: Array, *targets: Array) -> tuple[Any, Array, dict[int, Array]]:
        """(loss, dlogits, hidden_grads): the logits get the labels' gradient, the hidden layer the teacher's."""
        *labels, teacher_features = targets
        value, dlogits = cross_entropy(logits, *labels) if labels else (0.0, xp_of(logits).zeros_like(logits))
        more, dfeatures = self.loss(self.student.hidden[self.layer], teacher_features)
        return value + self.weight * more, dlogits, {self.layer: self.weight * dfeatures}


def check_layer(name: str, layer: Any, model: MLP) -> int:
    """`layer` must be one of the hidden layers of `model`. Returns its number counted from 0."""
    n = len(model.sizes) - 2
    if not n:
        raise ValueError(f"{name} must be a hidden layer, but {model!r} has none: this method looks at features")
    if isinstance(layer, bool) or not isinstance(layer, Integral):
        raise TypeError(f"{name} must be a whole number, got {describe(layer)}")
    if not -n <= int(layer) < n:
        raise ValueError(f"{name} must be a hidden layer, {-n} to {n - 1}, of {model!r}; got {layer}")
    return int(layer) % n


def features(model: MLP, x: Array, layer: int = -1) -> Array:
    """The hidden activations of a layer, without dropout, 2,048 rows of x at a time.  x (N, D) -> (N, width)"""
    check_type("model", model, MLP, "an MLP")
    x = check_matrix("x", x, columns=model.sizes[0])
    depth = check_layer("layer", layer, model) + 1
    activation, _ = ACTIVATIONS[model.activation]
    rows = xp_of(model.theta).empty((len(x), model.sizes[depth]), model.dtype)
    for start in range(0, len(x), PIECE):
        a = to_device(x[start : start + PIECE], model.device).astype(model.dtype, copy=False)
        for W, b in zip(model.weights[:depth], model.biases[:depth], strict=True):
            a = activation(linear(a, W, b))
        rows[start : start + PIECE] = a
    return rows


class Features:
    """A hidden layer of a teacher as a target for `fit`, computed from the rows of a batch: x (B, D) -> (B, W)."""

    def __init__(self, teacher: MLP, layer: int) -> None:
        self.teacher, self.layer = teacher, layer
        self.fingerprint = f"features {layer} of {fingerprint(teacher.theta)}"

    def __call__(self, x: Array) -> Array:
        """The teacher's activations for x, without dropout."""
        return features(self.teacher, x, self.layer)


def feature_targets(teacher: Any, student: MLP, x: Array, layer: int, augment: Any = None) -> Any:
    """A hidden layer of the teacher as a target for `fit`: (N, W), or with augment a function of augmented rows."""
    if teacher is student:
        raise ValueError("teacher must be another network than student: a network cannot be its own fixed target")
    if not isinstance(teacher, MLP):
        wanted = "be an MLP or an array of features: logits have none"
        features_of = check_matrix("teacher", as_array("teacher", teacher, wanted), rows=len(x))
        if augment is not None:
            raise ValueError("teacher must be an MLP with augment: an array holds its features for the plain x")
        return features_of
    check_layer("teacher_layer", layer, teacher)
    if teacher.sizes[0] != student.sizes[0]:
        raise ValueError(f"teacher takes {teacher.sizes[0]} inputs, but x is {describe(x)}")
    target = Features(teacher, layer)
    return target(x) if augment is None else target


def check_pair(features: Any, teacher_features: Any) -> tuple[Any, Any]:
    """Features of a student and a teacher as matrices with the same number of rows, on one device."""
    features = check_matrix("features", features)
    teacher_features = check_matrix("teacher_features", teacher_features, rows=len(features))
    return features, check_same_library("teacher_features", teacher_features, features, "features")


# ---- other networks than the student ----------------------------------------------------------------------------


def new_like(student: MLP, number: int, fit_options: dict[str, Any], sizes: Sequence[int] | None = None) -> MLP:
    """A new network like the student, with initial weights of its own, or with other sizes."""
    sizes = sizes or student.sizes
    dropout = student.dropout if len(sizes) == len(student.sizes) else 0.0
    seed = 7919 * number + option(fit_options, "seed")
    options = {"activation": student.activation, "device": student.device, "dtype": student.dtype}
    return MLP(sizes, dropout=dropout, seed=seed, **options)


def trunk(student: MLP, layer: int, outputs: int, number: int, fit_options: dict[str, Any]) -> MLP:
    """A new network with the student's layers up to a hidden one, and a new linear map from there to `outputs`.

    `fit` can then train the map (a regressor, a projection) together with the layers below.
    """
    model = new_like(student, number, fit_options, (*student.sizes[: layer + 2], outputs))
    model.dropout = (*student.dropout[: layer + 1], 0.0)
    copy_layers(student, model, layer + 1)
    return model


def copy_layers(source: MLP, target: MLP, count: int) -> None:
    """Copy the weights and biases of the first `count` layers."""
    for mine, theirs in zip(
        (*target.weights[:count], *target.biases[:count]),
        (*source.weights[:count], *source.biases[:count]),
        strict=True,
    ):
        mine[...] = theirs


def stage_options(fit_options: dict[str, Any], name: str) -> dict[str, Any]:
    """The options for a stage that trains a part of the student: a checkpoint of its own, and no validation.

    Its callbacks are called with that part.
    """
    path = fit_options.get("checkpoint")
    other = None if path is None else Path(path).with_name(f"{Path(path).stem}-{name}{Path(path).suffix}")
    return {**fit_options, "checkpoint": other, "validation": None}


def companion_options(fit_options: dict[str, Any], name: str) -> dict[str, Any]:
    """The options for another network that a method trains: a checkpoint beside the student's, and no callbacks."""
    return {**stage_options(fit_options, name), "callbacks": ()}


def fit_along(
    companion: MLP,
    name: str,
    student: MLP,
    x: Array,
    targets: Any,
    *,
    finish: Callable[[], None] = lambda: None,
    **fit_options: Any,
) -> History:
    """`fit`, with a loss or target in which another network changes also: a peer, an average, a generator.

    `finish` is called after the last step, if the companion must do something then.

    The checkpoint of `fit` does not contain the companion. So it is kept in a second file, which is written at the end.
    With `resume`, a finished run is read. A run that was interrupted starts from the beginning, so it also ends with
    the same bits.
    """
    path, beside_it = fit_options.get("checkpoint"), stage_options(fit_options, name)["checkpoint"]
    if path is not None and fit_options.get("resume") and Path(path).exists():
        epochs = len(json.loads(load_arrays(path)[1].get("training", '{"rows": []}'))["rows"])
        fit_options["resume"] = epochs == option(fit_options, "epochs") and beside_it.exists()
        if fit_options["resume"]:
            history = fit(student, x, targets, **fit_options)  # all epochs are done: this only reads the student
            companion.theta[...] = MLP.load(beside_it, student.device).theta
            return history
    if beside_it is not None:
        beside_it.unlink(missing_ok=True)  # it is from another run, and must not be used for this one
    history = fit(student, x, targets, **fit_options)
    finish()
    if beside_it is not None:
        companion.save(beside_it)
    return history


def joined(*histories: History) -> History:
    """The histories of several stages as one, with epochs counted through. NaN if a stage lacks a column."""
    rows = [row for history in histories for row in history.rows]
    columns = dict.fromkeys(name for row in rows for name in row)
    numbered = [{**{name: row.get(name, math.nan) for name in columns}, "epoch": i + 1} for i, row in enumerate(rows)]
    return History(numbered, sum(history.seconds for history in histories))
