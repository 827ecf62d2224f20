"""What is said between the grader and a process in which a submission is loaded: the grader's side.

Nothing that comes is trusted. A message is read up to a size and until a time, and is numbers or it is refused; what
the other side says of itself is text, from which everything is taken that a terminal would obey.
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

MAX_OUTPUT = 20_000  # characters of what a submission prints that are kept; the rest is read and dropped
MAX_CALLBACKS = 5_000  # calls back in one check
MAX_PROBLEMS = 20  # cells that raised, of which one load tells
MAX_PROBLEM = 250  # characters about one of them
# Seconds that all loads of a submission may take together. A right one is loaded 130 times when all is graded: once for
# each of E1 to E10, and for each trial in the museum. This is enough for half a second, on a machine half as fast.
LOADING_SECONDS = 140.0

Cells = Sequence[tuple[str, str]]  # (label, text) of each code cell of a notebook
Sources = Sequence[tuple[str, str | Cells]]  # (file name, text), or (name of a notebook, its cells)


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
class TimeBudget:
    """Seconds that may still be spent on waiting for a submission, in all conversations of a check together."""

    left: float = float("inf")

    @contextmanager
    def spend(self, seconds: float) -> Iterator[float]:
        """A deadline so many seconds from now, or sooner, by time.monotonic(). The block's time is taken off."""
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
    seconds: float  # that a call may take, and a load
    budget: TimeBudget = field(default_factory=TimeBudget)  # for calls
    loading: TimeBudget = field(default_factory=TimeBudget)
    _: KW_ONLY
    printed: Callable[[], str] = str  # what was printed since it was last asked for
    callbacks: int = 0
    left_out: Sequence[str] = ()  # what of the sources raised when it was loaded, a line each

    def call(self, name: str, *arguments: Any, seconds: float | None = None) -> Any:
        """name(*arguments) in the submission. Functions among the arguments are run here, when they are called there.

        Returns an array (a copy), a text, None, or a list of those. Failed where there is no value.
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
        raise Failed("protocol", "an answer of a kind that there is not")

    def load(self, sources: Sources, functions: Sequence[str] = ()) -> None:
        """Execute of the submission's sources what these functions need, or all."""
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
        """The next message: a list that begins with a text. Failed where it is something else."""
        try:
            header = self.receive(messages.HEADER_SIZE, deadline)
            answer = messages.unpack(header + self.receive(messages.size_of(header), deadline))
        except messages.MessageError as error:
            raise Failed("protocol", printable(str(error))) from None
        if not isinstance(answer, list) or not answer or not isinstance(answer[0], str):
            raise Failed("protocol", "an answer that is none")
        return answer

    def _call_back(self, functions: list[Callable[..., Any]], rest: list[Any]) -> list[Any]:
        """Run one of our functions for the other side: ["value", result], or ["error", words] for bad arguments."""
        self.callbacks += 1
        if self.callbacks > MAX_CALLBACKS:
            raise Failed("raised", f"a function that was handed over was called more than {MAX_CALLBACKS:,} times")
        numbers = [str(i) for i in range(len(functions))]
        if len(rest) != 2 or not isinstance(rest[0], str) or rest[0] not in numbers or not isinstance(rest[1], list):
            raise Failed("protocol", "a call of a function that there is not")
        try:
            with np.errstate(all="ignore"):
                return ["value", functions[int(rest[0])](*rest[1])]
        except Exception as error:  # whatever arguments of any kind make of it
            return ["error", str(error)[:1000]]


def left_out(rest: list[Any], labels: Container[str]) -> list[str]:
    """What a process says of the cells that raised, a line each: [[[label, "7" or "7 alone" or "", words], ...]]."""
    if len(rest) != 1 or not isinstance(rest[0], list) or len(rest[0]) > MAX_PROBLEMS:
        raise Failed("protocol", "an answer of a kind that there is not")
    lines = []
    for item in rest[0]:
        if not isinstance(item, list) or [type(part) for part in item] != [str] * 3 or item[0] not in labels:
            raise Failed("protocol", "a problem with a cell that there is not")
        label, line, words = item
        found = re.fullmatch(r"([0-9]{1,7})( alone)?", line)
        where = "" if not found else f", line {found[1]}," if found[2] else f", from line {found[1]} on,"
        lines.append(
            f"{label}{where} is left out: {' '.join(printable(words[:5_000]).replace(';', ',').split())}"[:MAX_PROBLEM]
        )
    return lines


def printable(text: str) -> str:
    """A text from a submission, without anything that a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


class Pipes:
    """Three pipes to a process: requests to it, replies and output from it. No call blocks beyond its deadline."""

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
        elif self.kept < MAX_OUTPUT:
            self.printed.append(part)
            self.kept += len(part)

    def take(self) -> str:
        """What was printed since this was last asked for, cut off."""
        if self.output >= 0:
            self._drain()
        text = b"".join(self.printed)[:MAX_OUTPUT]
        told, self.told = self.told, len(text)
        return printable(text[told:].decode("utf-8", "replace"))

    def close(self) -> str:
        """Close all; what was printed, from the beginning."""
        self.told = 0
        text = self.take()
        for fd in (self.requests, self.replies, self.output):
            with suppress(OSError):
                os.close(fd)
        return text
