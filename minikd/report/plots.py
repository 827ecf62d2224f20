"""Pictures of any numbers: curves, bars, images, comparisons, heat maps. Each function returns one matplotlib Figure.

`save` writes a figure, `svg` makes it part of a page, `show` shows it in a notebook; style.py defines the look.
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
FAR = 4  # a gain so many times the median gain is out of the picture
MOST_FAILED = 10  # exercises in the picture of a class
FEW_CURVES = 3  # more curves than this leave no room for a legend between them
MANY_CLASSES = 12  # more classes than this have no room for all their names or counts


@styled
def lines(x: Any, curves: Mapping[str, Any], *, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """Curves over x (n,): label -> (n,), or (seeds, n), of which the mean and its 95 % interval are drawn.

    At most seven, which differ in colour, line and marker. ValueError for more, and for numbers that do not fit x.
    """
    if len(curves) > len(LOOKS):
        raise ValueError(f"curves must be at most {len(LOOKS)}, for more cannot be told apart; got {len(curves)}")
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
    """A class at a glance: how many submissions are in each part of the range of points, and what they fail at.

    counts   of submissions, in parts of equal width from 0 to `points`
    failed   label -> how many submissions; the first ten are drawn
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


def runs_of(name: str, values: Any, points: int) -> np.ndarray:
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


def draw_curve(axes: Any, x: Any, runs: np.ndarray, **look: Any) -> None:
    """The mean of runs (seeds, points), and a band for its 95 % interval."""
    mean, half = _mean_and_half(runs)
    step = (
        1 if len(mean) <= 25 else len(mean) // 10
    )  # markers of a long curve do not run into each other, nor into the other curves'
    axes.plot(x, mean, markevery=(len(axes.lines) * step // 4, step), **look)
    if len(runs) > 1:
        axes.fill_between(x, mean - half, mean + half, color=look["color"], alpha=0.18, lw=0)


def say_interval(figure: Figure, seeds: Sequence[int]) -> None:
    """Where there are several seeds, say below the picture what the bands or bars are."""
    if max(seeds, default=1) > 1:
        note(figure, f"mean over {max(seeds)} seeds, with its 95 % interval")


@styled
def comparison(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """By how much each method does better than labels alone, with 95 % intervals; see compare.py.

    What reads no labels, or no data, is compared with a rival that does not either.
    """
    shown = [row for row in rows if row["verdict"]]
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
    """Scores against temperature x and soft weight y, less is better; each row of maps has one scale. See selection.py.

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
