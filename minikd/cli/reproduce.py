"""`minikd reproduce`: runs a published experiment, or shows its results, beside the paper's numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from ..backend import get_xp
from ..data import DATASETS
from ..errors import DataError
from ..experiments.progress import silent
from ..reproduce import STUDIES, Plan, Study, committed, run_study, study_table
from ..reproduce.lab import Lab
from ..reproduce.run import make_lab, protocol_of
from .progress import Progress, announce
from .shared import AND_OPTIONS, UsageError, refused, resumable, run_folder, threads_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 80


def run(options: argparse.Namespace) -> None:
    """List the studies, show committed results, or run a study."""
    if options.name is None:
        for flag in ("quick", "validation", "committed", "resume", "out"):
            if getattr(options, flag):
                raise UsageError(f"--{flag} needs the NAME of a study: {', '.join(STUDIES)}")
        _list_studies()
    elif options.committed:
        _show_committed(STUDIES[options.name])
    else:
        seeds = options.seeds if options.seeds is not None else 1 if options.quick else 5
        with refused():
            plan = Plan(seeds, options.device, options.quick, options.validation, options.jobs)
        get_xp(plan.device)  # a missing GPU is an error before anything is written
        with (
            run_folder(options, options.name) as folder,
            threads_for(options, None),
            resumable(f"reproduce {options.name}", folder, AND_OPTIONS),
        ):
            _run_study(STUDIES[options.name], folder, plan, options.quiet)


def _list_studies() -> None:
    """Print each study with its source and the verdicts of the committed results."""
    for study in STUDIES.values():
        known = committed(study)
        print(_heading(study))
        print("no committed results yet\n" if known is None else f"{_verdicts(known)}\n")
    print("minikd reproduce NAME runs a study; --quick runs a version of about a minute.")
    print("minikd reproduce NAME --committed shows the results that come with minikd.")


def _show_committed(study: Study) -> None:
    """Print the results that come with minikd. DataError if there are none yet."""
    known = committed(study)
    if known is None:
        raise DataError(f"there are no committed results of {study.name} yet: run minikd reproduce {study.name}")
    print(f"{_heading(study)}\n\n{_measured(known)}\n\n{study_table(study, known['values'])}")


def _run_study(study: Study, folder: Path, plan: Plan, quiet: bool) -> None:
    """Run a study with a progress line, then print and draw its results."""
    print(_heading(study))
    if plan.quick:
        print(f"QUICK: fewer {noun(study)} and epochs; these numbers say nothing about the paper.")
    print(f"Running {plan.seeds} seed{'s' * (plan.seeds > 1)} in {folder}/", flush=True)
    with Progress(quiet=quiet, log=False) as progress:
        content = run_study(study, folder, plan, notify=progress if plan.jobs == 1 else silent if quiet else announce)
    _draw(study, content, folder, plan)
    print(f"\n{_measured(content)}\n\n{study_table(study, content['values'])}\n")
    print(f"Networks, numbers and the picture are in {folder}/")
    if committed(study) is not None:
        print("\nTo compare, the results that come with minikd:\n")
        _show_committed(study)


def _draw(study: Study, content: dict[str, Any], folder: Path, plan: Plan) -> None:
    from ..report.plots import save

    here = [seed for seed in content["seeds"] if any(folder.glob(f"*-{seed}.safetensors"))]
    lab = make_lab(study, folder, min(here, default=0), plan)
    save(picture(study, content["values"], lab, plan, protocol_of(study, plan)), folder / f"{study.name}.png")


def picture(study: Study, values: dict[str, list[float]], lab: Lab, plan: Plan, protocol: Any) -> Figure:
    """The study's picture with a note about its numbers. `lab` is the first seed's."""
    from ..report.style import new_figure, note, styled

    figure = new_figure(8, 4.5)
    styled(study.draw)(figure, values, lab, protocol)
    if plan.seeds > 1:
        note(figure, f"ours: mean over {plan.seeds} seeds, with its 95 % interval")
    if plan.quick:
        figure.suptitle(f"QUICK: too few {noun(study)} and epochs for a comparison with the paper", color="#D55E00")
    return figure


def noun(study: Study) -> str:
    """The noun for the samples of the study's data set, such as images."""
    return DATASETS[study.data].noun


def _heading(study: Study) -> str:
    return f"{fill(f'{study.name}: {study.title}', WIDTH)}\n{study.source}"


def _measured(content: dict[str, Any]) -> str:
    """A sentence about a run: seeds, samples, training time, machine and date."""
    plan, machines, seeds = content["plan"], content["machines"], len(content["seeds"])
    minutes = sum(content["seconds"]) / seeds / 60
    images = f"{'validation' if plan['validation'] else 'test'} {noun(STUDIES[content['study']])}"
    processors, threads, numpy = (
        " and ".join(dict.fromkeys(str(value) for value in values))
        for values in zip(*((m["processor"], m["threads"], m["versions"]["numpy"]) for m in machines), strict=True)
    )
    return fill(
        f"{'QUICK. ' * plan['quick']}{seeds} seed{'s' * (seeds > 1)}, {plan['jobs']} at a time, "
        f"{images}, {minutes:.1f} minutes of training for each; {processors}, "
        f"BLAS threads: {threads}; NumPy {numpy}; {content['date'][:10]}",
        WIDTH,
    )


def _verdicts(content: dict[str, Any]) -> str:
    """The number of rows with each verdict: "5 seeds: 3 BEATS, 1 MISSES"."""
    verdicts = [row["verdict"] for row in content["rows"] if row["verdict"]]
    return f"{len(content['seeds'])} seeds: " + ", ".join(
        f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts))
    )
