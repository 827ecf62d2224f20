"""Execute a student's code: files that import one another, and the cells of notebooks in their order.

A source is the name of a file with its text, or the name of a notebook with its cells, [[label, text], ...]. Each
source is a module, which is executed once, when it is needed or imported. If a cell raises, the rest of it is skipped
and the next cell runs. A file is one cell. A statement that only uses a module that cannot be imported is skipped
alone. This file needs only the standard library, because it runs in the submission's process.
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

MAX_PROBLEMS = 20  # cells that raised, at most, that are reported to the grader
MAX_REPLACED = 200  # IPython lines of a cell; after each, the cell is compiled again
MAX_CHARACTERS = 2_000_000  # of a cell that may be compiled again for this
FUTURES = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)  # distinct bits

# Cell magics with a Python body: the body is executed without the first line.
PYTHON_MAGICS = ("time", "timeit", "capture", "prun", "memit", "mprun", "lprun", "python", "python3")
CELL_MAGIC = re.compile(r"\s*%%(\w+)")
# A line with a syntax error, and the line that replaces it.
IPYTHON = (
    (re.compile(r"(\s*[\w.,\[\] ]+=\s*)[!%].*"), r"\1[]"),  # files = !ls
    (re.compile(r"(\s*)%time\s+(.*)"), r"\1\2"),
    (re.compile(r"(\s*)%{0,2}[\w.*]+\?\??\s*"), r"\1pass"),  # help?
    (re.compile(r"(\s*(?:(?:if|elif|else|for|while|with|try)\b.*:\s*)?)(?:[!%?]|(?:pip|conda)\s).*"), r"\1pass"),
)


class NoIPython:
    """The result of get_ipython() here. All of its methods do nothing."""

    def __getattr__(self, name: str) -> Any:
        return nothing


def nothing(*_: Any, **__: Any) -> None:
    """Replaces IPython's display() and the methods of its shell."""


class File:
    """One source: its module and its cells."""

    def __init__(self, name: str, content: Any, guarded: set[tuple[str, int]]) -> None:
        self.module = types.ModuleType(Path(name).stem)
        self.module.__dict__.update(__file__=name, display=nothing, get_ipython=NoIPython)
        self.module.__dict__["__builtins__"] = builtins.__dict__  # as exec does
        self.is_notebook = not isinstance(content, str)
        self.cells = content if self.is_notebook else [[name, content]]
        self.guarded = guarded
        self.begun = False
        self._compiled: list[Any] = []

    def compiled(self) -> list[Any]:
        """(error, code, text as compiled) of each cell; the error or the code is None. Cells are compiled once.

        A `from __future__ import` also applies to the later cells of a notebook.
        """
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
        """The code of a cell, and its text as compiled."""
        flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT * self.is_notebook
        code, text = compile_cell(label, text, flags)
        tree = compile(text, label, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True) if "except" in text else None
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Try) and node.handlers:
                inner = [n for statement in node.body for n in ast.walk(statement)]
                self.guarded.update((label, n.lineno) for n in inner if isinstance(n, ast.Import | ast.ImportFrom))
        return code, text

    def names(self, function: str) -> bool:
        """Whether top-level code may define or import this function, judged by the names that it uses."""
        if not any(function in text for _, text in self.cells):
            return False
        return any(code is None or function in code.co_names for _, code, _ in self.compiled())


class Files:
    """A submission's files. `problems` holds (label, text, error) of the first cells that raised.

    Parameters
    ----------
    sources : iterable
        The submission's sources.
    own : dict
        Is filled with a function for each module's name; the function executes the module when it is imported.
    guarded : set
        Is filled with (label, line) of each import within a `try` that has an `except`.
    """

    def __init__(self, sources: Iterable[Any], own: dict[str, Callable[[], None]], guarded: Any) -> None:
        self.files = [File(name, content, guarded) for name, content in sources]
        self.problems: list[tuple[str, str, BaseException]] = []
        for file in self.files:
            name = file.module.__name__
            while name in sys.modules and name not in own:  # `import random` must give the library's module
                name += "_"
            file.module.__name__, sys.modules[name] = name, file.module
            own[name] = partial(self.execute, file)

    def load(self, functions: Iterable[str]) -> None:
        """Execute the files that define or import these functions, or all files if none does."""
        wanted: list[File] = []
        for function in functions:
            wanted += [file for file in self.files if file.names(function)] or self.files
        for file in self.files:
            if file in wanted or not wanted:
                self.execute(file)

    def execute(self, file: File) -> None:
        """Execute a file once. An exception is noted as a problem."""
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
        """Keep the exception of a cell, up to MAX_PROBLEMS."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((label, text, error))

    def find(self, name: str) -> Any:
        """The function of this name in the last file that has one. Stubs and failed imports are used last."""
        found = [f for file in reversed(self.files) if callable(f := vars(file.module).get(name))]
        return min(found, key=lambda f: (type(f).__name__ == "Unavailable", is_stub(f)), default=None)


def is_stub(function: Any) -> bool:
    """Whether a function is a stub of the skeleton: it only raises NotImplementedError."""
    return getattr(getattr(function, "__code__", None), "co_names", None) == ("NotImplementedError",)


def run(code: types.CodeType, namespace: dict[str, Any]) -> None:
    """Execute a cell. A cell with `await` runs as long as it needs no event loop."""
    coroutine = types.FunctionType(code, namespace)()
    if code.co_flags & inspect.CO_COROUTINE:
        try:
            coroutine.send(None)
        except StopIteration:
            return
        coroutine.close()
        raise RuntimeError("it awaits something that needs a running Jupyter")


def rest_of(label: str, text: str, code: Any, error: BaseException) -> Any:
    """The code after a statement that used a module that cannot be imported; None after any other error."""
    if not getattr(error, "in_statement", False):
        return None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == label]
    last = frames[0].lineno or 0, getattr(frames[0], "colno", None) or 0  # columns exist since Python 3.11
    flags = code.co_flags & FUTURES | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(text, label, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    starts = [min((n.lineno, n.col_offset) for n in (node, *getattr(node, "decorator_list", ()))) for node in tree.body]
    tree.body = [node for node, start in zip(tree.body, starts, strict=True) if start > last]
    return compile(tree, label, "exec", flags, dont_inherit=True)


def compile_cell(label: str, text: str, flags: int) -> tuple[types.CodeType, str]:
    """The code and the text of a cell. Lines of IPython that are no valid Python are replaced.

    This also applies to files, because notebooks can be downloaded as files.
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
            while lines[last].endswith("\\") and last + 1 < len(lines):  # a command that continues on the next line
                last += 1
            lines[at : last + 1] = [found[0], *[""] * (last - at)]
    raise SyntaxError(f"more than {most} of its lines are not Python")
