"""How E6, E7, E8 and E10 are checked, see checks_losses.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..sandbox.conversation import Child
from .checks_losses import WIDE, WIDE_SECONDS, logits, temperature
from .exercise import Rng, Wrong, array_of, expect, values_of
from .expected import Params, as_mlp, gradients, input_gradient, network, student_of

# ---- networks ----------------------------------------------------------------------------------------------------


def check_params(what: str, got: Any, want: Params, tolerance: float = 1e-9) -> None:
    """A list of pairs (W, b), or of their gradients, must be as `want`."""
    for i, (pair, (W, b)) in enumerate(zip(values_of(what, got, len(want)), want, strict=True), 1):
        mine = values_of(f"layer {i} of {what}", pair, 2)
        expect(f"W of layer {i}", mine[0], W, tolerance)
        expect(f"b of layer {i}", mine[1], b, tolerance)


def check_gradients_of(child: Child, rng: Rng, *sizes: int, rows: int = 6, seconds: float | None = None) -> None:
    """E6 on a random network of these sizes."""
    params, x = network(rng, *sizes), rng.standard_normal((rows, sizes[0]))
    dz = rng.standard_normal((rows, sizes[-1]))
    got = child.call("mlp_gradients", params, x, dz, seconds=seconds)
    check_params("mlp_gradients", got, gradients(params, x, dz))


def e6_shallow(child: Child, rng: Rng) -> None:
    """One and two layers."""
    check_gradients_of(child, rng, 5, 4)
    check_gradients_of(child, rng, 6, 7, 3)


def e6_deep(child: Child, rng: Rng) -> None:
    """Three and four layers."""
    check_gradients_of(child, rng, 6, 7, 8, 3)
    check_gradients_of(child, rng, 4, 9, 8, 7, 5)


def e7_accuracy(child: Child, rng: Rng) -> None:
    """Right, with just the error that central differences have."""
    A, x = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))

    def f(moved: np.ndarray) -> float:
        return float(np.sin(array_of("x", moved, (3, 4)) * A).sum())

    got = child.call("numerical_gradient", f, x, 1e-5)
    expect("the gradient", got, A * np.cos(A * x), 1e-8, "with h = 1e-5, central differences are right to ten digits")
    cubic = rng.standard_normal(5)
    h = float(rng.uniform(0.05, 0.2))
    got = child.call("numerical_gradient", lambda moved: float((array_of("x", moved, (5,)) ** 3).sum()), cubic, h)
    why = "exactly 3 x² + h² for central differences with step h"
    expect("the gradient of sum(x³)", got, 3 * cubic**2 + h**2, why=why)


def e7_calls(child: Child, rng: Rng) -> None:
    """Two calls an entry, each of which moves that entry alone."""
    x, seen = rng.standard_normal((2, 3)), []

    def f(moved: np.ndarray) -> float:
        seen.append(array_of("x", moved, (2, 3)))
        return float((seen[-1] ** 2).sum())

    expect("the gradient", child.call("numerical_gradient", f, x, 1e-4), 2 * x, 1e-8)
    if len(seen) != 2 * x.size:
        wanted = f"f must be called twice for each of the {x.size} entries of x, {2 * x.size} times"
        raise Wrong(f"{wanted}; it was called {len(seen)} times")
    moved = sorted(int((np.abs(point - x) > 1e-12).sum()) for point in seen)
    if moved != [1] * len(seen):
        raise Wrong("each call must move one entry of x and leave the others as they were: is every step taken back?")


def e8_task(rng: Rng, steps: int) -> list[Any]:
    """Arguments of E8 with so many steps."""
    x = rng.standard_normal((40, 6))
    v = as_mlp(network(rng, 6, 20, 5)).forward(x) * 2
    order = [rng.permutation(40)[: int(rng.integers(5, 12))] for _ in range(steps)]
    return [network(rng, 6, 8, 5), x, v, temperature(rng), 0.05, order]


def e8_step(child: Child, rng: Rng) -> None:
    """The parameters after one step."""
    task = e8_task(rng, 1)
    check_params("distill after one step", child.call("distill", *task), student_of(*task))


def e8_trajectory(child: Child, rng: Rng) -> None:
    """The parameters after 5 and after 50 steps."""
    task = e8_task(rng, 50)
    for steps in (5, 50):
        now = [*task[:5], task[5][:steps]]
        check_params(f"distill after {steps} steps", child.call("distill", *now), student_of(*now), 1e-8)


def e10_differences(child: Child, rng: Rng) -> None:
    """The gradient is the slope of J, and equals the reference."""
    teacher, student, x, T = network(rng, 5, 9, 4), network(rng, 5, 6, 4), rng.standard_normal((3, 5)), temperature(rng)
    got = array_of("dx", child.call("generator_input_gradient", teacher, student, x, T), x.shape)
    step = rng.standard_normal(x.shape) * 1e-6
    measured = (input_gradient(teacher, student, x + step, T)[0] - input_gradient(teacher, student, x - step, T)[0]) / 2
    why = "measured by (J(x + step) - J(x - step)) / 2; J depends on x through the student and through the teacher"
    expect("what dx says of a small step", np.asarray((got * step).sum()) / 1e-6, measured / 1e-6, 1e-4, why)
    expect("dx", got, input_gradient(teacher, student, x, T)[1])


def wide_e6(child: Child, rng: Rng) -> None:
    """A network of 400-400-10."""
    check_gradients_of(child, rng, 400, 400, 10, rows=3, seconds=WIDE_SECONDS)


def wide_e8(child: Child, rng: Rng) -> None:
    """One step of a network of 400-300-5."""
    x, v = rng.standard_normal((6, 400)), logits(rng, 6, 5)
    task: list[Any] = [network(rng, 400, 300, 5), x, v, temperature(rng), 0.05, [np.array([4, 0, 3])]]
    check_params("distill of a wide network", child.call("distill", *task, seconds=WIDE_SECONDS), student_of(*task))


def wide_e10(child: Child, rng: Rng) -> None:
    """WIDE inputs."""
    teacher, student = network(rng, WIDE, 16, 5), network(rng, WIDE, 8, 5)
    x, T = rng.standard_normal((2, WIDE)), temperature(rng)
    got = child.call("generator_input_gradient", teacher, student, x, T, seconds=WIDE_SECONDS)
    expect(f"dx of {WIDE:,} inputs", got, input_gradient(teacher, student, x, T)[1])
