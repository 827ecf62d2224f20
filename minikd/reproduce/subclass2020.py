"""Müller, Kornblith & Hinton 2020, "Subclass distillation", the experiment MNIST-2×5: ten digits from two labels.

Source: arXiv 2002.03936. The only label of the teacher is whether a digit is below 5. The teacher has five logits for
each of the two labels, and can distribute the probability of a label freely over its five logits. The student is taught
by these ten probabilities, without any label, and finds the ten digits.

The paper's protocol: labels 0 to 4 against 5 to 9, a teacher with five sub-logits for each label, an auxiliary loss
that prevents it from using only one of them, and a student that matches the subclass probabilities.

What we do differently. The paper's auxiliary loss pushes the sub-logits of different images of a batch apart. Ours has
two other terms. The first is information: subclasses are used evenly, and each image belongs clearly to one. With this
term and moved images, the digits of 64 % of the validation images were found (one seed). The second is agreement: the
predictions should not change if an image is changed by a small step in the worst direction (virtual adversarial
training, an idea from clustering: Hu et al. 2017, arXiv 1702.08720). With it, 92 % were found (mean of 3 seeds). The
networks do not know the names of the digits. Training labels assign the names after training, one of 120 ways for each
five.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from minikd import MLP, distill, fit, soft_cross_entropy, softmax
from minikd.backend import Array, to_numpy, xp_of

from .lab import Lab
from .study import Row, Study, Values, means

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEACHER, STUDENT = 0, 1  # numbers for initial weights
PRECEDENT = 73.9  # %, the mean of 5 seeds of github.com/cybertronai/hinton-problems, mnist-2x5-subclass
TINY = 1e-12  # a lower bound or summand that avoids dividing by 0 and log(0)


@dataclass(frozen=True)
class Protocol:
    """The teacher's loss is CE(super-class) - information · I + agreement · CE(own prediction of the image unmoved)."""

    images: int | None = None
    teacher: tuple[int, ...] = (400, 400)
    student: tuple[int, ...] = (100, 100)
    information: float = 0.2
    sureness: float = 0.25
    agreement: float = 1.0
    radius: float = 1.5
    teacher_epochs: int = 20
    epochs: int = 20
    temperature: float = 2.0
    lr: float = 1e-3
    batch_size: int = 256


def run(lab: Lab, p: Protocol) -> dict[str, float]:
    """One seed: a teacher with two labels, a student without labels, and how often each finds the digit."""
    x, digits = lab.x[: p.images], lab.y[: p.images]
    half = lab.n_classes // 2
    superclass = (digits >= half).astype(np.int64)  # (N,), the only labels of the teacher

    teacher = lab.network(*p.teacher, number=TEACHER)
    adversary = Adversary(teacher, p.radius)
    loss = partial(subclass_loss, information=p.information, sureness=p.sureness, agreement=p.agreement)
    options = lab.training("subclass-teacher", teacher, epochs=p.teacher_epochs, lr=p.lr, batch_size=p.batch_size)
    fit(teacher, x, (superclass, adversary.answers_for), loss=loss, augment=adversary.disturb, **options)

    student = lab.network(*p.student, number=STUDENT)
    options = lab.training("subclass-student", student, epochs=p.epochs, lr=p.lr, batch_size=p.batch_size)
    distill(student, teacher, x, None, temperature=p.temperature, soft_weight=1.0, **options)

    values = {}
    for name, model in {"teacher": teacher, "student": student}.items():
        names = name_subclasses(to_numpy(model.predict(x)), digits)  # by training labels
        logits = np.empty_like(lab.exam.logits(model))
        logits[:, names] = lab.exam.logits(model)  # column k is the digit k
        values[name] = 100 - lab.exam.percent(logits)
        values[f"{name}, two classes"] = 100 - lab.exam.percent_of_groups(logits, np.arange(lab.n_classes) >= half)
    return values


def subclass_loss(
    logits: Array, superclass: Array, answers: Array, *, information: float, sureness: float, agreement: float
) -> tuple[Any, Array]:
    """logits z (B, K), superclass (B,) in {0, 1}, answers a (B, K) -> L, dlogits (B, K)

    The first K/2 logits belong to super-class 0, the others to 1. Let p = softmax(z), s_i the sum of p_ik over the
    subclasses k of i's own super-class, and c_ik = p_ik / s_i in these subclasses and 0 elsewhere. The loss has three
    parts:

    1. The label: -mean_i log s_i. Since d log s_i / dz_ij = c_ij - p_ij, its gradient is (p - c) / B.
    2. Information: each super-class should use all of its subclasses, and each image should be in one of them. With
       m_k the mean of c_ik over the n_g images of super-class g, and u = sureness::

           I = sum_g n_g/B H(m_g) - u mean_i H(c_i)          and the loss has -information · I

       -I = [sum_g n_g sum_k m_k log m_k - u sum_ik c_ik log c_ik] / B has the derivative
       v_ik = [log m_k + 1 - u (log c_ik + 1)] / B with respect to c_ik (n_g cancels against that in the mean), and
       through the softmax within a super-class, dc_ik / dz_ij = c_ik ([j = k] - c_ij), this becomes
       c_ij (v_ij - sum_k c_ik v_ik). A constant in v cancels.
    3. Agreement: the cross-entropy with q = softmax(a), which is a constant (`soft_cross_entropy`). Here a are the
       network's own logits before the image was disturbed.
    """
    xp, (batch, classes) = xp_of(logits), logits.shape
    own = (xp.arange(classes) >= classes // 2) == superclass[:, None].astype(bool)  # (B, K)
    p = softmax(logits)
    share = xp.where(own, p, 0).sum(axis=1, keepdims=True)  # s (B, 1)
    c = xp.where(own, p, 0) / share
    loss, dlogits = -xp.log(share).mean(), (p - c) / batch

    log_c = xp.log(xp.maximum(c, TINY))
    log_m = xp.zeros_like(c)
    for g in (0, 1):
        members = (superclass == g).astype(c.dtype)  # (B,)
        mean = members @ c / xp.maximum(members.sum(), 1)  # m (K,)
        log_m += members[:, None] * xp.log(xp.maximum(mean, TINY))
    v = (log_m - sureness * log_c) / batch
    loss = loss + information * (c * v).sum()
    dlogits += information * c * (v - (c * v).sum(axis=1, keepdims=True))

    more, dmore = soft_cross_entropy(logits, softmax(answers))
    return loss + agreement * more, dlogits + agreement * dmore


class Adversary:
    """Moves each image in the direction of the largest change of the prediction: virtual adversarial training.

    Source: Miyato et al. 2018, arXiv 1704.03976, algorithm 1, with one step. For a random direction d of length 1, the
    gradient of CE(prediction at x, prediction at x + d) in the image points in the direction of the largest change. A
    network whose predictions are stable there has its class borders in regions without images, and so between digits.
    """

    def __init__(self, model: MLP, radius: float) -> None:
        self.model, self.radius = model, radius
        self._answers: Array = None

    def disturb(self, x: Array, rng: Any) -> Array:
        """x (B, D) -> (B, D), each row moved by `radius`."""
        xp, self._answers = xp_of(x), self.model.predict(x)  # (B, K)
        d = rng.standard_normal(x.shape).astype(x.dtype)
        d /= xp.linalg.norm(d, axis=1, keepdims=True)
        _, dlogits = soft_cross_entropy(self.model.forward(x + d, train=True), softmax(self._answers))
        dx = self.model.backward(dlogits)  # (B, D)
        return x + self.radius * dx / (xp.linalg.norm(dx, axis=1, keepdims=True) + TINY)

    def answers_for(self, disturbed: Array) -> Array:
        """The network's logits for the images of this batch before they were disturbed, (B, K)."""
        return self._answers


def name_subclasses(logits: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """The digit of each subclass: within each super-class, the one-to-one assignment that fits most images.

    logits (N, K), digits (N,) -> (K,).  The networks do not know the names; they come from training labels.
    """
    classes = logits.shape[1]
    counts = np.zeros((classes, classes), int)  # of images in subclass (row) of digit (column)
    np.add.at(counts, (logits.argmax(axis=1), digits), 1)
    names: list[int] = []
    for group in (range(classes // 2), range(classes // 2, classes)):
        names += max(
            permutations(group), key=lambda digit: sum(counts[k, d] for k, d in zip(group, digit, strict=True))
        )
    return np.array(names)


def draw(figure: Figure, values: Values, lab: Lab, p: Protocol) -> None:
    """Training images in each subclass of the first seed's student, and how often the digit is found."""
    figure.set_size_inches(9.5, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    student, per_row = lab.read("subclass-student"), 14
    chosen = to_numpy(student.predict(lab.x[:5000])).argmax(axis=1)
    names = name_subclasses(to_numpy(student.predict(lab.x)), lab.y)
    height, width = lab.image_shape
    sheet = np.zeros((lab.n_classes * height, per_row * width), np.float32)
    for row, k in enumerate(np.argsort(names)):
        for column, i in enumerate(np.flatnonzero(chosen == k)[:per_row]):
            cell = slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)
            sheet[cell] = lab.x[i].reshape(height, width)
    left.imshow(sheet, cmap="gray_r")
    left.axhline(lab.n_classes * height / 2 - 0.5, color="#D55E00", lw=1.5)
    left.set(xticks=(), title="What the student puts into each of its ten subclasses")
    left.set_yticks((np.arange(lab.n_classes) + 0.5) * height, [str(d) for d in range(lab.n_classes)])
    left.set_ylabel("named after the digit")
    for i, name in enumerate(("teacher", "student")):
        numbers = values[name]
        mean, half = means(values, [name])
        right.bar([i], mean, yerr=half, capsize=4, width=0.6, color=("0.6", "#009E73")[i])
        right.plot(i + np.linspace(-0.2, 0.2, len(numbers)), numbers, "o", ms=4, color="black")
    right.axhline(PRECEDENT, color="#D55E00", ls="--", lw=1.2, label="NumPy precedent")
    right.set_xticks((0, 1), ("teacher", "student"))
    right.set(ylabel="test images put with their digit, %", ylim=(0, 100), title="The digits that nobody named")
    right.legend(loc="lower right")


STUDY = Study(
    name="subclass2020",
    title="Subclass distillation: ten digits from two labels",
    source="arXiv 2002.03936 (MNIST-2×5)",
    rows=(
        Row("teacher: right of the two super-classes", "teacher, two classes", None, " %"),
        Row("teacher: test images in the subclass of their digit", "teacher", None, " %", better="higher"),
        Row(
            "student: the same, without any label (beside it a NumPy precedent, mean of 5 seeds)",
            "student",
            PRECEDENT,
            " %",
            better="higher",
        ),
        Row("student: right of the two super-classes", "student, two classes", None, " %"),
    ),
    full=Protocol(),
    quick=Protocol(images=10_000, teacher_epochs=10, epochs=5),
    run=run,
    draw=draw,
)
