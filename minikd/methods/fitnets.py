"""FitNets: first the hidden layers, then the answers (Romero et al. 2015).

Idea. A teacher's hidden layer is a hint at how to get to its answers. In a first stage the student's lower layers
are trained to foretell a hidden layer of the teacher; in a second the whole student learns from the answers, as in
kd.

Loss of the first stage. h (B, W) is the student's hidden layer, t (B, W') the teacher's, and r = h R + b a linear
regressor, which is needed where W and W' differ, and thrown away afterwards:

    L = 1/(2 B) Σ_i |r_i - t_i|²,        dr = (r - t) / B,   dR = h^T dr,   db = Σ_i dr_i,   dh = dr R^T

where d(|r - t|²/2)/dr = r - t, and the rest is `linear_backward`: the regressor is one more layer. So the lower
layers and the regressor together are an MLP whose "logits" are r, which `fit` trains like any other. With W = W'
there is no regressor, and the gradient dh = (h - t) / B enters at the hidden layer (`hidden_grads` of MLP.backward).
R starts from 0 (the paper: from small random values), so that the first gradients to reach h are those of a regressor
that knows something: |r - t|² is a sum over W' numbers, and through a large random R it pushes h about so hard that
the units of a narrow layer die. (On MNIST, 30 units and hints 256 wide, Adam at 3e-3: with R from N(0, 2/30) 21 and 19
of the units were dead after the hints, for two seeds, and 9.1 and 6.8 % of the validation images were missed in the
end; with R from 0 none, and 3.7 and 3.8 %.)

Defaults. The middle layers of both, as in the paper (of two, the last); a quarter of the epochs for the first stage;
then T = 4 and soft_weight 0.9 as in kd. The paper's code lets the weight of the teacher's answers fall from 4 towards
1 in the second stage, and has T = 3.

When. With deep, thin students that are hard to train, which is what it was made for. A student of one hidden layer
has little need of a hint, and a narrow one cannot hold what a wide teacher's layer holds.

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
    """1/(2 B) Σ_i |f_i - t_i|², and its gradient.  features, teacher_features (B, W) -> L, dfeatures (B, W)

    `features` are a hidden layer as wide as the teacher's, or what a regressor makes of a narrower one.
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
    """Two stages, hint_epochs and the rest of the epochs; layers are hidden layers, None the middle one.

    strength, temperature   of the teacher's answers in the second stage, as in kd
    """
    x, labels = check_student(student, x, labels)
    check_type("teacher", teacher, MLP, "an MLP, for its hidden layers and its answers are asked")
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
