"""What README and docs say is so: their Python runs, their commands parse, their links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pictures
import pytest
from helpers import import_torch, probabilities

from minikd.cli.main import main
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
    found = re.findall(
        r"(?:^<!-- ([\w-]+) -->\n)?^```([\w{}-]*)[^\n]*\n(.*?)^```$", TEXTS[page], re.DOTALL | re.MULTILINE
    )
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
    "docs/gradients.md": {"numpy", "torch", "cupy", "gradients"},
    "docs/methods.md": {"methods-example"},
}
# What a block needs that is not always installed.
NEEDS = {"processes": "mpi4py"}
# Pages that only the site needs, because GitHub shows the README, or the folder of the tutorials, in their place.
SITE_ONLY = "index learn zh gallery contributing changelog course"
OF_THE_SITE = {f"docs/{name}.md" for name in SITE_ONLY.split()}
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


# ---- gradients.md: test files, and a mistake in each ------------------------------------------------------------


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


@pytest.mark.extras
def test_the_pytorch_test_of_the_page_finds_its_mistake() -> None:
    import_torch()
    finds_its_mistake("torch")


def test_the_cupy_test_of_the_page_finds_its_mistake(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--device") != "cuda":
        request.getfixturevalue("strict_cupy")
    finds_its_mistake("cupy")


# ---- commands ----------------------------------------------------------------------------------------------------

# What stands for something else in a page. Where one is not here, it must parse as it is.
MEANT = {"FILE": "x.npy", "DIR": "runs/x", "RUN_FOLDER": "runs/x", "N": "2", "MODEL": "x.safetensors"}
NAMES = ("digits", "hinton2015", "kd")  # of a data set, a study, a method: NAME stands for one of them
FILES = {".safetensors", ".onnx", ".npy", ".json", ".csv", ".toml"}


STARTS = r"^(?:\w+=\S+ )*(?:mpiexec -n \d+ |uv run )?(?:\.venv/bin/|\.venv\\Scripts\\)?(minikd .*)$"


def outside_blocks(page: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", TEXTS[page], flags=re.DOTALL | re.MULTILINE)


def commands_in(texts: Sequence[str]) -> list[str]:
    """Each `minikd ...` in lines of shell."""
    parts = [part.strip() for text in texts for part in re.split("&&|;", text)]
    return [match[1] for part in parts if (match := re.match(STARTS, part))]


def shell(page: str) -> list[str]:
    """Commands to copy: those in blocks of shell."""
    lines = [found.text.replace("\\\n", "").splitlines() for found in blocks(page) if found.language in ("sh", "bat")]
    return commands_in([line for text in lines for line in text])


def mentioned(page: str) -> list[str]:
    """Commands within sentences, which may leave out what they need."""
    return commands_in([" ".join(code.split()) for code in re.findall(r"`([^`]+)`", outside_blocks(page))])


def parse(command: str, name: str = "") -> str:
    """What the parser says against a command, as the shell would hand it over; nothing if it is right."""
    arguments = [MEANT.get(word, word) if word != "NAME" else name for word in shlex.split(command, comments=True)[1:]]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            command_parser().parse_args(arguments)
        except SystemExit as ended:
            return said.getvalue() if ended.code else ""
    return ""


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_of_a_page_parses(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in shell(page) + mentioned(page):
        for word in shlex.split(command, comments=True):
            if Path(word).suffix in FILES:
                (tmp_path / word).touch()  # the parser asks whether a file is there
    for command in shell(page):
        assert "" in [parse(command, name) for name in NAMES], command
    for command in mentioned(page):
        answers = [parse(command, name) for name in NAMES]
        assert any(re.search(r"^$|required", answer) for answer in answers), f"{command}: {answers}"


def test_a_command_that_does_not_exist_is_found() -> None:
    for wrong in ("minikd destill", "minikd distill --temprature 4", "minikd export x --to onxn"):
        assert not re.search(r"^$|required", parse(wrong))


def test_the_page_of_the_tests_has_the_command_of_the_readme() -> None:
    assert block("docs/testing.md", "tests") == block("README.md", "tests")


def test_the_start_page_shows_what_the_first_command_of_the_readme_prints() -> None:
    printed = block("docs/start.md", "printed")
    assert "labels alone" in printed and f"```\n{printed}```" in TEXTS["README.md"]


def test_the_pages_have_commands() -> None:
    assert sum(len(shell(page)) for page in TEXTS) > 40 and len(shell("README.md")) >= 3
    assert sum(len(mentioned(page)) for page in TEXTS) > 40


# ---- links -------------------------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(page: str) -> list[str]:
    """Where a page points, outside of its blocks: links, pictures, and pictures in HTML."""
    prose = outside_blocks(page)
    found: list[str] = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    return [link for link in found if not link.startswith(("https://", "http://"))]


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), link


def test_the_readme_leads_to_every_page_and_tutorial() -> None:
    to = set(links("README.md"))
    assert {page for page in TEXTS if page.startswith("docs/")} - OF_THE_SITE <= to
    assert {f"tutorials/{path.name}" for path in (ROOT / "tutorials").glob("*.ipynb")} <= to


def test_every_file_that_a_page_names_is_there() -> None:
    named = r"`((?:minikd|tests|docs|tutorials)/[\w./-]+)`"
    for page, text in TEXTS.items():
        for name in re.findall(named, text):
            made = name.startswith("tests/benchmarks/results/gpu")
            assert made or (ROOT / name).exists(), f"{page}: {name}"


def test_every_module_of_the_core_is_on_the_map() -> None:
    for path in (ROOT / "minikd").glob("*.py"):
        assert path.name.startswith("__") or f"{path.name}`" in TEXTS["docs/code-map.md"], path.name


@pytest.mark.parametrize("page", [page for page in TEXTS if page.startswith("docs/")])
def test_a_page_has_one_title_and_skips_no_level(page: str) -> None:
    prose = outside_blocks(page)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


# ---- the Chinese README ------------------------------------------------------------------------------------------


def shape(page: str) -> list[int]:
    """The levels of a page's headings, in their order."""
    prose = outside_blocks(page)
    return [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]


def without_comments(text: str) -> str:
    """Code without what follows two blanks and a #, and without the blanks at the ends of lines."""
    return re.sub(r" +$|  +#.*$", "", text, flags=re.MULTILINE)


def test_the_chinese_readme_keeps_step() -> None:
    assert shape("README.zh.md") == shape("README.md")
    english, chinese = (
        [(found.marker, found.language, without_comments(found.text)) for found in blocks(page)]
        for page in ("README.md", "README.zh.md")
    )
    assert chinese == english
    translated = {f"tutorials/zh/{path.name}" for path in (ROOT / "tutorials" / "zh").glob("*.ipynb")}
    assert translated <= set(links("README.zh.md"))
    assert {re.sub("^tutorials/zh/", "tutorials/", link) for link in links("README.zh.md")} == {
        "README.md" if link == "README.zh.md" else link for link in links("README.md")
    }


# ---- pictures ----------------------------------------------------------------------------------------------------


def test_the_diagram_shows_both_answers_and_says_whose_they_are() -> None:
    teacher, student = probabilities(2, 10)
    figure = distillation(np.zeros((8, 8)), (teacher, student), 3, ("80 parameters", "8 parameters"), 4.0)
    said = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert "teacher: 80 parameters" in said and "student: 8 parameters" in said and "T = 4" in said
    _, _, *bars = figure.axes
    assert [axes.get_title() for axes in bars] == ["soft targets", "its answer"]
    for axes, p in zip(bars, (teacher, student), strict=True):
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(p)
        assert axes.get_ylim()[1] > max(teacher.max(), student.max())


@pytest.mark.slow
def test_the_pictures_are_drawn_from_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    main(["distill", "--quiet", "--epochs", "2", "--out", str(run), "--no-pictures"])
    capsys.readouterr()
    pictures.main(run, tmp_path)
    printed = capsys.readouterr().out
    assert re.search(r"^distilled +int8 +5,402 bytes", printed, re.MULTILINE)
    assert re.search(r"^teacher +float32 +340,008 bytes", printed, re.MULTILINE)
    for name in ("diagram.png", "chip.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / name).stat().st_size > 10_000
