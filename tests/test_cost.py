"""What a training step costs, counted and not timed: arrays held, calls of NumPy, kernels, waits, float64 numbers.

A clock would say that a step became slower, sometimes, on some machines. A count says it always, and on which line.
"""

from __future__ import annotations

import tracemalloc
from collections import Counter
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
    fast,
    fit,
    optim,
    soft_cross_entropy,
    softmax,
)
from minikd.backend import to_device, to_numpy
from minikd.data import jitter

pytestmark = pytest.mark.extras

SMALL = 4096  # bytes: Python's own objects come and go in a step
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


@pytest.fixture(params=["plain", "numba"])
def kernels(request: pytest.FixtureRequest) -> str:
    """The step without kernels, and with Numba's."""
    if request.param == "plain":
        request.getfixturevalue("plain")
    else:
        pytest.importorskip("numba")
        request.getfixturevalue("with_kernels")
    return str(request.param)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_a_step_holds_a_few_arrays_that_grow_with_the_batch(kernels: str, loss: str, activation: str) -> None:
    """In arrays of one hidden layer, beyond what the last step holds, which lets go of its own as the next begins."""

    def made(batch: int) -> int:
        return bytes_made(make_step(batch, 256, loss=loss, activation=activation))

    layers = (made(2048) - made(1024)) / (1024 * 256 * 4)
    assert layers < (3.5 if kernels == "numba" else 4.5)


@pytest.mark.parametrize("optimizer", [Adam, AdamW, SGD, lambda model, lr: SGD(model, lr, momentum=0.9, nesterov=True)])
def test_a_step_makes_no_array_that_grows_with_the_network(kernels: str, optimizer: Any) -> None:
    batch, slices = 4, 0 if kernels == "numba" else 3.5  # a kernel needs no slice to compute in
    for width in (500, 1000):
        made = bytes_made(make_step(batch, width, optimizer=optimizer))
        assert made < 4 * (slices * optim.SLICE + 4 * batch * width) + SMALL < 4 * 500 * 500 * (width / 500) ** 2


def test_dropout_makes_its_mask_and_its_random_bytes(kernels: str) -> None:
    with_dropout, without = (bytes_made(make_step(1024, 256, dropout=rate)) for rate in (0.5, 0.0))
    layer = 1024 * 256 * 4
    # A mask and x · mask for each of the three layers, the first of which has 64 inputs.
    assert with_dropout - without < (2 * 2.25 + 1) * layer


def test_an_epoch_of_fit_makes_no_array_a_step_that_grows_with_the_data() -> None:
    def made(rows: int) -> int:
        peaks: list[int] = []

        def watched(logits: Any, labels: Any) -> Any:
            now, peak = tracemalloc.get_traced_memory()
            peaks.append(peak - now)  # the most held since the last loss, beyond what is held now
            tracemalloc.reset_peak()
            return cross_entropy(logits, labels)

        x, labels = sample(rows, 64).astype(np.float32), some_labels(rows, 10)
        tracemalloc.start()
        try:
            fit(MLP((64, 32, 10)), x, labels, loss=watched, epochs=1, batch_size=256, progress=False)
        finally:
            tracemalloc.stop()
        return max(peaks[3:])

    assert abs(made(16 * 256) - made(8 * 256)) < SMALL


# ---- calls -----------------------------------------------------------------------------------------------------


@pytest.fixture
def plain_formulas(strict_cupy: Any, plain: None) -> Any:
    """The stand-in for CuPy, on which the same lines run as on NumPy, so that its launches are NumPy's calls."""
    return strict_cupy


def launches(cupy: Any, step: Callable[[], Any]) -> int:
    for _ in range(2):
        step()
    cupy.reset_counts()
    step()
    assert (cupy.syncs, cupy.uploads) == (0, 0)
    return int(cupy.launches)


@pytest.mark.parametrize(("loss", "calls"), [("cross_entropy", 49), ("distillation_loss", 77)])
def test_a_step_calls_numpy_this_often(plain_formulas: Any, loss: str, calls: int) -> None:
    assert launches(plain_formulas, make_step(64, 64, "cuda", loss=loss)) == calls


@pytest.mark.parametrize(("loss", "calls"), [("cross_entropy", 19), ("distillation_loss", 19)])
def test_a_step_on_a_gpu_starts_this_many_kernels(strict_cupy: Any, with_kernels: None, loss: str, calls: int) -> None:
    assert launches(strict_cupy, make_step(64, 64, "cuda", loss=loss)) == calls


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({}, {"bias_activation": 2, "activation_backward": 2, "bias_gradient": 3, "distillation_loss": 1, "adam": 1}),
        ({"loss": "cross_entropy", "optimizer": SGD}, {"cross_entropy": 1, "sgd": 1}),
        ({"loss": "soft_cross_entropy", "optimizer": AdamW}, {"soft_cross_entropy": 1, "adam": 2}),
        ({"activation": "tanh"}, {"bias_activation": 0, "activation_backward": 2}),
    ],
    ids=str,
)
def test_a_fast_step_calls_these_kernels(
    options: Any, calls: dict[str, int], with_kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = pytest.importorskip("minikd.fast.cpu")
    made: Counter[str] = Counter()
    for name in set(fast.FUSED) & set(vars(cpu)):

        def counted(*args: Any, name: str = name, **options: Any) -> Any:
            result = getattr(cpu, name)(*args, **options)
            made[name] += result is not NotImplemented
            return result

        monkeypatch.setitem(fast.FUSED[name].kernels, np.ndarray, counted)
    step = make_step(32, 64, **options)
    step()
    assert {name: made[name] for name in calls} == calls
    if not options:
        assert made == calls


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
