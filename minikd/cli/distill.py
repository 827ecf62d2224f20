"""`minikd distill`: trains teachers and students, prints how they compare, and draws the pictures."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from textwrap import fill

from ..backend import get_xp
from ..experiments.config import Config
from ..experiments.distill import Experiment
from ..experiments.environment import suited_jobs, suited_threads
from ..experiments.made_up import made_up
from ..experiments.summary import ALL, NAMES, Trained, regime, score_table, shown, verdict
from ..experiments.text import dashed
from ..mlp import MLP
from ..scale.mpi import neighbours, world
from ..scale.pool import pool
from ..scale.processes import Processes
from .progress import Progress
from .shared import UsageError, refused, resumable, run_folder, threads_for, where_to_look


def run(options: argparse.Namespace) -> None:
    """Run the experiment, or resume it."""
    processes = Processes(world())
    with ExitStack() as claims:  # the first process holds the run's folder
        config, folder = processes.from_first(lambda: _settle(options, claims))
        with threads_for(options, suited_threads(config.data, neighbours())):
            _run(options, config, folder, processes)
    what = "Networks and numbers" if options.no_pictures else "Networks, numbers and pictures"
    print(where_to_look(what, folder))


def _run(options: argparse.Namespace, config: Config, folder: Path, processes: Processes) -> None:
    processes.choose_gpu(get_xp(config.device))  # a missing GPU is an error before anything is written
    with refused():
        experiment = Experiment(config, folder, processes=processes)
        jobs = suited_jobs(config.data, config.device, options.jobs) if processes.size == 1 else 1
    if not options.resume:
        processes.from_first(lambda: config.write(folder))
    how = f"method {config.method}"
    if config.method == "kd":
        how = f"T = {config.temperature:g}, soft weight {config.soft_weight:g}"
    student = dashed(config.student, "without hidden layers")
    words = f"{config.data}: teacher {experiment.teacher_words}, student {student} on {shown(config)}, "
    words += f"{how}, seeds {config.seeds}, in {folder}/"
    with resumable("distill", folder):
        print(fill(words, 80, break_long_words=False, break_on_hyphens=False), flush=True)
        with (
            Progress(quiet=options.quiet or not processes.first) as progress,
            pool(jobs, blas_threads=suited_threads(config.data, jobs), hear=experiment.hear) as workers,
        ):
            experiment.notify = progress
            done = experiment.run(workers)
        print(f"\n{score_table(done)}\n\n{verdict(done)}\n")
        print(f"{fill(regime(config, experiment.data, done), 80)}\n")
        first = {NAMES[t.kind]: t.model for t in done if t.seed == 0 and t.kind in ("teacher", "labels", "distilled")}
        if config.data == "words" and all(isinstance(model, MLP) for model in first.values()):
            shown_words = set(experiment.data.x_train.word[experiment.shown(0)].tolist())
            print(f"Words of their own, * marks real ones:\n\n{made_up(first, shown_words)}\n")
        if processes.first and not options.no_pictures:
            _draw(experiment, done)


def _settle(options: argparse.Namespace, claims: ExitStack) -> tuple[Config, Path]:
    """The settings and the folder of the run; `claims` keeps the folder locked for this process."""
    names = [f.name for f in fields(Config) if hasattr(options, f.name)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.images is not None:
        (given["images"],) = options.images  # None for all
    if options.resume:
        folder = claims.enter_context(run_folder(options, ""))
        config = Config.read(folder)
        for name, value in given.items():
            if getattr(config, name) != value:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{folder} was started with another {flag}: leave it out, or start a new run")
        return config, folder
    if options.teacher_from is not None and {"teacher", "teacher_epochs", "teacher_lr"} & set(given):
        raise UsageError("--teacher-from gives a trained teacher: leave out --teacher, --teacher-epochs, --teacher-lr")
    if given.get("method", "kd") != "kd" and {"temperature", "soft_weight"} & set(given):
        raise UsageError("--temperature and --soft-weight are options of --method kd: the others keep their defaults")
    with refused():
        config = Config.for_data(**given)
    return config, claims.enter_context(run_folder(options, config.data, "go on"))


def _draw(experiment: Experiment, done: list[Trained]) -> None:
    """Draw the predictions of the first seed's networks for single images, and write the report.

    One process does both, because a second one would take longer to import matplotlib than to draw.
    """
    from ..report import html, plots, run_plots

    first = [t for t in done if t.seed == 0 and t.kind not in ("smoothed", ALL) and hasattr(t.model, "predict")]
    what = shown(experiment.config, experiment.data.n_train)
    figure = run_plots.dark_knowledge({NAMES[t.kind]: t.model for t in first}, experiment.data, shown=what)
    plots.save(figure, experiment.folder / "dark-knowledge.png")
    html.write(experiment.folder)
