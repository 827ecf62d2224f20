"""Data-free distillation: a generator makes the samples (Chen et al. 2019; Fang et al. 2019).

Idea. The teacher's weights contain information about its training data. A generator, as in a GAN, learns to make
samples that the teacher treats like real ones, and on which the student still differs from the teacher. The student
learns to agree with the teacher on them. No real sample is read.

Data flow. n is noise, the generator G and the student learn, and the teacher is frozen::

    n (B, N) -> G -> r -> u -> s = sigmoid(g (u - t)) (B, D) -> teacher -> v (B, K), h (B, W) its last hidden layer
                                                             -> student -> z (B, K)

Here u = (r - μ) / σ is r normalised over the batch, separately for each input. So every input is low as often as high,
whatever G does, and G cannot make all samples alike. Otherwise that would be the easiest way to a low loss, because the
logits of both networks are unbounded.

Loss of the student: `distillation_loss` without labels, at temperature T, on samples that are constants for it.

Loss of the generator. With q = softmax(v), and q̄ the mean of q over the batch::

    L_G = a CE(argmax v, v) + b Σ_k q̄_k log q̄_k - c mean |h| - d mean |v - z|
          one-hot             balance             activation   disagreement

For real samples the teacher is confident (one-hot), all classes occur (balance: the negative entropy of q̄), and the
features are active (activation). These three terms are from the first paper. The last is from the second paper: it
looks for samples on which the student is still wrong. The gradients, with o the one-hot of argmax v::

    dv = a (q - o) / B + b softmax_backward((log q̄ + 1) / B, q) - d sign(v - z) / (B K)
    dh = -c sign(h) / (B W)
    dz = d sign(v - z) / (B K)

because d q̄_k/dq_ik = 1/B. They go back through the teacher (dv at its logits, dh at its hidden layer) and through the
student, each to its input: ds is the sum of the two dx of MLP.backward. Neither network changes, because only
`backward` is called, without a step. Then du = g ds s (1 - s). Through the normalisation, with means over the batch::

    dr = (du - mean(du) - u mean(du u)) / σ        for σ² = mean (r - μ)² + 1e-5

This is the derivation of `standardised`, down columns instead of along rows. Then the generator takes its step.

Defaults. a = 1, b = 5, c = 0.1 as in the first paper on MNIST, and d = 1 (the second paper has only this term). The
logarithm of the balance term is the natural one, as in the paper. Copies of its code use log10, which makes b 2.3 times
smaller. The student takes five steps for one of the generator, as in the second paper; T = 4. The generator is an MLP
with one hidden layer of 256, from 64 numbers of noise. Both papers' generators are convolutional and normalise over the
batch at every layer; the first paper's code also normalises its samples at the end. Here that is the only place.

Our own settings: g = 6 and t = 1.5, chosen on validation images of MNIST. They give inputs that are nearly black or
white, and white in about one sample of fifteen. This is an assumption about the data that is read from none of them:
few inputs of an image are bright at a time. Other data need other settings. Validation errors on MNIST (student 30,
teacher 256-256, ten epochs) are 17.7 and 19.6 % for two seeds. For the first seed they are 13.1 % with g = 10, 14.2 %
with g = 8 and t = 2, and 40.5 % if the generator takes one step and then stops learning.

When. Use it if data may not be kept or shown. The samples do not look like digits, because an MLP accepts as digits
what no convolutional network would accept. So expect much less than from data, and expect most of the gain from a good
guess of what the data are like. On digits, noise with the same last line (sigmoid) taught as well as the generator
(tutorial 11).

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
    """L_G and its gradients with respect to the teacher's logits v and hidden layer h, and the student's logits z.

    teacher_logits (B, K), hidden (B, W), logits (B, K) -> L, dv (B, K), dh (B, W), dz (B, K). `one_hot`, `balance`,
    `activation` and `disagreement` are the weights a, b, c and d.
    """
    v, h, z, xp = teacher_logits, hidden, logits, xp_of(logits)
    sure, dv = cross_entropy(v, v.argmax(axis=1))
    q = softmax(v)
    mean = xp.maximum(q.mean(axis=0), 1e-30)  # (K,): for a class that never occurs, 0 log 0 = 0
    spread = (mean * xp.log(mean)).sum()
    difference = v - z
    away = xp.sign(difference) * (disagreement / difference.size)
    dv = one_hot * dv + balance * softmax_backward((xp.log(mean) + 1) / len(v) + xp.zeros_like(q), q) - away
    value = one_hot * sure + balance * spread - activation * xp.abs(h).mean()
    return value - disagreement * xp.abs(difference).mean(), dv, -activation / h.size * xp.sign(h), away


def random_samples(rows: Array, rng: Any) -> Array:
    """Noise of the generator's kind, sigmoid(GAIN (u - THRESHOLD)) with u from N(0, 1), as many rows: for `augment`."""
    return sigmoid(GAIN * (rng.standard_normal(rows.shape).astype(rows.dtype) - THRESHOLD))


def normalise(r: Array) -> tuple[Array, Array]:
    """Columns with mean 0 and standard deviation 1 over the batch.  r (B, D) -> u = (r - μ) / σ (B, D), σ (D,)

    For a batch of one, all u are 0.
    """
    centred = r - r.mean(axis=0)
    deviation = xp_of(r).sqrt((centred * centred).mean(axis=0) + SMALL)
    return centred / deviation, deviation


def normalise_backward(du: Array, u: Array, deviation: Array) -> Array:
    """From dL/du to dL/dr for u, deviation = normalise(r).  du, u (B, D), deviation (D,) -> (B, D)"""
    return (du - du.mean(axis=0) - u * (du * u).mean(axis=0)) / deviation


class Generator:
    """Makes samples, and is trained while it does. As `augment` for `fit`, it ignores the rows that it gets.

    Parameters
    ----------
    network : MLP
        From noise to D numbers r. The sample is sigmoid(gain (u - threshold)), where u is r normalised.
    update : Optimizer
        The optimizer of `network`.
    teacher, student : MLP
        The frozen network, and the one that learns from the samples.
    every : int
        The student's steps for one of the generator's.
    gain, threshold : float
        g and t.
    **weights
        The weights of `generator_loss`.
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
        # A copy without dropout. The backward passes may overwrite its `grad`.
        self.teacher = MLP(teacher.sizes, activation=teacher.activation, device=student.device, dtype=teacher.dtype)
        self.teacher.theta[...] = to_device(teacher.theta, student.device)
        weights_of = fingerprint(teacher.theta)
        self.fingerprint = (
            f"Generator {network!r} against {weights_of}, {update.settings()}, every {every}, gain {gain}, "
            f"threshold {threshold}, {weights}"
        )

    def __call__(self, rows: Array, rng: Any) -> Array:
        """As many samples as there are rows. In every `every`-th call the generator takes a step first."""
        if self.calls % self.every == 0:
            self.step(len(rows), rng)
        self.calls += 1
        return self.samples(self.network.forward(self._noise(len(rows), rng)))[0]

    def _noise(self, rows: int, rng: Any) -> Array:
        return rng.standard_normal((rows, self.network.sizes[0])).astype(self.network.dtype)

    def step(self, rows: int, rng: Any) -> Any:
        """One step of the generator against both networks, which stay as they are. Returns its loss before the step."""
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
    """`fit` the student on the teacher's logits for generated samples in [0, 1].

    With a checkpoint, the generator, from noise to r, is kept beside it as NAME-generator.

    Parameters
    ----------
    student, optimizer, **fit_options
        As for every method: see minikd/methods/base.py. augment must not be given.
    teacher : MLP
        It needs a hidden layer, and the student's inputs and classes.
    x : array (N, D)
        Only its shape is used: an epoch has as many steps as with these rows.
    labels : None
        They are not read.
    strength : float
        d, the weight of the disagreement in the generator's loss.
    temperature : float
        T of the student's loss, above 0.
    noise, hidden : int
        The inputs and the hidden units of the generator.
    every : int
        The student's steps for one of the generator's.
    generator_lr : float
        The learning rate of the generator's Adam.
    gain : float
        g, how close to black or white the samples are.
    threshold : float
        t, in standard deviations: the larger it is, the fewer inputs are bright.
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
    check_type("teacher", teacher, MLP, "an MLP, because gradients go back through it")
    x = check_matrix("x", x, columns=student.sizes[0])
    if (teacher.sizes[0], teacher.sizes[-1]) != (student.sizes[0], student.sizes[-1]):
        raise ValueError(f"teacher must have the student's inputs and classes, {student!r}, got {teacher!r}")
    if len(teacher.sizes) < 3:
        raise ValueError(f"teacher must have a hidden layer, because the loss uses its activations, got {teacher!r}")
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
