"""Run a submission in an ordinary process, without protection: for learners on a system without fork (Windows)."""

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
    """Runs a submission in an ordinary Python process. It is used like `Runner`; printed output goes to stderr."""

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
        """A new process with the submission loaded."""
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
            child.answer(time.monotonic() + ANSWER_SECONDS)  # the start of Python and NumPy does not count
            child.load(sources, functions)
            yield child
        finally:
            process.kill()
            for pipe in (reader, writer):
                with suppress(OSError):
                    pipe.close()
            process.wait()
