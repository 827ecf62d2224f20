"""The checks of E6, E7, E8 and E10; see checks_losses.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..sandbox.conversation import Child
from .checks_losses import KINKS, kinked_biases, large_call, logits, temperature
from .diagnosis import Clues
from .exercise import Rng, Wrong, array_of, expect, values_of
from .expected import Params, as_mlp, gradients, input_gradients, network, student_of

# ---- networks ----------------------------------------------------------------------------------------------------


def check_params(
    what: str, got: Any, want: Params, tolerance: float = 1e-9, why: str = "", clues: Clues | None = None
) -> None:
    """Check a list of pairs (W, b), or of their gradients, against `want`. Results in `clues` have the same form."""
    for i, (pair, layer) in enumerate(zip(values_of(what, got, len(want)), want, strict=True)):
        mine = values_of(f"layer {i + 1} of {what}", pair, 2)
        for j, name in enumerate("Wb"):
            about = clues.of(i).of(j) if clues else None
            expect(f"{name} of layer {i + 1}", mine[j], layer[j], tolerance, why, about)


def check_gradients_of(child: Child, rng: Rng, *sizes: int, rows: int = 6) -> None:
    """Check E6 on a random network of these sizes."""
    params, x = network(rng, *sizes), rng.standard_normal((rows, sizes[0]))
    dz = rng.standard_normal((rows, sizes[-1]))
    want = gradients(params, x, dz)
    clues = Clues({"B": rows}, [("relu's slope is left out", gradients_of_linear(params, x, dz))])
    check_params("mlp_gradients", child.call("mlp_gradients", params, x, dz), want, clues=clues)


def gradients_of_linear(params: Params, x: np.ndarray, dz: np.ndarray) -> Params:
    """A wrong E6, with relu in the forward pass but not in the backward pass."""
    inputs = [x]
    for W, b in params[:-1]:
        inputs.append(np.maximum(inputs[-1] @ W + b, 0))
    found = []
    for (W, _), h in zip(reversed(params), reversed(inputs), strict=True):
        found.append((h.T @ dz, dz.sum(axis=0)))
        dz = dz @ W.T
    return found[::-1]


def e6_shallow(child: Child, rng: Rng) -> None:
    """Check networks of one and two layers."""
    check_gradients_of(child, rng, 5, 4)
    check_gradients_of(child, rng, 6, 7, 3)


def e6_deep(child: Child, rng: Rng) -> None:
    """Check networks of three and four layers."""
    check_gradients_of(child, rng, 6, 7, 8, 3)
    check_gradients_of(child, rng, 4, 9, 8, 7, 5)


def e7_accuracy(child: Child, rng: Rng) -> None:
    """The result is right, with exactly the error of central differences."""
    A, x = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))

    def f(moved: np.ndarray) -> float:
        return float(np.sin(array_of("x", moved, (3, 4)) * A).sum())

    got = child.call("numerical_gradient", f, x, 1e-5)
    expect("the gradient", got, A * np.cos(A * x), 1e-8, "with h = 1e-5, central differences are right to ten digits")
    cubic, c = rng.standard_normal(5), rng.standard_normal(5) + 2
    h = float(rng.uniform(0.05, 0.2))
    got = child.call("numerical_gradient", lambda moved: float((c * array_of("x", moved, (5,)) ** 3).sum()), cubic, h)
    why = "exactly c (3 x² + h²) for central differences with step h"
    expect("the gradient of sum(c x³)", got, c * (3 * cubic**2 + h**2), why=why)


def e7_calls(child: Child, rng: Rng) -> None:
    """f is called twice per entry, and each call moves only that entry."""
    x, seen = rng.standard_normal((2, 3)), []
    A, C = rng.standard_normal((2, 2, 3))

    def f(moved: np.ndarray) -> float:
        seen.append(array_of("x", moved, (2, 3)))
        return float((A * np.sin(seen[-1]) + C * seen[-1] ** 2).sum())

    expect("the gradient", child.call("numerical_gradient", f, x, 1e-4), A * np.cos(x) + 2 * C * x, 1e-7)
    if len(seen) != 2 * x.size:
        wanted = f"f must be called twice for each of the {x.size} entries of x, {2 * x.size} times"
        raise Wrong(f"{wanted}; it was called {len(seen)} times")
    moved = sorted(int((np.abs(point - x) > 1e-12).sum()) for point in seen)
    if moved != [1] * len(seen):
        raise Wrong("each call must move one entry of x and leave the others unchanged: is every step undone?")


def e8_task(rng: Rng, steps: int) -> list[Any]:
    """Random arguments of E8 with this number of steps."""
    x = rng.standard_normal((40, 6))
    v = as_mlp(network(rng, 6, 20, 5)).forward(x) * 2
    order = [rng.permutation(40)[: int(rng.integers(5, 12))] for _ in range(steps)]
    return [network(rng, 6, 8, 5), x, v, temperature(rng), 0.05, order]


def e8_clues(task: list[Any]) -> Clues:
    """Known mistakes, as seen after one step."""
    params, x, v, T, lr, batches = task
    mistakes = [
        ("softmax has the temperature 1", student_of(params, x, v, 1.0, lr, batches)),
        (
            "the teacher's logits are not taken at the rows of the batch",
            student_of(params, x, np.roll(v, 1), T, lr, batches),
        ),
    ]
    return Clues({"T": T, "B": len(batches[0])}, mistakes, params)


def e8_step(child: Child, rng: Rng) -> None:
    """Check the parameters after one step."""
    task = e8_task(rng, 1)
    got = child.call("distill", *task)
    check_params("distill after one step", got, student_of(*task), clues=e8_clues(task))


def e8_trajectory(child: Child, rng: Rng) -> None:
    """Check the parameters after 5 and after 50 steps."""
    task = e8_task(rng, 50)
    for steps in (5, 50):
        now = [*task[:5], task[5][:steps]]
        check_params(f"distill after {steps} steps", child.call("distill", *now), student_of(*now), 1e-8)


def e10_reference(child: Child, rng: Rng) -> None:
    """The gradient equals the reference. The message includes the slope of J along a random direction."""
    teacher, student, x, T = network(rng, 5, 9, 4), network(rng, 5, 6, 4), rng.standard_normal((3, 5)), temperature(rng)
    got = array_of("dx", child.call("generator_input_gradient", teacher, student, x, T), x.shape)
    _, by_teacher, by_student = input_gradients(teacher, student, x, T)
    mistakes = [
        ("the way through the teacher is left out", by_student),
        ("the way through the student is left out", by_teacher),
        ("the teacher's way has the wrong sign", by_student - by_teacher),
    ]
    step = rng.standard_normal(x.shape) * 1e-6
    slope = input_gradients(teacher, student, x + step, T)[0] - input_gradients(teacher, student, x - step, T)[0]
    why = (
        f"Along a random direction J has slope {slope / 2e-6:.6g}, your gradient says {(got * step).sum() / 1e-6:.6g}."
    )
    expect("dx", got, by_teacher + by_student, why=why, clues=Clues({"T": T, "B": 3}, mistakes))


# ---- derived, not measured: see checks_losses.py -----------------------------------------------------------------


def kinked_network(rng: Rng, *sizes: int) -> Params:
    """A network whose first hidden units are at or near their kinks if x is 0."""
    params = network(rng, *sizes)
    params[0][1][...] = kinked_biases(rng, sizes[1])
    return params


def inputs(rng: Rng, rows: int, size: int) -> np.ndarray:
    """Inputs (rows, size); the first row is 0."""
    x = rng.standard_normal((rows, size))
    x[0] = 0.0
    return x


def e6_derived(child: Child, rng: Rng, *hidden: int) -> None:
    """The gradients are right for 100 samples, 2,000 hidden units, some at their kinks, and logits near 1e6."""
    params, x = kinked_network(rng, 20, 2000, *hidden, 10), inputs(rng, 100, 20)
    dz = rng.standard_normal((100, 10))
    params[-1][1][...] = 1e6
    got = large_call(child, "mlp_gradients", params, x, dz)
    check_params("mlp_gradients", got, gradients(params, x, dz), why=KINKS)


def e6_derived_deep(child: Child, rng: Rng) -> None:
    """The same with one more layer."""
    e6_derived(child, rng, 30)


LARGE = (200, 200, 2000)  # inputs, hidden units and classes: too many to move each of them once


def e8_derived(child: Child, rng: Rng) -> None:
    """One large step of a large network with units at their kinks is right."""
    x, v = inputs(rng, 60, LARGE[0]), logits(rng, 60, LARGE[-1])
    task: list[Any] = [kinked_network(rng, *LARGE), x, v, temperature(rng), 2.0, [rng.permutation(60)[:50]]]
    got = large_call(child, "distill", *task)
    check_params("distill of a large network", got, student_of(*task), why=KINKS)


def e10_derived(child: Child, rng: Rng) -> None:
    """The gradient is right for large networks, units at their kinks, and a J much larger than its slope."""
    teacher, student = kinked_network(rng, *LARGE), kinked_network(rng, *LARGE)
    teacher[1][1][0], student[1][1][0] = -30.0, 1e4
    x, T = inputs(rng, 120, LARGE[0]), temperature(rng)
    got = large_call(child, "generator_input_gradient", teacher, student, x, T)
    _, by_teacher, by_student = input_gradients(teacher, student, x, T)
    expect("dx of large networks", got, by_teacher + by_student, why=KINKS)
