"""Scores on cases small enough to work out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, sample, some_labels

from minikd import MLP, evaluate
from minikd.backend import to_device, to_numpy
from minikd.metrics import Predictor, reliability
from minikd.report.run_plots import confusion

pytestmark = pytest.mark.extras

# Four rows, two classes. Row by row: sure and right, sure and wrong, less sure and right, less sure and right.
P = np.array([[0.9, 0.1], [0.9, 0.1], [0.38, 0.62], [0.7, 0.3]])
LABELS = np.array([0, 1, 1, 0])
X = np.zeros((4, 3))
TEACHER_P = np.array([[0.8, 0.2], [0.25, 0.75], [0.5, 0.5], [0.6, 0.4]])


def kl(q: list[float], p: list[float]) -> float:
    """sum_k q_k log(q_k / p_k)."""
    return sum(a * math.log(a / b) for a, b in zip(q, p, strict=True))


def test_evaluate_on_a_case_worked_out_by_hand(xp: Any) -> None:
    scores = evaluate(xp.array(np.log(P) + 3), xp.array(X), xp.array(LABELS))
    assert set(scores) == {"accuracy", "errors", "nll", "ece"}
    assert scores["accuracy"] == 0.75
    assert scores["errors"] == 1
    assert scores["nll"] == pytest.approx(-math.log(0.9 * 0.1 * 0.62 * 0.7) / 4, rel=1e-12)
    # Bins of 1/15: 0.9, 0.9 in one (half of them right), 0.62 and 0.7 alone (right).
    assert scores["ece"] == pytest.approx((2 * abs(0.5 - 0.9) + abs(1 - 0.62) + abs(1 - 0.7)) / 4, rel=1e-12)


def test_evaluate_with_a_teacher_adds_agreement_and_kl(xp: Any) -> None:
    teacher = xp.array(np.log(TEACHER_P) - 1)
    scores = evaluate(xp.array(np.log(P)), xp.array(X), xp.array(LABELS), teacher=teacher)
    assert list(scores) == ["accuracy", "errors", "nll", "ece", "agreement", "kl"]
    # The teacher chooses 0, 1, 0 (the first of equals), 0, the model 0, 0, 1, 0.
    assert scores["agreement"] == 0.5
    wanted = sum(kl(q, p) for q, p in zip(TEACHER_P.tolist(), P.tolist(), strict=True)) / 4
    assert scores["kl"] == pytest.approx(wanted, rel=1e-12)


def test_a_model_that_is_its_teacher_agrees_and_has_kl_0(device: str) -> None:
    model = MLP((3, 5, 4), device=device)
    x, labels = to_device(sample(20, 3), device), to_device(some_labels(20, 4), device)
    scores = evaluate(model, x, labels, teacher=model)
    assert scores["agreement"] == 1 and scores["kl"] == 0


def test_a_certain_and_right_classifier_scores_full_marks(xp: Any) -> None:
    logits = xp.array(np.where(np.eye(3)[some_labels(6, 3)] > 0, 1e4, -1e4))
    scores = evaluate(logits, xp.array(np.zeros((6, 1))), xp.array(some_labels(6, 3)))
    assert scores == {"accuracy": 1, "errors": 0, "nll": 0, "ece": 0}


def test_a_certain_and_wrong_classifier_scores_none_and_stays_finite(xp: Any) -> None:
    logits = xp.array(np.where(np.eye(3)[some_labels(6, 3)] > 0, 1e4, -1e4))
    labels = xp.array((some_labels(6, 3) + 1) % 3)
    scores = evaluate(logits, xp.array(np.zeros((6, 1))), labels, teacher=-logits)
    assert scores == {
        "accuracy": 0,
        "errors": 6,
        "nll": 2e4,
        "ece": 1,
        "agreement": 0,
        "kl": pytest.approx(2e4 - math.log(2), rel=1e-12),
    }


def test_an_mlp_a_callable_and_an_array_of_logits_score_the_same(device: str) -> None:
    model, teacher = MLP((3, 5, 4), device=device, dropout=0.5), MLP((3, 4), seed=1, device=device)
    x, labels = to_device(sample(30, 3), device), to_device(some_labels(30, 4), device)
    wanted = evaluate(model, x, labels, teacher=teacher)
    assert wanted["kl"] > 0.01
    assert evaluate(model.forward, x, labels, teacher=teacher.forward) == pytest.approx(wanted, rel=1e-6)
    assert evaluate(model.predict(x), x, labels, teacher=teacher.predict(x)) == wanted
    assert evaluate(to_numpy(model.predict(x)), x, labels, teacher=to_numpy(teacher.predict(x))) == wanted


def test_model_and_labels_may_be_on_different_devices(device: str) -> None:
    model, x, labels = MLP((3, 4), device=device), sample(30, 3), some_labels(30, 4)
    wanted = evaluate(model, x, labels)
    assert evaluate(model, to_device(x, device), labels) == wanted
    assert evaluate(model, to_device(x, device), to_device(labels, device)) == wanted


def test_scores_are_plain_numbers_readable_by_name(xp: Any) -> None:
    scores = evaluate(xp.array(np.log(P)), xp.array(X), xp.array(LABELS), teacher=xp.array(np.log(TEACHER_P)))
    assert scores.nll == scores["nll"] and scores.errors == 1
    assert {name: type(value) for name, value in scores.items()} == {
        name: int if name == "errors" else float for name in scores
    }
    with pytest.raises(AttributeError, match="no score named 'f1', only accuracy, errors, nll, ece, agreement, kl"):
        _ = scores.f1


def test_float32_logits_are_scored_in_float64(xp: Any) -> None:
    logits = sample(50, 4, scale=3).astype("float32")
    x, labels = xp.array(np.zeros((50, 1))), xp.array(some_labels(50, 4))
    assert evaluate(xp.array(logits), x, labels) == evaluate(xp.array(logits.astype("float64")), x, labels)


def test_a_predictor_gives_an_array_back_as_it_is(xp: Any) -> None:
    logits = xp.array(np.log(P))
    assert Predictor(logits).logits(xp.array(X)) is logits


# ---- calibration -----------------------------------------------------------------------------------------------


def test_reliability_of_a_case_worked_out_by_hand() -> None:
    bins = reliability(P, LABELS, bins=10)
    assert bins.shape == (10, 3)
    wanted = np.zeros((10, 3))
    wanted[6], wanted[7], wanted[9] = (0.62, 1, 1), (0.7, 1, 1), (0.9, 0.5, 2)
    assert_close(bins, wanted, 1e-15)


def test_reliability_has_15_bins_and_counts_every_row() -> None:
    p = np.abs(sample(500, 6, seed=1)) + 1e-3
    bins = reliability(p / p.sum(axis=1, keepdims=True), some_labels(500, 6))
    assert bins.shape == (15, 3) and bins[:, 2].sum() == 500
    filled = bins[:, 2] > 0
    edges = np.arange(15) / 15
    assert (bins[filled, 0] >= edges[filled]).all() and (bins[filled, 0] <= edges[filled] + 1 / 15).all()
    assert (bins[~filled] == 0).all() and (~filled).any()


def test_full_confidence_falls_into_the_last_bin() -> None:
    p = np.array([[1.0, 0.0], [1 + 1e-15, 0.0]])  # exp(log p) may exceed 1 by a rounding
    bins = reliability(p, np.array([0, 1]))
    assert bins.shape == (15, 3)
    assert_close(bins[14], np.array([1, 0.5, 2]), 1e-14)


def test_a_perfectly_calibrated_classifier_has_ece_0() -> None:
    p = np.tile([0.75, 0.25], (8, 1))
    labels = np.array([0, 0, 0, 1] * 2)
    assert evaluate(np.log(p), np.zeros((8, 1)), labels)["ece"] == pytest.approx(0, abs=1e-15)


# ---- confusion -------------------------------------------------------------------------------------------------


def test_confusion_counts_labels_in_rows_and_choices_in_columns() -> None:
    logits = np.eye(3)[[0, 2, 2, 1, 0, 0]]
    labels = np.array([0, 2, 1, 1, 1, 0])
    assert confusion(logits, labels).tolist() == [[2, 0, 0], [1, 1, 1], [0, 0, 1]]


def test_confusion_has_a_row_and_a_column_for_classes_that_never_come_up() -> None:
    assert confusion(np.eye(4)[[1]], np.array([1])).tolist() == [[0] * 4, [0, 1, 0, 0], [0] * 4, [0] * 4]


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "int8", "uint64"])
def test_confusion_takes_labels_of_any_integer_type(dtype: str) -> None:
    counts = confusion(np.eye(20), np.arange(20, dtype=dtype))
    assert (counts == np.eye(20)).all()
