"""Tasks spread over processes by joblib: on the cores of this machine, or on a Dask cluster. Results as they come.

joblib and Dask are extras (`minikd[sweep]`, `minikd[dask]`): without them this says what to install.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from ..errors import DeviceError, MinikdError

PATIENCE = 5.0  # seconds in which a scheduler must answer
START = 30.0  # seconds in which a cluster must have its first worker: it may have been started just now


class Workers:
    """Where tasks run. `count` processes (with Dask: threads of the cluster) at a time."""

    def __init__(self, count: int, joblib: Any, client: Any = None) -> None:
        self.count, self._joblib, self._client = count, joblib, client

    def as_they_come(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """function(*task) for each task, in the order in which they are finished.

        What a task raises is raised here, and the tasks that wait are dropped. MinikdError where a process of this
        machine was killed. A worker of a cluster may die: its tasks are given to another.
        """
        where: dict[str, Any] = {"backend": "loky", "n_jobs": self.count, "inner_max_num_threads": 1}
        if self._client is not None:
            where = {"backend": "dask", "client": self._client}
        elif self.count == 1:
            where = {"backend": "sequential"}
        with self._joblib.parallel_config(**where):
            # One task at a time, not in batches: a result must be on the disk before the next is at stake.
            parallel = self._joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
            try:
                yield from parallel(self._joblib.delayed(function)(*task) for task in tasks)
            except BrokenProcessPool as error:
                words = "a worker process was killed, perhaps for want of memory; what was finished is kept"
                raise MinikdError(words) from error


@contextmanager
def workers(jobs: int | None = None, dask: str | None = None) -> Iterator[Workers]:
    """`jobs` processes on this machine (None: one for each core), or those of the Dask cluster at the address `dask`.

    DeviceError where joblib or Dask is missing, where the address cannot be one or nobody answers there, and where the
    cluster has no workers.
    """
    try:
        import joblib
    except ImportError as error:
        raise DeviceError("a sweep needs joblib: pip install 'minikd[sweep]'") from error
    if dask is None:
        yield Workers(jobs or joblib.cpu_count(), joblib)
        return
    client = _client(dask)
    try:
        yield Workers(sum(client.ncores().values()), joblib, client)
    finally:
        client.close(timeout=PATIENCE)


def _client(address: str) -> Any:
    """A client of the Dask cluster at an address such as tcp://10.0.0.1:8786, that has at least one worker."""
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
    _knock(address, scheme, host, port)
    try:
        client: Any = Client(address, timeout=PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call, unused-ignore]
    except (OSError, RuntimeError, ValueError) as error:
        raise DeviceError(f"no Dask scheduler answers at {address}: {error}") from error
    try:
        client.wait_for_workers(1, timeout=START)
    except TimeoutError as error:
        client.close(timeout=PATIENCE)
        raise DeviceError(f"the Dask cluster at {address} has no workers: start some, dask worker {address}") from error
    return client


def _knock(address: str, scheme: str, host: str, port: int) -> None:
    """DeviceError unless somebody is there who speaks first, as Dask does. Its own client may wait for ever instead."""
    try:
        with socket.create_connection((host, port), timeout=PATIENCE) as connection:
            if scheme == "tcp" and not connection.recv(1):
                raise OSError("the connection was closed")
    except OSError as error:
        raise DeviceError(f"no Dask scheduler answers at {address}: {error}") from error


def in_processes(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], jobs: int) -> list[Any]:
    """function(*task) for each task, so many at a time, in processes that share the cores out; results in order.

    `function` must be one that a fresh process can import.
    """
    # A fresh process reads this when its NumPy loads.
    os.environ["OPENBLAS_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        return list(pool.map(function, *zip(*tasks, strict=True)))


@contextmanager
def beside(function: Callable[..., Any], *arguments: Any) -> Iterator[None]:
    """Run function(*arguments) in a process of its own while the block runs, on another core; raises what it raises.

    `function` must be one that a fresh process can import. With one core it runs afterwards.
    """
    if (os.cpu_count() or 1) < 2:
        yield
        function(*arguments)
        return
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        running = pool.submit(function, *arguments)
        yield
        running.result()
