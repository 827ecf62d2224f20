"""Several processes under a real mpiexec against one: the same numbers, one who writes, and an end that is no hang.

mpiexec and MPI come with the extra `mpi`; without them what needs them is skipped, and where the variable CI is set
that is a failure.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mpi_worker as worker
import numpy as np
import pytest
from helpers import assert_close, assert_same_bits, sample

from minikd import MLP, cross_entropy, fit
from minikd.errors import DeviceError
from minikd.experiments.environment import suited_threads
from minikd.fast.threads import cores
from minikd.scale import mpi as launch
from minikd.scale.processes import Processes

pytestmark = pytest.mark.extras

WORKER = Path(worker.__file__)
TIGHT, LOOSE = 1e-13, 2e-5  # float64, float32


def mpiexec() -> str:
    """The path of mpiexec, that of this Python first."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    try:
        import mpi4py  # noqa: F401
    except ImportError:
        found = None
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("mpi4py or mpiexec is missing: pip install 'minikd[mpi]'")
        pytest.skip("mpi4py or mpiexec is missing: pip install 'minikd[mpi]'")
    return found


def start(processes: int, *words: Any, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run `python words...` in so many processes; a hang is a failure."""
    command = [mpiexec(), "-n", str(processes), sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def numbers(processes: int, path: Path, *words: Any) -> dict[str, np.ndarray]:
    """What a job of mpi_worker.py found."""
    done = start(processes, WORKER, *words, path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"processes": processes}  # one process prints, and it knew of the others
    return dict(np.load(path))


# ---- the same numbers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone() -> dict[str, np.ndarray]:
    return worker.cases(None) | worker.methods(None)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_several_processes_give_what_one_gives(processes: int, alone: dict[str, np.ndarray], tmp_path: Path) -> None:
    together = numbers(processes, tmp_path / "all.npz", "all")
    assert set(together) == set(alone) and len(alone) > 20
    for name, expected in alone.items():
        assert_close(together[name], expected, LOOSE if "float32" in name else TIGHT)
    assert any(together[name].tobytes() != expected.tobytes() for name, expected in alone.items())  # they did add up


def test_the_cases_differ_from_each_other(alone: dict[str, np.ndarray]) -> None:
    found = [values.tobytes() for name, values in alone.items() if name.endswith("theta")]
    assert len(set(found)) == len(found) == len(worker.CASES)


@pytest.mark.slow
def test_one_process_with_a_communicator_has_the_same_bits_as_one_without(tmp_path: Path) -> None:
    found = numbers(1, tmp_path / "one.npz", "all")
    for name, expected in (worker.cases(None) | worker.methods(None)).items():
        assert_same_bits(found[name], expected)


# ---- resuming --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    whole = worker.resumable(None, 4, tmp_path / "whole")
    path = tmp_path / "model"
    numbers(3, tmp_path / "a.npz", "resume", path, 1)
    numbers(2, tmp_path / "b.npz", "resume", path, 2)
    worker.resumable(None, 3, path)  # one process, without MPI
    last = numbers(4, tmp_path / "c.npz", "resume", path, 4)
    assert_close(last["theta"], whole["theta"], TIGHT)
    assert_close(last["losses"], whole["losses"], TIGHT)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz", "c.npz", "model", "whole"]


@pytest.mark.slow
def test_only_the_first_process_needs_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "model"
    numbers(2, tmp_path / "a.npz", "resume", path, 2)
    found = numbers(3, tmp_path / "b.npz", "checkpoint missing but in the first process", path)
    assert_close(found["theta"], worker.resumable(None, 4, tmp_path / "whole")["theta"], TIGHT)


# ---- an end, and no hang ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "out of luck"),
        ("kill", "signal 9|SIGNAL: 9|exit code 9|EXIT CODE: 9"),  # the words of mpiexec
        ("different", r"rows of x must be the same in all processes, got \d+ in process"),
        ("diverge", "training diverged in epoch 1, batch 1"),
    ],
)
def test_a_process_that_fails_ends_the_job_with_a_message(how: str, message: str) -> None:
    started = time.monotonic()
    done = start(3, WORKER, how)
    assert done.returncode != 0
    assert re.search(message, done.stderr + done.stdout)
    assert time.monotonic() - started < 30


# ---- the command -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_trains_in_several_processes_and_one_prints_and_writes(tmp_path: Path) -> None:
    run = ("-m", "minikd", "distill", "-q", "--seeds", "1", "--epochs", "2", "--batch-size", "100")
    together = start(3, *run, "--out", tmp_path / "together")
    assert together.returncode == 0, together.stderr
    one = subprocess.run([sys.executable, *run, "--out", tmp_path / "one"], capture_output=True, text=True)
    tables = [[line.split()[:4] for line in done.stdout.split("\n\n")[1].splitlines()] for done in (together, one)]
    assert [row[:3] for row in tables[0]] == [row[:3] for row in tables[1]]  # the same errors, printed once
    assert len(tables[0]) == len(tables[1])
    names = [sorted(p.name for p in (tmp_path / n).iterdir()) for n in ("together", "one")]
    assert names[0] == names[1] and "report.html" in names[0]
    theirs, ours = (MLP.load(tmp_path / n / "distilled-0.safetensors") for n in ("together", "one"))
    assert_close(theirs.theta, ours.theta, 1e-3)

    again = start(2, *run, "--out", tmp_path / "together")
    assert again.returncode == 2 and again.stderr.count("is there already: choose another --out") == 1
    assert again.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("methods",), 2, "mpiexec runs minikd distill, and no other command"),
        (("distill", "--method", "rkd", "--out", "{}"), 1, "method rkd is for one process; several train: kd, "),
    ],
)
def test_what_the_command_does_not_share_out_is_refused(
    words: tuple[str, ...], code: int, message: str, tmp_path: Path
) -> None:
    done = start(2, "-m", "minikd", *(word.format(tmp_path / "run") for word in words))
    assert (done.returncode, done.stderr.count(message)) == (code, 1), done.stderr
    assert not (tmp_path / "run").exists()


def test_without_mpi4py_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch.world() is None or os.environ.get("PMI_SIZE")
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(DeviceError, match=r"mpiexec started 4 processes.*pip install 'minikd\[mpi\]'"):
        launch.world()
    monkeypatch.delenv("PMI_SIZE")
    assert launch.world() is None
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    assert launch.is_together()


def test_processes_share_the_cores_out() -> None:
    assert suited_threads("mnist", processes=cores()) == 1
    assert suited_threads("mnist", processes=10 * cores()) == 1
    assert suited_threads("mnist", processes=1) is None  # no limit


@pytest.mark.parametrize("comm", [4, "MPI.COMM_WORLD"])
def test_comm_must_be_a_communicator(comm: Any) -> None:
    with pytest.raises(TypeError, match=r"comm must be a communicator of mpi4py, such as MPI.COMM_WORLD, got"):
        fit(MLP((2, 2)), sample(4, 2), np.zeros(4, int), loss=cross_entropy, processes=Processes(comm))


def test_a_bare_communicator_is_refused_with_the_name_of_what_wraps_it() -> None:
    words = r"processes must be minikd.scale.processes.Processes\(comm\) of mpi4py, got"
    with pytest.raises(TypeError, match=words):
        fit(MLP((2, 2)), sample(4, 2), np.zeros(4, int), loss=cross_entropy, processes=Pretended(0, 2))


# ---- shares and sums, without MPI ------------------------------------------------------------------------------


class Pretended:
    """A communicator whose other processes each add what `theirs` holds: the sum of one process can be looked at."""

    def __init__(self, rank: int, size: int, theirs: Any = 0.0, kinds: str = "mpi,system") -> None:
        self.rank, self.size, self.theirs, self.kinds, self.summed = rank, size, theirs, kinds, []

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return self.size

    def Get_info(self) -> dict[str, str]:
        return {"mpi_memory_alloc_kinds": self.kinds}

    def Allreduce(self, send: Any, vector: Any) -> None:
        self.summed.append(vector)
        vector += self.theirs

    def bcast(self, value: Any) -> Any:
        return value


def ranks(*args: Any, **options: Any) -> Processes:
    pytest.importorskip("mpi4py")
    return Processes(Pretended(*args, **options))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_the_shares_of_a_batch_cover_it_once(size: int, batch: int) -> None:
    rows, weights = [], []
    for rank in range(size):
        one = ranks(rank, size)
        share = one.share(batch)
        rows += list(range(batch))[share] if one.weight else []
        assert share.stop > share.start
        weights.append(one.weight)
    assert rows == list(range(batch))
    assert sum(weights) == pytest.approx(1, abs=1e-15) and max(weights) - min(weights) < 1.001 / batch


@pytest.mark.parametrize("kinds", ["mpi,system", "mpi,system,cuda,cuda:device"])
def test_gradients_on_a_device_are_added_up_there_or_by_way_of_the_host(kinds: str, device: str, xp: Any) -> None:
    comm = ranks(1, 4, 2.0, kinds).comm
    one = Processes(comm)
    one.share(8)
    grad, value = xp.asarray([4.0, 8.0]), xp.asarray(12.0)
    loss = one.sum(value, grad)
    assert_close(grad, [3.0, 4.0], 1e-15)  # a quarter of each, and the others' 2
    assert float(loss) == 5.0
    on_host = isinstance(comm.summed[0], np.ndarray)
    assert on_host == (device == "cpu" or "cuda" not in kinds)


def test_a_process_without_rows_adds_nothing_not_even_nan() -> None:
    one = ranks(0, 4, 1.0)
    assert one.share(2) == slice(0, 1) and one.weight == 0
    grad = np.array([np.nan, np.inf])
    assert one.sum(np.nan, grad) == 1.0
    assert grad.tolist() == [1.0, 1.0]


def test_dropout_draws_as_ever_after_a_run_together() -> None:
    one, model = ranks(0, 2), MLP((3, 4, 2), dropout=0.5)
    generator = model._rng
    with one.sharing(model):
        one.share(10)
        assert model.forward(sample(5, 3).astype("float32"), train=True).shape == (5, 2)
    assert model._rng is generator


def test_the_processes_of_a_machine_take_its_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    cuda = SimpleNamespace(
        Device=lambda i: SimpleNamespace(use=lambda: taken.append(i)),
        runtime=SimpleNamespace(getDeviceCount=lambda: 2),
    )
    for rank in ("0", "1", "2", "3"):
        monkeypatch.setenv("MPI_LOCALRANKID", rank)
        ranks(3, 8).choose_gpu(SimpleNamespace(cuda=cuda))
    Processes().choose_gpu(SimpleNamespace(cuda=cuda))  # alone: whatever is current
    ranks(1, 2).choose_gpu(np)
    assert taken == [0, 1, 0, 1]


def test_a_step_alone_costs_nothing_more() -> None:
    alone, grad = Processes(), np.ones(3)
    value = np.float32(2)
    assert alone.sum(value, grad) is value and alone.share(5) == slice(0, 5)
