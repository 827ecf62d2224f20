"""What an exercise is, and how a number from a submission is compared with the right one.

An exercise is one or two functions that a learner writes, and a few checks. A check calls the submission in a process
of its own, compares the numbers that it returns, and raises `Wrong` if they are wrong. The inputs come from a random
generator: each run draws new inputs, and the same seed gives the same inputs.
"""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import MinikdError
from ..sandbox.conversation import Child, Failed, TimeBudget, printable
from ..sandbox.messages import Unsendable
from ..sandbox.processes import Processes
from .diagnosis import Clues, diagnose

RELATIVE_TOLERANCE = 1e-9  # of the largest entry: rounding errors are far smaller, those of differences rarely
POINTS = 5.0  # for each exercise
CALLS_PER_CHECK = 2.5  # the calls of a check may together take the time limit of this many calls
SUBMISSION_SECONDS = 40.0  # for all checks of a submission together, without loading

Rng = np.random.Generator
# Opens a fresh process with the submission loaded; with keep=True, it may be the process of the previous check.
Open = Callable[..., AbstractContextManager[Child]]


class Wrong(Exception):
    """A number of a submission is wrong.

    Parameters
    ----------
    words : str
        What was wanted, what the submission returned, and where.
    diagnosis : str
        A short name of the mistake, the same for all students who make it; "" if it is unknown.
    """

    def __init__(self, words: str, diagnosis: str = "") -> None:
        super().__init__(words)
        self.diagnosis = diagnosis


@dataclass(frozen=True)
class Check:
    """One property to check. `run(fresh, rng)` raises Wrong or Failed if it is missing; `fresh()` opens a process.

    `share` is the part of the exercise's points that the check earns. The shares of an exercise add up to 1.
    """

    name: str
    share: float
    run: Callable[[Open, Rng], None]


@dataclass(frozen=True)
class Exercise:
    """One of E1 to E23: the functions that the learner writes, and the checks. Its three hints are in hints.md."""

    number: int
    title: str
    functions: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def name(self) -> str:
        """The name: E1, E2, ..."""
        return f"E{self.number}"

    @property
    def hints(self) -> list[str]:
        """The three items below the exercise's heading in hints.md."""
        text = Path(__file__).with_name("hints.md").read_text(encoding="utf-8")
        section = text.split(f"## {self.name}\n")[1].split("\n## ")[0]
        return [" ".join(item.split()) for item in re.split(r"\n\d\. ", section)[1:]]


@dataclass(frozen=True)
class Result:
    """The result of one check."""

    exercise: str
    check: str
    score: float
    max_score: float
    kind: str  # passed, wrong, or the kind of a Failed
    words: str = ""
    output: str = ""  # what the submission printed
    trace: str = ""  # traceback, if the grader itself failed
    diagnosis: str = ""  # a short name of the mistake, see Wrong
    left_out: str = ""  # parts of the submission's files that could not be executed, a line each

    @property
    def passed(self) -> bool:
        """Whether the check passed."""
        return self.kind == "passed"


def run_checks(exercises: Iterable[Exercise], processes: Processes, seed: int, skip: str = "") -> Iterator[Result]:
    """Run all checks of these exercises on a submission until its time is used up, for learners and for graders.

    Parameters
    ----------
    exercises, processes
        The exercises, and the processes of the submission.
    seed : int
        The seed of the run. Together with the numbers of exercise and check, it decides all inputs.
    skip : str
        Why no check is run, or "".
    """
    begun, slow_loads, loading = time.monotonic(), 0, processes.loading.left
    for exercise in exercises:
        processes.end()
        skip_rest = ""
        for index, check in enumerate(exercise.checks):
            if time.monotonic() - begun - (loading - processes.loading.left) > SUBMISSION_SECONDS:
                skip = skip or f"not run: the {SUBMISSION_SECONDS:.0f} seconds for all of a submission were used up"
            if skip or skip_rest:
                yield Result(exercise.name, check.name, 0.0, POINTS * check.share, "missing", skip or skip_rest)
                continue
            result = check_in(processes, exercise, index, seed)
            slow_loads += result.kind == "loading"
            if slow_loads > 1:  # a single file that does not load must not affect exercises in other files
                skip = f"not run: {result.words}"
            elif result.kind in ("time", "loading"):
                skip_rest = "not run: an earlier check of this exercise took too long"
            yield result


def run_check(exercise: Exercise, index: int, runner: Any, sources: Any, seed: int) -> Result:
    """Run one check alone, in processes of its own, with a `Runner` or `UnprotectedRunner`."""
    with Processes(runner, sources) as processes:
        return check_in(processes, exercise, index, seed)


def check_in(processes: Processes, exercise: Exercise, index: int, seed: int) -> Result:
    """Run one check of an exercise on a submission. Nothing that the submission does makes it raise.

    The check may run in a process that an earlier check of the exercise has used. If it fails there, it is tried again
    in a fresh process with the same inputs. So the earlier check cannot make a right function fail. It also cannot make
    a wrong function pass, because the process holds only inputs, and each check has others.
    """
    is_used = processes.child is not None
    result = attempt(processes, exercise, index, seed)
    if not result.passed:
        processes.end()
        if is_used:
            return check_in(processes, exercise, index, seed)
    return result


def attempt(processes: Processes, exercise: Exercise, index: int, seed: int) -> Result:
    """Run one check, once."""
    check = exercise.checks[index]
    rng = np.random.default_rng((seed, exercise.number, index))
    kind, words, trace, diagnosis, told = "passed", "", "", "", len(processes.left_out)
    budget = TimeBudget(CALLS_PER_CHECK * processes.runner.seconds)

    def open_process(keep: bool = False) -> AbstractContextManager[Child]:
        return (processes.kept if keep else processes.fresh)(exercise.functions, budget)

    try:
        with np.errstate(all="ignore"):  # for any numbers that come back
            check.run(open_process, rng)
    except Wrong as error:
        kind, words, diagnosis = "wrong", str(error), error.diagnosis
    except Failed as error:
        functions = " and ".join(exercise.functions)
        kind, words = error.kind, FAILURES[error.kind].format(words=error.words, functions=functions)
    except MinikdError:  # submissions cannot be run safely here
        raise
    except Exception as error:  # it affects only this check of this submission
        kind, words, trace = "grader", FAILURES["grader"].format(words=type(error).__name__), traceback.format_exc()
    points = POINTS * check.share
    score = points * (kind == "passed")
    left_out = "\n".join(processes.left_out[told:])
    said = printable(words), processes.output, trace, diagnosis, left_out
    return Result(exercise.name, check.name, score, points, kind, *said)


FAILURES = {
    "missing": "there is no function {functions}\n{words}",
    "todo": "not written yet: it raises NotImplementedError({words!r})",
    "assert": "it raised AssertionError: {words}",
    "raised": "it raised an exception\n{words}",
    "time": "{words}: see the exercise for how much it may compute",
    "loading": '{words}: put demonstrations under `if __name__ == "__main__":`',
    "died": "{words}: it called sys.exit or os._exit, ran out of memory, or exceeded the limit of processor time",
    "protocol": "the result is not made of numbers: {words}",
    "grader": "the grader itself failed ({words}), not your code: tell your instructor",
}


# ---- comparing ---------------------------------------------------------------------------------------------------


def expect(
    name: str, got: Any, want: Any, tolerance: float = RELATIVE_TOLERANCE, why: str = "", clues: Clues | None = None
) -> None:
    """Check that `got` is a float64 array (or number) with the shape of `want`, and equal to it up to rounding.

    The error of an entry is relative to the largest entry of `want` (or to 1 if that is smaller than 1e-3). With clues,
    a wrong result is compared with known mistakes.
    """
    wanted = np.asarray(want, np.float64)
    array = array_of(name, got, wanted.shape)
    scale = float(np.abs(wanted).max(initial=0.0))
    scale = scale if scale > 1e-3 else 1.0
    errors = np.where(np.isnan(array), np.inf, np.abs(array - wanted) / scale)
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(errors)), errors.shape)) if errors.size else ()
    if errors.size and not errors[worst] <= tolerance:
        at = f"{name}[{', '.join(map(str, worst))}]" if worst else name
        error = f"(error {errors[worst]:.1e} of the largest entry)"
        words = f"{at} must be {wanted[worst]:.9g}, got {array[worst]:.9g} {error}"
        others = int((errors > tolerance).sum())
        more = f"; {others} of {errors.size} entries are wrong" if errors.size > 1 else ""
        diagnosis, sentence = diagnose(array, wanted, clues) if clues else ("", "")
        raise Wrong("\n".join(line for line in (f"{words}{more}", sentence, why) if line), diagnosis)


def array_of(name: str, got: Any, shape: Sequence[int]) -> np.ndarray:
    """`got` as a float64 array of this shape; Wrong if it is anything else."""
    wanted = f"float64 numbers of shape {tuple(shape)}" if len(shape) else "one float64 number"
    if isinstance(got, np.generic):
        got = np.asarray(got)
    if not isinstance(got, np.ndarray):
        raise Wrong(f"{name} must be {wanted}, got {what_came(got)}")
    if got.dtype.kind in "iu" and got.ndim == len(shape) == 0:
        return np.asarray(got, np.float64)  # 0 counts as 0.0
    if got.dtype != np.float64:
        raise Wrong(f"{name} must be {wanted}, got {got.dtype}")
    if got.shape != tuple(shape):
        transposed = got.ndim == 2 and got.shape == tuple(shape)[::-1]
        question = ": which index comes first?" if transposed else ""
        raise Wrong(f"{name} must be {wanted}, got shape {got.shape}{question}", "transposed" if transposed else "")
    return got


def values_of(name: str, got: Any, count: int) -> list[Any]:
    """`got` as a list of `count` values, as a function with several results returns them."""
    if not isinstance(got, list) or len(got) != count:
        what = f"{len(got)} values" if isinstance(got, list) else what_came(got)
        raise Wrong(f"{name} must return {count} values, got {what}")
    return got


def what_came(got: Any) -> str:
    """A few words for a value of the wrong kind."""
    if isinstance(got, Unsendable):
        return f"{'an' if got.name[:1].lower() in tuple('aeiou') else 'a'} {got.name}"
    if isinstance(got, np.ndarray | np.generic):
        return f"an array of shape {got.shape}" if got.ndim else "one number"
    kinds = {type(None): "nothing (is there a `return`?)", list: "a list or tuple", str: "a text"}
    return kinds.get(type(got), "something else")


def slope_message(f: Callable[[np.ndarray], float], x: np.ndarray, gradient: np.ndarray, rng: Rng) -> str:
    """A comparison of the gradient with central differences of the submission's own loss, along a random direction."""
    direction = rng.standard_normal(x.shape)
    direction /= np.linalg.norm(direction)
    h = 1e-4
    measured = (f(x + h * direction) - f(x - h * direction)) / (2 * h)
    claimed = float((gradient * direction).sum())
    if abs(measured - claimed) <= 1e-6 * max(1e-3, abs(measured), abs(claimed)):
        return "Central differences: your gradient is the slope of your own loss."
    words = f"along a random direction your loss has slope {measured:.6g}, your gradient says {claimed:.6g}"
    return f"Central differences: {words}."
