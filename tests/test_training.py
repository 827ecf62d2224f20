"""The one training loop: what it draws, what it calls, what it leaves alone, and that teaching is the same loop."""

from __future__ import annotations

import csv
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_bits, sample, some_labels

from minikd import (
    SGD,
    Adam,
    CheckpointError,
    DivergedError,
    History,
    cross_entropy,
    distill,
    distillation_loss,
    evaluate,
    fast,
    fit,
    soft_cross_entropy,
    softmax,
)
from minikd.backend import shuffled, to_device, to_numpy
from minikd.data.source import Source
from minikd.methods.kd import kl_loss
from minikd.mlp import MLP
from minikd.optim import cosine
from minikd.training import Alone

pytestmark = pytest.mark.extras

COLUMNS = ["epoch", "loss", "lr"]
VALIDATION_COLUMNS = ["val_accuracy", "val_errors", "val_nll", "val_ece"]


def blobs(rows: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of points, easily told apart: x (rows, 4) of float32, labels (rows,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    centres = np.array([[2, 0, 0, 1], [0, 2, 0, -1], [0, 0, 2, 0]])
    return (centres[labels] + 0.4 * rng.standard_normal((rows, 4))).astype(np.float32), labels


def network(device: str = "cpu", seed: int = 0, **options: Any) -> MLP:
    """A small network that takes `blobs`."""
    return MLP((4, 12, 3), seed=seed, device=device, **options)


def bits(model: MLP) -> bytes:
    """The parameters, so that == means equal to the last bit."""
    return to_numpy(model.theta).tobytes()


def noise(x: Any, rng: Any) -> Any:
    """An augmentation that exists on both devices."""
    return x + 0.1 * rng.random(x.shape, dtype="float32")


# ---- it learns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_teacher_learns_and_its_student_learns_from_it_alone(device: str, dtype: str) -> None:
    x, labels = blobs()
    teacher, student = network(device, dtype=dtype), network(device, seed=1, dtype=dtype)
    history = fit(teacher, x, labels, loss=cross_entropy, optimizer=Adam(teacher, 0.01), epochs=20, batch_size=16)
    assert history["loss"][-1] < history["loss"][0] / 5
    assert evaluate(teacher, x, labels).accuracy > 0.97
    before = evaluate(student, x, labels, teacher=teacher)
    options = {"temperature": 2.0, "soft_weight": 1.0, "epochs": 20, "batch_size": 16}
    history = distill(student, teacher, x, None, optimizer=Adam(student, 0.01), **options)
    after = evaluate(student, x, labels, teacher=teacher)
    assert history["loss"][-1] < history["loss"][0]
    assert after.accuracy > 0.97 and after.agreement > 0.97
    assert after.kl < before.kl / 10


def test_a_student_goes_through_the_same_loop_as_its_teacher(device: str) -> None:
    x, labels = blobs()
    teacher = network(device, seed=5)
    one, other = network(device, dropout=0.2), network(device, dropout=0.2)
    options = {"epochs": 3, "batch_size": 16, "seed": 4, "schedule": cosine(), "validation": (x, labels)}
    distilled = distill(one, teacher, x, labels, temperature=3.0, soft_weight=0.7, **options)
    loss = partial(distillation_loss, temperature=3.0, soft_weight=0.7)
    fitted = fit(other, x, (labels, teacher.predict(x)), loss=loss, **options)
    assert bits(one) == bits(other)
    entropy = fitted.rows[0]["loss"] - distilled.rows[0]["loss"]  # of the teacher, in every epoch the same
    assert entropy > 0.1
    for ours, theirs in zip(distilled.rows, fitted.rows, strict=True):
        assert theirs.pop("loss") - ours.pop("loss") == pytest.approx(entropy, rel=1e-5)
        assert ours == theirs


@pytest.mark.parametrize("augment", [None, lambda x, rng: x], ids=["plain", "with augment"])
def test_the_loss_of_a_student_that_says_what_its_teacher_says_is_0(device: str, augment: Any) -> None:
    x, labels = blobs(50)
    teacher, copy = network(device, seed=5), network(device, seed=5)
    hard = evaluate(teacher, x, labels).nll
    for given, weight, expected in ((None, 1.0, 0.0), (labels, 0.9, 0.1 * hard)):
        still = SGD(copy, 0.0)  # a student of lr 0 stays as it is
        options = {"optimizer": still, "epochs": 2, "batch_size": 16, "augment": augment}
        history = distill(copy, teacher, x, given, soft_weight=weight, **options)
        assert history["loss"] == pytest.approx([expected] * 2, abs=1e-5)


def test_the_loss_of_a_student_is_the_divergence_from_its_teacher(device: str) -> None:
    x, labels = blobs(50)
    for given in (network(device, seed=5), network(device, seed=5).predict(x), lambda x: x[:, :3]):
        for augment in (None, lambda x, rng: x):
            if augment and not (isinstance(given, MLP) or callable(given)):
                continue  # an array has no logits for other rows
            student = network(device, seed=1)
            options = {"epochs": 1, "batch_size": 16, "optimizer": SGD(student, 0.0), "augment": augment}
            history = distill(student, given, x, labels, temperature=3.0, soft_weight=0.7, **options)
            v = given.predict(x) if isinstance(given, MLP) else given(x) if callable(given) else given
            z, v = (to_numpy(logits).astype(float) for logits in (student.predict(x), v))
            q, p = softmax(v, 3.0), softmax(z, 3.0)
            soft = 9 * (q * np.log(q / p)).sum(axis=1).mean()
            hard = -np.log(softmax(z)[np.arange(50), labels]).mean()
            assert history["loss"] == pytest.approx([0.3 * hard + 0.7 * soft], rel=1e-4)


def test_a_checkpoint_of_distillation_loss_is_a_checkpoint_of_distill(device: str, tmp_path: Path) -> None:
    x, labels = blobs(50)
    teacher, file = network(device, seed=5), tmp_path / "student.safetensors"
    options = {"batch_size": 16, "checkpoint": file}
    loss = partial(distillation_loss, temperature=3.0, soft_weight=0.7)
    fit(network(device), x, (labels, teacher.predict(x)), loss=loss, epochs=2, **options)
    student, whole = network(device), network(device)
    history = distill(student, teacher, x, labels, temperature=3.0, soft_weight=0.7, epochs=4, resume=True, **options)
    distill(whole, teacher, x, labels, temperature=3.0, soft_weight=0.7, epochs=4, batch_size=16)
    assert len(history) == 4 and bits(student) == bits(whole)


def test_the_cpu_and_the_device_agree_to_rounding(device: str) -> None:
    x, labels = blobs()
    thetas, histories = [], []
    for where in (device, "cpu"):
        student, teacher = network(where), network(where, seed=9)
        histories.append(distill(student, teacher, x, labels, epochs=3, batch_size=16, validation=(x, labels)))
        thetas.append(to_numpy(student.theta))
    np.testing.assert_allclose(*thetas, rtol=1e-4, atol=1e-6)
    for column in (*COLUMNS, *VALIDATION_COLUMNS):
        np.testing.assert_allclose(histories[0][column], histories[1][column], rtol=1e-5, atol=1e-6)


def test_adam_is_the_default_optimizer(device: str) -> None:
    x, labels = blobs()
    models = [network(device), network(device)]
    fit(models[0], x, labels, loss=cross_entropy, epochs=2)
    fit(models[1], x, labels, loss=cross_entropy, epochs=2, optimizer=Adam(models[1]))
    assert bits(models[0]) == bits(models[1])


# ---- history ---------------------------------------------------------------------------------------------------


def test_history_has_a_row_an_epoch_and_its_columns(device: str) -> None:
    x, labels = blobs()
    history = fit(network(device), x, labels, loss=cross_entropy, epochs=3)
    assert isinstance(history, History) and len(history) == 3
    assert [list(row) for row in history.rows] == [COLUMNS] * 3
    assert history["epoch"] == [1, 2, 3]
    assert history["lr"] == [1e-3] * 3
    assert all(type(value) in (int, float) for row in history.rows for value in row.values())
    assert history.seconds > 0


def test_validation_adds_columns_measured_without_dropout_after_the_epoch(device: str) -> None:
    x, labels = blobs()
    x_val, y_val = blobs(40, seed=1)
    seen = []
    history = fit(
        network(device, dropout=0.5),
        x,
        labels,
        loss=cross_entropy,
        epochs=3,
        batch_size=16,
        validation=(x_val, y_val),
        callbacks=[lambda model, history: seen.append(evaluate(model, x_val, y_val))],
    )
    assert [list(row) for row in history.rows] == [COLUMNS + VALIDATION_COLUMNS] * 3
    for name in ("accuracy", "errors", "nll", "ece"):
        assert history[f"val_{name}"] == [scores[name] for scores in seen]
    assert len(set(history["val_nll"])) == 3


def test_validation_changes_nothing_in_the_training(device: str) -> None:
    x, labels = blobs()
    models = [network(device, dropout=0.5), network(device, dropout=0.5)]
    for model, validation in zip(models, [None, (x, labels)], strict=True):
        fit(model, x, labels, loss=cross_entropy, epochs=2, batch_size=16, validation=validation)
    assert bits(models[0]) == bits(models[1])


def test_history_goes_to_csv_and_back_without_losing_a_bit(tmp_path: Path, device: str) -> None:
    x, labels = blobs()
    history = fit(network(device), x, labels, loss=cross_entropy, epochs=3, schedule=cosine(), validation=(x, labels))
    history.save_csv(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(text) for name, text in row.items()} for row in rows] == history.rows


def test_a_schedule_that_returns_numpy_numbers_is_as_good_as_one_that_returns_floats(tmp_path: Path) -> None:
    x, labels = blobs()
    models, texts = [network(), network()], []
    for number, model in zip((float, np.float64), models, strict=True):
        options = {"schedule": lambda progress, number=number: number(0.3), "checkpoint": tmp_path / "model"}
        history = fit(model, x, labels, loss=cross_entropy, epochs=2, **options)
        history.save_csv(tmp_path / "history.csv")
        texts.append((tmp_path / "history.csv").read_text())
    assert texts[0] == texts[1]
    assert bits(models[0]) == bits(models[1])


# ---- every random draw comes from the seed ---------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits(device: str) -> None:
    x, labels = blobs()
    runs = []
    for seed in (3, 3, 4):
        model = network(device, dropout=0.3)
        history = fit(model, x, labels, loss=cross_entropy, epochs=2, batch_size=16, seed=seed, augment=noise)
        runs.append((bits(model), history.rows))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0] and runs[0][1] != runs[2][1]


def draws(device: str, seed: int) -> dict[str, list[bytes]]:
    """What a run of three epochs draws: an order, augmentation and dropout masks an epoch."""
    x, kinds = np.zeros((16, 4), np.float32), {"order": [], "augment": [], "dropout": []}
    model = network(device, dropout=(0.0, 0.5))
    model.biases[0][...] = 1  # so that the first hidden layer is all ones, whatever the order of the rows

    def augment(rows: Any, rng: Any) -> Any:
        kinds["augment"].append(to_numpy(rng.random(3)).tobytes())
        return rows

    def loss(logits: Any, numbers: Any) -> Any:
        kinds["order"].append(to_numpy(numbers).tobytes())
        kinds["dropout"].append(to_numpy(logits).tobytes())
        return cross_entropy(logits, 0 * numbers.reshape(-1))

    targets = np.arange(16)[:, None]
    fit(model, x, targets, loss=loss, optimizer=SGD(model, 0.0), epochs=3, batch_size=16, augment=augment, seed=seed)
    return kinds


def test_seed_and_epoch_draw_order_augmentation_and_dropout(device: str) -> None:
    runs = [draws(device, seed) for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    for kind in ("order", "augment", "dropout"):
        assert len(set(runs[0][kind] + runs[2][kind])) == 6, kind


def test_what_was_drawn_before_does_not_matter(device: str) -> None:
    x, labels = blobs()
    models = [network(device, dropout=0.5), network(device, dropout=0.5)]
    models[1].forward(to_device(x, device), train=True)  # uses up some of the model's own random numbers
    for model in models:
        fit(model, x, labels, loss=cross_entropy, epochs=2, batch_size=16)
    assert bits(models[0]) == bits(models[1])


def test_dropout_draws_other_masks_in_each_batch_and_epoch(device: str) -> None:
    x = np.ones((6, 4), np.float32)
    seen = []

    def loss(logits: Any, labels: Any) -> Any:
        seen.append(to_numpy(model.hidden[0]).tobytes())
        return cross_entropy(logits, labels)

    model = network(device, dropout=(0.5, 0.0))
    optimizer = SGD(model, 0.0)
    fit(model, x, np.zeros(6, int), loss=loss, optimizer=optimizer, epochs=3, batch_size=3)
    assert len(set(seen)) == 6


# ---- batches ---------------------------------------------------------------------------------------------------


def record_batches(device: str, rows: int, **options: Any) -> list[tuple[list[int], list[int]]]:
    """The row numbers of every batch as the loss met them, once from x and once from the targets."""
    x = np.zeros((rows, 4), np.float32)
    x[:, 0] = np.arange(rows)
    seen = []

    def loss(logits: Any, numbers: Any, x: Any) -> Any:
        seen.append((to_numpy(x)[:, 0].astype(int).tolist(), to_numpy(numbers)[:, 0].astype(int).tolist()))
        assert logits.shape == (len(x), 3)
        return 0.0, 0 * logits

    fit(network(device), x, (x[:, :1].astype(int), lambda x: x), loss=loss, **options)
    return seen


def test_every_epoch_has_every_sample_once_with_its_target_and_a_left_over_batch(device: str) -> None:
    batches = record_batches(device, 13, epochs=3, batch_size=5)
    assert [len(rows) for rows, _ in batches] == [5, 5, 3] * 3
    assert all(rows == numbers for rows, numbers in batches)
    epochs = [[row for rows, _ in batches[start : start + 3] for row in rows] for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3 and list(range(13)) not in epochs


@pytest.mark.parametrize(("rows", "batch_size", "sizes"), [(4, 4, [4]), (4, 100, [4]), (3, 1, [1, 1, 1]), (1, 2, [1])])
def test_batch_sizes_at_the_edges(device: str, rows: int, batch_size: int, sizes: list[int]) -> None:
    assert [len(b) for b, _ in record_batches(device, rows, epochs=1, batch_size=batch_size)] == sizes


def test_both_devices_see_the_same_batches(device: str) -> None:
    options = {"epochs": 2, "batch_size": 4, "seed": 7}
    assert record_batches(device, 10, **options) == record_batches("cpu", 10, **options)


def test_the_loss_in_the_history_is_the_mean_over_samples_not_over_batches(device: str) -> None:
    x, labels = blobs(11)
    model = network(device)
    history = fit(model, x, labels, loss=cross_entropy, optimizer=SGD(model, 0.0), epochs=2, batch_size=4)
    expected = float(cross_entropy(to_numpy(model.predict(x)).astype(float), labels)[0])
    assert history["loss"] == pytest.approx([expected, expected], rel=1e-6)


def test_on_a_gpu_no_step_waits_for_a_value(strict_cupy: Any) -> None:
    x, labels = blobs(64)
    counts = []
    for batch_size in (64, 2):
        model = network("cuda", dropout=0.1)
        optimizer, x_there, y_there = Adam(model), to_device(x, "cuda"), to_device(labels, "cuda")
        strict_cupy.reset_counts()
        options = {"optimizer": optimizer, "epochs": 1, "batch_size": batch_size, "progress": False}
        fit(model, x_there, y_there, loss=cross_entropy, **options)
        counts.append((strict_cupy.syncs, strict_cupy.uploads))
    assert counts[0] == counts[1]


# ---- schedule, augment, callbacks ------------------------------------------------------------------------------


def test_the_schedule_scales_the_learning_rate_of_every_step_and_is_undone_afterwards(device: str) -> None:
    x, labels = blobs(10)
    model = network(device)
    optimizer = SGD(model, 0.5)
    rates = []

    def loss(logits: Any, labels: Any) -> Any:
        rates.append(optimizer.lr)
        return cross_entropy(logits, labels)

    options = {"optimizer": optimizer, "schedule": lambda progress: 1 - progress, "epochs": 2, "batch_size": 4}
    history = fit(model, x, labels, loss=loss, **options)
    assert rates == pytest.approx([0.5 * (1 - k / 6) for k in range(6)])
    assert history["lr"] == [rates[2], rates[5]]
    assert optimizer.lr == 0.5


def test_the_learning_rate_is_put_back_after_an_interruption_too() -> None:
    x, labels = blobs(10)
    model = network()
    optimizer = SGD(model, 0.5)

    def interrupt(model: MLP, history: History) -> None:
        raise KeyboardInterrupt

    options = {"optimizer": optimizer, "schedule": lambda progress: 0.1, "callbacks": [interrupt]}
    with pytest.raises(KeyboardInterrupt):
        fit(model, x, labels, loss=cross_entropy, **options)
    assert optimizer.lr == 0.5


def test_augment_gets_rows_and_a_generator_and_what_it_returns_is_trained_on(device: str, xp: Any) -> None:
    x, labels = blobs(10)
    given, seen = [], []

    def augment(rows: Any, rng: Any) -> Any:
        assert isinstance(rows, xp.ndarray) and isinstance(rng, xp.random.Generator)
        given.append(to_numpy(rows).copy())
        rows += rng.random(rows.shape, dtype="float32")  # in place, which must not reach x
        return rows

    def watch(rows: Any) -> Any:
        seen.append(to_numpy(rows).copy())
        return rows

    def loss(logits: Any, labels: Any, rows: Any) -> Any:
        np.testing.assert_allclose(to_numpy(model.predict(rows)), to_numpy(logits), rtol=1e-5, atol=1e-5)
        return cross_entropy(logits, labels)

    model, original = network(device), x.copy()
    fit(model, x, (labels, watch), loss=loss, augment=augment, epochs=2, batch_size=4)
    assert np.array_equal(x, original)
    assert [len(rows) for rows in given] == [4, 4, 2] * 2
    for epoch in (slice(0, 3), slice(3, 6)):
        assert sorted(np.concatenate(given[epoch]).tolist()) == sorted(original.tolist())
    shifts = [after - before for before, after in zip(given, seen, strict=True)]
    assert all((shift > -1e-6).all() and shift.max() > 0.5 for shift in shifts)
    assert not np.array_equal(shifts[0], shifts[1]) and not np.array_equal(shifts[0], shifts[3])


def test_callbacks_are_called_in_order_once_an_epoch_with_model_and_history(tmp_path: Path, device: str) -> None:
    x, labels = blobs()
    model, calls = network(device), []

    def callback(name: str, the_model: MLP, history: History) -> None:
        assert the_model is model
        saved = MLP.load(tmp_path / "model")
        assert bits(saved) == bits(model)
        calls.append((name, history, len(history)))

    options = {"callbacks": [partial(callback, "a"), partial(callback, "b")], "checkpoint": tmp_path / "model"}
    history = fit(model, x, labels, loss=cross_entropy, epochs=2, **options)
    assert [(name, length) for name, _, length in calls] == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert all(given is history for _, given, _ in calls)


@pytest.mark.parametrize("progress", [True, False])
def test_nothing_is_printed_where_there_is_no_terminal(capfd: Any, progress: bool) -> None:
    x, labels = blobs()
    fit(network(), x, labels, loss=cross_entropy, epochs=2, progress=progress)
    assert capfd.readouterr() == ("", "")


# ---- targets and inputs ----------------------------------------------------------------------------------------


def test_targets_may_be_an_array_a_tuple_or_a_function_of_the_rows(device: str) -> None:
    x, _ = blobs()
    labels = x[:, :3].argmax(axis=1)
    results = []
    for targets in (labels, (labels,), lambda x: x[:, :3].argmax(axis=1), (to_device(labels, device),)):
        model = network(device)
        history = fit(model, x, targets, loss=cross_entropy, epochs=2, batch_size=16)
        results.append((bits(model), history.rows))
    assert all(result == results[0] for result in results)


def test_soft_targets_and_any_number_of_them_reach_the_loss(device: str) -> None:
    x, labels = blobs()
    soft = np.eye(3)[labels] * 0.9 + 0.1 / 3  # float64, and trained in float32

    def loss(logits: Any, soft: Any, column: Any, labels: Any) -> Any:
        assert soft.dtype == column.dtype == logits.dtype == np.float32 and labels.dtype.kind == "i"
        assert column.shape == (len(logits), 1)
        return soft_cross_entropy(logits, soft)

    model = network(device)
    history = fit(model, x, (soft, soft[:, :1], labels), loss=loss, epochs=5, batch_size=16)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", ["float16", "float32", "float64", "uint8", "int64"])
def test_inputs_of_any_number_type_are_trained_in_the_models_own(device: str, dtype: str, given: str) -> None:
    labels = blobs()[1]
    x = np.random.default_rng(0).integers(0, 5, (len(labels), 4))
    seen = set()

    def watch(x: Any) -> Any:
        seen.add(str(x.dtype))
        return x

    models = [network(device, dtype=dtype), network(device, dtype=dtype)]
    for model, inputs in zip(models, (x.astype(given), to_device(x.astype(dtype), device)), strict=True):
        fit(model, inputs, (labels, watch), loss=lambda z, y, _: cross_entropy(z, y), epochs=2, batch_size=16)
        assert str(model.theta.dtype) == dtype
    assert seen == {dtype}
    assert bits(models[0]) == bits(models[1])


def test_inputs_and_targets_are_never_written_to(device: str) -> None:
    x, labels = blobs()
    logits = to_numpy(network(device, seed=3).predict(x))
    for array in (x, labels, logits):
        array.flags.writeable = False  # NumPy raises where anyone tries
    x_there, labels_there, logits_there = (to_device(array.copy(), device) for array in (x, labels, logits))

    def augment(rows: Any, rng: Any) -> Any:
        rows *= 2
        return rows

    for inputs, targets, soft in ((x, labels, logits), (x_there, labels_there, logits_there)):
        options = {"epochs": 2, "batch_size": 16, "validation": (inputs, targets)}
        distill(network(device, dropout=0.5), soft, inputs, targets, **options)
        distill(network(device, dropout=0.5), network(device, seed=3), inputs, targets, augment=augment, **options)
    assert np.array_equal(to_numpy(x_there), x) and np.array_equal(to_numpy(labels_there), labels)
    assert np.array_equal(to_numpy(logits_there), logits)


# ---- teachers --------------------------------------------------------------------------------------------------


def test_a_teacher_is_a_network_a_function_or_an_array_of_logits_with_the_same_bits(device: str) -> None:
    x, labels = blobs()
    teacher = network(device, seed=5, dropout=0.5)
    logits = to_numpy(teacher.predict(x))
    results = []
    for given in (teacher, teacher.predict, lambda x: teacher.predict(x), logits, to_device(logits, device)):
        student = network(device, dropout=0.1)
        history = distill(student, given, x, labels, epochs=2, batch_size=16)
        results.append((bits(student), history.rows))
    assert all(result == results[0] for result in results)


def test_a_teacher_may_live_on_another_device_than_its_student(device: str) -> None:
    x, labels = blobs()
    teachers, students = [network("cpu", seed=5), network(device, seed=5)], []
    for teacher in teachers:
        students.append(network(device))
        distill(students[-1], teacher, x, labels, epochs=2, batch_size=16)
        distill(students[-1], teacher, x, labels, epochs=1, augment=lambda x, rng: x)
    np.testing.assert_allclose(to_numpy(students[0].theta), to_numpy(students[1].theta), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("augment", [None, noise])
def test_a_teacher_is_bit_identical_before_and_after(device: str, augment: Any) -> None:
    x, labels = blobs()
    teacher = network(device, seed=5, dropout=0.5)
    optimizer = Adam(teacher)
    fit(teacher, x, labels, loss=cross_entropy, optimizer=optimizer, epochs=1)
    parts = [teacher.theta, teacher.grad, *teacher.hidden, optimizer.state()["m"], optimizer.state()["v"]]
    before = [to_numpy(part).tobytes() for part in parts]
    distill(network(device), teacher, x, labels, epochs=2, batch_size=16, augment=augment)
    assert [to_numpy(part).tobytes() for part in parts] == before
    assert teacher.theta is parts[0] and teacher.dropout == (0.5, 0.5)


def test_dropout_is_off_while_a_teacher_teaches(device: str) -> None:
    x, labels = blobs()
    teacher = network(device, seed=5, dropout=0.5)
    logits = to_numpy(teacher.predict(x)).astype(float)
    assert np.array_equal(to_numpy(teacher.predict(x)), logits)
    # A student of lr 0 stays as it is, so the loss of an epoch says what its teacher said.
    for augment in (None, lambda x, rng: x):
        student = network(device)
        expected = float(kl_loss(to_numpy(student.predict(x)).astype(float), labels, logits)[0])
        options = {"optimizer": SGD(student, 0.0), "epochs": 3, "batch_size": 16, "augment": augment}
        history = distill(student, teacher, x, labels, **options)
        assert history["loss"] == pytest.approx([expected] * 3, rel=1e-5)


def test_a_teacher_is_asked_once_about_everything(device: str) -> None:
    x, labels = blobs(20)
    asked = []

    def teacher(x: np.ndarray) -> np.ndarray:
        asked.append(x)
        return np.zeros((len(x), 3))

    distill(network(device), teacher, x, labels, epochs=3, batch_size=8)
    assert len(asked) == 1 and np.array_equal(asked[0], x)


def test_with_augment_a_teacher_is_asked_about_what_its_student_sees(device: str) -> None:
    x, labels = blobs(20)
    augmented, asked = [], []

    def augment(rows: Any, rng: Any) -> Any:
        augmented.append(noise(rows, rng))
        return augmented[-1]

    def teacher(x: Any) -> Any:
        asked.append(x)
        return x[:, :3]

    distill(network(device), teacher, x, labels, epochs=2, batch_size=8, augment=augment)
    assert len(asked) == len(augmented) == 6
    assert all(one is other for one, other in zip(asked, augmented, strict=True))
    # The same run by hand: the teacher's answers are a target computed from the rows.
    students = [network(device), network(device)]
    distill(students[0], lambda x: x[:, :3], x, labels, epochs=2, batch_size=8, augment=noise)
    targets = (labels, lambda x: x[:, :3])
    loss = partial(distillation_loss, temperature=4.0, soft_weight=0.9)
    fit(students[1], x, targets, loss=loss, epochs=2, batch_size=8, augment=noise)
    assert bits(students[0]) == bits(students[1])


def test_a_network_cannot_teach_itself(device: str) -> None:
    x, labels = blobs()
    model = network(device)
    before = bits(model)
    with pytest.raises(ValueError, match="teacher must be another network than student"):
        distill(model, model, x, labels)
    assert bits(model) == before


def test_without_labels_is_with_soft_weight_1(device: str) -> None:
    x, labels = blobs()
    students = [network(device), network(device)]
    for student, given in zip(students, (None, labels), strict=True):
        distill(student, network(device, seed=5), x, given, soft_weight=1, epochs=2, batch_size=16)
    assert np.array_equal(to_numpy(students[0].theta), to_numpy(students[1].theta))


def test_soft_weight_0_is_training_on_labels_alone(device: str) -> None:
    x, labels = blobs()
    students = [network(device), network(device)]
    options = {"epochs": 2, "batch_size": 16}
    distilled = distill(students[0], network(device, seed=5), x, labels, soft_weight=0, **options)
    fitted = fit(students[1], x, labels, loss=cross_entropy, **options)
    assert np.array_equal(to_numpy(students[0].theta), to_numpy(students[1].theta))
    assert distilled["loss"] == pytest.approx(fitted["loss"], rel=1e-6)


def test_history_reads_as_rows_and_as_columns() -> None:
    x, labels = blobs()
    history = fit(network(), x, labels, loss=cross_entropy, epochs=3, progress=False)
    assert [row["epoch"] for row in history] == history["epoch"] == [1, 2, 3]
    with pytest.raises(KeyError, match="no column named 'accuracy', only epoch, loss, lr"):
        history["accuracy"]


def test_without_a_schedule_a_finished_run_can_be_resumed_for_more_epochs(tmp_path: Path) -> None:
    x, labels = blobs()
    alone, resumed, options = network(), network(), {"loss": cross_entropy, "progress": False}
    fit(alone, x, labels, epochs=4, **options)
    fit(resumed, x, labels, epochs=2, checkpoint=tmp_path / "model", **options)
    history = fit(resumed, x, labels, epochs=4, checkpoint=tmp_path / "model", resume=True, **options)
    assert len(history) == 4
    assert resumed.theta.tobytes() == alone.theta.tobytes()


@pytest.mark.parametrize("optimizer", [lambda m: Adam(m, 1e10), lambda m: SGD(m, 1e8)], ids=["Adam", "SGD"])
def test_a_loss_that_explodes_but_stays_finite_has_diverged(optimizer: Any) -> None:
    x, labels = blobs()
    model = network()
    with pytest.raises(DivergedError, match=r"epoch \d+, batch \d+ of"):
        fit(model, x, labels, loss=cross_entropy, optimizer=optimizer(model), epochs=10, progress=False)


def test_only_the_first_target_is_taken_for_labels() -> None:
    x, labels = blobs()
    seen: list[int] = []

    def loss(logits: Any, labels: Any, index: Any) -> Any:
        seen.extend(int(i) for i in index)
        return cross_entropy(logits, labels)

    fit(network(), x, (labels, np.arange(len(x))), loss=loss, epochs=1, progress=False)
    assert sorted(seen) == list(range(len(x)))


# ---- rows that are in no array -----------------------------------------------------------------------------------


class Letters(Source):
    """One-hot rows of `letters` (N, C), computed when they are drawn: (N, C · 5)."""

    def __init__(self, letters: np.ndarray, device: str = "cpu") -> None:
        self.letters, self.shape, self.dtype = letters, (len(letters), letters.shape[1] * 5), np.dtype("float32")
        self.fingerprint = f"letters {zlib.crc32(letters.tobytes())}"
        self.drawn: list[int] = []

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = np.eye(5, dtype="float32")[self.letters[index]].reshape(-1, self.shape[1])
        self.drawn.append(len(rows))
        return rows


def some_letters() -> tuple[np.ndarray, np.ndarray]:
    letters = np.random.default_rng(0).integers(0, 5, (60, 2))
    return letters, letters.sum(axis=1) % 3


def test_rows_that_are_computed_batch_by_batch_train_as_those_of_an_array_do(device: str) -> None:
    letters, labels = some_letters()
    source, models = Letters(letters), [MLP((10, 6, 3), dropout=0.2, device=device) for _ in range(2)]
    options: dict[str, Any] = {"loss": cross_entropy, "epochs": 2, "batch_size": 16, "augment": noise}
    histories = [fit(model, x, labels, **options) for model, x in zip(models, (source[:], source), strict=True)]
    assert bits(models[0]) == bits(models[1]) and histories[0].rows == histories[1].rows
    assert source.drawn == [60, *(2 * [16, 16, 16, 12])]  # all of them at once only where the test asked for them


def test_a_teacher_answers_about_rows_that_are_computed_a_piece_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    letters, labels = some_letters()
    source, teacher = Letters(letters), MLP((10, 8, 3), seed=5)
    monkeypatch.setattr("minikd.mlp.PIECE", 25)
    monkeypatch.setattr("minikd.metrics.PIECE", 25)
    students, rows = [MLP((10, 6, 3)) for _ in range(3)], source[:]
    for student, who, x in zip(students, (teacher, teacher.predict, teacher), (source, source, rows), strict=True):
        source.drawn.clear()
        distill(student, who, x, labels, epochs=1, batch_size=60)
        assert source.drawn == ([] if x is rows else [25, 25, 10, 60])  # asked in pieces, then trained on in one batch
    assert bits(students[0]) == bits(students[1]) == bits(students[2])


class OwnOrder(Letters):
    """Rows in reverse order, each epoch."""

    def order(self, seed: int, epoch: int) -> np.ndarray:
        return np.arange(len(self))[::-1]


def test_a_source_decides_the_order_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    letters, labels = some_letters()
    models = [MLP((10, 6, 3)) for _ in range(2)]
    fit(models[0], OwnOrder(letters), labels, loss=cross_entropy, batch_size=16, epochs=2)
    monkeypatch.setattr("minikd.training.shuffled", lambda x, seed, epoch: np.arange(len(x))[::-1])
    fit(models[1], Letters(letters)[:], labels, loss=cross_entropy, batch_size=16, epochs=2)
    assert bits(models[0]) == bits(models[1])


class OwnWords(Letters):
    """Letters that the model itself chooses, anew each epoch: its most likely class, beside a random letter."""

    begun: list[int]

    def begin_epoch(self, model: MLP, seed: int, epoch: int) -> None:
        self.begun = [*getattr(self, "begun", []), epoch]
        first = np.random.default_rng((seed, epoch, 7)).integers(0, 5, len(self))
        start = np.eye(5, dtype="float32")[np.stack([first, first], axis=1)].reshape(-1, 10)
        self.letters = np.stack([first, to_numpy(model.predict(start)).argmax(axis=1)], axis=1)


def test_samples_drawn_from_the_model_itself_at_each_epoch_resume_with_the_same_bits(tmp_path: Path) -> None:
    letters, labels = some_letters()

    def run(path: Path, epochs: int) -> tuple[MLP, OwnWords]:
        model, source = MLP((10, 6, 3), dropout=0.2), OwnWords(letters)
        fit(model, source, labels, loss=cross_entropy, epochs=epochs, checkpoint=path, resume=True)
        return model, source

    whole, source = run(tmp_path / "whole", 4)
    assert source.begun == [0, 1, 2, 3]
    run(tmp_path / "parts", 2)
    parts, source = run(tmp_path / "parts", 4)
    assert source.begun == [2, 3]
    assert bits(parts) == bits(whole)
    other, other_labels = some_letters()
    with pytest.raises(CheckpointError, match="belongs to another run, with a different data"):
        fit(MLP((10, 6, 3), dropout=0.2), OwnWords(other[::-1]), other_labels, loss=cross_entropy, epochs=5,
            checkpoint=tmp_path / "parts", resume=True)  # fmt: skip


def test_bad_values_of_a_source_are_found_before_training() -> None:
    class Bad(Letters):
        def check(self, look: Any) -> None:
            look(np.full((1, 10), np.nan, "float32"))

    model = MLP((10, 6, 3))
    before = bits(model)
    with pytest.raises(ValueError, match=r"x must be finite, got nan at index \(0, 0\)"):
        fit(model, Bad(some_letters()[0]), some_letters()[1], loss=cross_entropy)
    assert bits(model) == before


def test_whoever_shares_batches_and_sums_gradients_can_take_the_place_of_processes() -> None:
    class Half(Alone):
        """As if another process took the other half of each batch, and found the same gradient there."""

        shares: list[int]

        def share(self, batch: int) -> slice:
            self.shares = [*getattr(self, "shares", []), batch]
            return slice(0, batch // 2)

        def sum(self, loss: Any, grad: Any) -> Any:
            grad *= 2
            return loss * 2

    x, labels = blobs(20)
    half, models = Half(), [network("cpu"), network("cpu")]
    history = fit(models[0], x, labels, loss=cross_entropy, batch_size=8, epochs=1, processes=half)
    assert half.shares == [8, 8, 4]
    order = np.concatenate([batch[: len(batch) // 2] for batch in np.split(shuffled(x, 0, 0), [8, 16])])
    optimizer, losses = Adam(models[1]), []
    for batch in np.split(order, [4, 8]):
        value, dlogits = cross_entropy(models[1].forward(x[batch], train=True), labels[batch])
        losses.append(2 * float(value))
        models[1].backward(2 * dlogits)
        optimizer.step()
    np.testing.assert_allclose(models[0].theta, models[1].theta, rtol=1e-5, atol=1e-6)
    assert history["loss"][0] == pytest.approx(np.average(losses, weights=[8, 8, 4]), rel=1e-5)


def test_a_checkpoint_records_the_kernels_and_a_run_that_goes_on_with_others_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = blobs(20)
    options: dict[str, Any] = {"loss": cross_entropy, "checkpoint": tmp_path / "model", "resume": True}
    monkeypatch.setenv("MINIKD_KERNELS", "plain")
    fast.forget()
    try:
        fit(network("cpu"), x, labels, epochs=1, **options)
        fit(network("cpu"), x, labels, epochs=2, **options)  # the same kernels: nothing to say
        monkeypatch.setattr(fast, "name", lambda device="cpu": "other")
        words = r"model was trained with kernels plain, and goes on with other \(MINIKD_KERNELS\): the last bits may"
        with pytest.warns(UserWarning, match=words):
            history = fit(network("cpu"), x, labels, epochs=3, **options)
    finally:
        monkeypatch.undo()
        fast.forget()
    assert len(history) == 3


@pytest.mark.parametrize("kind", ["array", "one-hot rows", "function", "with augment"])
def test_a_teacher_that_answers_with_probabilities_is_refused(kind: str) -> None:
    x, y, student = sample(40, 6).astype("float32"), some_labels(40, 4), MLP((6, 5, 4))
    probabilities = softmax(sample(40, 4, seed=2)).astype("float32")
    teachers = {"array": probabilities, "one-hot rows": np.eye(4, dtype="float32")[y]}
    teacher = teachers.get(kind, lambda rows: softmax(rows[:, :4]))
    options: dict[str, Any] = {"augment": lambda rows, rng: rows} if kind == "with augment" else {}
    before = student.theta.copy()
    with pytest.raises(ValueError, match=r"must be logits, got probabilities: minikd\.exchange\.from_probabilities"):
        distill(student, teacher, x, y, progress=False, **options)
    assert_same_bits(student.theta, before)


def test_scores_against_a_teacher_that_answers_with_probabilities_are_refused() -> None:
    x, y, model = sample(40, 6), some_labels(40, 4), MLP((6, 5, 4))
    with pytest.raises(ValueError, match="the logits of teacher must be logits, got probabilities"):
        evaluate(model, x, y, teacher=lambda rows: softmax(rows[:, :4]))
    assert evaluate(np.eye(4)[y], x, y).accuracy == 1  # what is measured may be a choice of classes


def test_logits_that_look_a_little_like_probabilities_are_taken() -> None:
    x, y = sample(40, 6).astype("float32"), some_labels(40, 4)
    for logits in (np.abs(sample(40, 4)), softmax(sample(40, 4)) - 0.25, 1.01 * softmax(sample(40, 4))):
        distill(MLP((6, 5, 4)), logits.astype("float32"), x, y, epochs=1, progress=False)
