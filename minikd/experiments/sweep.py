"""Which temperature, soft weight and student? `minikd sweep` trains every combination, one student per seed.

With several numbers of images, it measures instead how much a teacher helps at each number of samples. Then students on
labels alone and with label smoothing are also trained for each number.

First the teacher of each seed is trained, and then the students, in any order and many at the same time. They run on
the cores of this machine (one process per core, one BLAS thread each, so that none waits for another), or on a Dask
cluster. A student depends only on its setting and its seed, so the place and time of its training change nothing. If a
worker dies, only its unfinished student is trained again elsewhere.

All results are in one file, sweep.jsonl: one line for the settings, then one line per network, in the order in which
they finished. Only the main process writes the file, a whole line at a time, and waits until the line is on the disk. A
sweep that was killed continues from that file (--resume): a network with a line is not trained again, a truncated line
counts as missing, and an unfinished network continues from its last epoch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, replace
from inspect import signature
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoint import write_atomically
from ..checks import check_choice
from ..errors import CheckpointError, DivergedError, MinikdError
from ..methods import METHODS
from ..scale.pool import Workers
from .config import Config
from .distill import experiment_in, teacher_seeds, tidy
from .environment import machine
from .files import DAMAGED, check_numbers, make_folder
from .progress import Notify, clock, silent
from .records import Record, scores_of

FILE = "sweep.jsonl"
SWEPT: dict[str, tuple[float, ...]] = {"temperature": (1.0, 2.0, 4.0, 8.0, 20.0), "soft_weight": (0.5, 0.9, 1.0)}
CONTROLS = ("labels", "smoothed")  # also trained if several numbers of images are swept


class Setting(NamedTuple):
    """One combination. None is a temperature or soft weight that the method does not have, or all images."""

    student: tuple[int, ...]
    temperature: float | None
    soft_weight: float | None
    images: int | None


@dataclass(frozen=True)
class Sweep:
    """A sweep: every combination of these students, temperatures, soft weights and numbers of images.

    The other settings are those of `base`, except the number of epochs (see `Config.shown`). A method without
    temperature or soft weight has (None,) for it.
    """

    base: Config
    student: tuple[tuple[int, ...], ...]
    temperature: tuple[float | None, ...]
    soft_weight: tuple[float | None, ...]
    images: tuple[int | None, ...]

    @classmethod
    def plan(cls, data: str = "digits", **given: Any) -> Sweep:
        """The recipe of a data set with the given changes: lists for what is swept, other arguments as for Config.

        ValueError and TypeError, which begin with the name of the argument, for invalid values.
        """
        check_choice("method", method := given.get("method", "kd"), METHODS)
        options = signature(METHODS[method].train).parameters
        images = given.pop("images", None)
        if images is not None and len(images) == 1:
            given["images"] = images[0]
        students = given.pop("student", None)
        lists: dict[str, Any] = {name: given.pop(name) for name in SWEPT if name in given}
        base = Config.for_data(data, **given)
        lists["student"] = (base.student,) if students is None else students
        lists["images"] = (base.images,) if images is None or len(images) == 1 else images
        several = len(lists["images"]) > 1
        if several and len(lists["student"]) > 1:
            raise ValueError(f"student must be one where several images are swept, got {len(lists['student'])}")
        for name, default in SWEPT.items():
            if name not in options and name in lists:
                raise ValueError(f"{name} is no option of the method {method}: leave it out")
            if name not in lists:
                lists[name] = (None,) if name not in options else (getattr(base, name),) if several else default
        for name, values in lists.items():
            if not values:
                raise ValueError(f"{name} must name at least one value, got none")
            for value in values:  # Config has the checks
                base.shown(value) if name == "images" else replace(base, **({} if value is None else {name: value}))
            lists[name] = tuple(dict.fromkeys(values))
        return cls(base, **lists)

    @property
    def settings(self) -> list[Setting]:
        """Every combination."""
        return [Setting(*values) for values in product(self.student, self.temperature, self.soft_weight, self.images)]

    @property
    def controls(self) -> list[tuple[str, Setting]]:
        """The students without a teacher: kind, and a setting without temperature and soft weight."""
        if len(self.images) == 1:
            return []
        return [(kind, Setting(self.student[0], None, None, images)) for images in self.images for kind in CONTROLS]

    @property
    def students(self) -> list[tuple[str, Setting]]:
        """Kind and setting of each student of a seed: the controls, and a student for every combination."""
        return [*self.controls, *(("student", setting) for setting in self.settings)]

    def header(self) -> Record:
        """The first line of the file."""
        return {"sweep": {"base": asdict(self.base), **{name: list(getattr(self, name)) for name in Setting._fields}}}

    @classmethod
    def from_header(cls, header: Record) -> Sweep:
        """The sweep with this first line. KeyError, ValueError, TypeError or AttributeError if it is invalid."""
        lists = {name: tuple(header["sweep"][name]) for name in Setting._fields}
        lists["student"] = tuple(tuple(widths) for widths in lists["student"])
        return cls(Config.from_json(header["sweep"]["base"]), **lists)


# ---- the file of results ----------------------------------------------------------------------------------------


def read(folder: Path) -> tuple[Sweep, list[Record]]:
    """The settings and the records in a sweep's folder. A truncated last line is skipped.

    CheckpointError if the file is missing or damaged.
    """
    try:
        *lines, _ = (folder / FILE).read_bytes().split(b"\n")  # the last piece is empty, or a truncated line
    except OSError as error:
        raise CheckpointError(f"{folder} is not the folder of a sweep: it has no {FILE}") from error
    records: list[Record] = []
    try:
        sweep = Sweep.from_header(json.loads(lines[0]))
        known = set(sweep.students)
        for line in lines[1:]:
            records.append(_checked(json.loads(line), known))
    except DAMAGED as error:
        raise CheckpointError(f"{folder / FILE} is damaged near line {len(records) + 2}: {error!r}") from error
    return sweep, records


def _checked(record: Record, known: set[tuple[str, Setting]]) -> Record:
    """Check that a record is complete, and of a teacher or of one of the `known` kinds and settings."""
    if record["model"] != "teacher" and (record["model"], setting_of(record)) not in known:
        raise ValueError("a student that the settings in the first line do not have")
    check_numbers(record, ("seed",) if record.get("failed") else ("seed", "val_accuracy", "val_nll", "accuracy", "nll"))
    return record


def setting_of(record: Record) -> Setting:
    """The setting of a student's record."""
    return Setting(**{name: record[name] for name in Setting._fields})._replace(student=tuple(record["student"]))


@contextmanager
def _file(folder: Path) -> Iterator[int]:
    """The file of results, open for appending after its last whole line."""
    path = folder / FILE
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        os.truncate(descriptor, path.read_bytes().rfind(b"\n") + 1)
        yield descriptor
    finally:
        os.close(descriptor)


def _append(descriptor: int, record: Record) -> None:
    """Append one line; it is on the disk when this returns."""
    line = json.dumps(record, allow_nan=False).encode() + b"\n"
    try:
        if os.write(descriptor, line) < len(line):
            raise OSError(28, "the disk is full")
        os.fsync(descriptor)
    except OSError as error:
        raise CheckpointError(f"cannot write {FILE}: {error.strerror}; its earlier lines are kept") from error


# ---- training ---------------------------------------------------------------------------------------------------


def train_network(base: Config, folder: Path, kind: str, setting: Setting | None, seed: int) -> Record:
    """Train one network, or load it if it is trained already: a teacher, a control or a student of a setting."""
    if not folder.is_dir():
        raise CheckpointError(f"a worker does not see {folder}: all machines of a cluster must share the folder")
    experiment = copy(experiment_in(folder, base))
    record: Record = {"model": kind, "seed": seed, **(setting._asdict() if setting else {})}
    try:
        trained = experiment.train_teacher(seed)  # a student's teacher is trained already: this loads it
        if setting is not None:
            teacher, name = trained.model, _name(kind, setting)
            experiment.config = replace(base.shown(setting.images), student=setting.student)
            if kind in CONTROLS:
                trained = experiment.train_student(kind, seed, teacher, name)
            else:
                options = {option: record[option] for option in SWEPT if record[option] is not None}
                trained = experiment.teach(base.method, seed, teacher, name, **options)
    except DivergedError as error:  # a setting that cannot be trained is also a result
        return {**record, "failed": str(error)}
    record |= {"seconds": trained.history.seconds, "parameters": trained.model.num_params}
    return {**record, **scores_of(trained, experiment.data)}


def _name(kind: str, setting: Setting) -> str:
    """The name of a student's file, before its seed."""
    student, *rest = setting
    parts = (f"{letter}{value}" for letter, value in zip("Twn", rest, strict=True) if value is not None)
    return "-".join((kind, "x".join(map(str, student)) or "0", *parts))


def run_sweep(sweep: Sweep, folder: Path, workers: Workers, notify: Notify = silent) -> list[Record]:
    """Train every network without a line in the file of results, which must exist; returns all records.

    `notify` is called with the number of trained networks and, at the end, with the number of students per minute.
    """
    folder = folder.resolve()  # a worker may have another working directory
    with _file(folder) as descriptor:
        tidy(folder)
        _, records = read(folder)
        have = {(r["model"], setting_of(r), r["seed"]) for r in records if r["model"] != "teacher"}
        students = [(*k, seed) for seed in range(sweep.base.seeds) for k in sweep.students if (*k, seed) not in have]
        teachers = _teachers(sweep, folder, records, {seed for *_, seed in students})
        done, total = 0, len(teachers) + len(students)
        rounds: list[Any] = [[("teacher", None, seed) for seed in teachers], students]
        for networks in rounds:
            started = time.monotonic()
            tasks = [(sweep.base, folder, *network) for network in networks]
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
    """The seeds of the teachers that must be trained for these seeds' students; a committee has several per seed."""
    have = {
        r["seed"] for r in records if r["model"] == "teacher" and (folder / f"teacher-{r['seed']}.safetensors").exists()
    }
    return [seed for seed in teacher_seeds(sweep.base.method, sorted(seeds)) if seed not in have]


def begin(sweep: Sweep, folder: Path, workers: Workers) -> None:
    """Make the folder and the file with its first line, which also describes the machine of the workers."""
    make_folder(folder)
    header = {**sweep.header(), "machine": workers.map(machine, [()])[0]}
    write_atomically(folder / FILE, json.dumps(header).encode() + b"\n")
