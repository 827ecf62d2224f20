"""Run a submission in a restricted process of its own, which receives numbers and sends numbers back.

This is the grader's side. It keeps the seeds of the inputs, the reference and the expected results, and compares.
child.py is the other side. `Runner` keeps a forkserver in which no submission has run, and forks a new process for each
conversation. `UnprotectedRunner` starts an ordinary Python instead, on systems without fork. Both are used in the same
way::

    with runner.open(sources) as child:
        loss, dz = child.call("kd_loss", zs, zt, 4.0)

A call raises `Failed` if the submission raises, ends its process, takes too long, or sends anything but numbers.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import MinikdError
from .conversation import Child, Failed, Pipes, Sources, TimeBudget, printable

CHILD = Path(__file__).with_name("child.py")
MEMORY = 2 * 2**30  # bytes of address space: NumPy takes half a GB of it
FIRST_UID, USERS = 61_184, 1_000  # users that normally own no files; each forkserver that runs as root claims one
CPU_SECONDS = 20
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
ANSWER_SECONDS = 60.0  # seconds for the grader's own processes, generous because the machine may be busy


class RunnerError(MinikdError):
    """Submissions cannot be run on this system."""


class Runner:
    """A forkserver, and the processes that it forks. Use it in a `with` statement, and from one thread at a time.

    `seconds` is the time limit of one call. If the grader is root, submissions run as the user `uid`, which no other
    grader on the machine has claimed.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        if os.name != "posix":
            raise RunnerError(
                "submissions of others are run on Linux and macOS alone: this system has no fork to isolate them"
            )
        self.seconds = seconds
        self.uid = 0
        self.layers: list[str] = []
        self.output = ""
        self.cpu_seconds = 0.0
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._claim: socket.socket | None = None
        self._stopped = False

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the forkserver and all processes that it has forked."""
        if self._control is not None:
            self._control.close()  # the forkserver notices this and ends
        if self._server is not None:
            try:
                self._server.wait(5)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        if self._claim is not None:
            self._claim.close()
        self._control = self._server = self._claim = None

    def stop(self) -> None:
        """From another thread: end the running process and start no other. Calls in progress raise an exception."""
        self._stopped = True
        if (control := self._control) is not None:
            with suppress(OSError):  # it was closed meanwhile
                control.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> socket.socket:
        """The connection to the forkserver, which is started if necessary."""
        if self._control is None:
            self._start()
        control = self._control
        if self._stopped or control is None:
            raise RunnerError("no more submissions are run: the grader was stopped")
        return control

    def _start(self) -> None:
        self.uid, self._claim = claim_user()
        ours, theirs = socket.socketpair()
        folder = str(Path(np.__file__).parents[1])
        command = [sys.executable, "-I", "-S", str(CHILD), folder, str(theirs.fileno())]
        kept = {name: os.environ[name] for name in ("OPENBLAS_CORETYPE", "LD_LIBRARY_PATH") if name in os.environ}
        self._server = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **ONE_THREAD, **kept},
            cwd="/",
            start_new_session=True,
        )
        theirs.close()
        self._control = ours

    @contextmanager
    def open(self, sources: Sources, functions: Sequence[str] = (), *budgets: TimeBudget) -> Iterator[Child]:
        """A new process with the submission loaded. At the end it is killed, with all processes that it has started.

        Afterwards `output` holds the printed output, truncated, and `cpu_seconds` the processor time.

        Parameters
        ----------
        sources
            The submission.
        functions : sequence of str
            The functions that will be called. Only files that define or import them are executed; () executes all.
        budgets : TimeBudget
            For all calls together, and for all loads together. The grader's own time does not count.
        """
        control = self._connect()
        # (inside, outside) of three pipes: for requests, replies and printed output.
        inside, outside = zip(os.pipe(), os.pipe()[::-1], os.pipe()[::-1], strict=True)
        settings = {"uid": self.uid, "memory": MEMORY, "cpu_seconds": CPU_SECONDS}
        pipes = Pipes(*outside)
        try:
            socket.send_fds(control, [json.dumps(settings).encode()], inside)
            self._read_line(control)  # the process's number
        except (OSError, RunnerError) as error:
            pipes.close()
            self.close()
            raise RunnerError(f"the process that runs submissions has gone: {error}") from error
        finally:
            for fd in inside:
                os.close(fd)
        try:
            child = Child(pipes.send, pipes.receive, self.seconds, *budgets, printed=pipes.take)
            self.layers = layers_of(child)
            child.load(sources, functions)
            yield child
        finally:
            self.output = pipes.close()
            try:
                control.sendall(b"x")
                self.cpu_seconds = float(json.loads(self._read_line(control))["cpu_seconds"])
            except (OSError, RunnerError, ValueError):
                self.close()  # a submission has killed the forkserver; the next conversation starts a new one

    def _read_line(self, control: socket.socket) -> bytes:
        """A line from the forkserver."""
        line = b""
        control.settimeout(ANSWER_SECONDS)
        while not line.endswith(b"\n"):
            part = control.recv(4096)
            if not part:
                raise RunnerError("it does not answer")
            line += part
        return line


def layers_of(child: Child) -> list[str]:
    """The layers of protection, as reported by a restricted process before it runs any line of a submission.

    RunnerError if it could not restrict itself. This is a problem of the grader and must not cost a student points.
    """
    try:
        kind, rest = child.answer(time.monotonic() + ANSWER_SECONDS)
    except Failed as error:
        raise RunnerError(f"a process for a submission could not be locked up: {error.words}") from error
    if kind != "ready":
        raise RunnerError(f"a process for a submission could not be locked up: {printable(str(rest))}")
    return [str(layer) for layer in rest]


def claim_user() -> tuple[int, socket.socket | None]:
    """A user ID that no process uses, and on Linux a socket whose name tells other graders that the ID is taken.

    It is taken while the socket is open. Only root can change its user, so other graders ignore the ID.
    """
    if os.getuid() != 0 or sys.platform != "linux":
        return FIRST_UID, None
    taken = {path.stat().st_uid for path in Path("/proc").glob("[0-9]*") if path.exists()}
    for uid in range(FIRST_UID, FIRST_UID + USERS):
        claim = socket.socket(socket.AF_UNIX)
        try:
            if uid not in taken:
                claim.bind(f"\0minikd-course-{uid}")  # an abstract name: it is not a file, and ends with the process
                return uid, claim
        except OSError:
            pass  # another grader has it
        claim.close()
    raise RunnerError(
        f"all users from {FIRST_UID} to {FIRST_UID + USERS - 1} are taken: are that many graders running?"
    )
