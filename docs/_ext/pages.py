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
from lessons import LESSONS

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
TEACHERS = {"logits": "anything that has logits", "network": "an MLP: it looks inside", "none": "none"}


def link(text: str) -> str:
    """What stands between backticks in a docstring: a public name or a method leads to its page."""
    if text in minikd.__all__:
        return f":py:obj:`~minikd.{text}`"
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
    return f"{row['error']:.{digits}f} ± {row['half']:.{digits}f}{unit}"


def gain(row: dict[str, Any]) -> str:
    """How much less that is than for its control, and the verdict."""
    if not row["verdict"]:
        return "–"
    unit, digits = (" nats", 3) if "nats" in row["unit"] else (" points", 2)
    number = f"{-row['gain']:+.{digits}f}".replace("-", "−")
    return f"{number} ± {row['gain_half']:.{digits}f}{unit}, **{row['verdict']}**"


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


def first_cell(path: Path) -> str:
    """The first cell of a notebook: its title and the answer in short."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "".join(cells[0]["source"])


def title_of(path: Path) -> str:
    """The title of a notebook without its number."""
    return re.sub(r"^#\s*\d+\s*·\s*", "", first_cell(path).split("\n")[0])


def short_of(path: Path) -> str:
    """The answer in short."""
    found = re.search(r"\*\*(?:In short\.|简而言之。)\*\*\s*(.+?)(?:\n\n|$)", first_cell(path), re.DOTALL)
    return found[1].replace("\n", " ") if found else ""


def chinese_of(path: Path) -> Path:
    """Where the Chinese notebook of a tutorial would be."""
    return TUTORIALS / "zh" / f"{path.stem}.ipynb"


def box(path: Path) -> str:
    """What stands below the title of a notebook's page."""
    lesson, chinese = LESSONS[path.name[:2]], path.parent.name == "zh"
    if chinese:
        learn, needs = lesson.chinese, lesson.needs_chinese
        title, words = "学什么", ("需要", "时间", "小时，包括练习", "脚本和 notebook")
        other = f"[English](../{path.name})"
    else:
        learn, needs = lesson.learn, lesson.needs
        title, words = "What you will learn", ("You need", "Time", "hours, with the exercises", "Script and notebook")
        other = f"[中文](zh/{path.name})" if chinese_of(path).exists() else ""
    script = f"`tutorials/{path.stem}.py`"
    lines = [f":::{{admonition}} {title}", ":class: lesson", "", *(f"- {goal}" for goal in learn), ""]
    lines += [f"**{words[0]}**: {needs}  ", f"**{words[1]}**: {lesson.hours:g} {words[2]}  "]
    folder = "tutorials/zh" if chinese else "tutorials"
    lines += [f"**{words[3]}**: {script}, `{folder}/{path.name}`" + (f"  \n{other}" if other else ""), ":::"]
    return "\n".join(lines)


def page_of(path: Path) -> str:
    """A notebook as the site shows it: with the box after its title."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    text = "".join(notebook["cells"][0]["source"])
    title, _, rest = text.partition("\n")
    notebook["cells"][0]["source"] = f"{title}\n\n{box(path)}\n{rest}"
    return json.dumps(notebook, ensure_ascii=False)


def lessons_table(language: str = "") -> str:
    """The tutorials: picture, question, the answer in short, what one learns, needs and hours."""
    lines: list[str] = []
    for script in scripts():
        path = TUTORIALS / language / f"{script.stem}.ipynb"
        if not path.exists():
            continue
        lesson = LESSONS[script.name[:2]]
        page = f"/tutorials/{language}/{path.name}".replace("//", "/")
        learn, needs = (lesson.chinese, lesson.needs_chinese) if language else (lesson.learn, lesson.needs)
        words = ("学什么", "需要", "小时") if language else ("You will learn to", "You need", "hours")
        lines += [f"### [{script.name[:2]} · {title_of(path)}]({page})", ""]
        alt = f"picture of {script.name[:2]}"
        lines += [f"[![{alt}](../tutorials/pictures/{script.stem}.png)]({page})", "", short_of(path), ""]
        lines += [f"**{words[0]}**", "", *(f"- {goal}" for goal in learn), ""]
        lines += [f"**{words[1]}**: {needs}. **{lesson.hours:g} {words[2]}**.", ""]
        if not language and chinese_of(path).exists():
            lines[-2] += f" [中文](/tutorials/zh/{path.name})"
    return "\n".join(lines)


def lessons_short() -> str:
    """The tutorials in one table."""
    lines = ["| | question | hours | 中文 |", "|---|---|---:|---|"]
    for script in scripts():
        number, path = script.name[:2], script.with_suffix(".ipynb")
        zh = f"[{number}](/tutorials/zh/{path.name})" if chinese_of(path).exists() else ""
        question = f"[{title_of(path)}](/tutorials/{path.name})"
        lines.append(f"| {number} | {question} | {LESSONS[number].hours:g} | {zh} |")
    total = sum(lesson.hours for lesson in LESSONS.values())
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
        lines.append(f"| `{name}` | {dataset.summary} | {dataset.source}; {dataset.licence} |")
    return "\n".join([*lines, ""])


def contributing() -> str:
    """CONTRIBUTING.md without its title, with its links as seen from this folder."""
    _, _, text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("\n")
    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", r"](../\1)", text)


TABLES = {
    "methods": methods_table,
    "tutorials": lessons_table,
    "tutorials-zh": partial(lessons_table, "zh"),
    "tutorials-short": lessons_short,
    "contributing": contributing,
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
