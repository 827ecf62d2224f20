"""The diagram at the head of the README: teacher -> soft targets -> student, with what real networks say of one image.

`python tests/pictures.py RUN_FOLDER docs` draws it from a run of `minikd distill`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .plots import OTHERS, TRUTH
from .style import LOOKS, SMALL, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STUDENT = LOOKS[1][0]


@styled
def distillation(image: Any, answers: Sequence[Any], truth: int, weights: Sequence[str], temperature: float) -> Figure:
    """An image (H, W), and teacher's and student's softened class probabilities of it, (K,) each; truth is its class.

    weights  how large the teacher is and how large the student, in words
    """
    figure = new_figure(10, 4.4, layout=None)
    page: Any = figure.add_axes((0, 0, 1, 1), xlim=(0, 10), ylim=(0, 4.4))
    page.axis("off")
    box: Any = figure.add_axes((0.03, 0.4, 0.12, 0.27))
    box.imshow(image, cmap="gray_r")
    box.set(xticks=[], yticks=[], title="image")
    for y, name, layers, colour, size, p in (
        (3.35, "teacher", (6, 10, 10, 6), TRUTH, weights[0], answers[0]),
        (1.4, "student", (6, 3, 6), STUDENT, weights[1], answers[1]),
    ):
        _network(page, (2.5, 4.3), y, layers, colour)
        page.text(3.4, y - 0.98 if name == "teacher" else y + 0.53, f"{name}: {size}", ha="center", color=colour)
        _arrow(page, (1.62, 2.35 + (y - 2.35) / 4), (2.35, y))
        _arrow(page, (4.45, y), (5.05, y))
        bars: Any = figure.add_axes((0.52, y / 4.4 - 0.13, 0.2, 0.25))
        bars.bar(range(len(p)), p, color=[colour if k == truth else OTHERS for k in range(len(p))])
        bars.set(ylim=(0, max(map(np.max, answers)) * 1.1), yticks=[], xticks=range(len(p)))
        bars.set_title("soft targets" if name == "teacher" else "its answer", fontsize=11)
        _arrow(page, (7.3, y), (8.0, 2.35 + (y - 2.35) / 3))
    page.text(8.75, 2.45, "the loss", ha="center", weight="bold")
    page.text(8.75, 2.38, f"compares both,\nsoftened by T = {temperature:g}", ha="center", va="top", fontsize=SMALL)
    page.text(8.75, 3.35, f"label: {truth}", ha="center")
    _arrow(page, (8.75, 3.3), (8.75, 2.75))
    page.plot([8.75, 8.75, 3.4], [1.9, 0.2, 0.2], color=STUDENT, ls="--")
    _arrow(page, (3.4, 0.18), (3.4, 0.85), STUDENT)
    page.text(6.2, 0.27, "the gradient changes only the student", ha="center", color=STUDENT)
    return figure


def _network(axes: Any, x: tuple[float, float], y: float, layers: Sequence[int], colour: str) -> None:
    """Layers as columns of dots around the height y, and thin lines between them."""
    columns = [
        (at, y + 0.16 * (np.arange(n) - (n - 1) / 2))
        for at, n in zip(np.linspace(*x, len(layers)), layers, strict=True)
    ]
    for (left, low), (right, high) in pairwise(columns):
        axes.plot([left, right], [np.repeat(low, len(high)), np.tile(high, len(low))], color=colour, lw=0.3, alpha=0.5)
    for at, heights in columns:
        axes.plot(np.full(len(heights), at), heights, "o", color=colour, ms=5)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], colour: str = "#555555") -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.4})
