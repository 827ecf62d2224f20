"""The glossary: its table and its entries name the same terms, in both languages, and links to it end at an entry."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "glossary.md").read_text("utf-8")
ROWS = re.findall(r"^\| \[(.+)\]\(#(.+)\) \| (.+) \|$", TEXT, re.MULTILINE)
ENTRIES = re.findall(r"^## (.+)\n\n((?:.+\n)+)\n\*\*(.+)\*\*：(.+)$", TEXT, re.MULTILINE)


def anchor(heading: str) -> str:
    """As GitHub and MyST make it from a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_the_table_lists_the_entries_in_order_with_their_anchors() -> None:
    terms = [term for term, *_ in ENTRIES]
    assert [(term, anchor(term)) for term in terms] == [(term, link) for term, link, _ in ROWS]
    assert terms == sorted(terms, key=lambda term: term.lower().replace("-", " "))
    assert len(terms) == len(set(map(anchor, terms))) == TEXT.count("\n## ") >= 60


def test_both_languages_name_and_explain_each_term() -> None:
    assert [chinese for _, _, chinese in ROWS] == [chinese for _, _, chinese, _ in ENTRIES]
    for term, english, _, meaning in ENTRIES:
        assert not re.search(r"[\u4e00-\u9fff]", term + english), term
        assert re.search(r"[\u4e00-\u9fff].*。$", meaning), term
        assert not re.search(r"[\u4e00-\u9fff][,;:.?!(]|[,;:?!)][\u4e00-\u9fff]", meaning.replace("](", "")), term


def test_links_to_the_glossary_end_at_an_entry() -> None:
    anchors = {link for _, link, _ in ROWS}
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tutorials").rglob("*.md")]
    pages += (ROOT / "tutorials").glob("*.py")
    for page in pages:
        for link in re.findall(r"glossary(?:\.md|\.html)#([\w-]+)", page.read_text("utf-8")):
            assert link in anchors, f"{page.name}: {link}"
