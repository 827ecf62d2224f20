"""A plugin for pytest, for gpu.py: it runs the tests that use a device and have no outcome yet, and records each.

    pytest --device cuda -p gpu_recorder --record FILE --until TIME

FILE holds a line of JSON for each event. A test's first line has the outcome "started", so that a test that ends the
whole process is known. After TIME, in seconds of time.time(), no further test starts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DEVICE_FIXTURES = {"device", "xp", "cp"}  # what a test asks for that is to run on a GPU


def events(file: Path) -> Iterator[dict[str, Any]]:
    """What the file holds; a last line that is cut off does not count."""
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    return map(json.loads, lines)


def outcomes(file: Path) -> dict[str, dict[str, Any]]:
    """The last event of each test."""
    return {event["test"]: event for event in events(file)}


def record(file: Path, **event: Any) -> None:
    """Add an event."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(event) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    parser.addoption("--record", type=Path)
    parser.addoption("--until", type=float, default=float("inf"))


def pytest_configure(config: pytest.Config) -> None:
    """Record from now on."""
    if config.option.record:
        config.pluginmanager.register(Recorder(config.option.record, config.option.until))


class Recorder:
    """Chooses the tests, and notes what became of them."""

    def __init__(self, file: Path, until: float) -> None:
        self.file, self.until = file, until
        self.reports: list[pytest.TestReport] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the tests of a device that have no outcome yet."""
        done = {test for test, event in outcomes(self.file).items() if event["outcome"] != "started"}
        uses = [bool(DEVICE_FIXTURES & set(getattr(item, "fixturenames", ()))) for item in items]
        keep = [item for item, used in zip(items, uses, strict=True) if used and item.nodeid not in done]
        config.hook.pytest_deselected(items=[item for item in items if item not in keep])
        items[:] = keep

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test starts."""
        self.reports = []
        record(self.file, test=nodeid, outcome="started", time=time.time())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Its set-up, call and tear-down are over."""
        self.reports.append(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Stop after this one if the time is up."""
        if time.time() > self.until:
            item.session.shouldstop = "the time is up"

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """It has an outcome: failed, skipped, or passed."""
        kinds = {report.outcome: report for report in self.reports}
        outcome = next(kind for kind in ("failed", "skipped", "passed") if kind in kinds)
        event = {"test": nodeid, "outcome": outcome, "seconds": round(sum(r.duration for r in self.reports), 3)}
        if outcome != "passed":
            event["message"] = message_of(kinds[outcome])
        record(self.file, **event)


def message_of(report: pytest.TestReport) -> str:
    """The reason of a skip, or the message of an exception."""
    if isinstance(report.longrepr, tuple):  # file, line, reason
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return (crash.message if crash else str(report.longrepr))[:1000]
