"""The style of all pictures of minikd, and how a picture gets into a file, a page or a notebook.

The style is one dictionary, STYLE, on top of matplotlib's defaults. `styled` applies it only while a function draws, so
the pictures of other code do not change. The colours are those of Okabe and Ito, which colour-blind readers can
distinguish. Curves also differ in line and marker, and cells in lightness, so that a grey print is readable.
"""

from __future__ import annotations

import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, wraps
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from ..checkpoint import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

STYLE: dict[str, Any] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "figure.titlesize": 13,
    "figure.constrained_layout.h_pad": 0.09,  # inches
    "figure.constrained_layout.w_pad": 0.09,
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "errorbar.capsize": 3,
    "hatch.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "minikd",
}
SMALL = 9  # points, for numbers in a picture and notes below it

# Colour, line and marker of one curve after another.
LOOKS = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", "-.", "^"),
    ("#CC79A7", ":", "D"),
    ("#000000", "-", "v"),
    ("#E69F00", "--", "P"),
    ("#56B4E9", "-.", "X"),
)
INK = "#1A1A1A"  # text on a coloured cell: nearly black, so that `svg` does not change it


@contextmanager
def style() -> Iterator[None]:
    """A context in which matplotlib has its defaults and STYLE. Afterwards the earlier settings are restored."""
    with _matplotlib().style.context(["default", STYLE]):
        yield


@cache
def _matplotlib() -> Any:
    """matplotlib, also if the environment names a backend that is not installed: pictures here need no backend."""
    asked = os.environ.pop("MPLBACKEND", None)
    import matplotlib.style

    if asked is not None:
        os.environ["MPLBACKEND"] = asked
        with suppress(ValueError):  # the notebook's own pictures still need it
            matplotlib.rcParams["backend"] = asked
    return matplotlib


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which draws, with minikd's style applied."""

    @wraps(function)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with style():
            return function(*args, **kwargs)

    return drawn


@styled
def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure of this size in inches, which is in no global list of figures."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def note(figure: Figure, words: str) -> None:
    """Write a note in small print below the picture."""
    figure.supxlabel(fill(words, int(14 * figure.get_figwidth())), fontsize=SMALL)


def log_scale(axis: Any, at: Sequence[float] = (1, 2, 5)) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5, or at the numbers in `at`, times powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=at))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


@styled
def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    from io import BytesIO

    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    write_atomically(path, png(figure))


@styled
def svg(figure: Figure) -> str:
    """The figure as an <svg> element for a page. The same figure always gives the same text.

    Black becomes the colour of the page's text (currentColor) and the background is transparent, so that the picture
    fits a dark and a light page. The ids begin with a checksum of the picture, so that one page can have several
    pictures.
    """
    from io import StringIO

    buffer = StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for needless in (r"<metadata>.*?</metadata>\s*", r"<style.*?</style>\s*", r"<defs>\s*</defs>\s*"):
        text = re.sub(needless, "", text, flags=re.DOTALL)
    prefix = f"f{zlib.crc32(text.encode()):08x}-"
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}", text)
    text = text.replace("#000000", "currentColor")
    # What matplotlib's style sheet sets, which would apply to the whole page, and the black that it leaves out.
    own = 'fill="currentColor" style="stroke-linejoin: round; stroke-linecap: butt" role="img"'
    titles = [axes.get_title() for axes in figure.axes]
    words = "; ".join(dict.fromkeys(title for title in (figure.get_suptitle(), *titles) if title))
    label = re.sub(r"\s+", " ", words).replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg ", f'<svg {own} aria-label="{label}" ', 1).strip()


def show(figure: Figure) -> None:
    """Show a figure inline in a notebook, and write it into the folder in the variable MINIKD_FIGURES, if it is set.

    Outside a notebook nothing is shown. The file is named after the picture's title.
    """
    ipython = sys.modules.get("IPython")
    if ipython is not None and hasattr(ipython.get_ipython(), "kernel"):
        from IPython.display import Image, display

        display(Image(png(figure), width=int(figure.get_figwidth() * 90)))  # type: ignore[no-untyped-call]
    folder = os.environ.get("MINIKD_FIGURES")
    if folder:
        words = figure.get_suptitle() or next((t for a in figure.axes if (t := a.get_title())), "") or "figure"
        name = re.sub(r"\W+", "-", words.lower()).strip("-")[:60]
        Path(folder).mkdir(parents=True, exist_ok=True)
        save(figure, Path(folder) / f"{name}.png")
