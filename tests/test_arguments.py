"""A wrong argument is an error that names it, says what came and what was wanted, and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from test_training import bits, blobs

from minikd import (
    MLP,
    SGD,
    Adam,
    AdamW,
    check_gradients,
    cross_entropy,
    distill,
    distillation_loss,
    evaluate,
    fit,
    load_data,
    log_softmax,
    soft_cross_entropy,
    softmax,
)
from minikd.backend import to_device, to_numpy
from minikd.checks import as_array
from minikd.methods import METHODS
from minikd.metrics import reliability
from minikd.optim import cosine, step_decay
from minikd.report.run_plots import confusion

pytestmark = pytest.mark.extras

X, Y = blobs(8)
LOGITS = np.random.default_rng(0).standard_normal((8, 3))
LONGEST = 250  # characters of a message


class Bench:
    """What a call works on: a network to train, its teacher, an optimizer in the middle of its work."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.student = MLP((4, 5, 3), seed=1, device=device)
        self.teacher = MLP((4, 6, 3), seed=2, device=device)
        self.other = MLP((4, 5, 3), seed=3, device=device)
        self.optimizer = Adam(self.student, 0.5)
        x = to_device(X, device)
        self.student.backward(cross_entropy(self.student.forward(x, train=True), to_device(Y, device))[1])
        self.optimizer.step()

    def everything(self) -> list[Any]:
        """All that a call that is refused must leave as it was."""
        state = self.optimizer.state()
        steps, rate = state.pop("t"), self.optimizer.lr
        vectors = [model.theta for model in (self.student, self.teacher, self.other)] + list(state.values())
        return [steps, rate, bits(self.student), *(to_numpy(v).tobytes() for v in vectors), X.tobytes(), Y.tobytes()]


# A good call of everything that is public. `changes` are the arguments that a bad call has in their place.
Call = Callable[[Bench, dict[str, Any]], Any]
CALLS: dict[str, Call] = {
    "MLP": lambda b, c: MLP(**{"sizes": (4, 5, 3), "device": b.device} | c),
    "forward": lambda b, c: b.student.forward(**{"x": to_device(X, b.device)} | c),
    "train": lambda b, c: b.student.forward(**{"x": to_device(X, b.device), "train": True} | c),
    "backward": lambda b, c: b.student.backward(**{"dlogits": to_device(LOGITS, b.device)} | c),
    "backward before forward": lambda b, c: b.teacher.backward(**{"dlogits": to_device(LOGITS, b.device)} | c),
    "predict": lambda b, c: b.student.predict(**{"x": X} | c),
    "softmax": lambda b, c: softmax(**{"logits": LOGITS} | c),
    "log_softmax": lambda b, c: log_softmax(**{"logits": LOGITS} | c),
    "cross_entropy": lambda b, c: cross_entropy(**{"logits": LOGITS, "labels": Y} | c),
    "soft_cross_entropy": lambda b, c: soft_cross_entropy(**{"logits": LOGITS, "targets": softmax(LOGITS)} | c),
    "distillation_loss": lambda b, c: distillation_loss(
        **{"logits": LOGITS, "labels": Y, "teacher_logits": LOGITS + 1} | c
    ),
    "SGD": lambda b, c: SGD(**{"model": b.student, "lr": 0.1} | c),
    "Adam": lambda b, c: Adam(**{"model": b.student} | c),
    "AdamW": lambda b, c: AdamW(**{"model": b.student} | c),
    "restore": lambda b, c: b.optimizer.restore(**{"state": b.optimizer.state()} | c),
    "step_decay": lambda b, c: step_decay(**c),
    "cosine": lambda b, c: cosine(**c),
    "fit": lambda b, c: fit(**{"model": b.student, "x": X, "targets": Y, "loss": cross_entropy, "epochs": 1} | c),
    "distill": lambda b, c: distill(
        **{"student": b.student, "teacher": b.teacher, "x": X, "labels": Y, "epochs": 1} | c
    ),
    "evaluate": lambda b, c: evaluate(**{"model": b.student, "x": X, "labels": Y} | c),
    "reliability": lambda b, c: reliability(**{"probabilities": softmax(LOGITS), "labels": Y} | c),
    "confusion": lambda b, c: confusion(**{"logits": LOGITS, "labels": Y} | c),
    "check_gradients": lambda b, c: check_gradients(
        **{"f": lambda theta: float((theta**2).sum()), "theta": np.ones(3), "grad": np.full(3, 2.0)} | c
    ),
    "load_data": lambda b, c: load_data(**{"name": "digits"} | c),
}
ON_THE_DEVICE = ("MLP", "backward", "predict", "SGD", "Adam", "restore", "fit", "distill", "evaluate")
ALWAYS_WRONG = ("backward before forward",)


class Bad(NamedTuple):
    """A bad call: which, the argument with its bad value, the error, and what its message must say."""

    call: str
    argument: str
    value: Any  # or, for what exists in a test only, a function of the bench made with `late`
    error: type[Exception]
    came: str
    wanted: str
    named: str = ""  # the argument's name in the message, where it is not `argument`

    def __str__(self) -> str:
        return f"{self.call}-{self.argument}-{self.came}"


class late(NamedTuple):
    """A value that is made from the bench."""

    make: Callable[[Bench], Any]


def one_nan(value: float = np.nan) -> np.ndarray:
    """Inputs of which one is not a number."""
    x = X.copy()
    x[5, 2] = value
    return x


def one_label(value: int, index: int = 6) -> np.ndarray:
    """Labels of which one is something else."""
    labels = Y.copy()
    labels[index] = value
    return labels


NAN, INF = float("nan"), float("inf")
ONE_HOT = np.eye(3)[Y]
LISTS = X.tolist()
V, T = ValueError, TypeError

# What is wrong with labels, wherever they are given (in `fit` they are called targets until the loss gets them).
BAD_LABELS: list[tuple[Any, type[Exception], str, str]] = [
    (Y.tolist(), T, "list", "array"),
    (Y.astype(float), T, "float(32|64) array", "integers in .0, 3."),
    (Y > 0, T, "bool array", "integers in .0, 3."),
    (Y.astype(str), T, "<U", "integers|numbers"),
    (Y.astype(object), T, "object array", "integers|numbers"),
    (ONE_HOT, V, r"float(32|64) array of shape \(8, 3\)", r"indices.*argmax"),
    (ONE_HOT.astype(int), V, r"int64 array of shape \(8, 3\)", r"indices.*argmax"),
    (one_label(3), V, "3 at index 6", r"integers in \[0, 3\)"),
    (one_label(-1), V, "-1 at index 6", r"integers in \[0, 3\)"),
    (one_label(10**12), V, "1000000000000 at index 6", r"integers in \[0, 3\)"),
    (Y[:-1], V, r"shape \(7,\)", r"8 rows|shape \(8, 3\)"),
    (np.append(Y, 0), V, r"shape \(9,\)", "8 rows"),
    (Y[:0], V, r"shape \(0,\)", "8 rows"),
    (np.array(1), V, r"shape \(\)", r"\(8,\)|8 rows"),
    (Y[:, None, None], V, r"shape \(8, 1, 1\)", r"\(8,\)|indices"),
    ("cat", T, "'cat'", "array"),
]
# What is wrong with a matrix of inputs.
BAD_INPUTS: list[tuple[Any, type[Exception], str, str]] = [
    (X[0], V, r"shape \(4,\)", r"2 dimensions.*x\[None, :\]"),
    (X[None], V, r"shape \(1, 8, 4\)", "2 dimensions"),
    (np.float32(1), V, r"shape \(\)", "2 dimensions"),
    (X[:0], V, r"shape \(0, 4\)", "empty"),
    (X[:, :0], V, r"shape \(8, 0\)", "empty|4 columns"),
    (X[:, :3], V, r"shape \(8, 3\)", "4 columns|takes 4 inputs"),
    (X.T, V, r"shape \(4, 8\)", "4 columns|takes 4 inputs"),
    (LISTS, T, "list", "array"),
    (None, T, "None", "array"),
    ("x", T, "'x'", "array"),
    (X > 0, T, "bool array", "real numbers"),
    (X.astype(str), T, "<U", "real numbers"),
    (X.astype(object), T, "object array", "real numbers"),
    (X + 1j, T, "complex", "real numbers"),
]
BAD_VALUES: list[tuple[Any, type[Exception], str, str]] = [
    (one_nan(), V, r"nan at index \(5, 2\)", "finite"),
    (one_nan(INF), V, r"inf at index \(5, 2\)", "finite"),
    (one_nan(-INF), V, r"-inf at index \(5, 2\)", "finite"),
]
BAD_TEMPERATURES: list[tuple[Any, type[Exception], str, str]] = [
    (0, V, "got 0", r"\(0, inf\)"),
    (-1.0, V, r"got -1\.0", r"\(0, inf\)"),
    (NAN, V, "got nan", r"\(0, inf\)"),
    (INF, V, "got inf", r"\(0, inf\)"),
    (-INF, V, "got -inf", r"\(0, inf\)"),
    ("4", T, "'4'", "number"),
    (None, T, "None", "number"),
    (True, T, "True", "number"),
    (4j, T, "4j", "number"),
    ([4.0], T, r"\[4\.0\]", "number"),
    (np.array([4.0]), T, "array", "number"),
]
BAD_RATES: list[tuple[Any, type[Exception], str, str]] = [
    (-0.1, V, r"got -0\.1", r"\[0, inf\)"),
    (NAN, V, "got nan", r"\[0, inf\)"),
    (INF, V, "got inf", r"\[0, inf\)"),
    ("fast", T, "'fast'", "number"),
    (None, T, "None", "number"),
    (lambda progress: 0.1, T, "function", "number"),
]
BAD_COUNTS: list[tuple[Any, type[Exception], str, str]] = [
    (0, V, "got 0", "at least 1"),
    (-1, V, "got -1", "at least 1"),
    (1.5, T, r"got 1\.5", "whole number"),
    (2.0, T, r"got 2\.0", "whole number"),
    (NAN, T, "nan", "whole number"),
    ("3", T, "'3'", "whole number"),
    (None, T, "None", "whole number"),
    (True, T, "True", "whole number"),
]
BAD_SEEDS: list[tuple[Any, type[Exception], str, str]] = [
    (-1, V, "got -1", "at least 0"),
    (0.5, T, r"got 0\.5", "whole number"),
    ("x", T, "'x'", "whole number"),
    (None, T, "None", "whole number"),
]
NOT_A_TEACHER = r"MLP, a callable x -> logits or an array of logits"


def each(call: str, argument: str, rows: list[tuple[Any, type[Exception], str, str]], named: str = "") -> list[Bad]:
    """The same bad values for an argument of a call."""
    return [Bad(call, argument, *row, named) for row in rows]


BAD_CALLS: list[Bad] = [
    # ---- networks
    Bad("MLP", "sizes", (), V, r"\(\)", "at least the inputs and the classes"),
    Bad("MLP", "sizes", (4,), V, r"\(4,\)", "at least the inputs and the classes"),
    Bad("MLP", "sizes", (4, 0, 3), V, "got 0", "at least 1", r"sizes[1]"),
    Bad("MLP", "sizes", (4, -5, 3), V, "got -5", "at least 1", r"sizes[1]"),
    Bad("MLP", "sizes", (4, 5, 2.5), T, r"2\.5", "whole number", r"sizes[2]"),
    Bad("MLP", "sizes", ("4", "3"), T, "'4'", "whole number", r"sizes[0]"),
    Bad("MLP", "sizes", (4, None), T, "None", "whole number", r"sizes[1]"),
    Bad("MLP", "sizes", (4, True), T, "True", "whole number", r"sizes[1]"),
    Bad("MLP", "sizes", ((4, 5), 3), T, r"\(4, 5\)", "whole number", r"sizes[0]"),
    Bad("MLP", "sizes", "784", T, "'784'", "sequence"),
    Bad("MLP", "sizes", 784, T, "784", "sequence"),
    Bad("MLP", "sizes", {4, 3}, T, "set", "sequence"),
    Bad("MLP", "sizes", None, T, "None", "sequence"),
    Bad("MLP", "sizes", np.array(784), T, "784|array", "sequence"),
    Bad("MLP", "sizes", (4, -(10**300)), V, "got -1000", "at least 1", r"sizes[1]"),
    Bad("MLP", "activation", "swish", V, "'swish'", "relu, tanh, sigmoid, gelu"),
    Bad("MLP", "activation", "ReLU", V, "'ReLU'", "relu, tanh, sigmoid, gelu"),
    Bad("MLP", "activation", "relu " * 100, V, "'relu relu", "relu, tanh, sigmoid, gelu"),
    Bad("MLP", "activation", np.tanh, T, "tanh", "relu, tanh, sigmoid, gelu"),
    Bad("MLP", "activation", None, T, "None", "relu, tanh, sigmoid, gelu"),
    Bad("MLP", "dropout", 1.0, V, "got 1", r"\[0, 1\)"),
    Bad("MLP", "dropout", -0.1, V, r"-0\.1", r"\[0, 1"),
    Bad("MLP", "dropout", 50, V, "50", r"\[0, 1"),
    Bad("MLP", "dropout", NAN, V, "nan", r"\[0, 1"),
    Bad("MLP", "dropout", "0.5", T, r"'0\.5'", "number"),
    Bad("MLP", "dropout", None, T, "None", "number"),
    Bad("MLP", "dropout", (0.1, 0.2, 0.3), V, "got 3", "one for each of 2 layers"),
    Bad("MLP", "dropout", (), V, "got 0", "one for each of 2 layers"),
    Bad("MLP", "dropout", (0.1, None), T, "None", "number"),
    Bad("MLP", "dtype", "float16", V, "'float16'", "float32, float64"),
    Bad("MLP", "dtype", np.int32, V, "'int32'", "float32, float64"),
    Bad("MLP", "dtype", np.dtype("float16"), V, "'float16'", "float32, float64"),
    Bad("MLP", "dtype", 32, T, "32", "float32, float64"),
    Bad("MLP", "device", "gpu", V, "'gpu'", "cpu, cuda"),
    Bad("MLP", "device", "cuda:0", V, "'cuda:0'", "cpu, cuda"),
    Bad("MLP", "device", None, T, "None", "cpu, cuda"),
    Bad("MLP", "device", 0, T, "0", "cpu, cuda"),
    *each("MLP", "seed", BAD_SEEDS),
    *each("forward", "x", BAD_INPUTS),
    *each("train", "x", BAD_INPUTS),
    *each("predict", "x", BAD_INPUTS),
    Bad("backward", "dlogits", LOGITS[:7], V, r"\(7, 3\)", r"\(8, 3\)|8 rows"),
    Bad("backward", "dlogits", LOGITS[:, :2], V, r"\(8, 2\)", r"\(8, 3\)|3 columns"),
    Bad("backward", "dlogits", LOGITS[0], V, r"\(3,\)", r"\(8, 3\)|2 dimensions"),
    Bad("backward", "dlogits", 1.0, T, r"1\.0", "array"),
    Bad("backward", "dlogits", LOGITS.tolist(), T, "list", "array"),
    Bad("backward", "dlogits", LOGITS.astype(str), T, "<U", "real|number"),
    Bad("backward", "dlogits", late(lambda b: cross_entropy(LOGITS, Y)), T, "tuple", "array"),
    Bad("backward before forward", "dlogits", LOGITS, V, "nothing", r"forward\(x, train=True\)"),
    # ---- softmax and losses
    Bad("softmax", "logits", LOGITS[0], V, r"\(3,\)", r"2 dimensions.*logits\[None, :\]"),
    Bad("softmax", "logits", LOGITS[:0], V, r"\(0, 3\)", "empty"),
    Bad("softmax", "logits", LOGITS.tolist(), T, "list", "array"),
    Bad("softmax", "logits", LOGITS > 0, T, "bool", "real numbers"),
    *each("softmax", "temperature", BAD_TEMPERATURES),
    Bad("log_softmax", "logits", LOGITS[0], V, r"\(3,\)", "2 dimensions"),
    *each("log_softmax", "temperature", BAD_TEMPERATURES[:2]),
    Bad("cross_entropy", "logits", LOGITS[0], V, r"\(3,\)", "2 dimensions"),
    Bad("cross_entropy", "logits", LOGITS.tolist(), T, "list", "array"),
    *each("cross_entropy", "labels", BAD_LABELS),
    Bad("cross_entropy", "labels", None, T, "None", "array"),
    Bad("soft_cross_entropy", "targets", LOGITS, V, "row 0 with sum", r"probabilities.*softmax"),
    Bad("soft_cross_entropy", "targets", np.full((8, 3), NAN), V, "sum nan", "probabilities"),
    Bad("soft_cross_entropy", "targets", np.tile([1.5, -0.5, 0.0], (8, 1)), V, r"minimum -0\.5", "probabilities"),
    Bad("soft_cross_entropy", "targets", np.full((8, 3), 0.1), V, r"sum 0\.3", "probabilities"),
    Bad("soft_cross_entropy", "targets", Y, V, r"\(8,\)", r"\(8, 3\)|2 dimensions"),
    Bad("soft_cross_entropy", "targets", softmax(LOGITS)[:7], V, r"\(7, 3\)", r"\(8, 3\)|8 rows"),
    Bad("soft_cross_entropy", "targets", softmax(LOGITS).tolist(), T, "list", "array"),
    Bad("soft_cross_entropy", "targets", LOGITS.astype(str), T, "<U", "real|number|probabilities"),
    Bad("soft_cross_entropy", "targets", None, T, "None", "array"),
    *each("soft_cross_entropy", "temperature", BAD_TEMPERATURES),
    *each("distillation_loss", "temperature", BAD_TEMPERATURES),
    *each("distillation_loss", "labels", BAD_LABELS),
    Bad("distillation_loss", "labels", None, V, r"soft_weight 0\.9", "only with soft_weight 1"),
    Bad("distillation_loss", "soft_weight", 1.1, V, r"got 1\.1", r"\[0, 1\]"),
    Bad("distillation_loss", "soft_weight", -0.1, V, r"got -0\.1", r"\[0, 1\]"),
    Bad("distillation_loss", "soft_weight", NAN, V, "got nan", r"\[0, 1\]"),
    Bad("distillation_loss", "soft_weight", "0.9", T, r"'0\.9'", "number"),
    Bad("distillation_loss", "teacher_logits", LOGITS[:, :2], V, r"\(8, 2\)", r"\(8, 3\)|3 columns"),
    Bad("distillation_loss", "teacher_logits", LOGITS[0], V, r"\(3,\)", r"\(8, 3\)|2 dimensions"),
    Bad("distillation_loss", "teacher_logits", LOGITS.tolist(), T, "list", "array"),
    Bad("distillation_loss", "teacher_logits", LOGITS.astype(str), T, "<U", "real|number"),
    Bad("distillation_loss", "teacher_logits", None, T, "None", "array"),
    # ---- optimizers and schedules
    *each("SGD", "lr", BAD_RATES),
    *each("Adam", "lr", BAD_RATES),
    *each("AdamW", "lr", BAD_RATES[:2]),
    *each("SGD", "weight_decay", BAD_RATES),
    *each("Adam", "weight_decay", BAD_RATES),
    *each("AdamW", "weight_decay", BAD_RATES[:2]),
    Bad("SGD", "momentum", 1.5, V, r"1\.5", r"\[0, 1"),
    Bad("SGD", "momentum", -0.9, V, r"-0\.9", r"\[0, 1"),
    Bad("SGD", "momentum", "0.9", T, r"'0\.9'", "number"),
    Bad("SGD", "nesterov", True, V, "momentum 0", "momentum above 0"),
    Bad("SGD", "max_norm", 0, V, "got 0", r"\(0, inf\)"),
    Bad("SGD", "max_norm", -3.0, V, r"-3\.0", r"\(0, inf\)"),
    Bad("SGD", "max_norm", "big", T, "'big'", "number"),
    Bad("Adam", "betas", 0.9, T, r"0\.9", "pair"),
    Bad("Adam", "betas", (0.9,), T, r"\(0\.9,\)", "pair"),
    Bad("Adam", "betas", (0.9, 0.99, 0.999), T, r"0\.99,", "pair"),
    Bad("Adam", "betas", "ab", T, "'ab'", "pair"),
    Bad("Adam", "betas", (1.0, 0.9), V, r"got 1\.0", r"\[0, 1\)", "betas[0]"),
    Bad("Adam", "betas", (0.9, -0.1), V, r"got -0\.1", r"\[0, 1", "betas[1]"),
    Bad("Adam", "betas", (0.9, NAN), V, "nan", r"\[0, 1", "betas[1]"),
    Bad("Adam", "betas", (0.9, "0.999"), T, r"'0\.999'", "number", "betas[1]"),
    Bad("Adam", "eps", 0, V, "got 0", r"\(0, inf\)"),
    Bad("Adam", "eps", -1e-8, V, "-1e-08", r"\(0, inf\)"),
    Bad("AdamW", "betas", 0.9, T, r"0\.9", "pair"),
    Bad("SGD", "model", "network", T, "'network'", "MLP"),
    Bad("Adam", "model", None, T, "None", "MLP"),
    Bad("Adam", "model", MLP, T, "type", "MLP"),
    Bad("restore", "state", {}, V, r"", r"t and m, v of shape \(43,\)"),
    Bad("restore", "state", {"t": 1, "m": np.zeros(42), "v": np.zeros(43)}, V, "", r"shape \(43,\)"),
    Bad("restore", "state", {"t": 1, "u": np.zeros(43)}, V, "", "t and m, v"),
    Bad("cosine", "warmup", 1, V, "got 1", r"\[0, 1\)"),
    Bad("cosine", "warmup", -0.1, V, r"-0\.1", r"\[0, 1"),
    Bad("cosine", "warmup", 5, V, "5", r"\[0, 1"),
    Bad("cosine", "final", 1.5, V, r"1\.5", r"\[0, 1\]"),
    Bad("step_decay", "at", (0.5, 30), V, "30", r"\[0, 1\]"),
    Bad("step_decay", "at", 0.5, T, r"0\.5", "sequence|tuple"),
    Bad("SGD", "lr", 10**400, V, "10000", r"\[0, inf\)"),
    Bad("Adam", "eps", -(10**400), V, "-10000", r"\(0, inf\)"),
    Bad("step_decay", "factor", -1, V, "-1", r"\[0, inf\)"),
    # ---- training
    *each("fit", "x", BAD_INPUTS + BAD_VALUES),
    *each("fit", "targets", BAD_LABELS, named="labels|targets"),
    Bad("fit", "targets", None, T, "None", "one row for each row of x"),
    Bad("fit", "targets", (Y, Y[:3]), V, r"shape \(3,\)", "8 rows", r"targets[1]"),
    Bad("fit", "targets", (Y, None), T, "None", "one row for each row of x", r"targets[1]"),
    Bad("fit", "targets", np.full((8, 3), NAN), V, r"nan at index \(0, 0\)", "finite"),
    Bad("fit", "model", "network", T, "'network'", "MLP"),
    Bad("fit", "model", MLP, T, "type", "MLP"),
    Bad("fit", "model", None, T, "None", "MLP"),
    Bad("fit", "loss", None, T, "None", "function"),
    Bad("fit", "loss", "cross_entropy", T, "'cross_entropy'", "function"),
    Bad("fit", "loss", lambda logits, labels: (1.0, logits[:2]), V, r"\(2, 3\)", r"\(8, 3\)|8 rows", "dlogits"),
    Bad("fit", "optimizer", "adam", T, "'adam'", "SGD, Adam or AdamW"),
    Bad("fit", "optimizer", Adam, T, "Adam", "SGD, Adam or AdamW"),
    Bad("fit", "optimizer", late(lambda b: Adam(b.other)), V, "made for another", "for the model that is trained"),
    *each("fit", "epochs", BAD_COUNTS),
    *each("fit", "batch_size", BAD_COUNTS),
    *each("fit", "seed", BAD_SEEDS),
    Bad("fit", "schedule", 0.1, T, r"0\.1", "function"),
    Bad("fit", "schedule", "cosine", T, "'cosine'", "function"),
    Bad("fit", "augment", 0.1, T, r"0\.1", "function"),
    Bad("fit", "augment", "shift", T, "'shift'", "function"),
    Bad("fit", "augment", lambda x, rng: None, T, "None", "array", "augment|x"),
    Bad("fit", "augment", lambda x, rng: x[:, :2], V, r"\(8, 2\)", "4 columns", "augment|x"),
    Bad("fit", "augment", lambda x, rng: x[:2], V, r"shape \(2, 4\)|2 rows", "8", "augment|labels"),
    Bad("fit", "callbacks", print, T, "print", "functions|sequence"),
    Bad("fit", "callbacks", 5, T, "5", "functions|sequence"),
    Bad("fit", "callbacks", ["print"], T, "'print'", "function"),
    Bad("fit", "checkpoint", 5, T, "5", "path"),
    Bad("fit", "resume", True, V, "resume=True", "checkpoint"),
    Bad("fit", "validation", X, T, "array", "pair"),
    Bad("fit", "validation", 5, T, "5", "pair"),
    Bad("fit", "validation", (X,), T, "1|tuple", "pair"),
    Bad("fit", "validation", (X, Y, Y), T, "3|tuple", "pair"),
    Bad("fit", "validation", (X, None), T, "None", "array", "validation|labels"),
    Bad("fit", "validation", (X, Y[:3]), V, r"\(3,\)", "8 rows", "validation|labels"),
    Bad("fit", "validation", (X, Y + 1), V, "3 at index", r"\[0, 3\)", "validation|labels"),
    Bad("fit", "validation", (X[:, :2], Y), V, r"\(8, 2\)", "4 (inputs|columns)", "validation|x"),
    Bad("fit", "validation", (one_nan(), Y), V, "nan at index", "finite", "validation|x"),
    # ---- distillation
    *each("distill", "x", BAD_INPUTS + BAD_VALUES),
    *each("distill", "labels", BAD_LABELS),
    *each("distill", "temperature", BAD_TEMPERATURES),
    Bad("distill", "labels", None, V, r"soft_weight 0\.9", "only with soft_weight 1"),
    Bad("distill", "soft_weight", 1.1, V, r"1\.1", r"\[0, 1\]"),
    Bad("distill", "soft_weight", -0.1, V, r"-0\.1", r"\[0, 1\]"),
    Bad("distill", "soft_weight", "most", T, "'most'", "number"),
    Bad("distill", "student", "network", T, "'network'", "MLP"),
    Bad("distill", "student", lambda x: x, T, "function", "MLP"),
    Bad("distill", "teacher", late(lambda b: b.student), V, "itself|its own|student", "another network"),
    Bad("distill", "teacher", None, T, "None", NOT_A_TEACHER),
    Bad("distill", "teacher", "hinton", T, "'hinton'", NOT_A_TEACHER),
    Bad("distill", "teacher", LOGITS.tolist(), T, "list", NOT_A_TEACHER),
    Bad("distill", "teacher", MLP((4, 6, 5)), V, r"\(8, 5\)", "3 columns"),
    Bad("distill", "teacher", MLP((7, 6, 3)), V, r"\(8, 4\)", "7 inputs"),
    Bad("distill", "teacher", LOGITS[:, :2], V, r"\(8, 2\)", "3 columns"),
    Bad("distill", "teacher", LOGITS[:5], V, r"\(5, 3\)", "8 rows"),
    Bad("distill", "teacher", LOGITS[0], V, r"\(3,\)", "2 dimensions"),
    Bad("distill", "teacher", Y, V, r"\(8,\)", "2 dimensions"),
    Bad("distill", "teacher", LOGITS[:0], V, r"\(0, 3\)", "empty|8 rows"),
    Bad("distill", "teacher", LOGITS > 0, T, "bool", "real numbers"),
    Bad("distill", "teacher", np.full((8, 3), NAN), V, r"nan at index \(0, 0\)", "finite"),
    Bad("distill", "teacher", np.full((8, 3), -INF), V, r"-inf at index \(0, 0\)", "finite"),
    Bad("distill", "teacher", lambda x: None, T, "None", "array"),
    Bad("distill", "teacher", lambda x: LOGITS.tolist(), T, "list", "array"),
    Bad("distill", "teacher", lambda x: LOGITS[:, 0], V, r"\(8,\)", "2 dimensions"),
    Bad("distill", "teacher", lambda x: LOGITS[:5], V, r"\(5, 3\)", "8 rows"),
    Bad("distill", "loss", cross_entropy, T, "loss", "distill decides"),
    Bad("distill", "targets", Y, T, "targets", "distill decides"),
    *each("distill", "epochs", BAD_COUNTS[:3]),
    Bad(
        "distill", "optimizer", late(lambda b: Adam(b.teacher)), V, "made for another", "for the model that is trained"
    ),
    # ---- measuring
    *each("evaluate", "x", BAD_INPUTS + BAD_VALUES),
    *each("evaluate", "labels", BAD_LABELS),
    Bad("evaluate", "labels", None, T, "None", "array"),
    Bad("evaluate", "model", None, T, "None", NOT_A_TEACHER),
    Bad("evaluate", "model", "network", T, "'network'", NOT_A_TEACHER),
    Bad("evaluate", "model", MLP((7, 3)), V, r"\(8, 4\)", "7 inputs"),
    Bad("evaluate", "model", LOGITS[:5], V, r"\(5, 3\)", "8 rows"),
    Bad("evaluate", "model", np.full((8, 3), NAN), V, "nan at index", "finite"),
    Bad("evaluate", "teacher", 7, T, "7", NOT_A_TEACHER),
    Bad("evaluate", "teacher", LOGITS[:, :2], V, r"\(8, 2\)", "3 columns"),
    Bad("evaluate", "teacher", MLP((4, 6, 5)), V, r"\(8, 5\)", "3 columns"),
    Bad("reliability", "bins", 0, V, "got 0", "at least 1"),
    Bad("reliability", "bins", 1.5, T, r"1\.5", "whole number"),
    Bad("confusion", "logits", LOGITS[0], V, r"\(3,\)", "2 dimensions"),
    *each("confusion", "labels", BAD_LABELS[:10]),
    Bad("check_gradients", "theta", np.ones(3, np.float32), T, "float32 array", "float64.*dtype='float64'"),
    Bad("check_gradients", "grad", np.ones(3, np.float32), T, "float32 array", "float64"),
    Bad("check_gradients", "theta", np.ones(3, int), T, "int64 array", "float64"),
    Bad("check_gradients", "theta", [1.0, 1.0, 1.0], T, "list", "float64 array"),
    Bad("check_gradients", "theta", np.ones(0), V, r"\(0,\)", "empty"),
    Bad("check_gradients", "grad", np.ones(4), V, r"\(4,\)", r"theta, \(3,\)"),
    Bad("check_gradients", "grad", None, T, "None", "float64 array"),
    Bad("check_gradients", "grad", {"W1": np.ones(3)}, V, "got W1", "theta"),
    Bad("check_gradients", "n_coordinates", -1, V, "got -1", "at least 0"),
    Bad("check_gradients", "n_coordinates", 1.5, T, r"1\.5", "whole number"),
    Bad("check_gradients", "n_directions", -1, V, "got -1", "at least 0"),
    Bad("check_gradients", "step", 0, V, "got 0", r"\(0, inf\)"),
    Bad("check_gradients", "f", 5, T, "5", "function"),
    Bad("load_data", "name", "cifar", V, "'cifar'", "digits"),
    Bad("load_data", "name", 5, T, "5", "digits"),
    Bad("load_data", "name", None, T, "None", "digits"),
]


def ids(calls: list[Bad]) -> list[str]:
    """Readable names for the test runner."""
    return [re.sub(r"[^\w .,-]", "", str(bad)) for bad in calls]


def assert_explained(bad: Bad, bench: Bench) -> None:
    """The bad call raises the right error, in words, and changes nothing."""
    before = bench.everything()
    value = bad.value.make(bench) if isinstance(bad.value, late) else bad.value
    if isinstance(value, np.ndarray) and bad.call in ("backward", "backward before forward"):
        value = value if value.dtype.kind not in "biuf" else to_device(value, bench.device)
    with pytest.raises((ValueError, TypeError)) as caught:
        CALLS[bad.call](bench, {bad.argument: value})
    message = str(caught.value)
    names = "|".join(re.escape(name) for name in (bad.named or bad.argument).split("|"))
    for part, pattern in (("argument", rf"(?<![\w.])({names})(?!\w)"), ("came", bad.came), ("wanted", bad.wanted)):
        assert re.search(pattern, message), f"{part} {pattern!r} is not in: {message}"
    assert type(caught.value) is bad.error, f"{type(caught.value).__name__}: {message}"
    assert message.isprintable(), f"more than one line: {message!r}"
    assert len(message) <= LONGEST, f"{len(message)} characters: {message}"
    assert bench.everything() == before, "a call that was refused changed something"


OF_THE_DEVICE = [bad for bad in BAD_CALLS if bad.call in ON_THE_DEVICE]
OF_THE_HOST = [bad for bad in BAD_CALLS if bad.call not in ON_THE_DEVICE]


def test_the_table_is_long_and_has_something_for_every_call() -> None:
    assert len(BAD_CALLS) >= 60
    assert {bad.call for bad in BAD_CALLS} == set(CALLS)


@pytest.mark.parametrize("call", [call for call in CALLS if call not in ALWAYS_WRONG])
def test_the_same_call_with_good_arguments_is_accepted(call: str) -> None:
    CALLS[call](Bench(), {})


@pytest.mark.parametrize("call", ON_THE_DEVICE)
def test_the_same_call_with_good_arguments_is_accepted_on_the_device(call: str, device: str) -> None:
    CALLS[call](Bench(device), {})


@pytest.mark.parametrize("bad", OF_THE_HOST, ids=ids(OF_THE_HOST))
def test_a_bad_argument_is_explained(bad: Bad) -> None:
    assert_explained(bad, Bench())


@pytest.mark.parametrize("bad", OF_THE_DEVICE, ids=ids(OF_THE_DEVICE))
def test_a_bad_argument_is_explained_wherever_the_model_is(bad: Bad, device: str) -> None:
    assert_explained(bad, Bench(device))


# ---- what does not fit into the table --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "argument", "value"),
    [
        ("fit", "targets", Y.astype(np.uint8)),
        ("fit", "targets", (Y,)),
        ("fit", "x", X.astype(float)),
        ("fit", "x", np.ones((8, 4), np.uint8)),
        ("fit", "epochs", np.int64(1)),
        ("fit", "batch_size", 10**9),
        ("fit", "seed", 2**40),
        ("fit", "targets", lambda x: x[:, :3].argmax(axis=1)),
        ("fit", "callbacks", (lambda model, history: None,)),
        ("fit", "callbacks", [lambda model, history: None]),
        ("fit", "validation", [X, Y]),
        ("distill", "teacher", LOGITS),
        ("distill", "teacher", LOGITS.astype(int)),
        ("distill", "teacher", lambda x: x[:, :3]),
        ("distill", "temperature", 1),
        ("distill", "temperature", np.float32(2)),
        ("distill", "soft_weight", 0),
        ("evaluate", "model", LOGITS),
        ("evaluate", "teacher", LOGITS),
        ("MLP", "sizes", [4, 3]),
        ("MLP", "sizes", np.array([4, 5, 3])),
        ("MLP", "dropout", 0),
        ("MLP", "dropout", [0.1, 0.5]),
        ("SGD", "lr", 0),
        ("SGD", "momentum", 0.9),
        ("Adam", "betas", [0.0, 0.999]),
        ("softmax", "logits", np.array([[1, 2, 3]])),
        ("soft_cross_entropy", "targets", ONE_HOT),
        ("soft_cross_entropy", "targets", ONE_HOT.astype(int)),
        ("check_gradients", "n_directions", 0),
    ],
)
def test_unusual_but_good_arguments_are_accepted(call: str, argument: str, value: Any) -> None:
    CALLS[call](Bench(), {argument: value})


def test_arrays_of_the_wrong_device_are_named(strict_cupy: Any) -> None:
    bench = Bench("cuda")
    x, logits, labels = (to_device(array, "cuda") for array in (X, LOGITS, Y))
    with pytest.raises(TypeError, match=r"^x must be on the device of the model, 'cuda'; .*to_device"):
        bench.student.forward(X)
    with pytest.raises(TypeError, match=r"^x must be on the device of the model, 'cpu'; .*to_device"):
        Bench("cpu").student.forward(x)
    with pytest.raises(TypeError, match=r"^labels must be on the device of logits; .*to_device"):
        cross_entropy(logits, Y)
    with pytest.raises(TypeError, match=r"^labels must be on the device of logits; .*to_device"):
        cross_entropy(LOGITS, labels)
    with pytest.raises(TypeError, match=r"^targets must be on the device of logits; .*to_device"):
        soft_cross_entropy(logits, softmax(LOGITS))
    with pytest.raises(TypeError, match=r"^teacher_logits must be on the device of logits; .*to_device"):
        distillation_loss(LOGITS, Y, logits)
    with pytest.raises(TypeError, match=r"^dlogits must be on the (model's device|device of)"):
        bench.student.backward(LOGITS)


def test_labels_given_on_a_gpu_are_looked_at_once_by_fit(strict_cupy: Any) -> None:
    bench = Bench("cuda")
    for wrong in (one_label(3), one_label(-1)):
        with pytest.raises(ValueError, match=r"(labels|targets) must be integers in \[0, 3\), got -?\d at index 6"):
            CALLS["fit"](bench, {"targets": to_device(wrong, "cuda")})


# What is not a plain array, but has its numbers in memory: each library's way to make one.
LIBRARIES = {
    "pandas": lambda a: (lambda pd: pd.Series(a) if a.ndim == 1 else pd.DataFrame(a))(pytest.importorskip("pandas")),
    "torch": lambda a: pytest.importorskip("torch").tensor(a),
    "np.matrix": lambda a: a if a.ndim == 1 else a.view(np.matrix),
}
ARRAYS = {"x": X, "labels": Y, "targets": Y, "teacher": LOGITS, "logits": LOGITS, "teacher_logits": LOGITS}
ARRAYS |= {"model": LOGITS, "dlogits": LOGITS}
TAKE_ARRAYS = {
    **{"fit": ("x", "targets"), "distill": ("x", "labels", "teacher"), "evaluate": ("model", "x", "labels", "teacher")},
    **{"forward": ("x",), "train": ("x",), "predict": ("x",), "backward": ("dlogits",)},
    **{"softmax": ("logits",), "log_softmax": ("logits",), "cross_entropy": ("logits", "labels")},
    **{"soft_cross_entropy": ("logits", "targets"), "distillation_loss": ("logits", "labels", "teacher_logits")},
}


def with_arrays(call: str, change: Callable[[np.ndarray], Any]) -> tuple[Any, bytes]:
    """What a call returns when all its arrays are changed so, and the student after it."""
    bench = Bench()
    arrays = {name: ARRAYS[name] for name in TAKE_ARRAYS[call]}
    if call == "soft_cross_entropy":
        arrays["targets"] = softmax(LOGITS)
    if call == "fit":
        arrays["validation"] = (X, Y)
    made = {k: tuple(map(change, v)) if isinstance(v, tuple) else change(v) for k, v in arrays.items()}
    result = CALLS[call](bench, made)
    return (result.rows if call in ("fit", "distill") else result), bits(bench.student)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("call", TAKE_ARRAYS)
def test_arrays_of_other_libraries_give_what_plain_ones_give(call: str, library: str) -> None:
    wanted, student = with_arrays(call, np.asarray)
    found, other = with_arrays(call, LIBRARIES[library])
    assert student == other
    for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (wanted, found)), strict=True):
        if call.endswith(("loss", "entropy")):  # its kernel knows plain arrays alone, and may round otherwise
            np.testing.assert_allclose(b, a, rtol=1e-12)
        elif isinstance(a, np.ndarray):
            assert type(b) is np.ndarray and a.tobytes() == b.tobytes()
        else:
            assert a == b


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.only])
def test_every_method_takes_data_frames(method: str) -> None:
    pd, (first, second) = pytest.importorskip("pandas"), (Bench(), Bench())
    for bench, x, labels in ((first, X, Y), (second, pd.DataFrame(X), pd.Series(Y))):
        METHODS[method].train(bench.student, bench.teacher, x, labels, epochs=4, progress=False)
    assert bits(first.student) == bits(second.student)


def test_numbers_in_memory_are_not_copied() -> None:
    torch, pd = pytest.importorskip("torch"), pytest.importorskip("pandas")
    for value in (torch.ones(3, 2), pd.DataFrame(np.ones((3, 2))), np.ones((3, 2)).view(np.matrix)):
        assert np.shares_memory(as_array("x", value), np.asarray(value))


CALLS_AND_ARRAYS = [(call, name) for call, names in TAKE_ARRAYS.items() for name in names]


@pytest.mark.parametrize(("call", "name"), CALLS_AND_ARRAYS)
def test_a_list_is_refused_with_the_call_that_makes_an_array(call: str, name: str) -> None:
    what = "targets" if call == "soft_cross_entropy" and name == "targets" else name
    value = (softmax(LOGITS) if call == "soft_cross_entropy" and name == "targets" else ARRAYS[name]).tolist()
    with pytest.raises(TypeError, match=rf"^{what} must be .*array.*\(list\); np\.asarray\({what}\) makes one"):
        CALLS[call](Bench(), {name: value})


@pytest.mark.parametrize(("call", "name"), CALLS_AND_ARRAYS)
def test_an_array_with_a_mask_is_refused(call: str, name: str) -> None:
    value = np.ma.masked_array(ARRAYS[name], np.arange(ARRAYS[name].size).reshape(ARRAYS[name].shape) == 1)
    with pytest.raises(TypeError, match=rf"^{name} must have no mask, got .*; {name}\.filled\(number\) fills the gaps"):
        CALLS[call](Bench(), {name: value})


@pytest.mark.parametrize(
    ("call", "name"), [("cross_entropy", "labels"), ("evaluate", "labels"), ("distill", "labels"), ("fit", "targets")]
)
def test_a_column_of_labels_is_told_to_ravel_and_one_hot_rows_to_take_argmax(call: str, name: str) -> None:
    for value, way in ((Y[:, None], r"labels\.ravel\(\)"), (np.eye(3, dtype=int)[Y], r"labels\.argmax\(axis=1\)")):
        with pytest.raises(ValueError, match=rf"labels must be class indices of shape .* become indices with {way}"):
            CALLS[call](Bench(), {name: value})


def test_a_tensor_that_needs_a_gradient_is_refused_with_torchs_own_advice() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"^logits must be readable by np\.asarray, got .*detach\(\)"):
        cross_entropy(torch.tensor(LOGITS, requires_grad=True), Y)


class ManyLines:
    """An object that prints as a table, as data frames do."""

    def __repr__(self) -> str:
        return "\n".join(["a b c"] * 50)


@pytest.mark.parametrize("call", ["fit", "distill", "evaluate", "predict"])
def test_an_object_that_prints_on_many_lines_does_not_spoil_the_message(call: str) -> None:
    with pytest.raises(TypeError, match=r"x must be .*ManyLines") as caught:
        CALLS[call](Bench(), {"x": ManyLines()})
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= LONGEST


def test_an_unknown_option_of_distill_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="'epoch'"):
        distill(Bench().student, LOGITS, X, Y, epoch=3)


def test_a_teacher_that_is_an_array_cannot_follow_an_augmentation(device: str) -> None:
    bench = Bench(device)
    before = bench.everything()
    with pytest.raises(ValueError, match="teacher must be an MLP or a callable with augment: an array holds"):
        distill(bench.student, LOGITS, X, Y, augment=lambda x, rng: x)
    assert bench.everything() == before
