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
from ..exercises.exercise import SUBMISSION_MODULES
from ..sandbox.conversation import printable

MAX_FILE_BYTES, MAX_CHARACTERS = 1_000_000, 4_000_000  # bytes of a file, and of all
SUFFIXES = (".py", ".ipynb")
MAX_FILES, MAX_FOLDERS, MAX_DEPTH = 20, 100, 3
# The files of the skeleton come last, so that they find what they import.
ORDER = {name: i for i, name in enumerate(SUBMISSION_MODULES, 1)}


class SubmissionError(MinikdError):
    """There is no submission at the place that was named."""


@dataclass
class Submission:
    """Name of the student (the file's or folder's), sources as (file name, text), and what could not be read."""

    name: str
    sources: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """One student's submission in a class.

    name       what a reader may look for: the file's or folder's own name, or the student's where a platform chose it
    files      (name that the student gave it, where it is) of each folder and file
    known_as   by what a roster may know the student, see collect.py
    """

    student: str
    name: str
    files: tuple[tuple[str, Path], ...]
    known_as: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What a run that is resumed knows it by: all that it is made of."""
        return "/".join(path.name for _, path in self.files)


def student_name(path: Path) -> str:
    """The name of who handed in what is at `path`: the folder's, or the file's without its ending."""
    return safe_name(path.name if os.path.isdir(path) else path.stem)


def safe_name(name: str) -> str:
    """A file's name on one line, without what a terminal would obey or no file could hold."""
    return printable(name.replace("\n", "\r"))[:100]


def read_submission(path: Path | Entry) -> Submission:
    """The submission at a path, or one of a class; never raises for what is there."""
    entry = path if isinstance(path, Entry) else Entry(student_name(path), path.name, ((path.name, path),))
    submission = Submission(entry.student)
    files: list[tuple[str, Path]] = []
    for name, part in entry.files:
        if os.path.islink(part):
            submission.problems.append(f"{safe_name(name)} is a link, and links are not followed")
        else:
            found = _source_files(part, submission.problems)
            files += [(name if file == part else file.name, file) for file in found]
    if len(files) > MAX_FILES:
        submission.problems.append(f"more than {MAX_FILES} files: only the first are read")
    for name, file in sorted(files[:MAX_FILES], key=lambda item: (ORDER.get(Path(item[0]).stem, 0), str(item[1]))):
        text = _read_text(file, submission.problems)
        if text is not None and file.suffix.lower() == ".ipynb":
            text = _notebook_code(text, safe_name(name), submission.problems)
        if text is not None:
            submission.sources.append((safe_name(name), text))
    while sum(len(source) for _, source in submission.sources) > MAX_CHARACTERS:
        name, _ = submission.sources.pop(0)
        submission.problems.append(f"more than {MAX_CHARACTERS:,} characters in all: {name} is left out")
    if not submission.sources and not submission.problems:
        submission.problems.append("there is no .py or .ipynb file")
    return submission


def _source_files(path: Path, problems: list[str]) -> list[Path]:
    if not os.path.isdir(path):
        return [path]
    found: list[Path] = []
    for count, (folder, names, files) in enumerate(os.walk(path)):
        if count >= MAX_FOLDERS:
            problems.append(f"more than {MAX_FOLDERS} folders: only the first are read")
            break
        depth = len(Path(folder).relative_to(path).parts)
        names[:] = sorted(n for n in names if not n.startswith((".", "__")) and depth < MAX_DEPTH)
        found += [
            Path(folder) / name for name in sorted(files) if name.lower().endswith(SUFFIXES) and name[0] not in "._"
        ]
        # Not to be taken for the submission's: the tests that came with the skeleton.
        found = [file for file in found if not file.name.startswith(("test_", "conftest"))]
        if len(found) > MAX_FILES:
            problems.append(f"more than {MAX_FILES} files: only the first are read")
            return found[:MAX_FILES]
    return found


def _read_text(file: Path, problems: list[str]) -> str | None:
    """The text of a regular file of reasonable size, or None and a problem."""
    name = safe_name(file.name)
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
        elif about.st_size > MAX_FILE_BYTES:
            problems.append(f"{name} has {about.st_size:,} bytes, more than {MAX_FILE_BYTES:,}")
        else:
            raw = opened.read(MAX_FILE_BYTES + 1)
            try:
                text = raw.decode("utf-8-sig")
                if "\0" not in text:
                    return text
                problems.append(f"{name} holds null bytes: it is not a text")
            except UnicodeDecodeError as error:
                problems.append(f"{name} is not UTF-8 text, at byte {error.start:,}")
    return None


def _notebook_code(text: str, name: str, problems: list[str]) -> str | None:
    """The code cells of a notebook, one after the other; lines for IPython (% and !) are left out."""
    try:
        cells = json.loads(text)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        problems.append(f"{name} is not a notebook")
        return None
    lines = [line for source in sources for line in source.split("\n")]
    return "".join(f"# {line}\n" if re.match(r"\s*(!|%%?[A-Za-z])", line) else f"{line}\n" for line in lines) or "\n"
