"""Turn a docstring of minikd, which is plain text, into reStructuredText that renders as prose, tables and formulas.

The package writes its docstrings for people who read the source, with `|z|` and `p*` as they are. They have four kinds
of blocks:

- prose, with names in `backticks`;
- blocks that are indented by four spaces: formulas and code, whose spaces count;
- lists of arguments, `name   what it is`, in columns;
- NumPy's sections: a title, a line of dashes, and below it arguments with types, or prose.

What is none of these comes out as prose. So no docstring can break the build.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable

ARGUMENT = re.compile(r"([\w]+(?:, [\w]+)*) {2,}(\S.*)")
ANOTHER = re.compile(r"; {2,}(?=[\w]+(?:, [\w]+)* {2,}\S)")  # a second argument in the line of the first
SECTION = re.compile(r"^([A-Z][\w ]*)\n-{3,}\n", re.MULTILINE)
TYPED = ("Parameters", "Returns", "Yields", "Raises", "Attributes", "Other Parameters", "Warns")  # name : type
HEADING = re.compile(r"((?:[A-Z][\w'’²]*)(?: [\w'’²]+){0,4})\. |(Sources?): ")
ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
LINK = "`arXiv {0} <https://arxiv.org/abs/{0}>`__"
Link = Callable[[str], str]  # the text between backticks -> markup


def literal(text: str) -> str:
    """Code within a sentence."""
    return f"``{text}``"


def inline(text: str, link: Link = literal) -> str:
    """A sentence with everything escaped that reStructuredText would read as markup."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without its twin
        parts = [text.replace("`", "'")]
    out = ""
    for i, part in enumerate(parts):
        if i % 2 == 0:
            part = re.sub(r"([\\*|_])", r"\\\1", part)
            part = part.replace(" -> ", " → ")
            part = ARXIV.sub(lambda found: LINK.format(found[1]), part)
        elif part:
            before = "\\ " if out and re.search(r"[\w)/]$", out) else ""
            after = "\\ " if re.match(r"\w", parts[i + 1]) else ""
            part = f"{before}{link(part)}{after}"
        out += part
    return out


def paragraphs(text: str) -> Iterable[list[str]]:
    """Groups of lines that blank lines separate; neighbouring indented groups are one."""
    groups: list[list[str]] = []
    for chunk in re.split(r"\n[ ]*\n", text.strip("\n")):
        lines = chunk.rstrip().split("\n")
        if groups and groups[-1][0].startswith("    ") and lines[0].startswith("    "):
            groups[-1] += ["", *lines]
        else:
            groups.append(lines)
    return groups


def formula(lines: list[str]) -> list[str]:
    """Lines whose spaces count. Two formulas that share a long line get a line each."""
    shown: list[str] = []
    for line in lines:
        parts = re.split(r"(?<=,) {3,}(?=\S)", line[4:]) if len(line) > 80 else [line[4:]]
        indent = " " * (len(parts[0]) - len(parts[0].lstrip()))
        shown += [parts[0], *(indent + part for part in parts[1:])]
    return [".. code-block:: none", "   :class: formula", "", *(f"   {line}".rstrip() for line in shown), ""]


def arguments(entries: list[tuple[str, str]], link: Link) -> list[str]:
    """A list of names and what they are."""
    out = [".. container:: arguments", ""]
    for names, text in entries:
        out += [f"   {', '.join(map(literal, names.split(', ')))}", f"      {inline(text, link)}", ""]
    return out


def typed(body: str, link: Link) -> list[str]:
    """The entries of a section: `name : type`, and what it is in the lines below, which are indented."""
    out = [".. container:: arguments", ""]
    entries = re.split(r"\n(?=\S)", textwrap.dedent(body).strip("\n"))
    for entry in entries:
        head, _, text = entry.partition("\n")
        names, colon, type_ = head.partition(" : ")
        term = ", ".join(map(literal, names.split(", ")))
        out += [f"   {term}{f' : {inline(type_, literal)}' if colon else ''}"]
        out += (
            [f"      {line}".rstrip() for line in rst(textwrap.dedent(text), link)] if text.strip() else ["      \\ "]
        )
        out.append("")
    return out


def mixed(lines: list[str], link: Link) -> list[str]:
    """A group of lines that are prose, arguments, or one after the other."""
    out: list[str] = []
    prose: list[str] = []
    entries: list[tuple[str, str]] = []

    def flush() -> None:
        nonlocal prose, entries
        if prose:
            text = inline(" ".join(prose), link)
            out.extend([f"\\{text}" if re.match(r"\(?\w{1,4}[.)](\s|$)", text) else text, ""])  # "M." begins no list
        if entries:
            out.extend(arguments(entries, link))
        prose, entries = [], []

    for line in lines:
        found = ARGUMENT.fullmatch(line.rstrip())
        if found:
            if prose:
                flush()
            first, *others = ANOTHER.split(found[2])
            entries.append((found[1], first))
            entries += [(other[1], other[2]) for text in others if (other := ARGUMENT.fullmatch(text))]
        elif entries and line.startswith(" "):
            name, text = entries.pop()
            first, *others = ANOTHER.split(f"{text} {line.strip()}")
            entries.append((name, first))
            entries += [(other[1], other[2]) for text in others if (other := ARGUMENT.fullmatch(text))]
        else:
            if entries:
                flush()
            prose.append(line.strip())
    flush()
    return out


def items(lines: list[str], link: Link) -> list[str]:
    """A list with bullets or numbers."""
    out: list[str] = []
    for line in lines:
        found = re.match(r"(-|\d+\.) (.*)", line)
        if found:
            out.append(f"{'#.' if found[1] != '-' else '-'} {found[2].strip()}")
        else:
            out[-1] += f" {line.strip()}"
    return [f"{line[:2].strip()} {inline(line[2:].strip(), link)}" for line in out] + [""]


def rst(text: str, link: Link = literal, headings: bool = False) -> list[str]:
    """The docstring as lines of reStructuredText.

    link      makes markup of what stands between backticks
    headings  whether a paragraph that begins with a few words and a full stop, "Idea.", gets them as a heading
    """
    text, *sections = SECTION.split(text)
    out: list[str] = []
    for lines in paragraphs(text):
        if lines[0].startswith("    "):
            out += formula(lines)
            continue
        if lines[0].startswith(">>> "):
            out += [".. code-block:: pycon", "", *(f"   {line}" for line in lines), ""]
            continue
        if lines[-1].endswith("::"):  # what follows is indented, and says so
            lines = [*lines[:-1], lines[-1][:-1]]
        if re.match(r"(-|\d+\.) ", lines[0]):
            out += items(lines, link)
            continue
        if headings and (found := HEADING.match(lines[0])) and " is " not in found[0]:
            title = inline(found[1] or found[2])
            out += [title, "-" * (2 * len(title)), ""]
            lines = [lines[0][found.end() :], *lines[1:]]
        out += mixed(lines, link)
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        out += [f".. rubric:: {title}", ""]
        out += typed(body, link) if title in TYPED and body.strip() else rst(body, link)
    return out
