"""Hinton, Vinyals & Dean 2015, section 6: training with soft targets on a small part of the data.

Source: arXiv 1503.02531, section 6 ("Soft targets as regularizers"). An acoustic model is trained on 3 % of its data.
With labels, it classifies 44.5 % of the test frames correctly. With the soft targets of a model trained on all data, it
reaches 57.0 %; that model itself reaches 58.9 %. So soft targets close 87 % of the gap between 3 % of the data and all.

Question. We ask the same for three data sets that fit on a laptop, from 1 % to all of the training samples. We also ask
how many labelled samples one sample with a soft target is worth. Teacher and student are networks of the same size, as
in the paper. The teacher learns all labels, with dropout. Students learn from labels alone, from the teacher's soft
targets alone, or from its soft targets for mixtures of two samples. They use the same samples, the same initial weights
and the same number of steps, without dropout.

Worth. The students on labels give a curve of error against number of samples; each point is the lowest error up to it.
The curve is interpolated linearly in the logarithm of the number of samples. A student on soft targets with n samples
has the error that the curve has at m samples. The worth is m / n. It is at most (all samples) / n, because the curve
ends there.

What was tried because less of the gap is closed here: two seeds, 3 % of the samples, validation errors in %. Digits,
9.4 and 18.0 at T = 4: T = 2 gives 9.9 and 20.4, T = 20 gives 9.4 and 18.8, four times the steps give 9.4 and 17.7, and
also using the labels (soft weight 0.5) gives 9.7 and 21.3. MNIST, 4.0 and 4.0 at T = 8: T = 2 gives 5.4 and 4.9, T = 20
gives 3.9 and 3.6, four times the steps give 3.9 and 3.7. One change helped: asking the teacher about mixtures of two
samples (digits 6.6 and 8.8), as in `hinton2015`. It has rows of its own, because it asks the teacher about more inputs
than there are samples.

What we do differently. The paper stops the training on 3 % early, because labels overfit. Here both kinds of student
are trained to the end. Samples are drawn at random with equal probability (`minikd.data.few`). The temperatures are
those of `minikd distill` for each data set; they were chosen on validation samples. The paper does not give its
temperature for speech.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from minikd import cross_entropy, distill, fit
from minikd.backend import to_numpy
from minikd.data import few

from ..report.style import log_scale
from .hinton2015 import mixed
from .lab import Lab
from .study import Row, Study, Values, means

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEACHER, STUDENT = 0, 1  # numbers for initial weights
PAPERS_GAP = 100 * (57.0 - 44.5) / (58.9 - 44.5)  # %
SMALLEST_GAP = 0.01  # %, one image of 10,000; a smaller gap is replaced by this divisor
KINDS = ("labels", "soft targets", "mixtures")  # what students learn from
SHORTEST_EPOCH = 100  # steps; few samples are repeated to fill it, because each epoch ends with a checkpoint
NAMES = {"mixtures": "soft targets, mixtures"}
TITLES = {"digits": "digits, 8×8 pixels", "mnist": "MNIST", "fsdd": "spoken digits"}


@dataclass(frozen=True)
class Recipe:
    """How networks are trained on one data set. All have the hidden layers `hidden`; students take `steps` steps."""

    hidden: tuple[int, ...]
    teacher_epochs: int
    steps: int
    temperature: float
    lr: float = 1e-3
    batch_size: int = 64
    dropout: tuple[float, ...] = (0.0, 0.5, 0.5)


@dataclass(frozen=True)
class Protocol:
    """The data sets, and the shares of their training samples from small to large; the last share is 1."""

    recipes: Mapping[str, Recipe] = field(
        default_factory=lambda: {
            "digits": Recipe((256, 256), teacher_epochs=60, steps=2000, temperature=4.0),
            "mnist": Recipe((400, 400), teacher_epochs=30, steps=6000, temperature=8.0),
            "fsdd": Recipe((256, 256), teacher_epochs=60, steps=3000, temperature=8.0),
        }
    )
    shares: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)


def run(lab: Lab, p: Protocol) -> dict[str, float]:
    """One seed for all data sets."""
    values: dict[str, float] = {}
    for data, recipe in p.recipes.items():
        values |= {f"{data}: {name}": value for name, value in _run(lab.on(data), data, recipe, p.shares).items()}
    return values


def _run(lab: Lab, data: str, recipe: Recipe, shares: Sequence[float]) -> dict[str, float]:
    """One seed for one data set: the teacher, and for each share a student of each kind."""
    teacher = lab.network(*recipe.hidden, dropout=recipe.dropout, number=TEACHER)
    settings: dict[str, Any] = {"lr": recipe.lr, "batch_size": recipe.batch_size}
    options = lab.training(f"few-{data}-teacher", teacher, epochs=recipe.teacher_epochs, **settings)
    fit(teacher, lab.x, lab.y, loss=cross_entropy, **options)
    knowledge = to_numpy(teacher.predict(lab.x))  # (N, K)
    values = {"teacher": lab.exam.percent(teacher)}
    counts = [max(round(share * len(lab.x)), lab.n_classes) for share in shares]
    for share, count in zip(shares, counts, strict=True):
        times = -(-SHORTEST_EPOCH * recipe.batch_size // count)
        rows = np.tile(few(lab.y, count, seed=lab.seed), times)
        x, epochs = lab.x[rows], max(1, round(recipe.steps / -(-len(rows) // recipe.batch_size)))
        for kind in KINDS:
            model = lab.network(*recipe.hidden, number=STUDENT)
            name = f"few-{data}-{100 * share:g}-{kind.split()[0]}"
            options = lab.training(name, model, epochs=epochs, **settings)
            soft = {"temperature": recipe.temperature, "soft_weight": 1.0}
            if kind == "labels":
                fit(model, x, lab.y[rows], loss=cross_entropy, **options)
            elif kind == "soft targets":
                distill(model, knowledge[rows], x, None, **soft, **options)
            else:
                distill(model, teacher, x, None, augment=mixed, **soft, **options)
            values[f"{100 * share:g} %, {kind}"] = lab.exam.percent(model)
    labels = [values[f"{100 * share:g} %, labels"] for share in shares]
    for share, count, hard in zip(shares, counts, labels, strict=True):
        for kind in KINDS[1:]:
            name, taught = f"{100 * share:g} %, {kind}", values[f"{100 * share:g} %, {kind}"]
            values[f"{name}, fewer errors"] = hard - taught
            values[f"{name}, worth"] = worth(counts, labels, count, taught)
            if share < shares[-1]:
                values[f"{name}, gap closed"] = 100 * (hard - taught) / max(hard - labels[-1], SMALLEST_GAP)
    return values


def worth(counts: Sequence[int], errors: Sequence[float], count: int, soft: float) -> float:
    """The number of labelled samples that one sample with a soft target is worth.

    Parameters
    ----------
    counts, errors : sequence
        Numbers of samples, ascending, and errors of the students on labels.
    count, soft : int, float
        Number of samples and error of the student on soft targets.
    """
    falling, at = np.unique(-np.minimum.accumulate(errors), return_index=True)  # each error at its first point
    return float(np.exp(np.interp(-soft, falling, np.log(np.asarray(counts)[at]))) / count)


def draw(figure: Figure, values: Values, lab: Lab, p: Protocol) -> None:
    """A panel for each data set: errors by the share of the training samples."""
    figure.set_size_inches(11.5, 4.4)
    looks = (("#D55E00", "o-"), ("#009E73", "s-"), ("#0072B2", "^-"))
    percents = [100 * share for share in p.shares]
    for axes, data in zip(figure.subplots(1, len(p.recipes), squeeze=False)[0], p.recipes, strict=True):
        for kind, (colour, line) in zip(KINDS, looks, strict=True):
            mean, half = means(values, [f"{data}: {percent:g} %, {kind}" for percent in percents])
            axes.errorbar(percents, mean, half, fmt=line, ms=4, capsize=2, color=colour, label=NAMES.get(kind, kind))
        (mean,), _ = means(values, [f"{data}: teacher"])
        axes.axhline(mean, color="black", ls="--", lw=1, label="teacher, on all")
        axes.set(xscale="log", yscale="log", xlabel="training samples, % of all", title=TITLES.get(data, data))
        axes.set_xticks(percents, [f"{percent:g}" for percent in percents])
        axes.minorticks_off()
        log_scale(axes.yaxis)
        axes.grid(alpha=0.3)
    figure.axes[0].set(ylabel="test errors, %")
    figure.axes[0].legend()


def _rows(data: str, title: str) -> tuple[Row, ...]:
    """The rows of one data set."""
    gap = round(PAPERS_GAP)
    return (
        Row(f"{title}: all samples, labels, errors", f"{data}: 100 %, labels", None, " %", 2),
        Row("  3 % of them, labels", f"{data}: 3 %, labels", None, " %", 2),
        Row("  3 %, soft targets", f"{data}: 3 %, soft targets", None, " %", 2),
        Row("    of the gap to all, closed", f"{data}: 3 %, soft targets, gap closed", gap, " %", 0, "higher"),
        Row("    labels that one is worth", f"{data}: 3 %, soft targets, worth"),
        Row("  3 %, soft targets on mixtures", f"{data}: 3 %, mixtures", None, " %", 2),
        Row("    of the gap to all, closed", f"{data}: 3 %, mixtures, gap closed", gap, " %", 0, "higher"),
        Row("    labels that a sample is worth", f"{data}: 3 %, mixtures, worth"),
    )


STUDY = Study(
    name="few",
    title="Soft targets on few samples: the speech claim, on three data sets",
    source="arXiv 1503.02531, section 6",
    rows=tuple(row for data, title in TITLES.items() for row in _rows(data, title)),
    full=Protocol(),
    quick=Protocol(
        recipes={
            "digits": Recipe((256, 256), teacher_epochs=20, steps=500, temperature=4.0),
            "mnist": Recipe((100, 100), teacher_epochs=5, steps=500, temperature=8.0),
        }
    ),
    run=run,
    draw=draw,
    data="digits",
)
