"""Read a submission without trusting any of it.

A submission is a Python file, a notebook, or a folder of those. Links are not followed, special files are not opened,
and sizes are limited. A part that cannot be read is noted as a problem, and the rest counts.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import MinikdError
from ..sandbox.conversation import Cells, printable

MAX_FILE_BYTES, MAX_CHARACTERS = 1_000_000, 4_000_000  # of the source code in one file, and in all files
MAX_NOTEBOOK_BYTES = 10_000_000  # of a notebook including its outputs, such as pictures
MAX_CELLS = 1_000  # code cells in all notebooks
SUFFIXES = (".py", ".ipynb")
MAX_FILES, MAX_FOLDERS, MAX_DEPTH = 20, 100, 3
# The files of the skeleton come last, because the last definition of a function counts.
ORDER = {"solution": 1, "museum": 2}


class SubmissionError(MinikdError):
    """There is no submission at this path."""


@dataclass
class Submission:
    """The student's name (that of the file or folder), the sources, and problems with parts that cannot be read."""

    name: str
    sources: list[tuple[str, str | Cells]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """The texts of all files and cells."""
        cells = [[("", content)] if isinstance(content, str) else content for _, content in self.sources]
        return [text for of_file in cells for _, text in of_file]


@dataclass(frozen=True)
class Entry:
    """One student's submission in a class.

    Parameters
    ----------
    student : str
        The student's name.
    name : str
        The name of the file or folder, or the student's name if a platform chose the file's name.
    files : tuple of pairs
        (name given by the student, path) of each folder and file.
    known_as : tuple of str
        Keys by which a roster may recognise the student; see collect.py.
    """

    student: str
    name: str
    files: tuple[tuple[str, Path], ...]
    known_as: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The key in the file of an unfinished run: the names of all its files."""
        return "/".join(path.name for _, path in self.files)


def student_name(path: Path) -> str:
    """The student's name for a path: that of the folder, or of the file without its ending."""
    return safe_name(path.name if os.path.isdir(path) else path.stem)


def safe_name(name: str) -> str:
    """A file's name on one line, without characters that a terminal would interpret, of limited length."""
    return printable(name.replace("\n", "\r"))[:100]


def read_submission(path: Path | Entry) -> Submission:
    """The submission at a path, or one of a class. Its content never makes this raise."""
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
    for name, file in sorted(files[:MAX_FILES], key=_order):
        content: str | Cells | None = _read_text(file, submission.problems)
        if isinstance(content, str) and file.suffix.lower() == ".ipynb":
            content = _notebook_cells(content, safe_name(name), submission.problems)
        if content is not None:
            submission.sources.append((safe_name(name), content))
    while sum(map(len, submission.texts)) > MAX_CHARACTERS or len(submission.texts) > MAX_CELLS + MAX_FILES:
        name, _ = submission.sources.pop(0)
        limits = f"{MAX_CHARACTERS:,} characters or {MAX_CELLS:,} cells"
        submission.problems.append(f"more than {limits} in all: {name} is left out")
    if not submission.sources and not submission.problems:
        submission.problems.append("there is no .py or .ipynb file")
    return submission


def _order(named: tuple[str, Path]) -> tuple[int, int, str]:
    """The order of execution: helpers before the skeleton's files, files in subfolders before those above them."""
    name, file = named
    return ORDER.get(Path(name).stem, 0), -len(file.parts), str(file)


def _source_files(path: Path, problems: list[str]) -> list[Path]:
    if not os.path.isdir(path):
        return [path]
    found: list[Path] = []
    for count, (folder, names, files) in enumerate(os.walk(path)):
        if count >= MAX_FOLDERS:
            problems.append(f"more than {MAX_FOLDERS} folders: only the first are read")
            break
        depth = len(Path(folder).relative_to(path).parts)
        if "pyvenv.cfg" in files:  # a virtual environment that was submitted by mistake
            names[:] = files[:] = []
        names[:] = sorted(n for n in names if not n.startswith((".", "__")) and depth < MAX_DEPTH)
        found += [
            Path(folder) / name
            for name in sorted(files, key=lambda name: (Path(name).stem not in ORDER, name))
            if name.lower().endswith(SUFFIXES) and not name.startswith((".", "__"))
        ]
        # The tests of the skeleton are not part of the submission.
        found = [file for file in found if file.name not in ("test_coursework.py", "conftest.py")]
        if len(found) > MAX_FILES:
            problems.append(f"more than {MAX_FILES} files: only the first are read")
            return found[:MAX_FILES]
    return found


def _read_text(file: Path, problems: list[str]) -> str | None:
    """The text of a regular file of limited size; otherwise None, and a problem is noted."""
    name = safe_name(file.name)
    most = MAX_NOTEBOOK_BYTES if file.suffix.lower() == ".ipynb" else MAX_FILE_BYTES
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
        elif about.st_size > most:
            problems.append(f"{name} has {about.st_size:,} bytes, more than {most:,}")
        else:
            raw = opened.read(most + 1)
            try:
                text = raw.decode("utf-8-sig")
                if "\0" not in text:
                    return text
                problems.append(f"{name} holds null bytes: it is not a text")
            except UnicodeDecodeError as error:
                problems.append(f"{name} is not UTF-8 text, at byte {error.start:,}")
    return None


def _notebook_cells(text: str, name: str, problems: list[str]) -> Cells | None:
    """The code cells of a notebook, each with its number among all cells. They are not compiled here."""
    try:
        numbered = enumerate(json.loads(text)["cells"], 1)
        cells = [(i, "".join(cell["source"])) for i, cell in numbered if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        problems.append(f"{name} is not a notebook")
        return None
    if len(cells) > MAX_CELLS:
        problems.append(f"{name} has more than {MAX_CELLS:,} code cells: only the first are read")
    if sum(len(source) for _, source in cells) > MAX_FILE_BYTES:
        problems.append(f"the code in {name} has more than {MAX_FILE_BYTES:,} characters")
        return None
    return [(f"{name}, cell {i}", source) for i, source in cells[:MAX_CELLS]]
