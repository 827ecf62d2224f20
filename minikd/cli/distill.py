"""`minikd distill`: train teachers and students, say how they compare, and draw."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from textwrap import fill

from ..backend import get_xp
from ..experiments.config import Config
from ..experiments.distill import Experiment
from ..experiments.environment import suited_threads
from ..experiments.summary import NAMES, Trained, score_table, verdict
from ..experiments.text import dashed
from ..scale.mpi import neighbours, world
from ..scale.pool import pool
from ..scale.processes import Processes
from .progress import Progress
from .shared import UsageError, new_folder, refused, stopped, threads_for


def run(options: argparse.Namespace) -> None:
    """Do what was asked for."""
    processes = Processes(world())
    config, folder = processes.from_first(lambda: _settle(options))
    with threads_for(options, suited_threads(config.data, neighbours())):
        processes.choose_gpu(get_xp(config.device))  # a missing GPU is an error before anything is written
        experiment = Experiment(config, folder, processes=processes)
        if not options.resume:
            processes.from_first(lambda: config.write(folder))
        how = f"method {config.method}"
        if config.method == "kd":
            how = f"T = {config.temperature:g}, soft weight {config.soft_weight:g}"
        student = dashed(config.student, "without hidden layers")
        print(
            f"{config.data}: teacher {experiment.teacher_words}, student {student}, "
            f"{how}, seeds {config.seeds}, in {folder}/"
        )
        with stopped(f"minikd distill --resume --out {folder}"):
            with Progress(quiet=options.quiet or not processes.first) as progress:
                experiment.notify = progress
                done = experiment.run()
            print(f"\n{score_table(done)}\n\n{fill(verdict(done), 80)}\n")
            if processes.first:
                _draw(experiment, done)
    print(f"Networks, numbers and pictures are in {folder}/\nTo look at them: minikd explore {folder}")


def _settle(options: argparse.Namespace) -> tuple[Config, Path]:
    """The settings and the folder of the run that was asked for."""
    given = {f.name: getattr(options, f.name) for f in fields(Config) if getattr(options, f.name) is not None}
    if options.resume:
        folder = new_folder(options, "")
        config = Config.read(folder)
        for name, value in given.items():
            if getattr(config, name) != value:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{folder} was started with another {flag}: leave it out, or start a new run")
        return config, folder
    if options.teacher_from is not None and {"teacher", "teacher_epochs", "teacher_lr"} & set(given):
        raise UsageError(
            "--teacher-from brings a trained teacher: leave out the --teacher flags that say how to train one"
        )
    if given.get("method", "kd") != "kd" and {"temperature", "soft_weight"} & set(given):
        raise UsageError("--temperature and --soft-weight are options of --method kd: the others keep their defaults")
    with refused():
        config = Config.for_data(**given)
    return config, new_folder(options, config.data, "go on")


def _draw(experiment: Experiment, done: list[Trained]) -> None:
    """The pictures of a run, and on another core its report; what looks at single networks takes the first seed's."""
    from ..report import html, plots, run_plots

    first = {NAMES[t.kind]: t.model for t in done if t.seed == 0 and hasattr(t.model, "predict")}
    some = {name: model for name, model in first.items() if name != NAMES["smoothed"]}
    with pool(1, isolated=True) as workers:
        report = workers.as_completed(html.write, [(experiment.folder,)])
        for name, figure in (
            ("learning-curves", run_plots.learning_curves(done, NAMES)),
            ("dark-knowledge", run_plots.dark_knowledge(some, experiment.data)),
            ("confusion", run_plots.confusions(some, experiment.data)),
            ("reliability", run_plots.reliabilities(first, experiment.data)),
        ):
            plots.save(figure, experiment.folder / f"{name}.png")
        list(report)  # wait for it
