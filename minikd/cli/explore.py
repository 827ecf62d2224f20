"""`minikd explore`: the report of a run in the browser."""

from __future__ import annotations

import argparse

from ..report import html


def run(options: argparse.Namespace) -> None:
    """Do what was asked for."""
    print(html.explore(options.folder, not options.no_open))
