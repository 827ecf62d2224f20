"""General pictures: curves, bars, images, comparisons, heat maps. Each function returns one matplotlib Figure.

`save` writes a figure, `svg` makes it part of a page, `show` shows it in a notebook. style.py defines the look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import to_numpy
from ..experiments.intervals import mean_interval
from .style import INK, LOOKS, SMALL, new_figure, note, save, show, styled, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bars", "comparison", "curve_with_interval", "heat_maps", "image_grid", "lines", "save", "show", "svg"]

TRUTH, OTHERS = "#0072B2", "#BBBBBB"  # the right class is darker than the others
VERDICTS = {"helps": ("#009E73", "^"), "hurts": ("#D55E00", "v"), "undecided": ("#777777", "o")}
FAR = 4  # a gain of more than this many times the median gain is not drawn to scale
MOST_FAILED = 10  # exercises in the picture of a class
FEW_CURVES = 3  # with more curves there is no room for a legend between them
MANY_CLASSES = 12  # with more classes there is no room for all their names or counts


@styled
def lines(x: Any, curves: Mapping[str, Any], *, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """At most seven curves, which differ in colour, line and marker.

    Parameters
    ----------
    x : array (n,)
        The positions.
    curves : mapping
        Label -> values (n,), or (seeds, n), of which the mean and its 95 % interval are drawn.
    xlabel, ylabel, title : str
        Texts of the picture.

    Raises
    ------
    ValueError
        There are more than seven curves, or values do not fit x.
    """
    if len(curves) > len(LOOKS):
        raise ValueError(f"curves must be at most {len(LOOKS)}: more cannot be told apart; got {len(curves)}")
    figure = new_figure(7, 4)
    axes: Any = figure.subplots()
    numbers = {label: runs_of(f"curves[{label!r}]", values, len(x)) for label, values in curves.items()}
    for (label, runs), (colour, line, marker) in zip(numbers.items(), LOOKS, strict=False):
        draw_curve(axes, x, runs, color=colour, ls=line, marker=marker, label=label)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(True)
    axes.xaxis.get_major_locator().set_params(integer=not np.any(np.mod(x, 1)))
    if len(curves) <= FEW_CURVES:
        axes.legend()
    else:
        figure.legend(loc="outside upper center", ncols=min(len(curves), 4))
    say_interval(figure, [len(runs) for runs in numbers.values()])
    return figure


def curve_with_interval(x: Any, runs: Any, *, label: str, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """One curve over x (n,): the mean of runs (seeds, n) and its 95 % interval. `lines` draws several curves."""
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
    """Bars over classes, one panel a row, for instance one output at several temperatures, {"T = 1": p, "T = 4": p}.

    Parameters
    ----------
    rows : mapping
        Label -> values (K,), or (seeds, K), of which the mean and its 95 % interval are drawn.
    names : sequence of str
        The K classes.
    ylabel, title : str
        Texts of the picture.
    truth : int, optional
        The index of the class whose bars are highlighted.
    """
    figure = new_figure(max(5.5, 0.5 * len(names) + 1.2), 0.9 + 1.35 * len(rows))
    panels = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    at = np.arange(len(names))
    colours = [TRUTH if truth is None or k == truth else OTHERS for k in at]
    seeds = []
    for axes, (label, values) in zip(panels, rows.items(), strict=True):
        runs = runs_of(f"rows[{label!r}]", values, len(names))  # (seeds, K)
        seeds.append(len(runs))
        mean, half = _mean_and_half(runs)
        axes.bar(at, mean, yerr=half if len(runs) > 1 else None, color=colours, ecolor="black", width=0.75)
        axes.set_title(label, loc="left", fontsize=11)
        axes.axhline(0, color="black", lw=0.6)
    panels[-1].set_xticks(at, names, rotation=0 if len(names) <= MANY_CLASSES else 90)
    panels[-1].set_xlabel("class")
    figure.supylabel(ylabel, fontsize=11)
    figure.suptitle(title)
    say_interval(figure, seeds)
    return figure


@styled
def class_summary(counts: Sequence[int], points: float, failed: Mapping[str, int]) -> Figure:
    """The submissions of a class: a histogram of their points, and the exercises that fail most often.

    Parameters
    ----------
    counts : sequence of int
        The number of submissions in each bin. The bins have equal width and go from 0 to `points`.
    points : float
        The most points that a submission can have.
    failed : mapping
        Exercise -> number of submissions that fail it. The first ten are drawn.
    """
    names = dict(list(failed.items())[:MOST_FAILED]) or {"every exercise is solved": 0}
    figure = new_figure(9, 4 + 0.28 * len(names))
    scores, exercises = figure.subplots(2, 1, height_ratios=[8, 1 + len(names)])
    width = points / len(counts) or 1.0
    scores.bar(np.arange(len(counts)) * width, counts, width=width, align="edge", color=TRUTH, edgecolor="white")
    scores.set(xlabel="points", ylabel="submissions", title=f"Scores of {sum(counts)} submissions")
    scores.yaxis.get_major_locator().set_params(integer=True)
    exercises.barh(range(len(names)), list(names.values()), color=OTHERS, edgecolor="black", lw=0.6)
    exercises.set_yticks(range(len(names)), list(names))
    exercises.set_ylim(len(names) - 0.4, -0.6)  # the most frequent on top
    exercises.xaxis.get_major_locator().set_params(integer=True)
    exercises.set(xlabel="submissions", title="Most often not solved")
    return figure


@styled
def image_grid(x: Any, image_shape: tuple[int, int], titles: Sequence[str] = (), columns: int = 10) -> Figure:
    """Rows of x (n, height · width) as small pictures, in which large values are dark, under n titles (or none)."""
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


def runs_of(name: str, values: Any, points: int) -> np.ndarray:
    """Values (points,) or (seeds, points) as (seeds, points)."""
    runs = np.atleast_2d(np.asarray(to_numpy(values), np.float64))
    if runs.ndim != 2 or runs.shape[1] != points:
        raise ValueError(f"{name} must be of shape ({points},) or (seeds, {points}), got {np.shape(values)}")
    return runs


def _mean_and_half(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`mean_interval` of each column of runs (seeds, points). With one seed the half-widths are 0."""
    if len(runs) < 2:
        return runs[0], np.zeros(runs.shape[1])
    two = np.arange(len(runs), dtype=float)
    t = mean_interval(list(two))[1] / two.std(ddof=1)  # the half-width is t times the standard deviation
    return runs.mean(axis=0), t * runs.std(axis=0, ddof=1)


def draw_curve(axes: Any, x: Any, runs: np.ndarray, **look: Any) -> None:
    """The mean of runs (seeds, points), and a band for its 95 % interval."""
    mean, half = _mean_and_half(runs)
    # The markers of a long curve do not overlap each other or those of other curves.
    step = 1 if len(mean) <= 25 else len(mean) // 10
    axes.plot(x, mean, markevery=(len(axes.lines) * step // 4, step), **look)
    if len(runs) > 1:
        axes.fill_between(x, mean - half, mean + half, color=look["color"], alpha=0.18, lw=0)


def say_interval(figure: Figure, seeds: Sequence[int]) -> None:
    """With several seeds, write below the picture what the bands or bars are."""
    if max(seeds, default=1) > 1:
        note(figure, f"mean over {max(seeds)} seeds, with its 95 % interval")


@styled
def comparison(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The gain of each method over labels alone, with its 95 % interval; see compare.py.

    A method that reads no labels, or no data, is compared with a rival that reads none either.
    """
    shown = [row for row in rows if row["verdict"]]
    figure = new_figure(8, 1.8 + 0.3 * len(shown))
    axes = figure.subplots()
    # A gain that is far off would squeeze the others, so it is written as text at the edge.
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
    against = [row.get("against", "labels") for row in shown]
    rivals = ["" if name == "labels" else f", against {name}" for name in against]
    axes.set_yticks(range(len(shown)), [row["method"] + rival for row, rival in zip(shown, rivals, strict=True)])
    axes.set_ylim(len(shown) - 0.4, -0.6)  # the best on top, and room for those that are off the scale
    unit = next((row["unit"] for row in shown if "unit" in row), "percentage points")
    what = f"{unit} fewer test errors" if unit == "percentage points" else f"{unit} less on test words"
    axes.set(xlabel=f"{what} than labels alone", title="What each method gains")
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
    """Scores by temperature x and soft weight y, where less is better; see selection.py.

    The best cell has a heavy frame and a star. Cells that do not differ significantly from it have a dashed frame.

    Parameters
    ----------
    rows : sequence of sequences of mappings
        The maps, row by row: "title", "values" (y, x), "best" (y, x), "level" (y, x), "digits". A row of maps shares
        one colour scale.
    x, y : sequence
        The temperatures and the soft weights.
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
    note(figure, "mean over seeds; star, heavy frame: best; dashed: no significant difference from it (paired, 95 %)")
    return figure
