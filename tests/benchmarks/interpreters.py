"""The sections `import` and `memory`: whole processes from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from processes import ROOT, Setup, WorkerError, failure, in_turn
from report import add_medians, complaints, ratio, ratio_cell, say, table, time_cell

ROUNDS = 15  # at least: starting a process takes a tenth of a second, and the time varies

COMMANDS = {
    "python": ["-c", "pass"],
    "numpy": ["-c", "import numpy"],
    "minikd": ["-c", "import minikd; minikd.MLP"],  # the first public name that is used loads everything
    "help": ["-m", "minikd", "--help"],
}
WORDS = {
    "python": "python -c pass",
    "numpy": "import numpy",
    "minikd": "import minikd; minikd.MLP",
    "help": "minikd --help",
}
RATIOS = (("minikd", "numpy"), ("help", "numpy"))

DISTILL = ["-m", "minikd", "distill", "--data", "mnist", "--seeds", "1", "--epochs", "1", "--teacher-epochs", "1"]
MEMORY = {
    "import numpy": ["-c", "import numpy"],
    "MNIST loaded": ["-c", "import minikd; data = minikd.load_data('mnist')"],
    "MNIST distilled": DISTILL,
}


def measure_import(setup: Setup) -> dict[str, Any]:
    """Seconds from the start of a fresh interpreter to its end, in turn; the files are in the cache already."""
    say("import")
    environment = setup.environment()
    for command in COMMANDS.values():
        _run(command, environment)
    measures = {name: partial(_seconds, command, environment) for name, command in COMMANDS.items()}
    results = add_medians(in_turn(measures, setup.rounds if setup.quick else max(ROUNDS, setup.rounds)))
    return {
        "unit": "seconds",
        "times": results,
        "ratios": {f"{a}/{b}": ratio(results, a, b) for a, b in RATIOS},
    }


def import_table(section: dict[str, Any]) -> str:
    """The table of `measure_import`."""
    times, ratios = section["times"], section["ratios"]
    rows = []
    for name, words in WORDS.items():
        rows.append([words, time_cell(times, name), ratio_cell(ratios.get(f"{name}/numpy", {}), spread=True)])
    lines = ["Start of a fresh interpreter", "", table(["", "time", "over numpy (range over rounds)"], rows)]
    return "\n".join([*lines, *complaints([("import", times)])])


def measure_memory(setup: Setup) -> dict[str, Any]:
    """The most memory, in bytes, that a process ever held (its peak resident set, as the kernel counts it).

    The last is the whole main job on MNIST, cut to one seed and one epoch: a longer one makes the same arrays.
    """
    results: dict[str, Any] = {}
    # A process inherits the peak of the one that starts it, so that one must be small: a worker that imports little.
    with tempfile.TemporaryDirectory() as folder, setup.workers(["memory"]) as workers:
        for name, command in MEMORY.items():
            if command is DISTILL:
                if setup.quick:
                    continue
                command = [*command, "--out", str(Path(folder) / "run"), "--device", setup.device]
            say(f"memory: {name}")
            try:
                value = workers["memory"].run("interpreters:peak_bytes", command=command)
                results[name] = {"status": "ok", "bytes": value}
            except WorkerError as error:
                results[name] = failure(error)
    return {"unit": "bytes", "peak": results, "command": " ".join(["python", *DISTILL])}


def memory_table(section: dict[str, Any]) -> str:
    """The table of `measure_memory`."""
    rows = []
    for name, result in section["peak"].items():
        rows.append([name, f"{result['bytes'] / 1e6:,.0f} MB" if result["status"] == "ok" else result["status"]])
    lines = ["Peak resident memory", "", table(["", "peak"], rows), "", f"MNIST distilled: {section['command']}"]
    lines.append("One epoch makes the same arrays as many.")
    return "\n".join([*lines, *complaints([("memory", section["peak"])])])


def peak_bytes(command: Sequence[str]) -> int:
    """The peak resident set of a process and of those that it waited for."""
    process = _start(command, dict(os.environ))
    assert process.stderr is not None
    with process.stderr:
        errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    _check(process.returncode, errors)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    _run(command, environment)
    return time.perf_counter() - started


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    process = _start(command, environment)
    _, errors = process.communicate()
    _check(process.returncode, errors)


def _start(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _check(code: int, errors: str) -> None:
    """WorkerError for an exit code other than 0, with the message that comes after the frames of a traceback."""
    if code:
        lines = errors.rstrip().splitlines() or [f"exit code {code}"]
        frames = [i for i, line in enumerate(lines) if line.startswith('  File "')]
        message = [line for line in lines[frames[-1] + 1 :] if not line.startswith("    ")] if frames else lines[-1:]
        raise WorkerError(" ".join(" ".join(message).split()))
