"""The grader's side of the conversation with a process in which a submission is loaded.

Nothing from that process is trusted. A message has a maximum size and a deadline, and is refused unless it consists of
numbers. Text from the process is stripped of everything that a terminal would interpret.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from . import messages

MAX_OUTPUT = 20_000  # characters of printed output that are kept; the rest is read and dropped
MAX_CALLBACKS = 5_000  # callbacks in one check
MAX_PROBLEMS = 20  # cells that raised, at most, that one load reports
MAX_PROBLEM = 250  # characters for each of them
# Seconds for all loads of a submission together. A complete submission is loaded 130 times in grading: once for each of
# E1 to E10, and once for each trial in the museum. The limit allows half a second per load, on a machine half as fast.
LOADING_SECONDS = 140.0

Cells = Sequence[tuple[str, str]]  # (label, text) of each code cell of a notebook
Sources = Sequence[tuple[str, str | Cells]]  # (file name, text), or (name of a notebook, its cells)


class Failed(Exception):
    """A call did not return a value.

    Parameters
    ----------
    kind : str
        missing (no such function), todo (NotImplementedError), assert, raised, time, loading (a timeout while the
        submission is loaded), died, or protocol.
    words : str
        The message.
    """

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(f"{kind}: {words}")
        self.kind, self.words = kind, words


@dataclass
class TimeBudget:
    """Seconds that are left for waiting for a submission, in all conversations of a check together."""

    left: float = float("inf")

    @contextmanager
    def spend(self, seconds: float) -> Iterator[float]:
        """A deadline at most `seconds` from now, by time.monotonic(). The block's time is taken off the budget."""
        begun = time.monotonic()
        try:
            yield begun + min(seconds, self.left)
        finally:
            self.left -= time.monotonic() - begun


@dataclass
class Child:
    """One conversation with a process in which a submission is loaded."""

    send: Callable[[bytes, float], None]
    receive: Callable[[int, float], bytes]
    seconds: float  # for one call, and for one load
    budget: TimeBudget = field(default_factory=TimeBudget)  # for calls
    loading: TimeBudget = field(default_factory=TimeBudget)
    _: KW_ONLY
    printed: Callable[[], str] = str  # what was printed since the last call of this function
    callbacks: int = 0
    left_out: Sequence[str] = ()  # parts of the sources that raised when they were loaded, a line each

    def call(self, name: str, *arguments: Any, seconds: float | None = None) -> Any:
        """Call `name(*arguments)` in the submission. Functions among the arguments run here when they are called there.

        Returns an array (a copy), a text, None, or a list of those. Failed if there is no value.
        """
        functions: list[Callable[..., Any]] = []
        with self.budget.spend(self.seconds if seconds is None else seconds) as deadline:
            self._send(["call", name, list(arguments)], functions, deadline)
            kind, *rest = self.answer(deadline)
            while kind == "callback":
                self._send(self._call_back(functions, rest), functions, deadline)
                kind, *rest = self.answer(deadline)
        if kind == "ok" and len(rest) == 1:
            return rest[0]
        if kind in ("missing", "todo", "assert", "raised") and rest and isinstance(rest[0], str):
            raise Failed(kind, printable(rest[0][:5_000]))
        raise Failed("protocol", "an answer of an unknown kind")

    def load(self, sources: Sources, functions: Sequence[str] = ()) -> None:
        """Execute the sources that these functions need, or all of them."""
        try:
            with self.loading.spend(self.seconds) as deadline:
                self._send(["load", list(sources), list(functions)], [], deadline)
                kind, *rest = self.answer(deadline)
        except Failed as error:
            if error.kind != "time":
                raise
            one, all_ = f"{self.seconds:g} s to load", f"{LOADING_SECONDS:.0f} s for all loads together"
            raise Failed("loading", f"it took more than {one if self.loading.left > 0 else all_}") from None
        labels = {name for name, content in sources if isinstance(content, str)}
        labels |= {label for _, content in sources if not isinstance(content, str) for label, _ in content}
        self.left_out = left_out(rest if kind == "ok" else [], labels)

    def _send(self, value: Any, functions: list[Callable[..., Any]], deadline: float) -> None:
        self.send(messages.pack(value, functions), deadline)

    def answer(self, deadline: float) -> list[Any]:
        """The next message, a list that begins with a text. Failed if it is anything else."""
        try:
            header = self.receive(messages.HEADER_SIZE, deadline)
            answer = messages.unpack(header + self.receive(messages.size_of(header), deadline))
        except messages.MessageError as error:
            raise Failed("protocol", printable(str(error))) from None
        if not isinstance(answer, list) or not answer or not isinstance(answer[0], str):
            raise Failed("protocol", "an answer that is not a list")
        return answer

    def _call_back(self, functions: list[Callable[..., Any]], rest: list[Any]) -> list[Any]:
        """Run one of our functions for the other side: ["value", result], or ["error", words] for wrong arguments."""
        self.callbacks += 1
        if self.callbacks > MAX_CALLBACKS:
            raise Failed("raised", f"a function argument was called more than {MAX_CALLBACKS:,} times")
        numbers = [str(i) for i in range(len(functions))]
        if len(rest) != 2 or not isinstance(rest[0], str) or rest[0] not in numbers or not isinstance(rest[1], list):
            raise Failed("protocol", "a call of an unknown function")
        try:
            with np.errstate(all="ignore"):
                return ["value", functions[int(rest[0])](*rest[1])]
        except Exception as error:  # any error that its arguments cause
            return ["error", str(error)[:1000]]


def left_out(rest: list[Any], labels: Container[str]) -> list[str]:
    """Lines from a process's report about cells that raised: [[[label, "7" or "7 alone" or "", words], ...]]."""
    if len(rest) != 1 or not isinstance(rest[0], list) or len(rest[0]) > MAX_PROBLEMS:
        raise Failed("protocol", "an answer of an unknown kind")
    lines = []
    for item in rest[0]:
        if not isinstance(item, list) or [type(part) for part in item] != [str] * 3 or item[0] not in labels:
            raise Failed("protocol", "a problem with an unknown cell")
        label, line, words = item
        found = re.fullmatch(r"([0-9]{1,7})( alone)?", line)
        where = "" if not found else f", line {found[1]}," if found[2] else f", from line {found[1]} on,"
        lines.append(
            f"{label}{where} is left out: {' '.join(printable(words[:5_000]).replace(';', ',').split())}"[:MAX_PROBLEM]
        )
    return lines


def printable(text: str) -> str:
    """A text from a submission, without characters that a terminal would interpret."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


class Pipes:
    """Three pipes to a process, for requests, replies and printed output. No call blocks beyond its deadline."""

    def __init__(self, requests: int, replies: int, output: int) -> None:
        self.requests, self.replies, self.output = requests, replies, output
        self.printed: list[bytes] = []
        self.kept = self.told = 0
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
                raise Failed("died", "the process ended before the call") from None

    def receive(self, size: int, deadline: float) -> bytes:
        """Read `size` bytes as they arrive, so that memory is used only for bytes that were really sent."""
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
        """Wait until a pipe is ready, and read printed output meanwhile. Failed after the deadline."""
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
        elif self.kept < MAX_OUTPUT:
            self.printed.append(part)
            self.kept += len(part)

    def take(self) -> str:
        """What was printed since the last call, truncated."""
        if self.output >= 0:
            self._drain()
        text = b"".join(self.printed)[:MAX_OUTPUT]
        told, self.told = self.told, len(text)
        return printable(text[told:].decode("utf-8", "replace"))

    def close(self) -> str:
        """Close all pipes; returns everything that was printed."""
        self.told = 0
        text = self.take()
        for fd in (self.requests, self.replies, self.output):
            with suppress(OSError):
                os.close(fd)
        return text
