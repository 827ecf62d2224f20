"""Files in the folder of a run: JSON that is checked as it is read, and written atomically."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from ..checkpoint import write_atomically
from ..checks import check_number
from ..errors import CheckpointError

T = TypeVar("T")
LOCK = ".lock"  # in the folder of a run, while a process works on it
FAR_AWAY = 1 << 30  # a place in the lock's file behind all that is written there
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)  # what odd content raises


def make_folder(folder: Path) -> None:
    """Make the folder of a run, unless it is there. CheckpointError where that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the folder {folder}: {error.strerror}") from error


def resume_command(command: str, folder: Path) -> str:
    """What goes on with the run in a folder, as one writes it in a shell."""
    return shlex.join(["minikd", *command.split(), "--resume", "--out", str(folder)])


def is_unused(folder: Path) -> bool:
    """Whether a folder holds nothing, or no more than a lock and what a first save that was killed has left."""
    return all(path.name == LOCK or fnmatch(path.name, ".*.tmp") for path in folder.iterdir())


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Within the block this process alone writes into a folder: a locked file in it says which process that is.

    The system takes the lock away when the process ends, in whatever way. CheckpointError where another holds it.
    """
    path = folder / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        if not _lock(descriptor):
            os.close(descriptor)
            holder = (path.read_text(encoding="utf-8") if path.exists() else "") or "another process"
            raise CheckpointError(f"{folder} is in use by {holder}: let it end, or stop it")
        if _is_at(path, descriptor):
            break
        os.close(descriptor)  # another process has taken the file away as it was opened
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with suppress(OSError):  # Windows keeps a file that is open: it is empty for the next one, or overwritten
            path.unlink()
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> bool:
    """Lock an open file for this process; False where another has it. A disk that knows no locks is not guarded."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        os.lseek(descriptor, FAR_AWAY, os.SEEK_SET)  # what is locked cannot be read, and the text should be
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    with suppress(OSError):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def check_numbers(values: dict[str, Any], names: Iterable[str]) -> None:
    """Each of these must be among `values`, and a finite number; what else raises one of DAMAGED."""
    for name in names:
        check_number(name, values[name], -sys.float_info.max)


def write_json(path: Path, content: Any) -> None:
    """Write plain JSON, without NaN and infinities."""
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path, wanted: str, check: Callable[[Any], T], missing: str = "") -> T:
    """What `check` makes of the content of a JSON file; it raises one of DAMAGED where something is wrong.

    wanted   what the file should hold, for the message;  missing  what to say where there is no such file

    CheckpointError, which names the file, where it cannot be read or holds something else.
    """
    try:
        return check(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CheckpointError(missing or f"cannot read {path}: {error.strerror}") from error
    except DAMAGED as error:
        words = f"{path} does not hold {wanted}, or is damaged: {error!r}"
        raise CheckpointError(f"{words}. Put a whole copy in its place, or run it anew in another folder") from error
