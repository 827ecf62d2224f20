"""Kernels for a GPU: several lines of ops.py, losses.py and optim.py, each in one launch.

At the sizes of minikd's networks, starting a kernel costs a GPU more than the arithmetic in it. A formula written with
whole arrays starts one kernel for each operation, and each reads and writes all of memory again. Here the same formula
is written for one element, or for one row of logits, and one thread computes it from beginning to end.

The plain formulas and their derivations are in the three files named above. The results agree with them to rounding.
The bodies below are C++ for CuPy's ElementwiseKernel, which compiles them when they are first needed. T is the type of
the arrays, float or double. All numbers are written T(...): a bare 0.5 is a double, and would turn float32 arithmetic
into float64, in which most GPUs are slow.

Nothing here waits for the GPU. The caller must check the shapes: a kernel that is given too little memory reads beyond
its end.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from ..backend import Array, xp_of
from ..checks import check_classes, check_distillation, check_matrix

# One thread computes one row of logits, entry by entry. With many more classes than this, most of the GPU would be
# idle, and the plain formulas are faster, because they spread a row over many threads.
MAX_CLASSES = 1024

_NORMAL_CDF = "T(0.5) * erfc(T(-0.7071067811865476) * z)"  # Φ(z)
_ACTIVATIONS = {  # name: (f(z), f'(z) from z and a = f(z))
    "relu": ("z < T(0) ? T(0) : z", "T(a > T(0))"),  # not z > 0 ? z : 0, which would turn NaN into 0
    "tanh": ("tanh(z)", "T(1) - a * a"),
    "sigmoid": ("(tanh(T(0.5) * z) + T(1)) * T(0.5)", "a * (T(1) - a)"),
    "gelu": (f"z * {_NORMAL_CDF}", f"{_NORMAL_CDF} + z * (exp(T(-0.5) * z * z) * T(0.3989422804014327))"),
}

_ADAM = """
    const T slope = l2 == T(0) ? g : g + l2 * theta;
    m = beta1 * m + (T(1) - beta1) * slope;
    v = beta2 * v + (T(1) - beta2) * slope * slope;
    theta = theta - shrink * theta - rate * m / (sqrt(v) / root + eps);
"""
_SGD = """
    T step = decay == T(0) ? g : g + decay * theta;
    if (momentum != T(0)) {
        u = momentum * u + step;
        step = nesterov ? step + momentum * u : u;
    }
    theta = theta - rate * step;
"""

_ROWS = """
// max_j x_j over the row of n entries from `first` on; NaN is passed over here, and found by the sum
template <typename Array> __device__ T row_max(const Array& x, const ptrdiff_t first, const int n) {
    T top = x[first];
    for (int j = 1; j < n; ++j) if (x[first + j] > top) top = x[first + j];
    return top;
}

// log sum_j exp((x_j - top) / temperature) over the same row
template <typename Array>
__device__ T row_log_sum(const Array& x, const ptrdiff_t first, const int n, const T top, const T temperature) {
    T sum = T(0);
    for (int j = 0; j < n; ++j) sum += exp((x[first + j] - top) / temperature);
    return log(sum);
}
"""

_LOSS = """
    const ptrdiff_t first = i * classes;  // where row i starts
    const T batch = T(_ind.size());
    const T z_top = row_max(z, first, classes);
    const T v_top = soft ? row_max(v, first, classes) : T(0);
    const T z_sum = hard ? row_log_sum(z, first, classes, z_top, T(1)) : T(0);
    const T z_soft_sum = soft ? row_log_sum(z, first, classes, z_top, temperature) : T(0);
    const T v_soft_sum = soft ? row_log_sum(v, first, classes, v_top, temperature) : T(0);
    T hard_sum = hard ? T(0) / T(0) : T(0);  // log p_y; NaN until the label has been met
    T soft_sum = T(0);                       // sum_j q^T_j log p^T_j
    for (int j = 0; j < classes; ++j) {
        T dz = T(0);
        if (hard) {
            const T logp = z[first + j] - z_top - z_sum;
            const bool is_label = j == labels[i];
            if (is_label) hard_sum = logp;
            dz += w_hard * (exp(logp) - T(is_label));
        }
        if (soft) {
            const T logp = (z[first + j] - z_top) / temperature - z_soft_sum;
            const T q = exp((v[first + j] - v_top) / temperature - v_soft_sum);
            soft_sum += q == T(0) ? T(0) : q * logp;  // 0 · -inf would be NaN
            dz += w_soft * temperature * (exp(logp) - q);
        }
        dlogits[first + j] = dz / batch;
    }
    loss = -(w_hard * hard_sum + w_soft * temperature * temperature * soft_sum) / batch;
"""

# name: (arguments, results, what one thread does, functions that this needs)
_SOURCES = {
    "mask_of": ("B bits, B dropped, T kept", "T mask", "mask = bits >= dropped ? kept : T(0);", ""),
    "sgd": ("T g, T rate, T momentum, bool nesterov, T decay", "T theta, T u", _SGD, ""),
    "adam": ("T g, T beta1, T beta2, T rate, T root, T eps, T l2, T shrink", "T theta, T m, T v", _ADAM, ""),
    "mixed_loss": (
        "raw T z, raw L labels, raw T v, int32 classes, bool hard, bool soft, T w_hard, T w_soft, T temperature",
        "raw T dlogits, T loss",
        _LOSS,
        _ROWS,
    ),
}
for _name, (_value, _slope) in _ACTIVATIONS.items():
    _SOURCES[f"bias_{_name}"] = ("T b", "T z, T a", f"z += b; a = {_value};", "")
    _SOURCES[f"{_name}_backward"] = ("T da, T z, T a", "T dz", f"dz = da * ({_slope});", "")


@cache
def _kernel(xp: Any, name: str) -> Any:
    arguments, results, body, preamble = _SOURCES[name]
    return xp.ElementwiseKernel(arguments, results, body, f"minikd_{name}", preamble=preamble)


def _fit(*arrays: Array) -> bool:
    """Whether the arrays have one type, float32 or float64."""
    return arrays[0].dtype.name in ("float32", "float64") and all(a.dtype == arrays[0].dtype for a in arrays)


def bias_activation(z: Array, b: Array, activation: str) -> Array:
    """`ops.bias_activation`."""
    if not _fit(z, b):
        return NotImplemented
    a = xp_of(z).empty_like(z)
    _kernel(xp_of(z), f"bias_{activation}")(b, z, a)
    return a


def activation_backward(da: Array, z: Array, a: Array, activation: str) -> Array:
    """`ops.activation_backward`."""
    return _kernel(xp_of(da), f"{activation}_backward")(da, z, a) if _fit(da, z, a) else NotImplemented


def mask_of(bits: Array, dropped: int, dtype: Any) -> Array:
    """`ops.mask_of`."""
    xp = xp_of(bits)
    mask = xp.empty(bits.shape, dtype)
    _kernel(xp, "mask_of")(bits, dropped, 65536 / (65536 - dropped), mask)
    return mask


def cross_entropy(logits: Array, labels: Array) -> Any:
    """`losses.cross_entropy`."""
    logits = check_matrix("logits", logits)
    labels = check_classes(labels, logits)
    return _mixed_loss(logits, labels, logits, 1.0, 0.0)


def distillation_loss(
    logits: Array, labels: Array | None, teacher_logits: Array, *, temperature: float = 4.0, soft_weight: float = 0.9
) -> Any:
    """`losses.distillation_loss`."""
    arrays = check_distillation(logits, labels, teacher_logits, temperature, soft_weight)
    logits, labels, teacher_logits = arrays
    return _mixed_loss(logits, labels, teacher_logits, float(temperature), float(soft_weight))


def _mixed_loss(z: Array, labels: Array | None, v: Array, T: float, w: float) -> Any:
    """`losses.distillation_loss` without its checks. A label that is no class makes the loss NaN."""
    xp, (batch, classes) = xp_of(z), z.shape
    z = z.astype("float64") if z.dtype.kind in "iu" else z
    if not _fit(z) or classes > MAX_CLASSES:
        return NotImplemented
    dlogits, losses = xp.empty((batch, classes), z.dtype), xp.empty(batch, z.dtype)
    # Missing labels are not read, but a kernel needs all its arrays: z takes their place.
    arrays = z, z if labels is None else labels, v.astype(z.dtype, copy=False)
    numbers = w < 1, w > 0, 1 - w, w, T
    # Blocks of 32 threads, the fewest that run together, spread the rows over as many processors as possible.
    _kernel(xp, "mixed_loss")(*arrays, classes, *numbers, dlogits, losses, block_size=32)
    return losses.sum(), dlogits


def sgd(theta: Array, g: Array, u: Array | None, lr: float, momentum: float, nesterov: bool, decay: float) -> Any:
    """`optim.sgd`."""
    u = xp_of(theta).empty_like(theta) if u is None else u  # without momentum the kernel does not use u
    if not _fit(theta, g, u):
        return NotImplemented
    _kernel(xp_of(theta), "sgd")(g, lr, momentum, nesterov, decay, theta, u)
    return None


def adam(
    theta: Array, g: Array, m: Array, v: Array,
    t: int, lr: float, beta1: float, beta2: float, eps: float, l2: float, shrink: float,
) -> Any:  # fmt: skip
    """`optim.adam`."""
    if not _fit(theta, g, m, v):
        return NotImplemented
    rate, root = lr / (1 - beta1**t), math.sqrt(1 - beta2**t)
    _kernel(xp_of(theta), "adam")(g, beta1, beta2, rate, root, eps, l2, shrink, theta, m, v)
    return None
