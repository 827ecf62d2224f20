"""`minikd compare`: compares distillation methods on the same student, in a table and a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import fill
from typing import Any

from ..backend import get_xp
from ..checks import check_choice
from ..experiments import compare
from ..experiments.environment import suited_jobs, suited_threads
from ..methods import METHODS
from .progress import Progress
from .shared import AND_OPTIONS, refused, resumable, run_folder, threads_for, where_to_look

SETTINGS = ("data", "images", "student", "teacher", "epochs", "seeds", "device")


def run(options: argparse.Namespace) -> None:
    """Run the comparison, or print the table of a file."""
    if options.show is not None:
        _print(compare.read(Path(options.show)))
        return
    with refused():
        given = {name: getattr(options, name) for name in SETTINGS if getattr(options, name) is not None}
        if options.images is not None:
            (given["images"],) = options.images  # None for all
        config = compare.settings_for(**given)
        fitting = (name for name, method in METHODS.items() if method.suits(config.data))
        methods = tuple(fitting if options.methods is None else options.methods.split(","))
        for method in methods:
            check_choice("methods", method, METHODS)
        jobs = suited_jobs(config.data, config.device, options.jobs)
    get_xp(config.device)
    with (
        run_folder(options, "compare") as folder,
        threads_for(options, suited_threads(config.data, jobs)),
        resumable("compare", folder, AND_OPTIONS),
    ):
        print(f"{len(methods)} methods, {config.seeds} seeds, in {folder}/", flush=True)
        with refused(), Progress(quiet=options.quiet) as progress:
            content = compare.compare(config, methods, folder, jobs, progress, options.tuning_seeds)
        _print(content)
        if not options.no_pictures:
            _draw(content, folder)
    what = "Networks and numbers" if options.no_pictures else "Networks, numbers and the picture"
    print(f"\n{where_to_look(what, folder)}")


def _print(content: dict[str, Any]) -> None:
    print(f"\n{fill(compare.caption(content), 80)}\n\n{compare.method_table(content)}")


def _draw(content: dict[str, Any], folder: Path) -> None:
    from ..report import html, plots

    plots.save(plots.comparison(compare.summary(content)), folder / "compare.png")
    html.write(folder)
