"""Running a study over seeds, and what is left of it in a folder: networks, and numbers as JSON and CSV.

Each seed is on its own, so several can be run at the same time, in processes that share out the cores. Every
network's file is the checkpoint of its training, so going on with an interrupted study is running it again.
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
    study: Study, folder: Path, plan: Plan, *, data: Data | None = None, protocol: Any = None, notify: Notify = silent
) -> dict[str, Any]:
    """Run a study and write folder/NAME.json and .csv, anew after each seed; returns what is in the JSON.

    Seeds that are in the JSON already are not run again, so that some may be run today and others tomorrow, and on
    another machine. CheckpointError where that file is of another plan or protocol.

    data, protocol   instead of the study's own
    notify           is told after each epoch how many of the network's epochs are done, and of each network that is
                     trained; with plan.jobs > 1 each process calls a copy of it
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
    """What folder/NAME.json holds of this study so far, and with no seed where there is no such file."""
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
    """The content with the numbers of one more seed, in the order of the seeds."""
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
    """The protocol that the plan asks for."""
    return study.quick if plan.quick else study.full


def tell(notify: Notify, seed: int, network: str, epochs: int, history: History) -> None:
    """How far a network is, with the time that is left for it alone; words that stay when it is trained."""
    done, seconds = len(history), history.seconds
    words = f"seed {seed}, {network}: {epoch_words(history.rows[-1], epochs)}"
    notify(done, epochs, words, left=seconds / done * (epochs - done))
    if done == epochs:
        notify(done, epochs, f"seed {seed}: {network}, {epochs} epochs, {seconds:.0f} s", stays=True)


def _one_seed(
    study: Study, seed: int, folder: Path, plan: Plan, data: Data | None, protocol: Any, notify: Notify
) -> tuple[int, dict[str, float], float, dict[str, Any]]:
    """The seed, what the study measures with it, for how many seconds its networks were trained, and on what."""
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
    """The numbers of a study as JSON, and as CSV with a line for each value."""
    write_json(folder / f"{study.name}.json", content)
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

    def check(content: dict[str, Any]) -> dict[str, Any]:
        lists = (*content["values"].values(), content["seconds"], content["machines"])
        if not all(len(numbers) == len(content["seeds"]) for numbers in lists):
            raise ValueError("not as many numbers as seeds")
        if not all(name in content["plan"] for name in ("device", "quick", "validation")) or not content["protocol"]:
            raise ValueError("no plan or no protocol")
        return content

    return read_json(path, "the numbers of a study", check)
