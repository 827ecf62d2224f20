"""What the tests of the coursework share: the reference solutions."""

from __future__ import annotations

from pathlib import Path

import minikd

PACKAGE = Path(minikd.__file__).parent
COURSE = PACKAGE / "course"
SOLUTION = (COURSE / "reference" / "solution.py").read_text(encoding="utf-8")
MUSEUM = (COURSE / "reference" / "museum.py").read_text(encoding="utf-8")
E1_ALONE = SOLUTION[: SOLUTION.index("def affine_relu_forward")]
