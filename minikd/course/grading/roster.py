"""The instructor's own tables: the roster, as gradebooks export it, and points and comments given by hand.

A table is a CSV file, its columns separated by commas, semicolons or tabs. Its first line names the columns.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..exercises import EXERCISES
from ..sandbox.conversation import printable
from .collect import id_key, name_key
from .submission import SubmissionError

# The names of columns, in small letters and digits alone. The first of these that every row fills is the identifier.
IDENTIFIERS = (
    *("identifier", "studentid", "sisuserid", "idnumber", "orgdefinedid", "sid", "studentnumber", "id"),
    *("username", "loginid", "sisloginid", "emailaddress", "email"),
)
NAMES = ("name", "fullname", "studentname", "student")
FIRST, LAST = ("firstname", "givenname"), ("lastname", "surname", "familyname")
NOT_STUDENTS = ("points possible", "student, test", "test student")  # rows that Canvas adds


@dataclass(frozen=True)
class Person:
    """Somebody on the roster; `known_as` holds the keys (see collect.py) by which a submission is recognised."""

    identifier: str
    name: str
    known_as: frozenset[str]


@dataclass(frozen=True)
class Note:
    """Points and a comment given by hand, for an exercise or, where that is "", for the whole."""

    where: str  # file and line
    student: str
    exercise: str
    points: float
    comment: str


def read_table(path: Path) -> tuple[dict[str, str], list[tuple[str, dict[str, str]]]]:
    """A CSV file's columns, as {short name: name}, and its rows, as ("FILE, line N", {short name: cell}).

    A short name is the name in small letters and digits alone.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise SubmissionError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SubmissionError(
            f"{path} is not UTF-8 text: save it as CSV with encoding UTF-8 ({error.reason})"
        ) from error
    head = re.sub(r'"[^"]*"', "", text.lstrip().split("\n", 1)[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    lines, line = [], 1
    try:
        for cells in reader:
            lines.append((f"{path}, line {line}", [printable(cell.replace("\n", " ")).strip() for cell in cells]))
            line = reader.line_num + 1
    except csv.Error as error:
        raise SubmissionError(f"{path}, line {line} is not CSV: {error}") from error
    (_, names), *rows = [(where, cells) for where, cells in lines if any(cells)] or [("", [])]
    short = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    for where, cells in rows:
        if any(cells[len(short) :]):
            words = f"has {len(cells)} cells, and the first line {len(short)}: put quotes around a name with a comma"
            raise SubmissionError(f"{where} {words}")
    # Of two columns of one name the first counts: a later pair of a dict wins.
    columns = dict(reversed(list(zip(short, names, strict=True))))
    padded = [(where, [*cells, *[""] * len(short)][: len(short)]) for where, cells in rows]
    return columns, [(where, dict(reversed(list(zip(short, cells, strict=True))))) for where, cells in padded]


def read_roster(path: Path) -> list[Person]:
    """The students who should have handed in, in the roster's order."""
    columns, rows = read_table(path)
    first, last = (next((name for name in some if name in columns), "") for some in (FIRST, LAST))
    full = next((name for name in NAMES if name in columns), "")
    ids = [name for name in IDENTIFIERS if name in columns]
    if not ids or not (full or (first and last)):
        wanted = (
            "an identifier (student ID, SIS user ID, ID number, username, email) and a name, or first and last name"
        )
        raise SubmissionError(f"{path}, line 1 must name {wanted}, got {_listed(columns)}")
    named = [(where, row, row[full] if full else f"{row[first]} {row[last]}".strip()) for where, row in rows]
    named = [(where, row, name) for where, row, name in named if name.lower() not in NOT_STUDENTS]
    named = [(where, row, name) for where, row, name in named if name or any(row[column] for column in ids)]
    chosen = next((column for column in ids if all(row[column] for _, row, _ in named)), ids[0])
    people: list[Person] = []
    seen: dict[str, str] = {}
    for where, row, name in named:
        identifier = row[chosen]
        if not identifier:
            raise SubmissionError(f"{where} has no identifier: a cell of {columns[chosen]} is wanted, for {name}")
        if (before := seen.setdefault(id_key(identifier), where)) != where:
            raise SubmissionError(f"{where}: {identifier!r} must stand there once, and is already in {before}")
        people.append(Person(identifier, name, _keys(row, ids, name, full)))
    if not people:
        raise SubmissionError(f"{path} names no student: a line for each is wanted")
    return people


def _keys(row: Mapping[str, str], ids: list[str], name: str, full: str) -> frozenset[str]:
    """All that a person may be called in the name of a file; first and last names stand in any order."""
    words = name.split()
    keys = {name_key(" ".join(words[i:] + words[:i])) for i in range(len(words))}
    for column in ids:
        keys.add(id_key(row[column]))
        if column in ("email", "emailaddress"):
            keys.add(id_key(row[column].split("@")[0]))
        if column == "id" and full == "student":  # Canvas calls the two so
            keys.add(f"canvas {row[column]}")
    return frozenset(keys - {id_key(""), name_key(""), "canvas "})


def _listed(columns: Mapping[str, str]) -> str:
    """The names of columns as the file has them, cut where they are many."""
    return ", ".join(name or "(no name)" for name in reversed(list(columns.values())))[:200] or "nothing"


def read_notes(path: Path) -> list[Note]:
    """Points and comments given by hand: a table of identifier, exercise, points, comment."""
    columns, rows = read_table(path)
    if missing := [name for name in ("identifier", "exercise", "points", "comment") if name not in columns]:
        wanted = "identifier, exercise, points, comment"
        raise SubmissionError(f"{path}, line 1 must name {wanted}: {missing[0]} is missing, got {_listed(columns)}")
    notes = []
    for where, row in rows:
        exercise = row["exercise"].upper()
        if exercise and exercise not in EXERCISES:
            raise SubmissionError(f"{where}: exercise must be E1 to E20, or empty for the whole, got {exercise!r}")
        try:
            points = float(row["points"] or 0)
        except ValueError:
            points = math.nan
        if not math.isfinite(points):
            raise SubmissionError(f"{where}: points must be a number such as -1.5, or empty, got {row['points']!r}")
        notes.append(Note(where, row["identifier"], exercise, points, row["comment"]))
    return notes
