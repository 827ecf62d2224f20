"""What the tests of the coursework share: the reference solutions, and a child process that Ctrl-C reaches."""

from __future__ import annotations

import signal
from pathlib import Path

import minikd

PACKAGE = Path(minikd.__file__).parent
COURSE = PACKAGE / "course"
SOLUTION = (COURSE / "reference" / "solution.py").read_text(encoding="utf-8")
MUSEUM = (COURSE / "reference" / "museum.py").read_text(encoding="utf-8")
E1_ALONE = SOLUTION[: SOLUTION.index("def affine_relu_forward")]


def accept_ctrl_c() -> None:
    """For a child, before it starts: a script that runs the tests in the background would have it ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
