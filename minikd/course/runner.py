"""Runs a submission in a process of its own, which is handed numbers and hands numbers back.

The grader's side. It keeps the inputs' seeds, the reference and what is expected, and compares; the other side is
child.py. `Runner` keeps a forkserver in which no submission has ever run, and forks a fresh, locked-up process for each
conversation; `Plain` starts an ordinary, unprotected Python for it, which works everywhere: for who checks their own
work. Both are used alike:

    with runner.talk(sources) as child:
        loss, dz = child.call("kd_loss", zs, zt, 4.0)

A call raises `Failed` when the submission raises, ends its process, takes too long or sends what is not numbers.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MinikdError
from . import wire

CHILD = Path(__file__).with_name("child.py")
MEMORY = 2 * 2**30  # bytes of address space: NumPy takes half a GB of it
OUTPUT = 20_000  # characters of what a submission prints that are kept; the rest is read and dropped
ASKED = 5_000  # calls back in one conversation
FIRST_UID = 61_184  # users that nothing belongs to; one for each forkserver of a grader
CPU_SECONDS = 20

Sources = Sequence[tuple[str, str]]  # (file name, text)


class RunnerError(MinikdError):
    """Submissions cannot be run here."""


class Failed(Exception):
    """A call did not come back with a value.

    kind   missing (no such function), todo (NotImplementedError), assert, raised, time, loading (the same, while the
           submission is loaded), died, or protocol
    words  what is to be said about it
    """

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(f"{kind}: {words}")
        self.kind, self.words = kind, words


@dataclass
class Child:
    """One conversation with a process in which a submission is loaded."""

    send: Callable[[bytes, float], None]
    receive: Callable[[int, float], bytes]
    seconds: float
    layers: list[str] = field(default_factory=list)
    asked: int = 0

    def call(self, name: str, *arguments: Any, seconds: float | None = None) -> Any:
        """name(*arguments) in the submission. Functions among the arguments are run here, when they are called there.

        Returns an array (a copy), a text, None, or a list of those. Failed where there is no value.
        """
        functions: list[Callable[..., Any]] = []
        deadline = time.monotonic() + (self.seconds if seconds is None else seconds)
        self._send(["call", name, list(arguments)], functions, deadline)
        while True:
            kind, *rest = self._answer(deadline)
            if kind == "ask":
                self._send(self._run(functions, rest), functions, deadline)
            elif kind == "ok" and len(rest) == 1:
                return rest[0]
            elif kind in ("missing", "todo", "assert", "raised") and rest and isinstance(rest[0], str):
                raise Failed(kind, printable(rest[0]))
            else:
                raise Failed("protocol", "an answer of a kind that there is not")

    def load(self, sources: Sources) -> None:
        """Execute the submission's sources."""
        deadline = time.monotonic() + self.seconds
        try:
            self._send(["load", [list(source) for source in sources]], [], deadline)
            self._answer(deadline)
        except Failed as error:
            raise Failed("loading" if error.kind == "time" else error.kind, error.words) from None

    def _send(self, value: Any, functions: list[Callable[..., Any]], deadline: float) -> None:
        self.send(wire.pack(value, functions), deadline)

    def _answer(self, deadline: float) -> list[Any]:
        try:
            header = self.receive(wire.HEADER, deadline)
            answer = wire.unpack(header + self.receive(wire.size_of(header), deadline))
        except wire.WireError as error:
            raise Failed("protocol", printable(str(error))) from None
        if not isinstance(answer, list) or not answer or not isinstance(answer[0], str):
            raise Failed("protocol", "an answer that is none")
        return answer

    def _run(self, functions: list[Callable[..., Any]], rest: list[Any]) -> list[Any]:
        """Run one of our functions for the other side: ["value", result], or ["error", words] for bad arguments."""
        self.asked += 1
        if self.asked > ASKED:
            raise Failed("raised", f"a function that was handed over was called more than {ASKED:,} times")
        if (
            len(rest) != 2
            or not str(rest[0]).isdigit()
            or int(rest[0]) >= len(functions)
            or not isinstance(rest[1], list)
        ):
            raise Failed("protocol", "a call of a function that there is not")
        try:
            with np.errstate(all="ignore"):
                return ["value", functions[int(rest[0])](*rest[1])]
        except (ValueError, TypeError, IndexError) as error:
            return ["error", str(error)]


def printable(text: str) -> str:
    """A text from a submission, without anything that a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


# ---- with protection: a forkserver (POSIX) ----------------------------------------------------------------------


class Runner:
    """A forkserver, and the processes that it forks. Use it as a context; it can be used by one thread.

    slot      of several runners side by side, 0, 1, ...: where the grader is root, each has a user of its own
    seconds   that a call may take, by the clock
    """

    def __init__(self, slot: int = 0, seconds: float = 10.0) -> None:
        if os.name != "posix":
            raise RunnerError(
                "submissions of others are run on Linux and macOS alone: here there is no fork to lock them up in"
            )
        self.uid, self.seconds = FIRST_UID + slot, seconds
        self.layers: list[str] = []
        self.output = ""
        self.cpu_seconds = 0.0
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

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
        self._control = self._server = None

    def _start(self) -> socket.socket:
        if self._control is not None:
            return self._control
        ours, theirs = socket.socketpair()
        folder = str(Path(np.__file__).parents[1])
        command = [sys.executable, "-I", "-S", str(CHILD), folder, str(theirs.fileno())]
        environment = {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        coretype = {name: os.environ[name] for name in ("OPENBLAS_CORETYPE", "LD_LIBRARY_PATH") if name in os.environ}
        self._server = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment | coretype,
            cwd="/",
            start_new_session=True,
        )
        theirs.close()
        self._control = ours
        return ours

    @contextmanager
    def talk(self, sources: Sources, modules: Sequence[str] = (), memory: int = MEMORY) -> Iterator[Child]:
        """A fresh process with the submission loaded; at the end it is killed, with all that it may have started.

        modules   names of the submission's own files, which may import one another
        Afterwards `output` holds what the submission printed, cut off, and `cpu_seconds` the time that it took.
        """
        control = self._start()
        inside, outside = zip(
            os.pipe(), os.pipe()[::-1], os.pipe()[::-1], strict=True
        )  # requests in; replies, output out
        settings = {"uid": self.uid, "memory": memory, "cpu_seconds": CPU_SECONDS, "modules": list(modules)}
        line = Line(*outside)
        try:
            socket.send_fds(control, [json.dumps(settings).encode()], inside)
            self._said(control)  # the process's number
        except (OSError, RunnerError) as error:
            self.close()
            raise RunnerError(f"the process that runs submissions has gone: {error}") from error
        finally:
            for fd in inside:
                os.close(fd)
        try:
            child = Child(line.send, line.receive, self.seconds)
            kind, layers = child._answer(time.monotonic() + self.seconds)
            child.layers = self.layers = [str(layer) for layer in layers] if kind == "ready" else []
            child.load(sources)
            yield child
        finally:
            self.output = line.close()
            try:
                control.sendall(b"x")
                self.cpu_seconds = float(json.loads(self._said(control))["cpu_seconds"])
            except (OSError, RunnerError, ValueError):
                self.close()  # a submission has killed its way out; the next conversation gets a new forkserver

    def _said(self, control: socket.socket) -> bytes:
        """A line from the forkserver."""
        line = b""
        control.settimeout(30)
        while not line.endswith(b"\n"):
            part = control.recv(4096)
            if not part:
                raise RunnerError("nothing answers")
            line += part
        return line


class Line:
    """Three pipes to a process: requests to it, replies and output from it. No call blocks beyond its deadline."""

    def __init__(self, requests: int, replies: int, output: int) -> None:
        self.requests, self.replies, self.output = requests, replies, output
        self.printed: list[bytes] = []
        self.kept = 0
        for fd in (requests, replies, output):
            os.set_blocking(fd, False)

    def send(self, message: bytes, deadline: float) -> None:
        """Write a message."""
        view = memoryview(message)
        while view:
            self._wait([], [self.requests], deadline)
            try:
                view = view[os.write(self.requests, view[:65536]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise Failed("died", "the process ended before it was asked") from None

    def receive(self, size: int, deadline: float) -> bytes:
        """Read so many bytes, as they come: memory is taken for what is there and not for what was promised."""
        parts: list[bytes] = []
        while size:
            self._wait([self.replies], [], deadline)
            try:
                part = os.read(self.replies, min(size, 65536))
            except BlockingIOError:
                continue
            if not part:
                raise Failed("died", "the process ended without an answer")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _wait(self, readers: list[int], writers: list[int], deadline: float) -> None:
        """Until one of the pipes is ready; what is printed meanwhile is read. Failed when the deadline has passed."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed("time", "it took too long")
            listen = [*readers, *([self.output] if self.output >= 0 else [])]
            ready, writable, _ = select.select(listen, writers, [], left)
            if self.output in ready:
                self._drain()
            if writable or any(fd in ready for fd in readers):
                return

    def _drain(self) -> None:
        try:
            part = os.read(self.output, 65536)
        except BlockingIOError:
            return
        if not part:
            os.close(self.output)
            self.output = -1
        elif self.kept < OUTPUT:
            self.printed.append(part)
            self.kept += len(part)

    def close(self) -> str:
        """Close all; what was printed."""
        if self.output >= 0:
            self._drain()
        for fd in (self.requests, self.replies, self.output):
            with suppress(OSError):
                os.close(fd)
        return printable(b"".join(self.printed)[:OUTPUT].decode("utf-8", "replace"))


# ---- without protection: an ordinary process --------------------------------------------------------------------


class Plain:
    """Runs a submission in an ordinary Python process: for one's own work. What it prints goes to stderr."""

    layers: Sequence[str] = ()
    output = ""

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    @contextmanager
    def talk(self, sources: Sources, modules: Sequence[str] = ()) -> Iterator[Child]:
        """A fresh process with the submission loaded."""
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
        process = subprocess.Popen(
            [sys.executable, "-I", str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert process.stdin is not None and process.stdout is not None
        reader, writer, timed_out = process.stdout, process.stdin, threading.Event()

        def within(deadline: float, act: Callable[[], Any]) -> Any:
            def stop() -> None:
                timed_out.set()
                process.kill()

            timer = threading.Timer(max(0.0, deadline - time.monotonic()), stop)
            timer.start()
            try:
                return act()
            except OSError:
                return b""
            finally:
                timer.cancel()

        def send(message: bytes, deadline: float) -> None:
            within(deadline, lambda: (writer.write(message), writer.flush()))

        def receive(size: int, deadline: float) -> bytes:
            data: bytes = within(deadline, lambda: reader.read(size))
            if len(data) < size:
                kind = "time" if timed_out.is_set() else "died"
                raise Failed(kind, "it took too long" if kind == "time" else "the process ended without an answer")
            return data

        try:
            child = Child(send, receive, self.seconds)
            child._answer(time.monotonic() + 30)  # Python and NumPy start: not the submission's time
            child.load(sources)
            yield child
        finally:
            process.kill()
            for pipe in (reader, writer):
                with suppress(OSError):
                    pipe.close()
            process.wait()
