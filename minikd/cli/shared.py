"""What several commands share: how they refuse, how they stop, which folder is theirs, and how many threads."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from ..fast.threads import blas_threads, chosen_by_user, limited_blas


class UsageError(Exception):
    """The command was asked for something that cannot be."""


class Stopped(Exception):
    """Ctrl-C stopped a command that can go on; the message says how."""


@contextmanager
def refused() -> Iterator[None]:
    """What refuses an argument within the block, by its name in Python, refuses the flag of that name."""
    try:
        yield
    except (ValueError, TypeError) as error:
        name, _, rest = str(error).partition(" ")
        raise UsageError(f"--{name.replace('_', '-')} {rest}") from None


@contextmanager
def stopped(how: str) -> Iterator[None]:
    """Ctrl-C within the block raises Stopped, which says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"stopped, and nothing is lost. To go on: {how}") from None


@contextmanager
def threads_for(options: argparse.Namespace, threads: int | None) -> Iterator[None]:
    """NumPy's matrix products have so many threads within the block; with --verbose it says how many."""
    with limited_blas(threads):
        if options.verbose:
            why = "one for each core" if threads is None else "which suits the data"
            why = f"as {variable} says" if (variable := chosen_by_user()) else why
            print(f"minikd: threads for matrix products: {blas_threads() or 'unknown'}, {why}", file=sys.stderr)
        yield


def new_folder(options: argparse.Namespace, name: str, resume: str = "use its networks") -> Path:
    """The folder of a run: --out or a free one, new or empty; or with --resume one that is there."""
    if options.resume and options.out is None:
        raise UsageError("--resume needs --out, the folder of the run to go on with")
    folder: Path = options.out or next(path for n in count(1) if not (path := Path("runs") / f"{name}-{n}").exists())
    if not options.resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: choose another --out, or {resume} with --resume")
    return folder
