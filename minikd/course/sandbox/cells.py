"""Executes what a student wrote: files that import one another, and the cells of notebooks one after another.

A source is a file's name with its text, or a notebook's name with its cells, [[label, text], ...]. Each source is a
module, which is executed once, when it is needed or imported. A cell that raises ends there, and the next cell runs.
A file is one cell, of which a statement is left out alone where it sets up what cannot be imported. This file needs the
standard library alone; it runs in the submission's own process.
"""

import __future__

import ast
import builtins
import inspect
import linecache
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

MAX_PROBLEMS = 20  # cells that raised, of which the grader is told
MAX_REPLACED = 200  # lines of a cell that are IPython's; after each, the cell is compiled again
MAX_CHARACTERS = 2_000_000  # that are compiled again for this, in a cell
FUTURES = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)  # of distinct bits

# Cell magics whose body is Python: it is executed as if the first line were not there.
PYTHON_MAGICS = ("time", "timeit", "capture", "prun", "memit", "mprun", "lprun", "python", "python3")
CELL_MAGIC = re.compile(r"\s*%%(\w+)")
# A line where Python finds a syntax error, and what Python is to read instead.
IPYTHON = (
    (re.compile(r"(\s*[\w.,\[\] ]+=\s*)[!%].*"), r"\1[]"),  # files = !ls
    (re.compile(r"(\s*)%time\s+(.*)"), r"\1\2"),
    (re.compile(r"(\s*)%{0,2}[\w.*]+\?\??\s*"), r"\1pass"),  # help?
    (re.compile(r"(\s*(?:(?:if|elif|else|for|while|with|try)\b.*:\s*)?)(?:[!%?]|(?:pip|conda)\s).*"), r"\1pass"),
)


class NoIPython:
    """What get_ipython() returns here: whatever is called of it does nothing."""

    def __getattr__(self, name: str) -> Any:
        return nothing


def nothing(*_: Any, **__: Any) -> None:
    """In place of IPython's display() and of the methods of its shell."""


class File:
    """One source: its module, its cells, and their codes.

    compiled   (error, code, text as Python reads it) of each cell; the error or the code is None
    """

    def __init__(self, name: str, content: Any, guarded: set[tuple[str, int]]) -> None:
        self.module = types.ModuleType(Path(name).stem)
        self.module.__dict__.update(__file__=name, display=nothing, get_ipython=NoIPython)
        self.module.__dict__["__builtins__"] = builtins.__dict__  # as exec has it
        self.is_notebook = not isinstance(content, str)
        self.cells = content if self.is_notebook else [[name, content]]
        self.guarded = guarded
        self.begun = False
        self._compiled: list[Any] = []

    def compiled(self) -> list[Any]:
        """Compile the cells, once. A `from __future__` holds for the later cells of a notebook as well."""
        flags = 0
        for label, text in self.cells if not self._compiled else ():
            error = code = None
            linecache.cache[label] = (len(text), None, text.splitlines(keepends=True), label)
            try:
                code, text = self.compile(label, text, flags)
                flags |= code.co_flags & FUTURES
            except BaseException as raised:
                error = raised
            self._compiled.append((error, code, text))
        return self._compiled

    def compile(self, label: str, text: str, flags: int) -> tuple[types.CodeType, str]:
        """The code and the text of a cell."""
        flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT * self.is_notebook
        code, text = compile_cell(label, text, flags)
        tree = compile(text, label, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True) if "except" in text else None
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Try) and node.handlers:
                inner = [n for statement in node.body for n in ast.walk(statement)]
                self.guarded.update((label, n.lineno) for n in inner if isinstance(n, ast.Import | ast.ImportFrom))
        return code, text

    def names(self, function: str) -> bool:
        """Whether it names a function outside of functions, as a definition and an import do, or may do so."""
        if not any(function in text for _, text in self.cells):
            return False
        return any(code is None or function in code.co_names for _, code, _ in self.compiled())


class Files:
    """A submission's files.

    own        name -> function that executes the module of that name, for each `import`; it is filled here
    guarded    (label, line) of each import within a `try` with an `except`; it is filled here
    problems   (label, text, error) of the first cells that raised
    """

    def __init__(self, sources: Iterable[Any], own: dict[str, Callable[[], None]], guarded: Any) -> None:
        self.files = [File(name, content, guarded) for name, content in sources]
        self.problems: list[tuple[str, str, BaseException]] = []
        for file in self.files:
            name = file.module.__name__
            while name in sys.modules and name not in own:  # `import random` gives the library's
                name += "_"
            file.module.__name__, sys.modules[name] = name, file.module
            own[name] = partial(self.execute, file)

    def load(self, functions: Iterable[str]) -> None:
        """Execute the files that define or import these functions; all files, where none does."""
        wanted: list[File] = []
        for function in functions:
            wanted += [file for file in self.files if file.names(function)] or self.files
        for file in self.files:
            if file in wanted or not wanted:
                self.execute(file)

    def execute(self, file: File) -> None:
        """Execute a file, once; what it raises is a problem and no more."""
        if file.begun:
            return
        file.begun = True
        for (label, text), (error, code, python) in zip(file.cells, file.compiled(), strict=True):
            if error is not None:
                self.note(label, text, error)
            while code is not None:
                try:
                    run(code, file.module.__dict__)
                    break
                except BaseException as raised:
                    self.note(label, text, raised)
                    code = rest_of(label, python, code, raised)

    def note(self, label: str, text: str, error: BaseException) -> None:
        """Keep what a cell raised, of the first cells."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((label, text, error))

    def find(self, name: str) -> Any:
        """The function of that name in the last file that has one; stubs and what could not be imported come last."""
        found = [f for file in reversed(self.files) if callable(f := vars(file.module).get(name))]
        return min(found, key=lambda f: (type(f).__name__ == "Unavailable", is_stub(f)), default=None)


def is_stub(function: Any) -> bool:
    """Whether it is as the skeleton has it: it raises NotImplementedError and does nothing else."""
    return getattr(getattr(function, "__code__", None), "co_names", None) == ("NotImplementedError",)


def run(code: types.CodeType, namespace: dict[str, Any]) -> None:
    """Execute a cell. One with `await` runs for as long as it needs nothing from an event loop."""
    coroutine = types.FunctionType(code, namespace)()
    if code.co_flags & inspect.CO_COROUTINE:
        try:
            coroutine.send(None)
        except StopIteration:
            return
        coroutine.close()
        raise RuntimeError("it awaits something that only a running Jupyter has")


def rest_of(label: str, text: str, code: Any, error: BaseException) -> Any:
    """What follows the statement that set up what cannot be imported; None after any other error."""
    if not getattr(error, "in_statement", False):
        return None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == label]
    last = frames[0].lineno or 0, getattr(frames[0], "colno", None) or 0  # the column since Python 3.11
    flags = code.co_flags & FUTURES | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(text, label, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    starts = [min((n.lineno, n.col_offset) for n in (node, *getattr(node, "decorator_list", ()))) for node in tree.body]
    tree.body = [node for node, start in zip(tree.body, starts, strict=True) if start > last]
    return compile(tree, label, "exec", flags, dont_inherit=True)


def compile_cell(label: str, text: str, flags: int) -> tuple[types.CodeType, str]:
    """A cell's code and text. Lines of IPython's are replaced where Python finds them wrong: also in files, because
    some notebooks are downloaded as such.
    """
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    magic = CELL_MAGIC.match(lines[first])
    if magic and magic[1] in PYTHON_MAGICS:
        lines[first] = ""
    elif magic:
        raise SyntaxError(f"%%{magic[1]} is not Python")
    most = min(MAX_REPLACED, 1 + MAX_CHARACTERS // (1 + len(text)))
    for _ in range(most):
        try:
            text = "\n".join(lines)
            return compile(text, label, "exec", flags, dont_inherit=True), text
        except SyntaxError as error:
            last = at = (error.lineno or 0) - 1
            line = lines[at] if 0 <= at < len(lines) else ""
            found = [pattern.sub(new, line) for pattern, new in IPYTHON if pattern.fullmatch(line)]
            if not found:
                raise
            while lines[last].endswith("\\") and last + 1 < len(lines):  # a command that goes on in the next line
                last += 1
            lines[at : last + 1] = [found[0], *[""] * (last - at)]
    raise SyntaxError(f"more than {most} of its lines are not Python")
