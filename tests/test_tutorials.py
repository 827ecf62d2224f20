"""Every tutorial runs, claims what it can show, and its notebook, its translation and the index are in step with it."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
HERE = ROOT / "tutorials"
SCRIPTS = sorted(HERE.glob("[0-9][0-9]_*.py"))
TRANSLATED = sorted(HERE.glob("zh/[0-9][0-9]_*.md"))
# Seconds of processor time after which the system ends a tutorial in fast mode; the slowest takes 8.
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


def source_cells(source: Path) -> list[tuple[str, str]]:
    """The cells of a tutorial: "markdown" or "code", and the text. A translation has the code of the English script."""
    if source.suffix == ".md":
        texts = re.split(r"^<!-- \S+ \w{8} -->\n", source.read_text("utf-8"), flags=re.MULTILINE)[1:]
        english = source_cells(HERE / f"{source.stem}.py")
        assert len(texts) == sum(kind == "markdown" for kind, _ in english), "as many cells as in English"
        return [(kind, texts.pop(0).strip() if kind == "markdown" else text) for kind, text in english]
    parts = re.split(r"^# %%(.*)\n", source.read_text("utf-8"), flags=re.MULTILINE)
    assert not parts[0].strip(), "a tutorial begins with a cell"
    return [
        ("markdown", re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip())
        if "[markdown]" in kind
        else ("code", text.strip())
        for kind, text in zip(parts[1::2], parts[2::2], strict=True)
    ]


# What the head of every tutorial states, in this form: the site and the index read it.
HEAD = r"^- \*\*What you will learn:\*\* (.+)\n- \*\*Prerequisites:\*\* (.+)\n- \*\*Hours:\*\* (\d(?:\.5)?)$"
HEAD_ZH = r"^- \*\*学习目标：\*\* (.+)\n- \*\*先修内容：\*\* (.+)\n- \*\*学时：\*\* (\d(?:\.5)?)$"


def prose(source: Path) -> str:
    return "\n".join(text for kind, text in source_cells(source) if kind == "markdown")


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
    assert len(re.findall(HEAD, cells[0][1], re.MULTILINE)) == 1, "what is learned, prerequisites, hours: a line each"
    headings = [len(marks) for marks in re.findall(r"^(#+) ", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)]
    assert headings.count(1) == 1 and all(b <= a + 1 for a, b in pairwise(headings))
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


def test_there_are_fourteen_tutorials_numbered_through() -> None:
    assert [script.stem[:2] for script in SCRIPTS] == [f"{i:02d}" for i in range(1, 15)]


@pytest.mark.parametrize(
    "script", [*SCRIPTS, *TRANSLATED], ids=lambda path: str(path.relative_to(HERE).with_suffix(""))
)
def test_a_notebook_has_the_cells_of_its_script_and_their_outputs(script: Path) -> None:
    path = script.with_suffix(".ipynb")
    notebook = json.loads(path.read_text())
    cells = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook["cells"]]
    link, install = cells[1:3]
    assert cells[:1] + cells[3:] == source_cells(script), "to renew it: python -m tutorials.build"
    assert link[0] == "markdown" and f"/blob/main/{path.relative_to(ROOT).as_posix()})" in link[1], "Colab opens it"
    assert install[0] == "code" and "pip" in install[1]
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


@pytest.mark.parametrize("missing", [False, True])
def test_the_second_cell_installs_minikd_only_where_it_is_missing(
    missing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebooks = [script.with_suffix(".ipynb") for script in [*SCRIPTS, *TRANSLATED]]
    sources = {"".join(json.loads(path.read_text("utf-8"))["cells"][2]["source"]) for path in notebooks}
    assert len(sources) == 1, "the same cell in all notebooks"
    ran: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command))
    if missing:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(sources.pop(), {})
    install = [sys.executable, "-m", "pip", "install", "git+https://github.com/OWNER/minikd"]
    assert ran == ([install] if missing else [])


def test_eight_are_translated_and_their_code_is_the_same() -> None:
    assert [path.stem for path in TRANSLATED] == [SCRIPTS[i - 1].stem for i in (1, 2, 3, 4, 5, 6, 9, 14)]
    for path in TRANSLATED:
        heads = (re.search(HEAD_ZH, prose(path), re.M), re.search(HEAD, prose(HERE / f"{path.stem}.py"), re.M))
        assert all(heads) and len({head[3] for head in heads if head}) == 1, "as many hours in both languages"
        notebooks = (json.loads((folder / f"{path.stem}.ipynb").read_text("utf-8")) for folder in (path.parent, HERE))
        for ours, theirs in zip(*(notebook["cells"] for notebook in notebooks), strict=True):
            if theirs["cell_type"] == "code":
                assert ours == theirs, f"zh/{path.stem}: code and outputs"
                continue
            mine, original = "".join(ours["source"]), "".join(theirs["source"])
            assert mine.count("$$") == original.count("$$"), f"zh/{path.name}: the formulas of a cell"
            assert re.findall(r"```.*?```", mine, re.DOTALL) == re.findall(r"```.*?```", original, re.DOTALL)
            assert re.search(r"[\u4e00-\u9fff]", mine), f"zh/{path.name}: a cell is not translated"


@pytest.fixture
def build(tmp_path: Path) -> dict[str, Any]:
    """The functions of tutorials/build.py, for a folder that holds tutorial 01 and its translation alone."""
    pytest.importorskip("jupytext")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "zh").mkdir()
    first = [path for path in HERE.glob("**/01_*") if path.is_file()]
    for path in (HERE / "build.py", HERE / "README.md", *first):
        (tmp_path / path.relative_to(HERE)).write_bytes(path.read_bytes())
    return runpy.run_path(str(tmp_path / "build.py"))


def call(build: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """`python -m tutorials.build` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["build", *arguments])
    monkeypatch.delenv("MINIKD_FAST", raising=False)
    build["main"]()


def test_a_translation_that_lags_behind_the_english_is_noticed(
    build: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, translation = build["scripts"]()[0], build["translations"]()[0]

    def lagging() -> list[str]:
        return [line.removeprefix("zh/01_learning_by_hand.md: ") for line in build["lagging"](translation)]

    translation.unlink()
    call(build, monkeypatch, "--translate", "zh/01")  # begins in English
    assert len(lagging()) == 11 and "the-data is not translated" in lagging()
    complete = (HERE / "zh" / translation.name).read_text("utf-8")
    translation.write_text(complete, "utf-8")
    assert lagging() == []

    def change(old: str, new: str) -> None:
        english = (HERE / script.name).read_text("utf-8")
        assert english.count(old) == 1
        script.write_text(english.replace(old, new), "utf-8")

    change(" is a matrix with one image a row", " has one image a row")
    (message,) = lagging()
    assert re.fullmatch(r"the English of the-data has changed; revise, then write <!-- the-data \w{8} -->", message)
    translation.write_text(re.sub(r"<!-- the-data \w{8} -->", message[-26:], complete), "utf-8")
    assert lagging() == [], "the marker that the message gives settles it"

    change("together (a **batch**)", "together\n# (a **batch**)")
    translation.write_text(complete, "utf-8")
    assert lagging() == [], "line breaks do not matter"

    head, exercises = complete.split("<!-- exercises")
    translation.write_text(head, "utf-8")
    assert lagging() == ["exercises is not translated"]
    call(build, monkeypatch, "--translate", "zh/01")
    filled_in = translation.read_text("utf-8")
    assert filled_in.startswith(head) and "<summary>Answer</summary>" in filled_in

    change("# ## Exercises", "# ## Problems")
    translation.write_text(complete, "utf-8")
    assert lagging() == ["problems is not translated", "no English cell begins with exercises"]
    call(build, monkeypatch, "--translate", "zh/01")
    assert translation.read_text("utf-8").endswith("<!-- exercises" + exercises), "no translated text is thrown away"

    translation.write_text("一\n" + complete, "utf-8")
    with pytest.raises(ValueError, match="must begin with a marker, got '一'"):
        lagging()
    translation.write_text(complete + complete, "utf-8")
    with pytest.raises(ValueError, match="has the marker of 01-how-does-an-mlp twice"):
        lagging()
    for wrong in ("05", "zh/", "zh/05"):  # 05 is not in this folder
        with pytest.raises(SystemExit):
            call(build, monkeypatch, "--translate", wrong)
        message = f"--translate takes a language and the number of a tutorial, zh/05, got {wrong}"
        assert message in capsys.readouterr().err


def test_cells_that_begin_alike_have_markers_of_their_own(build: dict[str, Any]) -> None:
    texts = ["## The data\n\nHere.", "## Forward", "## The data\n\nAgain.", "## The data"]
    assert build["numbered"](texts) == ["the-data", "forward", "the-data-2", "the-data-3"]


def test_the_notebook_of_a_translation_is_written_without_a_run(
    build: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    translation = build["translations"]()[0]
    notebook = translation.with_suffix(".ipynb")
    complete, original = translation.read_text("utf-8"), notebook.read_bytes()
    complaint = "zh/01_learning_by_hand.ipynb is not the English notebook with the text of 01_learning_by_hand.md"
    translation.write_text(complete.replace("## 数据", "## 图像"), "utf-8")
    assert complaint in build["stale"]()
    call(build, monkeypatch, "zh")
    assert build["stale"]() == [] and "## 图像" in notebook.read_text("utf-8")
    translation.write_text(complete, "utf-8")
    call(build, monkeypatch, "zh/01")
    assert notebook.read_bytes() == original


def test_changed_text_is_written_without_a_run(build: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    script = build["scripts"]()[0]
    notebook, original = script.with_suffix(".ipynb"), script.read_text("utf-8")
    before = json.loads(notebook.read_text("utf-8"))
    assert original.count("## The data") == 1 and original.count("else 60), 0.3") == 1
    script.write_text(original.replace("## The data", "## The images"), "utf-8")
    call(build, monkeypatch, "--text", "01")
    after = json.loads(notebook.read_text("utf-8"))
    changed = [new for old, new in zip(before["cells"], after["cells"], strict=True) if new != old]
    assert len(changed) == 1 and changed[0]["source"][0] == "## The images\n"
    script.write_text(original.replace("else 60), 0.3", "else 60), 0.4"), "utf-8")
    with pytest.raises(ValueError, match=r"the code of 01_learning_by_hand\.py has changed"):
        call(build, monkeypatch, "--text", "01")
    assert json.loads(notebook.read_text("utf-8")) == after, "the outputs of other code are kept as they are"


def test_a_translation_is_accepted_where_it_has_all_cells(
    build: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    script, translation = build["scripts"]()[0], build["translations"]()[0]
    complete = translation.read_text("utf-8")
    script.write_text(script.read_text("utf-8").replace("# ## The data", "# ## The images"), "utf-8")
    assert len(build["lagging"](translation)) == 2
    call(build, monkeypatch, "--accept", "zh/01")
    assert build["lagging"](translation) == []
    renewed = translation.read_text("utf-8")
    assert re.sub(r"<!-- .* -->", "", renewed) == re.sub(r"<!-- .* -->", "", complete), "the text stays"
    translation.write_text(complete.split("<!-- exercises")[0], "utf-8")
    with pytest.raises(ValueError, match="has 10 cells, and the English 11"):
        call(build, monkeypatch, "--accept", "zh")


def test_the_translations_use_the_terms_of_the_field() -> None:
    text = "\n".join(prose(path) for path in TRANSLATED) + (ROOT / "README.zh.md").read_text()
    for term in ("知识蒸馏", "教师模型", "学生模型", "温度", "软标签", "暗知识"):
        assert text.count(term) >= 3, term
