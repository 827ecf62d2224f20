"""The settings of a benchmark run, and the processes that it measures in: all with the same CPUs and thread count.

The other end of a `Worker` is this file, run as a script: it does what JSON lines on its standard input ask for.

    {"make": "module:function", "with": {...}}  call the function and keep what it returns
    {"call": "method", "with": {...}}           call a method of what was kept
    {"run": "module:function", "with": {...}}   call the function

Each line is answered with one line, {"value": ...} or {"error": ..., "status": a word for the table}.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Timer
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]  # the checkout that is measured, whether or not another minikd is installed
TIMEOUT = 900  # seconds that a worker may take for one answer; compiling takes longest
PAUSE = 0.2  # seconds between turns: OpenBLAS's threads keep their cores busy for 0.1 s after the last product
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MINIKD_KERNELS", "PYTHONDONTWRITEBYTECODE")


@dataclass
class Setup:
    """How to measure: on which device, with how many threads, how often and for how long.

    baseline is the folder of an older minikd called baseline_name, and baseline_settings are the environment variables
    that its command sets before NumPy loads. missing says of a contender that cannot take part why.
    """

    device: str = "cpu"
    threads: int = 2
    rounds: int = 7
    seconds: float = 0.5
    quick: bool = False
    baseline: Path | None = None
    baseline_name: str = ""
    baseline_settings: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def environment(self, name: str = "") -> dict[str, str]:
        """The environment of a contender's process; WorkerError for one that cannot take part.

        "plain" and "floor" have no compiled kernels, and "old" imports the baseline. All others, minikd's rivals and
        "fast" among them, have the same environment.
        """
        if name in self.missing:
            raise WorkerError(self.missing[name], "missing")
        environment = {key: value for key, value in os.environ.items() if key not in UNSET}
        environment |= dict.fromkeys(THREADS, str(self.threads))
        environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # in the process itself: no pool of helpers
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave GPU memory to the others
        if self.device == "cpu":
            environment["JAX_PLATFORMS"] = "cpu"
        if name in ("plain", "floor"):
            environment["MINIKD_KERNELS"] = "plain"
        if name == "old":
            environment = {**self.baseline_settings, **environment}
        package = self.baseline if name == "old" else ROOT
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
        return environment

    def output(self, name: str, code: str) -> str:
        """What this code prints in a contender's process."""
        environment = self.environment(name)
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, cwd=tempfile.gettempdir(), capture_output=True, text=True)
        if done.returncode:
            raise WorkerError((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
        return done.stdout.strip()

    @contextmanager
    def workers(self, names: Sequence[str]) -> Iterator[dict[str, Worker]]:
        """A process for each contender, gone afterwards."""
        workers = {name: Worker(self, name) for name in names}
        try:
            yield workers
        finally:
            for worker in workers.values():
                worker.close()


class WorkerError(Exception):
    """Something could not be measured; `status` is a word for the table, such as "missing" for a library."""

    def __init__(self, message: str, status: str = "failed") -> None:
        super().__init__(message)
        self.status = status


class Worker:
    """A process of its own that makes one thing and calls its methods; it starts when it is first asked."""

    def __init__(self, setup: Setup, name: str) -> None:
        self.setup, self.name = setup, name
        self._process: subprocess.Popen[str] | None = None

    def make(self, target: str, **arguments: Any) -> None:
        """Call "module:function" there, and keep what it returns for `call`."""
        self._ask({"make": target, "with": arguments})

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of what was made."""
        return self._ask({"call": method, "with": arguments})

    def run(self, target: str, **arguments: Any) -> Any:
        """Call "module:function" there."""
        return self._ask({"run": target, "with": arguments})

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._errors.close()
            self._process = None

    def _ask(self, request: dict[str, Any]) -> Any:
        process = self._process or self._start()
        timer = Timer(TIMEOUT, process.kill)
        timer.start()
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["it said nothing"])[-1]
            self.close()
            raise WorkerError(f"the process ended: {last}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"], answer["status"])
        return answer["value"]

    def _start(self) -> subprocess.Popen[str]:
        environment = self.setup.environment(self.name)
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        return self._process


def pin(threads: int) -> list[int]:
    """Keep this process, and all that it starts, on the first `threads` CPUs it may use; returns those.

    Libraries that size their thread pool by the CPUs they see (XLA does) get as many threads as the others.
    """
    if not hasattr(os, "sched_setaffinity"):
        return []
    chosen = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, chosen)
    return chosen


def in_turn(measures: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """Take each measurement once a round, in an order that moves on by one from round to round.

    A measurement returns a number, or several by name. Returns for each name {"status": "ok", "rounds": numbers},
    or for a measurement that fails {"status": "failed", "message": ...}, and goes on without it.
    """
    results: dict[str, dict[str, Any]] = {}
    names = list(measures)
    for i in range(rounds):
        first = i % max(1, len(names))
        for name in names[first:] + names[:first]:
            if "message" in results.get(name, ()):
                continue
            time.sleep(PAUSE)
            try:
                value = measures[name]()
            except WorkerError as error:
                results[name] = failure(error)
                continue
            for key, number in (value if isinstance(value, dict) else {name: value}).items():
                results.setdefault(key, {"status": "ok", "rounds": []})["rounds"].append(number)
    return results


def failure(error: WorkerError) -> dict[str, Any]:
    """The result of a measurement that could not be taken."""
    return {"status": error.status, "message": str(error)}


# ---- the other end --------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer line by line until standard input ends."""
    # The answers get standard output to themselves: what libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    kept = None
    for line in sys.stdin:
        request = json.loads(line)
        arguments = request.get("with", {})
        try:
            if "make" in request:
                kept = None  # the old one goes before the new one comes, so that they do not share the memory
                kept, value = _find(request["make"])(**arguments), None
            elif "call" in request:
                value = getattr(kept, request["call"])(**arguments)
            else:
                value = _find(request["run"])(**arguments)
            answer = {"value": value}
        except Exception as error:  # whatever a library may raise is a result of the benchmark
            text = " ".join(f"{type(error).__name__}: {error}".split())
            answer = {"error": text, "status": _status(error)}
        print(json.dumps(answer), file=answers)


def _status(error: Exception) -> str:
    """ "missing" for a library that is not installed, "no data" for a data set that is not there, else "failed"."""
    if isinstance(error, ImportError):
        return "missing"
    return "no data" if type(error).__name__ == "DataError" else "failed"


def _find(target: str) -> Any:
    module, name = target.split(":")
    return getattr(import_module(module), name)


if __name__ == "__main__":
    serve()
