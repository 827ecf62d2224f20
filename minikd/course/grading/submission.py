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


def submissions(folder: Path) -> list[Path]:
    """The submissions in a folder: its folders and files, one a student, in order of their names, without hidden ones.

    Of several that bear a student's name a folder comes first, then a .py file, then a notebook.
    """
    visible = _visible(folder)
    found = [path for path in visible if path.is_dir() or path.is_symlink() or path.suffix.lower() in SUFFIXES]
    if not found:
        wanted = "one folder, .py or .ipynb file for each student is wanted"
        raise SubmissionError(f"{folder} holds no submissions: {wanted}")
    chosen: dict[str, Path] = {}
    for path in sorted(found, key=lambda path: (not path.is_dir(), path.suffix.lower() != ".py")):
        chosen.setdefault(student_name(path), path)
    return [path for path in found if path in chosen.values()]


def passed_over(folder: Path) -> list[str]:
    """A sentence for whatever in a folder is not graded."""
    graded, said = {student_name(path): path for path in submissions(folder)}, []
    for path in _visible(folder):
        if (other := graded.get(student_name(path))) != path:
            why = "it is no folder, .py or .ipynb file" if other is None else f"{safe_name(other.name)} is"
            said.append(f"{safe_name(path.name)} is not graded: {why}")
    return said


def _visible(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SubmissionError(f"cannot read the folder {folder}: {error.strerror}") from error
    return [path for path in entries if not path.name.startswith((".", "__"))]


def student_name(path: Path) -> str:
    """The name of who handed in what is at `path`: the folder's, or the file's without its ending."""
    return safe_name(path.name if os.path.isdir(path) else path.stem)


def safe_name(name: str) -> str:
    """A file's name on one line, without what a terminal would obey or no file could hold."""
    return printable(name.replace("\n", "\r"))[:100]


def read_submission(path: Path) -> Submission:
    """The submission at a path; never raises for what is there."""
    submission = Submission(student_name(path))
    if os.path.islink(path):
        submission.problems.append(f"{submission.name} is a link, and links are not followed")
        return submission
    files = _source_files(path, submission.problems)
    for file in sorted(files, key=lambda file: (ORDER.get(file.stem, 0), str(file))):
        text = _read_text(file, submission.problems)
        if text is not None and file.suffix.lower() == ".ipynb":
            text = _notebook_code(text, safe_name(file.name), submission.problems)
        if text is not None:
            submission.sources.append((safe_name(file.name), text))
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
