"""What is written when the site is built: a page for each method, the notebooks, and tables that the pages ask for.

A page asks by a comment such as `<!-- table: methods -->`, which stands alone in its line; TABLES has the names.
"""

from __future__ import annotations

import ast
import json
import re
from functools import cache, partial
from pathlib import Path
from typing import Any

import prose
from formulas import FORMULAS

import minikd
from minikd.course.exercises import EXERCISES
from minikd.data import DATASETS
from minikd.experiments import compare
from minikd.methods import METHODS, Method

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
TUTORIALS = ROOT / "tutorials"

# Each comparison of docs/compare.md, and what the student is shown in it.
COMPARISONS = {
    "compare-digits": "100 digits",
    "compare-mnist-1000": "1,000 images of MNIST",
    "compare-mnist-all": "all of MNIST",
    "compare-words": "2,000 words",
}
# The order of the gallery: by what the teacher gives.
GROUPS = {
    "Answers: the teacher's logits as targets": "kd logits dkd dist standardised annealing top-k",
    "Answers, by another divergence": "reverse-kl jsd skewed",
    "Hidden layers and relations": "fitnets rkd sp pkt",
    "Several networks": "ensemble assistants mutual born-again mean-teacher",
    "Language models": "sequence-level on-policy",
    "Without data or labels": "data-free self-supervised",
    "Controls that know nothing": "label-smoothing virtual-teacher",
}
READS = {"labels": "samples and labels", "images": "samples, no labels", "nothing": "no data"}
NBSP = "\N{NO-BREAK SPACE}"  # a number, its interval and its unit stay in one line
TEACHERS = {"logits": "anything that has logits", "network": "an MLP: it looks inside", "none": "none"}


def link(text: str) -> str:
    """What stands between backticks in a docstring: a public name or a method leads to its page."""
    if (name := text.removeprefix("minikd.")) in minikd.__all__:
        return f":py:obj:`~minikd.{name}`"
    if text in METHODS:
        return f":doc:`{text} </gallery/{text}>`"
    return prose.literal(text)


# ---- the gallery --------------------------------------------------------------------------------------------


def module_of(method: Method) -> str:
    """The file of a method, without its folder and ending."""
    return method.train.__module__.rpartition(".")[2]


def docstring_of(method: Method) -> str:
    """The docstring of a method's file: idea, loss, gradient, defaults, when, source."""
    source = (ROOT / "minikd" / "methods" / f"{module_of(method)}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def heading_of(method: Method) -> str:
    """What the method is called, in words."""
    return re.split(r"[:(,]", docstring_of(method).split("\n")[0])[0].strip()


@cache
def measured() -> dict[str, list[dict[str, Any]]]:
    """The rows of each committed comparison."""
    return {name: compare.summary(compare.read(DOCS / f"{name}.json")) for name in COMPARISONS}


def errors(row: dict[str, Any]) -> str:
    """What a row is judged by, with the half-width of its interval."""
    unit, digits = (" nats", 3) if "nats" in row["unit"] else (" %", 2)
    return f"{row['error']:.{digits}f} ± {row['half']:.{digits}f}{unit}".replace(" ", NBSP)


def gain(row: dict[str, Any]) -> str:
    """How much less that is than for its control, and the verdict."""
    if not row["verdict"]:
        return "–"
    unit, digits = (" nats", 3) if "nats" in row["unit"] else (" points", 2)
    number = f"{-row['gain']:+.{digits}f} ± {row['gain_half']:.{digits}f}{unit}".replace("-", "−").replace(" ", NBSP)
    return f"{number}, **{row['verdict']}**"


def rows_of(name: str) -> list[tuple[str, ...]]:
    """A row for each comparison that the method takes part in."""
    found = []
    for comparison, what in COMPARISONS.items():
        rows = {row["method"]: row for row in measured()[comparison]}
        if (row := rows.get(name)) is None:
            continue
        control = rows.get(row["against"])
        temperature = "–" if row["temperature"] is None else f"{row['temperature']:g}"
        strength = f"× {row['strength']:g}" if row["tuned"] else "–"
        other = f"{errors(control)} ({'labels alone' if row['against'] == 'labels' else row['against']})"
        found.append((what, errors(row), other if control else "–", gain(row), temperature, strength))
    return found


def list_table(head: tuple[str, ...], rows: list[tuple[str, ...]], class_: str) -> list[str]:
    """A table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :class: {class_}", ""]
    for row in (head, *rows):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return [*lines, ""]


def tutorials_of(method: Method) -> list[str]:
    """The tutorials whose code uses the method."""
    used = rf'METHODS\["{method.name}"\]|minikd\.methods\.{module_of(method)}\b'
    return [path.stem for path in scripts() if re.search(used, path.read_text(encoding="utf-8"))]


def method_page(method: Method) -> str:
    """The page of a method, in reStructuredText."""
    docstring, module = docstring_of(method), module_of(method)
    title = f"{heading_of(method)} ({method.name})"
    first, _, rest = docstring.partition("\n\n")
    lines = [title, "=" * (2 * len(title)), "", *prose.rst(first, link)]
    lines += [line for tex in FORMULAS[method.name] for line in (".. math::", "", f"   {tex}", "")]
    facts = [("Source", prose.inline(method.source)), ("Reads", READS[method.reads])]
    facts += [("Teacher", TEACHERS[method.teacher])]
    if method.teachers > 1:
        facts.append(("Teachers", f"{method.teachers}, as a list"))
    if method.only:
        facts.append(("Data set", f"``{method.only}`` alone, because it is for language models"))
    facts.append(("Temperature", f"``{method.temperature}``" if method.temperature else "has none"))
    facts.append(("Several processes", "yes" if method.parallel else "no: its loss compares samples or networks"))
    if used := tutorials_of(method):
        facts.append(("Tutorials", ", ".join(f":doc:`{stem[:2]} </tutorials/{stem}>`" for stem in used)))
    lines += [*list_table(("", ""), facts, "facts"), ""]
    lines[lines.index("   :header-rows: 1")] = "   :stub-columns: 1"
    del lines[lines.index("   * - ") : lines.index("   * - ") + 2]
    lines += prose.rst(rest, link, headings=True)
    lines += ["What it measures", "-" * 32, ""]
    head = ("the student is shown", method.name, "control", "difference", "T", "strength")
    if rows := rows_of(method.name):
        lines += [*list_table(head, rows, "measured"), MEASURED, ""]
    else:
        lines += ["None of the committed comparisons has this method.", ""]
    call = f"METHODS[{json.dumps(method.name)}].train(student, teacher, x, labels, epochs=60, batch_size=32)"
    data = f" --data {method.only}" if method.only else ""
    lines += ["Use it", "-" * 12, "", ".. code-block:: sh", "", f"   minikd distill --method {method.name}{data}", ""]
    lines += [".. code-block:: python", "", "   from minikd.methods import METHODS", "", f"   {call}", ""]
    lines += ["API", "-" * 6, ""]
    for name in ("Generator", *loss_names(module), "train"):
        if name == "Generator" and module != "data_free":
            continue
        kind = "autoclass" if name == "Generator" else "autofunction"
        lines += [f".. {kind}:: minikd.methods.{module}.{name}", ""]
    return "\n".join(lines)


MEASURED = (
    "Test errors, or nats a letter for words, with 95 % intervals over five seeds; less is better. Temperature and "
    "strength, in multiples of the method's default, were chosen on validation samples. "
    ":doc:`All methods </compare>`."
)


def loss_names(module: str) -> list[str]:
    """The losses that a method's file defines."""
    source = (ROOT / "minikd" / "methods" / f"{module}.py").read_text(encoding="utf-8")
    functions = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return [name for name in functions if name.endswith("_loss")]


def methods_table() -> str:
    """All methods by group, with what they gain on digits and on 1,000 images of MNIST or on words."""
    assert sorted(" ".join(GROUPS.values()).split()) == sorted(METHODS), "GROUPS must have every method once"
    lines = []
    for group, names in GROUPS.items():
        lines += [f"## {group}", "", "| method | idea | digits | MNIST, 1,000 | words |", "|---|---|---|---|---|"]
        for name in names.split():
            cells = [short_gain(name, comparison) for comparison in ("digits", "mnist-1000", "words")]
            head = f"[{heading_of(METHODS[name])}](/gallery/{name}.rst) `{name}`"
            lines.append(f"| {head} | {METHODS[name].title.replace('||', chr(8214))} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def short_gain(name: str, comparison: str) -> str:
    """The difference to the control in a few characters."""
    rows = {row["method"]: row for row in measured()[f"compare-{comparison}"]}
    if (row := rows.get(name)) is None or not row["verdict"]:
        return "–"
    number = f"{-row['gain']:+.{3 if 'nats' in row['unit'] else 1}f}".replace("-", "−")
    return f"{number}, {row['verdict']}"


# ---- tutorials ----------------------------------------------------------------------------------------------


def scripts() -> list[Path]:
    """Every tutorial, in order."""
    return sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))


def notebooks() -> list[Path]:
    """Every notebook, English and Chinese."""
    return [*sorted(TUTORIALS.glob("[0-9][0-9]_*.ipynb")), *sorted(TUTORIALS.glob("zh/[0-9][0-9]_*.ipynb"))]


# What the first cell of a notebook states, in either language.
STATED = {
    "title": r"#\s*\d+\s*·\s*(.+?)\n",
    "short": r"\*\*(?:In short\.|简而言之。)\*\*\s*(.+?)\n\n",
    "learn": r"- \*\*(?:What you will learn:|学习目标：)\*\* *(.+?)\n",
    "needs": r"- \*\*(?:Prerequisites:|先修内容：)\*\* *(.+?)\n",
    "hours": r"- \*\*(?:Hours:|学时：)\*\* *([\d.]+)",
}
# What stands in a picture, in the code that draws it: its title and what its axes show.
TITLE = re.compile(r'(?:suptitle\(|set_title\(|title"?[=:] ?)"([^"{}]+)"[,)]')
AXES = re.compile(r'[xy]label"?[=:] ?"([^"{}]+)"')
GOALS = re.compile(r"(?:^- \*\*.+\n(?:  .+\n)*)+", re.MULTILINE)  # the list in which learn, needs and hours stand


def first_cell(path: Path) -> str:
    """The first cell of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "".join(cells[0]["source"]) + "\n"


@cache
def stated(path: Path) -> dict[str, str]:
    """What a notebook states in its first cell: title, answer in short, goals, prerequisites, hours."""
    text = first_cell(path)
    found = {name: re.search(rf"^{pattern}", text, re.DOTALL | re.MULTILINE) for name, pattern in STATED.items()}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise ValueError(f"the first cell of {path} must state: {', '.join(missing)}")
    return {name: " ".join(match[1].split()) for name, match in found.items() if match}


def chinese_of(path: Path) -> Path:
    """Where the Chinese notebook of a tutorial would be."""
    return TUTORIALS / "zh" / f"{path.stem}.ipynb"


def page_of(path: Path) -> str:
    """A notebook as the site shows it: its goals in a box, which also leads to the other language."""
    notebook, chinese = json.loads(path.read_text(encoding="utf-8")), path.parent.name == "zh"
    other = f"[English](../{path.name})" if chinese else f"[中文](zh/{path.name})"
    words = ("关于这一课", "脚本") if chinese else ("About this tutorial", "Script")
    more = f"- **{words[1]}{'：' if chinese else ':'}** `tutorials/{path.stem}.py`\n"
    more += f"- {other}\n" if chinese or chinese_of(path).exists() else ""
    box = rf":::{{admonition}} {words[0]}\n:class: lesson\n\n\g<0>{more}:::\n"
    stated(path)
    describe_pictures(notebook["cells"])
    notebook["cells"][0]["source"] = GOALS.sub(lambda found: found.expand(box), first_cell(path), count=1)
    return json.dumps(notebook, ensure_ascii=False)


def describe_pictures(cells: list[dict[str, Any]]) -> None:
    """Give each picture that a cell draws a text in its place: the heading above it, its title and its axes."""
    heading = ""
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            heading = (re.findall(r"^#+ (.+)$", source, re.MULTILINE) or [heading])[-1]
        elif any("image/png" in output.get("data", ()) for output in cell["outputs"]):
            parts = [heading.replace("$", ""), *TITLE.findall(source)[-1:], *dict.fromkeys(AXES.findall(source))]
            cell["metadata"]["mystnb"] = {"image": {"alt": "; ".join(parts)}}


def lessons_table(language: str = "") -> str:
    """The tutorials: picture, question, the answer in short, goals, prerequisites and hours."""
    lines: list[str] = []
    words = ("学习目标", "先修内容", "学时", "：") if language else ("You will learn", "Prerequisites", "Hours", ": ")
    for script in scripts():
        path = TUTORIALS / language / f"{script.stem}.ipynb"
        if not path.exists():
            continue
        facts, page = stated(path), f"/tutorials/{language}/{path.name}".replace("//", "/")
        lines += [f"### [{script.name[:2]} · {facts['title']}]({page})", ""]
        lines += [f"[![picture of {script.name[:2]}](../tutorials/pictures/{script.stem}.png)]({page})", ""]
        lines += [facts["short"], ""]
        lines += [
            f"- **{word}**{words[3]}{facts[name]}"
            for word, name in zip(words[:3], ("learn", "needs", "hours"), strict=True)
        ]
        if not language and chinese_of(path).exists():
            lines.append(f"- [中文](/tutorials/zh/{path.name})")
        lines.append("")
    return "\n".join(lines)


def lessons_short() -> str:
    """The tutorials in one table."""
    lines, total = ["| | question | hours | 中文 |", "|---|---|---:|---|"], 0.0
    for script in scripts():
        number, path = script.name[:2], script.with_suffix(".ipynb")
        zh = f"[{number}](/tutorials/zh/{path.name})" if chinese_of(path).exists() else ""
        facts = stated(path)
        total += float(facts["hours"])
        lines.append(f"| {number} | [{facts['title']}](/tutorials/{path.name}) | {facts['hours']} | {zh} |")
    return "\n".join([*lines, f"| | all of them | {total:g} | |", ""])


# ---- other tables -------------------------------------------------------------------------------------------


def exercises_table() -> str:
    """The exercises of the coursework."""
    lines = ["| exercise | what it asks for |", "|---|---|"]
    lines += [f"| {exercise.name} | {exercise.title} |" for exercise in EXERCISES.values()]
    return "\n".join([*lines, ""])


def data_table() -> str:
    """The data sets."""
    lines = ["| name | what it is | source and licence |", "|---|---|---|"]
    for name, dataset in DATASETS.items():
        terms = re.sub(r"https?://[^\s;)]+", r"<\g<0>>", f"{dataset.source}; {dataset.licence}")
        lines.append(f"| `{name}` | {dataset.summary} | {terms} |")
    return "\n".join([*lines, ""])


def project_file(name: str) -> str:
    """A file of the project without its title, with its links as seen from this folder."""
    _, _, text = (ROOT / name).read_text(encoding="utf-8").partition("\n")
    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", r"](../\1)", text)


TABLES = {
    "methods": methods_table,
    "tutorials": lessons_table,
    "tutorials-zh": partial(lessons_table, "zh"),
    "tutorials-short": lessons_short,
    "contributing": partial(project_file, "CONTRIBUTING.md"),
    "changelog": partial(project_file, "CHANGELOG.md"),
    "exercises": exercises_table,
    "data": data_table,
}


def write(target: Path, pages: dict[str, str]) -> None:
    """Make a folder hold exactly these files; one that is right already keeps its time, so that it is not read anew."""
    for name, text in pages.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in [*target.rglob("*")]:
        if path.is_file() and path.relative_to(target).as_posix() not in pages:
            path.unlink()


def write_all() -> None:
    """Write the gallery and the notebooks."""
    write(DOCS / "gallery", {f"{name}.rst": method_page(method) for name, method in METHODS.items()})
    write(DOCS / "tutorials", {path.relative_to(TUTORIALS).as_posix(): page_of(path) for path in notebooks()})
