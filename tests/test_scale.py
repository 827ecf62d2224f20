"""What docs/scale.md says is so: its Python prints its tables."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.extras

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/scale.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tolerance"), [("cost", 0.0), ("top", 0.002)])  # training rounds elsewhere otherwise
def test_the_tables_are_what_the_code_above_them_prints(name: str, tolerance: float) -> None:
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```\n(.*?)(?=\n\n[A-Z]|\Z)", PAGE, re.DOTALL)
    assert found
    code, text = found.groups()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    shown = [line for line in text.splitlines() if re.match(r"\| [^|]*\|.*\d|training:", line)]
    printed = done.stdout.splitlines()
    assert len(shown) == len(printed) >= 5
    for said, is_so in zip(shown, printed, strict=True):
        if tolerance:
            assert numbers(said) == pytest.approx(numbers(is_so), abs=tolerance)
        else:
            assert said == is_so


def numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", line)]
