"""Ten training steps of four small networks, against losses recorded once and against PyTorch taking the same steps.

The recorded losses in trajectory.json must come out to 1e-12; whatever changes any number of a training step shows
here. After a change that is meant to move them, and that the comparison with PyTorch confirms, record them anew:

    python tests/test_trajectory.py --record

Data, initial weights and dropout masks are made of sines and whole numbers, not drawn: random generators may change
from one version of NumPy to the next.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import assert_close, import_torch, torch_distillation_loss, torch_mlp, torch_tensor

from minikd import MLP, SGD, Adam, AdamW, distillation_loss, ops
from minikd.backend import to_device
from minikd.optim import Optimizer

PLAIN_TOO = True  # with kernels and without
pytestmark = pytest.mark.extras
RECORD = Path(__file__).with_name("trajectory.json")
SIZES, ROWS, STEPS = (12, 8, 6, 5), 16, 10
DROPOUT = (0.1, 0.25, 0.25)
T, W = 2.0, 0.7


class Run(NamedTuple):
    """One network and its optimizer, ours and PyTorch's."""

    activation: str
    optimizer: Callable[[MLP], Optimizer]
    in_torch: Callable[..., Any]  # (torch, weights, biases) -> optimizer


RUNS = {
    "relu SGD momentum": Run(
        "relu",
        lambda model: SGD(model, 0.1, momentum=0.9),
        lambda torch, weights, biases: torch.optim.SGD([*weights, *biases], lr=0.1, momentum=0.9),
    ),
    "gelu Adam": Run(
        "gelu",
        lambda model: Adam(model, 0.03),
        lambda torch, weights, biases: torch.optim.Adam([*weights, *biases], lr=0.03),
    ),
    "tanh AdamW": Run(
        "tanh",
        lambda model: AdamW(model, 0.02, weight_decay=0.1),
        lambda torch, weights, biases: torch.optim.AdamW(
            [{"params": weights}, {"params": biases, "weight_decay": 0.0}], lr=0.02, weight_decay=0.1
        ),
    ),
    "sigmoid SGD nesterov": Run(
        "sigmoid",
        lambda model: SGD(model, 0.3, momentum=0.8, nesterov=True, weight_decay=0.01),
        lambda torch, weights, biases: torch.optim.SGD(
            [{"params": weights, "weight_decay": 0.01}, {"params": biases}], lr=0.3, momentum=0.8, nesterov=True
        ),
    ),
}


def waves(*shape: int, phase: float = 0.0) -> np.ndarray:
    """Numbers in [-1, 1] without an obvious pattern, the same everywhere."""
    i = np.arange(np.prod(shape), dtype=np.float64)
    return np.sin(1.3 * i + 0.011 * i * i + phase).reshape(shape)


def fixed_masks() -> Callable[..., Any]:
    """In place of `dropout_mask`: masks that depend on how many there were before, and on nothing else."""
    drawn = 0

    def mask(shape: tuple[int, ...], rate: float, rng: Any, dtype: Any) -> Any:
        nonlocal drawn
        drawn += 1
        i = np.arange(np.prod(shape))
        kept = (i * i * 31 + i * 17 + drawn * 41) % 101 >= rate * 101
        device = "cpu" if isinstance(rng, np.random.Generator) else "cuda"
        return to_device(np.where(kept, 1 / (1 - rate), 0.0).reshape(shape).astype(dtype), device)

    return mask


def make_model(run: Run, device: str, dropout: tuple[float, ...]) -> MLP:
    """The network at its start."""
    model = MLP(SIZES, activation=run.activation, dropout=dropout, device=device, dtype="float64")
    for i, (weights, biases) in enumerate(zip(model.weights, model.biases, strict=True)):
        weights[...] = to_device(waves(*weights.shape, phase=i) * np.sqrt(3 / len(weights)), device)
        biases[...] = to_device(waves(*biases.shape, phase=10 + i) * 0.1, device)
    return model


def make_batch(step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, labels and teacher's logits of one step: half of the 16 rows, then the other half, then all, and so on."""
    rows = [slice(0, 8), slice(8, 16), slice(0, 16)][step % 3]
    x, v = waves(ROWS, SIZES[0], phase=2.0), 3 * waves(ROWS, SIZES[-1], phase=3.0)
    labels = (np.arange(ROWS) * 7) % SIZES[-1]
    return x[rows], labels[rows], v[rows]


def trajectory(run: Run, device: str, dropout: tuple[float, ...] = DROPOUT) -> tuple[list[float], MLP]:
    """The loss of each step, and the network after the last."""
    model = make_model(run, device, dropout)
    optimizer, losses = run.optimizer(model), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "dropout_mask", fixed_masks())
        for step in range(STEPS):
            x, labels, v = (to_device(array, device) for array in make_batch(step))
            logits = model.forward(x, train=True)
            value, dlogits = distillation_loss(logits, labels, v, temperature=T, soft_weight=W)
            model.backward(dlogits)
            optimizer.step()
            losses.append(float(value))
    return losses, model


def torch_trajectory(run: Run, dropout: tuple[float, ...]) -> tuple[list[float], np.ndarray]:
    """The same in PyTorch: the losses, and all parameters after the last step as one vector."""
    torch = import_torch()
    start, draw = make_model(run, "cpu", dropout), fixed_masks()
    weights, biases = ([torch_tensor(p, requires_grad=True) for p in ps] for ps in (start.weights, start.biases))
    optimizer, losses = run.in_torch(torch, weights, biases), []
    for step in range(STEPS):
        x, labels, v = (torch_tensor(array) for array in make_batch(step))
        widths = zip(SIZES, dropout, strict=False)
        rng = np.random.default_rng()
        masks = [torch.tensor(draw((len(x), n), rate, rng, "float64")) if rate else None for n, rate in widths]
        loss = torch_distillation_loss(torch_mlp(x, weights, biases, run.activation, masks), labels, v, T, W)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, np.concatenate([p.detach().numpy().ravel() for p in (*weights, *biases)])


@pytest.mark.parametrize("name", RUNS)
def test_ten_steps_have_the_recorded_losses(device: str, name: str) -> None:
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    assert set(recorded) == set(RUNS)
    losses, _ = trajectory(RUNS[name], device)
    np.testing.assert_allclose(losses, recorded[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize("dropout", [DROPOUT, (0.0, 0.0, 0.0)], ids=["dropout", "plain"])
@pytest.mark.parametrize("name", RUNS)
def test_ten_steps_are_those_of_pytorch(device: str, name: str, dropout: tuple[float, ...]) -> None:
    losses, model = trajectory(RUNS[name], device, dropout)
    wanted, theta = torch_trajectory(RUNS[name], dropout)
    assert_close(np.array(losses), np.array(wanted))
    assert_close(model.theta, theta)


def test_the_recorded_losses_are_of_networks_that_learn() -> None:
    for losses in json.loads(RECORD.read_text(encoding="utf-8")).values():
        assert len(losses) == STEPS
        assert losses[8] < losses[2] - 0.1  # the first and the last step on all 16 rows


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit(f"usage: python {sys.argv[0]} --record")
    record = {name: trajectory(run, "cpu")[0] for name, run in RUNS.items()}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
