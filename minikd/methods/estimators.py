"""Estimating KL(p || q) from samples: the best estimator to report, and the best to train with (Schulman 2020).

This file is not a method. With a large model one seldom sums over all possible outputs. One draws x ~ p, from the
student, and has two numbers, p(x) and q(x). With the ratio r = q(x) / p(x) and its logarithm l = log r there are three
usual estimators of KL(p || q) = -E l::

              value          mean                            variance, where p is near q
    k1        -l             KL                              Var l ≈ 2 KL, of second order in p - q, as KL itself
    k2        l² / 2         KL + third order in p - q       of fourth order
    k3        r - 1 - l      KL, since E r = Σ q = 1         of fourth order: r - 1, of mean 0, cancels the first order

k2 and k3 are never negative, because l ≤ r - 1. k3 is unbiased and has a small variance, so it is the one to report.
(If p and q are far apart, r is heavy-tailed, and k1 is better.)

As a loss. It is tempting to train with the estimator that is good to report. But the samples are held fixed when the
loss is differentiated, so the mean of the gradients is not the gradient of the mean. With k = f(l) and dl/dz_j = -d log
p_x/dz_j = -([x = j] - p_j) at T = 1, the gradient of one sample is -f'(l) ([x = j] - p_j). Its mean is::

    Σ_x -f'(l_x) p_x ([x = j] - p_j)  =  -p_j f'(l_j) + p_j Σ_x p_x f'(l_x)

    k1   f' = -1       p_j - p_j = 0                                        nothing is learnt
    k2   f' = l        p_j (-l_j + Σ p l) = p_j (log(p_j/q_j) - KL(p||q))   the gradient of the REVERSE KL
    k3   f' = r - 1    -(q_j - p_j) + p_j Σ_x (q_x - p_x) = p_j - q_j       the gradient of the FORWARD KL

So the biased k2 trains the divergence that k1 and k3 measure. The unbiased k3 trains another one, KL(q || p).

Source: J. Schulman 2020, "Approximating KL divergence", joschu.net/blog/kl-approx.html, for the values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import Array, xp_of
from ..checks import check_choice, check_classes, check_matrix, check_soft
from ..ops import log_softmax
from .linear_algebra import as_float

# The value f(l) of each, l = log q(x) - log p(x), and its slope f'(l).
ESTIMATORS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "k1": (lambda l: -l, lambda l: -xp_of(l).ones_like(l)),
    "k2": (lambda l: l * l / 2, lambda l: l),
    "k3": (lambda l: xp_of(l).expm1(l) - l, lambda l: xp_of(l).expm1(l)),
}


def moments(logits: Array, teacher_logits: Array, name: str) -> tuple[Array, Array]:
    """Mean and variance of an estimator over x ~ p, exactly, by a sum over all classes.  (B, K), (B, K) -> (B,), (B,)

    ValueError for a name that is not k1, k2 or k3.
    """
    logp, l = _log_ratio(logits, teacher_logits, name)
    p, k = xp_of(logp).exp(logp), ESTIMATORS[name][0](l)
    mean = (p * k).sum(axis=1)
    return mean, (p * (k - mean[:, None]) ** 2).sum(axis=1)


def estimator_loss(logits: Array, teacher_logits: Array, drawn: Array, name: str) -> tuple[Any, Array]:
    """The mean of an estimator over samples x ~ p, and its derivative with the samples held fixed.

    logits, teacher_logits (B, K), and drawn (B,), the class x of each row -> L, dlogits (B, K). ValueError and
    TypeError for a name that is not k1, k2 or k3 and for classes that do not fit.
    """
    logp, l = _log_ratio(logits, teacher_logits, name)
    xp, (value, slope) = xp_of(logp), ESTIMATORS[name]
    i, drawn = xp.arange(len(logp)), check_classes(drawn, logp)
    at = l[i, drawn]  # (B,)
    towards = -xp.exp(logp)
    towards[i, drawn] += 1  # [x = j] - p_j
    return value(at).mean(), -slope(at)[:, None] * towards / len(logp)


def _log_ratio(logits: Array, teacher_logits: Array, name: str) -> tuple[Array, Array]:
    """log p and l = log q - log p, for every class.  (B, K), (B, K) -> (B, K), (B, K)"""
    check_choice("name", name, ESTIMATORS)
    logits = check_matrix("logits", logits)
    teacher_logits = check_soft("teacher_logits", teacher_logits, logits)
    logp = log_softmax(as_float(logits))
    return logp, log_softmax(as_float(teacher_logits)) - logp
