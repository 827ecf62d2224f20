"""Mirzadeh et al. 2020, "Improved knowledge distillation via teacher assistant": can a teacher be too large?

Source: arXiv 1902.03393 (on CIFAR, with convolutions). The paper's claim: a student much smaller than its teacher
learns less from it than from a teacher of medium size. An assistant of medium size helps: the teacher teaches the
assistant, and the assistant teaches the student.

The paper's protocol: convolutional networks and ResNets on CIFAR-10 and CIFAR-100. The claims are directions. Above
some size, a larger teacher makes a worse student. A student of an assistant is better than a student of the teacher.

What we do differently: everything. We use multilayer perceptrons with two hidden layers on 20,000 images of MNIST, so
that a seed takes a few minutes, and one temperature for all. So this study asks whether the claim also holds there, and
an undecided result is also an answer. Assistants are trained like students, on labels and teacher.

What was tried because the claim misses here: T = 1, a smaller student and fewer images (docs/reproduce.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from minikd import MLP, cross_entropy, distill, fit

from ..report.style import log_scale
from .lab import Lab
from .study import ABOVE_0, Row, Study, Values, means

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEACHER, STUDENT = 0, 1  # numbers for initial weights


@dataclass(frozen=True)
class Protocol:
    """Every network has two equal hidden layers. `teachers` and `student` are their widths, from small to large."""

    images: int = 20_000
    student: int = 16
    teachers: tuple[int, ...] = (25, 50, 100, 200, 400, 800)
    chains: tuple[tuple[int, ...], ...] = ((800, 100), (800, 200, 50))
    teacher_epochs: int = 20
    epochs: int = 30
    temperature: float = 4.0
    soft_weight: float = 0.9
    lr: float = 1e-3
    student_lr: float = 3e-3
    batch_size: int = 256


def run(lab: Lab, p: Protocol) -> dict[str, float]:
    """One seed: teachers of every size, a student of each teacher, and students at the end of chains of assistants."""
    x, y = lab.x[: p.images], lab.y[: p.images]

    def trained(name: str, width: int, number: int, teacher: MLP | None) -> MLP:
        """A network trained on the labels, and on a teacher if there is one."""
        model = lab.network(width, width, number=number)
        lr, epochs = (p.student_lr, p.epochs) if width == p.student else (p.lr, p.teacher_epochs)
        options = lab.training(f"capacity-{name}", model, epochs=epochs, lr=lr, batch_size=p.batch_size)
        if teacher is None:
            fit(model, x, y, loss=cross_entropy, **options)
        else:
            distill(model, teacher, x, y, temperature=p.temperature, soft_weight=p.soft_weight, **options)
        return model

    teachers = {width: trained(f"teacher-{width}", width, TEACHER, None) for width in p.teachers}
    values = {f"teacher of {width}": lab.exam.percent(model) for width, model in teachers.items()}
    values["labels alone"] = lab.exam.percent(trained("student-labels", p.student, STUDENT, None))
    for width, model in teachers.items():
        student = trained(f"student-of-{width}", p.student, STUDENT, model)
        values[f"student of {width}"] = lab.exam.percent(student)
    for first, *assistants in p.chains:
        model, path = teachers[first], str(first)
        for width in assistants:
            path += f"-{width}"
            model = trained(f"assistant-{path}", width, TEACHER, model)
        student = trained(f"student-of-{path}", p.student, STUDENT, model)
        values[f"student of {path}"] = lab.exam.percent(student)
    largest, middle = max(p.teachers), p.teachers[len(p.teachers) // 2 - 1]
    direct = values[f"student of {largest}"]
    values["labels alone less largest"] = values["labels alone"] - direct
    values["largest less middle"] = direct - values[f"student of {middle}"]
    for chain in p.chains:
        path = "-".join(map(str, chain))
        values[f"direct less {path}"] = direct - values[f"student of {path}"]
    return values


def draw(figure: Figure, values: Values, lab: Lab, p: Protocol) -> None:
    """Errors of teachers and of their students by the teacher's width; students of assistants on the right."""
    figure.set_size_inches(8.5, 5)
    axes = figure.subplots()
    for kind, label, colour in (("teacher", "the teacher itself", "#000000"), ("student", "its student", "#009E73")):
        mean, half = means(values, [f"{kind} of {width}" for width in p.teachers])
        axes.errorbar(p.teachers, mean, half, fmt="o-", ms=4, capsize=2, color=colour, label=label)
    (mean,), (half,) = means(values, ["labels alone"])
    axes.axhline(mean, color="#D55E00", ls="--", lw=1.2, label="the student on labels alone")
    axes.axhspan(mean - half, mean + half, color="#D55E00", alpha=0.12, lw=0)
    for i, chain in enumerate(p.chains, 1):
        mean, half = means(values, [f"student of {'-'.join(map(str, chain))}"])
        label = f"student of {' → '.join(map(str, chain))}"
        at = p.teachers[-1] * 1.15**i
        colour, marker = (("#0072B2", "D"), ("#CC79A7", "s"), ("#56B4E9", "^"))[i % 3]
        axes.errorbar([at], mean, half, fmt=marker, ms=6, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="units in each hidden layer of the teacher", ylabel="test errors, %")
    axes.set_title("Does a larger teacher teach better?")
    axes.set_xticks(p.teachers, [str(width) for width in p.teachers])
    axes.minorticks_off()
    log_scale(axes.yaxis)
    axes.grid(alpha=0.3)
    axes.legend()


STUDY = Study(
    name="capacity",
    title="The gap between teacher and student, and teacher assistants",
    source="arXiv 1902.03393",
    rows=(
        Row("student 16-16 on labels alone", "labels alone", None, " %", 2),
        Row("taught by a teacher 100-100", "student of 100", None, " %", 2),
        Row("taught by a teacher 800-800", "student of 800", None, " %", 2),
        Row("  gain over labels alone", "labels alone less largest", ABOVE_0, " %", 2),
        Row("  loss against the teacher 100-100", "largest less middle", ABOVE_0, " %", 2),
        Row("taught by 800, then 100", "student of 800-100", None, " %", 2),
        Row("  gain over the teacher 800-800 itself", "direct less 800-100", ABOVE_0, " %", 2),
        Row("taught by 800, then 200, then 50", "student of 800-200-50", None, " %", 2),
        Row("  gain over the teacher 800-800 itself", "direct less 800-200-50", ABOVE_0, " %", 2),
    ),
    full=Protocol(),
    quick=Protocol(images=10_000, teacher_epochs=5, epochs=10),
    run=run,
    draw=draw,
)
