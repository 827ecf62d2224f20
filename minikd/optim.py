"""Optimizers and learning-rate schedules.

An optimizer sees one flat vector of parameters and one of gradients, all weights first and then all biases. It does not
know the layers. The one exception is max_norm, which limits the weights into one unit. A step is elementwise, so it
goes through the vectors in slices that stay in the processor's cache. Each slice is read from memory once, however many
lines the formula has.

A schedule is a plain function of progress, from 0 (the first step) to 1 (the end). Its value multiplies the learning
rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .backend import Array, to_numpy, xp_of
from .checks import check_betas, check_count, check_finite, check_number, check_type, wrong
from .fast import CLEARED_EVERY, clear_subnormal, fused

Schedule = Callable[[float], float]
SLICE = 65_536  # parameters updated at a time: 256 KB of float32, so that the temporaries stay in the cache


class Optimizer:
    """The common part of SGD and Adam: the flat vectors, their slices, and state that can be saved and restored."""

    buffers: tuple[str, ...] = ()  # names of the state vectors, each (P,) and zero at the start

    def __init__(self, model: Any, lr: float, weight_decay: float) -> None:
        if not (hasattr(model, "theta") and hasattr(model, "grad")):
            raise wrong("model", "be an MLP, or another object with theta and grad", model, kind=TypeError)
        self.lr = check_number("lr", lr, 0)
        self.weight_decay = check_number("weight_decay", weight_decay, 0)
        self.model, self.t = model, 0
        self._vectors = {name: xp_of(model.theta).zeros_like(model.theta) for name in self.buffers}
        self._slices, self._cut_for = list(self._cut()), self.weight_decay

    def _cut(self) -> Iterator[tuple[Any, ...]]:
        """Cover the vectors with slices: (weight decay, theta, grad, state vectors), weights and biases apart."""
        vectors = (self.model.theta, self.model.grad, *self._vectors.values())
        n_weights, end = sum(W.size for W in getattr(self.model, "weights", ())), len(self.model.theta)
        # On a GPU one slice is best, because the cost there is the number of kernels that are started.
        size = SLICE if xp_of(self.model.theta) is np else end
        for low, high in ((0, n_weights), (n_weights, end)) if self.weight_decay else ((0, end),):
            decay = self.weight_decay if high == n_weights else 0.0
            for start in range(low, high, size):
                yield decay, *(vector[start : min(start + size, high)] for vector in vectors)

    def step(self) -> None:
        """Update theta from grad once, in place."""
        self.t += 1
        if self.weight_decay != self._cut_for:  # it was changed after the slices were cut
            self._slices, self._cut_for = list(self._cut()), self.weight_decay
        for window in self._slices:
            self._update(*window)
        if self.t % CLEARED_EVERY == 0:
            clear_subnormal(self._vectors.values())

    def _update(self, decay: float, theta: Array, g: Array, *vectors: Array) -> None:
        """The update of one slice."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What a checkpoint saves: the number of steps taken, `t`, and copies of the state vectors by name."""
        return {"t": self.t, **{name: vector.copy() for name, vector in self._vectors.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned. ValueError if it does not fit this optimizer, which then stays as it was."""
        if set(state) != {"t", *self.buffers} or any(
            (state[n].shape, state[n].dtype) != (v.shape, v.dtype) for n, v in self._vectors.items()
        ):
            wanted = f"{', '.join(self.buffers) or 'nothing else'} of shape {self.model.theta.shape}"
            raise ValueError(f"state must hold t and {wanted} and type {self.model.theta.dtype}")
        check_count("t", state["t"], 0)
        for name in self._vectors:
            check_finite(f"state {name}", state[name])
        self.t = state["t"]
        for name, vector in self._vectors.items():
            vector[...] = xp_of(vector).asarray(to_numpy(state[name]))

    def settings(self) -> dict[str, Any]:
        """The hyperparameters, as plain values."""
        hidden = ("model", "t", "lr")
        values = {k: v for k, v in vars(self).items() if not k.startswith("_") and k not in hidden}
        return {"name": type(self).__name__, **values}


class SGD(Optimizer):
    """Stochastic gradient descent, as in PyTorch.

    With g the gradient and u the state::

        u <- momentum u + g
        theta <- theta - lr u                        or, with nesterov:  theta - lr (g + momentum u)

    Parameters
    ----------
    model : MLP
        Its theta is updated from its grad. Any object with theta and grad of shape (P,) will do.
    lr : float
        The learning rate, at least 0.
    momentum : float
        In [0, 1]; 0 is plain gradient descent.
    nesterov : bool
        Step along g + momentum u instead of u. It needs a momentum above 0.
    weight_decay : float
        Adds weight_decay · theta to the gradient of weights, not of biases.
    max_norm : float, optional
        After each step, the weights into each unit are scaled down to at most this L2 norm.

    Raises
    ------
    ValueError, TypeError
        An argument is wrong. The message names it.

    References
    ----------
    Sutskever et al. 2013, ICML, section 2 (momentum and Nesterov's form); Srivastava et al. 2014, JMLR 15, section 5.1
    (max_norm).

    Examples
    --------
    >>> from minikd import MLP, SGD
    >>> model = MLP((2, 1), dtype="float64")
    >>> optimizer = SGD(model, lr=0.1)
    >>> model.theta[:], model.grad[:] = 1.0, 2.0
    >>> optimizer.step()
    >>> model.theta.round(2)
    array([0.8, 0.8, 0.8])
    """

    def __init__(
        self,
        model: Any,
        lr: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        self.momentum = check_number("momentum", momentum, 0, 1)
        if nesterov and not momentum:
            raise ValueError("nesterov needs a momentum above 0, got momentum 0")
        self.nesterov = bool(nesterov)
        self.max_norm = None if max_norm is None else check_number("max_norm", max_norm, 0, open_low=True)
        self.buffers = ("u",) if momentum else ()
        super().__init__(model, lr, weight_decay)

    def step(self) -> None:
        """Update theta from grad once, in place."""
        super().step()
        if self.max_norm is not None:
            for W in self.model.weights:
                limit_column_norms(W, self.max_norm)

    def _update(self, decay: float, theta: Array, g: Array, *vectors: Array) -> None:
        sgd(theta, g, vectors[0] if vectors else None, self.lr, self.momentum, self.nesterov, decay)


@fused
def sgd(theta: Array, g: Array, u: Array | None, lr: float, momentum: float, nesterov: bool, decay: float) -> None:
    """One step of `SGD`, into theta and, with momentum, u.  All (P,)"""
    if decay:
        g = g + decay * theta
    if u is not None:
        u *= momentum
        u += g
        g = g + momentum * u if nesterov else u
    theta -= lr * g


def limit_column_norms(W: Array, max_norm: float) -> None:
    """Scale each column of W (inputs, units), the weights into one unit, down to L2 norm max_norm, in place."""
    xp = xp_of(W)
    norms = xp.sqrt(xp.einsum("ij,ij->j", W, W))  # (units,)
    W *= max_norm / xp.maximum(norms, max_norm)


class Adam(Optimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

    With g the gradient and t the number of the step::

        m <- β1 m + (1 - β1) g        v <- β2 v + (1 - β2) g²
        theta <- theta - lr (m / (1 - β1^t)) / (sqrt(v / (1 - β2^t)) + eps)

    Parameters
    ----------
    model : MLP
        Its theta is updated from its grad. Any object with theta and grad of shape (P,) will do.
    lr : float
        The learning rate, at least 0.
    betas : tuple of float
        (β1, β2), both in [0, 1).
    eps : float
        Above 0.
    weight_decay : float
        Adds weight_decay · theta to g for weights, not for biases. `AdamW` decays weights differently.

    Raises
    ------
    ValueError, TypeError
        An argument is wrong. The message names it.

    References
    ----------
    Kingma & Ba 2015, arXiv 1412.6980, algorithm 1.

    Examples
    --------
    The first step moves each parameter by the learning rate, whatever the size of its gradient:

    >>> from minikd import MLP, Adam
    >>> model = MLP((2, 1), dtype="float64")
    >>> optimizer = Adam(model, lr=0.01)
    >>> model.theta[:], model.grad[:] = 1.0, [100.0, -0.01, 2.0]
    >>> optimizer.step()
    >>> model.theta.round(4)
    array([0.99, 1.01, 0.99])
    """

    buffers = ("m", "v")
    _decoupled = False

    def __init__(
        self,
        model: Any,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.betas = check_betas(betas)
        self.moments = "averages"  # version 0.1 kept sums; its checkpoints are refused
        self.eps = check_number("eps", eps, 0, open_low=True)
        super().__init__(model, lr, weight_decay)

    def _update(self, decay: float, theta: Array, g: Array, m: Array, v: Array) -> None:
        (beta1, beta2), (l2, shrink) = self.betas, (0.0, self.lr * decay) if self._decoupled else (decay, 0.0)
        adam(theta, g, m, v, self.t, self.lr, beta1, beta2, self.eps, l2, shrink)


@fused
def adam(
    theta: Array, g: Array, m: Array, v: Array,
    t: int, lr: float, beta1: float, beta2: float, eps: float, l2: float, shrink: float,
) -> None:  # fmt: skip
    """Step number t of `Adam`, with weight decay l2, or of `AdamW`, with shrink, into theta, m and v.  All (P,)"""
    if l2:
        g = g + l2 * theta
    if shrink:
        theta -= shrink * theta
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g  # from left to right: in float32, g * g overflows from 2e19 on
    v_hat_root = xp_of(v).sqrt(v) / math.sqrt(1 - beta2**t)  # the root first, for the same reason
    theta -= lr / (1 - beta1**t) * m / (v_hat_root + eps)


class AdamW(Adam):
    """Adam with decoupled weight decay.

    First the weights decay, then Adam steps from the gradient alone::

        theta <- theta - lr · weight_decay · theta        for weights, not for biases

    Parameters
    ----------
    model, lr, betas, eps
        As for `Adam`.
    weight_decay : float
        At least 0.

    Raises
    ------
    ValueError, TypeError
        An argument is wrong. The message names it.

    References
    ----------
    Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2.

    Examples
    --------
    Without a gradient only the weights decay, by lr · weight_decay = 1 %; the bias, which is last, does not:

    >>> from minikd import MLP, AdamW
    >>> model = MLP((2, 1), dtype="float64")
    >>> optimizer = AdamW(model, lr=0.1, weight_decay=0.1)
    >>> model.theta[:], model.grad[:] = 1.0, 0.0
    >>> optimizer.step()
    >>> model.theta
    array([0.99, 0.99, 1.  ])
    """

    _decoupled = True

    def __init__(self, model: Any, lr: float = 1e-3, *, weight_decay: float = 0.01, **options: Any) -> None:
        super().__init__(model, lr, weight_decay=weight_decay, **options)


def constant(progress: float) -> float:
    """The schedule that keeps the learning rate."""
    return 1.0


def step_decay(at: tuple[float, ...] = (0.5, 0.75), factor: float = 0.1) -> Schedule:
    """A schedule that multiplies the rate by `factor` at each point of progress in `at`."""
    check_type("at", at, tuple | list, "a tuple of numbers")
    points = [check_number("at", point, 0, 1) for point in at]
    check_number("factor", factor, 0)
    return lambda progress: factor ** sum(progress >= point for point in points)


def cosine(warmup: float = 0.0, final: float = 0.0) -> Schedule:
    """A schedule that rises linearly during the first `warmup` of the run, then falls along half a cosine to `final`.

    With s the progress since the warm-up, from 0 to 1, the factor is final + (1 - final) (1 + cos(π s)) / 2.

    Source: Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5.
    """
    check_number("warmup", warmup, 0, 1, open_high=True)
    check_number("final", final, 0, 1)

    def schedule(progress: float) -> float:
        if progress < warmup:
            return progress / warmup
        return final + (1 - final) * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2

    return schedule
