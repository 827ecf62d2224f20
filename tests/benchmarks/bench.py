"""Measure minikd: its training step, loop, predictions, start and memory, against rivals and against itself.

    python tests/benchmarks/bench.py --json FILE [--only step,fit] [--baseline PATH_OR_REVISION] [--quick]
    python tests/benchmarks/bench.py --show FILE

Prints Markdown tables, and which targets are met. README.md, beside this file, says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import contests
import growth
import interpreters
from machine import Others, describe, headline
from processes import ROOT, UNSET, Setup, Worker, pin
from report import warning
from targets import judge, targets_table

BASELINE = "758d716"  # the last commit before the fast kernels and the new layout
FIRST_CASE = 60  # seconds that a case is expected to take before one was taken
Measure = Callable[[Setup, dict[str, Worker], dict[str, Any]], dict[str, Any]]


class Section(NamedTuple):
    """A part of the benchmark: the labels of its rows, how to measure a row, its tables, and its processes."""

    cases: Callable[[Setup], list[dict[str, Any]]]
    measure: Measure
    table: Callable[[Sequence[dict[str, Any]]], str]
    workers: Sequence[str]


SECTIONS = {
    "step": Section(contests.step_cases, contests.measure_step, contests.step_table, [*contests.STEP_CONTENDERS]),
    "fit": Section(contests.fit_cases, contests.measure_fit, contests.fit_table, ["plain", "fast"]),
    "predict": Section(
        contests.predict_cases, contests.measure_predict, contests.predict_table, [*contests.PREDICT_CONTENDERS]
    ),
    "import": Section(interpreters.one_case, interpreters.measure_import, interpreters.import_table, []),
    "memory": Section(interpreters.one_case, interpreters.measure_memory, interpreters.memory_table, ["memory"]),
    "growth": Section(growth.cases, growth.measure, growth.growth_table, ["plain", "fast"]),
}
USUAL = [name for name in SECTIONS if name != "growth"]


def main() -> None:
    """Take the measurements of the command line, print their tables, and keep everything in a file if asked to."""
    parser = argparse.ArgumentParser(description="Measure minikd, against rivals and against itself.")
    add = parser.add_argument
    add("--only", type=_sections, metavar="NAMES", help=f"some of {','.join(SECTIONS)} (default all but growth)")
    add("--json", type=Path, metavar="FILE", help="write all numbers, and what they were measured on, to this file")
    add("--show", type=Path, metavar="FILE", help="print a file of --json, or the tables of some sections with --only")
    add("--plot", type=Path, metavar="FILE", help="draw the section growth here, as PNG, SVG or PDF")
    options = add_options(parser).parse_args()
    if options.show:
        document = json.loads(options.show.read_text())
    else:
        with started(options, "cpu") as (setup, document):
            take(document, setup, options.only or USUAL, options.json)
    print(report(document, options.only if options.show else None))
    if options.plot:
        growth.draw(document["sections"]["growth"]["rows"], options.plot)


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options that this command shares with gpu.py."""
    add = parser.add_argument
    add("--baseline", default=BASELINE, help="an older minikd: a folder, or a revision for git (default %(default)s)")
    add("--threads", type=int, default=2, help="threads, and CPUs, for everyone (default 2)")
    add("--rounds", type=int, help="turns of each contender (default 7, with --quick 2)")
    add("--quick", action="store_true", help="less of everything, to see that it works: the numbers mean little")
    return parser


@contextmanager
def started(options: argparse.Namespace, device: str) -> Iterator[tuple[Setup, dict[str, Any]]]:
    """The settings that were asked for, and what --json writes, without any section yet.

    From here on this process, and every one that it starts, keeps to as many CPUs as there are threads.
    """
    rounds, seconds = (options.rounds or 2, 0.1) if options.quick else (options.rounds or 7, 0.5)
    setup = Setup(device, options.threads, rounds, seconds, options.quick)
    if setup.output("fast", f"from minikd import fast; print(fast.name({device!r}))") == "plain":
        setup.missing["fast"] = setup.output("fast", "from minikd import fast; print(fast.status())")
    with tempfile.TemporaryDirectory() as folder:
        _add_baseline(setup, options.baseline, Path(folder))
        settings = {name: getattr(setup, name) for name in ("device", "threads", "rounds", "seconds", "quick")}
        yield setup, {"machine": describe(setup, pin(options.threads)), "settings": settings, "sections": {}}


def take(
    document: dict[str, Any], setup: Setup, names: Sequence[str], path: Path | None, until: float = float("inf")
) -> bool:
    """Measure the rows of these sections that the document does not have yet, and write it after each.

    False if `until`, on time.monotonic's clock, would come before the next row: it goes on with the same document.
    """
    longest = FIRST_CASE
    for name in names:
        section = SECTIONS[name]
        done = document["sections"].setdefault(name, {"rows": [], "complete": False})
        cases = [case for case in section.cases(setup) if not any(case.items() <= row.items() for row in done["rows"])]
        others = Others()
        with setup.workers(section.workers) as workers:
            for case in cases:
                begun = time.monotonic()
                if begun + longest > until:
                    break
                done["rows"].append(section.measure(setup, workers, case))
                longest = max(longest if until < float("inf") else 0, time.monotonic() - begun)
                write(path, document)
            else:
                done["complete"] = True
        done["share_of_others"] = max(others.share() or 0, done.get("share_of_others", 0))
        document["targets"] = judge(document) if setup.device == "cpu" else []
        write(path, document)
        if not done["complete"]:
            return False
    return True


def report(document: dict[str, Any], only: Sequence[str] | None = None) -> str:
    """All tables of a document, or those of some sections alone, in Markdown."""
    if only is not None:
        return "\n\n".join(SECTIONS[name].table(document["sections"][name]["rows"]) for name in only)
    paragraphs = [headline(document["machine"])]
    for name, section in document["sections"].items():
        if section["rows"]:
            paragraphs += [SECTIONS[name].table(section["rows"]), warning(section)]
    if any(verdict["found"] is not None for verdict in document.get("targets", ())):
        paragraphs.append(targets_table(document["targets"], document["settings"]["quick"]))
    return "\n\n".join(filter(None, paragraphs))


def write(path: Path | None, document: dict[str, Any]) -> None:
    """Replace the file in one go, so that an interruption leaves the last good one."""
    if path is not None:
        new = path.with_name(path.name + ".new")
        new.write_text(json.dumps(document, indent=1) + "\n")
        os.replace(new, path)


def _add_baseline(setup: Setup, baseline: str, folder: Path) -> None:
    """Find the older minikd, or unpack it into the folder, and ask what its command sets before NumPy loads."""
    setup.baseline_name = baseline
    if (Path(baseline) / "minikd").is_dir():
        folder = Path(baseline).resolve()
    else:
        archive = ["git", "-C", str(ROOT), "archive", "--format=tar", baseline, "minikd"]
        done = subprocess.run(archive, capture_output=True)
        if done.returncode:
            setup.missing["old"] = f"no minikd at {baseline}: {done.stderr.decode(errors='replace').strip()}"
            return
        with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
            tar.extractall(folder)
    setup.baseline = folder
    code = "import json; from minikd import cli; print(json.dumps(getattr(cli, 'blas_settings', dict)()))"
    settings = json.loads(setup.output("old", code))
    setup.baseline_settings = {name: str(value) for name, value in settings.items() if name not in UNSET}


def _sections(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(SECTIONS):
        raise argparse.ArgumentTypeError(f"sections are {', '.join(SECTIONS)}, got {text!r}")
    return names


if __name__ == "__main__":
    main()
