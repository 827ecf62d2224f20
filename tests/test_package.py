"""What is published: a small wheel, a README that renders, and one version in all the files that name it."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import minikd

ROOT = Path(__file__).parents[1]
LARGEST_WHEEL = 1_000_000  # bytes


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheel and the source archive, as `python -m build` makes them."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    # Without isolation: the build backend is installed already, so that nothing is downloaded.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(folder.iterdir())


@pytest.mark.slow
def test_the_wheel_is_under_one_megabyte_and_holds_the_package_alone(built: list[Path]) -> None:
    (wheel,) = (file for file in built if file.suffix == ".whl")
    assert wheel.stat().st_size < LARGEST_WHEEL
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"minikd", f"minikd-{minikd.__version__}.dist-info"}
    assert "minikd/py.typed" in names and "minikd/report/page/report.html" in names
    assert [name for name in names if name.endswith((".pyc", ".ipynb"))] == []


@pytest.mark.slow
def test_the_readme_renders_on_a_package_index(built: list[Path]) -> None:
    pytest.importorskip("twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_changelog_and_citation_name_the_version_of_the_package() -> None:
    newest = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    cited = re.search(r"^version: ([\d.]+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest and cited
    assert newest[1] == cited[1] == minikd.__version__


def test_the_classifiers_name_the_pythons_that_the_workflow_runs() -> None:
    versions = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    if not workflow.exists():
        pytest.skip("this copy of the tests came without .github")
    tested = re.search(r"python: \[(.*)\]", workflow.read_text(encoding="utf-8"))
    assert tested and re.findall(r'"([\d.]+)"', tested[1]) == versions and versions[0] == "3.10"
