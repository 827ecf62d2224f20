"""Furlanello et al. 2018, "Born-again neural networks", and Zhang et al. 2018, "Deep mutual learning".

Sources: arXiv 1805.04770 and 1706.00384. Neither method needs a larger teacher. A born-again network is taught by a
network of the same architecture that was trained before it. This is repeated for several generations. In mutual
learning, two networks are trained together, and each learns from the labels and from the current predictions of the
other.

The papers' protocol: ResNets and DenseNets on CIFAR. Both report that the student is better than the same network on
labels alone. We test this direction with a multilayer perceptron on the first 1,000 images of MNIST.

What we do differently. Both papers compare with a network after a single training, although their students need more
training in total. Here a control is also trained for as many steps as all generations together. A child is taught by
labels and parent in equal parts at temperature 1. In mutual learning, both networks take their step from the same pair
of predictions; in the paper, the second network uses the first one's new weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from minikd import Adam, cross_entropy, distill, fit
from minikd.methods.mutual import learn_together

from .lab import Lab
from .study import ABOVE_0, Row, Study, Values, means

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Protocol:
    """Every network has the hidden layers `hidden`. Generation 0 is trained on labels alone."""

    images: int = 1000
    hidden: tuple[int, ...] = (300, 300)
    generations: int = 5
    epochs: int = 60
    soft_weight: float = 0.5
    temperature: float = 1.0
    lr: float = 1e-3
    batch_size: int = 50


def run(lab: Lab, p: Protocol) -> dict[str, float]:
    """One seed: generations of born-again networks, a pair of mutual learners, and the two controls."""
    x, y = lab.x[: p.images], lab.y[: p.images]
    options: dict[str, Any] = {"lr": p.lr, "batch_size": p.batch_size}
    values: dict[str, float] = {}

    first = lab.network(*p.hidden)
    fit(first, x, y, loss=cross_entropy, **lab.training("generations-0", first, epochs=p.epochs, **options))
    values["generation 0"] = lab.exam.percent(first)
    parent = first
    for g in range(1, p.generations + 1):
        child = lab.network(*p.hidden, number=g)  # its initial weights differ from its parent's
        training = lab.training(f"generations-{g}", child, epochs=p.epochs, **options)
        distill(child, parent, x, y, temperature=p.temperature, soft_weight=p.soft_weight, **training)
        values[f"generation {g}"] = lab.exam.percent(child)
        parent = child

    long = lab.network(*p.hidden)
    epochs = p.epochs * (p.generations + 1)
    fit(long, x, y, loss=cross_entropy, **lab.training("generations-long", long, epochs=epochs, **options))
    values["labels alone, all steps"] = lab.exam.percent(long)

    pair = lab.network(*p.hidden), lab.network(*p.hidden, number=1)
    # `learn_together` makes an optimizer for each network, and saves the second network beside the first.
    training = lab.training("generations-mutual", pair[0], epochs=p.epochs, **options)
    learn_together(*pair, x, y, **{**training, "optimizer": partial(Adam, lr=p.lr)})
    values["mutual"] = float(np.mean([lab.exam.percent(model) for model in pair]))

    last, alone, all_steps = (
        values[f"generation {p.generations}"],
        values["generation 0"],
        values["labels alone, all steps"],
    )
    values["labels alone less last generation"] = alone - last
    values["labels alone, all steps, less last generation"] = all_steps - last
    values["labels alone less mutual"] = alone - values["mutual"]
    return values


def draw(figure: Figure, values: Values, lab: Lab, p: Protocol) -> None:
    """Errors by generation, of mutual learning, and of the longer control."""
    figure.set_size_inches(8.5, 4.8)
    axes, generations = figure.subplots(), range(p.generations + 1)
    mean, half = means(values, [f"generation {g}" for g in generations])
    axes.errorbar(generations, mean, half, fmt="o-", capsize=2, color="#009E73")
    others = {"mutual": "#0072B2", "labels alone, all steps": "#D55E00"}
    at = [generations[-1] + 1.2 * i for i in (1, 2)]
    for place, (name, colour) in zip(at, others.items(), strict=True):
        mean, half = means(values, [name])
        axes.errorbar([place], mean, half, fmt="s", capsize=2, color=colour)
    names = ["labels\nalone", *(f"born again\n{g}" for g in generations[1:]), "mutual\nlearning", "labels,\nall steps"]
    axes.set_xticks([*generations, *at], names, fontsize=9)
    axes.set(ylabel="test errors, %", title="Learning from one's own kind, on few labels")
    axes.grid(alpha=0.3)


STUDY = Study(
    name="generations",
    title="Born-again networks and deep mutual learning, with few labels",
    source="arXiv 1805.04770 and 1706.00384",
    rows=(
        Row("300-300 on 1,000 labels alone", "generation 0", None, " %", 2),
        Row("the same for as many steps as six generations", "labels alone, all steps", None, " %", 2),
        Row("born again once", "generation 1", None, " %", 2),
        Row("born again five times", "generation 5", None, " %", 2),
        Row("  gain over labels alone", "labels alone less last generation", ABOVE_0, " %", 2),
        Row("  gain at as many steps", "labels alone, all steps, less last generation", ABOVE_0, " %", 2),
        Row("mutual learning of two, their mean", "mutual", None, " %", 2),
        Row("  gain over labels alone", "labels alone less mutual", ABOVE_0, " %", 2),
    ),
    full=Protocol(),
    quick=Protocol(epochs=10),
    run=run,
    draw=draw,
)
