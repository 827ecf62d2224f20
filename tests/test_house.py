"""The package is as planned (`house.py` beside this file), and the checker finds what it is there to find."""

from __future__ import annotations

from pathlib import Path

import house
import pytest

ROOT = Path(__file__).parents[1]

# A package in good order. Files below are put into it, and exactly one thing is then wrong.
GOOD = {
    "__init__.py": "from minikd.mlp import MLP\nfrom minikd.training import fit\n",
    "errors.py": "class MinikdError(Exception): ...\n",
    "backend.py": "import numpy as np\nimport cupy\n",
    "fast/__init__.py": "",
    "fast/cpu.py": "import numba\nfrom minikd.backend import np\n",
    "mlp.py": "from minikd.backend import np\nfrom minikd.fast import cpu\n\n\nclass MLP:\n    _n = 1\n",
    "training.py": 'from .mlp import MLP\n\n\ndef fit():\n    """Train."""\n    def inner(): ...\n',
    "data/__init__.py": "",
    "scale/__init__.py": "",
    "scale/pool.py": "from minikd.training import fit\nfrom minikd import errors\n",
    "report/__init__.py": "",
    "report/plots.py": "from minikd.scale import pool\n",
    "course/__init__.py": "",
    "course/sandbox.py": "import sys\nframe = sys._getframe()\n",
    "course/reference/solution.py": "from minikd.cli import main\n",
    "cli/__init__.py": "",
    "cli/main.py": 'def main():\n    """Start."""\n    from minikd.report import plots\n',
    "__main__.py": "from minikd.cli import main\n",
}


def lines(n: int) -> str:
    """A file with n lines of code among lines that are none."""
    return '"""Docstring,\nof two lines."""\n\n# A comment.\n' + "x = 1\n\n" * n


def function(n: int, inside: str = "") -> str:
    """A function of n lines of code, the first of which is its name, in a class if `inside` is indented."""
    body = f"{inside}    x = 1\n\n" * (n - 1)
    return f'{inside}def f():\n{inside}    """What it does,\n{inside}    in two lines."""\n{body}'


def complaints(root: Path, **changes: str) -> list[str]:
    """What the checker says of the good package with these files changed or added."""
    return house.complaints(write(root, GOOD | changes))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / "minikd" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "minikd" / name).write_text(text, encoding="utf-8")
    return root


def test_the_package_is_as_planned() -> None:
    found = house.complaints(ROOT)
    assert not found, "\n".join(found)


def test_a_package_in_good_order_has_no_complaint(tmp_path: Path) -> None:
    assert complaints(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("scale/pool.py", lines(300)),
        ("mlp.py", lines(200)),
        ("optim.py", function(40)),
        ("optim.py", "class A:\n" + function(40, "    ")),
        ("course/reference/other.py", "from minikd.cli import main\n"),
        ("scale/pool.py", "def _private(): ...\n"),
        ("scale/pool.py", "text = path.read_text(encoding='utf-8')\n"),
        ("scale/pool.py", "import cupyish\nimport numbat\nfrom minikd.training import report\n"),
        ("report/other.py", "from . import plots\n"),
    ],
)
def test_what_the_plan_allows_is_no_complaint(tmp_path: Path, file: str, text: str) -> None:
    assert complaints(tmp_path, **{file: text}) == []


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("extra.py", "", "extra.py: not a chapter, so it belongs in a room"),
        ("attic/__init__.py", "", "attic/__init__.py: attic/ is not a room of the plan"),
        ("scale/pool.py", lines(301), "scale/pool.py: 301 lines of code, at most 300"),
        ("mlp.py", lines(201), "mlp.py: 201 lines of code, at most 200"),
        ("mlp.py", function(41), "mlp.py:1 f: 41 lines of code, at most 40 in a function"),
        ("cli/main.py", "class A:\n" + function(41, "    "), "cli/main.py:2 f: 41 lines of code, at most 40"),
        ("training.py", "def fit(): ...\n", "training.py:1 fit: public, but without a docstring"),
        ("training.py", "class A:\n    async def go(self): ...\n", "training.py:2 go: public, but without"),
        ("fast/cpu.py", "import sys\nn = sys.getrefcount(n)\n", "fast/cpu.py: getrefcount is a trick"),
        ("scale/pool.py", "import gc\nx = gc.get_referrers(x)\n", "scale/pool.py: gc.get_ is a trick"),
        ("scale/pool.py", "import sys\nx = sys._getframe()\n", "scale/pool.py: _getframe is a trick"),
        ("scale/pool.py", "\nx = path.read_text()\n", "scale/pool.py:2 read_text without its encoding"),
        ("course/sandbox.py", "path.write_text('')\n", "course/sandbox.py:1 write_text without its encoding"),
        ("scale/pool.py", "import torch.nn\n", "scale/pool.py:1 imports torch.nn: not in the library"),
        ("scale/pool.py", "def _f():\n    from jax import jit\n", "scale/pool.py:2 imports jax: not in the library"),
        ("course/reference/solution.py", "import sklearn\n", "course/reference/solution.py:1 imports sklearn: not in"),
        ("optim.py", "import cupy\n", "optim.py:1 imports cupy: only backend.py and fast/cuda.py may"),
        ("fast/cpu.py", "from cupyx import jit\n", "fast/cpu.py:1 imports cupyx: only backend.py and fast/cuda.py may"),
        ("optim.py", "def _f():\n    import numba\n", "optim.py:2 imports numba: only fast/ may"),
        ("course/sandbox.py", "from minikd.report import plots\n", "course/sandbox.py:1 imports minikd.report.plots:"),
        ("optim.py", "from minikd.training import fit\n", "optim.py:1 imports minikd.training: optim stands below"),
        ("mlp.py", "import minikd.data\n", "mlp.py:1 imports minikd.data: mlp stands below data"),
        ("optim.py", "def _f():\n    from . import scale\n", "optim.py:2 imports minikd.scale: optim stands below"),
        ("scale/other.py", "if TYPE_CHECKING:\n    from minikd.cli import main\n",
         "scale/other.py:2 imports minikd.cli.main: scale stands below cli"),
    ],
)  # fmt: skip
def test_what_the_plan_rules_out_is_named_with_its_place(tmp_path: Path, file: str, text: str, said: str) -> None:
    found = complaints(tmp_path, **{file: text})
    assert len(found) == 1 and found[0].startswith(said), found


@pytest.mark.parametrize(
    "changes",
    [
        {"scale/a.py": "from minikd.scale import b\n", "scale/b.py": "from minikd.scale.a import x\n"},
        {"scale/a.py": "def _f():\n    from minikd.scale import b\n", "scale/b.py": "from .c import x\n",
         "scale/c.py": "if TYPE_CHECKING:\n    from . import a\n"},
        {"mlp.py": "from minikd import fit\n"},
        {"scale/__init__.py": "from .pool import x\n", "scale/pool.py": "def _f():\n    from minikd.scale import x\n"},
    ],
    ids=["two files", "three, two of them later", "a chapter that imports the package", "a room and a file in it"],
)  # fmt: skip
def test_a_circle_is_found_also_a_lazy_one(tmp_path: Path, changes: dict[str, str]) -> None:
    (found,) = complaints(tmp_path, **changes)
    assert found.startswith("a circle of imports: minikd")
    assert all("minikd." + file.removesuffix(".py").replace("/", ".") in found for file in changes if "_" not in file)


def test_the_whole_package_has_a_limit(tmp_path: Path) -> None:
    parts = {f"data/part{i}.py": lines(300) for i in range(48)}
    (found,) = complaints(tmp_path, **parts)
    assert found.startswith("the package has 144") and found.endswith("must stay under 14300")
    assert house.MOST_LINES_IN_ALL == 14_300


def test_what_the_chapters_load_has_a_limit(tmp_path: Path) -> None:
    big = {f"{name}.py": lines(190) for name in ("ops", "losses", "checkpoint", "metrics", "gradcheck")}
    assert complaints(tmp_path, **big) == []
    within = {"optim.py": "def _later():\n    import minikd.data.big\n", "data/big.py": lines(299)}
    assert not any("load" in found for found in complaints(tmp_path, **big, **within)), "loaded later"
    within["optim.py"] = "import minikd.data.big\n"
    loads = [found for found in complaints(tmp_path, **big, **within) if "load" in found]
    assert len(loads) == 1 and loads[0].startswith("the chapters load 1") and "data data.big" in loads[0], loads
    within["fast/cpu.py"] = "import minikd.data.big\n"
    within["optim.py"] = "import minikd.fast.cpu\n"
    assert not any("load" in found for found in complaints(tmp_path, **big, **within)), "fast/ is left out"


def test_the_readme_has_a_limit(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x\n" * house.MOST_LINES_OF_THE_README, encoding="utf-8")
    assert complaints(tmp_path) == []
    (tmp_path / "README.md").write_text("x\n" * (house.MOST_LINES_OF_THE_README + 1), encoding="utf-8")
    (found,) = complaints(tmp_path)
    assert found.startswith("README.md: 201 lines, at most 200")


def test_the_numbers_are_those_of_the_plan() -> None:
    assert house.MOST_LINES_OF == {"file": 300, "chapter": 200, "function": 40}
    assert house.MOST_LINES_LOADED <= 1250 and set(house.CHAPTERS) < set(house.FLOORS)
