"""Gradients that are derived earn their points, whatever they look like; gradients that are measured do not."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from coursework import SOLUTION
from derivations import EXACT, MEASURED

from minikd.course.exercises import EXERCISES, checks_losses, checks_networks
from minikd.course.exercises.exercise import Result, expect, run_check
from minikd.course.grading.grade import CALL_SECONDS
from minikd.course.sandbox.conversation import Child
from minikd.course.sandbox.runner import Runner

WITH_TIME = {"E2": ("central", "complex_step"), "E6": ("relative",)}  # what is measured to its end
pytestmark = pytest.mark.skipif(os.name != "posix", reason="submissions of others are run on POSIX systems alone")


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner(CALL_SECONDS) as one:
        yield one


def results(exercise: str, source: str, runner: Runner, seed: int = 11) -> list[Result]:
    checks = range(len(EXERCISES[exercise].checks))
    return [run_check(EXERCISES[exercise], i, runner, [("solution.py", source)], seed) for i in checks]


SOON = {case[1]: case for case in MEASURED}.values()  # one of each exercise; the others take their time


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=() if c in SOON else pytest.mark.slow, id=f"{c[1]} {c[0]}") for c in MEASURED],
)
def test_a_measured_gradient_earns_nothing(case: tuple[str, str, str], runner: Runner) -> None:
    way, exercise, source = case
    checks = range(exercise == "E2", len(EXERCISES[exercise].checks))  # the first of E2 is about forward
    for index in checks if way.endswith(" central") else checks[:1]:
        result = run_check(EXERCISES[exercise], index, runner, [("solution.py", source)], 11)
        assert result.kind in ("wrong", "time") and result.score == 0, result


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [c for c in MEASURED if c[0].rpartition(" ")[2] in WITH_TIME.get(c[1], ())], ids=lambda c: f"{c[1]} {c[0]}"
)
def test_measuring_is_not_exact_enough_at_kinks_even_with_time_for_it(
    case: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks_losses, "WIDE_SECONDS", 60.0)
    with Runner(60.0) as runner:
        result = run_check(EXERCISES[case[1]], int(case[1] == "E2"), runner, [("solution.py", case[2])], 11)
    assert result.kind == "wrong" and "slope of relu at exactly 0" in result.words


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("case", EXACT, ids=lambda case: f"{case[1]} {case[0]}")
def test_an_exact_gradient_of_any_make_earns_all(case: tuple[str, str, str], seed: int, runner: Runner) -> None:
    _, exercise, source = case
    assert [(r.kind, r.words) for r in results(exercise, source, runner, seed) if not r.passed] == []


@pytest.mark.slow
def test_the_reference_is_right_for_many_seeds(runner: Runner) -> None:
    for seed in range(20, 30):
        for name in ("E2", "E4", "E6", "E8", "E10"):
            assert all(result.passed for result in results(name, SOLUTION, runner, seed)), (name, seed)


@pytest.mark.parametrize("name", [f"E{i}" for i in range(2, 11)])
def test_no_check_of_a_gradient_compares_zeros_with_zeros_or_a_uniform_upstream(
    name: str, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[np.ndarray] = []

    def recording(what: str, got: object, want: object, *others: object, **more: object) -> None:
        compared.append(np.asarray(want))
        expect(what, got, want, *others, **more)  # type: ignore[arg-type]

    for module in (checks_losses, checks_networks):
        monkeypatch.setattr(module, "expect", recording)
    upstream: list[np.ndarray] = []
    call = Child.call

    def listening(child: Child, function: str, *arguments: object, **more: object) -> object:
        upstream.extend(a for a in arguments[:1] if isinstance(a, np.ndarray) and a.size > 1)
        return call(child, function, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Child, "call", listening)
    for index in range(len(EXERCISES[name].checks)):
        compared.clear()
        assert run_check(EXERCISES[name], index, runner, [("solution.py", SOLUTION)], 4).passed
        gradients = [want for want in compared if want.size > 3 and len(np.unique(want)) > 3]
        assert gradients and all(np.abs(want).max() > 1e-3 for want in gradients), index
    assert all(np.ptp(a) > 0 for a in upstream) and (upstream or name in ("E6", "E7", "E8", "E10"))


def test_a_formula_for_two_layers_and_complex_steps_for_three_earn_half(runner: Runner) -> None:
    steps = next(source for way, name, source in MEASURED if (name, way.split()[-1]) == ("E6", "complex_step_back"))
    source = f"{SOLUTION}\n\nright = mlp_gradients\n{steps}\nmeasured = mlp_gradients\n\n\n" + (
        "def mlp_gradients(params, x, dz):\n    return (right if len(params) < 3 else measured)(params, x, dz)\n"
    )
    assert [result.passed for result in results("E6", source, runner)] == [True, False]
