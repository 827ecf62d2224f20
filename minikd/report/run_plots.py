"""The pictures of a run: learning curves, and predictions on test samples. Each function returns a Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import to_numpy
from ..checks import check_choice, check_labels, check_matrix
from ..data import DATASETS, Data, load_data
from ..experiments import selection
from ..experiments.records import Record
from ..experiments.summary import NAMES, STUDENTS
from ..experiments.sweep import Sweep
from ..metrics import reliability
from ..ops import softmax
from .plots import MANY_CLASSES, OTHERS, TRUTH, draw_curve, heat_maps, runs_of, say_interval
from .style import INK, SMALL, log_scale, new_figure, note, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..experiments.summary import Trained

# Each network's colour, line and marker. Lines and markers also differ in a grey print.
COLOURS = {"teacher": "#000000", "labels": "#D55E00", "smoothed": "#56B4E9", "distilled": "#009E73"}
LINES = {"teacher": ":", "labels": "--", "smoothed": "-.", "distilled": "-"}
MARKERS = {"teacher": "s", "labels": "o", "smoothed": "^", "distilled": "D"}
# Column of a History -> title, axis with unit, factor.
COLUMNS = {
    "val_nll": ("validation NLL (lower is better)", "NLL, nats", 1),
    "val_accuracy": ("validation accuracy", "accuracy, %", 100),
    "val_ece": ("validation calibration error (lower is better)", "ECE, %", 100),
}
TEMPERATURES = (1, 2, 4, 8)
ROW = 1.36  # from one network's row of bars to the next, where a bar of probability 1 is 1 high
HIGH = 0.62  # inches of that bar
MARKS = {0: "0", 0.5: "½", 1: "1"}  # on the axis of the probabilities
SURE = 0.9  # the teacher's confidence on the samples that are shown is close to this
FEW_SAMPLES = 3  # a bin of fewer samples is not shown


@styled
def learning_curves(
    done: Sequence[Trained], names: Mapping[str, str], columns: Sequence[str] = ("val_nll", "val_accuracy")
) -> Figure:
    """Columns of the histories by epoch, one panel each: the mean over seeds, and its 95 % interval as a band.

    Parameters
    ----------
    done : sequence of Trained
        The networks, with their histories.
    names : mapping
        Kind of network -> its name in the legend.
    columns : sequence of str
        Some of "val_nll", "val_accuracy" and "val_ece".
    """
    figure, panels = _side_by_side(len(columns), 5.3, 4.2)
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


@styled
def errors_by_images(
    images: Sequence[int],
    curves: Mapping[str, Any],
    teacher: Any,
    *,
    xlabel: str,
    ylabel: str = "test errors, %",
    title: str = "",
    last: str = "",
    noun: str = "images",
) -> Figure:
    """Errors in % of students by the number of training images, and of the teacher, which saw all of them.

    The curves are means over seeds, with their 95 % intervals as bands.

    Parameters
    ----------
    images : sequence of int
        The n numbers of images, rising.
    curves : mapping
        "labels", "smoothed" and "distilled" -> errors, (seeds, n).
    teacher : array (seeds,)
        The errors of the teachers.
    xlabel, ylabel, title : str
        Texts of the picture.
    last : str
        The label of the last number, such as "all 899".
    noun : str
        What the samples are called.
    """
    figure = new_figure(8, 4.5)
    axes: Any = figure.subplots()
    level = float(np.mean(to_numpy(teacher)))
    axes.axhline(level, color=COLOURS["teacher"], ls=LINES["teacher"])
    axes.annotate(f"teacher, {last or images[-1]} {noun}", (images[0], level), (0, 4), textcoords="offset points")
    runs = {kind: runs_of(f"curves[{kind!r}]", values, len(images)) for kind, values in curves.items()}
    for kind, errors in runs.items():
        look = {"color": COLOURS[kind], "ls": LINES[kind], "marker": MARKERS[kind], "label": NAMES[kind], "lw": 2.2}
        draw_curve(axes, images, errors, **look)
    means = [level, *(mean for errors in runs.values() for mean in errors.mean(axis=0))]
    axes.set(xscale="log", yscale="log", ylim=(0.75 * min(means), 1.2 * max(means)), xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title)
    log_scale(axes.yaxis, (1, 1.5, 2, 3, 5, 7))
    axes.set_xticks(images, [*map(str, images[:-1]), last or str(images[-1])])
    axes.minorticks_off()
    axes.grid(True)
    axes.legend(fontsize=11)
    say_interval(figure, [len(errors) for errors in runs.values()])
    return figure


def of_sweep(plan: Sweep, records: list[Record]) -> tuple[Figure, str]:
    """The picture of a sweep and its caption: errors by the number of images, or heat maps."""
    if len(plan.images) == 1:
        maps = selection.maps(plan, records)
        return heat_maps(maps, plan.temperature, plan.soft_weight), "Validation scores of every setting."
    train, noun = load_data(plan.base.data).n_train, DATASETS[plan.base.data].noun
    rows = sorted(selection.by_images(plan, records), key=lambda row: row["images"] or train)
    curves = {kind: np.array([row[kind] for row in rows]).T for kind in STUDENTS}  # (seeds, n) each
    figure = errors_by_images(
        [row["images"] or train for row in rows],
        curves,
        selection.teacher_errors(plan, records),
        xlabel=f"training {noun} shown to the student",
        title=f"The fewer {noun} a student is shown, the more a teacher helps",
        last="" if rows[-1]["images"] else f"all {train:,}",
        noun=noun,
    )
    return figure, f"Test errors of the same student by the number of training {noun} that it is shown."


def _side_by_side(count: int, width: float, height: float) -> tuple[Figure, Sequence[Any]]:
    """A figure and its `count` panels side by side, each `width` by `height` inches with its margins.

    The margins are fixed, because matplotlib takes as long to compute the margins of the texts as to draw.
    """
    figure = new_figure(count * width, height, layout=None)
    left, right, bottom, top = 0.75, 0.15, 0.9, 0.35  # inches around each panel
    room = {"left": left / count / width, "right": 1 - right / count / width, "bottom": bottom / height}
    room |= {"top": 1 - top / height, "wspace": (left + right) / (width - left - right)}
    return figure, figure.subplots(1, count, squeeze=False, gridspec_kw=room)[0]


def _limit(axes: Any, column: str) -> None:
    """Limit the y axis to the curves, because bands that reach below 0 and the first epochs would squeeze them."""
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
def dark_knowledge(models: Mapping[str, Any], data: Data, count: int = 3, shown: str = "") -> Figure:
    """Class probabilities of a few test samples at rising temperatures, all bars on one axis from 0 to 1.

    The samples are of different classes. The teacher is right about them, and its largest probability is close to 0.9.
    So its output looks like a label at T = 1, and the other classes appear at higher T.

    Parameters
    ----------
    models : mapping
        Name -> network. The first is the teacher.
    data : Data
        The data set, whose test samples are used.
    count : int
        The number of samples.
    shown : str
        What the students were shown in training, such as "100 of 899 images".
    """
    asked = {name: to_numpy(model.predict(data.x_test)) for name, model in models.items()}  # (N, K) each
    first = next(iter(asked.values()))
    distance = np.abs(softmax(first).max(axis=1) - SURE) + (first.argmax(axis=1) != data.y_test)
    chosen = _one_per_class(np.argsort(distance, kind="stable"), data.y_test, count)
    rows, classes = len(models), len(data.class_names)
    gap = 0.52 if classes <= MANY_CLASSES else 0.95  # inches below each sample, for the names of the classes
    each = HIGH * (ROW * (rows - 1) + 1)  # inches of a sample
    height = 0.95 + (each + gap) * len(chosen)
    figure = new_figure(12, height, layout=None)
    figure.suptitle("What the labels do not say: class probabilities at rising temperature T", y=1 - 0.12 / height)
    words = (
        f"students shown {shown}; " * bool(shown)
        + "blue, the darker bars: the right class; all bars on one axis from 0 to 1"
    )
    figure.text(0.5, 1 - 0.55 / height, words, ha="center", fontsize=10)
    room: dict[str, Any] = {
        "left": 0.01,
        "right": 0.965,
        "top": 1 - 1.1 / height,
        "bottom": (gap - 0.15) / height,
        "wspace": 0.26,
    }
    room |= {"hspace": gap / each, "width_ratios": [1, 10]}
    pairs = figure.subplots(len(chosen), 2, squeeze=False, gridspec_kw=room)
    for sample, (left, right) in zip(chosen, pairs, strict=True):
        _picture(left, data, sample)
        z = np.stack([logits[sample] for logits in asked.values()])  # (networks, K)
        p = np.stack([softmax(z, T) for T in TEMPERATURES], axis=1)  # (networks, temperatures, K)
        _bars(right, p, int(data.y_test[sample]), list(asked))
        # All classes by name if there is room, otherwise the three that are likeliest for the teacher.
        named = np.arange(classes) if classes <= MANY_CLASSES else np.sort(np.argsort(-first[sample])[:3])
        look = {"ha": "center"} if classes <= MANY_CLASSES else {"rotation": 25, "ha": "right"}
        for place in _group_places(classes)[:, named]:
            for x, c in zip(place, named, strict=True):
                right.text(x, -0.1, data.class_names[c], va="top", fontsize=SMALL, **look)
    for T, middle in zip(TEMPERATURES, _group_places(classes).mean(axis=1), strict=True):
        pairs[0, 1].text(middle, ROW * rows - 0.02, f"T = {T}", ha="center")
    return figure


def _group_places(classes: int) -> np.ndarray:
    """The x positions of the bars: (temperatures, K)."""
    return np.arange(classes) + (classes + 1.5) * np.arange(len(TEMPERATURES))[:, None]


def _bars(axes: Any, p: np.ndarray, truth: int, names: Sequence[str]) -> None:
    """Bars of the probabilities p (networks, temperatures, K), a row a network, with the largest of a group as text.

    All bars are one artist, and texts stand for ticks: a patch a bar and a tick a class take twice the time.
    """
    from matplotlib.collections import PolyCollection

    at = np.broadcast_to(_group_places(p.shape[2]), p.shape)
    floor = np.broadcast_to(ROW * np.arange(len(p))[::-1, None, None], p.shape)  # the first network's row is on top
    x, y = [at - 0.4, at + 0.4, at + 0.4, at - 0.4], [floor, floor, floor + p, floor + p]
    colours = [TRUTH if k == truth else OTHERS for k in range(p.shape[2])] * (p.size // p.shape[2])
    corners = np.stack([x, y], axis=-1).reshape(4, -1, 2).swapaxes(0, 1)  # (bars, 4, 2)
    axes.add_collection(PolyCollection(list(corners), facecolors=colours))
    for i, j in np.ndindex(p.shape[:2]):
        k = p[i, j].argmax()
        axes.text(at[i, j, k], floor[i, j, k] + p[i, j, k] + 0.04, f"{p[i, j, k]:.2f}", ha="center", fontsize=SMALL)
    edges = -0.8, at.max() + 0.8
    for y, name in zip(floor[:, 0, 0], names, strict=True):
        axes.text(-1.1, y + 0.5, name, ha="right", va="center", fontsize=SMALL)
        for mark, text in MARKS.items():
            axes.text(edges[1] + 0.4, y + mark, text, va="center", fontsize=SMALL, color="#555555")
            axes.hlines(y + mark, *edges, color="#E4E4E4", lw=0.7, zorder=0, clip_on=False)
    axes.hlines(floor[:, 0, 0], *edges, color="black", lw=0.8, clip_on=False)
    axes.set(xlim=edges, ylim=(0, ROW * (len(p) - 1) + 1))
    axes.axis("off")


def _one_per_class(order: np.ndarray, labels: np.ndarray, count: int) -> list[int]:
    """The first `count` samples in `order` that are of different classes."""
    chosen: dict[int, int] = {}
    for i in order:
        chosen.setdefault(int(labels[i]), int(i))
    return list(chosen.values())[:count]


def _picture(axes: Any, data: Data, sample: int) -> None:
    """The sample's picture, if it has one, and its class."""
    axes.axis("off")
    name = data.class_names[data.y_test[sample]]
    if data.image_shape is None:
        axes.text(0.5, 0.5, f"a test\n{name}", ha="center", va="center", fontsize=10)
    else:
        axes.imshow(data.x_test[sample].reshape(data.image_shape), cmap="gray_r")
        axes.set_title(f"a test {name}", fontsize=10)


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The confusion matrix: how often class i (row) was predicted as class j (column).

    Logits (N, K), labels (N,) -> counts (K, K)
    """
    logits = check_matrix("logits", logits)
    labels = check_labels("labels", labels, *logits.shape)
    classes = logits.shape[1]
    pairs = labels.astype(np.int64) * classes + logits.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@styled
def confusions(models: Mapping[str, Any], data: Data) -> Figure:
    """The confusion matrix of each network on the test samples, all on one colour scale."""
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
        axes.set(title=f"{name}: {wrong.sum()} errors", xlabel="predicted class", ylabel="true class")
        axes.set_xticks(ticks, data.class_names, fontsize=SMALL, rotation=0 if few else 90)
        axes.set_yticks(ticks, data.class_names, fontsize=SMALL)
        axes.spines[["top", "right"]].set_visible(True)
    figure.colorbar(image, ax=list(panels), shrink=0.6, label="wrong test samples, one scale for all")
    note(figure, f"counts of the {len(data.y_test):,} test samples, networks of the first seed")
    return figure


@styled
def reliabilities(models: Mapping[str, Any], data: Data) -> Figure:
    """Accuracy against confidence in ten bins, for each network: on the diagonal both are equal."""
    figure, panels = _side_by_side(len(models), max(2.9, 4 / len(models)), 3.3)
    for axes, (name, model) in zip(panels, models.items(), strict=True):
        p = softmax(to_numpy(model.predict(data.x_test)).astype(np.float64))
        bins = reliability(p, data.y_test, bins=10)  # (10, 3)
        used = bins[:, 2] >= FEW_SAMPLES
        share = bins[used, 2] / bins[:, 2].sum()
        axes.plot((0, 100), (0, 100), color="#777777", lw=1.2, ls="--")
        sizes = 20 + 300 * share
        axes.scatter(100 * bins[used, 0], 100 * bins[used, 1], s=sizes, color=TRUTH, zorder=3, clip_on=False)
        axes.set(xlim=(0, 103), ylim=(0, 103), xlabel="confidence, %", ylabel="accuracy, %", aspect="equal")
        axes.set(xticks=(0, 25, 50, 75, 100), yticks=(0, 25, 50, 75, 100), title=name)
        axes.grid(True)
    words = "one point per bin of confidence, area: share of test samples; networks of the first seed"
    note(figure, words)
    return figure
