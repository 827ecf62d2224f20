"""The plan of the package as rules that a test can check: sizes, who may import whom, and what no file may do.

`complaints(root)` reads every file of `root/minikd` without importing it. An import counts wherever it stands: also
within a function, and also under TYPE_CHECKING. Lines of code are lines without blanks, comments and docstrings.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

CHAPTERS = ("backend", "ops", "losses", "checkpoint", "mlp", "optim", "metrics", "gradcheck", "training")
AT_THE_ROOT = {*CHAPTERS, "errors", "checks", "__init__", "__main__"}

# From the ground up: a chapter or room may import itself and whatever stands before it.
FLOORS = (
    *("errors", "checks", "backend", "fast", "ops", "losses", "checkpoint", "mlp", "optim", "metrics", "gradcheck"),
    *("training", "data", "exchange", "methods", "scale", "experiments", "report", "reproduce", "course", "cli"),
    "__main__",
)
HEIGHT = {part: height for height, part in enumerate(FLOORS)}

MOST_LINES_OF = {"file": 300, "chapter": 200, "function": 40}
# Everything that loading the chapters loads, without fast/. It goes down to 1,200 when the core is plain.
MOST_LINES_LOADED = 1250
MOST_LINES_IN_ALL = 14_300
MOST_LINES_OF_THE_README = 200

FOREIGN = {"torch", "jax", "tensorflow", "keras", "autograd", "tinygrad", "sklearn"}
# Where an import is right, for those that are right in one place alone. Paths begin within the package.
ONLY_IN = {
    "cupy": ("backend.py", "fast/cuda.py"),
    "cupyx": ("backend.py", "fast/cuda.py"),
    "numba": ("fast/",),
    "minikd.report": ("report/", "reproduce/", "cli/"),  # a published experiment draws a figure of its own
}
TRICKS = ("getrefcount", "_getframe", "gc.get_")
# What learners write and what they start from is no part of the library, though it lies in its folder.
COURSEWORK = ("course/skeleton/", "course/reference/")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One module that a file imports, and whether that happens as soon as the file itself is loaded."""

    target: str
    line: int
    at_load: bool


@dataclass(frozen=True)
class Module:
    """A file of the package."""

    name: str  # minikd.scale.pool
    path: str  # scale/pool.py
    text: str
    known: frozenset[str]  # the names of all modules of the package

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the syntax tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def code(self) -> set[int]:
        """The numbers of the lines that hold code."""
        no_code = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
        no_code |= {tokenize.ENDMARKER, tokenize.ENCODING}
        lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in no_code:
                lines.update(range(token.start[0], token.end[0] + 1))
        for node in self.nodes:
            if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node) is not None:
                lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
        return lines

    @property
    def part(self) -> str:
        """The chapter or room that the file belongs to."""
        return part_of(self.name)

    @property
    def is_chapter(self) -> bool:
        return "/" not in self.path and self.part in CHAPTERS

    @cached_property
    def functions(self) -> list[Function]:
        """All functions and methods, those within others among them."""
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def imports(self) -> list[Import]:
        """What the file imports; `from package import name` is an import of package.name where that is a module."""
        late = set()
        for node in self.nodes:
            for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            if for_types or isinstance(node, Function):
                late.update(id(inner) for inner in ast.walk(node))
        package = self.name.split(".") if self.path.endswith("__init__.py") else self.name.split(".")[:-1]
        found = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [Import(alias.name, node.lineno, id(node) not in late) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                start = package[: len(package) - node.level + 1] if node.level else []
                module = ".".join([*start, *([node.module] if node.module else [])])
                for alias in node.names:
                    whole = f"{module}.{alias.name}"
                    found.append(Import(whole if whole in self.known else module, node.lineno, id(node) not in late))
        return found


def part_of(name: str) -> str:
    """The chapter or room of a module: "scale" for minikd.scale.pool, "__init__" for minikd itself."""
    return name.split(".")[1] if "." in name else "__init__"


def is_within(module: Module, places: tuple[str, ...]) -> bool:
    """Whether a file is one of these, or lies in one of these folders."""
    return any(module.path == place or (place.endswith("/") and module.path.startswith(place)) for place in places)


def read_package(package: Path) -> dict[str, Module]:
    """Every module of the package by its dotted name."""
    files = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    known = frozenset(files)
    return {
        name: Module(name, file.relative_to(package).as_posix(), file.read_text(encoding="utf-8"), known)
        for name, file in files.items()
    }


# ---- the rules: each names the file and the line, says what is wrong there, and is silent where all is well ----------


def places(modules: dict[str, Module]) -> Iterator[str]:
    """The root holds the chapters, and every room is one that the plan knows."""
    for module in modules.values():
        if "/" not in module.path and Path(module.path).stem not in AT_THE_ROOT:
            yield f"{module.path}: not a chapter, so it belongs in a room"
        elif "/" in module.path and module.part not in HEIGHT:
            yield f"{module.path}: {module.part}/ is not a room of the plan"


def sizes(modules: dict[str, Module]) -> Iterator[str]:
    """Files, functions and the whole package are short enough to be read."""
    for module in modules.values():
        most = MOST_LINES_OF["chapter" if module.is_chapter else "file"]
        if len(module.code) > most:
            yield f"{module.path}: {len(module.code)} lines of code, at most {most}"
        for function in module.functions:
            length = len(module.code.intersection(range(function.lineno, (function.end_lineno or 0) + 1)))
            if length > MOST_LINES_OF["function"]:
                where = f"{module.path}:{function.lineno} {function.name}"
                yield f"{where}: {length} lines of code, at most {MOST_LINES_OF['function']} in a function"
    total = sum(len(module.code) for module in modules.values())
    if total >= MOST_LINES_IN_ALL:
        yield f"the package has {total} lines of code, and must stay under {MOST_LINES_IN_ALL}"


def what_the_chapters_load(modules: dict[str, Module]) -> Iterator[str]:
    """Whoever imports the chapters loads little beside them."""
    loaded: set[str] = set()
    todo = [f"minikd.{chapter}" for chapter in CHAPTERS]
    while todo:
        name = todo.pop()
        if name in loaded or name not in modules or part_of(name) in ("fast", "__init__"):
            continue
        loaded.add(name)
        todo += [found.target for found in modules[name].imports if found.at_load]
        todo.append(name.rpartition(".")[0])  # a module's package is loaded before it
    total = sum(len(modules[name].code) for name in loaded)
    if total >= MOST_LINES_LOADED:
        names = " ".join(sorted(name.removeprefix("minikd.") for name in loaded))
        yield f"the chapters load {total} lines of code, and must stay under {MOST_LINES_LOADED}: {names}"


def docstrings(modules: dict[str, Module]) -> Iterator[str]:
    """Every public function and method says what it does."""
    for module in modules.values():
        inner = {node for function in module.functions for node in ast.walk(function) if node is not function}
        for function in module.functions:
            if function not in inner and not function.name.startswith("_") and ast.get_docstring(function) is None:
                yield f"{module.path}:{function.lineno} {function.name}: public, but without a docstring"


def tricks(modules: dict[str, Module]) -> Iterator[str]:
    """Nothing depends on how Python counts references or keeps its frames; the course's sandbox has to."""
    for module in modules.values():
        for trick in TRICKS:
            if trick in module.text and module.part != "course":
                yield f"{module.path}: {trick} is a trick that the plan rules out"


def encodings(modules: dict[str, Module]) -> Iterator[str]:
    """Text is read and written in the same encoding on every system."""
    for module in modules.values():
        for call in (node for node in module.nodes if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in ("read_text", "write_text") and all(keyword.arg != "encoding" for keyword in call.keywords):
                yield f"{module.path}:{call.lineno} {name} without its encoding"


def foreign_imports(modules: dict[str, Module]) -> Iterator[str]:
    """No other framework is in the library, and what is right in one place alone is imported there alone."""
    for module in modules.values():
        for found in module.imports:
            where = f"{module.path}:{found.line} imports {found.target}"
            if found.target.split(".")[0] in FOREIGN:
                yield f"{where}: not in the library"
            for name, allowed in ONLY_IN.items():
                if f"{found.target}.".startswith(f"{name}.") and not is_within(module, allowed):
                    yield f"{where}: only {' and '.join(allowed)} may"


def arrows(modules: dict[str, Module]) -> Iterator[str]:
    """Chapters and rooms import what stands below them, never what stands above."""
    for module in modules.values():
        if module.part not in HEIGHT or is_within(module, COURSEWORK):
            continue
        for found in module.imports:
            target = part_of(found.target)
            if found.target.split(".")[0] == "minikd" and HEIGHT.get(target, -1) > HEIGHT[module.part]:
                yield f"{module.path}:{found.line} imports {found.target}: {module.part} stands below {target}"


def circles(modules: dict[str, Module]) -> Iterator[str]:
    """No module imports itself through others, also not when a function is called."""
    graph = {
        name: {found.target for found in module.imports if found.target in modules} - {name}
        for name, module in modules.items()
        if not is_within(module, COURSEWORK)
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"a circle of imports: {' imports '.join(reversed(error.args[1]))}"


def readme_length(root: Path) -> Iterator[str]:
    """The README is read to its end."""
    readme = root / "README.md"
    length = len(readme.read_text(encoding="utf-8").splitlines()) if readme.exists() else 0
    if length > MOST_LINES_OF_THE_README:
        yield f"README.md: {length} lines, at most {MOST_LINES_OF_THE_README}"


RULES = (places, sizes, what_the_chapters_load, docstrings, tricks, encodings, foreign_imports, arrows, circles)


def complaints(root: Path) -> list[str]:
    """Everything in which the package under `root` is not as planned, a line each."""
    modules = read_package(root / "minikd")
    found = [line for rule in RULES for line in rule(modules)] + list(readme_length(root))
    return list(dict.fromkeys(found))
