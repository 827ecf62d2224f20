"""`minikd explore`: opens the report of a run in the browser."""

from __future__ import annotations

import argparse

from ..report import html


def run(options: argparse.Namespace) -> None:
    """Open the report, or print its path."""
    print(html.explore(options.folder, not options.no_open))
