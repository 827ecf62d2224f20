"""The pictures of a run. Each function draws one matplotlib Figure, without touching any global state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .backend import to_numpy
from .checkpoint import write_atomically
from .data import Data
from .errors import check_labels, check_matrix
from .metrics import reliability
from .ops import softmax

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .experiment import Trained

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {"teacher": "#000000", "labels": "#D55E00", "smoothed": "#56B4E9", "distilled": "#009E73"}
TEMPERATURES = (1, 2, 4, 8)
SURE = 0.9
FAR = 8  # a gain so many times the median gain is out of the picture
FEW = 3  # a bin of fewer samples says nothing


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout=layout)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    from io import BytesIO

    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomically(path, buffer.getvalue())


def learning_curves(done: Sequence[Trained], names: dict[str, str]) -> Figure:
    """Validation NLL and accuracy by epoch: the mean over seeds, in the band from lowest to highest."""
    figure = _figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    for kind, name in names.items():
        histories = [t.history for t in done if t.kind == kind and len(t.history)]
        if not histories:
            continue
        for axes, column, factor in ((left, "val_nll", 1), (right, "val_accuracy", 100)):
            values = factor * np.array([history[column] for history in histories])  # (seeds, epochs)
            epochs = np.arange(1, values.shape[1] + 1)
            axes.plot(epochs, values.mean(axis=0), color=COLOURS[kind], lw=1.2, label=name)
            axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=COLOURS[kind], alpha=0.15, lw=0)
    left.set(xlabel="epoch", ylabel="NLL, nats", yscale="log", title="validation NLL (lower is better)")
    right.set(xlabel="epoch", ylabel="accuracy, %", title="validation accuracy")
    lowest = min((line.get_ydata()[-1] for line in right.lines), default=0)
    right.set_ylim(bottom=max(0.0, 100 - 4 * (100 - lowest)), top=100)
    right.legend(loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def dark_knowledge(models: dict[str, Any], data: Data, count: int = 3) -> Figure:
    """What networks think of a few test samples: class probabilities, softened by rising temperatures.

    models   name -> network; the first is the teacher. Shown are samples of different classes that it is right about,
             and rather sure of: at T = 1 they look like labels, and at higher T the rest comes out
    """
    logits = {name: to_numpy(model.predict(data.x_test)) for name, model in models.items()}
    first = next(iter(logits.values()))
    distance = np.abs(softmax(first).max(axis=1) - SURE) + (first.argmax(axis=1) != data.y_test)
    shown = _one_per_class(np.argsort(distance, kind="stable"), data.y_test, count)
    rows, classes = len(models), len(data.class_names)
    figure = _figure(11, 0.8 + (0.5 * rows + 0.3) * count, layout=None)
    figure.suptitle(
        "What the labels do not say: class probabilities at rising temperature T, each group to its own scale"
    )
    heights = (
        [1] * rows + [0.5 if classes <= 12 else 1.2]
    ) * count  # a gap below each sample, for the names of the classes
    room = {"hspace": 0.5, "wspace": 0.22, "left": 0.01, "right": 0.99, "top": 0.87, "bottom": 0.02}
    cells = figure.add_gridspec(len(heights), 2, width_ratios=[1, 10], height_ratios=heights, **room)
    at = np.arange(classes) + (classes + 1.5) * np.arange(len(TEMPERATURES))[:, None]  # a group of bars for each T
    for k, sample in enumerate(shown):
        _picture(figure.add_subplot(cells[k * (rows + 1) : k * (rows + 1) + rows, 0]), data, sample)
        truth = np.tile(np.arange(classes) == data.y_test[sample], len(TEMPERATURES))
        for r, (name, z) in enumerate(logits.items()):
            axes = figure.add_subplot(cells[k * (rows + 1) + r, 1])
            p = np.stack([softmax(z[sample : sample + 1], T)[0] for T in TEMPERATURES])  # (temperatures, K)
            heights = p / p.max(axis=1, keepdims=True)
            axes.bar(at.ravel(), heights.ravel(), color=np.where(truth, "#009E73", "#555555"))
            for row, group in zip(p, at, strict=True):
                axes.text(group[row.argmax()], 1.03, f"{row.max():.2f}", ha="center", fontsize=7)
            axes.set(ylim=(0, 1), yticks=(), xlim=(-0.8, at.max() + 0.8), xticks=())
            axes.set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
            axes.tick_params(labelsize=7, length=2)
            axes.spines[["top", "right", "left"]].set_visible(False)
            if k == r == 0:
                for T, middle in zip(TEMPERATURES, at.mean(axis=1), strict=True):
                    axes.text(middle, 1.35, f"T = {T}", ha="center")
        # All classes by name where there is room, or else those that the teacher thinks likeliest.
        named = np.arange(classes) if classes <= 12 else np.sort(np.argsort(-first[sample])[:3])
        slant: dict[str, Any] = {} if classes <= 12 else {"rotation": 25, "ha": "right"}
        axes.set_xticks(at[:, named].ravel(), [data.class_names[c] for c in named] * len(TEMPERATURES), **slant)
    return figure


def _one_per_class(order: np.ndarray, labels: np.ndarray, count: int) -> list[int]:
    """The first samples in `order`, of as many different classes."""
    chosen: dict[int, int] = {}
    for i in order:
        chosen.setdefault(int(labels[i]), int(i))
    return list(chosen.values())[:count]


def _picture(axes: Any, data: Data, sample: int) -> None:
    """The sample, if it is a picture, and its class."""
    axes.axis("off")
    if data.image_shape is not None:
        axes.imshow(data.x_test[sample].reshape(data.image_shape), cmap="gray_r")
    axes.set_title(f"a test {data.class_names[data.y_test[sample]]}", fontsize=9)


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often class i (row) was taken for class j (column).  logits (N, K), labels (N,) -> counts (K, K)"""
    check_matrix("logits", logits)
    check_labels("labels", labels, *logits.shape)
    classes = logits.shape[1]
    pairs = labels.astype(np.int64) * classes + logits.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def confusions(models: dict[str, Any], data: Data) -> Figure:
    """For each network, how often a class (row) was taken for another (column) on the test samples."""
    figure = _figure(4.2 * len(models), 5)
    ticks = np.arange(len(data.class_names))
    figure.supxlabel("networks of the first seed, on the test samples", fontsize=8)
    tables = [confusion(to_numpy(model.predict(data.x_test)), data.y_test) for model in models.values()]  # (K, K) each
    most = max(1, *((counts - np.diag(np.diag(counts))).max() for counts in tables))
    for axes, name, counts in zip(np.atleast_1d(figure.subplots(1, len(models))), models, tables, strict=True):
        wrong = counts - np.diag(np.diag(counts))
        axes.imshow(wrong, cmap="Reds", vmin=0, vmax=most)
        for i, j in np.argwhere(counts) if len(ticks) <= 12 else ():
            axes.text(
                j,
                i,
                counts[i, j],
                ha="center",
                va="center",
                fontsize=7,
                color="0.55" if i == j else "white" if wrong[i, j] > 0.6 * most else "black",
            )
        axes.set(title=f"{name}: {wrong.sum()} errors", xlabel="taken for", ylabel="is")
        axes.set_xticks(ticks, data.class_names, fontsize=7, rotation=90 if len(ticks) > 12 else 0)
        axes.set_yticks(ticks, data.class_names, fontsize=7)
    return figure


def reliabilities(models: dict[str, Any], data: Data) -> Figure:
    """For each network, accuracy against confidence in ten bins: on the diagonal, it is as sure as it is right."""
    figure = _figure(3.2 * len(models), 3.7)
    for axes, (name, model) in zip(np.atleast_1d(figure.subplots(1, len(models))), models.items(), strict=True):
        p = softmax(to_numpy(model.predict(data.x_test)).astype(np.float64))
        bins = reliability(p, data.y_test, bins=10)  # (10, 3)
        used = bins[:, 2] >= FEW
        share = bins[used, 2] / bins[:, 2].sum()
        axes.plot((0, 1), (0, 1), color="0.5", lw=1, ls="--")
        axes.scatter(bins[used, 0], bins[used, 1], s=15 + 300 * share, color="#0072B2", zorder=3, clip_on=False)
        axes.set(xlim=(0, 1.03), ylim=(0, 1.03), title=name, xlabel="confidence", ylabel="accuracy", aspect="equal")
        axes.grid(alpha=0.3)
    figure.supxlabel(
        "networks of the first seed; a point a bin of confidence, its area the share of test samples", fontsize=8
    )
    return figure


def comparison(rows: Sequence[dict[str, Any]]) -> Figure:
    """By how many percentage points each method errs less than labels alone, with 95 % intervals; see compare.py."""
    shown = [row for row in rows if row["method"] not in ("teacher", "labels")]
    figure = _figure(7.5, 1.3 + 0.27 * len(shown))
    axes = figure.subplots()

    def colour_of(row: dict[str, Any]) -> str:
        return {"fewer errors": "#009E73", "more errors": "#D55E00"}.get(row["verdict"], "0.5")

    for at, row in enumerate(shown):
        half = np.nan_to_num(row["gain_half"])
        axes.errorbar(row["gain"], at, xerr=half, fmt="o", ms=5, capsize=2, color=colour_of(row))
    axes.axvline(0, color="black", lw=1)
    axes.set_yticks(range(len(shown)), [row["method"] for row in shown], fontsize=8)
    axes.invert_yaxis()
    # What is far off would squeeze the others together; it is said in words at the edge.
    near = [row for row in shown if abs(row["gain"]) <= FAR * max(np.median([abs(r["gain"]) for r in shown]), 0.1)]
    low, high = (
        f(row["gain"] + s * np.nan_to_num(row["gain_half"]) for row in near or shown) for f, s in ((min, -1), (max, 1))
    )
    room = 0.08 * max(high - low, 0.1)
    axes.set_xlim(min(low, 0) - room, max(high, 0) + room)
    for at, row in enumerate(shown):
        if row not in near:
            left = row["gain"] < 0
            axes.annotate(
                f"← {row['gain']:+.1f}" if left else f"{row['gain']:+.1f} →",
                (0.01 if left else 0.99, at),
                xycoords=("axes fraction", "data"),
                ha="left" if left else "right",
                va="center",
                fontsize=8,
                color=colour_of(row),
            )
    axes.set(xlabel="percentage points fewer test errors than labels alone", title="What each method gains")
    axes.grid(axis="x", alpha=0.3)
    return figure
