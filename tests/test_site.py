"""The documentation site: it builds without a warning or a network, no link is dead, and its examples run."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from browser import chromium, need_browser

import minikd
from minikd.course.exercises import EXERCISES
from minikd.course.grading.grade import read_weights
from minikd.methods import METHODS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "_ext"))

import pages  # noqa: E402
import prose  # noqa: E402

API = sorted((DOCS / "api").glob("*.md"))
EXAMPLES = re.compile(r"^```pycon\n(.*?)^```", re.DOTALL | re.MULTILINE)
PACKAGES = ("sphinx", "myst_nb", "furo", "sphinx_copybutton", "sphinx_design", "mathjax")
LOOKED_AT = ("index", "learn", "tutorials/03_the_gradient", "tutorials/zh/03_the_gradient", "gallery", "gallery/kd")
LOOKED_AT += ("api/losses", "api/training", "glossary", "syllabus")
SIDEWAYS = "document.documentElement.scrollWidth - window.innerWidth"

CUT_OFF = """[...document.querySelectorAll("article pre, article .table-wrapper")]
    .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.textContent.slice(0, 60))"""
# Words whose contrast with their background is below 4.5, what WCAG 2 asks for (AA).
FAINT = """(() => {
    const parts = text => { const c = text.match(/[\\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c };
    const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
    const light = c => c.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + [0.2126, 0.7152, 0.0722][i] * v, 0);
    const behind = element => element ? over(parts(getComputedStyle(element).backgroundColor),
        behind(element.parentElement)) : [255, 255, 255];
    const faint = new Set(), walk = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const element = walk.currentNode.parentElement, box = element.getBoundingClientRect();
        if (!walk.currentNode.nodeValue.trim() || !box.width || element.closest("script, style, svg, button")) continue;
        const below = behind(element), [a, b] = [over(parts(getComputedStyle(element).color), below), below].map(light);
        if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) faint.add(element.className + element.textContent);
    }
    return [...faint];
})()"""

# ---- what needs no build ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [page for page in API if ">>> " in page.read_text("utf-8")], ids=lambda p: p.stem)
def test_the_examples_of_the_api_print_what_is_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "".join(EXAMPLES.findall(page.read_text("utf-8")))
    examples = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), 0)
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    runner.run(examples, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


@pytest.mark.parametrize("name", minikd.__all__)
def test_every_public_name_has_an_entry_with_an_example(name: str) -> None:
    sections = [part for page in API for part in re.split(r"^## ", page.read_text("utf-8"), flags=re.MULTILINE)]
    (section,) = [part for part in sections if part.startswith(f"{name}\n")]
    assert re.search(rf"^\.\. auto(function|class|exception):: minikd\.{name}$", section, re.MULTILINE)
    documented = (getattr(minikd, name).__doc__ or "") + "".join(EXAMPLES.findall(section))
    assert re.search(rf">>> .*\b{name}\b|\.\.\. .*\b{name}\b", documented) or name in ("GradientReport", "History")
    assert ">>> " in documented
    assert f"`~minikd.{name}`" in (DOCS / "api" / "index.md").read_text("utf-8")


@pytest.mark.parametrize(("course", "exercises"), [("four weeks", 17), ("eight weeks", 23)])
def test_the_weights_of_a_course_make_100_points(course: str, exercises: int, tmp_path: Path) -> None:
    text = (DOCS / "syllabus.md").read_text("utf-8")
    found = re.search(rf"<!-- weights: {course} -->\n```toml\n(.*?)```", text, re.DOTALL)
    assert found
    (tmp_path / "weights.toml").write_text(found[1])
    weights = read_weights(tmp_path / "weights.toml")
    assert list(weights) == list(EXERCISES) and sum(weights.values()) == 100
    assert sum(points > 0 for points in weights.values()) == exercises
    table = text[text.rindex("| week |", 0, found.start()) : found.start()]
    given = {int(n) for row in re.findall(r"\| ([^|]*E\d[^|]*) \|$", table, re.MULTILINE) for n in numbers(row)}
    assert given == {int(name[1:]) for name, points in weights.items() if points}


def numbers(row: str) -> Iterator[int]:
    """The exercises of "E4, E5, E11 to E15"."""
    for first, last in re.findall(r"E(\d+)(?: to E(\d+))?", row):
        yield from range(int(first), int(last or first) + 1)


def test_a_docstring_comes_out_as_prose_formulas_and_arguments() -> None:
    text = "Sums |z| and p*.\n\nx  (N, D);  y  labels\n   of x\n\nSo `a`s::\n\n    L = 1\n\n"
    text += "Raises\n------\nValueError\n    T <= 0."
    lines = prose.rst(text)
    assert lines[0] == "Sums \\|z\\| and p\\*."
    assert "   ``x``" in lines and "   ``y``" in lines and "      labels of x" in lines
    assert "So ``a``\\ s:" in lines and "   L = 1" in lines
    assert lines[lines.index(".. rubric:: Raises") :].count("   ``ValueError``") == 1


def test_the_gallery_has_each_method_in_one_group_with_a_formula() -> None:
    assert sorted(" ".join(pages.GROUPS.values()).split()) == sorted(METHODS) == sorted(pages.FORMULAS)


# ---- what needs the site ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as CI builds it."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        words = f"the site needs {', '.join(missing)}: pip install -e '.[docs]'"
        pytest.fail(words) if os.environ.get("CI") else pytest.skip(words)
    target = tmp_path_factory.mktemp("site") / "html"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-j",
        "2",
        "-b",
        "html",
        str(DOCS),
        str(target),
    ]
    built = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=1200)
    assert built.returncode == 0, built.stderr[-5000:]
    return target


class Page(HTMLParser):
    """Where a page leads, what it loads, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.pictures: list[str] = []
        self.language = ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag in ("img", "script", "link", "source", "iframe"):
            self.loads += [str(given[name]) for name in ("src", "href") if given.get(name)]
        if tag == "img":
            self.pictures.append(given.get("alt") or "")
        if tag == "html":
            self.language = given.get("lang") or ""


@pytest.fixture(scope="module")
def built(site: Path) -> dict[Path, Page]:
    return {path.resolve(): Page(path) for path in site.rglob("*.html")}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_no_link_of_the_site_is_dead_and_nothing_is_loaded_from_elsewhere(built: dict[Path, Page]) -> None:
    dead = []
    for path, page in built.items():
        for href in (*page.links, *page.loads):
            parts = urlsplit(href)
            if parts.scheme in ("http", "https", "mailto", "data") and href in page.links:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if parts.scheme or parts.netloc or not target.is_file():
                dead.append(f"{path.name}: {href}")
            elif parts.fragment and target in built and unquote(parts.fragment) not in built[target].anchors:
                dead.append(f"{path.name}: {href} has no such anchor")
    assert len(built) > 80 and dead == []


@pytest.mark.slow
def test_every_picture_has_a_text_in_its_place_and_every_signature_reads_as_its_source(built: dict[Path, Page]) -> None:
    pictures = {(path.name, text) for path, page in built.items() for text in page.pictures}
    assert len(pictures) > 60 and [found for found in pictures if len(found[1]) < 2 or found[1].endswith(".png")] == []
    for path in built:
        signatures = re.findall(r'<dt class="sig.*?</dt>', path.read_text("utf-8"), re.DOTALL)
        assert not re.search("<span[^>]*>(~|&lt;)", "".join(signatures)), path


@pytest.mark.slow
def test_every_method_tutorial_and_public_name_has_its_page(site: Path, built: dict[Path, Page]) -> None:
    for name, method in METHODS.items():
        text = (site / "gallery" / f"{name}.html").read_text("utf-8")
        number = re.search(r"\d{4}\.\d{4,5}", method.source)
        assert number and f"arxiv.org/abs/{number[0]}" in text and 'class="math' in text
        assert "labels alone" in text or "None of the committed comparisons" in text or method.reads != "labels", name
    for notebook in pages.notebooks():
        page = built[(site / "tutorials" / notebook.relative_to(pages.TUTORIALS).with_suffix(".html")).resolve()]
        assert page.language == ("zh-Hans" if notebook.parent.name == "zh" else "en")
    code = built[(site / "code-map.html").resolve()].links
    assert {f"_modules/minikd/{path.stem}.html" for path in (ROOT / "minikd").glob("[a-z]*.py")} <= set(code)
    anchors = {anchor for path, page in built.items() if path.parent.name == "api" for anchor in page.anchors}
    assert {f"minikd.{name}" for name in minikd.__all__} <= anchors


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_render_their_formulas_and_fetch_nothing(site: Path, width: int, scheme: str) -> None:
    need_browser()
    everything = [path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")]
    names = everything if (width, scheme) == (360, "light") else LOOKED_AT  # the narrowest once for every page
    heard: list[str] = []
    with chromium() as browser:
        page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        page.set_default_timeout(120_000)  # for a machine that is busy with other tests
        page.on("console", lambda message: heard.append(f"{page.url}: {message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"{page.url}: {error}"))
        page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else heard.append(asked.url))
        for name in names:
            page.goto((site / f"{name}.html").as_uri())
            if formulas := page.locator(".math").count():
                page.evaluate("MathJax.startup.promise")
                assert page.locator("mjx-container").count() == formulas, name
                assert page.locator("mjx-merror").count() == 0, name
            assert page.evaluate(SIDEWAYS) <= 0, f"{name} is wider than {width} px"
    assert heard == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_finds_names_english_words_and_chinese_ones(site: Path) -> None:
    need_browser()
    wanted = {"grading": "course-instructors", "check_gradients": "measure", "MinikdError": "errors", "知识蒸馏": "zh"}
    wanted |= {"changelog": "changelog", "温度": "02_dark_knowledge", "蒸馏": "04_teacher_then_student"}
    with chromium() as browser:
        page = browser.new_page()
        for query, name in wanted.items():
            page.goto(f"{(site / 'search.html').as_uri()}?q={query}")
            page.locator(f"ul.search a[href*='{name}.html']").first.wait_for(timeout=60_000)
        for query, name in {"own data": "own-data", "softmax": "api/losses", "temperature": "glossary"}.items():
            page.goto(f"{(site / 'search.html').as_uri()}?q={query}")
            page.locator("ul.search > li > a").nth(5).wait_for(timeout=60_000)
            first = page.locator("ul.search > li > a").first.get_attribute("href")
            assert first and f"{name}.html" in first, query


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_code_stand_out_and_code_is_not_cut_off_on_a_wide_screen(site: Path, scheme: str) -> None:
    need_browser()
    with chromium() as browser:
        page = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme).new_page()
        for name in ("tutorials/03_the_gradient", "api/losses", "gallery/kd", "start", "_modules/minikd/losses"):
            page.goto((site / f"{name}.html").as_uri())
            assert page.evaluate(CUT_OFF) == [], name
            assert page.evaluate(FAINT) == [], name


def colour(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


@pytest.mark.slow
def test_the_site_is_dark_where_the_reader_wants_it_dark(site: Path) -> None:
    need_browser()
    with chromium() as browser:
        seen = []
        for scheme in ("light", "dark"):
            page = browser.new_context(color_scheme=scheme).new_page()
            page.goto((site / "index.html").as_uri())
            seen.append(colour(page))
    assert seen[0] != seen[1] == "rgb(19, 20, 22)"
