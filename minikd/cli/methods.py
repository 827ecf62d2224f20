"""`minikd methods`: lists the distillation methods."""

from __future__ import annotations

import argparse
import re

from ..methods import METHODS


def run(options: argparse.Namespace) -> None:
    """Print a line for each method: name, title and the arXiv number of its first source."""
    for method in METHODS.values():
        number = re.findall(r"\d{4}\.\d{4,5}", method.source)[0]  # of the first paper
        print(f"{method.name:<16} {method.title:<50} {number:>12}")
    print("\nPapers by their arXiv numbers; each method is derived at the head of its file in\nminikd/methods/.")
