"""Reading what a student handed in, from whatever is there, without trusting any of it.

A submission is a Python file, a notebook, or a folder of those. Links are not followed, special files not opened, and
nothing is read beyond a size; what cannot be read is a problem that is noted, and the rest counts.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import MinikdError
from ..sandbox.conversation import printable

LARGEST, TOGETHER = 1_000_000, 4_000_000  # bytes of a file, and of all
MOST_FILES, MOST_FOLDERS, DEEPEST = 20, 100, 3
KNOWN = ("solution", "museum")  # what the skeleton calls its files: executed last, so that they find what they import


class SubmissionError(MinikdError):
    """There is no submission at the place that was named."""


@dataclass
class Submission:
    """Name of the student (the file's or folder's), sources as (file name, text), and what could not be read."""

    name: str
    sources: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def submissions(folder: Path) -> list[Path]:
    """The submissions in a folder: its files and folders, in order of their names, without hidden ones."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SubmissionError(f"cannot read the folder {folder}: {error.strerror}") from error
    kinds = (".py", ".ipynb")
    found = [
        p for p in entries if not p.name.startswith((".", "__")) and (p.is_symlink() or p.is_dir() or p.suffix in kinds)
    ]
    if not found:
        raise SubmissionError(
            f"{folder} holds no submissions: one folder, .py or .ipynb file for each student is wanted"
        )
    return found


def student(path: Path) -> str:
    """The name of who handed in what is at `path`: the folder's, or the file's without its ending."""
    return shown(path.name if os.path.isdir(path) else path.stem)


def shown(name: str) -> str:
    """A file's name on one line, without what a terminal would obey or no file could hold."""
    return printable(name.replace("\n", "\r"))[:100]


def read(path: Path) -> Submission:
    """The submission at a path; never raises for what is there."""
    submission = Submission(student(path))
    if os.path.islink(path):
        submission.problems.append(f"{submission.name} is a link, and links are not followed")
        return submission
    files = _files(path, submission.problems)
    for file in sorted(
        files, key=lambda file: (file.stem in KNOWN, KNOWN.index(file.stem) if file.stem in KNOWN else 0, str(file))
    ):
        text = _text(file, submission.problems)
        if text is not None and file.suffix == ".ipynb":
            text = _code(text, shown(file.name), submission.problems)
        if text is not None:
            submission.sources.append((shown(file.name), text))
    while sum(len(source) for _, source in submission.sources) > TOGETHER:
        name, _ = submission.sources.pop(0)
        submission.problems.append(f"more than {TOGETHER:,} characters in all: {name} is left out")
    if not submission.sources and not submission.problems:
        submission.problems.append("there is no .py or .ipynb file")
    return submission


def _files(path: Path, problems: list[str]) -> list[Path]:
    if not os.path.isdir(path):
        return [path]
    found: list[Path] = []
    for count, (folder, names, files) in enumerate(os.walk(path)):
        if count >= MOST_FOLDERS:
            problems.append(f"more than {MOST_FOLDERS} folders: only the first are read")
            break
        depth = len(Path(folder).relative_to(path).parts)
        names[:] = sorted(n for n in names if not n.startswith((".", "__")) and depth < DEEPEST)
        found += [
            Path(folder) / name for name in sorted(files) if name.endswith((".py", ".ipynb")) and name[0] not in "._"
        ]
        # Not to be taken for the submission's: the tests that came with the skeleton.
        found = [file for file in found if not file.name.startswith(("test_", "conftest"))]
        if len(found) > MOST_FILES:
            problems.append(f"more than {MOST_FILES} files: only the first are read")
            return found[:MOST_FILES]
    return found


def _text(file: Path, problems: list[str]) -> str | None:
    """The text of a regular file of reasonable size, or None and a problem."""
    name = shown(file.name)
    try:
        fd = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        words = "is a link, and links are not followed" if os.path.islink(file) else f"cannot be read: {error.strerror}"
        problems.append(f"{name} {words}")
        return None
    with os.fdopen(fd, "rb") as opened:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            problems.append(f"{name} is not a regular file")
        elif about.st_size > LARGEST:
            problems.append(f"{name} has {about.st_size:,} bytes, more than {LARGEST:,}")
        else:
            raw = opened.read(LARGEST + 1)
            try:
                text = raw.decode("utf-8-sig")
                if "\0" not in text:
                    return text
                problems.append(f"{name} holds null bytes: it is not a text")
            except UnicodeDecodeError as error:
                problems.append(f"{name} is not UTF-8 text, at byte {error.start:,}")
    return None


def _code(text: str, name: str, problems: list[str]) -> str | None:
    """The code cells of a notebook, one after the other; lines for IPython (% and !) are left out."""
    try:
        cells = json.loads(text)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        problems.append(f"{name} is not a notebook")
        return None
    lines = [
        f"# {line}" if re.match(r"\s*(!|%%?[A-Za-z])", line) else line
        for source in sources
        for line in source.split("\n")
    ]
    return "\n".join(lines) + "\n"
