"""Running a study over seeds, and what is left of it in a folder: networks, numbers (JSON and CSV) and the picture.

Each seed is on its own, so several can be run at the same time, in processes that share out the cores. Every
network's file is the checkpoint of its training, so going on with an interrupted study is running it again.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from ..checkpoint import write_atomically
from ..checks import check_choice, check_count
from ..cli.progress import Progress, epoch_words
from ..data import Data, load_data
from ..errors import CheckpointError
from ..experiments.environment import machine
from ..metrics import History
from ..report.style import new_figure, note, save, styled
from ..scale.pool import pool
from .lab import Lab
from .study import Study, Values, judge

Notify = Callable[[int, str, int, History], None]  # (seed, network, epochs in all, what happened so far)
COMMITTED = Path(__file__).parent / "results"  # numbers of full runs, which come with the package


@dataclass(frozen=True)
class Plan:
    """How a study is run.

    seeds       how often everything is repeated, with other random numbers
    quick       the study's short protocol instead of the full one
    validation  train on the training images without the last 10,000, and examine on those: for choosing settings
    jobs        seeds at a time, each in a process of its own with its share of the cores
    """

    seeds: int = 5
    device: str = "cpu"
    quick: bool = False
    validation: bool = False
    jobs: int = 1

    def __post_init__(self) -> None:
        check_count("seeds", self.seeds)
        check_count("jobs", self.jobs)
        check_choice("device", self.device, ("cpu", "cuda"))


def run_study(
    study: Study,
    folder: Path,
    plan: Plan,
    *,
    data: Data | None = None,
    protocol: Any = None,
    notify: Notify = lambda *words: None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run a study and write folder/NAME.json, .csv and .png; returns what is in the JSON.

    data, protocol   instead of MNIST and of the study's own protocol (with jobs=1)
    notify           called after each epoch: (seed, network, epochs in all, history); with jobs > 1, each process
                     prints a line for each network that it has finished instead, unless it shall be `quiet`
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the folder {folder}: {error.strerror}") from error
    tasks = [(study, seed, folder, plan) for seed in range(plan.seeds)]
    if plan.jobs == 1:
        done = [_one_seed(*task, data=data, protocol=protocol, notify=notify) for task in tasks]
    else:
        if data is not None or protocol is not None:
            raise ValueError("jobs must be 1 with data or a protocol of your own")
        with pool(plan.jobs) as workers:
            done = workers.map(_named_seed, [(study.name, *task[1:], quiet) for task in tasks])
    values = {name: [measured[name] for measured, _ in done] for name in done[0][0]}
    protocol = protocol or (study.quick if plan.quick else study.full)
    content = {
        "study": study.name,
        "command": shlex.join(["minikd", *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "plan": asdict(plan),
        "protocol": asdict(protocol),
        "machine": machine(),
        "rows": judge(study, values),
        "values": values,
        "seconds": [seconds for _, seconds in done],
    }
    write(study, folder, content)
    figure = new_figure(8, 4.5)
    styled(study.draw)(figure, values, make_lab(folder, 0, plan, data, notify), protocol)
    if plan.seeds > 1:
        note(figure, f"ours: mean over {plan.seeds} seeds, with its 95 % interval")
    if plan.quick:
        figure.suptitle("QUICK: too few images and epochs to say anything about the paper", color="#D55E00")
    save(figure, folder / f"{study.name}.png")
    return content


def _named_seed(name: str, seed: int, folder: Path, plan: Plan, quiet: bool) -> tuple[dict[str, float], float]:
    """A seed in a process of its own: a study cannot travel there, its name can."""
    from . import STUDIES

    return _one_seed(STUDIES[name], seed, folder, plan, notify=partial(tell, Progress(quiet=quiet, line=False)))


def tell(progress: Progress, seed: int, network: str, epochs: int, history: History) -> None:
    """How far a network is, with the time that is left for it alone; a line that stays when it is trained."""
    done, seconds = len(history), history.seconds
    progress.total = epochs
    words = f"seed {seed}, {network}: {epoch_words(history.rows[-1], epochs)}"
    progress.update(done, words, left=seconds / done * (epochs - done))
    if done == epochs:
        progress.say(f"seed {seed}: {network}, {epochs} epochs, {seconds:.0f} s")


def _one_seed(
    study: Study,
    seed: int,
    folder: Path,
    plan: Plan,
    *,
    data: Data | None = None,
    protocol: Any = None,
    notify: Notify = lambda *words: None,
) -> tuple[dict[str, float], float]:
    """What the study measures with one seed, and for how many seconds its networks were trained."""

    lab = make_lab(folder, seed, plan, data, notify)
    measured = study.run(lab, protocol or (study.quick if plan.quick else study.full))
    return {name: float(value) for name, value in measured.items()}, lab.seconds()


def make_lab(folder: Path, seed: int, plan: Plan, data: Data | None, notify: Notify) -> Lab:
    """The lab of one seed, on MNIST unless other data are given."""
    data = data or load_data("mnist")
    if plan.validation:
        data = data._replace(x_val=data.x_val[:0], y_val=data.y_val[:0], x_test=data.x_val, y_test=data.y_val)
    return Lab(data, folder, seed, plan.device, partial(notify, seed))


def write(study: Study, folder: Path, content: dict[str, Any]) -> None:
    """The numbers of a study as JSON, and as CSV with a line for each value."""
    write_atomically(folder / f"{study.name}.json", (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(("measure", "seed", "value"))
    for name, numbers in content["values"].items():
        lines.writerows((name, seed, number) for seed, number in enumerate(numbers))
    write_atomically(folder / f"{study.name}.csv", text.getvalue().encode())


def committed(study: Study) -> dict[str, Any] | None:
    """What a full run of this study gave when it was last committed to minikd; None before the first."""
    path = COMMITTED / f"{study.name}.json"
    return read(path) if path.exists() else None


def read(path: Path) -> dict[str, Any]:
    """The JSON that `run_study` wrote. CheckpointError for a file that is not such a one."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values: Values = content["values"]
        if not all(len(numbers) == content["plan"]["seeds"] for numbers in values.values()):
            raise ValueError("not as many numbers as seeds")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} does not hold the numbers of a study: {error!r}") from error
    return content
