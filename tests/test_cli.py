"""The `minikd` command, as its users meet it: in a process of its own, with exit codes, folders and messages."""

from __future__ import annotations

import argparse
import csv
import errno
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kill
import numpy as np
import pytest
import surroundings
from helpers import assert_same_bits

from minikd import MLP, Adam, cross_entropy, evaluate, fast, fit, load_data
from minikd.backend import DEVICES
from minikd.cli import distill as distill_command
from minikd.cli import parser, process, shared
from minikd.cli.main import main
from minikd.data import DATASETS, few
from minikd.errors import CheckpointError, MinikdError
from minikd.experiments import files
from minikd.experiments.config import RECIPES, Config
from minikd.experiments.distill import STUDENT_SEED, Experiment, smooth_labels
from minikd.experiments.environment import machine
from minikd.experiments.intervals import mean_interval, verdict
from minikd.experiments.summary import ALL, STUDENTS
from minikd.fast.threads import VARIABLES, blas_threads, limited_blas
from minikd.optim import cosine

QUICK = ("--epochs", "3", "--seeds", "2", "--teacher", "16", "--student", "4")


def minikd(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `minikd` in a process of its own, without its pictures, and wait for it."""
    command = [sys.executable, str(Path(__file__).with_name("no_pictures.py")), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, env=environment())


def environment() -> dict[str, str]:
    """This one, with the package importable from any folder and one thread for its small products."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small run that was left alone: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    result = minikd("distill", *QUICK, "--out", str(folder), cwd=folder.parent)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def contents(folder: Path) -> dict[str, bytes]:
    """What a run must end with, bit for bit: the weights of every network, and the history."""
    weights = {path.stem: MLP.load(path).theta.tobytes() for path in sorted(folder.glob("*.safetensors"))}
    return {**weights, "history": (folder / "history.csv").read_bytes()}


@pytest.mark.slow
def test_the_folder_of_a_run_holds_settings_networks_numbers_a_picture_and_a_report(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "minikd", "distill", *QUICK, "--out", str(folder)]
    subprocess.run(command, capture_output=True, timeout=120, env=environment(), check=True)
    networks = {f"{kind}-{seed}.safetensors" for kind in ("teacher", *STUDENTS, ALL) for seed in (0, 1)}
    others = {"config.json", "metrics.json", "history.csv", "dark-knowledge.png", "report.html"}
    assert {p.name for p in folder.iterdir()} == networks | others
    assert (folder / "dark-knowledge.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3 and page.count('<table class="confusion"') == 4
    assert json.loads((folder / "config.json").read_text())["settings"]["epochs"] == 3
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    assert len(rows) == 2 * 5 * 3
    assert {row["model"] for row in rows} == {"teacher", *STUDENTS, ALL}
    assert {row["epoch"] for row in rows} == {"1", "2", "3"}


def test_no_pictures_leaves_neither_picture_nor_report_and_explore_builds_it_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["distill", *QUICK, "-q", "--no-pictures", "--out", str(tmp_path / "run")])
    assert {path.suffix for path in (tmp_path / "run").iterdir()} == {".safetensors", ".json", ".csv"}
    assert "\nNetworks and numbers are in" in capsys.readouterr().out
    main(["explore", str(tmp_path / "run"), "--no-open"])
    assert "<svg" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_the_numbers_on_file_are_those_of_the_networks_on_file(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    data = load_data("digits")
    for row in json.loads((folder / "metrics.json").read_text())["test"]:
        model = MLP.load(folder / f"{row['model']}-{row['seed']}.safetensors")
        teacher = MLP.load(folder / f"teacher-{row['seed']}.safetensors") if "kl" in row else None
        scores = evaluate(model, data.x_test, data.y_test, teacher=teacher)
        assert {name: row[name] for name in scores} == pytest.approx(dict(scores))
        assert row["parameters"] == model.num_params


def test_students_of_a_seed_start_from_the_same_weights_and_differ_by_what_they_are_told(
    finished: tuple[Path, str],
) -> None:
    folder, _ = finished
    losses = {}
    for row in csv.DictReader((folder / "history.csv").read_text().splitlines()):
        losses[row["model"], row["seed"], row["epoch"]] = row["loss"]
    final = [MLP.load(folder / f"{kind}-0.safetensors").theta for kind in STUDENTS]
    assert len({theta.tobytes() for theta in final}) == 3
    # Three epochs move the weights little, so what began alike is still nearer than what began elsewhere.
    other = MLP.load(folder / "labels-1.safetensors").theta
    assert max(np.abs(final[0] - theta).mean() for theta in final[1:]) < np.abs(final[0] - other).mean() / 2


def test_the_table_fits_80_columns_and_each_score_has_a_verdict_with_an_interval(
    finished: tuple[Path, str],
) -> None:
    _, printed = finished
    assert max(map(len, printed.splitlines()[1:-2])) <= 80  # the first and the last two name the folder, however long
    for words in ("params", "errors", "acc. %", "NLL", "ECE %", "agree %", "time s"):
        assert words in printed
    for name in ("teacher", "labels alone", "label smoothing", "distilled"):
        assert re.search(rf"^{name} +[\d.]+±[\d.]+ +[\d.]+±[\d.]+ ", printed, re.MULTILINE), name
    interval = r"[+-][\d.]+ to [+-][\d.]+  (helps|hurts|undecided)"
    rows = re.findall(rf"^(.{{20}})  (accuracy|NLL) +[+-][\d.]+ (points|nats) +{interval}$", printed, re.MULTILINE)
    assert [(name.strip(), score) for name, score, *_ in rows] == [
        ("distilled", "accuracy"), ("", "NLL"), ("label smoothing", "accuracy"), ("", "NLL")
    ]  # fmt: skip


def test_the_verdicts_are_those_of_paired_differences_over_seeds(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    content = json.loads((folder / "metrics.json").read_text())
    scores = {(row["model"], row["seed"]): row for row in content["test"]}
    for kind in ("smoothed", "distilled"):
        for score, sign in (("accuracy", 1), ("nll", -1)):
            found = content["against_labels"][kind][score]
            mean, half = mean_interval([scores[kind, s][score] - scores["labels", s][score] for s in (0, 1)])
            assert (found["mean"], found["half_width_95"]) == (pytest.approx(mean), pytest.approx(half))
            assert found["verdict"] == verdict(sign * mean, half) and found["verdict"] in printed
    assert [verdict(*pair) for pair in ((1, 0.5), (-1, 0.5), (0.4, 0.5), (1, float("nan")), (0, 0))] == [
        "helps", "hurts", "undecided", "undecided", "undecided"
    ]  # fmt: skip


def test_students_are_shown_the_same_few_samples_and_one_the_labels_of_all(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    data = load_data("digits")
    experiment = Experiment(Config.read(folder), folder)
    for seed in (0, 1):
        rows = few(data.y_train, 100, seed=seed)
        np.testing.assert_array_equal(experiment.shown(seed), rows)
        for kind in ("labels", "all"):
            model = MLP((64, 4, 10), seed=STUDENT_SEED + seed)
            of = rows if kind == "labels" else slice(None)
            options: dict[str, Any] = {"epochs": 3, "batch_size": 32, "schedule": cosine(), "seed": seed}
            adam = Adam(model, lr=0.03)
            fit(
                model, data.x_train[of], data.y_train[of], loss=cross_entropy, optimizer=adam, progress=False, **options
            )
            assert_same_bits(model.theta, MLP.load(folder / f"{kind}-{seed}.safetensors").theta)
    text = " ".join(printed.split())
    assert "The students are shown 100 of 899 images; the teacher has learned from all." in text
    assert "with the labels of all 899." in text


def test_all_images_is_a_run_without_a_few_and_says_so(tmp_path: Path) -> None:
    result = minikd("distill", *QUICK, "--seeds", "1", "--images", "all", "--out", "run", cwd=tmp_path)
    assert "student 4 on all images" in result.stdout and "all labels" not in result.stdout
    assert "The students are shown all 899 images." in result.stdout
    assert not (tmp_path / "run/all-0.safetensors").exists()


def test_classes_can_be_kept_from_the_students_and_a_column_says_how_they_are_read(tmp_path: Path) -> None:
    result = minikd("distill", *QUICK, "--without", "3,5", "--out", "run", cwd=tmp_path)
    data, text = load_data("digits"), " ".join(result.stdout.split())
    assert "unseen %" in text and "The students are shown 100 of 899 images, no 3, no 5;" in text
    unseen = np.isin(data.y_test, (3, 5))
    for row in json.loads((tmp_path / "run/metrics.json").read_text())["test"]:
        model = MLP.load(tmp_path / "run" / f"{row['model']}-{row['seed']}.safetensors")
        right = model.predict(data.x_test).argmax(axis=1) == data.y_test
        assert row["unseen"] == pytest.approx(right[unseen].mean())
    experiment = Experiment(Config.read(tmp_path / "run"), tmp_path / "run")
    assert not np.isin(data.y_train[experiment.shown(0)], (3, 5)).any()


def test_several_networks_at_a_time_end_with_the_same_bits_as_one_after_the_other(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    for jobs in ("1", "2"):
        assert minikd("distill", *QUICK, "--jobs", jobs, "--out", jobs, cwd=tmp_path).returncode == 0
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(finished[0])


@pytest.mark.slow
def test_kill_9_at_20_random_moments_and_resume_ends_with_the_same_bits(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "minikd", "distill"]
    random.seed(0)
    kills, longest = 0, 0.6
    while kills < 20:
        again = (
            ["--resume", "--out", str(folder)] if (folder / "config.json").exists() else [*QUICK, "--out", str(folder)]
        )
        process = subprocess.Popen(
            [*command, *again], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )
        time.sleep(random.uniform(0.1, longest))
        if process.poll() is not None:  # it got to its end: begin again, so that every kill hits a run at work
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    result = minikd(
        "distill", *(["--resume"] if (folder / "config.json").exists() else QUICK), "--out", str(folder), cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert contents(folder) == contents(finished[0])
    assert {p.name for p in folder.iterdir()} == {p.name for p in finished[0].iterdir()}  # no litter


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "minikd", "distill", *QUICK, "--epochs", "3000", "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    while not list(folder.glob("teacher-0.safetensors")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert f"minikd distill --resume --out {folder}" in err


def test_a_finished_run_can_be_resumed_and_trains_nothing(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder, printed = finished
    before = contents(folder)
    result = minikd("distill", "--resume", "--out", str(folder), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert contents(folder) == before
    assert result.stdout == printed  # the time too: what was spent, not what this call took


def test_a_given_teacher_is_used_and_not_trained(finished: tuple[Path, str], tmp_path: Path) -> None:
    teacher = finished[0] / "teacher-1.safetensors"
    before = teacher.read_bytes()
    flags = ("--epochs", "3", "--seeds", "2", "--student", "4")
    result = minikd("distill", *flags, "--teacher-from", str(teacher), "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert teacher.read_bytes() == before
    (copy,) = (tmp_path / "run").glob("teacher-*")  # so that the run does not depend on a file elsewhere
    assert MLP.load(copy).theta.tobytes() == MLP.load(teacher).theta.tobytes()
    rows = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert [row["model"] for row in rows].count("teacher") == 1
    # Seed 1's distilled student had this very teacher before, so it must come out the same.
    for name in ("distilled-1", "labels-1"):
        theirs, ours = MLP.load(finished[0] / f"{name}.safetensors"), MLP.load(tmp_path / "run" / f"{name}.safetensors")
        assert theirs.theta.tobytes() == ours.theta.tobytes()


def test_one_seed_and_networks_without_hidden_layers_are_fine(tmp_path: Path) -> None:
    result = minikd("distill", "--epochs", "1", "--seeds", "1", "--teacher", "8", "--student", "4", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "One seed cannot tell" in " ".join(result.stdout.split())
    assert (tmp_path / "runs" / "digits-1" / "metrics.json").exists()


def test_evaluate_prints_the_scores_of_a_file(finished: tuple[Path, str], tmp_path: Path) -> None:
    student, teacher = finished[0] / "distilled-0.safetensors", finished[0] / "teacher-0.safetensors"
    result = minikd("evaluate", str(student), "--data", "digits", "--teacher", str(teacher), cwd=tmp_path)
    data = load_data("digits")
    scores = evaluate(MLP.load(student), data.x_test, data.y_test, teacher=MLP.load(teacher))
    assert result.returncode == 0, result.stderr
    for name, value in scores.items():
        assert re.search(rf"{name} +{value:.4f}" if isinstance(value, float) else rf"{name} +{value}", result.stdout)


def test_data_list_names_every_set_with_its_licence_and_fetch_says_where_it_is(tmp_path: Path) -> None:
    listed = minikd("data", "list", cwd=tmp_path).stdout
    for name in RECIPES:
        assert re.search(rf"^{name} ", listed, re.MULTILINE)
    assert listed.count("CC BY") >= 3
    fetched = minikd("data", "fetch", "digits", cwd=tmp_path)
    assert fetched.returncode == 0
    assert "digits is in" in fetched.stdout


def test_flags_alone_mean_the_main_job_and_version_is_said(tmp_path: Path) -> None:
    version, kernels = minikd("--version", cwd=tmp_path).stdout.splitlines()
    assert version.startswith("minikd 0.") and kernels == f"kernels: {fast.status()}"
    result = minikd(*QUICK, "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "metrics.json").exists()


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m minikd data list | true"
    result = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert "Traceback" not in result.stderr


def test_numbers_on_file_are_plain_json_even_where_one_seed_leaves_no_interval(tmp_path: Path) -> None:
    assert minikd(*QUICK, "--seeds", "1", "--out", "run", cwd=tmp_path).returncode == 0
    text = (tmp_path / "run" / "metrics.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["against_labels"]["distilled"]["nll"]["half_width_95"] is None


BAD = {
    "a teacher to train beside a given one": ("distill", "--teacher-from", __file__, "--teacher", "8"),
    "a folder that cannot be made": ("distill", "--out", f"{__file__}/run"),
    "an unknown command": ("distil",),
    "an unknown flag": ("distill", "--alpha", "0.5"),
    "unknown data": ("distill", "--data", "cifar"),
    "no images": ("distill", "--images", "0"),
    "more images than there are": ("distill", "--images", "900"),
    "fewer images than classes": ("distill", "--images", "9"),
    "images by letters": ("distill", "--images", "many"),
    "without all classes": ("distill", "--without", "0,1,2,3,4,5,6,7,8,9"),
    "without a class that there is not": ("distill", "--without", "eleven"),
    "no jobs": ("distill", "--jobs", "0"),
    "temperature 0": ("distill", "--temperature", "0"),
    "temperature of letters": ("distill", "--temperature", "hot"),
    "temperature nan": ("distill", "--temperature", "nan"),
    "soft weight above 1": ("distill", "--soft-weight", "1.5"),
    "no epochs": ("distill", "--epochs", "0"),
    "half an epoch": ("distill", "--epochs", "0.5"),
    "batch size below 1": ("distill", "--batch-size", "-3"),
    "learning rate 0": ("distill", "--lr", "0"),
    "no seeds": ("distill", "--seeds", "0"),
    "widths with a comma": ("distill", "--teacher", "256,256"),
    "width 0": ("distill", "--student", "0"),
    "an unknown device": ("distill", "--device", "tpu"),
    "a teacher that is not there": ("distill", "--teacher-from", "nowhere.safetensors"),
    "a teacher that is no network": ("distill", "--teacher-from", __file__),
    "resume without a folder": ("distill", "--resume"),
    "resume of nothing": ("distill", "--resume", "--out", "nowhere"),
    "evaluate without data": ("evaluate", __file__),
    "evaluate nothing": ("evaluate", "nowhere.safetensors", "--data", "digits"),
    "evaluate a text": ("evaluate", __file__, "--data", "digits"),
    "fetch of something unknown": ("data", "fetch", "cifar"),
    "data without an action": ("data",),
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
def test_a_bad_argument_costs_one_line_and_exit_code_2(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    printed = capsys.readouterr()
    assert exit.value.code == 2
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("minikd")
    assert not printed.out
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_cuda_that_is_not_there_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(SystemExit) as exit:
        main(["distill", "--device", "cuda", "--out", str(tmp_path / "run")])
    assert exit.value.code == 2
    assert re.fullmatch(r"minikd: device 'cuda' needs CuPy.*pip install.*\n", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flags", [("--epochs", "9"), ("--data", "mnist"), ("--student", "5")])
def test_resuming_with_other_settings_is_refused(
    flags: tuple[str, str], finished: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished[0])
    with pytest.raises(SystemExit) as exit:
        main(["distill", "--resume", "--out", str(finished[0]), *flags])
    assert exit.value.code == 2
    assert flags[0] in capsys.readouterr().err
    assert contents(finished[0]) == before


def test_a_folder_with_something_in_it_is_not_written_over(
    finished: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished[0])
    with pytest.raises(SystemExit) as exit:
        main(["distill", "--out", str(finished[0])])
    assert exit.value.code == 2
    assert "there already" in capsys.readouterr().err
    assert contents(finished[0]) == before


def test_a_teacher_for_other_data_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MLP((5, 3)).save(tmp_path / "other.safetensors")
    with pytest.raises(SystemExit) as exit:
        main(["distill", "--teacher-from", str(tmp_path / "other.safetensors"), "--out", str(tmp_path / "run")])
    assert exit.value.code == 2
    assert "5 inputs" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--help",), ("distill", "--help"), ("evaluate", "--help"), ("data", "--help")])
def test_help_fits_80_columns_and_says_what_the_defaults_are(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    text = capsys.readouterr().out
    assert exit.value.code == 0
    assert max(map(len, text.splitlines())) <= 80
    if arguments[0] == "distill":
        defaults = Config()
        assert defaults == Config.for_data("digits")
        words = " ".join(text.split())
        for shown in ("temperature", "soft_weight", "epochs", "batch_size", "lr", "teacher_lr", "seeds"):
            flag = f"--{shown.replace('_', '-')} "
            said = re.search(rf"{flag}[A-Z]+ ((?! --).)*?\(default ([\d.]+)\)", words)
            assert said and float(said[2]) == getattr(defaults, shown), shown
        assert f"(default {defaults.student[0]})" in words


def test_the_command_knows_the_data_sets_and_devices_that_there_are() -> None:
    assert parser.DATA == tuple(DATASETS) == tuple(RECIPES)
    assert parser.DEVICES == DEVICES


def test_help_loads_nothing_heavier_than_numpy_so_that_it_is_quick() -> None:
    heavy = "{'joblib', 'matplotlib', 'pooch', 'safetensors', 'threadpoolctl', 'tqdm', 'minikd.methods'}"
    code = f"import sys, minikd.cli.main; minikd.cli.main.command_parser(); print(*{heavy} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), timeout=60, capture_output=True, text=True, check=True
    )
    assert result.stdout == "\n"


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The user has chosen no number of threads, and there are two, where the machine has two cores."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with limited_blas(2):
        yield blas_threads() or 0


class Seen(MinikdError):
    """Raised where training would begin."""


def threads_of_distill(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | None:
    """How many threads the command has when training begins; nothing is trained."""
    seen: list[int | None] = []

    def look(*of: Any, **more: Any) -> None:
        seen.append(blas_threads())
        raise Seen

    monkeypatch.setattr(distill_command, "Experiment", look)
    with pytest.raises(SystemExit):
        main(["distill", *arguments])
    return seen[0]


@pytest.mark.parametrize(("data", "users", "one"), [("digits", "", True), ("digits", "2", False), ("mnist", "", False)])
def test_small_data_get_one_thread_unless_the_user_has_chosen(
    data: str, users: str, one: bool, monkeypatch: pytest.MonkeyPatch, two_threads: int, tmp_path: Path
) -> None:
    if users:
        monkeypatch.setenv(VARIABLES[0], users)
    flags = ("--data", data, "--out", str(tmp_path / "new"))
    assert threads_of_distill(monkeypatch, *flags) == (1 if one else two_threads)
    assert blas_threads() == two_threads  # given back


def test_a_resumed_run_gets_the_threads_it_had_for_its_data(
    monkeypatch: pytest.MonkeyPatch, two_threads: int, tmp_path: Path
) -> None:
    for data, threads in (("mnist", two_threads), ("digits", 1)):
        Config.for_data(data).write(tmp_path)
        assert threads_of_distill(monkeypatch, "--resume", "--out", str(tmp_path)) == threads


def test_v_says_how_many_threads_there_are_and_why(
    monkeypatch: pytest.MonkeyPatch, two_threads: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for data, flags, users, words in (
        ("digits", [], "", ""),
        ("digits", ["-v"], "", "minikd: threads for matrix products: 1, which suits the data\n"),
        ("mnist", ["-v"], "", f"minikd: threads for matrix products: {two_threads}, one for each core\n"),
        ("digits", ["-v"], "3", f"minikd: threads for matrix products: {two_threads}, as {VARIABLES[0]} says\n"),
    ):
        monkeypatch.setenv(VARIABLES[0], users)
        threads_of_distill(monkeypatch, "--data", data, "--out", str(tmp_path / "new"), *flags)
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"{words}minikd: \n")


def test_the_note_of_the_machine_tells_the_threads_that_there_are(two_threads: int) -> None:
    assert machine()["threads"] == two_threads
    with limited_blas(1):
        assert machine()["threads"] == 1


def test_importing_minikd_changes_no_environment_variable() -> None:
    code = "import os; before = dict(os.environ); import minikd; minikd.MLP; assert dict(os.environ) == before"
    subprocess.run([sys.executable, "-c", code], env=environment(), timeout=60, check=True)


def test_smoothed_labels_are_probabilities_with_the_amount_spread_over_all_classes() -> None:
    targets = smooth_labels(np.array([2, 0]), 4, 0.1)
    np.testing.assert_allclose(targets, [[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]], rtol=1e-6)


def test_mean_interval_is_students_t() -> None:
    mean, half = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3
    assert half == pytest.approx(2.776445 * np.sqrt(2.5 / 5), rel=1e-5)  # t(4) at 97.5 %
    assert mean_interval([0.0, 1.0])[1] == pytest.approx(12.7062 * 0.5, rel=1e-4)  # t(1)
    assert mean_interval(np.arange(31.0))[1] == pytest.approx(
        2.042272 * np.std(np.arange(31), ddof=1) / np.sqrt(31), rel=1e-5
    )
    assert np.isnan(mean_interval([1.0])[1])


# ---- odd surroundings, and two at once ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", surroundings.CASES)
def test_the_command_does_its_work_or_says_why_not_wherever_it_is_started(name: str, tmp_path: Path) -> None:
    case = surroundings.CASES[name]
    if not surroundings.possible(case):
        pytest.skip(surroundings.SKIP)
    assert surroundings.run_case(case, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "signal"), list(zip(kill.COMMANDS, ("SIGTERM", "SIGHUP", "SIGKILL", "SIGTERM"), strict=True))
)
def test_a_killed_command_says_how_to_go_on_leaves_nobody_behind_and_loses_nothing(
    command: str, signal: str, tmp_path: Path
) -> None:
    assert kill.rounds_of(command, (signal,), 1, tmp_path, seed=1) == []


def test_an_output_without_some_characters_spells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    with process.prepared():
        print("5.0±0.3, 28×28, T², a → b, 数")
    out.flush()
    assert out.buffer.getvalue() == b"5.0+-0.3, 28x28, T2, a -> b, ?\n"  # type: ignore[attr-defined]


def test_signals_are_as_before_after_a_command_and_an_ignored_one_stays_ignored() -> None:
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with process.prepared():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            with pytest.raises(process.Terminated) as caught:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
        assert process.exit_code(caught.value) == 143 and process.exit_code(KeyboardInterrupt()) == 130
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
    assert {s: signal.getsignal(s) for s in before} == before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(36, "File name too long", "x/y"), "x/y: File name too long"),
        (OSError("something"), "something"),
        (MemoryError(), "there is not enough memory"),
        (PermissionError(13, "Permission denied", "run/x"), "run/x: Permission denied"),
        (ImportError("libfreetype.so.6 is missing"), "libfreetype.so.6 is missing"),
        (MemoryError("Unable to allocate 2.66 PiB"), "there is not enough memory: Unable to allocate 2.66 PiB"),
    ],
)
def test_what_the_system_refuses_while_training_is_one_line_that_says_how_to_go_on(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Experiment, "train_student", refuse)
    folder = tmp_path / "my run"
    with pytest.raises(SystemExit) as exit:
        main(["distill", *QUICK, "-q", "--jobs", "1", "--out", str(folder)])
    wanted = f"minikd: {words}. What was trained is kept. To go on: minikd distill --resume --out '{folder}'\n"
    assert exit.value.code == 2 and capsys.readouterr().err == wanted and (folder / "teacher-0.safetensors").exists()


def test_a_folder_that_cannot_be_read_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Any, *_: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(files, "os", SimpleNamespace(**{**vars(os), "open": refuse}))
    for command in ("distill", "sweep", "compare", "reproduce generations"):
        with pytest.raises(SystemExit) as exit:
            main([*command.split(), "--out", str(tmp_path / "run")])
        assert exit.value.code == 2
        assert capsys.readouterr().err == f"minikd: {tmp_path / 'run' / files.LOCK}: Permission denied\n"
        assert not (tmp_path / "run").exists()


def test_two_commands_never_choose_the_same_folder_nor_write_into_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    new, again = argparse.Namespace(out=None, resume=False), argparse.Namespace(out=tmp_path / "runs/x-1", resume=True)
    with shared.run_folder(new, "x") as first, shared.run_folder(new, "x") as second:
        assert (first, second) == (Path("runs/x-1"), Path("runs/x-2"))
        words = rf"x-1 is in use by process {os.getpid()} on \S+: let it end, or stop it"
        with pytest.raises(CheckpointError, match=words), shared.run_folder(again, "x"):
            pass
        (first / "network").touch()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["network", "runs", "x-1"]  # no lock, and no empty folder
    with shared.run_folder(again, "x"), pytest.raises(CheckpointError, match="in use"), shared.run_folder(again, "x"):
        pass


@pytest.mark.slow
def test_two_commands_started_together_take_a_folder_each(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("no_pictures.py")), "distill", *QUICK, "--jobs", "1", "-q"]
    several = [subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(200) for process in several] == [0] * 4
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert folders == [f"digits-{n}" for n in (1, 2, 3, 4)]
    assert len({str(contents(tmp_path / "runs" / folder)) for folder in folders}) == 1


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    code = "import sys, time, pathlib; from minikd.experiments.files import claimed\n"
    code += f"with claimed(pathlib.Path({str(tmp_path)!r})): print('claimed', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"claimed\n"
    with pytest.raises(CheckpointError, match=f"in use by process {holder.pid}"), files.claimed(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with files.claimed(tmp_path):
        assert (tmp_path / files.LOCK).read_text().startswith(f"process {os.getpid()} ")


def test_where_there_is_no_fcntl_the_lock_is_that_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def locking(descriptor: int, mode: int, n: int) -> None:
        if held:
            raise OSError("locked")
        held.append(os.lseek(descriptor, 0, os.SEEK_CUR))

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=3))
    with files.claimed(tmp_path), pytest.raises(CheckpointError, match="in use"), files.claimed(tmp_path):
        pass
    assert held == [files.FAR_AWAY]  # so that the text in front of it can be read
    import minikd.experiments.sweep  # noqa: F401 (Windows has no fcntl, and a sweep needs none)


def test_a_disk_that_knows_no_locks_is_used_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with files.claimed(tmp_path):
        pass


def test_a_folder_with_nothing_but_what_a_killed_save_left_is_new(tmp_path: Path) -> None:
    (tmp_path / ".config.json.77.tmp").touch()
    with shared.run_folder(argparse.Namespace(out=tmp_path, resume=False), "x") as folder:
        (folder / "config.json").touch()
    with (
        pytest.raises(shared.UsageError, match="is there already"),
        shared.run_folder(argparse.Namespace(out=tmp_path, resume=False), "x"),
    ):
        pass
