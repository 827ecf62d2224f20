"""Find the submission of each student in a folder.

The folder holds one folder or file for each student, or the download of all submissions from a learning platform. In
such a download, each file's name begins with its owner, and a student can have several files and attempts.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .submission import SUFFIXES, Entry, SubmissionError, safe_name, student_name

PLATFORMS = {
    # lovelaceada_LATE_12345_67890_solution-1.py: user, then a growing number; -1 if the name was used before
    "canvas": r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d{3,})_(?P<order>\d{3,})_(?P<file>.+?)(?P<copy>-\d+)?(?P<end>\.\w+)",
    # Ada Lovelace_123456_assignsubmission_file_solution.py, or a folder without the file's name
    "moodle": r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_file_?(?P<file>.*)",
    # Homework 1_ada01_attempt_2026-11-01-10-20-30_solution.py
    "blackboard": r"(?P<task>.+)_(?P<id>[^_]+)_attempt_(?P<date>\d{4}(?:-\d\d){5})_(?P<file>.+)",
    # 12345-678 - Ada Lovelace - Nov 1, 2026 1020 AM - solution.py, or a folder without the file's name
    "brightspace": r"(?P<task>\d+-\d+) - (?P<name>.+?) - (?P<day>[A-Z][a-z]{2} \d\d?, \d{4}) (?P<hour>\d?\d\d\d [AP]M)"
    r"(?: - (?P<file>.+))?",
}
ID_KEYS = {
    "canvas": "canvas",
    "moodle": "id participant",
    "blackboard": "id",
    "brightspace": "",
}  # see `id_key`, and _keys in roster.py


@dataclass(frozen=True)
class _Part:
    """A folder or file of one student. Only the last `attempt` counts and, among equal `slot`, the last `order`."""

    path: Path
    group: str  # the same for all parts of a student
    student: str
    known_as: tuple[str, ...]
    name: str  # as the student called it
    slot: str = ""
    attempt: str = ""
    order: tuple[int, ...] = ()


def submissions(folder: Path) -> list[Entry]:
    """The submissions in a folder, one per student, sorted by name. Hidden files and folders are left out.

    If several folders and files have the same plain name, a folder counts before a .py file, and that before a
    notebook. Among a platform's files, the latest attempt counts, and in it the latest file of each name.
    """
    entries, _ = _collect(folder)
    if not entries:
        wanted = "one folder, .py or .ipynb file for each student is wanted"
        raise SubmissionError(f"{folder} holds no submissions: {wanted}")
    return entries


def passed_over(folder: Path) -> list[str]:
    """A sentence for each file or folder that is not graded."""
    return _collect(folder)[1]


def _collect(folder: Path) -> tuple[list[Entry], list[str]]:
    said: list[tuple[Path, str]] = []
    groups: dict[tuple[bool, str], list[_Part]] = {}
    for path in _visible(folder):
        if path.is_dir() or path.is_symlink() or path.suffix.lower() in SUFFIXES:
            part = _part(path)
            groups.setdefault((part.slot == "", part.group), []).append(part)
        else:
            said.append((path, "it is no folder, .py or .ipynb file"))
    shown = Counter(parts[0].student for parts in groups.values())
    entries: dict[str, Entry] = {}
    for (_, group), parts in groups.items():
        chosen: dict[str, _Part] = {}
        latest = max(part.attempt for part in parts)
        for part in parts:
            if part.attempt == latest:
                chosen[part.slot] = max(chosen.get(part.slot, part), part, key=lambda p: p.order)
        first, number = next(iter(chosen.values())), 1
        student = base = first.student if shown[first.student] == 1 else safe_name(group)
        while student in entries:
            student, number = f"{base} ({number + 1})", number + 1
        files = tuple((p.name, p.path) for p in chosen.values())
        entries[student] = Entry(student, student if first.slot else first.name, files, first.known_as)
        kept = set(chosen.values())
        why = "a later attempt is" if first.slot else f"{safe_name(first.name)} is"
        said += [(part.path, why) for part in parts if part not in kept]
    return list(entries.values()), [f"{safe_name(path.name)} is not graded: {why}" for path, why in sorted(said)]


def _part(path: Path) -> _Part:
    for platform, pattern in PLATFORMS.items():
        if (match := re.fullmatch(pattern, path.name)) and path.is_dir() == (not match["file"]):
            m = defaultdict(str, {name: text or "" for name, text in match.groupdict().items()})
            with suppress(ValueError):  # not a date, so the name has another form
                return _platform_part(path, platform, m)
    plain = path.name if path.is_dir() else path.stem
    order = (path.is_dir(), path.suffix.lower() == ".py")
    return _Part(path, plain, student_name(path), (id_key(plain), name_key(plain)), path.name, order=order)


def _platform_part(path: Path, platform: str, m: Mapping[str, str]) -> _Part:
    """The part for a match of one of PLATFORMS; groups that its pattern lacks are ""."""
    date, name = m["date"], m["file"] + m["end"] or path.name
    if platform == "brightspace":
        date = time.strftime("%Y%m%d%H%M", time.strptime(f"{m['day']} {m['hour']:0>7}", "%b %d, %Y %I%M %p"))
    group = "_".join(m[part] for part in ("task", "name", "id") if m[part])
    known_as = [f"{ID_KEYS[platform]} {m['id']}".casefold()] * bool(m["id"]) + [name_key(m["name"])] * bool(m["name"])
    order = (int(m["order"] or 0), int(m["copy"][1:] or 0))
    return _Part(path, group, safe_name(m["name"] or m["id"]), tuple(known_as), name, name, date, order)


def id_key(text: str) -> str:
    """An identifier in the form for comparison: without capitals and Brightspace's #."""
    return "id " + text.strip().lstrip("#").casefold()


def name_key(text: str) -> str:
    """A person's name in the form for comparison: only letters and digits, without accents and capitals."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "name " + "".join(c for c in plain if c.isalnum())


def _visible(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SubmissionError(f"cannot read the folder {folder}: {error.strerror}") from error
    return [path for path in entries if not path.name.startswith((".", "__"))]
