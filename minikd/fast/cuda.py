"""Fused kernels: what is several lines in ops.py, losses.py and optim.py, done on a GPU in one launch.

At the sizes of minikd's networks it costs a GPU more to start a kernel than to do the arithmetic in it. A formula
written with whole arrays starts one for each operation, and each reads and writes all of memory again. Here the same
formula is written for one element, or for one row of logits, and one thread works it out from beginning to end.

The plain formulas stand, with their derivations, in the three files named above, and remain what is computed on the
CPU; results agree with them to rounding. The bodies below are C++ for CuPy's ElementwiseKernel, which compiles them
when they are first needed. T is the type of the arrays, float or double. All numbers are written T(...): a bare 0.5
is a double, and would take float32 arithmetic through float64, where most GPUs are slow.

Nothing here waits for the GPU. Shapes are for the caller to check: a kernel that is given too little memory reads on.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ..backend import Array, xp_of

# One thread goes through one row of logits, entry by entry. With many more classes than this, most of the GPU would
# be idle meanwhile, and the plain formulas, which spread a row over many threads, are faster.
MAX_CLASSES = 1024

_NORMAL_CDF = "T(0.5) * erfc(T(-0.7071067811865476) * z)"  # Φ(z)
_ACTIVATIONS = {  # name: (f(z), f'(z) from z and a = f(z))
    "relu": ("z < T(0) ? T(0) : z", "T(a > T(0))"),  # not z > 0 ? z : 0, which would make 0 of NaN
    "tanh": ("tanh(z)", "T(1) - a * a"),
    "sigmoid": ("(tanh(T(0.5) * z) + T(1)) * T(0.5)", "a * (T(1) - a)"),
    "gelu": (f"z * {_NORMAL_CDF}", f"{_NORMAL_CDF} + z * (exp(T(-0.5) * z * z) * T(0.3989422804014327))"),
}

_ADAM = """
    const T slope = g + l2 * theta;
    m = beta1 * m + slope;
    v = beta2 * v + slope * slope;
    theta = shrink * theta - rate * (m / (sqrt(v) + eps));
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
            soft_sum += q * logp;
            dz += w_soft * temperature * (exp(logp) - q);
        }
        dlogits[first + j] = dz / batch;
    }
    loss = -(w_hard * hard_sum + w_soft * temperature * temperature * soft_sum) / batch;
"""

# name: (arguments, results, what one thread does, functions that this needs)
_SOURCES = {
    "adam": ("T g, T beta1, T beta2, T rate, T eps, T l2, T shrink", "T theta, T m, T v", _ADAM, ""),
    "distillation_loss": (
        "raw T z, raw L labels, raw T v, int32 classes, bool hard, bool soft, T w_hard, T w_soft, T temperature",
        "raw T dlogits, T loss",
        _LOSS,
        _ROWS,
    ),
}
for _name, (_value, _slope) in _ACTIVATIONS.items():
    _SOURCES[f"bias_{_name}"] = ("T b", "T z, T a", f"z += b; a = {_value};", "")
    _SOURCES[f"{_name}_backward"] = ("T da, T z, T a", "T out", f"out = da * ({_slope});", "")


@cache
def _kernel(xp: Any, name: str) -> Any:
    arguments, results, body, preamble = _SOURCES[name]
    return xp.ElementwiseKernel(arguments, results, body, f"minikd_{name}", preamble=preamble)


def adam(
    theta: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    beta1: float,
    beta2: float,
    rate: float,
    eps: float,
    l2: float = 0.0,
    shrink: float = 1.0,
) -> None:
    """One step of `optim.Adam` or AdamW, into theta, m and v.  All four (P,), of one type.

        g' = g + l2 theta                 Adam's weight decay
        m <- β1 m + g'                    v <- β2 v + g'²
        theta <- shrink theta - rate m / (sqrt(v) + eps)

    AdamW's decay is shrink = 1 - lr · weight_decay. All other factors are in `rate` and `eps`: see `optim.Adam`.
    """
    _kernel(xp_of(theta), "adam")(g, beta1, beta2, rate, eps, l2, shrink, theta, m, v)


def bias_activation(z: Array, b: Array, a: Array, name: str) -> Array:
    """z <- z + b and a <- f(z), with f the activation of that name in ops.py; returns a, which may be z itself.

    z (B, K), b (K,), a (B, K), of one type.
    """
    _kernel(xp_of(z), f"bias_{name}")(b, z, a)
    return a


def activation_backward(da: Array, z: Array, a: Array, out: Array, name: str) -> Array:
    """out <- da f'(z), with a = f(z); returns out, which may be da itself.  All (B, K), of one type."""
    _kernel(xp_of(da), f"{name}_backward")(da, z, a, out)
    return out


def distillation_loss(
    z: Array, labels: Array | None, v: Array | None, *, temperature: float, soft_weight: float
) -> tuple[Array, Array]:
    """`losses.distillation_loss`: L = (1 - w) CE(z, labels) + w T² CE(softmax(v / T), softmax(z / T)) and dL/dz.

    Logits z (B, K), labels (B,) of any integer type, teacher's logits v (B, K) -> L, dlogits (B, K).  Without labels
    the first term is left out, without v the second: (z, labels, None) with w = 0 is `cross_entropy`. Both results
    have the type of z if that is float32 or float64, else float64. A label that is no class makes L NaN.
    """
    xp, (batch, classes) = xp_of(z), z.shape
    z = z.astype(z.dtype if z.dtype.char in "fd" else "float64", copy=False)
    dlogits, losses = xp.empty((batch, classes), z.dtype), xp.empty(batch, z.dtype)
    # An array that is not there is not read either, but a kernel wants all of them: z stands in.
    arrays = z, z if labels is None else labels, z if v is None else v.astype(z.dtype, copy=False)
    numbers = labels is not None, v is not None, 1 - soft_weight, soft_weight, temperature
    # Blocks of 32 threads, the fewest that run together, spread the rows over as many processors as can be.
    _kernel(xp, "distillation_loss")(*arrays, classes, *numbers, dlogits, losses, block_size=32)
    return losses.sum(), dlogits
