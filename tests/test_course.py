"""The exercises: right solutions earn all, empty ones nothing, and each plausible mistake fails the check for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from coursework import COURSE, MUSEUM, SOLUTION
from wrong_solutions import FORGIVEN, FORMULA, WEAK, WRONG

from minikd.course.exercises import EXERCISES
from minikd.course.exercises.exercise import Result, run_check
from minikd.course.grading.grade import CALL_SECONDS, grade
from minikd.course.learner import own_work_runner, report
from minikd.course.sandbox.runner import Runner
from minikd.course.sandbox.unprotected import UnprotectedRunner


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner | UnprotectedRunner]:
    """What runs submissions on this system."""
    with own_work_runner() as one:
        yield one


def changed(exercise: str, old: str, new: str) -> str:
    """The reference, in which `old` is `new` in the last of the exercise's functions."""
    names = EXERCISES[exercise].functions
    starts = [SOLUTION.index(f"def {name}(") for name in names]
    start = next(i for i in starts if old in SOLUTION[i:].split("\n\n\n")[0])
    end = SOLUTION.index(old, start)
    return SOLUTION[:end] + new + SOLUTION[end + len(old) :]


def results(exercise: str, source: str, runner: Runner | UnprotectedRunner, seed: int = 3) -> list[Result]:
    count = len(EXERCISES[exercise].checks)
    return [run_check(EXERCISES[exercise], i, runner, [("solution.py", source)], seed) for i in range(count)]


@pytest.mark.parametrize(("folder", "points"), [("reference", 115.0), ("skeleton", 0.0)])
def test_the_reference_earns_all_points_and_the_skeleton_none(folder: str, points: float, runner: Runner) -> None:
    graded = grade(COURSE / folder, runner, 5)
    assert graded.max_score() == 115.0 and graded.score() == points, [r for r in graded.results if not r.passed]
    assert {r.kind for r in graded.results} == ({"passed"} if points else {"todo"})


def test_the_shares_of_the_checks_add_up_and_every_exercise_has_five_points() -> None:
    assert list(EXERCISES) == [f"E{i}" for i in range(1, 24)]
    for exercise in EXERCISES.values():
        assert sum(check.share for check in exercise.checks) == pytest.approx(1.0)


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[1]} {case[0]}")
def test_a_plausible_mistake_fails_the_check_that_is_for_it(
    case: tuple[str, str, int, str, str], runner: Runner
) -> None:
    _, exercise, check, old, new = case
    result = run_check(EXERCISES[exercise], check, runner, [("solution.py", changed(exercise, old, new))], 3)
    assert result.kind == "wrong" and result.score == 0, result
    assert max(map(len, report(EXERCISES[exercise], [result]).splitlines())) <= 80  # columns of a terminal


def test_there_are_at_least_three_mistakes_for_each_of_e1_to_e10_and_every_check_has_one() -> None:
    counts = Counter(exercise for _, exercise, *_ in WRONG)
    assert all(counts[f"E{i}"] >= 3 for i in range(1, 11)), counts
    met = {(exercise, check) for _, exercise, check, *_ in WRONG}
    assert met == {(f"E{i}", check) for i in range(1, 11) for check in range(len(EXERCISES[f"E{i}"].checks))}


@pytest.mark.parametrize("case", FORGIVEN, ids=lambda case: case[0])
def test_arguments_are_copies_so_changing_them_costs_nothing(case: tuple[str, str, str, str], runner: Runner) -> None:
    _, exercise, old, new = case
    assert [r.kind for r in results(exercise, changed(exercise, old, new), runner)] == ["passed"] * len(
        EXERCISES[exercise].checks
    )


@pytest.mark.parametrize("case", WEAK, ids=lambda case: f"{case[1]} {case[0]}")
def test_a_test_that_is_none_earns_nothing_in_the_museum(case: tuple[str, str, str], runner: Runner) -> None:
    _, exercise, body = case
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    source = f"{FORMULA}def test_{exercise.lower()}(f):\n{lines}\n"
    (result,) = results(exercise, source, runner)
    assert result.score == 0 and result.kind in ("wrong", "raised"), result


def test_what_is_wrong_is_said_with_what_was_wanted_what_came_where_and_how_far_off(runner: Runner) -> None:
    source = changed("E4", "return loss.mean(), dz / len(zs)", "return loss.mean(), dz")
    words = results("E4", source, runner)[0].words
    found = re.search(
        r"dz\[(\d), (\d)\] must be (\S+), got (\S+) \(error (\S+) of the largest entry\); 35 of 35 entries", words
    )
    assert found, words
    wanted, got, error = map(float, found.groups()[2:])
    assert got == pytest.approx(5 * wanted) and error == pytest.approx(4.0, rel=1e-2), "the worst entry is the largest"
    assert "Central differences: along a random direction your loss has slope" in words
    slopes = re.search(r"slope (\S+), your gradient says (\S+)\.", words)
    assert slopes and float(slopes[2]) == pytest.approx(5 * float(slopes[1]), rel=1e-4)


def test_where_the_gradient_is_that_of_a_wrong_loss_central_differences_say_so(runner: Runner) -> None:
    source = changed("E4", "return loss.mean(), dz / len(zs)", "return loss.sum(), dz")
    words = results("E4", source, runner)[0].words
    assert (
        words.startswith("loss must be ")
        and "Central differences: your gradient is the slope of your own loss" in words
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return z", "got"),
        ("return z[:1]", "must be float64 numbers of shape (5, 7), got shape (1, 7)"),
        ("return z.astype('float32')", "got float32"),
        ("pass", "is there a `return`?"),
        ("return [z]", "got a list or tuple"),
        ("return {}", "got a dict"),
        ("return z * np.nan", "got nan"),
        ("raise ValueError('my own words')", "my own words"),
        ("return undefined_name", "solution.py, line 4: return undefined_name"),
        ("assert z is None, 'told'", "it raised AssertionError: told"),
        ("raise SystemExit", "SystemExit"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_words_that_help(body: str, said: str, runner: Runner) -> None:
    words = results("E1", f"import numpy as np\n\ndef log_softmax(z, T):\n    {body}\n", runner)[0].words
    assert said in words, words


def test_a_museum_test_that_fails_on_a_right_version_is_shown_its_own_words(runner: Runner) -> None:
    words = results("E11", "def test_e11(f): assert False, 'never right'\n", runner)[0].words
    assert "never right" in words or "passes on a broken version" in words or "fails on a right version" in words
    assert "fails on a right version, which computes the same in its own way" in words


@pytest.mark.parametrize("name", EXERCISES)
def test_there_are_three_hints_and_none_holds_a_line_of_the_solution(name: str) -> None:
    hints = EXERCISES[name].hints
    assert len(hints) == 3 and all(len(hint) > 20 for hint in hints) and len(set(hints)) == 3
    source = SOLUTION + MUSEUM
    lines = {line.strip() for line in source.splitlines() if len(line.strip()) > 20 and '"""' not in line}
    for hint in hints:
        assert not [line for line in lines if line.removeprefix("return ") in hint], hint


def test_the_same_seed_draws_the_same_inputs_for_everybody_and_another_seed_others(runner: Runner) -> None:
    source = "def log_softmax(z, T):\n    print(repr(z[0, 0].item()), T)\n    return z * 0\n"
    seen = {}
    for seed in (1, 2, 1):
        run_check(EXERCISES["E1"], 1, runner, [("solution.py", source)], seed)
        if isinstance(runner, Runner):
            assert seen.setdefault(seed, runner.output) == runner.output and runner.output
    assert not seen or seen[1] != seen[2]


def test_an_unprotected_process_checks_alike(runner: Runner) -> None:
    with UnprotectedRunner(CALL_SECONDS) as plain:
        source = changed("E1", "/ T\n", "/ 2\n")
        mine, theirs = results("E1", source, plain), results("E1", source, runner)
    assert [(r.kind, r.words) for r in mine] == [(r.kind, r.words) for r in theirs]
    assert mine[0].kind == "wrong" and np.isclose(sum(r.max_score for r in mine), 5.0)
