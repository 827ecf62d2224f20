"""The stand-in for CuPy is as strict as it says: whatever code gets past it has a fair chance on a GPU.

Where a test speaks of CuPy itself it uses the fixture `cp`: the stand-in, or with `--device cuda` the real CuPy, so
that a GPU machine checks the stand-in's claims. Tests that use `strict_cupy` are about what only the stand-in does.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import operator
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import host_kernels
import numpy as np
import pytest

pytestmark = pytest.mark.extras

Call = Callable[..., Any]


@pytest.fixture
def cp(request: pytest.FixtureRequest) -> Any:
    """CuPy: the real one with `--device cuda`, else the stand-in."""
    if request.config.getoption("--device") == "cuda":
        return importlib.import_module("cupy")
    return request.getfixturevalue("strict_cupy")


# ---- no mixing with NumPy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [np.asarray, np.array, np.atleast_1d, lambda a: np.empty(3).__setitem__(..., a)])
def test_conversion_to_numpy_has_to_be_asked_for(cp: Any, convert: Call) -> None:
    with pytest.raises((TypeError, ValueError)):
        convert(cp.ones(3))


def test_the_refused_conversion_says_what_to_do(cp: Any) -> None:
    with pytest.raises(TypeError, match=re.escape("Please use `.get()`")):
        np.asarray(cp.ones(3))


OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.matmul, operator.pow]
COMPARISONS = [operator.lt, operator.ge, operator.eq, operator.ne]


@pytest.mark.parametrize("operate", OPERATORS + COMPARISONS, ids=lambda f: f.__name__)
def test_operators_refuse_a_numpy_array_on_either_side(cp: Any, operate: Call) -> None:
    on_host, on_device = np.ones((2, 2)), cp.ones((2, 2))
    for left, right in ((on_host, on_device), (on_device, on_host)):
        with pytest.raises(TypeError):
            operate(left, right)


@pytest.mark.parametrize("operate", [operator.iadd, operator.imul, operator.itruediv], ids=lambda f: f.__name__)
def test_in_place_operators_refuse_a_numpy_array_on_either_side(cp: Any, operate: Call) -> None:
    for left, right in ((np.ones(3), cp.ones(3)), (cp.ones(3), np.ones(3))):
        with pytest.raises(TypeError):
            operate(left, right)


@pytest.mark.parametrize(
    "call",
    [
        lambda cp, a, n: np.add(n, a),
        lambda cp, a, n: np.add(a, a, out=n),
        lambda cp, a, n: cp.add(a, n),
        lambda cp, a, n: cp.add(a, a, out=n),
        lambda cp, a, n: cp.exp(n),
        lambda cp, a, n: cp.matmul(a, n),
        lambda cp, a, n: cp.where(a > 0, a, n),
        lambda cp, a, n: cp.concatenate([a, n]),
        lambda cp, a, n: a.dot(n),
    ],
)
def test_functions_refuse_a_numpy_array(cp: Any, call: Call) -> None:
    with pytest.raises(TypeError):
        call(cp, cp.ones((2, 2)), np.ones((2, 2)))


@pytest.mark.parametrize(
    "call",
    [
        # CuPy copies these to the GPU without a word, ...
        lambda cp, a, n: a[n.astype(int)],
        lambda cp, a, n: cp.take(a, n.astype(int)),
        lambda cp, a, n: a.__setitem__(cp.zeros(1, int), n),
        lambda cp, a, n: a.__setitem__(slice(None), n),
        lambda cp, a, n: a.__setitem__(cp.zeros(1, int), [1.0]),
        # ... hands these over to NumPy, ...
        lambda cp, a, n: cp.sum(n),
        lambda cp, a, n: cp.argmax(n, axis=0),
        lambda cp, a, n: cp.sum(a, out=n),
        # ... and answers these, for NumPy asks it to.
        lambda cp, a, n: np.exp(a),
        lambda cp, a, n: np.sum(a),
        lambda cp, a, n: np.concatenate([a, a]),
        lambda cp, a, n: np.add.reduce(a),
    ],
)
def test_what_works_on_cupy_by_luck_is_refused_too(strict_cupy: Any, call: Call) -> None:
    with pytest.raises(TypeError):
        call(strict_cupy, strict_cupy.ones(3), np.ones(3))


def test_a_refused_numpy_function_names_the_one_to_use(strict_cupy: Any) -> None:
    for function in (np.exp, np.sum):
        with pytest.raises(TypeError, match=f"use xp.{function.__name__}"):
            function(strict_cupy.ones(3))


def test_a_refused_numpy_array_is_named(strict_cupy: Any) -> None:
    on_host, on_device = np.ones(2), strict_cupy.ones(2)
    for call in (lambda: on_host + on_device, lambda: on_device + on_host, lambda: np.add(on_device, on_host)):
        with pytest.raises(TypeError, match=r"Unsupported type <class 'numpy.ndarray'>"):
            call()


def test_arrays_of_other_libraries_are_refused(cp: Any) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError):
        cp.ones(3) + torch.ones(3)


def test_a_list_is_not_an_array(cp: Any) -> None:
    for call in (lambda: cp.add(cp.ones(2), [1, 2]), lambda: cp.exp([1.0]), lambda: operator.add(cp.ones(2), [1, 2])):
        with pytest.raises(TypeError):
            call()
    with pytest.raises((TypeError, AttributeError)):
        cp.sum([1, 2])


def test_an_array_is_not_an_index_of_python(cp: Any) -> None:
    one = cp.ones((), dtype=int)
    for call in (lambda: [1, 2][one], lambda: range(one), lambda: np.arange(3)[one], lambda: hash(one)):
        with pytest.raises((TypeError, IndexError)):
            call()


def test_a_numpy_scalar_may_stand_beside_an_array(cp: Any) -> None:
    a = cp.arange(3, dtype=cp.float32)
    for result in (np.float32(2) * a, a * np.float32(2), cp.multiply(a, np.float32(2)), 2 * a, a + a):
        assert isinstance(result, cp.ndarray) and result.dtype == cp.float32
        assert result.get().tolist() == [0, 2, 4]


# ---- only what CuPy has ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["errstate", "erf", "float128", "shuffle", "copyto_", "geterr"])
def test_a_name_that_cupy_lacks_is_an_attribute_error(cp: Any, name: str) -> None:
    assert not hasattr(cp, name)
    with pytest.raises(AttributeError, match=f"module 'cupy' has no attribute '{name}'"):
        getattr(cp, name)


@pytest.mark.parametrize(
    "call",
    [
        lambda cp, a: cp.take(a, cp.zeros(1, int), mode="clip"),
        lambda cp, a: cp.add(a, 1, where=True),
        lambda cp, a: cp.exp(a, where=a > 0),
        lambda cp, a: cp.sum(a, where=a > 0),
        lambda cp, a: cp.max(a, initial=0),
        lambda cp, a: cp.clip(a, min=0, max=1),
        lambda cp, a: cp.astype(a, int, nosuch=1),
        lambda cp, a: cp.matmul(a, a, subok=True),
        lambda cp, a: a.sum(where=a > 0),
        lambda cp, a: a.mean(where=a > 0),
        lambda cp, a: a.take(cp.zeros(1, int), mode="clip"),
        lambda cp, a: a.max(initial=0),
        lambda cp, a: a.item(0),
        lambda cp, a: a.argsort(stable=True),
        lambda cp, a: a.reshape(3, inplace=True),
        lambda cp, a: cp.random.default_rng(0).random(3, device="gpu"),
    ],
)
def test_an_argument_that_cupy_lacks_is_a_type_error(cp: Any, call: Call) -> None:
    with pytest.raises(TypeError):
        call(cp, cp.ones(3))


def test_array_methods_and_attributes_that_cupy_lacks(cp: Any) -> None:
    for name in ("setflags", "resize", "ctypes", "getfield", "newbyteorder", "__index__", "__imatmul__"):
        assert not hasattr(cp.ones(3), name)
    assert not hasattr(cp.ones(3).flags, "writeable")


def test_the_generator_has_only_what_cupys_has(cp: Any) -> None:
    generator = cp.random.default_rng(0)
    for name in ("shuffle", "permutation", "permuted", "choice", "bytes", "normal", "spawn"):
        assert not hasattr(generator, name)


def test_reduce_and_accumulate_exist_for_sums_and_products_only(cp: Any) -> None:
    a = cp.arange(1.0, 4.0)
    assert float(cp.add.reduce(a)) == float(cp.multiply.reduce(a)) == 6
    assert cp.add.accumulate(a).get().tolist() == [1, 3, 6]
    with pytest.raises(NotImplementedError):
        cp.maximum.reduce(a)
    with pytest.raises(NotImplementedError):
        cp.maximum.accumulate(a)


def test_types_that_no_gpu_has_are_refused(cp: Any) -> None:
    for values in (["a", "b"], [None], np.ones(2, np.longdouble)):
        with pytest.raises(ValueError, match="Unsupported dtype"):
            cp.array(values)


def test_in_place_matmul_makes_a_new_array(cp: Any) -> None:
    before = after = cp.ones((2, 2))
    after @= cp.ones((2, 2))
    assert after is not before and float(before.sum()) == 4


def test_scattering_needs_a_type_with_atomics(cp: Any) -> None:
    a = cp.zeros(3, cp.float32)
    cp.add.at(a, cp.array([0, 0, 2]), cp.ones(3, cp.float32))
    assert a.get().tolist() == [2, 0, 1]
    with pytest.raises(TypeError, match="only supports"):
        cp.add.at(cp.zeros(3, cp.int8), cp.array([0, 0]), 1)


def test_repeated_indices_in_an_assignment_are_refused(strict_cupy: Any) -> None:
    a, twice = strict_cupy.zeros(3), strict_cupy.array([1, 1])
    with pytest.raises(ValueError, match="undefined"):
        a[twice] = strict_cupy.ones(2)
    a[twice] = 5  # one value for both is fine
    assert a.get().tolist() == [0, 5, 0]


def test_two_boolean_arrays_in_an_index_are_refused(strict_cupy: Any) -> None:
    mask = strict_cupy.ones(2, bool)
    with pytest.raises(IndexError, match="one boolean array"):
        strict_cupy.ones((2, 2))[mask, mask]


@pytest.mark.parametrize("name", ["RawKernel", "RawModule", "ReductionKernel"])
def test_other_kernels_in_cuda_cannot_run_in_the_stand_in(strict_cupy: Any, name: str) -> None:
    with pytest.raises(NotImplementedError, match="other than ElementwiseKernel"):
        getattr(strict_cupy, name)("code", "name")


def test_elementwise_kernels_need_a_compiler_in_the_stand_in(strict_cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_kernels, "compiler", lambda: None)
    assert not host_kernels.has_compiler()
    with pytest.raises(NotImplementedError, match="no C\\+\\+ compiler"):
        strict_cupy.ElementwiseKernel("T x", "T y", "y = x", "copy")


# ---- what should work, and where the memory is -----------------------------------------------------------------


def test_arrays_are_made_from_numpy_arrays_lists_and_scalars(cp: Any) -> None:
    host = np.arange(3, dtype=np.float32)
    for make in (cp.array, cp.asarray, cp.ascontiguousarray):
        a = make(host)
        assert isinstance(a, cp.ndarray) and a.dtype == np.float32
        host[0] = 7  # a copy: the host can do as it likes
        assert a.get().tolist() == [0, 1, 2]
        host[0] = 0
    assert cp.asarray([1, 2]).dtype == np.int64 and cp.asarray(1.5).shape == ()
    assert cp.asarray(a) is a and cp.asarray(a, dtype=np.float64) is not a and cp.array(a) is not a
    assert cp.stack([a, a]).shape == (2, 3) and cp.full((2, 2), 3.0).get().tolist() == [[3, 3], [3, 3]]


def test_reductions_stay_on_the_device(cp: Any) -> None:
    a = cp.arange(6, dtype=cp.float32).reshape(2, 3)
    for result in (
        a.sum(),
        a.mean(),
        a.max(),
        a.argmax(),
        cp.sum(a),
        a[0, 0],
        cp.linalg.norm(a),
        a @ a.T,
        (a == a).all(),
    ):
        assert isinstance(result, cp.ndarray)
    assert isinstance(cp.allclose(a, a), cp.ndarray) and bool(cp.allclose(a, a))
    assert a.sum().shape == () and a.sum().dtype == np.float32 and a.sum(axis=0).shape == (3,)


def test_the_host_learns_values_only_by_asking(cp: Any) -> None:
    a = cp.asarray([[1.5, 2.5]])
    assert float(a[0, 0]) == a[0, 0].item() == 1.5 and int(a[0, 1]) == 2 and bool(a[0, 0] < 2)
    assert a.tolist() == [[1.5, 2.5]] and type(a.get()) is np.ndarray and type(cp.asnumpy(a)) is np.ndarray
    assert str(a) == "[[1.5 2.5]]" and f"{a[0, 0]:.3f}" == "1.500"
    assert cp.get_array_module(a) is cp and cp.get_array_module(a.get()) is np


@pytest.mark.parametrize("look", [float, bool, str, repr, lambda a: a.item(), lambda a: a.get(), lambda a: f"{a}"])
def test_every_look_at_a_value_is_counted(strict_cupy: Any, look: Call) -> None:
    a = strict_cupy.asarray(1.5)
    assert (strict_cupy.uploads, strict_cupy.syncs) == (1, 0)
    look(a)
    assert (strict_cupy.uploads, strict_cupy.syncs) == (1, 1)


def test_every_copy_to_the_device_is_counted(strict_cupy: Any) -> None:
    a = strict_cupy.zeros(2)
    for upload in (lambda: strict_cupy.array([1, 2]), lambda: a.set(np.ones(2)), lambda: a[[0, 1]]):
        strict_cupy.reset_counts()
        upload()
        assert (strict_cupy.uploads, strict_cupy.syncs) == (1, 0)


def test_work_on_the_device_is_not_counted(strict_cupy: Any) -> None:
    a = strict_cupy.ones((4, 3), np.float32)
    a -= a.mean(axis=0)
    a[strict_cupy.arange(4), strict_cupy.argmax(a, axis=1)] += strict_cupy.maximum(a, 0).sum(axis=1)
    assert a.shape == (4, 3) and len(a) == 4
    assert (strict_cupy.uploads, strict_cupy.syncs) == (0, 0)


def test_results_whose_size_depends_on_values_are_counted(strict_cupy: Any) -> None:
    a = strict_cupy.arange(3)
    for call in (lambda: a[a > 0], lambda: a.nonzero(), lambda: strict_cupy.unique(a), lambda: strict_cupy.where(a)):
        strict_cupy.reset_counts()
        call()
        assert strict_cupy.syncs == 1


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("slice", lambda flat: flat[2:6]),
        ("element", lambda flat: flat[2]),
        ("row", lambda flat: flat[:12].reshape(4, 3)[2]),
        ("reshape", lambda flat: flat[2:8].reshape(2, 3)),
        ("transpose", lambda flat: flat[2:8].reshape(2, 3).T),
        ("ravel", lambda flat: flat[2:8].reshape(2, 3).ravel()),
        ("new axis", lambda flat: flat[2:8, None]),
        ("view", lambda flat: flat[2:8].view()),
    ],
)
def test_views_share_memory(cp: Any, name: str, view: Call) -> None:
    flat = cp.zeros(12)
    part = view(flat)
    part[...] = 1
    assert float(flat.sum()) == part.size
    part += 1
    assert float(flat.sum()) == 2 * part.size
    cp.exp(part * 0, out=part)
    assert float(flat.sum()) == part.size
    part.fill(0)
    flat += 3
    assert float(part.sum()) == 3 * part.size


def test_copies_do_not_share_memory(cp: Any) -> None:
    flat = cp.zeros(6)
    for part in (flat.copy(), flat[cp.arange(3)], flat.astype(float), flat.get(), copy.deepcopy(flat), flat + 0):
        part += 1
        assert float(flat.sum()) == 0


def test_out_is_filled_and_returned(cp: Any) -> None:
    a, out = cp.arange(6.0).reshape(2, 3), cp.zeros((2, 3))
    assert cp.exp(a, out=out) is out and cp.add(a, a, out) is out and out.get()[1, 2] == 10
    square = cp.zeros(4)[:4].reshape(2, 2)
    assert cp.matmul(a, a.T, out=square) is square and square.get()[0].tolist() == [5, 14]
    column = cp.zeros(2)
    assert a.sum(axis=1, out=column) is column and cp.sum(a, axis=1, out=column) is column
    assert cp.take(a, cp.array([1, 0]), axis=0, out=out) is out and out.get()[0, 0] == 3
    with pytest.raises(ValueError):
        cp.exp(a, out=cp.zeros(3))


def test_in_place_operators_keep_the_object_and_its_type(cp: Any) -> None:
    a = b = cp.ones(3, cp.float32)
    a += 1
    a *= cp.full(3, 2.0)
    a -= np.float64(1)
    assert a is b and a.dtype == np.float32 and a.get().tolist() == [3, 3, 3]
    whole = cp.ones(3, int)
    with pytest.raises(TypeError):
        whole += 0.5


def test_types_follow_numpy_2(cp: Any) -> None:
    single = cp.ones(2, cp.float32)
    assert (single * 2.0).dtype == (single + 1).dtype == (single / 3).dtype == np.float32
    assert (single * cp.ones(2)).dtype == (single * np.float64(2)).dtype == np.float64
    assert (cp.arange(3) / 2).dtype == np.float64 and cp.arange(3).sum().dtype == np.int64
    assert (single > 0).dtype == np.bool_ and cp.exp(cp.arange(3)).dtype == np.float64
    assert cp.where(single > 0, single, 0).dtype == np.float32
    with pytest.raises(OverflowError):
        cp.ones(2, cp.uint8) + 300


def test_arithmetic_that_overflows_does_not_warn(cp: Any) -> None:
    a = cp.exp(cp.asarray([1e4])) / cp.zeros(1) - cp.asarray([np.inf])
    assert bool(cp.isnan(a).all())
    assert float(cp.full(2, 3e38, cp.float32).sum()) == np.inf


def test_parameters_keep_cupys_order(cp: Any) -> None:
    a = cp.arange(6.0).reshape(2, 3)
    assert cp.argmax(a, 1, None, None, True).shape == (2, 1)  # axis, dtype, out, keepdims; NumPy has no dtype here
    assert cp.clip(a, 1, 4).get().tolist() == a.clip(1, 4).get().tolist() == [[1, 1, 2], [3, 4, 4]]


def test_indexing(cp: Any) -> None:
    host = np.arange(24.0).reshape(2, 3, 4)
    a, rows, columns = cp.asarray(host), cp.array([0, 1]), cp.array([2, 0])
    assert a[rows, columns].get().tolist() == host[[0, 1], [2, 0]].tolist()
    assert a[..., 1].get().tolist() == host[..., 1].tolist() and a[1, :, ::2].get().tolist() == host[1, :, ::2].tolist()
    assert a[a > 20].get().tolist() == [21, 22, 23] and a[[1, 0], 0, 0].get().tolist() == [12, 0]
    assert a[np.int64(1), -1].get().tolist() == host[1, -1].tolist()
    a[a > 20] = 0
    a[rows, columns, 1] -= 1
    host[host > 20] = 0
    host[[0, 1], [2, 0], 1] -= 1
    assert a.get().tolist() == host.tolist()
    with pytest.raises(IndexError):
        a[5]


def test_the_generator_repeats_itself(cp: Any) -> None:
    for draw in (
        lambda g: g.random((2, 3), dtype=np.float32),
        lambda g: g.standard_normal(4),
        lambda g: g.integers(0, 65536, size=(5,), dtype="uint16"),
        lambda g: g.uniform(-1, 1, 3, dtype=np.float32),
    ):
        one, two = draw(cp.random.default_rng(3)), draw(cp.random.default_rng(3))
        assert isinstance(one, cp.ndarray) and one.get().tolist() == two.get().tolist()
        assert one.get().tolist() != draw(cp.random.default_rng(4)).get().tolist()
    out = cp.zeros(3, np.float32)
    assert cp.random.default_rng(0).random(dtype=np.float32, out=out) is out and float(out.sum()) > 0


def test_arrays_can_be_pickled_and_set(cp: Any) -> None:
    a = pickle.loads(pickle.dumps(cp.arange(3)))
    assert isinstance(a, cp.ndarray) and a.get().tolist() == [0, 1, 2]
    a.set(np.array([3, 4, 5]))
    assert a.tolist() == [3, 4, 5]
    for wrong, error in ((np.zeros(3), TypeError), (np.zeros(2, int), ValueError), ([1, 2, 3], TypeError)):
        with pytest.raises(error):
            a.set(wrong)


def test_the_machine(cp: Any) -> None:
    assert cp.cuda.runtime.getDeviceCount() >= 1 and cp.cuda.is_available()
    assert issubclass(cp.cuda.runtime.CUDARuntimeError, RuntimeError)
    assert str(cp.cuda.runtime.CUDARuntimeError(100)) == "cudaErrorNoDevice: no CUDA-capable device is detected"
    cp.cuda.Stream.null.synchronize()
    with cp.cuda.Device(0), cp.cuda.Stream() as stream:
        stream.synchronize()


def test_waiting_for_the_device_is_counted(strict_cupy: Any) -> None:
    strict_cupy.cuda.Stream.null.synchronize()
    assert strict_cupy.syncs == 1


# ---- elementwise kernels ---------------------------------------------------------------------------------------

needs_compiler = pytest.mark.skipif(not host_kernels.has_compiler(), reason="there is no C++ compiler")


@pytest.fixture
def kernel(cp: Any) -> Call:
    """CuPy's ElementwiseKernel; the stand-in's needs a C++ compiler."""
    if "strict" in cp.ElementwiseKernel.__module__ and not host_kernels.has_compiler():
        pytest.skip("there is no C++ compiler")
    made: Call = cp.ElementwiseKernel
    return made


def test_a_kernel_broadcasts_and_makes_its_results(cp: Any, kernel: Call) -> None:
    mix = kernel("T x, T y, float32 weight", "T sum, float64 exact", "sum = x + weight * y; exact = sum", "mix")
    x, y = cp.arange(6, dtype=cp.float32).reshape(2, 3), cp.arange(3, dtype=cp.float32)
    total, exact = mix(x, y, 10)
    assert (total.shape, total.dtype, exact.dtype) == ((2, 3), np.float32, np.float64)
    assert total.get().tolist() == exact.get().tolist() == [[0, 11, 22], [3, 14, 25]]
    assert mix(x[0], cp.ones((), cp.float32), 1)[0].get().tolist() == [1, 2, 3]  # 0-d arrays broadcast too
    copy = kernel("T x", "T y", "y = x", "copy_it")
    assert copy(y, x) is x and x.get().tolist() == [[0, 1, 2]] * 2 and copy(cp.ones((0, 3))).shape == (0, 3)
    assert isinstance(copy(y), cp.ndarray) and isinstance(kernel("T x", "T y", "y = x", return_tuple=True)(y), tuple)
    assert kernel("T x", "T y", "y = x", no_return=True)(y) is None


def test_a_kernel_fills_the_arrays_it_is_given(cp: Any, kernel: Call) -> None:
    accumulate = kernel("T x", "T y, T z", "y += x; z = y * y", "accumulate")
    x, y, z = cp.arange(3.0), cp.ones(3), cp.zeros(3)
    first, second = accumulate(x, y, z)
    assert first is y and second is z
    assert y.get().tolist() == [1, 2, 3] and z.get().tolist() == [1, 4, 9]
    wide = cp.zeros((3, 4))
    accumulate(x, wide.T[1], wide[:, 2])  # views with strides of their own
    assert wide.T.get().tolist() == [[0, 0, 0], [0, 1, 2], [0, 1, 4], [0, 0, 0]]
    accumulate(x, x, z)  # in and out may be the same array
    assert x.get().tolist() == [0, 2, 4]


def test_raw_arrays_are_indexed_in_c_order(cp: Any, kernel: Call) -> None:
    reverse = kernel("raw T x", "T y", "y = x[_ind.size() - 1 - i]", "reverse_it")
    a = cp.arange(6.0).reshape(2, 3)
    assert reverse(a, cp.zeros(6)).get().tolist() == [5, 4, 3, 2, 1, 0]
    assert reverse(a.T, cp.zeros(6)).get().tolist() == [5, 2, 4, 1, 3, 0]  # not the order in memory
    assert reverse(a, size=3).get().tolist() == [2, 1, 0]
    scatter = kernel("raw T x, raw L where", "raw T y", "y[where[i]] = x[i]", "scatter_it")
    y = cp.zeros((2, 3))
    assert scatter(a, cp.array([5, 0], dtype=cp.uint8), y, size=2, block_size=32) is y
    assert y.get().tolist() == [[1, 0, 0], [0, 0, 0]]
    sizes = kernel("raw T x", "int64 y", "y = x.size() * 100 + x.shape()[1]", "sizes")
    assert int(sizes(a, size=1)[0]) == 603


def test_scalars_take_the_type_of_their_parameter(cp: Any, kernel: Call) -> None:
    scale = kernel("T x, T factor, int32 n, bool on", "T y", "y = on ? x * factor + T(n) : x", "scale")
    for dtype in (np.float32, np.float64):
        x = cp.ones(2, dtype)
        for factor in (0.1, np.float64(0.1), np.float32(0.1)):
            result = scale(x, factor, 2, True)
            assert result.dtype == dtype and result.get()[0] == dtype(dtype(factor) + dtype(2))
        assert scale(x, 3, np.int64(2), False).get().tolist() == [1, 1]


def test_functions_of_float32_stay_in_float32(cp: Any, kernel: Call) -> None:
    preamble = "template <typename A> __device__ T twice(const A& x, ptrdiff_t i) { return T(2) * x[i]; }"
    body = "y = T(sizeof(exp(x)) + sizeof(erfc(x)) + sizeof(tanh(x)) + sizeof(log(x)) + sizeof(sqrt(x))) + twice(z, i)"
    bytes_of = kernel("T x, raw T z", "T y", body, "bytes_of", preamble=preamble)
    for dtype in (np.float32, np.float64):
        one = cp.ones(1, dtype)
        assert float(bytes_of(one, one)[0]) == 5 * np.dtype(dtype).itemsize + 2


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda cp, k, a: k(np.ones(3), 1), TypeError),
        (lambda cp, k, a: k(a, [1, 2, 3]), TypeError),
        (lambda cp, k, a: k(a, None), TypeError),
        (lambda cp, k, a: k(a, 1, np.ones(3)), TypeError),
        (lambda cp, k, a: k(a), TypeError),
        (lambda cp, k, a: k(a, 1, a, a), TypeError),
        (lambda cp, k, a: k(a, 1, shape=3), TypeError),
        (lambda cp, k, a: k(a, cp.ones(3, cp.float32)), TypeError),
        (lambda cp, k, a: k(a, 1, cp.ones(3, cp.float32)), TypeError),
        (lambda cp, k, a: k(a, 1, size=3), ValueError),
        (lambda cp, k, a: k(2.0, 1.0), ValueError),
        (lambda cp, k, a: k(a, cp.ones(2)), ValueError),
        (lambda cp, k, a: k(cp.ones((2, 3)), 1, a), ValueError),
        (lambda cp, k, a: k(a, 1, block_size=0), ValueError),
        (lambda cp, k, a: cp.ElementwiseKernel("float32 x", "T y", "y = x")(a), TypeError),
        (lambda cp, k, a: cp.ElementwiseKernel("float64 x", "T y", "y = x")(a), KeyError),
        (lambda cp, k, a: cp.ElementwiseKernel("raw T x", "T y", "y = x[i]")(a), ValueError),
        (lambda cp, k, a: cp.ElementwiseKernel("T x", "raw T y", "y[i] = x")(a), ValueError),
        (lambda cp, k, a: cp.ElementwiseKernel("T i", "T y", "y = i"), ValueError),
        (lambda cp, k, a: cp.ElementwiseKernel("T x", "T y", "y = x", "not a name"), ValueError),
    ],
)
def test_a_kernel_refuses_what_does_not_fit(cp: Any, kernel: Call, call: Call, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(cp, kernel("T x, T factor", "T y", "y = x * factor", "scale_it"), cp.ones(3))


@needs_compiler
def test_a_kernel_that_only_luck_makes_right_is_refused(strict_cupy: Any) -> None:
    make, a = strict_cupy.ElementwiseKernel, strict_cupy.arange(6.0)
    copy = make("T x", "T y", "y = x", "copy")
    with pytest.raises(ValueError, match="x and y overlap"):
        copy(a[:-1], a[1:])
    with pytest.raises(ValueError, match="several elements in one place"):
        copy(a, strict_cupy.broadcast_to(a[0], (6,)))
    for body in ("y = x[i + 1]", "y = x[i - 1]"):
        with pytest.raises(IndexError, match="outside"):
            make("raw T x", "T y", body)(a, strict_cupy.zeros(6))
    with pytest.raises(TypeError, match="cut it off"):
        make("T x, int32 n", "T y", "y = x * T(n)")(a, 1.5)
    with pytest.raises(NotImplementedError, match="float16"):
        copy(strict_cupy.ones(2, np.float16))


@needs_compiler
@pytest.mark.parametrize("body", ["y = x * 0.5", "y = exp(0.5 * x)", "x = y", "y = nosuch(x)", "return"])
def test_a_kernel_that_would_not_compile_or_would_leave_float32(strict_cupy: Any, body: str) -> None:
    x = strict_cupy.ones(2, np.float32)
    with pytest.raises(RuntimeError, match="does not compile"):
        strict_cupy.ElementwiseKernel("T x", "T y", body)(x)


@needs_compiler
def test_starting_a_kernel_is_no_look_and_each_start_is_counted(strict_cupy: Any) -> None:
    a = strict_cupy.ones(3)
    copy = strict_cupy.ElementwiseKernel("T x", "T y", "y = x", "copy")
    strict_cupy.reset_counts()
    copy(a), copy(a, strict_cupy.empty(3))
    assert (strict_cupy.launches, strict_cupy.syncs, strict_cupy.uploads) == (2, 0, 0)


def test_what_computes_counts_as_a_launch_and_what_only_looks_around_does_not(strict_cupy: Any) -> None:
    cp, a = strict_cupy, strict_cupy.ones((3, 4))
    rows = cp.arange(2)
    for call in (lambda: a + 1, lambda: a.sum(), lambda: cp.sum(a), lambda: a @ a.T, lambda: a[rows], lambda: a.copy()):
        cp.reset_counts()
        call()
        assert cp.launches == 1
    cp.reset_counts()
    a[0], a.T.reshape(2, 6).shape, a[None].ravel(), cp.empty_like(a), cp.asarray(a), a.astype(float, copy=False)
    assert cp.launches == 0
    a[0] = 1
    a[rows, rows] += 1  # gather, add, scatter
    assert cp.launches == 4


# ---- the real CuPy, as far as it can be asked without a GPU ----------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
def test_cupy_refuses_what_the_stand_in_refuses() -> None:
    calls = {
        'cupy.take(np.ones(3), [0], mode="clip")': "TypeError",
        "cupy.clip(np.ones(3), min=0, max=1)": "TypeError",
        "cupy.add(1, 1, where=True)": "TypeError",
        "cupy.matmul(np.ones((2, 2)), np.ones((2, 2)))": "TypeError",
        "cupy.maximum.reduce(np.ones(3))": "NotImplementedError",
        "cupy.errstate": "AttributeError",
        "cupy.random.Generator.permutation": "AttributeError",
        "cupy.ndarray.setflags": "AttributeError",
        "cupy.ndarray.__index__": "AttributeError",
        "cupy.ndarray.__imatmul__": "AttributeError",
    }
    # In a process of its own, so that the real CuPy stays out of this one.
    script = "import warnings; warnings.simplefilter('ignore'); import cupy, numpy as np\n" + "".join(
        f"try: {call}\nexcept Exception as error: print(type(error).__name__)\nelse: print('nothing')\n"
        for call in calls
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    assert dict(zip(calls, answer.stdout.split(), strict=True)) == calls
