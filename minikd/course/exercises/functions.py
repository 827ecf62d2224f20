"""E1 to E10: the functions that a learner writes, with three hints each. Their checks are in checks_*.py."""

from __future__ import annotations

from collections.abc import Callable

from ..sandbox.conversation import Child
from . import checks_losses as losses
from . import checks_networks as networks
from .exercise import Check, Exercise, Open, Rng


def once(*some: Callable[[Child, Rng], None]) -> Callable[[Open, Rng], None]:
    """A check that needs one process: all of these must hold."""

    def run(fresh: Open, rng: Rng) -> None:
        with fresh() as child:
            for check in some:
                check(child, rng)

    return run


FUNCTIONS = (
    Exercise(
        1,
        "log-softmax with temperature",
        ("log_softmax",),
        (
            "Write log p_k as z_k / T minus something that all classes of a row share. What is it?",
            "exp overflows at 710. Softmax does not change when the same number is taken off all logits of a row: "
            "which number makes sure that every exponent is at most 0?",
            "keepdims=True keeps a column (B, 1) that NumPy subtracts from every class. Divide by T before exp, and "
            "never take the logarithm of a probability: it may have become 0.",
        ),
        (
            Check("equals the reference", 0.5, once(losses.e1_reference)),
            Check("does not notice a shift", 0.2, once(losses.e1_shift)),
            Check("is finite at logits of ±1e4", 0.3, once(losses.e1_extreme)),
        ),
    ),
    Exercise(
        2,
        "a layer, forward and backward",
        ("affine_relu_forward", "affine_relu_backward"),
        (
            "Go back line by line: first through the maximum, then through x W + b.",
            "Where x W + b > 0, relu hands dh on; elsewhere its output is constant. Compute x W + b again.",
            "dW sums over the batch what each sample says: its input times its da. Of the two products of x and da, "
            "only one has the shape (D, H).",
        ),
        (
            Check("forward equals the reference", 0.2, once(losses.e2_forward)),
            Check("backward equals the reference", 0.5, once(losses.e2_backward, losses.wide_e2)),
            Check("backward is the slope of forward", 0.3, once(losses.e2_differences, losses.wide_e2)),
        ),
    ),
    Exercise(
        3,
        "cross-entropy and its gradient",
        ("cross_entropy",),
        (
            "log softmax(z)[y] = z_y - log sum_j exp(z_j). Differentiate both parts by z_k.",
            "What is, less what should be: probabilities minus the one-hot label.",
            "The mean over the batch divides the gradient by B, too. z[np.arange(B), y] picks one entry of each row.",
        ),
        (
            Check("loss and gradient, and by a formula", 0.6, once(losses.e3_reference, losses.wide_e3)),
            Check("holds at logits of ±1e4", 0.2, once(losses.e3_extreme, losses.wide_e3)),
            Check("each row of the gradient sums to 0", 0.2, once(losses.e3_rows, losses.wide_e3)),
        ),
    ),
    Exercise(
        4,
        "the loss of distillation and its gradient",
        ("kd_loss",),
        (
            "KL(q || p) = sum q log q - sum q log p, and only the second depends on the student.",
            "d log p_k / dz_j = ([k = j] - p_j) / T. Multiply by -q_k and sum over k; the q_k sum to 1.",
            "1/T from the derivative and T² in front make T. And a mean over B samples divides by B, not by B K.",
        ),
        (
            Check("loss and gradient, and by a formula", 0.5, once(losses.e4_reference, losses.wide_e4)),
            Check("zero where teacher and student agree", 0.15, once(losses.e4_same, losses.wide_e4)),
            Check("logit matching as T grows", 0.2, once(losses.e4_limit, losses.wide_e4)),
            Check("holds at logits of ±1e4", 0.15, once(losses.e4_extreme, losses.wide_e4)),
        ),
    ),
    Exercise(
        5,
        "labels and teacher, with weighted samples",
        ("kd_total",),
        (
            "It is a sum of losses that you know, each with a number before it; so is the gradient.",
            "The labels' part is at temperature 1, the teacher's at T. The weight of a sample multiplies its row of "
            "dz.",
            "Divide by the sum of the weights instead of B, and think of the case in which that sum is 0.",
        ),
        (
            Check("loss and gradient, and by a formula", 0.5, once(losses.e5_reference, losses.wide_e5)),
            Check("soft_weight 0 and 1", 0.25, once(losses.e5_edges, losses.wide_e5)),
            Check("samples of weight 0", 0.25, once(losses.e5_zeros, losses.wide_e5)),
        ),
    ),
    Exercise(
        6,
        "gradients of a whole network",
        ("mlp_gradients",),
        (
            "Run forward first and keep what went into each layer.",
            "Backward, from the last layer to the first: dW = input^T dz, db = sum of dz, and then dz W^T goes on to "
            "the left.",
            "Before it counts for the layer to the left, it must pass that layer's relu: keep it where the input was > "
            "0. The last layer has no relu.",
        ),
        (
            Check("one and two layers", 0.5, once(networks.e6_shallow, networks.wide_e6)),
            Check("three and four layers", 0.5, once(networks.e6_deep, networks.wide_e6)),
        ),
    ),
    Exercise(
        7,
        "a gradient, measured",
        ("numerical_gradient",),
        (
            "np.ndindex(x.shape) goes through all entries, whatever the shape.",
            "Move one entry up by h, ask f; down by h, ask f; then put it back.",
            "Work on a copy of x, or f's caller finds x changed. Two calls for each entry: do not ask for f(x) itself.",
        ),
        (
            Check("right, with the error that central differences have", 0.6, once(networks.e7_accuracy)),
            Check("two calls an entry, one entry moved", 0.4, once(networks.e7_calls)),
        ),
    ),
    Exercise(
        8,
        "distil a network",
        ("distill",),
        (
            "It is E6 and E4 in a loop: forward, the loss's gradient, backward, step.",
            "Rows of x and rows of teacher_logits belong together: take both by the same row numbers.",
            "W - lr * dW makes a new array; W -= lr * dW changes the one that you were given.",
        ),
        (
            Check("one step", 0.4, once(networks.e8_step, networks.wide_e8)),
            Check("fifty steps, to 1e-8", 0.6, once(networks.e8_trajectory, networks.wide_e8)),
        ),
    ),
    Exercise(
        9,
        "two students teach each other",
        ("mutual_gradients",),
        (
            "L1 is E3 plus E4, with the other student as teacher.",
            "In L1, z2 is a constant: dL1/dz1 has no term from how p2 would change.",
            "dz1 = (softmax(z1) - y) / B + T (p1 - p2) / B, and dz2 with 1 and 2 exchanged. Which temperature has the "
            "first term?",
        ),
        (
            Check("both gradients, by a formula", 0.7, once(losses.e9_reference, losses.wide_e9)),
            Check("peers that agree learn from labels alone", 0.3, once(losses.e9_agreement, losses.wide_e9)),
        ),
    ),
    Exercise(
        10,
        "through two frozen networks, to the input",
        ("generator_input_gradient",),
        (
            "Find dJ/dz at the student's logits (E4) and dJ/dv at the teacher's, take both back to x, and add them.",
            "KL(q || p) depends on v through q alone, twice: as the weight and in log q. With r_k = log q_k - log p_k, "
            "the derivative of sum_k q_k r_k by q_k is r_k + 1; then through softmax.",
            "Through softmax: dv_j = q_j (g_j - sum_k q_k g_k) / T with g = r; the 1 drops out. Times T², over B.",
        ),
        (Check("is the slope of J, by a formula", 1.0, once(networks.e10_differences, networks.wide_e10)),),
    ),
)
