"""What the README says is so: its Python runs and prints what is shown, and its commands and files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from minikd.cli.main import main
from minikd.cli.parser import STUDIES
from minikd.experiments import compare

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
NUMBER = r"-?\d[\d,]*\.?\d*(?:e[+-]\d+)?"


def block(marker: str, page: str = README) -> str:
    """The fenced block after `<!-- marker -->`."""
    found = re.search(rf"<!-- {marker} -->\n```\w*\n(.*?)```", page, re.DOTALL)
    assert found, f"the page has no block {marker}"
    return found[1]


def page_of(name: str) -> str:
    """A page of docs/."""
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def words(text: str) -> list[str]:
    """A text without its numbers and the white space that depends on their width."""
    return re.sub(NUMBER, "#", text).split()


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(NUMBER, text)]


@pytest.mark.slow
def test_the_example_runs_and_prints_what_the_readme_shows() -> None:
    printed, shown = run(block("example")), block("example-output")
    assert words(printed) == words(shown)
    for ours, theirs in zip(numbers(printed), numbers(shown), strict=True):
        # Another processor rounds differently, and a hundred epochs turn that into a few test images.
        assert ours == pytest.approx(theirs, rel=0.02, abs=8 if theirs < 100 and theirs > 1 else 0.03)


def test_the_example_is_at_most_20_lines() -> None:
    assert 10 <= sum(bool(line.strip()) for line in block("example").splitlines()) <= 20


def test_the_gradient_check_passes_the_right_gradient_and_fails_the_wrong_one_as_shown() -> None:
    page = page_of("gradients")
    printed, shown = run(block("gradients", page)), block("gradients-output", page)
    assert [line.split()[0] for line in printed.splitlines()] == [line.split()[0] for line in shown.splitlines()]
    assert [line.endswith("NOT OK") for line in printed.splitlines()] == [
        line.endswith("NOT OK") for line in shown.splitlines()
    ]
    assert "NOT OK" in printed and re.search(r"\d  ok$", printed, re.MULTILINE)


@pytest.mark.parametrize("file", ["cpu.json", "growth.json"])
def test_the_tables_of_the_benchmark_are_those_of_its_committed_numbers(file: str) -> None:
    # <!-- benchmark FILE --> or <!-- benchmark FILE SECTIONS -->, in the README or beside it
    marked = rf"<!-- benchmark {re.escape(file)}(?: (\S+))? -->\n\n(.*?)\n<!-- /benchmark -->"
    pages = [README, *(path.read_text() for path in (ROOT / "docs").glob("*.md"))]
    found = [match.groups() for page in pages for match in re.finditer(marked, page, re.DOTALL)]
    assert found, f"no page has the tables of {file}"
    benchmarks = ROOT / "tests" / "benchmarks"
    for sections, tables in found:
        command = [sys.executable, str(benchmarks / "bench.py"), "--show", str(benchmarks / "results" / file)]
        command += ["--only", sections] if sections else []
        shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True).stdout
        assert tables == shown


@pytest.mark.parametrize("name", STUDIES)
def test_the_table_of_a_study_is_that_of_its_committed_results(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["reproduce", name, "--committed"])
    page = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    assert block(f"reproduce-{name}", page) == capsys.readouterr().out


def test_the_studies_and_their_verdicts_are_those_that_the_command_lists(capsys: pytest.CaptureFixture[str]) -> None:
    main(["reproduce"])
    assert block("reproduce", page_of("reproduce")) == capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_the_main_job_prints_what_the_readme_shows_and_halves_the_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["distill", "--quiet"])
    printed = capsys.readouterr().out
    for page in (README, (ROOT / "README.zh.md").read_text(encoding="utf-8")):
        shown = page.split("```")[page[: page.index("<!-- main-job -->")].count("```") + 3]
        assert words(printed) == words(shown)
    errors = {line[:16].strip(): float(line[16:].split("±")[0]) for line in printed.splitlines() if "±" in line}
    assert errors["distilled"] < 0.6 * errors["labels alone"] and errors["label smoothing"] > 1.5 * errors["distilled"]


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("compare-*.json")), ids=lambda path: path.stem)
def test_a_comparison_is_that_of_its_committed_numbers_and_no_strength_is_at_the_end_of_its_grid(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["compare", "--show", str(path)])
    page, printed = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8"), capsys.readouterr().out.lstrip()
    assert f"<!-- {path.stem} -->\n```\n{printed}```" in page and f"({path.stem}.png)" in page
    content = compare.read(path)
    rows = compare.summary(content)
    assert content["settings"]["seeds"] == 5 and len(rows) >= 19
    assert [row["method"] for row in rows if row["at_end"]] == []


def test_the_page_of_comparisons_says_what_its_code_prints() -> None:
    page = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- compare-pairs -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found
    printed, prose = run(found[1]), " ".join(re.sub(r"```.*?```", "", page, flags=re.DOTALL).split())
    for name, number in re.findall(r"^over kd: (annealing|fitnets|dkd|dist) (.*)$", printed, re.MULTILINE):
        assert f"`{name}` {number}" in prose
    dist, kd = (re.findall(rf"^{name}, T = .*: ([\d.]+) %", printed, re.MULTILINE) for name in ("dist", "kd"))
    assert f"makes {dist[0]} % validation errors" in prose and f"{', '.join(dist[1:-1])} and {dist[-1]} %" in prose
    assert f"`kd` falls from {kd[0]} to {kd[-1]} %" in prose


def test_the_methods_are_listed_as_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods"])
    assert block("methods", page_of("methods")) == capsys.readouterr().out


@pytest.mark.slow
def test_the_example_of_the_gallery_runs_and_its_student_learns() -> None:
    assert 0.9 < float(run(block("methods-example", page_of("methods")))) < 1


@pytest.mark.parametrize("marker", ["main-job", "tests"])
def test_a_command_is_one_line_that_begins_with_a_virtual_environment(marker: str) -> None:
    (line,) = block(marker).splitlines()
    assert line.startswith("python3 -m venv .venv && ")


def test_the_training_step_in_the_readme_is_the_one_in_the_code() -> None:
    step = re.search(r"```\n(x, \*targets = .*?)```", README, re.DOTALL)
    assert step
    code = re.sub(r"\s+", " ", (ROOT / "minikd/training.py").read_text())
    for line in step[1].splitlines()[1:]:
        assert line.replace("(*grads)", "(*grads") in code, line
