"""Run a study over seeds, and save its networks and its numbers (JSON and CSV) in a folder.

Seeds are independent, so several can run at the same time, in processes that share the cores. Every network's file is
also the checkpoint of its training, so an interrupted study is continued by running it again.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..checkpoint import write_atomically
from ..checks import check_choice, check_count
from ..data import Data, load_data
from ..errors import CheckpointError
from ..experiments.environment import machine, provenance
from ..experiments.files import make_folder, read_json, write_json
from ..experiments.progress import Notify, epoch_words, silent
from ..metrics import History
from ..scale.pool import pool
from .lab import Lab
from .study import Study, judge

COMMITTED = Path(__file__).parent / "results"  # numbers of full runs, part of the package


@dataclass(frozen=True)
class Plan:
    """How a study is run.

    Parameters
    ----------
    seeds : int
        Number of repetitions with different random numbers.
    device : str
        "cpu" or "cuda".
    quick : bool
        Use the study's short protocol instead of the full one.
    validation : bool
        Train without the validation images and evaluate on them, to choose settings.
    jobs : int
        Number of seeds to run at the same time, each in a process with its share of the cores.
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
    study: Study, folder: Path, plan: Plan, *, data: Data | None = None, protocol: Any = None, notify: Notify = silent
) -> dict[str, Any]:
    """Run a study and write folder/NAME.json and .csv after each seed; returns the content of the JSON.

    Seeds that are in the JSON already are not run again, so seeds can be run on different days and machines.
    CheckpointError if the file belongs to another plan or protocol.

    Parameters
    ----------
    study : Study
        The study.
    folder : Path
        Where networks and numbers are kept.
    plan : Plan
        How the study is run.
    data, protocol
        Replacements for the study's own.
    notify : Notify
        Called after each epoch, and after each network. With plan.jobs > 1, each process calls a copy of it.
    """
    make_folder(folder)
    protocol = protocol or protocol_of(study, plan)
    content = begun(study, folder, plan, protocol)
    seeds = [seed for seed in range(plan.seeds) if seed not in content["seeds"]]
    tasks = [(study, seed, folder, plan, data, protocol, notify) for seed in seeds]
    with pool(plan.jobs) as workers:
        for result in workers.as_completed(_one_seed, tasks):
            content = {**with_seed(content, *result), **provenance()}
            content["rows"] = judge(study, content["values"])
            write(study, folder, content)
    return content


def begun(study: Study, folder: Path, plan: Plan, protocol: Any) -> dict[str, Any]:
    """The content of folder/NAME.json so far, or a content without seeds if there is no such file."""
    path, kind = folder / f"{study.name}.json", {"plan": asdict(plan), "protocol": plain(asdict(protocol))}
    if not path.exists():
        lists: dict[str, Any] = {"seeds": [], "values": {}, "seconds": [], "machines": []}
        return {"study": study.name, **provenance(), **kind, "rows": [], **lists}
    content = read(path)
    for name in ("device", "quick", "validation"):
        if content["plan"][name] != kind["plan"][name]:
            raise CheckpointError(f"{path} belongs to another run: {name} was {content['plan'][name]}")
    if content["protocol"] != kind["protocol"]:
        raise CheckpointError(f"{path} belongs to another run: it was made by another protocol")
    return {**content, **kind}


def with_seed(
    content: dict[str, Any], seed: int, measured: dict[str, float], seconds: float, made_on: dict[str, Any]
) -> dict[str, Any]:
    """The content with the numbers of one more seed, sorted by seed."""
    seeds = sorted([*content["seeds"], seed])
    at = seeds.index(seed)
    known = content["values"] or {name: [] for name in measured}
    added = {"seconds": seconds, "machines": made_on}
    lists = {name: [*content[name][:at], value, *content[name][at:]] for name, value in added.items()}
    values = {name: [*known[name][:at], value, *known[name][at:]] for name, value in measured.items()}
    return {**content, **lists, "seeds": seeds, "values": values}


def plain(value: Any) -> Any:
    """A value as it comes back from JSON."""
    return json.loads(json.dumps(value))


def protocol_of(study: Study, plan: Plan) -> Any:
    """The study's protocol for this plan."""
    return study.quick if plan.quick else study.full


def tell(notify: Notify, seed: int, network: str, epochs: int, history: History) -> None:
    """Notify about the progress of a network and its remaining time, and with a line that stays when it is trained."""
    done, seconds = len(history), history.seconds
    words = f"seed {seed}, {network}: {epoch_words(history.rows[-1], epochs)}"
    notify(done, epochs, words, left=seconds / done * (epochs - done))
    if done == epochs:
        notify(done, epochs, f"seed {seed}: {network}, {epochs} epochs, {seconds:.0f} s", stays=True)


def _one_seed(
    study: Study, seed: int, folder: Path, plan: Plan, data: Data | None, protocol: Any, notify: Notify
) -> tuple[int, dict[str, float], float, dict[str, Any]]:
    """Run one seed: returns the seed, its measurements, the training seconds, and the machine."""
    lab = make_lab(study, folder, seed, plan, data, notify)
    measured = study.run(lab, protocol)
    return seed, {name: float(value) for name, value in measured.items()}, lab.seconds(), machine()


def make_lab(
    study: Study, folder: Path, seed: int, plan: Plan, data: Data | None = None, notify: Notify = silent
) -> Lab:
    """The lab of one seed, on the study's data set unless other data are given."""
    data, report = data or load_data(study.data), partial(tell, notify, seed)
    return Lab(data, folder, seed, plan.device, report, plan.validation, study.data)


def write(study: Study, folder: Path, content: dict[str, Any]) -> None:
    """Write the numbers of a study as JSON, and as CSV with a line for each value."""
    write_json(folder / f"{study.name}.json", content)
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(("measure", "seed", "value"))
    for name, numbers in content["values"].items():
        lines.writerows((name, seed, number) for seed, number in enumerate(numbers))
    write_atomically(folder / f"{study.name}.csv", text.getvalue().encode())


def committed(study: Study) -> dict[str, Any] | None:
    """The committed results of a full run of this study; None if there are none yet."""
    path = COMMITTED / f"{study.name}.json"
    return read(path) if path.exists() else None


def read(path: Path) -> dict[str, Any]:
    """The JSON that `run_study` wrote. CheckpointError for any other file."""

    def check(content: dict[str, Any]) -> dict[str, Any]:
        lists = (*content["values"].values(), content["seconds"], content["machines"])
        if not all(len(numbers) == len(content["seeds"]) for numbers in lists):
            raise ValueError("not as many numbers as seeds")
        if not all(name in content["plan"] for name in ("device", "quick", "validation")) or not content["protocol"]:
            raise ValueError("no plan or no protocol")
        return content

    return read_json(path, "the numbers of a study", check)
