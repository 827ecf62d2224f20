"""Files in the folder of a run: JSON that is checked when read and written atomically, and a lock."""

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
FAR_AWAY = 1 << 30  # a position in the lock file behind all of its text
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)  # what unexpected content raises


def make_folder(folder: Path) -> None:
    """Make the folder of a run if it does not exist. CheckpointError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the folder {folder}: {error.strerror}") from error


def resume_command(command: str, folder: Path) -> str:
    """The shell command that continues the run in a folder."""
    return shlex.join(["minikd", *command.split(), "--resume", "--out", str(folder)])


def is_unused(folder: Path) -> bool:
    """Whether a folder is empty, apart from a lock and the temporary files of a save that was killed."""
    return all(path.name == LOCK or fnmatch(path.name, ".*.tmp") for path in folder.iterdir())


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Lock a folder for this process within the block. The locked file in the folder names the process.

    The system releases the lock however the process ends. CheckpointError if another process holds it.
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
        os.close(descriptor)  # another process deleted the file while it was opened
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with suppress(OSError):  # Windows does not delete an open file; the next process overwrites it
            path.unlink()
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> bool:
    """Lock an open file for this process; False if another holds it. A file system without locks is not guarded."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        os.lseek(descriptor, FAR_AWAY, os.SEEK_SET)  # a locked part cannot be read, but the text must be readable
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
    """Check that each of these is in `values` and a finite number; otherwise raise one of DAMAGED."""
    for name in names:
        check_number(name, values[name], -sys.float_info.max)


def write_json(path: Path, content: Any) -> None:
    """Write plain JSON, without NaN and infinities."""
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path, wanted: str, check: Callable[[Any], T], missing: str = "") -> T:
    """The result of `check` on the content of a JSON file; CheckpointError if it cannot be read or is invalid.

    Parameters
    ----------
    path : Path
        The file.
    wanted : str
        What the file should hold, for the message.
    check : callable
        Takes the content; raises one of DAMAGED if it is invalid.
    missing : str
        The message if there is no such file.
    """
    try:
        return check(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CheckpointError(missing or f"cannot read {path}: {error.strerror}") from error
    except DAMAGED as error:
        words = f"{path} does not hold {wanted}, or is damaged: {error!r}"
        raise CheckpointError(f"{words}. Restore a copy of the file, or start a new run in another folder") from error
