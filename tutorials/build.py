"""Make the notebooks out of the tutorials: `python -m tutorials.build`, in a checkout.

    python -m tutorials.build               run every tutorial in full; write its notebooks, its picture and the index
    python -m tutorials.build 04            some of them, with their translations
    python -m tutorials.build zh            run nothing: write the notebooks in Chinese
    python -m tutorials.build --text 04     run nothing: write changed text into notebooks whose code is unchanged
    python -m tutorials.build --check       run nothing: say which notebooks, pictures or translations are stale
    python -m tutorials.build --translate zh/05     add to zh/05_choosing.md, in English, the cells that it lacks
    python -m tutorials.build --accept zh/05        say that zh/05_choosing.md matches the English: renew its markers

A tutorial is a script in the percent format: `# %% [markdown]` begins a cell of text, `# %%` one of code. Its notebook
has the same cells with what they printed and drew, and two more after the title: a link to Colab, and a cell that
installs minikd where it is missing. The cell tagged "cover" draws the picture for the index, and the paragraph that
begins with "In short." is the answer there. Needs the extra "tutorials": pip install -e '.[tutorials]'.

A translation holds only the cells of text. In `zh/01_learning_by_hand.md` each stands after a marker such as
`<!-- the-data 765783b6 -->`: the first words of the English cell, and digits that change when the English changes. The
notebook of a translation has the code and the outputs of the English notebook, so nothing runs twice.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jupytext
import nbformat

HERE = Path(__file__).parent
LIMIT = 300_000  # bytes of a notebook: more than that, GitHub shows it late or not at all
# OWNER is a placeholder, because the repository has no public address yet. Change it, then run with --text.
REPOSITORY = "https://github.com/OWNER/minikd"
COLAB = REPOSITORY.replace("https://github.com", "https://colab.research.google.com/github") + "/blob/main/tutorials"
INSTALL = f"""
# Installs minikd where it is missing, as in Colab. Elsewhere this cell does nothing.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("minikd") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "git+{REPOSITORY}"], check=True)
""".strip()
# The text above the cell that installs, by the folder of the notebook, and what it adds while the address is unknown.
LINKS = {
    "tutorials": (
        "[Open this notebook in Colab]({}). The next cell installs minikd where it is missing.",
        "`OWNER` is a placeholder: the repository has no public address yet. Replace it by the owner's name.",
    ),
    "zh": (
        "[在 Colab 中打开本笔记本]({})。如果没有安装 minikd，下一个单元格会安装它。",
        "`OWNER` 是占位符：代码仓库还没有公开地址。请换成仓库所有者的名字。",
    ),
}


def scripts() -> list[Path]:
    """Every tutorial, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def translations() -> list[Path]:
    """Every translation, in order."""
    return sorted(HERE.glob("*/[0-9][0-9]_*.md"))


def link(notebook: Path) -> str:
    """The text under the title: the address at which Colab opens this notebook, and what the next cell does."""
    folder = notebook.relative_to(HERE).parent.name or "tutorials"
    text, placeholder = LINKS[folder]
    text = text.format(f"{COLAB}/{notebook.relative_to(HERE).as_posix()}")
    return f"{text}\n\n{placeholder}" if "OWNER" in REPOSITORY else text


def read(script: Path) -> Any:
    """The notebook of a tutorial without outputs, as it comes out for everyone: numbered cells, no dates."""
    notebook = jupytext.read(script, fmt="py:percent")
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i:02d}"
    text = nbformat.v4.new_markdown_cell(link(script.with_suffix(".ipynb")), id="colab")
    notebook.cells[1:1] = [text, nbformat.v4.new_code_cell(INSTALL, id="install")]
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    return notebook


def cells(notebook: Any) -> list[tuple[str, str]]:
    """What a notebook and its script must agree on: kind and text of each cell."""
    return [(cell["cell_type"], cell["source"].strip()) for cell in notebook.cells]


def execute(script: Path) -> Any:
    """Run a tutorial as a notebook, in full; the notebook with its outputs. CellExecutionError where a cell fails."""
    from nbclient import NotebookClient

    notebook = read(script)
    NotebookClient(notebook, timeout=1800, kernel_name="python3", coalesce_streams=True).execute()
    for cell in notebook.cells:
        cell["metadata"].pop("execution", None)  # the times of this one run
    notebook["metadata"]["language_info"] = {"name": "python"}
    return notebook


def retext(script: Path) -> Any:
    """The notebook that is there, with the text of the script. ValueError if the code of the script is another."""
    notebook, old = read(script), nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    ours, theirs = (
        [cell for cell in some.cells if cell["cell_type"] == "code" and cell["id"] != "install"]
        for some in (notebook, old)
    )
    if [cell["source"].strip() for cell in ours] != [cell["source"].strip() for cell in theirs]:
        raise ValueError(f"the code of {script.name} has changed: run python -m tutorials.build {script.name[:2]}")
    for mine, executed in zip(ours, theirs, strict=True):
        mine["outputs"] = executed["outputs"]
    for count, cell in enumerate((cell for cell in notebook.cells if cell["cell_type"] == "code"), start=1):
        cell["execution_count"] = count  # as in a run from top to bottom
        for output in cell["outputs"]:
            if output["output_type"] == "execute_result":
                output["execution_count"] = count
    return notebook


def marker(text: str) -> tuple[str, str]:
    """The two parts of the marker of an English cell: its first words, and a short hash, which ignores line breaks."""
    words = re.findall(r"[a-z0-9]+", text.split("\n\n")[0].lower())
    return "-".join(words[:5]), hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:8]


def numbered(texts: Iterable[str]) -> list[str]:
    """The first words of English cells, with a number where cells begin alike: the-data, the-data-2."""
    keys = [marker(text)[0] for text in texts]
    return [f"{key}-{keys[: i + 1].count(key)}" if key in keys[:i] else key for i, key in enumerate(keys)]


def translated(source: Path) -> dict[str, tuple[str, str]]:
    """The cells of a translation by key: the hash of the English that was translated, and the text."""
    before, *parts = re.split(r"^<!-- (\S+) ([0-9a-f]{8}) -->$", source.read_text("utf-8"), flags=re.MULTILINE)
    keys = parts[::3]
    if before.strip():
        raise ValueError(f"{source.name} must begin with a marker, got {before.split()[0][:60]!r}")
    if len(set(keys)) < len(keys):
        raise ValueError(f"{source.name} has the marker of {max(keys, key=keys.count)} twice")
    return {key: (digits, text.strip()) for key, digits, text in zip(keys, parts[1::3], parts[2::3], strict=True)}


def english(source: Path) -> dict[str, tuple[str, str]]:
    """The cells that a translation should have, in the same form: key, hash, and the English text."""
    first, _, *rest = [text for kind, text in cells(read(HERE / f"{source.stem}.py")) if kind == "markdown"]
    texts = [first, *rest]  # the link to Colab is nobody's to translate
    return {key: (marker(text)[1], text) for key, text in zip(numbered(texts), texts, strict=True)}


def lagging(source: Path) -> list[str]:
    """The cells of a translation that are missing, superfluous, or older than the English."""
    name, found = source.relative_to(HERE), []
    wanted, there = english(source), translated(source)
    for key, (digits, text) in wanted.items():
        old, translation = there.get(key, ("", ""))
        if translation in ("", text):
            found.append(f"{name}: {key} is not translated")
        elif old != digits:
            found.append(f"{name}: the English of {key} has changed; revise, then write <!-- {key} {digits} -->")
    return found + [f"{name}: no English cell begins with {key}" for key in there if key not in wanted]


def begin(source: Path) -> None:
    """Add the cells that a translation lacks, in English; put all cells in the order of the tutorial."""
    wanted, there = english(source), translated(source) if source.exists() else {}
    parts = [f"<!-- {key} {digits} -->\n\n{text}\n" for key, (digits, text) in {**wanted, **there}.items()]
    source.parent.mkdir(exist_ok=True)
    source.write_text("\n".join(parts), "utf-8")


def accept(source: Path) -> None:
    """Give each cell of a translation the marker of the English cell at its place: it says the same as that."""
    wanted, there = english(source), translated(source)
    if len(wanted) != len(there):
        raise ValueError(f"{source.name} has {len(there)} cells, and the English {len(wanted)}")
    pairs = zip(wanted.items(), there.values(), strict=True)
    parts = [f"<!-- {key} {digits} -->\n\n{text}\n" for (key, (digits, _)), (_, text) in pairs]
    source.write_text("\n".join(parts), "utf-8")


def translate(source: Path) -> Any:
    """The notebook of a translation. A cell that is not translated stays English."""
    notebook, texts = nbformat.read(HERE / f"{source.stem}.ipynb", as_version=4), translated(source)
    for cell in notebook.cells:
        if cell["id"] == "colab":
            cell["source"] = link(source.with_suffix(".ipynb"))
    english_cells = [cell for cell in notebook.cells if cell["cell_type"] == "markdown" and cell["id"] != "colab"]
    for key, cell in zip(numbered(cell["source"] for cell in english_cells), english_cells, strict=True):
        cell["source"] = texts.get(key, ("", cell["source"]))[1]
    return notebook


def picture(notebook: Any) -> bytes:
    """The PNG that the cell tagged "cover" has drawn."""
    covers = [cell for cell in notebook.cells if "cover" in cell["metadata"].get("tags", ())]
    images = [
        output["data"]["image/png"]
        for cell in covers
        for output in cell["outputs"]
        if "image/png" in output.get("data", ())
    ]
    if len(images) != 1:
        raise ValueError(f"one cell must be tagged cover and draw one picture, got {len(images)} pictures")
    return base64.b64decode(images[0])


def head(script: Path) -> dict[str, str]:
    """What the first cell of a tutorial states: title, short answer, what you will learn, prerequisites, hours."""
    text = read(script).cells[0]["source"]
    patterns = {"title": r"# (.+?)\n", "In short": r"\*\*In short\.\*\*\s*(.+?)\n\n"}
    patterns |= {name: rf"- \*\*{name}:\*\* (.+?)\n" for name in ("What you will learn", "Prerequisites", "Hours")}
    found = {name: re.search(rf"^{pattern}", text, re.DOTALL | re.MULTILINE) for name, pattern in patterns.items()}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise ValueError(f"the first cell of {script.name} must state: {', '.join(missing)}")
    return {name: match[1].replace("\n", " ") for name, match in found.items() if match}


def index() -> str:
    """The rows of tutorials/README.md."""
    rows = []
    for script in scripts():
        stated, name = head(script), script.stem
        picture = f"[![picture of {name[:2]}](pictures/{name}.png)]({name}.ipynb)"
        facts = f"Prerequisites: {stated['Prerequisites']}. Hours: {stated['Hours']}."
        rows.append(f"### [{stated['title']}]({name}.ipynb)\n\n{picture}\n\n{stated['In short']}\n\n{facts}\n")
    return "\n".join(rows)


def readme(text: str) -> str:
    """The README with its rows renewed."""
    start, end = "<!-- index -->\n", "<!-- end of the index -->"
    before, rest = text.split(start)
    return f"{before}{start}\n{index()}\n{end}{rest.split(end)[1]}"


def stale() -> list[str]:
    """What `build` would change, as far as can be told without running anything."""
    found = []
    for source in scripts() + translations():
        path = source.with_suffix(".ipynb")
        name = path.relative_to(HERE)
        if not path.exists():
            found.append(f"{name} is missing")
            continue
        notebook = nbformat.read(path, as_version=4)
        if source.suffix == ".py" and cells(notebook) != cells(read(source)):
            found.append(f"{name} has other cells than {source.name}")
        if source.suffix == ".md" and notebook != translate(source):
            found.append(f"{name} is not the English notebook with the text of {source.name}")
        if any(output["output_type"] == "error" for cell in notebook.cells for output in cell.get("outputs", ())):
            found.append(f"{name} ends in an error")
        if not any(cell.get("outputs") for cell in notebook.cells):
            found.append(f"{name} has no outputs")
        if path.stat().st_size > LIMIT:
            found.append(f"{name} has {path.stat().st_size:,} bytes, more than {LIMIT:,}")
        if source.suffix == ".py" and not (HERE / "pictures" / f"{source.stem}.png").exists():
            found.append(f"the picture of {name} is missing")
    found += [line for source in translations() for line in lagging(source)]
    if readme((HERE / "README.md").read_text()) != (HERE / "README.md").read_text():
        found.append("README.md has another index")
    return found


def build(source: Path, text_only: bool = False) -> None:
    """Write the notebook of a tutorial, which runs, and its picture; or the notebook of a translation."""
    notebook = translate(source) if source.suffix == ".md" else (retext if text_only else execute)(source)
    nbformat.validate(notebook)
    nbformat.write(notebook, source.with_suffix(".ipynb"))
    if source.suffix == ".py" and not text_only:
        (HERE / "pictures").mkdir(exist_ok=True)
        (HERE / "pictures" / f"{source.stem}.png").write_bytes(picture(notebook))
    size = source.with_suffix(".ipynb").stat().st_size
    print(f"{source.relative_to(HERE)}: {len(notebook.cells)} cells, {size:,} bytes", flush=True)


def main() -> None:
    """Build; or with --check tell what is stale and exit with 1, or with --translate begin a translation."""
    parser = argparse.ArgumentParser(prog="python -m tutorials.build", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NN", help="numbers of tutorials, 04 or zh/04 (default all)")
    parser.add_argument("--text", action="store_true", help="run nothing: write changed text into the notebooks")
    parser.add_argument("--check", action="store_true", help="run nothing: say what is stale")
    parser.add_argument("--translate", metavar="zh/NN", help="add what is not translated to zh/NN_*.md")
    parser.add_argument("--accept", action="store_true", help="renew the markers of translations, zh or zh/04")
    options = parser.parse_args()
    if options.check:
        found = stale()
        sys.exit("\n".join(found) + "\nTo renew: python -m tutorials.build" if found else 0)
    if options.translate:
        language, _, number = options.translate.partition("/")
        names = [path.stem for path in scripts() if number and path.name.startswith(number)]
        if len(names) != 1:
            parser.error(f"--translate takes a language and the number of a tutorial, zh/05, got {options.translate}")
        begin(HERE / language / f"{names[0]}.md")
        return
    if os.environ.get("MINIKD_FAST") and not (options.text or options.accept):
        sys.exit("unset MINIKD_FAST: the notebooks show the full runs")
    wanted = tuple(options.names) or ("",)
    chosen = [
        path
        for path in scripts() + translations()
        if path.name.startswith(wanted) or str(path.relative_to(HERE)).startswith(wanted)
    ]
    if not chosen:
        sys.exit(f"there is no tutorial {' or '.join(options.names)}")
    for source in chosen:
        if options.accept and source.suffix == ".md":
            accept(source)
        elif not options.accept:
            build(source, options.text)
    (HERE / "README.md").write_text(readme((HERE / "README.md").read_text()))


if __name__ == "__main__":
    main()
