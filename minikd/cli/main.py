"""The `minikd` command. Without arguments it does its main job: `minikd distill`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from itertools import count
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from ..scale.mpi import is_first, is_together, job, let_the_first_speak, neighbours, world
from .blas import blas_settings, set_where_unset
from .parser import DATA, DEVICES, STUDIES, command_parser

if TYPE_CHECKING:
    from ..experiments.config import Config
    from ..experiments.distill import Experiment
    from ..experiments.summary import Trained

__all__ = ["DATA", "DEVICES", "STUDIES", "main"]


class UsageError(Exception):
    """The command was asked for something that cannot be."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with 0, 1 (it could not be done), 2 (it was asked wrongly) or 130 (Ctrl-C)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version")):
        given = ["distill", *given]
    options = command_parser().parse_args(given)
    _settle_blas(options)
    if is_together() and options.run != "distill":
        words = "mpiexec runs minikd distill, and no other command: start this one without it"
        sys.exit(_complain(words, 2) if is_first() else 2)
    try:
        with job():
            _run(options)
    except KeyboardInterrupt:
        sys.exit(_complain("stopped", 130))
    except BrokenPipeError:  # the reader of a pipe has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run(options: argparse.Namespace) -> None:
    from ..errors import CheckpointError, DeviceError, MinikdError

    try:
        COMMANDS[options.run](options)
    except (DeviceError, CheckpointError, UsageError) as error:
        sys.exit(_complain(error, 2))
    except MinikdError as error:
        sys.exit(_complain(error, 1))


def _settle_blas(options: argparse.Namespace) -> None:
    """Tell NumPy's BLAS, before it loads, what suits the size of the data (see blas.py)."""
    data = getattr(options, "data", None)
    resumed = getattr(options, "resume", False) and options.out is not None
    if resumed and options.run not in ("course", "sweep"):  # the same bits again
        try:
            data = json.loads((options.out / "config.json").read_text(encoding="utf-8"))["settings"]["data"]
        except (OSError, ValueError, TypeError, KeyError):
            return  # said properly when the run is looked for
    large = data == "mnist" and options.run != "sweep"  # a sweep has a process for each core
    new = set_where_unset(blas_settings(large=large, processes=neighbours()))
    if getattr(options, "verbose", False):
        words = " ".join(f"{name}={value}" for name, value in new.items())
        print(f"minikd: for NumPy's BLAS: {words or 'nothing to set'}", file=sys.stderr)


def _complain(what: object, code: int) -> int:
    let_the_first_speak()
    print(f"minikd: {what}", file=sys.stderr)
    return code


def _distill(options: argparse.Namespace) -> None:
    from ..backend import get_xp
    from ..experiments.config import Config
    from ..experiments.distill import Experiment
    from ..experiments.summary import table, verdict
    from ..scale.processes import Processes

    processes = Processes(world())
    config, folder = processes.from_first(lambda: _settle(options, Config))
    processes.choose_gpu(get_xp(config.device))  # a missing GPU is an error before anything is written
    experiment = Experiment(config, folder, processes=processes)
    if not options.resume:
        processes.from_first(lambda: config.write(folder))
    how = f"method {config.method}"
    if config.method == "kd":
        how = f"T = {config.temperature:g}, soft weight {config.soft_weight:g}"
    print(
        f"{config.data}: teacher {experiment.teacher_words}, student {_dashed(config.student)}, "
        f"{how}, seeds {config.seeds}, in {folder}/"
    )
    try:
        done = _train(experiment, options.quiet or not processes.first)
        print(f"\n{table(done)}\n\n{fill(verdict(done), 80)}\n")
        if processes.first:
            _draw(experiment, done)
    except KeyboardInterrupt:
        sys.exit(_complain(f"stopped, and nothing is lost. To go on: minikd distill --resume --out {folder}", 130))
    print(f"Networks, numbers and pictures are in {folder}/\nTo look at them: minikd explore {folder}")


def _settle(options: argparse.Namespace, config_type: type[Config]) -> tuple[Config, Path]:
    """The settings and the folder of the run that was asked for."""
    given = {f.name: getattr(options, f.name) for f in fields(config_type) if getattr(options, f.name) is not None}
    if options.resume:
        if options.out is None:
            raise UsageError("--resume needs --out, the folder of the run to go on with")
        config = config_type.read(options.out)
        for name, value in given.items():
            if getattr(config, name) != value:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{options.out} was started with another {flag}: leave it out, or start a new run")
        return config, options.out
    if options.teacher_from is not None and {"teacher", "teacher_epochs", "teacher_lr"} & set(given):
        raise UsageError(
            "--teacher-from brings a trained teacher: leave out the --teacher flags that say how to train one"
        )
    if given.get("method", "kd") != "kd" and {"temperature", "soft_weight"} & set(given):
        raise UsageError("--temperature and --soft-weight are options of --method kd: the others keep their defaults")
    try:
        config = config_type.for_data(**given)
    except (ValueError, TypeError) as error:
        name, rest = str(error).split(" ", 1)
        raise UsageError(f"--{name.replace('_', '-')} {rest}") from None
    folder = options.out or _free_folder(config.data)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: choose another --out, or go on with --resume")
    return config, folder


def _free_folder(name: str) -> Path:
    return next(folder for n in count(1) if not (folder := Path("runs") / f"{name}-{n}").exists())


def _dashed(widths: Sequence[int]) -> str:
    return "-".join(str(width) for width in widths) or "without hidden layers"


def _train(experiment: Experiment, quiet: bool) -> list[Trained]:
    from .progress import Progress

    with Progress(experiment.total_epochs, quiet=quiet) as progress:
        experiment.notify = progress.update
        return experiment.run()


def _draw(experiment: Experiment, done: list[Trained]) -> None:
    """The pictures of a run, and its report; what looks at single networks takes the first seed's."""
    from ..experiments.summary import NAMES
    from ..report import html as report
    from ..report import plots
    from ..scale.pool import pool

    first = {NAMES[t.kind]: t.model for t in done if t.seed == 0 and hasattr(t.model, "predict")}
    some = {name: model for name, model in first.items() if name != NAMES["smoothed"]}
    with pool(1, isolated=True) as workers:
        report_written = workers.as_completed(report.write, [(experiment.folder,)])
        for name, figure in (
            ("learning-curves", plots.learning_curves(done, NAMES)),
            ("dark-knowledge", plots.dark_knowledge(some, experiment.data)),
            ("confusion", plots.confusions(some, experiment.data)),
            ("reliability", plots.reliabilities(first, experiment.data)),
        ):
            plots.save(figure, experiment.folder / f"{name}.png")
        list(report_written)


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluate import run_evaluate

    run_evaluate(options)


def _export(options: argparse.Namespace) -> None:
    from .evaluate import run_export

    run_export(options)


def _reproduce(options: argparse.Namespace) -> None:
    from . import reproduce as command

    if options.name is None:
        for flag in ("quick", "validation", "committed", "resume", "out"):
            if getattr(options, flag):
                raise UsageError(f"--{flag} needs the NAME of a study: {', '.join(STUDIES)}")
        command.list_studies()
    elif options.committed:
        command.show_committed(options.name)
    else:
        _run_study(options)


def _run_study(options: argparse.Namespace) -> None:
    from ..reproduce import Plan
    from . import reproduce as command

    if options.seeds is None:
        options.seeds = 1 if options.quick else 5
    try:
        plan = Plan(**{name: getattr(options, name) for name in ("seeds", "device", "quick", "validation", "jobs")})
    except (ValueError, TypeError) as error:
        raise UsageError(f"--{error}") from None
    folder = _study_folder(options, options.name)
    try:
        command.run(options.name, folder, plan, options.quiet)
    except KeyboardInterrupt:
        words = f"minikd reproduce {options.name} --resume --out {folder}, and the options that were given"
        sys.exit(_complain(f"stopped, and nothing is lost. To go on: {words}", 130))


def _compare(options: argparse.Namespace) -> None:
    from ..backend import get_xp
    from ..experiments import compare
    from ..methods import METHODS
    from ..report import html as report

    if options.show is not None:
        content = compare.read(Path(options.show))
    else:
        methods = tuple(METHODS) if options.methods is None else tuple(options.methods.split(","))
        names = ("data", "student", "teacher", "epochs", "seeds", "device")
        given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
        try:
            config = compare.settings_for(**given)
            for method in methods:
                compare.check_choice("methods", method, METHODS)
            compare.check_count("jobs", options.jobs)
        except (ValueError, TypeError) as error:
            raise UsageError(f"--{error}") from None
        get_xp(config.device)
        folder = _study_folder(options, "compare")
        print(f"{len(methods)} methods, {config.seeds} seeds, in {folder}/", flush=True)
        try:
            content = compare.compare(config, methods, folder, options.jobs, options.quiet)
        except KeyboardInterrupt:
            words = f"minikd compare --resume --out {folder}, and the options that were given"
            sys.exit(_complain(f"stopped, and nothing is lost. To go on: {words}", 130))
    print(f"\n{fill(compare.caption(content), 80)}\n\n{compare.table(content)}")
    if options.show is None:
        report.write(folder)
        print(f"\nNetworks, numbers and the picture are in {folder}/\nTo look at them: minikd explore {folder}")


def _sweep(options: argparse.Namespace) -> None:
    from . import sweep as sweep_command

    folder = _study_folder(options, "sweep")
    try:
        plan = sweep_command.settle(options, folder)
    except (ValueError, TypeError) as error:
        name, rest = str(error).split(" ", 1)
        raise UsageError(f"--{name.replace('_', '-')} {rest}") from None
    try:
        sweep_command.run(plan, folder, options)
    except KeyboardInterrupt:
        sys.exit(_complain(f"stopped, and nothing is lost. To go on: minikd sweep --resume --out {folder}", 130))


def _explore(options: argparse.Namespace) -> None:
    from ..report import html as report

    print(report.explore(options.folder, not options.no_open))


def _study_folder(options: argparse.Namespace, name: str) -> Path:
    """The folder of a study or comparison: a new one, or with --resume one that is there."""
    if options.resume and options.out is None:
        raise UsageError("--resume needs --out, the folder of the run to go on with")
    folder: Path = options.out or _free_folder(name)
    if not options.resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: choose another --out, or use its networks with --resume")
    return folder


def _list_data(options: argparse.Namespace) -> None:
    from ..data import DATASETS

    for name, dataset in DATASETS.items():
        print(f"{name:<8}{dataset.summary}\n{'':8}{dataset.licence}; {dataset.source}")


def _list_methods(options: argparse.Namespace) -> None:
    from ..methods import METHODS

    for method in METHODS.values():
        number = re.findall(r"\d{4}\.\d{4,5}", method.source)[0]  # of the first paper
        print(f"{method.name:<16} {method.title:<50} {number:>12}")
    print("\nPapers by their arXiv numbers; each method is derived at the head of its file in\nminikd/methods/.")


def _fetch_data(options: argparse.Namespace) -> None:
    from ..data import fetch

    print(f"{options.name} is in {fetch(options.name)}, checked")


def _course(options: argparse.Namespace) -> None:
    from . import course as command

    sys.exit(command.run(options))


COMMANDS = {
    "distill": _distill,
    "evaluate": _evaluate,
    "export": _export,
    "reproduce": _reproduce,
    "compare": _compare,
    "sweep": _sweep,
    "explore": _explore,
    "list_methods": _list_methods,
    "list_data": _list_data,
    "fetch_data": _fetch_data,
    "course": _course,
}
