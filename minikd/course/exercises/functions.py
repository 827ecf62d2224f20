"""E1 to E10: the functions that a learner writes. Their checks are in checks_losses.py and checks_networks.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..sandbox.conversation import Child
from . import checks_losses as losses
from . import checks_networks as networks
from .exercise import Check, Exercise, Open, Rng, Wrong

Part = Callable[[Child, Rng], None]


def check(name: str, share: float, *parts: Part, given: tuple[Part, ...] = ()) -> Check:
    """A check that needs one process. All of its parts must hold.

    `given` are parts that the name does not mention but that must hold as well. For example, a gradient of zeros also
    sums to 0.
    """

    def run(fresh: Open, rng: Rng) -> None:
        with fresh(keep=True) as child:
            for part in parts:
                part(child, rng)
            for part in given:
                try:
                    part(child, rng)
                except Wrong as error:
                    words = f"This holds, but it counts only for the right function:\n{error}"
                    raise Wrong(words, error.diagnosis) from None

    return Check(name, share, run)


E3, E4 = (losses.e3_reference, losses.e3_derived), (losses.e4_reference, losses.e4_derived)

# E1, E2, ... in this order: title, names of what the learner writes, and checks.
TABLE: tuple[Any, ...] = (
    (
        "log-softmax with temperature",
        "log_softmax",
        check("equals the reference", 0.5, losses.e1_reference),
        check("is unchanged by a shift of the logits", 0.2, losses.e1_shift, given=(losses.e1_reference,)),
        check("is finite at logits of ±1e4", 0.3, losses.e1_extreme),
    ),
    (
        "a layer, forward and backward",
        "affine_relu_forward affine_relu_backward",
        check("forward equals the reference", 0.2, losses.e2_forward),
        check("backward equals the reference", 0.5, losses.e2_backward, losses.e2_derived),
        check(
            "backward is the slope of forward", 0.3, losses.e2_differences, given=(losses.e2_forward, losses.e2_derived)
        ),
    ),
    (
        "cross-entropy and its gradient",
        "cross_entropy",
        check("loss and gradient, and by a formula", 0.6, *E3),
        check("right at logits of ±1e4", 0.2, losses.e3_extreme, given=(losses.e3_derived,)),
        check("each row of the gradient sums to 0", 0.2, losses.e3_rows, given=E3),
    ),
    (
        "the loss of distillation and its gradient",
        "kd_loss",
        check("loss and gradient, and by a formula", 0.5, *E4),
        check("zero if teacher and student agree", 0.15, losses.e4_same, given=E4),
        check("logit matching as T grows", 0.2, losses.e4_limit, given=E4),
        check("right at logits of ±1e4", 0.15, losses.e4_extreme, given=(losses.e4_derived,)),
    ),
    (
        "labels and teacher, with weighted samples",
        "kd_total",
        check("loss and gradient, and by a formula", 0.5, losses.e5_reference, losses.e5_derived),
        check("soft_weight 0 and 1", 0.25, losses.e5_edges, given=(losses.e5_derived,)),
        check("samples of weight 0", 0.25, losses.e5_zeros, given=(losses.e5_derived,)),
    ),
    (
        "gradients of a whole network",
        "mlp_gradients",
        check("one and two layers", 0.5, networks.e6_shallow, networks.e6_derived),
        check("three and four layers", 0.5, networks.e6_deep, networks.e6_derived_deep),
    ),
    (
        "a gradient, measured",
        "numerical_gradient",
        check("right, with the error of central differences", 0.6, networks.e7_accuracy),
        check("two calls per entry, one entry moved", 0.4, networks.e7_calls),
    ),
    (
        "distil a network",
        "distill",
        check("one step", 0.4, networks.e8_step, networks.e8_derived),
        check("fifty steps, to 1e-8", 0.6, networks.e8_trajectory, networks.e8_derived),
    ),
    (
        "two students teach each other",
        "mutual_gradients",
        check("both gradients, by a formula", 0.7, losses.e9_reference, losses.e9_derived),
        check(
            "peers with equal logits learn from labels alone",
            0.3,
            losses.e9_agreement,
            given=(losses.e9_reference, losses.e9_derived),
        ),
    ),
    (
        "through two frozen networks, to the input",
        "generator_input_gradient",
        check("is the slope of J, by a formula", 1.0, networks.e10_reference, networks.e10_derived),
    ),
)

FUNCTIONS = tuple(
    Exercise(number, title, tuple(names.split()), tuple(checks))
    for number, (title, names, *checks) in enumerate(TABLE, 1)
)
