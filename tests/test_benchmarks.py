"""The benchmark's own logic, without a clock and without a GPU: who takes part, who agrees, which target is met, what
is left to do after an interruption, and what `gpu.py` makes of tests that fail, hang or end the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "tests" / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import bench  # noqa: E402
import contests  # noqa: E402
import gpu  # noqa: E402
from processes import Setup, WorkerError, in_turn  # noqa: E402
from report import row_of  # noqa: E402
from targets import TARGETS, Target, judge, targets_table  # noqa: E402

NOTHING = SimpleNamespace(missing={}, device="cpu")


# ---- who takes part --------------------------------------------------------------------------------------------


def test_contenders_differ_in_what_is_compared_and_in_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MINIKD_KERNELS"):
        monkeypatch.setenv(name, "anything")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    setup = Setup(threads=2, baseline=Path("/older"), baseline_settings={"OPENBLAS_THREAD_TIMEOUT": "20"})
    fast, plain, floor, old, torch = (setup.environment(name) for name in ("fast", "plain", "floor", "old", "torch"))
    assert fast == torch
    assert fast["OPENBLAS_NUM_THREADS"] == fast["OMP_NUM_THREADS"] == fast["NUMBA_NUM_THREADS"] == "2"
    assert not {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MINIKD_KERNELS"} & set(fast)
    assert plain == floor == {**fast, "MINIKD_KERNELS": "plain"}
    assert old == {**fast, "PYTHONPATH": "/older", "OPENBLAS_THREAD_TIMEOUT": "20"}


def test_a_contender_that_cannot_take_part_says_why() -> None:
    setup = Setup(missing={"fast": "Numba is not installed"})
    with setup.workers(["fast"]) as workers, pytest.raises(WorkerError, match="Numba is not installed") as caught:
        workers["fast"].run("machine:blas")
    assert caught.value.status == "missing"


def test_each_measurement_is_taken_once_a_round_and_one_that_fails_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("processes.PAUSE", 0)
    order: list[str] = []

    def measure(name: str) -> Any:
        order.append(name)
        if name == "b":
            raise WorkerError("broken")
        return len(order)

    results = in_turn({name: lambda name=name: measure(name) for name in "abc"}, 3)
    assert "".join(order) == "abc" + "ca" + "ca"  # b, who would have begun the second round, is out
    assert results["b"] == {"status": "failed", "message": "broken"}
    assert [len(results[name]["rounds"]) for name in "ac"] == [3, 3]


class Answers:
    """A worker whose answers on the batches of these seeds are off by so much."""

    def __init__(self, off: dict[int, float]) -> None:
        self.off = off

    def make(self, target: str, seed: int) -> None:
        self.seed = seed

    def call(self, method: str) -> dict[str, Any]:
        return {"losses": [2.0, 1.0 + self.off.get(self.seed, 0.0)]}


def test_a_contender_must_agree_with_the_reference_on_one_batch() -> None:
    references = {seed: {"losses": [2.0, 1.0]} for seed in contests.SEEDS}
    first, second, *_ = contests.SEEDS
    assert contests._agreement(Answers({}), "", {}, references) == {"difference": 0.0, "seed": first}
    assert contests._agreement(Answers({first: 0.1}), "", {}, references)["seed"] == second
    for off in (1e-3, float("nan")):
        found = contests._agreement(Answers(dict.fromkeys(contests.SEEDS, off)), "", {}, references)
        assert found["status"] == "differs"
    with pytest.raises(WorkerError, match="no plain to compare with"):
        contests._agreement(Answers({}), "", {}, {})


@pytest.mark.slow
def test_the_command_measures_writes_and_shows_again(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    command = [sys.executable, str(BENCHMARKS / "bench.py")]
    options = ["--only", "import", "--quick", "--rounds", "1", "--baseline", str(ROOT), "--json", str(file)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True, timeout=300)
    section = json.loads(file.read_text())["sections"]["import"]
    assert section["complete"] and section["rows"][0]["ratios"]["minikd/numpy"]["median"] > 0
    assert {result["status"] for result in section["rows"][0]["contenders"].values()} == {"ok"}
    shown = subprocess.run([*command, "--show", str(file)], capture_output=True, text=True, check=True).stdout
    assert shown == done.stdout and "| import minikd " in shown
    tables = subprocess.run([*command, "--show", str(file), "--only", "import"], capture_output=True, text=True).stdout
    assert tables.startswith("### Start of a fresh interpreter") and tables.rstrip() in shown


# ---- targets ---------------------------------------------------------------------------------------------------


def document_with(target: Target, *ratios: float | None) -> dict[str, Any]:
    """A document in which this target's ratio has these medians, None where one of the two is missing."""
    rows = []
    for i, value in enumerate(ratios):
        labels = {"network": "-".join(["784", *target.labels]), "batch": i}
        rows.append({**labels, "ratios": {target.ratio: {} if value is None else {"median": value}}})
    return {"sections": {target.section: {"rows": rows, "complete": True}}}


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_target_is_met_at_its_limit_missed_beyond_and_open_where_a_number_is_missing(target: Target) -> None:
    i, beyond = TARGETS.index(target), 0.98 if target.least else 1.02
    limit = target.limit
    for ratios, met in (
        ((limit, limit), True),
        ((limit, limit * beyond), False),
        ((limit, None), None),
        ((), None),
    ):
        assert judge(document_with(target, *ratios))[i]["met"] is met, ratios
    unfinished = document_with(target, limit)
    unfinished["sections"][target.section]["complete"] = False
    assert judge(unfinished)[i]["met"] is None
    assert judge({"sections": {}})[i]["met"] is None


def test_the_table_of_targets_names_the_worst_row() -> None:
    document = document_with(Target("step", "fast/jax", 1.05), 0.5, 1.2)
    table = targets_table(judge(document), quick=True)
    (worst,) = [line for line in table.splitlines() if "step: fast/jax, each" in line]
    assert [cell.strip() for cell in worst.split("|")[2:6]] == ["≤ 1.05", "1.200", "784, batch 1", "MISSED"]
    assert "decides nothing" in table.splitlines()[0]


# ---- interruptions ---------------------------------------------------------------------------------------------


def test_what_is_measured_already_is_not_measured_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured: list[int] = []

    def measure(setup: Setup, workers: Any, case: dict[str, Any]) -> dict[str, Any]:
        measured.append(case["batch"])
        return row_of(case, {"plain": {"status": "ok", "rounds": [1.0]}}, [])

    section = bench.Section(lambda setup: [{"batch": n} for n in range(3)], measure, lambda rows: "", [])
    monkeypatch.setattr(bench, "SECTIONS", {"made up": section})
    document: dict[str, Any] = {"sections": {}}
    assert not bench.take(document, Setup(), ["made up"], tmp_path / "a.json", until=time.monotonic() + 1)
    assert measured == [] and not document["sections"]["made up"]["complete"]  # no time for a case of a minute
    document["sections"]["made up"]["rows"] = [{"batch": 1}]
    assert bench.take(document, Setup(), ["made up"], tmp_path / "a.json")
    assert measured == [0, 2]
    assert json.loads((tmp_path / "a.json").read_text()) == document


# ---- gpu.py ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_without_a_gpu_it_says_so_in_a_sentence_and_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--quick", "--baseline", str(ROOT), "--json", str(file)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # also where there is one
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "No result: DeviceError: device 'cuda' needs" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


CONFTEST = """
import pytest

def pytest_addoption(parser):
    parser.addoption("--device")

@pytest.fixture
def device(request):
    return request.config.getoption("--device")
"""
TESTS = """
import os, pathlib, pytest

def test_passes(device): assert device == "made up"
def test_fails(device): assert device == "cuda", "because"
def test_is_skipped(device): pytest.skip("no reason")
def test_ends_the_process(device): os._exit(1)
def test_runs_in_the_next_process(device): assert pathlib.Path(__file__).with_name("ran").write_text("once")
def test_of_no_device(): raise AssertionError
"""


@pytest.mark.slow
def test_every_test_of_a_device_gets_one_outcome_even_if_one_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_made_up.py").write_text(TESTS)
    log = tmp_path / "log.jsonl"
    stopped = gpu.run_tests(log, time.monotonic() - 1, "made up", (str(tmp_path),))
    assert (stopped["complete"], stopped["passed"]) == (False, 0)
    found = gpu.run_tests(log, time.monotonic() + 100, "made up", (str(tmp_path),))
    assert found["complete"] and found["passed"] == 2
    failed = {test.partition("::")[2]: message for test, message in found["failed"].items()}
    assert failed.keys() == {"test_fails", "test_ends_the_process"}
    assert "because" in failed["test_fails"] and failed["test_ends_the_process"] == "ended the process, exit code 1"
    assert list(found["skipped"].values()) == ["no reason"]
    (tmp_path / "ran").unlink()
    again = gpu.run_tests(log, time.monotonic() + 100, "made up", (str(tmp_path),))
    assert {**again, "seconds": 0} == {**found, "seconds": 0} and not (tmp_path / "ran").exists()
    said = gpu.tests_said(found)
    assert "2 passed, 2 failed, 1 were skipped." in said and "test_made_up.py::test_fails: " in said


@pytest.mark.slow
def test_the_suite_runs_on_the_stand_in_and_stops_when_the_time_is_up(tmp_path: Path) -> None:
    log, files = tmp_path / "log.jsonl", ("tests/test_backend.py",)
    first = gpu.run_tests(log, time.monotonic() + 0.1, "strict", files)  # over before the first test starts
    assert not first["complete"] and first["passed"] <= 1 and not first["failed"]
    rest = gpu.run_tests(log, time.monotonic() + 300, "strict", files)
    assert rest["complete"] and rest["passed"] >= 10 and not rest["failed"]


def test_it_goes_on_until_all_is_done_and_then_begins_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    calls: list[str] = []

    @contextmanager
    def started(options: Namespace, device: str) -> Iterator[Any]:
        yield NOTHING, {"machine": {"minikd": "abc"}, "settings": {"device": device}, "sections": {}}

    def run_tests(log: Path, until: float, device: str) -> dict[str, Any]:
        calls.append("tests")
        return {"complete": True, "passed": 3, "failed": {}, "skipped": {}, "seconds": 1.0}

    def take(document: dict[str, Any], *_: Any) -> bool:
        calls.append("bench")
        return calls.count("bench") > 1

    monkeypatch.setattr(bench, "started", started)
    monkeypatch.setattr(bench, "take", take)
    monkeypatch.setattr(bench, "report", lambda document: "")
    monkeypatch.setattr(gpu, "checked", lambda setup: {"device": "made up"})
    monkeypatch.setattr(gpu, "run_tests", run_tests)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--json", str(file)])
    for code, expected in ((gpu.AGAIN, "tests bench"), (0, "tests bench bench"), (0, "tests bench bench tests bench")):
        with pytest.raises(SystemExit) as caught:
            gpu.main()
        assert (caught.value.code, " ".join(calls)) == (code, expected)
        assert json.loads(file.read_text())["finished"] is (code == 0)


def test_only_a_test_that_ran_for_long_when_it_was_stopped_counts_as_one_that_hangs(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    gpu.record(log, test="a", outcome="started", time=time.time())
    assert not gpu._retire(log, "hangs", older_than=gpu.HANGS)
    gpu.record(log, test="b", outcome="started", time=time.time() - gpu.HANGS - 1)
    assert gpu._retire(log, "hangs", older_than=gpu.HANGS)
    assert gpu.summary(log, complete=False)["failed"] == {"b": "hangs"}
