"""What a training step costs, counted and not timed: arrays made, calls of NumPy, kernels, waits, float64 numbers.

A clock would say that a step became slower, sometimes, on some machines. A count says it always, and on which line.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import strict_cupy as stand_in
from helpers import sample, some_labels

from minikd import (
    MLP,
    SGD,
    Adam,
    AdamW,
    cross_entropy,
    distillation_loss,
    fit,
    losses,
    ops,
    optim,
    soft_cross_entropy,
    softmax,
)
from minikd.backend import to_device, to_numpy
from minikd.data import jitter
from minikd.fast import machine

# Bytes. Python's own objects come and go in a step; and a ufunc that has to cast (a mask of bools times a gradient)
# does so in a buffer of at most 8192 numbers, however large the arrays are.
SMALL, BUFFER = 2048, 8192 * 4
LOSSES = ["cross_entropy", "soft_cross_entropy", "distillation_loss", "teacher alone"]


def make_step(batch: int, width: int, device: str = "cpu", *, loss: str = "distillation_loss", **options: Any) -> Any:
    """The five lines on one batch of float32, as a function without arguments."""
    make_optimizer = options.pop("optimizer", Adam)
    model = MLP((64, width, width, 40), device=device, **options)
    optimizer = make_optimizer(model, 1e-3)
    x, v = (to_device(sample(batch, n, seed=n).astype(np.float32), device) for n in (64, 40))
    labels, q = to_device(some_labels(batch, 40), device), softmax(v)

    def compute_loss(logits: Any) -> Any:
        if loss == "cross_entropy":
            return cross_entropy(logits, labels)
        if loss == "soft_cross_entropy":
            return soft_cross_entropy(logits, q, temperature=2.0)
        if loss == "teacher alone":
            return distillation_loss(logits, None, v, soft_weight=1)
        return distillation_loss(logits, labels, v)

    def step() -> Any:
        logits = model.forward(x, train=True)
        _, dlogits = compute_loss(logits)
        model.backward(dlogits, need_dx=False)
        optimizer.step()
        return logits, dlogits

    return step


def bytes_made(step: Callable[[], Any]) -> int:
    """The most that a step holds beyond what was there before it, once memory has been warmed up."""
    tracemalloc.start()
    try:
        for _ in range(4):
            held = step()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        held = step()
        _, peak = tracemalloc.get_traced_memory()
        del held
    finally:
        tracemalloc.stop()
    return peak - before


# ---- memory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_makes_no_array_that_grows_with_the_batch_or_the_network(loss: str) -> None:
    made = bytes_made(make_step(512, 64, loss=loss))
    assert made < BUFFER + SMALL < 512 * 64 * 4
    for batch, width in ((2048, 64), (512, 512)):
        assert abs(bytes_made(make_step(batch, width, loss=loss)) - made) < SMALL, (batch, width)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("optimizer", [Adam, AdamW, SGD, lambda model, lr: SGD(model, lr, momentum=0.9, nesterov=True)])
def test_nor_with_another_activation_or_optimizer(activation: str, optimizer: Any) -> None:
    step = make_step(256, 300, activation=activation, optimizer=optimizer)
    assert bytes_made(step) < BUFFER + SMALL


def test_dropout_makes_its_random_bytes_and_no_more() -> None:
    # NumPy's generators write integers into new arrays only: two bytes for each unit, one layer's at a time.
    assert bytes_made(make_step(512, 300, dropout=0.5)) < 2 * 512 * 300 + BUFFER + SMALL


def test_on_two_threads_the_optimizer_makes_no_array_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "THREADS", 2)
    monkeypatch.setattr(optim, "PIECE", 4096)
    monkeypatch.setattr(machine, "_helpers", [])
    step = make_step(64, 300)
    for _ in range(20):  # until the helper, too, has had its turn
        step()
    assert bytes_made(step) < BUFFER + 4 * SMALL  # futures and contexts are Python's


def test_an_epoch_of_fit_makes_no_array_a_step_that_grows_with_the_batch() -> None:
    def made(batch: int) -> int:
        peaks: list[int] = []

        def watched(logits: Any, labels: Any) -> Any:
            now, peak = tracemalloc.get_traced_memory()
            peaks.append(peak - now)  # the most held since the last loss, beyond what is held now
            tracemalloc.reset_peak()
            return cross_entropy(logits, labels)

        x, labels = sample(8 * batch, 64).astype(np.float32), some_labels(8 * batch, 10)
        tracemalloc.start()
        try:
            fit(MLP((64, 32, 10)), x, labels, loss=watched, epochs=1, batch_size=batch, progress=False)
        finally:
            tracemalloc.stop()
        return max(peaks[3:])

    assert abs(made(4096) - made(1024)) < SMALL


def test_memory_is_not_used_again_while_anyone_holds_it() -> None:
    first = machine.empty(np, (7, 11), np.dtype("float32"))
    first[...] = 3
    part = first[2:, ::2].T
    address = first.ctypes.data
    del first
    others = [machine.empty(np, (7, 11), np.dtype("float32")) for _ in range(9)]
    assert address not in [other.ctypes.data for other in others]
    for other in others:
        other[...] = 5
    assert (part == 3).all()
    del part, others, other
    assert machine.empty(np, (7, 11), np.dtype("float32")).shape == (7, 11)


def test_memory_that_nobody_holds_is_used_again_and_not_hoarded() -> None:
    shape, dtype = (13, 17), np.dtype("float32")
    addresses = {machine.empty(np, shape, dtype).ctypes.data for _ in range(50)}
    assert len(addresses) == 1
    held = [machine.empty(np, shape, dtype) for _ in range(50)]
    assert len(machine._KEPT.arrays[shape, dtype]) == machine.KEPT_EACH
    for n in range(1, 41):
        machine.empty(np, (n * 2**18,), dtype)  # n MB
        kept = sum(array.nbytes for arrays in machine._KEPT.arrays.values() for array in arrays)
        assert kept == machine._KEPT.bytes <= machine.KEPT_BYTES
    assert len(held) == 50


# ---- calls -----------------------------------------------------------------------------------------------------


@pytest.fixture
def plain_formulas(strict_cupy: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in for CuPy, on which the same lines run as on NumPy, so that its launches are NumPy's calls."""
    for module in (losses, ops, optim):
        monkeypatch.setattr(module, "kernels_of", lambda array: None)
    return strict_cupy


def launches(cupy: Any, step: Callable[[], Any]) -> int:
    for _ in range(2):
        step()
    cupy.reset_counts()
    step()
    assert (cupy.syncs, cupy.uploads) == (0, 0)
    return int(cupy.launches)


@pytest.mark.parametrize(("loss", "calls"), [("cross_entropy", 49), ("distillation_loss", 63)])
def test_a_step_calls_numpy_this_often(plain_formulas: Any, loss: str, calls: int) -> None:
    assert launches(plain_formulas, make_step(64, 64, "cuda", loss=loss)) == calls


@pytest.mark.parametrize(("loss", "calls"), [("cross_entropy", 19), ("distillation_loss", 19)])
def test_a_step_on_a_gpu_starts_this_many_kernels(strict_cupy: Any, loss: str, calls: int) -> None:
    assert launches(strict_cupy, make_step(64, 64, "cuda", loss=loss)) == calls


def test_the_number_of_calls_does_not_depend_on_the_sizes(plain_formulas: Any) -> None:
    counts = {launches(plain_formulas, make_step(b, w, "cuda")) for b, w in ((8, 16), (256, 16), (8, 128))}
    assert len(counts) == 1


# ---- precision -------------------------------------------------------------------------------------------------


@contextmanager
def dtypes_made(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The types of all arrays that come to be on the stand-in, but for single numbers."""
    seen: set[str] = set()
    wrap = stand_in._wrap

    def watched(array: Any) -> Any:
        if array.size > 1:
            seen.add(array.dtype.name)
        return wrap(array)

    with monkeypatch.context() as patch:
        patch.setattr(stand_in, "_wrap", watched)
        yield seen


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_float32_step_holds_no_float64_array(
    plain_formulas: Any, monkeypatch: pytest.MonkeyPatch, loss: str, activation: str
) -> None:
    step = make_step(16, 8, "cuda", loss=loss, activation=activation, dropout=0.5, optimizer=AdamW)
    with dtypes_made(monkeypatch) as seen:
        logits, dlogits = step()
    assert logits.dtype == dlogits.dtype == np.float32
    assert "float32" in seen and "float64" not in seen


# ---- jitter ----------------------------------------------------------------------------------------------------


def test_jitter_moves_each_picture_by_whole_pixels_and_fills_up_with_nought(xp: Any, device: str) -> None:
    pictures = sample(400, 6 * 5).astype(np.float32) + 10
    moved = to_numpy(jitter((6, 5), 2)(to_device(pictures, device), xp.random.default_rng(0))).reshape(-1, 6, 5)
    sheet = np.pad(pictures.reshape(-1, 6, 5), ((0, 0), (2, 2), (2, 2)))
    seen = set()
    for i, picture in enumerate(moved):
        fits = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if np.array_equal(picture, sheet[i, down : down + 6, right : right + 5])
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == 25  # all shifts come up


def test_jitter_by_nothing_changes_nothing_and_the_input_stays_as_it_was(xp: Any, device: str) -> None:
    pictures = sample(3, 20).astype(np.float32)
    x = to_device(pictures, device)
    assert np.array_equal(to_numpy(jitter((4, 5), 0)(x, xp.random.default_rng(0))), pictures)
    jitter((4, 5), 3)(x, xp.random.default_rng(0))
    assert np.array_equal(to_numpy(x), pictures)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((28, 2), TypeError, "image_shape"),
        (((28, 28, 1), 2), TypeError, "image_shape"),
        (((28, 0), 2), ValueError, r"image_shape\[1\] must be at least 1, got 0"),
        (((28, 28), -1), ValueError, "pixels must be at least 0, got -1"),
        (((28, 28), 1.5), TypeError, "pixels must be a whole number"),
        (((28, 28), 28), ValueError, r"pixels must be less than .*\(28, 28\), got 28"),
    ],
)
def test_jitter_explains_a_bad_argument(arguments: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        jitter(*arguments)


def test_jitter_wants_pictures_of_its_size() -> None:
    with pytest.raises(ValueError, match="x must have 784 columns"):
        jitter((28, 28))(np.zeros((2, 64), np.float32), np.random.default_rng(0))
