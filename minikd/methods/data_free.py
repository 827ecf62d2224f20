"""Data-free distillation: a generator makes up the samples that nobody kept (Chen et al. 2019; Fang et al. 2019).

Idea. The teacher's weights remember what its training data were like. A generator, in the manner of a GAN, learns to
make samples that the teacher takes for real, and on which the student still differs from it; the student learns to
agree with the teacher on them. No real sample is read.

Data flow. n noise, G and the student learn, the teacher is frozen:

    n (B, N) -> G -> r -> u -> s = sigmoid(g (u - t)) (B, D) -> teacher -> v (B, K), h (B, W) its last hidden layer
                                                             -> student -> z (B, K)

where u = (r - μ) / σ is r normalised over the batch, each input by itself: as often low as high, whatever G does. So
G cannot make all samples alike, which is its easiest way to please two networks that have no bounds.

Loss of the student: `distillation_loss` without labels, at temperature T, on samples that are constants to it.

Loss of the generator. With q = softmax(v) and q̄ the mean of q over the batch,

    L_G = a CE(argmax v, v) + b Σ_k q̄_k log q̄_k - c mean |h| - d mean |v - z|
          one-hot             balance             activation   disagreement

Real samples make the teacher sure (one-hot), come in all classes (balance: the negative entropy of q̄), and excite
its features (activation): these are of the first paper. The last is of the second: look for samples on which the
student is wrong still. Gradients, with o the one-hot of argmax v:

    dv = a (q - o) / B + b softmax_backward((log q̄ + 1) / B, q) - d sign(v - z) / (B K)
    dh = -c sign(h) / (B W)
    dz = d sign(v - z) / (B K)

d q̄_k/dq_ik = 1/B gives the second. They go back through the teacher (dv at its logits, dh at its hidden layer) and
through the student, each to its input: ds is the sum of the two dx of MLP.backward. Neither moves: only `backward`
is called, and no step is taken. From there du = g ds s (1 - s). Through the normalisation, with means over the batch,

    dr = (du - mean(du) - u mean(du u)) / σ        for σ² = mean (r - μ)² + 1e-5

by the derivation of `standardised`, down columns in place of along rows, and the generator takes its step.

Defaults. a = 1, b = 5, c = 0.1 as in the first paper on MNIST, d = 1 (the second has only this term). The logarithm of
the information term is the natural one, as in the paper; copies of its code use log10, which makes b 2.3 times smaller.
Five steps of the student for one of the generator, as in the second; T = 4. The generator is an MLP with one hidden
layer of 256, from 64 numbers of noise. Both papers' generators are convolutional and normalise over the batch at every
layer, the first paper's code last of all its samples; here that is the only place. g = 6 and t = 1.5 are ours, chosen
on validation images of MNIST: inputs that are nearly black or white, and white in one sample of fifteen or so. This is
a guess about the data, read from none of them: of an image few inputs are bright at a time. Other data want another.
Validation errors there (student 30, teacher 256-256, ten epochs): 17.7 and 19.6 % for two seeds; for the first of them
13.1 % with g = 10, 14.2 % with g = 8 and t = 2, and 40.5 % where the generator takes one step and then learns no more.

When. Where data may not be kept or shown. The samples look like nothing, for an MLP takes for a digit what no
convolutional network would; so expect much less than from data, and more from a good guess at what data are like: on
digits, noise of the same last line taught as well as the generator (tutorial 11).

Sources: arXiv 1904.01186, equations 5 to 8; arXiv 1912.11006, equations 2 to 6.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from ..backend import Array, to_device, xp_of
from ..checkpoint import fingerprint
from ..checks import check_count, check_matrix, check_number, check_type
from ..losses import cross_entropy, distillation_loss
from ..metrics import History
from ..mlp import MLP
from ..ops import sigmoid, sigmoid_backward, softmax, softmax_backward
from ..optim import Adam, Optimizer
from .base import MakeOptimizer, Method, fit_along, option

SMALL = 1e-5  # added to a variance
GAIN, THRESHOLD = 6.0, 1.5


def generator_loss(
    teacher_logits: Array,
    hidden: Array,
    logits: Array,
    *,
    one_hot: float = 1.0,
    balance: float = 5.0,
    activation: float = 0.1,
    disagreement: float = 1.0,
) -> tuple[Any, Array, Array, Array]:
    """L_G and its gradients with respect to the teacher's logits v (B, K), its hidden layer h (B, W), the student's z.

    -> L, dv (B, K), dh (B, W), dz (B, K)
    """
    v, h, z, xp = teacher_logits, hidden, logits, xp_of(logits)
    sure, dv = cross_entropy(v, v.argmax(axis=1))
    q = softmax(v)
    mean = xp.maximum(q.mean(axis=0), 1e-30)  # (K,): a class that never comes up counts 0 log 0 = 0
    spread = (mean * xp.log(mean)).sum()
    difference = v - z
    away = xp.sign(difference) * (disagreement / difference.size)
    dv = one_hot * dv + balance * softmax_backward((xp.log(mean) + 1) / len(v) + xp.zeros_like(q), q) - away
    value = one_hot * sure + balance * spread - activation * xp.abs(h).mean()
    return value - disagreement * xp.abs(difference).mean(), dv, -activation / h.size * xp.sign(h), away


def random_samples(rows: Array, rng: Any) -> Array:
    """Noise of the generator's kind, sigmoid(GAIN (u - THRESHOLD)) with u from N(0, 1), as many rows: as `augment`."""
    return sigmoid(GAIN * (rng.standard_normal(rows.shape).astype(rows.dtype) - THRESHOLD))


def normalise(r: Array) -> tuple[Array, Array]:
    """Columns with mean 0 and standard deviation 1 over the batch, u = (r - μ) / σ (B, D), and σ (D,).

    Of a batch of one, all u are 0.
    """
    centred = r - r.mean(axis=0)
    deviation = xp_of(r).sqrt((centred * centred).mean(axis=0) + SMALL)
    return centred / deviation, deviation


def normalise_backward(du: Array, u: Array, deviation: Array) -> Array:
    """From dL/du to dL/dr, (B, D), for u, deviation = normalise(r)."""
    return (du - du.mean(axis=0) - u * (du * u).mean(axis=0)) / deviation


class Generator:
    """Makes samples, and learns to: as `augment` for `fit`, it ignores the rows that it is given.

    network    an MLP from noise to D numbers r; the sample is sigmoid(gain (u - threshold)), u their normalised form
    every      the student's steps for one of the generator's
    """

    def __init__(
        self,
        network: MLP,
        update: Optimizer,
        teacher: MLP,
        student: MLP,
        *,
        every: int = 5,
        gain: float = GAIN,
        threshold: float = THRESHOLD,
        **weights: float,
    ) -> None:
        self.network, self.update, self.student = network, update, student
        self.every, self.gain, self.threshold, self.weights, self.calls = every, gain, threshold, weights, 0
        # A copy without dropout, in whose `grad` the backward passes may write.
        self.teacher = MLP(teacher.sizes, activation=teacher.activation, device=student.device, dtype=teacher.dtype)
        self.teacher.theta[...] = to_device(teacher.theta, student.device)
        weights_of = fingerprint(teacher.theta)
        self.fingerprint = (
            f"Generator {network!r} against {weights_of}, {update.settings()}, every {every}, gain {gain}, "
            f"threshold {threshold}, {weights}"
        )

    def __call__(self, rows: Array, rng: Any) -> Array:
        """As many samples as there are rows; every so often the generator takes a step first."""
        if self.calls % self.every == 0:
            self.step(len(rows), rng)
        self.calls += 1
        return self.samples(self.network.forward(self._noise(len(rows), rng)))[0]

    def _noise(self, rows: int, rng: Any) -> Array:
        return rng.standard_normal((rows, self.network.sizes[0])).astype(self.network.dtype)

    def step(self, rows: int, rng: Any) -> Any:
        """One step of the generator against both networks, which stay as they are; its loss before the step."""
        s, a, u, deviation = self.samples(self.network.forward(self._noise(rows, rng), train=True))
        value, ds = self.loss_of(s)
        du = self.gain * sigmoid_backward(ds, a, s)
        self.network.backward(normalise_backward(du, u, deviation), need_dx=False)
        self.update.step()
        return value

    def samples(self, r: Array) -> tuple[Array, Array, Array, Array]:
        """s = sigmoid(a), a = gain (u - threshold), u and σ = normalise(r).  r (B, D) -> s, a, u (B, D), σ (D,)"""
        u, deviation = normalise(r)
        a = self.gain * (u - self.threshold)
        return sigmoid(a), a, u, deviation

    def loss_of(self, s: Array) -> tuple[Any, Array]:
        """L_G of samples s (B, D), and its gradient with respect to them."""
        v, z = self.teacher.forward(s, train=True), self.student.forward(s, train=True)
        h = self.teacher.hidden[-1]
        value, dv, dh, dz = generator_loss(v, h, z, **self.weights)
        return value, self.teacher.backward(dv, {-1: dh}) + self.student.backward(dz)


def train(
    student: MLP,
    teacher: MLP,
    x: Array,
    labels: Any = None,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    temperature: float = 4.0,
    noise: int = 64,
    hidden: int = 256,
    every: int = 5,
    generator_lr: float = 1e-3,
    gain: float = GAIN,
    threshold: float = THRESHOLD,
    **fit_options: Any,
) -> History:
    """`fit` the student on what the teacher says of made-up samples in [0, 1].

    With a checkpoint, the generator is kept beside it, as NAME-generator: from noise to r.

    x          read for its shape alone: an epoch has as many steps as with those rows; labels are not read
    strength   of the disagreement in the generator's loss
    gain       how black and white the samples are: g
    threshold  t, in standard deviations: how rarely an input is bright
    """
    _check_networks(student, teacher, x, fit_options)
    for name, count in (("every", every), ("noise", noise), ("hidden", hidden)):
        check_count(name, count)
    for name, number in (("strength", strength), ("generator_lr", generator_lr), ("gain", gain)):
        check_number(name, number, 0)
    check_number("threshold", threshold, -math.inf, open_low=True)
    seed = option(fit_options, "seed")
    network = MLP((noise, hidden, teacher.sizes[0]), seed=7919 + seed, device=student.device, dtype=student.dtype)
    update, weights = Adam(network, generator_lr), {"disagreement": float(strength)}
    generator = Generator(network, update, teacher, student, every=every, gain=gain, threshold=threshold, **weights)
    nothing = np.zeros(x.shape, student.dtype)
    options = {**fit_options, "augment": generator, "optimizer": optimizer(student)}
    loss = partial(_alone, temperature=temperature)
    return fit_along(network, "generator", student, nothing, generator.teacher.forward, loss=loss, **options)


def _check_networks(student: MLP, teacher: MLP, x: Array, fit_options: dict[str, Any]) -> None:
    check_type("student", student, MLP, "an MLP")
    check_type("teacher", teacher, MLP, "an MLP, for gradients must come back through it")
    x = check_matrix("x", x, columns=student.sizes[0])
    if (teacher.sizes[0], teacher.sizes[-1]) != (student.sizes[0], student.sizes[-1]):
        raise ValueError(f"teacher must have the student's inputs and classes, {student!r}, got {teacher!r}")
    if len(teacher.sizes) < 3:
        raise ValueError(f"teacher must have a hidden layer, whose activation is looked at, got {teacher!r}")
    if fit_options.get("augment") is not None:
        raise ValueError("augment must be left out: the generator takes its place")
    if option(fit_options, "batch_size") == 1:
        raise ValueError("batch_size must be at least 2: the generator is normalised over the batch; got 1")


def _alone(logits: Array, teacher_logits: Array, temperature: float) -> tuple[Any, Array]:
    return distillation_loss(logits, None, teacher_logits, temperature=temperature, soft_weight=1.0)


METHOD = Method(
    "data-free",
    "made-up samples, by an adversarial generator",
    "Chen et al. 2019, arXiv 1904.01186; Fang et al. 2019, 1912.11006",
    train,
    teacher="network",
    temperature="temperature",
    reads="nothing",
)
