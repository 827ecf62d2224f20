"""Make the notebooks out of the tutorials: `python -m tutorials.build`, in a checkout.

    python -m tutorials.build               run every tutorial in full; write its notebook, its picture and the index
    python -m tutorials.build 04 zh/04      some of them
    python -m tutorials.build --check       run nothing: say which notebooks, pictures or lines of the index are stale

A tutorial is a script in the percent format: `# %% [markdown]` begins a cell of text, `# %%` one of code. Its notebook
has the same cells, and what they printed and drew. The cell tagged "cover" draws the picture for the index, and the
paragraph that begins with "In short." is the answer there. Needs the extra "tutorials": pip install -e '.[tutorials]'.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat

HERE = Path(__file__).parent
LIMIT = 300_000  # bytes of a notebook: more than that, GitHub shows it late or not at all
SHORT = {"": "**In short.**", "zh": "**简而言之。**"}  # how the answer begins, by language


def scripts() -> list[Path]:
    """Every tutorial, in order; those in other languages last."""
    return sorted(HERE.glob("[0-9][0-9]_*.py")) + sorted(HERE.glob("*/[0-9][0-9]_*.py"))


def read(script: Path) -> Any:
    """The notebook of a tutorial without outputs, as it comes out for everyone: numbered cells, no dates."""
    notebook = jupytext.read(script, fmt="py:percent")
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i:02d}"
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


def head(script: Path) -> tuple[str, str]:
    """Title and short answer of a tutorial, from its first cell."""
    text = read(script).cells[0]["source"]
    language = "" if script.parent == HERE else script.parent.name
    title = re.match(r"# (.+)", text)
    short = re.search(rf"{re.escape(SHORT[language])}\s*(.+?)(?:\n\n|$)", text, re.DOTALL)
    if title is None or short is None:
        raise ValueError(f"{script.name} must begin with a title and a paragraph that starts {SHORT[language]}")
    return title[1], short[1].replace("\n", "" if language == "zh" else " ")


def index() -> str:
    """The rows of tutorials/README.md."""
    rows = []
    for script in (path for path in scripts() if path.parent == HERE):
        title, short = head(script)
        name = script.stem
        picture = f"[![picture of {name[:2]}](pictures/{name}.png)]({name}.ipynb)"
        rows.append(f"### [{title}]({name}.ipynb)\n\n{picture}\n\n{short}\n")
    return "\n".join(rows)


def readme(text: str) -> str:
    """The README with its rows renewed."""
    start, end = "<!-- index -->\n", "<!-- end of the index -->"
    before, rest = text.split(start)
    return f"{before}{start}\n{index()}\n{end}{rest.split(end)[1]}"


def stale() -> list[str]:
    """What `build` would change, as far as can be told without running anything."""
    found = []
    for script in scripts():
        path = script.with_suffix(".ipynb")
        name = path.relative_to(HERE)
        if not path.exists():
            found.append(f"{name} is missing")
            continue
        notebook = nbformat.read(path, as_version=4)
        if cells(notebook) != cells(read(script)):
            found.append(f"{name} has other cells than {script.name}")
        if any(output["output_type"] == "error" for cell in notebook.cells for output in cell.get("outputs", ())):
            found.append(f"{name} ends in an error")
        if not any(cell.get("outputs") for cell in notebook.cells):
            found.append(f"{name} has no outputs")
        if path.stat().st_size > LIMIT:
            found.append(f"{name} has {path.stat().st_size:,} bytes, more than {LIMIT:,}")
        if script.parent == HERE and not (HERE / "pictures" / f"{script.stem}.png").exists():
            found.append(f"the picture of {name} is missing")
    if readme((HERE / "README.md").read_text()) != (HERE / "README.md").read_text():
        found.append("README.md has another index")
    return found


def main() -> None:
    """Build, or with --check tell what is stale and exit with 1."""
    parser = argparse.ArgumentParser(prog="python -m tutorials.build", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NN", help="numbers of tutorials, 04 or zh/04 (default all)")
    parser.add_argument("--check", action="store_true", help="run nothing: say what is stale")
    options = parser.parse_args()
    if options.check:
        found = stale()
        sys.exit("\n".join(found) + "\nTo renew: python -m tutorials.build" if found else 0)
    if os.environ.get("MINIKD_FAST"):
        sys.exit("unset MINIKD_FAST: the notebooks show the full runs")
    chosen = [
        path for path in scripts() if not options.names or str(path.relative_to(HERE)).startswith(tuple(options.names))
    ]
    if not chosen:
        sys.exit(f"there is no tutorial {' or '.join(options.names)}")
    for script in chosen:
        notebook = execute(script)
        nbformat.write(notebook, script.with_suffix(".ipynb"))
        if script.parent == HERE:
            (HERE / "pictures").mkdir(exist_ok=True)
            (HERE / "pictures" / f"{script.stem}.png").write_bytes(picture(notebook))
        size = script.with_suffix(".ipynb").stat().st_size
        print(f"{script.relative_to(HERE)}: {len(notebook.cells)} cells, {size:,} bytes", flush=True)
    (HERE / "README.md").write_text(readme((HERE / "README.md").read_text()))


if __name__ == "__main__":
    main()
