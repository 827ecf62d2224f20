"""The pictures of a run, and a few for any numbers. Each function returns one matplotlib Figure and writes nothing.

`save` writes a figure, `svg` makes it part of a page, `show` shows it in a notebook; figures.py defines the look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import to_numpy
from ..checks import check_choice, check_labels, check_matrix
from ..data import Data
from ..experiments.intervals import mean_interval
from ..metrics import reliability
from ..ops import softmax
from .style import INK, LOOKS, SMALL, log_scale, new_figure, note, save, show, styled, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..experiments.summary import Trained

__all__ = [
    "bars",
    "comparison",
    "confusion",
    "confusions",
    "curve_with_interval",
    "dark_knowledge",
    "heat_maps",
    "image_grid",
    "learning_curves",
    "lines",
    "reliabilities",
    "save",
    "show",
    "svg",
]

# Each network's colour, line and marker: what colours cannot say in grey, lines and markers do.
COLOURS = {"teacher": "#000000", "labels": "#D55E00", "smoothed": "#56B4E9", "distilled": "#009E73"}
LINES = {"teacher": ":", "labels": "--", "smoothed": "-.", "distilled": "-"}
MARKERS = {"teacher": "s", "labels": "o", "smoothed": "^", "distilled": "D"}
TRUTH, OTHERS, POINTS = "#0072B2", "#BBBBBB", "#0072B2"  # the right class is darker than the others
VERDICTS = {"fewer errors": ("#009E73", "^"), "more errors": ("#D55E00", "v"), "no difference": ("#777777", "o")}
# Of a column of a History: title, axis with unit, factor.
COLUMNS = {
    "val_nll": ("validation NLL (lower is better)", "NLL, nats", 1),
    "val_accuracy": ("validation accuracy", "accuracy, %", 100),
    "val_ece": ("validation calibration error (lower is better)", "ECE, %", 100),
}
TEMPERATURES = (1, 2, 4, 8)
SURE = 0.9
FAR = 8  # a gain so many times the median gain is out of the picture
FEW = 3  # a bin of fewer samples says nothing
ROOM = 3  # more curves than this leave no room for a legend between them
MANY = 12  # more classes than this have no room for all their names or counts


# ---- of any numbers ----------------------------------------------------------------------------------------------


@styled
def lines(x: Any, curves: Mapping[str, Any], *, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """Curves over x (n,): label -> (n,), or (seeds, n), of which the mean and its 95 % interval are drawn.

    At most seven, which differ in colour, line and marker. ValueError for more, and for numbers that do not fit x.
    """
    if len(curves) > len(LOOKS):
        raise ValueError(f"curves must be at most {len(LOOKS)}, for more cannot be told apart; got {len(curves)}")
    figure = new_figure(7, 4)
    axes: Any = figure.subplots()
    numbers = {label: _runs(f"curves[{label!r}]", values, len(x)) for label, values in curves.items()}
    for (label, runs), (colour, line, marker) in zip(numbers.items(), LOOKS, strict=False):
        _curve(axes, x, runs, color=colour, ls=line, marker=marker, label=label)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(True)
    axes.xaxis.get_major_locator().set_params(integer=not np.any(np.mod(x, 1)))
    if len(curves) <= ROOM:
        axes.legend()
    else:
        figure.legend(loc="outside upper center", ncols=min(len(curves), 4))
    _say_interval(figure, [len(runs) for runs in numbers.values()])
    return figure


def curve_with_interval(x: Any, runs: Any, *, label: str, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """One curve over x (n,): the mean of runs (seeds, n) and its 95 % interval; several in one picture: `lines`."""
    return lines(x, {label: runs}, xlabel=xlabel, ylabel=ylabel, title=title)


@styled
def bars(
    rows: Mapping[str, Any],
    names: Sequence[str],
    *,
    ylabel: str = "probability",
    title: str = "",
    truth: int | None = None,
) -> Figure:
    """Bars over classes, a panel a row: an answer softened by several temperatures, {"T = 1": p, "T = 4": p}, say.

    rows    label -> (K,), or (seeds, K), of which the mean and its 95 % interval are drawn; names  of the K classes
    truth   the index of the class whose bars stand out
    """
    figure = new_figure(max(5.5, 0.5 * len(names) + 1.2), 0.9 + 1.35 * len(rows))
    panels = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    at = np.arange(len(names))
    colours = [TRUTH if truth is None or k == truth else OTHERS for k in at]
    seeds = []
    for axes, (label, values) in zip(panels, rows.items(), strict=True):
        runs = _runs(f"rows[{label!r}]", values, len(names))  # (seeds, K)
        seeds.append(len(runs))
        mean, half = _mean_and_half(runs)
        axes.bar(at, mean, yerr=half if len(runs) > 1 else None, color=colours, ecolor="black", width=0.75)
        axes.set_title(label, loc="left", fontsize=11)
        axes.axhline(0, color="black", lw=0.6)
    panels[-1].set_xticks(at, names, rotation=0 if len(names) <= MANY else 90)
    panels[-1].set_xlabel("class")
    figure.supylabel(ylabel, fontsize=11)
    figure.suptitle(title)
    _say_interval(figure, seeds)
    return figure


@styled
def image_grid(x: Any, image_shape: tuple[int, int], titles: Sequence[str] = (), columns: int = 10) -> Figure:
    """Rows of x (n, height · width) as small pictures, dark where they are large, under n titles (or none)."""
    if len(titles) not in (0, len(x)):
        raise ValueError(f"titles must be one for each of the {len(x)} rows of x, got {len(titles)}")
    wide = min(columns, len(x))
    high = -(-len(x) // wide)
    figure = new_figure(max(2.0, 1.05 * wide), (1.35 if titles else 1.1) * high)
    panels = figure.subplots(high, wide, squeeze=False).ravel()
    for k, axes in enumerate(panels):
        axes.axis("off")
        if k < len(x):
            axes.imshow(np.reshape(to_numpy(x[k]), image_shape), cmap="gray_r")
            axes.set_title(titles[k] if titles else "", fontsize=SMALL)
    return figure


def _runs(name: str, values: Any, points: int) -> np.ndarray:
    """Values (points,) or (seeds, points) as (seeds, points)."""
    runs = np.atleast_2d(np.asarray(to_numpy(values), np.float64))
    if runs.ndim != 2 or runs.shape[1] != points:
        raise ValueError(f"{name} must be of shape ({points},) or (seeds, {points}), got {np.shape(values)}")
    return runs


def _mean_and_half(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`mean_interval` of each column of runs (seeds, points); half-widths are 0 where there is one seed."""
    if len(runs) < 2:
        return runs[0], np.zeros(runs.shape[1])
    two = np.arange(len(runs), dtype=float)
    t = mean_interval(list(two))[1] / two.std(ddof=1)  # the half-width is t times the standard deviation
    return runs.mean(axis=0), t * runs.std(axis=0, ddof=1)


def _curve(axes: Any, x: Any, runs: np.ndarray, **look: Any) -> None:
    """The mean of runs (seeds, points), and a band for its 95 % interval."""
    mean, half = _mean_and_half(runs)
    step = (
        1 if len(mean) <= 25 else len(mean) // 10
    )  # markers of a long curve do not run into each other, nor into the other curves'
    axes.plot(x, mean, markevery=(len(axes.lines) * step // 4, step), **look)
    if len(runs) > 1:
        axes.fill_between(x, mean - half, mean + half, color=look["color"], alpha=0.18, lw=0)


def _say_interval(figure: Figure, seeds: Sequence[int]) -> None:
    """Where there are several seeds, say below the picture what the bands or bars are."""
    if max(seeds, default=1) > 1:
        note(figure, f"mean over {max(seeds)} seeds, with its 95 % interval")


# ---- of a run ----------------------------------------------------------------------------------------------------


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
                _curve(axes, np.arange(1, runs.shape[1] + 1), runs, **look)
        axes.set(xlabel="epoch", ylabel=ylabel, title=title)
        axes.grid(True, which="both")
        _limit(axes, column)
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[-1].legend()
    _say_interval(figure, [len(h) for h in histories.values()])
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
    gap = 0.6 if classes <= MANY else 1.3  # below each sample, for the names of the classes
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
        named = np.arange(classes) if classes <= MANY else np.sort(np.argsort(-first[sample])[:3])
        slant: dict[str, Any] = {} if classes <= MANY else {"rotation": 25, "ha": "right"}
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
    ticks, few = np.arange(len(data.class_names)), len(data.class_names) <= MANY
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
        used = bins[:, 2] >= FEW
        share = bins[used, 2] / bins[:, 2].sum()
        axes.plot((0, 100), (0, 100), color="#777777", lw=1.2, ls="--")
        sizes = 20 + 300 * share
        axes.scatter(100 * bins[used, 0], 100 * bins[used, 1], s=sizes, color=POINTS, zorder=3, clip_on=False)
        axes.set(xlim=(0, 103), ylim=(0, 103), xlabel="confidence, %", ylabel="accuracy, %", aspect="equal")
        axes.set_title(name)
        axes.grid(True)
    words = "a point for each bin of confidence, its area the share of test samples; networks of the first seed"
    note(figure, words)
    return figure


@styled
def comparison(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """By how many percentage points each method errs less than labels alone, with 95 % intervals; see compare.py."""
    shown = [row for row in rows if row["method"] not in ("teacher", "labels")]
    figure = new_figure(8, 1.8 + 0.3 * len(shown))
    axes = figure.subplots()
    # What is far off would squeeze the others together; it is said in words at the edge.
    near = [row for row in shown if abs(row["gain"]) <= FAR * max(np.median([abs(r["gain"]) for r in shown]), 0.1)]
    low, high = (
        f(row["gain"] + s * np.nan_to_num(row["gain_half"]) for row in near or shown) for f, s in ((min, -1), (max, 1))
    )
    room = 0.08 * max(high - low, 0.1)
    axes.set_xlim(min(low, 0) - room, max(high, 0) + room)
    for at, row in enumerate(shown):
        colour, marker = VERDICTS[row["verdict"]]
        half = np.nan_to_num(row["gain_half"])
        if row in near:
            axes.errorbar(row["gain"], at, xerr=half, fmt=marker, color=colour)
        else:
            left, number = row["gain"] < 0, f"{row['gain']:+.1f} ± {half:.1f}".replace("-", "−")
            words = f"← {number}" if left else f"{number} →"
            place: dict[str, Any] = {"xy": (0.01 if left else 0.99, at), "xycoords": ("axes fraction", "data")}
            axes.annotate(words, **place, ha="left" if left else "right", va="center", fontsize=10, color=colour)
    axes.axvline(0, color="black", lw=1)
    axes.set_yticks(range(len(shown)), [row["method"] for row in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)  # the best on top, and room for those that are off the scale
    axes.set(xlabel="percentage points fewer test errors than labels alone", title="What each method gains")
    axes.grid(True, axis="x")
    for verdict in dict.fromkeys(row["verdict"] for row in shown):
        colour, marker = VERDICTS[verdict]
        axes.plot([], [], marker, color=colour, label=verdict)
    axes.legend(loc="best")
    alone = all(np.isnan(row["gain_half"]) for row in shown)
    note(figure, "one seed: no intervals" if alone else "mean over seeds, paired, with its 95 % interval")
    return figure


@styled
def heat_maps(rows: Sequence[Sequence[Mapping[str, Any]]], x: Sequence[Any], y: Sequence[Any]) -> Figure:
    """Scores against temperature x and soft weight y, less is better; each row of maps has one scale. See choice.py.

    A map is {"title", "values" (y, x), "best" (y, x), "level" (y, x), "digits"}: the best cell has a heavy frame and a
    star, those that cannot be told from it a dashed one.
    """
    from matplotlib.patches import Rectangle

    figure = new_figure(max(2.6, 1.0 + 0.62 * len(x)) * len(rows[0]), len(rows) * (1.6 + 0.45 * len(y)) + 0.6)
    panels = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for line, maps in zip(panels, rows, strict=True):
        known = np.concatenate([m["values"][np.isfinite(m["values"])] for m in maps])
        low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
        for axes, shown in zip(line, maps, strict=True):
            axes.imshow(shown["values"], cmap="Reds", vmin=low, vmax=high if high > low else low + 1, aspect="auto")
            for i, j in np.ndindex(shown["values"].shape):
                value, best = shown["values"][i, j], shown["best"][i, j]
                ink = "white" if value - low > 0.6 * (high - low) > 0 else INK
                text = f"{value:.{shown['digits']}f}{'*' if best else ''}" if np.isfinite(value) else "-"
                axes.text(j, i, text, ha="center", va="center", fontsize=SMALL, color=ink, weight=700 if best else 400)
                if best or shown["level"][i, j]:
                    look: dict[str, Any] = {"lw": 3.0, "ls": "-"} if best else {"lw": 1.6, "ls": "--"}
                    axes.add_patch(Rectangle((j - 0.44, i - 0.44), 0.88, 0.88, fill=False, ec=TRUTH, **look))
            axes.set(title=shown["title"], xlabel="temperature", ylabel="soft weight")
            axes.set_xticks(range(len(x)), ["-" if v is None else f"{v:g}" for v in x])
            axes.set_yticks(range(len(y)), ["-" if v is None else f"{v:g}" for v in y])
    note(figure, "mean over seeds; star and heavy frame: the best; dashed: cannot be told from it (paired, 95 %)")
    return figure
