"""Which temperature, soft weight and student? `minikd sweep` trains every combination, a student for each seed.

First the teacher of each seed is trained, once, and then the students, in any order and many at a time: on the cores
of this machine (one process a core, one BLAS thread in each, so that none waits for another), or on a Dask cluster. A
student depends on its setting and its seed alone, so where and when it is trained changes nothing, and a worker that
dies costs no more than the student in its hands.

All results are in one file, sweep.jsonl: a line for the settings, then one for each network, in the order in which
they came. Only the process that was started writes it, a whole line at a time, and waits until it is on the disk. So a
sweep that was killed goes on from that file (--resume): what has a line is not trained again, a line that was cut
short counts as missing, and a network that was half trained goes on from its last epoch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from inspect import signature
from itertools import product
from pathlib import Path
from typing import Any

from ..checkpoint import write_atomically
from ..checks import check_choice
from ..errors import CheckpointError, DivergedError, MinikdError
from ..methods import METHODS
from ..metrics import evaluate
from ..scale.pool import Workers
from .config import Config
from .distill import COMMITTEE, Experiment, tidy
from .environment import machine
from .files import DAMAGED, make_folder
from .progress import Notify, clock, silent

FILE = "sweep.jsonl"
SWEPT: dict[str, tuple[float, ...]] = {"temperature": (1.0, 2.0, 4.0, 8.0, 20.0), "soft_weight": (0.5, 0.9, 1.0)}
Setting = tuple[tuple[int, ...], float | None, float | None]  # student, temperature, soft weight; None: not an option
Record = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """What is swept: every combination of these students, temperatures and soft weights, the rest as in `base`.

    A method without temperature or soft weight has (None,) for it.
    """

    base: Config
    student: tuple[tuple[int, ...], ...]
    temperature: tuple[float | None, ...]
    soft_weight: tuple[float | None, ...]

    @classmethod
    def plan(cls, data: str = "digits", **given: Any) -> Sweep:
        """The recipe of a data set, changed by what is given: lists for what is swept, the rest as for Config.

        ValueError and TypeError, which begin with the name of the argument, for what cannot be.
        """
        check_choice("method", method := given.get("method", "kd"), METHODS)
        options = signature(METHODS[method].train).parameters
        lists: dict[str, tuple[Any, ...]] = {}
        for name, default in SWEPT.items():
            if name not in options and name in given:
                raise ValueError(f"{name} is no option of the method {method}: leave it out")
            lists[name] = given.pop(name, default) if name in options else (None,)
        students = given.pop("student", None)
        base = Config.for_data(data, **given)
        lists["student"] = (base.student,) if students is None else students
        for name, values in lists.items():
            if not values:
                raise ValueError(f"{name} must name at least one value, got none")
            for value in values:  # Config has the checks
                replace(base, **({} if value is None else {name: value}))
            lists[name] = tuple(dict.fromkeys(values))
        return cls(base, **lists)

    @property
    def settings(self) -> list[Setting]:
        """Every combination."""
        return list(product(self.student, self.temperature, self.soft_weight))

    def header(self) -> Record:
        """The first line of the file. Settings that are swept are lists."""
        lists = {name: list(getattr(self, name)) for name in ("student", *SWEPT)}
        return {"sweep": {**asdict(self.base), **lists}}

    @classmethod
    def from_header(cls, header: Record) -> Sweep:
        """The sweep whose first line this is. KeyError, ValueError, TypeError, AttributeError where it is none."""
        values = dict(header["sweep"])
        lists: dict[str, Any] = {name: tuple(values.pop(name)) for name in SWEPT}
        students = tuple(tuple(widths) for widths in values.pop("student"))
        return cls(Config.from_json(values), students, **lists)


# ---- the file of results ----------------------------------------------------------------------------------------


def read(folder: Path) -> tuple[Sweep, list[Record]]:
    """The settings and the records in a sweep's folder; a line that was cut short at the end is passed over.

    CheckpointError for a file that is missing or damaged.
    """
    try:
        *lines, _ = (folder / FILE).read_bytes().split(b"\n")  # behind the last line break is nothing, or half a line
    except OSError as error:
        raise CheckpointError(f"{folder} is not the folder of a sweep: it has no {FILE}") from error
    records: list[Record] = []
    try:
        sweep = Sweep.from_header(json.loads(lines[0]))
        for line in lines[1:]:
            records.append(_checked(json.loads(line)))
    except DAMAGED as error:
        raise CheckpointError(f"{folder / FILE} is damaged near line {len(records) + 2}: {error!r}") from error
    return sweep, records


def _checked(record: Record) -> Record:
    """A record that has what every record must have."""
    if record["model"] == "student":
        setting_of(record)
    record["seed"] + 0, record.get("failed") or record["val_accuracy"] + record["val_nll"]
    return record


def setting_of(record: Record) -> Setting:
    """The setting of a student's record."""
    return tuple(record["student"]), record["temperature"], record["soft_weight"]


@contextmanager
def _file(folder: Path) -> Iterator[int]:
    """The file of results, for this process alone, ready to be written on behind its last whole line."""
    path = folder / FILE
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        if os.name == "posix":  # Windows has no such locks: there nobody keeps two sweeps from writing one file
            import fcntl

            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CheckpointError(f"another sweep is writing {path}: let it end, or stop it") from error
        os.truncate(descriptor, path.read_bytes().rfind(b"\n") + 1)
        yield descriptor
    finally:
        os.close(descriptor)


def _append(descriptor: int, record: Record) -> None:
    """One line, on the disk when this returns."""
    line = json.dumps(record, allow_nan=False).encode() + b"\n"
    try:
        if os.write(descriptor, line) < len(line):
            raise OSError(28, "the disk is full")
        os.fsync(descriptor)
    except OSError as error:
        raise CheckpointError(f"cannot write {FILE}: {error.strerror}; what it held is kept") from error


# ---- training ---------------------------------------------------------------------------------------------------


@lru_cache(1)
def _experiment(base: Config, folder: Path) -> Experiment:
    """One for each process, so that it reads the data once."""
    return Experiment(base, folder)


def train_network(base: Config, folder: Path, seed: int, setting: Setting | None) -> Record:
    """Train one network, or read it where it is trained already: the teacher of a seed, or its student of a setting."""
    if not folder.is_dir():
        raise CheckpointError(f"a worker does not see {folder}: all machines of a cluster must share the folder")
    experiment = copy(_experiment(base, folder))
    record: Record = {"model": "teacher" if setting is None else "student", "seed": seed}
    try:
        if setting is None:
            trained = experiment.train_teacher(seed)
        else:
            student, temperature, soft_weight = setting
            record |= {"student": student, "temperature": temperature, "soft_weight": soft_weight}
            experiment.config = replace(base, student=student)
            options = {name: record[name] for name in SWEPT if record[name] is not None}
            teacher = experiment.train_teacher(seed).model  # trained already: this reads it
            trained = experiment.teach(base.method, seed, teacher, _kind(setting), **options)
    except DivergedError as error:  # a setting that cannot be trained is a result, too
        return {**record, "failed": str(error)}
    validation = evaluate(trained.model, experiment.data.x_val, experiment.data.y_val)
    scores = {"val_accuracy": validation.accuracy, "val_nll": validation.nll, **trained.scores}
    return {**record, "seconds": trained.history.seconds, "parameters": trained.model.num_params, **scores}


def _kind(setting: Setting) -> str:
    """What the file of a student's network is named, before its seed."""
    student, *rest = setting
    parts = (f"{letter}{value}" for letter, value in zip("Tw", rest, strict=True) if value is not None)
    return "-".join(("student", "x".join(map(str, student)) or "0", *parts))


def run_sweep(sweep: Sweep, folder: Path, workers: Workers, notify: Notify = silent) -> list[Record]:
    """Train what has no line yet in the file of results, which must be there; returns all records.

    `notify` is told how many networks are trained, and at the end how many students that was a minute.
    """
    folder = folder.resolve()  # a worker may be elsewhere
    with _file(folder) as descriptor:
        tidy(folder)
        _, records = read(folder)
        have = {(setting_of(r), r["seed"]) for r in records if r["model"] == "student"}
        students = [(s, seed) for seed in range(sweep.base.seeds) for s in sweep.settings if (s, seed) not in have]
        teachers = _teachers(sweep, folder, records, {seed for _, seed in students})
        done, total = 0, len(teachers) + len(students)
        rounds: list[Any] = [[(None, seed) for seed in teachers], students]
        for networks in rounds:
            started = time.monotonic()
            tasks = [(sweep.base, folder, seed, setting) for setting, seed in networks]
            for record in workers.as_completed(train_network, tasks):
                if "failed" in record and record["model"] == "teacher":
                    raise MinikdError(f"the teacher of seed {record['seed'] + 1}: {record['failed']}")
                _append(descriptor, record)
                records.append(record)
                done += 1
                notify(done, total, f"{record['model']} {done} of {total}")
        seconds = time.monotonic() - started
        if students:
            words = f"{len(students)} students in {clock(seconds)}, {60 * len(students) / seconds:.1f} a minute"
            notify(done, total, f"{words}, {workers.count} at a time", stays=True)
    return records


def _teachers(sweep: Sweep, folder: Path, records: list[Record], seeds: set[int]) -> list[int]:
    """The seeds of the teachers that are to be trained for these seeds' students; a committee has several for each."""
    have = {
        r["seed"] for r in records if r["model"] == "teacher" and (folder / f"teacher-{r['seed']}.safetensors").exists()
    }
    wanted = [COMMITTEE * i + seed for seed in sorted(seeds) for i in range(METHODS[sweep.base.method].teachers)]
    return [seed for seed in wanted if seed not in have]


def begin(sweep: Sweep, folder: Path, workers: Workers) -> None:
    """Make the folder, and the file with its first line, which also says what the workers run on."""
    make_folder(folder)
    header = {**sweep.header(), "machine": workers.map(machine, [()])[0]}
    write_atomically(folder / FILE, json.dumps(header).encode() + b"\n")
