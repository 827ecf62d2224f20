"""`minikd sweep` loses nothing and repeats nothing, whoever is killed; and it chooses by validation samples alone."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_bits

from minikd import MLP
from minikd.cli.main import main
from minikd.errors import CheckpointError, DeviceError, DivergedError, MinikdError
from minikd.experiments import selection, sweep
from minikd.experiments.config import Config
from minikd.experiments.distill import Experiment
from minikd.fast.threads import VARIABLES, blas_threads, limited_blas
from minikd.report import plots
from minikd.report.style import png
from minikd.scale import pool

pytestmark = pytest.mark.extras

dask_is_here = pytest.mark.skipif(
    not importlib.util.find_spec("distributed"), reason="Dask: pip install 'minikd[dask]'"
)
SMALL = ["--temperature", "1,4", "--soft-weight", "0.5,1", "--student", "8,16", "--teacher", "16", "--seeds", "2"]
FLAGS = [*SMALL, "--epochs", "6"]
STUDENTS, TEACHERS = 16, 2


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command, in a process group of its own."""
    command = [sys.executable, "-m", "minikd", "sweep", *arguments, "--out", str(folder)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, start_new_session=True, **pipes)


def finish(process: subprocess.Popen[str]) -> str:
    """What it printed; it must have ended well."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return out


def wait_for_lines(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Until the file of results has so many records."""
    path, stop = folder / sweep.FILE, time.monotonic() + 100
    while not path.exists() or path.read_bytes().count(b"\n") < 1 + count:
        assert process.poll() is None and time.monotonic() < stop, process.communicate()
        time.sleep(0.005)


def numbers(folder: Path) -> list[dict[str, Any]]:
    """The records, in an order of their own, without the times."""
    _, records = sweep.read(folder)
    return sorted(({**r, "seconds": 0} for r in records), key=str)


def assert_the_same_sweep(folder: Path, alone: Path) -> None:
    """The same numbers and networks bit for bit, and each network once."""
    assert numbers(folder) == numbers(alone)
    assert Counter(r["model"] for r in numbers(folder)) == {"student": STUDENTS, "teacher": TEACHERS}
    paths = sorted(alone.glob("*.safetensors"))
    assert len(paths) == STUDENTS + TEACHERS
    for path in paths:
        assert_same_bits(MLP.load(folder / path.name).theta, MLP.load(path).theta)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep in one process that was left alone."""
    folder = tmp_path_factory.mktemp("sweep") / "alone"
    main(["sweep", *FLAGS, "--jobs", "1", "--quiet", "--out", str(folder)])
    return folder


# ---- many processes, some of them killed -----------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_give_the_same_numbers_and_networks_bit_for_bit_as_one(alone: Path, tmp_path: Path) -> None:
    printed = finish(start(tmp_path / "two", *FLAGS, "--jobs", "2"))
    assert "16 students, 8 settings, 2 at a time" in printed
    assert_the_same_sweep(tmp_path / "two", alone)
    assert selection.report(*sweep.read(alone)) in printed


@pytest.mark.slow
def test_a_sweep_killed_half_way_goes_on_and_trains_nothing_twice(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    process = start(folder, *FLAGS, "--jobs", "2")
    wait_for_lines(process, folder, TEACHERS + 4)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    _, records = sweep.read(folder)
    assert TEACHERS + 4 <= len(records) < TEACHERS + STUDENTS
    (torn := folder / sweep.FILE).write_bytes(torn.read_bytes() + b'{"model": "student", "seed": 1, "stu')  # cut short
    assert sweep.read(folder)[1] == records
    time.sleep(1.1)  # what is written from now on is told apart; and workers whose parent is gone have ended
    names = [f"teacher-{r['seed']}" if r["model"] == "teacher" else file_of(r) for r in records]
    before = {name: (folder / f"{name}.safetensors").stat().st_mtime_ns for name in names}
    printed = finish(start(folder, "--resume", "--jobs", "2"))
    assert {name: (folder / f"{name}.safetensors").stat().st_mtime_ns for name in names} == before
    assert sweep.read(folder)[1][: len(records)] == records
    assert_the_same_sweep(folder, alone)
    assert selection.report(*sweep.read(alone)) in printed

    once_more = finish(start(folder, "--resume"))
    assert selection.report(*sweep.read(alone)) in once_more and len(sweep.read(folder)[1]) == STUDENTS + TEACHERS


def file_of(record: dict[str, Any]) -> str:
    """The name of a student's network."""
    widths = "x".join(map(str, record["student"]))
    return f"student-{widths}-T{record['temperature']}-w{record['soft_weight']}-n{record['images']}-{record['seed']}"


CLUSTER = """
import json, os, sys
from distributed import LocalCluster, Client
if __name__ == "__main__":
    with LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            pids = list(client.run(os.getpid).values())
        print(json.dumps([cluster.scheduler_address, pids]), flush=True)
        sys.stdin.read()
"""


@contextmanager
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[int]]]:
    """A Dask cluster of three worker processes: its address, and theirs."""
    (tmp_path / "cluster.py").write_text(CLUSTER)
    with (tmp_path / "cluster.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "cluster.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path, start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            address, pids = json.loads(process.stdout.readline())
            yield address, pids
        finally:
            try:
                process.communicate(timeout=20)  # the end of its input
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


@pytest.mark.slow
@dask_is_here
def test_a_dask_cluster_one_of_whose_workers_is_killed_loses_nothing(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dask"
    with cluster(tmp_path) as (address, pids):
        assert len(set(pids)) == 3 and os.getpid() not in pids
        process = start(folder, *FLAGS, "--dask", address)
        wait_for_lines(process, folder, TEACHERS + 2)
        os.kill(pids[0], signal.SIGKILL)
        assert len(sweep.read(folder)[1]) < STUDENTS + TEACHERS  # it was mid-way
        printed = finish(process)
    assert "3 on tcp://" in printed and selection.report(*sweep.read(alone)) in printed
    assert_the_same_sweep(folder, alone)


@pytest.mark.slow
@dask_is_here
def test_a_dask_cluster_that_goes_away_is_said_in_a_line_and_the_sweep_goes_on_elsewhere(
    alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dask"
    with cluster(tmp_path) as (address, pids):
        process = start(folder, *FLAGS, "--dask", address)
        wait_for_lines(process, folder, TEACHERS + 2)
        os.killpg(os.getsid(pids[0]), signal.SIGKILL)  # the scheduler and all its workers
        _, error = process.communicate(timeout=100)
    assert process.returncode == 1 and "Traceback" not in error
    words = rf"minikd: the Dask cluster has gone .*; what was finished is kept\. To go on: .* --resume --out {folder}"
    assert re.fullmatch(words, error.splitlines()[-1])
    kept = len(sweep.read(folder)[1])
    assert TEACHERS + 2 <= kept < TEACHERS + STUDENTS
    finish(start(folder, "--resume", "--jobs", "2"))
    assert_the_same_sweep(folder, alone)


def test_windows_gets_no_more_processes_than_it_can_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool._most_processes(62) == 62
    monkeypatch.setattr(pool, "sys", SimpleNamespace(platform="win32"))
    assert pool._most_processes(62) == 61 and pool._most_processes(3) == 3


def test_without_semaphores_one_task_is_done_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    from joblib.externals.loky import backend

    def refuse(*_: Any) -> None:
        raise PermissionError("/dev/shm")

    monkeypatch.setattr(backend, "get_context", lambda name: SimpleNamespace(Lock=refuse))
    with pool.pool(2) as workers:
        assert workers.count == 1 and workers.map(pow, [(2, 3), (3, 2)]) == [8, 9]


# ---- what is chosen ---------------------------------------------------------------------------------------------


def made_up(accuracies: dict[float, tuple[float, float]], seeds: int = 5) -> list[dict[str, Any]]:
    """Students of which those at a temperature have these validation and test accuracies; the former differ by seed."""
    wiggle = [0.001, -0.002, 0.003, 0.0, -0.001]
    return [
        {"model": "student", "student": [8], "temperature": T, "soft_weight": 1.0, "images": None, "seed": i,
         "val_accuracy": val + wiggle[(i + k) % 5], "val_nll": 1 - val, "accuracy": test, "nll": 1 - test}
        for k, (T, (val, test)) in enumerate(accuracies.items()) for i in range(seeds)
    ]  # fmt: skip


PLAN = sweep.Sweep.plan(
    student=((8,),), teacher=(8,), temperature=(1.0, 4.0), soft_weight=(1.0,), epochs=1, images=(None,)
)


def test_the_best_is_chosen_by_validation_samples_and_never_by_test_samples() -> None:
    records = made_up({1.0: (0.90, 0.99), 2.0: (0.95, 0.80), 4.0: (0.92, 0.95)})
    assert [row["setting"][1] for row in selection.ranking(records)] == [2.0, 4.0, 1.0]
    shown = selection.report(PLAN, records)
    assert "it makes 20.00 ±0.00 % errors, NLL 0.200" in " ".join(shown.split())
    for record in records:
        record["accuracy"], record["nll"] = (0.1, 9.0) if record["temperature"] == 2 else (1.0, 0.0)
    again = selection.report(PLAN, records)
    assert (
        selection.setting_table(records) in shown and selection.setting_table(records) in again
    )  # nor are test scores in the table
    assert "T = 2, soft weight 1" in again and "90.00 ±0.00 % errors, NLL 9.000" in " ".join(again.split())


def test_settings_are_told_apart_by_paired_differences() -> None:
    records = made_up({1.0: (0.950, 0.9), 2.0: (0.9495, 0.9), 4.0: (0.90, 0.9)})
    rows = selection.ranking(records)
    assert [(row["setting"][1], row["apart"]) for row in rows] == [(1.0, False), (2.0, False), (4.0, True)]
    wiggles = [[0.001, -0.002, 0.003, 0, -0.001], [-0.002, 0.003, 0, -0.001, 0.001]]
    differences = 100 * (0.0005 + np.array(wiggles[0]) - wiggles[1])
    assert rows[1]["behind"] == pytest.approx(differences.mean())
    assert rows[1]["behind_half"] == pytest.approx(
        2.7764451 * differences.std(ddof=1) / 5**0.5, rel=1e-5
    )  # Student's t
    for record in records:  # large, but alike in all settings: pairs see through it
        record["val_accuracy"] += 0.02 * record["seed"] - 0.04
    assert selection.ranking(records)[1]["behind_half"] == pytest.approx(rows[1]["behind_half"])
    assert [row["apart"] for row in selection.ranking(made_up({1.0: (0.9, 0.9), 4.0: (0.5, 0.9)}, seeds=1))] == [
        False
    ] * 2


def test_a_number_of_images_at_which_nothing_could_be_trained_is_said_in_a_line() -> None:
    plan = sweep.Sweep.plan(student=((8,),), teacher=(8,), temperature=(1.0,), epochs=1, images=(50, 100))
    kinds = [("student", setting) for setting in plan.settings] + plan.controls
    records = [
        {"model": kind, "seed": i, **setting._asdict(), "val_accuracy": 0.9, "val_nll": 1, "accuracy": 0.9, "nll": 1}
        for kind, setting in kinds
        for i in range(5)
    ]
    assert [row["images"] for row in selection.by_images(plan, records)] == [50, 100]
    for kind in ("student", "labels"):
        failed = [{**r, "failed": "..."} if (r["model"], r["images"]) == (kind, 50) else r for r in records]
        with pytest.raises(MinikdError, match="shown 50 images diverged"):
            selection.by_images(plan, failed)


def test_a_setting_that_diverged_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    records = made_up({1.0: (0.95, 0.9), 4.0: (0.99, 0.9)})
    failed = {k: records[-1][k] for k in ("model", "student", "temperature", "soft_weight", "images", "seed")} | {
        "failed": "..."
    }
    records[-1] = failed
    assert [row["setting"][1] for row in selection.ranking(records)] == [1.0]
    assert "Of 1 settings a student diverged" in " ".join(selection.report(PLAN, records).split())
    plan = PLAN
    values = selection.maps(plan, records)[0][0]["values"]
    assert values[0, 0] == pytest.approx(5 - 0.02) and np.isnan(values[0, 1])
    png(plots.heat_maps(selection.maps(plan, records), plan.temperature, plan.soft_weight))

    def diverge(*arguments: Any, **options: Any) -> None:
        raise DivergedError("training diverged")

    monkeypatch.setattr(Experiment, "teach", diverge)
    record = sweep.train_network(plan.base, tmp_path, "student", plan.settings[0], 0)
    assert record["failed"] == "training diverged" and sweep.setting_of(record) == plan.settings[0]


def test_table_and_heat_maps_say_what_the_file_says(alone: Path) -> None:
    header, *lines = [json.loads(line) for line in (alone / sweep.FILE).read_text().splitlines()]
    plan, records = sweep.read(alone)
    students = [line for line in lines if line["model"] == "student"]
    assert header["sweep"]["temperature"] == [1, 4] and len(students) == STUDENTS
    errors: dict[Any, list[float]] = {}
    for line in students:
        key = tuple(line["student"]), line["temperature"], line["soft_weight"]
        errors.setdefault(key, []).append(100 - 100 * line["val_accuracy"])
    (head, *rows) = [re.split(r" {2,}|(?<=\d) (?=[\d-])|(?<=\d) (?=best|not)", line) for line in
                     selection.setting_table(records).splitlines()]  # fmt: skip
    assert head[0] == "student" and len(rows) == 8
    for student, T, weight, mean, *_ in rows:
        expected = np.mean(errors[(int(student),), float(T), float(weight)])
        assert float(mean.split()[0]) == pytest.approx(expected, abs=0.005)
    best = min(errors, key=lambda key: float(np.mean(errors[key])))
    assert np.mean(errors[selection.ranking(records)[0]["setting"][:3]]) == pytest.approx(np.mean(errors[best]))
    for name, line_of_maps in zip(("error", "nll"), selection.maps(plan, records), strict=True):
        assert sum(int(m["best"].sum()) for m in line_of_maps) == 1
        for student, shown in zip(plan.student, line_of_maps, strict=True):
            assert shown["values"].shape == (2, 2)
            for i, j in np.ndindex(2, 2):
                own = [r for r in students if (tuple(r["student"]), r["temperature"], r["soft_weight"])
                       == (student, plan.temperature[j], plan.soft_weight[i])]  # fmt: skip
                values = [100 - 100 * r["val_accuracy"] if name == "error" else r["val_nll"] for r in own]
                assert len(own) == 2 and shown["values"][i, j] == pytest.approx(np.mean(values))
    figure = plots.heat_maps(selection.maps(plan, records), plan.temperature, plan.soft_weight)
    drawn = [t.get_text() for t in figure.axes[0].texts + figure.axes[1].texts]
    assert sum(text.endswith("*") for text in drawn) == 1
    expected_texts = {f"{np.mean(v):.2f}" for v in errors.values()}
    assert {text.rstrip("*") for text in drawn} == expected_texts
    assert (alone / "sweep.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_printed_fits_80_columns(alone: Path) -> None:
    assert max(map(len, selection.report(*sweep.read(alone)).splitlines())) <= 80


def test_a_method_is_swept_over_the_options_that_it_has() -> None:
    plan = sweep.Sweep.plan(method="dkd", student=((8,), (8,)), temperature=(2.0, 1.0))
    assert plan.settings == [((8,), 2.0, None, 100), ((8,), 1.0, None, 100)]
    assert sweep.Sweep.plan().settings[0] == ((64,), 1.0, 0.5, 100) and len(sweep.Sweep.plan().settings) == 15
    with pytest.raises(ValueError, match=r"^soft_weight is no option of the method dkd"):
        sweep.Sweep.plan(method="dkd", soft_weight=(1.0,))
    assert sweep.Sweep.from_header(json.loads(json.dumps(plan.header()))) == plan


@pytest.fixture(scope="module")
def by_number(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep over numbers of images, and over two temperatures."""
    folder = tmp_path_factory.mktemp("sweep") / "images"
    flags = ["--images", "20,50,all", "--temperature", "1,4", "--student", "8", "--teacher", "16", "--seeds", "2"]
    main(["sweep", *flags, "--epochs", "6", "--jobs", "1", "--quiet", "--out", str(folder)])
    return folder


def test_several_numbers_of_images_are_trained_on_alike_and_with_the_controls(by_number: Path) -> None:
    plan, records = sweep.read(by_number)
    assert plan.images == (20, 50, None) and plan.soft_weight == (0.9,)  # the recipe's, where no list was given
    kinds = Counter((r["model"], r.get("images", "-")) for r in records)
    students = {(kind, n): 2 for kind in ("labels", "smoothed") for n in plan.images}
    assert kinds == students | {("student", n): 4 for n in plan.images} | {("teacher", "-"): 2}
    names = {path.name for path in by_number.glob("*.safetensors")}
    assert {"labels-8-n20-0.safetensors", "labels-8-0.safetensors", "student-8-T4.0-w0.9-n50-1.safetensors"} <= names


def test_the_table_by_images_says_what_the_file_says(by_number: Path) -> None:
    plan, records = sweep.read(by_number)
    rows = selection.by_images(plan, records)
    for row, images in zip(rows, plan.images, strict=True):
        mine = [r for r in records if r.get("images", "-") == images]
        for kind in ("labels", "smoothed"):
            errors = [100 - 100 * r["accuracy"] for r in mine if r["model"] == kind]
            assert row[kind] == pytest.approx(errors) and len(errors) == 2
        val = {T: np.mean([r["val_accuracy"] for r in mine if r["temperature"] == T]) for T in (1.0, 4.0)}
        assert val[row["setting"].temperature] == max(val.values())  # chosen on validation samples
        chosen = [100 - 100 * r["accuracy"] for r in mine if r["temperature"] == row["setting"].temperature]
        assert row["distilled"] == pytest.approx(chosen)
        assert row["gain"] == pytest.approx(np.mean(row["labels"]) - np.mean(chosen))
    table = selection.report(plan, records)
    assert max(map(len, table.splitlines())) <= 80 and "all" in table and "fewest validation errors" in table
    assert re.search(r"(helps|hurts|undecided)$", table.splitlines()[1])


def test_more_images_are_trained_on_for_as_many_steps() -> None:
    base = Config.for_data("digits")
    assert (base.images, base.epochs, base.shown(50).epochs, base.shown(200).epochs) == (100, 100, 200, 50)
    assert base.shown(500).epochs == base.shown(None).epochs == base.all_epochs == 30
    assert Config.for_data("digits", images=50) == base.shown(50)
    assert Config.for_data("digits", images=50, epochs=7).epochs == 7


def test_a_committee_is_trained_once_for_all_students(tmp_path: Path) -> None:
    flags = ["--method", "ensemble", "--temperature", "1,2", "--student", "8", "--teacher", "8", "--epochs", "1"]
    main(["sweep", *flags, "--seeds", "1", "--jobs", "1", "--quiet", "--no-pictures", "--out", str(tmp_path / "run")])
    assert not list((tmp_path / "run").glob("*.png"))
    seeds = [r["seed"] for r in sweep.read(tmp_path / "run")[1] if r["model"] == "teacher"]
    assert seeds[:2] == [0, 100_000] and len(list((tmp_path / "run").glob("teacher-*"))) == len(seeds)


# ---- what cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", ""], "--temperature: must be numbers with commas"),
        (["--temperature", "1,,2"], "--temperature: must be numbers with commas"),
        (["--temperature", "0,1"], "--temperature must be in (0, inf), got 0.0"),
        (["--temperature", "nan"], "--temperature must be in (0, inf), got nan"),
        (["--soft-weight", "0.5,1.5"], "--soft-weight must be in [0, 1], got 1.5"),
        (["--student", ""], "--student: widths must be whole numbers"),
        (["--student", "8,0"], "--student widths must be at least 1, got 0"),
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--method", "alchemy"], "--method must be one of kd"),
        (["--method", "sp", "--temperature", "1"], "--temperature is no option of the method sp"),
        (["--images", "50,0"], "--images must be at least 1, got 0"),
        (["--images", "50,,all"], "--images: must be whole numbers or all, got '50,,all'"),
        (["--images", "50,900"], "--images must be from 10, one for each class, to 899"),
        (["--images", "50,100", "--student", "8,16"], "--student must be one where several images are swept, got 2"),
        (["--jobs", "2", "--dask", "tcp://127.0.0.1:9"], "leave out --jobs or --dask"),
        (["--resume"], "--resume needs --out"),
        (["--resume", "--out", "new"], "new is not the folder of a sweep: it has no sweep.jsonl"),
        (["--out", "."], ". is there already"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_written(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "something").write_text("")
    monkeypatch.chdir(tmp_path)
    refused(["sweep", *arguments], message, capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


def refused(arguments: list[str], message: str, capsys: Any) -> None:
    """The command says so in one line, and exits with 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.count("\n") == 1, error


def test_a_sweep_is_not_resumed_with_other_settings(alone: Path, capsys: Any) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in alone.iterdir()}
    for flag, value in (("--temperature", "1,2"), ("--student", "8"), ("--seeds", "3"), ("--epochs", "7")):
        message = f"{alone} was started with another {flag}: leave it out"
        refused(["sweep", "--resume", "--out", str(alone), flag, value], message, capsys)
    assert {path.name: path.stat().st_mtime_ns for path in alone.iterdir()} == before
    main(["sweep", "--resume", "--jobs", "1", "--out", str(alone), "--temperature", "1,4,4"])
    assert selection.report(*sweep.read(alone)) in capsys.readouterr().out


def test_a_damaged_file_is_an_error(alone: Path, tmp_path: Path) -> None:
    whole = (alone / sweep.FILE).read_bytes()
    for bad in (b"", b"{}\n", whole.replace(b"val_nll", b"val_nil", 1), whole.replace(b'"seed": 1', b'"seed": ', 1)):
        (tmp_path / sweep.FILE).write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"sweep\.jsonl is damaged near line \d+"):
            sweep.read(tmp_path)


def test_dask_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    arguments = ["sweep", "--out", str(tmp_path / "new"), "--dask", "tcp://127.0.0.1:9"]
    refused(arguments, "pip install 'minikd[dask]'", capsys)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@dask_is_here
@pytest.mark.parametrize("kind", ["nobody", "silent", "hangs up", "no address"])
def test_where_no_scheduler_answers_the_error_is_clear_and_soon(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(pool, "SCHEDULER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        if kind == "nobody":
            server.close()
        elif kind == "hangs up":
            threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        if kind == "no address":
            address = "http://nowhere:1"
        began = time.monotonic()
        message = "--dask must be an address" if kind == "no address" else f"no Dask scheduler answers at {address}"
        refused(["sweep", "--out", str(tmp_path / "new"), "--dask", address], message, capsys)
    assert time.monotonic() - began < 10 and not (tmp_path / "new").exists()


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    plan = sweep.Sweep.plan()
    with pytest.raises(CheckpointError, match="all machines of a cluster must share the folder"):
        sweep.train_network(plan.base, tmp_path / "elsewhere", "teacher", None, 0)


def test_an_error_of_a_task_is_the_error_of_the_sweep() -> None:
    with pool.pool(1) as workers, pytest.raises(DeviceError, match="no luck"):
        list(workers.as_completed(fail, [("no luck",)]))


def fail(words: str) -> None:
    """Nothing else."""
    raise DeviceError(words)


# ---- the pool of workers --------------------------------------------------------------------------------------------


def about_this_process(number: int) -> tuple[int, int, int | None, bool]:
    """The number, and of the process: its id, its threads for matrix products, and whether it is deaf to Ctrl-C."""
    return number, os.getpid(), blas_threads(), signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def end_abruptly(number: int) -> int:
    """The first task ends the process that runs it."""
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return number


def test_workers_are_processes_with_threads_of_their_own_and_results_are_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    tasks = [(n,) for n in range(6)]
    two = min(2, os.cpu_count() or 1)  # more than it has cores no library begins
    with pool.pool(2, blas_threads=two) as workers:
        results = workers.map(about_this_process, tasks)
        assert sorted(n for n, *_ in workers.as_completed(about_this_process, tasks)) == list(range(6))
    assert [n for n, *_ in results] == list(range(6)) and workers.count == 2
    assert os.getpid() not in {pid for _, pid, *_ in results}
    assert {(threads, deaf) for *_, threads, deaf in results} == {(two, True)}
    monkeypatch.setenv(VARIABLES[0], "1")  # the user's choice wins
    with pool.pool(2, blas_threads=2) as workers:
        assert {threads for _, _, threads, _ in workers.map(about_this_process, tasks)} == {1}


def test_one_worker_is_this_process_and_gets_its_threads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with limited_blas(2):
        with pool.pool(1, blas_threads=1) as workers:
            assert workers.map(about_this_process, [(5,)]) == [(5, os.getpid(), 1, False)]
        assert blas_threads() == 2
        with pool.pool(2, threads=True, blas_threads=1) as workers:
            assert {(pid, threads) for _, pid, threads, _ in workers.map(about_this_process, [(1,), (2,)])} == {
                (os.getpid(), 1)
            }


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error_and_the_next_pool_works() -> None:
    with pool.pool(2) as workers:
        with pytest.raises(MinikdError, match="a worker process was killed"):
            list(workers.as_completed(end_abruptly, [(0,), (1,), (2,)]))
        with pytest.raises(pool.WorkerKilledError):
            workers.map(end_abruptly, [(0,)])
        assert workers.map(end_abruptly, [(1,), (2,)]) == [1, 2]


def test_what_a_task_tells_is_heard_in_the_process_that_waits() -> None:
    heard: list[tuple[int, str]] = []
    with pool.pool(2, hear=lambda *words: heard.append(words)) as workers:
        assert sorted(workers.as_completed(told, [(1,), (2,)])) == [1, 2]
    assert sorted(heard) == [(1, "half"), (1, "whole"), (2, "half"), (2, "whole")]  # all of it, when the block ends
    heard.clear()
    with pool.pool(1, hear=lambda *words: heard.append(words)) as workers:  # this process needs not be told
        assert list(workers.as_completed(told, [(1,)])) == [1] and not heard


def told(number: int) -> int:
    """A task that tells how far it is."""
    for words in ("half", "whole"):
        pool.tell(number, words)
    return number


def test_a_worker_killed_while_it_tells_something_is_an_error_and_no_hang() -> None:
    with (
        pytest.raises(pool.WorkerKilledError, match="a worker process was killed"),
        pool.pool(2, hear=lambda *words: None) as workers,
    ):
        list(workers.as_completed(end_while_telling, [(1,), (2,)]))


def end_while_telling(number: int) -> None:
    """A task whose process ends with the lock in hand under which workers tell."""
    pool._say.__self__._wlock.acquire()
    os._exit(1)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a process does not learn that its parent has gone")
def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, test_sweep\nfrom minikd.scale.pool import pool\n"
        "with pool(2) as workers: list(workers.as_completed(test_sweep.wait_long, [(sys.argv[1],)] * 2))"
    )
    paths = os.pathsep.join(str(Path(__file__).parents[n]) for n in (0, 1))
    environment = {**os.environ, "PYTHONPATH": paths}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL)
    stop = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2:
        assert process.poll() is None and time.monotonic() < stop
        time.sleep(0.02)
    process.kill()
    process.wait()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < stop, "a worker lives on"
        time.sleep(0.05)


def wait_long(folder: str) -> None:
    """A task that says which process it is in, and takes longer than any test."""
    (Path(folder) / str(os.getpid())).write_text("")
    time.sleep(600)


def is_alive(process: int) -> bool:
    """Whether there is such a process, which is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
