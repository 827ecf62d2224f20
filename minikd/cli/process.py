"""What the command does with its process: streams that can show every word, and signals that end it as Ctrl-C does."""

from __future__ import annotations

import codecs
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SPELT = {"±": "+-", "×": "x", "²": "2", "→": "->", "–": "-", "…": "..."}  # where the encoding of a stream lacks them


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C's asked this process to end; its number is the argument."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """What a shell expects of a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + int(stop.args[0] if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def prepared() -> Iterator[None]:
    """Within the block nothing that is printed is an error of encoding, and SIGTERM and SIGHUP raise Terminated."""
    codecs.register_error("minikd", _spell)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # its descriptor is closed, and must not become that of a network's file
            setattr(sys, name, stream := open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
        if mode == "w" and hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="minikd")
    before = {}
    for number in [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]:
        if signal.getsignal(number) == signal.SIG_DFL:  # under nohup SIGHUP is ignored, and stays so
            with suppress(ValueError):  # in a thread that is not the main one
                before[number] = signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Handle encoding errors: a character that cannot be shown is spelt, or becomes a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(SPELT.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


def in_words(error: Exception) -> str:
    """What the system refused, or what is missing, on one line."""
    if isinstance(error, MemoryError):
        return f"there is not enough memory{': ' if str(error) else ''}{error}"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{name}: {words}" if (name := getattr(error, "filename", None)) else words


def let_go_of_stdout() -> None:
    """Write what is still to be written; where that is impossible, forget it, so that leaving does not fail as well."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
