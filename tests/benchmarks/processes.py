"""The settings of a benchmark run, and the processes that it measures in: all with the same CPUs and thread count."""

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
from pathlib import Path
from threading import Timer
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]  # the checkout that is measured, whether or not another minikd is installed
TIMEOUT = 900  # seconds that a worker may take for one answer; compiling takes longest


@dataclass
class Setup:
    """How to measure: on which device, with how many threads, how often and for how long.

    blas_settings are the environment variables that the `minikd` command sets before NumPy loads; they go to the
    processes of minikd, and to those that do minikd's matrix products alone, but to no rival.
    """

    device: str = "cpu"
    threads: int = 2
    rounds: int = 7
    seconds: float = 0.5
    quick: bool = False
    blas_settings: dict[str, str] = field(default_factory=dict)

    def environment(self, minikd: bool = False) -> dict[str, str]:
        """The environment of a process; with minikd=True, including `blas_settings`. What the user has set stays."""
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, str(self.threads))}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or every import would compile minikd anew
        environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # in the process itself: no pool of helpers
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave GPU memory to the others
        if self.device == "cpu":
            environment["JAX_PLATFORMS"] = "cpu"
        return {**self.blas_settings, **environment} if minikd else environment

    @contextmanager
    def workers(self, names: Sequence[str], minikd: Sequence[str] = ()) -> Iterator[dict[str, Worker]]:
        """A process for each name, gone afterwards; those in `minikd` get the environment of minikd."""
        workers = {name: Worker(self.environment(name in minikd)) for name in names}
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

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
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
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=self.environment,
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


def command_blas_settings() -> dict[str, str]:
    """What the `minikd` command sets before NumPy loads, asked in a fresh process; {} where it sets nothing."""
    code = "import json; from minikd import cli; print(json.dumps(getattr(cli, 'blas_settings', dict)()))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=Setup().environment(), capture_output=True, text=True, check=True)
    return {name: str(value) for name, value in json.loads(done.stdout).items()}


PAUSE = 0.2  # between turns: OpenBLAS's threads keep their cores busy for 0.1 s after the last product


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
