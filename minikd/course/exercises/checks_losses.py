"""The checks of E1 to E5 and E9: draw inputs, call the submission, compare its numbers with those of expected.py.

A gradient must be derived, not measured. Each check of a gradient includes an example (`..._derived`) on which a
formula works and measuring fails, both by differences and by complex steps. Three properties make it fail:

- Size: the example has so many logits and hidden units that moving each of them once takes many seconds.
- Precision: the loss is so much larger than its slope that differences lose the slope to rounding.
- Kinks: some pre-activations are exactly 0, where the slope of relu is 0 by definition (the stubs say so). Moving them
  measures another slope. Others are within 1e-7 of 0, so that large steps also fail.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...losses import cross_entropy
from ..sandbox.conversation import Child, Failed
from .diagnosis import Clues
from .exercise import Rng, Wrong, array_of, expect, slope_message, values_of
from .expected import kd, mutual, total

WIDE = 30_000  # classes: a numerical derivative of each logit takes minutes, and a formula milliseconds
WIDE_SECONDS = 4.0


def logits(rng: Rng, rows: int = 5, classes: int = 7, scale: float = 3.0) -> np.ndarray:
    """(rows, classes), float64."""
    return rng.standard_normal((rows, classes)) * scale


def labels(rng: Rng, rows: int = 5, classes: int = 7) -> np.ndarray:
    """(rows,), whole numbers."""
    return rng.integers(0, classes, rows)


def temperature(rng: Rng) -> float:
    """A random temperature, which cannot be guessed."""
    return float(rng.uniform(1.5, 6.0))


def extreme(rng: Rng) -> np.ndarray:
    """Logits of ±1e4, (4, 6): exp of them overflows, and the probabilities of most classes underflow."""
    z = rng.choice([-1e4, 1e4, 0.0], (4, 6)) + rng.standard_normal((4, 6))
    z[0], z[1, 1:] = 1e4, -1e4
    return z


# ---- E1: log-softmax ---------------------------------------------------------------------------------------------


def e1_reference(child: Child, rng: Rng) -> None:
    """The result equals the reference at three temperatures."""
    for T in (1.0, temperature(rng), 0.5):
        z = logits(rng)
        mistakes = [
            ("the temperature is left out", ops.log_softmax(z)),
            ("the temperature divides the result and not the logits", ops.log_softmax(z) / T),
            ("the sum runs over the batch and not over the classes", ops.log_softmax(z.T, T).T),
            ("the logarithm is left out", ops.softmax(z, T)),
        ]
        got, clues = child.call("log_softmax", z, T), Clues({"T": T} if T != 1 else {}, mistakes)
        expect("log_softmax(z, T)", got, ops.log_softmax(z, T), why=f"with T = {T:.3g}", clues=clues)


def e1_shift(child: Child, rng: Rng) -> None:
    """Adding a number to a row of logits changes nothing."""
    z, T, shift = logits(rng), temperature(rng), rng.uniform(100, 1000, (5, 1))
    why = "adding one number to all logits of a row must change nothing"
    before = array_of("log_softmax(z, T)", child.call("log_softmax", z, T), z.shape)
    expect("log_softmax(z + c, T)", child.call("log_softmax", z + shift, T), before, 1e-8, why)


def e1_extreme(child: Child, rng: Rng) -> None:
    """The result is finite and right for logits of ±1e4."""
    z, T = extreme(rng), temperature(rng)
    why = "logits of ±1e4: subtract the largest logit first, and never take the logarithm of a probability: it can be 0"
    expect("log_softmax(z, T)", child.call("log_softmax", z, T), ops.log_softmax(z, T), why=why)


# ---- E2: a layer -------------------------------------------------------------------------------------------------


def layer(rng: Rng) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x (6, 5), W (5, 4), b (4,), dh (6, 4), with no pre-activation within 0.05 of relu's kink."""
    while True:
        x, W, b = rng.standard_normal((6, 5)), rng.standard_normal((5, 4)), rng.standard_normal(4)
        if np.abs(x @ W + b).min() > 0.05:
            return x, W, b, rng.standard_normal((6, 4))


def e2_forward(child: Child, rng: Rng) -> None:
    """The result equals the reference."""
    x, W, b, _ = layer(rng)
    clues = Clues(mistakes=[("relu is left out", x @ W + b), ("the bias is left out", np.maximum(x @ W, 0))])
    got = child.call("affine_relu_forward", x, W, b)
    expect("affine_relu_forward(x, W, b)", got, np.maximum(x @ W + b, 0), clues=clues)


def check_layer(child: Child, x: Any, W: Any, b: Any, dh: Any, call: Any = Child.call, why: str = "") -> None:
    """Check all three gradients of a layer."""
    got = values_of("affine_relu_backward", call(child, "affine_relu_backward", dh, x, W, b), 3)
    mistakes = [
        ("relu's slope is left out", ops.linear_backward(dh, x, W)),
        ("relu's slope is taken from dh and not from x W + b", ops.linear_backward(dh * (dh > 0), x, W)),
        ("the bias is left out where relu's slope is found", ops.linear_backward(dh * (x @ W > 0), x, W)),
    ]
    want, clues = ops.linear_backward(dh * (x @ W + b > 0), x, W), Clues({"B": len(x)}, mistakes)
    for i, name in enumerate(("dx", "dW", "db")):
        expect(name, got[i], want[i], why=why, clues=clues.of(i))


def e2_backward(child: Child, rng: Rng) -> None:
    """All three gradients equal the reference."""
    check_layer(child, *layer(rng))


def kinked_biases(rng: Rng, units: int, scale: float = 1.0) -> np.ndarray:
    """(units,): a third exactly 0, a third ±1e-7, the rest of size `scale`. To be used with a row of zeros in x."""
    b = rng.choice([-1e-7, 1e-7], units)
    b[::3] = 0.0
    b[1::3] = rng.standard_normal(len(b[1::3])) * scale
    return b


KINKS = "the slope of relu at exactly 0 is 0; derive the gradient, because measuring it is not exact enough"


def e2_derived(child: Child, rng: Rng) -> None:
    """The same with 100 samples and 2,000 units, some at their kinks."""
    x, W, b = rng.standard_normal((100, 20)), rng.standard_normal((20, 2000)), kinked_biases(rng, 2000, 1e6)
    x[0] = 0.0
    check_layer(child, x, W, b, rng.standard_normal((100, 2000)), large_call, KINKS)


def e2_differences(child: Child, rng: Rng) -> None:
    """The gradients are the slopes of the submission's own forward function, away from kinks."""
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


def check_loss(
    child: Child, rng: Rng, function: str, arguments: list[Any], want: tuple[Any, Any], clues: Clues
) -> None:
    """Check that `function(*arguments)` returns `want`, the loss and its gradient in the first argument."""
    loss, dz = values_of(function, child.call(function, *arguments), 2)
    z = arguments[0]
    array_of("loss", loss, ()), array_of("dz", dz, z.shape)

    def own(moved: np.ndarray) -> float:
        return float(array_of("loss", values_of(function, child.call(function, moved, *arguments[1:]), 2)[0], ()))

    why = slope_message(own, z, dz, rng)
    expect("loss", loss, want[0], why=why, clues=clues.of(0))
    expect("dz", dz, want[1], why=why, clues=clues.of(1))


def large_call(child: Child, function: str, *arguments: Any) -> Any:
    """A call that a formula answers in time, but measuring does not."""
    try:
        return child.call(function, *arguments, seconds=WIDE_SECONDS)
    except Failed as error:
        words = f"no answer within {WIDE_SECONDS:g} s for large arrays; NumPy on whole arrays takes milliseconds"
        raise Failed("time", words) if error.kind == "time" else error from None


EXACT = "derive the gradient, because measuring it is not exact enough"


def check_wide(child: Child, function: str, arguments: list[Any], want: Any) -> None:
    """Check the gradient of a loss with WIDE classes."""
    _, got = values_of(function, large_call(child, function, *arguments), 2)
    expect(f"dz of {WIDE:,} classes", got, want, why=EXACT)


def e3_reference(child: Child, rng: Rng) -> None:
    """Loss and gradient equal the reference."""
    z, y = logits(rng), labels(rng)
    loss, dz = cross_entropy(z, y)
    p = ops.softmax(z) / len(z)
    mistakes = [
        ("the label is left out of the gradient", (loss, p)),
        ("only the label's entries are filled in", (loss, dz * (dz < 0))),
    ]
    check_loss(child, rng, "cross_entropy", [z, y], (loss, dz), Clues({"B": 5, "K": 7}, mistakes))


def e3_extreme(child: Child, rng: Rng) -> None:
    """The same for logits of ±1e4."""
    z, y = extreme(rng), labels(rng, 4, 6)
    loss, dz = values_of("cross_entropy", child.call("cross_entropy", z, y), 2)
    want = cross_entropy(z, y)
    expect("loss at logits of ±1e4", loss, want[0], clues=Clues({"B": 4}))
    expect("dz at logits of ±1e4", dz, want[1], clues=Clues({"B": 4}))


def e3_rows(child: Child, rng: Rng) -> None:
    """Each row of the gradient sums to 0."""
    z, y = logits(rng, 4, 9), labels(rng, 4, 9)
    _, dz = values_of("cross_entropy", child.call("cross_entropy", z, y), 2)
    why = "probabilities sum to 1, and a one-hot label also sums to 1"
    expect("the sums of the rows of dz", array_of("dz", dz, z.shape).sum(axis=1), np.zeros(4), why=why)


def e4_reference(child: Child, rng: Rng) -> None:
    """Loss and gradient equal the reference."""
    zs, zt, T = logits(rng), logits(rng), temperature(rng)
    loss, dz = kd(zs, zt, T)
    p, row = ops.softmax(zs, T), ops.log_softmax(zs, T) - ops.log_softmax(zt, T)
    other_way = kd(zt, zs, T)[0]
    entropy = T**2 * (ops.softmax(zt, T) * ops.log_softmax(zt, T)).sum() / len(zs)
    mistakes = [
        ("softmax has the temperature 1", kd(zs, zt, 1.0)),
        (
            "the divergence goes from the student to the teacher",
            (other_way, T * p * (row - (p * row).sum(1)[:, None]) / 5),
        ),
        ("the divergence goes from the student to the teacher", (other_way, dz)),
        ("the teacher's entropy is left out", (loss - entropy, dz)),
    ]
    check_loss(child, rng, "kd_loss", [zs, zt, T], (loss, dz), Clues({"T": T, "B": 5, "K": 7}, mistakes))


def e4_same(child: Child, rng: Rng) -> None:
    """Loss and gradient are 0 if teacher and student agree, and only then."""
    z, T = logits(rng), temperature(rng)
    other = logits(rng)
    loss, dz = values_of("kd_loss", child.call("kd_loss", z + rng.normal(size=(5, 1)), z, T), 2)
    why = "teacher and student say the same, up to a shift of the logits"
    expect("loss", loss, 0.0, why=why)
    expect("dz", dz, np.zeros_like(z), why=why)
    loss, _ = values_of("kd_loss", child.call("kd_loss", z, other, T), 2)
    if not abs(array_of("loss", loss, ())) > 1e-3:
        raise Wrong(f"loss must not be 0 where teacher and student differ, got {float(loss):.3g}")


def e4_limit(child: Child, rng: Rng) -> None:
    """The loss becomes logit matching at T = 10,000."""
    zs, zt, T = logits(rng), logits(rng), 1e4
    difference = zs - zt
    difference -= difference.mean(axis=1, keepdims=True)
    loss, dz = values_of("kd_loss", child.call("kd_loss", zs, zt, T), 2)
    why = "as T grows, T² KL tends to the squared difference of the centred logits over 2 K: this is logit matching"
    expect("loss at T = 10,000", loss, (difference**2).sum() / (2 * 7 * 5), 1e-2, why)
    expect("dz at T = 10,000", dz, difference / (7 * 5), 1e-2, why)


def e4_extreme(child: Child, rng: Rng) -> None:
    """The result is right for logits of ±1e4."""
    zs, zt, T = extreme(rng), extreme(rng)[::-1].copy(), temperature(rng)
    loss, dz = values_of("kd_loss", child.call("kd_loss", zs, zt, T), 2)
    expect("loss at logits of ±1e4", loss, kd(zs, zt, T)[0], clues=Clues({"T": T, "B": 4}))
    expect("dz at logits of ±1e4", dz, kd(zs, zt, T)[1], clues=Clues({"T": T, "B": 4}))


def mixture(rng: Rng, w: float | None = None, rows: int = 6, classes: int = 5) -> list[Any]:
    """Random arguments of E5."""
    weight = float(rng.uniform(0.2, 0.8)) if w is None else w
    s = rng.uniform(0.1, 2.0, rows)
    zs, zt = logits(rng, rows, classes), logits(rng, rows, classes)
    return [zs, zt, labels(rng, rows, classes), temperature(rng), weight, s]


def check_total(child: Child, rng: Rng, arguments: list[Any]) -> None:
    """Check loss and gradient of E5."""
    zs, zt, y, T, w, s = arguments
    loss, dz = total(*arguments)
    mistakes = [
        ("the labels' part is left out", tuple(w * part for part in total(zs, zt, y, T, 1.0, s))),
        ("the teacher's part is left out", tuple((1 - w) * part for part in total(zs, zt, y, T, 0.0, s))),
        ("soft_weight and 1 - soft_weight are exchanged", total(zs, zt, y, T, 1 - w, s)),
        ("the samples' weights are left out", total(zs, zt, y, T, w, np.ones(6))),
        ("the sum is divided by the batch size", (loss * s.sum() / 6, dz * s.sum() / 6)),
        ("softmax has the temperature 1 in the teacher's part", total(zs * T, zt * T, y, T, w, s)),
    ]
    check_loss(child, rng, "kd_total", arguments, (loss, dz), Clues({"T": T, "K": 5}, mistakes))


def e5_reference(child: Child, rng: Rng) -> None:
    """Loss and gradient equal the reference."""
    check_total(child, rng, mixture(rng))


def e5_edges(child: Child, rng: Rng) -> None:
    """The same with soft_weight 0 and 1."""
    for w in (0.0, 1.0):
        check_total(child, rng, mixture(rng, w))


def e5_zeros(child: Child, rng: Rng) -> None:
    """Samples with weight 0 do not count. If all weights are 0, the result is 0."""
    arguments = mixture(rng)
    arguments[5][rng.permutation(6)[:3]] = 0.0
    check_total(child, rng, arguments)
    arguments[5] = np.zeros(6)
    loss, dz = values_of("kd_total", child.call("kd_total", *arguments), 2)
    expect("loss if all sample weights are 0", loss, 0.0)
    expect("dz if all sample weights are 0", dz, np.zeros((6, 5)))


# ---- E9: two losses ----------------------------------------------------------------------------------------------


def e9_reference(child: Child, rng: Rng) -> None:
    """Both gradients equal the reference."""
    z1, z2, y, T = logits(rng), logits(rng), labels(rng), temperature(rng)
    got = values_of("mutual_gradients", child.call("mutual_gradients", z1, z2, y, T), 2)
    want, hard = mutual(z1, z2, y, T), (cross_entropy(z1, y)[1], cross_entropy(z2, y)[1])
    for i, (mine, peer) in enumerate(((z1, z2), (z2, z1))):
        soft = want[i] - hard[i]
        mistakes = [
            ("the labels' part is left out", soft),
            ("the peer's part is left out", hard[i]),
            ("the peer's part has the wrong sign", hard[i] - soft),
            ("T² is left out of the peer's part", hard[i] + soft / T**2),
            ("softmax has the temperature 1 in the peer's part", hard[i] + kd(mine, peer, 1.0)[1]),
            ("it is the gradient with respect to the other student's logits", want[1 - i]),
        ]
        why = "in each loss the other student is a constant: its logits get no gradient from that loss"
        expect(f"dz{i + 1}", got[i], want[i], why=why, clues=Clues({"T": T, "B": 5, "K": 7}, mistakes))


def e9_agreement(child: Child, rng: Rng) -> None:
    """Peers with equal logits learn from the labels alone."""
    z, y, T = logits(rng), labels(rng), temperature(rng)
    got = values_of("mutual_gradients", child.call("mutual_gradients", z, z, y, T), 2)
    for name, mine in zip(("dz1", "dz2"), got, strict=True):
        expect(name, mine, cross_entropy(z, y)[1], why="peers with equal logits learn from the labels alone")


# ---- derived, not measured: see above ----------------------------------------------------------------------------


def far(rng: Rng, rows: int, classes: int, T: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits of student and teacher, (rows, classes) each, with a loss 10,000 times as large as its slope.

    The student's logits are near 1e4, except one at -1e4, to which the teacher gives the largest probability.
    """
    zs, zt = 1e4 + T * rng.standard_normal((rows, classes)), T * rng.standard_normal((rows, classes))
    far_class = rng.integers(0, classes, rows)
    zs[np.arange(rows), far_class] = -1e4
    zt[np.arange(rows), far_class] += T * (np.log(classes) + 1)
    return zs, zt


def e3_derived(child: Child, rng: Rng) -> None:
    """The gradient is right for WIDE classes."""
    z, y = logits(rng, 3, WIDE), labels(rng, 3, WIDE)
    check_wide(child, "cross_entropy", [z, y], cross_entropy(z, y)[1])


def e4_derived(child: Child, rng: Rng) -> None:
    """The gradient is right for WIDE classes, and for a loss much larger than its slope."""
    zs, zt = far(rng, 3, WIDE, 0.02)
    check_wide(child, "kd_loss", [zs, zt, 0.02], kd(zs, zt, 0.02)[1])
    zs, zt = far(rng, 2, 6, 0.02)
    _, dz = values_of("kd_loss", child.call("kd_loss", zs, zt, 0.02), 2)
    why = "T = 0.02, and a loss much larger than its slope: derive the gradient, because measuring loses it to rounding"
    expect("dz", dz, kd(zs, zt, 0.02)[1], why=why)


def e5_derived(child: Child, rng: Rng) -> None:
    """The gradient is right for WIDE classes."""
    arguments = mixture(rng, rows=3, classes=WIDE)
    check_wide(child, "kd_total", arguments, total(*arguments)[1])


def e9_derived(child: Child, rng: Rng) -> None:
    """Both gradients are right for WIDE classes."""
    z1, z2, y, T = logits(rng, 3, WIDE), logits(rng, 3, WIDE), labels(rng, 3, WIDE), temperature(rng)
    got = values_of("mutual_gradients", large_call(child, "mutual_gradients", z1, z2, y, T), 2)
    for name, mine, want in zip(("dz1", "dz2"), got, mutual(z1, z2, y, T), strict=True):
        expect(f"{name} of {WIDE:,} classes", mine, want, why=EXACT)
