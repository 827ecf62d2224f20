"""Every kernel computes what the body of its `@fused` function says.

Bodies run in float64 on NumPy. The kernels of fast/cpu.py run where Numba is installed; those of fast/cuda.py are
compiled for the host and run on the stand-in for CuPy (host_kernels.py), or with `--device cuda` on a real GPU. Which
functions there are is read from the decorator, so a new one without a case fails.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import host_kernels
import numpy as np
import pytest
from helpers import assert_close, probabilities, sample, some_labels

from minikd import fast, losses, ops, optim  # noqa: F401 (they define the fused functions)
from minikd.backend import to_numpy
from minikd.fast import cuda

pytestmark = pytest.mark.extras

ACTIVATIONS = list(ops.ACTIVATIONS)
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
SHAPES = [(1, 1), (1, 10), (7, 2), (33, 9), (3, 1000)]
SPECIAL = np.array([0.0, 1e-30, -1e-30, 5.0, -5.0, 40.0, -40.0, 1e4, -1e4])
needs_compiler = pytest.mark.skipif(
    not host_kernels.has_compiler(), reason="kernels without a GPU need a C++ compiler: c++, g++ or clang++"
)


# ---- cases: arguments for each fused function, arrays in float64 ------------------------------------------------


def layers() -> Iterator[tuple[Any, ...]]:
    """z (B, K), b (K,), an activation."""
    for shape in SHAPES:
        for name in ACTIVATIONS:
            yield sample(*shape, scale=2), sample(shape[1], seed=1), name
    for name in ACTIVATIONS:
        yield np.stack([SPECIAL, SPECIAL[::-1]]), np.zeros(9), name


def layers_backward() -> Iterator[tuple[Any, ...]]:
    for z, b, name in layers():
        a = ops.ACTIVATIONS[name][0](z + b)
        yield sample(*z.shape, seed=2), z + b, a, name


def extreme_logits(classes: int = 5) -> np.ndarray:
    z = sample(8, classes, scale=3)
    z[:4] *= 1e4 / np.abs(z).max()
    z[0] = 1e4  # all the same
    z[1] = np.where(np.arange(classes) % 2, -1e4, 1e4)
    return z


def all_logits() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Logits of a student and a teacher."""
    for shape in SHAPES:
        yield sample(*shape, scale=3), sample(*shape, seed=1, scale=3)
    yield extreme_logits(), extreme_logits()[::-1].copy()


def hard_losses() -> Iterator[tuple[Any, ...]]:
    for z, _ in all_logits():
        yield z, some_labels(*z.shape)
    for kind in ("int8", "uint8", "int32", "uint64"):
        yield sample(7, 10), some_labels(7, 10).astype(kind)


def soft_losses() -> Iterator[tuple[Any, ...]]:
    for z, _ in all_logits():
        for T in (1e-3, 1.0, 4.0, 1e3):
            yield z, probabilities(*z.shape), {"temperature": T}


def mixed_losses() -> Iterator[tuple[Any, ...]]:
    for z, v in all_logits():
        for T, w in ((4.0, 0.9), (1.0, 0.5), (1e-3, 0.3), (1e3, 0.9), (2.0, 1.0), (2.0, 0.0)):
            yield z, some_labels(*z.shape), v, {"temperature": T, "soft_weight": w}
        yield z, None, v, {"temperature": 4.0, "soft_weight": 1.0}
    yield sample(7, 10), some_labels(7, 10).astype("uint8"), sample(7, 10, seed=1), {}


def vectors(n: int) -> list[np.ndarray]:
    """theta, g and two state vectors, the last of which is not negative."""
    return [sample(n), sample(n, seed=1), sample(n, seed=2), sample(n, seed=3) ** 2]


def sgds() -> Iterator[tuple[Any, ...]]:
    for n in (1, 300):
        for decay in (0.0, 0.1):
            theta, g, u, _ = vectors(n)
            yield theta, g, None, 0.05, 0.0, False, decay
            for nesterov in (False, True):
                yield theta, g, u, 0.05, 0.9, nesterov, decay


def adams() -> Iterator[tuple[Any, ...]]:
    for n in (1, 300):
        for t in (1, 7, 100_000):
            for l2, shrink in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.01)):
                yield *vectors(n), t, 0.05, 0.8, 0.999, 1e-3, l2, shrink


def masks() -> Iterator[tuple[Any, ...]]:
    bits = np.random.default_rng(0).integers(0, 65536, (33, 9), dtype="uint16")
    bits[0, :2] = 0, 65535
    for dropped in (0, 1, 30_000, 65_535):
        for shape in ((33, 9), (297,), (3, 11, 9)):
            yield bits.reshape(shape), dropped, "float64"


CASES: dict[str, Callable[[], Iterator[tuple[Any, ...]]]] = {
    "bias_activation": layers,
    "activation_backward": layers_backward,
    "bias_gradient": lambda: ((sample(*shape),) for shape in SHAPES),
    "mask_of": masks,
    "cross_entropy": hard_losses,
    "soft_cross_entropy": soft_losses,
    "distillation_loss": mixed_losses,
    "sgd": sgds,
    "adam": adams,
}


# NumPy's own are as fast or faster.
DECLINED = {
    ("minikd.fast.cpu", "bias_activation"): ("tanh", "sigmoid", "gelu"),
    ("minikd.fast.cpu", "activation_backward"): ("gelu",),
}


def test_every_fused_function_has_a_case() -> None:
    assert set(CASES) == set(fast.FUSED)


def test_every_kernel_belongs_to_a_fused_function_and_takes_its_arguments() -> None:
    for module in modules():
        for name in kernels_in(module):
            kernel, body = (inspect.signature(f).parameters for f in (getattr(module, name), fast.FUSED[name].body))
            for mine, its in zip(kernel.values(), body.values(), strict=True):
                assert (mine.name, mine.kind, mine.default) == (its.name, its.kind, its.default), (module, name)


# ---- running them ----------------------------------------------------------------------------------------------


def modules() -> list[Any]:
    """The modules of kernels that can be loaded here."""
    try:
        return [importlib.import_module("minikd.fast.cpu"), cuda]
    except ImportError:
        return [cuda]


def kernels_in(module: Any) -> list[str]:
    return [name for name, value in vars(module).items() if name in fast.FUSED and callable(value)]


@pytest.fixture(params=["cpu", "cuda"])
def place(request: pytest.FixtureRequest, plain: None) -> tuple[Any, Any]:
    """A module of kernels and the array library that it is for. Bodies run plain meanwhile."""
    if request.param == "cpu":
        pytest.importorskip("numba")
        return importlib.import_module("minikd.fast.cpu"), np
    if request.config.getoption("--device") == "cuda":
        return cuda, importlib.import_module("cupy")
    if not host_kernels.has_compiler():
        pytest.skip("kernels without a GPU need a C++ compiler: c++, g++ or clang++")
    return cuda, request.getfixturevalue("strict_cupy")


@pytest.fixture(params=list(TOLERANCE))
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=list(CASES))
def name(request: pytest.FixtureRequest, place: Any) -> str:
    if request.param not in kernels_in(place[0]):
        pytest.skip("the body serves here")
    return request.param


def rounded(value: Any, dtype: str) -> Any:
    """Float64 numbers that the type can hold, so that only the arithmetic is compared; others as they are."""
    is_floats = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return value.astype(dtype).astype("float64") if is_floats else value.copy() if hasattr(value, "copy") else value


def on_device(xp: Any, value: Any, dtype: str, layout: str = "contiguous") -> Any:
    """An argument as the kernel gets it: floats in the type, arrays on the device, perhaps with odd strides."""
    if isinstance(value, str) and value == "float64":
        return dtype
    if not isinstance(value, np.ndarray):
        return value
    array = xp.asarray(value, dtype if value.dtype.kind == "f" else value.dtype)
    if layout == "odd":
        wide = xp.zeros([2 * n for n in array.shape], array.dtype)[(slice(None, None, 2),) * array.ndim]
        view = wide[::-1]
        view[...] = array
        return view
    return array.copy()


def call(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """A dictionary at the end holds keyword arguments."""
    *args, last = arguments
    return function(*args, **last) if isinstance(last, dict) else function(*arguments)


def outcome(result: Any, arguments: Any) -> list[np.ndarray]:
    """What a call returned, and what it has made of its arguments."""
    results = result if isinstance(result, tuple) else () if result is None else (result,)
    arrays = [value for value in arguments if hasattr(value, "dtype")]
    return [np.asarray(to_numpy(value)) for value in (*results, *arrays)]


@pytest.mark.parametrize("layout", ["contiguous", "odd"])
def test_a_kernel_computes_what_the_body_says(place: Any, dtype: str, name: str, layout: str) -> None:
    module, xp = place
    for case in CASES[name]():
        arguments = [rounded(value, dtype) for value in case]
        theirs = [on_device(xp, value, dtype, layout) for value in arguments]
        result = call(getattr(module, name), theirs)
        if result is NotImplemented:
            assert case[-1] in DECLINED.get((module.__name__, name), ()), "what is declined is written down"
            continue
        expected = outcome(call(fast.FUSED[name].body, arguments), arguments)
        T = (
            case[-1].get("temperature", 4.0) if name == "distillation_loss" else 1
        )  # by which the difference of two probabilities is multiplied
        for got, wanted in zip(outcome(result, theirs), expected, strict=True):
            assert got.dtype == (dtype if wanted.dtype.kind == "f" else wanted.dtype)
            assert_close(got.astype("float64"), wanted.astype("float64"), TOLERANCE[dtype] * max(1, T / 100))


def spoilt(case: Any) -> Iterator[list[Any]]:
    """The arguments with NaN or an infinity in one of their arrays of floats, at one place after another."""
    for k, value in enumerate(case):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            for bad in (np.nan, np.inf, -np.inf):
                for place in {0, value.size // 2, value.size - 1}:
                    arguments = [rounded(value, "float64") for value in case]
                    arguments[k].ravel()[place] = bad
                    yield arguments


def kinds(array: np.ndarray) -> np.ndarray:
    """0 for a finite number, 1 for NaN, 2 and 3 for the infinities."""
    return np.isnan(array) + 2 * np.isposinf(array) + 3 * np.isneginf(array)


def test_nan_and_infinity_are_in_the_same_places(place: Any, dtype: str, name: str) -> None:
    module, xp = place
    for case in CASES[name]():
        if any(isinstance(value, np.ndarray) and not 1 < value.size < 300 for value in case):
            continue
        for arguments in spoilt(case):
            theirs = [on_device(xp, value, dtype) for value in arguments]
            result = call(getattr(module, name), theirs)
            if result is NotImplemented:
                continue
            ours = [on_device(np, value, dtype) for value in arguments]
            with np.errstate(all="ignore"):
                expected = outcome(call(fast.FUSED[name].body, ours), ours)
            for got, wanted in zip(outcome(result, theirs), expected, strict=True):
                assert kinds(got).tolist() == kinds(wanted).tolist(), arguments


@pytest.mark.parametrize("kind", ["float16", ">f4", ">f8"])
def test_what_a_kernel_does_not_take_goes_to_the_body(kind: str) -> None:
    pytest.importorskip("numba")
    for name in ("bias_activation", "activation_backward", "bias_gradient", "cross_entropy", "sgd", "adam"):
        case = list(CASES[name]())[-1]
        ours, theirs = (
            [
                value.astype(kind) if getattr(value, "dtype", None) == np.float64 else value
                for value in map(copied, case)
            ]
            for _ in range(2)
        )
        with np.errstate(all="ignore"):
            results = outcome(fast.FUSED[name](*ours), ours), outcome(fast.FUSED[name].body(*theirs), theirs)
        for got, wanted in zip(*results, strict=True):
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)


def copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("label", [-1, 4, 2**40])
def test_a_label_that_is_no_class_makes_the_loss_nan_on_a_gpu(request: Any, strict_cupy: Any, label: int) -> None:
    if not host_kernels.has_compiler():
        pytest.skip("no C++ compiler")
    cp = strict_cupy
    loss, _ = cuda.cross_entropy(cp.asarray(sample(3, 4)), cp.asarray([0, label, 2]))
    assert np.isnan(float(loss))


@pytest.mark.parametrize(("T", "w"), [(1.0, 0.0), (3.0, 0.7), (0.5, 1.0)])
def test_the_gradient_is_that_of_the_loss(place: Any, T: float, w: float) -> None:
    module, xp = place
    z, v, labels = sample(3, 4), xp.asarray(sample(3, 4, seed=1)), xp.asarray(some_labels(3, 4))

    def loss_at(z: np.ndarray) -> tuple[float, np.ndarray]:
        loss, dlogits = module.distillation_loss(xp.asarray(z), labels, v, temperature=T, soft_weight=w)
        return float(loss), to_numpy(dlogits)

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
    vectors, bits = [cp.ones(5) for _ in range(4)], cp.zeros((4, 3), "uint16")

    def cost(function: Any, *args: Any, **options: Any) -> tuple[int, int, int]:
        cp.reset_counts()
        assert function(*args, **options) is not NotImplemented
        return cp.launches, cp.syncs, cp.uploads

    assert cost(cuda.adam, *vectors, 1, 0.1, 0.9, 0.999, 1e-8, 0.1, 0.0) == (1, 0, 0)
    assert cost(cuda.sgd, *vectors[:2], None, 0.1, 0.0, False, 0.1) == (1, 0, 0)
    assert cost(cuda.sgd, *vectors[:3], 0.1, 0.9, True, 0.1) == (1, 0, 0)
    assert cost(cuda.mask_of, bits, 7, "float32") == (1, 0, 0)
    for name in ACTIVATIONS:
        assert cost(cuda.bias_activation, z, b, name) == (1, 0, 0)
        assert cost(cuda.activation_backward, z, z, z, name) == (1, 0, 0)
    assert cost(cuda.cross_entropy, z, labels) == (2, 0, 0)  # the second launch adds up the rows
    for given in ((labels, 0.9), (None, 1.0)):
        assert cost(cuda.distillation_loss, z, given[0], v, soft_weight=given[1]) == (2, 0, 0)


@needs_compiler
def test_a_kernel_is_made_once_for_all_its_calls(strict_cupy: Any) -> None:
    assert cuda._kernel(strict_cupy, "adam") is cuda._kernel(strict_cupy, "adam")
    assert cuda.MAX_CLASSES >= 1000  # the tests above reach as far as callers go
