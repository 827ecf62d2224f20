"""`similar` also names what was copied from minikd: the reference solutions in the wheel, the library's functions."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from coursework import MUSEUM, PACKAGE, SOLUTION
from derivations import LOOPS, SOFTPLUS, TAPE

from minikd.cli.main import main
from minikd.course.grading.similar import copies, minikds_functions

RENAMED = {"logp": "a", "logq": "b", "loss": "value", "params": "layers", "gradients": "g", "rows": "idx", "zs": "s"}


def renamed(source: str) -> str:
    """The same code under other names, with other comments and texts."""
    for old, new in RENAMED.items():
        source = re.sub(rf"\b{old}\b", new, source)
    return source.replace('"""E', '"""My own work for E').replace("    return", "    # and so\n    return")


def test_the_reference_solution_is_found_under_other_names(tmp_path: Path) -> None:
    (tmp_path / "eve").mkdir()
    (tmp_path / "eve" / "solution.py").write_text(renamed(SOLUTION))
    (tmp_path / "eve" / "museum.py").write_text(renamed(MUSEUM))
    found = {copy.function: copy for copy in copies([tmp_path / "eve"])}
    assert len(found) >= 15 and all(copy.student == "eve" and copy.similarity > 0.95 for copy in found.values())
    assert found["kd_loss"].original.startswith("course.reference.solution.")
    assert found["distill"].original == "course.reference.solution.distill"
    assert found["test_e16"].original == "course.reference.museum.test_e16"


@pytest.mark.parametrize(
    ("file", "function"),
    [("ops.py", "log_softmax"), ("losses.py", "cross_entropy"), ("course/exercises/expected.py", "total")],
)
def test_a_function_of_the_library_is_named(file: str, function: str, tmp_path: Path) -> None:
    text = (PACKAGE / file).read_text()
    (body,) = re.findall(rf"(?ms)^def {function}\(.*?(?=^\S|\Z)", text)
    (tmp_path / "eve.py").write_text(body.replace(f"def {function}(", "def mine("))
    (found,) = copies([tmp_path / "eve.py"])
    dotted = file.removesuffix(".py").replace("/", ".")
    assert (found.function, found.original) == ("mine", f"{dotted}.{function}")


def test_work_of_ones_own_and_the_skeleton_are_like_nothing_in_minikd(tmp_path: Path) -> None:
    for name, source in (("tape", TAPE), ("loops", LOOPS), ("fraction", SOFTPLUS)):
        (tmp_path / f"{name}.py").write_text(source)
    skeleton = PACKAGE / "course" / "skeleton"
    assert copies([*sorted(tmp_path.iterdir()), skeleton]) == []
    assert not any("skeleton" in name for name in minikds_functions())


def test_the_command_lists_them_within_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "eve.py").write_text(renamed(SOLUTION))
    (tmp_path / "\x1b[2Jbob.py").write_text(SOLUTION)
    (tmp_path / "ada.py").write_text(LOOPS)
    with pytest.raises(SystemExit) as stopped:
        main(["course", "similar", str(tmp_path)])
    out = capsys.readouterr().out
    said = " ".join(out.split())
    assert not stopped.value.code and "eve.py minikd: " in said
    assert "distill (course.reference.solution.distill, 100%)" in said
    assert "1 pairs are alike up to names and layout; like minikd's code: 2" in said
    assert max(map(len, out.splitlines())) <= 80 and "\x1b" not in out and "ada.py  minikd" not in out


@pytest.mark.slow
def test_a_class_of_200_is_compared_with_minikd_in_seconds(tmp_path: Path) -> None:
    for i in range(200):
        (tmp_path / f"s{i:03d}.py").write_text(SOLUTION.replace("T * (p - q)", f"T * (p - q) + {i}"))
    begun = time.process_time()
    assert len({copy.student for copy in copies(sorted(tmp_path.iterdir()))}) == 200
    assert time.process_time() - begun < 15
