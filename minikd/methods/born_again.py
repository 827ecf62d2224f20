"""Born-again networks: generations of students of the same size (Furlanello et al. 2018).

Idea. Train a network on labels, let it teach a new one of the same size, let that one teach the next, and so on.
Children often do better than their parent, though they are not larger. The paper asks why, with two controls. Either
the ranking of the wrong classes helps (dark knowledge), or the teacher only shows which samples matter.

Loss. For a child, with p = softmax(z), q = softmax(v) its parent's and w = soft_weight::

    born again   L = (1 - w) CE(y, p) + w CE(q, p)                    `distillation_loss` at T = 1
    CWTM         L = Σ_i c_i CE(y_i, p_i),   c_i = max_k q_ik / Σ_j max_k q_jk,   dz_i = c_i (p_i - y_i)
                 "confidence weighted by teacher max": labels alone, but confident samples of the parent count more
    DKPP         as born again, with the probabilities of all classes except the parent's first permuted in each sample
                 "dark knowledge with permuted predictions": the parent's confidence stays, its ranking is destroyed

Why CWTM: at the label's class t the gradient of CE(q, p) is p_t - q_t = q_t (p_t - 1) + p_t (1 - q_t). As long as p_t
is small, the first term dominates: the labels' gradient, weighted by the parent's confidence. CWTM keeps that and
nothing else, with the largest q for q_t. It has no soft_weight and no strength.

Defaults. One child (generations=1), T = 1, w = 0.5 (the paper has the teacher's term with and without labels). Each
generation starts from new initial weights. A parent and its child are different objects, and it is an error to pass one
as both.

When. Use it to gain a little accuracy at a given size, if training time is cheap. `minikd reproduce generations`
measures the gain.

Source: arXiv 1805.04770, sections 3.1 and 3.2.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..backend import Array, to_numpy, xp_of
from ..checks import check_choice, check_classes, check_count, check_matrix, check_soft
from ..losses import cross_entropy, distillation_loss
from ..metrics import History, teacher_targets
from ..mlp import MLP
from ..ops import log_softmax, softmax
from ..optim import Adam
from ..training import fit
from .base import MakeOptimizer, Method, check_student, companion_options, mix, new_like, option, teach
from .linear_algebra import one_hot

CONTROLS = ("none", "cwtm", "dkpp")


def cwtm_loss(logits: Array, labels: Array, teacher_logits: Array) -> tuple[Any, Array]:
    """Cross-entropy with labels, each sample weighted by its teacher's confidence. The weights sum to 1.

    logits, teacher_logits (B, K), labels (B,) -> L, dlogits (B, K)
    """
    logits = check_matrix("logits", logits)
    teacher_logits = check_soft("teacher_logits", teacher_logits, logits)
    labels = check_classes(labels, logits)
    logp, y = log_softmax(logits), one_hot(labels, logits)
    confidence = softmax(teacher_logits).max(axis=1)
    c = (confidence / confidence.sum())[:, None]
    return -(c * y * logp).sum(), c * (xp_of(logits).exp(logp) - y)


def permuted(teacher_logits: Array, seed: int = 0) -> Array:
    """Each row with the logits of all classes except the first-ranked in a random order.  (N, K) -> (N, K)"""
    teacher_logits = check_matrix("teacher_logits", teacher_logits)
    rows = to_numpy(teacher_logits)
    shuffled = np.random.default_rng(seed).permuted(rows, axis=1)
    top, now = rows.argmax(axis=1), shuffled.argmax(axis=1)
    i = np.arange(len(rows))
    shuffled[i, now], shuffled[i, top] = shuffled[i, top], rows[i, top]  # the largest logit goes back to its class
    return xp_of(teacher_logits).asarray(shuffled)


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    generations: int = 1,
    control: str = "none",
    soft_weight: float = 0.5,
    **fit_options: Any,
) -> History:
    """Train a network like the student on labels, then `generations` children. `student` is the last of them.

    Parameters
    ----------
    student, x, labels, strength, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    teacher : MLP or None
        It is not used, because the ancestors have the student's size. It must not be the student.
    generations : int
        The number of children, at least 1.
    control : str
        "none", "cwtm" or "dkpp", for every child.
    soft_weight : float
        w, in [0, 1].
    """
    x, labels = check_student(student, x, labels)
    if teacher is student:
        raise ValueError("teacher must be another network than student: a child starts from fresh weights")
    check_count("generations", generations)
    check_choice("control", control, CONTROLS)
    if control == "dkpp" and fit_options.get("augment") is not None:
        raise ValueError("control='dkpp' must be used without augment: it permutes each sample's answer once")
    parent = new_like(student, 1, fit_options)
    options = {"optimizer": optimizer(parent), **companion_options(fit_options, "generation-0")}
    fit(parent, x, labels, loss=cross_entropy, **options)
    w = mix(soft_weight, strength)
    loss = cwtm_loss if control == "cwtm" else partial(distillation_loss, temperature=1.0, soft_weight=w)
    history = History()
    for g in range(1, generations + 1):
        last = g == generations
        child = student if last else new_like(student, g + 1, fit_options)
        options = fit_options if last else companion_options(fit_options, f"generation-{g}")
        source: Any = parent
        if control == "dkpp":
            source = permuted(teacher_targets(parent, child, x), option(fit_options, "seed"))
        history = teach(child, source, x, labels, loss, optimizer=optimizer, **options)
        parent = child
    return history


METHOD = Method(
    "born-again",
    "a parent of the student's own size",
    "Furlanello et al. 2018, arXiv 1805.04770",
    train,
    teacher="none",
)
