"""How an experiment reports its progress: it calls `notify`, and does not depend on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Notify(Protocol):
    """A function that is called after every epoch, or after every network.

    Parameters
    ----------
    done, total : int
        Epochs or networks that are done, and their total.
    words : str
        What is being done.
    stays : bool
        Whether the words are a result that stays on the screen.
    left : float or None
        Seconds that are left, if there is a better estimate than from the steps so far.
    """

    def __call__(self, done: int, total: int, words: str, *, stays: bool = False, left: float | None = None) -> None:
        """Show the progress."""


def silent(done: int, total: int, words: str, *, stays: bool = False, left: float | None = None) -> None:
    """Show nothing."""


def epoch_words(row: Mapping[str, Any], epochs: int) -> str:
    """A row of a History in a few words: "epoch 3/100, loss 0.083, val. error 2.35 %"."""
    words = f"epoch {row['epoch']}/{epochs}, loss {row['loss']:.3g}"
    return words + (f", val. error {100 * (1 - row['val_accuracy']):.2f} %" if "val_accuracy" in row else "")


def clock(seconds: float) -> str:
    """3725 -> "1:02:05", 65 -> "01:05"."""
    minutes, s = divmod(round(seconds), 60)
    h, m = divmod(minutes, 60)
    return f"{h}:{m:02d}:{s:02d}" if h else f"{m:02d}:{s:02d}"
