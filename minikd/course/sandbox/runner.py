"""Runs a submission in a restricted process of its own, which is handed numbers and hands numbers back.

This is the grader's side. It keeps the inputs' seeds, the reference and what is expected, and compares. child.py is the
other side. `Runner` keeps a forkserver in which no submission has ever run, and forks a fresh process for each
conversation. `UnprotectedRunner` starts an ordinary Python for it, where there is no fork. Both are used alike:

    with runner.open(sources) as child:
        loss, dz = child.call("kd_loss", zs, zt, 4.0)

A call raises `Failed` when the submission raises, ends its process, takes too long or sends what is not numbers.
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
FIRST_UID, USERS = 61_184, 1_000  # users that nothing belongs to, as a rule: each forkserver of a root claims one
CPU_SECONDS = 20
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
ANSWER_SECONDS = 60.0  # seconds that the grader's own processes may take, on a machine that does much else


class RunnerError(MinikdError):
    """Submissions cannot be run here."""


class Runner:
    """A forkserver, and the processes that it forks. Use it as a context, and by one thread at a time.

    seconds   that a call may take, by the clock
    Where the grader is root, submissions run as the user `uid`, which no other grader on the machine has claimed.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        if os.name != "posix":
            raise RunnerError(
                "submissions of others are run on Linux and macOS alone: here there is no fork to lock them up in"
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
        """End the forkserver and whatever it has forked."""
        if self._control is not None:
            self._control.close()  # it sees this, and ends
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
        """From another thread: end the process that runs, and let no other begin. What uses the runner raises."""
        self._stopped = True
        if (control := self._control) is not None:
            with suppress(OSError):  # it was closed meanwhile
                control.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> socket.socket:
        """The connection to the forkserver, which is started where there is none."""
        if self._control is None:
            self._start()
        control = self._control
        if self._stopped or control is None:
            raise RunnerError("submissions are not run any more: the grader was stopped")
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
        """A fresh process with the submission loaded; at the end it is killed, with all that it may have started.

        functions   that will be called: only the files that define or import them are executed; () executes all
        budgets     of the time that calls may take together, and loads; the grader's own time is not counted
        Afterwards `output` holds what the submission printed, cut off, and `cpu_seconds` the time that it took.
        """
        control = self._connect()
        # (inside, outside) of three pipes: requests go in, replies and output come out.
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
                self.close()  # a submission has killed its way out; the next conversation gets a new forkserver

    def _read_line(self, control: socket.socket) -> bytes:
        """A line from the forkserver."""
        line = b""
        control.settimeout(ANSWER_SECONDS)
        while not line.endswith(b"\n"):
            part = control.recv(4096)
            if not part:
                raise RunnerError("nothing answers")
            line += part
        return line


def layers_of(child: Child) -> list[str]:
    """What protects, as a process says that has locked itself up; no line of a submission has run in it yet.

    RunnerError where it could not: that is the grader's trouble, and must not cost a student points.
    """
    try:
        kind, rest = child.answer(time.monotonic() + ANSWER_SECONDS)
    except Failed as error:
        raise RunnerError(f"a process for a submission could not be locked up: {error.words}") from error
    if kind != "ready":
        raise RunnerError(f"a process for a submission could not be locked up: {printable(str(rest))}")
    return [str(layer) for layer in rest]


def claim_user() -> tuple[int, socket.socket | None]:
    """A user that nothing runs as, and on Linux a socket whose name says to other graders that it is taken.

    It is taken for as long as the socket is open. Only root can become somebody else: others do not use the number.
    """
    if os.getuid() != 0 or sys.platform != "linux":
        return FIRST_UID, None
    taken = {path.stat().st_uid for path in Path("/proc").glob("[0-9]*") if path.exists()}
    for uid in range(FIRST_UID, FIRST_UID + USERS):
        claim = socket.socket(socket.AF_UNIX)
        try:
            if uid not in taken:
                claim.bind(f"\0minikd-course-{uid}")  # an abstract name: it is no file, and goes with the process
                return uid, claim
        except OSError:
            pass  # another grader has it
        claim.close()
    raise RunnerError(
        f"all users from {FIRST_UID} to {FIRST_UID + USERS - 1} are taken: are that many graders running?"
    )
