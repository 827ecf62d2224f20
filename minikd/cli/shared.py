"""What several commands share: how they refuse, how they stop, which folder is theirs, and how many threads."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from ..experiments.files import claimed, is_unused, make_folder, resume_command
from ..fast.threads import blas_threads, chosen_by_user, limited_blas
from ..scale.pool import WorkerKilledError
from .process import exit_code, in_words

AND_OPTIONS = ", and the options that were given"


class UsageError(Exception):
    """The command was asked for something that cannot be."""


class Stopped(Exception):
    """A command that can go on has ended, with this exit code; the message says why, and how to go on."""

    def __init__(self, words: str, code: int) -> None:
        super().__init__(words)
        self.code = code


@contextmanager
def refused() -> Iterator[None]:
    """What refuses an argument within the block, by its name in Python, refuses the flag of that name."""
    try:
        yield
    except (ValueError, TypeError) as error:
        name, _, rest = str(error).partition(" ")
        raise UsageError(f"--{name.replace('_', '-')} {rest}") from None


@contextmanager
def resumable(command: str, folder: Path, more: str = "") -> Iterator[None]:
    """Whatever ends the block from outside (a signal, a full disk, too little memory) raises Stopped, which says how to
    go on with the run in this folder; `more` is said behind the command.
    """
    how = f"To go on: {resume_command(command, folder)}{more}"
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Stopped(f"stopped, and nothing is lost. {how}", exit_code(stop)) from None
    except BrokenPipeError:
        raise
    except (OSError, MemoryError, ImportError) as error:  # matplotlib may be broken
        raise Stopped(f"{in_words(error)}. What was trained is kept. {how}", 2) from error
    except WorkerKilledError as error:
        raise Stopped(f"{error}. {how}", 1) from error


@contextmanager
def threads_for(options: argparse.Namespace, threads: int | None) -> Iterator[None]:
    """NumPy's matrix products have so many threads within the block; with --verbose it says how many."""
    with limited_blas(threads):
        if options.verbose:
            why = "one for each core" if threads is None else "which suits the data"
            why = f"as {variable} says" if (variable := chosen_by_user()) else why
            print(f"minikd: threads for matrix products: {blas_threads() or 'unknown'}, {why}", file=sys.stderr)
        yield


@contextmanager
def run_folder(options: argparse.Namespace, name: str, resume: str = "use its networks") -> Iterator[Path]:
    """The folder of a run, for this process alone within the block: --out or a free one; empty, but for --resume.

    A folder that was made here and is still empty at the end is taken away again.
    """
    if options.resume and options.out is None:
        raise UsageError("--resume needs --out, the folder of the run to go on with")
    folder: Path = options.out or Path("runs")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    folder = options.out or _free_folder(name)
    try:
        with claimed(folder):
            if not options.resume and not is_unused(folder):
                raise UsageError(f"{folder} is there already: choose another --out, or {resume} with --resume")
            yield folder
    finally:
        if (options.out is None or missing) and is_unused(folder):
            shutil.rmtree(folder, ignore_errors=True)
            for path in missing:
                with suppress(OSError):  # it is gone already, or not empty
                    path.rmdir()


def where_to_look(what: str, folder: Path) -> str:
    """Where something is, and how to see it."""
    return f"{what} are in {folder}/\nTo look at them: {shlex.join(['minikd', 'explore', str(folder)])}"


def _free_folder(name: str) -> Path:
    """The first of runs/NAME-1, -2, ... that this process can make, and nobody else."""
    for n in count(1):
        with suppress(FileExistsError):
            (folder := Path("runs") / f"{name}-{n}").mkdir()
            return folder
    raise AssertionError("count ends nowhere")
