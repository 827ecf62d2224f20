"""Solutions of E1 to E10, in plain NumPy."""

import numpy as np


def log_softmax(z, T):
    """E1."""
    z = (z - z.max(axis=1, keepdims=True)) / T
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def affine_relu_forward(x, W, b):
    """E2."""
    return np.maximum(x @ W + b, 0)


def affine_relu_backward(dh, x, W, b):
    """E2."""
    da = dh * (x @ W + b > 0)
    return da @ W.T, x.T @ da, da.sum(axis=0)


def cross_entropy(z, y):
    """E3."""
    rows = np.arange(len(z))
    logp = log_softmax(z, 1.0)
    dz = np.exp(logp)
    dz[rows, y] -= 1
    return -logp[rows, y].mean(), dz / len(z)


def _kl(zs, zt, T):
    logp, logq = log_softmax(zs, T), log_softmax(zt, T)
    p, q = np.exp(logp), np.exp(logq)
    return T**2 * (q * (logq - logp)).sum(axis=1), T * (p - q)


def kd_loss(zs, zt, T):
    """E4."""
    loss, dz = _kl(zs, zt, T)
    return loss.mean(), dz / len(zs)


def kd_total(zs, zt, y, T, soft_weight, sample_weight):
    """E5."""
    total = sample_weight.sum()
    if total == 0:
        return 0.0, np.zeros_like(zs)
    rows = np.arange(len(zs))
    logp = log_softmax(zs, 1.0)
    hard, dhard = -logp[rows, y], np.exp(logp)
    dhard[rows, y] -= 1
    soft, dsoft = _kl(zs, zt, T)
    s = sample_weight / total
    loss = (s * ((1 - soft_weight) * hard + soft_weight * soft)).sum()
    return loss, s[:, None] * ((1 - soft_weight) * dhard + soft_weight * dsoft)


def _forward(params, x):
    inputs = []
    for i, (W, b) in enumerate(params):
        inputs.append(x)
        x = x @ W + b
        if i < len(params) - 1:
            x = np.maximum(x, 0)
    return x, inputs


def _backward(params, inputs, dz):
    gradients = []
    for (W, _), x in zip(reversed(params), reversed(inputs), strict=True):
        gradients.insert(0, (x.T @ dz, dz.sum(axis=0)))
        dz = (dz @ W.T) * (x > 0)
    return gradients


def mlp_gradients(params, x, dz):
    """E6."""
    return _backward(params, _forward(params, x)[1], dz)


def numerical_gradient(f, x, h):
    """E7."""
    x, gradient = x.copy(), np.zeros_like(x)
    for i in np.ndindex(x.shape):
        old = x[i]
        x[i] = old + h
        above = f(x)
        x[i] = old - h
        gradient[i] = (above - f(x)) / (2 * h)
        x[i] = old
    return gradient


def distill(params, x, teacher_logits, T, lr, batches):
    """E8."""
    for rows in batches:
        z, inputs = _forward(params, x[rows])
        gradients = _backward(params, inputs, kd_loss(z, teacher_logits[rows], T)[1])
        params = [(W - lr * dW, b - lr * db) for (W, b), (dW, db) in zip(params, gradients, strict=True)]
    return params


def mutual_gradients(z1, z2, y, T):
    """E9."""
    return cross_entropy(z1, y)[1] + kd_loss(z1, z2, T)[1], cross_entropy(z2, y)[1] + kd_loss(z2, z1, T)[1]


def generator_input_gradient(teacher, student, x, T):
    """E10."""
    (v, to_teacher), (z, to_student) = _forward(teacher, x), _forward(student, x)
    logq, logp = log_softmax(v, T), log_softmax(z, T)
    q = np.exp(logq)
    row = logq - logp
    dv = T * q * (row - (q * row).sum(axis=1, keepdims=True)) / len(x)
    dx = np.zeros_like(x)
    for params, inputs, d in ((teacher, to_teacher, dv), (student, to_student, kd_loss(z, v, T)[1])):
        for i in reversed(range(len(params))):
            d = d @ params[i][0].T
            if i:
                d = d * (inputs[i] > 0)
        dx += d
    return dx
