"""Decoupled knowledge distillation: separate losses for the target class and the other classes (Zhao et al. 2022).

Idea. The divergence of soft targets is a sum of two parts: how confident the teacher is of the label's class, and how
it ranks the other classes. In the sum the second part has the weight 1 - q_t. It is small for a confident teacher, so
the ranking of a good teacher hardly counts. This method separates the two parts and weights them freely.

Loss. Let t be the label's class, p = softmax(z / T) and q = softmax(v / T). p̂ and q̂ are the softmaxes of the same
logits without class t, p̂_k = p_k / (1 - p_t). For each sample::

    TCKD = q_t log(q_t / p_t) + (1 - q_t) log((1 - q_t) / (1 - p_t))         target class against all others
    NCKD = sum_{k != t} q̂_k log(q̂_k / p̂_k)                                   among the others
    KL(q || p) = TCKD + (1 - q_t) NCKD                                       (put q_k = q̂_k (1 - q_t), p alike)
    L = CE(y, softmax(z)) + T² (α TCKD + β NCKD)                             mean over the batch

Gradient. d log p_t / dz_j = ([j = t] - p_j) / T, and d log(1 - p_t) / dz_j is -p_t / (1 - p_t) times that. So, with
r = p_t - q_t::

    dTCKD/dz_j = ([j = t] - p_j) / T · (-q_t + (1 - q_t) p_t / (1 - p_t)) = ([j = t] - p_j) / T · r / (1 - p_t)
               = r / T for j = t,  -p̂_j r / T for the others

What the target gains, the others lose in proportion to p̂. NCKD is a divergence of softmaxes over K - 1 classes, so
dNCKD/dz_j = (p̂_j - q̂_j) / T for j != t, and 0 for t.

Defaults. α = 1, β = 8, T = 4, and CE with weight 1, as in the paper's reference code for CIFAR-100. There the two terms
grow in during the first 20 of 240 epochs. Here they do so also, but never for more than a twelfth of a run.

When. Use it with a confident teacher and many classes. The paper's β differs from teacher to teacher (1 to 8). With two
classes there is only one other class, and nothing to rank: K < 3 is an error.

Source: arXiv 2203.08679.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..backend import Array, xp_of
from ..checks import check_classes, check_count, check_matrix, check_number, check_soft
from ..losses import cross_entropy
from ..metrics import History
from ..mlp import MLP
from ..ops import log_softmax
from ..optim import Adam
from .base import MakeOptimizer, Method, Scheduled, option, steps_of, teach
from .linear_algebra import as_float, divergence, mean_rows, one_hot


def decoupled(
    logits: Array, labels: Array, teacher_logits: Array, *, temperature: float = 4.0
) -> tuple[Array, Array, Array, Array]:
    """TCKD and NCKD of each sample, and their gradients with respect to its logits, without the factor T².

    logits, teacher_logits (B, K), labels (B,) -> TCKD (B,), NCKD (B,), dTCKD (B, K), dNCKD (B, K)
    """
    logits = check_matrix("logits", logits)
    teacher_logits = check_soft("teacher_logits", teacher_logits, logits)
    labels = check_classes(labels, logits)
    if logits.shape[1] < 3:
        raise ValueError("logits must have at least 3 classes: among the others, two have nothing to rank; got 2")
    T = check_number("temperature", temperature, 0, open_low=True)
    xp, logits, teacher_logits = xp_of(logits), as_float(logits), as_float(teacher_logits)
    y = one_hot(labels, logits)
    logp, logq = log_softmax(logits, T), log_softmax(teacher_logits, T)  # (B, K)
    log_target = [xp.where(y == 1, log, 0).sum(axis=1) for log in (logp, logq)]  # log p_t, log q_t
    # Without the target: its logit becomes -infinity.
    log_p_hat, log_q_hat = (log_softmax(xp.where(y == 1, -xp.inf, z), T) for z in (logits, teacher_logits))
    p_hat, q_hat = xp.exp(log_p_hat), xp.exp(log_q_hat)
    log_others = [_log_others(log_full, y) for log_full in (logp, logq)]  # log(1 - p_t), log(1 - q_t)
    p_t, q_t = (xp.exp(log_t) for log_t in log_target)
    two = [xp.stack(parts, axis=1) for parts in zip(log_target, log_others, strict=True)]  # the target and the others
    tckd, nckd = divergence(two[1], two[0]), divergence(log_q_hat, log_p_hat)
    dtckd = (p_t - q_t)[:, None] * (y - p_hat) / T
    return tckd, nckd, dtckd, (p_hat - q_hat) / T


def _log_others(logp: Array, y: Array) -> Array:
    """log(1 - p_t), (B,), as the log of a sum over the other classes, so that it is exact if p_t is nearly 1."""
    xp = xp_of(logp)
    others = xp.where(y == 1, -xp.inf, logp)
    top = others.max(axis=1)
    return top + xp.log(xp.exp(others - top[:, None]).sum(axis=1))


def dkd_loss(
    logits: Array,
    labels: Array,
    teacher_logits: Array,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    warmup: float = 1.0,
) -> tuple[Any, Array]:
    """CE + warmup · T² (α TCKD + β NCKD), averaged over the batch, and its gradient.

    logits, teacher_logits (B, K), labels (B,) -> L, dlogits (B, K). `alpha`, `beta` and `temperature` are α, β and T.
    `warmup` in [0, 1] scales both terms. ValueError for fewer than three classes.
    """
    tckd, nckd, dtckd, dnckd = decoupled(logits, labels, teacher_logits, temperature=temperature)
    check_number("warmup", warmup, 0, 1)
    a, b = (check_number(n, w, 0) * warmup * temperature**2 for n, w in (("alpha", alpha), ("beta", beta)))
    hard, dhard = cross_entropy(logits, labels)
    return hard + mean_rows(a * tckd + b * nckd), dhard + (a * dtckd + b * dnckd) / len(logits)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    warmup_epochs: float = 20.0,
    **fit_options: Any,
) -> History:
    """`fit` with the decoupled loss, whose two terms grow in over the first `warmup_epochs`.

    Parameters
    ----------
    student, teacher, x, labels, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    strength : float
        A factor of both α and β.
    alpha, beta : float
        α and β, at least 0.
    temperature : float
        T, above 0.
    warmup_epochs : float
        The epochs in which the two terms grow in, at most a twelfth of the run.
    """
    check_number("strength", strength, 0)
    epochs = check_count("epochs", option(fit_options, "epochs"))
    share = min(check_number("warmup_epochs", warmup_epochs, 0) / epochs, 1 / 12)
    update = optimizer(student)
    steps = steps_of(len(x), fit_options)
    loss = Scheduled(
        partial(dkd_loss, alpha=alpha * strength, beta=beta * strength, temperature=temperature),
        update,
        steps,
        warmup=lambda progress: min(1.0, (progress + 1 / steps) / share) if share else 1.0,
    )
    return teach(student, teacher, x, labels, loss, optimizer=lambda model: update, **fit_options)


METHOD = Method(
    "dkd",
    "target class and ranking of the others, decoupled",
    "Zhao et al. 2022, arXiv 2203.08679",
    train,
    parallel=True,
    temperature="temperature",
)
