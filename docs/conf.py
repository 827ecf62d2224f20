"""How the documentation is built, warnings as errors and without a network:

    pip install -e '.[docs]'
    python -m sphinx -W --keep-going -j auto -b html docs build/site

and then open build/site/index.html. Pages are Markdown; the notebooks are shown with the outputs that they have, and
nothing is run. _ext/pages.py writes the gallery and copies the notebooks into folders that git ignores.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "_ext")]

import pages  # noqa: E402
import prose  # noqa: E402
from docutils import nodes  # noqa: E402
from sphinx import addnodes  # noqa: E402
from sphinx.search import SearchEnglish, languages  # noqa: E402

import minikd  # noqa: E402

project = "minikd"
author = copyright = "the authors of minikd"
version = release = minikd.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
]
suppress_warnings = ["myst.header"]  # the tables of benchmarks bring headings of their own level
exclude_patterns = ["_ext", "_static"]
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

autodoc_member_order = "bysource"
autodoc_type_aliases = {name: name for name in ("Array", "Classifier", "Loss", "Augment", "Schedule", "Blocks")}
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = "minikd"
html_baseurl = ""
html_copy_source = html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(DOCS / "_ext" / "scorer.js")
html_theme_options = {"navigation_with_keys": False}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "native"
copybutton_prompt_text = ">>> "
copybutton_exclude = ".linenos, .gp, .go"

# MathJax comes with a package and is copied into the site: one file, which draws glyphs as SVG and needs no font.
found = find_spec("mathjax")
if found is None or not found.submodule_search_locations:
    raise RuntimeError("MathJax is missing, and formulas would need a network: pip install -e '.[docs]'")
MATHJAX = Path(found.submodule_search_locations[0]) / "static" / "mathjax" / "es5" / "tex-svg-full.js"
html_static_path.append(str(MATHJAX))
mathjax_path = MATHJAX.name
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "local"}}

# ---- links that work both here and in the repository --------------------------------------------------------------

ELSEWHERE = {
    "README.md": "/index.md",
    "README.zh.md": "/zh.md",
    "CONTRIBUTING.md": "/contributing.md",
    "CHANGELOG.md": "/changelog.md",
    "tutorials": "/learn.md",
    "tutorials/README.md": "/learn.md",
    "minikd/methods": "/gallery.md",
    "minikd/course": "/course.md",
    "minikd": "/code-map.md",
}


def here(docname: str, href: str) -> str:
    """Where a link that leaves docs/ leads on the site; any other link as it is."""
    path, hash_, anchor = href.partition("#")
    target = (DOCS / docname).parent.joinpath(path).resolve()
    if ROOT not in target.parents:
        return href
    if DOCS in (target, *target.parents):  # by way of the root, as in CONTRIBUTING.md
        return f"/{target.relative_to(DOCS).as_posix()}{hash_}{anchor}"
    name = target.relative_to(ROOT).as_posix()
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    if found := re.fullmatch(r"tutorials/((?:zh/)?\d\d_\w+)\.(?:ipynb|py|md)", name):
        return f"/tutorials/{found[1]}.ipynb{hash_}{anchor}"
    if target.is_dir() and (target / "__init__.py").exists():
        return f"{path.rstrip('/')}/__init__.py"
    return f"path:{path}" if target.suffix == ".md" else href  # no page of the site, but a file to load


def prepare(app: Any, docname: str, source: list[str]) -> None:
    """Fill in the tables that a Markdown page asks for, and turn its links that leave docs/."""
    if Path(app.env.doc2path(docname)).suffix != ".md":
        return
    text = re.sub(r"^<!-- table: ([\w-]+) -->$", lambda found: pages.TABLES[found[1]](), source[0], flags=re.MULTILINE)
    source[0] = re.sub(r"\]\((\.\./[^)\s]+)\)", lambda found: f"]({here(docname, found[1])})", text)


def show_source(app: Any, doctree: nodes.document, docname: str) -> None:
    """A link to a file of the package leads to its highlighted source, if the site has that."""
    shown = {name for name, content in getattr(app.env, "_viewcode_modules", {}).items() if content}
    for node in [*doctree.findall(addnodes.download_reference)]:
        path = (DOCS / docname).parent.joinpath(node["reftarget"]).resolve()
        if ROOT / "minikd" not in path.parents:
            continue
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        if name in shown:
            uri = app.builder.get_relative_uri(docname, f"_modules/{name.replace('.', '/')}")
            node.replace_self(nodes.reference("", "", *node.children, refuri=uri, internal=True))


def rewrite(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Render a docstring, with or without NumPy's sections."""
    lines[:] = prose.rst("\n".join(lines), pages.link)


def plain_types(app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returns: str) -> Any:
    """Signatures name the package's own types as its source does, and defaults that are classes or functions."""
    named = r"TypeAliasForwardRef\('(\w+)'\)|<class '(?:\w+\.)*(\w+)'>|<function (\w+)[^>]*>|<(factory)>"
    return tuple(
        text and re.sub(named, lambda found: found[found.lastindex].replace("factory", "..."), text)
        for text in (signature, returns)
    )


def link_back(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Repair the links from highlighted source to its documentation.

    viewcode takes the first name under which a module's objects are documented, `minikd.softmax`, for all of them.
    """
    if not pagename.startswith("_modules/minikd"):
        return
    module, known = pagename.removeprefix("_modules/").replace("/", "."), app.env.domaindata["py"]["objects"]

    def repair(found: re.Match[str]) -> str:
        parts = found[1].split(".")
        candidates = [found[1], *(".".join([module, *parts[-n:]]) for n in (1, 2))]
        candidates += [".".join([module.rpartition(".")[0], *parts[-n:]]) for n in (1, 2)]
        name = next((name for name in candidates if name in known), "")
        if not name:
            return '<a class="viewcode-back">'
        return f'<a class="viewcode-back" href="{app.builder.get_relative_uri(pagename, known[name].docname)}#{name}">'

    context["body"] = re.sub(r'<a class="viewcode-back" href="[^"#]*#([^"]+)">', repair, context["body"])


def chinese(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Tell browsers and screen readers which pages are in Chinese."""
    if pagename == "zh" or pagename.startswith("tutorials/zh/"):
        context["language"] = "zh-Hans"


class Search(SearchEnglish):
    """The words that a search finds: English ones, and pairs of Chinese characters, because Chinese has no spaces."""

    chinese = re.compile(r"[\u4e00-\u9fff]+")
    js_splitter_code = r"""
var splitQuery = (query) =>
  query.split(/([\u4e00-\u9fff]+)/).flatMap((part, i) =>
    i % 2 === 0
      ? part.split(/[^\p{Letter}\p{Number}_]+/u).filter((word) => word)
      : [...Array(Math.max(part.length - 1, 1)).keys()].map((k) => part.slice(k, k + 2)));
"""

    def split(self, input: str) -> list[str]:
        """The words of a text."""
        pairs = [run[k : k + 2] for run in self.chinese.findall(input) for k in range(max(len(run) - 1, 1))]
        return super().split(self.chinese.sub(" ", input)) + pairs


languages["en"] = Search


def setup(app: Any) -> dict[str, bool]:
    """Write what is generated, and hook in the functions above."""
    pages.write_all()
    app.connect("source-read", prepare)
    app.connect("doctree-resolved", show_source)
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-process-signature", plain_types)
    app.connect("html-page-context", link_back)
    app.connect("html-page-context", chinese)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
