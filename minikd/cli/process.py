"""Set up the process of a command: streams without encoding errors, and signals that end it as Ctrl-C does."""

from __future__ import annotations

import codecs
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from textwrap import fill
from types import FrameType

SPELT = {"±": "+-", "×": "x", "²": "2", "→": "->", "–": "-", "…": "..."}  # for a stream whose encoding lacks them


class Terminated(KeyboardInterrupt):
    """A signal other than SIGINT asked this process to end; its number is the argument."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """The exit code that shells expect after a signal: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + int(stop.args[0] if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def prepared() -> Iterator[None]:
    """Within the block, printing never raises an encoding error, and SIGTERM and SIGHUP raise Terminated."""
    codecs.register_error("minikd", _spell)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it is closed; without this, a network's file could get its descriptor
            setattr(sys, name, stream := open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
        if mode == "w" and hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors="minikd")
    before = {}
    for number in [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]:
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP, and it stays ignored
            with suppress(ValueError):  # in a thread that is not the main one
                before[number] = signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Replace a character that cannot be encoded by its spelling, or by a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(SPELT.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


def in_words(error: Exception) -> str:
    """An error of the system, or of a missing library, on one line."""
    if isinstance(error, MemoryError):
        return f"there is not enough memory{': ' if str(error) else ''}{error}"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{name}: {words}" if (name := getattr(error, "filename", None)) else words


def in_columns(text: str, stream: str = "stderr") -> str:
    """The text in lines of at most 80 columns if the stream is a terminal, and on one line for a file or a pipe."""
    is_terminal = getattr(getattr(sys, stream), "isatty", bool)()
    return fill(text, 80, break_long_words=False, break_on_hyphens=False) if is_terminal else text


def let_go_of_stdout() -> None:
    """Flush stdout. If that fails, drop the rest, so that the exit of Python does not fail as well."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
