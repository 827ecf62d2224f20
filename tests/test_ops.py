"""Each operation does what its formula says, and its `_backward` twin is its derivative, says everyone we can ask.

Every pair is checked twice: against central differences in float64, to a relative error under 1e-7, and against
PyTorch's autograd, to 1e-10.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits, import_torch, sample, torch_activation, torch_tensor

from minikd import check_gradients, ops
from minikd.backend import Array, to_numpy
from minikd.ops import ACTIVATIONS

PLAIN_TOO = True  # with kernels and without
pytestmark = pytest.mark.extras
B, D, K = 4, 3, 5
TEMPERATURES = [0.05, 0.5, 1.0, 4.0, 20.0, 1000.0]
MASK = ops.dropout_mask((B, D), 0.4, np.random.default_rng(3), "float64")


def smooth_points(*shape: int, seed: int = 1) -> np.ndarray:
    """Numbers of both signs that keep clear of relu's kink."""
    z = sample(*shape, seed=seed, scale=2)
    return z + np.where(z < 0, -0.05, 0.05)


class Twin(NamedTuple):
    """A forward function, its backward, and the same function in PyTorch. `inputs` holds what it is a function of."""

    inputs: dict[str, np.ndarray]
    forward: Callable[..., Array]  # (xp, *inputs) -> y
    backward: Callable[..., tuple[Array, ...]]  # (xp, dy, y, *inputs) -> a gradient for each input
    in_torch: Callable[..., Any]  # (torch, *inputs) -> y


def activation_twin(name: str) -> Twin:
    """An activation, on numbers of both signs."""
    f, f_backward = ACTIVATIONS[name]
    return Twin(
        {"z": smooth_points(B, D)},
        lambda xp, z: f(z),
        lambda xp, da, a, z: (f_backward(da, z, a),),
        lambda torch, z: torch_activation(name, z),
    )


def softmax_twin(name: str, T: float) -> Twin:
    """softmax or log_softmax at one temperature."""
    f, f_backward = getattr(ops, name), getattr(ops, f"{name}_backward")
    return Twin(
        {"z": sample(B, K, seed=2, scale=min(T, 2.0))},  # spread over the classes, so that no slope underflows
        lambda xp, z: f(z, T),
        lambda xp, dp, p, z: (f_backward(dp, p, T),),
        lambda torch, z: getattr(torch.nn.functional, name)(z / T, dim=1),
    )


TWINS = {
    "linear": Twin(
        {"x": sample(B, D, seed=4), "W": sample(D, K, seed=5), "b": sample(K, seed=6)},
        lambda xp, x, W, b: ops.linear(x, W, b),
        lambda xp, dz, z, x, W, b: ops.linear_backward(dz, x, W),
        lambda torch, x, W, b: x @ W + b,
    ),
    "dropout": Twin(
        {"x": sample(B, D, seed=4)},
        lambda xp, x: ops.dropout(x, xp.array(MASK, dtype=x.dtype)),
        lambda xp, dy, y, x: (ops.dropout_backward(dy, xp.array(MASK, dtype=dy.dtype)),),
        lambda torch, x: x * torch.tensor(MASK),
    ),
    **{name: activation_twin(name) for name in ACTIVATIONS},
    **{f"{name} T={T:g}": softmax_twin(name, T) for name in ("softmax", "log_softmax") for T in TEMPERATURES},
}


@pytest.fixture(params=TWINS)
def twin(request: pytest.FixtureRequest) -> Twin:
    """Each operation in turn."""
    return TWINS[request.param]


# ---- every pair ------------------------------------------------------------------------------------------------


def test_backward_agrees_with_central_differences(xp: Any, twin: Twin) -> None:
    inputs = {name: xp.array(value) for name, value in twin.inputs.items()}
    y = twin.forward(xp, *inputs.values())
    dy = xp.array(sample(*y.shape, seed=7))
    grads = dict(zip(inputs, twin.backward(xp, dy, y, *inputs.values()), strict=True))
    report = check_gradients(lambda inputs: (twin.forward(xp, *inputs.values()) * dy).sum(), inputs, grads)
    assert {check.block for check in report.checks} == {*inputs, "directions"}
    report.assert_ok(1e-7)


def test_forward_and_backward_agree_with_pytorch(xp: Any, twin: Twin) -> None:
    torch = import_torch()
    tensors = [torch_tensor(value, requires_grad=True) for value in twin.inputs.values()]
    wanted = twin.in_torch(torch, *tensors)
    dy = sample(*wanted.shape, seed=8)
    wanted.backward(torch.tensor(dy))

    inputs = [xp.array(value) for value in twin.inputs.values()]
    y = twin.forward(xp, *inputs)
    assert_close(y, wanted.detach().numpy())
    for grad, tensor in zip(twin.backward(xp, xp.array(dy), y, *inputs), tensors, strict=True):
        assert_close(grad, tensor.grad.numpy())


def test_float32_stays_float32(xp: Any, twin: Twin) -> None:
    inputs = [xp.array(value, dtype="float32") for value in twin.inputs.values()]
    y = twin.forward(xp, *inputs)
    assert y.dtype == "float32"
    assert [grad.dtype for grad in twin.backward(xp, y, y, *inputs)] == ["float32"] * len(inputs)


def test_forward_and_backward_leave_their_inputs_alone(xp: Any, twin: Twin) -> None:
    inputs = [xp.array(value) for value in twin.inputs.values()]
    y = twin.forward(xp, *inputs)
    y_before, dy = y.copy(), xp.array(sample(*y.shape, seed=7))
    twin.backward(xp, dy, y, *inputs)
    assert_same_bits(y, y_before)
    assert_same_bits(dy, sample(*y.shape, seed=7))
    for now, value in zip(inputs, twin.inputs.values(), strict=True):
        assert_same_bits(now, value)


# ---- a layer ---------------------------------------------------------------------------------------------------


def test_linear_backward_overwrites_what_is_in_out(xp: Any) -> None:
    x, W, _ = (xp.array(value) for value in TWINS["linear"].inputs.values())
    dz = xp.array(sample(B, K, seed=9))
    _, dW, db = ops.linear_backward(dz, x, W)
    out = xp.full_like(dW, 99.0), xp.full_like(db, 99.0)
    for result, place, grad in zip(ops.linear_backward(dz, x, W, out=out)[1:], out, (dW, db), strict=True):
        assert result is place
        assert_same_bits(place, grad)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dense_is_linear_then_the_activation_and_its_backward_that_of_the_activation(xp: Any, name: str) -> None:
    x, W, b = (xp.array(value) for value in TWINS["linear"].inputs.values())
    da = xp.array(sample(B, K, seed=9))
    z, a = ops.dense(x, W, b, name)
    assert_close(z, ops.linear(x, W, b), 1e-14)
    assert_close(a, ACTIVATIONS[name][0](z), 1e-14)
    assert_close(ops.activation_backward(da, z, a, name), ACTIVATIONS[name][1](da, z, a), 1e-14)


def test_linear_backward_without_dx_computes_the_rest(xp: Any) -> None:
    x, W, _ = (xp.array(value) for value in TWINS["linear"].inputs.values())
    dz = xp.array(sample(B, K, seed=9))
    dx, dW, db = ops.linear_backward(dz, x, W, need_dx=False)
    _, wanted_dW, wanted_db = ops.linear_backward(dz, x, W)
    assert dx is None
    assert_same_bits(dW, wanted_dW)
    assert_same_bits(db, wanted_db)


# ---- activations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, values",
    [
        ("relu", [0.0, 0.0, 0.0, 0.5, 3.0]),
        ("tanh", [-0.9950547536867305, -0.46211715726000973, 0.0, 0.46211715726000973, 0.9950547536867305]),
        ("sigmoid", [0.04742587317756678, 0.3775406687981454, 0.5, 0.6224593312018546, 0.9525741268224334]),
        ("gelu", [-0.00404969409489031, -0.15426876936299347, 0.0, 0.34573123063700656, 2.9959503059051096]),
    ],
)
def test_activation_at_known_points(xp: Any, name: str, values: list[float]) -> None:
    assert_close(ACTIVATIONS[name][0](xp.array([-3.0, -0.5, 0.0, 0.5, 3.0])), np.array(values), 1e-15)


def test_relu_has_slope_0_at_its_kink(xp: Any) -> None:
    z = xp.zeros((2, 2))
    assert to_numpy(ops.relu_backward(xp.ones((2, 2)), z, ops.relu(z))).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name, far",  # f and f' far to the left, f and f' far to the right
    [("relu", (0, 0, 1e4, 1)), ("tanh", (-1, 0, 1, 0)), ("sigmoid", (0, 0, 1, 0)), ("gelu", (0, 0, 1e4, 1))],
)
def test_activation_saturates_without_overflow(xp: Any, name: str, far: tuple[float, ...], dtype: str) -> None:
    f, f_backward = ACTIVATIONS[name]
    z = xp.array([-1e4, 1e4], dtype=dtype)
    a = f(z)
    assert to_numpy(a).tolist() == [far[0], far[2]]
    assert to_numpy(f_backward(xp.ones_like(z), z, a)).tolist() == [far[1], far[3]]


# ---- the normal distribution function --------------------------------------------------------------------------

GRID = np.linspace(-37, 37, 2961)


def test_normal_cdf_agrees_with_erf(xp: Any) -> None:
    phi = to_numpy(ops.normal_cdf(xp.array(GRID)))
    wanted = np.array([(1 + math.erf(z / math.sqrt(2))) / 2 for z in GRID])
    assert np.abs(phi - wanted).max() < 1e-15


def test_normal_cdf_is_accurate_relative_to_its_tiny_values_in_the_lower_tail(xp: Any) -> None:
    z = GRID[GRID <= 0]
    phi = to_numpy(ops.normal_cdf(xp.array(z)))
    wanted = np.array([math.erfc(-t / math.sqrt(2)) / 2 for t in z])
    assert wanted.min() < 1e-298
    # e^(-z²/2) turns a rounding of the exponent into z²/2 roundings of the value; nothing else may be lost.
    assert (np.abs(phi / wanted - 1) < 3e-16 * (6 + z * z)).all()


def test_normal_cdf_of_float32_is_accurate_to_float32(xp: Any) -> None:
    z = np.linspace(-12, 12, 961, dtype=np.float32)
    phi = to_numpy(ops.normal_cdf(xp.array(z)))
    wanted = np.array([math.erfc(-float(t) / math.sqrt(2)) / 2 for t in z])
    assert phi.dtype == np.float32
    assert (np.abs(phi / wanted - 1) < 1.2e-7 * (5 + z * z)).all()


def test_normal_cdf_is_one_half_at_0_and_symmetric(xp: Any) -> None:
    z = xp.array(GRID)
    assert abs(float(ops.normal_cdf(xp.zeros(1))[0]) - 0.5) < 1e-15
    assert_close(ops.normal_cdf(z) + ops.normal_cdf(-z), np.ones_like(GRID), 1e-15)


def test_normal_cdf_never_falls(xp: Any) -> None:
    phi = to_numpy(ops.normal_cdf(xp.array(np.linspace(-38, 9, 4701))))
    assert (np.diff(phi) >= -1.2e-16).all() and phi.min() >= 0 and phi.max() == 1


# ---- dropout ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_dropout_mask_drops_its_share_and_scales_the_rest(xp: Any, rate: float, dtype: str) -> None:
    mask = to_numpy(ops.dropout_mask((400, 500), rate, xp.random.default_rng(0), dtype))
    assert mask.dtype == dtype and mask.shape == (400, 500)
    assert abs((mask == 0).mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / mask.size)
    np.testing.assert_allclose(mask[mask != 0], 1 / (1 - rate), rtol=2e-4)  # the rate is a multiple of 2^-16


@pytest.mark.parametrize("rate", [1e-6, 0.1, 0.3, 0.999, 1 - 1e-9])
def test_dropout_mask_has_mean_1_exactly(rate: float) -> None:
    class EveryNumberOnce:
        """A generator that draws each of the 65,536 numbers once, so that a mean is an expectation."""

        def integers(self, low: int, high: int, size: tuple[int, ...], dtype: str) -> np.ndarray:
            return np.arange(low, high, dtype=dtype).reshape(size)

    mask = ops.dropout_mask((256, 256), rate, EveryNumberOnce(), "float64")
    assert mask.mean() == pytest.approx(1, rel=1e-12)
    assert abs((mask == 0).mean() - rate) <= 2**-16


def test_dropout_masks_of_one_seed_are_the_same(xp: Any) -> None:
    first, again, other = (ops.dropout_mask((9, 9), 0.5, xp.random.default_rng(s), "float32") for s in (1, 1, 2))
    assert_same_bits(first, again)
    assert not np.array_equal(to_numpy(first), to_numpy(other))


# ---- rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64", "bool"])
@pytest.mark.parametrize("shape", [(9,), (9, 4), (9, 2, 3)])
def test_rows_are_those_of_the_index(xp: Any, shape: tuple[int, ...], dtype: str) -> None:
    values = (10 * sample(*shape)).astype("int64").astype(dtype)
    array, index = xp.array(values), np.array([8, 0, 0, 3])
    rows = ops.take_rows(array, xp.array(index))
    assert rows.dtype == dtype
    assert_same_bits(rows, values[index])
    rows[...] = 7
    assert_same_bits(array, values)


# ---- softmax ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", TEMPERATURES)
def test_softmax_is_its_formula(xp: Any, T: float) -> None:
    logits = sample(B, K, seed=2, scale=2)
    p = [[math.exp(z / T) / sum(math.exp(other / T) for other in row) for z in row] for row in logits.tolist()]
    assert_close(ops.softmax(xp.array(logits), T), np.array(p), 1e-13)
    assert_close(ops.log_softmax(xp.array(logits), T), np.log(p), 1e-12)


def test_temperature_1_is_the_default(xp: Any) -> None:
    z = xp.array(sample(B, K))
    assert_same_bits(ops.softmax(z), ops.softmax(z, 1.0))
    assert_same_bits(ops.log_softmax(z), ops.log_softmax(z, 1.0))
    assert_same_bits(ops.softmax_backward(z, ops.softmax(z)), ops.softmax_backward(z, ops.softmax(z), 1.0))
    assert_same_bits(ops.log_softmax_backward(z, z), ops.log_softmax_backward(z, z, 1.0))


def test_a_high_temperature_flattens_and_a_low_one_sharpens(xp: Any) -> None:
    z = xp.array([[1.0, 2.0, 4.0]])
    assert_close(ops.softmax(z, 1e3), np.full((1, 3), 1 / 3), 1e-3)
    assert_close(ops.softmax(z, 1e-3), np.array([[0.0, 0.0, 1.0]]), 1e-300)


def test_log_softmax_is_finite_where_softmax_underflows(xp: Any) -> None:
    z = xp.array([[0.0, 1e4]])
    assert to_numpy(ops.softmax(z)).tolist() == [[0, 1]]
    assert to_numpy(ops.log_softmax(z)).tolist() == [[-1e4, 0]]


def test_large_logits_keep_their_small_differences_at_a_low_temperature(xp: Any) -> None:
    # 1e4 / 1e-3 has no float32 neighbour nearer than 1, so the maximum must be taken off before the division.
    z = np.array([[1e4, 1e4 - 2**-10]], np.float32)
    odds = math.exp(2**-10 / 1e-3)
    assert_close(ops.softmax(xp.array(z), 1e-3), np.array([[odds / (1 + odds), 1 / (1 + odds)]]), 1e-6)


@pytest.mark.parametrize("T", [np.float64(2), np.float32(2), np.int64(2), 2], ids=lambda T: type(T).__name__)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_float32_stays_float32_whatever_kind_of_number_the_temperature_is(xp: Any, name: str, T: Any) -> None:
    z = xp.array(sample(B, K), dtype="float32")
    y = getattr(ops, name)(z, T)
    assert y.dtype == "float32"
    assert getattr(ops, f"{name}_backward")(z, y, T).dtype == "float32"


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8"])
def test_integer_logits_are_computed_in_float64(xp: Any, dtype: str) -> None:
    low, high = (0, 255) if dtype == "uint8" else (-100, 100)
    z = np.array([[1, 3], [low, high]])
    for f in (ops.softmax, ops.log_softmax):
        result = f(xp.array(z, dtype=dtype), 2.0)
        assert result.dtype == "float64"
        assert_close(result, f(z.astype(float), 2.0), 1e-15)
