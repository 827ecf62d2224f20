"""What several test files share: numbers to test on, comparison, and the same network in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from minikd.backend import Array, to_numpy
from minikd.mlp import MLP


def sample(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Float64 numbers from N(0, scale²), on the host."""
    return np.random.default_rng(seed).standard_normal(shape) * scale


def some_labels(rows: int, classes: int) -> np.ndarray:
    """Class labels in which every class comes up, and not in order."""
    return (np.arange(rows) * 7 + 2) % classes


def probabilities(*shape: int, seed: int = 0) -> np.ndarray:
    """Rows of probabilities (B, K)."""
    weights = np.random.default_rng(seed).uniform(0.05, 1, shape)
    return weights / weights.sum(axis=1, keepdims=True)


def assert_close(actual: Array, expected: Any, tolerance: float = 1e-10) -> None:
    """Same shape, and equal to `tolerance`, both absolute and relative to `expected`."""
    actual, expected = to_numpy(actual), to_numpy(expected)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def assert_same_bits(actual: Array, expected: Array) -> None:
    """Same shape, type and bits."""
    actual, expected = to_numpy(actual), to_numpy(expected)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    assert actual.tobytes() == expected.tobytes()


def blocks_of(model: MLP) -> tuple[dict[str, Array], dict[str, Array]]:
    """The parameters of a network by name, W1, b1, W2, ..., and their gradients: views, as `check_gradients` wants."""
    n = range(len(model.weights))
    theta = {f"W{i + 1}": model.weights[i] for i in n} | {f"b{i + 1}": model.biases[i] for i in n}
    grad = {f"W{i + 1}": model.weight_grads[i] for i in n} | {f"b{i + 1}": model.bias_grads[i] for i in n}
    return theta, grad


def import_torch() -> Any:
    """PyTorch on one thread; the test is skipped where it is not installed."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


def torch_tensor(array: Array, requires_grad: bool = False) -> Any:
    """A copy of the array as a tensor on the CPU."""
    return import_torch().tensor(to_numpy(array), requires_grad=requires_grad)


def torch_activation(name: str, z: Any) -> Any:
    """What PyTorch makes of one of our activations."""
    torch = import_torch()
    return torch.nn.functional.gelu(z) if name == "gelu" else getattr(torch, name)(z)


def torch_mlp(x: Any, weights: Sequence[Any], biases: Sequence[Any], activation: str, masks: Sequence[Any]) -> Any:
    """Logits of the network with these tensors; `masks` holds a dropout mask, or None, for the input of each layer."""
    for i, (W, b, mask) in enumerate(zip(weights, biases, masks, strict=True)):
        z = (x if mask is None else x * mask) @ W + b
        x = torch_activation(activation, z) if i < len(weights) - 1 else z
    return x


def torch_distillation_loss(z: Any, labels: Any, v: Any, temperature: float, soft_weight: float) -> Any:
    """(1 - w) CE(z, labels) + w T² CE(softmax(v / T), softmax(z / T)), put together from PyTorch's own parts."""
    F = import_torch().nn.functional
    logp, q = F.log_softmax(z / temperature, dim=1), F.softmax(v / temperature, dim=1)
    # Cross-entropy is the divergence plus the teacher's entropy, in which no gradient flows to z.
    soft = F.kl_div(logp, q, reduction="batchmean") - (q * q.log()).sum() / len(q)
    hard = F.cross_entropy(z, labels) if labels is not None else 0.0
    return (1 - soft_weight) * hard + soft_weight * temperature**2 * soft
