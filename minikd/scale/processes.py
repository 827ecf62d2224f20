"""Several processes train one network: each takes its share of every batch, and their gradients are summed.

As a command, and in a script that mpiexec runs::

    mpiexec -n 4 minikd distill --data mnist
    fit(model, x, labels, loss=..., processes=Processes(MPI.COMM_WORLD))

The loss of a batch is the mean over its n rows. If process r has n_r of them, and g_r is the gradient of the mean over
these, then the gradient of the batch is::

    g = sum_r (n_r / n) g_r

All gradients are in one flat vector, so this is one sum over processes (Allreduce) in each step. The loss is one more
number in that sum. All processes then take the same step from the same bits. Parameters are sent once, at the start.
With N processes, fit gives what it gives with one, to the rounding of that sum, because all processes draw the same
random numbers. The order of the samples comes from (seed, epoch) alone. Each process augments the whole batch and draws
dropout masks for the whole batch, and then keeps its rows. These two therefore cost each process as much as they cost a
single one.

What differs: a loss that compares the samples of a batch with each other (rkd, sp, pkt, a part of dist) sees only the
rows of its process. Each process holds all of x, evaluates all validation data and asks the teacher about all of x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np

from ..backend import Array, to_device, to_numpy, xp_of
from ..checks import describe
from ..metrics import History
from ..training import Alone
from .mpi import HERE_RANK, end_together, from_environment

T = TypeVar("T")


class Processes(Alone):
    """The processes of a communicator of mpi4py, seen from one of them. Without a communicator, this process alone."""

    def __init__(self, comm: Any = None) -> None:
        self.comm, self.rank, self.size, self.weight = comm, 0, 1, 1.0
        self._rows, self._batch = slice(0, 0), 0
        self._buffer: Array = None
        if comm is None:
            return
        if not all(hasattr(comm, name) for name in ("Allreduce", "bcast", "Get_rank", "Get_size")):
            raise TypeError(f"comm must be a communicator of mpi4py, such as MPI.COMM_WORLD, got {describe(comm)}")
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.first = self.rank == 0
        if self.size > 1:
            from mpi4py import MPI

            self._in_place = MPI.IN_PLACE
            end_together(comm)

    def share(self, batch: int) -> slice:
        """The rows of a batch that are this process's. If it has none, one row, which will have weight 0."""
        low, high = batch * self.rank // self.size, batch * (self.rank + 1) // self.size
        self.weight = (high - low) / batch
        self._rows, self._batch = slice(low, high) if low < high else slice(0, 1), batch
        return self._rows

    def sum(self, loss: Array, grad: Array) -> Array:
        """The loss of the whole batch, from this process's share of it. `grad` becomes its gradient, in place."""
        if self.size == 1:
            return loss
        if self._buffer is None:
            self._buffer = xp_of(grad).empty(len(grad) + 1, grad.dtype)
        buffer = self._buffer
        buffer[:-1], buffer[-1] = grad, loss
        if self.weight:
            buffer *= self.weight
        else:
            buffer[...] = 0  # not 0 times the gradient of a row of another process, which may be NaN
        self.add_up(buffer)
        grad[...] = buffer[:-1]
        return buffer[-1]

    def add_up(self, vector: Array) -> None:
        """The sum of all processes' vectors, in place, with the same bits in each of them."""
        xp = xp_of(vector)
        if xp is np:
            self.comm.Allreduce(self._in_place, vector)
        elif self.takes_gpu_arrays():
            xp.cuda.get_current_stream().synchronize()  # MPI does not know of CUDA's streams
            self.comm.Allreduce(self._in_place, vector)
        else:
            host = to_numpy(vector)
            self.comm.Allreduce(self._in_place, host)
            vector[...] = to_device(host, "cuda")

    def takes_gpu_arrays(self) -> bool:
        """Whether this MPI is CUDA-aware, as MPI 4.1 reports it. An MPI without that report gets copies on the host."""
        info = self.comm.Get_info()
        return "cuda" in (info.get("mpi_memory_alloc_kinds") or "")

    def choose_gpu(self, xp: Any) -> None:
        """Assign the GPUs of a machine to its processes in turn, before a network is made. Nothing for NumPy."""
        if xp is not np and self.size > 1:
            xp.cuda.Device(from_environment(HERE_RANK, self.rank) % xp.cuda.runtime.getDeviceCount()).use()

    def from_first(self, work: Callable[[], T]) -> T:
        """The result of `work()` in the first process, in all of them. If it raises, all of them raise the same."""
        if self.size == 1:
            return work()
        outcome: tuple[Any, Exception | None] = (None, None)
        if self.first:
            try:
                outcome = (work(), None)
            except Exception as raised:
                outcome = (None, raised)
        result, error = self.comm.bcast(outcome)
        if error is not None:
            raise error
        return cast(T, result)

    def begin(self, run: Any, resume: Callable[[], History]) -> History:
        """Start all processes from the state of the first one: its parameters, its optimizer's state, its history.

        `resume` restores that state in the first process. ValueError if the processes were called with different
        arguments.
        """
        if self.size == 1:
            return resume()
        self._buffer = None  # it was probably made for another network
        facts = {"rows of x": len(run.x), "model": run.model.metadata()["mlp"], "lr": run.lr}
        facts |= {name: getattr(run, name) for name in ("epochs", "batch_size", "seed")}
        for rank, theirs in enumerate(self.comm.allgather(facts)):
            self._compare(facts, rank, theirs)
        history = self.from_first(resume)
        state = {name: v if name == "t" else to_numpy(v) for name, v in run.optimizer.state().items()}
        theta, state = self.comm.bcast((to_numpy(run.model.theta), state))
        run.model.theta[...] = to_device(theta, run.model.device)
        if state["t"]:
            run.optimizer.restore(state)
        return history

    def _compare(self, mine: dict[str, Any], rank: int, theirs: dict[str, Any]) -> None:
        for name, value in theirs.items():
            if value != mine[name]:
                words = f"got {mine[name]} in process {self.rank}, {value} in process {rank}"
                raise ValueError(f"{name} must be the same in all processes, {words}")

    @contextmanager
    def sharing(self, model: Any) -> Iterator[None]:
        """Within the block, dropout draws the masks of a whole batch, and takes this process's rows."""
        if self.size == 1:
            yield
            return
        generator = model._rng
        model._rng = self
        self._generator = generator
        try:
            yield
        finally:
            model._rng = generator

    def integers(self, low: int, high: int, size: tuple[int, ...], dtype: str) -> Array:
        """Random integers as a generator draws them for the whole batch, of which this process's rows are returned."""
        return self._generator.integers(low, high, size=(self._batch, *size[1:]), dtype=dtype)[self._rows]
