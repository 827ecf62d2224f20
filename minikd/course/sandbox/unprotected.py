"""Runs a submission in an ordinary process, without protection: for one's own work where there is no fork (Windows)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from .conversation import Child, Failed, Sources, TimeBudget
from .runner import ANSWER_SECONDS, CHILD, ONE_THREAD


class UnprotectedRunner:
    """Runs a submission in an ordinary Python process, and is used as `Runner` is. What it prints goes to stderr."""

    layers: Sequence[str] = ()
    output = ""

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds

    def __enter__(self) -> UnprotectedRunner:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    @contextmanager
    def open(self, sources: Sources, functions: Sequence[str] = (), *budgets: TimeBudget) -> Iterator[Child]:
        """A fresh process with the submission loaded."""
        environment = {**os.environ, **ONE_THREAD, "PYTHONIOENCODING": "utf-8"}
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
            child = Child(send, receive, self.seconds, *budgets)
            child.answer(time.monotonic() + ANSWER_SECONDS)  # Python and NumPy start: not the submission's time
            child.load(sources, functions)
            yield child
        finally:
            process.kill()
            for pipe in (reader, writer):
                with suppress(OSError):
                    pipe.close()
            process.wait()
