"""The pictures of the report, and of the page of `minikd draw`, taken in headless Chromium:

python tests/screenshots.py RUN_FOLDER docs
python tests/screenshots.py RUN_FOLDER docs draw
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from browser import chromium
from handwriting import draw
from PIL import Image

from minikd.report import draw as draw_page
from minikd.report import html as report

BOTTOM = "e => e.getBoundingClientRect().bottom + scrollY"
FOUR = [[(0.58, 0.12), (0.28, 0.42), (0.34, 0.52), (0.68, 0.48)], [(0.7, 0.1), (0.62, 0.92)]]  # almost a 9
COOL = "slider => { slider.value = 1; slider.dispatchEvent(new Event('input')); }"  # T = 2
TOP = "e => e.getBoundingClientRect().top + scrollY"


def shoot(
    *,
    browser: Any,
    source: Path,
    target: Path,
    scheme: str,
    width: int,
    first: str,
    last: str,
    act: Callable[[Any], None] = lambda page: None,
) -> None:
    """The page from the element `first` to the element `last`, after `act`, as PNG."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    page.goto(source.resolve().as_uri())
    act(page)
    page.wait_for_timeout(300)
    top, bottom = page.eval_on_selector(first, TOP) - 20, page.eval_on_selector(last, BOTTOM) + 20
    clip = {"x": 0, "y": max(0, top), "width": width, "height": bottom - max(0, top)}
    image = Image.open(BytesIO(page.screenshot(full_page=True, clip=clip)))
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)  # a third of the bytes
    page.close()
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


def main(run: Path, docs: Path, what: str = "report") -> None:
    """The same page in light and dark on a laptop, and a part of it on a phone."""
    shoots = {"report": shoot_report, "draw": shoot_drawing}
    with chromium() as browser:
        shoots[what](browser, run, docs)


def shoot_report(browser: Any, run: Path, docs: Path) -> None:
    """The report from its top to the end of the explorer."""
    given = {"browser": browser, "source": report.write(run)}
    for scheme in ("light", "dark"):
        target = docs / f"report-{scheme}.png"
        shoot(**given, target=target, scheme=scheme, width=1440, first="header", last="#explorer")
    target = docs / "report-phone.png"
    shoot(**given, target=target, scheme="light", width=360, first=".sample", last="#probabilities")


def shoot_drawing(browser: Any, run: Path, docs: Path) -> None:
    """A drawing of a 4, its label set, and what the networks say."""

    def act(page: Any) -> None:
        draw(page, FOUR)
        page.select_option("#draw-label", label="4")
        page.eval_on_selector("#draw-temperature", COOL)
        page.evaluate("scrollTo(0, 0)")

    given = {"browser": browser, "source": draw_page.draw(run), "scheme": "light", "act": act}
    shoot(**given, target=docs / "draw.png", width=1440, first="header", last="main")
    shoot(**given, target=docs / "draw-phone.png", width=360, first="header", last="#draw-probabilities")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
