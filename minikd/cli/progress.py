"""What a long run says of its progress on the standard error stream.

On a terminal tqdm writes one line over and over, without colours or other control sequences, so that NO_COLOR and
TERM=dumb have nothing to turn off. In a log file a line is written now and then, and it stays.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from ..experiments.progress import clock

LOG_SECONDS = 10.0  # between two lines in a log
BAR_COLUMNS = 13  # a bar is shown where there is so much room for it


class Progress:
    """A `notify` for experiments. Closed by a `with`, however the run ends.

    quiet   say nothing at all;  log   whether a line is written to a log now and then
    """

    def __init__(self, *, quiet: bool = False, log: bool = True) -> None:
        self._quiet = quiet or not hasattr(sys.stderr, "flush")  # None, or whatever else took its place
        self._log = log and not self._quiet
        self._bar: Any = None
        if not self._quiet and getattr(sys.stderr, "isatty", bool)():
            from tqdm.auto import tqdm

            # The delay keeps tqdm from showing a line before there is anything to say; sizes, from asking for them.
            look: dict[str, Any] = {"ascii": " #", "miniters": 0, "delay": 0.01, "position": 0, "nrows": 2, "ncols": 79}
            self._bar, self._log = tqdm(total=0, file=sys.stderr, **look), False
        self._position = self._steps = 0
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Show the last state, and end the line."""
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int, words: str, *, stays: bool = False, left: float | None = None) -> None:
        """So much of `total` is done, and `words` say more; what stays is written on a line of its own.

        Without `left` the seconds that are left are as the steps so far took. Only steps of one epoch or network are
        work whose time counts: what was trained before is passed over in larger ones.
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
            columns = _columns() - 1  # a full line would begin the next
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
    """A `notify` for one of several processes: it writes only what stays, since their lines would mix."""
    if stays and hasattr(sys.stderr, "flush"):
        print(words, file=sys.stderr, flush=True)


def _cut(text: str, columns: int) -> str:
    """The text in so many columns; what it lacks is taken from the name before the colon."""
    head, colon, tail = text.partition(": ")
    spare = len(text) - columns
    if spare > 0 and colon:
        text = f"{head[: max(0, len(head) - spare - 2)]}..: {tail}"
    return text[:columns]


def _columns() -> int:
    """Of the terminal, 80 where it does not say."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
