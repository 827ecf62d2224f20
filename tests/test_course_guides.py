"""Every command in the guides to the coursework runs, in order, in a fresh folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minikd.cli.parser import command_parser

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = ("course-learners.md", "course-instructors.md")


def commands(guide: str) -> list[str]:
    """The lines of its blocks of shell."""
    blocks = re.findall(r"```sh\n(.*?)```", (DOCS / guide).read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the guides' commands are a POSIX shell's")
@pytest.mark.parametrize("guide", GUIDES)
def test_every_command_of_a_guide_runs_in_order(guide: str, tmp_path: Path) -> None:
    lines = commands(guide)
    assert len(lines) >= 8
    folder, environment = tmp_path, {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    said = {}
    for line in lines:
        if line.startswith("cd "):
            folder = folder / line.removeprefix("cd ")
            continue
        ran = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        # Nothing is solved yet in the learners' guide: a check of a named exercise says so by its exit code.
        unsolved = guide == GUIDES[0] and re.match(r"minikd course check E|pytest", line)
        assert ran.returncode == (1 if unsolved else 0), f"{line}\n{ran.stdout}\n{ran.stderr}"
        assert "Traceback" not in ran.stdout + ran.stderr
        said[line] = ran.stdout
    if guide == GUIDES[1]:
        table = (tmp_path / "grades.csv").read_text().splitlines()
        assert [row.split(",")[:3] for row in table[1:]] == [["ada", "115", "115"], ["bob", "0", "115"]]
        assert (tmp_path / "weighted.csv").read_text().splitlines()[1].startswith("ada,120,120")
        rows = [row.split(",")[:5] for row in (tmp_path / "final.csv").read_text().splitlines()[1:]]
        assert rows == [["ada", "Ada Lovelace", "ada", "113", "115"], ["bob", "Bob Bell", "bob", "1.5", "115"],
                        ["cyd", "Cyd Cole", "", "0", "115"]]  # fmt: skip
        scores = "ada,Ada Lovelace,113\nbob,Bob Bell,1.5\ncyd,Cyd Cole,0\n"
        assert (tmp_path / "import.csv").read_text().endswith(scores)
        assert "A good start." in (tmp_path / "feedback" / "bob.html").read_text()
        assert (tmp_path / "class.png").stat().st_size > 10_000
        assert (tmp_path / "grader.zip").stat().st_size > 10_000 and (tmp_path / "results.json").exists()
        assert "115 of 115, seed 20260101" in said["minikd course replay submissions/ada --seed 20260101"]
    else:
        assert "0 of 115" in said["minikd course progress"]


@pytest.mark.parametrize("guide", GUIDES)
def test_every_command_and_option_that_a_guide_mentions_exists(guide: str) -> None:
    parser = command_parser()
    text = (DOCS / guide).read_text()
    actions = set(re.findall(r"minikd course (\w+)", text))
    assert actions
    for action in actions:
        with pytest.raises(SystemExit) as stopped:
            parser.parse_args(["course", action, "--help"])
        assert stopped.value.code == 0, action


def test_a_guide_is_a_page() -> None:
    for guide in GUIDES:
        assert len((DOCS / guide).read_text().split()) < 1000, guide
