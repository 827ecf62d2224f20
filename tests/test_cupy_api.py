"""Every array function, method and keyword that minikd uses exists in CuPy, checked without running anything.

The stand-in for CuPy sees only the lines that a test runs; this reads all of them. What CuPy has is in
cupy_api.json, and where CuPy is installed (a GPU is not needed) it is asked itself as well.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strict_cupy as stand_in

pytestmark = pytest.mark.extras

PACKAGE = Path(__file__).resolve().parents[1] / "minikd"
FILES = sorted(PACKAGE.rglob("*.py"))

# These work on NumPy arrays alone and say `np`, so their methods may be NumPy's; whatever they call `xp` is checked.
HOST_ONLY = (
    "data", "reproduce", "course", "exchange", "experiments", "report", "cli", "pool.py", "mpi.py", "__main__.py",
)  # fmt: skip
LIBRARY_OF = ("xp_of", "get_xp")  # functions that return an array library
NUMPY_NAMES = {name for name in dir(np.ndarray) if not name.startswith("_")}  # what a NumPy array has and can do


class Checker(ast.NodeVisitor):
    """Reads one file and collects in `problems` what CuPy would not do; `seen` counts the uses that were checked."""

    def __init__(self, api: dict[str, Any], methods: bool = True) -> None:
        self.api, self.check_methods = api, methods
        self.libraries = {"xp", "cupy"}  # names that hold an array library
        self.functions: dict[str, str] = {}  # names that hold one of its functions: exp = xp.exp
        self.generators: set[str] = set()  # names that hold a CuPy generator
        self.modules: set[str] = set()
        self.problems: list[str] = []
        self.seen = 0

    def read(self, source: str) -> list[str]:
        """The problems in a file. The names are collected first, for a method can come before `__init__`."""
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self.modules |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            for target, value in _assignments(node):
                self._remember(target, value)
        self.visit(tree)
        return self.problems

    def _remember(self, target: ast.expr, value: ast.expr) -> None:
        name, path = ast.unparse(target), self._path(value)
        if path == "":
            self.libraries.add(name)
        elif path is not None:
            self.functions[name] = path
        elif isinstance(value, ast.Call) and self._path(value.func) == "random.default_rng":
            self.generators.add(name)

    def _path(self, node: ast.expr) -> str | None:
        """'random.default_rng' for `xp.random.default_rng`, '' for `xp` itself, None for what is not CuPy's."""
        if ast.unparse(node) in self.libraries or (isinstance(node, ast.Attribute) and node.attr == "xp"):
            return ""
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in LIBRARY_OF:
            return ""
        if isinstance(node, ast.Name):
            return self.functions.get(node.id)
        if isinstance(node, ast.Attribute):
            path = self._path(node.value)
            return None if path is None else f"{path}.{node.attr}".lstrip(".")
        return None

    def visit_Call(self, node: ast.Call) -> None:
        path, function = self._path(node.func), node.func
        if path in self.api["functions"]:
            self._fits(node, f"cupy.{path}", self.api["functions"][path])
        elif path is None and isinstance(function, ast.Attribute) and self.check_methods:
            owner = ast.unparse(function.value)
            if owner in self.generators:
                self._exists(node, function.attr in self.api["generator"], f"cupy.random.Generator.{function.attr}")
                self._fits(node, f"Generator.{function.attr}", self.api["generator"].get(function.attr, "*_, **__"))
            elif function.attr in NUMPY_NAMES & set(self.api["ndarray"]) and self._may_be_array(function.value):
                self._fits(node, f"ndarray.{function.attr}", self.api["ndarray"][function.attr])
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path = self._path(node)
        if path:
            self._exists(node, self._is_known(path), f"cupy.{path}")
        elif path is None and node.attr in NUMPY_NAMES and self.check_methods and self._may_be_array(node.value):
            known = node.attr in self.api["ndarray"] or node.attr in self.api["ndarray_attributes"]
            self._exists(node, known, f"cupy.ndarray.{node.attr}")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.MatMult) and self.check_methods:
            self._exists(node, False, "in-place matmul (it makes a new array): cupy.ndarray.__imatmul__")
        self.generic_visit(node)

    def _may_be_array(self, node: ast.expr) -> bool:
        """Not a module (np.sum, json.dump) and not a piece of text ("a,b".partition)."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return not (isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id in self.modules))

    def _is_known(self, path: str) -> bool:
        """Whether CuPy has the function, class, constant or module, or the ufunc that method."""
        owner, _, last = path.rpartition(".")
        everything = [*self.api["functions"], *self.api["names"]]
        if path in everything or any(name.startswith(f"{path}.") for name in everything):
            return True
        if owner == "ndarray":
            return last in self.api["ndarray"]
        if self.api["functions"].get(owner, "").startswith("x1"):
            return last in self.api["ufunc_methods"].get(owner, "").split() or last in ("outer", "nin", "nout")
        if owner.startswith("cuda."):  # what a Stream or a Device can do is not in the table
            return any(f"{owner}.".startswith(f"{name}.") for name in self.api["names"] if name.count("."))
        return owner in self.api["names"] and isinstance(getattr(np, owner, None), type)

    def _exists(self, node: ast.AST, known: bool, name: str) -> None:
        self.seen += 1
        if not known:
            self.problems.append(f"line {node.lineno}: CuPy has no {name}")  # type: ignore[attr-defined]

    def _fits(self, node: ast.Call, name: str, text: str) -> None:
        """The arguments bind to CuPy's parameters; with `*args` or `**kwargs` in the call, as far as can be seen."""
        self.seen += 1
        keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
        starred = len(keywords) < len(node.keywords) or any(isinstance(a, ast.Starred) for a in node.args)
        wanted = stand_in.signature(text)
        try:
            if starred:
                wanted.bind_partial(**keywords)
            else:
                wanted.bind(*node.args, **keywords)
        except TypeError as error:
            self.problems.append(f"line {node.lineno}: {name}({text}): {error}")


def _assignments(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """The pairs (target, value) of an assignment, also of `a, b = 1, 2`."""
    if isinstance(node, ast.AnnAssign) and node.value:
        yield node.target, node.value
    if isinstance(node, ast.NamedExpr):
        yield node.target, node.value
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(target.elts, node.value.elts, strict=False)
            else:
                yield target, node.value


@pytest.fixture(scope="session")
def wheel_api() -> dict[str, Any]:
    """The table, read from the CuPy that is installed, in a process of its own to keep CuPy out of this one."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    command = [sys.executable, stand_in.__file__, "--print-api"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    api: dict[str, Any] = json.loads(answer.stdout)
    return api


@pytest.fixture(params=["table", "wheel"])
def api(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What CuPy has: as the table says, and as the installed wheel says."""
    table: dict[str, Any] = stand_in.load_api()
    return table if request.param == "table" else request.getfixturevalue("wheel_api")


def test_the_table_is_what_the_installed_cupy_has(wheel_api: dict[str, Any]) -> None:
    table = stand_in.load_api()
    if table["version"] != wheel_api["version"]:
        pytest.skip(f"the table was made from CuPy {table['version']}, installed is {wheel_api['version']}")
    assert table == wheel_api, "make the table again: python tests/strict_cupy.py --write-api"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_minikd_uses_only_what_cupy_has(file: Path, api: dict[str, Any]) -> None:
    host_only = file.relative_to(PACKAGE).parts[0] in HOST_ONLY
    checker = Checker(api, methods=not host_only)
    assert checker.read(file.read_text(encoding="utf-8")) == []


def test_the_check_does_see_what_minikd_uses() -> None:
    checker = Checker(stand_in.load_api())
    checker.read((PACKAGE / "ops.py").read_text(encoding="utf-8"))
    assert checker.seen > 30


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("xp.nosuch(a)", "no cupy.nosuch"),
        ("xp.errstate", "no cupy.errstate"),
        ("xp.random.nosuch(3)", "no cupy.random.nosuch"),
        ("self.xp.nosuch(a)", "no cupy.nosuch"),
        ("xp_of(a).nosuch(a)", "no cupy.nosuch"),
        ("backend.get_xp(device).nosuch(a)", "no cupy.nosuch"),
        ("lib, n = xp_of(a), 3\nlib.nosuch(a)", "no cupy.nosuch"),
        ("exp = xp.exp\nexp(a, where=m)", "'where'"),
        ("xp.maximum.reduce(a)", "no cupy.maximum.reduce"),
        ("xp.take(a, i, mode='clip')", "'mode'"),
        ("xp.take(a, i, 0, out, 'clip')", "too many positional"),
        ("xp.take(a, *i, mode='clip')", "'mode'"),
        ("xp.take(a, axis=0)", "missing a required argument"),
        ("xp.linalg.norm(a, where=m)", "'where'"),
        ("f(1, xp.add(a, b, subok=True))", "'subok'"),
        ("def f(a):\n    return xp_of(a).clip(a, min=0)", "'a_min'"),
        ("a.sum(axis=0, where=m)", "'where'"),
        ("(a * b).max(axis=1, initial=0)", "'initial'"),
        ("ops.relu(a).take(i, mode='clip')", "'mode'"),
        ("a.item(3)", "too many positional"),
        ("a.setflags(write=False)", "no cupy.ndarray.setflags"),
        ("a.ctypes.data", "no cupy.ndarray.ctypes"),
        ("a @= b", "in-place matmul"),
        ("rng = xp.random.default_rng(0)\nrng.permutation(3)", "no cupy.random.Generator.permutation"),
        ("self.rng = xp.random.default_rng(0)\nself.rng.random(3, device=0)", "'device'"),
    ],
)
def test_the_check_can_fail(code: str, complaint: str, api: dict[str, Any]) -> None:
    problems = Checker(api).read(code)
    assert len(problems) == 1 and complaint in problems[0]


@pytest.mark.parametrize(
    "code",
    [
        "xp.take(a, i, axis=0, out=b)",
        "xp.random.default_rng(seed).random(3, dtype=xp.float32)",
        "xp.add.at(a, i, 1); xp.add.outer(a, b); xp.add.nin",
        "xp.exp(a, out=a); xp.exp(a, a); xp.matmul(a, b, out=c); a @ b",
        "xp.float32(1), xp.newaxis, xp.pi, xp.finfo(a.dtype).tiny, xp.ndarray.sum, xp.float32.__name__",
        "a.sum(axis=0, keepdims=True).reshape(2, -1).T.copy()",
        "xp.sum(*args, **kwargs); a.sum(*args, **kwargs)",
        "import json, numpy as np\njson.dump(a, f, indent=1); np.take(a, i, mode='clip')",
        "import numpy as np\nrng = np.random.default_rng(0)\nrng.permutation(3)",
        "'a=b'.partition('='); rows.append(1); d.get('x', 3)",
        "cupy.cuda.runtime.getDeviceCount(); cupy.cuda.Stream.null.synchronize(); cupy.cuda.runtime.CUDARuntimeError",
    ],
)
def test_the_check_has_nothing_to_say_of_good_code(code: str, api: dict[str, Any]) -> None:
    assert Checker(api).read(code) == []
