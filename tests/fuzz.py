"""Damage files in every way and read them: whatever is wrong must be a MinikdError that names the file.

    python tests/fuzz.py --rounds 500

A round takes each kind of file in READERS, damages a copy (bytes that are changed, cut off, doubled or put in; and in
JSON, CSV and lines of JSON values that are missing, of another type, not finite or too many), and reads it as minikd
does. Prints the damage of each fault, so that it can be seen again with --seed, and at the end the counts; the exit
code is 1 where a file was refused in another way, or took too long.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SECONDS = 20.0  # in which any file must be read or refused
STRANGE: tuple[Any, ...] = (None, -1, 0, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x", [], {}, [[]], True)


class Fault(NamedTuple):
    """A damaged file that was not refused as it should be."""

    kind: str
    damage: str
    said: str


def damaged_bytes(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """The content with one damage, and which."""
    at, n = rng.randrange(len(content) + 1), rng.choice((1, 2, 7, 64, 1000))
    if rng.random() < 0.5:
        at = min(at, rng.randrange(400))  # headers stand at the front
    how = rng.choice(("change", "cut", "put in", "take out", "double", "zero"))
    noise = bytes(rng.randrange(256) for _ in range(n))
    new = {
        "change": content[:at] + noise + content[at + n :],
        "cut": content[:at],
        "put in": content[:at] + noise + content[at:],
        "take out": content[:at] + content[at + n :],
        "double": content[:at] + content[at : at + n] + content[at:],
        "zero": content[:at] + bytes(n) + content[at + n :],
    }[how]
    return new, f"{how} {n} bytes at {at}"


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, v in inner for p in places(v, (*path, key)))]


def damaged_value(value: Any, rng: random.Random) -> tuple[Any, str]:
    """A JSON value with one place in it that is missing, strange, or there twice, and which."""
    value = copy.deepcopy(value)
    path = rng.choice(places(value)[1:] or [()])
    if not path:
        return rng.choice(STRANGE), "all of it"
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    how = rng.choice(("missing", "strange", "renamed", "longer"))
    if how == "missing":
        del parent[path[-1]]
    elif how == "renamed" and isinstance(parent, dict):
        parent[f"{path[-1]}_"] = parent.pop(path[-1])
    elif how == "longer" and isinstance(parent[path[-1]], list) and parent[path[-1]]:
        parent[path[-1]].append(parent[path[-1]][0])
    else:
        parent[path[-1]] = rng.choice(STRANGE)
        how = f"strange: {str(parent[path[-1]])[:20]}"
    return value, f"{'.'.join(map(str, path))} {how}"


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file in place; returns how."""
    content = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.8:
        value, how = damaged_value(json.loads(content), rng)
        new = json.dumps(value).encode()
    elif path.suffix == ".jsonl" and rng.random() < 0.8:
        lines = content.splitlines()
        i = rng.randrange(len(lines))
        value, how = damaged_value(json.loads(lines[i]), rng)
        how = f"line {i + 1}: {how}"
        new = b"\n".join([*lines[:i], json.dumps(value).encode(), *lines[i + 1 :]]) + b"\n"
    elif path.suffix == ".csv" and rng.random() < 0.8:
        rows = [line.split(b",") for line in content.splitlines()]
        i = rng.choice((0, rng.randrange(len(rows))))
        j = rng.randrange(len(rows[i]))
        rows[i][j : j + 1] = rng.choice(([], [b"x"], [b"", b"1"], [b"nan"], [b"1e400"], [b"-5"]))
        new, how = b"\n".join(b",".join(row) for row in rows) + b"\n", f"row {i + 1}, column {j + 1}"
    else:
        new, how = damaged_bytes(content, rng)
    path.write_bytes(new)
    return f"{path.name}: {how}"


# ---- what is damaged, and how it is read -------------------------------------------------------------------------


def make_all(base: Path) -> None:
    """A small run, comparison and sweep, teachers of each kind, and a data set as it is downloaded."""
    from minikd import MLP, Adam, cross_entropy, fit, load_data
    from minikd.cli.main import main
    from minikd.exchange.export import export

    small = ("--epochs", "2", "--seeds", "2", "--student", "4", "--teacher", "5", "-q", "--jobs", "1")
    for command, more in (
        ("distill", ()),
        ("compare", ("--methods", "kd", "--tuning-seeds", "1", "--images", "50")),
        ("sweep", ("--temperature", "2,4", "--soft-weight", "0.5")),
    ):
        main([command, *small, *more, "--out", str(base / command)])
    data, teachers = load_data("digits"), base / "teachers"
    teachers.mkdir()
    model = MLP((64, 8, 10), seed=1)
    fit(model, data.x_train, data.y_train, loss=cross_entropy, epochs=1, checkpoint=teachers / "run.safetensors",
        optimizer=Adam(model))  # fmt: skip
    np.save(teachers / "answers.npy", model.predict(data.x_train))
    export(model, teachers / "torch.safetensors", "pytorch")
    try:
        export(model, teachers / "network.onnx", "onnx")
    except Exception as error:  # onnx is an extra
        print(f"no ONNX: {error}", file=sys.stderr)


def resume(path: Path) -> None:
    """Go on with the training in a checkpoint."""
    from minikd import MLP, Adam, cross_entropy, fit, load_data

    data, model = load_data("digits"), MLP((64, 8, 10), seed=1)
    fit(model, data.x_train, data.y_train, loss=cross_entropy, epochs=1, checkpoint=path, resume=True,
        optimizer=Adam(model))  # fmt: skip


def read_run(path: Path) -> None:
    """What --resume reads of the folder of a run, and what makes its report."""
    from minikd.experiments import compare, sweep
    from minikd.experiments.config import Config
    from minikd.report import html

    folder = path.parent
    if (folder / "config.json").exists():
        Config.read(folder)
    if folder.name == "compare":
        compare.read(folder / "compare.json")
    if folder.name == "sweep":
        sweep.read(folder)
    html.build(folder)


def read_teacher_file(path: Path) -> None:
    """A file that --teacher-from names."""
    from minikd import load_data
    from minikd.exchange.teachers import Answers, read_teacher

    teacher = read_teacher(path, activation="relu" if path.name == "torch.safetensors" else None)
    if not isinstance(teacher, Answers):
        teacher.predict(load_data("digits").x_test[:50])


READERS: dict[str, Callable[[Path], None]] = {
    "distill/metrics.json": read_run,
    "distill/config.json": read_run,
    "distill/history.csv": read_run,
    "distill/distilled-0.safetensors": read_run,
    "compare/compare.json": read_run,
    "sweep/sweep.jsonl": read_run,
    "teachers/answers.npy": read_teacher_file,
    "teachers/torch.safetensors": read_teacher_file,
    "teachers/network.onnx": read_teacher_file,
    "teachers/run.safetensors": resume,
}


def fuzz_once(base: Path, kind: str, rng: random.Random) -> Fault | None:
    """Damage a copy of one file, read it, and say what was wrong."""
    from minikd import MinikdError

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / Path(kind).parent
        shutil.copytree(base / Path(kind).parent, folder)
        path = folder / Path(kind).name
        how, begun = damage(path, rng), time.monotonic()
        said = ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                READERS[kind](path)
        except MinikdError as error:
            if str(folder) not in str(error):
                said = f"does not name the file: {error}"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        if time.monotonic() - begun > SECONDS:
            said += f" after {time.monotonic() - begun:.0f} s"
    return Fault(kind, how, said[:200]) if said else None


def fuzz(base: Path, kinds: list[str], rounds: int, seed: int) -> list[Fault]:
    """So many rounds of each kind; prints each fault."""
    found = []
    for kind in kinds:
        for i in range(rounds):
            if fault := fuzz_once(base, kind, random.Random(f"{seed} {kind} {i}")):
                print(f"{fault.kind}: {fault.damage}: {fault.said}", flush=True)
                found.append(fault)
    return found


def main() -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, help="of each kind of file")
    parser.add_argument("--kind", choices=READERS, action="append", help="this one alone; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        make_all(Path(base))
        kinds = [k for k in options.kind or READERS if (Path(base) / k).exists()]
        found = fuzz(Path(base), kinds, options.rounds, options.seed)
    print(f"{len(kinds) * options.rounds} damaged files, {len(found)} faults")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
