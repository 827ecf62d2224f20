"""Cloud et al. 2025, "Subliminal learning", section 6.2: a student learns to read digits from noise.

Source: arXiv 2507.14805. A network has ten logits for the digits and three auxiliary logits, which have no meaning. The
teacher learns the digits with its ten logits only. The student then imitates the teacher's three auxiliary logits on
images of noise. It sees no digit, no label and no class logit. If it started from the teacher's initial weights, it
classifies digits afterwards.

Why. The teacher's training changed its hidden layers, and with them the auxiliary logits. A student that starts from
the same weights and imitates these logits has a gradient in a similar direction. The paper proves, for one small step,
that the student cannot move away from the teacher, for any inputs (theorem 1).

The paper's protocol. A network 784-256-256-(10 + 3); teacher: 5 epochs on MNIST; student: 5 epochs on as many images of
uniform noise, loss KL on the softmax of the three logits; Adam at 3e-4, batches of 1,024. A student with the teacher's
initial weights classifies more than 50 % of the test images correctly. One with other initial weights learns nothing.

The later claim. Brockers et al. 2026 (arXiv 2605.23645) say that equal initial weights are not needed, and that equal
heads are enough. A head is the part of the last layer that computes some of the logits. Their student has its own
hidden layers and imitates up to 250 auxiliary logits by squared error. The second part of this study tests this for
several numbers of auxiliary logits with four students: everything shared, only the last layer shared, only the hidden
layers and the class head shared, and nothing shared.

What determines how much is learned. The numbers are accuracies on validation images after 5 epochs, in percent.

- Inputs and initial weights. Pixels from -1 to 1 and weights N(0, 1/inputs), as in the paper: 67 (mean of 4 seeds: 60,
  72, 76, 58). Pixels from 0 to 1, where two thirds of an image are exactly 0, unlike noise: 40 (2
  seeds). He's initial weights, N(0, 2/inputs), which `MLP` draws: 70 and 47 (2 seeds each). So the range of the pixels
  matters, and the scale of the weights hardly does. We use the paper's.
- The number of auxiliary logits. With three, a shared last layer alone gave 11, which is chance. With 50 it gave 16 at
  the paper's initial weights, and 47 at the smaller ones of PyTorch's linear layers, variance 1/(3 inputs), with
  squared error and a rate of 0.001; with 250, 80. The second part therefore uses the later paper's recipe.

What we do differently. Initial weights in the second part are normal and biases are 0; those of the later paper are
uniform. Its pixels are standardised; ours are from -1 to 1 in both parts. New noise is drawn in every epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from minikd import MLP, cross_entropy, fit, soft_cross_entropy, softmax
from minikd.backend import Array, xp_of
from minikd.checkpoint import fingerprint
from minikd.losses import Loss
from minikd.methods.logit_matching import matching_loss
from minikd.optim import constant

from .lab import Lab
from .study import ABOVE_0, Row, Study, Values, means

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEACHER, OTHER = 0, 1  # numbers for initial weights
CONSTANT_RATE = {"schedule": constant}  # as in both papers; the other studies use a cosine
SHARED = {  # for each student of the second part, its share of the teacher's initial weights
    "everything": ("hidden layers", "class head", "auxiliary head"),
    "last layer": ("class head", "auxiliary head"),
    "no auxiliary head": ("hidden layers", "class head"),
    "nothing": (),
}


@dataclass(frozen=True)
class Scheme:
    """How teacher and student are trained. `variance` of initial weights is in multiples of 1 / inputs of the layer."""

    variance: float
    lr: float
    squared: bool = False


@dataclass(frozen=True)
class Protocol:
    """`auxiliary` and `widths` are numbers of auxiliary logits, for the paper's experiment and for the later one."""

    images: int | None = None
    hidden: tuple[int, ...] = (256, 256)
    auxiliary: int = 3
    widths: tuple[int, ...] = (3, 10, 50, 250)
    teacher_epochs: int = 5
    epochs: int = 5
    batch_size: int = 1024
    paper: Scheme = Scheme(variance=1.0, lr=3e-4)
    later: Scheme = Scheme(variance=1 / 3, lr=1e-3, squared=True)


def run(lab: Lab, p: Protocol) -> dict[str, float]:
    """One seed: the paper's teacher and two students, then a teacher and four students for each width."""
    teacher = taught_digits(lab, p, p.paper, p.auxiliary, "subliminal-teacher")
    values = {"teacher": accuracy(lab, teacher)}
    for name, shared in {"same": "everything", "other": "nothing"}.items():
        student = beginner(lab, p, p.paper, p.auxiliary, SHARED[shared])
        values[f"{name} weights, before"] = accuracy(lab, student)
        taught_noise(lab, p, p.paper, student, teacher, f"subliminal-{name}-weights")
        values[f"{name} weights"] = accuracy(lab, student)
    values["same less other weights"] = values["same weights"] - values["other weights"]

    for width in p.widths:
        teacher = taught_digits(lab, p, p.later, width, f"subliminal-teacher-{width}")
        values[f"teacher, {width}"] = accuracy(lab, teacher)
        for shared, parts in SHARED.items():
            student = beginner(lab, p, p.later, width, parts)
            taught_noise(lab, p, p.later, student, teacher, f"subliminal-{shared.replace(' ', '-')}-{width}")
            values[f"{shared}, {width}"] = accuracy(lab, student)
        values[f"last layer less nothing, {width}"] = values[f"last layer, {width}"] - values[f"nothing, {width}"]
    return values


def beginner(lab: Lab, p: Protocol, scheme: Scheme, auxiliary: int, shared: tuple[str, ...]) -> MLP:
    """An untrained network. The parts `shared` have the teacher's initial weights, the others have their own."""

    def fresh(number: int) -> MLP:
        model = lab.network(*p.hidden, outputs=lab.n_classes + auxiliary, number=number)
        model.theta *= math.sqrt(scheme.variance / 2)  # MLP draws N(0, 2 / inputs), and biases of 0
        return model

    model, first = fresh(OTHER), fresh(TEACHER)
    heads = {"class head": slice(0, lab.n_classes), "auxiliary head": slice(lab.n_classes, None)}
    if "hidden layers" in shared:
        for mine, theirs in zip(model.weights[:-1], first.weights[:-1], strict=True):
            mine[...] = theirs
    for head, columns in heads.items():
        if head in shared:
            model.weights[-1][:, columns] = first.weights[-1][:, columns]
    return model


def taught_digits(lab: Lab, p: Protocol, scheme: Scheme, auxiliary: int, name: str) -> MLP:
    """A teacher: its class logits learn the labels, and its auxiliary logits get no gradient."""
    model = beginner(lab, p, scheme, auxiliary, SHARED["everything"])
    loss = partial(of_columns, loss=cross_entropy, first=0, last=lab.n_classes)
    options = lab.training(name, model, epochs=p.teacher_epochs, lr=scheme.lr, batch_size=p.batch_size) | CONSTANT_RATE
    fit(model, pixels(lab.x[: p.images]), lab.y[: p.images], loss=loss, **options)
    return model


def taught_noise(lab: Lab, p: Protocol, scheme: Scheme, student: MLP, teacher: MLP, name: str) -> None:
    """Train the student to imitate the teacher's auxiliary logits on noise; x sets the amount of noise per epoch."""
    loss = squared_error if scheme.squared else soft_cross_entropy
    loss = partial(of_columns, loss=loss, first=lab.n_classes, last=student.sizes[-1])
    answers = Answers(teacher, lab.n_classes, raw=scheme.squared)
    options = lab.training(name, student, epochs=p.epochs, lr=scheme.lr, batch_size=p.batch_size) | CONSTANT_RATE
    fit(student, lab.x[: p.images], answers, loss=loss, augment=noise, **options)


def of_columns(logits: Array, targets: Array, *, loss: Loss, first: int, last: int) -> tuple[Any, Array]:
    """A loss of some columns of the logits (B, K); the gradient of the others is 0."""
    dlogits = xp_of(logits).zeros_like(logits)
    value, dlogits[:, first:last] = loss(logits[:, first:last], targets)
    return value, dlogits


def squared_error(outputs: Array, targets: Array) -> tuple[Any, Array]:
    """L = mean_ij (z_ij - t_ij)², dL/dz = 2 (z - t) / (B K).  outputs z, targets t (B, K)"""
    return matching_loss(outputs, None, targets, soft_weight=1.0)


class Answers:
    """The teacher's auxiliary logits, or their softmax, as a target for `fit`: x (B, D) -> (B, m)."""

    def __init__(self, teacher: MLP, first: int, raw: bool) -> None:
        self.teacher, self.first, self.raw = teacher, first, raw
        self.fingerprint = f"outputs from {first} on, of {fingerprint(teacher.theta)}"

    def __call__(self, x: Array) -> Array:
        """The teacher's auxiliary logits for x, or their softmax."""
        logits = self.teacher.predict(x)[:, self.first :]
        return logits if self.raw else softmax(logits)


def noise(x: Array, rng: Any) -> Array:
    """Uniform noise from -1 to 1 with the shape of x (B, D)."""
    return pixels(rng.random(x.shape, dtype=x.dtype))


def pixels(x: Array) -> Array:
    """Scale pixels from [0, 1] to [-1, 1]."""
    return 2 * x - 1


def accuracy(lab: Lab, model: MLP) -> float:
    """The share of evaluated images that the class logits classify correctly, in percent."""
    classify: Callable[[np.ndarray], Array] = lambda x: model.predict(pixels(x))[:, : lab.n_classes]  # noqa: E731
    return 100 - lab.exam.percent(classify)


def draw(figure: Figure, values: Values, lab: Lab, p: Protocol) -> None:
    """Left, the paper's experiment; right, accuracy by the number of auxiliary logits for each shared part."""
    figure.set_size_inches(11, 4.6)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    names = {
        "teacher": "teacher",
        "same weights, before": "student\nbefore",
        "same weights": "student, same\ninitial weights",
        "other weights": "student, other\ninitial weights",
    }
    mean, half = means(values, list(names))
    left.bar(range(len(names)), mean, yerr=half, capsize=3, color=("#000000", "#999999", "#009E73", "#D55E00"))
    left.set_xticks(range(len(names)), list(names.values()), fontsize=9)
    left.set_title(f"{p.auxiliary} auxiliary logits, imitated on noise")
    looks = (("#009E73", "o-"), ("#0072B2", "s-"), ("#CC79A7", "^-"), ("#D55E00", "v-"))
    for shared, (colour, line) in zip(SHARED, looks, strict=True):
        mean, half = means(values, [f"{shared}, {width}" for width in p.widths])
        label = shared.replace("no ", "all but the ")
        right.errorbar(p.widths, mean, half, fmt=line, ms=5, capsize=2, color=colour, label=label)
    right.set(xscale="log", xlabel="auxiliary logits", title="Which initial weights must be the teacher's?")
    right.set_xticks(p.widths, [str(width) for width in p.widths])
    right.minorticks_off()
    right.legend(title="shared", fontsize=9)
    for axes in (left, right):
        axes.axhline(100 / lab.n_classes, color="0.5", ls=":", lw=1)
        axes.set(ylim=(0, 100), ylabel="test images read correctly, %")
        axes.grid(alpha=0.3, axis="y")


STUDY = Study(
    name="subliminal2025",
    title="Subliminal learning: a student learns digits from noise",
    source="arXiv 2507.14805, section 6.2; arXiv 2605.23645",
    rows=(
        Row("teacher, on labels: right", "teacher", None, " %"),
        Row("student with the teacher's initial weights, before training: right", "same weights, before", None, " %"),
        Row("  after imitating 3 auxiliary logits on noise", "same weights", (50, math.inf), " %"),
        Row("student with other initial weights: right", "other weights", None, " %"),
        Row("  same less other initial weights", "same less other weights", ABOVE_0, " %"),
        Row("3 auxiliary logits, later recipe: all initial weights shared", "everything, 3", None, " %"),
        Row("  only the last layer shared", "last layer, 3", None, " %"),
        Row("    more than with nothing shared", "last layer less nothing, 3", ABOVE_0, " %"),
        Row("250 auxiliary logits: all initial weights shared", "everything, 250", None, " %"),
        Row("  only the last layer shared", "last layer, 250", None, " %"),
        Row("    more than with nothing shared", "last layer less nothing, 250", ABOVE_0, " %"),
        Row("  all but the auxiliary head shared", "no auxiliary head, 250", None, " %"),
        Row("  nothing shared", "nothing, 250", None, " %"),
    ),
    full=Protocol(),
    quick=Protocol(images=20_000, widths=(3, 250)),
    run=run,
    draw=draw,
)
