"""The instructor's tables: the roster, as exported by a gradebook, and manual points and comments.

A table is a CSV file with columns separated by commas, semicolons or tabs. Its first line names the columns.
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

# Names of columns, reduced to lower-case letters and digits. The first of these that no row leaves empty is used.
IDENTIFIERS = (
    *("identifier", "studentid", "sisuserid", "idnumber", "orgdefinedid", "sid", "studentnumber", "id"),
    *("username", "loginid", "sisloginid", "emailaddress", "email"),
)
NAMES = ("name", "fullname", "studentname", "student")
FIRST, LAST = ("firstname", "givenname"), ("lastname", "surname", "familyname")
NOT_STUDENTS = ("points possible", "student, test", "test student")  # rows that Canvas adds, by name


@dataclass(frozen=True)
class Person:
    """A person on the roster. `known_as` holds the keys (see collect.py) by which a submission is recognised."""

    identifier: str
    name: str
    known_as: frozenset[str]


@dataclass(frozen=True)
class Note:
    """Manual points and a comment, for an exercise or, if that is "", for the whole submission."""

    where: str  # file and line
    student: str
    exercise: str
    points: float
    comment: str


def read_table(path: Path) -> tuple[dict[str, str], list[tuple[str, dict[str, str]]]]:
    """The columns of a CSV file as {short name: name}, and its rows as ("FILE, line N", {short name: cell}).

    A short name is the name reduced to lower-case letters and digits.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise SubmissionError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SubmissionError(f"{path} is not UTF-8 text: save it as CSV with encoding UTF-8") from error
    head = re.sub(r'"[^"]*"', "", text.split("\n", 1)[0])
    separator = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="", delimiter=separator, strict=True)
    rows = []
    try:
        names = list(reader.fieldnames or ())
        reader.fieldnames = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if any(row.pop(None, ())):
                words = f"has more cells than the {len(names)} of line 1: put quotes around a name with a comma"
                raise SubmissionError(f"{where} {words}")
            rows.append((where, {name: printable(" ".join(cell.split())) for name, cell in row.items()}))
    except csv.Error as error:
        raise SubmissionError(f"{path}, line {reader.reader.line_num} is not CSV: {error}") from error
    return dict(zip(reader.fieldnames, map(printable, names), strict=True)), rows


def read_roster(path: Path) -> list[Person]:
    """The people on the roster, in its order."""
    columns, rows = read_table(path)
    first, last = (next((name for name in some if name in columns), "") for some in (FIRST, LAST))
    full = next((name for name in NAMES if name in columns), "")
    ids = [name for name in IDENTIFIERS if name in columns]
    if not ids or not (full or (first and last)):
        wanted = "an identifier (student ID, SIS user ID, ID number, username, email) and name, or first and last name"
        got = ", ".join(columns.values())[:200] or "nothing"
        raise SubmissionError(f"{path}, line 1 must name {wanted}, got {got}")
    named = [(where, row, row[full] if full else f"{row[first]} {row[last]}".strip()) for where, row in rows]
    # Rows that Canvas adds and blank rows are not students.
    named = [n for n in named if n[2].lower() not in NOT_STUDENTS and (n[2] or any(n[1][column] for column in ids))]
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
    """All keys by which a file name may identify a person; first and last names can be in any order."""
    words = name.split()
    keys = {name_key(" ".join(words[i:] + words[:i])) for i in range(len(words))}
    for column in ids:
        keys.add(id_key(row[column]))
        if column in ("email", "emailaddress"):
            keys.add(id_key(row[column].split("@")[0]))
        if column == "id" and full == "student":  # the names of both columns in Canvas
            keys.add(f"canvas {row[column]}")
    return frozenset(keys - {id_key(""), name_key(""), "canvas "})


def read_notes(path: Path) -> list[Note]:
    """Manual points and comments: a table of identifier, exercise, points, comment."""
    columns, rows = read_table(path)
    if missing := [name for name in ("identifier", "exercise", "points", "comment") if name not in columns]:
        wanted = "identifier, exercise, points, comment"
        raise SubmissionError(f"{path}, line 1 must name {wanted}: there is no {' and no '.join(missing)}")
    notes = []
    for where, row in rows:
        exercise = row["exercise"].upper()
        if exercise and exercise not in EXERCISES:
            raise SubmissionError(f"{where}: exercise must be E1 to E23, or empty for the whole, got {exercise!r}")
        try:
            points = float(row["points"] or 0)
        except ValueError:
            points = math.nan
        if not math.isfinite(points):
            raise SubmissionError(f"{where}: points must be a number such as -1.5, or empty, got {row['points']!r}")
        notes.append(Note(where, row["identifier"], exercise, points, row["comment"]))
    return notes
