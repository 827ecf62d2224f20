"""The pictures of a run: how its networks were trained, and what they say of test samples. Each returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import to_numpy
from ..checks import check_choice, check_labels, check_matrix
from ..data import Data
from ..metrics import reliability
from ..ops import softmax
from .plots import MANY_CLASSES, OTHERS, TRUTH, draw_curve, say_interval
from .style import INK, SMALL, log_scale, new_figure, note, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..experiments.summary import Trained

# Each network's colour, line and marker: what colours cannot say in grey, lines and markers do.
COLOURS = {"teacher": "#000000", "labels": "#D55E00", "smoothed": "#56B4E9", "distilled": "#009E73"}
LINES = {"teacher": ":", "labels": "--", "smoothed": "-.", "distilled": "-"}
MARKERS = {"teacher": "s", "labels": "o", "smoothed": "^", "distilled": "D"}
# Of a column of a History: title, axis with unit, factor.
COLUMNS = {
    "val_nll": ("validation NLL (lower is better)", "NLL, nats", 1),
    "val_accuracy": ("validation accuracy", "accuracy, %", 100),
    "val_ece": ("validation calibration error (lower is better)", "ECE, %", 100),
}
TEMPERATURES = (1, 2, 4, 8)
SURE = 0.9  # how sure the teacher is of the samples that are shown
FEW_SAMPLES = 3  # a bin of fewer samples says nothing


@styled
def learning_curves(
    done: Sequence[Trained], names: Mapping[str, str], columns: Sequence[str] = ("val_nll", "val_accuracy")
) -> Figure:
    """Columns of the histories by epoch, a panel each: the mean over seeds, and its 95 % interval as a band.

    names   kind of network -> its name in the legend;  columns  some of "val_nll", "val_accuracy", "val_ece"
    """
    figure = new_figure(5.3 * len(columns), 4.2)
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    histories = {kind: [t.history for t in done if t.kind == kind and len(t.history)] for kind in names}
    for axes, column in zip(panels, columns, strict=True):
        check_choice("columns", column, COLUMNS)
        title, ylabel, factor = COLUMNS[column]
        for kind, name in names.items():
            if histories[kind]:
                runs = factor * np.array([history[column] for history in histories[kind]])  # (seeds, epochs)
                look = {"color": COLOURS[kind], "ls": LINES[kind], "marker": MARKERS[kind], "label": name}
                draw_curve(axes, np.arange(1, runs.shape[1] + 1), runs, **look)
        axes.set(xlabel="epoch", ylabel=ylabel, title=title)
        axes.grid(True, which="both")
        _limit(axes, column)
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[-1].legend()
    say_interval(figure, [len(h) for h in histories.values()])
    return figure


def _limit(axes: Any, column: str) -> None:
    """Show where the curves are and end: bands that reach below 0, and the first epochs, would squeeze them."""
    curves = [line.get_ydata() for line in axes.lines if np.isfinite(line.get_ydata()).any()]
    if column == "val_accuracy":
        lowest = min((curve[np.isfinite(curve)][-1] for curve in curves), default=0)
        axes.set_ylim(max(0.0, 100 - 4 * (100 - lowest)), 100)
    elif column == "val_nll" and curves:
        values = np.concatenate(curves)
        axes.set_yscale("log")
        axes.set_ylim(0.75 * np.nanmin(values), 1.2 * np.nanmax(values))
        log_scale(axes.yaxis)


@styled
def dark_knowledge(models: Mapping[str, Any], data: Data, count: int = 3) -> Figure:
    """What networks think of a few test samples: class probabilities, softened by rising temperatures.

    models   name -> network; the first is the teacher. Shown are samples of different classes that it is right about,
             and rather sure of: at T = 1 they look like labels, and at higher T the rest comes out
    """
    logits = {name: to_numpy(model.predict(data.x_test)) for name, model in models.items()}
    first = next(iter(logits.values()))
    distance = np.abs(softmax(first).max(axis=1) - SURE) + (first.argmax(axis=1) != data.y_test)
    shown = _one_per_class(np.argsort(distance, kind="stable"), data.y_test, count)
    rows, classes = len(models), len(data.class_names)
    height = 1.2 + (0.58 * rows + 0.3) * count  # inches
    figure = new_figure(12, height, layout=None)
    figure.suptitle("What the labels do not say: class probabilities at rising temperature T", y=1 - 0.12 / height)
    words = "blue, the darker bars: the right class; each group of bars to its own scale"
    figure.text(0.5, 1 - 0.55 / height, words, ha="center", fontsize=10)
    gap = 0.6 if classes <= MANY_CLASSES else 1.3  # below each sample, for the names of the classes
    room = {"hspace": 0.6, "wspace": 0.26, "left": 0.01, "right": 0.99, "top": 1 - 1.15 / height, "bottom": 0.01}
    heights = ([1.0] * rows + [gap]) * count
    cells = figure.add_gridspec(len(heights), 2, width_ratios=[1, 10], height_ratios=heights, **room)
    for k, sample in enumerate(shown):
        top = k * (rows + 1)
        _picture(figure.add_subplot(cells[top : top + rows, 0]), data, sample)
        panels = [figure.add_subplot(cells[top + r, 1]) for r in range(rows)]
        for axes, (name, z) in zip(panels, logits.items(), strict=True):
            p = np.stack([softmax(z[sample : sample + 1], T)[0] for T in TEMPERATURES])  # (temperatures, K)
            _groups(axes, p, int(data.y_test[sample]), name)
        if k == 0:
            for T, middle in zip(TEMPERATURES, _group_places(classes).mean(axis=1), strict=True):
                panels[0].text(middle, 1.55, f"T = {T}", ha="center")
        # All classes by name where there is room, or else those that the teacher thinks likeliest.
        named = np.arange(classes) if classes <= MANY_CLASSES else np.sort(np.argsort(-first[sample])[:3])
        slant: dict[str, Any] = {} if classes <= MANY_CLASSES else {"rotation": 25, "ha": "right"}
        ticks = [data.class_names[c] for c in named] * len(TEMPERATURES)
        panels[-1].set_xticks(_group_places(classes)[:, named].ravel(), ticks, fontsize=SMALL, **slant)
    return figure


def _group_places(classes: int) -> np.ndarray:
    """Where the bars stand: (temperatures, K)."""
    return np.arange(classes) + (classes + 1.5) * np.arange(len(TEMPERATURES))[:, None]


def _groups(axes: Any, p: np.ndarray, truth: int, name: str) -> None:
    """A network's probabilities p (temperatures, K) as a row of groups of bars, the largest of each group in words."""
    at = _group_places(p.shape[1])
    dark = np.tile(np.arange(p.shape[1]) == truth, len(p))
    heights = p / p.max(axis=1, keepdims=True)
    axes.bar(at.ravel(), heights.ravel(), color=np.where(dark, TRUTH, OTHERS))
    for row, group in zip(p, at, strict=True):
        axes.text(group[row.argmax()], 1.03, f"{row.max():.2f}", ha="center", fontsize=SMALL)
    axes.set(ylim=(0, 1), yticks=(), xlim=(-0.8, at.max() + 0.8), xticks=())
    axes.set_ylabel(name, fontsize=SMALL, rotation=0, ha="right", va="center")
    axes.tick_params(length=2)
    axes.spines["left"].set_visible(False)


def _one_per_class(order: np.ndarray, labels: np.ndarray, count: int) -> list[int]:
    """The first samples in `order`, of as many different classes."""
    chosen: dict[int, int] = {}
    for i in order:
        chosen.setdefault(int(labels[i]), int(i))
    return list(chosen.values())[:count]


def _picture(axes: Any, data: Data, sample: int) -> None:
    """The sample, if it is a picture, and its class."""
    axes.axis("off")
    name = data.class_names[data.y_test[sample]]
    if data.image_shape is None:
        axes.text(0.5, 0.5, f"a test\n{name}", ha="center", va="center", fontsize=10)
    else:
        axes.imshow(data.x_test[sample].reshape(data.image_shape), cmap="gray_r")
        axes.set_title(f"a test {name}", fontsize=10)


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often class i (row) was taken for class j (column).  logits (N, K), labels (N,) -> counts (K, K)"""
    check_matrix("logits", logits)
    check_labels("labels", labels, *logits.shape)
    classes = logits.shape[1]
    pairs = labels.astype(np.int64) * classes + logits.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@styled
def confusions(models: Mapping[str, Any], data: Data) -> Figure:
    """For each network, how often a class (row) was taken for another (column) on the test samples."""
    ticks, few = np.arange(len(data.class_names)), len(data.class_names) <= MANY_CLASSES
    width, height = (4.6, 5.2) if few else (6.5, 7.0)
    figure = new_figure(width * len(models), height)
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    tables = [confusion(to_numpy(model.predict(data.x_test)), data.y_test) for model in models.values()]  # (K, K) each
    wrongs = [counts - np.diag(np.diag(counts)) for counts in tables]
    most = max(1, *(wrong.max() for wrong in wrongs))
    for axes, name, counts, wrong in zip(panels, models, tables, wrongs, strict=True):
        image = axes.imshow(wrong, cmap="Reds", vmin=0, vmax=most)
        for i, j in np.argwhere(counts) if few else ():
            ink = "#6B6B6B" if i == j else "white" if wrong[i, j] > 0.6 * most else INK
            axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=SMALL, color=ink)
        axes.set(title=f"{name}: {wrong.sum()} errors", xlabel="taken for", ylabel="is")
        axes.set_xticks(ticks, data.class_names, fontsize=SMALL, rotation=0 if few else 90)
        axes.set_yticks(ticks, data.class_names, fontsize=SMALL)
        axes.spines[["top", "right"]].set_visible(True)
    if not few:
        figure.colorbar(image, ax=list(panels), shrink=0.6, label="wrong test samples")
    note(figure, f"counts of the {len(data.y_test):,} test samples, networks of the first seed")
    return figure


@styled
def reliabilities(models: Mapping[str, Any], data: Data) -> Figure:
    """For each network, accuracy against confidence in ten bins: on the diagonal, it is as sure as it is right."""
    figure = new_figure(max(4.0, 3.4 * len(models)), 4.1)
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for axes, (name, model) in zip(panels, models.items(), strict=True):
        p = softmax(to_numpy(model.predict(data.x_test)).astype(np.float64))
        bins = reliability(p, data.y_test, bins=10)  # (10, 3)
        used = bins[:, 2] >= FEW_SAMPLES
        share = bins[used, 2] / bins[:, 2].sum()
        axes.plot((0, 100), (0, 100), color="#777777", lw=1.2, ls="--")
        sizes = 20 + 300 * share
        axes.scatter(100 * bins[used, 0], 100 * bins[used, 1], s=sizes, color=TRUTH, zorder=3, clip_on=False)
        axes.set(xlim=(0, 103), ylim=(0, 103), xlabel="confidence, %", ylabel="accuracy, %", aspect="equal")
        axes.set_title(name)
        axes.grid(True)
    words = "a point for each bin of confidence, its area the share of test samples; networks of the first seed"
    note(figure, words)
    return figure
