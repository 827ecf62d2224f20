"""Every tutorial runs, claims what it can show, and its notebook, its translation and the index are in step with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HERE = ROOT / "tutorials"
SCRIPTS = sorted(HERE.glob("[0-9][0-9]_*.py"))
TRANSLATED = sorted(HERE.glob("zh/[0-9][0-9]_*.py"))
# Seconds of processor time in fast mode, after which the system ends the process: the slowest tutorial takes a tenth.
FAST_LIMIT = 60

# Runs a script with every way out of this machine closed, and in a limited time of the processor.
OFFLINE = f"""
import resource, runpy, socket, sys
resource.setrlimit(resource.RLIMIT_CPU, ({FAST_LIMIT}, {FAST_LIMIT}))
connect = socket.socket.connect
def local_only(self, address):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError("a tutorial asked for the network: %r" % (address,))
    return connect(self, address)
socket.socket.connect = local_only
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def source_cells(script: Path) -> list[tuple[str, str]]:
    """The cells of a script in the percent format: "markdown" or "code", and the text as it stands there."""
    parts = re.split(r"^# %%(.*)\n", script.read_text(), flags=re.MULTILINE)
    assert not parts[0].strip(), "a tutorial begins with a cell"
    return [
        ("markdown" if "[markdown]" in kind else "code", text.strip())
        for kind, text in zip(parts[1::2], parts[2::2], strict=True)
    ]


def prose(script: Path) -> str:
    return "\n".join(
        re.sub(r"^# ?", "", text, flags=re.MULTILINE) for kind, text in source_cells(script) if kind == "markdown"
    )


@pytest.mark.slow
@pytest.mark.timeout(660)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_tutorial_runs_fast_offline_and_its_claims_hold(
    script: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if re.search(r'load_data\("(mnist|fsdd|udhr)"\)', script.read_text()):
        request.getfixturevalue("data_dir")
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE, str(script)],
        env={
            **os.environ,
            "MINIKD_FAST": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MINIKD_FIGURES": str(tmp_path / "pictures"),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert not result.stderr, result.stderr
    assert max(len(line) for line in result.stdout.splitlines()) <= 120
    assert len(list((tmp_path / "pictures").glob("*.png"))) >= 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_tutorial_is_a_lecture(script: Path) -> None:
    text, cells = prose(script), source_cells(script)
    assert re.match(rf"# {script.stem[:2]} · .+\?", text), "the title is a question"
    assert "**In short.**" in cells[0][1]
    assert len(re.findall(r"<details><summary>Answer</summary>", text)) == text.count("</details>") == 3
    assert "## Sources" in text and re.search(r"arXiv \d{4}\.\d{4,5}|doi|Nature|KDD|JMLR", text)
    assert (
        cells[-1][0] == "code"
        and cells[-1][1].startswith("# What the text claims")
        and cells[-1][1].count("assert ") >= 3
    )
    assert not re.search(r"assert True\b|pytest\.skip", cells[-1][1])
    shaped = re.findall(r"#.*\([A-Z0-9][\w, ·+-]*\)", "\n".join(code for kind, code in cells if kind == "code"))
    assert len(shaped) >= 5, "shapes stand on the array lines"


def test_there_are_thirteen_tutorials_numbered_through() -> None:
    assert [script.stem[:2] for script in SCRIPTS] == [f"{i:02d}" for i in range(1, 14)]


@pytest.mark.parametrize(
    "script", [*SCRIPTS, *TRANSLATED], ids=lambda path: str(path.relative_to(HERE).with_suffix(""))
)
def test_a_notebook_has_the_cells_of_its_script_and_their_outputs(script: Path) -> None:
    path = script.with_suffix(".ipynb")
    notebook = json.loads(path.read_text())
    cells = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook["cells"]]
    expected = [
        (kind, re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip() if kind == "markdown" else text)
        for kind, text in source_cells(script)
    ]
    assert cells == expected, "to renew it: python -m tutorials.build"
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert all(output["output_type"] != "error" for output in outputs)
    assert all(cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"), "it was run"
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert not any(output.get("name") == "stderr" for output in outputs)
    assert path.stat().st_size < 300_000
    assert "/root" not in path.read_text() and "/work" not in path.read_text() and "/home" not in path.read_text()


def test_nothing_that_is_built_is_stale() -> None:
    pytest.importorskip("jupytext")
    result = subprocess.run(
        [sys.executable, "-m", "tutorials.build", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr


def test_the_build_says_what_is_stale(tmp_path: Path) -> None:
    pytest.importorskip("jupytext")
    (tmp_path / "tutorials" / "pictures").mkdir(parents=True)
    for name in ("build.py", "01_learning_by_hand.py", "01_learning_by_hand.ipynb", "pictures/01_learning_by_hand.png"):
        (tmp_path / "tutorials" / name).write_bytes((HERE / name).read_bytes())
    (tmp_path / "tutorials" / "README.md").write_text("<!-- index -->\n<!-- end of the index -->\n")
    script = tmp_path / "tutorials" / "01_learning_by_hand.py"
    script.write_text(script.read_text().replace("else 60), 0.3", "else 60), 0.4"))
    command = [sys.executable, "-m", "tutorials.build", "--check"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "01_learning_by_hand.ipynb has other cells than 01_learning_by_hand.py" in result.stderr
    assert "README.md has another index" in result.stderr


def test_the_first_four_are_translated_and_their_code_is_the_same() -> None:
    assert [path.name for path in TRANSLATED] == [script.name for script in SCRIPTS[:4]]
    for path in TRANSLATED:
        ours, theirs = source_cells(path), source_cells(HERE / path.name)
        assert [kind for kind, _ in ours] == [kind for kind, _ in theirs], path.name
        for (kind, mine), (_, original) in zip(ours, theirs, strict=True):
            if kind == "code":
                assert mine == original, f"zh/{path.name}"
            else:
                formulas = [
                    re.findall(r"\$\$(.+?)\$\$", text.replace("\n#", ""), re.DOTALL) for text in (mine, original)
                ]
                assert len(formulas[0]) == len(formulas[1]), f"zh/{path.name}: the formulas of a cell"
                assert re.search(r"[\u4e00-\u9fff]", mine), f"zh/{path.name}: a cell is not translated"


def test_the_translations_use_the_terms_of_the_field() -> None:
    text = "\n".join(prose(path) for path in TRANSLATED) + (ROOT / "README.zh.md").read_text()
    for term in ("知识蒸馏", "教师模型", "学生模型", "温度", "软标签", "暗知识"):
        assert text.count(term) >= 3, term


def test_the_chinese_readme_shows_the_same_commands_code_and_tables() -> None:
    blocks = {
        name: dict(re.findall(r"<!-- ([\w-]+) -->\n```\w*\n(.*?)```", (ROOT / name).read_text(), re.DOTALL))
        for name in ("README.md", "README.zh.md")
    }
    assert {"main-job", "tests", "example", "example-output", "gradients"} <= set(blocks["README.zh.md"])
    for name, text in blocks["README.zh.md"].items():
        assert text == blocks["README.md"][name], name
