"""The sections `import` and `memory`: whole processes from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from processes import Setup, Worker, WorkerError, failure, in_turn
from report import list_table, megabytes, row_of, say, seconds

ROUNDS = 15  # at least: starting a process takes a tenth of a second, and the time varies

IMPORT = ["-c", "import minikd; minikd.MLP"]  # older versions load everything when a public name is first used
COMMANDS = {  # the contender whose environment it has, and the arguments of Python
    "python": ("", ["-c", "pass"]),
    "numpy": ("", ["-c", "import numpy"]),
    "minikd": ("", IMPORT),
    "old": ("old", IMPORT),
    "help": ("", ["-m", "minikd", "--help"]),
}
IMPORT_RATIOS = ["minikd/numpy", "old/numpy", "help/numpy"]
WORDS = {"python": "python -c pass", "numpy": "import numpy", "minikd": "import minikd", "help": "minikd --help"}

DISTILL = ["-m", "minikd", "distill", "--data", "mnist", "--seeds", "1", "--epochs", "1", "--teacher-epochs", "1"]
ON_ALL = [*DISTILL, "--images", "all"]  # as the old one does, which knows no --images
MEMORY = {
    "numpy": ("", ["-c", "import numpy"]),
    "MNIST": ("plain", ["-c", "import minikd; data = minikd.load_data('mnist')"]),
    "plain": ("plain", ON_ALL),
    "fast": ("fast", ON_ALL),
    "old": ("old", DISTILL),
}
MEMORY_RATIOS = ["plain/old", "fast/old"]
MEMORY_WORDS = {
    "numpy": "import numpy",
    "MNIST": "MNIST loaded",
    **{name: f"MNIST distilled, {name}" for name in ("plain", "fast", "old", "minikd")},
}


def one_case(setup: Setup) -> list[dict[str, Any]]:
    """Either section is one row."""
    return [{}]


def measure_import(setup: Setup, workers: dict[str, Worker], case: dict[str, Any]) -> dict[str, Any]:
    """Seconds from the start of a fresh interpreter to its end, in turn; the files are in the cache already."""
    say("import")
    measures = {name: partial(_seconds, setup, *command) for name, command in COMMANDS.items()}
    in_turn(measures, 1)  # compiles, and reads the files
    rounds = setup.rounds if setup.quick else max(ROUNDS, setup.rounds)
    return row_of({}, in_turn(measures, rounds), IMPORT_RATIOS)


def import_table(rows: Sequence[dict[str, Any]]) -> str:
    """The table of `measure_import`."""
    return f"### Start of a fresh interpreter\n\n{list_table(rows[0], seconds, WORDS)}"


def measure_memory(setup: Setup, workers: dict[str, Worker], case: dict[str, Any]) -> dict[str, Any]:
    """The most memory, in bytes, that a process ever held (its peak resident set, as the kernel counts it).

    The last three are the whole main job on MNIST, cut to one seed and one epoch: a longer one makes the same arrays.
    """
    results: dict[str, Any] = {}
    for name, (contender, command) in MEMORY.items():
        say(f"memory: {name}")
        try:
            # A process inherits the peak of the one that starts it, so that one must be small: a worker that imports
            # little.
            value = workers["memory"].run(
                "interpreters:peak_bytes",
                command=[*command, "--device", setup.device] if command is DISTILL else command,
                environment=setup.environment(contender),
            )
            results[name] = {"status": "ok", "rounds": [value]}
        except WorkerError as error:
            results[name] = failure(error)
    return row_of({}, results, MEMORY_RATIOS)


def memory_table(rows: Sequence[dict[str, Any]]) -> str:
    """The table of `measure_memory`."""
    lines = ["### Peak resident memory", list_table(rows[0], megabytes, MEMORY_WORDS)]
    return "\n\n".join(
        [*lines, f"MNIST distilled: `python {' '.join(ON_ALL)}`. One epoch makes the same arrays as many."]
    )


def peak_bytes(command: Sequence[str], environment: dict[str, str]) -> int:
    """The peak resident set of a process and of those that it waited for."""
    with tempfile.TemporaryDirectory() as folder:  # for the run that it leaves
        process = _start(command, environment, folder)
        assert process.stderr is not None
        with process.stderr:
            errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    _check(process.returncode, errors)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _seconds(setup: Setup, contender: str, command: Sequence[str]) -> float:
    environment = setup.environment(contender)
    started = time.perf_counter()
    process = _start(command, environment, tempfile.gettempdir())
    _, errors = process.communicate()
    took = time.perf_counter() - started
    _check(process.returncode, errors)
    return took


def _start(command: Sequence[str], environment: dict[str, str], folder: str) -> subprocess.Popen[str]:
    """A process in a folder without any minikd in it, or Python would import that one."""
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        cwd=folder,
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
