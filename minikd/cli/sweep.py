"""`minikd sweep`: trains a student for every setting, chooses the best one, and draws the picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..checks import check_count
from ..errors import CheckpointError
from ..experiments import selection, sweep
from ..experiments.distill import Experiment
from ..scale.pool import pool
from .progress import Progress
from .shared import refused, resumable, run_folder, threads_for, where_to_look

SETTINGS = ("data", "images", "teacher", "student", "method", "temperature", "soft_weight", "epochs", "seeds")


def run(options: argparse.Namespace) -> None:
    """Run the sweep, or resume it."""
    with run_folder(options, "sweep") as folder:
        with refused():
            plan = settle(options, folder)
        with resumable("sweep", folder):
            _train(plan, folder, options)


def settle(options: argparse.Namespace, folder: Path) -> sweep.Sweep:
    """The sweep that the options describe or, with --resume, the one in `folder`; other flags must agree with it.

    ValueError and TypeError begin with the name of an argument. CheckpointError if the sweep cannot be resumed.
    """
    if options.jobs is not None:
        check_count("jobs", options.jobs)
        if options.dask is not None:
            raise ValueError("jobs is for this machine, and a cluster has its own: leave out --jobs or --dask")
    given: dict[str, Any] = {name: value for name in SETTINGS if (value := getattr(options, name)) is not None}
    if not options.resume:
        return sweep.Sweep.plan(**given)
    begun, _ = sweep.read(folder)
    for name, value in given.items():
        swept = name in sweep.Setting._fields
        was = getattr(begun if swept else begun.base, name)
        if was != (tuple(dict.fromkeys(value)) if swept else value):
            flag = "--" + name.replace("_", "-")
            raise CheckpointError(f"{folder} was started with another {flag}: leave it out, or start a new sweep")
    return begun


def _check_images(plan: sweep.Sweep, folder: Path) -> None:
    """Raise an error for missing data or too many samples before anything is written."""
    with refused():
        for images in plan.images:
            Experiment(plan.base.shown(images), folder)


def _train(plan: sweep.Sweep, folder: Path, options: argparse.Namespace) -> None:
    """Train or resume, print the table and the chosen setting, and draw. Settings are checked before any write."""
    with threads_for(options, 1), pool(options.jobs, dask=options.dask, blas_threads=1) as workers:
        if not options.resume:
            _check_images(plan, folder)
            sweep.begin(plan, folder, workers)
        where = f"on {options.dask}" if options.dask else "at a time"
        networks = len(plan.students) * plan.base.seeds
        print(f"{networks} students, {len(plan.settings)} settings, {workers.count} {where}, in {folder}/", flush=True)
        with Progress(quiet=options.quiet) as progress:
            records = sweep.run_sweep(plan, folder, workers, progress)
    print(f"\n{selection.report(plan, records)}\n")
    what = "All numbers"
    if not options.no_pictures:
        from ..report import html, plots, run_plots

        plots.save(run_plots.of_sweep(plan, records)[0], folder / "sweep.png")
        html.write(folder)
        what = "Numbers, the picture and the report"
    print(where_to_look(what, folder))
