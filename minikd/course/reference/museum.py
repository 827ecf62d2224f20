"""Solutions of E11 to E23."""

import numpy as np


def softmax(z, T=1.0):
    """(B, K) -> (B, K)"""
    e = np.exp((z - z.max(axis=1, keepdims=True)) / T)
    return e / e.sum(axis=1, keepdims=True)


def formula(zs, zt, T):
    """Loss and gradient of E4, for moderate logits."""
    p, q = softmax(zs, T), softmax(zt, T)
    return T**2 * (q * np.log(q / p)).sum() / len(zs), T * (p - q) / len(zs)


def equals_formula(kd_loss, T=3.0):
    """Compare loss and gradient with the formula, on an example."""
    rng = np.random.default_rng(1)
    zs, zt = rng.normal(size=(4, 5)) * 2, rng.normal(size=(4, 5)) * 2
    loss, dz = kd_loss(zs, zt, T)
    want, dwant = formula(zs, zt, T)
    assert np.isclose(loss, want, rtol=1e-8), "the loss"
    assert np.allclose(dz, dwant, rtol=1e-8, atol=1e-12), "the gradient"


def test_e11(kd_loss):
    """E11."""
    equals_formula(kd_loss, T=5.0)


def test_e12(kd_loss):
    """E12."""
    equals_formula(kd_loss, T=1.0)


def test_e13(kd_loss):
    """E13."""
    equals_formula(kd_loss)


def test_e14(kd_loss):
    """E14."""
    loss, dz = kd_loss(np.array([[1e4, 0.0]]), np.zeros((1, 2)), 1.0)
    assert np.isfinite(loss) and np.isfinite(dz).all()
    assert np.isclose(loss, 5e3 - np.log(2)), "half of 1e4, minus the teacher's entropy"
    loss, _ = kd_loss(np.array([[0.0, 0.0]]), np.array([[1e4, -1e4]]), 1.0)
    assert np.isclose(loss, np.log(2))


def test_e15(kd_loss):
    """E15."""
    equals_formula(kd_loss)


def test_e16(distill):
    """E16."""
    rng = np.random.default_rng(2)
    student, teacher, x = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(5, 3))
    after, teacher_after = distill(student, teacher, x, 2.0, 0.1, 1)
    assert np.allclose(teacher_after, teacher), "the teacher stays as it is"
    assert np.allclose(after, student - 0.1 * x.T @ formula(x @ student, x @ teacher, 2.0)[1])


def test_e17(soft_targets):
    """E17."""
    rng = np.random.default_rng(3)
    h, W = rng.uniform(1, 2, size=(4, 20)), rng.normal(size=(20, 5))
    assert np.allclose(soft_targets(h, W, 2.0, 0.5, 1), soft_targets(h, W, 2.0, 0.5, 2))


def test_e18(student_hidden):
    """E18."""
    h = student_hidden(np.ones((50, 3)), np.ones((3, 40)), np.ones(40), 0.25, 7)
    assert 0.15 < (h == 0).mean() < 0.35
    assert np.allclose(h[h != 0], 4 / 0.75)


def test_e19(similarity):
    """E19."""
    G = similarity(np.random.default_rng(4).normal(size=(5, 3)))
    assert np.allclose((G * G).sum(axis=1), 1)


def test_e20(epoch):
    """E20."""
    x, W = np.arange(12.0).reshape(4, 3), np.random.default_rng(5).normal(size=(3, 2))
    shown, targets = epoch(x, x @ W, np.array([1, 2, 3, 0]))
    assert np.allclose(shown, x[[1, 2, 3, 0]])
    assert np.allclose(targets, shown @ W)


def test_e21(reverse_kl):
    """E21."""
    rng = np.random.default_rng(6)
    zs, zt, T = rng.normal(size=(4, 5)) * 2, rng.normal(size=(4, 5)) * 2, 2.0
    p, q = softmax(zs, T), softmax(zt, T)
    ratio = np.log(p / q)
    rows = (p * ratio).sum(axis=1, keepdims=True)
    loss, dz = reverse_kl(zs, zt, T)
    assert np.isclose(loss, T**2 * rows.mean()), "the loss"
    assert np.allclose(dz, T * p * (ratio - rows) / 4), "the gradient"


def test_e22(jsd):
    """E22."""
    rng = np.random.default_rng(7)
    zs, zt, beta = rng.normal(size=(3, 4)) * 2, rng.normal(size=(3, 4)) * 2, 0.3
    p, q = softmax(zs), softmax(zt)
    m = beta * q + (1 - beta) * p
    loss, dz = jsd(zs, zt, beta)
    assert np.isclose(loss, (beta * q * np.log(q / m) + (1 - beta) * p * np.log(p / m)).sum() / 3), "the loss"
    ratio = (1 - beta) * np.log(p / m)
    assert np.allclose(dz, p * (ratio - (p * ratio).sum(axis=1, keepdims=True)) / 3), "the gradient"


def test_e23(letter_loss):
    """E23."""
    rng = np.random.default_rng(8)
    z, y, lengths = rng.normal(size=(2, 4, 3)), rng.integers(0, 3, (2, 4)), np.array([3, 2])
    loss, dz = letter_loss(z, y, lengths)
    longer, d = letter_loss(
        np.concatenate([z, rng.normal(size=(2, 2, 3))], axis=1), np.pad(y, ((0, 0), (0, 2))), lengths
    )
    assert np.isclose(loss, longer) and np.allclose(dz, d[:, :4]), "more padding changes nothing"
    assert not dz[0, 3:].any() and not dz[1, 2:].any() and dz[0, :3].any(), "padding has no gradient"
    alone = [letter_loss(z[i : i + 1, :n], y[i : i + 1, :n], lengths[i : i + 1])[0] for i, n in enumerate(lengths)]
    assert np.isclose(loss, (3 * alone[0] + 2 * alone[1]) / 5), "every letter counts the same"
