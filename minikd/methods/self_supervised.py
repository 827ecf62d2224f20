"""Self-supervised distillation: learn a representation without labels (Fang et al. 2021, "SEED").

Idea. A representation is described by which samples are near to which others. The teacher's representation says how
near a sample is to each of many anchors, and the student learns to give the same similarities. No class is used, so
teacher and student may know nothing of classes. A linear probe then measures how good the representation is.

Loss. e (B, W) is the student's embedding and t (B, W) the teacher's, u = e / ‖e‖ and w = t / ‖t‖. A (M, W) are anchors,
embeddings of the teacher's of length 1. Each sample's own w_i is the last anchor::

    s_i = (A u_i, w_i · u_i) / τ_S,    r_i = (A w_i, w_i · w_i) / τ_T          both (M + 1,)
    L = -1/B Σ_ij softmax(r_i)_j log softmax(s_i)_j

Gradient. With respect to s it is that of `soft_cross_entropy` at temperature 1, ds = (softmax(s) - softmax(r)) / B.
Then::

    du_i = (A^T ds_i,1..M + ds_i,M+1 w_i) / τ_S

and `unit_rows_backward` leads through the norm. The student's embedding is a linear map of its last hidden layer (a
projection, which is discarded afterwards) to the teacher's width.

Defaults. τ_S = 0.2 and τ_T = 0.01 as in the paper (its code has 0.0001), and the teacher's last hidden layer as the
embedding. The paper has a queue of 65,536 embeddings of earlier batches. Here the anchors are a fixed sample of 1,024:
because the teacher does not change, an anchor never becomes stale. Then comes a linear probe: the student's last layer
alone is trained with the labels, for a quarter of the epochs. Only the probe reads labels.

When. Use it with many unlabelled samples, and for representations that serve several tasks. It is worse than soft
targets for the classes that the teacher knows.

Source: arXiv 2101.04731, equations 1 to 4.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..backend import Array, to_device, to_numpy, xp_of
from ..checks import check_count, check_matrix, check_number, check_samples, check_type
from ..losses import cross_entropy, soft_cross_entropy
from ..metrics import History
from ..mlp import MLP
from ..ops import softmax
from ..optim import Adam
from ..training import fit
from .base import (
    MakeOptimizer,
    Method,
    check_layer,
    check_student,
    copy_layers,
    feature_targets,
    features,
    joined,
    new_like,
    option,
    stage_options,
    trunk,
)
from .linear_algebra import as_float, unit_rows, unit_rows_backward


def similarity_loss(
    embeddings: Array,
    teacher_embeddings: Array,
    *,
    anchors: Array,
    temperature: float = 0.2,
    teacher_temperature: float = 0.01,
) -> tuple[Any, Array]:
    """Cross-entropy of similarities to anchors, and its gradient.

    embeddings, teacher_embeddings (B, W), anchors (M, W) -> L, dembeddings (B, W). `temperature` is τ_S and
    `teacher_temperature` τ_T.
    """
    embeddings = check_matrix("embeddings", embeddings)
    n, width = embeddings.shape
    teacher_embeddings = check_matrix("teacher_embeddings", teacher_embeddings, rows=n, columns=width)
    anchors = check_matrix("anchors", anchors, columns=width)
    cool = check_number("temperature", temperature, 0, open_low=True)
    sharp = check_number("teacher_temperature", teacher_temperature, 0, open_low=True)
    u, norms = unit_rows(as_float(embeddings))
    w, _ = unit_rows(as_float(teacher_embeddings))
    s, r = (_similarities(v, w, anchors) for v in (u, w))
    value, ds = soft_cross_entropy(s / cool, softmax(r, sharp))
    du = (ds[:, :-1] @ anchors + ds[:, -1:] * w) / cool
    return value, unit_rows_backward(du, u, norms)


def _similarities(v: Array, own: Array, anchors: Array) -> Array:
    """v (B, W) with each anchor, and with its sample's own teacher embedding: (B, M + 1)."""
    return xp_of(v).concatenate((v @ anchors.T, (v * own).sum(axis=1, keepdims=True)), axis=1)


def represent(
    student: MLP,
    teacher: Any,
    x: Array,
    *,
    optimizer: MakeOptimizer = Adam,
    teacher_layer: int = -1,
    n_anchors: int = 1024,
    temperature: float = 0.2,
    teacher_temperature: float = 0.01,
    **fit_options: Any,
) -> History:
    """Train the student's hidden layers on the teacher's similarities, without labels. Its last layer stays as it was.

    Parameters
    ----------
    student, x, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    teacher : MLP or array (N, W)
        A network, or embeddings from any source.
    teacher_layer : int
        The teacher's hidden layer: 0 is the first, -1 the last.
    n_anchors : int
        M, the number of anchors.
    temperature, teacher_temperature : float
        τ_S and τ_T, above 0.
    """
    check_type("student", student, MLP, "an MLP")
    x = check_samples("x", x, columns=student.sizes[0])
    last = check_layer("the student's last layer", -1, student)
    check_count("n_anchors", n_anchors)
    targets = feature_targets(teacher, student, x, teacher_layer, fit_options.get("augment"))
    rows = np.random.default_rng(option(fit_options, "seed")).permutation(len(x))[:n_anchors]
    inputs = to_device(to_numpy(x)[rows], student.device)
    chosen = targets(inputs) if callable(targets) else targets[to_device(rows, student.device)]
    anchors, _ = unit_rows(chosen.astype(student.dtype))
    model = trunk(student, last, anchors.shape[1], 1, fit_options)

    temperatures = {"temperature": temperature, "teacher_temperature": teacher_temperature}
    loss = partial(similarity_loss, anchors=anchors, **temperatures)
    history = fit(
        model, x, targets, loss=loss, optimizer=optimizer(model), **stage_options(fit_options, "representation")
    )
    copy_layers(model, student, last + 1)
    return history


def linear_probe(
    student: MLP, x: Array, labels: Array, *, optimizer: MakeOptimizer = Adam, **fit_options: Any
) -> History:
    """Train only the student's last layer, on labels, to measure how good its features are.

    A linear map from frozen features is a network without hidden layers, which `fit` trains.
    """
    x, labels = check_student(student, x, labels)
    if fit_options.get("augment") is not None:
        raise ValueError("augment must be left out: the features of x are computed once")
    probe = new_like(student, 2, fit_options, student.sizes[-2:])
    options, validation = stage_options(fit_options, "probe"), fit_options.get("validation")
    if validation is not None:
        options["validation"] = features(student, validation[0]), validation[1]
    history = fit(probe, features(student, x), labels, loss=cross_entropy, optimizer=optimizer(probe), **options)
    student.weights[-1][...], student.biases[-1][...] = probe.weights[0], probe.biases[0]
    return history


def train(
    student: MLP,
    teacher: Any,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    probe_epochs: int | None = None,
    **fit_options: Any,
) -> History:
    """`represent`, then `linear_probe` for the last probe_epochs. strength has no effect here.

    Parameters
    ----------
    student, teacher, x, labels, optimizer, **fit_options
        As for every method and for `represent`: see minikd/methods/base.py.
    probe_epochs : int, optional
        The epochs of the probe; by default a quarter.
    """
    x, labels = check_student(student, x, labels)
    epochs = option(fit_options, "epochs")
    probe_epochs = max(1, epochs // 4) if probe_epochs is None else check_count("probe_epochs", probe_epochs)
    if probe_epochs >= epochs:
        raise ValueError(f"probe_epochs must leave some of the {epochs} epochs for the features, got {probe_epochs}")
    stages = [
        represent(student, teacher, x, optimizer=optimizer, **{**fit_options, "epochs": epochs - probe_epochs}),
        linear_probe(
            student, x, labels, optimizer=optimizer, **{**fit_options, "epochs": probe_epochs, "augment": None}
        ),
    ]
    if fit_options.get("checkpoint") is not None:
        student.save(fit_options["checkpoint"])
    return joined(*stages)


METHOD = Method(
    "self-supervised",
    "a representation without labels, then a probe",
    "Fang et al. 2021, arXiv 2101.04731",
    train,
    weighted=False,
    teacher="network",
    reads="images",
)
