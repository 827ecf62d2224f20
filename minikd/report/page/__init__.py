"""The report's page: text, tables and pictures become one HTML file, which contains its style sheet and script.

Text is escaped here. Arguments that are HTML already are named so in the docstrings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
LARGEST = 2_000_000  # bytes of a report
ROOM_OF_SECTION = 60_000  # bytes of the section in which a reader draws, without its networks
# How a reader makes a sample of a data set: the section's markup, its script, and its name in the page's navigation.
SECTIONS = {
    "digits": ("draw.html", "draw.js", "Draw"),
    "mnist": ("draw.html", "draw.js", "Draw"),
    "words": ("write.html", "write.js", "Write"),
}
NO_ROOM = (
    '<p class="say">The networks of this run do not fit into a report of 2 MB.'
    " <code>minikd draw RUN_FOLDER</code> makes a larger page, in which you can draw or write your own.</p>\n"
)
Own = Callable[[int], dict[str, Any] | None]  # room in bytes -> what the section needs, or None
# What a page without the explorer leaves out, as regular expressions: the explorer, its links and all scripts.
WITHOUT_EXPLORER = (
    r'<a class="skip".*?</a>\n',
    r' <a href="#explorer">Explorer</a>',
    r'  <button type="button" id="scheme".*?</button>\n',
    r'<section id="explorer".*?(?=<section id="pictures")',
    r'<script type="application/json" id="numbers">.*\$scrolling</script>\n',
)
# The meaning of the abbreviated heads of the tables.
MEANINGS = {
    "params": "parameters of the network",
    "errors": "number of wrong test samples",
    "acc. %": "accuracy: percentage of right test samples",
    "NLL": "negative log-likelihood of the right class, in nats: lower is better",
    "ECE %": "expected calibration error: mean distance between confidence and accuracy",
    "agree %": "percentage of test samples for which the student predicts the teacher's class",
    "time s": "seconds of training",
    "strength": "weight of the teacher's term, in multiples of the method's default; tuned on validation samples",
    "errors %": "percentage of wrong test samples",
    "fewer by": "percentage points fewer errors than labels alone, or than the method's own rival; paired by seed",
    "T": "the temperature; tuned on validation samples",
    "unseen %": "accuracy on the classes that the students were never shown",
    "difference": "mean over seeds, which are paired: same initial weights, same batches",
    "cost": "training time, in multiples of labels alone",
}


def html_table(lines: Sequence[Sequence[str]], caption: str, name: str = "table", first: Sequence[str] = ()) -> str:
    """A head and rows as an HTML table that scrolls in its own box, and below it what the heads mean.

    Parameters
    ----------
    lines : sequence of sequences of str
        The head and the rows.
    caption : str
        What the table shows.
    name : str
        The beginning of the table's ids, for a page with several tables.
    first : sequence of str
        The heads of the columns that come first: a phone shows these without scrolling.
    """
    order = sorted(range(1, len(lines[0])), key=lambda i: (lines[0][i] not in first, i))
    head, *rows = ([line[0], *(line[i] for i in order)] for line in lines)
    unseen = '<span class="unseen">network</span>'  # a screen reader reads it aloud
    columns = [escape(text) or ("verdict" if i else unseen) for i, text in enumerate(head)]
    heads = "".join(f'<th scope="col">{text}</th>' for text in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(text)}</td>" for text in cells)}</tr>\n'
        for first, *cells in rows
    )
    return (
        f'<div class="scroll" role="region" aria-labelledby="{name}-caption" tabindex="0">\n<table>\n'
        f'<caption id="{name}-caption"><span>{escape(caption)}</span></caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{body}</tbody>\n</table>\n</div>\n"
        "<details><summary>What the columns mean</summary>"
        f'<dl class="pairs">{_pairs([(text, MEANINGS[text]) for text in head if text in MEANINGS])}</dl></details>'
    )


def _scale(most: int) -> str:
    """The legend of confusion tables: their common colour scale, from 0 to `most` errors in a cell."""
    steps = sorted({round(most * part) for part in (0.25, 0.5, 0.75, 1)} - {0})
    cells = "".join(f'<i style="--part: {step / most:.2f}">{step}</i>' for step in steps)
    return f'<p class="scale">One colour scale for all networks, number of wrong samples: <i>0</i>{cells}</p>\n'


def confusion_table(title: str, counts: np.ndarray, names: Sequence[str], most: int, small: bool) -> str:
    """A confusion matrix as an HTML table of coloured cells: rows are true classes, columns predicted classes.

    Parameters
    ----------
    title : str
        The caption.
    counts : array (K, K)
        How often class i (row) was predicted as class j (column).
    names : sequence of str
        The K classes.
    most : int
        The number of errors that has the full colour.
    small : bool
        Whether cells have no room for their counts.
    """

    def cell(i: int, j: int) -> str:
        if i == j or not counts[i, j]:
            return f"<td>{counts[i, j] or ''}</td>"
        words = escape(f"{names[i]} predicted as {names[j]}: {counts[i, j]}")
        return f'<td style="--part: {counts[i, j] / most:.2f}" title="{words}">{counts[i, j]}</td>'

    every = range(len(names))
    rows = (f'<tr><th scope="row">{escape(names[i])}</th>{"".join(cell(i, j) for j in every)}</tr>\n' for i in every)
    heads = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    return (
        f'<table class="confusion{" small" * small}">\n<caption>{escape(title)}</caption>\n'
        f"<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>\n</table>"
    )


def figure(picture: str, words: str, wide: bool = False) -> str:
    """A picture, which is an <svg> or <table> element with a name, and the caption below it.

    With `wide` it is too wide for a phone and scrolls there in its own box.
    """
    box = '<div class="wide" role="region" aria-label="the picture" tabindex="0">{}</div>' if wide else "{}"
    return f"<figure>\n{box.format(picture)}\n<figcaption>{escape(words)}</figcaption>\n</figure>\n"


def gallery(title: str, figures: Sequence[str], kind: str, most: int | None = None) -> str:
    """Figures, as HTML, side by side under a title.

    Parameters
    ----------
    title : str
        The heading.
    figures : sequence of str
        What `figure` returned.
    kind : str
        A class of the style sheet.
    most : int, optional
        For confusion tables: the number of errors that has the full colour, for the legend.
    """
    grid = f'<div class="grid {kind}">\n{"".join(figures)}</div>\n'
    return f"<h3>{escape(title)}</h3>\n{'' if most is None else _scale(most)}{grid}" if figures else ""


def page(
    *,
    title: str,
    verdict: str,
    settings: Sequence[tuple[str, str]],
    table: str,
    numbers: dict[str, Any] | None,
    pictures: str,
    colours: dict[str, str],
    version: str,
    own: Own | None = None,
) -> str:
    """The whole page. `table` and `pictures` are HTML, `colours` are by network, `numbers` are for the script.

    Without `numbers` (None) the page has no explorer. `own` makes the section in which a reader draws; its argument is
    the room that is left, in bytes. If no student fits, the page says so.
    """
    template = _read("report.html")
    if numbers is None:  # a teacher that is a file of answers cannot be asked about test samples
        for part in WITHOUT_EXPLORER:
            template = re.sub(part, "", template, flags=re.DOTALL)
    fill = partial(
        Template(template).substitute,
        title=escape(title),
        verdict=re.sub(r"--[a-z]+ \d+", r"<code>\g<0></code>", escape(verdict)),  # an option stays on one line
        settings=_pairs(settings),
        scrolling=_read("scrolling.js"),
        table=table,
        pictures=pictures,
        numbers=_json(numbers),
        noun=escape(numbers["noun"] if numbers else "sample"),
        colours=_inks(colours),
        style=_read("style.css"),
        version=escape(version),
    )
    scripts = ("numbers.js", "widgets.js", "explorer.js")
    bare = fill(own="", own_link="", script=_read(*scripts))
    if own is None:
        return bare
    content = own(LARGEST - ROOM_OF_SECTION - len(bare.encode()))
    if content is None:
        return fill(own=NO_ROOM, own_link="", script=_read(*scripts))
    _, script, link = SECTIONS[content["data"]]
    section = _section(content, "h2", "The report has room for 2 MB")
    return fill(own=section, own_link=f' <a href="#draw">{link}</a>', script=_read(*scripts, "forward.js", script))


def own_page(*, title: str, content: dict[str, Any], colours: dict[str, str], version: str) -> str:
    """A page with nothing but the section in which a reader draws; `content` is what `Own` returns."""
    return Template(_read("alone.html")).substitute(
        title=escape(title),
        own=_section(content, "h1", "The page has room for 12 MB"),
        colours=_inks(colours),
        style=_read("style.css"),
        script=_read("numbers.js", "widgets.js", "forward.js", SECTIONS[content["data"]][1]),
        version=escape(version),
    )


def _section(content: dict[str, Any], level: str, room: str) -> str:
    left_out = f" {room}, so it leaves out {', '.join(content['leftOut'])}." if content["leftOut"] else ""
    return Template(_read(SECTIONS[content["data"]][0])).substitute(
        level=level,
        data=escape(content["data"]),
        shape="×".join(map(str, content.get("shape", ()))),
        left_out=escape(left_out),
        numbers=_json(content),
    )


def _read(*names: str) -> str:
    return "".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


def _json(content: Any) -> str:
    # No text can end the script's element or open another: it holds no "<" at all.
    return json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _inks(colours: dict[str, str]) -> str:
    # The text's own colour is dark on a light page and light on a dark one, as a teacher's black must be.
    return " ".join(f"--{kind}: {'currentColor' if ink == '#000000' else ink};" for kind, ink in colours.items())


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>\n" for name, value in pairs)
