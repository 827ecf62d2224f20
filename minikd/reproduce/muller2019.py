"""Müller, Kornblith & Hinton 2019, "When does label smoothing help?", sections 2 and 4.

Source: arXiv 1906.02629. The paper shows that label smoothing can make a better teacher that teaches worse. Smoothed
labels give every wrong class the same small probability. This makes a network less confident, and often more accurate.
But it also moves all images of a class to one point of the last hidden layer. This removes the information that one 7
is more like a 1 than another, which is what a student could have learned.

The paper's protocol on MNIST is that of hinton2015, with a smoothing of 0.1. The teacher errs on 0.67 % of the test
images, and on 0.59 % with smoothed labels. Their students err on 0.74 % and 0.91 %. The paper's pictures show the last
hidden layer on the plane through the templates of three classes.

We do the same things differently as in hinton2015. The teacher on labels and its student are those of that study, and
are loaded if both studies share a folder. We also measure how tight the classes are: `spread`. A smoothed teacher's
logits are smaller. A third student learns from them, scaled to the size of the other teacher's logits. It answers
whether their size is what makes the teacher teach worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from minikd import MLP, soft_cross_entropy
from minikd.backend import to_numpy
from minikd.experiments.distill import smooth_labels

from . import hinton2015
from .hinton2015 import Training
from .lab import Lab
from .study import ABOVE_0, Row, Study, Values, means

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = (4, 7, 9)  # three digits that are often confused, for the picture


@dataclass(frozen=True)
class Protocol(hinton2015.Protocol):
    """The networks and their training are those of hinton2015; some of its numbers are not used here."""

    smoothing: float = 0.1


def run(lab: Lab, p: Protocol) -> dict[str, float]:
    """One seed: two teachers, and a student of each teacher."""
    x, y, exam = lab.x[: p.images], lab.y[: p.images], lab.exam
    smoothed = smooth_labels(y, lab.n_classes, p.smoothing)
    teachers = {
        "hard": hinton2015.teacher(lab, p),
        "smoothed": hinton2015.teacher(lab, p, "muller-smoothed-teacher", smoothed, soft_cross_entropy),
    }
    answers = {kind: to_numpy(model.predict(x)) for kind, model in teachers.items()}  # logits (N, K)
    scales = {kind: scale(logits) for kind, logits in answers.items()}
    as_large = answers["smoothed"] * (scales["hard"] / scales["smoothed"])
    students = {
        "hard": hinton2015.student(lab, p, "hinton-distilled", answers["hard"]),
        "smoothed": hinton2015.student(lab, p, "muller-smoothed-distilled", answers["smoothed"]),
        "smoothed, scaled": hinton2015.student(lab, p, "muller-scaled-distilled", as_large),
    }
    values = {f"teacher, {kind}": exam.percent(model) for kind, model in teachers.items()}
    values |= {f"student, {kind}": exam.percent(model) for kind, model in students.items()}
    values |= {f"spread, {kind}": spread(model, x, y) for kind, model in teachers.items()}
    values |= {f"scale, {kind}": size for kind, size in scales.items()}
    return values | {
        "teacher, hard less smoothed": values["teacher, hard"] - values["teacher, smoothed"],
        "student, smoothed less hard": values["student, smoothed"] - values["student, hard"],
        "student, smoothed, scaled less hard": values["student, smoothed, scaled"] - values["student, hard"],
        "spread, hard less smoothed": values["spread, hard"] - values["spread, smoothed"],
    }


def scale(logits: np.ndarray) -> float:
    """The standard deviation of logits (N, K) from the mean of their row, which does not change softmax."""
    return float((logits - logits.mean(axis=1, keepdims=True)).std())


def penultimate(model: MLP, x: np.ndarray) -> np.ndarray:
    """The activations of the last hidden layer.  x (N, D) -> (N, H)"""
    h = x
    for W, b in zip(model.weights[:-1], model.biases[:-1], strict=True):
        h = np.maximum(h @ to_numpy(W) + to_numpy(b), 0)  # (N, width)
    return h


def spread(model: MLP, x: np.ndarray, y: np.ndarray) -> float:
    """The spread of classes in the last hidden layer, in percent.

    It is the mean squared distance of images from the mean of their class, relative to the mean squared distance from
    the mean of all images.
    """
    h = penultimate(model, x)  # (N, H)
    within = sum(float(((h[y == c] - h[y == c].mean(axis=0)) ** 2).sum()) for c in np.unique(y))
    return 100 * within / float(((h - h.mean(axis=0)) ** 2).sum())


def projection(model: MLP, x: np.ndarray, classes: tuple[int, ...]) -> np.ndarray:
    """Activations of the last hidden layer on the plane through the templates of three classes.  x (N, D) -> (N, 2)

    A class's template is its column of the last weight matrix (the paper's section 2).
    """
    a, b, c = (to_numpy(model.weights[-1])[:, k] for k in classes)  # (H,) each
    plane, _ = np.linalg.qr(np.stack((b - a, c - a), axis=1))  # (H, 2), orthonormal
    return np.asarray(penultimate(model, x) @ plane)


def draw(figure: Figure, values: Values, lab: Lab, p: Protocol) -> None:
    """The last hidden layer of both teachers, projected on a plane, and the four error rates."""
    figure.set_size_inches(11, 4)
    panels = figure.subplots(1, 3)
    shown = np.flatnonzero(np.isin(lab.y, SHOWN))[:1500]
    files = {"hard": "hinton-teacher", "smoothed": "muller-smoothed-teacher"}
    for axes, (kind, name) in zip(panels, files.items(), strict=False):
        points = projection(lab.read(name), lab.x[shown], SHOWN)  # (n, 2)
        for c, colour in zip(SHOWN, ("#0072B2", "#D55E00", "#009E73"), strict=True):
            axes.scatter(*points[lab.y[shown] == c].T, s=4, color=colour, label=str(c))
        axes.set(title=f"teacher on {kind} labels", xticks=(), yticks=())
        axes.set_xlabel(
            f"training images, last hidden layer\nspread within classes {np.mean(values[f'spread, {kind}']):.0f} %"
        )
    panels[0].legend(title="digit", markerscale=3)
    names = [f"{who}, {kind}" for who in ("teacher", "student") for kind in files]
    mean, half = means(values, names)
    colours = ("#000000", "#999999", "#009E73", "#56B4E9")
    panels[2].bar(range(4), mean, yerr=half, capsize=3, color=colours)
    panels[2].set_xticks(range(4), [name.replace(", ", ",\n") for name in names])
    panels[2].set(ylabel="test errors, %", title="Who is right more often?")


STUDY = Study(
    name="muller2019",
    title="When does label smoothing help? A better teacher that teaches worse",
    source="arXiv 1906.02629, sections 2 and 4",
    rows=(
        Row("teacher on labels", "teacher, hard", 0.67, " %", 2),
        Row("teacher on smoothed labels", "teacher, smoothed", 0.59, " %", 2),
        Row("  gain of the teacher by smoothing", "teacher, hard less smoothed", ABOVE_0, " %", 2),
        Row("student of the teacher on labels", "student, hard", 0.74, " %", 2),
        Row("student of the teacher on smoothed labels", "student, smoothed", 0.91, " %", 2),
        Row("  loss of the student by smoothing", "student, smoothed less hard", ABOVE_0, " %", 2),
        Row("student of these logits, scaled to the others' size", "student, smoothed, scaled", None, " %", 2),
        Row("  loss of the student by smoothing", "student, smoothed, scaled less hard", None, " %", 2),
        Row("standard deviation of logits, teacher on labels", "scale, hard"),
        Row("  teacher on smoothed labels", "scale, smoothed"),
        Row("spread within classes, teacher on labels", "spread, hard", None, " %"),
        Row("spread, teacher on smoothed labels", "spread, smoothed", None, " %"),
        Row("  tighter by", "spread, hard less smoothed", ABOVE_0, " %"),
    ),
    full=Protocol(),
    quick=Protocol(images=10_000, teacher_training=Training(6, 1e-3, 256), taught=Training(6, 1e-3, 64)),
    run=run,
    draw=draw,
)
