"""Honest work that once lost points: by Jupyter's syntax, cells out of order, helpers, imports that nothing uses."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import numpy as np
import pytest
from coursework import COURSE, E1_ALONE, MUSEUM, SOLUTION

from minikd.course import learner
from minikd.course.exercises import EXERCISES
from minikd.course.exercises.exercise import CALLS_PER_CHECK, SUBMISSION_SECONDS, run_check, run_checks
from minikd.course.grading.grade import CALL_SECONDS, Grade, grade
from minikd.course.grading.submission import MAX_CELLS, MAX_FILE_BYTES, MAX_NOTEBOOK_BYTES, read_submission
from minikd.course.sandbox.conversation import LOADING_SECONDS, MAX_PROBLEMS, Failed, TimeBudget, left_out
from minikd.course.sandbox.processes import Processes
from minikd.course.sandbox.restrictions import ALLOWED_MODULES
from minikd.course.sandbox.runner import Runner
from minikd.course.sandbox.unprotected import UnprotectedRunner

pytestmark = pytest.mark.skipif(os.name != "posix", reason="submissions of others are run on POSIX systems alone")

HEAD, SOFTMAX = E1_ALONE[E1_ALONE.index("import numpy") :].split("\n\n\n")[:2]
KD = "\n\n\n".join(SOLUTION[SOLUTION.index("def _kl") :].split("\n\n\n")[:2])
E11 = MUSEUM[: MUSEUM.index("def test_e12")]


@dataclass(frozen=True)
class Honest:
    """Work that must earn all points of these exercises.

    files      name -> text, or the code cells of a notebook
    problems   what the grader's column of problems must say, in this order
    """

    name: str
    files: dict[str, str | tuple[str, ...]]
    only: tuple[str, ...] = ("E1", "E4")
    problems: tuple[str, ...] = ()


def notebook(name: str, *cells: str, problems: tuple[str, ...] = ()) -> Honest:
    """E1 and E4 in a notebook, after other cells."""
    return Honest(name, {"coursework.ipynb": (*cells, HEAD, SOFTMAX, KD)}, problems=problems)


def files(name: str, only: tuple[str, ...] = ("E1", "E4"), problems: tuple[str, ...] = (), **texts: str) -> Honest:
    """Python files; a double underscore in a name stands for a slash."""
    return Honest(name, {f"{key.replace('__', '/')}.py": text for key, text in texts.items()}, only, problems)


def inside(*cells: str, name: str) -> Honest:
    """A notebook of these cells alone."""
    return Honest(name, {"coursework.ipynb": cells})


CASES = [
    # ---- notebooks ----
    notebook("help", "help?\n?help\nnp.log??\n%matplotlib?"),
    notebook("magics and commands", "%matplotlib inline\n!ls -la\n%load_ext minikd.course\n%check E1"),
    notebook("values of commands", "files = !ls\nf = %pwd\nprint(len(files), f)\nfor name in files: print(name)"),
    notebook("a command in two lines", "!pip install \\\n    numpy \\\n    scipy\nx = 1", "assert x == 1"),
    notebook("magics within a loop", "for i in range(3):\n    %time x = 1\n    %timeit -n 1 f(i)\n    y = !ls", "assert x == 1 and y == []"),
    notebook("Windows' line ends", "help?\r\n%pwd\r\nx = 1\r\n", "assert x == 1"),
    notebook("pip without a sign", "pip install numpy\nx = 1", "assert x == 1"),
    notebook("Colab", "if 'google.colab' in str(get_ipython()):\n    !pip install minikd\nelse: !pip list\nx = 1", "assert x == 1"),
    notebook("a command with half a string", "!echo it's (here\nx = 1", "assert x == 1"),
    notebook("%%bash", "# %%bash", "%%bash\nls", problems=("coursework.ipynb, cell 4 is left out: SyntaxError: %%bash is not Python",)),
    inside("%%time\n" + HEAD, "%%capture out\n" + SOFTMAX, "%%timeit -n 1\n" + KD, name="%%time"),
    inside("async def f(): return 1\nawait f()\n" + HEAD, "async def g(): await f()\nawait g()\n" + SOFTMAX + "\n" + KD, name="await"),
    notebook("an await without end", (
        "class Never:\n    def __await__(self):\n        while True:\n            try: yield\n            except GeneratorExit: pass\n"
        "await Never()"), problems=("coursework.ipynb, cell 2, from line 6 on, is left out: RuntimeError",)),
    notebook("a demonstration out of order", "print(log_softmax(np.zeros((2, 3)), 1.0))",
             problems=("coursework.ipynb, cell 2, from line 1 on, is left out: NameError: name 'log_softmax'",)),
    notebook("plots", "import matplotlib.pyplot as plt", "fig, ax = plt.subplots()\nax.plot([1, 2])",
             problems=("coursework.ipynb, cell 4, line 1, is left out: ModuleNotFoundError: matplotlib cannot be used",
                       "coursework.ipynb, cell 4, from line 2 on, is left out: NameError: name 'ax'")),
    notebook("display", "display(1, 2)\nget_ipython().run_line_magic('matplotlib', 'inline')\nx = 1", "assert x == 1"),
    inside(HEAD, "from __future__ import annotations", SOFTMAX + "\n\n\ndef f(x: nowhere): pass", KD, name="from __future__"),
    notebook("Black's style", "assert (\n    1\n    != 2\n)\nassert (\n    5\n    % 3\n    == 2\n)\nx = '''\n!ls\n%pwd\n'''",
             "assert x == '\\n!ls\\n%pwd\\n'"),
    notebook("a syntax error", "def f(:\n    pass", problems=("coursework.ipynb, cell 2 is left out: SyntaxError: invalid syntax (line 1)",)),
    notebook("leaving", "raise SystemExit", "exit()", problems=("coursework.ipynb, cell 2, from line 1", "coursework.ipynb, cell 4, from")),
    Honest("a helper beside a notebook", {"coursework.ipynb": ("from helpers import *", KD), "helpers.py": HEAD + "\n\n\n" + SOFTMAX}),
    # ---- helpers ----
    files("helpers", helpers=HEAD + "\n\n\n" + SOFTMAX, solution="from helpers import log_softmax\n" + HEAD + "\n\n\n" + KD),
    files("_helpers", _helpers=HEAD + "\n\n\n" + SOFTMAX, solution="from _helpers import *\n" + HEAD + "\n\n\n" + KD),
    files("helpers that import each other", aa="from zz import base\n", zz=f"import aa\n{HEAD}\nbase = 2.718281828459045\n",
          solution="import aa\nfrom zz import *\n" + SOFTMAX + "\n\n\n" + KD + "\n\n\nassert aa.base > 2\n"),
    files("a package's import", helpers=HEAD + "\n\n\n" + SOFTMAX, solution="from .helpers import log_softmax\n" + HEAD + "\n\n\n" + KD),
    files("a helper for E4 in a file of its own", losses=HEAD + "\n\n\n" + SOFTMAX + "\n\n\n" + KD, solution="import losses\n\n\n"
          "def log_softmax(z, T):\n    return losses.log_softmax(z, T)\n\n\ndef kd_loss(zs, zt, T):\n    return losses.kd_loss(zs, zt, T)\n"),
    files("two files of one name", a__solution=E1_ALONE, b__solution=HEAD + "\n\n\n" + SOFTMAX + "\n\n\n" + KD),
    files("files with names of the library", numpy=HEAD, random="x = 1\n", statistics="1 / 0\n",
          solution="import random, statistics\nrandom.random(), statistics.mean([1])\n" + SOLUTION),
    files("data classes", solution="from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass T:\n"
          "    x: int = 1\n\n\n" + SOLUTION.replace("from __future__ import annotations\n", "")),
    # ---- imports ----
    files("imports that nothing uses", ("E1", "E4", "E11"), (
        ), solution="import os, sys, json, logging, pytest\nimport matplotlib.pyplot as plt\nfrom scipy import stats as st\n" + SOLUTION,
        museum="import pytest\nimport pandas as pd\n" + E11),
    files("an import of the same name in another file", ("E1", "E4", "E11"), solution=SOLUTION,
          museum="from scipy.special import log_softmax\nfrom torch import kd_loss\n" + E11),
    files("an import that may fail", solution="try:\n    import cupy as np\nexcept ImportError:\n    import numpy as np\n" + SOLUTION),
    files("a notebook as a script", solution="get_ipython().run_line_magic('matplotlib', 'inline')\n" + SOLUTION),
    # ---- loading ----
    files("demonstrations where they belong", solution=SOLUTION + '\n\nif __name__ == "__main__":\n    while True: pass\n'),
    files("a museum with a syntax error", ("E1", "E4"), ("museum.py is left out: SyntaxError",), solution=SOLUTION,
          museum="def test_e11(kd_loss:\n"),
    files("statements that use what cannot be imported", problems=(
        "solution.py, line 2, is left out: ModuleNotFoundError: sys", "solution.py, line 4, is left out: ModuleNotFoundError: logging",
        "solution.py, line 7, is left out: ModuleNotFoundError: pytest"),
        solution='import sys\nsys.path.append("..")\nimport logging\nlog = logging.getLogger(\n    __name__)\n'
        'import pytest\n@pytest.fixture\ndef nothing():\n    return 1\n' + SOLUTION),
    files("all of NumPy", solution=SOLUTION.replace("import numpy as np", "from numpy import *\nimport numpy as np")),
    files("an import that may not be found", solution="try:\n    import cupy as np\nexcept ModuleNotFoundError:\n"
          "    import numpy as np\n" + SOLUTION.replace("import numpy as np\n", "")),
    files("a setting and NumPy on one line", problems=("solution.py, line 1, is left out: ModuleNotFoundError: sys",),
          solution="import sys; sys.path.append('..'); import numpy as np\n" + SOLUTION.replace("import numpy as np\n", "")),
    files("whether it is Colab", solution="import sys\nif 'google.colab' in sys.modules:\n    from google.colab import drive\n"
          + SOLUTION),
    files("an old copy in a folder", solution=SOLUTION, v1__solution=SOLUTION.replace("T * (p - q)", "p - q")),
    files("scratch files beside it", solution=SOLUTION, **{f"a{i:02d}": "1 / 0\n" for i in range(25)},
          problems=("more than 20 files: only the first are read",)),
    files("a notebook as Colab saves it", solution="!pip install numpy\n" + SOLUTION),
    notebook("a setting before NumPy in one cell", "import sys\nsys.path.append('..')\nx = 1",
             problems=("coursework.ipynb, cell 2, line 2, is left out: ModuleNotFoundError: sys",)),
    Honest("a notebook beside the skeleton", {"solution.py": (COURSE / "skeleton" / "solution.py").read_text("utf-8"),
                                             "a.ipynb": (HEAD, SOFTMAX, KD)}),
    files("a museum named as a test", ("E1", "E11"), solution=SOLUTION, test_museum=E11),
    files("a museum without end", solution=SOLUTION, museum="def test_e11(kd_loss): pass\n\n\nwhile True: pass\n"),
    files("a museum that raises", ("E1", "E11"), ("museum.py, from line ",), solution=SOLUTION, museum=E11 + "\n\n1 / 0\n"),
    # ---- what comes and goes ----
    files("a whole number", ("E5",), solution=SOLUTION + (
        "\n\nright = kd_total\n\n\ndef kd_total(zs, zt, y, T, soft_weight, s):\n    loss, dz = right(zs, zt, y, T, soft_weight, s)\n"
        "    return (loss, dz) if s.any() else (0, dz)\n")),
    files("by keyword", ("E11",), museum=E11 + (
        "\n\nright = test_e11\n\n\ndef test_e11(kd_loss):\n    right(lambda a, b, c: kd_loss(zs=a, zt=b, T=c))\n"
        "    right(lambda a, b, c: kd_loss(a, T=c, zt=b))\n")),
]  # fmt: skip


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner(CALL_SECONDS) as one:
        yield one


def write(case: Honest, folder: Path) -> Path:
    """The work in a folder. Each code cell follows one of text: their numbers are 2, 4, 6, ..."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, str):
            path.write_text(content)
            continue
        cells = [(nbformat.v4.new_markdown_cell("Text."), nbformat.v4.new_code_cell(cell)) for cell in content]
        nbformat.write(nbformat.v4.new_notebook(cells=[cell for pair in cells for cell in pair]), path)
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_honest_work_earns_all_points_and_what_was_left_out_is_named_once(
    case: Honest, tmp_path: Path, runner: Runner
) -> None:
    graded = grade(write(case, tmp_path), runner, 1, only=case.only)
    assert graded.score() == 5 * len(case.only), [(r.check, r.kind, r.words) for r in graded.results if not r.passed]
    assert len(graded.problems) == len(case.problems), graded.problems
    for problem, words in zip(graded.problems, case.problems, strict=True):
        assert words in problem and problem.isprintable() and len(problem) <= 250
    assert not any(result.left_out for result in graded.results)


def test_there_are_twenty_such_cases_or_more() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 20


@pytest.mark.parametrize("name", ["magics and commands", "helpers", "imports that nothing uses", "plots", "by keyword"])
def test_an_unprotected_process_is_as_kind(name: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == name)
    graded = grade(write(case, tmp_path), UnprotectedRunner(CALL_SECONDS), 1, only=case.only)  # type: ignore[arg-type]
    assert graded.score() == 5 * len(case.only) and len(graded.problems) == len(case.problems)


def test_the_size_of_a_notebook_is_that_of_its_code(tmp_path: Path, runner: Runner) -> None:
    path = write(notebook("any"), tmp_path) / "coursework.ipynb"
    book = nbformat.read(path, as_version=4)
    picture = nbformat.v4.new_output("display_data", {"image/png": "A" * 1_500_000})
    book.cells[1].outputs = [picture]
    nbformat.write(book, path)
    assert path.stat().st_size > 1_400_000 and grade(tmp_path, runner, 1, only=("E1",)).score() == 5
    book.cells[1].source = "x = 1\n" * 200_000
    nbformat.write(book, path)
    assert "1,000,000 characters" in read_submission(tmp_path).problems[0]


def words_of(source: str, exercise: str, runner: Runner) -> str:
    return run_check(EXERCISES[exercise], 0, runner, [("solution.py", source)], 1).words


@pytest.mark.parametrize(
    ("body", "came"),
    [("yield 1", "a generator"), ("return {}", "a dict"), ("pass", "nothing (is there a `return`?)"), ("return 1.0", "one number"),
     ("return zs", "an array of shape (5, 7)"), ("return 'x'", "a text"), ("return 1, 2, 3", "3 values"),
     ("import numpy; return numpy.array(['a'])", "an array of <U1")],
)  # fmt: skip
def test_what_came_in_place_of_two_values_is_said(body: str, came: str, runner: Runner) -> None:
    words = words_of(f"def kd_loss(zs, zt, T):\n    {body}\n", "E4", runner)
    assert words == f"kd_loss must return 2 values, got {came}"


@pytest.mark.parametrize(
    ("call", "said"),
    [("zs=z, zt=z, t=1.0", "'t'"), ("z, z, 1.0, zs=z", "'zs'"), ("z, zt=z", "'T'"), ("z, z, 1.0, 1.0", "too many")],
)
def test_a_wrong_keyword_is_a_type_error_that_names_it(call: str, said: str, runner: Runner) -> None:
    source = f"import numpy as np\n\n\ndef test_e11(f):\n    z = np.zeros((1, 2))\n    f({call})\n"
    words = words_of(source, "E11", runner)
    assert "TypeError" in words and said in words and f"f({call})" in words


def test_what_cannot_be_imported_is_told_in_one_line_where_it_is_used(runner: Runner) -> None:
    words = words_of("import torch\n\n\ndef log_softmax(z, T):\n    return torch.tensor(z)\n", "E1", runner)
    assert words.splitlines()[1:] == [
        "solution.py, line 5: return torch.tensor(z)",
        "ModuleNotFoundError: torch cannot be used here: checks and grading have NumPy and harmless parts of the standard "
        "library",
    ]


# ---- loading -----------------------------------------------------------------------------------------------------


@dataclass
class Counting(Runner):
    """Counts the processes that it opens."""

    opened: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(CALL_SECONDS)

    def open(self, sources, functions=(), *budgets):  # type: ignore[no-untyped-def]
        self.opened.append(tuple(functions))
        return super().open(sources, functions, *budgets)


REFERENCE = [(name, (COURSE / "reference" / name).read_text("utf-8")) for name in ("solution.py", "museum.py")]


@pytest.mark.slow
def test_a_right_submission_is_loaded_130_times() -> None:
    with Counting() as counting, Processes(counting, REFERENCE) as processes:
        assert all(result.passed for result in run_checks(EXERCISES.values(), processes, 1))
    assert len(counting.opened) == 130 and counting.opened[:2] == [EXERCISES[name].functions for name in ("E1", "E2")]


@pytest.mark.slow
def test_half_a_second_of_demonstration_costs_no_points(tmp_path: Path, runner: Runner) -> None:
    (tmp_path / "solution.py").write_text(SOLUTION)
    (tmp_path / "museum.py").write_text("import time\ntime.sleep(0.5)\n" + MUSEUM)
    only = ("E1", "E4", "E8", "E14", "E16", "E19")  # the test before counts the loads of all
    graded = grade(tmp_path, runner, 1, only=only)
    assert graded.score() == 5 * len(only) and not graded.problems
    assert LOADING_SECONDS > 2 * 130 * 0.5, "there is room for a machine that is twice as slow"


def test_loading_has_a_budget_of_its_own_and_ends_when_it_is_spent(runner: Runner) -> None:
    begun = time.monotonic()
    source = [("solution.py", f"import time\ntime.sleep(0.45)\n{SOLUTION}")]
    with Processes(runner, source, TimeBudget(1.0)) as processes:
        results = list(run_checks(EXERCISES.values(), processes, 1))
    assert results[0].passed and results[-1].words.startswith("not run") and time.monotonic() - begun < 30
    words = next(result.words for result in results if result.kind == "loading")
    assert words.startswith("it took more than 140 s for all loads together: put demonstrations under `if __name__")


def test_one_file_that_does_not_load_costs_its_own_exercises_alone(tmp_path: Path) -> None:
    with Runner(1.0) as quick:
        write(files("", solution=SOLUTION, museum="while True: pass\n" + MUSEUM), tmp_path)
        graded = grade(tmp_path, quick, 1, only=("E11", "E1", "E12", "E2"))
    assert [graded.score(name) for name in ("E11", "E1", "E12", "E2")] == [0, 5, 0, 0]
    assert "not run" in graded.results[-1].words, "a second load without end ends it all"


def counted(body: str, runner: Runner, exercise: str = "E1") -> list[str]:
    """Kinds of an exercise's checks, of a function that counts its calls in `n`."""
    source = (
        SOLUTION + f"\n\nright, n = log_softmax, 0\n\n\ndef log_softmax(z, T):\n    global n\n    n += 1\n    {body}\n"
    )
    with Processes(runner, [("solution.py", source)]) as processes:
        return [result.kind for result in run_checks([EXERCISES[exercise]], processes, 1)]


def test_what_one_check_leaves_behind_changes_no_other_checks_verdict(runner: Runner) -> None:
    assert counted("return right(z, T) if n <= 5 else z", runner) == ["passed"] * 3, "each is right in a fresh process"
    assert counted("return right(z, T) if n > 1 else z", runner) == ["wrong"] * 3, "and wrong ones are not kept"
    assert counted("raise SystemExit if n > 5 else ValueError", runner) == ["raised"] * 3


def test_checks_of_one_exercise_share_a_process_while_they_pass() -> None:
    with Counting() as counting, Processes(counting, REFERENCE) as processes:
        assert all(result.passed for result in run_checks([EXERCISES["E1"], EXERCISES["E4"]], processes, 1))
        assert len(counting.opened) == 2 and processes.child is not None
    assert processes.child is None


def test_each_check_shows_what_was_printed_in_it_and_not_what_loading_printed(runner: Runner) -> None:
    source = (
        "print('loading')\n"
        + SOLUTION
        + "\n\nright = log_softmax\n\n\ndef log_softmax(z, T):\n    print(z.shape)\n    return right(z, T)\n"
    )
    with Processes(runner, [("solution.py", source)]) as processes:
        outputs = [result.output.split("\n") for result in run_checks([EXERCISES["E1"]], processes, 1)]
    assert outputs[0] == ["(5, 7)"] * 3 + [""] and {*outputs[1]} == {"(5, 7)", ""} and {*outputs[2]} == {"(4, 6)", ""}


# ---- what a process says of itself ---------------------------------------------------------------------------------


def test_what_a_process_says_of_cells_is_bounded_printable_and_about_cells_that_there_are() -> None:
    assert left_out([[["a.py", "3", "x\n\x1b[2J" + "y" * 9_000]]], {"a.py"})[0].startswith(
        "a.py, from line 3 on, is left out: x �[2Jy"
    )
    assert len(left_out([[["a.py", "3" * 99, "y" * 9_000]]], {"a.py"})[0]) == 250
    for said in ([], [None], [[["b.py", "", "x"]]], [[["a.py", "x"]]], [[["a.py", np.zeros(3), "x"]]], [["a.py"]],
                 [[["a.py", "", "x"]] * (MAX_PROBLEMS + 1)], [[], []]):  # fmt: skip
        with pytest.raises(Failed, match="protocol"):
            left_out(said, {"a.py"})


def test_a_submission_that_raises_again_and_again_fills_no_table(tmp_path: Path, runner: Runner) -> None:
    cells = tuple(f"import time\nraise ValueError(time.perf_counter_ns(), {i})" for i in range(100))
    graded: Grade = grade(write(notebook("any", *cells), tmp_path), runner, 1, only=("E1", "E4"))
    assert graded.score() == 10 and len(graded.problems) == MAX_PROBLEMS


def test_cells_without_number_are_bounded(tmp_path: Path, runner: Runner) -> None:
    cells = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in [HEAD, SOFTMAX, *["x = 1"] * MAX_CELLS]]
    )
    nbformat.write(cells, tmp_path / "a.ipynb")
    graded = grade(tmp_path, runner, 1, only=("E1",))
    assert graded.score() == 5 and graded.problems == [
        f"a.ipynb has more than {MAX_CELLS:,} code cells: only the first are read"
    ]


# ---- what a learner is told ----------------------------------------------------------------------------------------


def test_a_learner_is_told_once_what_was_left_out_and_that_loading_is_slow(tmp_path: Path) -> None:
    write(notebook("any", "1 / 0", "import time\ntime.sleep(0.2)"), tmp_path)
    checked = list(learner.check(tmp_path, ["E1", "E4"], 1))
    told = [learner.notes(results) for _, results in checked]
    assert [len(lines) for lines in told] == [2, 0]
    match = re.fullmatch(r"loading your files took (\S+) s\. (.*)", told[0][0])
    assert match and 0.2 <= float(match[1]) < 4
    assert match[2].startswith("Grading loads them about 130 times, which may take 140 s in all: put demonstrations")
    assert told[0][1] == "coursework.ipynb, cell 2, from line 1 on, is left out: ZeroDivisionError: division by zero"


def test_without_protection_a_learner_is_told_what_grading_will_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "own_work_runner", lambda: UnprotectedRunner(CALL_SECONDS))
    (tmp_path / "solution.py").write_text(E1_ALONE)
    ((_, results),) = learner.check(tmp_path, ["E1"], 1)
    assert learner.notes(results) == [learner.UNPROTECTED] and all(result.passed for result in results)


def test_the_page_for_learners_states_the_modules_and_the_budgets() -> None:
    page = " ".join((COURSE.parents[1] / "docs" / "course-learners.md").read_text("utf-8").split())
    listed = page.split("of the standard library: ")[1].split(". ")[0].replace("`", "").split(", ")
    assert ["__future__", *listed] == ALLOWED_MODULES
    for words in (f"one call of a function | {CALL_SECONDS:.0f} s", f"in a check | {CALLS_PER_CHECK * CALL_SECONDS:.0f} s",
                  f"without loading | {SUBMISSION_SECONDS:.0f} s", f"all loads of a submission | {LOADING_SECONDS:.0f} s",
                  f"outside of functions | {CALL_SECONDS:.0f} s", f"{MAX_FILE_BYTES:,} characters",
                  f"{MAX_NOTEBOOK_BYTES // 10**6} MB", f"than {learner.SLOW_LOAD} seconds"):  # fmt: skip
        assert words in page, words
