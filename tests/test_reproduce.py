"""The studies: their verdicts, their mathematics, that no test label leaks, and each of them end to end at toy size."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits, sample, some_labels

from minikd import MLP, CheckpointError, check_gradients, cross_entropy, evaluate, fit, load_data, softmax
from minikd.backend import to_device, to_numpy
from minikd.cli.main import main
from minikd.cli.parser import STUDIES as NAMES
from minikd.cli.reproduce import picture
from minikd.data import Data
from minikd.data.words import encode, one_hot_rows, split_words
from minikd.experiments.intervals import mean_interval
from minikd.methods import language
from minikd.ops import log_softmax
from minikd.report.style import png
from minikd.reproduce import STUDIES, Plan, Row, Study, committed, judge, run_study, study_table, verdict
from minikd.reproduce.few import Recipe, worth
from minikd.reproduce.hinton2015 import Training, offset_to_share
from minikd.reproduce.lab import Exam, Lab
from minikd.reproduce.language import KINDS, measured, taught
from minikd.reproduce.muller2019 import penultimate, projection, spread
from minikd.reproduce.run import make_lab, read
from minikd.reproduce.study import BEATS, INCONCLUSIVE, MATCHES, MISSES
from minikd.reproduce.subclass2020 import Adversary, name_subclasses, subclass_loss
from minikd.reproduce.subliminal2025 import SHARED, Scheme, beginner, noise, of_columns, squared_error

DIGITS, WORDS = load_data("digits"), load_data("words")
SOME_WORDS = WORDS._replace(  # 2,000 letters of each part
    **{f"x_{part}": getattr(WORDS, f"x_{part}").take(slice(2000)) for part in ("train", "val", "test")},
    **{f"y_{part}": getattr(WORDS, f"y_{part}")[:2000] for part in ("train", "val", "test")},
)
TOY: dict[str, dict[str, Any]] = {
    "hinton2015": {
        "teacher": (24, 24),
        "pixels": 1,
        "teacher_training": Training(6, 1e-2, 64),
        "student": (16, 16),
        **{name: Training(2, 1e-3, 256) for name in ("alone", "taught", "mixed", "two")},
        "scales": (0.5,),
        "widths": (8, 30),
        "curve": Training(1, 3e-3, 256),
    },
    "muller2019": {
        "teacher": (24, 24),
        "pixels": 1,
        "teacher_training": Training(6, 1e-2, 64),
        "student": (16, 16),
        "taught": Training(2, 1e-3, 256),
    },
    "subclass2020": {"teacher": (24,), "student": (16,), "teacher_epochs": 3, "epochs": 2},
    "capacity": {"student": 8, "teachers": (8, 16, 32), "chains": ((32, 16),), "teacher_epochs": 2, "epochs": 2},
    "generations": {"images": 200, "hidden": (16,), "generations": 2, "epochs": 3},
    "few": {"recipes": {"digits": Recipe((16, 16), 2, 300, 4.0)}},
    "subliminal2025": {"hidden": (16, 16), "widths": (3, 8), "batch_size": 128, "teacher_epochs": 2, "epochs": 2},
    "language": {
        "teacher": (24, 24),
        "teacher_epochs": 2,
        "student": (8,),
        "words": 60,
        "others": (30,),
        "epochs": 2,
        "early": 1,
        "said": 100,
    },
}


def toy(name: str) -> Any:
    return replace(STUDIES[name].full, **TOY[name])


def toy_data(name: str) -> Data:
    return SOME_WORDS if STUDIES[name].data == "words" else DIGITS


def run_toy(name: str, folder: Path, *, seeds: int = 2, device: str = "cpu", data: Any = None, **more: Any) -> Any:
    data = data or toy_data(name)
    return run_study(STUDIES[name], folder, Plan(seeds=seeds, device=device), data=data, protocol=toy(name), **more)


# ---- verdicts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paper", "better", "values", "expected"),
    [
        (67, "lower", [60, 61, 62], BEATS),
        (67, "lower", [66, 67, 69], MATCHES),
        (67, "lower", [72, 73, 74], MISSES),
        (67, "lower", [30, 67, 104], INCONCLUSIVE),  # the interval has 67 in it, and half of everything else
        (67, "lower", [60], INCONCLUSIVE),  # one seed
        (73.9, "higher", [85, 86, 87], BEATS),
        (73.9, "higher", [60, 61, 62], MISSES),
        ((0, math.inf), "lower", [0.1, 0.2, 0.3], INCONCLUSIVE),  # interval -0.05 to 0.45
        ((0, math.inf), "lower", [0.2, 0.21, 0.22], MATCHES),
        ((0, math.inf), "lower", [-0.2, -0.21, -0.22], MISSES),
        ((0, math.inf), "lower", [0.0, 0.0, 0.0], MISSES),
        ((0, math.inf), "lower", [5.0], INCONCLUSIVE),
        ((-10, 10), "lower", [1, 2, 3], MATCHES),
        ((-10, 10), "lower", [-8, 8, 30], INCONCLUSIVE),
        ((-10, 10), "lower", [19, 20, 21], MISSES),
        ((-10, 10), "lower", [-19, -20, -21], MISSES),
        (None, "lower", [1, 2, 3], ""),
    ],
)
def test_the_verdict_on_both_sides_of_each_rule(paper: Any, better: str, values: list[float], expected: str) -> None:
    assert verdict(Row("", "m", paper, better=better), values) == expected


def test_an_interval_that_just_reaches_the_papers_number_matches_and_one_that_just_does_not_beats_or_misses() -> None:
    values = [60.0, 62.0, 64.0, 66.0]
    mean, half = mean_interval(values)
    for paper, better, expected in (
        (mean + half - 0.01, "lower", MATCHES),
        (mean + half + 0.01, "lower", BEATS),
        (mean + half + 0.01, "higher", MISSES),
        (mean - half + 0.01, "lower", MATCHES),
        (mean - half - 0.01, "lower", MISSES),
        (mean - half - 0.01, "higher", BEATS),
    ):
        assert verdict(Row("", "m", paper, better=better), values) == expected


def test_the_table_has_80_columns_and_wraps_long_words() -> None:
    row = Row("a row whose words are far too long for the first column of the table, and so go on", "m", 67, " %", 2)
    study = Study("name", "title", "source", (row, Row("short", "n", (0, math.inf))), None, None, None, None)  # type: ignore[arg-type]
    text = study_table(study, {"m": [60.0, 61.0, 62.0], "n": [1.0, 1.5, 2.0]})
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["paper", "ours", "verdict"]
    assert "67 %" in lines[1] and "61.00±1.00 %" in lines[1] and lines[1].endswith("BEATS")
    assert lines[-1].split() == ["short", "above", "0", "1.5±0.5", "MATCHES"]


def test_a_row_that_was_not_measured_is_left_out() -> None:
    rows = (Row("one", "m", 1), Row("two", "n", 2))
    study = Study("name", "title", "source", rows, None, None, None, None)  # type: ignore[arg-type]
    assert [record["measure"] for record in judge(study, {"n": [2.0, 2.1, 1.9]})] == ["n"]


# ---- each study, end to end -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TOY))
def test_a_study_leaves_networks_numbers_and_a_picture(name: str, tmp_path: Path, device: str) -> None:
    content = run_toy(name, tmp_path, device=device)
    study = STUDIES[name]
    for numbers in content["values"].values():
        assert len(numbers) == 2 and np.isfinite(numbers).all()
    assert json.loads((tmp_path / f"{name}.json").read_text()) == json.loads(json.dumps(content))
    with open(tmp_path / f"{name}.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["measure", "seed", "value"]
    table_of_lines = {(measure, int(seed)): float(value) for measure, seed, value in lines[1:]}
    assert table_of_lines == {(m, s): v for m, numbers in content["values"].items() for s, v in enumerate(numbers)}
    assert not list(tmp_path.glob("*.png"))  # the command draws
    plan = Plan(seeds=2, device=device)
    figure = picture(study, content["values"], make_lab(study, tmp_path, 0, plan, toy_data(name)), plan, toy(name))
    assert (
        png(figure).startswith(b"\x89PNG")
        and figure.get_supxlabel() == "ours: mean over 2 seeds, with its 95 % interval"
    )
    networks = {re.sub(r"-\d+(-peer)?\.safetensors$", r"\1", path.name) for path in tmp_path.glob("*.safetensors")}
    assert len(networks) >= 2 and len(list(tmp_path.glob("*.safetensors"))) == 2 * len(networks)
    for path in tmp_path.glob("*.safetensors"):
        assert MLP.load(path).num_params > 0
    assert all(seconds > 0 for seconds in content["seconds"])
    assert content["protocol"] == json.loads(json.dumps(asdict(toy(name)))) or content["protocol"] == asdict(toy(name))
    assert "verdict" in study_table(study, content["values"])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TOY))
def test_a_study_that_was_killed_goes_on_and_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    whole = run_toy(name, tmp_path / "whole", seeds=1)

    class Killed(BaseException):
        pass

    calls = 0

    def kill(*words: Any, **more: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Killed

    with pytest.raises(Killed):
        run_toy(name, tmp_path / "killed", seeds=1, notify=kill)
    resumed = run_toy(name, tmp_path / "killed", seeds=1)
    assert resumed["values"] == whole["values"]
    for path in (tmp_path / "whole").glob("*.safetensors"):
        assert_same_bits(MLP.load(path).theta, MLP.load(tmp_path / "killed" / path.name).theta)


@pytest.mark.parametrize("name", list(TOY))
def test_no_test_label_gets_into_training_selection_or_correction(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other test labels, all networks and all answers that are examined have the same bits.

    The one exception is the offset that is tuned on test labels, as its name says.
    """
    examined: list[np.ndarray] = []
    logits = Exam.logits

    def recorded(self: Exam, model: Any) -> np.ndarray:
        z = logits(self, model)
        examined.append(np.array(z))
        return z

    monkeypatch.setattr(Exam, "logits", recorded)
    monkeypatch.setattr(Exam, "offset_tuned_on_test", lambda self, z, classes: 0.0)
    values = [run_toy(name, tmp_path / "right", seeds=1)["values"]]
    first, examined[:] = list(examined), []
    data = toy_data(name)
    wrong = data._replace(y_test=(data.y_test * 3 + 1) % len(data.class_names))
    values.append(run_toy(name, tmp_path / "wrong", seeds=1, data=wrong)["values"])
    assert values[0] != values[1]  # the scores do depend on them
    assert len(first) == len(examined) > 0
    for a, b in zip(first, examined, strict=True):
        assert_same_bits(a, b)
    for path in (tmp_path / "right").glob("*.safetensors"):
        assert_same_bits(MLP.load(path).theta, MLP.load(tmp_path / "wrong" / path.name).theta)


def test_only_rows_that_say_so_are_tuned_on_test_labels() -> None:
    sources = {
        path.name: path.read_text() for path in Path(sys.modules[Study.__module__].__file__ or "").parent.glob("*.py")
    }
    assert {name for name, text in sources.items() if "offset_tuned_on_test(" in text} == {"lab.py", "hinton2015.py"}
    for study in STUDIES.values():
        for row in study.rows:
            assert ("tuned on test" in row.measure) == (
                "tuned on test labels" in row.words or row.words.startswith("  ")
            ) or "tuned on test" not in row.measure


def test_a_plan_for_choosing_settings_never_touches_the_test_images(tmp_path: Path) -> None:
    data = DIGITS._replace(x_test=np.full_like(DIGITS.x_test, np.nan))
    plan = Plan(seeds=1, validation=True)
    content = run_study(STUDIES["generations"], tmp_path, plan, data=data, protocol=toy("generations"))
    assert np.isfinite(content["values"]["generation 0"][0])


def test_seeds_that_are_finished_are_kept_and_only_the_others_are_run(tmp_path: Path) -> None:
    name = "generations"
    whole = run_toy(name, tmp_path / "whole", seeds=3)
    first = run_toy(name, tmp_path / "parts", seeds=1)
    for path in (tmp_path / "parts").glob("*.safetensors"):
        path.unlink()  # the numbers alone went to another machine
    trained: set[str] = set()

    def notify(done: int, epochs: int, words: str, **more: Any) -> None:
        trained.add(words.split(",")[0].split(":")[0])

    content = run_toy(name, tmp_path / "parts", seeds=3, notify=notify)
    assert trained == {"seed 1", "seed 2"}
    assert content["seeds"] == [0, 1, 2] and content["values"] == whole["values"]
    assert content["seconds"][0] == first["seconds"][0] and len(content["machines"]) == 3
    assert content["rows"] == whole["rows"]


def test_a_seed_that_is_finished_is_on_the_disk_before_the_next_ends(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, epochs: int, words: str, **more: Any) -> None:
        if words.startswith("seed 1"):
            raise Killed

    with pytest.raises(Killed):
        run_toy("generations", tmp_path, seeds=2, notify=kill)
    assert read(tmp_path / "generations.json")["seeds"] == [0]


@pytest.mark.parametrize(("what", "value"), [("quick", True), ("validation", True), ("device", "cuda")])
def test_seeds_of_another_plan_are_not_mixed_in(what: str, value: Any, tmp_path: Path) -> None:
    run_toy("generations", tmp_path, seeds=1)
    path = tmp_path / "generations.json"
    content = read(path)
    content["plan"][what] = value
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=rf"generations\.json belongs to another run: {what} was {value}"):
        run_toy("generations", tmp_path, seeds=2)


def test_seeds_of_another_protocol_are_not_mixed_in(tmp_path: Path) -> None:
    run_toy("generations", tmp_path, seeds=1)
    with pytest.raises(CheckpointError, match="it was made by another protocol"):
        run_study(
            STUDIES["generations"],
            tmp_path,
            Plan(seeds=1),
            data=DIGITS,
            protocol=replace(toy("generations"), epochs=4),
        )


# ---- the lab ----------------------------------------------------------------------------------------------------


def test_the_lab_trains_on_training_and_validation_images_and_examines_on_test_images(tmp_path: Path) -> None:
    lab = Lab(DIGITS, tmp_path, 0)
    assert_same_bits(lab.x, np.concatenate((DIGITS.x_train, DIGITS.x_val)))
    assert_same_bits(lab.y, np.concatenate((DIGITS.y_train, DIGITS.y_val)))
    assert_same_bits(lab.exam.x, DIGITS.x_test)
    assert "y_test" not in vars(lab) and not any(value is DIGITS.y_test for value in vars(lab).values())


def test_the_exam_counts_errors_in_all_in_one_class_and_between_groups() -> None:
    labels = np.array([0, 1, 2, 2, 1])
    exam = Exam(np.zeros((5, 4), np.float32), labels)
    logits = np.eye(3, dtype=np.float32)[[0, 2, 2, 1, 0]]  # right, wrong, right, wrong, wrong
    assert exam.errors(logits) == 3
    assert exam.errors(logits, only=1) == 2
    assert exam.errors(logits, only=2) == 1
    assert exam.percent(logits) == pytest.approx(60)
    assert exam.percent_of_groups(logits, np.array([0, 1, 1])) == pytest.approx(20)  # the last alone: 1 for 0


def test_students_start_alike_and_not_as_their_teacher(tmp_path: Path) -> None:
    lab, other = Lab(DIGITS, tmp_path, 0), Lab(DIGITS, tmp_path, 1)
    assert_same_bits(lab.network(8, number=1).theta, lab.network(8, number=1).theta)
    assert not np.array_equal(lab.network(8, number=0).theta, lab.network(8, number=1).theta)
    assert not np.array_equal(lab.network(8, number=1).theta, other.network(8, number=1).theta)


def test_a_lab_on_another_data_set_shares_its_seed_and_counts_its_networks(tmp_path: Path) -> None:
    lab = Lab(DIGITS, tmp_path, 3, validation=True, name="mnist")
    other = lab.on("digits")
    assert lab.on("mnist") is lab and other is not lab and (other.seed, other.folder) == (3, tmp_path)
    assert_same_bits(other.exam.x, DIGITS.x_val)
    model = other.network(8)
    fit(model, other.x, other.y, loss=cross_entropy, **other.training("one", model, epochs=1, lr=1e-3, batch_size=64))
    assert lab.seconds() == other.seconds() > 0


def test_a_lab_of_words_has_no_image_shape_and_trains_on_the_training_words_alone(tmp_path: Path) -> None:
    lab, choosing = (Lab(SOME_WORDS, tmp_path, 0, validation=validation) for validation in (False, True))
    with pytest.raises(ValueError, match=r"data must be pictures, got data without an image_shape"):
        lab.image_shape  # noqa: B018
    for one in (lab, choosing):
        assert_same_bits(one.x.codes, SOME_WORDS.x_train.codes)
        assert_same_bits(one.y, SOME_WORDS.y_train)
    assert lab.exam.x is SOME_WORDS.x_test and choosing.exam.x is SOME_WORDS.x_val


# ---- biases corrected -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [(3,), (1, 4)])
@pytest.mark.parametrize("share", [0.1, 0.35, 0.8])
def test_the_offset_by_prior_puts_that_share_of_rows_into_the_classes(classes: tuple[int, ...], share: float) -> None:
    logits = sample(200, 5)
    offset = offset_to_share(logits, classes, share)
    moved = logits + offset * np.isin(np.arange(5), classes)
    assert np.isin(moved.argmax(axis=1), classes).mean() == pytest.approx(share)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_offset_by_prior_is_finite_for_a_share_of_nothing_and_of_all(share: float) -> None:
    offset = offset_to_share(sample(50, 4), (2,), share)
    assert math.isfinite(offset)


@pytest.mark.parametrize("classes", [(3,), (0, 4)])
def test_the_offset_tuned_on_test_labels_is_the_best_of_all(classes: tuple[int, ...]) -> None:
    labels = some_labels(300, 5)
    logits = sample(300, 5) + 2 * np.eye(5)[labels] - 1.5 * np.isin(np.arange(5), classes)
    exam = Exam(np.zeros((300, 2)), labels)
    these = np.isin(np.arange(5), classes)
    best = min(exam.errors(logits + these * offset) for offset in np.linspace(-12, 12, 4801))
    found = exam.errors(logits + these * exam.offset_tuned_on_test(logits, classes))
    assert found <= best < exam.errors(logits)


# ---- few samples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("soft", "expected"),
    [
        (40.0, 1.0),  # as many errors as labels give with as many samples
        (20.0, 10.0),  # ten times as many labels give this
        (28.2, 4.0),  # between two points the axis of samples is logarithmic: 20 + (40 - 20) (1 - log10 4 / log10 10)
        (5.0, 100.0),  # better than with all labels: the curve ends there
        (60.0, 1.0),  # worse than with as many labels: the curve begins there
    ],
)
def test_a_soft_target_is_worth_the_labels_that_give_as_many_errors(soft: float, expected: float) -> None:
    counts, errors = [10, 100, 1000], [40.0, 20.0, 10.0]
    assert worth(counts, errors, 10, soft) == pytest.approx(expected, rel=0.03)


def test_the_worth_reads_the_lowest_error_so_far_where_a_curve_goes_up() -> None:
    assert worth([10, 100, 1000], [40.0, 20.0, 30.0], 10, 20.0) == pytest.approx(10)
    assert worth([10, 100, 1000], [40.0, 20.0, 30.0], 10, 25.0) == pytest.approx(10**0.75)  # between 40 and 20


# ---- subliminal learning ----------------------------------------------------------------------------------------


def test_the_loss_of_some_columns_has_their_gradient_and_0_elsewhere(xp: Any, device: str) -> None:
    logits, targets = (to_device(sample(5, n, seed=n), device) for n in (7, 3))
    loss = partial(of_columns, loss=squared_error, first=4, last=7)
    value, dlogits = loss(logits, targets)
    check_gradients(lambda z: loss(z, targets)[0], logits, dlogits).assert_ok(1e-7)
    assert not to_numpy(dlogits)[:, :4].any() and to_numpy(dlogits)[:, 4:].all()
    assert_close(value, ((to_numpy(logits)[:, 4:] - to_numpy(targets)) ** 2).mean())


@pytest.mark.parametrize("shared", list(SHARED))
def test_a_beginner_has_the_teachers_initial_weights_in_the_shared_parts_and_nowhere_else(
    shared: str, tmp_path: Path
) -> None:
    lab, p = Lab(DIGITS, tmp_path, 0), replace(STUDIES["subliminal2025"].full, hidden=(12, 12))
    recipe, aux = p.paper, 3
    teacher = beginner(lab, p, recipe, aux, SHARED["everything"])
    student = beginner(lab, p, recipe, aux, SHARED[shared])
    parts = {"class head": np.s_[:10], "auxiliary head": np.s_[10:]}
    same = {name for name, c in parts.items() if np.array_equal(student.weights[-1][:, c], teacher.weights[-1][:, c])}
    hidden = zip(student.weights[:-1], teacher.weights[:-1], strict=True)
    same |= {"hidden layers"} if all(np.array_equal(a, b) for a, b in hidden) else set()
    assert same == set(SHARED[shared])
    assert student.weights[0].std() == pytest.approx(math.sqrt(1 / 64), rel=0.1)


def test_noise_has_the_shape_of_the_images_and_nothing_else_of_them(xp: Any, device: str) -> None:
    x = to_device(DIGITS.x_train[:200], device)
    drawn = noise(x, xp.random.default_rng(0))
    assert drawn.shape == x.shape and drawn.dtype == x.dtype
    assert_same_bits(drawn, noise(xp.zeros_like(x), xp.random.default_rng(0)))
    values = to_numpy(drawn)
    assert values.min() < -0.999 and values.max() > 0.999 and abs(values.mean()) < 0.02


def test_a_student_learns_digits_from_noise_if_it_began_as_its_teacher_did(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 64, "teacher_epochs": 10, "epochs": 20, "paper": Scheme(1.0, lr=3e-3)}
    p = replace(STUDIES["subliminal2025"].full, hidden=(128, 128), auxiliary=20, widths=(), **settings)
    values = run_study(STUDIES["subliminal2025"], tmp_path, Plan(seeds=1), data=DIGITS, protocol=p)["values"]
    assert values["teacher"][0] > 90
    assert values["same weights, before"][0] < 30 and values["other weights"][0] < 30  # chance is 10
    assert values["same weights"][0] > 75  # 89 and 91 with two seeds


# ---- a language model of letters --------------------------------------------------------------------------------


def test_the_measures_of_a_language_model_are_those_of_evaluate_and_of_its_own_words(tmp_path: Path) -> None:
    lab, p = Lab(SOME_WORDS, tmp_path, 3), toy("language")
    teacher, student = (lab.network(12, number=number) for number in (0, 1))
    for model in (teacher, student):
        model.biases[-1][0] = 2.0  # words of a few letters
    found = measured(lab, p, teacher, student, "it")
    nll = evaluate(student, SOME_WORDS.x_test, SOME_WORDS.y_test).nll
    assert found["held-out: it"] == pytest.approx(nll, abs=1e-6)
    (theirs, _, _), (codes, following, _) = (encode(language.sample(m, 100, seed=3)) for m in (teacher, student))
    logp = log_softmax(to_numpy(teacher.predict(one_hot_rows(codes))).astype(float))
    assert found["own words: it"] == pytest.approx(-logp[np.arange(len(logp)), following].mean(), abs=1e-6)
    logq, logp = (
        [log_softmax(to_numpy(m.predict(one_hot_rows(x))).astype(float)) for x in (theirs, codes)]
        for m in (teacher, student)
    )
    ideal, own = ((np.exp(q) * (q - p)).sum(axis=1).mean() for q, p in zip(logq, logp, strict=True))
    assert found["own contexts: it"] == pytest.approx(own, abs=1e-6) and own > 0.01
    assert found["exposure: it"] == pytest.approx(own - ideal, abs=1e-6)
    assert measured(lab, p, teacher, teacher, "it")["own contexts: it"] == pytest.approx(0, abs=1e-9)


def test_real_words_are_counted_in_all_three_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [words[0] for words in split_words().values()]
    monkeypatch.setattr("minikd.reproduce.language.sample", lambda *_, **__: [*first, "qqqq"])
    lab = Lab(SOME_WORDS, tmp_path, 0)
    assert measured(lab, toy("language"), *[lab.network(4)] * 2, "it")["real: it"] == 75


def test_students_of_letters_begin_alike_and_end_apart(tmp_path: Path) -> None:
    lab, p = Lab(SOME_WORDS, tmp_path, 0), toy("language")
    (tmp_path / "idle").mkdir()
    idle, still = Lab(SOME_WORDS, tmp_path / "idle", 0), replace(p, lr=1e-30)
    teacher, begun = lab.network(16, number=0), lab.network(*p.student, number=1)
    for kind in KINDS:
        assert_close(taught(idle, still, teacher, kind, 30).theta, begun.theta, 1e-20)
    ends = {taught(lab, p, teacher, kind, 30).theta.tobytes() for kind in KINDS}
    assert len(ends) == len(KINDS)


# ---- subclasses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0.3, 0.25, 2), (0, 0, 1)])
@pytest.mark.parametrize("superclass", [[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]])
def test_the_gradient_of_the_subclass_loss(
    weights: tuple[float, ...], superclass: list[int], xp: Any, device: str
) -> None:
    information, sureness, agreement = weights
    logits, answers = (to_device(sample(6, 8, seed=s), device) for s in (1, 2))
    y = to_device(np.array(superclass), device)
    loss = partial(subclass_loss, information=information, sureness=sureness, agreement=agreement)
    _, dlogits = loss(logits, y, answers)
    check_gradients(lambda z: loss(z, y, answers)[0], logits, dlogits).assert_ok(1e-7)


def test_the_subclass_loss_without_its_extras_is_the_cross_entropy_of_two_classes() -> None:
    logits, y = sample(7, 6), np.array([0, 1, 0, 1, 1, 0, 0])
    loss, _ = subclass_loss(logits, y, logits, information=0, sureness=0, agreement=0)
    two = np.log(np.exp(logits).reshape(7, 2, 3).sum(axis=2))  # each super-class's logit: log-sum-exp of its own
    assert_close(loss, cross_entropy(two, y)[0])


def test_information_is_worth_most_where_each_image_is_sure_and_all_subclasses_are_used() -> None:
    y = np.zeros(4, int)
    spread_out, same = 20 * np.eye(8)[[0, 1, 2, 3]], 20 * np.eye(8)[[0, 0, 0, 0]]
    unsure = np.where(np.arange(8) < 4, 1.0, -20.0) * np.ones((4, 1))
    value = partial(subclass_loss, information=1.0, sureness=1.0, agreement=0.0)
    best, worst, middle = (float(value(z, y, z)[0]) for z in (spread_out, same, unsure))
    assert best == pytest.approx(-math.log(4), abs=1e-6) and worst == pytest.approx(0, abs=1e-6)
    assert middle == pytest.approx(0, abs=1e-6)  # all used, but no image is sure: no information either


def test_the_adversary_moves_each_image_by_its_radius_and_further_than_chance_would(xp: Any, device: str) -> None:
    model = MLP((64, 32, 10), seed=3, device=device)
    fit(model, DIGITS.x_train, DIGITS.y_train, loss=cross_entropy, epochs=3, progress=False)
    x = to_device(DIGITS.x_train[:200], device)
    adversary = Adversary(model, 0.5)
    moved = adversary.disturb(x, xp.random.default_rng(0))
    assert moved.dtype == x.dtype
    assert_close(np.linalg.norm(to_numpy(moved - x), axis=1), np.full(200, 0.5), 1e-4)
    assert_same_bits(adversary.answers_for(moved), model.predict(x))

    def divergence(other: Any) -> float:
        p, q = (softmax(to_numpy(model.predict(a)).astype(float)) for a in (x, other))
        return float((p * (np.log(p) - np.log(q))).sum())

    noise = sample(200, 64, seed=5)
    noise *= 0.5 / np.linalg.norm(noise, axis=1, keepdims=True)
    by_chance = divergence(x + to_device(noise.astype(np.float32), device))
    assert divergence(moved) > 3 * by_chance


def test_subclasses_are_named_one_to_one_within_their_super_class() -> None:
    digits = some_labels(500, 10)
    secret = np.array([3, 1, 4, 0, 2, 7, 9, 5, 8, 6])  # subclass k holds the digit secret[k]
    logits = np.eye(10)[np.argsort(secret)[digits]]
    assert name_subclasses(logits, digits).tolist() == secret.tolist()
    crowded = logits.copy()
    crowded[:, 1] += 2 * (logits[:, 0] == 1)  # two digits fall into one subclass: still one name each
    assert sorted(name_subclasses(crowded, digits)[:5].tolist()) == [0, 1, 2, 3, 4]


# ---- penultimate layers -----------------------------------------------------------------------------------------


def test_the_penultimate_layer_is_what_the_network_itself_computes(device: str) -> None:
    model = MLP((64, 12, 7, 10), seed=1, device=device)
    x = DIGITS.x_train[:50]
    model.forward(to_device(x, device), train=True)
    assert_close(penultimate(model, x), to_numpy(model.hidden[-1]), 1e-6)


def test_the_spread_is_0_where_a_class_is_a_point_and_100_where_classes_are_alike() -> None:
    model = MLP((2, 3, 10), seed=0)
    model.weights[0][...] = [[1, 0, 1], [0, 1, 1]]
    y = np.array([0, 0, 1, 1])
    assert spread(model, np.array([[1, 2], [1, 2], [5, 1], [5, 1]], np.float32), y) == pytest.approx(0, abs=1e-6)
    assert spread(model, np.array([[1, 2], [5, 1], [1, 2], [5, 1]], np.float32), y) == pytest.approx(100)


def test_the_projection_keeps_the_distances_between_the_three_templates() -> None:
    model = MLP((64, 20, 10), seed=4)
    model.biases[0][...] = 0
    x = np.abs(sample(3, 64)).astype(np.float32)
    h, points = penultimate(model, x), projection(model, x, (4, 7, 9))
    assert points.shape == (3, 2)
    plane = np.stack([to_numpy(model.weights[-1])[:, k] - to_numpy(model.weights[-1])[:, 4] for k in (7, 9)], axis=1)
    projector = plane @ np.linalg.pinv(plane)
    assert_close(np.linalg.norm(points[0] - points[1]), np.linalg.norm(projector @ (h[0] - h[1])), 1e-4)


# ---- committed results ------------------------------------------------------------------------------------------

WITH_RESULTS = [name for name in STUDIES if committed(STUDIES[name]) is not None]


def test_the_page_has_the_committed_measures_of_each_student_of_letters() -> None:
    content = committed(STUDIES["language"])
    assert content is not None
    page = (Path(__file__).parents[1] / "docs" / "reproduce.md").read_text(encoding="utf-8")
    for kind in KINDS:
        cells = [kind]
        for measure, digits in (("held-out", 3), ("own words", 3), ("real", 1), ("own contexts", 3)):
            mean, half = mean_interval(content["values"][f"{measure}: {kind}"])
            cells.append(f"{mean:.{digits}f} ± {half:.{digits}f}")
        assert f"| {' | '.join(cells)} |\n" in page


@pytest.mark.parametrize("name", WITH_RESULTS)
def test_committed_results_are_of_a_full_run_on_test_images_and_say_what_they_were_made_with(name: str) -> None:
    study, content = STUDIES[name], committed(STUDIES[name])
    assert content is not None and content["study"] == name
    assert not content["plan"]["quick"] and not content["plan"]["validation"] and content["plan"]["seeds"] >= 5
    assert content["command"].startswith(f"minikd reproduce {name}")
    assert all(machine["processor"] and machine["versions"]["numpy"] for machine in content["machines"])
    assert content["protocol"] == json.loads(json.dumps(asdict(study.full))), "the protocol has changed since"
    assert content["rows"] == json.loads(json.dumps(judge(study, content["values"])))
    assert [record["measure"] for record in content["rows"]] == [row.measure for row in study.rows]


def test_numbers_that_are_damaged_or_missing_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    with pytest.raises(CheckpointError, match=r"cannot read .*numbers\.json"):
        read(path)
    for text in ("{", "[]", '{"values": {"a": [1, 2]}, "seeds": [0], "plan": {}}', '{"values": 3, "plan": {}}'):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=r"numbers\.json does not hold the numbers of a study"):
            read(path)


# ---- the command ------------------------------------------------------------------------------------------------


def command(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "minikd", *arguments], capture_output=True, text=True, timeout=300, **more
    )


def test_the_command_knows_the_studies_without_loading_them() -> None:
    assert list(NAMES) == list(STUDIES)


def test_the_command_lists_the_studies(capsys: pytest.CaptureFixture[str]) -> None:
    main(["reproduce"])
    text = capsys.readouterr().out
    for study in STUDIES.values():
        assert f"{study.name}: {study.title}" in text.replace("\n", " ") and study.source in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", WITH_RESULTS)
def test_the_command_prints_the_committed_results(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["reproduce", name, "--committed"])
    content = committed(STUDIES[name])
    assert content is not None
    assert study_table(STUDIES[name], content["values"]) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hinton2016"], "invalid choice: 'hinton2016'"),
        (["generations", "--seeds", "0"], "--seeds must be"),
        (["generations", "--jobs", "0"], "--jobs must be"),
        (["generations", "--resume"], "--resume needs --out"),
        (["generations", "--out", "."], ". is there already"),
        (["--quick"], "--quick needs the NAME of a study"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: Sequence[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "something").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


@pytest.mark.slow
def test_a_quick_run_says_that_it_is_one_and_two_jobs_give_the_same_numbers(data_dir: Path, tmp_path: Path) -> None:
    one = command("reproduce", "generations", "--quick", "--seeds", "2", "--out", str(tmp_path / "one"))
    assert one.returncode == 0, one.stderr
    assert "QUICK: fewer images and epochs; these numbers say nothing about the paper." in one.stdout
    assert max(len(line) for line in one.stdout.splitlines() if str(tmp_path) not in line) <= 80
    assert "seed 1: generations-5" in one.stderr
    two = command("reproduce", "generations", "--quick", "--seeds", "2", "--jobs", "2", "--out", str(tmp_path / "two"))
    assert two.returncode == 0, two.stderr
    first, second = (read(tmp_path / name / "generations.json") for name in ("one", "two"))
    assert first["plan"]["quick"] and first["command"].startswith("minikd reproduce generations --quick")
    for name, numbers in first["values"].items():  # as many threads a process or not: a test image or two
        assert_close(second["values"][name], numbers, 0.1)
    again = command("reproduce", "generations", "--quick", "--seeds", "2", "--out", str(tmp_path / "one"), "--resume")
    assert again.returncode == 0 and read(tmp_path / "one" / "generations.json")["values"] == first["values"]
    other = command("reproduce", "generations", "--seeds", "1", "--out", str(tmp_path / "one"), "--resume")
    assert other.returncode == 2 and "belongs to another run" in other.stderr
