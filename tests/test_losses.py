"""The losses are their formulas, their gradients are those formulas' slopes, and no finite logits break either.

Gradients are checked against central differences (relative error under 1e-7) and PyTorch's autograd (1e-10); then
come the identities that the derivations promise, and extreme numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import (
    assert_close,
    assert_same_bits,
    import_torch,
    probabilities,
    sample,
    some_labels,
    torch_distillation_loss,
    torch_tensor,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minikd import check_gradients, cross_entropy, distillation_loss, log_softmax, soft_cross_entropy, softmax
from minikd.backend import Array, to_device, to_numpy

PLAIN_TOO = True  # with kernels and without
pytestmark = pytest.mark.extras
B, K = 6, 5
LOGITS, TEACHER = sample(B, K, seed=1, scale=2), sample(B, K, seed=2, scale=3)
LABELS, TARGETS = some_labels(B, K), probabilities(B, K, seed=3)
TEMPERATURES = [0.5, 1.0, 4.0, 20.0, 1000.0]
WEIGHTS = [0.0, 0.3, 0.9, 1.0]
Loss = Callable[[Array], tuple[Any, Array]]  # logits -> (loss, dlogits)


def centred(z: np.ndarray) -> np.ndarray:
    """Rows of mean 0."""
    return z - z.mean(axis=1, keepdims=True)


def soft_part(xp: Any, logits: np.ndarray, T: float, w: float = 1.0) -> np.ndarray:
    """dlogits of the teacher's term alone."""
    hard = cross_entropy(xp.array(logits), xp.array(LABELS))[1]
    both = distillation_loss(xp.array(logits), xp.array(LABELS), xp.array(TEACHER), temperature=T, soft_weight=w)[1]
    return to_numpy(both - (1 - w) * hard)


def every_loss(xp: Any, *others: Array) -> dict[str, Loss]:
    """All losses as functions of the logits alone, on a device, at several temperatures and weights."""
    labels, targets, teacher = others or (xp.array(value) for value in (LABELS, TARGETS, TEACHER))
    losses: dict[str, Loss] = {"cross_entropy": lambda z: cross_entropy(z, labels)}
    for T in TEMPERATURES:
        losses[f"soft_cross_entropy T={T:g}"] = lambda z, T=T: soft_cross_entropy(z, targets, temperature=T)
        losses[f"distillation_loss T={T:g} without labels"] = lambda z, T=T: distillation_loss(
            z, None, teacher, temperature=T, soft_weight=1.0
        )
        for w in WEIGHTS:
            losses[f"distillation_loss T={T:g} w={w:g}"] = lambda z, T=T, w=w: distillation_loss(
                z, labels, teacher, temperature=T, soft_weight=w
            )
    return losses


EVERY_LOSS = list(every_loss(np))


# ---- gradients -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY_LOSS)
def test_dlogits_agrees_with_central_differences(xp: Any, name: str) -> None:
    loss, z = every_loss(xp)[name], xp.array(LOGITS)
    check_gradients(lambda z: loss(z)[0], z, loss(z)[1]).assert_ok(1e-7)


def compare_with_torch(loss: Loss, in_torch: Callable[[Any], Any], z: Array) -> None:
    """Value and gradient, to 1e-10."""
    tensor = torch_tensor(z, requires_grad=True)
    wanted = in_torch(tensor)
    wanted.backward()
    value, dlogits = loss(z)
    assert_close(np.asarray(float(value)), wanted.detach().numpy())
    assert_close(dlogits, tensor.grad.numpy())


def test_cross_entropy_agrees_with_pytorch(xp: Any) -> None:
    F, labels = import_torch().nn.functional, torch_tensor(LABELS)
    compare_with_torch(every_loss(xp)["cross_entropy"], lambda z: F.cross_entropy(z, labels), xp.array(LOGITS))


@pytest.mark.parametrize("T", TEMPERATURES)
def test_soft_cross_entropy_agrees_with_pytorch(xp: Any, T: float) -> None:
    F, targets = import_torch().nn.functional, torch_tensor(TARGETS)
    loss = every_loss(xp)[f"soft_cross_entropy T={T:g}"]
    compare_with_torch(loss, lambda z: F.cross_entropy(z / T, targets), xp.array(LOGITS))


@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("w", WEIGHTS)
def test_distillation_loss_agrees_with_pytorch(xp: Any, T: float, w: float) -> None:
    labels, teacher = torch_tensor(LABELS), torch_tensor(TEACHER)
    loss = every_loss(xp)[f"distillation_loss T={T:g} w={w:g}"]
    compare_with_torch(loss, lambda z: torch_distillation_loss(z, labels, teacher, T, w), xp.array(LOGITS))


@pytest.mark.parametrize("T", TEMPERATURES)
def test_distillation_loss_without_labels_agrees_with_pytorch(xp: Any, T: float) -> None:
    teacher = torch_tensor(TEACHER)
    loss = every_loss(xp)[f"distillation_loss T={T:g} without labels"]
    compare_with_torch(loss, lambda z: torch_distillation_loss(z, None, teacher, T, 1.0), xp.array(LOGITS))


# ---- the formulas, written out ---------------------------------------------------------------------------------


def literal_softmax(row: list[float], T: float) -> list[float]:
    """exp(z_k / T) / sum_j exp(z_j / T)."""
    return [math.exp(z / T) / sum(math.exp(other / T) for other in row) for z in row]


@pytest.mark.parametrize("T", TEMPERATURES)
def test_soft_cross_entropy_is_minus_sum_t_log_s_averaged_over_the_batch(xp: Any, T: float) -> None:
    wanted = 0.0
    for z, t in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True):
        s = literal_softmax(z, T)
        wanted += -sum(t_k * math.log(s_k) for t_k, s_k in zip(t, s, strict=True)) / B
    value, _ = soft_cross_entropy(xp.array(LOGITS), xp.array(TARGETS), temperature=T)
    assert float(value) == pytest.approx(wanted, rel=1e-13)


def test_cross_entropy_is_minus_log_p_of_the_label_averaged_over_the_batch(xp: Any) -> None:
    wanted = -sum(
        math.log(literal_softmax(z, 1)[label]) / B for z, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True)
    )
    assert float(cross_entropy(xp.array(LOGITS), xp.array(LABELS))[0]) == pytest.approx(wanted, rel=1e-13)


@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("w", WEIGHTS)
def test_distillation_loss_mixes_the_two_with_t_squared(xp: Any, T: float, w: float) -> None:
    z, labels, v = (xp.array(value) for value in (LOGITS, LABELS, TEACHER))
    hard, dhard = cross_entropy(z, labels)
    soft, dsoft = soft_cross_entropy(z, softmax(v, T), temperature=T)
    value, dlogits = distillation_loss(z, labels, v, temperature=T, soft_weight=w)
    assert float(value) == pytest.approx(float((1 - w) * hard + w * T**2 * soft), rel=1e-13)
    assert_close(dlogits, (1 - w) * dhard + w * T**2 * dsoft, 1e-13)


def test_the_defaults_are_temperature_4_and_soft_weight_9_tenths(xp: Any) -> None:
    z, labels, v, t = (xp.array(value) for value in (LOGITS, LABELS, TEACHER, TARGETS))
    assert_same_bits(
        distillation_loss(z, labels, v)[1], distillation_loss(z, labels, v, temperature=4, soft_weight=0.9)[1]
    )
    assert_same_bits(soft_cross_entropy(z, t)[1], soft_cross_entropy(z, t, temperature=1)[1])


# ---- identities ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", TEMPERATURES)
def test_at_soft_weight_0_distillation_is_cross_entropy(xp: Any, T: float) -> None:
    z, labels, v = (xp.array(value) for value in (LOGITS, LABELS, TEACHER))
    value, dlogits = distillation_loss(z, labels, v, temperature=T, soft_weight=0)
    hard, dhard = cross_entropy(z, labels)
    assert float(value) == float(hard)
    assert (to_numpy(dlogits) == to_numpy(dhard)).all()


@pytest.mark.parametrize("T", TEMPERATURES)
def test_at_soft_weight_1_labels_make_no_difference(xp: Any, T: float) -> None:
    z, labels, v = (xp.array(value) for value in (LOGITS, LABELS, TEACHER))
    with_labels = distillation_loss(z, labels, v, temperature=T, soft_weight=1)
    without = distillation_loss(z, None, v, temperature=T, soft_weight=1)
    assert float(with_labels[0]) == float(without[0])
    assert (to_numpy(with_labels[1]) == to_numpy(without[1])).all()


@pytest.mark.parametrize("T", TEMPERATURES)
def test_hard_targets_make_soft_cross_entropy_cross_entropy_of_the_scaled_logits(xp: Any, T: float) -> None:
    one_hot = np.eye(K)[LABELS]
    soft, dsoft = soft_cross_entropy(xp.array(LOGITS), xp.array(one_hot), temperature=T)
    hard, dhard = cross_entropy(xp.array(LOGITS / T), xp.array(LABELS))
    assert float(soft) == pytest.approx(float(hard), rel=1e-13)
    assert_close(dsoft, dhard / T, 1e-13)


@pytest.mark.parametrize("T", TEMPERATURES)
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_a_student_that_says_what_its_teacher_says_has_nothing_to_learn(xp: Any, T: float, shift: float) -> None:
    v = xp.array(TEACHER)
    _, dlogits = distillation_loss(v + shift, None, v, temperature=T, soft_weight=1)
    assert np.abs(to_numpy(dlogits)).max() < 1e-15 * T  # w T (p - q), and p and q are rounded to about 1e-16
    _, dlogits = soft_cross_entropy(v, softmax(v, T), temperature=T)
    assert np.abs(to_numpy(dlogits)).max() < 1e-15 / T


@pytest.mark.parametrize("name", EVERY_LOSS)
def test_rows_of_dlogits_sum_to_0(xp: Any, name: str) -> None:
    _, dlogits = every_loss(xp)[name](xp.array(LOGITS))
    sums = to_numpy(dlogits).sum(axis=1)
    assert np.abs(sums).max() < 1e-12
    assert np.abs(to_numpy(dlogits)).max() > 1e-7  # a gradient of zeros would be no feat


@pytest.mark.parametrize("name", EVERY_LOSS)
def test_a_shift_of_each_row_of_logits_changes_nothing(xp: Any, name: str) -> None:
    loss = every_loss(xp)[name]
    value, dlogits = loss(xp.array(LOGITS))
    shifted, dshifted = loss(xp.array(LOGITS + sample(B, 1, seed=9, scale=100)))
    assert float(shifted) == pytest.approx(float(value), rel=1e-12)
    assert_close(dshifted, dlogits, 1e-10)


@pytest.mark.parametrize("name", EVERY_LOSS)
def test_a_batch_is_the_mean_of_its_halves(xp: Any, name: str) -> None:
    """Twice the same batch is the same loss, and each row's gradient is halved."""
    labels, targets, v = (xp.array(np.concatenate([a, a])) for a in (LABELS, TARGETS, TEACHER))
    z = xp.array(np.concatenate([LOGITS, LOGITS]))
    kind, *options = name.split()
    number = {o.split("=")[0]: float(o.split("=")[1]) for o in options if "=" in o}
    once, donce = every_loss(xp)[name](xp.array(LOGITS))
    if kind == "cross_entropy":
        twice, dtwice = cross_entropy(z, labels)
    elif kind == "soft_cross_entropy":
        twice, dtwice = soft_cross_entropy(z, targets, temperature=number["T"])
    else:
        w, y = number.get("w", 1.0), None if "labels" in options else labels
        twice, dtwice = distillation_loss(z, y, v, temperature=number["T"], soft_weight=w)
    assert float(twice) == pytest.approx(float(once), rel=1e-13)
    assert_close(dtwice[:B], donce / 2, 1e-13)
    assert_close(dtwice[B:], donce / 2, 1e-13)


@pytest.mark.parametrize("name", EVERY_LOSS)
def test_a_loss_leaves_its_arguments_alone(xp: Any, name: str) -> None:
    z, kept = xp.array(LOGITS), [xp.array(value) for value in (LABELS, TARGETS, TEACHER)]
    every_loss(xp, *kept)[name](z)
    for array, before in zip((z, *kept), (LOGITS, LABELS, TARGETS, TEACHER), strict=True):
        assert_same_bits(array, before)


# ---- why T² ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("w", [0.3, 1.0])
def test_at_a_high_temperature_distilling_is_matching_logits_and_the_rest_shrinks_like_1_over_t(
    xp: Any, w: float
) -> None:
    # Not centred on purpose: each row of z and v counts from its own mean.
    limit = w * (centred(LOGITS) - centred(TEACHER)) / (K * B)
    error = {T: np.abs(soft_part(xp, LOGITS, T, w) - limit).max() for T in (1e2, 1e3, 1e4)}
    assert error[1e4] < 1e-3 * np.abs(limit).max()
    assert error[1e2] / error[1e3] == pytest.approx(10, rel=0.05)
    assert error[1e3] / error[1e4] == pytest.approx(10, rel=0.05)


def test_t_squared_keeps_the_size_of_the_gradient_which_would_fall_like_1_over_t_squared(xp: Any) -> None:
    z, v = xp.array(LOGITS), xp.array(TEACHER)

    def without_t_squared(T: float) -> float:
        _, dlogits = soft_cross_entropy(z, softmax(v, T), temperature=T)
        return float(np.linalg.norm(to_numpy(dlogits)))

    with_it = [float(np.linalg.norm(soft_part(xp, LOGITS, T))) for T in (50.0, 500.0)]
    assert with_it[1] / with_it[0] == pytest.approx(1, abs=0.05)
    assert without_t_squared(50.0) / without_t_squared(500.0) == pytest.approx(100, rel=0.05)


# ---- float32, and numbers of NumPy -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [np.float64, np.float32, np.int64, float, int])
def test_float32_stays_float32_whatever_came_with_it(xp: Any, number: Callable[[int], Any]) -> None:
    """Teachers, targets and temperatures come in float64; the student's precision decides."""
    z = xp.array(LOGITS, dtype="float32")
    labels, targets, v = (xp.array(value) for value in (LABELS, TARGETS, TEACHER))
    for loss, dlogits in (
        cross_entropy(z, labels),
        soft_cross_entropy(z, targets, temperature=number(4)),
        distillation_loss(z, labels, v, temperature=number(4), soft_weight=number(1)),
        distillation_loss(z, labels, v, temperature=number(4), soft_weight=number(0)),
        distillation_loss(z, None, v, temperature=number(4), soft_weight=number(1)),
    ):
        assert loss.dtype == dlogits.dtype == "float32"


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int8"])
def test_integer_logits_are_computed_in_float64(xp: Any, dtype: str) -> None:
    z, v = (np.arange(B * K).reshape(B, K) * factor % 100 for factor in (41, 67))
    labels, targets = xp.array(LABELS), xp.array(TARGETS)
    results = []
    for kind in (dtype, "float64"):
        student, teacher = (xp.array(logits, dtype=kind) for logits in (z, v))
        results.append(
            [
                cross_entropy(student, labels),
                soft_cross_entropy(student, targets, temperature=3),
                distillation_loss(student, labels, teacher, temperature=3),
            ]
        )
    for (value, dlogits), (wanted, dwanted) in zip(*results, strict=True):
        assert float(value) == float(wanted)
        assert_same_bits(dlogits, dwanted)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "int8"])
def test_labels_of_any_integer_type_mean_the_same(xp: Any, dtype: str) -> None:
    z = xp.array(LOGITS)
    value, dlogits = cross_entropy(z, xp.array(LABELS, dtype=dtype))
    wanted, dwanted = cross_entropy(z, xp.array(LABELS))
    assert float(value) == float(wanted)
    assert_same_bits(dlogits, dwanted)


# ---- extreme numbers: finite everywhere, and no warning (they are errors in these tests) -----------------------

MATRICES = st.tuples(st.integers(1, 4), st.integers(2, 6))
EXTREMES = st.one_of(st.floats(-1e4, 1e4), st.sampled_from([-1e4, -1.0, -0.0, 0.0, 1e-3, 1.0, 1e4]))


@st.composite
def hard_cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    """Student's and teacher's logits to ±1e4 in float32 or float64, labels, T from 1e-3 to 1e3, soft_weight."""
    shape, dtype = draw(MATRICES), draw(st.sampled_from(["float32", "float64"]))
    z, v = (draw(arrays(np.float64, shape, elements=EXTREMES)).astype(dtype) for _ in "zv")
    labels = draw(arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    if draw(st.booleans()):  # a teacher without a doubt
        v = np.where(np.arange(shape[1]) == labels[:, None], 1e4, -1e4).astype(dtype)
    return z, v, labels, 10 ** draw(st.floats(-3, 3)), draw(st.sampled_from(WEIGHTS))


def assert_sound(loss: Any, dlogits: Array, z: np.ndarray, bound: float) -> None:
    """Finite, not negative, of the logits' type, and no entry of dlogits larger than `bound`."""
    assert loss.dtype == dlogits.dtype == z.dtype
    assert math.isfinite(float(loss)) and float(loss) >= -1e-6
    assert np.isfinite(to_numpy(dlogits)).all()
    assert np.abs(to_numpy(dlogits)).max() <= bound * (1 + 1e-5)


@given(case=hard_cases())
@settings(max_examples=60)
def test_softmax_of_extreme_logits_is_a_probability(device: str, case: tuple[Any, ...]) -> None:
    z, _, _, T, _ = case
    p, logp = (to_numpy(f(to_device(z, device), T)) for f in (softmax, log_softmax))
    eps = np.finfo(z.dtype).eps
    assert p.dtype == logp.dtype == z.dtype
    assert (p >= 0).all() and (p <= 1).all() and np.abs(p.sum(axis=1) - 1).max() < 8 * eps
    assert np.isfinite(logp).all() and (logp <= 4 * eps).all()
    assert (p.argmax(axis=1) == logp.argmax(axis=1)).all()
    # exp(logp) is p, to the roundings of an exponent that may be as large as 2e4 / T
    np.testing.assert_allclose(
        np.exp(logp), p, rtol=4 * eps * (1 + np.abs(logp).max()), atol=2 * np.finfo(z.dtype).tiny
    )


@given(case=hard_cases())
@settings(max_examples=60)
def test_losses_of_extreme_logits_are_finite(device: str, case: tuple[Any, ...]) -> None:
    z, v, labels, T, w = case
    there = [to_device(array, device) for array in (z, labels, v)]
    assert_sound(*cross_entropy(*there[:2]), z, 1)
    assert_sound(*soft_cross_entropy(there[0], softmax(there[2], T), temperature=T), z, 1 / T)
    assert_sound(*distillation_loss(*there, temperature=T, soft_weight=w), z, 1 + T)
    assert_sound(*distillation_loss(there[0], None, there[2], temperature=T, soft_weight=1), z, T)


@given(case=hard_cases())
@settings(max_examples=60)
def test_float32_agrees_with_float64_on_extreme_logits(device: str, case: tuple[Any, ...]) -> None:
    z, v, labels, T, w = case
    values = []
    for dtype in ("float32", "float64"):
        student, teacher = (to_device(a.astype("float32").astype(dtype), device) for a in (z, v))
        loss, dlogits = distillation_loss(student, to_device(labels, device), teacher, temperature=T, soft_weight=w)
        values.append((float(loss), to_numpy(dlogits)))
    (loss32, d32), (loss64, d64) = values
    assert loss32 == pytest.approx(loss64, rel=1e-5, abs=1e-5 * max(1, T * T))
    assert_close(d32, d64, 1e-5 * max(1, T))


@given(case=hard_cases(), shift=st.floats(-1e4, 1e4))
@settings(max_examples=60)
def test_a_shift_of_extreme_logits_changes_nothing_but_rounding(
    device: str, case: tuple[Any, ...], shift: float
) -> None:
    z, v, labels, T, w = case
    T = max(T, 0.1)  # below, the roundings of the shift itself, 1e-12, are not small beside T
    z, v = z.astype(np.float64), v.astype(np.float64)
    loss, dlogits = (
        distillation_loss(*(to_device(a, device) for a in (z + s, labels, v - s)), temperature=T, soft_weight=w)
        for s in (0, shift)
    )
    assert float(dlogits[0]) == pytest.approx(float(loss[0]), rel=1e-9, abs=1e-9 * max(1, T * T))
    assert_close(dlogits[1], loss[1], 1e-9 * max(1, T))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("T", [1e-3, 1.0, 1e3])
def test_a_student_certain_of_the_wrong_class_gets_a_finite_and_full_gradient(xp: Any, T: float, dtype: str) -> None:
    z, v = (xp.array([row], dtype=dtype) for row in ([1e4, -1e4, -1e4], [-1e4, 1e4, -1e4]))
    loss, dlogits = distillation_loss(z, xp.array([1]), v, temperature=T, soft_weight=0.5)
    p, q = (to_numpy(softmax(a.astype("float64"), T)) for a in (z, v))
    hard, soft = np.array([[1.0, -1.0, 0.0]]), T * (p - q)
    assert_close(dlogits, 0.5 * hard + 0.5 * soft, 1e-6 * max(1, T))
    kd = -float((q * to_numpy(log_softmax(z.astype("float64"), T))).sum())
    assert float(loss) == pytest.approx(0.5 * 2e4 + 0.5 * T**2 * kd, rel=1e-6)


@pytest.mark.parametrize("dtype", [">i4", "<i8", ">u2", "int8", "uint64"])
def test_labels_may_have_any_byte_order_and_stride_and_are_looked_at_for_what_they_are(dtype: str) -> None:
    labels = np.repeat(some_labels(6, 4), 2).astype(dtype)[::2]
    logits = sample(6, 4)
    assert_close(cross_entropy(logits, labels)[1], cross_entropy(logits, some_labels(6, 4))[1])
    for wrong in [4] if "u" in dtype else [-1, 4]:
        labels[3] = wrong
        with pytest.raises(ValueError, match=rf"^labels must be integers in \[0, 4\), got {wrong} at index 3$"):
            cross_entropy(logits, labels)


def test_a_negative_label_of_a_narrow_type_is_no_large_one() -> None:
    with pytest.raises(ValueError, match="got -1 at index 3"):
        cross_entropy(np.zeros((4, 300)), np.array([0, 1, 2, -1], np.int8))
    assert np.isfinite(cross_entropy(np.zeros((4, 300)), np.array([0, 1, 2, 255], np.uint8))[0])


def test_a_class_may_be_ruled_out_by_a_logit_of_minus_infinity(xp: Any, device: str) -> None:
    z = sample(4, 3)
    z[0, 1] = z[1, 2] = -np.inf
    loss, dlogits = cross_entropy(to_device(z, device), to_device(np.array([0, 1, 2, 1]), device))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert float(loss) == pytest.approx(-np.log(p[np.arange(4), [0, 1, 2, 1]]).mean(), rel=1e-12)
    assert np.isfinite(to_numpy(dlogits)).all()


def test_a_label_that_is_ruled_out_costs_infinitely_much(xp: Any, device: str) -> None:
    for dtype in ("float32", "float64"):
        z = sample(4, 3).astype(dtype)
        z[2, 1] = -np.inf
        loss, dlogits = cross_entropy(to_device(z, device), to_device(np.array([0, 1, 1, 2]), device))
        assert float(loss) == np.inf and np.isfinite(to_numpy(dlogits)).all()


@pytest.mark.parametrize("size", [1e39, 1e300])
def test_logits_beyond_the_range_of_float32_count_in_float64(size: float, device: str) -> None:
    z, y = np.array([[size, 0.0], [0.0, 1.0]]), np.array([1, 1])
    loss = cross_entropy(to_device(z, device), to_device(y, device))[0]
    assert float(loss) == pytest.approx(size / 2, rel=1e-12)


def test_the_losses_of_half_a_million_rows_in_float32_are_those_of_float64() -> None:
    z, v, y = sample(500_000, 10, seed=1), sample(500_000, 10, seed=2), some_labels(500_000, 10)
    for loss, options in ((cross_entropy, (y,)), (distillation_loss, (y, v))):
        narrow = loss(z.astype("float32"), *(o.astype("float32") if o is v else o for o in options))[0]
        assert float(narrow) == pytest.approx(float(loss(z, *options)[0]), rel=1e-6)


def test_what_a_caller_does_to_a_gradient_is_not_seen_by_the_next() -> None:
    z, y = sample(6, 3), some_labels(6, 3)
    expected = cross_entropy(z, y)[1].copy()
    for change in ({"shape": (-1,)}, {"dtype": np.int64}):
        dlogits = cross_entropy(z, y)[1]
        for name, value in change.items():
            setattr(dlogits, name, value)
        del dlogits
        assert_close(cross_entropy(z, y)[1], expected)
    dlogits = cross_entropy(z, y)[1]
    dlogits.flags.writeable = False
    del dlogits
    assert_close(cross_entropy(z.astype(">f8"), y)[1], expected)
    assert cross_entropy(z.astype(">f8"), y)[1].dtype.isnative
