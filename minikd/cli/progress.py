"""What a long run says of its progress on the standard error stream.

On a terminal, one line is written over and over, with a carriage return and nothing else that is not text: no colours
and no other control sequences, so that NO_COLOR and TERM=dumb have nothing to turn off. In a log file a line is
written now and then, and it stays.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

OFTEN, SELDOM = 0.1, 10.0  # seconds between two looks of the line on a terminal, and between two lines in a log
BAR = (10, 30)  # a bar of columns, if there is room for at least so many


class Progress:
    """How far a run of `total` epochs is. Closed by a `with`, however the run ends.

    quiet   say nothing at all
    line    whether the line is shown on a terminal;  log  whether a line is written to a log now and then
    """

    def __init__(self, total: int = 0, *, quiet: bool = False, line: bool = True, log: bool = True) -> None:
        self.total, self.position = total, 0
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._quiet = quiet or sys.stderr is None
        self._shown = (line if self._terminal else log) and not self._quiet
        self._started = self._last = time.monotonic()
        self._steps = 0
        self._text, self._width = "", 0  # what waits to be shown, and how much of the line is written on

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Show the last state, and end the line."""
        if self._terminal and self._text:
            self._show()
        if self._width:
            print(file=sys.stderr, flush=True)
        self._text, self._width = "", 0

    def update(self, position: int, words: str, left: float | None = None) -> None:
        """So many epochs of `total` are done, and `words` say more; `left` in seconds, or as the epochs so far took.

        Only steps of one epoch are work whose time counts: what was trained before is passed over in larger ones.
        """
        self._steps += position - self.position == 1
        self.position = position
        now = time.monotonic()
        if left is None and self._steps:
            left = (now - self._started) / self._steps * max(0, self.total - position)
        self._text = words if left is None else f"{words}, {clock(left)} left"
        if self._shown and now - self._last >= (OFTEN if self._terminal else SELDOM):
            self._last = now
            self._show()

    def say(self, words: str) -> None:
        """A line that stays."""
        if not self._quiet:
            gone = f"\r{'':{self._width}}\r" if self._width else ""
            print(f"{gone}{words}", file=sys.stderr, flush=True)
        self._text, self._width = "", 0

    def _show(self) -> None:
        text, self._text = self._text, ""
        if not self._shown:
            return
        if not self._terminal:
            print(text, file=sys.stderr, flush=True)
            return
        columns = _columns() - 1  # a full line would begin the next
        room = columns - len(text) - 3
        if room >= BAR[0] and self.total:
            length = min(room, BAR[1])
            text += f" [{'#' * min(length, length * self.position // self.total):<{length}}]"
        text = _cut(text, columns)
        print(f"\r{text:<{min(self._width, columns)}}", end="", file=sys.stderr, flush=True)
        self._width = len(text)


def epoch_words(row: Mapping[str, Any], epochs: int) -> str:
    """A row of a History in a few words: "epoch 3/100, loss 0.083, val. error 2.35 %"."""
    words = f"epoch {row['epoch']}/{epochs}, loss {row['loss']:.3g}"
    return words + (f", val. error {100 * (1 - row['val_accuracy']):.2f} %" if "val_accuracy" in row else "")


def clock(seconds: float) -> str:
    """3725 -> "1:02:05", 65 -> "01:05"."""
    minutes, s = divmod(round(seconds), 60)
    h, m = divmod(minutes, 60)
    return f"{h}:{m:02d}:{s:02d}" if h else f"{m:02d}:{s:02d}"


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
