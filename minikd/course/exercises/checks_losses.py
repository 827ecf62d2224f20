"""How E1 to E5 and E9 are checked: draw inputs, call the submission, compare its numbers with those of expected.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...losses import cross_entropy
from ..sandbox.conversation import Child
from .exercise import Rng, array_of, expect, slope_message, values_of
from .expected import kd, mutual, total

WIDE = 30_000  # classes: so many that a numerical derivative of each logit takes minutes, and a formula milliseconds
WIDE_SECONDS = 2.0


def logits(rng: Rng, rows: int = 5, classes: int = 7, scale: float = 3.0) -> np.ndarray:
    """(rows, classes), float64."""
    return rng.standard_normal((rows, classes)) * scale


def labels(rng: Rng, rows: int = 5, classes: int = 7) -> np.ndarray:
    """(rows,), whole numbers."""
    return rng.integers(0, classes, rows)


def temperature(rng: Rng) -> float:
    """A temperature that nobody would guess."""
    return float(rng.uniform(1.5, 6.0))


def extreme(rng: Rng) -> np.ndarray:
    """Logits of ±1e4, (4, 6): exp of them overflows, and the probabilities of most classes underflow."""
    z = rng.choice([-1e4, 1e4, 0.0], (4, 6)) + rng.standard_normal((4, 6))
    z[0], z[1, 1:] = 1e4, -1e4
    return z


# ---- E1: log-softmax ---------------------------------------------------------------------------------------------


def e1_reference(child: Child, rng: Rng) -> None:
    """Equals the reference at three temperatures."""
    for T in (1.0, temperature(rng), 0.5):
        z = logits(rng)
        expect("log_softmax(z, T)", child.call("log_softmax", z, T), ops.log_softmax(z, T), why=f"with T = {T:.3g}")


def e1_shift(child: Child, rng: Rng) -> None:
    """A number added to a row of logits changes nothing."""
    z, T, shift = logits(rng), temperature(rng), rng.uniform(100, 1000, (5, 1))
    why = "adding one number to all logits of a row must change nothing"
    expect("log_softmax(z + c, T)", child.call("log_softmax", z + shift, T), ops.log_softmax(z, T), 1e-8, why)


def e1_extreme(child: Child, rng: Rng) -> None:
    """Finite and right at logits of ±1e4."""
    z, T = extreme(rng), temperature(rng)
    why = "logits of ±1e4: take the largest logit off first, and never the logarithm of a probability that has become 0"
    expect("log_softmax(z, T)", child.call("log_softmax", z, T), ops.log_softmax(z, T), why=why)


# ---- E2: a layer -------------------------------------------------------------------------------------------------


def layer(rng: Rng) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x (6, 5), W (5, 4), b (4,), dh (6, 4), with no pre-activation within 0.05 of relu's kink."""
    while True:
        x, W, b = rng.standard_normal((6, 5)), rng.standard_normal((5, 4)), rng.standard_normal(4)
        if np.abs(x @ W + b).min() > 0.05:
            return x, W, b, rng.standard_normal((6, 4))


def e2_forward(child: Child, rng: Rng) -> None:
    """Equals the reference."""
    x, W, b, _ = layer(rng)
    expect("affine_relu_forward(x, W, b)", child.call("affine_relu_forward", x, W, b), np.maximum(x @ W + b, 0))


def e2_backward(child: Child, rng: Rng) -> None:
    """All three gradients equal the reference."""
    x, W, b, dh = layer(rng)
    got = values_of("affine_relu_backward", child.call("affine_relu_backward", dh, x, W, b), 3)
    da = dh * (x @ W + b > 0)
    for name, mine, want in zip(("dx", "dW", "db"), got, ops.linear_backward(da, x, W), strict=True):
        expect(name, mine, want)


def e2_differences(child: Child, rng: Rng) -> None:
    """The gradients are the slopes of the submission's own forward, away from kinks."""
    x, W, b, dh = layer(rng)
    arrays = {"x": x, "W": W, "b": b}
    got = values_of("affine_relu_backward", child.call("affine_relu_backward", dh, x, W, b), 3)

    def loss(**moved: np.ndarray) -> float:
        h = child.call("affine_relu_forward", *{**arrays, **moved}.values())
        return float((array_of("affine_relu_forward(x, W, b)", h, dh.shape) * dh).sum())

    for (name, array), mine in zip(arrays.items(), got, strict=True):
        step = rng.standard_normal(array.shape)
        step *= 1e-4 / np.linalg.norm(step)
        measured = (loss(**{name: array + step}) - loss(**{name: array - step})) / 2
        claimed = (array_of(f"d{name}", mine, array.shape) * step).sum()
        what = f"with L = sum(dh * h), what d{name} says of a small step of {name}"
        expect(what, np.asarray(claimed), measured, 1e-6, "measured: (L(+step) - L(-step)) / 2, with your own forward")


# ---- losses that return their gradients --------------------------------------------------------------------------


def check_loss(child: Child, rng: Rng, function: str, arguments: list[Any], want: tuple[Any, Any]) -> None:
    """`function(*arguments)` must return `want`, (loss, gradient by the first argument); says why not."""
    loss, dz = values_of(function, child.call(function, *arguments), 2)
    z = arguments[0]
    array_of("loss", loss, ()), array_of("dz", dz, z.shape)

    def own(moved: np.ndarray) -> float:
        return float(array_of("loss", values_of(function, child.call(function, moved, *arguments[1:]), 2)[0], ()))

    why = slope_message(own, z, dz, rng)
    expect("loss", loss, want[0], why=why)
    expect("dz", dz, want[1], why=why)


def check_wide(child: Child, function: str, arguments: list[Any], want: Any, at: int = 1) -> None:
    """The same with so many classes that only a formula is fast enough."""
    got = values_of(function, child.call(function, *arguments, seconds=WIDE_SECONDS), 2)[at]
    expect(f"dz of {WIDE:,} classes", got, want)


def e3_reference(child: Child, rng: Rng) -> None:
    """Loss and gradient equal the reference."""
    z, y = logits(rng), labels(rng)
    check_loss(child, rng, "cross_entropy", [z, y], cross_entropy(z, y))


def e3_extreme(child: Child, rng: Rng) -> None:
    """The same at logits of ±1e4."""
    z, y = extreme(rng), labels(rng, 4, 6)
    loss, dz = values_of("cross_entropy", child.call("cross_entropy", z, y), 2)
    want = cross_entropy(z, y)
    expect("loss at logits of ±1e4", loss, want[0])
    expect("dz at logits of ±1e4", dz, want[1])


def e3_rows(child: Child, rng: Rng) -> None:
    """Each row of the gradient sums to 0."""
    z, y = logits(rng, 4, 9), labels(rng, 4, 9)
    _, dz = values_of("cross_entropy", child.call("cross_entropy", z, y), 2)
    array_of("dz", dz, z.shape)
    why = "probabilities sum to 1, and so does a one-hot label"
    expect("the sums of the rows of dz", dz.sum(axis=1), np.zeros(4), why=why)
    expect("dz", dz, cross_entropy(z, y)[1])


def e4_reference(child: Child, rng: Rng) -> None:
    """Loss and gradient equal the reference."""
    zs, zt, T = logits(rng), logits(rng), temperature(rng)
    check_loss(child, rng, "kd_loss", [zs, zt, T], kd(zs, zt, T))


def e4_same(child: Child, rng: Rng) -> None:
    """Both are 0 where teacher and student agree, and not elsewhere."""
    z, T = logits(rng), temperature(rng)
    other = logits(rng)
    loss, dz = values_of("kd_loss", child.call("kd_loss", z + rng.normal(size=(5, 1)), z, T), 2)
    why = "teacher and student say the same, up to a shift of the logits"
    expect("loss", loss, 0.0, why=why)
    expect("dz", dz, np.zeros_like(z), why=why)
    loss, _ = values_of("kd_loss", child.call("kd_loss", z, other, T), 2)
    expect("loss", loss, kd(z, other, T)[0])  # 0 is not always right


def e4_limit(child: Child, rng: Rng) -> None:
    """Logit matching at T = 10,000."""
    zs, zt, T = logits(rng), logits(rng), 1e4
    difference = zs - zt
    difference -= difference.mean(axis=1, keepdims=True)
    loss, dz = values_of("kd_loss", child.call("kd_loss", zs, zt, T), 2)
    why = "as T grows, T² KL becomes the mean squared difference of centred logits, over 2 K: this is logit matching"
    expect("loss at T = 10,000", loss, (difference**2).sum() / (2 * 7 * 5), 1e-2, why)
    expect("dz at T = 10,000", dz, difference / (7 * 5), 1e-2, why)


def e4_extreme(child: Child, rng: Rng) -> None:
    """Right at logits of ±1e4."""
    zs, zt, T = extreme(rng), extreme(rng)[::-1].copy(), temperature(rng)
    loss, dz = values_of("kd_loss", child.call("kd_loss", zs, zt, T), 2)
    expect("loss at logits of ±1e4", loss, kd(zs, zt, T)[0])
    expect("dz at logits of ±1e4", dz, kd(zs, zt, T)[1])


def mixture(rng: Rng, w: float | None = None, rows: int = 6, classes: int = 5) -> list[Any]:
    """Arguments of E5."""
    weight = float(rng.uniform(0.2, 0.8)) if w is None else w
    s = rng.uniform(0.1, 2.0, rows)
    zs, zt = logits(rng, rows, classes), logits(rng, rows, classes)
    return [zs, zt, labels(rng, rows, classes), temperature(rng), weight, s]


def e5_reference(child: Child, rng: Rng) -> None:
    """Loss and gradient equal the reference."""
    arguments = mixture(rng)
    check_loss(child, rng, "kd_total", arguments, total(*arguments))


def e5_edges(child: Child, rng: Rng) -> None:
    """The same with soft_weight 0 and 1."""
    for w in (0.0, 1.0):
        arguments = mixture(rng, w)
        check_loss(child, rng, "kd_total", arguments, total(*arguments))


def e5_zeros(child: Child, rng: Rng) -> None:
    """Samples of weight 0 do not count, and all of weight 0 give 0."""
    arguments = mixture(rng)
    arguments[5][rng.permutation(6)[:3]] = 0.0
    check_loss(child, rng, "kd_total", arguments, total(*arguments))
    arguments[5] = np.zeros(6)
    loss, dz = values_of("kd_total", child.call("kd_total", *arguments), 2)
    expect("loss where all sample weights are 0", loss, 0.0)
    expect("dz where all sample weights are 0", dz, np.zeros((6, 5)))


# ---- E9: two losses ------


def e9_reference(child: Child, rng: Rng) -> None:
    """Both gradients equal the reference."""
    z1, z2, y, T = logits(rng), logits(rng), labels(rng), temperature(rng)
    got = values_of("mutual_gradients", child.call("mutual_gradients", z1, z2, y, T), 2)
    why = "the peer is a constant: nothing flows into it from the other's loss"
    for name, mine, want in zip(("dz1", "dz2"), got, mutual(z1, z2, y, T), strict=True):
        expect(name, mine, want, why=why)


def e9_agreement(child: Child, rng: Rng) -> None:
    """Peers that agree learn from the labels alone."""
    z, y, T = logits(rng), labels(rng), temperature(rng)
    got = values_of("mutual_gradients", child.call("mutual_gradients", z, z, y, T), 2)
    for name, mine in zip(("dz1", "dz2"), got, strict=True):
        expect(name, mine, cross_entropy(z, y)[1], why="peers that agree learn from the labels alone")


# ---- by a formula, not by measuring ------------------------------------------------------------------------------
# Part of every check of a gradient: an example so large that central differences (or complex steps, which are exact)
# would take minutes, where a formula takes milliseconds.


def wide_e2(child: Child, rng: Rng) -> None:
    """A layer of 400 by 300."""
    x, W, b = rng.standard_normal((3, 400)), rng.standard_normal((400, 300)), rng.standard_normal(300)
    dh = rng.standard_normal((3, 300))
    got = values_of("affine_relu_backward", child.call("affine_relu_backward", dh, x, W, b, seconds=WIDE_SECONDS), 3)
    expect("dW of a wide layer", got[1], x.T @ (dh * (x @ W + b > 0)))


def wide_e3(child: Child, rng: Rng) -> None:
    """WIDE classes."""
    z, y = logits(rng, 3, WIDE), labels(rng, 3, WIDE)
    check_wide(child, "cross_entropy", [z, y], cross_entropy(z, y)[1])


def wide_e4(child: Child, rng: Rng) -> None:
    """WIDE classes."""
    zs, zt, T = logits(rng, 3, WIDE), logits(rng, 3, WIDE), temperature(rng)
    check_wide(child, "kd_loss", [zs, zt, T], kd(zs, zt, T)[1])


def wide_e5(child: Child, rng: Rng) -> None:
    """WIDE classes."""
    arguments = mixture(rng, rows=3, classes=WIDE)
    check_wide(child, "kd_total", arguments, total(*arguments)[1])


def wide_e9(child: Child, rng: Rng) -> None:
    """WIDE classes."""
    z1, z2, y, T = logits(rng, 3, WIDE), logits(rng, 3, WIDE), labels(rng, 3, WIDE), temperature(rng)
    check_wide(child, "mutual_gradients", [z1, z2, y, T], mutual(z1, z2, y, T)[0], at=0)
