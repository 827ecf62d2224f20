"""Deep mutual learning: two networks learn together, each also from the other's probabilities (Zhang et al. 2018).

Idea. No network is the teacher. Each learns from the labels, and is also pulled towards its peer's probabilities for
the same batch. The two agree on the right class and differ in how they rank the others. This is what they teach each
other. With a large peer, the teacher also learns from its student's output.

Loss. Networks 1 and 2 with p1 = softmax(z1), p2 = softmax(z2), at temperature 1::

    L1 = CE(y, p1) + w KL(p2 || p1),       L2 = CE(y, p2) + w KL(p1 || p2)

The peer's probabilities are constants in each loss: L1 is differentiated with respect to z1 alone. Otherwise network 2
would move to where network 1 can follow it easily. So, by `soft_cross_entropy` with targets p2 and p1::

    dz1 = [(p1 - y) + w (p1 - p2)] / B,    dz2 = [(p2 - y) + w (p2 - p1)] / B

Both networks take their step from the same two outputs. In the paper the second network uses the output of the first
after its step.

Defaults. w = 1, T = 1. In a cohort of more than two, which is not built here, each network sums over all others. The
peer is a new network with the teacher's sizes, or with the student's if there is no teacher. The teacher itself is
neither used nor changed.

When. Use it if there is no trained teacher. `minikd reproduce generations` measures the gain from a peer of the same
size.

Source: arXiv 1706.00384, equations 3 to 7.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..checks import check_number
from ..losses import cross_entropy
from ..metrics import History
from ..mlp import MLP
from ..optim import Adam, Optimizer
from .base import MakeOptimizer, Method, check_student, fit_along, new_like
from .kd import kl_loss


def mutual_loss(logits: Array, labels: Array, peer_logits: Array, *, weight: float = 1.0) -> tuple[Any, Array]:
    """CE + w KL(peer || self), with constant peer logits.  logits, peer_logits (B, K), labels (B,) -> L, (B, K)"""
    check_number("weight", weight, 0)
    value, dlogits = cross_entropy(logits, labels)
    pull, dpull = kl_loss(logits, None, peer_logits, temperature=1.0, soft_weight=1.0)
    return value + weight * pull, dlogits + weight * dpull


class WithPeer:
    """`mutual_loss` for `fit`, in which the peer takes its own step on each batch: loss(logits, labels, x)."""

    def __init__(self, peer: MLP, update: Optimizer, leader: Optimizer, weight: float) -> None:
        self.peer, self.update, self.leader, self.weight = peer, update, leader, weight
        self.ratio = update.lr / leader.lr
        self.fingerprint = f"mutual_loss with {peer!r}, {update.settings()}, weight {weight}"

    def __call__(self, logits: Array, labels: Array, x: Array) -> tuple[Any, Array]:
        """The student's loss. The peer has taken its step on the batch when this returns."""
        peer_logits = self.peer.forward(x, train=True)
        _, dpeer = mutual_loss(peer_logits, labels, logits, weight=self.weight)
        self.peer.backward(dpeer, need_dx=False)
        self.update.lr = self.ratio * self.leader.lr  # the peer follows the student's schedule
        self.update.step()
        return mutual_loss(logits, labels, peer_logits, weight=self.weight)


def learn_together(
    student: MLP,
    peer: MLP,
    x: Array,
    labels: Array,
    *,
    weight: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    **fit_options: Any,
) -> History:
    """Train both networks in place, each on labels and on the other's probabilities. Returns the student's history.

    With a checkpoint, the peer is kept beside it as NAME-peer.

    Parameters
    ----------
    student, peer : MLP
        Two networks on one device.
    x, labels, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    weight : float
        w, at least 0.
    """
    x, labels = check_student(student, x, labels)
    check_student(peer, x, labels)
    if peer is student:
        raise ValueError("peer must be another network than student")
    if peer.device != student.device:
        raise ValueError(f"peer must be on the student's device, {student.device!r}, got {peer.device!r}")
    update = optimizer(student)
    loss = WithPeer(peer, optimizer(peer), update, check_number("weight", weight, 0))
    targets = labels, _the_batch_itself
    return fit_along(peer, "peer", student, x, targets, loss=loss, optimizer=update, **fit_options)


def _the_batch_itself(x: Array) -> Array:
    return x


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    **fit_options: Any,
) -> History:
    """`learn_together` with a new network of the teacher's sizes and dropout.

    Parameters
    ----------
    student, x, labels, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    teacher : MLP or None
        Only its sizes and its dropout are used.
    strength : float
        w, at least 0.
    """
    x, labels = check_student(student, x, labels)
    peer = new_like(student, 1, fit_options, teacher.sizes if isinstance(teacher, MLP) else None)
    if isinstance(teacher, MLP):
        peer.dropout = teacher.dropout
    return learn_together(student, peer, x, labels, weight=strength, optimizer=optimizer, **fit_options)


METHOD = Method(
    "mutual", "a peer that learns at the same time", "Zhang et al. 2018, arXiv 1706.00384", train, teacher="none"
)
