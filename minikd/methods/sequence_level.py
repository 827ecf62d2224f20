"""Sequence-level distillation: train on samples from the teacher instead of its probabilities (Kim & Rush 2016).

Idea. The target of distillation is the teacher's distribution over whole sequences. No sum over all sequences can be
computed, but a sample can be drawn. So the teacher generates text, and the student is trained on it like on text by
people. The teacher must be able to generate. Data are not needed, because the teacher generates as much as one likes.
For a classifier a sequence has one symbol, and the same idea is to draw the label from the teacher's softmax.

Loss. A label ỹ is drawn from the teacher's q, anew each time, and the loss is cross-entropy with it::

    L = -1/B Σ_i log p_i[ỹ_i],         dlogits = (p - ỹ) / B,    ỹ one-hot, ỹ_i ~ q_i

What it minimises. E[ỹ] = q, and the gradient is linear in ỹ, so its expectation is that of soft targets at T = 1 and
soft_weight 1::

    E[dlogits] = (p - q) / B,         E[L] = CE(q, p) = KL(q || p) + H(q)

The draw adds noise: column j of ỹ has the variance q_j (1 - q_j), which is 0 if the teacher is certain. For whole words
the sum over symbols gives the same: E over words x ~ q of -log p(x) is KL(q || p) between the distributions over words,
plus a constant. So it minimises the forward KL of sequences, on contexts from the teacher.

Draws. A uniform number u for each sample selects the first class j at which Σ_k≤j q_k exceeds u. All u are drawn anew
in each epoch from (seed, epoch). On the data set "words" only the number of rows of x is used: each epoch has as many
rows of new words that the teacher generates.

Defaults. There is nothing to choose: no temperature, no weight, no label of the data. Kim & Rush take the teacher's
most probable sequence, found by beam search. That is the mode of q and not a sample of it, so it minimises another
loss.

When. Use it if the teacher shows its outputs but not its probabilities. Otherwise soft targets have the same mean and
no noise. On words it needs no data: student 64 has 2.08 nats a letter on held-out words after as many steps as `kd`
takes with 1,000 words, and `kd` also gives 2.08. Labels alone on those words, stopped early, give 2.27 (`minikd
reproduce language`).

Source: arXiv 1606.07947, section 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import Array
from ..checks import check_matrix, check_samples, check_soft, check_type
from ..data.source import Source
from ..data.words import OneHot
from ..losses import cross_entropy
from ..metrics import History, teacher_targets
from ..mlp import MLP
from ..ops import softmax
from ..optim import Adam
from ..training import fit
from .base import MakeOptimizer, Method
from .language import Drawn, Following, check_same_language


class Uniform(Source):
    """A number from [0, 1) for each sample, drawn anew in each epoch, as a target for `fit`: (N,)."""

    def __init__(self, rows: int) -> None:
        self.shape, self.dtype, self.fingerprint = (rows,), np.dtype("float64"), f"{rows} uniform numbers"
        self.values = np.zeros(rows)

    def __getitem__(self, index: Any) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = self.values[index]
        return drawn

    def begin_epoch(self, model: Any, seed: int, epoch: int) -> None:
        """Draw the numbers of this epoch."""
        self.values = np.random.default_rng((seed, epoch, 4)).random(len(self))


def drawn_labels(teacher_logits: Array, u: Array) -> Array:
    """Labels from the teacher's softmax: the first class at which Σ q exceeds u.  (B, K), (B,) -> (B,)"""
    below = softmax(teacher_logits).cumsum(axis=1)
    return (below[:, :-1] <= u[:, None] * below[:, -1:]).sum(axis=1)


def drawn_loss(logits: Array, teacher_logits: Array, u: Array) -> tuple[Any, Array]:
    """Cross-entropy with labels drawn from the teacher.  logits, teacher_logits (B, K), u (B,) -> L, dlogits (B, K)"""
    logits = check_matrix("logits", logits)
    return cross_entropy(logits, drawn_labels(check_soft("teacher_logits", teacher_logits, logits), u))


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Any = None,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    **fit_options: Any,
) -> History:
    """`fit` on labels drawn from the teacher for x. On words, on words that it generates. Labels are not read.

    Parameters
    ----------
    student, x, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    teacher : MLP, callable or array (N, K)
        On words it must be an MLP with the student's alphabet and context.
    labels : None
        They are not read.
    strength : float
        It has no effect here.
    """
    check_type("student", student, MLP, "an MLP")
    x = check_samples("x", x, columns=student.sizes[0])
    options = {"optimizer": optimizer(student), **fit_options}
    if isinstance(x, OneHot):
        check_same_language(student, teacher)
        words = Drawn(x, 1.0, teacher)
        return fit(student, words, Following(words), loss=cross_entropy, **options)
    targets = teacher_targets(teacher, student, x, augment=fit_options.get("augment")), Uniform(len(x))
    return fit(student, x, targets, loss=drawn_loss, **options)


METHOD = Method(
    "sequence-level",
    "labels, or whole words, that the teacher draws",
    "Kim & Rush 2016, arXiv 1606.07947",
    train,
    weighted=False,
    reads="images",
)
