"""What several commands share: errors about arguments, stopping and resuming, the folder of a run, and threads."""

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
    """The arguments of the command are wrong."""


class Stopped(Exception):
    """A command that can be resumed has stopped, with this exit code. The message says why, and how to resume it."""

    def __init__(self, words: str, code: int) -> None:
        super().__init__(words)
        self.code = code


@contextmanager
def refused() -> Iterator[None]:
    """Turn a ValueError or TypeError about an argument in the block into a UsageError about the flag of that name."""
    try:
        yield
    except (ValueError, TypeError) as error:
        name, _, rest = str(error).partition(" ")
        raise UsageError(f"--{name.replace('_', '-')} {rest}") from None


@contextmanager
def resumable(command: str, folder: Path, more: str = "") -> Iterator[None]:
    """Raise Stopped if a signal, a full disk or too little memory ends the block.

    The message names the command that resumes the run in this folder, followed by `more`.
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
    """Limit NumPy's matrix products to this number of threads within the block; with --verbose, print the number."""
    with limited_blas(threads):
        if options.verbose:
            why = "one for each core" if threads is None else "which suits the data"
            why = f"as {variable} says" if (variable := chosen_by_user()) else why
            print(f"minikd: threads for matrix products: {blas_threads() or 'unknown'}, {why}", file=sys.stderr)
        yield


@contextmanager
def run_folder(options: argparse.Namespace, name: str, resume: str = "use its networks") -> Iterator[Path]:
    """The folder of a run, locked for this process within the block: --out, or a new one. Only --resume may find files.

    A folder that was made here and is still empty at the end is removed.
    """
    if options.resume and options.out is None:
        raise UsageError("--resume needs --out, the folder of the run to continue")
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
                with suppress(OSError):  # it was removed meanwhile, or is not empty
                    path.rmdir()


def where_to_look(what: str, folder: Path) -> str:
    """Where the results are, and the command that shows them."""
    return f"{what} are in {folder}/\nTo look at them: {shlex.join(['minikd', 'explore', str(folder)])}"


def _free_folder(name: str) -> Path:
    """The first of runs/NAME-1, -2, ... that this process can create; no other process gets the same one."""
    for n in count(1):
        with suppress(FileExistsError):
            (folder := Path("runs") / f"{name}-{n}").mkdir()
            return folder
    raise AssertionError("count ends nowhere")
