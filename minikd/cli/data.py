"""`minikd data`: lists or downloads data sets."""

from __future__ import annotations

import argparse
from textwrap import fill

from ..data import DATASETS, fetch


def run(options: argparse.Namespace) -> None:
    """Print the list, or download one data set."""
    if options.action == "fetch":
        print(f"{options.name} is in {fetch(options.name)}, checked")
        return
    for name, dataset in DATASETS.items():
        for line in (f"{name:<8}{dataset.summary}", f"{'':8}{dataset.licence}; {dataset.source}"):
            print(fill(line, 80, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False))
