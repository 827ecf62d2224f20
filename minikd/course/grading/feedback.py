"""The feedback for a student: scores, results of the checks, parts left out, and the instructor's comments.

The words about a check are those that `minikd course check` shows. The seed and the printed output are not included,
because both would reveal the hidden inputs. The same text is written twice, as Markdown and as an HTML page.
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

Block = tuple[str, str]  # its kind (a heading, a paragraph, ...), and its text
TAB = "\t"


def write_feedback(members: Sequence[Member], folder: Path) -> list[Path]:
    """Write an HTML page and a Markdown file for each student; returns the paths of the pages.

    A file is named after the student's identifier, as far as file names allow.
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
    """A file name without ending for each identifier, valid on every system. No two identifiers share a name."""
    taken: dict[str, str] = {}
    for identifier in identifiers:
        name = re.sub(r"[^\w.@+-]+", "-", unicodedata.normalize("NFC", identifier))[:40].strip("-.") or "student"
        name = re.sub(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", r"student-\1", name)  # reserved names on Windows
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

    A table has one line per row, with a tab between its two cells.
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
    """The blocks of an exercise with failed checks. Checks that failed for the same reason are listed together."""
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
    """The blocks as Markdown. Text is escaped, so that none of it acts as markup."""
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
    """The blocks as a self-contained HTML page, suited to narrow screens and to paper."""
    parts, title = [], ""
    for kind, text in map(_clean, blocks):
        text, tag = escape(text), "blockquote" if kind == "quote" else kind
        title = title or text
        if kind == "table":
            text = "".join(f"\n<tr><td>{row.replace(TAB, '</td><td>')}</td></tr>" for row in text.split("\n"))
        parts.append(f"<{tag}>{text}</{tag}>")
    page = Path(__file__).with_name("feedback.html").read_text(encoding="utf-8")
    return page.replace("BODY", "\n".join(parts), 1).replace("TITLE", title, 1)  # TITLE stands before BODY


def _clean(block: Block) -> Block:
    """Remove control characters, and line breaks except in "pre". A table holds only numbers and minikd's titles."""
    kind, text = block
    return kind, text if kind == "table" else printable(text if kind == "pre" else " ".join(text.split()))
