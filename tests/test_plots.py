"""The pictures show the numbers that they claim to show: what is drawn is compared, never pixels."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minikd import softmax
from minikd.data import Data
from minikd.experiments.intervals import mean_interval
from minikd.experiments.summary import NAMES, Trained
from minikd.metrics import History, Scores, reliability
from minikd.report import plots, run_plots
from minikd.report import style as figures
from minikd.report.style import LOOKS

pytestmark = pytest.mark.extras

rng = np.random.default_rng(0)
X = rng.random((60, 6)).astype(np.float32)
Y = np.arange(60) % 3
PICTURES = Data(X, Y, X, Y, X, Y, ("cat", "dog", "owl"), (2, 3))
LANGUAGES = Data(X, Y, X, Y, X, Y, tuple(f"language {k}" for k in range(20)), None)


class Told:
    """A network of which only its answers are known."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.logits[: len(x)]


def answers(seed: int, classes: int = 3) -> Told:
    """Right about two in three samples or so."""
    draws = np.random.default_rng(seed)
    return Told(2 * np.eye(classes)[Y] + draws.normal(size=(len(Y), classes)))


MODELS: Any = {"teacher": answers(1), "labels alone": answers(2), "distilled": answers(3)}
MANY_CLASSES: Any = {"teacher": answers(1, 20), "distilled": answers(2, 20)}


def trained(kind: str, seed: int, epochs: int) -> Trained:
    draws = np.random.default_rng((len(kind), seed))
    columns = {name: draws.random(epochs) for name in ("val_nll", "val_accuracy", "val_ece")}
    rows = [{"epoch": e + 1.0, **{name: float(c[e]) for name, c in columns.items()}} for e in range(epochs)]
    return Trained(kind, seed, None, History(rows), Scores())  # type: ignore[arg-type]


def run_of(seeds: int) -> list[Trained]:
    return [trained(kind, s, 5 if kind == "teacher" else 8) for s in range(seeds) for kind in NAMES]


ROWS: list[dict[str, Any]] = [
    {"method": "teacher", "gain": 9.0, "gain_half": 0.1, "verdict": ""},
    {"method": "a", "against": "labels", "gain": 1.5, "gain_half": 0.5, "verdict": "helps"},
    {"method": "labels", "gain": 0.0, "gain_half": 0.0, "verdict": ""},
    {"method": "b", "against": "labels", "gain": 0.2, "gain_half": 0.4, "verdict": "undecided"},
    {"method": "c", "against": "noise", "gain": -1.0, "gain_half": 0.3, "verdict": "hurts"},
    {"method": "d", "against": "labels", "gain": -60.0, "gain_half": 5.0, "verdict": "hurts"},
]
RUNS = rng.random((5, 12))
IMAGES = [50, 100, 200, 400, 899]
ERRORS: dict[str, Any] = {kind: 3 + k + rng.random((3, 5)) for k, kind in enumerate(list(NAMES)[1:])}  # in %
TEACHER = np.array([2.0, 2.5, 2.4])
EVERY: dict[str, Any] = {
    "learning_curves": lambda: run_plots.learning_curves(run_of(3), NAMES),
    "dark_knowledge": lambda: run_plots.dark_knowledge(MODELS, PICTURES),
    "dark_knowledge of many classes": lambda: run_plots.dark_knowledge(MANY_CLASSES, LANGUAGES),
    "confusions": lambda: run_plots.confusions(MODELS, PICTURES),
    "confusions of many classes": lambda: run_plots.confusions(MANY_CLASSES, LANGUAGES),
    "reliabilities": lambda: run_plots.reliabilities(MODELS, PICTURES),
    "reliabilities of one": lambda: run_plots.reliabilities({"teacher": MODELS["teacher"]}, PICTURES),
    "errors_by_images": lambda: run_plots.errors_by_images(IMAGES, ERRORS, TEACHER, xlabel="images", last="all 899"),
    "comparison": lambda: plots.comparison(ROWS),
    "lines": lambda: plots.lines(range(12), {"one": RUNS, "two": RUNS[0]}, xlabel="epoch", ylabel="NLL, nats"),
    "curve_with_interval": lambda: plots.curve_with_interval(
        range(12), RUNS, label="mine", xlabel="epoch", ylabel="NLL, nats"
    ),
    "bars": lambda: plots.bars({"T = 1": [0.1, 0.2, 0.7]}, PICTURES.class_names),
    "image_grid": lambda: plots.image_grid(X[:3], (2, 3), ["a", "b", "c"]),
}


# For tests that draw each picture twice.
THREE_QUICK = [
    name if name in ("bars", "lines", "confusions") else pytest.param(name, marks=pytest.mark.slow) for name in EVERY
]


@cache
def figure_of(name: str) -> Figure:
    """The picture, drawn once for all tests that only look at it."""
    figure: Figure = EVERY[name]()
    with figures.style():
        figure.draw_without_rendering()
    return figure


@cache
def svg_of(name: str) -> str:
    return plots.svg(EVERY[name]())


def bands(axes: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lower and upper edge of each band, by x."""
    edges = []
    for band in axes.collections:
        corners = band.get_paths()[0].vertices
        at = np.unique(corners[:, 0])
        heights = [corners[corners[:, 0] == x, 1] for x in at]
        edges.append((np.array([h.min() for h in heights]), np.array([h.max() for h in heights])))
    return edges


def heights(axes: Any) -> np.ndarray:
    return np.array([bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)])


# ---- what all have in common --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_picture_is_a_figure_that_changes_nothing_and_writes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = dict(matplotlib.rcParams)
    figure = EVERY[name]()
    assert isinstance(figure, Figure)
    plots.svg(figure)
    assert dict(matplotlib.rcParams) == before
    assert not list(tmp_path.iterdir())
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


@pytest.mark.parametrize("name", THREE_QUICK)
def test_a_picture_looks_the_same_whatever_the_users_style(name: str) -> None:
    with matplotlib.rc_context(
        {"font.size": 20, "axes.linewidth": 5, "xtick.major.size": 20, "axes.labelcolor": "red"}
    ):
        assert plots.svg(EVERY[name]()) == svg_of(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_cut_off_at_the_edge(name: str) -> None:
    figure = figure_of(name)
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()  # inches, of all that is drawn
    assert box.x0 >= -0.01 and box.y0 >= -0.01
    assert box.x1 <= width + 0.01 and box.y1 <= height + 0.01


@pytest.mark.parametrize("name", EVERY)
def test_text_is_large_enough_for_a_slide(name: str) -> None:
    figure = figure_of(name)
    sizes = [t.get_fontsize() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]
    assert sizes and min(sizes) >= 9


def lightness(colour: Any) -> float:
    """CIE L*, from 0, black, to 100, white."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    y = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_curves_can_be_told_apart_in_grey() -> None:
    for group in ([(run_plots.LINES[k], run_plots.MARKERS[k]) for k in NAMES], [look[1:] for look in LOOKS]):
        assert len({marker for _, marker in group}) == len(group)
        assert len(set(group)) == len(group)
    assert len({run_plots.LINES[k] for k in NAMES}) == len(NAMES)
    assert len({marker for _, marker in plots.VERDICTS.values()}) == len(plots.VERDICTS)
    assert set(run_plots.COLOURS) == set(run_plots.LINES) == set(run_plots.MARKERS) == set(NAMES)


def test_the_bar_of_the_right_class_is_much_darker_than_the_others() -> None:
    assert lightness("white") == pytest.approx(100) and lightness("black") == 0
    assert lightness(plots.OTHERS) - lightness(plots.TRUTH) > 25


# ---- learning curves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "factor"), [("val_nll", 1), ("val_accuracy", 100), ("val_ece", 100)])
def test_learning_curves_are_means_over_seeds_with_their_95_percent_intervals(column: str, factor: float) -> None:
    done = run_of(3)
    (axes,) = run_plots.learning_curves(done, NAMES, columns=(column,)).axes
    assert [line.get_label() for line in axes.lines] == list(NAMES.values())
    for kind, line, (low, high) in zip(NAMES, axes.lines, bands(axes), strict=True):
        runs = factor * np.array([t.history[column] for t in done if t.kind == kind])
        expected = [mean_interval(list(values)) for values in runs.T]
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, runs.shape[1] + 1))
        np.testing.assert_allclose(line.get_ydata(), [mean for mean, _ in expected])
        np.testing.assert_allclose(low, [mean - half for mean, half in expected], rtol=1e-6)
        np.testing.assert_allclose(high, [mean + half for mean, half in expected], rtol=1e-6)
        assert to_rgb(line.get_color()) == to_rgb(run_plots.COLOURS[kind])
        assert line.get_marker() == run_plots.MARKERS[kind]


def test_learning_curves_say_what_is_drawn_in_which_unit() -> None:
    figure = run_plots.learning_curves(run_of(3), NAMES)
    assert [axes.get_ylabel() for axes in figure.axes] == ["NLL, nats", "accuracy, %"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    assert [axes.get_title() for axes in figure.axes] == ["validation NLL (lower is better)", "validation accuracy"]
    assert figure.get_supxlabel() == "mean over 3 seeds, with its 95 % interval"
    legend = figure.axes[-1].get_legend()
    assert legend and [text.get_text() for text in legend.get_texts()] == list(NAMES.values())


def test_one_seed_has_no_band_and_claims_none() -> None:
    figure = run_plots.learning_curves(run_of(1), NAMES)
    assert not any(axes.collections for axes in figure.axes)
    assert figure.get_supxlabel() == ""


def test_a_teacher_that_was_given_has_no_curve() -> None:
    done = [t for t in run_of(2) if t.kind != "teacher"]
    (axes,) = run_plots.learning_curves([trained("teacher", 0, 0), *done], NAMES, columns=("val_nll",)).axes
    assert [line.get_label() for line in axes.lines] == list(NAMES.values())[1:]


def test_a_column_that_is_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match=r"columns must be .*val_nll.*'val_loss'"):
        run_plots.learning_curves(run_of(1), NAMES, columns=("val_loss",))


# ---- pictures of single networks ----------------------------------------------------------------------------------


def test_dark_knowledge_shows_softened_probabilities_all_on_one_axis() -> None:
    figure = run_plots.dark_knowledge(MODELS, PICTURES, count=2, shown="100 of 899 images")
    assert figure.texts[-1].get_text().endswith("one axis from 0 to 1")
    teacher = MODELS["teacher"].logits
    p = softmax(teacher)
    right = teacher.argmax(axis=1) == Y
    order = np.argsort(np.abs(p.max(axis=1) - run_plots.SURE) + ~right, kind="stable")
    first = order[0]
    second = next(i for i in order if Y[i] != Y[first])
    images, panels = figure.axes[::2], figure.axes[1::2]
    assert len({axes.get_ylim() for axes in panels}) == 1
    for axes, sample in zip(panels, (first, second), strict=True):
        soft = [softmax(model.logits[[sample]], T)[0] for model in MODELS.values() for T in (1, 2, 4, 8)]
        bars = axes.collections[0]
        corners = [path.vertices for path in bars.get_paths()]
        np.testing.assert_allclose([np.ptp(c[:, 1]) for c in corners], np.concatenate(soft))
        floors = [c[:, 1].min() for c in corners]
        assert floors == sorted(floors, reverse=True) and len(set(floors)) == len(MODELS)  # the teacher is on top
        dark = [to_rgb(colour) == to_rgb(plots.TRUTH) for colour in bars.get_facecolors()]
        assert dark == 12 * [k == Y[sample] for k in range(3)]
        texts = [text.get_text() for text in axes.texts if not text.get_text().startswith("T = ")]
        rows = [text for name in MODELS for text in (name, *run_plots.MARKS.values())]
        assert texts == [f"{p.max():.2f}" for p in soft] + rows + 4 * list(PICTURES.class_names)
        marks = [text for text in axes.texts if text.get_text() in run_plots.MARKS.values()]
        floors = sorted(set(floors), reverse=True)
        assert [text.get_position()[1] for text in marks] == [y + mark for y in floors for mark in (0, 0.5, 1)]
    assert [text.get_text() for text in panels[0].texts[-4:]] == ["T = 1", "T = 2", "T = 4", "T = 8"]
    for axes, sample in zip(images, (first, second), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), X[sample].reshape(2, 3))
        assert axes.get_title() == f"a test {PICTURES.class_names[Y[sample]]}"


def test_confusions_colour_the_errors_and_write_the_counts() -> None:
    figure = run_plots.confusions(MODELS, PICTURES)
    *panels, scale = figure.axes
    assert scale.get_ylabel() == "wrong test samples, one scale for all"
    assert len({axes.images[0].get_clim() for axes in panels}) == 1
    assert scale.get_ylim() == panels[0].images[0].get_clim()
    for axes, (name, model) in zip(panels, MODELS.items(), strict=True):
        counts = np.zeros((3, 3), int)
        np.add.at(counts, (Y, model.logits.argmax(axis=1)), 1)
        wrong = counts - np.diag(np.diag(counts))
        np.testing.assert_array_equal(axes.images[0].get_array(), wrong)
        written = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in axes.texts}
        assert written == {(i, j): str(counts[i, j]) for i, j in np.argwhere(counts)}
        assert axes.get_title() == f"{name}: {wrong.sum()} errors"
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
        assert [t.get_text() for t in axes.get_yticklabels()] == list(PICTURES.class_names)


def test_numbers_in_a_confusion_are_legible_on_their_cells() -> None:
    figure = run_plots.confusions(MODELS, PICTURES)
    for axes in figure.axes[:-1]:
        (image,) = axes.images
        for text in axes.texts:
            j, i = map(int, text.get_position())
            cell = image.cmap(image.norm(image.get_array()[i, j]))
            assert abs(lightness(cell[:3]) - lightness(text.get_color())) > 35


def test_many_classes_are_shown_by_a_scale_of_colours() -> None:
    figure = run_plots.confusions(MANY_CLASSES, LANGUAGES)
    assert figure.axes[-1].get_ylabel() == "wrong test samples, one scale for all"
    assert not any(axes.texts for axes in figure.axes)


def test_reliabilities_are_accuracy_against_confidence_in_percent() -> None:
    figure = run_plots.reliabilities(MODELS, PICTURES)
    for axes, (name, model) in zip(figure.axes, MODELS.items(), strict=True):
        bins = reliability(softmax(model.logits), Y, bins=10)
        bins = bins[bins[:, 2] >= run_plots.FEW_SAMPLES]
        (points,) = axes.collections
        np.testing.assert_allclose(points.get_offsets(), 100 * bins[:, :2])
        np.testing.assert_allclose(points.get_sizes() - 20, 300 * bins[:, 2] / len(Y))  # type: ignore[attr-defined]
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), axes.lines[0].get_ydata())
        assert axes.get_title() == name
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("confidence, %", "accuracy, %")


# ---- errors by training images ------------------------------------------------------------------------------------


def test_errors_by_images_are_means_with_intervals_and_the_teachers_is_a_level() -> None:
    (axes,) = run_plots.errors_by_images(IMAGES, ERRORS, TEACHER, xlabel="images", title="t", last="all 899").axes
    level, *curves = axes.lines
    assert set(level.get_ydata()) == {TEACHER.mean()} and to_rgb(level.get_color()) == to_rgb("black")
    assert [text.get_text() for text in axes.texts] == ["teacher, all 899 images"]
    for (kind, runs), line, (low, high) in zip(ERRORS.items(), curves, bands(axes), strict=True):
        expected = [mean_interval(list(values)) for values in runs.T]
        np.testing.assert_array_equal(line.get_xdata(), IMAGES)
        np.testing.assert_allclose(line.get_ydata(), [mean for mean, _ in expected])
        np.testing.assert_allclose(low, [mean - half for mean, half in expected], rtol=1e-6)
        np.testing.assert_allclose(high, [mean + half for mean, half in expected], rtol=1e-6)
        assert to_rgb(line.get_color()) == to_rgb(run_plots.COLOURS[kind]) and line.get_label() == NAMES[kind]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["50", "100", "200", "400", "all 899"]
    assert axes.get_xticks().tolist() == IMAGES and axes.get_xscale() == axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("images", "test errors, %", "t")


def test_errors_that_do_not_fit_the_numbers_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"curves\['labels'\] must be of shape \(5,\) or \(seeds, 5\), got \(3,\)"):
        run_plots.errors_by_images(IMAGES, {"labels": [3, 2, 1]}, TEACHER, xlabel="")


# ---- comparison ---------------------------------------------------------------------------------------------------


def test_a_comparison_draws_gains_with_intervals_and_says_in_words_what_is_off_the_scale() -> None:
    (axes,) = plots.comparison(ROWS).axes
    drawn = []
    for point, _, (interval,) in axes.containers:
        (start, end) = interval.get_segments()[0]
        drawn.append((point.get_xdata()[0], start[0], end[0], point.get_marker()))
    assert drawn == [
        (1.5, pytest.approx(1.0), pytest.approx(2.0), "^"),
        (0.2, pytest.approx(-0.2), pytest.approx(0.6), "o"),
        (-1.0, pytest.approx(-1.3), pytest.approx(-0.7), "v"),
    ]
    assert [text.get_text() for text in axes.texts] == ["← −60.0 ± 5.0"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c, against noise", "d"]
    assert axes.get_xlabel() == "percentage points fewer test errors than labels alone"
    low, high = axes.get_xlim()
    assert low < -1.3 and high > 2.0
    bottom, top = axes.get_ylim()
    assert bottom > 3 and top < 0  # all four rows are within the picture


def test_a_comparison_of_one_seed_claims_no_interval() -> None:
    rows = [{**row, "gain_half": float("nan"), "verdict": "undecided"} for row in ROWS[1:2]]
    assert plots.comparison(rows).get_supxlabel() == "one seed: no intervals"
    assert "95 % interval" in plots.comparison(ROWS).get_supxlabel()


# ---- pictures of any numbers --------------------------------------------------------------------------------------


def test_lines_are_means_with_intervals_where_there_are_seeds() -> None:
    (axes,) = plots.lines(range(12), {"one": RUNS, "two": RUNS[0]}, xlabel="epoch", ylabel="NLL, nats", title="t").axes
    expected = [mean_interval(list(values)) for values in RUNS.T]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [mean for mean, _ in expected])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), RUNS[0])
    ((low, high),) = bands(axes)
    np.testing.assert_allclose(low, [mean - half for mean, half in expected], rtol=1e-6)
    np.testing.assert_allclose(high, [mean + half for mean, half in expected], rtol=1e-6)
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("epoch", "NLL, nats", "t")
    assert len({(line.get_linestyle(), line.get_marker()) for line in axes.lines}) == 2


def test_a_curve_with_interval_is_one_of_lines() -> None:
    figure = plots.curve_with_interval(range(12), RUNS, label="mine", xlabel="T", ylabel="NLL, nats")
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), RUNS.mean(axis=0))
    assert len(bands(axes)) == 1
    assert axes.lines[0].get_label() == "mine"
    assert figure.get_supxlabel() == "mean over 5 seeds, with its 95 % interval"


def test_lines_that_do_not_fit_or_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match=r"curves\['a'\] must be of shape \(12,\) or \(seeds, 12\), got \(3,\)"):
        plots.lines(range(12), {"a": [1, 2, 3]}, xlabel="", ylabel="")
    with pytest.raises(ValueError, match=r"at most 7.*got 8"):
        plots.lines(range(12), {str(k): RUNS[0] for k in range(8)}, xlabel="", ylabel="")


def test_bars_have_the_heights_of_their_rows_and_the_right_class_stands_out() -> None:
    rows = {"T = 1": [0.1, 0.2, 0.7], "T = 4": [0.3, 0.3, 0.4]}
    figure = plots.bars(rows, PICTURES.class_names, truth=2, title="one owl")
    for axes, (label, p) in zip(figure.axes, rows.items(), strict=True):
        np.testing.assert_allclose(heights(axes), p)
        assert axes.get_title(loc="left") == label
        assert [to_rgb(bar.get_facecolor()) == to_rgb(plots.TRUTH) for bar in axes.patches] == [False, False, True]
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["cat", "dog", "owl"]
    assert (figure.get_supylabel(), figure.get_suptitle()) == ("probability", "one owl")


def test_bars_of_several_seeds_have_intervals() -> None:
    (axes,) = plots.bars({"a": RUNS[:, :3]}, PICTURES.class_names).axes
    np.testing.assert_allclose(heights(axes), RUNS[:, :3].mean(axis=0))
    (_, _, (intervals,)) = axes.containers[0]
    for values, ((_, low), (_, high)) in zip(RUNS[:, :3].T, intervals.get_segments(), strict=True):
        mean, half = mean_interval(list(values))
        assert (low, high) == (pytest.approx(mean - half), pytest.approx(mean + half))


def test_an_image_grid_shows_each_row_under_its_title() -> None:
    figure = plots.image_grid(X[:5], (2, 3), list("abcde"), columns=3)
    shown = [axes for axes in figure.axes if axes.images]
    for axes, x, title in zip(shown, X, "abcde", strict=False):
        np.testing.assert_array_equal(axes.images[0].get_array(), x.reshape(2, 3))
        assert axes.get_title() == title
    assert (len(shown), len(figure.axes)) == (5, 6)
    with pytest.raises(ValueError, match="one for each of the 5 rows of x, got 2"):
        plots.image_grid(X[:5], (2, 3), ["a", "b"])


# ---- to a file, a page, a notebook ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", THREE_QUICK)
def test_svg_is_one_element_the_same_every_time_without_date_or_black(name: str) -> None:
    text = svg_of(name)
    assert text == plots.svg(EVERY[name]())
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "<metadata" not in text and "<style" not in text and "<?xml" not in text
    assert "#000000" not in text
    assert "currentColor" in text
    assert re.search(r"<text ", text)  # letters remain letters


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_svg_has_no_white_background(name: str) -> None:
    root = ElementTree.fromstring(svg_of(name))
    for patch in root.iter("{http://www.w3.org/2000/svg}path"):
        style = patch.get("style", "").replace(" ", "")
        assert "fill:#ffffff" not in style or "opacity:0" in style


def test_ids_of_several_svgs_in_a_page_do_not_meet_and_what_refers_to_them_finds_them() -> None:
    seen: set[str] = set()
    for name in EVERY:
        text = svg_of(name)
        ids = re.findall(r'\bid="([^"]+)"', text)
        assert len(set(ids)) == len(ids)
        assert not seen & set(ids)
        seen |= set(ids)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(ids)


def test_the_teachers_black_curve_follows_the_pages_text_and_numbers_in_cells_do_not() -> None:
    curves = plots.svg(run_plots.learning_curves(run_of(3), NAMES, columns=("val_nll",)))
    assert "stroke-dasharray" in curves and re.search(r"stroke-dasharray[^\"]*stroke: currentColor", curves)
    cells = plots.svg(run_plots.confusions(MODELS, PICTURES))
    assert figures.INK.lower() in cells


def test_svg_is_named_by_its_title_for_those_who_cannot_see_it() -> None:
    figure = plots.bars({"T = 1": [0.1, 0.2, 0.7]}, PICTURES.class_names, title='a < b & "c"')
    assert 'role="img" aria-label="a &lt; b &amp; &quot;c&quot;"' in plots.svg(figure)


def test_show_does_nothing_outside_a_notebook_unless_a_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIKD_FIGURES", raising=False)
    figure = plots.bars({"T = 1": [0.1, 0.2, 0.7]}, PICTURES.class_names, title="One owl, softened")
    plots.show(figure)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("MINIKD_FIGURES", str(tmp_path / "pictures"))
    plots.show(figure)
    (path,) = (tmp_path / "pictures").iterdir()
    assert path.name == "one-owl-softened.png"
    assert path.read_bytes() == figures.png(figure)
    assert capsys.readouterr() == ("", "")


def test_show_displays_png_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display")
    import IPython

    shown: list[Any] = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: type("Shell", (), {"kernel": True})())
    monkeypatch.setattr(display, "display", shown.append)
    figure = plots.image_grid(X[:3], (2, 3))
    plots.show(figure)
    assert [image.data for image in shown] == [figures.png(figure)]


def test_save_writes_the_png_and_no_half_of_it(tmp_path: Path) -> None:
    figure = plots.image_grid(X[:3], (2, 3))
    plots.save(figure, tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
