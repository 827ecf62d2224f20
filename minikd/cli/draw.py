"""`minikd draw`: a page in which one draws a digit, or begins a word, and the networks of a run answer."""

from __future__ import annotations

import argparse

from ..report import html
from ..report.draw import draw


def run(options: argparse.Namespace) -> None:
    """Do what was asked for."""
    print(html.show(draw(options.folder), not options.no_open))
