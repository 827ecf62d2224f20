"""How good a classifier is, how honest its probabilities are, how closely it follows its teacher, and how it got there.

Every score is computed from logits, on the CPU, in float64.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .backend import Array, to_numpy
from .checkpoint import write_atomically
from .checks import check_count, check_finite, check_labels, check_matrix, check_samples, describe, is_array
from .exchange import opened
from .mlp import MLP
from .ops import log_softmax

Classifier = Any  # an MLP, a callable x -> logits, an (N, K) array of logits, or a file of one (minikd/exchange/)


class Scores(dict[str, float]):
    """Numbers by name, readable as `scores["nll"]` and as `scores.nll`."""

    def __getattr__(self, name: str) -> float:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no score named {name!r}, only {', '.join(self)}") from None


def logits_of(model: Classifier, x: Array, classes: int | None = None, name: str = "model") -> Array:
    """What `model` says about x (N, D): its logits (N, K).

    `model` is an MLP, any callable x -> logits, or an array of logits already, one row for each row of x; or the path
    of a file that holds one (see exchange/teachers.py).
    ValueError or TypeError, with `name` in it, where it is none of these or its logits do not fit.
    """
    model = opened(model)
    if isinstance(model, MLP):
        if x.shape[1] != model.sizes[0]:
            raise ValueError(f"{name} takes {model.sizes[0]} inputs, but x is {describe(x)}")
        logits = model.predict(x)
    elif is_array(model):
        logits = model
    elif callable(model):
        logits = model(x)
    else:
        raise TypeError(f"{name} must be an MLP, a callable x -> logits or an array of logits, got {describe(model)}")
    what = name if is_array(model) else f"the logits of {name}"
    check_matrix(what, logits, columns=classes, rows=len(x))
    check_finite(what, logits)
    return logits


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
    logits = to_numpy(logits_of(model, x)).astype(np.float64)  # (N, K)
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
        teacher_logits = to_numpy(logits_of(teacher, x, logits.shape[1], "teacher")).astype(np.float64)
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
