"""How good a classifier is, how well calibrated its probabilities are, and how closely it follows its teacher.

Every score is computed from logits, on the CPU, in float64.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .backend import Array, to_numpy
from .checkpoint import fingerprint, write_atomically
from .checks import as_array, check_count, check_labels, check_logits, check_matrix, check_samples, is_source, wrong
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
        wanted = "be an MLP, a callable x -> logits or an array of logits"
        if isinstance(model, str | os.PathLike):
            raise wrong(name, wanted, model, "; minikd.exchange.read_teacher reads a file", TypeError)
        self.fixed = not (callable(model) or isinstance(model, MLP))  # it has logits for the rows it was made for alone
        self.model, self.name, self.classes = as_array(name, model, wanted) if self.fixed else model, name, classes

    def logits(self, x: Array) -> Array:
        """x (N, D) -> (N, K). ValueError or TypeError where the logits do not fit x or are not finite."""
        if isinstance(self.model, MLP) and x.shape[1] != (n := self.model.sizes[0]):
            raise wrong("x", f"have {n} columns for the {n} inputs of {self.name}", x)
        predict = self.model.predict if isinstance(self.model, MLP) else self.model
        if self.fixed:
            logits = self.model
        elif is_source(x):  # it may not fit in memory
            logits = np.concatenate([to_numpy(predict(x[i : i + PIECE])) for i in range(0, len(x), PIECE)])
        else:
            logits = predict(x)
        what = self.name if self.fixed else f"the logits of {self.name}"
        logits = check_matrix(what, logits, columns=self.classes, rows=len(x))
        check_logits(what, logits, self.name != "model")  # what is measured may be a choice of classes
        return logits

    __call__ = logits

    @property
    def fingerprint(self) -> str:
        """What a checkpoint records, so that a run is not resumed with another teacher."""
        return f"logits of {fingerprint(self.model.theta if isinstance(self.model, MLP) else self.model)}"


def is_chance(logits: Array, labels: Array) -> bool:
    """Whether the largest logit is the label's hardly more often than if the rows were shuffled.  (N, K), (N,)

    That is, whether Cohen's kappa, (a - c) / (1 - c), is below 0.1. Here a is the share of rows where both agree, and
    c = sum_k f_k g_k what chance gives, with f_k and g_k the shares of class k among labels and answers. Fewer than
    200 rows cannot tell: there the kappa of shuffled rows varies by 0.07 for two classes.
    """
    answers, labels = to_numpy(logits.argmax(axis=1)), to_numpy(labels)
    f, g = (np.bincount(classes, minlength=logits.shape[1]) / len(labels) for classes in (labels, answers))
    return len(labels) >= 200 and bool((answers == labels).mean() < f @ g + 0.1 * (1 - f @ g))


def teacher_targets(teacher: Classifier, student: MLP, x: Array, labels: Any = None, augment: Any = None) -> Any:
    """The logits of `teacher` for x as a target for `fit`: (N, K), computed once.

    With `augment` the target is a function of the augmented rows instead: the teacher must speak of what the student
    sees. ValueError and TypeError for a teacher that has no logits for them, or is the student itself. A warning for
    an array that has nothing to do with the labels.
    """
    if teacher is student or getattr(teacher, "__self__", None) is student:  # student.predict is the student, too
        raise ValueError("teacher must be another network than student: a network cannot be its own fixed target")
    asked = Predictor(teacher, "teacher", student.sizes[-1])
    if augment is None:
        logits = asked.logits(x)
        if asked.fixed and not (labels is None or is_source(logits) or is_source(labels)) and is_chance(logits, labels):
            words = "the largest logit of teacher agrees with the labels no more than chance does"
            warnings.warn(
                f"{words}: are its rows in the order of x, and its columns in that of the classes?", stacklevel=3
            )
        return logits
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
    x = check_samples("x", x)
    logits = to_numpy(Predictor(model).logits(x)).astype(np.float64)  # (N, K)
    labels = check_labels("labels", to_numpy(as_array("labels", labels)), *logits.shape)
    logp = log_softmax(logits)
    chosen = logits.argmax(axis=1)
    bins = reliability(np.exp(logp), labels)
    scores = Scores(
        accuracy=float((chosen == labels).mean()),
        errors=int((chosen != labels).sum()),
        nll=float(-logp[np.arange(len(labels)), labels].mean()),
        ece=float((bins[:, 2] * np.abs(bins[:, 1] - bins[:, 0])).sum() / len(labels)),
    )
    if teacher is not None:
        teacher_logits = to_numpy(Predictor(teacher, "teacher", logits.shape[1]).logits(x)).astype(np.float64)
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
    columns = np.bincount(where, confidence, bins) / total, np.bincount(where, right, bins) / total, count.astype(float)
    return np.column_stack(columns)


@dataclass
class History:
    """What happened in each epoch: `history["loss"]` is a column, `history.rows[-1]` the last epoch.

    Columns: epoch (from 1), loss (mean over the samples; of `distill`, without the teacher's entropy, so that it goes
    to 0), lr (of the last step); with validation data also val_accuracy, val_errors, val_nll and val_ece. `seconds` is
    the time spent, resumed runs added up; it stands apart because it alone differs between two runs from one seed.
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
