"""The gradient checker finds planted mistakes, is not fooled by kinks, and puts everything back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_bits, blocks_of, sample, some_labels

from minikd import MLP, check_gradients, distillation_loss, soft_cross_entropy, softmax
from minikd.backend import Array, to_device, to_numpy
from minikd.gradcheck import Check, GradientReport

pytestmark = pytest.mark.extras

B, T, W = 4, 3.0, 0.6
Grads = dict[str, Array]


class Lesson:
    """A network with a square second layer, a batch, and the distillation loss: what a student's exercise checks."""

    def __init__(self, device: str) -> None:
        self.model = MLP((3, 4, 4, 3), activation="tanh", dtype="float64", device=device)
        self.x, self.v = (to_device(sample(B, 3, seed=seed), device) for seed in (3, 4))
        self.labels = to_device(some_labels(B, 3), device)

    def loss(self, theta: Any = None) -> Any:
        """The value at the network's present parameters."""
        return self.both()[0]

    def both(self) -> tuple[Any, Array]:
        """Loss and dlogits."""
        logits = self.model.forward(self.x, train=True)
        return distillation_loss(logits, self.labels, self.v, temperature=T, soft_weight=W)

    def grads(self, dlogits: Array | None = None) -> Grads:
        """Copies of the gradients by block, from the right dlogits or from others."""
        self.model.backward(self.both()[1] if dlogits is None else dlogits)
        return {name: grad.copy() for name, grad in blocks_of(self.model)[1].items()}

    def check(self, grads: Grads, **options: Any) -> GradientReport:
        """The report for these gradients."""
        return check_gradients(self.loss, blocks_of(self.model)[0], grads, **options)


@pytest.fixture
def lesson(device: str) -> Lesson:
    """A fresh one for each test."""
    return Lesson(device)


# ---- right and wrong -------------------------------------------------------------------------------------------


def test_a_right_gradient_passes(lesson: Lesson) -> None:
    report = lesson.check(lesson.grads())
    report.assert_ok()
    assert report.max_relative_error < 1e-8
    assert [check.block for check in report.checks] == ["W1", "W2", "W3", "b1", "b2", "b3", "directions"]
    assert [check.checked for check in report.checks] == [12, 16, 12, 4, 4, 3, 5]


def without_t_squared(lesson: Lesson) -> Grads:
    """The soft term as soft_cross_entropy gives it."""
    logits = lesson.model.forward(lesson.x, train=True)
    _, hard = distillation_loss(logits, lesson.labels, lesson.v, temperature=T, soft_weight=0)
    _, soft = soft_cross_entropy(logits, softmax(lesson.v, T), temperature=T)
    return lesson.grads((1 - W) * hard + W * soft)


def changed(name: str, change: Callable[[Array], Array]) -> Callable[[Lesson], Grads]:
    """The right gradients, but for one block."""

    def plant(lesson: Lesson) -> Grads:
        grads = lesson.grads()
        grads[name] = change(grads[name].copy())
        return grads

    return plant


def add_at(at: tuple[int, ...], amount: float) -> Callable[[Array], Array]:
    """One wrong coordinate."""

    def change(grad: Array) -> Array:
        grad[at] += amount
        return grad

    return change


MISTAKES: dict[str, Callable[[Lesson], Grads]] = {
    "factor 2": lambda lesson: {name: 2 * grad for name, grad in lesson.grads().items()},
    "sign": lambda lesson: {name: -grad for name, grad in lesson.grads().items()},
    "1/B missing": lambda lesson: {name: B * grad for name, grad in lesson.grads().items()},
    "T² missing": without_t_squared,
    "a matrix transposed": changed("W2", lambda grad: grad.T.copy()),
    "a bias forgotten": changed("b1", lambda grad: 0 * grad),
    "a bias averaged instead of summed": changed("b3", lambda grad: grad / B),
    "one weight wrong": changed("W2", add_at((3, 1), 1e-3)),
    "one weight wrong in the sixth digit": changed("W1", lambda grad: grad * (1 + 1e-6)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(lesson: Lesson, mistake: str) -> None:
    report = lesson.check(MISTAKES[mistake](lesson))
    assert report.max_relative_error > 3e-7
    with pytest.raises(AssertionError, match=r"the gradient is wrong, or f is not smooth here:\n(.*\n)*.*NOT OK"):
        report.assert_ok()


@pytest.mark.parametrize("mistake", [name for name in MISTAKES if "sixth" not in name])
def test_random_directions_alone_find_a_planted_mistake(lesson: Lesson, mistake: str) -> None:
    report = lesson.check(MISTAKES[mistake](lesson), n_coordinates=1)
    assert report.checks[-1].relative_error > 1e-6


def test_the_report_points_at_the_wrong_coordinate_with_both_slopes(lesson: Lesson) -> None:
    right = float(lesson.grads()["W2"][3, 1])
    report = lesson.check(MISTAKES["one weight wrong"](lesson), n_directions=0)
    assert [check.block for check in report.checks if check.relative_error > 1e-7] == ["W2"]
    worst = report.worst
    assert (worst.block, worst.coordinate, worst.checked) == ("W2", "[3, 1]", 16)
    assert worst.analytic == pytest.approx(right + 1e-3, rel=1e-12)
    assert worst.numeric == pytest.approx(right, rel=1e-7)
    assert worst.relative_error == pytest.approx(1e-3 / max(abs(right), abs(right + 1e-3)), rel=0.5)


def test_a_closure_that_runs_backward_cannot_hide_a_mistake(lesson: Lesson) -> None:
    """f overwrites the very gradient that is being checked with the right one; the claim was another."""

    def f(theta: Array) -> Any:
        loss, dlogits = lesson.both()
        lesson.model.backward(dlogits)
        return loss

    lesson.grads()
    lesson.model.grad *= 2
    theta, grad = blocks_of(lesson.model)
    assert check_gradients(f, theta, grad).max_relative_error > 0.3


@pytest.mark.parametrize("step", [1e-2, 1e-3, 1e-4])
def test_any_sensible_step_will_do(lesson: Lesson, step: float) -> None:
    lesson.check(lesson.grads(), step=step).assert_ok()


# ---- small functions -------------------------------------------------------------------------------------------


def cubes(theta: Array) -> Any:
    """sum theta³, whose gradient is 3 theta²."""
    return (theta**3).sum()


def test_a_plain_array_is_one_block_called_theta(xp: Any) -> None:
    theta = xp.array(sample(2, 3))
    report = check_gradients(cubes, theta, 3 * theta**2)
    report.assert_ok()
    assert [(check.block, check.checked) for check in report.checks] == [("theta", 6), ("directions", 5)]


def test_f_gets_theta_itself_and_may_use_it_or_not(xp: Any) -> None:
    theta = xp.array(sample(3))
    seen = []
    for f in (lambda argument: seen.append(argument is theta) or cubes(argument), lambda _: cubes(theta)):
        check_gradients(f, theta, 3 * theta**2).assert_ok()
    assert len(seen) > 10 and all(seen)
    blocks = {"a": theta, "b": xp.array(sample(2))}
    grads = {name: 3 * block**2 for name, block in blocks.items()}
    check_gradients(lambda blocks: cubes(blocks["a"]) + cubes(blocks["b"]), blocks, grads).assert_ok()


def test_a_float_from_f_is_as_good_as_an_array(xp: Any) -> None:
    theta = xp.array(sample(3))
    check_gradients(lambda theta: float(cubes(theta)), theta, 3 * theta**2).assert_ok()


def test_richardson_takes_out_the_error_of_a_cubic(xp: Any) -> None:
    """Plain central differences are off by h² theta''' / 6 = h² here: far more than 1e-7 at this step."""
    theta = xp.array([1.0])
    report = check_gradients(cubes, theta, 3 * theta**2, step=0.1, n_directions=0)
    assert report.max_relative_error < 1e-12


def test_only_so_many_coordinates_and_directions_are_tried(xp: Any) -> None:
    theta, calls = xp.array(sample(50)), []

    def f(theta: Array) -> Any:
        calls.append(1)
        return cubes(theta)

    report = check_gradients(f, theta, 3 * theta**2, n_coordinates=7, n_directions=2)
    assert [check.checked for check in report.checks] == [7, 2]
    assert len(calls) == 1 + 4 * (7 + 2)
    report = check_gradients(f, theta, 3 * theta**2, n_coordinates=60, n_directions=0)
    assert [check.checked for check in report.checks] == [50]


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_slope_that_drowns_in_rounding_is_no_false_alarm(xp: Any, offset: float) -> None:
    slopes = xp.array([1.0, -0.3, 1e-9, 1e-12, 0.0])
    theta = xp.array(sample(5))
    check_gradients(lambda theta: offset + (theta * slopes).sum(), theta, slopes, n_directions=0).assert_ok()


def test_a_constant_function_has_gradient_0(xp: Any) -> None:
    theta = xp.array(sample(3))
    for value in (0.0, 5.0):
        check_gradients(lambda _, value=value: value, theta, 0 * theta).assert_ok()
        assert check_gradients(lambda _, value=value: value, theta, 0 * theta + 0.1).max_relative_error == 1


# ---- kinks -----------------------------------------------------------------------------------------------------


def relus(theta: Array) -> Any:
    """A sum of relus of different slopes."""
    return ((abs(theta) + theta) / 2 * (3 + theta)).sum()


def relus_gradient(theta: Array) -> Array:
    """Its gradient where it has one."""
    return (theta > 0) * (3 + 2 * theta)


@pytest.mark.parametrize("distance", [3e-2, 9e-4, 4e-4, 1.1e-4, 6e-5, 3e-5])
def test_a_kink_nearby_is_no_false_alarm(xp: Any, distance: float) -> None:
    theta = xp.array([0.7, distance, -distance, -0.4])
    check_gradients(relus, theta, relus_gradient(theta)).assert_ok()


@pytest.mark.parametrize("wrong", [0.0, 1.5, 3.01])
def test_a_kink_nearby_does_not_hide_a_mistake(xp: Any, wrong: float) -> None:
    theta = xp.array([0.7, 4e-4, -4e-4, -0.4])
    grad = relus_gradient(theta)
    grad[1] = wrong  # 3.0008 is right, and the rest is right too
    report = check_gradients(relus, theta, grad, n_directions=0)
    assert report.worst.coordinate == "[1]"
    assert report.max_relative_error > 3e-3


# ---- the table -------------------------------------------------------------------------------------------------


def test_the_table_has_a_line_a_block_with_what_a_student_needs(lesson: Lesson) -> None:
    report = lesson.check(MISTAKES["one weight wrong"](lesson))
    head, *lines = str(report).split("\n")
    assert " ".join(head.split()) == "block worst at analytic numeric rel. error checked"
    assert [line.split()[0] for line in lines] == ["W1", "W2", "W3", "b1", "b2", "b3", "directions"]
    assert [line.endswith("  NOT OK") for line in lines] == [False, True, False, False, False, False, True]
    assert all(line.endswith("  ok") for line in lines if not line.endswith("NOT OK"))
    check = report.checks[1]
    for text in ("[3, 1]", f"{check.analytic:.6e}", f"{check.numeric:.6e}", f"{check.relative_error:.1e}", " 16 "):
        assert text in lines[1]
    assert {line.index("ok" if line.endswith("ok") else "NOT OK") for line in lines} == {len(head) + 2}


def test_the_verdict_follows_the_tolerance() -> None:
    report = GradientReport((Check("W", "[0]", 1.0, 1.001, 1e-3, 1),))
    assert report.table().endswith("NOT OK") and report.table(1e-2).endswith("  ok")
    report.assert_ok(1e-2)
    for tolerance in (1e-3, 1e-4):  # "below", not "at most"
        with pytest.raises(AssertionError, match="NOT OK"):
            report.assert_ok(tolerance)


# ---- NaN -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_not_ok(xp: Any, bad: float) -> None:
    theta = xp.array(sample(4))
    grad = 3 * theta**2
    grad[2] = bad
    report = check_gradients(cubes, theta, grad, n_directions=0)
    assert report.worst.coordinate == "[2]"
    assert not report.max_relative_error < 1e300
    assert "NOT OK" in str(report)
    with pytest.raises(AssertionError):
        report.assert_ok(1e9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("when", ["always", "beside theta"])
def test_a_function_that_is_not_finite_is_not_ok(xp: Any, bad: float, when: str) -> None:
    theta = xp.array([1.0, 2.0])
    grad = 3 * theta**2
    report = check_gradients(
        lambda theta: cubes(theta) if when != "always" and float(theta[1]) <= 2 else bad, theta, grad
    )
    with pytest.raises(AssertionError, match="NOT OK"):
        report.assert_ok(1e9)


# ---- putting things back ---------------------------------------------------------------------------------------

AWKWARD = [0.1, -1 / 3, 0.0, 1e-300, 5e-324, 123456.789, 1e16]  # numbers that theta + h - h would not give back


def test_theta_comes_back_bit_for_bit(xp: Any) -> None:
    theta = {"a": xp.array(AWKWARD), "b": xp.array(sample(2, 3))}
    check_gradients(lambda t: t["b"].sum(), theta, {"a": xp.zeros(len(AWKWARD)), "b": xp.ones((2, 3))}).assert_ok()
    assert_same_bits(theta["a"], np.array(AWKWARD))
    assert_same_bits(theta["b"], sample(2, 3))


@pytest.mark.parametrize("directions", [0, 5])
def test_minus_zero_comes_back_as_minus_zero(xp: Any, directions: int) -> None:
    theta = xp.array([-0.0, 1.0])
    check_gradients(cubes, theta, 3 * theta**2, n_directions=directions)
    assert_same_bits(theta, np.array([-0.0, 1.0]))


@pytest.mark.parametrize("n", [0, 1, 2, 9, len(AWKWARD) * 4 + 1, len(AWKWARD) * 4 + 4])  # the last two in directions
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_theta_comes_back_when_f_raises(xp: Any, n: int, error: type[BaseException]) -> None:
    theta, calls = xp.array(AWKWARD), []

    def f(theta: Array) -> float:
        calls.append(1)
        if len(calls) > n:
            raise error("stop")
        return 0.0

    with pytest.raises(error, match="stop"):
        check_gradients(f, theta, xp.zeros(len(AWKWARD)))
    assert len(calls) == n + 1
    assert_same_bits(theta, np.array(AWKWARD))


def test_the_claimed_gradient_is_left_alone(xp: Any) -> None:
    theta = xp.array(sample(4))
    grad = 3 * theta**2
    before = to_numpy(grad).copy()
    check_gradients(cubes, theta, grad)
    assert_same_bits(grad, before)


def test_a_view_of_a_larger_array_is_shaken_where_it_lies(xp: Any) -> None:
    """As the weights of a network are, and a transposed view too."""
    flat = xp.array(sample(12))
    view = flat[2:8].reshape(2, 3).T
    check_gradients(lambda _: cubes(flat), view, 3 * view**2).assert_ok()
    assert_same_bits(flat, sample(12))


# ---- what it refuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_only_float64_will_do(xp: Any, dtype: str) -> None:
    fine, coarse = xp.ones(3), xp.ones(3, dtype)
    for theta, grad, name in ((coarse, fine, "theta"), (fine, coarse, "grad")):
        with pytest.raises(TypeError, match=f"{name} must be a float64 array, got {dtype} array.*build the model with"):
            check_gradients(cubes, theta, grad)
        with pytest.raises(TypeError, match=rf"{name}\['W1'\] must be a float64 array"):
            check_gradients(cubes, {"W1": theta}, {"W1": grad})


def test_blocks_and_shapes_must_match(xp: Any) -> None:
    three = xp.ones(3)
    with pytest.raises(ValueError, match="grad must have the blocks of theta, W1, b1, got W1"):
        check_gradients(cubes, {"W1": three, "b1": three}, {"W1": three})
    with pytest.raises(
        ValueError, match=r"grad\['W1'\] must have the shape of theta\['W1'\], \(3,\), got float64 array"
    ):
        check_gradients(cubes, {"W1": three}, {"W1": xp.ones((3, 1))})
    with pytest.raises(ValueError, match=r"grad must have the shape of theta, \(3,\), got float64 array"):
        check_gradients(cubes, three, xp.ones((3, 1)))
    with pytest.raises(ValueError, match="theta must not be empty"):
        check_gradients(cubes, xp.ones(0), xp.ones(0))


def test_a_function_that_forgets_to_return_is_told_so(xp: Any) -> None:
    with pytest.raises(TypeError, match=r"f must return one number, got None \(NoneType\); did it forget to return?"):
        check_gradients(lambda theta: None, xp.ones(3), xp.ones(3))


def test_parameters_that_cannot_be_written_are_refused_before_anything_is_computed() -> None:
    theta = np.ones(3)
    theta.flags.writeable = False
    with pytest.raises(ValueError, match=r"theta must be writable, .*np.array\(theta\) makes a copy"):
        check_gradients(lambda theta: pytest.fail("was called"), theta, np.full(3, 3.0))
    check_gradients(cubes, np.array(theta), np.full(3, 3.0)).assert_ok()


def test_a_function_that_computes_in_float32_is_suspected_only_where_the_check_fails() -> None:
    theta, grad = np.linspace(0.3, 1, 5), 3 * np.linspace(0.3, 1, 5) ** 2

    def coarse(theta: Any) -> float:
        return float((theta.astype("float32") ** 3).sum())

    with pytest.raises(AssertionError, match="if f computes in float32, differences are too coarse"):
        check_gradients(coarse, theta, grad).assert_ok()
    with pytest.raises(AssertionError) as caught:  # a wrong gradient of a function in float64 gets no such excuse
        check_gradients(lambda theta: float((theta**3).sum()), theta, 2 * grad).assert_ok()
    assert "float32" not in str(caught.value)


@pytest.mark.parametrize("options", [{"step": 0}, {"n_directions": -1}, {"n_coordinates": -1}])
def test_numbers_must_make_sense(xp: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        check_gradients(cubes, xp.ones(3), xp.full(3, 3.0), **options)
