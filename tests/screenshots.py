"""The pictures of the report in the README, taken in headless Chromium:

python tests/screenshots.py RUN_FOLDER docs
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from browser import chromium
from PIL import Image

from minikd.report import html as report

BOTTOM = "e => e.getBoundingClientRect().bottom + scrollY"
TOP = "e => e.getBoundingClientRect().top + scrollY"


def shoot(browser: Any, source: Path, target: Path, scheme: str, width: int, first: str, last: str) -> None:
    """The page from the element `first` to the element `last`, as PNG."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    page.goto(source.resolve().as_uri())
    page.wait_for_timeout(300)
    top, bottom = page.eval_on_selector(first, TOP) - 20, page.eval_on_selector(last, BOTTOM) + 20
    clip = {"x": 0, "y": max(0, top), "width": width, "height": bottom - max(0, top)}
    image = Image.open(BytesIO(page.screenshot(full_page=True, clip=clip)))
    image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)  # a third of the bytes
    page.close()
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


def main(run: Path, docs: Path) -> None:
    """The same page in light and dark on a laptop, from its top to the end of the explorer, and a part on a phone."""
    source = report.write(run)
    with chromium() as browser:
        for scheme in ("light", "dark"):
            shoot(browser, source, docs / f"report-{scheme}.png", scheme, 1440, "header", "#explorer")
        shoot(browser, source, docs / "report-phone.png", "light", 360, ".sample", "#probabilities")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
