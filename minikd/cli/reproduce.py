"""What `minikd reproduce` prints."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

from ..backend import get_xp
from ..errors import DataError
from ..reproduce import STUDIES
from ..reproduce.run import Plan, committed, run_study, tell
from ..reproduce.study import table
from .progress import Progress

WIDTH = 80


def list_studies() -> None:
    """Each study, where it is from, and what came of it."""
    for study in STUDIES.values():
        known = committed(study)
        print(fill(f"{study.name}: {study.title}", WIDTH))
        print(study.source)
        print("no committed results yet\n" if known is None else f"{counts(known)}\n")
    print("minikd reproduce NAME --committed shows the results that come with minikd,")
    print("minikd reproduce NAME --quick runs a minute's version, without it the study.")


def show_committed(name: str) -> None:
    """The results that come with minikd. DataError where there are none yet."""
    study = STUDIES[name]
    known = committed(study)
    if known is None:
        raise DataError(f"there are no committed results of {name} yet: run minikd reproduce {name}")
    print(f"{fill(f'{study.name}: {study.title}', WIDTH)}\n{study.source}\n")
    print(f"{measured(known)}\n\n{table(study, known['values'])}")


def run(name: str, folder: Path, plan: Plan, quiet: bool = False) -> None:
    """Run a study, telling of its progress, and print what came of it."""
    study = STUDIES[name]
    get_xp(plan.device)  # a missing GPU is an error before anything is written
    print(f"{fill(f'{study.name}: {study.title}', WIDTH)}\n{study.source}")
    if plan.quick:
        print("QUICK: fewer images and epochs; these numbers say nothing about the paper.")
    print(f"Running {plan.seeds} seed{'s' * (plan.seeds > 1)} in {folder}/", flush=True)
    with Progress(quiet=quiet, log=False) as progress:
        content = run_study(study, folder, plan, notify=partial(tell, progress), quiet=quiet)
    print(f"\n{measured(content)}\n\n{table(study, content['values'])}\n")
    print(f"Networks, numbers and the picture are in {folder}/")
    if committed(study) is not None:
        print("\nTo compare, the results that come with minikd:\n")
        show_committed(name)


def measured(content: dict[str, Any]) -> str:
    """On what, how often and for how long a study was run."""
    plan, machine = content["plan"], content["machine"]
    minutes = sum(content["seconds"]) / len(content["seconds"]) / 60
    images = "validation images" if plan["validation"] else "test images"
    return fill(
        f"{'QUICK. ' * plan['quick']}{plan['seeds']} seed{'s' * (plan['seeds'] > 1)}, {plan['jobs']} at a time, "
        f"{images}, {minutes:.1f} minutes of training for each; {machine['processor']}, "
        f"BLAS threads: {machine['threads']}; NumPy {machine['versions']['numpy']}; {content['date'][:10]}",
        WIDTH,
    )


def counts(content: dict[str, Any]) -> str:
    """How many rows of a study came to which verdict: "5 seeds: 3 BEATS, 1 MISSES"."""
    verdicts = [row["verdict"] for row in content["rows"] if row["verdict"]]
    return f"{content['plan']['seeds']} seeds: " + ", ".join(
        f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts))
    )
