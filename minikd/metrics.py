"""How accurate a classifier is, how well calibrated its probabilities are, and how closely it follows its teacher.

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
    """Numbers by name, readable as `scores["nll"]` and as `scores.nll`. `evaluate` returns one.

    Raises
    ------
    AttributeError
        A name is not there. The message lists the names.

    Examples
    --------
    >>> from minikd import Scores
    >>> scores = Scores(nll=0.5, errors=3)
    >>> scores.nll, scores["errors"]
    (0.5, 3)
    """

    def __getattr__(self, name: str) -> float:
        if name in self:
            return self[name]
        raise AttributeError(f"no score named {name!r}, only {', '.join(self)}")


class Predictor:
    """One interface for everything that has logits: the method `logits`.

    Parameters
    ----------
    model : MLP, callable or array (N, K)
        A network (run without dropout), a function x -> logits, or the logits of N rows.
    name : str
        The name in messages.
    classes : int, optional
        K, if only one number of classes is allowed.

    Raises
    ------
    TypeError
        The model is none of these. The message contains `name`.
    """

    def __init__(self, model: Classifier, name: str = "model", classes: int | None = None) -> None:
        wanted = "be an MLP, a callable x -> logits or an array of logits"
        if isinstance(model, str | os.PathLike):
            raise wrong(name, wanted, model, "; minikd.exchange.read_teacher reads a file", TypeError)
        self.fixed = not (callable(model) or isinstance(model, MLP))  # an array has logits for its own rows only
        self.model, self.name, self.classes = as_array(name, model, wanted) if self.fixed else model, name, classes

    def logits(self, x: Array) -> Array:
        """x (N, D) -> logits (N, K). ValueError or TypeError if the logits do not fit x or are not finite."""
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
        check_logits(what, logits, self.name != "model")  # a model that is measured may give one-hot rows
        return logits

    __call__ = logits

    @property
    def fingerprint(self) -> str:
        """What a checkpoint records, so that a run is not resumed with another teacher."""
        return f"logits of {fingerprint(self.model.theta if isinstance(self.model, MLP) else self.model)}"


def is_chance(logits: Array, labels: Array) -> bool:
    """Whether the largest logit agrees with the label hardly more often than by chance.  (N, K), (N,)

    The criterion is Cohen's kappa, (a - c) / (1 - c), below 0.1. Here a is the share of rows where both agree, and
    c = sum_k f_k g_k is the share expected by chance, where f_k and g_k are the shares of class k among labels and
    predictions. With fewer than 200 rows the answer is always no, because the kappa of shuffled rows then varies too
    much: by 0.07 for two classes and 200 rows.
    """
    answers, labels = to_numpy(logits.argmax(axis=1)), to_numpy(labels)
    f, g = (np.bincount(classes, minlength=logits.shape[1]) / len(labels) for classes in (labels, answers))
    return len(labels) >= 200 and bool((answers == labels).mean() < f @ g + 0.1 * (1 - f @ g))


def teacher_targets(teacher: Classifier, student: MLP, x: Array, labels: Any = None, augment: Any = None) -> Any:
    """The logits of `teacher` for x as a target for `fit`: (N, K), computed once.

    With `augment` the target is a function of the augmented rows instead, so that the teacher sees what the student
    sees. ValueError or TypeError if the teacher has no logits for these rows or is the student itself. A warning if the
    logits are an array that agrees with the labels no more than by chance.
    """
    if teacher is student or getattr(teacher, "__self__", None) is student:  # student.predict is also the student
        raise ValueError("teacher must be another network than student: a network cannot be its own fixed target")
    asked = Predictor(teacher, "teacher", student.sizes[-1])
    if augment is None:
        logits = asked.logits(x)
        if asked.fixed and not (labels is None or is_source(logits) or is_source(labels)) and is_chance(logits, labels):
            words = "the largest logit of teacher agrees with the labels no more than chance does"
            warnings.warn(
                f"{words}: are its rows in the order of x, and its columns in the order of the classes?", stacklevel=3
            )
        return logits
    if asked.fixed:
        raise ValueError("teacher must be an MLP or a callable with augment: an array holds its logits for the plain x")
    return asked


def evaluate(model: Classifier, x: Array, labels: Array, *, teacher: Classifier | None = None) -> Scores:
    """Measure a classifier on x and labels.

    Parameters
    ----------
    model : MLP, callable or array (N, K)
        A network (run without dropout), a function x -> logits, or logits.
    x : array (N, D)
        The samples.
    labels : integer array (N,)
        Their classes, in [0, K).
    teacher : MLP, callable or array (N, K), optional
        With it, the student's `agreement` and `kl` are measured also.

    Returns
    -------
    Scores
        accuracy
            The share of rows whose largest logit is the label's.
        errors
            The number of the other rows.
        nll
            -mean log p(label), in nats.
        ece
            The expected calibration error: sum_b n_b/N · abs(accuracy_b - confidence_b) over 15 equal bins of
            confidence, where bin b has n_b rows.
        agreement
            With a teacher: the share of rows where both choose the same class.
        kl
            With a teacher: the mean of KL(teacher || model) = sum_k q_k (log q_k - log p_k) at temperature 1, in nats.

    Raises
    ------
    ValueError, TypeError
        An argument is wrong. The message names it.

    References
    ----------
    Guo et al. 2017, arXiv 1706.04599, eq. 3 (ece).

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import evaluate
    >>> logits = np.array([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0]])
    >>> scores = evaluate(logits, np.zeros((3, 5)), np.array([0, 0, 1]))
    >>> scores.errors, round(scores.nll, 3)
    (1, 1.163)
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
    """Is a classifier that says 80 % correct in 80 % of cases?  probabilities (N, K), labels (N,) -> (bins, 3)

    One row a bin of confidence (the largest probability): the mean confidence, the accuracy and the number of samples.
    An empty bin is 0, 0, 0.
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

    The columns are epoch (from 1), loss (mean over the samples; for `distill` without the teacher's entropy, so that it
    goes to 0) and lr (of the last step). With validation data there are also val_accuracy, val_errors, val_nll and
    val_ece.

    Parameters
    ----------
    rows : list of dict
        One dictionary an epoch.
    seconds : float
        The time spent in training, including interrupted parts of a resumed run. It is not a column, because it alone
        differs between two runs from one seed.

    Raises
    ------
    KeyError
        A column is not there. The message lists the columns.

    Examples
    --------
    >>> from minikd import History
    >>> history = History([{"epoch": 1, "loss": 0.9}, {"epoch": 2, "loss": 0.5}])
    >>> history["loss"]
    [0.9, 0.5]
    >>> len(history), history.rows[-1]["epoch"]
    (2, 2)
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
