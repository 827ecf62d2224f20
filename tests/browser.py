"""A headless Chromium, for tests and pictures of the report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
QUIET += ("--disable-component-update", "--disable-sync")


def missing() -> str:
    """What has to be installed before there is a browser; empty where there is one."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "the report's tests need Playwright: pip install playwright"
    if not _executable():
        return "the report's tests need Chromium: apt-get install chromium"
    return ""


def need_browser() -> None:
    """Skip the test where there is no browser; where the environment variable CI is set, fail instead."""
    if words := missing():
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)


def _executable() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A Playwright browser, closed afterwards."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_executable(), args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()
