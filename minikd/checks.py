"""Checks that turn a bad argument into a readable error, and return a good one in its normal form.

Each message names the argument, what came and what was wanted. A check of an array returns the array in the form that
the code after it uses: data that pandas or PyTorch hold in memory come back as a NumPy array (`as_array`). The checks
use only what NumPy and CuPy arrays share. Checks of *values* look at NumPy arrays only, because on a GPU a look means
waiting for it. Only `check_target`, which `fit` calls once, waits.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from .errors import DivergedError


def is_array(value: Any) -> bool:
    """Whether `value` is a NumPy or CuPy array, or looks like one: it has a shape and a NumPy dtype."""
    return isinstance(value, np.ndarray) or (
        isinstance(getattr(value, "shape", None), tuple) and hasattr(getattr(value, "dtype", None), "kind")
    )


def as_array(name: str, value: Any, wanted: str = "be a NumPy or CuPy array") -> Any:
    """`value` as an array: NumPy and CuPy arrays as they are, other arrays in memory (pandas, PyTorch) as NumPy arrays.

    A list is refused, because it would have to be copied. An array with a mask is refused, because computations would
    ignore the mask.
    """
    if type(value) in (np.ndarray, np.memmap):
        return value
    if isinstance(value, np.ma.MaskedArray):
        hint = f"; {name}.filled(number) fills the gaps, {name}[keep] leaves rows out"
        raise wrong(name, "have no mask", value, hint, TypeError)
    if hasattr(value, "to_numpy") or (hasattr(value, "__dlpack__") and not hasattr(value, "get")):  # CuPy's have get
        try:
            return np.asarray(value)
        except Exception as error:  # each library raises its own type, with its own advice
            raise wrong(name, "be readable by np.asarray", value, f": {error}", TypeError) from error
    if not is_array(value):
        hint = f"; np.asarray({name}) makes one" if isinstance(value, list | tuple) else ""
        raise wrong(name, wanted, value, hint, TypeError)
    return value


def is_source(value: Any) -> bool:
    """Whether `value` is a Source of rows (minikd/data/source.py)."""
    return hasattr(value, "begin_epoch")


def describe(value: Any) -> str:
    """What came, in a few words on one line: 'float64 array of shape (3, 4)', or the value with its type."""
    if is_array(value):
        return f"{value.dtype} array of shape {tuple(value.shape)}"
    if isinstance(value, str):
        return f"{type(value).__name__} {value[:60]!r}"
    return f"{' '.join(repr(value).split()):.60} ({type(value).__name__})"


def wrong(name: str, wanted: str, value: Any, hint: str = "", kind: type[Exception] = ValueError) -> Exception:
    """The exception that says what an argument must be, what came instead, and perhaps what to do."""
    return kind(f"{name} must {wanted}, got {describe(value)}{hint}")


def check_number(
    name: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False, open_high: bool = False
) -> float:
    """`value` as a float in [low, high], without the ends that are open. Infinity and NaN never pass."""
    if isinstance(value, bool) or not isinstance(value, (float, int, Real)):
        raise wrong(name, "be a number", value, kind=TypeError)
    # An int may be too large for a float.
    number = float(value) if not isinstance(value, int) or abs(value) < 2**1023 else math.inf * (1 if value > 0 else -1)
    open_high = open_high or math.isinf(high)
    if not (low < number if open_low else low <= number) or not (number < high if open_high else number <= high):
        top = f"{high:g}{')' if open_high else ']'}"
        raise ValueError(f"{name} must be in {'(' if open_low else '['}{low:g}, {top}, got {value!r:.60}")
    return number


def check_count(name: str, value: Any, low: int = 1) -> int:
    """`value` as an int that is at least `low`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise wrong(name, "be a whole number", value, kind=TypeError)
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value!s:.60}")
    return int(value)


def check_choice(name: str, value: Any, choices: Any) -> None:
    """`value` must be one of `choices`."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a name, got {describe(value)}; known: {', '.join(choices)}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value[:60]!r}")


def check_matrix(name: str, value: Any, columns: int | None = None, rows: int | None = None) -> Any:
    """`value` as a 2-D array of real numbers with at least one row, and with the given number of columns and rows."""
    value = as_array(name, value)
    if value.ndim != 2:
        hint = f"; for a single sample write {name}[None, :]" if value.ndim == 1 and name.isidentifier() else ""
        raise ValueError(f"{name} must have 2 dimensions, got {describe(value)}{hint}")
    if value.shape[0] == 0 or value.shape[1] == 0:
        raise wrong(name, "not be empty", value)
    if value.dtype.kind not in "fiu":
        raise wrong(name, "hold real numbers", value, kind=TypeError)
    if columns is not None and value.shape[1] != columns:
        raise wrong(name, f"have {columns} columns", value)
    if rows is not None and value.shape[0] != rows:
        raise wrong(name, f"have {rows} rows", value)
    return value


def check_labels(name: str, value: Any, rows: int, classes: int) -> Any:
    """`value` as an array of integer class indices, shape (rows,), in [0, classes)."""
    value = as_array(name, value)
    if value.ndim != 1:
        way = ".ravel()" if value.shape[1:] == (1,) else ".argmax(axis=1), where they are one-hot"
        hint = f"; they become indices with {name}{way}" if value.ndim == 2 else ""
        raise wrong(name, f"be class indices of shape ({rows},)", value, hint)
    if value.dtype.kind not in "iu":
        raise wrong(name, f"be integers in [0, {classes})", value, f"; cast with {name}.astype(int)", TypeError)
    if value.shape[0] != rows:
        raise wrong(name, f"have one entry for each of {rows} rows", value)
    # One comparison checks both ends: read as unsigned, a negative label is larger than any that its type can hold.
    top = min(classes, 1 << (8 * value.dtype.itemsize - (value.dtype.kind == "i")))
    if isinstance(value, np.ndarray) and not value.view(value.dtype.str.replace("i", "u")).max() < top:
        index = int(np.argmax((value < 0) | (value >= classes)))
        raise ValueError(f"{name} must be integers in [0, {classes}), got {value[index]} at index {index}")
    return value


def check_finite(name: str, value: Any) -> None:
    """A NumPy array must hold neither NaN nor infinity. A GPU array is not checked."""
    # The extremes come first, because they need no second array. The minimum of an array with NaN is NaN.
    if isinstance(value, np.ndarray) and not (np.isfinite(value.min()) and np.isfinite(value.max())):
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        raise ValueError(f"{name} must be finite, got {value[index]} at index {index}")


def check_source(name: str, value: Any) -> None:
    """An array from which training draws rows must be in memory or a Source: single rows of a file are slow to read."""
    if not is_array(value) or is_source(value):
        return
    in_memory = hasattr(value, "get") or hasattr(value, "__dlpack__") or isinstance(value, np.generic)  # CuPy, NumPy
    if isinstance(value, np.memmap) or not in_memory:
        ways = f"minikd.scale.stream.Stream({name}) reads it in blocks, np.asarray({name}) copies it into memory"
        raise wrong(name, "be an array in memory", value, f", a {type(value).__name__}: {ways}", TypeError)


def check_samples(name: str, value: Any, columns: int | None = None, dtype: str = "float64") -> Any:
    """`value` as a matrix of numbers, one row a sample, that are finite in `dtype` also."""
    value = check_matrix(name, value, columns)
    if is_source(value):
        value.check(lambda rows: check_samples(name, rows, columns, dtype))
    check_finite(name, value)
    largest = max(value.max(), -value.min()) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else 0
    if largest > np.finfo(dtype).max:
        raise ValueError(f"{name} must be finite in {dtype}, the model's dtype, got {largest:g}")
    return value


def check_targets(values: Any, rows: int, classes: int) -> tuple[Any, ...]:
    """The targets as a tuple whose entries have all passed `check_target`."""
    if not isinstance(values, tuple):
        return (check_target("targets", values, rows, classes),)
    # Labels come first, as in every loss here. Integers in later targets may mean anything.
    return tuple(check_target(f"targets[{i}]", v, rows, None if i else classes) for i, v in enumerate(values))


def check_target(name: str, value: Any, rows: int, classes: int | None) -> Any:
    """`value` as a function or an array with one row a sample: labels, if integers (rows,), else finite numbers."""
    if callable(value):
        return value
    check_source(name, value)
    array = as_array(name, value, "be an array with one row for each row of x")
    value = array.get() if hasattr(array, "get") else array  # the only check of labels on a GPU
    if value.ndim == 0 or value.shape[0] != rows:
        raise wrong(name, f"have one row for each of the {rows} rows of x", value)
    if is_source(value):
        value.check(lambda piece: check_target(name, piece, len(piece), classes))
    elif value.ndim == 1 and value.dtype.kind in "iu" and classes is not None:
        check_labels(name, value, rows, classes)
    elif value.dtype.kind not in "fiub":
        raise wrong(name, "hold numbers, class labels as integers", value, kind=TypeError)
    else:
        check_finite(name, value)
    return array


def check_type(name: str, value: Any, wanted: Any, words: str) -> None:
    """`value` must be an instance of `wanted`, which the message calls `words`."""
    if not isinstance(value, wanted):
        raise TypeError(f"{name} must be {words}, got {describe(value)}")


def check_options(callbacks: Any, checkpoint: Any, resume: bool) -> None:
    """The arguments of `fit` that concern what happens between epochs."""
    if not isinstance(callbacks, list | tuple) or not all(callable(callback) for callback in callbacks):
        raise TypeError(f"callbacks must be a sequence of functions, got {describe(callbacks)}")
    if checkpoint is not None:
        check_type("checkpoint", checkpoint, str | os.PathLike, "a path")
    if resume and checkpoint is None:
        raise ValueError("resume=True needs checkpoint, the file to continue from")


def check_run(run: Any) -> tuple[Any, ...]:
    """The arguments of `fit`, as attributes of `run`. Returns x and the targets, each of them an array or a Source."""
    if run.optimizer.model is not run.model:
        raise ValueError("optimizer must be made for the model that is trained, got one made for another")
    for name in ("loss", "schedule", "augment")[: 3 if run.augment is not None else 2]:
        check_type(name, getattr(run, name), Callable, "a function")
    for name, low in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
        check_count(name, getattr(run, name), low)
    if run.validation is not None and (not isinstance(run.validation, list | tuple) or len(run.validation) != 2):
        raise TypeError(f"validation must be a pair (x, labels), got {describe(run.validation)}")
    if not hasattr(run.processes, "share"):
        raise wrong("processes", "be minikd.scale.processes.Processes(comm) of mpi4py", run.processes, kind=TypeError)
    check_source("x", run.x)
    x = check_samples("x", run.x, run.model.sizes[0], run.model.dtype)
    return x, *check_targets(run.targets, len(x), run.model.sizes[-1])


def check_classes(labels: Any, logits: Any) -> Any:
    """`labels` as class indices (B,) for `logits` (B, K), on the same device."""
    labels = check_labels("labels", labels, *logits.shape)
    return check_same_library("labels", labels, logits)


def check_labelled(x: Any, labels: Any, sizes: tuple[int, ...]) -> tuple[Any, Any]:
    """Samples and labels that fit a network of these sizes. Labels may be None."""
    x = check_samples("x", x, columns=sizes[0])
    return x, labels if labels is None else check_labels("labels", labels, len(x), sizes[-1])


def check_mix(labels: Any, temperature: Any, soft_weight: Any) -> None:
    """The temperature must be above 0 and soft_weight in [0, 1]. Labels may be None only if their weight is 0."""
    check_number("temperature", temperature, 0, open_low=True)
    if check_number("soft_weight", soft_weight, 0, 1) != 1 and labels is None:
        raise ValueError(f"labels may be None only with soft_weight 1, got soft_weight {soft_weight!r}")


def check_distillation(logits: Any, labels: Any, teacher_logits: Any, temperature: Any, soft_weight: Any) -> Any:
    """The arguments of `distillation_loss`; returns those that are arrays."""
    logits = check_matrix("logits", logits)
    check_mix(labels, temperature, soft_weight)
    labels = labels if labels is None else check_classes(labels, logits)
    return logits, labels, check_soft("teacher_logits", teacher_logits, logits)


def check_sizes(sizes: Any) -> tuple[int, ...]:
    """`sizes` as a tuple of at least two ints of at least 1: inputs, hidden layers, classes."""
    if isinstance(sizes, str) or not isinstance(sizes, Sequence | np.ndarray) or getattr(sizes, "ndim", 1) != 1:
        raise TypeError(f"sizes must be a sequence of whole numbers such as (784, 300, 10), got {describe(sizes)}")
    if len(sizes) < 2:
        raise ValueError(f"sizes must name at least the inputs and the classes, got {tuple(sizes)}")
    return tuple(check_count(f"sizes[{i}]", size) for i, size in enumerate(sizes))


def check_dropout(rates: Any, layers: int) -> tuple[float, ...]:
    """`rates` as one probability in [0, 1) for each of `layers` layers. A single number stands for all of them."""
    rates = [rates] * layers if not isinstance(rates, Sequence | np.ndarray) or isinstance(rates, str) else list(rates)
    if len(rates) != layers:
        raise ValueError(f"dropout must be one number or one for each of {layers} layers, got {len(rates)}")
    return tuple(check_number("dropout", rate, 0, 1, open_high=True) for rate in rates)


def check_betas(value: Any) -> tuple[float, ...]:
    """`value` as a pair of numbers in [0, 1)."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"betas must be a pair of numbers, got {value!r}")
    return tuple(check_number(f"betas[{i}]", beta, 0, 1, open_high=True) for i, beta in enumerate(value))


def check_same_library(name: str, value: Any, other: Any, other_name: str = "logits") -> Any:
    """`value` must be an array on the device of `other`."""
    if isinstance(value, np.ndarray) != isinstance(other, np.ndarray):
        raise TypeError(f"{name} must be on the device of {other_name}; minikd.backend.to_device moves it there")
    return value


def check_input(x: Any, columns: int, theta: Any = None, device: str = "") -> Any:
    """`x` as a matrix with the given number of columns, on the device of `theta`, a model's parameters, if given."""
    x = check_matrix("x", x, columns=columns)
    return x if theta is None else check_same_library("x", x, theta, f"the model, {device!r}")


def check_backward(dlogits: Any, hidden_grads: Any, layers: Sequence[Any]) -> tuple[Any, dict[int, Any]]:
    """The arguments of MLP.backward must fit `layers`, the hidden activations and logits of the last forward pass.

    Returns both, `hidden_grads` as a dictionary whose layers count from 0.
    """
    if not layers:
        raise ValueError("dlogits has nothing to differentiate: call forward(x, train=True) first")
    *hidden, logits = layers
    dlogits = check_soft("dlogits", dlogits, logits)
    if hidden_grads is None:
        return dlogits, {}
    check_type("hidden_grads", hidden_grads, Mapping, "a dictionary of gradients by hidden layer")
    n, injected = len(hidden), {}
    for layer, grad in hidden_grads.items():
        if isinstance(layer, bool) or not isinstance(layer, Integral) or not -n <= int(layer) < n:
            wanted = f"{-n} to {n - 1}" if n else "nothing: this network has none"
            raise ValueError(f"hidden_grads must name hidden layers, {wanted}; got {describe(layer)}")
        if int(layer) % n in injected:
            raise ValueError(f"hidden_grads must name a hidden layer once, got layer {layer % n} twice")
        injected[int(layer) % n] = check_soft(f"hidden_grads[{layer}]", grad, hidden[layer])
    return dlogits, injected


def check_theta(theta: Any, count: int, dtype: str) -> None:
    """The parameters in a file must be finite, and have the number and the type that its header states."""
    if theta.shape != (count,) or str(theta.dtype) != dtype:
        raise ValueError(f"theta must be {count} numbers of type {dtype}, got {describe(theta)}")
    if not np.isfinite(theta).all():
        raise ValueError("theta must be finite: these are the weights of a run that diverged")


def check_soft(name: str, value: Any, logits: Any) -> Any:
    """`value` as an array of the shape and on the device of `logits`."""
    value = check_matrix(name, value, rows=logits.shape[0], columns=logits.shape[1])
    return check_same_library(name, value, logits)


def check_probabilities(name: str, value: Any) -> None:
    """Each row of a NumPy array must be probabilities. A GPU array is not checked."""
    if not isinstance(value, np.ndarray):
        return
    sums = value.sum(axis=1)
    wrong = ~(np.abs(sums - 1) < 1e-3) | (value.min(axis=1) < 0)  # "not <", so that NaN counts as wrong
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{name} must be probabilities, got row {row} with sum {sums[row]:.4g} and minimum {value[row].min():.4g}; "
            "logits become probabilities with softmax(logits, temperature)"
        )


def is_stochastic(value: Any) -> bool:
    """Whether the rows of a NumPy array are probabilities of several classes. A GPU array is not checked."""
    looked_at = isinstance(value, np.ndarray) and value.shape[1] > 1 and value.min() >= 0
    return looked_at and bool(np.abs(value.sum(axis=1, dtype=np.float64) - 1).max() < 1e-3)


def check_logits(name: str, value: Any, teacher: bool) -> None:
    """`value` must be finite, and a teacher's logits must not be probabilities."""
    check_finite(name, value)
    if teacher and is_stochastic(value):
        raise ValueError(f"{name} must be logits, got probabilities: minikd.exchange.from_probabilities converts them")


def check_loss(losses: Any, limit: float, size: float, epoch: int, lr: float) -> None:
    """DivergedError, which names the batch, if a loss of the epoch is beyond `limit` or the weights are not finite."""
    bad = ~(np.abs(losses) < limit)  # "not <", so that NaN counts as bad
    if bad.any() or not math.isfinite(size):
        batch = int(bad.argmax()) if bad.any() else len(losses) - 1
        what = f"the loss is {losses[batch]}" if bad.any() else "the weights have exploded"
        raise DivergedError(
            f"training diverged in epoch {epoch + 1}, batch {batch + 1} of {len(losses)}: {what}. "
            f"Try a smaller learning rate (now {lr:g}), a schedule with warm-up, "
            "or inputs scaled to about [0, 1]. The checkpoint, if there is one, holds the last good epoch"
        )


def check_blocks(name: str, value: Any) -> dict[str, Any]:
    """`value`, one array or a dictionary of arrays, as a dictionary of float64 arrays that are not empty."""
    blocks = dict(value) if isinstance(value, Mapping) else {"theta": value}
    for key, block in blocks.items():
        label = f"{name}[{key!r}]" if isinstance(value, Mapping) else name
        if not is_array(block) or block.dtype != np.float64:
            hint = "float32 is too coarse for differences: build the model with dtype='float64'"
            raise TypeError(f"{label} must be a float64 array, got {describe(block)}; {hint}")
        if name == "theta" and isinstance(block, np.ndarray) and not block.flags.writeable:
            raise ValueError(f"{label} must be writable, because it is changed in place: np.array(theta) makes a copy")
        if block.size == 0:
            raise ValueError(f"{label} must not be empty, got {describe(block)}")
    return blocks
