"""FitNets: first the hidden layers, then the soft targets (Romero et al. 2015).

Idea. A hidden layer of the teacher is a hint: an intermediate step towards its logits. In a first stage the student's
lower layers learn to predict a hidden layer of the teacher. In a second stage the whole student learns from the
teacher's logits, as in kd.

Loss. In the first stage h (B, W) is the student's hidden layer and t (B, W') the teacher's. r = h R + b is a linear
regressor. It is needed if W and W' differ, and is discarded afterwards::

    L = 1/(2 B) Σ_i ‖r_i - t_i‖²,        dr = (r - t) / B,   dR = h^T dr,   db = Σ_i dr_i,   dh = dr R^T

because d(‖r - t‖²/2)/dr = r - t. The rest is `linear_backward`: the regressor is one more layer. So the lower layers
and the regressor together are an MLP whose "logits" are r, and `fit` trains it like any other. If W = W' there is no
regressor, and the gradient dh = (h - t) / B enters at the hidden layer (`hidden_grads` of MLP.backward).

R starts from 0 (in the paper: from small random values), so that the first gradients that reach h come from a regressor
that has learnt something. ‖r - t‖² is a sum over W' numbers, and through a large random R its gradient moves h so
strongly that the units of a narrow layer die. On MNIST (30 units and hints 256 wide, Adam at 3e-3, two seeds), with R
from N(0, 2/30), 21 and 19 of the units were dead after the hints, and the final validation errors were 9.1 and 6.8 %.
With R from 0 no unit was dead, and the errors were 3.7 and 3.8 %.

Defaults. The middle layers of both networks, as in the paper (of two, the last); a quarter of the epochs for the first
stage; then T = 4 and soft_weight 0.9 as in kd. The paper's code lets the weight of the teacher's term fall from 4
towards 1 in the second stage, and has T = 3.

When. Use it with deep, thin students that are hard to train, for which it was made. A student with one hidden layer
hardly needs a hint, and a narrow one cannot represent the hidden layer of a wide teacher.

Source: arXiv 1412.6550, equations 3 and 4 and algorithm 1.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..checks import check_count, check_matrix, check_type
from ..metrics import History
from ..mlp import MLP
from ..optim import Adam
from ..training import fit
from . import kd
from .base import (
    MakeOptimizer,
    Method,
    OnHidden,
    check_layer,
    check_pair,
    check_student,
    copy_layers,
    feature_targets,
    joined,
    option,
    stage_options,
    trunk,
)
from .linear_algebra import as_float


def hint_loss(features: Array, teacher_features: Array) -> tuple[Any, Array]:
    """1/(2 B) Σ_i ‖f_i - t_i‖², and its gradient.  features, teacher_features (B, W) -> L, dfeatures (B, W)

    `features` are a hidden layer as wide as the teacher's, or the output of a regressor.
    """
    features, teacher_features = check_pair(features, teacher_features)
    if features.shape != teacher_features.shape:
        teacher_features = check_matrix("teacher_features", teacher_features, columns=features.shape[1])
    difference = as_float(features) - teacher_features
    return (difference * difference).sum() / (2 * len(features)), difference / len(features)


def train(
    student: MLP,
    teacher: MLP,
    x: Array,
    labels: Array,
    *,
    strength: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    layer: int | None = None,
    teacher_layer: int | None = None,
    hint_epochs: int | None = None,
    temperature: float = 4.0,
    **fit_options: Any,
) -> History:
    """Two stages: hint_epochs on the hidden layers, and the rest of the epochs on soft targets.

    Parameters
    ----------
    student, x, labels, optimizer, **fit_options
        As for every method: see minikd/methods/base.py.
    teacher : MLP
        Its hidden layers and its logits are used.
    strength, temperature : float
        Of the teacher's term in the second stage, as in kd.
    layer, teacher_layer : int, optional
        Hidden layers of student and teacher; None is the middle one.
    hint_epochs : int, optional
        The epochs of the first stage; by default a quarter.
    """
    x, labels = check_student(student, x, labels)
    check_type("teacher", teacher, MLP, "an MLP, because its hidden layers and its logits are used")
    epochs = option(fit_options, "epochs")
    hint_epochs = max(1, epochs // 4) if hint_epochs is None else check_count("hint_epochs", hint_epochs)
    if hint_epochs >= epochs:
        raise ValueError(f"hint_epochs must leave some of the {epochs} epochs for the answers, got {hint_epochs}")
    layer = check_layer("layer", (len(student.sizes) - 2) // 2 if layer is None else layer, student)
    if teacher_layer is None:
        teacher_layer = (len(teacher.sizes) - 2) // 2
    hints = feature_targets(teacher, student, x, teacher_layer, fit_options.get("augment"))
    width = teacher.sizes[1:-1][teacher_layer]
    first = {**stage_options(fit_options, "hint"), "epochs": hint_epochs}
    if width == student.sizes[layer + 1]:
        loss = OnHidden(student, layer, hint_loss)
        history = fit(student, x, hints, loss=loss, optimizer=optimizer(student), **first)
    else:
        guided = trunk(student, layer, width, 1, fit_options)
        guided.weights[-1][...] = 0
        history = fit(guided, x, hints, loss=hint_loss, optimizer=optimizer(guided), **first)
        copy_layers(guided, student, layer + 1)
    second = {"strength": strength, "temperature": temperature, "optimizer": optimizer}
    options = {**fit_options, **second, "epochs": epochs - hint_epochs}
    return joined(history, kd.train(student, teacher, x, labels, **options))


METHOD = Method(
    "fitnets",
    "a hint at a hidden layer, then soft targets",
    "Romero et al. 2015, arXiv 1412.6550",
    train,
    teacher="network",
    temperature="temperature",
)
