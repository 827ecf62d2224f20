"""Optimizers take PyTorch's steps, on one vector, in place, in slices of any size; schedules go where they say.

Where PyTorch is installed its own optimizers run beside ours for 25 steps in float64, and must agree to 1e-10.
"""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits, import_torch, sample

from minikd import MLP, SGD, Adam, AdamW, optim
from minikd.backend import Array, to_device, to_numpy
from minikd.fast import clear_subnormal
from minikd.optim import Optimizer, constant, cosine, limit_column_norms, step_decay

PLAIN_TOO = True  # with kernels and without
pytestmark = pytest.mark.extras
SIZES = (5, 4, 3)
N_WEIGHTS, N_PARAMS = 5 * 4 + 4 * 3, 5 * 4 + 4 * 3 + 4 + 3
STEPS = 25
# Ours, and the name and options of PyTorch's.
OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any], str, dict[str, Any]]] = {
    "plain": (SGD, {}, "SGD", {}),
    "momentum": (SGD, {"momentum": 0.9}, "SGD", {"momentum": 0.9}),
    "nesterov": (SGD, {"momentum": 0.8, "nesterov": True}, "SGD", {"momentum": 0.8, "nesterov": True}),
    "SGD with decay": (SGD, {"weight_decay": 0.3}, "SGD", {}),
    "momentum with decay": (SGD, {"momentum": 0.9, "weight_decay": 0.3}, "SGD", {"momentum": 0.9}),
    "nesterov with decay": (
        SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.3},
        "SGD",
        {"momentum": 0.9, "nesterov": True},
    ),
    "Adam": (Adam, {}, "Adam", {}),
    "Adam with options": (Adam, {"betas": (0.7, 0.95), "eps": 1e-3}, "Adam", {"betas": (0.7, 0.95), "eps": 1e-3}),
    "Adam with decay": (Adam, {"weight_decay": 0.3}, "Adam", {}),
    "AdamW": (AdamW, {}, "AdamW", {}),
    "AdamW with options": (
        AdamW,
        {"weight_decay": 0.3, "betas": (0.8, 0.99), "eps": 1e-4},
        "AdamW",
        {"betas": (0.8, 0.99), "eps": 1e-4},
    ),
    "AdamW without decay": (AdamW, {"weight_decay": 0.0}, "AdamW", {}),
}


def make_model(device: str = "cpu", dtype: str = "float64") -> MLP:
    """A network whose parameters are fixed numbers, biases too."""
    model = MLP(SIZES, device=device, dtype=dtype)
    model.theta[...] = to_device(sample(N_PARAMS, seed=3).astype(dtype), device)
    return model


def make_optimizer(name: str, model: MLP, lr: float = 0.05) -> Optimizer:
    """One of ours, by its name in the table."""
    ours, options, _, _ = OPTIMIZERS[name]
    return ours(model, lr, **options)


def slope(theta: np.ndarray, step: int) -> np.ndarray:
    """A gradient that depends on where one is and on the step; 0 for one weight and one bias, which then only decay."""
    wave = np.sin(1.7 * np.arange(N_PARAMS) + 0.9 * step)
    gradient = 0.5 * theta + wave
    gradient[[4, -2]] = 0.0
    return gradient


def rate(step: int) -> float:
    """A learning rate that changes from step to step."""
    return 0.05 * (1 + math.cos(math.pi * step / STEPS)) / 2


def walk(model: MLP, optimizer: Optimizer, steps: range) -> np.ndarray:
    """Take these steps; where one has come to, as a copy on the host."""
    for step in steps:
        model.grad[...] = to_device(slope(to_numpy(model.theta), step).astype(model.dtype), model.device)
        optimizer.lr = rate(step)
        optimizer.step()
    return to_numpy(model.theta).copy()


# ---- against PyTorch -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_takes_the_steps_of_pytorch(device: str, name: str) -> None:
    torch = import_torch()
    _, options, theirs, their_options = OPTIMIZERS[name]
    model = make_model(device)
    optimizer = make_optimizer(name, model)
    theta = torch.tensor(sample(N_PARAMS, seed=3))
    weights, biases = theta[:N_WEIGHTS], theta[N_WEIGHTS:]  # views, so that PyTorch too works on one vector
    decay = options.get("weight_decay", 0.01 if theirs == "AdamW" else 0.0)
    groups = [{"params": [weights], "weight_decay": decay}, {"params": [biases], "weight_decay": 0.0}]
    reference = getattr(torch.optim, theirs)(groups, lr=0.05, **their_options)
    for step in range(STEPS):
        gradient = torch.tensor(slope(theta.numpy(), step))
        weights.grad, biases.grad = gradient[:N_WEIGHTS], gradient[N_WEIGHTS:]
        for group in reference.param_groups:
            group["lr"] = rate(step)
        reference.step()
        assert_close(walk(model, optimizer, range(step, step + 1)), theta.numpy())
    assert np.abs(theta.numpy() - sample(N_PARAMS, seed=3)).max() > 0.1


# ---- by hand ---------------------------------------------------------------------------------------------------


def one_step(make: Callable[[MLP], Optimizer], device: str, times: int = 1) -> np.ndarray:
    """theta after `times` steps from 1 with gradient 2 everywhere."""
    model = make_model(device)
    model.theta[...] = 1.0
    model.grad[...] = 2.0
    optimizer = make(model)
    for _ in range(times):
        optimizer.step()
    return to_numpy(model.theta)


# An optimizer, a number of steps, and what a weight and a bias come to that start from 1 with gradient 2.
BY_HAND: dict[str, tuple[Callable[[MLP], Optimizer], int, float, float]] = {
    "plain": (lambda model: SGD(model, 0.1), 1, 0.8, 0.8),
    "momentum": (lambda model: SGD(model, 0.1, momentum=0.5), 2, 0.8 - 0.1 * 3, 0.8 - 0.1 * 3),
    "nesterov": (lambda model: SGD(model, 0.1, momentum=0.5, nesterov=True), 1, 1 - 0.1 * (2 + 0.5 * 2), 1 - 0.1 * 3),
    "decay": (lambda model: SGD(model, 0.1, weight_decay=0.5), 1, 1 - 0.1 * 2.5, 0.8),
    "Adam": (lambda model: Adam(model, 0.1, eps=1e-30), 1, 0.9, 0.9),  # m^ / sqrt(v^) = 2 / 2
    "Adam with a large eps": (lambda model: Adam(model, 0.1, eps=2.0), 1, 1 - 0.1 * 2 / (2 + 2), 0.95),
    "Adam, 7 steps": (lambda model: Adam(model, 0.1, eps=1e-30), 7, 0.3, 0.3),
    "AdamW": (lambda model: AdamW(model, 0.1, eps=1e-30, weight_decay=0.5), 1, 0.95 - 0.1, 0.9),
    "AdamW's own decay": (lambda model: AdamW(model, 0.1, eps=1e-30), 1, 1 - 0.1 * 0.01 - 0.1, 0.9),
    "Adam's own rate": (lambda model: Adam(model, eps=1e-30), 1, 0.999, 0.999),
    "AdamW's own rate": (lambda model: AdamW(model, eps=1e-30, weight_decay=0), 1, 0.999, 0.999),
}


@pytest.mark.parametrize("make, times, weight, bias", BY_HAND.values(), ids=BY_HAND)
def test_steps_worked_out_by_hand(
    device: str, make: Callable[[MLP], Optimizer], times: int, weight: float, bias: float
) -> None:
    theta = one_step(make, device, times)
    np.testing.assert_allclose(theta[:N_WEIGHTS], weight, rtol=1e-14)
    np.testing.assert_allclose(theta[N_WEIGHTS:], bias, rtol=1e-14)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_writes_into_theta_and_leaves_grad_alone(device: str, name: str) -> None:
    model = make_model(device)
    optimizer, theta, grad = make_optimizer(name, model), model.theta, model.grad
    grad[...] = to_device(slope(to_numpy(theta), 1), device)
    before, gradient = to_numpy(theta).copy(), to_numpy(grad).copy()
    optimizer.step()
    assert model.theta is theta and model.grad is grad
    assert_same_bits(grad, gradient)
    moved = to_numpy(theta) != before
    decays = optimizer.weight_decay > 0
    assert moved.sum() == N_PARAMS - 2 + decays and moved[4] == decays and not moved[-2]
    assert float(model.weights[0][0, 0]) == float(theta[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_stays_float32_and_follows_float64(device: str, name: str) -> None:
    fine, coarse = make_model(device), make_model(device, "float32")
    optimizer = make_optimizer(name, coarse)
    wanted, got = walk(fine, make_optimizer(name, fine), range(5)), walk(coarse, optimizer, range(5))
    assert coarse.theta.dtype == coarse.weights[0].dtype == "float32"
    assert all(value.dtype == "float32" for name, value in optimizer.state().items() if name != "t")
    assert_close(got.astype("float64"), wanted, 1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_learning_rate_of_numpys_is_as_good_as_pythons(device: str, name: str) -> None:
    plain, numpys = make_model(device, "float32"), make_model(device, "float32")
    results = []
    for model, number in ((plain, float), (numpys, np.float64)):
        optimizer = make_optimizer(name, model)
        model.grad[...] = to_device(slope(to_numpy(model.theta), 1).astype("float32"), device)
        optimizer.lr = number(0.05)
        optimizer.step()
        results.append(model.theta)
    assert results[1].dtype == "float32"
    assert_close(results[1], to_numpy(results[0]), 1e-6)


def test_a_step_with_no_gradient_at_all_moves_nothing(device: str) -> None:
    for make in (lambda model: SGD(model, 0.1, momentum=0.9), lambda model: Adam(model, 0.1)):
        model = make_model(device)
        before = to_numpy(model.theta).copy()
        make(model).step()
        assert_same_bits(model.theta, before)


@pytest.mark.parametrize("make", [Adam, lambda model, lr: AdamW(model, lr, weight_decay=0.0)], ids=["Adam", "AdamW"])
@pytest.mark.parametrize("size", [1e-15, 1.0, 1e20])
def test_adam_moves_by_its_rate_whatever_the_size_of_the_gradient(device: str, make: Any, size: float) -> None:
    """In float32, where the square of 1e20 overflows: the moments are averages, and the root is taken first."""
    model = make_model(device, "float32")
    optimizer = make(model, 0.1)
    optimizer.eps = 1e-30
    for step in range(1, 4):
        before = to_numpy(model.theta).copy()
        model.grad[...] = size
        optimizer.step()
        moved = before - to_numpy(model.theta)
        np.testing.assert_allclose(moved, 0.1, rtol=1e-5, atol=1e-6, err_msg=f"step {step}")


# ---- max-norm --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_columns_longer_than_max_norm_are_scaled_down_to_it(xp: Any, dtype: str) -> None:
    W = xp.array([[3.0, 0.3, 0.0, 0.6], [4.0, 0.4, 0.0, 0.8]], dtype=dtype)  # norms 5, 0.5, 0, 1
    original = W
    limit_column_norms(W, 1.0)
    assert W is original and W.dtype == dtype
    assert_close(W, np.array([[0.6, 0.3, 0, 0.6], [0.8, 0.4, 0, 0.8]], dtype), 1e-15 if dtype == "float64" else 1e-7)
    assert_same_bits(W[:, 1:3], np.array([[0.3, 0], [0.4, 0]], dtype))  # those within the limit keep their bits


def test_max_norm_holds_for_the_weights_into_each_unit_after_each_step(device: str) -> None:
    model, free = make_model(device), make_model(device)
    limited, unlimited = SGD(model, 0.1, momentum=0.9, max_norm=0.7), SGD(free, 0.1, momentum=0.9)
    walk(model, limited, range(1))
    walk(free, unlimited, range(1))
    shortened = 0
    for W, W_free in zip(model.weights, free.weights, strict=True):
        wanted = to_numpy(W_free) * np.minimum(1, 0.7 / np.linalg.norm(to_numpy(W_free), axis=0))
        assert_close(W, wanted, 1e-14)
        shortened += (wanted != to_numpy(W_free)).any(axis=0).sum()
    assert shortened >= 5
    assert_same_bits(model.theta[N_WEIGHTS:], free.theta[N_WEIGHTS:])  # biases are free
    for _ in range(10):
        model.grad[...] = -model.theta  # outwards
        limited.step()
        norms = np.concatenate([np.linalg.norm(to_numpy(W), axis=0) for W in model.weights])
        assert norms.max() <= 0.7 * (1 + 1e-15)
    assert norms.min() > 0.7 * (1 - 1e-12)


# ---- slices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [1, 3, 7, 16, N_WEIGHTS - 1, N_WEIGHTS, N_WEIGHTS + 1, N_PARAMS - 1, N_PARAMS, N_PARAMS + 1]
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slices_of_any_size_give_the_same_bits(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = make_model(), make_model()
    wanted = walk(whole, make_optimizer(name, whole), range(4))
    monkeypatch.setattr(optim, "SLICE", size)
    optimizer = make_optimizer(name, cut)
    assert_same_bits(walk(cut, optimizer, range(4)), wanted)


def test_a_network_larger_than_a_slice_is_updated_to_its_last_parameter() -> None:
    model = MLP((600, 500, 10))
    assert model.num_params > optim.SLICE
    before = model.theta.copy()
    model.grad[...] = 1.0
    SGD(model, 0.5).step()
    assert_same_bits(model.theta, before - np.float32(0.5))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_allocates_a_few_slices_however_many_parameters_there_are(name: str) -> None:
    model = MLP((600, 800, 800, 10))
    optimizer = make_optimizer(name, model)
    optimizer.step()
    tracemalloc.start()
    optimizer.step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4.5 * optim.SLICE * 4 < 4 * model.num_params


# ---- state -----------------------------------------------------------------------------------------------------


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """As a checkpoint holds it: on the host, and not the optimizer's own arrays."""
    return {name: value if name == "t" else to_numpy(value).copy() for name, value in state.items()}


@pytest.mark.parametrize("name", ["momentum", "Adam"])
def test_state_of_a_weight_without_gradient_ends_at_0_and_not_among_subnormal_numbers(device: str, name: str) -> None:
    model = make_model(device, "float32")
    optimizer = make_optimizer(name, model)
    model.grad[...] = to_device(sample(N_PARAMS, seed=4).astype("float32"), device)
    optimizer.step()
    model.grad[...] = 0
    model.grad[0] = 1  # this weight goes on
    for _ in range(1000):
        optimizer.step()
    first = to_numpy(optimizer.state()[optimizer.buffers[0]])
    assert first[0] > 0.9 and not first[1:].any()  # without the clearing, 0.9 times a few units rounds to as many


def test_clearing_touches_nothing_that_counts(xp: Any) -> None:
    vector = xp.asarray([1.0, -1e-30, 2e-36, 1e-36, -1e-40, 0.0, math.nan, -math.inf], "float32")
    clear_subnormal([vector])
    expected = np.array([1.0, -1e-30, 2e-36, 0, 0, 0, math.nan, -math.inf], "float32")
    np.testing.assert_array_equal(to_numpy(vector), expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_optimizer_goes_on_with_the_same_bits(device: str, name: str) -> None:
    model = make_model(device)
    optimizer = make_optimizer(name, model)
    theta = walk(model, optimizer, range(5))
    state = copied(optimizer.state())
    assert state["t"] == 5
    vectors = "mv" if isinstance(optimizer, Adam) else "u" if "momentum" in OPTIMIZERS[name][1] else ""
    assert set(state) == {"t", *vectors}
    wanted = walk(model, optimizer, range(5, 10))

    other = make_model(device)
    other.theta[...] = to_device(theta, device)
    restored = make_optimizer(name, other)
    restored.restore(state)
    assert_same_bits(walk(other, restored, range(5, 10)), wanted)
    assert restored.state()["t"] == 10
    for key, value in copied(optimizer.state()).items():
        assert np.array_equal(value, copied(restored.state())[key])


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(device: str) -> None:
    model = make_model(device)
    optimizer = Adam(model)
    walk(model, optimizer, range(3))
    before = copied(optimizer.state())
    other = copied(Adam(MLP((5, 3), device=device)).state())
    missing = {name: value for name, value in before.items() if name != "v"}
    for state in (other, missing, {**before, "u": before["m"]}, {**before, "v": before["v"][:-1]}, {}):
        with pytest.raises(ValueError, match="state must hold t and m, v of shape"):
            optimizer.restore(state)
    after = copied(optimizer.state())
    assert after["t"] == before["t"] == 3
    assert all(np.array_equal(after[name], before[name]) for name in "mv")


# ---- schedules -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.999, 1.0])
def test_constant_is_1(progress: float) -> None:
    assert constant(progress) == 1


@pytest.mark.parametrize(
    "progress, factor", [(0.0, 1), (0.499, 1), (0.5, 0.1), (0.749, 0.1), (0.75, 0.01), (0.999, 0.01), (1.0, 0.01)]
)
def test_step_decay_falls_by_its_factor_at_each_point(progress: float, factor: float) -> None:
    assert step_decay()(progress) == pytest.approx(factor, rel=1e-12)


def test_step_decay_takes_points_in_any_order_and_any_factor() -> None:
    schedule = step_decay(at=(0.9, 0.3), factor=0.5)
    assert [schedule(p) for p in (0.0, 0.3, 0.6, 0.9)] == [1, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    "options, points",
    [
        ({}, {0: 1, 1 / 3: 0.75, 0.5: 0.5, 2 / 3: 0.25, 1: 0}),
        ({"final": 0.2}, {0: 1, 0.5: 0.6, 1: 0.2}),
        ({"warmup": 0.2}, {0: 0, 0.05: 0.25, 0.1: 0.5, 0.2: 1, 0.6: 0.5, 1: 0}),
        ({"warmup": 0.5, "final": 0.1}, {0: 0, 0.25: 0.5, 0.5: 1, 0.75: 0.55, 1: 0.1}),
        ({"final": 1}, {0: 1, 0.5: 1, 1: 1}),
    ],
    ids=str,
)
def test_cosine_at_its_characteristic_points(options: dict[str, float], points: dict[float, float]) -> None:
    schedule = cosine(**options)
    assert [schedule(p) for p in points] == pytest.approx(list(points.values()), abs=1e-12)


def test_cosine_rises_while_it_warms_up_then_falls() -> None:
    schedule = cosine(warmup=0.25)
    values = np.array([schedule(p) for p in np.linspace(0, 1, 101)])
    assert (np.diff(values[:26]) > 0).all() and (np.diff(values[25:]) < 0).all()


@pytest.mark.parametrize("name", ["plain", "Adam"])
def test_the_learning_rate_scales_the_step(device: str, name: str) -> None:
    moves: list[Array] = []
    for lr in (0.01, 0.03, 0.0):
        model = make_model(device)
        before = to_numpy(model.theta).copy()
        model.grad[...] = to_device(slope(before, 1), device)
        make_optimizer(name, model, lr).step()
        moves.append(to_numpy(model.theta) - before)
    assert_close(moves[1], 3 * moves[0], 1e-14)
    assert (moves[2] == 0).all()


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_weight_decay_may_be_set_later_and_spares_the_biases(kind: Any) -> None:
    model = MLP((3, 4, 2), dtype="float64")
    optimizer = kind(model, 0.1, weight_decay=0.0)
    model.theta[...] = 1
    optimizer.step()
    assert (model.theta == 1).all()
    optimizer.weight_decay = 0.5
    optimizer.step()
    assert all((W < 1).all() for W in model.weights) and all((b == 1).all() for b in model.biases)
