"""The multilayer perceptron: layers z = x W + b with an activation between them.

All parameters are in one flat vector `theta`, and their gradient is in `grad`: first the weights of every layer, then
the biases. `weights`, `biases`, `weight_grads` and `bias_grads` are views of the two: writing into one writes into the
other. So an optimizer updates one vector, weight decay is a slice, a checkpoint saves one vector, and a gradient check
perturbs one vector. Only this file deals with layers.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from . import ops
from .backend import Array, generator, get_xp, to_device, to_numpy
from .checkpoint import load_arrays, save_arrays
from .checks import check_backward, check_choice, check_count, check_dropout, check_input, check_sizes, check_theta
from .errors import CheckpointError

HiddenGrads = Mapping[int, Array] | None
DTYPES = ("float32", "float64")
PIECE = 2048  # rows that predict takes at a time: enough to keep the processor busy, and small in memory


class MLP:
    """A fully connected network that computes logits, and gradients by hand.

    Layer l has the weights W_l, the biases b_l and the activation f::

        a_0 = x,    z_l = a_l-1 W_l + b_l,    a_l = f(z_l),    logits = z of the last layer

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden layers, classes: (784, 1200, 1200, 10). Two sizes give softmax regression.
    activation : str
        f, "relu", "tanh", "sigmoid" or "gelu", after every layer but the last.
    dropout : float or sequence of float
        The probability of dropping an input of a layer: one number for all layers, or one per layer (the first is for x
        itself). It applies with train=True only.
    seed : int
        Seeds the initial weights and the dropout masks. Initial weights are drawn on the CPU, so every device starts
        the same.
    device : str
        "cpu" or "cuda".
    dtype : str
        "float32" or "float64".

    Attributes
    ----------
    theta, grad : array (P,)
        All parameters and their gradient: all weights first, then all biases. They are allocated once.
    weights, weight_grads : list of array (inputs, outputs)
        Views of theta and grad, one a layer.
    biases, bias_grads : list of array (outputs,)
        Views of theta and grad, one a layer.
    hidden : list of array (B, width)
        The activations of the last forward(x, train=True).
    num_params : int
        P, the number of parameters.
    sizes, activation, dropout, device, dtype
        As given; dropout has one number per layer.

    Raises
    ------
    ValueError, TypeError
        An argument is wrong. The message names it.
    DeviceError
        The device is "cuda" and CuPy or a GPU is missing.

    Notes
    -----
    Initial weights are drawn from N(0, 2 / inputs) for relu and gelu, and from N(0, 2 / (inputs + outputs)) for tanh
    and sigmoid. Biases start from 0.

    References
    ----------
    He et al. 2015, arXiv 1502.01852, section 2.2 (relu and gelu); Glorot & Bengio 2010, AISTATS, eq. 12 (tanh and
    sigmoid).

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import MLP, cross_entropy
    >>> model = MLP((64, 32, 10))
    >>> model
    MLP((64, 32, 10), activation='relu', dropout=(0.0, 0.0), device='cpu', dtype='float32'): 2,410 parameters
    >>> logits = model.forward(np.zeros((5, 64)), train=True)
    >>> loss, dlogits = cross_entropy(logits, np.arange(5))
    >>> dx = model.backward(dlogits)
    >>> logits.shape, dx.shape, model.grad.shape
    ((5, 10), (5, 64), (2410,))
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "relu",
        dropout: float | Sequence[float] = 0.0,
        seed: int = 0,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        dtype = np.dtype(dtype).name if isinstance(dtype, type | np.dtype) else dtype
        self.sizes = check_sizes(sizes)
        self.dropout = check_dropout(dropout, len(self.sizes) - 1)
        check_choice("activation", activation, ops.ACTIVATIONS)
        check_choice("dtype", dtype, DTYPES)
        check_count("seed", seed, 0)
        self.activation, self.device, self.dtype = activation, device, dtype
        self._xp, self._float = get_xp(device), np.dtype(dtype)
        self.num_params = _count(self.sizes)
        self.theta = self._xp.zeros(self.num_params, self.dtype)
        self.grad = self._xp.zeros(self.num_params, self.dtype)
        self.weights, self.biases = self._views(self.theta)
        self.weight_grads, self.bias_grads = self._views(self.grad)
        self.hidden: list[Array] = []
        self._cache: list[tuple[Array, Array, Array]] = []  # forward keeps for backward: (input, mask, z) of each layer
        self._initialise(seed)
        self.seed_dropout(seed)

    def _views(self, flat: Array) -> tuple[list[Array], list[Array]]:
        """Views of a flat (P,) vector: the weights, then the biases."""
        layers = list(pairwise(self.sizes))
        shapes = [*layers, *((m,) for _, m in layers)]
        ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
        parts = self._xp.split(flat, ends[:-1])
        views = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return views[: len(layers)], views[len(layers) :]

    def _initialise(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for W in self.weights:
            n, m = W.shape
            variance = 2 / n if self.activation in ("relu", "gelu") else 2 / (n + m)
            W[...] = to_device((rng.standard_normal((n, m)) * math.sqrt(variance)).astype(self.dtype), self.device)

    def seed_dropout(self, *seed: int) -> None:
        """Restart the dropout masks from one or more whole numbers. The same numbers give the same masks."""
        self._rng = generator(self.device, *seed)

    def forward(self, x: Array, train: bool = False) -> Array:
        """Logits, z = x W + b of the last layer.  x (B, D) -> (B, K)

        With train=True dropout masks are drawn, and what `backward` needs is kept. ValueError or TypeError if x does
        not fit.
        """
        x = check_input(x, self.sizes[0], self.theta, self.device)
        x = x if x.dtype == self._float else x.astype(self._float)  # (B, D)
        if train:
            self._cache, self.hidden = [], []
        for W, b, rate in zip(self.weights, self.biases, self.dropout, strict=True):
            mask = ops.dropout_mask(x.shape, rate, self._rng, self._float) if rate and train else None
            x = x if mask is None else ops.dropout(x, mask)
            is_hidden = W is not self.weights[-1]
            z, a = ops.dense(x, W, b, self.activation) if is_hidden else (ops.linear(x, W, b), None)  # (B, width)
            if train:
                self._cache.append((x, mask, z))
                self.hidden += [a] if is_hidden else []
            x = a
        return z

    def backward(self, dlogits: Array, hidden_grads: HiddenGrads = None, *, need_dx: bool = True) -> Array:
        """From dL/dlogits of the last forward(x, train=True), compute dL/dtheta into `grad`, and return dL/dx.

        Parameters
        ----------
        dlogits : array (B, K)
            dL/dlogits, which a loss returns.
        hidden_grads : mapping of int to array (B, width), optional
            For a loss that also depends on hidden layers directly: {i: dL/dhidden[i]}, where i may count from the last
            (-1). This is the direct part of the derivative only, without the part that goes through the logits.
        need_dx : bool
            If False, the last matrix product, which only dx needs, is not computed.

        Returns
        -------
        array (B, D) or None
            dL/dx, or None if need_dx is False.

        Raises
        ------
        ValueError
            There was no forward pass with train=True, or a shape differs from that pass.
        """
        layers = [*self.hidden, self._cache[-1][2]] if self._cache else []
        dlogits, injected = check_backward(dlogits, hidden_grads, layers)
        dz = dlogits if dlogits.dtype == self._float else dlogits.astype(self._float)  # (B, K)
        for i in reversed(range(len(self.weights))):
            x, mask, _ = self._cache[i]  # (B, inputs), the layer's
            grads = self.weight_grads[i], self.bias_grads[i]  # (inputs, outputs), (outputs,)
            dx, _, _ = ops.linear_backward(dz, x, self.weights[i], out=grads, need_dx=i > 0 or need_dx)
            if mask is not None and dx is not None:
                dx = ops.dropout_backward(dx, mask)
            if i - 1 in injected:  # the loss depends on hidden[i - 1] in two ways, and their gradients add up
                dx += injected[i - 1]
            if i > 0:
                dz = ops.activation_backward(dx, self._cache[i - 1][2], self.hidden[i - 1], self.activation)
        return dx

    def predict(self, x: Array) -> Array:
        """Logits for any number of rows, on the model's device, 2,048 rows at a time.  x (N, D) -> (N, K)

        There is no dropout, and nothing is kept for `backward`.
        """
        x = check_input(x, self.sizes[0])
        logits = self._xp.empty((len(x), self.sizes[-1]), self.dtype)
        for start in range(0, len(x), PIECE):
            logits[start : start + PIECE] = self.forward(to_device(x[start : start + PIECE], self.device))
        return logits

    def metadata(self) -> dict[str, str]:
        """What is needed beside theta to build this network again, as text."""
        shape = {"sizes": self.sizes, "activation": self.activation, "dropout": self.dropout, "dtype": self.dtype}
        return {"mlp": json.dumps(shape)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a safetensors file, atomically. CheckpointError if the file cannot be written."""
        save_arrays(path, {"theta": self.theta}, self.metadata())

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "cpu") -> MLP:
        """Read a network that `save` or a checkpoint of `fit` wrote. CheckpointError if the file is not one."""
        arrays, metadata = load_arrays(path)
        return cls.from_arrays(arrays, metadata, device, source=str(path))

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any], metadata: dict[str, str], device: str, source: str) -> MLP:
        """The network in the arrays and metadata of the file `source`. CheckpointError if they do not fit."""
        get_xp(device)
        try:
            shape = json.loads(metadata["mlp"])
            theta, expected = arrays["theta"], _count(check_sizes(shape["sizes"]))
            check_theta(theta, expected, shape["dtype"])  # first, because a hostile header must not cost memory
            model = cls(device=device, **{name: shape[name] for name in ("sizes", "activation", "dropout", "dtype")})
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise CheckpointError(f"{source} does not hold a minikd network: {error}") from error
        model.theta[...] = to_device(theta, device)
        return model

    def __reduce__(self) -> Any:
        # Copies and pickles are built anew, so that their views belong to their own theta.
        return MLP.from_arrays, ({"theta": to_numpy(self.theta)}, self.metadata(), self.device, "the copy")

    def __repr__(self) -> str:
        what = f"{self.sizes}, activation={self.activation!r}, dropout={self.dropout}"
        return f"MLP({what}, device={self.device!r}, dtype={self.dtype!r}): {self.num_params:,} parameters"


def _count(sizes: Sequence[int]) -> int:
    return sum((n + 1) * m for n, m in pairwise(sizes))
