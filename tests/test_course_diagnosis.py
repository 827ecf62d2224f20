"""A wrong number is told what kind of mistake it is, where it is a known one, and never the formula."""

from __future__ import annotations

import numpy as np
import pytest
from coursework import SOLUTION

from minikd.course.exercises import EXERCISES
from minikd.course.exercises.diagnosis import Clues, diagnose
from minikd.course.exercises.exercise import Result, run_check
from minikd.course.learner import own_work_runner

KL = "    loss, dz = _kl(zs, zt, T)\n    return loss.mean(), dz / len(zs)"
E5 = "return loss, s[:, None] * ((1 - soft_weight) * dhard + soft_weight * dsoft)"
HARD = "return cross_entropy(z1, y)[1] + kd_loss(z1, z2, T)[1], cross_entropy(z2, y)[1] + kd_loss(z2, z1, T)[1]"

LINES = {line.strip().removeprefix("return ") for line in SOLUTION.splitlines() if len(line.strip()) > 20}

# (exercise, number of the check, what of the reference is replaced, by what, the diagnosis)
MISTAKES = [
    ("E1", 0, ") / T\n", ") / 1.0\n", "the temperature is left out"),
    ("E1", 0, "return z - np.log(np.exp(z).sum(axis=1, keepdims=True))",
     "return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)", "the logarithm is left out"),
    ("E2", 0, "np.maximum(x @ W + b, 0)", "x @ W + b", "relu is left out"),
    ("E2", 1, "dh * (x @ W + b > 0)", "dh", "relu's slope is left out"),
    ("E2", 1, "dh * (x @ W + b > 0)", "dh * (dh > 0)", "relu's slope is taken from dh and not from x W + b"),
    ("E2", 1, "x.T @ da, da.sum", "(x.T @ da).T, da.sum", "transposed"),
    ("E2", 1, "da.sum(axis=0)", "da.mean(axis=0)", "too small by the factor B"),
    ("E3", 0, "dz / len(z)", "dz", "too large by the factor B"),
    ("E3", 0, "    dz[rows, y] -= 1\n", "", "the label is left out of the gradient"),
    ("E3", 0, "-logp[rows, y].mean()", "logp[rows, y].mean()", "wrong sign"),
    ("E3", 0, "dz / len(z)", "dz / z.size", "too small by the factor K"),
    ("E4", 0, KL, KL.replace("loss.mean()", "loss.mean() / T**2"), "too small by the factor T²"),
    ("E4", 0, KL, KL.replace("dz / len(zs)", "dz / T**2 / len(zs)"), "too small by the factor T²"),
    ("E4", 0, KL, KL.replace("dz / len(zs)", "dz * T / len(zs)"), "too large by the factor T"),
    ("E4", 0, KL, KL.replace("dz / len(zs)", "-dz / len(zs)"), "wrong sign"),
    ("E4", 0, KL, KL.replace("dz / len(zs)", "-2 * dz / len(zs)"), "too large by the factor 2, and of the wrong sign"),
    ("E4", 0, KL, KL.replace("dz / len(zs)", "dz * 0"), "zero everywhere"),
    ("E4", 0, KL, "    return kd(zs, zt, 1.0)\n\n\ndef kd(zs, zt, T):\n" + KL, "softmax has the temperature 1"),
    ("E4", 0, KL, "    return kd(zt, zs, T)\n\n\ndef kd(zs, zt, T):\n" + KL,
     "the divergence goes from the student to the teacher"),
    ("E5", 0, E5, E5.replace("dhard + ", "dhard * 0 + "), "the labels' part is left out"),
    ("E5", 0, "s = sample_weight / total", "s = np.ones(6) / 6", "the samples' weights are left out"),
    ("E5", 0, "s = sample_weight / total", "s = sample_weight / 6", "the sum is divided by the batch size"),
    ("E6", 0, "    return _backward(params, _forward(params, x)[1], dz)",
     "    return [(h * 0, W * 0) for h, W in _backward(params, _forward(params, x)[1], dz)]", "zero everywhere"),
    ("E6", 0, "    return _backward(params, _forward(params, x)[1], dz)",
     "    return [(h / 6, W / 6) for h, W in _backward(params, _forward(params, x)[1], dz)]",
     "too small by the factor B"),
    ("E8", 0, "W - lr * dW, b - lr * db", "W + lr * dW, b + lr * db", "wrong sign"),
    ("E8", 0, "kd_loss(z, teacher_logits[rows], T)[1])", "kd_loss(z, teacher_logits[rows], T)[1] / T**2)",
     "too small by the factor T²"),
    ("E9", 0, HARD, "return kd_loss(z1, z2, T)[1], kd_loss(z2, z1, T)[1]", "the labels' part is left out"),
    ("E10", 0, "(teacher, to_teacher, dv), ", "(teacher, to_teacher, 0 * dv), ",
     "the way through the teacher is left out"),
]  # fmt: skip


def result_of(exercise: str, index: int, old: str, new: str) -> Result:
    at = SOLUTION.index(f'"""{exercise}."""')
    begin = SOLUTION.index(old, at) if old in SOLUTION[at:] else SOLUTION.index(old)
    source = SOLUTION[:begin] + new + SOLUTION[begin + len(old) :]
    with own_work_runner() as runner:
        return run_check(EXERCISES[exercise], index, runner, [("solution.py", source)], 5)


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: f"{case[0]} {case[4]}")
def test_a_known_mistake_is_named(case: tuple[str, int, str, str, str]) -> None:
    exercise, index, old, new, diagnosis = case
    result = result_of(exercise, index, old, new)
    assert (result.kind, result.diagnosis) == ("wrong", diagnosis), result.words
    assert not [line for line in LINES if line in result.words], "no diagnosis shows a line of the solution"


def test_a_missing_t_squared_is_told_by_its_number_with_a_question() -> None:
    words = result_of("E4", 0, KL, KL.replace("dz / len(zs)", "dz / T**2 / len(zs)")).words
    assert "35 of 35 entries are wrong" in words
    assert "All entries are too small by the factor " in words and " = T²: what does the loss multiply by" in words


def test_no_diagnosis_says_more_than_its_sentence_and_none_is_made_up() -> None:
    rng = np.random.default_rng(0)
    want = rng.standard_normal((3, 4))
    assert diagnose(want + rng.standard_normal((3, 4)), want, Clues({"T": 4.0, "B": 3})) == ("", "")
    assert diagnose(want * np.nan, want, Clues()) == ("", "")
    assert diagnose(np.ones((3, 4)), np.zeros((3, 4)), Clues()) == ("", "")
    assert diagnose(np.asarray(2.5), np.asarray(1.0), Clues({"T": 4.0})) == ("", ""), "any number is some multiple"
    assert diagnose(want * 16, want, Clues({"T": 4.0}))[0] == "too large by the factor T²"
    assert diagnose(want / 12, want, Clues({"T": 4.0, "B": 3}))[0] == "too small by the factor T B"
    assert diagnose(want * 1.7, want, Clues({"T": 4.0})) == (
        "too large by one factor", "All entries are too large by the factor 1.7."
    )  # fmt: skip
    assert diagnose(want.T[:3, :3], want[:3, :3], Clues())[0] == "transposed"
    start = rng.standard_normal((3, 4))
    assert diagnose(start + want / 5, start + want, Clues({"B": 5}, start=start))[0] == "too small by the factor B"


@pytest.mark.parametrize(
    ("exercise", "index", "old", "new", "said"),
    [
        ("E4", 1, KL, KL.replace("loss.mean()", "loss.mean() / T**2"), "This holds, but it counts only for"),
        ("E4", 1, KL, KL.replace("loss.mean()", "loss.mean() + 1"), "teacher and student say the same"),
        ("E4", 1, KL, "    return 0.0, zs * 0", "loss must not be 0 where teacher and student differ"),
        ("E3", 2, "dz / len(z)", "dz * 0", "This holds, but it counts only for the right function"),
        ("E1", 1, "z.max(axis=1, keepdims=True)) / T", "z.max(axis=1, keepdims=True)) / 1", "This holds, but"),
        ("E9", 1, HARD, "return cross_entropy(z1, y)[1], cross_entropy(z2, y)[1]", "This holds, but"),
        ("E2", 2, "np.maximum(x @ W + b, 0)", "(x @ W + b) * 0", "with L = sum(dh * h), what dx says"),
    ],
)  # fmt: skip
def test_a_check_reports_what_its_name_promises_at_a_size_to_look_at(
    exercise: str, index: int, old: str, new: str, said: str
) -> None:
    words = result_of(exercise, index, old, new).words
    assert said in words and "30,000" not in words, words


def test_zeros_in_forward_and_backward_are_no_slope() -> None:
    source = (
        "import numpy as np\n\n\ndef affine_relu_forward(x, W, b):\n    return np.zeros((len(x), len(b)))\n\n\n"
        "def affine_relu_backward(dh, x, W, b):\n    return np.zeros_like(x), np.zeros_like(W), np.zeros_like(b)\n"
    )
    with own_work_runner() as runner:
        results = [run_check(EXERCISES["E2"], i, runner, [("solution.py", source)], 5) for i in range(3)]
    assert [r.score for r in results] == [0, 0, 0]
    assert results[2].words.startswith("This holds, but") and results[0].diagnosis == "zero everywhere"


def test_twice_x_with_idle_calls_is_no_numerical_gradient() -> None:
    source = (
        "import numpy as np\n\n\ndef numerical_gradient(f, x, h):\n    for i in np.ndindex(x.shape):\n"
        "        for s in (h, -h):\n            y = x.copy()\n            y[i] += s\n            f(y)\n"
        "    return 2 * x\n"
    )
    with own_work_runner() as runner:
        results = [run_check(EXERCISES["E7"], i, runner, [("solution.py", source)], 5) for i in range(2)]
    assert [(r.kind, r.score) for r in results] == [("wrong", 0), ("wrong", 0)]
