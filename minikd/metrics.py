"""How good a classifier is, how well calibrated its probabilities are, and how closely it follows its teacher.

Every score is computed from logits, on the CPU, in float64.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .backend import Array, to_numpy
from .checkpoint import fingerprint, write_atomically
from .checks import check_count, check_labels, check_logits, check_matrix, check_samples, describe, is_array, is_source
from .mlp import MLP, PIECE
from .ops import log_softmax

Classifier = Any  # an MLP, a callable x -> logits, or an (N, K) array of logits


class Scores(dict[str, float]):
    """Numbers by name, readable as `scores["nll"]` and as `scores.nll`."""

    def __getattr__(self, name: str) -> float:
        if name in self:
            return self[name]
        raise AttributeError(f"no score named {name!r}, only {', '.join(self)}")


class Predictor:
    """Anything that has logits, as one thing with one method: `logits`.

    model     an MLP (run without dropout), a callable x -> logits, or an (N, K) array, the logits of N rows
    name      what messages call it;  classes  K, where only one number of classes will do

    TypeError, with `name` in it, for a model that is none of these.
    """

    def __init__(self, model: Classifier, name: str = "model", classes: int | None = None) -> None:
        self.model, self.name, self.classes = model, name, classes
        self.fixed = is_array(model)  # it has logits for the rows that it was made for, and for no others
        if not (self.fixed or callable(model) or isinstance(model, MLP)):
            hint = "; minikd.exchange.read_teacher reads a file" if isinstance(model, str | os.PathLike) else ""
            wanted = "an MLP, a callable x -> logits or an array of logits"
            raise TypeError(f"{name} must be {wanted}, got {describe(model)}{hint}")

    def logits(self, x: Array) -> Array:
        """x (N, D) -> (N, K). ValueError or TypeError where the logits do not fit x or are not finite."""
        if isinstance(self.model, MLP) and x.shape[1] != self.model.sizes[0]:
            raise ValueError(f"{self.name} takes {self.model.sizes[0]} inputs, but x is {describe(x)}")
        predict = self.model.predict if isinstance(self.model, MLP) else self.model
        if self.fixed:
            logits = self.model
        elif is_source(x):  # it may not fit in memory
            logits = np.concatenate([to_numpy(predict(x[i : i + PIECE])) for i in range(0, len(x), PIECE)])
        else:
            logits = predict(x)
        what = self.name if self.fixed else f"the logits of {self.name}"
        check_matrix(what, logits, columns=self.classes, rows=len(x))
        check_logits(what, logits, self.name != "model")  # what is measured may be a choice of classes
        return logits

    __call__ = logits

    @property
    def fingerprint(self) -> str:
        """What a checkpoint records, so that a run is not resumed with another teacher."""
        return f"logits of {fingerprint(self.model.theta if isinstance(self.model, MLP) else self.model)}"


def teacher_targets(teacher: Classifier, student: MLP, x: Array, augment: Any = None) -> Any:
    """The logits of `teacher` for x as a target for `fit`: (N, K), computed once.

    With `augment` the target is a function of the augmented rows instead: the teacher must speak of what the student
    sees. ValueError and TypeError for a teacher that has no logits for them, or is the student itself.
    """
    if teacher is student or getattr(teacher, "__self__", None) is student:  # student.predict is the student, too
        raise ValueError("teacher must be another network than student: a network cannot be its own fixed target")
    asked = Predictor(teacher, "teacher", student.sizes[-1])
    if augment is None:
        return asked.logits(x)
    if asked.fixed:
        raise ValueError("teacher must be an MLP or a callable with augment: an array holds its logits for the plain x")
    return asked


def evaluate(model: Classifier, x: Array, labels: Array, *, teacher: Classifier | None = None) -> Scores:
    """Measure a classifier on x (N, D) and labels (N,).

    accuracy   the share of rows whose largest logit is the label's;  errors  the number of the others
    nll        -mean log p(label), in nats
    ece        expected calibration error: |accuracy - confidence| in 15 equal bins of confidence, weighted by
               their counts (Guo et al. 2017, arXiv 1706.04599, eq. 3)
    and with a teacher:
    agreement  the share of rows where both choose the same class
    kl         mean of KL(teacher || model) = sum_k q_k (log q_k - log p_k) at temperature 1, in nats

    `model` and `teacher` are MLPs, callables x -> logits, or (N, K) arrays of logits.
    """
    check_samples("x", x)
    logits = to_numpy(Predictor(model).logits(x)).astype(np.float64)  # (N, K)
    labels = to_numpy(labels) if is_array(labels) else labels
    check_labels("labels", labels, *logits.shape)
    logp = log_softmax(logits)
    chosen = logits.argmax(axis=1)
    accuracy = float((chosen == labels).mean())
    bins = reliability(np.exp(logp), labels)
    scores = Scores(
        accuracy=accuracy,
        errors=int((chosen != labels).sum()),
        nll=float(-logp[np.arange(len(labels)), labels].mean()),
        ece=float((bins[:, 2] * np.abs(bins[:, 1] - bins[:, 0])).sum() / len(labels)),
    )
    if teacher is not None:
        predictor = Predictor(teacher, "teacher", logits.shape[1])
        teacher_logits = to_numpy(predictor.logits(x)).astype(np.float64)
        logq = log_softmax(teacher_logits)
        scores["agreement"] = float((chosen == teacher_logits.argmax(axis=1)).mean())
        scores["kl"] = float((np.exp(logq) * (logq - logp)).sum(axis=1).mean())
    return scores


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> np.ndarray:
    """Is a classifier that says 80 % right in 80 % of cases?  probabilities (N, K), labels (N,) -> (bins, 3)

    A row a bin of confidence (the largest probability): mean confidence, accuracy, and the number of rows in it;
    an empty bin is 0, 0, 0.
    """
    check_count("bins", bins)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    where = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(where, minlength=bins)
    total = np.maximum(count, 1)
    return np.column_stack(
        [np.bincount(where, confidence, bins) / total, np.bincount(where, right, bins) / total, count.astype(float)]
    )


@dataclass
class History:
    """What happened in each epoch: `history["loss"]` is a column, `history.rows[-1]` the last epoch.

    Columns: epoch (from 1), loss (mean over the samples), lr (of the last step); with validation data also
    val_accuracy, val_errors, val_nll and val_ece. `seconds` is the time spent, resumed runs added up; it stands
    apart because it alone differs between two runs from one seed.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def __getitem__(self, column: str) -> list[float]:
        if self.rows and column not in self.rows[0]:
            raise KeyError(f"no column named {column!r}, only {', '.join(self.rows[0])}")
        return [row[column] for row in self.rows]

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line an epoch, atomically."""
        columns = list(self.rows[0]) if self.rows else []
        lines = [columns, *([str(row[c]) for c in columns] for row in self.rows)]
        write_atomically(path, "".join(",".join(line) + "\n" for line in lines).encode())
