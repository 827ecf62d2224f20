"""What README and docs say is so: their Python runs, their commands parse, their links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import import_torch, probabilities

from minikd.cli.parser import command_parser
from minikd.report.diagram import distillation

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
NUMBER = r"-?\d[\d,]*\.?\d*(?:e[+-]\d+)?"


class Block(NamedTuple):
    """A fenced block of a page: its marker, `<!-- NAME -->` on the line above, its language and its text."""

    page: str
    marker: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """Every fenced block of a page."""
    found = re.findall(r"(?:^<!-- ([\w-]+) -->\n)?^```(\w*)\n(.*?)^```$", TEXTS[page], re.DOTALL | re.MULTILINE)
    return [Block(page, *parts) for parts in found]


def block(page: str, marker: str) -> str:
    """The text of the block with that marker."""
    (found,) = [candidate.text for candidate in blocks(page) if candidate.marker == marker]
    return found


def words(text: str) -> list[str]:
    """A text without its numbers and the white space that depends on their width."""
    return re.sub(NUMBER, "#", text).split()


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(NUMBER, text)]


# ---- Python ------------------------------------------------------------------------------------------------------

# Blocks that other tests run: page -> markers. Those of docs/gradients.md are test files.
ELSEWHERE = {
    "README.md": {"example"},
    "README.zh.md": {"example"},
    "docs/exchange.md": {"pytorch", "keras"},
    "docs/compare.md": {"compare-pairs"},
    "docs/scale.md": {"cost", "top"},
    "docs/gradients.md": {"numpy", "torch", "cupy"},
}
# What a block needs that is not always installed.
NEEDS = {"processes": "mpi4py"}
PYTHON = [found for page in TEXTS for found in blocks(page) if found.language == "python"]
HERE = [found for found in PYTHON if found.marker not in ELSEWHERE.get(found.page, set())]


def test_every_python_block_has_a_marker_and_those_that_run_elsewhere_are_there() -> None:
    assert [found for found in PYTHON if not found.marker] == []
    there = {(found.page, found.marker) for found in PYTHON}
    assert {(page, marker) for page, markers in ELSEWHERE.items() for marker in markers} <= there


@pytest.mark.slow
@pytest.mark.parametrize("code", HERE, ids=lambda found: f"{found.page}-{found.marker}")
def test_a_python_block_runs_and_prints_what_the_page_shows(code: Block, tmp_path: Path) -> None:
    if code.marker in NEEDS:
        pytest.importorskip(NEEDS[code.marker])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", code.text], cwd=tmp_path, capture_output=True, text=True, timeout=240, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    shown = [found.text for found in blocks(code.page) if found.marker == f"{code.marker}-output"]
    for text in shown:
        assert words(ran.stdout) == words(text)
        for ours, theirs in zip(numbers(ran.stdout), numbers(text), strict=True):
            assert ours == pytest.approx(theirs, rel=0.02, abs=8)  # test images, where training rounds otherwise


def test_every_output_that_a_page_shows_belongs_to_a_block_that_is_run() -> None:
    names = {(found.page, found.marker) for page in TEXTS for found in blocks(page)}
    for page, marker in names:
        if marker.endswith("-output"):
            assert (page, marker.removesuffix("-output")) in names, marker


def test_students_on_own_data_err_less_with_a_teacher() -> None:
    alone, distilled = (int(re.search(rf"{name} +(\d+)", block("docs/own-data.md", "own-data-output"))[1])  # type: ignore[index]
                        for name in ("labels alone", "distilled"))  # fmt: skip
    assert distilled < alone


def run_test_of(code: str) -> None:
    """Execute a test file's text, and the one test in it."""
    names: dict[str, Any] = {}
    exec(compile(code, "page", "exec"), names)
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    test()


def with_mistake(code: str, diff: str) -> str:
    """The code with the line that the diff adds in the place of the one that it takes away."""
    right, wrong = diff.splitlines()
    assert (right[0], wrong[0], code.count(right[1:])) == ("-", "+", 1)
    return code.replace(right[1:], wrong[1:])


def finds_its_mistake(library: str) -> None:
    """The test of the page passes, and with the planted mistake it fails with the report that is shown."""
    page = "docs/gradients.md"
    code = block(page, library)
    run_test_of(code)
    with pytest.raises(AssertionError) as failed:
        run_test_of(with_mistake(code, block(page, f"{library}-mistake")))
    printed, shown = f"AssertionError: {failed.value}\n", block(page, f"{library}-output")
    assert words(printed) == words(shown)
    assert numbers(printed) == pytest.approx(numbers(shown), rel=1e-3)


def test_the_numpy_test_of_the_page_finds_its_mistake() -> None:
    finds_its_mistake("numpy")


def test_the_pytorch_test_of_the_page_finds_its_mistake() -> None:
    import_torch()
    finds_its_mistake("torch")


def test_the_cupy_test_of_the_page_finds_its_mistake(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--device") != "cuda":
        request.getfixturevalue("strict_cupy")
    finds_its_mistake("cupy")
