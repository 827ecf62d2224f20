"""The network: its gradients, its one flat vector, its dropout, and that the CPU and a GPU agree.

Gradients of the whole network are checked against central differences (relative error under 1e-7) and PyTorch's
autograd (1e-10), for every activation, one to four layers, with and without dropout.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import (
    assert_close,
    assert_same_bits,
    blocks_of,
    import_torch,
    sample,
    some_labels,
    torch_distillation_loss,
    torch_mlp,
    torch_tensor,
)

from minikd import MLP, SGD, Adam, AdamW, check_gradients, cross_entropy, distillation_loss, fit, mlp, ops
from minikd.backend import Array, to_device, to_numpy
from minikd.ops import ACTIVATIONS

PLAIN_TOO = True  # with kernels and without
pytestmark = pytest.mark.extras
B = 4
SIZES = {1: (4, 3), 2: (4, 5, 3), 3: (4, 5, 3, 3), 4: (4, 3, 2, 4, 3)}  # by number of layers
RATES = (0.2, 0.5, 0.3, 0.25)  # of dropout, layer by layer
T, W = 3.0, 0.7


def make_model(layers: int, device: str, *, dropout: bool = False, dtype: str = "float64", **options: Any) -> MLP:
    """A small network whose biases are not 0, so that a mistake in them shows."""
    rates = RATES[:layers] if dropout else 0.0
    model = MLP(SIZES[layers], device=device, dtype=dtype, dropout=rates, **options)
    for i, b in enumerate(model.biases):
        b[...] = to_device(sample(*b.shape, seed=20 + i, scale=0.3).astype(dtype), device)
    return model


def make_batch(device: str, rows: int = B, dtype: str = "float64") -> tuple[Array, Array, Array]:
    """x (B, 4), labels (B,), teacher's logits (B, 3)."""
    x, v = sample(rows, 4, seed=11).astype(dtype), sample(rows, 3, seed=12, scale=2).astype(dtype)
    return to_device(x, device), to_device(some_labels(rows, 3), device), to_device(v, device)


def loss_of(model: MLP, x: Array, labels: Array, teacher_logits: Array) -> tuple[Any, Array]:
    """A training forward, always with the same dropout masks, and the distillation loss."""
    model.seed_dropout(7)
    logits = model.forward(x, train=True)
    return distillation_loss(logits, labels, teacher_logits, temperature=T, soft_weight=W)


@pytest.fixture
def drawn_masks(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The dropout masks that networks draw from now on, in the order of the layers that have dropout."""
    masks: list[np.ndarray] = []
    original = ops.dropout_mask

    def draw(*args: Any) -> Array:
        mask = original(*args)
        masks.append(to_numpy(mask).copy())
        return mask

    monkeypatch.setattr(ops, "dropout_mask", draw)
    return masks


# ---- gradients -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layers", SIZES)
@pytest.mark.parametrize("dropout", [False, True], ids=["plain", "dropout"])
def test_backward_agrees_with_central_differences(device: str, activation: str, layers: int, dropout: bool) -> None:
    model = make_model(layers, device, activation=activation, dropout=dropout)
    x, *targets = make_batch(device)
    dx = model.backward(loss_of(model, x, *targets)[1])
    theta, grad = blocks_of(model)
    theta["x"], grad["x"] = x, dx
    some = None if device == "cpu" else 3  # of the coordinates of each block: all of them take long there
    report = check_gradients(lambda _: loss_of(model, x, *targets)[0], theta, grad, n_coordinates=some)
    report.assert_ok(1e-7)
    sizes = [block.size for block in theta.values()]
    assert [check.checked for check in report.checks] == [min(size, some or size) for size in sizes] + [5]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_backward_of_a_large_network_agrees_along_random_directions(device: str, activation: str) -> None:
    model = MLP((784, 300, 10), activation=activation, dropout=(0.1, 0.5), device=device, dtype="float64")
    x = to_device(np.abs(sample(8, 784, seed=1, scale=0.5)), device)
    targets = (to_device(some_labels(8, 10), device), to_device(sample(8, 10, seed=2, scale=3), device))
    model.backward(loss_of(model, x, *targets)[1])
    report = check_gradients(lambda _: loss_of(model, x, *targets)[0], *blocks_of(model), n_coordinates=3)
    assert report.checks[-1].block == "directions" and report.checks[-1].checked == 5
    report.assert_ok(1e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layers", SIZES)
@pytest.mark.parametrize("dropout", [False, True], ids=["plain", "dropout"])
def test_forward_and_backward_agree_with_pytorch(
    device: str, activation: str, layers: int, dropout: bool, drawn_masks: list[np.ndarray]
) -> None:
    torch = import_torch()
    model = make_model(layers, device, activation=activation, dropout=dropout)
    x, labels, v = make_batch(device)
    loss, dlogits = loss_of(model, x, labels, v)
    dx = model.backward(dlogits)

    assert len(drawn_masks) == (layers if dropout else 0)
    masks = [torch.tensor(mask) for mask in drawn_masks] or [None] * layers
    tx = torch_tensor(x, requires_grad=True)
    weights, biases = ([torch_tensor(p, requires_grad=True) for p in ps] for ps in (model.weights, model.biases))
    logits = torch_mlp(tx, weights, biases, activation, masks)
    wanted = torch_distillation_loss(logits, torch_tensor(labels), torch_tensor(v), T, W)
    wanted.backward()

    assert_close(np.asarray(float(loss)), wanted.detach().numpy())
    assert_close(dx, tx.grad.numpy())
    for ours, theirs in zip(
        (*model.weight_grads, *model.bias_grads), (p.grad.numpy() for p in (*weights, *biases)), strict=True
    ):
        assert_close(ours, theirs)
    plain = torch_mlp(tx, weights, biases, activation, [None] * layers)
    assert_close(model.forward(x), plain.detach().numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_array_has_the_networks_type(device: str, dtype: str) -> None:
    model = make_model(3, device, dropout=True, dtype=dtype)
    x, labels, v = make_batch(device)  # float64, both times
    _, dlogits = loss_of(model, x, labels, v)
    arrays = [model.theta, model.grad, dlogits, *model.hidden, model.forward(x), model.predict(x)]
    arrays += [model.backward(dlogits), *model.weights, *model.biases, *model.weight_grads, *model.bias_grads]
    assert {str(array.dtype) for array in arrays} == {dtype}


def test_float32_gradients_are_float64_gradients_to_rounding(device: str) -> None:
    grads = []
    for dtype in ("float32", "float64"):
        model = make_model(3, device, dropout=True, dtype=dtype, activation="gelu")
        model.theta[...] = to_device((np.arange(model.num_params) % 17 - 8) / 32, device)  # exact in both
        x, labels, v = make_batch(device, dtype="float32")
        model.backward(loss_of(model, x.astype(dtype), labels, v.astype(dtype))[1])
        grads.append(to_numpy(model.grad))
    assert_close(*grads, 1e-6)


def test_backward_overwrites_the_last_gradient(device: str) -> None:
    model = make_model(3, device)
    batch = make_batch(device)
    model.backward(loss_of(model, *batch)[1])
    once = model.grad.copy()
    model.grad[...] = 1e3
    model.backward(loss_of(model, *batch)[1])
    assert_same_bits(model.grad, once)


def test_backward_can_be_asked_twice_about_one_forward(device: str) -> None:
    model = make_model(3, device, dropout=True)
    _, dlogits = loss_of(model, *make_batch(device))
    before, dx = dlogits.copy(), model.backward(dlogits)
    grad = model.grad.copy()
    assert_same_bits(model.backward(dlogits), dx)
    assert_same_bits(model.grad, grad)
    assert_same_bits(dlogits, before)


@pytest.mark.parametrize("layers", SIZES)
def test_without_dx_the_gradient_is_the_same(device: str, layers: int) -> None:
    model = make_model(layers, device, dropout=True)
    _, dlogits = loss_of(model, *make_batch(device))
    model.backward(dlogits)
    with_dx = model.grad.copy()
    model.grad[...] = 1e3
    assert model.backward(dlogits, need_dx=False) is None
    assert_same_bits(model.grad, with_dx)


def test_a_batch_of_another_size_in_between_does_not_disturb_the_gradient(device: str) -> None:
    used = make_model(3, device, dropout=True)
    for rows in (6, 2, 9, 9, 1, 6):  # large, small, larger: the buffers of one step serve the next
        fresh = make_model(3, device, dropout=True)
        batch = make_batch(device, rows)
        results = []
        for model in (used, fresh):
            loss, dlogits = loss_of(model, *batch)
            results.append((float(loss), to_numpy(model.backward(dlogits)).copy(), to_numpy(model.grad).copy()))
        assert results[0][0] == results[1][0]
        assert_same_bits(results[0][1], results[1][1])
        assert_same_bits(results[0][2], results[1][2])


def test_a_forward_without_training_in_between_does_not_disturb_the_gradient(device: str) -> None:
    model = make_model(3, device, dropout=True)
    batch = make_batch(device)
    _, dlogits = loss_of(model, *batch)
    model.backward(dlogits)
    wanted, hidden = model.grad.copy(), [a.copy() for a in model.hidden]
    _, dlogits = loss_of(model, *batch)
    other = to_device(sample(9, 4, seed=13), device)
    model.forward(other)
    model.predict(other)
    model.backward(dlogits)
    assert_same_bits(model.grad, wanted)
    for now, before in zip(model.hidden, hidden, strict=True):
        assert_same_bits(now, before)


def test_predict_leaves_nothing_to_go_backward_from(device: str) -> None:
    model = make_model(2, device)
    x, *_ = make_batch(device)
    logits = model.predict(x)
    model.forward(x)
    assert model.hidden == []
    with pytest.raises(ValueError, match="call forward\\(x, train=True\\) first"):
        model.backward(logits)


# ---- gradients that come in at hidden layers --------------------------------------------------------------------


@pytest.mark.parametrize("layers", [2, 4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_injected_at_hidden_layers_agree_with_central_differences(
    xp: Any, device: str, activation: str, layers: int
) -> None:
    model = make_model(layers, device, dropout=True, activation=activation)
    x, labels, _ = make_batch(device)

    def loss(model: MLP) -> tuple[Any, Array, dict[int, Array]]:
        model.seed_dropout(7)
        value, dlogits = cross_entropy(model.forward(x, train=True), labels)
        first, last = model.hidden[0], model.hidden[-1]
        grads = {0: 3 * xp.cos(first)}
        grads[layers - 2] = grads.get(layers - 2, 0) + last
        return value + 3 * xp.sin(first).sum() + (last * last).sum() / 2, dlogits, grads

    some = None if device == "cpu" else 3  # of the coordinates of each block: all of them take long there
    _, dlogits, grads = loss(model)
    dx = model.backward(dlogits, grads)
    check_gradients(lambda theta: loss(model)[0], *blocks_of(model), n_coordinates=some).assert_ok(1e-7)
    x0, dx = x, dx.copy()

    def of_x(moved: Array) -> Any:
        nonlocal x
        x = moved
        return loss(model)[0]

    check_gradients(of_x, x0.copy(), dx, n_coordinates=some).assert_ok(1e-7)


def test_without_injected_gradients_nothing_changes_and_layers_may_count_from_the_last(device: str) -> None:
    model, (x, labels, _) = make_model(4, device), make_batch(device)
    logits = model.forward(x, train=True)
    dlogits = cross_entropy(logits, labels)[1]
    model.backward(dlogits)
    plain = model.grad.copy()
    for nothing in (None, {}, {1: 0 * model.hidden[1]}):
        model.backward(dlogits, nothing)
        assert_close(model.grad, plain, 1e-15)
    grads = {i: h + 1 for i, h in enumerate(model.hidden)}
    model.backward(dlogits, grads)
    both = model.grad.copy()
    model.backward(dlogits, {i - 3: g for i, g in grads.items()})
    assert_same_bits(model.grad, both)
    for i, h in enumerate(model.hidden):
        assert_close(grads[i], to_numpy(h) + 1, 1e-15)  # the caller's arrays are left alone


def test_injected_gradients_agree_with_pytorch(device: str) -> None:
    torch = import_torch()
    model, (x, labels, _) = make_model(3, device, activation="tanh"), make_batch(device)
    dlogits = cross_entropy(model.forward(x, train=True), labels)[1]
    model.backward(dlogits, {0: 2 * model.hidden[0], 1: 4 * model.hidden[1]})
    Ws, bs = ([torch_tensor(a, requires_grad=True) for a in views] for views in (model.weights, model.biases))
    first = torch.tanh(torch_tensor(x) @ Ws[0] + bs[0])
    second = torch.tanh(first @ Ws[1] + bs[1])
    loss = torch.nn.functional.cross_entropy(second @ Ws[2] + bs[2], torch_tensor(labels))
    (loss + (first**2).sum() + 2 * (second**2).sum()).backward()
    for mine, theirs in zip(model.weight_grads + model.bias_grads, Ws + bs, strict=True):
        assert_close(mine, theirs.grad.numpy(), 1e-10)


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        (lambda h: [h[0]], r"hidden_grads must be a dictionary of gradients by hidden layer, got"),
        (lambda h: {2: h[0]}, r"hidden_grads must name hidden layers, -2 to 1; got 2"),
        (lambda h: {"0": h[0]}, r"hidden_grads must name hidden layers, -2 to 1; got str '0'"),
        (lambda h: {0: h[1]}, r"hidden_grads\[0\] must have 5 columns, got float64 array of shape \(4, 3\)"),
        (lambda h: {0: h[0][:2]}, r"hidden_grads\[0\] must have 4 rows"),
        (lambda h: {1: h[1], -1: h[1]}, r"hidden_grads must name a hidden layer once, got layer 1 twice"),
        (lambda h: {1: 0.5}, r"hidden_grads\[1\] must be a NumPy or CuPy array, got 0.5"),
    ],
)
def test_gradients_of_layers_that_are_not_there_are_refused_and_grad_is_kept(grads: Any, message: str) -> None:
    model, (x, labels, _) = make_model(3, "cpu"), make_batch("cpu")
    dlogits = cross_entropy(model.forward(x, train=True), labels)[1]
    model.backward(dlogits)
    before = model.grad.copy()
    with pytest.raises((TypeError, ValueError), match=message):
        model.backward(2 * dlogits, grads(model.hidden))
    assert_same_bits(model.grad, before)


def test_a_network_without_hidden_layers_takes_no_injected_gradients() -> None:
    model, (x, labels, _) = make_model(1, "cpu"), make_batch("cpu")
    dlogits = cross_entropy(model.forward(x, train=True), labels)[1]
    with pytest.raises(ValueError, match="nothing: this network has none; got 0"):
        model.backward(dlogits, {0: dlogits})


def test_fit_passes_gradients_of_hidden_layers_on(device: str) -> None:
    """Ten steps by fit are ten steps by hand."""
    x, labels, _ = make_batch(device)
    one, two = make_model(3, device), make_model(3, device)

    def loss(logits: Array, labels: Array, model: MLP = one) -> tuple[Any, Array, dict[int, Array]]:
        value, dlogits = cross_entropy(logits, labels)
        return value, dlogits, {-1: 0.1 * model.hidden[-1]}

    fit(one, x, labels, loss=loss, epochs=10, batch_size=B, progress=False)
    adam = Adam(two)
    for epoch in range(10):
        order = to_device(np.random.default_rng((0, epoch)).permutation(B), device)
        _, *grads = loss(two.forward(x[order], train=True), labels[order], two)
        two.backward(*grads)
        adam.step()
    assert_close(one.theta, two.theta, 1e-12)


# ---- one vector, many views ------------------------------------------------------------------------------------


def test_weights_come_first_then_biases_layer_by_layer(device: str) -> None:
    model = make_model(3, device)
    assert model.num_params == 4 * 5 + 5 * 3 + 3 * 3 + 5 + 3 + 3 == len(model.theta) == len(model.grad)
    assert [W.shape for W in model.weights] == [W.shape for W in model.weight_grads] == [(4, 5), (5, 3), (3, 3)]
    assert [b.shape for b in model.biases] == [b.shape for b in model.bias_grads] == [(5,), (3,), (3,)]
    for flat, views in (
        (model.theta, (*model.weights, *model.biases)),
        (model.grad, (*model.weight_grads, *model.bias_grads)),
    ):
        flat[...] = to_device(np.arange(model.num_params, dtype=float), device)
        joined = np.concatenate([to_numpy(view).ravel() for view in views])
        assert (joined == np.arange(model.num_params)).all()


@pytest.mark.parametrize("flat_name, view_names", [("theta", "weights biases"), ("grad", "weight_grads bias_grads")])
def test_writing_into_the_vector_writes_into_the_layers_and_the_other_way(
    device: str, flat_name: str, view_names: str
) -> None:
    model = make_model(3, device)
    flat = getattr(model, flat_name)
    start = 0
    for view in (view for name in view_names.split() for view in getattr(model, name)):
        flat[start] = 123.0
        assert float(view.ravel()[0]) == 123.0
        view[...] = -7.0
        assert (to_numpy(flat[start : start + view.size]) == -7).all()
        start += view.size
    assert start == model.num_params


def test_the_logits_follow_the_vector(device: str) -> None:
    model = make_model(2, device)
    x, *_ = make_batch(device)
    model.theta[...] = 0.0
    model.theta[-3:] = 5.0  # the last layer's biases
    for logits in (model.forward(x), model.forward(x, train=True), model.predict(x)):
        assert (to_numpy(logits) == 5).all()


def assert_still_one_vector(model: MLP, theta: Array, grad: Array) -> None:
    """`theta` and `grad` are the very arrays of the network, and its layers are still windows into them."""
    assert model.theta is theta and model.grad is grad
    for flat, view in ((theta, model.weights[0]), (grad, model.weight_grads[0])):
        flat[0] = 77.0
        assert float(view[0, 0]) == 77.0
    for flat, view in ((theta, model.biases[-1]), (grad, model.bias_grads[-1])):
        flat[-1] = 55.0
        assert float(view[-1]) == 55.0


OPTIMIZERS: dict[str, Callable[[MLP], Any]] = {
    "SGD": lambda model: SGD(model, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3, max_norm=1.0),
    "Adam": lambda model: Adam(model, 0.01, weight_decay=1e-3),
    "AdamW": lambda model: AdamW(model, 0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_steps_never_rebind_the_vector(device: str, name: str) -> None:
    model = make_model(3, device, dropout=True, activation="tanh")
    theta, grad = model.theta, model.grad
    before, optimizer = theta.copy(), OPTIMIZERS[name](model)
    for rows in (B, 9, 2):
        model.backward(loss_of(model, *make_batch(device, rows))[1])
        optimizer.step()
    assert (to_numpy(theta) != to_numpy(before)).all()
    assert_still_one_vector(model, theta, grad)


def test_fit_and_resume_never_rebind_the_vector(device: str, tmp_path: Path) -> None:
    x, labels, _ = make_batch(device, 12)
    model = make_model(2, device)
    theta, grad = model.theta, model.grad
    options = {"loss": cross_entropy, "batch_size": 4, "checkpoint": tmp_path / "run", "progress": False}
    fit(model, x, labels, epochs=2, **options)
    after = theta.copy()
    theta[...] = 0.0
    fit(model, x, labels, epochs=2, resume=True, **options)
    assert_same_bits(theta, after)
    assert_still_one_vector(model, theta, grad)


def test_a_loaded_network_is_one_vector_too(device: str, tmp_path: Path) -> None:
    model = make_model(3, device, dropout=True)
    model.save(tmp_path / "model")
    loaded = MLP.load(tmp_path / "model", device=device)
    assert_same_bits(loaded.theta, model.theta)
    x, *_ = make_batch(device)
    assert_same_bits(loaded.forward(x), model.forward(x))
    assert_still_one_vector(loaded, loaded.theta, loaded.grad)


# ---- how it starts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_initial_weights_have_the_spread_of_he_or_glorot(device: str, activation: str) -> None:
    model = MLP((400, 300, 200), activation=activation, device=device, seed=5)
    for weights, (n, m) in zip(model.weights, ((400, 300), (300, 200)), strict=True):
        sigma = math.sqrt(2 / n) if activation in ("relu", "gelu") else math.sqrt(2 / (n + m))
        w = to_numpy(weights).ravel().astype(float)
        assert abs(w.mean()) < 4 * sigma / math.sqrt(w.size)
        assert w.std() == pytest.approx(sigma, rel=4 / math.sqrt(2 * w.size))  # four standard errors
        assert (np.abs(w) < sigma).mean() == pytest.approx(0.6827, abs=0.01)  # of a normal distribution
        assert abs(np.corrcoef(w[:-1], w[1:])[0, 1]) < 0.02
    assert (to_numpy(model.theta[-500:]) == 0).all()
    assert (to_numpy(model.grad) == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_seed_gives_the_same_network_on_every_device(device: str, dtype: str) -> None:
    here, there = (MLP((20, 30, 10), seed=3, dtype=dtype, device=d) for d in ("cpu", device))
    assert isinstance(here.theta, np.ndarray)
    assert_same_bits(there.theta, here.theta)
    other = MLP((20, 30, 10), seed=4, dtype=dtype, device=device)
    assert (to_numpy(other.theta[:900]) != to_numpy(there.theta[:900])).all()


def test_the_default_network_has_float32_relu_no_dropout_on_the_cpu() -> None:
    model = MLP((4, 3))
    assert (model.dtype, model.activation, model.dropout, model.device) == ("float32", "relu", (0.0,), "cpu")
    assert (model.sizes, model.num_params) == ((4, 3), 15)
    assert_same_bits(model.theta, MLP((4, 3), seed=0).theta)


# ---- forward ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_without_dropout_training_and_plain_forward_are_the_same(device: str, activation: str) -> None:
    model = make_model(3, device, activation=activation)
    x, *_ = make_batch(device)
    assert_same_bits(model.forward(x, train=True), model.forward(x))


def test_hidden_holds_the_activations_of_the_last_training_forward(device: str) -> None:
    model = make_model(3, device, activation="tanh")
    x, *_ = make_batch(device)
    model.forward(x, train=True)
    a = to_numpy(x)
    assert len(model.hidden) == 2
    for hidden, weights, biases in zip(model.hidden, model.weights[:-1], model.biases[:-1], strict=True):
        a = np.tanh(a @ to_numpy(weights) + to_numpy(biases))
        assert_close(hidden, a, 1e-14)
    model.forward(x[:2], train=True)
    assert [hidden.shape for hidden in model.hidden] == [(2, 5), (2, 3)]


def test_what_a_caller_holds_of_a_training_forward_is_kept_when_the_next_comes(device: str) -> None:
    model = make_model(3, device)
    x, *_ = make_batch(device)
    logits = model.forward(x, train=True)
    held = [logits, *model.hidden, model.hidden[0][1:, :2].T]  # a part is as good as the whole
    before = [array.copy() for array in held]
    del logits
    for factor in (-3, 5):
        model.forward(factor * x, train=True)
        model.backward(held[0] * factor)
    for array, unchanged in zip(held, before, strict=True):
        assert_same_bits(array, unchanged)


def test_forward_leaves_its_input_alone(device: str) -> None:
    model = make_model(3, device, dropout=True)
    x, *targets = make_batch(device)
    before = x.copy()
    model.backward(loss_of(model, x, *targets)[1])
    model.forward(x)
    model.predict(x)
    assert_same_bits(x, before)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_inputs_of_another_type_mean_the_same(device: str, dtype: str) -> None:
    model = make_model(2, device)
    x = np.arange(B * 4).reshape(B, 4) % 7
    wanted = model.forward(to_device(x.astype("float64"), device))
    for forward in (model.forward, lambda x: model.forward(x, train=True)):
        assert_same_bits(forward(to_device(x.astype(dtype), device)), wanted)


@pytest.mark.parametrize("rows", [1, 6, 7, 8, 20])
def test_predict_in_pieces_is_forward(device: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "PIECE", 7)
    model = make_model(3, device, dropout=True)
    x, *_ = make_batch(device, rows)
    assert_close(model.predict(x), model.forward(x), 1e-14)  # a matrix product may round differently in pieces


def test_predict_takes_rows_from_the_host_to_the_networks_device(device: str) -> None:
    model = make_model(2, device)
    x = sample(B, 4, seed=11)
    logits = model.predict(x)
    assert type(logits) is type(model.theta)
    assert_same_bits(logits, model.predict(to_device(x, device)))


def test_predict_draws_no_dropout_masks_and_computes_in_pieces(
    device: str, monkeypatch: pytest.MonkeyPatch, drawn_masks: list[np.ndarray]
) -> None:
    monkeypatch.setattr(mlp, "PIECE", 4)
    model = make_model(2, device, dropout=True)
    largest = []
    original = MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda self, x, *args: largest.append(len(x)) or original(self, x, *args))
    model.predict(make_batch(device, 11)[0])
    assert largest == [4, 4, 3]
    assert drawn_masks == []


# ---- dropout ---------------------------------------------------------------------------------------------------


def test_a_forward_without_training_ignores_dropout(device: str, drawn_masks: list[np.ndarray]) -> None:
    with_dropout, without = make_model(3, device, dropout=True), make_model(3, device)
    x, *_ = make_batch(device)
    assert_same_bits(with_dropout.forward(x), without.forward(x))
    assert drawn_masks == []


def test_dropout_masks_start_afresh_from_the_seed(device: str) -> None:
    model = make_model(3, device, dropout=True)
    x, *_ = make_batch(device)

    def two_forwards(*seed: int) -> list[np.ndarray]:
        model.seed_dropout(*seed)
        return [to_numpy(model.forward(x, train=True)) for _ in range(2)]

    first, again, *others = (two_forwards(*seed) for seed in ((1,), (1,), (2,), (1, 2), (2, 1)))
    assert_same_bits(np.array(again), np.array(first))
    for other in (first[1], *(other[0] for other in others)):
        assert not np.array_equal(first[0], other)


def test_the_models_seed_seeds_its_dropout(device: str) -> None:
    x, *_ = make_batch(device)
    model, seeded = (make_model(2, device, dropout=True, seed=6) for _ in range(2))
    seeded.seed_dropout(6)
    assert_same_bits(model.forward(x, train=True), seeded.forward(x, train=True))


@pytest.mark.parametrize("rates", [(0.3, 0.6), (0.0, 0.5), (0.5, 0.0)])
def test_each_layer_drops_its_own_share_of_its_inputs(
    device: str, rates: tuple[float, float], drawn_masks: list[np.ndarray]
) -> None:
    model = MLP((50, 40, 3), dropout=rates, device=device)
    model.forward(to_device(np.ones((500, 50)), device), train=True)
    shapes = [(500, n) for n, rate in zip((50, 40), rates, strict=True) if rate]
    assert [mask.shape for mask in drawn_masks] == shapes
    for mask, rate in zip(drawn_masks, filter(None, rates), strict=True):
        assert abs((mask == 0).mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / mask.size)


def test_one_number_for_dropout_stands_for_every_layer(device: str, drawn_masks: list[np.ndarray]) -> None:
    model = MLP(SIZES[3], dropout=0.25, device=device)
    assert model.dropout == (0.25, 0.25, 0.25)
    model.forward(make_batch(device)[0], train=True)
    assert len(drawn_masks) == 3


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_inverted_dropout_keeps_the_mean_of_the_logits(device: str, rate: float) -> None:
    model = MLP((8, 3), dropout=rate, device=device, dtype="float64")
    rows = 20_000
    x = to_device(np.tile(sample(1, 8, seed=1), (rows, 1)), device)
    logits = to_numpy(model.forward(x, train=True))
    error = logits.mean(axis=0) - to_numpy(model.forward(x[:1]))[0]
    assert (np.abs(error) < 4 * logits.std(axis=0) / math.sqrt(rows)).all()
    assert (logits.std(axis=0) > 0.01).all()


def test_a_dropped_input_gets_no_gradient(device: str, drawn_masks: list[np.ndarray]) -> None:
    model = make_model(1, device, dropout=True)
    dx = to_numpy(model.backward(loss_of(model, *make_batch(device))[1]))
    assert ((dx == 0) == (drawn_masks[0] == 0)).all()
    assert 0 < (dx == 0).sum() < dx.size


# ---- the CPU and a GPU -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-4)])
def test_cpu_and_device_agree_after_twenty_training_steps(device: str, name: str, dtype: str, tolerance: float) -> None:
    """To 1e-12 in float64 and 1e-4 in float32. Without dropout, since the two draw different masks."""
    results = []
    for place in ("cpu", device):
        model = make_model(3, place, dtype=dtype, activation="gelu", seed=2)
        optimizer, losses = OPTIMIZERS[name](model), []
        for step in range(20):
            x, labels, v = make_batch(place, rows=8 + step % 3, dtype=dtype)
            logits = model.forward(x, train=True)
            loss, dlogits = distillation_loss(logits, labels, v, temperature=T, soft_weight=W)
            model.backward(dlogits)
            optimizer.step()
            losses.append(float(loss))
        results.append((np.array(losses), to_numpy(model.theta), to_numpy(model.predict(x))))
    assert results[0][0][18] < results[0][0][0] - 0.1  # there was something to agree on
    for there, here in zip(*reversed(results), strict=True):
        assert_close(there, here, tolerance)


def test_a_training_step_never_makes_the_host_wait_for_the_gpu(strict_cupy: Any) -> None:
    model = make_model(3, "cuda", dropout=True)
    optimizer = Adam(model)
    x, labels, v = make_batch("cuda")
    strict_cupy.reset_counts()
    logits = model.forward(x, train=True)
    _, dlogits = distillation_loss(logits, labels, v)
    model.backward(dlogits, need_dx=False)
    optimizer.step()
    assert (strict_cupy.syncs, strict_cupy.uploads) == (0, 0)


@pytest.mark.parametrize(
    "twin_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_a_copy_has_the_same_weights_and_views_into_its_own_theta(twin_of: Any) -> None:
    model = MLP((4, 3, 2), activation="gelu", dropout=(0, 0.5), dtype=np.float64, seed=3)
    twin = twin_of(model)
    assert twin.theta.tobytes() == model.theta.tobytes()
    assert (twin.sizes, twin.activation, twin.dropout, twin.dtype) == ((4, 3, 2), "gelu", (0.0, 0.5), "float64")
    twin.theta[:] = 7
    assert all((W == 7).all() for W in twin.weights) and not (model.theta == 7).any()
