"""The progress line of a long run, on the standard error stream.

On a terminal, tqdm rewrites one line without colours or other control sequences, so that NO_COLOR and TERM=dumb have
nothing to turn off. In a log file, a new line is added at most every LOG_SECONDS.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from ..experiments.progress import clock

LOG_SECONDS = 10.0  # between two lines in a log
BAR_COLUMNS = 13  # a bar is shown if at least this many columns are free


class Progress:
    """A `notify` for experiments. Use it in a `with` statement, which closes it however the run ends.

    Parameters
    ----------
    quiet : bool
        Print nothing at all.
    log : bool
        Whether lines are written to a log file.
    """

    def __init__(self, *, quiet: bool = False, log: bool = True) -> None:
        self._quiet = quiet or not hasattr(sys.stderr, "flush")  # None, or an object that replaced it
        self._log = log and not self._quiet
        self._bar: Any = None
        if not self._quiet and getattr(sys.stderr, "isatty", bool)():
            from tqdm.auto import tqdm

            # The delay keeps tqdm from showing an empty line; given sizes keep it from asking the terminal.
            look: dict[str, Any] = {"ascii": " #", "miniters": 0, "delay": 0.01, "position": 0, "nrows": 2, "ncols": 79}
            self._bar, self._log = tqdm(total=0, file=sys.stderr, **look), False
        self._position = self._steps = 0
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Show the last state and end the line."""
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int, words: str, *, stays: bool = False, left: float | None = None) -> None:
        """Show that `done` of `total` is done, with `words`. With `stays`, write `words` on a line of its own.

        Without `left`, the remaining seconds are estimated from the steps so far. Only steps of size 1 (one epoch or
        one network) count for this, because networks of an earlier run are skipped in larger steps.
        """
        if stays:
            self._say(words)
            return
        self._steps += done - self._position == 1
        self._position = done
        now = time.monotonic()
        if left is None and self._steps:
            left = (now - self._began) / self._steps * max(0, total - done)
        text = words if left is None else f"{words}, {clock(left)} left"
        if self._bar is not None:
            columns = _columns() - 1  # a full line would wrap
            self._bar.bar_format = "{desc} [{bar}]" if columns - len(text) >= BAR_COLUMNS else "{desc}"
            self._bar.ncols, self._bar.total = columns, total
            self._bar.set_description_str(_cut(text, columns), refresh=False)
            self._bar.update(done - self._bar.n)
        elif self._log and now - self._last >= LOG_SECONDS:
            self._last = now
            print(text, file=sys.stderr, flush=True)

    def _say(self, words: str) -> None:
        if self._bar is not None:
            self._bar.write(words, file=sys.stderr)
        elif not self._quiet:
            print(words, file=sys.stderr, flush=True)


def announce(done: int, total: int, words: str, *, stays: bool = False, left: float | None = None) -> None:
    """A `notify` for one of several processes: it writes only lines that stay, because rewritten lines would mix."""
    if stays and hasattr(sys.stderr, "flush"):
        print(words, file=sys.stderr, flush=True)


def _cut(text: str, columns: int) -> str:
    """Cut the text to this many columns. The name before the colon is shortened first."""
    head, colon, tail = text.partition(": ")
    spare = len(text) - columns
    if spare > 0 and colon:
        text = f"{head[: max(0, len(head) - spare - 2)]}..: {tail}"
    return text[:columns]


def _columns() -> int:
    """The width of the terminal, or 80 if it is unknown."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
