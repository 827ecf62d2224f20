"""`%check E4` in Jupyter, in IPython's own shell and in a notebook that is really executed."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coursework import E1_ALONE, SOLUTION

from minikd.course import learner, notebook
from minikd.course.exercises import EXERCISES

pytestmark = pytest.mark.extras

shells = pytest.importorskip("IPython.core.interactiveshell")

WRONG = E1_ALONE.replace("def log_softmax(z, T):", "def log_softmax(z, T):\n    raise ValueError('<b>\\x1b[2J')")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A shell in an empty folder, with the extension loaded."""
    from traitlets.config import Config

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = shells.InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
        one.history_manager.reset()
    run(one, "%load_ext minikd.course")
    yield one
    one.restore_sys_module_state()


def run(shell: Any, text: str) -> Any:
    return shell.run_cell(text, store_history=True, silent=False).result


def test_the_magic_checks_what_was_executed_and_nothing_has_to_be_saved(shell: Any) -> None:
    run(shell, WRONG)
    assert "ValueError" in repr(run(shell, "%check E1"))
    run(shell, E1_ALONE)
    run(shell, "1 / 0")
    got = run(shell, "%check e1, 1")
    assert [[result.passed for result in results] for _, results in got.checked] == [[True] * 3]
    text = repr(got)
    assert "ok  is finite" in text and "In [5], from line 1 on, is left out: ZeroDivisionError" in text
    assert max(map(len, text.splitlines())) <= 80 and notebook.ORDER in " ".join(text.split())


def test_of_cells_with_the_same_text_the_last_one_counts(shell: Any) -> None:
    for cell in (E1_ALONE, WRONG, E1_ALONE, "%check E1"):
        run(shell, cell)
    assert [label for label, _ in notebook.executed(shell)] == ["In [1]", "In [3]", "In [4]", "In [5]"]
    assert all(result.passed for result in run(shell, "%check E1").checked[0][1])


def test_the_table_is_plain_and_nothing_in_it_is_markup(shell: Any) -> None:
    run(shell, WRONG)
    table = run(shell, "%check E1")._repr_html_()
    assert "&lt;b&gt;" in table and "<script" not in table and "\x1b" not in table
    assert table.count("<td") == 3 * 4 and ">wrong</td>" in table


def test_what_no_cell_defines_is_checked_in_the_folder(shell: Any, tmp_path: Path) -> None:
    assert "E2: execute the cell that defines it" in repr(run(shell, "%check 2"))
    (tmp_path / "solution.py").write_text(SOLUTION)
    run(shell, WRONG)
    got = run(shell, "%check E1 E2")
    assert [exercise.name for exercise, _ in got.checked] == ["E1", "E2"]
    assert [result.passed for result in got.checked[0][1]] == [False] * 3, (
        "what was executed counts, not what was saved"
    )
    assert all(result.passed for result in got.checked[1][1])
    assert "E99 must be one of" in repr(run(shell, "%check E99"))


def test_without_names_what_is_begun_is_checked_and_cells_use_files_beside_the_notebook(
    shell: Any, tmp_path: Path
) -> None:
    (tmp_path / "helpers.py").write_text(E1_ALONE)
    run(shell, "from helpers import *")
    run(shell, "import helpers\ndef log_softmax(z, T): return helpers.log_softmax(z, T)")
    run(shell, "def cross_entropy(z, y): raise NotImplementedError('E3')")
    got = run(shell, "%check")
    assert [exercise.name for exercise, _ in got.checked][:1] == ["E1"] and "not begun: E3" in repr(got)


def test_minikd_does_not_need_ipython() -> None:
    code = "import sys, minikd.course.notebook, minikd.cli.course\nassert not {'IPython', 'traitlets'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.slow
def test_the_notebook_of_the_skeleton_shows_a_table_when_it_is_executed(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.reads(learner.as_notebook(), as_version=4)
    for cell in book.cells:
        if "def log_softmax" in cell.source:
            cell.source = E1_ALONE
    end = next(i for i, cell in enumerate(book.cells) if cell.source == "%check E2")
    book.cells = book.cells[: end + 1]
    nbclient.NotebookClient(
        book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    tables = {c.source: c.outputs[0].data["text/html"] for c in book.cells if c.source.startswith("%check")}
    assert tables["%check E1"].count(">right</td>") == len(EXERCISES["E1"].checks)
    assert "not written yet" in tables["%check E2"]
