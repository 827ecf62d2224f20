"""Teacher assistants: from a large teacher to a small student through networks of sizes between (Mirzadeh et al. 2020).

Idea. A student that is far smaller than its teacher cannot follow it, and may do worse than with a weaker teacher. So
an assistant of a size in between learns from the teacher first, and then teaches the student. There may also be a chain
of assistants.

Loss. `distillation_loss` at each link, with the network before as the teacher::

    teacher -> assistant 1 -> ... -> student

No other derivation is needed. The paper chooses the size whose accuracy is half-way between the two ends. Here no size
is tried: the widths have equal ratios, so a single assistant has the geometric mean.

Defaults. One assistant, T = 4 and soft_weight 0.9 at each link. The paper tunes both for each pair of networks.

When. Use it if the gap is large and more training time costs nothing. `minikd reproduce capacity` measures what it
gains on MNIST.

Source: arXiv 1902.03393.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import Array
from ..checks import check_count, check_sizes, check_type
from ..metrics import History
from ..mlp import MLP
from ..optim import Adam
from . import kd
from .base import MakeOptimizer, Method, check_student, companion_options, new_like


def between(student: Sequence[int], teacher: Sequence[int], count: int = 1) -> list[tuple[int, ...]]:
    """Sizes of `count` assistants, the largest first: widths at equal ratios between student and teacher.

    An assistant has the student's depth. The teacher's width for each layer is taken at the same share of its depth.
    """
    check_count("count", count)
    hidden, large = student[1:-1], teacher[1:-1]
    if not hidden or not large:
        raise ValueError(f"student and teacher must have hidden layers, got sizes {student} and {teacher}")
    beside_it = [large[i * len(large) // len(hidden)] for i in range(len(hidden))]
    steps = [j / (count + 1) for j in range(count, 0, -1)]
    return [
        (student[0], *(max(1, round(s * (t / s) ** r)) for s, t in zip(hidden, beside_it, strict=True)), student[-1])
        for r in steps
    ]


def train(
    student: MLP,
    teacher: MLP,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    sizes: Sequence[Sequence[int]] | None = None,
    temperature: float = 4.0,
    **fit_options: Any,
) -> History:
    """`kd` along a chain of assistants. Each is trained like the student: as many epochs, the same optimizer.

    Parameters
    ----------
    student, x, labels, strength, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    teacher : MLP
        The large network.
    sizes : sequence of sequence of int, optional
        The sizes of the assistants, the largest first. By default one at the geometric mean.
    temperature : float
        T at each link, above 0.
    """
    x, labels = check_student(student, x, labels)
    check_type("teacher", teacher, MLP, "an MLP, because its sizes are needed")
    chain = between(student.sizes, teacher.sizes) if sizes is None else [check_sizes(s) for s in sizes]
    for i, one in enumerate(chain):
        if (one[0], one[-1]) != (student.sizes[0], student.sizes[-1]):
            raise ValueError(
                f"sizes[{i}] must have the student's {student.sizes[0]} inputs and "
                f"{student.sizes[-1]} classes, got {one}"
            )
    how: dict[str, Any] = {"strength": strength, "optimizer": optimizer, "temperature": temperature}
    guide = teacher
    for i, one in enumerate(chain):
        assistant = new_like(student, i + 1, fit_options, one)
        kd.train(assistant, guide, x, labels, **how, **companion_options(fit_options, f"assistant-{i + 1}"))
        guide = assistant
    return kd.train(student, guide, x, labels, **how, **fit_options)


METHOD = Method(
    "assistants",
    "through a network of medium size",
    "Mirzadeh et al. 2020, arXiv 1902.03393",
    train,
    teacher="network",
    temperature="temperature",
)
