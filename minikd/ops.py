"""What a layer computes, and how the gradient flows back through it.

Every forward function `f` has a twin `f_backward` right below it. If y = f(x) and a loss L is computed from y, the twin
takes dL/dy and returns dL/dx. The code calls these `dy` and `dx`. The comment in each backward quotes the forward line
and then differentiates it. B is the batch size, D the number of inputs, K the number of outputs or classes.

A kernel may replace a function with the decorator `@fused` and compute it in one pass through memory: see minikd/fast/.
The body below is the definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .backend import Array, xp_of
from .checks import check_matrix, check_number
from .fast import fused

# ---- the affine map -------------------------------------------------------------------------------------------


def linear(x: Array, W: Array, b: Array) -> Array:
    """The affine map z = x W + b.  x (B, D), W (D, K), b (K,) -> z (B, K)"""
    z = x.dot(W)  # (B, K)
    z += b
    return z


def linear_backward(
    dz: Array, x: Array, W: Array, *, out: tuple[Array, Array] = (None, None), need_dx: bool = True
) -> tuple[Array, Array, Array]:
    """dz (B, K) -> dx (B, D), dW (D, K), db (K,).

    If `out` holds two arrays, dW and db are written into them. With need_dx=False dx is not computed and is None: the
    first layer seldom needs it.
    """
    # z = x W + b, so dL/dW sums x_i dz_i^T over the batch, and x reaches z through W alone
    dW = x.T.dot(dz, out=out[0])  # (D, K)
    db = bias_gradient(dz, out[1])  # (K,)
    dx = dz.dot(W.T) if need_dx else None  # (B, D)
    return dx, dW, db


@fused
def bias_gradient(dz: Array, out: Array = None) -> Array:
    """db, the sum of dz over the batch, written into `out` if that is given.  dz (B, K) -> (K,)"""
    return dz.sum(axis=0, out=out)


# ---- activations: elementwise, a = f(z). Each backward gets both z and a, and uses whichever is cheaper -------


def relu(z: Array) -> Array:
    """a = max(z, 0), for any shape."""
    return xp_of(z).maximum(z, 0)


def relu_backward(da: Array, z: Array, a: Array) -> Array:
    """dz = da where z > 0, else 0. At the kink, z = 0, we choose 0."""
    # a = max(z, 0), so da/dz = 1 where z > 0, which is where a > 0, and 0 elsewhere
    return da * (a > 0)


def tanh(z: Array) -> Array:
    """a = tanh z, for any shape."""
    return xp_of(z).tanh(z)


def tanh_backward(da: Array, z: Array, a: Array) -> Array:
    """dz = da (1 - a²)."""
    # a = tanh z, so da/dz = 1 - tanh(z)^2 = 1 - a^2
    return da * (1 - a * a)


def sigmoid(z: Array) -> Array:
    """a = 1 / (1 + e^-z), for any shape. It is written as (1 + tanh(z/2)) / 2, which cannot overflow."""
    return (1 + xp_of(z).tanh(0.5 * z)) * 0.5


def sigmoid_backward(da: Array, z: Array, a: Array) -> Array:
    """dz = da a (1 - a)."""
    # a = 1 / (1 + e^-z), so da/dz = e^-z / (1 + e^-z)^2 = a (1 - a)
    return da * (a * (1 - a))


def gelu(z: Array) -> Array:
    """a = z Φ(z), where Φ is the standard normal distribution function. This is the exact GELU, not its approximation.

    Source: Hendrycks & Gimpel 2016, arXiv 1606.08415.
    """
    return z * normal_cdf(z)


def gelu_backward(da: Array, z: Array, a: Array) -> Array:
    """dz = da (Φ(z) + z φ(z)), where φ is the standard normal density."""
    # a = z Φ(z), a product with Φ' = φ, so da/dz = Φ(z) + z φ(z)
    density = xp_of(z).exp(z * z * -0.5) * (1 / math.sqrt(2 * math.pi))
    return da * (normal_cdf(z) + z * density)


# NumPy has no erf. (1 + 2x) e^(x²) erfc(x) is smooth in u = (x - c) / (x + c), which maps [0, ∞) to [-1, 1). This is
# its Chebyshev expansion in u, summed into plain powers of u (lowest first).
# fmt: off
_ERFC_CENTRE = 3.75
_ERFC_SERIES = (
    1.2375126308378264, -0.14024059858554525, 0.003585415485781718, 0.08227673848999506,
    -0.10880393015455231, 0.09230432116428125, -0.058693398387769276, 0.02836227737211114,
    -0.009746581194305737, 0.0017556261651970652, 0.0002937214295671746, -0.00029015535246077655,
    5.162601622259853e-05, 2.2387565714911816e-05, -1.1399726074447365e-05, -9.792625707303523e-07,
    1.6959958079430478e-06, -5.084465378687302e-08, -2.143069227582364e-07, 1.879082322370048e-08,
    1.7552176307433927e-08, -1.9551358868985616e-09,
)
# fmt: on


def normal_cdf(z: Array) -> Array:
    """Φ(z) = erfc(-z / √2) / 2, for any shape, to about 1e-15.

    Source of the expansion: Shepherd & Laframboise 1981, "Chebyshev approximation of (1 + 2x) exp(x²) erfc x".
    """
    xp = xp_of(z)
    x = xp.minimum(xp.abs(z) * math.sqrt(0.5), 40.0)  # from 40 on, e^(-x²) is 0; infinity would make u NaN
    u = (x - _ERFC_CENTRE) / (x + _ERFC_CENTRE)
    series = xp.full_like(u, _ERFC_SERIES[-1])
    for coefficient in reversed(_ERFC_SERIES[:-1]):  # Horner's rule
        series *= u
        series += coefficient
    lower = 0.5 * xp.exp(-x * x) * series / (1 + 2 * x)  # Φ(-|z|), without cancellation
    return xp.where(z < 0, lower, 1 - lower)


Activation = Callable[..., Array]
ACTIVATIONS: dict[str, tuple[Activation, Activation]] = {
    "relu": (relu, relu_backward),
    "tanh": (tanh, tanh_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
    "gelu": (gelu, gelu_backward),
}


def dense(x: Array, W: Array, b: Array, activation: str) -> tuple[Array, Array]:
    """A hidden layer: z = x W + b and a = f(z), where f is the activation of that name.

    x (B, D), W (D, K), b (K,) -> z, a, both (B, K)
    """
    z = x.dot(W)  # (B, K)
    return z, bias_activation(z, b, activation)


@fused
def bias_activation(z: Array, b: Array, activation: str) -> Array:
    """z <- z + b, in place, and a = f(z).  z (B, K), b (K,) -> a (B, K)"""
    z += b
    return ACTIVATIONS[activation][0](z)


@fused
def activation_backward(da: Array, z: Array, a: Array, activation: str) -> Array:
    """dz = da f'(z), with z and a = f(z) from `dense`.  All (B, K)"""
    return ACTIVATIONS[activation][1](da, z, a)


# ---- dropout --------------------------------------------------------------------------------------------------


def dropout_mask(shape: tuple[int, ...], rate: float, rng: Any, dtype: Any) -> Array:
    """A random mask for inverted dropout: 0 with probability `rate`, else 1 / (1 - rate), so that E[mask] = 1.

    `rng` is a NumPy or CuPy Generator. The mask is on its device. The probability is rounded to a multiple of 2^-16,
    because two random bytes an entry are several times cheaper than a random float.

    Source: Srivastava et al. 2014, JMLR 15. "Inverted" means that training scales the inputs, so that testing need not.
    """
    dropped = min(round(rate * 65536), 65535)
    return mask_of(rng.integers(0, 65536, size=shape, dtype="uint16"), dropped, dtype)


@fused
def mask_of(bits: Array, dropped: int, dtype: Any) -> Array:
    """0 where an entry of `bits`, uint16, is below `dropped`, else 65536 / (65536 - dropped). For any shape."""
    mask = (bits >= dropped).astype(dtype)
    mask *= 65536 / (65536 - dropped)
    return mask


def dropout(x: Array, mask: Array) -> Array:
    """y = x · mask, elementwise.  x, mask (B, D) -> y (B, D)"""
    return x * mask


def dropout_backward(dy: Array, mask: Array) -> Array:
    """dx = dy · mask, elementwise.  dy, mask (B, D) -> dx (B, D)"""
    # y = x · mask, elementwise, so dy/dx = mask, because the mask does not depend on x
    return dy * mask


# ---- rows -----------------------------------------------------------------------------------------------------


def take_rows(array: Array, index: Array) -> Array:
    """array[index], the rows with these numbers.  array (N, ...), index (B,) -> (B, ...)"""
    return array.take(index, axis=0)


# ---- softmax with temperature ---------------------------------------------------------------------------------


def _scaled(logits: Array, temperature: float) -> Array:
    """(z - max z) / T as a new float array. The shift does not change softmax, and exp cannot overflow after it."""
    T = check_number("temperature", temperature, 0, open_low=True)
    logits = check_matrix("logits", logits)
    z = logits if logits.dtype.kind == "f" else logits.astype("float64")
    z = z - z.max(axis=1, keepdims=True)  # (B, K)
    return z if T == 1 else z / T


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """Softmax with temperature, row by row.

    With temperature T::

        p_k = exp(z_k / T) / sum_j exp(z_j / T)

    A high T flattens the probabilities and shows how the model ranks the wrong classes. A low T sharpens them. The
    result is stable for logits to ±1e4 and for T from 1e-3 to 1e3.

    Parameters
    ----------
    logits : array (B, K)
        z, real numbers.
    temperature : float
        T, above 0.

    Returns
    -------
    array (B, K)
        p, one distribution a row.

    Raises
    ------
    ValueError
        T <= 0, or logits without 2 dimensions.
    TypeError
        The arguments are not numbers.

    References
    ----------
    Hinton, Vinyals & Dean 2015, arXiv 1503.02531, eq. 1.

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import softmax
    >>> softmax(np.array([[2.0, 1.0, 0.0]])).round(3)
    array([[0.665, 0.245, 0.09 ]])
    >>> softmax(np.array([[2.0, 1.0, 0.0]]), temperature=4.0).round(3)
    array([[0.419, 0.326, 0.254]])
    """
    z = _scaled(logits, temperature)  # (B, K)
    p = xp_of(z).exp(z)  # (B, K)
    return p / p.sum(axis=1, keepdims=True)


def softmax_backward(dp: Array, p: Array, temperature: float = 1.0) -> Array:
    """dp (B, K), and p = softmax(z, T) (B, K) -> dz (B, K)"""
    # p_k = e^(z_k/T) / sum_j e^(z_j/T) gives dp_k/dz_j = p_k ([k = j] - p_j) / T, so
    # dz_j = sum_k dp_k p_k ([k = j] - p_j) / T = p_j (dp_j - sum_k dp_k p_k) / T
    return p * (dp - (dp * p).sum(axis=1, keepdims=True)) / float(temperature)


def log_softmax(logits: Array, temperature: float = 1.0) -> Array:
    """The logarithm of softmax with temperature, row by row, finite also where the probability underflows.

    With temperature T::

        log p_k = z_k / T - log sum_j exp(z_j / T)

    Parameters
    ----------
    logits : array (B, K)
        z, real numbers.
    temperature : float
        T, above 0.

    Returns
    -------
    array (B, K)
        log p, in nats.

    Raises
    ------
    ValueError
        T <= 0, or logits without 2 dimensions.
    TypeError
        The arguments are not numbers.

    References
    ----------
    Hinton, Vinyals & Dean 2015, arXiv 1503.02531, eq. 1.

    Examples
    --------
    >>> import numpy as np
    >>> from minikd import log_softmax
    >>> log_softmax(np.array([[1000.0, 0.0]]))
    array([[    0., -1000.]])
    """
    z = _scaled(logits, temperature)  # (B, K)
    xp = xp_of(z)
    return z - xp.log(xp.exp(z).sum(axis=1, keepdims=True))


def log_softmax_backward(dlogp: Array, logp: Array, temperature: float = 1.0) -> Array:
    """dlogp (B, K), and logp = log_softmax(z, T) (B, K) -> dz (B, K)"""
    # log p_k = z_k/T - log sum_j e^(z_j/T) gives d log p_k/dz_j = ([k = j] - p_j) / T, so
    # dz_j = (dlogp_j - p_j sum_k dlogp_k) / T
    return (dlogp - xp_of(logp).exp(logp) * dlogp.sum(axis=1, keepdims=True)) / float(temperature)
