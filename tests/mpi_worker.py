"""What mpiexec runs in tests/test_parallel.py: `python mpi_worker.py JOB [OUT]`, in every process.

The jobs are also run in one process, without MPI, to be compared with.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from minikd import MLP, SGD, Adam, cross_entropy, distill, fit
from minikd.methods import METHODS
from minikd.mlp import MLP as Network
from minikd.optim import cosine
from minikd.scale.processes import Processes

TOGETHER = tuple(name for name, method in METHODS.items() if method.parallel)
ROWS, INPUTS, CLASSES = 50, 6, 4
# Batches of 16 leave one of 2 rows: of 3 or 4 processes some then have none. 7 is shared by none of 2, 3 and 4.
CASES: dict[str, dict[str, Any]] = {
    "even": {"batch_size": 12},
    "uneven": {"batch_size": 7},
    "some without rows": {"batch_size": 16},
    "one row a batch": {"batch_size": 1, "epochs": 1},
    "float32": {"batch_size": 16, "dtype": "float32"},
    "dropout": {"batch_size": 16, "dropout": (0.2, 0.5)},
    "augmented": {"batch_size": 16, "augment": True},
    "both": {"batch_size": 7, "augment": True, "dropout": (0.2, 0.5)},
    "distilled": {"batch_size": 16, "teacher": True},
    "augmented teacher": {"batch_size": 16, "teacher": True, "augment": True},
    "sgd": {"batch_size": 16, "optimizer": SGD},
}


def mixed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An augmentation that mixes the rows of a batch with each other, so that a share of it would not do."""
    return x + 0.1 * x[rng.permutation(len(x))] + 0.01 * rng.standard_normal(x.shape)


def data() -> tuple[np.ndarray, np.ndarray]:
    """Samples and labels, the same in every process."""
    rng = np.random.default_rng(5)
    return rng.standard_normal((ROWS, INPUTS)), rng.integers(0, CLASSES, ROWS)


def train(comm: Any, **case: Any) -> tuple[Network, list[float]]:
    """One of the cases: the network and the losses of its epochs."""
    x, labels = data()
    dtype = case.pop("dtype", "float64")
    model = MLP((INPUTS, 9, CLASSES), dtype=dtype, dropout=case.pop("dropout", 0.0), seed=3)
    optimizer = case.pop("optimizer", Adam)(model, 0.01)
    teacher = MLP((INPUTS, 20, CLASSES), dtype=dtype, seed=8) if case.pop("teacher", False) else None
    options = {
        "epochs": 3,
        "schedule": cosine(),
        "progress": False,
        "optimizer": optimizer,
        "processes": Processes(comm),
        **case,
    }
    options["augment"] = mixed if options.get("augment") else None
    if teacher is None:
        history = fit(model, x, labels, loss=cross_entropy, **options)
    else:
        history = distill(model, teacher, x, labels, **options)
    return model, history["loss"]


def cases(comm: Any) -> dict[str, np.ndarray]:
    """Parameters and losses of every case; with several processes, all of them must hold the same bits."""
    found = {}
    for name, case in CASES.items():
        model, losses = train(comm, **case)
        if comm is not None:
            bits = comm.allgather(model.theta.tobytes())
            assert all(other == bits[0] for other in bits), f"{name}: the processes have come apart"
        found[f"{name} theta"], found[f"{name} losses"] = model.theta, np.array(losses)
    return found


def methods(comm: Any, names: tuple[str, ...] = TOGETHER) -> dict[str, np.ndarray]:
    """Parameters by the methods of the gallery that say they can be shared out."""
    x, labels = data()
    found = {}
    for name in names:
        student, teacher = (MLP((INPUTS, 9, CLASSES), dtype="float64", seed=s) for s in (3, 8))
        METHODS[name].train(
            student, teacher, x, labels, epochs=3, batch_size=16, progress=False, processes=Processes(comm)
        )
        found[name] = student.theta
    return found


def resumable(comm: Any, epochs: int, checkpoint: Path) -> dict[str, np.ndarray]:
    """So many epochs, from a checkpoint if there is one."""
    options = {"epochs": epochs, "checkpoint": checkpoint, "resume": True, "schedule": None}
    model, losses = train(comm, batch_size=16, dropout=(0.2, 0.5), **options)
    return {"theta": model.theta, "losses": np.array(losses)}


def failing(comm: Any, how: str) -> None:
    """The last process fails in its second epoch, the way that is asked for; the others would wait for ever."""
    last = comm.Get_rank() == comm.Get_size() - 1

    def fail(model: Network, history: Any) -> None:
        if last and how == "raise":
            raise RuntimeError("out of luck")
        if last and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    x, labels = data()
    if how == "different":
        x, labels = (x[1:], labels[1:]) if last else (x, labels)
    model = MLP((INPUTS, 9, CLASSES), dtype="float64")
    optimizer = SGD(model, 1e200 if how == "diverge" else 1e-3)
    options = {"optimizer": optimizer, "processes": Processes(comm), "progress": False, "callbacks": [fail]}
    fit(model, x, labels, loss=cross_entropy, epochs=10**6, **options)
    time.sleep(600)


def main() -> None:
    """Run a job among the processes, and let the first one write what came out."""
    from mpi4py import MPI

    comm, job = MPI.COMM_WORLD, sys.argv[1]
    if job in ("raise", "kill", "different", "diverge"):
        failing(comm, job)
    if job == "checkpoint missing but in the first process":
        path = Path(sys.argv[2]) if comm.Get_rank() == 0 else Path(sys.argv[2]).with_name("nothing")
        found = resumable(comm, 4, path)
    elif job == "resume":
        found = resumable(comm, int(sys.argv[3]), Path(sys.argv[2]))
    else:
        found = cases(comm) | methods(comm)
    if comm.Get_rank() == 0:
        np.savez(sys.argv[-1], **found)
        print(json.dumps({"processes": comm.Get_size()}))


if __name__ == "__main__":
    main()
