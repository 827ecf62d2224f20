"""Files in the folder of a run: JSON that is checked as it is read, and written atomically."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..checkpoint import write_atomically
from ..errors import CheckpointError

T = TypeVar("T")
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, IndexError)  # what numbers that are not as expected raise


def make_folder(folder: Path) -> None:
    """Make the folder of a run, unless it is there. CheckpointError where that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the folder {folder}: {error.strerror}") from error


def write_json(path: Path, content: Any) -> None:
    """Write plain JSON, without NaN and infinities."""
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path, wanted: str, check: Callable[[Any], T], missing: str = "") -> T:
    """What `check` makes of the content of a JSON file; it raises one of DAMAGED where something is wrong.

    wanted   what the file should hold, for the message;  missing  what to say where there is no such file

    CheckpointError, which names the file, where it cannot be read or holds something else.
    """
    try:
        return check(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CheckpointError(missing or f"cannot read {path}: {error.strerror}") from error
    except DAMAGED as error:
        words = f"{path} does not hold {wanted}, or is damaged: {error!r}"
        raise CheckpointError(f"{words}. Put a whole copy in its place, or run it anew in another folder") from error
