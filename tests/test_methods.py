"""Each method of the gallery is its formula, its gradient is that formula's slope, and training with it is safe.

Gradients are checked against central differences (relative error under 1e-7) and against PyTorch's autograd (1e-10) of
the loss as it is written there, independently; then come the identities and limits that the docstrings promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import (
    assert_close,
    assert_same_bits,
    blocks_of,
    import_torch,
    sample,
    some_labels,
    torch_tensor,
)

from minikd import MLP, Adam, check_gradients, cross_entropy, distillation_loss, fit, load_data, softmax
from minikd.backend import Array, to_device, to_numpy
from minikd.checkpoint import load_arrays
from minikd.errors import CheckpointError
from minikd.methods import (
    METHODS,
    annealing,
    assistants,
    born_again,
    data_free,
    dist,
    dkd,
    ensemble,
    estimators,
    fitnets,
    jsd,
    kd,
    label_smoothing,
    logit_matching,
    mean_teacher,
    mutual,
    pkt,
    reverse_kl,
    rkd,
    self_supervised,
    sequence_level,
    skewed,
    sp,
    standardised,
    top_k,
    virtual_teacher,
)
from minikd.methods.base import Scheduled, features, mix, trunk
from minikd.scale import answers

pytestmark = pytest.mark.extras

B, K, W = 6, 5, 7
LOGITS, TEACHER, LABELS = sample(B, K, seed=1, scale=2), sample(B, K, seed=2, scale=3), some_labels(B, K)
FEATURES, THEIRS = np.abs(sample(B, W, seed=3)), np.abs(sample(B, W + 2, seed=4))
HINTS, ANCHORS = sample(B, W, seed=5), sample(9, W, seed=6)
UNIFORM = np.random.default_rng(7).random(B)
ANCHORS /= np.linalg.norm(ANCHORS, axis=1, keepdims=True)
DIGITS = load_data("digits")
CLASSIFIERS = [name for name, method in METHODS.items() if not method.only]  # the others: test_words.py

Value = Callable[[Array], tuple[Any, Array]]  # (what the loss is differentiated by) -> (loss, gradient)


def on_logits(xp: Any, teacher: Any = None, labels: Any = None) -> dict[str, Value]:
    """Every loss on logits, as a function of the student's logits alone."""
    v, y = xp.array(TEACHER) if teacher is None else teacher, xp.array(LABELS) if labels is None else labels
    losses: dict[str, Any] = {
        "kl": lambda z: kd.kl_loss(z, y, v),
        "kl without labels": lambda z: kd.kl_loss(z, None, v, temperature=2.0, soft_weight=1.0),
        "logits": lambda z: logit_matching.matching_loss(z, y, v),
        "logits without labels": lambda z: logit_matching.matching_loss(z, None, v, soft_weight=1.0),
        "dkd": lambda z: dkd.dkd_loss(z, y, v),
        "dkd at T = 1": lambda z: dkd.dkd_loss(z, y, v, alpha=2.0, beta=0.5, temperature=1.0, warmup=0.3),
        "dist": lambda z: dist.dist_loss(z, y, v),
        "dist at T = 4": lambda z: dist.dist_loss(z, y, v, beta=2.0, gamma=0.7, temperature=4.0),
        "standardised": lambda z: standardised.standardised_loss(z, y, v),
        "reverse kl": lambda z: reverse_kl.reverse_kl_loss(z, y, v),
        "reverse kl at T = 4": lambda z: reverse_kl.reverse_kl_loss(z, None, v, temperature=4.0, soft_weight=1.0),
        "jsd": lambda z: jsd.jsd_loss(z, y, v),
        "jsd, beta 0.1, T = 2": lambda z: jsd.jsd_loss(z, None, v, beta=0.1, temperature=2.0, soft_weight=1.0),
        "skewed": lambda z: skewed.skewed_loss(z, y, v),
        "skewed, reverse": lambda z: skewed.skewed_loss(z, None, v, direction="reverse", soft_weight=1.0),
        "skewed, alpha 0.4, T = 3": lambda z: skewed.skewed_loss(z, y, v, alpha=0.4, temperature=3.0),
        "top k, rest": lambda z: top_k.top_k_loss(z, y, v, k=2),
        "top k, renormalised": lambda z: top_k.top_k_loss(z, None, v, k=2, rest="renormalised", soft_weight=1.0),
        "top k, cut": lambda z: top_k.top_k_loss(z, y, v, k=3, rest="cut"),
        "drawn labels": lambda z: sequence_level.drawn_loss(z, v, xp.array(UNIFORM)),
        "k2": lambda z: estimators.estimator_loss(z, v, y, "k2"),
        "k3": lambda z: estimators.estimator_loss(z, v, y, "k3"),
        "mutual": lambda z: mutual.mutual_loss(z, y, v),
        "cwtm": lambda z: born_again.cwtm_loss(z, y, v),
        "annealed, stage 1": lambda z: annealing.annealed_loss(z, y, v, phi=0.3),
        "annealed, stage 2": lambda z: annealing.annealed_loss(z, y, v, phi=0.3, stage=2),
        "label smoothing": lambda z: label_smoothing.smoothed_loss(z, y),
        "virtual teacher": lambda z: virtual_teacher.virtual_teacher_loss(z, y),
        "mean teacher": lambda z: mean_teacher.consistency_loss(z, y, v),
        "generator, by the student": lambda z: _generator(v, z, 2),
        "generator, by the teacher": lambda v2: _generator(v2, v, 1),
    }
    return losses


def _generator(v: Array, z: Array, which: int) -> tuple[Any, Array]:
    h = 0.1 + v[:, :2] ** 2
    value, *grads = data_free.generator_loss(v, h * 0 + 1, z)
    return value, grads[0 if which == 1 else 2]


def on_features(xp: Any) -> dict[str, Value]:
    """Every loss on features, as a function of the student's features alone."""
    t, hints, anchors = xp.array(THEIRS), xp.array(HINTS), xp.array(ANCHORS)
    return {
        "hint": lambda f: fitnets.hint_loss(f, hints),
        "rkd": lambda f: rkd.rkd_loss(f, t),
        "rkd, distances": lambda f: rkd.rkd_loss(f, t, angle_weight=0.0),
        "rkd, angles": lambda f: rkd.rkd_loss(f, t, distance_weight=0.0, angle_weight=1.0),
        "sp": lambda f: sp.sp_loss(f, t),
        "pkt": lambda f: pkt.pkt_loss(f, t),
        "self-supervised": lambda f: self_supervised.similarity_loss(
            f, hints, anchors=anchors, teacher_temperature=0.3
        ),
        "generator, by the features": lambda h: data_free.generator_loss(hints, h, hints[::-1])[::2],
    }


ON_LOGITS, ON_FEATURES = list(on_logits(np)), list(on_features(np))

# ---- gradients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_LOGITS)
def test_dlogits_agrees_with_central_differences(xp: Any, name: str) -> None:
    loss, z = on_logits(xp)[name], xp.array(LOGITS)
    check_gradients(lambda z: loss(z)[0], z, loss(z)[1]).assert_ok(1e-7)


@pytest.mark.parametrize("name", ON_FEATURES)
def test_dfeatures_agrees_with_central_differences(xp: Any, name: str) -> None:
    loss, f = on_features(xp)[name], xp.array(FEATURES)
    check_gradients(lambda f: loss(f)[0], f, loss(f)[1]).assert_ok(1e-7)


def in_torch(name: str, z: Any) -> Any:
    """The losses once more, in PyTorch, as their papers or reference codes write them."""
    torch = import_torch()
    F = torch.nn.functional
    v, y, t, hints, anchors = (torch_tensor(a) for a in (TEACHER, LABELS, THEIRS, HINTS, ANCHORS))
    ce = F.cross_entropy

    def kl(z: Any, v: Any, T: float) -> Any:
        return F.kl_div(F.log_softmax(z / T, 1), F.softmax(v / T, 1), reduction="batchmean") * T * T

    def dkd_(a: float, b: float, T: float, warm: float) -> Any:
        mask = F.one_hot(y, K).bool()
        p, q = F.softmax(z / T, 1), F.softmax(v / T, 1)
        p2, q2 = (torch.stack([(s * mask).sum(1), (s * ~mask).sum(1)], 1) for s in (p, q))
        target = F.kl_div(torch.log(p2), q2, reduction="batchmean") * T * T
        rest = F.kl_div(F.log_softmax(z / T - 1000 * mask, 1), F.softmax(v / T - 1000 * mask, 1), reduction="batchmean")
        return ce(z, y) + warm * (a * target + b * rest * T * T)

    def pearson(a: Any, b: Any) -> Any:
        return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)).mean()

    def dist_(b: float, c: float, T: float) -> Any:
        p, q = F.softmax(z / T, 1), F.softmax(v / T, 1)
        return ce(z, y) + T * T * (b * (1 - pearson(p, q)) + c * (1 - pearson(p.T, q.T)))

    def distances(f: Any) -> Any:
        square = f.pow(2).sum(1)
        d = (square[:, None] + square - 2 * f @ f.T).clamp(min=1e-12).sqrt() * (1 - torch.eye(len(f)))
        return d / d[d > 0].mean()

    def angles(f: Any) -> Any:
        e = F.normalize(f[None] - f[:, None], p=2, dim=2)
        return torch.bmm(e, e.transpose(1, 2))

    def neighbours(f: Any) -> Any:
        u = F.normalize(f, dim=1)
        S = (u @ u.T + 1) / 2
        return S / S.sum(1, keepdim=True)

    def generator(v: Any, z: Any, h: Any) -> Any:
        mean = F.softmax(v, 1).mean(0)
        return ce(v, v.argmax(1)) + 5 * (mean * mean.log()).sum() - 0.1 * h.abs().mean() - (v - z).abs().mean()

    def soft(targets: Any) -> Any:
        return -(targets * F.log_softmax(z, 1)).sum(1).mean()

    def skewed_(first: Any, second: Any, a: float, T: float) -> Any:
        p, q = F.softmax(first / T, 1), F.softmax(second / T, 1)
        return (p * (p / (a * p + (1 - a) * q)).log()).sum(1).mean() * T * T

    def jsd_(b: float, T: float) -> Any:
        return b * skewed_(v, z, b, T) + (1 - b) * skewed_(z, v, 1 - b, T)

    def merged(k: int) -> Any:
        """KL of the k largest classes and one more, the others."""
        q, where = F.softmax(v, 1).topk(k, 1)
        p = F.softmax(z, 1).gather(1, where)
        p, q = (torch.cat([a, 1 - a.sum(1, keepdim=True)], 1) for a in (p, q))
        return (q * (q / p).log()).sum(1).mean()

    def largest(k: int, renormalised: bool) -> Any:
        q, where = F.softmax(v, 1).topk(k, 1)
        q = q / q.sum(1, keepdim=True) if renormalised else q
        return (q * (q.log() - F.log_softmax(z, 1).gather(1, where))).sum(1).mean()

    def log_ratio() -> Any:
        return (F.log_softmax(v, 1) - F.log_softmax(z, 1)).gather(1, y[:, None])[:, 0]

    if name.startswith("self"):
        u, w = F.normalize(z, dim=1), F.normalize(hints, dim=1)
        s = torch.cat([u @ anchors.T, (u * w).sum(1, keepdim=True)], 1) / 0.2
        r = torch.cat([w @ anchors.T, (w * w).sum(1, keepdim=True)], 1) / 0.3
        return -(F.softmax(r, 1) * F.log_softmax(s, 1)).sum(1).mean()
    standard = lambda z: (z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True)  # noqa: E731
    confidence = F.softmax(v, 1).max(1).values
    u = torch.full((B, K), 0.01 / (K - 1)).double().scatter(1, y[:, None], 0.99)
    answers: dict[str, Callable[[], Any]] = {
        "kl": lambda: 0.1 * ce(z, y) + 0.9 * kl(z, v, 4.0),
        "kl without labels": lambda: kl(z, v, 2.0),
        "logits": lambda: 0.1 * ce(z, y) + 0.9 * F.mse_loss(z, v),
        "logits without labels": lambda: F.mse_loss(z, v),
        "dkd": lambda: dkd_(1.0, 8.0, 4.0, 1.0),
        "dkd at T = 1": lambda: dkd_(2.0, 0.5, 1.0, 0.3),
        "dist": lambda: dist_(1.0, 1.0, 1.0),
        "dist at T = 4": lambda: dist_(2.0, 0.7, 4.0),
        "standardised": lambda: 0.1 * ce(z, y) + 9 * kl(standard(z), standard(v), 2.0),
        "reverse kl": lambda: 0.1 * ce(z, y) + 0.9 * kl(v, z, 1.0),
        "reverse kl at T = 4": lambda: kl(v, z, 4.0),
        "jsd": lambda: 0.1 * ce(z, y) + 0.9 * jsd_(0.5, 1.0),
        "jsd, beta 0.1, T = 2": lambda: jsd_(0.1, 2.0),
        "skewed": lambda: 0.1 * ce(z, y) + 0.9 * skewed_(v, z, 0.1, 1.0),
        "skewed, reverse": lambda: skewed_(z, v, 0.1, 1.0),
        "skewed, alpha 0.4, T = 3": lambda: 0.1 * ce(z, y) + 0.9 * skewed_(v, z, 0.4, 3.0),
        "top k, rest": lambda: 0.1 * ce(z, y) + 0.9 * merged(2),
        "top k, renormalised": lambda: largest(2, True),
        "top k, cut": lambda: 0.1 * ce(z, y) + 0.9 * largest(3, False),
        "drawn labels": lambda: ce(z, (F.softmax(v, 1).cumsum(1) <= torch_tensor(UNIFORM)[:, None]).sum(1)),
        "k2": lambda: (log_ratio() ** 2 / 2).mean(),
        "k3": lambda: (log_ratio().exp() - 1 - log_ratio()).mean(),
        "mutual": lambda: ce(z, y) + kl(z, v, 1.0),
        "cwtm": lambda: (ce(z, y, reduction="none") * confidence / confidence.sum()).sum(),
        "annealed, stage 1": lambda: F.mse_loss(z, 0.3 * v),
        "annealed, stage 2": lambda: ce(z, y),
        "label smoothing": lambda: ce(z, y, label_smoothing=0.1),
        "virtual teacher": lambda: 0.9 * ce(z, y) + 0.1 * soft(F.softmax(u / 20, 1)),
        "mean teacher": lambda: ce(z, y) + 100 * F.mse_loss(F.softmax(z, 1), F.softmax(v, 1)),
        "generator, by the student": lambda: generator(v, z, torch.ones(B, 2).double()),
        "generator, by the teacher": lambda: generator(z, v, torch.ones(B, 2).double()),
        "hint": lambda: (z - hints).pow(2).sum(1).mean() / 2,
        "rkd": lambda: 25 * F.smooth_l1_loss(distances(z), distances(t)) + 50 * F.smooth_l1_loss(angles(z), angles(t)),
        "rkd, distances": lambda: 25 * F.smooth_l1_loss(distances(z), distances(t)),
        "rkd, angles": lambda: F.smooth_l1_loss(angles(z), angles(t)),
        "sp": lambda: (F.normalize(z @ z.T, dim=1) - F.normalize(t @ t.T, dim=1)).pow(2).sum() / B**2,
        "pkt": lambda: (neighbours(t) * (neighbours(t) / neighbours(z)).log()).mean(),
        "generator, by the features": lambda: generator(hints, hints.flip(0), z),
    }
    return answers[name]()


@pytest.mark.parametrize("name", ON_LOGITS + ON_FEATURES)
def test_loss_and_gradient_agree_with_autograd(xp: Any, name: str) -> None:
    loss, at = (on_logits(xp)[name], LOGITS) if name in ON_LOGITS else (on_features(xp)[name], FEATURES)
    value, gradient = loss(xp.array(at))
    z = torch_tensor(at, requires_grad=True)
    theirs = in_torch(name, z)
    theirs.backward()
    assert_close(np.asarray(to_numpy(xp.asarray(value))), theirs.detach().numpy(), 1e-10)
    assert_close(gradient, z.grad.numpy(), 1e-10)


# ---- extreme and degenerate numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in ON_LOGITS if name != "k3"])  # whose ratio q / p overflows
def test_logits_of_ten_thousand_give_finite_losses_and_gradients(xp: Any, name: str, dtype: str) -> None:
    spikes = 1e4 * (2 * (np.arange(K) == some_labels(B, K)[:, None]) - 1.0)
    for z, v in ((spikes, -spikes), (-spikes, spikes), (spikes, spikes), (spikes, 0 * spikes), (0 * spikes, spikes)):
        value, dlogits = on_logits(xp, xp.array(v.astype(dtype)))[name](xp.array(z.astype(dtype)))
        assert np.isfinite(float(value)) and np.isfinite(to_numpy(dlogits)).all()
        assert dlogits.shape == (B, K)


@pytest.mark.parametrize("name", ON_FEATURES)
def test_features_that_are_all_zero_or_all_alike_have_finite_losses_and_no_gradient_where_there_is_no_direction(
    xp: Any, name: str
) -> None:
    half = FEATURES.copy()
    half[::2] = 0
    for f in (0 * FEATURES, np.ones_like(FEATURES), half, 1e4 * FEATURES, 1e-20 * FEATURES):
        value, dfeatures = on_features(xp)[name](xp.array(f))
        assert np.isfinite(float(value)) and np.isfinite(to_numpy(dfeatures)).all()
        if name in ("pkt", "self-supervised"):
            assert not to_numpy(dfeatures)[~f.any(axis=1)].any()
        if name.startswith("rkd") and not np.ptp(f, axis=0).any():
            assert not to_numpy(dfeatures).any()


@pytest.mark.parametrize("loss", [rkd.rkd_loss, sp.sp_loss, pkt.pkt_loss])
def test_features_of_the_teacher_that_are_all_zero_or_all_alike_are_a_target_like_any_other(xp: Any, loss: Any) -> None:
    half = THEIRS.copy()
    half[::2] = 0
    for theirs in (0 * THEIRS, np.ones_like(THEIRS), half):
        for mine in (FEATURES, 0 * FEATURES):
            value, dfeatures = loss(xp.array(mine), xp.array(theirs))
            assert np.isfinite(float(value)) and np.isfinite(to_numpy(dfeatures)).all()
    no_direction = partial(self_supervised.similarity_loss, anchors=xp.array(ANCHORS))
    value, de = no_direction(xp.array(FEATURES), xp.array(0 * HINTS))
    assert np.isfinite(float(value)) and np.isfinite(to_numpy(de)).all()


@pytest.mark.parametrize("loss", [rkd.rkd_loss, sp.sp_loss, pkt.pkt_loss])
def test_a_batch_of_one_has_no_relations_and_so_no_gradient(xp: Any, loss: Any) -> None:
    value, dfeatures = loss(xp.array(FEATURES[:1]), xp.array(THEIRS[:1]))
    assert float(value) == 0 and not to_numpy(dfeatures).any()


def test_dist_in_a_batch_of_one_is_left_with_the_classes_of_the_sample() -> None:
    value, dlogits = dist.dist_loss(LOGITS[:1], LABELS[:1], TEACHER[:1], gamma=5.0)
    hard, _ = cross_entropy(LOGITS[:1], LABELS[:1])
    inter, _ = dist.correlation_loss(softmax(LOGITS[:1]), softmax(TEACHER[:1]))
    assert value == pytest.approx(hard + inter + 5.0)
    assert_close(dlogits, dist.dist_loss(LOGITS[:1], LABELS[:1], TEACHER[:1], gamma=0.0)[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.1, 10000.1, -3.7])
@pytest.mark.parametrize("classes", [3, 7, 10, 26])
def test_logits_that_are_all_alike_have_no_spread_and_no_correlation_whatever_their_rounding(
    xp: Any, dtype: str, value: float, classes: int
) -> None:
    alike = xp.full((B, classes), value, dtype)
    Z, deviation = standardised.standardise(alike)
    assert not to_numpy(Z).any() and not to_numpy(deviation).any()
    teacher, labels = xp.array(sample(B, classes).astype(dtype)), xp.array(some_labels(B, classes))
    hard = to_numpy(cross_entropy(alike, labels)[1])
    assert_close(standardised.standardised_loss(alike, labels, teacher, hard_weight=1.0)[1], hard, 1e-6)
    assert_close(dist.dist_loss(alike, labels, teacher)[1], hard, 1e-6)


@pytest.mark.parametrize("what", ["teacher", "decay"])
def test_a_run_is_not_resumed_with_another_teacher_or_average_though_they_are_asked_batch_by_batch(
    what: str, teacher: MLP, tmp_path: Path
) -> None:
    options = {**RECIPE, "epochs": 2, "checkpoint": tmp_path / "s.safetensors", "resume": True}
    if what == "decay":
        mean_teacher.train(student_of(), None, X, Y, decay=0.9, **options)
        with pytest.raises(CheckpointError, match=r"moving average, decay 0\.9"):
            mean_teacher.train(student_of(), None, X, Y, decay=0.5, **options)
        return
    other = MLP(teacher.sizes, seed=50)
    for name in ("kd", "rkd", "data-free"):
        augment = {} if name == "data-free" else {"augment": partial(_as_it_is)}
        METHODS[name].train(student_of(), teacher, X, Y, **options, **augment)
        with pytest.raises(CheckpointError, match="belongs to another run"):
            METHODS[name].train(student_of(), other, X, Y, **options, **augment)
        for path in tmp_path.iterdir():
            path.unlink()


def _as_it_is(x: Array, rng: Any) -> Array:
    return x


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_whole_numbers_do_not_wrap_around(dtype: str) -> None:
    z, v = (np.array(rows, dtype) for rows in ([[100, 0, 7]], [[0, 100, 9]]))
    assert logit_matching.matching_loss(z, None, v, soft_weight=1.0)[0] == pytest.approx((2 * 100**2 + 4) / 3)
    assert fitnets.hint_loss(z, v)[0] == pytest.approx((2 * 100**2 + 4) / 2)


# ---- identities and limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_kl_is_zero_with_its_gradient_where_the_student_is_the_teacher_and_ce_where_the_teacher_has_no_weight(
    T: float,
) -> None:
    value, dlogits = kd.kl_loss(TEACHER, None, TEACHER + 3.0, temperature=T, soft_weight=1.0)
    assert_close(value, 0.0, 1e-12)
    assert_close(dlogits, np.zeros((B, K)), 1e-15)
    value, dlogits = kd.kl_loss(LOGITS, LABELS, TEACHER, temperature=T, soft_weight=0.0)
    hard, dhard = cross_entropy(LOGITS, LABELS)
    assert value == pytest.approx(hard)
    assert_same_bits(dlogits, dhard)
    assert_same_bits(
        kd.kl_loss(LOGITS, LABELS, TEACHER, temperature=T)[1],
        distillation_loss(LOGITS, LABELS, TEACHER, temperature=T)[1],
    )


def test_soft_targets_become_logit_matching_as_the_temperature_grows() -> None:
    z, v = (a - a.mean(axis=1, keepdims=True) for a in (LOGITS, TEACHER))
    limit, dlimit = logit_matching.matching_loss(z, None, v, soft_weight=1.0)  # 1/(B K) Σ (z - v)²
    errors = []
    for T in (100.0, 1e3, 1e4):
        value, dlogits = kd.kl_loss(LOGITS, None, TEACHER, temperature=T, soft_weight=1.0)
        errors.append(abs(value - limit / 2))
        assert_close(dlogits, dlimit / 2, 30 / T)
    assert errors[1] < errors[0] / 5 and errors[2] < errors[1] / 5 and errors[2] < 1e-2


def test_reverse_kl_is_kl_with_the_two_distributions_exchanged_and_has_the_same_limit(xp: Any) -> None:
    z, v = xp.array(LOGITS), xp.array(TEACHER)
    for T in (1.0, 4.0):
        options: dict[str, Any] = {"temperature": T, "soft_weight": 1.0}
        value = reverse_kl.reverse_kl_loss(z, None, v, **options)[0]
        assert_close(float(value), float(kd.kl_loss(v, None, z, **options)[0]))
    far: dict[str, Any] = {"temperature": 1e4, "soft_weight": 1.0}
    for ours, theirs in zip(reverse_kl.reverse_kl_loss(z, None, v, **far), kd.kl_loss(z, None, v, **far), strict=True):
        assert_close(ours, theirs, 1e-3)


def test_forward_kl_covers_both_modes_and_reverse_kl_seeks_one() -> None:
    """A student with one free number, z = (s, 0, -s): a hump at one end or flat. The teacher has two humps."""
    teacher = np.log([[0.495, 0.01, 0.495]])
    at = np.linspace(-4, 4, 81)
    z = at[:, None] * np.array([1.0, 0.0, -1.0])
    forward, reverse = (
        np.array([loss(row[None], None, teacher, temperature=1.0, soft_weight=1.0)[0] for row in z])
        for loss in (kd.kl_loss, reverse_kl.reverse_kl_loss)
    )
    assert abs(at[forward.argmin()]) < 1e-9 and abs(at[reverse.argmin()]) > 3


def test_jsd_is_symmetric_bounded_and_vanishes_at_both_ends_where_only_its_ratio_is_a_kl() -> None:
    alone: dict[str, Any] = {"temperature": 1.0, "soft_weight": 1.0}
    half, mirrored = (jsd.jsd_loss(z, None, v, soft_weight=1.0)[0] for z, v in ((LOGITS, TEACHER), (TEACHER, LOGITS)))
    assert half == pytest.approx(mirrored)
    ruled_out = TEACHER.copy()
    ruled_out[:, 0] = -math.inf
    assert 0 < jsd.jsd_loss(1e3 * LOGITS, None, ruled_out, soft_weight=1.0)[0] < math.log(2) + 1e-12
    z, v = 0.5 * LOGITS, 0.5 * TEACHER
    for end, loss in ((0.0, kd.kl_loss), (1.0, reverse_kl.reverse_kl_loss)):
        kl, dkl = loss(z, None, v, **alone)
        errors = []
        for distance in (1e-2, 1e-4, 1e-6):
            value, dlogits = jsd.jsd_loss(z, None, v, beta=abs(end - distance), soft_weight=1.0)
            assert 0 < value < 1.01 * distance * kl  # so a loss that is KL at the end itself jumps there
            assert np.abs(dlogits).max() < 20 * distance * np.abs(dkl).max()
            errors.append(max(abs(value / distance - kl), np.abs(dlogits / distance - dkl).max()))
        assert errors[1] < errors[0] / 20 and errors[2] < 1e-4
        with pytest.raises(ValueError, match=r"beta must be in \(0, 1\)"):
            jsd.jsd_loss(z, LABELS, v, beta=end)


def test_skewed_kl_is_kl_without_skew_zero_at_equality_and_bounded_with_it() -> None:
    alone: dict[str, Any] = {"temperature": 1.0, "soft_weight": 1.0}
    for direction, loss in (("forward", kd.kl_loss), ("reverse", reverse_kl.reverse_kl_loss)):
        skew: dict[str, Any] = {"direction": direction, "soft_weight": 1.0}
        for ours, theirs in zip(
            skewed.skewed_loss(LOGITS, None, TEACHER, alpha=0.0, **skew),
            loss(LOGITS, None, TEACHER, **alone),
            strict=True,
        ):
            assert_close(ours, theirs, 1e-12)
        value, dlogits = skewed.skewed_loss(TEACHER, None, TEACHER - 2.0, **skew)
        assert_close(value, 0.0, 1e-12)
        assert_close(dlogits, np.zeros((B, K)), 1e-12)
        ruled_out = np.where(np.arange(K) < 3, -math.inf, 1.0) + 0 * TEACHER
        value, dlogits = skewed.skewed_loss(-1e3 * ruled_out.clip(-1, 1), None, ruled_out, alpha=0.1, **skew)
        assert 0 < value <= math.log(10) + 1e-12 and np.isfinite(dlogits).all()


def test_the_largest_k_of_all_classes_are_all_of_kl_and_one_that_is_left_has_no_order(xp: Any) -> None:
    z, y, v = xp.array(LOGITS), xp.array(LABELS), xp.array(TEACHER)
    kl = kd.kl_loss(z, y, v, temperature=1.0)
    cases = [*((k, rest) for rest in top_k.RESTS for k in (K, K + 3)), (K - 1, "rest")]
    for k, rest in cases:
        for ours, theirs in zip(top_k.top_k_loss(z, y, v, k=k, rest=rest), kl, strict=True):
            assert_close(ours, to_numpy(theirs), 1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_what_each_treatment_of_the_rest_loses(k: int) -> None:
    logp, logq = (np.log(softmax(z)) for z in (LOGITS, TEACHER))
    q = np.exp(logq)
    known = np.argsort(np.argsort(-q, axis=1), axis=1) < k
    Q = (q * ~known).sum(axis=1)
    kl = (q * (logq - logp)).sum(axis=1)
    (rest, drest), (renormalised, dr), (cut, dcut) = (top_k.top_k(logp, logq, k, how) for how in top_k.RESTS)
    assert (rest >= 0).all() and (rest <= kl + 1e-12).all()  # merging classes never makes a divergence larger
    order = np.argsort(np.where(known, -np.inf, LOGITS), axis=1)
    assert_close((drest * ~known).sum(axis=1), -(drest * known).sum(axis=1))
    ratio = np.where(known, 0, drest) / np.exp(logp)  # the rest keeps the student's own proportions
    assert_close(np.take_along_axis(ratio, order[:, k:], 1), np.repeat(ratio.sum(1, keepdims=True) / (K - k), K - k, 1))
    assert_close(cut, (1 - Q) * (renormalised + np.log(1 - Q)))
    assert_close(dcut, (1 - Q)[:, None] * dr)
    sure = np.log(np.where(known, q / (1 - Q)[:, None], 1e-300))  # the student that "cut" and "renormalised" ask for
    least, dleast = top_k.top_k(sure, logq, k, "cut")
    assert (least < 0).all() and np.abs(dleast).max() < 1e-12
    assert_close(least, (1 - Q) * np.log(1 - Q))


def test_a_rest_that_the_teacher_rules_out_is_no_nan() -> None:
    teacher = TEACHER.copy()
    teacher[:, 2:] = -math.inf
    for rest in top_k.RESTS:
        value, dlogits = top_k.top_k_loss(LOGITS, LABELS, teacher, k=2, rest=rest)
        assert np.isfinite(value) and np.isfinite(dlogits).all()


def test_labels_are_drawn_as_often_as_the_teacher_says_and_descend_soft_targets() -> None:
    u = np.random.default_rng(1).random(200_000)
    z, v = (np.repeat(a[:1], len(u), axis=0) for a in (LOGITS, TEACHER))
    drawn = sequence_level.drawn_labels(v, u)
    q = softmax(TEACHER[:1])[0]
    assert_close(np.bincount(drawn, minlength=K) / len(u), q, 5e-3)
    value, dlogits = sequence_level.drawn_loss(z, v, u)
    soft, dsoft = distillation_loss(z[:1], None, v[:1], temperature=1.0, soft_weight=1.0)
    assert_close(dlogits.sum(axis=0), dsoft[0], 5e-3)
    assert value == pytest.approx(soft, rel=5e-3)
    one = np.eye(K)[drawn]
    assert_close(one.var(axis=0), q * (1 - q), 5e-3)
    logits, u = 1e4 * np.array([[1.0, 0, 1], [1, 0, 1], [1, 0, 1], [0, 1, 1]]), np.array([0.0, 0.5, 1 - 1e-16, 0.0])
    edges = sequence_level.drawn_labels(logits, u)
    assert edges.tolist() == [0, 2, 2, 1]


def test_drawn_labels_are_drawn_anew_each_epoch_from_the_seed() -> None:
    source = sequence_level.Uniform(50)
    drawn = []
    for seed, epoch in ((1, 0), (1, 1), (2, 0), (1, 0)):
        source.begin_epoch(None, seed, epoch)
        drawn.append(source[np.arange(50)].copy())
    assert_same_bits(drawn[0], drawn[3])
    assert all((drawn[0] != other).any() for other in drawn[1:3])


def test_the_estimators_have_the_means_and_the_variances_that_are_told() -> None:
    reverse = reverse_kl.reverse_kl(np.log(softmax(LOGITS)), np.log(softmax(TEACHER)))[0]
    for name in ("k1", "k3"):
        assert_close(estimators.moments(LOGITS, TEACHER, name)[0], reverse)
    assert np.abs(estimators.moments(LOGITS, TEACHER, "k2")[0] - reverse).max() > 0.05
    near = LOGITS + 0.05 * TEACHER
    kl, spread = estimators.moments(LOGITS, near, "k1")
    assert_close(spread, 2 * kl, 0.1)  # Var l is 2 KL to second order
    for name in ("k2", "k3"):
        assert (estimators.moments(LOGITS, near, name)[1] < spread / 20).all()
        assert_close(estimators.moments(LOGITS, near, name)[0], kl, 0.1 * float(kl.max()))
    drawn = np.random.default_rng(0).choice(K, 100_000, p=softmax(LOGITS[:1])[0])
    z, v = (np.repeat(a[:1], len(drawn), axis=0) for a in (LOGITS, TEACHER))
    for name in estimators.ESTIMATORS:
        value, (mean, variance) = estimators.estimator_loss(z, v, drawn, name)[0], estimators.moments(z, v, name)
        assert abs(value - mean[0]) < 5 * (variance[0] / len(drawn)) ** 0.5


def test_k1_teaches_nothing_k2_the_reverse_and_k3_the_forward_divergence() -> None:
    """Exactly, by a sum over all classes, and by Monte Carlo."""
    z, v = LOGITS[:1], TEACHER[:1]
    p, q = softmax(z), softmax(v)
    expected = {
        "k1": np.zeros((1, K)),
        "k2": reverse_kl.reverse_kl(np.log(p), np.log(q))[1],
        "k3": p - q,
    }
    n = 200_000
    drawn = np.random.default_rng(3).choice(K, n, p=p[0])
    for name, gradient in expected.items():
        each = [estimators.estimator_loss(z, v, np.array([x]), name)[1] for x in range(K)]
        assert_close(sum(p[0, x] * each[x] for x in range(K)), gradient, 1e-12)
        many = estimators.estimator_loss(np.repeat(z, n, 0), np.repeat(v, n, 0), drawn, name)[1].sum(axis=0)
        spread = np.sqrt(sum(p[0, x] * (each[x] - gradient) ** 2 for x in range(K)) / n)
        assert (np.abs(many - gradient) < 5 * spread + 1e-12).all()
    with pytest.raises(ValueError, match="name must be one of k1, k2, k3, got 'k4'"):
        estimators.moments(z, v, "k4")


def test_dkd_takes_the_divergence_apart(xp: Any) -> None:
    z, y, v = xp.array(LOGITS), xp.array(LABELS), xp.array(TEACHER)
    for T in (1.0, 4.0):
        target, others, dtarget, dothers = map(to_numpy, dkd.decoupled(z, y, v, temperature=T))
        q_t = to_numpy(softmax(v, T))[np.arange(B), LABELS]
        whole, dwhole = kd.kl_loss(z, None, v, temperature=T, soft_weight=1.0)
        assert_close(np.mean(target + (1 - q_t) * others), float(whole) / T**2)
        assert_close((dtarget + (1 - q_t)[:, None] * dothers) / B, to_numpy(dwhole) / T**2)
    with pytest.raises(ValueError, match="at least 3 classes: among the others, two have nothing to rank"):
        dkd.dkd_loss(LOGITS[:, :2], LABELS % 2, TEACHER[:, :2])


def test_dist_does_not_notice_the_scale_and_shift_of_a_row_or_of_a_column() -> None:
    P, Q = softmax(LOGITS), softmax(TEACHER)
    scale, shift = np.exp(sample(B, 1, seed=8)), sample(B, 1, seed=9)
    for mine, theirs in zip(dist.correlation_loss(P, Q), dist.correlation_loss(P, scale * Q + shift), strict=True):
        assert_close(mine, theirs)
    scale, shift = np.exp(sample(1, K, seed=8)), sample(1, K, seed=9)
    for mine, theirs in zip(
        dist.correlation_loss(P.T, Q.T), dist.correlation_loss(P.T, (scale * Q + shift).T), strict=True
    ):
        assert_close(mine, theirs)
    assert_close(dist.correlation_loss(P, 3 * P + 1)[0], 0.0)
    assert_close(dist.correlation_loss(P, -P)[0], 2.0)


def test_standardised_logits_do_not_notice_scale_and_shift_of_either_network() -> None:
    scale, shift = np.exp(sample(B, 1, seed=8)), sample(B, 1, seed=9)
    loss = partial(standardised.standardised_loss, hard_weight=0.0)
    value, dlogits = loss(LOGITS, LABELS, TEACHER)
    moved = loss(LOGITS, LABELS, scale * TEACHER + shift)
    assert_close(moved[0], value)
    assert_close(moved[1], dlogits)
    moved = loss(scale * LOGITS + shift, LABELS, TEACHER)
    assert_close(moved[0], value)
    assert_close(moved[1] * scale, dlogits)
    Z, _ = standardised.standardise(LOGITS)
    assert_close(Z.mean(axis=1), np.zeros(B))
    assert_close(Z.std(axis=1, ddof=1), np.ones(B))


@pytest.mark.parametrize("loss", [rkd.rkd_loss, sp.sp_loss, pkt.pkt_loss])
def test_relations_do_not_notice_that_the_features_are_turned(loss: Any) -> None:
    turn, _ = np.linalg.qr(sample(W, W, seed=7))
    value, dfeatures = loss(FEATURES, THEIRS)
    turned = loss(FEATURES @ turn, THEIRS)
    assert_close(turned[0], value)
    assert_close(turned[1], dfeatures @ turn)
    scaled = loss(3 * FEATURES, THEIRS)
    assert_close(scaled[0], value)
    assert_close(scaled[1] * 3, dfeatures)
    assert_close(loss(FEATURES, 2 * FEATURES @ turn)[0], 0.0, 1e-12)


def test_rkd_does_not_notice_that_the_features_are_moved_and_sp_and_pkt_do() -> None:
    assert_close(rkd.rkd_loss(FEATURES + 5, THEIRS - 3)[0], rkd.rkd_loss(FEATURES, THEIRS)[0], 1e-9)
    for loss in (sp.sp_loss, pkt.pkt_loss):
        assert abs(loss(FEATURES + 5, THEIRS)[0] - loss(FEATURES, THEIRS)[0]) > 1e-4


def test_the_rows_of_sp_and_pkt_are_normalised_by_their_l2_norms() -> None:
    """Of (3, 4) and (0, 1): sp compares rows of the Gram matrix, pkt (1 + cosine) / 2, against orthogonal features."""
    f, t = np.array([[3.0, 4.0], [0.0, 1.0]]), np.eye(2)
    rows = np.array([[25.0, 4.0], [4.0, 1.0]]) / np.sqrt([[25**2 + 4**2], [4**2 + 1]])
    assert sp.sp_loss(f, t)[0] == pytest.approx(((rows - np.eye(2)) ** 2).mean())
    p, q = np.array([[1, 0.9], [0.9, 1]]) / 1.9, np.array([[1, 0.5], [0.5, 1]]) / 1.5
    assert pkt.pkt_loss(f, t)[0] == pytest.approx((q * np.log(q / p)).mean())


def test_the_peers_answer_is_a_constant_in_mutual_learning() -> None:
    """Each network's gradient is that of its own loss by its own logits; together they descend no common loss."""
    value, by_peer = mutual.mutual_loss(TEACHER, LABELS, LOGITS)
    assert_close(by_peer * B, 2 * softmax(TEACHER) - np.eye(K)[LABELS] - softmax(LOGITS))
    assert value == pytest.approx(
        cross_entropy(TEACHER, LABELS)[0] + kd.kl_loss(TEACHER, None, LOGITS, temperature=1.0, soft_weight=1.0)[0]
    )


def test_cwtm_with_a_teacher_that_is_equally_sure_of_all_is_cross_entropy_with_labels() -> None:
    value, dlogits = born_again.cwtm_loss(LOGITS, LABELS, np.roll(np.tile(TEACHER[:1], (B, 1)), 1, axis=1))
    assert value == pytest.approx(cross_entropy(LOGITS, LABELS)[0])
    assert_close(dlogits, cross_entropy(LOGITS, LABELS)[1])


def test_dkpp_keeps_the_first_ranked_class_and_shuffles_the_others(xp: Any) -> None:
    v = sample(200, K, seed=3)
    out = to_numpy(born_again.permuted(xp.array(v), seed=1))
    top = v.argmax(axis=1)
    assert_same_bits(out.argmax(axis=1), top)
    assert_same_bits(out.max(axis=1), v.max(axis=1))
    assert_same_bits(np.sort(out, axis=1), np.sort(v, axis=1))
    moved = (out != v) & (np.arange(K) != top[:, None])
    assert 0.6 < moved.sum() / (200 * (K - 1)) < 0.9  # of four in random order, three quarters stand elsewhere
    assert_same_bits(out, to_numpy(born_again.permuted(xp.array(v), seed=1)))


def test_the_two_means_of_several_teachers_differ_as_the_docstring_says() -> None:
    def teacher(*p: float) -> Callable[[Array], Array]:
        return lambda x: np.log([p])

    x = np.zeros((1, 3))
    pair = teacher(0.99, 0.01), teacher(0.5, 0.5)
    assert_close(softmax(ensemble.mean_logits(*pair)(x)), [[0.909, 0.091]], 1e-3)
    assert_close(softmax(ensemble.mean_probabilities(*pair)(x)), [[0.745, 0.255]], 1e-12)
    for mean in (ensemble.mean_logits, ensemble.mean_probabilities):
        assert_close(softmax(mean(teacher(0.99, 0.01), teacher(0.01, 0.99))(x)), [[0.5, 0.5]], 1e-12)
        assert_close(softmax(mean(pair[0])(x)), [[0.99, 0.01]], 1e-12)
    near = [mean(*pair) for mean in (ensemble.mean_logits, partial(ensemble.mean_probabilities, temperature=1e3))]
    assert_close(*(softmax(committee(x), 1e3) for committee in near), 1e-5)


def test_mean_probabilities_are_a_mean_of_probabilities_at_their_temperature(xp: Any) -> None:
    z, v = xp.array(LOGITS), xp.array(TEACHER)
    committee = ensemble.mean_probabilities(lambda x: z, lambda x: v, temperature=3.0)
    assert_close(softmax(committee(z), 3.0), (to_numpy(softmax(z, 3.0)) + to_numpy(softmax(v, 3.0))) / 2)
    huge = ensemble.mean_probabilities(lambda x: 1e4 * z, lambda x: -1e4 * v)(z)
    assert np.isfinite(to_numpy(huge)).all()


def test_label_smoothing_is_distillation_from_a_uniform_teacher() -> None:
    targets = 0.9 * np.eye(K)[LABELS] + 0.1 / K
    value, dlogits = label_smoothing.smoothed_loss(LOGITS, LABELS)
    assert_close(dlogits, (softmax(LOGITS) - targets) / B)
    assert value == pytest.approx(-(targets * np.log(softmax(LOGITS))).sum() / B)
    uniform = np.full((B, K), -2.5)  # logits that are all equal
    distilled = distillation_loss(LOGITS, LABELS, uniform, temperature=1.0, soft_weight=0.1)
    assert value == pytest.approx(distilled[0])
    assert_close(dlogits, distilled[1])


def test_assistants_stand_at_equal_ratios() -> None:
    assert assistants.between((784, 30, 10), (784, 1200, 1200, 10)) == [(784, 190, 10)]
    assert assistants.between((784, 10, 10, 10), (784, 640, 10), 2) == [(784, 160, 160, 10), (784, 40, 40, 10)]
    with pytest.raises(ValueError, match="must have hidden layers"):
        assistants.between((784, 10), (784, 20, 10))


# ---- schedules --------------------------------------------------------------------------------------------------


class Clock:
    """An optimizer that has taken t steps."""

    t = 0


def test_scheduled_options_follow_the_optimizers_steps() -> None:
    clock: Any = Clock()
    loss = Scheduled(distillation_loss, clock, 10, temperature=lambda s: 1 + s, soft_weight=0.5)
    for t in range(10):
        clock.t = t
        expected = distillation_loss(LOGITS, LABELS, TEACHER, temperature=1 + t / 10, soft_weight=0.5)
        assert_same_bits(loss(LOGITS, LABELS, TEACHER)[1], expected[1])


def recorded(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[dict[str, Any]]:
    """The options with which a loss of a module is called from now on."""
    calls, original = [], getattr(module, name)

    def wrapper(*arguments: Any, **options: Any) -> Any:
        calls.append(options)
        return original(*arguments, **options)

    wrapper.__qualname__ = name
    monkeypatch.setattr(module, name, wrapper)
    return calls


def test_an_annealed_teacher_grows_clear_in_whole_steps_and_then_the_labels_take_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = recorded(monkeypatch, annealing, "annealed_loss")
    x, y = DIGITS.x_train[:40], DIGITS.y_train[:40]
    student, teacher = MLP((64, 8, 10)), MLP((64, 9, 10), seed=1)
    annealing.train(student, teacher, x, y, epochs=16, batch_size=40, max_temperature=4, progress=False)
    assert [c["phi"] for c in calls[:12]] == [0.25] * 3 + [0.5] * 3 + [0.75] * 3 + [1.0] * 3
    assert [c["stage"] for c in calls] == [1] * 12 + [2] * 4


def test_annealing_with_one_temperature_has_the_whole_teacher_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = recorded(monkeypatch, annealing, "annealed_loss")
    student, teacher, x, y = MLP((4, 3)), MLP((4, 5, 3), seed=1), sample(40, 4), some_labels(40, 3)
    annealing.train(student, teacher, x, y, epochs=8, batch_size=20, max_temperature=1, progress=False)
    assert {call["phi"] for call in calls} == {1.0} and [call["stage"] for call in calls] == [1] * 12 + [2] * 4


def test_dkd_grows_in_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = recorded(monkeypatch, dkd, "dkd_loss")
    x, y = DIGITS.x_train[:40], DIGITS.y_train[:40]
    dkd.train(MLP((64, 8, 10)), MLP((64, 9, 10), seed=1), x, y, epochs=24, batch_size=20, progress=False)
    assert [c["warmup"] for c in calls[:5]] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert calls[-1]["warmup"] == 1 and calls[0]["beta"] == 8.0


# ---- extreme numbers --------------------------------------------------------------------------------------------

BY_TEACHER = (
    *("kl", "logits", "dkd", "dist", "standardised", "mutual", "cwtm", "annealed, stage 1", "mean teacher"),
    *("reverse kl", "jsd", "skewed", "skewed, reverse", "top k, rest", "top k, renormalised", "top k, cut", "k2", "k3"),
)


@pytest.mark.parametrize("name", BY_TEACHER)
def test_a_nan_in_the_teachers_logits_is_a_nan_in_the_loss_and_in_its_rows_gradient(name: str, xp: Any) -> None:
    teacher = TEACHER.copy()
    teacher[1, 2] = math.nan
    with np.errstate(invalid="ignore"):
        value, dlogits = on_logits(xp, teacher=xp.array(teacher))[name](xp.array(LOGITS))
    assert math.isnan(float(value)) and np.isnan(to_numpy(dlogits)[1]).any()


@pytest.mark.parametrize("name", ["rkd", "rkd, distances alone", "sp", "pkt"])
def test_a_nan_in_the_teachers_features_is_a_nan_in_the_loss(name: str) -> None:
    losses: dict[str, Any] = {
        "rkd": rkd.rkd_loss,
        "rkd, distances alone": partial(rkd.rkd_loss, angle_weight=0.0),
        "sp": sp.sp_loss,
        "pkt": pkt.pkt_loss,
    }
    features, teacher = sample(5, 4, seed=1), sample(5, 4, seed=2)
    teacher[1, 2] = math.nan
    with np.errstate(invalid="ignore"):
        assert math.isnan(float(losses[name](features, teacher)[0]))


@pytest.mark.parametrize(
    "name",
    ["kl", "kl without labels", "dkd", "dkd at T = 1", "mutual", "mean teacher", "dist", "jsd", "skewed",
     "skewed, reverse", "top k, rest", "top k, renormalised", "top k, cut", "drawn labels"],
)  # fmt: skip
def test_a_class_that_the_teacher_rules_out_gives_a_finite_loss_and_gradient(name: str, xp: Any) -> None:
    teacher, nearly = TEACHER.copy(), TEACHER.copy()
    row = int((LABELS != 2).argmax())
    teacher[row, 2], nearly[row, 2] = -math.inf, -500.0
    value, dlogits = on_logits(xp, teacher=xp.array(teacher))[name](xp.array(LOGITS))
    limit, dlimit = on_logits(xp, teacher=xp.array(nearly))[name](xp.array(LOGITS))
    assert_close(value, limit, 1e-9)
    assert_close(dlogits, to_numpy(dlimit), 1e-9)


@pytest.mark.parametrize("T", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_divergence_is_0_at_equality_and_exact_at_any_temperature(T: float, dtype: str) -> None:
    z, v = (logits.astype(dtype) for logits in (LOGITS, TEACHER))
    options: dict[str, Any] = {"temperature": T, "soft_weight": 1.0}
    assert kd.kl_loss(v, None, v, **options)[0] == 0
    value = kd.kl_loss(z, None, v, **options)[0]
    assert value.dtype == dtype
    if T > 1:  # the limit of logit matching: |z - v|² / 2 K, each from its row's mean
        u = (LOGITS - LOGITS.mean(axis=1, keepdims=True)) - (TEACHER - TEACHER.mean(axis=1, keepdims=True))
        assert float(value) == pytest.approx((u * u).sum() / (2 * u.shape[1] * len(u)), rel=1e-2)


@pytest.mark.parametrize("temperature", [4.0, 8.0])
def test_dkd_of_float16_is_finite_and_near_that_of_float64(temperature: float) -> None:
    half = dkd.dkd_loss(LOGITS.astype("float16"), LABELS, TEACHER.astype("float16"), temperature=temperature)
    full = dkd.dkd_loss(LOGITS, LABELS, TEACHER, temperature=temperature)
    assert float(half[0]) == pytest.approx(float(full[0]), rel=0.02)
    assert np.abs(half[1] - full[1]).max() < 0.02


def test_rkd_of_float32_has_a_gradient_of_float32() -> None:
    features, teacher = sample(6, 4, seed=1).astype("float32"), sample(6, 5, seed=2).astype("float32")
    dfeatures = rkd.rkd_loss(features, teacher)[1]
    assert dfeatures.dtype == "float32"
    assert_close(dfeatures, rkd.rkd_loss(features.astype(float), teacher.astype(float))[1], 1e-4)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "much"])
@pytest.mark.parametrize("name", ["mutual weight", "consistency weight", "phi", "warmup"])
def test_a_weight_that_cannot_be_is_refused(name: str, value: Any) -> None:
    calls: dict[str, Any] = {
        "mutual weight": lambda: mutual.mutual_loss(LOGITS, LABELS, TEACHER, weight=value),
        "consistency weight": lambda: mean_teacher.consistency_loss(LOGITS, LABELS, TEACHER, weight=value),
        "phi": lambda: annealing.annealed_loss(LOGITS, LABELS, TEACHER, phi=value),
        "warmup": lambda: dkd.dkd_loss(LOGITS, LABELS, TEACHER, warmup=value),
    }
    with pytest.raises((ValueError, TypeError), match=f"^{name.split()[-1]} must be"):
        calls[name]()


@pytest.mark.parametrize("stage", [0, 3, "1"])
def test_a_stage_that_is_none_is_refused(stage: Any) -> None:
    with pytest.raises(ValueError, match=r"stage must be 1 or 2, got"):
        annealing.annealed_loss(LOGITS, LABELS, TEACHER, stage=stage)


@pytest.mark.parametrize("steps", [20, 40, 100, 1000])  # of 20 steps 3, 6 and 12 were late
def test_the_temperature_of_an_annealed_teacher_falls_at_the_right_step(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(monkeypatch, annealing, "annealed_loss")
    x, y = DIGITS.x_train[:10], DIGITS.y_train[:10]
    student, teacher = MLP((64, 2, 10)), MLP((64, 2, 10), seed=1)
    annealing.train(student, teacher, x, y, epochs=steps, batch_size=10, teacher_share=0.75, progress=False)
    last = 3 * steps // 4
    assert [call["stage"] for call in calls] == [1] * last + [2] * (steps - last)
    expected = [1 + 10 * step // last for step in range(last)]  # in whole numbers, without rounding
    assert [round(10 * call["phi"]) for call in calls[:last]] == expected


def test_the_average_of_a_mean_teacher_holds_the_last_step(tmp_path: Path) -> None:
    x, y = DIGITS.x_train[:40], DIGITS.y_train[:40]
    averages = [MLP((64, 4, 10)) for _ in range(2)]
    options: dict[str, Any] = {"epochs": 3, "batch_size": 20, "progress": False}
    students = [MLP((64, 4, 10), seed=1) for _ in averages]
    for student, average, decay in zip(students, averages, (0.0, 0.5), strict=True):
        mean_teacher.train(student, None, x, y, decay=decay, average=average, **options)
    assert_same_bits(averages[0].theta, students[0].theta)  # without memory the average is the student after its last
    mean_teacher.train(
        MLP((64, 4, 10), seed=1), None, x, y, decay=0.0, checkpoint=tmp_path / "s.safetensors", **options
    )
    assert_same_bits(MLP.load(tmp_path / "s-average.safetensors").theta, averages[0].theta)


# ---- features, regressors and other networks --------------------------------------------------------------------


def test_features_are_what_forward_leaves(device: str) -> None:
    model = MLP((64, 12, 7, 10), activation="tanh", dropout=0.0, seed=1, device=device)
    x = DIGITS.x_train[:50]
    model.forward(to_device(x, device), train=True)
    for layer in (0, 1, -1, -2):
        assert_close(features(model, x, layer), to_numpy(model.hidden[layer]), 1e-6)


@pytest.mark.parametrize("width", [5, 8])
def test_the_regressor_of_fitnets_is_a_layer_whose_gradient_is_checked_too(xp: Any, device: str, width: int) -> None:
    student = MLP((4, 6, 8, 3), activation="tanh", seed=2, device=device, dtype="float64")
    guided = trunk(student, 1, width, 1, {})
    assert guided.sizes == (4, 6, 8, width)
    for mine, theirs in zip(
        guided.weights[:2] + guided.biases[:2], student.weights[:2] + student.biases[:2], strict=True
    ):
        assert_same_bits(mine, theirs)
    x, hints = xp.array(sample(5, 4)), xp.array(sample(5, width, seed=1))

    def loss(theta: Any) -> float:
        return float(fitnets.hint_loss(guided.forward(x), hints)[0])

    _, dr = fitnets.hint_loss(guided.forward(x, train=True), hints)
    guided.backward(dr)
    report = check_gradients(loss, *blocks_of(guided))
    assert {check.block for check in report.checks} >= {"W3", "b3", "W1"}
    report.assert_ok(1e-7)


@pytest.mark.parametrize("hidden", [(12,), (20, 12), (16, 12)])
def test_fitnets_first_brings_the_hidden_layer_near_the_teachers(hidden: tuple[int, ...]) -> None:
    x, y = DIGITS.x_train[:300], DIGITS.y_train[:300]
    teacher, student = MLP((64, 30, 20, 10), seed=5), MLP((64, *hidden, 10), seed=1)
    history = fitnets.train(
        student,
        teacher,
        x,
        y,
        epochs=8,
        hint_epochs=6,
        optimizer=partial(Adam, lr=1e-2),
        progress=False,
        layer=0,
        teacher_layer=-1,
    )
    assert history["loss"][5] < 0.6 * history["loss"][0] and history["epoch"] == list(range(1, 9))


@pytest.mark.parametrize("seed", [100, 101])
def test_hints_of_a_wide_teacher_leave_a_narrow_layer_alive(seed: int) -> None:
    """With a regressor that starts from random weights of the usual size 15 of the 16 units die."""
    wide = MLP((64, 256, 10), dropout=(0, 0.5), seed=4)
    options = {"epochs": 15, "progress": False}
    fit(wide, DIGITS.x_train, DIGITS.y_train, loss=cross_entropy, optimizer=Adam(wide, 3e-3), **options)
    dead = []

    def count(model: MLP, history: Any) -> None:
        dead.append(int((features(model, X).max(axis=0) <= 0).sum()))

    student = student_of(seed=seed)
    fitnets.train(student, wide, X, Y, callbacks=(count,), **RECIPE)
    assert dead[3] <= 3 and errors(student) < 15


def test_mutual_learning_takes_both_steps_from_the_same_answers(device: str) -> None:
    x, y = to_device(DIGITS.x_train[:40], device), to_device(DIGITS.y_train[:40], device)
    pair, by_hand = ([MLP((64, 12, 10), seed=s, device=device) for s in (1, 2)] for _ in range(2))
    mutual.learn_together(*pair, x, y, epochs=1, batch_size=40, progress=False)
    order = to_device(np.random.default_rng((0, 0)).permutation(40), device)
    logits = [model.forward(x[order], train=True) for model in by_hand]
    for i, model in enumerate(by_hand):
        model.backward(mutual.mutual_loss(logits[i], y[order], logits[1 - i])[1])
        Adam(model).step()
        assert_close(pair[i].theta, model.theta, 1e-6)


def test_the_mean_teacher_is_the_moving_average() -> None:
    student, average = MLP((64, 5, 10), seed=1), MLP((64, 5, 10), seed=2)
    target = mean_teacher.Average(student, average, 0.6)
    x, expected, decays = DIGITS.x_train[:4], student.theta.copy(), [0.0, 0.5, 0.6, 0.6]
    for step, d in enumerate(decays):
        student.theta[...] += 0.1 * (step + 1)
        expected = d * expected + (1 - d) * student.theta
        assert_close(target(x), average.predict(x), 1e-6)
        assert_close(average.theta, expected, 1e-6)


def test_the_weight_of_a_moving_average_grows_in_over_its_share_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = recorded(monkeypatch, mean_teacher, "consistency_loss")
    x, y = DIGITS.x_train[:40], DIGITS.y_train[:40]
    mean_teacher.train(MLP((64, 8, 10)), None, x, y, epochs=8, batch_size=20, weight=10.0, ramp=0.25, progress=False)
    expected = [10 * np.exp(-5 * (1 - t) ** 2) for t in (0, 0.25, 0.5, 0.75)] + [10.0] * 12
    assert [call["weight"] for call in calls] == pytest.approx(expected)


def test_the_generators_gradient_comes_back_through_both_networks(xp: Any, device: str) -> None:
    options: Any = {"activation": "tanh", "device": device, "dtype": "float64"}
    teacher, student = MLP((6, 5, 4, 3), seed=1, dropout=0.5, **options), MLP((6, 4, 3), seed=2, **options)
    network = MLP((2, 5, 6), seed=3, **options)
    generator = data_free.Generator(network, Adam(network), teacher, student, every=1, gain=3.0, threshold=0.5)
    s = xp.array(np.random.default_rng(0).uniform(0.1, 0.9, (7, 6)))
    before = [to_numpy(model.theta).copy() for model in (teacher, student)]
    check_gradients(lambda s: generator.loss_of(s)[0], s, generator.loss_of(s)[1]).assert_ok(1e-7)
    fixed = xp.array(sample(7, 2))
    generator._noise = lambda rows, rng: fixed  # type: ignore[method-assign]
    first = network.theta.copy()
    generator.step(7, None)
    grad = network.grad.copy()

    def loss(theta: Any) -> Any:
        return generator.loss_of(generator.samples(network.forward(fixed))[0])[0]

    network.theta[...] = first
    check_gradients(loss, network.theta, grad).assert_ok(1e-7)
    for model, theta in zip((teacher, student), before, strict=True):
        assert_same_bits(model.theta, theta)


def test_made_up_samples_differ_and_come_in_all_classes(teacher: MLP, tmp_path: Path) -> None:
    student = student_of()
    data_free.train(student, teacher, X, None, checkpoint=tmp_path / "s.safetensors", **RECIPE)
    network = MLP.load(tmp_path / "s-generator.safetensors")
    generator = data_free.Generator(network, Adam(network), teacher, student)
    s = generator.samples(network.forward(sample(500, 64).astype("float32")))[0]
    assert s.min() >= 0 and s.max() <= 1 and (s.std(axis=0) > 0.1).all()
    assert (np.bincount(teacher.predict(s).argmax(axis=1), minlength=10) >= 5).all()


def test_no_image_and_no_label_is_read_while_distilling_without_data() -> None:
    teacher = MLP((64, 20, 10), seed=1)
    thetas = []
    for x in (DIGITS.x_train[:100], np.full((100, 64), np.nan)):
        student = MLP((64, 8, 10), seed=2)
        data_free.train(student, teacher, x, None, epochs=2, batch_size=25, progress=False)
        thetas.append(student.theta)
    assert_same_bits(*thetas)


def test_a_representation_is_learnt_without_labels_and_the_probe_leaves_it_alone() -> None:
    x, y = DIGITS.x_train[:200], DIGITS.y_train[:200]
    teacher, student = MLP((64, 20, 10), seed=1), MLP((64, 8, 10), seed=2)
    last = student.weights[-1].copy()
    history = self_supervised.represent(student, teacher, x, epochs=5, n_anchors=50, progress=False)
    assert history["loss"][-1] < history["loss"][0]
    assert_same_bits(student.weights[-1], last)
    hidden = student.weights[0].copy(), student.biases[0].copy()
    self_supervised.linear_probe(student, x, y, epochs=5, progress=False)
    assert_same_bits(student.weights[0], hidden[0])
    assert_same_bits(student.biases[0], hidden[1])
    assert np.abs(student.weights[-1] - last).max() > 1e-3


# ---- every method, trained --------------------------------------------------------------------------------------

X, Y = DIGITS.x_train[:400], DIGITS.y_train[:400]
RECIPE: dict[str, Any] = {"epochs": 16, "batch_size": 32, "progress": False, "optimizer": partial(Adam, lr=1e-2)}


@pytest.fixture(scope="module")
def teacher() -> MLP:
    """A good teacher of the digits."""
    model = MLP((64, 48, 32, 10), dropout=(0.0, 0.2, 0.2), seed=3)
    fit(
        model,
        DIGITS.x_train,
        DIGITS.y_train,
        loss=cross_entropy,
        epochs=15,
        optimizer=Adam(model, 1e-2),
        progress=False,
    )
    return model


def student_of(device: str = "cpu", seed: int = 100) -> MLP:
    return MLP((64, 16, 10), seed=seed, device=device)


def errors(model: MLP) -> float:
    """In percent, on validation data."""
    return 100 * float((to_numpy(model.predict(DIGITS.x_val)).argmax(axis=1) != DIGITS.y_val).mean())


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_method_teaches_leaves_the_teacher_alone_and_gives_the_same_bits_again(name: str, teacher: MLP) -> None:
    theta, students = teacher.theta.copy(), []
    for _ in range(2):
        student = student_of()
        history = METHODS[name].train(student, teacher, X, Y, **RECIPE)
        assert len(history) == 16 and np.isfinite(history["loss"]).all()
        students.append(student)
    assert_same_bits(students[0].theta, students[1].theta)
    assert_same_bits(teacher.theta, theta)
    # By chance 90. What sees no label but through 16 frozen features learns less from so little.
    assert errors(students[0]) < {"self-supervised": 45}.get(name, 25)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_both_devices_train_alike(name: str, device: str, teacher: MLP) -> None:
    if device == "cpu":
        pytest.skip("the CPU is what the other device is compared with")
    students = []
    for where in ("cpu", "cuda"):
        one = MLP(teacher.sizes, dropout=0.0, device=where)
        one.theta[...] = to_device(teacher.theta, where)
        students.append(student_of(where))
        METHODS[name].train(students[-1], one, X[:64], Y[:64], **{**RECIPE, "epochs": 2})
    assert np.isfinite(to_numpy(students[1].theta)).all()
    if name != "data-free":  # its noise is drawn on the device
        assert_close(students[1].theta, students[0].theta, 2e-3)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_run_that_was_killed_and_resumed_ends_with_the_same_bits(name: str, teacher: MLP, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(model: MLP, history: Any) -> None:
        if len(history) == 2:
            raise Killed

    whole, broken = student_of(), student_of()
    recipe = {**RECIPE, "epochs": 6}
    METHODS[name].train(whole, teacher, X, Y, **recipe)
    with pytest.raises(Killed):
        METHODS[name].train(
            broken, teacher, X, Y, **recipe, checkpoint=tmp_path / "s.safetensors", resume=True, callbacks=(kill,)
        )
    for path in tmp_path.iterdir():  # an address would be another one in the next process, and nothing could go on
        assert " at 0x" not in load_arrays(path)[1].get("training", "")
    for _ in range(2):  # the second time everything is there already
        again = student_of()
        METHODS[name].train(again, teacher, X, Y, **recipe, checkpoint=tmp_path / "s.safetensors", resume=True)
        assert_same_bits(again.theta, whole.theta)
        assert_same_bits(MLP.load(tmp_path / "s.safetensors").theta, whole.theta)


@pytest.mark.parametrize("gone", ["the peer", "nothing"])
def test_a_peer_is_kept_beside_the_student_and_read_with_it(gone: str, tmp_path: Path) -> None:
    """Without the peer's file a finished run is trained again: a peer that was never trained would be a silent lie."""
    options = {**RECIPE, "checkpoint": tmp_path / "s.safetensors", "resume": True}
    pairs = []
    for _ in range(2):
        pairs.append((student_of(), MLP((64, 20, 10), seed=4)))
        mutual.learn_together(*pairs[-1], X, Y, **options)
        if gone == "the peer":
            (tmp_path / "s-peer.safetensors").unlink()
    for first, second in zip(*pairs, strict=True):
        assert_same_bits(first.theta, second.theta)
    assert errors(pairs[0][1]) < 25


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name != "data-free"])
def test_every_method_works_on_augmented_samples(name: str, teacher: MLP) -> None:
    def shaken(x: Array, rng: Any) -> Array:
        return x + 0.05 * rng.standard_normal(x.shape).astype(x.dtype)

    plain, moved = student_of(), student_of()
    recipe = {**RECIPE, "epochs": 4}
    METHODS[name].train(plain, teacher, X, Y, **recipe)
    METHODS[name].train(moved, teacher, X, Y, **recipe, augment=shaken)
    assert np.abs(plain.theta - moved.theta).max() > 1e-3 and np.isfinite(moved.theta).all()


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if METHODS[name].weighted])
def test_strength_changes_what_is_learnt_and_the_default_is_one(name: str, teacher: MLP) -> None:
    thetas = []
    for options in ({}, {"strength": 1.0}, {"strength": 3.0}, {"strength": 0.0}):
        student = student_of()
        METHODS[name].train(student, teacher, X, Y, **{**RECIPE, "epochs": 4}, **options)
        thetas.append(student.theta)
    assert_same_bits(thetas[0], thetas[1])
    assert np.abs(thetas[0] - thetas[2]).max() > 1e-5 and np.abs(thetas[0] - thetas[3]).max() > 1e-5


FROM_LOGITS = "kd logits dkd dist standardised reverse-kl jsd skewed top-k sequence-level annealing ensemble".split()  # noqa: SIM905


@pytest.mark.parametrize("name", FROM_LOGITS)
def test_teacher_logits_may_come_from_anywhere(name: str, teacher: MLP) -> None:
    logits = teacher.predict(X)
    students = []
    options = {"n_teachers": 1} if name == "ensemble" else {}
    for source in (teacher, logits, teacher.predict, lambda x: teacher.forward(x)):
        student = student_of()
        METHODS[name].train(student, source, X, Y, **RECIPE, **options)
        students.append(student.theta)
    for theta in students[1:]:
        assert_close(theta, students[0], 1e-4)


@pytest.mark.parametrize("name", ["rkd", "sp", "pkt"])
def test_teacher_features_may_come_from_anywhere(name: str, teacher: MLP) -> None:
    one, two = student_of(), student_of()
    METHODS[name].train(one, teacher, X, Y, **RECIPE)
    METHODS[name].train(two, features(teacher, X), X, Y, **RECIPE)
    assert_same_bits(one.theta, two.theta)


def test_born_again_children_are_other_objects_with_weights_of_their_own(teacher: MLP, tmp_path: Path) -> None:
    student = student_of()
    born_again.train(student, None, X, Y, generations=2, checkpoint=tmp_path / "s.safetensors", **RECIPE)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["s-generation-0.safetensors", "s-generation-1.safetensors", "s.safetensors"]
    thetas = [MLP.load(tmp_path / name).theta for name in names]
    assert np.abs(thetas[0] - thetas[1]).max() > 0.1 and np.abs(thetas[1] - thetas[2]).max() > 0.1
    for control in ("cwtm", "dkpp"):
        other = student_of()
        born_again.train(other, None, X, Y, control=control, **RECIPE)
        assert errors(other) < 25 and np.abs(other.theta - student.theta).max() > 1e-3


def test_the_student_of_a_chain_learns_from_the_last_assistant_and_that_from_the_one_before(
    teacher: MLP, tmp_path: Path
) -> None:
    student, sizes = student_of(), [(64, 30, 10), (64, 20, 10)]
    recipe = {**RECIPE, "epochs": 4}
    assistants.train(student, teacher, X, Y, sizes=sizes, checkpoint=tmp_path / "s.safetensors", **recipe)
    first, second = (MLP.load(tmp_path / f"s-assistant-{i}.safetensors") for i in (1, 2))
    assert [first.sizes, second.sizes] == sizes
    for guide, pupil, start in ((first, second, MLP(sizes[1], seed=7919 * 2)), (second, student, student_of())):
        kd.train(start, guide, X, Y, **recipe)
        assert_same_bits(pupil.theta, start.theta)


def test_several_teachers_given_as_a_list_are_all_asked(teacher: MLP) -> None:
    other = MLP((64, 8, 10), seed=8)
    thetas = []
    for committee in ([teacher], [teacher, other], [other, teacher]):
        student = student_of()
        ensemble.train(student, committee, X, Y, **RECIPE)
        thetas.append(student.theta)
    assert np.abs(thetas[0] - thetas[1]).max() > 1e-3
    assert_close(thetas[1], thetas[2], 1e-2)


def test_the_strength_is_a_ratio() -> None:
    assert mix(0.9, 1.0) == pytest.approx(0.9)
    assert mix(0.5, 3.0) == pytest.approx(0.75)
    assert mix(0.9, 0.0) == 0.0 and mix(1.0, 2.0) == 1.0


# ---- what is refused --------------------------------------------------------------------------------------------


def test_what_cannot_be_is_refused_with_the_arguments_name(teacher: MLP) -> None:
    flat, student = MLP((64, 10)), student_of()
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: METHODS["kd"].train(student, student, X, Y), "teacher must be another network than student"),
        (lambda: METHODS["rkd"].train(student, student, X, Y), "teacher must be another network than student"),
        (lambda: METHODS["born-again"].train(student, student, X, Y), "teacher must be another network than student"),
        (lambda: METHODS["ensemble"].train(student, [student], X, Y), "teacher must not hold the student"),
        (lambda: METHODS["rkd"].train(flat, teacher, X, Y), "layer must be a hidden layer, but"),
        (lambda: METHODS["sp"].train(student, flat, X, Y), "teacher_layer must be a hidden layer, but"),
        (lambda: METHODS["pkt"].train(student, teacher, X, Y, layer=1), r"layer must be a hidden layer, -1 to 0"),
        (lambda: METHODS["pkt"].train(student, teacher, X, Y, layer="last"), "layer must be a whole number"),
        (
            lambda: METHODS["rkd"].train(student, teacher.predict, X, Y),
            "teacher must be an MLP or an array of features",
        ),
        (lambda: METHODS["rkd"].train(student, sample(3, 4), X, Y), "teacher must have 400 rows"),
        (lambda: METHODS["sp"].train(student, teacher, X, Y, batch_size=1), "batch_size must be at least 2"),
        (lambda: METHODS["dkd"].train(student, teacher, X, None), "labels must be given"),
        (lambda: METHODS["kd"].train(student, teacher, X, Y, strength=-1), "strength must be in"),
        (lambda: METHODS["dist"].train(student, teacher, X, Y, beta=-1.0), "beta must be in"),
        (lambda: METHODS["fitnets"].train(student, teacher, X, Y, epochs=1), "hint_epochs must leave"),
        (lambda: METHODS["assistants"].train(student, teacher.predict, X, Y), "teacher must be an MLP"),
        (lambda: METHODS["assistants"].train(student, teacher, X, Y, sizes=[(5, 3)]), r"sizes\[0\] must have"),
        (lambda: METHODS["data-free"].train(student, flat, X, Y), "teacher must have a hidden layer"),
        (lambda: METHODS["data-free"].train(student, teacher.predict, X, Y), "teacher must be an MLP"),
        (lambda: METHODS["data-free"].train(student, teacher, X, Y, batch_size=1), "batch_size must be at least 2"),
        (lambda: METHODS["data-free"].train(student, teacher, X, Y, gain=-1), "gain must be in"),
        (lambda: METHODS["fitnets"].train(student, teacher, X, Y, teacher_layer=2), "teacher_layer must be a hidden"),
        (lambda: METHODS["fitnets"].train(student, teacher, X, Y, layer=1), "layer must be a hidden layer, -1 to 0"),
        (lambda: METHODS["rkd"].train(student, MLP((5, 4, 10)), X, Y), "teacher takes 5 inputs"),
        (lambda: features(teacher, X[:, :5]), "x must have 64 columns"),
        (lambda: self_supervised.similarity_loss(FEATURES, THEIRS, anchors=ANCHORS), "must have 7 columns"),
        (lambda: self_supervised.similarity_loss(FEATURES, HINTS, anchors=THEIRS), "anchors must have 7 columns"),
        (lambda: METHODS["data-free"].train(student, teacher, X, Y, augment=len), "augment must be left out"),
        (lambda: METHODS["self-supervised"].train(student, teacher, X, Y, epochs=1), "probe_epochs must leave"),
        (lambda: METHODS["born-again"].train(student, None, X, Y, control="x"), "control must be one of"),
        (lambda: mutual.learn_together(student, student, X, Y), "peer must be another network"),
        (lambda: fitnets.hint_loss(FEATURES, THEIRS), "teacher_features must have 7 columns"),
        (lambda: rkd.rkd_loss(FEATURES, THEIRS[:3]), "teacher_features must have 6 rows"),
        (lambda: logit_matching.matching_loss(LOGITS, None, TEACHER), "labels may be None only with soft_weight 1"),
        (lambda: dist.dist_loss(LOGITS, LABELS, TEACHER[:, :3]), "teacher_logits must have 5 columns"),
        (lambda: reverse_kl.reverse_kl_loss(LOGITS, LABELS, TEACHER[:3]), "teacher_logits must have 6 rows"),
        (lambda: reverse_kl.reverse_kl_loss(LOGITS, None, TEACHER), "labels may be None only with soft_weight 1"),
        (lambda: skewed.skewed_loss(LOGITS, LABELS, TEACHER, alpha=1.0), r"alpha must be in \[0, 1\), got 1.0"),
        (
            lambda: skewed.skewed_loss(LOGITS, LABELS, TEACHER, direction="up"),
            "direction must be one of forward, reverse",
        ),
        (lambda: top_k.top_k_loss(LOGITS, LABELS, TEACHER, k=0), "k must be at least 1"),
        (lambda: top_k.top_k_loss(LOGITS, LABELS, TEACHER, rest="x"), "rest must be one of rest, renormalised, cut"),
        (lambda: sequence_level.drawn_loss(LOGITS, TEACHER[:, :3], UNIFORM), "teacher_logits must have 5 columns"),
        (lambda: estimators.estimator_loss(LOGITS, TEACHER, LABELS + 9, "k1"), r"labels must be integers in \[0, 5\)"),
        (lambda: METHODS["on-policy"].train(student, teacher, X, Y), r"x must be the contexts of load_data"),
    ]
    for call, message in refused:
        with pytest.raises((ValueError, TypeError), match=message):
            call()


# ---- answers in a file ------------------------------------------------------------------------------------------


def test_answers_are_asked_once_and_looked_up_by_index(tmp_path: Path, teacher: MLP, device: str) -> None:
    path, model = tmp_path / "answers.npy", MLP.from_arrays({"theta": teacher.theta}, teacher.metadata(), device, "t")
    first = answers.cached_logits(path, model, X)
    assert_close(first, to_numpy(model.predict(X)), 1e-6)
    before = path.read_bytes()
    assert_same_bits(answers.cached_logits(path, model, X), first)
    assert_same_bits(answers.read_logits(path, X), first)
    assert path.read_bytes() == before and isinstance(first, np.ndarray)
    student, other = student_of(), student_of()
    kd.train(student, first, X, Y, **RECIPE)
    kd.train(other, to_numpy(model.predict(X)), X, Y, **RECIPE)
    assert_same_bits(student.theta, other.theta)


def test_a_function_is_asked_again_about_a_few_rows_only(tmp_path: Path, teacher: MLP) -> None:
    asked = []

    def function(x: Array) -> Array:
        asked.append(len(x))
        return teacher.predict(x)

    for _ in range(2):
        answers.cached_logits(tmp_path / "a.npy", function, X)
    assert asked == [len(X), 16]


@pytest.mark.parametrize("what", ["another teacher", "another function", "shuffled", "other samples", "edited", "short",
                                  "no stamp", "damaged stamp", "pickled", "no matrix"])  # fmt: skip
def test_a_stale_shuffled_or_damaged_file_is_an_error(what: str, tmp_path: Path, teacher: MLP) -> None:
    path, asked, x = tmp_path / "answers.npy", teacher, X
    logits = answers.cached_logits(path, teacher.predict if what == "another function" else teacher, X)
    message = r"answers\.npy"
    if what.startswith("another"):
        other = MLP(teacher.sizes, seed=9)
        asked = other.predict if what == "another function" else other
        message = "delete it to ask"
    elif what == "shuffled":
        x = X[::-1]
        message = "about other samples than x, or in another order"
    elif what == "other samples":
        x = X[:-1]
    elif what == "edited":
        np.save(path, logits[::-1])
        message = "has changed since it was stamped"
    elif what == "short":
        path.write_bytes(path.read_bytes()[:-9])
    elif what == "no stamp":
        Path(f"{path}.json").unlink()
        message = r"call minikd\.scale\.answers\.stamp once"
    elif what == "damaged stamp":
        Path(f"{path}.json").write_text("[")
    elif what == "pickled":
        np.save(path, np.array([[object()]]), allow_pickle=True)
    else:
        np.save(path, np.arange(3.0))
        message = r"holds float64 of shape \(3,\), wanted logits \(N, K\)"
    with pytest.raises(CheckpointError, match=message):
        answers.cached_logits(path, asked, x)


def test_a_file_of_another_framework_is_stamped_once(tmp_path: Path, teacher: MLP) -> None:
    path = tmp_path / "theirs.npy"
    np.save(path, teacher.predict(X).astype(np.float64))
    answers.stamp(path, X, "a network of torch's")
    assert_close(answers.read_logits(path, X), teacher.predict(X), 1e-7)
    with pytest.raises(ValueError, match="must have 399 rows"):
        answers.stamp(path, X[1:], "a network of torch's")
    np.save(path, np.full((400, 10), np.nan))
    with pytest.raises(ValueError, match="must be finite"):
        answers.stamp(path, X, "a network of torch's")
