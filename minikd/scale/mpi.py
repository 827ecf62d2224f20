"""Processes that `mpiexec` started: how many there are, which one this is, and how all of them end together.

In a shell::

    mpiexec -n 4 minikd distill --data mnist

This costs nothing if minikd runs alone: mpi4py is imported only if the environment shows that several processes were
started together.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import Any

# Variables of MPICH and its relatives (Intel MPI, MVAPICH) and of Open MPI: how many processes, and which this is.
SIZE, RANK = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "OMPI_COMM_WORLD_RANK")
HERE, HERE_RANK = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE"), ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK")
GRACE = 1.0  # seconds in which the first process may print an error, before the others print it again
FORWARDING = 0.3  # seconds in which mpiexec may pass on what was printed, before an abort ends it also


def from_environment(names: tuple[str, ...], default: int) -> int:
    """The first of these environment variables that is a whole number, or `default`."""
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()), default)


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return from_environment(RANK, 0) == 0


def neighbours() -> int:
    """How many processes mpiexec started on this machine. They share its cores."""
    return max(1, from_environment(HERE, 1))


def is_together() -> bool:
    """Whether mpiexec started this process together with others."""
    return from_environment(SIZE, 1) > 1


def world() -> Any:
    """All processes that mpiexec started, as a communicator of mpi4py. None if this one runs alone.

    DeviceError if mpi4py is missing.
    """
    if not is_together():
        return None
    try:
        from mpi4py import MPI
    except ImportError as error:
        from ..errors import DeviceError  # here, because it imports NumPy

        raise DeviceError(
            f"mpiexec started {from_environment(SIZE, 1)} processes. To train one network with them, minikd needs "
            f"mpi4py: pip install 'minikd[mpi]' ({error})"
        ) from error
    end_together(MPI.COMM_WORLD)
    return MPI.COMM_WORLD


def end_together(comm: Any) -> None:
    """From now on an uncaught error ends all processes. Otherwise the others would wait for this one for ever."""
    if getattr(sys.excepthook, "ends_together", False):
        return
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        before(kind, error, where)
        _end(comm, 1)

    hook.ends_together = True  # type: ignore[attr-defined]
    sys.excepthook = hook


@contextmanager
def job() -> Iterator[None]:
    """Within the block, an exit with an error ends all processes with the same code. Only the first one prints."""
    if not is_together() or find_spec("mpi4py") is None:  # without mpi4py nothing connects them
        yield
        return
    printed = sys.stdout
    if not is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)
    try:
        yield
    except SystemExit as error:
        if error.code:
            _end(world(), error.code if isinstance(error.code, int) else 1)
        raise
    except BaseException:
        traceback.print_exc()
        _end(world(), 1)
    finally:
        sys.stdout = printed


def let_the_first_speak() -> None:
    """Wait a moment if another process most likely prints the same message, and then ends this one."""
    if is_together() and not is_first():
        time.sleep(GRACE)


def _end(comm: Any, code: int) -> None:
    rank, size = comm.Get_rank(), comm.Get_size()
    print(f"minikd: process {rank} of {size} has failed, so all processes end", file=sys.stderr, flush=True)
    sys.stdout.flush()
    time.sleep(FORWARDING)
    comm.Abort(code)
