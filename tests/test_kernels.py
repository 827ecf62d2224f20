"""The fused kernels give what the plain formulas give, to rounding, and start no more than they say.

Without a GPU they are compiled for the host and run on the stand-in for CuPy (host_kernels.py), and with
`--device cuda` on a real GPU. The plain formulas are minikd's own, in float64 on NumPy.
"""

from __future__ import annotations

import importlib
import math
from types import SimpleNamespace
from typing import Any

import host_kernels
import numpy as np
import pytest
from helpers import assert_close, assert_same_bits, sample, some_labels

from minikd import losses, ops, optim
from minikd.fast import cuda as kernels

NAMES = list(ops.ACTIVATIONS)
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
needs_compiler = pytest.mark.skipif(
    not host_kernels.has_compiler(), reason="kernels without a GPU need a C++ compiler: c++, g++ or clang++"
)


@pytest.fixture
def cp(request: pytest.FixtureRequest) -> Any:
    """CuPy: the real one with `--device cuda`, else the stand-in, which needs a C++ compiler."""
    if request.config.getoption("--device") == "cuda":
        return importlib.import_module("cupy")
    if not host_kernels.has_compiler():
        pytest.skip("kernels without a GPU need a C++ compiler: c++, g++ or clang++")
    return request.getfixturevalue("strict_cupy")


@pytest.fixture(params=list(TOLERANCE))
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """Float64 numbers that the type can hold, so that only the arithmetic is compared."""
    return array.astype(dtype).astype("float64")


# ---- the optimizers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("optimizer", "decay"), [(optim.Adam, 0.0), (optim.Adam, 0.1), (optim.AdamW, 0.1)])
def test_adam_takes_the_steps_of_the_plain_optimizer(cp: Any, dtype: str, optimizer: Any, decay: float) -> None:
    theta = rounded(sample(300), dtype)
    model = SimpleNamespace(theta=theta.copy(), grad=np.zeros(300), weights=[theta])
    plain = optimizer(model, 0.05, betas=(0.8, 0.999), eps=1e-3, weight_decay=decay)
    theta, m, v = cp.asarray(theta, dtype), cp.zeros(300, dtype), cp.zeros(300, dtype)
    for t in range(1, 5):
        g = rounded(sample(300, seed=t), dtype)
        model.grad[...] = g
        plain.step()
        c = math.sqrt((1 - 0.999**t) / (1 - 0.999))
        numbers = {"beta1": 0.8, "beta2": 0.999, "rate": 0.05 * c * (1 - 0.8) / (1 - 0.8**t), "eps": 1e-3 * c}
        decays = {"l2": decay} if optimizer is optim.Adam else {"shrink": 1 - 0.05 * decay}
        kernels.adam(theta, cp.asarray(g, dtype), m, v, **numbers, **decays)
        assert theta.dtype == dtype
        assert_close(theta, model.theta, TOLERANCE[dtype])
        assert_close(m, plain.state()["m"], TOLERANCE[dtype])
        np.testing.assert_allclose(v.get(), plain.state()["v"], rtol=TOLERANCE[dtype])


def test_adam_changes_the_window_it_is_given_and_not_g(cp: Any) -> None:
    vectors = [cp.ones(10), cp.full(10, 0.5), cp.ones(10), cp.full(10, 1.5)]
    before = [vector.get() for vector in vectors]
    kernels.adam(*(vector[2:9:3] for vector in vectors), beta1=0.5, beta2=0.5, rate=1.0, eps=1.0)
    for k, vector in enumerate(vectors):
        changed = vector.get() != before[k]
        assert changed[2:9:3].all() == (k in (0, 3)) and changed.sum() == 3 * (k in (0, 3))  # m stays 1: 0.5 + 0.5
    assert_close(vectors[3][2:9:3], np.full(3, 0.5 * 1.5 + 0.25))
    assert_close(vectors[0][2:9:3], np.full(3, 1 - 1 / 2))


# ---- the activations -------------------------------------------------------------------------------------------

SPECIAL = np.array([0.0, 1e-30, -1e-30, 5.0, -5.0, 40.0, -40.0, 1e4, -1e4])


@pytest.mark.parametrize("name", NAMES)
def test_bias_activation_is_the_plain_formula(cp: Any, dtype: str, name: str) -> None:
    z, b = rounded(sample(33, 9, scale=2), dtype), rounded(sample(9, seed=1), dtype)
    z[0] = SPECIAL - b
    z = rounded(z, dtype)
    on_device, a = cp.asarray(z, dtype), cp.zeros((33, 9), dtype)
    assert kernels.bias_activation(on_device, cp.asarray(b, dtype), a, name) is a
    assert on_device.dtype == a.dtype == dtype
    assert_close(on_device, z + b, TOLERANCE[dtype])
    assert_close(a, ops.ACTIVATIONS[name][0](z + b), TOLERANCE[dtype])


@pytest.mark.parametrize("name", NAMES)
def test_activation_backward_is_the_plain_formula(cp: Any, dtype: str, name: str) -> None:
    z, da = rounded(sample(33, 9, scale=2), dtype), rounded(sample(33, 9, seed=1), dtype)
    z[0] = rounded(SPECIAL, dtype)
    a = rounded(ops.ACTIVATIONS[name][0](z), dtype)
    expected = ops.ACTIVATIONS[name][1](da, z, a)
    arrays = [cp.asarray(array, dtype) for array in (da, z, a)]
    out = cp.zeros((33, 9), dtype)
    assert kernels.activation_backward(*arrays, out, name) is out
    assert_close(out, expected, TOLERANCE[dtype])
    assert_same_bits(arrays[0], da.astype(dtype))
    assert kernels.activation_backward(*arrays, arrays[0], name) is arrays[0]  # into da itself
    assert_same_bits(arrays[0], out)


@pytest.mark.parametrize("name", NAMES)
def test_activations_work_in_place_and_on_views(cp: Any, name: str) -> None:
    z, b, da = sample(6, 5), sample(5, seed=1), sample(6, 5, seed=2)
    expected = ops.ACTIVATIONS[name][0](z + b)
    same = cp.asarray(z)
    assert_close(kernels.bias_activation(same, cp.asarray(b), same, name), expected, 1e-12)
    wide = cp.zeros((6, 10))
    columns, transposed = wide[:, ::2], cp.zeros((5, 6)).T
    columns[...] = cp.asarray(z)
    kernels.bias_activation(columns, cp.asarray(np.repeat(b, 3))[::3], transposed, name)
    assert_close(columns, z + b, 1e-12)
    assert_close(transposed, expected, 1e-12)
    kernels.activation_backward(cp.asarray(da.T.copy()).T, columns, transposed, columns, name)
    assert_close(columns, ops.ACTIVATIONS[name][1](da, z + b, expected), 1e-12)
    assert not wide[:, 1::2].get().any()


@pytest.mark.parametrize("name", NAMES)
def test_activations_pass_nan_on(cp: Any, dtype: str, name: str) -> None:
    z = cp.asarray([[np.nan, 1.0, -1.0]], dtype)
    a = kernels.bias_activation(z, cp.zeros(3, dtype), cp.zeros((1, 3), dtype), name)
    assert np.isnan(a.get()).tolist() == [[True, False, False]]
    da = cp.asarray([[1.0, np.nan, np.nan]], dtype)
    dz = kernels.activation_backward(da, z, a, cp.zeros((1, 3), dtype), name).get()
    with np.errstate(invalid="ignore"):
        expected = ops.ACTIVATIONS[name][1](da.get(), z.get(), a.get())
    assert np.isnan(dz).tolist() == np.isnan(expected).tolist() and np.isnan(dz[0, 1:]).all()


# ---- the loss --------------------------------------------------------------------------------------------------


def compare(cp: Any, dtype: str, z: Any, labels: Any, v: Any, T: float, w: float, tolerance: float = 0) -> None:
    """The kernel against the plain formula in float64."""
    z, v = rounded(z, dtype), None if v is None else rounded(v, dtype)
    expected = losses.cross_entropy(z, labels) if v is None else None
    expected = expected or losses.distillation_loss(z, labels, v, temperature=T, soft_weight=w)
    on_device = [None if array is None else cp.asarray(array) for array in (labels, v)]
    teacher = None if v is None else on_device[1].astype(dtype)
    loss, dlogits = kernels.distillation_loss(cp.asarray(z, dtype), on_device[0], teacher, temperature=T, soft_weight=w)
    assert isinstance(loss, cp.ndarray) and loss.shape == () and loss.dtype == dlogits.dtype == dtype
    assert_close(loss, expected[0], tolerance or TOLERANCE[dtype])
    assert_close(dlogits, expected[1], tolerance or TOLERANCE[dtype])


@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
@pytest.mark.parametrize(("T", "w"), [(4.0, 0.9), (1.0, 0.5), (1e-3, 0.3), (1e3, 0.9), (2.0, 1.0), (2.0, 0.0)])
def test_the_loss_is_the_plain_formula(cp: Any, dtype: str, classes: int, T: float, w: float) -> None:
    z, v = sample(7, classes, scale=3), sample(7, classes, seed=1, scale=3)
    compare(cp, dtype, z, some_labels(7, classes), v, T, w)


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_labels_or_the_teacher_may_be_missing(cp: Any, dtype: str, classes: int) -> None:
    z, v, labels = sample(7, classes), sample(7, classes, seed=1), some_labels(7, classes)
    compare(cp, dtype, z, None, v, 4.0, 1.0)
    compare(cp, dtype, z, labels, None, 1.0, 0.0)


@pytest.mark.parametrize("label_type", ["int8", "uint8", "int32", "int64", "uint64"])
def test_labels_of_any_integer_type(cp: Any, label_type: str) -> None:
    compare(cp, "float64", sample(7, 10), some_labels(7, 10).astype(label_type), sample(7, 10, seed=1), 4.0, 0.9)


@pytest.mark.parametrize("T", [1e-3, 1.0, 1e3])
def test_extreme_logits(cp: Any, dtype: str, T: float) -> None:
    z, v = sample(8, 5), sample(8, 5, seed=1)
    z[:4] *= 1e4
    v[2:6] *= 1e4
    z[0], v[0] = 1e4, -1e4  # all the same
    z[1] = [1e4, -1e4, 0, 1e4, -1e4]
    compare(cp, dtype, z, some_labels(8, 5), v, T, 0.5)
    compare(cp, dtype, z, some_labels(8, 5), None, 1.0, 0.0)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_nan_stays_in_its_row_and_reaches_the_loss(cp: Any, dtype: str, place: int) -> None:
    for k in (0, 1):
        pair = [sample(3, 4), sample(3, 4, seed=1)]
        pair[k][1, place] = np.nan
        z, v = (cp.asarray(array, dtype) for array in pair)
        loss, dlogits = kernels.distillation_loss(z, cp.asarray([0, 1, 2]), v, temperature=4.0, soft_weight=0.9)
        assert np.isnan(float(loss))
        assert np.isnan(dlogits.get()).all(axis=1).tolist() == [False, True, False]
        assert np.isfinite(dlogits.get()[[0, 2]]).all()


@pytest.mark.parametrize("label", [-1, 4, 2**40])
def test_a_label_that_is_no_class_makes_the_loss_nan(cp: Any, label: int) -> None:
    labels = cp.asarray([0, label, 2])
    loss, _ = kernels.distillation_loss(cp.asarray(sample(3, 4)), labels, None, temperature=1.0, soft_weight=0.0)
    assert np.isnan(float(loss))


def test_logits_and_labels_that_are_not_contiguous(cp: Any) -> None:
    z, v, labels = sample(6, 4), sample(6, 4, seed=1), some_labels(6, 4)
    expected = losses.distillation_loss(z, labels, v)
    columns, rows = cp.asarray(np.repeat(z, 2, axis=1))[:, ::2], cp.asarray(v.T.copy()).T
    loss, dlogits = kernels.distillation_loss(
        columns, cp.asarray(np.repeat(labels, 3))[::3], rows, temperature=4.0, soft_weight=0.9
    )
    assert_close(loss, expected[0], 1e-12)
    assert_close(dlogits, expected[1], 1e-12)
    assert dlogits.flags.c_contiguous


@pytest.mark.parametrize(
    ("logits", "teacher", "result"), [("int32", "int64", "float64"), ("float32", "int8", "float32")]
)
def test_other_types_of_logits_are_converted(cp: Any, logits: str, teacher: str, result: str) -> None:
    z, v, labels = np.arange(12).reshape(4, 3) % 5, np.arange(12).reshape(4, 3) % 7, some_labels(4, 3)
    expected = losses.distillation_loss(z.astype("float64"), labels, v.astype("float64"))
    loss, dlogits = kernels.distillation_loss(
        cp.asarray(z, logits), cp.asarray(labels), cp.asarray(v, teacher), temperature=4.0, soft_weight=0.9
    )
    assert loss.dtype == dlogits.dtype == result
    assert_close(loss, expected[0], TOLERANCE[result])
    assert_close(dlogits, expected[1], TOLERANCE[result])


@pytest.mark.parametrize(("T", "w"), [(1.0, 0.0), (3.0, 0.7), (0.5, 1.0)])
def test_the_gradient_is_that_of_the_loss(cp: Any, T: float, w: float) -> None:
    z, v, labels = sample(3, 4), cp.asarray(sample(3, 4, seed=1)), cp.asarray(some_labels(3, 4))

    def loss_at(z: np.ndarray) -> tuple[float, np.ndarray]:
        loss, dlogits = kernels.distillation_loss(cp.asarray(z), labels, v, temperature=T, soft_weight=w)
        return float(loss), dlogits.get()

    differences = np.zeros_like(z)
    for index in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[index] = 1e-5
        differences[index] = (loss_at(z + step)[0] - loss_at(z - step)[0]) / 2e-5
    assert_close(loss_at(z)[1], differences, 1e-8)


# ---- what they cost --------------------------------------------------------------------------------------------


@needs_compiler
def test_each_is_one_launch_and_waits_for_nothing(strict_cupy: Any) -> None:
    cp = strict_cupy
    z, v, b, labels = cp.ones((4, 3)), cp.zeros((4, 3)), cp.ones(3), cp.arange(4) % 3
    a, vectors = cp.zeros((4, 3)), [cp.ones(5) for _ in range(4)]

    def cost(function: Any, *args: Any, **kwargs: Any) -> tuple[int, int, int]:
        cp.reset_counts()
        function(*args, **kwargs)
        return cp.launches, cp.syncs, cp.uploads

    assert cost(kernels.adam, *vectors, beta1=0.9, beta2=0.999, rate=0.1, eps=1e-8, l2=0.1) == (1, 0, 0)
    for name in NAMES:
        assert cost(kernels.bias_activation, z, b, a, name) == (1, 0, 0)
        assert cost(kernels.activation_backward, a, z, a, a, name) == (1, 0, 0)
    for given in ((labels, v), (labels, None), (None, v)):  # the second launch adds up the rows
        assert cost(kernels.distillation_loss, z, *given, temperature=4.0, soft_weight=0.9) == (2, 0, 0)


def test_a_kernel_is_made_once_for_all_its_calls(cp: Any) -> None:
    assert kernels._kernel(cp, "adam") is kernels._kernel(cp, "adam")
    assert kernels.MAX_CLASSES >= 1000  # the tests above reach as far as callers go
