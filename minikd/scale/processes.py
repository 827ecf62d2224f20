"""Several processes train one network: each takes its share of every batch, and their gradients are added up.

    mpiexec -n 4 minikd distill --data mnist                  the command
    fit(model, x, labels, loss=..., processes=Processes(MPI.COMM_WORLD))      in a script that mpiexec runs

The loss of a batch is a mean over its n rows. If process r has n_r of them, and g_r is the gradient of the mean over
these, then the gradient of the batch is

    g = sum_r (n_r / n) g_r

All gradients stand in one flat vector, so that this is one sum over processes (Allreduce) a step, in which the loss
rides along as one more number. All processes then take the same step from the same bits; parameters are sent once, at
the start. With N processes, fit gives what it gives alone, to the rounding of that sum, because they draw the same
random numbers: the order of the samples comes from (seed, epoch) alone; augmentation is given the whole batch by every
process, which then keeps its rows; and so are dropout masks. These two cost each process what they cost one alone.

What differs: a loss that compares the samples of a batch with each other (rkd, sp, pkt, a part of dist) sees only its
process's share. Each process holds all of x, evaluates all of the validation data and asks the teacher about all of x.
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
    """The processes of a communicator of mpi4py, seen from one of them; without a communicator, this one alone."""

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
        """Which rows of a batch are this process's. Where it has none, one row, that will count nothing."""
        low, high = batch * self.rank // self.size, batch * (self.rank + 1) // self.size
        self.weight = (high - low) / batch
        self._rows, self._batch = slice(low, high) if low < high else slice(0, 1), batch
        return self._rows

    def sum(self, loss: Array, grad: Array) -> Array:
        """The loss of the whole batch, from this process's share of it; and `grad`, in place, its gradient."""
        if self.size == 1:
            return loss
        if self._buffer is None:
            self._buffer = xp_of(grad).empty(len(grad) + 1, grad.dtype)
        buffer = self._buffer
        buffer[:-1], buffer[-1] = grad, loss
        if self.weight:
            buffer *= self.weight
        else:
            buffer[...] = 0  # and not 0 times whatever a row that is not its own gave
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
        """Whether this MPI is CUDA-aware, as MPI 4.1 has it say; one that does not say gets copies on the host."""
        info = self.comm.Get_info()
        return "cuda" in (info.get("mpi_memory_alloc_kinds") or "")

    def choose_gpu(self, xp: Any) -> None:
        """Let the processes of one machine take its GPUs in turn; nothing for NumPy. Before a network is made."""
        if xp is not np and self.size > 1:
            xp.cuda.Device(from_environment(HERE_RANK, self.rank) % xp.cuda.runtime.getDeviceCount()).use()

    def from_first(self, work: Callable[[], T]) -> T:
        """What `work()` returns in the first process, in all of them; or what it raises."""
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
        """Start all processes from where the first one is: its parameters, its optimizer's state, its history.

        resume  what the first one does to get there. ValueError where the processes were asked for different things
        """
        if self.size == 1:
            return resume()
        self._buffer = None  # of another network, most likely
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
        """Within it, dropout draws the masks of a whole batch, and takes this process's rows."""
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
        """Random integers as a generator draws them for the whole batch; of them, this process's rows."""
        return self._generator.integers(low, high, size=(self._batch, *size[1:]), dtype=dtype)[self._rows]
