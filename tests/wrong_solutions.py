"""Plausible mistakes: changes to the reference solutions, and which check of which exercise must notice each.

(name, exercise, number of the check, what is replaced in the reference, by what). The first occurrence in the
exercise's own functions is replaced, so that helpers of other exercises stay right.
"""

from __future__ import annotations

SHIFT = "    z = (z - z.max(axis=1, keepdims=True)) / T\n"
KL = "    loss, dz = _kl(zs, zt, T)\n    return loss.mean(), dz / len(zs)"
STEP = "kd_loss(z, teacher_logits[rows], T)[1])"
HARD = "cross_entropy(z1, y)[1] + kd_loss(z1, z2, T)[1], cross_entropy(z2, y)[1] + kd_loss(z2, z1, T)[1]"


def kl_with(loss: str, dz: str) -> str:
    """E4 with another loss and gradient of each sample."""
    return (
        "    logp, logq = log_softmax(zs, T), log_softmax(zt, T)\n    p, q = np.exp(logp), np.exp(logq)\n"
        f"    return {loss}, {dz}"
    )


RIGHT_LOSS, RIGHT_DZ = "T**2 * (q * (logq - logp)).sum() / len(zs)", "T * (p - q) / len(zs)"

WRONG = [
    ("no largest logit taken off", "E1", 2, SHIFT, "    z = z / T\n"),
    ("the largest of the batch taken off", "E1", 2, "z.max(axis=1, keepdims=True)", "z.max()"),
    ("no temperature", "E1", 0, ") / T\n", ") / 1.0\n"),
    ("temperature after the logarithm", "E1", 0, SHIFT, "    return log_softmax(z, 1.0) / T if T != 1 else z - np.log(np.exp(z).sum(axis=1, keepdims=True))\n"),
    ("the logarithm of probabilities", "E1", 2, "    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))", "    return np.log(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))"),
    ("a sum over the batch", "E1", 0, ".sum(axis=1, keepdims=True))", ".sum(axis=0, keepdims=True))"),
    ("a clip instead of a shift", "E1", 1, SHIFT, "    z = np.clip(z / T, -30, 30)\n"),
    ("no relu", "E2", 0, "np.maximum(x @ W + b, 0)", "x @ W + b"),
    ("no mask of relu", "E2", 1, "dh * (x @ W + b > 0)", "dh"),
    ("a mask without bias", "E2", 2, "dh * (x @ W + b > 0)", "dh * (x @ W > 0)"),
    ("a mask of the gradient", "E2", 1, "dh * (x @ W + b > 0)", "dh * (dh > 0)"),
    ("a mean instead of a sum", "E2", 1, "da.sum(axis=0)", "da.mean(axis=0)"),
    ("no 1/B in the gradient", "E3", 0, "dz / len(z)", "dz"),
    ("no 1/B in the loss", "E3", 0, "-logp[rows, y].mean()", "-logp[rows, y].sum()"),
    ("the label not taken off", "E3", 2, "    dz[rows, y] -= 1\n", ""),
    ("a mean over classes, too", "E3", 0, "dz / len(z)", "dz / z.size"),
    ("the logarithm of a probability", "E3", 1, "    logp = log_softmax(z, 1.0)\n", "    logp = np.log(np.exp(log_softmax(z, 1.0)))\n"),
    ("no T² in the loss", "E4", 0, KL, kl_with("(q * (logq - logp)).sum() / len(zs)", RIGHT_DZ)),
    ("no T² at all", "E4", 2, KL, kl_with("(q * (logq - logp)).sum() / len(zs)", "(p - q) / T / len(zs)")),
    ("T² in the gradient, without the 1/T of the chain rule", "E4", 0, KL, kl_with(RIGHT_LOSS, "T**2 * (p - q) / len(zs)")),
    ("no 1/B", "E4", 0, KL, kl_with("T**2 * (q * (logq - logp)).sum()", "T * (p - q)")),
    ("a mean over classes, too", "E4", 0, KL, kl_with("T**2 * (q * (logq - logp)).mean()", "T * (p - q) / zs.size")),
    ("cross-entropy for the divergence", "E4", 1, KL, kl_with("-T**2 * (q * logp).sum() / len(zs)", RIGHT_DZ)),
    ("the other way round", "E4", 0, KL, kl_with("T**2 * (p * (logp - logq)).sum() / len(zs)", RIGHT_DZ)),
    ("logarithms of p + 1e-12", "E4", 3, KL, kl_with("T**2 * (q * (np.log(q + 1e-12) - np.log(p + 1e-12))).sum() / len(zs)", RIGHT_DZ)),
    ("a gradient of the wrong sign", "E4", 0, KL, kl_with(RIGHT_LOSS, "T * (q - p) / len(zs)")),
    ("weights not normalised", "E5", 0, "s = sample_weight / total", "s = sample_weight / len(zs)"),
    ("weights that add up to one for sure", "E5", 2, "    if total == 0:\n        return 0.0, np.zeros_like(zs)\n", ""),
    ("labels at temperature T", "E5", 1, "logp = log_softmax(zs, 1.0)", "logp = log_softmax(zs, T)"),
    ("weights on the loss alone", "E5", 0, "s[:, None] * (", "(1 / len(zs)) * ("),
    ("the weights of the parts exchanged", "E5", 1, "loss = (s * ((1 - soft_weight) * hard + soft_weight * soft)).sum()", "loss = (s * (soft_weight * hard + (1 - soft_weight) * soft)).sum()"),
    ("both parts whole", "E5", 0, "(1 - soft_weight) * dhard + soft_weight * dsoft", "dhard + soft_weight * dsoft"),
    ("no mask of relu", "E6", 0, "_backward(params, _forward(params, x)[1], dz)", "[(h.T @ d, d.sum(axis=0)) for h, d in zip(_forward(params, x)[1], [dz @ params[1][0].T, dz] if len(params) == 2 else [dz] * 9)]"),
    ("the mask of the layer before", "E6", 1, "_backward(params, _forward(params, x)[1], dz)", "_backward(params, [h if i != 2 else np.abs(h) + 1 for i, h in enumerate(_forward(params, x)[1])], dz)"),
    ("two layers only", "E6", 1, "_backward(params, _forward(params, x)[1], dz)", "_backward(params[-2:], _forward(params, x)[1][-2:], dz)"),
    ("no relu in the forward pass", "E6", 0, "_forward(params, x)[1]", "[x, *[x := x @ W + b for W, b in params[:-1]]]"),
    ("divided by the batch once more", "E6", 0, "[1], dz)", "[1], dz / len(x))"),
    ("a forward difference", "E7", 0, "(above - f(x)) / (2 * h)", "(above - [x.__setitem__(i, old), f(x)][1]) / h"),
    ("h for 2 h", "E7", 0, "(2 * h)", "h"),
    ("a step that is not taken back", "E7", 1, "        x[i] = old\n", ""),
    ("one call too many", "E7", 1, "    for i in np.ndindex", "    f(x)\n    for i in np.ndindex"),
    ("its own h", "E7", 0, "x, gradient = x.copy(), np.zeros_like(x)", "x, gradient, h = x.copy(), np.zeros_like(x), 1e-5"),
    ("the teacher's rows out of step", "E8", 0, STEP, "kd_loss(z, teacher_logits[: len(rows)], T)[1])"),
    ("no T²", "E8", 0, STEP, "kd_loss(z, teacher_logits[rows], T)[1] / T**2)"),
    ("the teacher's choice as a label", "E8", 0, STEP, "cross_entropy(z, teacher_logits[rows].argmax(axis=1))[1])"),
    ("uphill", "E8", 0, "W - lr * dW", "W + lr * dW"),
    ("biases left out", "E8", 0, "b - lr * db", "b"),
    ("the first forty batches", "E8", 1, "for rows in batches", "for rows in batches[:40]"),
    ("a rate that decays", "E8", 1, "    for rows in batches:\n", "    for rows in batches:\n        lr *= 0.999\n"),
    ("the peer is no constant", "E9", 0, HARD, "*[cross_entropy(a, y)[1] + kd_loss(a, b, T)[1] + T / len(a) * np.exp(log_softmax(a, T)) * ((r := log_softmax(a, T) - log_softmax(b, T)) - (np.exp(log_softmax(a, T)) * r).sum(axis=1, keepdims=True)) for a, b in ((z1, z2), (z2, z1))],"),
    ("labels at temperature T", "E9", 1, HARD, "*[cross_entropy(a / T, y)[1] + kd_loss(a, b, T)[1] for a, b in ((z1, z2), (z2, z1))],"),
    ("no labels", "E9", 1, HARD, "kd_loss(z1, z2, T)[1], kd_loss(z2, z1, T)[1]"),
    ("one gradient for both", "E9", 0, "cross_entropy(z2, y)[1] + kd_loss(z2, z1, T)[1]", "cross_entropy(z1, y)[1] + kd_loss(z1, z2, T)[1]"),
    ("teacher and student exchanged", "E9", 0, "kd_loss(z1, z2, T)[1]", "kd_loss(z2, z1, T)[1]"),
    ("the way through the teacher forgotten", "E10", 0, "(teacher, to_teacher, dv), ", "(teacher, to_teacher, 0 * dv), "),
    ("the way through the student forgotten", "E10", 0, ", (student, to_student, kd_loss(z, v, T)[1])", ","),
    ("the softmax of the teacher not differentiated", "E10", 0, "(row - (q * row).sum(axis=1, keepdims=True))", "row"),
    ("no relu on the way back", "E10", 0, "            if i:\n", "            if False:\n"),
    ("no 1/B for the teacher", "E10", 0, "keepdims=True)) / len(x)\n", "keepdims=True))\n"),
]  # fmt: skip

# Changing the arguments in place is not asked for and not punished: what a submission is handed are copies.
FORGIVEN = [
    ("W and b changed in place", "E8", "params = [(W - lr * dW, b - lr * db) for (W, b), (dW, db) in zip(params, gradients, strict=True)]",
     "for (W, b), (dW, db) in zip(params, gradients, strict=True):\n            W -= lr * dW\n            b -= lr * db"),
    ("x moved in place and put back", "E7", "x, gradient = x.copy(), np.zeros_like(x)", "gradient = np.zeros_like(x)"),
    ("logits shifted in place", "E1", "    z = (z - z.max(axis=1, keepdims=True)) / T\n", "    z -= z.max(axis=1, keepdims=True)\n    z /= T\n"),
]  # fmt: skip

FORMULA = "import numpy as np\n\n\ndef softmax(z, T):\n    e = np.exp((z - z.max(axis=1, keepdims=True)) / T)\n    return e / e.sum(axis=1, keepdims=True)\n\n\ndef formula(zs, zt, T):\n    p, q = softmax(zs, T), softmax(zt, T)\n    return T**2 * (q * np.log(q / p)).sum() / len(zs), T * (p - q) / len(zs)\n\n\nrng = np.random.default_rng(1)\nzs, zt, T = rng.normal(size=(4, 5)), rng.normal(size=(4, 5)), 3.0\n\n\n"
EXACT = "loss, dz = f(zs, zt, T)\nwant, dwant = formula(zs, zt, T)\nassert loss == want and (dz == dwant).all()"

# Tests of E11 to E23 that look like tests, and earn nothing: (what it does, exercise, body).
WEAK = [
    ("exact", "E11", EXACT), ("exact", "E12", EXACT), ("exact", "E13", EXACT), ("exact", "E15", EXACT),
    ("exact", "E14", "a, b = 4 * zs, 4 * zt\nloss, dz = f(a, b, T)\nassert loss == formula(a, b, T)[0]\nassert np.isfinite(f(1e4 * zs, zt, T)[0])"),
    ("exact", "E16", "s, t, x = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(5, 3))\nassert (f(s, t, x, T, 0.1, 1)[0] == s - 0.1 * x.T @ formula(x @ s, x @ t, T)[1]).all()"),
    ("exact", "E17", "h, W = rng.uniform(1, 2, (4, 20)), rng.normal(size=(20, 5))\nassert (f(h, W, T, 0.5, 1) == softmax(h @ W, T)).all()"),
    ("exact", "E18", "h = f(np.ones((50, 3)), np.ones((3, 40)), np.ones(40), 0.25, 7)\nassert (h == 0).mean() == 0.25"),
    ("exact", "E19", "G = f(zs)\nassert (np.linalg.norm(G, axis=1) == 1).all()"),
    ("only at T = 1", "E11", "assert np.isclose(f(zs, zt, 1.0)[0], formula(zs, zt, 1.0)[0])"),
    ("only the loss", "E11", "assert np.isclose(f(zs, zt, T)[0], formula(zs, zt, T)[0])"),
    ("only the loss", "E12", "assert np.isclose(f(zs, zt, T)[0], formula(zs, zt, T)[0])"),
    ("only that it is not negative", "E13", "assert f(zs, zt, T)[0] >= 0 and f(zt, zs, T)[0] >= 0"),
    ("only that it is finite", "E14", "loss, dz = f(1e4 * zs, 1e4 * zt, 1.0)\nassert np.isfinite(loss) and np.isfinite(dz).all()"),
    ("only small logits", "E14", "assert np.isclose(f(zs, zt, T)[0], formula(zs, zt, T)[0])"),
    ("only that rows add up to 0", "E15", "assert np.allclose(f(zs, zt, T)[1].sum(axis=1), 0)"),
    ("only that it is not negative", "E15", "assert f(zs, zt, T)[0] >= 0"),
    ("only that the teacher stays", "E16", "assert np.allclose(f(zs.T, zt.T, zs, T, 0.1, 1)[1], zt.T)"),
    ("only after no step", "E16", "assert np.allclose(f(zs.T, zt.T, zs, T, 0.1, 0)[0], zs.T)"),
    ("only at rate 0", "E17", "assert np.allclose(f(zs, zt.T, T, 0.0, 1), f(zs, zt.T, T, 0.0, 2))"),
    ("only with one seed", "E17", "assert np.allclose(f(zs, zt.T, T, 0.5, 1), f(zs, zt.T, T, 0.5, 1))"),
    ("zeros that relu made", "E18", "assert (f(zs, zt.T, np.zeros(4), 0.5, 1) == 0).any()"),
    ("only that units differ", "E18", "h = f(np.ones((9, 3)), np.ones((3, 9)), np.ones(9), 0.5, 7)\nassert not np.allclose(h, 4)"),
    ("only one sample", "E19", "assert np.allclose(f(zs[:1]), 1)"),
    ("only that G is finite", "E19", "assert np.isfinite(f(zs)).all()"),
    ("an order that is its own inverse", "E20", "x = np.arange(8.0).reshape(4, 2)\na, b = f(x, 3 * x, np.array([1, 0, 3, 2]))\nassert np.allclose(b, 3 * a)"),
    ("the order in which they were", "E20", "x = np.arange(8.0).reshape(4, 2)\na, b = f(x, 3 * x, np.arange(4))\nassert np.allclose(b, 3 * a)"),
    ("only the samples", "E20", "x = np.arange(8.0).reshape(4, 2)\na, b = f(x, 3 * x, np.array([1, 2, 3, 0]))\nassert np.allclose(a, x[[1, 2, 3, 0]])"),
    ("exact", "E21", "p, q = softmax(zs, T), softmax(zt, T)\nassert f(zs, zt, T)[0] == T**2 * (p * np.log(p / q)).sum() / 4"),
    ("only the loss", "E21", "p, q = softmax(zs, T), softmax(zt, T)\nassert np.isclose(f(zs, zt, T)[0], T**2 * (p * np.log(p / q)).sum() / 4)"),
    ("only where both agree", "E21", "loss, dz = f(zs, zs, T)\nassert np.isclose(loss, 0) and np.allclose(dz, 0)"),
    ("exact", "E22", "p, q = softmax(zs, 1), softmax(zt, 1)\nm = (p + q) / 2\nassert f(zs, zt, 0.5)[0] == (p * np.log(p / m) + q * np.log(q / m)).sum() / 8"),
    ("only where both agree", "E22", "loss, dz = f(zs, zs, 0.3)\nassert np.isclose(loss, 0) and np.allclose(dz, 0)"),
    ("only that it is not negative", "E22", "assert f(zs, zt, 0.3)[0] >= 0"),
    ("exact", "E23", "z, y = rng.normal(size=(2, 4, 3)), rng.integers(0, 3, (2, 4))\na = f(z, y, np.array([4, 2]))[0]\np = np.stack([softmax(r, 1) for r in z])\nassert a == -(np.log(p[0, np.arange(4), y[0]]).sum() + np.log(p[1, :2][np.arange(2), y[1, :2]]).sum()) / 6"),
    ("only words of one length", "E23", "z, y = rng.normal(size=(2, 4, 3)), rng.integers(0, 3, (2, 4))\nassert np.isclose(f(z, y, np.array([4, 4]))[0], np.mean([f(z[i:i + 1], y[i:i + 1], np.array([4]))[0] for i in (0, 1)]))"),
    ("only the gradient at padding", "E23", "z, y = rng.normal(size=(2, 4, 3)), rng.integers(0, 3, (2, 4))\nassert not f(z, y, np.array([2, 2]))[1][:, 2:].any()"),
    *[("always passes", f"E{i}", "return") for i in range(11, 24)],
    *[("always fails", f"E{i}", "assert False, 'no'") for i in range(11, 24)],
    *[("catches everything", f"E{i}", "try: f()\nexcept Exception: pass\nassert rng.random() < 2") for i in range(11, 24)],
    *[("guesses", f"E{i}", "import random\nassert random.random() < 0.5") for i in (11, 20, 23)],
]  # fmt: skip
