"""Data that is larger than memory: read in blocks, each row once an epoch, as good as data that is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits, sample, some_labels

from minikd import MLP, Adam, CheckpointError, cross_entropy, distill, evaluate, fit, load_data, metrics, softmax
from minikd import training as training_module
from minikd.backend import shuffled, to_numpy
from minikd.data import jitter
from minikd.scale import answers, stream
from minikd.scale.stream import Order, Stream, streams

pytestmark = pytest.mark.extras

ROWS, INPUTS, CLASSES = 503, 6, 4


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Blocks of a few rows, five of which are a group, and pieces of 100 rows, so that small data has many."""
    monkeypatch.setattr(stream, "BLOCK", 10 * (INPUTS + 1) * 8)
    monkeypatch.setattr(stream, "GROUP", 5)
    monkeypatch.setattr(stream, "READ_BYTES", 100 * INPUTS * 8)


def on_disk(array: np.ndarray, path: Path, kind: str = "memmap") -> Any:
    """The array in a file, as something that is indexed like an array."""
    if kind == "h5py":
        return pytest.importorskip("h5py").File(path, "w").create_dataset("x", data=array)
    np.save(path, array)
    return np.load(path.with_suffix(".npy"), mmap_mode="r")


@pytest.fixture
def x() -> np.ndarray:
    return sample(ROWS, INPUTS)


@pytest.fixture
def labels() -> np.ndarray:
    return some_labels(ROWS, CLASSES)


# ---- the order -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (7, 10), (50, 10), (503, 10), (503, 1), (1000, 7)])
def test_every_row_comes_once_an_epoch_however_it_is_cut_into_batches(n: int, rows: int) -> None:
    whole = Order(n, rows, 3, 1)[0:n]
    assert sorted(whole.tolist()) == list(range(n))
    for batch in (1, 8, 64, 2000):
        order = Order(n, rows, 3, 1)
        parts = [order[start : start + batch] for start in range(0, n, batch)]
        assert np.array_equal(np.concatenate(parts), whole)
    if n > 7:
        for other in ((3, 2), (4, 1)):
            assert not np.array_equal(Order(n, rows, *other)[0:n], whole)


def test_the_rows_of_a_group_come_from_as_many_blocks_as_it_has() -> None:
    order = Order(500, 10, 0, 0)[0:500]
    for start in range(0, 500, 50):
        assert len(set((order[start : start + 50] // 10).tolist())) == 5


def test_where_a_row_comes_in_an_epoch_is_even_over_epochs() -> None:
    n, bins, epochs = 500, 10, 200
    counts = np.zeros((n, bins))
    for epoch in range(epochs):
        counts[Order(n, 10, 0, epoch)[0:n], np.arange(n) * bins // n] += 1
    # Rows of one block come together, so the blocks, 50 of them, are what is independent: one row of each is looked at.
    expected = epochs / bins
    chi2 = ((counts[::10] - expected) ** 2 / expected).sum()
    freedom = 50 * (bins - 1)
    assert abs(chi2 - freedom) < 4 * np.sqrt(2 * freedom)
    last = counts[-1]  # a row of the last block, too
    assert ((last - expected) ** 2 / expected).sum() < 27.9  # 99.9 % of chi-square with 9 degrees of freedom
    assert counts.sum(axis=0).tolist() == [n / bins * epochs] * bins


def test_arrays_in_memory_keep_their_full_shuffle(x: np.ndarray) -> None:
    expected = np.random.default_rng((5, 2)).permutation(ROWS)
    assert np.array_equal(shuffled(x, 5, 2), expected)


# ---- rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memmap", "h5py"])
@pytest.mark.parametrize("batch", [1, 16, 300])  # 300 rows need more blocks than are kept
def test_rows_are_those_of_the_file(kind: str, batch: int, x: np.ndarray, tmp_path: Path) -> None:
    rows = Stream(on_disk(x, tmp_path / "x", kind), 10)
    for seed in range(3):
        index = np.random.default_rng(seed).permutation(ROWS)
        for start in range(0, ROWS, batch):
            assert_same_bits(rows[index[start : start + batch]], x[index[start : start + batch]])
    assert_same_bits(rows[490:600], x[490:600])
    assert len(rows._held) == 10


def test_an_epoch_reads_each_block_about_once(x: np.ndarray) -> None:
    class Counted:
        shape, dtype, ndim = x.shape, x.dtype, 2
        reads = 0

        def __getitem__(self, which: slice) -> np.ndarray:
            self.reads += 1
            return x[which]

    source = Counted()
    rows, order = Stream(source, 10), Order(ROWS, 10, 0, 0)
    for start in range(0, ROWS, 8):
        rows[order[start : start + 8]]
    assert source.reads == 51  # blocks


@pytest.mark.parametrize("kind", ["memmap", "h5py"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_from_a_file_is_training_from_memory_in_another_order(
    kind: str, dtype: str, device: str, x: np.ndarray, labels: np.ndarray, tmp_path: Path, monkeypatch: Any
) -> None:
    options = {"loss": cross_entropy, "epochs": 2, "batch_size": 32, "progress": False}
    model, other = (MLP((INPUTS, 8, CLASSES), dropout=0.2, dtype=dtype, device=device) for _ in range(2))
    xs, ys = streams(on_disk(x, tmp_path / "x", kind), on_disk(labels, tmp_path / "y", kind))
    history = fit(model, xs, ys, **options)
    order = [Order(ROWS, xs.rows, 0, epoch)[0:ROWS] for epoch in range(2)]
    monkeypatch.setattr(
        training_module, "shuffled", lambda x, seed, epoch: training_module.to_device(order[epoch], device)
    )
    again = fit(other, x, labels, **options)
    assert_same_bits(model.theta, other.theta)
    assert history.rows == again.rows


def test_labels_in_memory_and_augmentation_go_with_samples_in_a_file(
    x: np.ndarray, labels: np.ndarray, tmp_path: Path, device: str
) -> None:
    xs, model = Stream(on_disk(x, tmp_path / "x")), MLP((INPUTS, 8, CLASSES), device=device)
    history = fit(model, xs, labels, loss=cross_entropy, epochs=2, augment=jitter((2, 3), 1), progress=False)
    assert np.isfinite(history["loss"]).all()


def test_what_is_written_into_a_private_map_is_what_is_trained_on(x: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x", x)
    private = np.load(tmp_path / "x.npy", mmap_mode="c")
    private[:] = 7
    assert (Stream(private, 10)[np.arange(ROWS)] == 7).all() and (private == 7).all()


@pytest.mark.parametrize("kind", ["memmap", "h5py"])
@pytest.mark.parametrize("name", ["x", "targets"])
def test_an_array_in_a_file_is_refused_with_the_name_of_what_reads_it(
    name: str, kind: str, x: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    arrays = {"x": x, "targets": labels}
    arrays[name] = on_disk(arrays[name], tmp_path / name, kind)
    words = rf"{name} must be an array in memory, got .*: minikd.scale.stream.Stream\({name}\) reads it in blocks"
    with pytest.raises(TypeError, match=words):
        fit(MLP((INPUTS, CLASSES)), arrays["x"], arrays["targets"], loss=cross_entropy)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("x", np.nan, r"x must be finite, got nan at index \(77, 2\) \(counted from row 400\)"),
        ("x", 1e300, r"x must be finite in float32, the model's dtype, got 1e\+300 \(counted from row 400\)"),
        ("labels", 4, r"targets must be integers in \[0, 4\), got 4 at index 77 .counted from row [1-4]00"),
    ],
)
def test_bad_values_are_found_piece_by_piece(
    where: str, value: float, message: str, x: np.ndarray, labels: np.ndarray, tmp_path: Path, monkeypatch: Any
) -> None:
    if where == "labels":
        monkeypatch.setattr(stream, "READ_BYTES", 100 * 8)
        labels[477] = value
    else:
        x[477, 2] = value
    model = MLP((INPUTS, CLASSES))
    before = model.theta.copy()
    with pytest.raises(ValueError, match=message):
        fit(model, *streams(on_disk(x, tmp_path / "x"), on_disk(labels, tmp_path / "y")), loss=cross_entropy)
    assert_same_bits(model.theta, before)
    with pytest.raises(ValueError, match="x must have 6 columns"):
        fit(model, Stream(on_disk(x[:, 1:], tmp_path / "z")), labels, loss=cross_entropy)
    with pytest.raises(ValueError, match="targets must have one row for each of the 503 rows of x"):
        fit(model, Stream(on_disk(sample(ROWS, INPUTS), tmp_path / "z")), labels[1:], loss=cross_entropy)


def test_a_resumed_run_ends_with_the_same_bits_and_an_order_of_another_kind_is_told(
    x: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    xs = Stream(on_disk(x, tmp_path / "x"))

    def run(path: Path, epochs: int, x: Any = xs) -> MLP:
        model = MLP((INPUTS, 8, CLASSES), dropout=0.5)
        options = {"checkpoint": path, "resume": True, "progress": False}
        fit(model, x, labels, loss=cross_entropy, epochs=epochs, **options)
        return model

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "parts", 2)
    assert_same_bits(run(tmp_path / "parts", 4).theta, whole.theta)
    with pytest.raises(CheckpointError, match=r"belongs to another run, with a different data"):
        run(tmp_path / "parts", 5, x)


def test_sorted_data_in_blocks_teaches_what_a_full_shuffle_teaches(tmp_path: Path, monkeypatch: Any) -> None:
    """On digits sorted by class, in groups of 256 blocks, as they are, of 2 rows: validation errors, five seeds.

    With 32 blocks of 4 rows a difference is to be seen: 1.7 points (0.3 to 3.1).
    """
    monkeypatch.setattr(stream, "BLOCK", 2 * (64 * 4 + 8))
    monkeypatch.setattr(stream, "GROUP", 256)
    data = load_data("digits")
    order = np.argsort(data.y_train, kind="stable")
    x, y = data.x_train[order].astype("f4"), data.y_train[order]
    xs = Stream(on_disk(x, tmp_path / "x"))
    order_of = Stream.order
    errors: dict[str, list[float]] = {"blocks": [], "full": [], "not shuffled": []}
    for seed in range(5):
        for name, samples in (("blocks", xs), ("full", x), ("not shuffled", xs)):
            model = MLP((64, 64, 10), seed=seed)
            if name == "not shuffled":
                monkeypatch.setattr(Stream, "order", lambda x, *rest: np.arange(len(x)))
            options = {"epochs": 12, "batch_size": 32, "seed": seed, "progress": False}
            fit(model, samples, y, loss=cross_entropy, optimizer=Adam(model, 3e-3), **options)
            monkeypatch.setattr(Stream, "order", order_of)
            errors[name].append(100 * (1 - evaluate(model, data.x_val, data.y_val).accuracy))
    print({name: np.round(values, 2).tolist() for name, values in errors.items()})
    difference = np.subtract(errors["blocks"], errors["full"])
    half = 2.776 * difference.std(ddof=1) / np.sqrt(5)  # Student's t, 95 %
    assert difference.mean() - half < 0.0 < difference.mean() + half or abs(difference.mean()) < 0.5
    assert np.mean(errors["not shuffled"]) > np.mean(errors["blocks"]) + 2  # or this test would see nothing


# ---- distilling ------------------------------------------------------------------------------------------------


@pytest.fixture
def teacher() -> MLP:
    return MLP((INPUTS, 12, CLASSES), seed=4)


def test_every_kind_of_teacher_teaches_from_a_file(
    x: np.ndarray, labels: np.ndarray, teacher: MLP, tmp_path: Path, monkeypatch: Any
) -> None:
    logits = teacher.predict(x)
    xs, ys, vs = streams(*(on_disk(a, tmp_path / n) for n, a in (("x", x), ("y", labels), ("v", logits))))
    asked: list[int] = []

    def function(x: np.ndarray) -> np.ndarray:
        asked.append(len(x))
        return teacher.predict(x)

    thetas = []
    monkeypatch.setattr(metrics, "PIECE", 100)
    for who in (teacher, function, logits, vs):
        student = MLP((INPUTS, 8, CLASSES), seed=1)
        distill(student, who, xs, ys, epochs=2, progress=False)
        thetas.append(student.theta)
    assert sum(asked) == ROWS and max(asked) == 100  # piece by piece
    for theta in thetas[1:]:
        assert_close(theta, thetas[0], 1e-5)


def test_answers_to_a_file_are_kept_in_a_file(x: np.ndarray, teacher: MLP, tmp_path: Path) -> None:
    xs, path = on_disk(x.astype("f4"), tmp_path / "x"), tmp_path / "answers.npy"
    logits = answers.cached_logits(path, teacher, xs)
    assert isinstance(logits, Stream) and isinstance(logits.array, np.memmap)
    assert_close(np.asarray(logits), teacher.predict(x), 1e-6)
    assert_same_bits(np.asarray(answers.cached_logits(path, teacher, xs)), np.asarray(logits))
    assert_same_bits(answers.cached_logits(path, teacher, x.astype("f4")), np.asarray(logits))  # the same fingerprint
    with pytest.raises(CheckpointError, match="holds the answers of another teacher"):
        answers.cached_logits(path, MLP(teacher.sizes, seed=9), xs)
    with pytest.raises(CheckpointError, match="about other samples than x"):
        answers.read_logits(path, on_disk(x[::-1], tmp_path / "z"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answers.npy", "answers.npy.json", "x.npy", "z.npy"]


SLOW_TEACHER = """
import sys, time, numpy as np
from minikd import MLP
from minikd.scale import answers
answers.ROWS_AT_A_TIME = 64
x, teacher = np.load(sys.argv[1] + "/x.npy", mmap_mode="r"), MLP((6, 12, 4), seed=4)
def slow(x):
    time.sleep(0.05)
    return teacher.predict(x)
answers.cached_logits(sys.argv[1] + "/answers.npy", slow, x)
"""


def test_asking_goes_on_after_a_kill(x: np.ndarray, teacher: MLP, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(answers, "ROWS_AT_A_TIME", 64)
    xs = on_disk(x, tmp_path / "x")
    process = subprocess.Popen([sys.executable, "-c", SLOW_TEACHER, str(tmp_path)])
    begun, deadline = tmp_path / "answers.npy.part.json", time.monotonic() + 60
    while not (begun.exists() and json.loads(begun.read_text())["rows"] >= 192) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = json.loads(begun.read_text())["rows"]
    assert 192 <= done < ROWS and not (tmp_path / "answers.npy").exists()

    asked: list[int] = []

    def slow(x: np.ndarray) -> np.ndarray:  # a function's name is its identity
        asked.append(len(x))
        return teacher.predict(x)

    path = tmp_path / "answers.npy"
    with pytest.raises(CheckpointError, match=r"was begun with another teacher: delete it"):
        answers.cached_logits(path, teacher, xs)
    slow.__qualname__ = "slow"
    with pytest.raises(CheckpointError, match="was begun for other samples than x"):
        answers.cached_logits(path, slow, x + 1)
    assert_close(np.asarray(answers.cached_logits(path, slow, xs)), teacher.predict(x), 1e-6)
    assert sum(asked) == ROWS - done
    assert not begun.exists() and not Path(f"{path}.part").exists()


# ---- the k largest ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 9])
def test_the_k_largest_probabilities_are_kept_and_the_rest_is_spread_evenly(k: int) -> None:
    logits = sample(40, 10, scale=4.0)
    packed = answers.keep_top(logits, k)
    assert packed.shape == (40, 2 * k + 1) and packed.dtype == np.float32
    p, q = softmax(logits), softmax(answers.Top(packed, 10)[:].astype("float64"))
    order = np.argsort(-logits, axis=1)
    assert_close(np.take_along_axis(q, order[:, :k], 1), np.take_along_axis(p, order[:, :k], 1), 1e-5)
    rest = np.take_along_axis(q, order[:, k:], 1)
    assert_close(rest.sum(axis=1), np.take_along_axis(p, order[:, k:], 1).sum(axis=1), 1e-5)
    assert np.ptp(rest, axis=1).max() < 1e-7


def test_the_error_of_the_k_largest_falls_with_k_to_nothing_and_grows_with_temperature() -> None:
    logits = sample(300, 20, scale=3.0)
    one, four = (answers.top_error(logits, (1, 2, 5, 10, 18, 19), T) for T in (1.0, 4.0))
    for error in (one, four):
        values = list(error.values())
        assert values == sorted(values, reverse=True) and values[0] > 0.01
        assert abs(values[-1]) < 1e-6  # with one class left, the rest is known
    assert four[5] > one[5]
    # By hand, of one row: KL = sum_rest q_j (log q_j - log of their mean).
    v = np.log(np.array([[0.6, 0.3, 0.08, 0.02]]))
    expected = 0.08 * np.log(0.08 / 0.05) + 0.02 * np.log(0.02 / 0.05)
    assert answers.top_error(v, (2,))[2] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_student_learns_from_the_k_largest(where: str, x: np.ndarray, teacher: MLP, tmp_path: Path) -> None:
    x = x.astype("f4")
    xs, path = Stream(on_disk(x, tmp_path / "x")) if where == "file" else x, tmp_path / "a.npy"
    top = answers.cached_logits(path, teacher, xs, top=2)
    assert np.load(path).shape == (ROWS, 5)
    expected = answers.Top(answers.keep_top(to_numpy(teacher.predict(x)), 2), CLASSES)[:]
    assert_close(np.asarray(top[np.arange(ROWS)]), expected, 1e-6)
    student, other = (MLP((INPUTS, 8, CLASSES), seed=1) for _ in range(2))
    distill(student, top, xs, None, soft_weight=1, epochs=2, progress=False)
    distill(other, expected, xs, None, soft_weight=1, epochs=2, progress=False)
    assert_close(student.theta, other.theta, 1e-6)
    again = answers.cached_logits(path, teacher, xs, top=2)
    assert_same_bits(again[np.arange(ROWS)], top[np.arange(ROWS)])
    answers.cached_logits(tmp_path / "f.npy", teacher.predict, xs, top=2)
    answers.cached_logits(tmp_path / "f.npy", teacher.predict, xs, top=2)  # asked again about a few rows
    with pytest.raises(CheckpointError, match="holds the 2 largest logits of each row, not all"):
        answers.cached_logits(path, teacher, xs)
    with pytest.raises(ValueError, match="top must be less than the 4 classes, got 4"):
        answers.cached_logits(tmp_path / "b.npy", teacher, xs, top=4)
    assert not list(tmp_path.glob("b.npy*"))


# ---- 8 GB ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_8_gb_train_in_less_than_1_gb_and_a_step_takes_at_most_1_3_times_that_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    try:
        command = [sys.executable, str(Path(__file__).with_name("big_file.py")), str(path)]
        one = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a thread that waits for another takes processor time, too
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=one)
        assert done.returncode == 0, done.stderr
        assert path.stat().st_size > 8.1e9
    finally:
        path.unlink(missing_ok=True)
    found = json.loads(done.stdout)
    print(found)
    assert found["after"] < 1000 and np.isfinite(found["loss"]).all()
    # Processor time, for it does not wait for others; and the best of each, for they still take the caches away.
    file, memory = np.min(found["rounds"], axis=0)
    assert file / memory <= 1.3
