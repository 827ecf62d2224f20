"""The pool of workers: joblib runs tasks on the cores of this machine, or Dask on a cluster.

In Python::

    with pool(4) as workers:
        for result in workers.as_completed(function, [(1, "a"), (2, "b")]): ...

Sweeps, comparisons, `reproduce --jobs` and grading use it. Dask is an extra (`minikd[dask]`).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import starmap
from typing import Any

from .. import fast
from ..errors import DeviceError, MinikdError
from ..fast.threads import chosen_by_user, cores, limited_blas

SCHEDULER_SECONDS = 5.0  # the time in which a scheduler must answer
FIRST_WORKER_SECONDS = 30.0  # the time in which a cluster must have its first worker: it may have just started
LISTENING_SECONDS = 0.05  # between two looks for messages of workers
MOST_ON_WINDOWS = 61  # processes that one process can wait for on Windows
PARENT_SECONDS = 0.1  # between two checks of a worker whether its parent still exists


class WorkerKilledError(MinikdError):
    """A process of the pool ended before its task did."""


@dataclass(frozen=True)
class Workers:
    """Where tasks run, `count` of them at a time; see `pool`."""

    count: int
    _backend: dict[str, Any] = field(default_factory=dict)  # joblib's, or a Dask client; empty: one task after another

    def as_completed(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """`function(*task)` for each task, in the order in which they finish. Other workers start at once.

        An error in a task is raised here, and the tasks that wait are dropped. WorkerKilledError if a process of this
        machine was killed. If a worker of a cluster dies, its tasks are given to another.
        """
        if not self._backend:
            return starmap(function, tasks)
        return _guarded(self._parallel("generator_unordered", function, tasks))

    def map(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> list[Any]:
        """`function(*task)` for each task, a list in the order of the tasks. It raises what `as_completed` raises."""
        return list(
            _guarded(self._parallel("generator", function, tasks)) if self._backend else starmap(function, tasks)
        )

    def _parallel(self, return_as: str, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Any:
        if (client := self._backend.get("client")) is not None:  # joblib would not use a cluster that has one core
            from distributed import as_completed

            futures = [client.submit(function, *task, pure=False) for task in tasks]
            in_order = return_as == "generator"
            return (f.result() for f in (futures if in_order else as_completed(futures, loop=client.loop)))  # type: ignore[no-untyped-call, unused-ignore]
        import joblib

        with joblib.parallel_config(**self._backend, max_nbytes=None):
            # One task at a time, not in batches: each result must be on the disk before the next task can fail.
            parallel = joblib.Parallel(return_as=return_as, batch_size=1, pre_dispatch="all")
            return parallel(joblib.delayed(function)(*task) for task in tasks)


@contextmanager
def pool(
    jobs: int | None = None,
    *,
    dask: str | None = None,
    threads: bool = False,
    blas_threads: int | None = None,
    hear: Callable[..., None] | None = None,
) -> Iterator[Workers]:
    """`jobs` workers at a time (None: one for each core): processes that live as long as the block.

    One worker is this process itself. Several workers share the cores: each uses as many threads for matrix products as
    there are cores for it, unless the user's environment or `blas_threads` sets another number. Ctrl-C interrupts the
    process that waits, and the workers ignore it. Functions, tasks and results must be picklable.

    Parameters
    ----------
    jobs : int, optional
        The number of workers.
    dask : str, optional
        The address of a scheduler: use the workers of that Dask cluster instead.
    threads : bool
        Use threads of this process instead.
    blas_threads : int, optional
        Threads for matrix products in each worker.
    hear : callable, optional
        A thread of this process calls it with the arguments of each `tell` in a worker process of this machine.

    Raises
    ------
    DeviceError
        Dask is missing, the address is wrong, nothing answers there, or the cluster has no workers.
    """
    if dask is not None:
        client = _client(dask)
        try:
            yield Workers(sum(client.ncores().values()), {"client": client})
        finally:
            client.close(timeout=SCHEDULER_SECONDS)
        return
    count = jobs or cores()
    count = count if threads or count == 1 else _most_processes(count)
    if threads or count == 1:
        with limited_blas(blas_threads):
            yield Workers(count, {"backend": "threading", "n_jobs": count} if count > 1 else {})
        return
    from joblib.externals.loky import backend as loky
    from joblib.externals.loky import get_reusable_executor

    told = loky.get_context("loky").SimpleQueue() if hear else None
    say = None if told is None else told.put
    backend = {"backend": "loky", "n_jobs": count, "initializer": _begin, "initargs": (fast.quiet, say, os.getpid())}
    share = max(1, cores() // count) if blas_threads is None else blas_threads
    with _listening(told, hear) if hear else nullcontext(), _loky_quiet():
        try:
            yield Workers(count, {**backend, "inner_max_num_threads": None if chosen_by_user() else share})
        finally:
            # Otherwise joblib would keep the processes for the next call, with the environment of this one.
            get_reusable_executor().shutdown(wait=True)


@contextmanager
def _loky_quiet() -> Iterator[None]:
    """Within the block a KeyError in loky's thread is not printed: it comes from a race while a pool ends."""
    before = threading.excepthook

    def hook(raised: Any) -> None:
        if not (raised.exc_type is KeyError and raised.thread and raised.thread.name == "ExecutorManagerThread"):
            before(raised)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _most_processes(wanted: int) -> int:
    """As many processes as the system can run together for a pool, at most `wanted`."""
    from joblib.externals.loky.backend import get_context

    try:
        get_context("loky").Lock()
    except OSError:  # no usable /dev/shm; joblib reports that it runs one task after another
        return 1
    return min(wanted, MOST_ON_WINDOWS) if sys.platform == "win32" else wanted


_say: Any = None  # in a worker: the function that puts words into the queue to the process that started it


def tell(*words: Any) -> None:
    """In a task on a worker process: pass these words to the `hear` of the pool. Elsewhere it does nothing."""
    if _say is not None:
        _say(words)


@contextmanager
def _listening(told: Any, hear: Callable[..., None]) -> Iterator[None]:
    """Within the block a thread calls `hear` with each message in the queue `told`, and at the end with what is left.

    The thread polls the queue, and this process puts nothing into it: a worker that was killed may still hold the lock
    of the queue.
    """
    ended = threading.Event()

    def listen() -> None:
        last = False
        while not last:
            last = ended.wait(LISTENING_SECONDS)
            while not told.empty():
                hear(*told.get())

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _begin(quiet: bool, say: Any, parent: int) -> None:
    """The first thing that a worker process runs. Its parent may have been killed already."""
    global _say
    _say = say
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fast.quiet = quiet
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker after the process that started it was killed (on POSIX, where the parent's id changes then)."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _guarded(results: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from results
    except BrokenProcessPool as error:
        words = "a worker process was killed, perhaps because memory ran out; what was finished is kept"
        raise WorkerKilledError(words) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "distributed":
            raise
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        words = f"the Dask cluster has gone or has lost its workers ({reason})"
        raise WorkerKilledError(f"{words}; what was finished is kept") from error


def _client(address: str) -> Any:
    """A client of the Dask cluster at an address such as tcp://10.0.0.1:8786, which must have at least one worker."""
    try:
        from distributed import Client
        from distributed.comm import parse_address, parse_host_port
    except ImportError as error:
        raise DeviceError("--dask needs Dask: pip install 'minikd[dask]'") from error
    try:
        scheme, place = parse_address(address)
        host, port = parse_host_port(place)
        if scheme not in ("tcp", "tls"):
            raise ValueError(f"tcp or tls is wanted, not {scheme}")
    except ValueError as error:
        raise DeviceError(f"--dask must be an address such as tcp://10.0.0.1:8786, got {address!r}: {error}") from None
    _check_that_a_scheduler_answers(address, scheme, host, port)
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # no tracebacks: `_guarded` reports errors
    try:
        client: Any = Client(address, timeout=SCHEDULER_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call, unused-ignore]
    except (OSError, RuntimeError, ValueError) as error:
        raise DeviceError(f"no Dask scheduler answers at {address}: {error}") from error
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
    except TimeoutError as error:
        client.close(timeout=SCHEDULER_SECONDS)
        raise DeviceError(f"the Dask cluster at {address} has no workers: start some, dask worker {address}") from error
    return client


def _check_that_a_scheduler_answers(address: str, scheme: str, host: str, port: int) -> None:
    """DeviceError unless a server at the address sends bytes first, as Dask does. Dask's client may wait for ever."""
    try:
        with socket.create_connection((host, port), timeout=SCHEDULER_SECONDS) as connection:
            if scheme == "tcp" and not connection.recv(1):
                raise OSError("the connection was closed")
    except OSError as error:
        raise DeviceError(f"no Dask scheduler answers at {address}: {error}") from error
