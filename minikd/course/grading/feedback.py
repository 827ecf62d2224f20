"""What a student gets back: scores, what was found, what was left out, and the instructor's comments.

The words about a check are those that the learner's own `check` would show. Neither the seed nor what the submission
printed is in it, because both would show the hidden inputs. Two files hold the same: Markdown and a page of HTML.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from ...checkpoint import write_atomically
from ...errors import CheckpointError
from ..exercises import EXERCISES
from ..exercises.exercise import Result
from ..sandbox.conversation import printable
from .gradescope import MAX_WORDS
from .members import Member

Block = tuple[str, str]  # what it is (a heading, a paragraph, ...), and its text
TAB = "\t"


def write_feedback(members: Sequence[Member], folder: Path) -> list[Path]:
    """Write a page and a Markdown file for each student; the pages' paths, in the students' order.

    A file is named after the student's identifier, as far as a file can be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the folder {folder}: {error.strerror}") from error
    pages = [folder / f"{name}.html" for name in file_names([member.identifier for member in members])]
    for member, page in zip(members, pages, strict=True):
        blocks = list(feedback(member))
        write_atomically(page, html(blocks).encode(), sync=False)
        write_atomically(page.with_name(f"{page.stem}.md"), markdown(blocks).encode(), sync=False)
    return pages


def file_names(identifiers: Iterable[str]) -> list[str]:
    """A name for each that every file system takes, without an ending; two that differ never share one."""
    taken: dict[str, str] = {}
    for identifier in identifiers:
        name = re.sub(r"[^\w.@+-]+", "-", unicodedata.normalize("NFC", identifier))[:40].strip("-.") or "student"
        name = re.sub(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", r"student-\1", name)  # devices on Windows
        if name != identifier:
            name += "-" + _digest(identifier)
        while name.casefold() in taken:
            name = f"{name[:40]}-{_digest(name + identifier)}"
        taken[name.casefold()] = name
    return list(taken.values())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def feedback(member: Member) -> Iterator[Block]:
    """The blocks of a student's feedback: ("h1", "h2", "h3", "p", "table", "pre" or "quote", text).

    A table has a line for each row, and a tab between its two cells.
    """
    grade = member.grade
    yield "h1", f"{member.name or member.identifier}: {member.score():g} of {member.max_score:g} points"
    if member.known_as:
        yield "p", f"Identifier: {member.identifier}"
    if member.notes:
        yield "h2", "From your instructor"
    for note in member.notes:
        change = f", {note.points:+g} points" if note.points else ""
        yield "quote", f"{note.exercise or 'In all'}{change}: {note.comment}"
    if grade is None:
        yield "p", "There is no submission."
        return
    if grade.problems:
        yield "h2", "Left out"
    for problem in grade.problems:
        yield "p", problem[:MAX_WORDS]
    yield "h2", "Points"
    points = {name: (member.score(name), grade.max_score(name)) for name in EXERCISES}
    rows = [f"{name} {EXERCISES[name].title}\t{p:g} of {most:g}" for name, (p, most) in points.items() if p or most]
    yield "table", "\n".join(rows)
    yield "h2", "What was found"
    if all(result.passed for result in grade.results):
        yield "p", "Every check is right."
    found = {name: list(results) for name, results in groupby(grade.results, lambda result: result.exercise)}
    if idle := [name for name, results in found.items() if all(result.kind == "todo" for result in results)]:
        yield "p", f"Not written yet: {', '.join(idle)}"
    for name, results in found.items():
        if name not in idle:
            yield from _found(name, results)


def _found(name: str, results: Sequence[Result]) -> Iterator[Block]:
    """An exercise that is not all right. Checks that failed for the same reason stand together."""
    wrong: dict[str, list[Result]] = {}
    for result in results:
        if not result.passed:
            wrong.setdefault(result.words.strip()[:MAX_WORDS], []).append(result)
    if not wrong:
        return
    yield "h3", f"{name} {EXERCISES[name].title}"
    if right := [result.check for result in results if result.passed]:
        yield "p", f"Right: {'; '.join(right)}"
    for words, failed in wrong.items():
        yield "p", f"Not right: {'; '.join(result.check for result in failed)}"
        yield "pre", words


def markdown(blocks: Iterable[Block]) -> str:
    """The blocks as Markdown, in which no text is taken for markup."""
    signs = {"h1": "# ", "h2": "## ", "h3": "### ", "quote": "> ", "p": ""}
    parts = []
    for kind, text in map(_clean, blocks):
        if kind == "table":
            rows = "".join(f"\n| {row.replace(TAB, ' | ')} |" for row in text.split("\n"))
            parts.append(f"| exercise | points |\n|---|---:|{rows}")
        elif kind == "pre":
            parts.append("    " + text.replace("\n", "\n    "))
        else:
            parts.append(signs[kind] + re.sub(r"([\\`*_\[\]<>|~#&])", r"\\\1", text))
    return "\n\n".join(parts) + "\n"


def html(blocks: Iterable[Block]) -> str:
    """The blocks as a page that needs nothing else, for a narrow screen and for paper."""
    parts, title = [], ""
    for kind, text in map(_clean, blocks):
        text, tag = escape(text), "blockquote" if kind == "quote" else kind
        title = title or text
        if kind == "table":
            text = "".join(f"\n<tr><td>{row.replace(TAB, '</td><td>')}</td></tr>" for row in text.split("\n"))
        parts.append(f"<{tag}>{text}</{tag}>")
    page = Path(__file__).with_name("feedback.html").read_text(encoding="utf-8")
    return page.replace("BODY", "\n".join(parts), 1).replace("TITLE", title, 1)  # each before what it inserts


def _clean(block: Block) -> Block:
    """No control characters; one line, but for what stands as it was said. A table holds numbers and our own titles."""
    kind, text = block
    return kind, text if kind == "table" else printable(text if kind == "pre" else " ".join(text.split()))
