"""`minikd data`: list the data sets, or fetch one."""

from __future__ import annotations

import argparse

from ..data import DATASETS, fetch


def run(options: argparse.Namespace) -> None:
    """Do what was asked for."""
    if options.action == "fetch":
        print(f"{options.name} is in {fetch(options.name)}, checked")
        return
    for name, dataset in DATASETS.items():
        print(f"{name:<8}{dataset.summary}\n{'':8}{dataset.licence}; {dataset.source}")
