"""Measure minikd: its training step, loop, predictions, start and memory, against rivals and against itself.

    python tests/benchmarks/bench.py [--device cuda] [--only step,fit] [--json FILE] [--quick]

Prints a table a section. README.md, beside this file, says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contests
import growth
import interpreters
import loop
from command import add_options, start, write
from machine import Others, headline
from processes import Setup

Measure = Callable[[Setup], dict[str, Any]]
SECTIONS: dict[str, tuple[Measure, Callable[[dict[str, Any]], str]]] = {
    "step": (contests.measure_step, contests.step_table),
    "fit": (loop.measure, loop.fit_table),
    "predict": (contests.measure_predict, contests.predict_table),
    "import": (interpreters.measure_import, interpreters.import_table),
    "memory": (interpreters.measure_memory, interpreters.memory_table),
    "growth": (growth.measure, growth.growth_table),
}


def main() -> None:
    """Take the measurements of the command line, print their tables, and keep everything in a file if asked to."""
    parser = argparse.ArgumentParser(description="Measure minikd, against rivals and against itself.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default cpu")
    names = ",".join(SECTIONS)
    parser.add_argument("--only", type=_sections, default=list(SECTIONS), metavar="NAMES", help=f"some of {names}")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the tables of a file of --json again")
    options = add_options(parser).parse_args()
    if options.show:
        show(json.loads(options.show.read_text()))
        return
    setup, document = start(options, options.device)
    print(headline(document["machine"]), flush=True)
    for name in options.only:
        document["sections"][name] = _take(name, setup)
        write(options.json, document)


def show(document: dict[str, Any]) -> None:
    """Print what was printed when the document was measured."""
    print(headline(document["machine"]))
    for name, section in document["sections"].items():
        print(f"\n{SECTIONS[name][1](section) if 'error' not in section else section['error']}")


def _take(name: str, setup: Setup) -> dict[str, Any]:
    """Measure a section and print its table; {"error": ...} where that fails, for the others can still be measured."""
    measure, table = SECTIONS[name]
    others = Others()
    try:
        section = measure(setup)
        print(f"\n{table(section)}", flush=True)
    except Exception as error:  # whatever it may be
        section = {"error": f"{type(error).__name__}: {error}"}
        print(f"\n{name} failed: {section['error']}", flush=True)
    print(others.warning(), end="", flush=True)
    return {"share_of_others": others.share(), **section}


def _sections(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(SECTIONS):
        raise argparse.ArgumentTypeError(f"sections are {', '.join(SECTIONS)}, got {text!r}")
    return names


if __name__ == "__main__":
    main()
