"""Work on all cores: every piece is done once, whoever does it, and nothing of it shows but the time.

That memory is used again, and when, is checked in test_cost.py.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_bits, sample

from minikd import MLP, SGD, Adam, AdamW, optim
from minikd.fast import machine
from minikd.fast.machine import on_all_cores, rows_of

OPTIMIZERS = {
    "SGD": lambda model: SGD(model, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda model: Adam(model, 0.1, weight_decay=0.01),
    "AdamW": lambda model: AdamW(model, 0.1),
}


@pytest.fixture
def use_threads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that sets how many threads there are, with helpers made anew; they end with the test."""

    def use(n: int) -> None:
        for pool in machine._helpers:
            pool.shutdown()
        machine._helpers.clear()
        monkeypatch.setattr(machine, "THREADS", n)
        monkeypatch.setattr(machine, "FEW", 2)

    yield use
    use(1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_on_several_threads_end_with_the_same_bits(
    name: str, use_threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optim, "PIECE", 1000)
    results = []
    for n in (1, 2, 5):
        use_threads(n)
        model = MLP((40, 90, 10), seed=1)
        optimizer = OPTIMIZERS[name](model)
        assert len(optimizer._pieces) >= 6
        for i in range(20):
            model.grad[...] = sample(model.num_params, seed=i)
            optimizer.step()
        results.append(model.theta.copy())
    for theta in results[1:]:
        assert_same_bits(theta, results[0])


@pytest.mark.parametrize("n", [1, 2, 4])
def test_each_piece_is_done_once_and_all_are_done_on_return(n: int, use_threads: Any) -> None:
    use_threads(n)
    for _ in range(50):
        done: list[int] = []
        on_all_cores(done.append, [(i,) for i in range(23)])
        assert sorted(done) == list(range(23))


def test_helpers_take_part(use_threads: Any) -> None:
    use_threads(3)
    meet = threading.Barrier(3)  # passed only if three threads are at work at the same time
    on_all_cores(lambda i: meet.wait(timeout=20) and None, [(i,) for i in range(3)])


def test_a_few_pieces_wake_nobody(use_threads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use_threads(2)
    monkeypatch.setattr(machine, "FEW", 4)
    on_all_cores(lambda i: None, [(i,) for i in range(3)])
    assert not machine._helpers
    on_all_cores(lambda i: None, [(i,) for i in range(4)])
    assert machine._helpers


def test_an_error_in_a_helper_reaches_the_caller(use_threads: Any) -> None:
    use_threads(2)
    caller = threading.get_ident()

    def work(i: int) -> None:
        if threading.get_ident() != caller:
            raise ArithmeticError("in a helper")
        time.sleep(0.05)

    with pytest.raises(ArithmeticError, match="in a helper"):
        on_all_cores(work, [(i,) for i in range(8)])


def test_helpers_have_numpys_error_settings_of_the_caller(use_threads: Any) -> None:
    use_threads(3)
    seen: list[str] = []
    meet = threading.Barrier(3)

    def work(i: int) -> None:
        meet.wait(timeout=20)
        seen.append(np.geterr()["over"])

    with np.errstate(over="ignore"):
        on_all_cores(work, [(i,) for i in range(3)])
    assert seen == ["ignore"] * 3


def forked_step(queue: Any) -> None:
    """In a forked process, which has none of its parent's threads."""
    meet = threading.Barrier(2)
    on_all_cores(lambda i: queue.put(meet.wait(timeout=20)), [(0,), (1,)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_makes_helpers_of_its_own(use_threads: Any) -> None:
    use_threads(2)
    on_all_cores(lambda i: None, [(i,) for i in range(4)])
    assert machine._helpers
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=forked_step, args=(queue,))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 0
    assert {queue.get(timeout=5), queue.get(timeout=5)} == {0, 1}


@pytest.mark.parametrize(
    ("openblas", "omp", "wanted"), [("1", "2", 1), ("", "1", 1), ("many", "1", 1), ("9999", "", None), ("", "", None)]
)
def test_there_are_as_many_threads_as_the_blas_has(
    openblas: str, omp: str, wanted: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", openblas)
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert machine.threads() == (wanted or cores)


@pytest.mark.parametrize("shape", [(9,), (9, 4), (9, 2, 3)])
def test_rows_are_those_of_the_index(shape: tuple[int, ...]) -> None:
    array, index = sample(*shape), np.array([8, 0, 0, 3])
    rows = rows_of(array, index)
    assert_same_bits(rows, array[index])
    rows[...] = 7
    assert_same_bits(array, sample(*shape))
