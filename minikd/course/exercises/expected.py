"""The expected results of E1 to E10, computed in float64 with minikd's own functions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ... import ops
from ...losses import cross_entropy, distillation_loss
from ...mlp import MLP

Params = list[tuple[np.ndarray, np.ndarray]]  # [(W, b), ...]


def kl(zs: np.ndarray, zt: np.ndarray, T: float) -> tuple[np.ndarray, np.ndarray]:
    """T² KL(softmax(zt / T) || softmax(zs / T)) of each row, (B,), and its gradient in zs, (B, K); no mean."""
    logp, logq = ops.log_softmax(zs, T), ops.log_softmax(zt, T)
    return T**2 * (np.exp(logq) * (logq - logp)).sum(axis=1), T * (np.exp(logp) - np.exp(logq))


def kd(zs: np.ndarray, zt: np.ndarray, T: float) -> tuple[Any, np.ndarray]:
    """The mean over the batch of `kl`."""
    loss, dz = kl(zs, zt, T)
    return loss.mean(), dz / len(zs)


def total(zs: Any, zt: Any, y: Any, T: float, w: float, s: Any) -> tuple[Any, np.ndarray]:
    """The reference of E5; see its stub."""
    hard = -ops.log_softmax(zs)[np.arange(len(zs)), y]
    p = ops.softmax(zs)
    p[np.arange(len(zs)), y] -= 1
    soft, dsoft = kl(zs, zt, T)
    sum_ = s.sum() if s.sum() > 0 else 1.0
    return (s * ((1 - w) * hard + w * soft)).sum() / sum_, s[:, None] * ((1 - w) * p + w * dsoft) / sum_


def network(rng: np.random.Generator, *sizes: int) -> Params:
    """Weights and biases, [(W, b), ...], of an MLP with relu."""
    return [(rng.standard_normal((n, m)) * np.sqrt(2 / n), 0.1 * rng.standard_normal(m)) for n, m in pairwise(sizes)]


def as_mlp(params: Params) -> MLP:
    """The same network as an MLP."""
    model = MLP((*(len(W) for W, _ in params), params[-1][0].shape[1]), dtype="float64")
    for mine, (W, _) in zip(model.weights, params, strict=True):
        mine[...] = W
    for mine, (_, b) in zip(model.biases, params, strict=True):
        mine[...] = b
    return model


def gradients(params: Params, x: np.ndarray, dz: np.ndarray) -> Params:
    """The reference of E6."""
    model = as_mlp(params)
    model.forward(x, train=True)
    model.backward(dz)
    return list(zip(model.weight_grads, model.bias_grads, strict=True))


def student_of(params: Params, x: Any, v: Any, T: float, lr: float, batches: list[np.ndarray]) -> Params:
    """The reference of E8: plain gradient descent on T² KL, one step per batch of row numbers."""
    model = as_mlp(params)
    for rows in batches:
        logits = model.forward(x[rows], train=True)
        model.backward(distillation_loss(logits, None, v[rows], temperature=T, soft_weight=1.0)[1])
        model.theta -= lr * model.grad
    return list(zip(model.weights, model.biases, strict=True))


def mutual(z1: Any, z2: Any, y: Any, T: float) -> tuple[np.ndarray, np.ndarray]:
    """The reference of E9."""
    return cross_entropy(z1, y)[1] + kd(z1, z2, T)[1], cross_entropy(z2, y)[1] + kd(z2, z1, T)[1]


def input_gradients(teacher: Params, student: Params, x: np.ndarray, T: float) -> tuple[float, np.ndarray, np.ndarray]:
    """J(x) = mean_i T² KL(q_i || p_i) of E10, and its gradients in x through the teacher and through the student.

    dJ/dx is the sum of the two gradients.
    """
    models = as_mlp(teacher), as_mlp(student)
    v, z = (model.forward(x, train=True) for model in models)
    logq, logp = ops.log_softmax(v, T), ops.log_softmax(z, T)
    q = np.exp(logq)
    row = logq - logp
    dv = T * q * (row - (q * row).sum(axis=1, keepdims=True)) / len(x)
    loss, dz = kd(z, v, T)
    return float(loss), models[0].backward(dv), models[1].backward(dz)
