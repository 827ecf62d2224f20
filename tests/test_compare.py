"""`minikd compare` trains every method alike, tunes on validation samples alone, and says what the seeds can tell."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_bits

from minikd import MLP
from minikd.cli.main import main
from minikd.errors import CheckpointError
from minikd.experiments.compare import (
    ENTRIES,
    FARTHEST,
    STRENGTHS,
    TEMPERATURES,
    TUNING_SEEDS,
    _beyond_the_end,
    caption,
    compare,
    method_table,
    read,
    settings_for,
    summary,
)
from minikd.experiments.config import Config
from minikd.methods import METHODS
from minikd.report import plots

CONFIG = Config.for_data(student=(8,), teacher=(16,), epochs=2, seeds=4, batch_size=64)


def made_up(accuracies: dict[tuple[str, float], tuple[float, float]], seeds: int = 5) -> dict[str, Any]:
    """Numbers in which (method, strength) has these validation and test accuracies, a little different by seed."""
    records = [
        {"method": name, "temperature": None, "strength": s, "seed": i, "seconds": 2.0, "val_accuracy": val + i / 1000,
         "accuracy": test + i / 1000 + (0.0001 * i if name == "sp" else 0), "nll": 0.1}
        for (name, s), (val, test) in accuracies.items() for i in range(seeds)
    ]  # fmt: skip
    settings = {"data": "digits", "student": [8], "teacher": [16], "epochs": 2, "seeds": seeds, "images": 100}
    tuned = {"strengths": STRENGTHS, "temperatures": TEMPERATURES, "tuning_seeds": min(seeds, TUNING_SEEDS)}
    return {"settings": settings, **tuned, "records": records}


def test_the_strength_is_tuned_on_validation_samples_and_never_on_test_samples() -> None:
    content = made_up({("labels", 1.0): (0.9, 0.9), ("sp", 0.25): (0.92, 0.91), ("sp", 1.0): (0.94, 0.92),
                       ("sp", 4.0): (0.93, 0.99)})  # fmt: skip
    (row,) = [row for row in summary(content) if row["method"] == "sp"]
    assert row["strength"] == 1.0 and row["error"] == pytest.approx(8 - 0.22) and not row["at_end"]
    for record in content["records"]:
        record["accuracy"] = 0.5 if record["method"] == "sp" else record["accuracy"]
    (row,) = [row for row in summary(content) if row["method"] == "sp"]
    assert row["strength"] == 1.0


def test_a_strength_at_the_end_of_the_grid_is_marked() -> None:
    content = made_up({("labels", 1.0): (0.9, 0.9), ("sp", 1.0): (0.94, 0.92), ("sp", 4.0): (0.95, 0.99)})
    assert [row["at_end"] for row in summary(content) if row["method"] == "sp"] == [True]
    assert "× 4 |" in method_table(content)


def test_only_the_first_seeds_have_a_say_in_tuning() -> None:
    content = made_up({("labels", 1.0): (0.9, 0.9), ("sp", 0.25): (0.92, 0.9), ("sp", 1.0): (0.93, 0.9)})
    for record in content["records"]:
        if record["strength"] == 0.25 and record["seed"] >= TUNING_SEEDS:
            record["val_accuracy"] = 1.0
    assert [row["strength"] for row in summary(content) if row["method"] == "sp"] == [1.0]


def test_the_gain_is_paired_by_seed_and_decided_only_where_its_interval_is_on_one_side() -> None:
    content = made_up({("labels", 1.0): (0.9, 0.9), ("sp", 1.0): (0.9, 0.92), ("rkd", 1.0): (0.9, 0.88)})
    rows = {row["method"]: row for row in summary(content)}
    assert [rows[name]["verdict"] for name in ("labels", "sp", "rkd")] == ["", "helps", "hurts"]
    assert rows["sp"]["gain"] == pytest.approx(2.02) and rows["sp"]["gain_half"] < 0.05 < rows["sp"]["half"]
    for record in content["records"]:  # the same mean, but from seed to seed one way and the other
        if record["method"] == "sp":
            record["accuracy"] += 0.1 * (-1) ** record["seed"]
    assert [row["verdict"] for row in summary(content) if row["method"] == "sp"] == ["undecided"]
    one = summary(made_up({("labels", 1.0): (0.9, 0.9), ("sp", 1.0): (0.9, 0.92)}, seeds=1))
    assert [row["verdict"] for row in one] == ["undecided", ""]


def test_a_language_model_is_tuned_and_ranked_by_nats_a_letter() -> None:
    content = made_up({("labels", 1.0): (0.4, 0.4), ("sp", 1.0): (0.3, 0.3), ("sp", 4.0): (0.5, 0.5)})
    content["settings"] |= {"data": "words", "images": 2000}
    nats = {("labels", 1.0): 2.2, ("sp", 1.0): 2.0, ("sp", 4.0): 2.1}
    for record in content["records"]:
        nll = nats[record["method"], record["strength"]] + record["seed"] / 1000
        record |= {"nll": nll, "val_nll": nll, "perplexity": np.exp(nll)}
    first, second = summary(content)
    assert (first["method"], first["strength"], first["verdict"]) == ("sp", 1.0, "helps"), "not by accuracy"
    assert first["gain"] == pytest.approx(0.2) and first["error"] == pytest.approx(2.002)
    assert second["method"] == "labels" and second["verdict"] == ""
    table = method_table(content).splitlines()
    assert table[0].split() == ["method", "NLL", "lower", "by", "errors", "%", "T", "strength", "cost"]
    assert table[1].split()[:6] == ["sp", "2.002", "±0.002", "+0.200", "±0.000", "helps"]
    assert "Lower by: nats a letter against labels alone" in " ".join(caption(content).split())
    (axes,) = plots.comparison(summary(content)).axes
    assert axes.get_xlabel() == "nats a letter less on test words than labels alone"


def test_a_setting_at_which_a_student_diverged_is_left_out() -> None:
    content = made_up({("labels", 1.0): (0.9, 0.9), ("sp", 1.0): (0.94, 0.92), ("sp", 4.0): (0.95, 0.99)})
    record = content["records"][-1]
    assert record["strength"] == 4.0
    content["records"][-1] = {k: record[k] for k in ("method", "temperature", "strength", "seed")} | {"failed": "..."}
    assert [row["strength"] for row in summary(content) if row["method"] == "sp"] == [1.0]


def test_the_cost_is_that_of_the_fastest_seed_so_that_a_busy_machine_does_not_decide_it() -> None:
    content = made_up({("labels", 1.0): (0.9, 0.9), ("sp", 1.0): (0.9, 0.92)})
    for record in content["records"]:
        record["seconds"] *= 3 if record["method"] == "sp" else 1
        record["seconds"] += 50 if record["seed"] == 1 and record["method"] == "labels" else 0
    assert [row["cost"] for row in summary(content)] == pytest.approx([3.0, 1.0])


def test_smaller_batches_make_as_many_steps_as_the_recipe_of_the_data_set() -> None:
    mnist, digits = settings_for("mnist", images=None), settings_for("digits", images=None)
    assert (mnist.batch_size, mnist.epochs, mnist.teacher_epochs) == (64, 10, 15)  # instead of 128, 20, 15
    assert (digits.batch_size, digits.epochs, digits.teacher_epochs) == (32, 100, 50)
    assert settings_for("digits") == Config.for_data("digits") and settings_for("mnist") == Config.for_data("mnist")
    assert settings_for("mnist", epochs=3).teacher_epochs == settings_for("mnist", epochs=3).epochs == 3


def test_an_unknown_method_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="methods must be one of kd, logits"):
        compare(CONFIG, ("kd", "alchemy"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_of_equals_the_default_strength_is_taken() -> None:
    content = made_up({("labels", 1.0): (0.9, 0.9), **{("rkd", s): (0.9, 0.9) for s in STRENGTHS}})
    assert [row["strength"] for row in summary(content)] == [1.0, 1.0]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A comparison of three methods, and its folder: 4 seeds, of which the last has no say in tuning."""
    folder = tmp_path_factory.mktemp("compare") / "run"
    return folder, compare(CONFIG, ("kd", "self-supervised", "born-again"), folder)


def test_every_method_starts_from_the_same_weights_and_is_handed_the_same_samples_and_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bytes, bytes, dict[str, Any]]] = []

    def watched(student: MLP, teacher: Any, x: Any, labels: Any, **options: Any) -> Any:
        same = {n: options[n] for n in ("epochs", "batch_size", "seed")}
        seen.append((student.theta.tobytes(), x.tobytes() + labels.tobytes(), same))
        return METHODS["kd"].train(student, teacher, x, labels, **options)

    for name in ("one", "two"):
        for entries in (METHODS, ENTRIES):
            monkeypatch.setitem(entries, name, replace(METHODS["sp"], name=name, train=watched))
    compare(replace(CONFIG, seeds=1), ("one", "two"), tmp_path)
    assert len(seen) == 2 * len(STRENGTHS) and all(s == seen[0] for s in seen)
    assert len(seen[0][1]) == 100 * (64 * 4 + 8)


def test_temperature_is_tuned_first_and_strength_at_the_best_one_alike_for_all(
    compared: tuple[Path, dict[str, Any]],
) -> None:
    folder, content = compared
    tried = {(r["method"], r["temperature"], r["strength"], r["seed"]) for r in content["records"]}
    assert len(tried) == len(content["records"])
    (best,) = {t for method, t, s, _ in tried if method == "kd" and s != 1}
    assert best in TEMPERATURES
    tuning = range(TUNING_SEEDS)
    expected = {("kd", t, 1.0, i) for t in TEMPERATURES for i in tuning}
    expected |= {("kd", best, s, i) for s in STRENGTHS for i in tuning}
    expected |= {("born-again", None, s, i) for s in STRENGTHS for i in tuning}
    expected |= {("self-supervised", None, 1.0, i) for i in range(4)}
    expected |= {("unlabelled", t, 1.0, i) for t in TEMPERATURES for i in tuning}
    expected |= {(control, None, 1.0, i) for control in ("teacher", "labels", "all") for i in range(4)}
    assert tried >= expected
    rows = {row["method"]: (row["method"], row["temperature"], row["strength"]) for row in summary(content)}
    tuned = ("kd", "born-again", "unlabelled")  # the seed that has no say is trained at the chosen settings alone
    assert {record[:3] for record in tried if record[3] == 3 and record[0] in tuned} == {rows[name] for name in tuned}
    names = {path.name for path in folder.iterdir()}
    assert {"compare.json", "kd-T4-1-0.safetensors", "born-again-4-1-generation-0.safetensors"} <= names
    one, two = (MLP.load(folder / f"kd-T{t}-1-0.safetensors").theta for t in ("1", "4"))
    assert np.abs(one - two).max() > 0
    assert all(record["seconds"] > 0 for record in content["records"])


def test_strengths_are_tried_until_no_end_is_the_best_and_none_twice() -> None:
    def record(strength: float, val: float) -> dict[str, Any]:
        scores = {"val_accuracy": val} if val else {"failed": "..."}
        return {"method": "sp", "temperature": None, "strength": strength, "seed": 0, **scores}

    def after(*values: tuple[float, float]) -> list[float]:
        return [s for _, _, s in _beyond_the_end("sp", [record(*value) for value in values], range(1))]

    assert after((0.25, 0.8), (1.0, 0.9), (4.0, 0.7)) == []
    assert after((0.25, 0.8), (1.0, 0.9), (4.0, 0.95)) == [16.0]
    assert after((0.25, 0.95), (1.0, 0.9), (4.0, 0.7)) == [0.0625]
    assert after((1.0, 0.9), (4.0, 0.95), (16.0, 0)) == []  # 16 diverged
    assert after((1.0, 0.9)) == []  # a method without strength
    assert after((FARTHEST, 0.9), (FARTHEST / 4, 0.8)) == []


def test_fewer_seeds_can_tune_and_the_others_are_trained_at_what_they_settle(tmp_path: Path) -> None:
    content = compare(replace(CONFIG, seeds=2), ("label-smoothing",), tmp_path, tuning_seeds=1)
    seeds = Counter(r["seed"] for r in content["records"] if r["method"] == "label-smoothing")
    assert seeds == {0: len(STRENGTHS), 1: 1} and content["tuning_seeds"] == 1
    (row,) = [row for row in summary(content) if row["method"] == "label-smoothing"]
    assert [r["strength"] for r in content["records"] if r["seed"] == 1][-1] == row["strength"]
    with pytest.raises(ValueError, match="tuning_seeds must be at least 1, got 0"):
        compare(CONFIG, ("kd",), tmp_path, tuning_seeds=0)


def test_what_reads_less_is_compared_with_a_rival_that_reads_as_little(tmp_path: Path) -> None:
    content = compare(replace(CONFIG, seeds=2), ("self-supervised", "data-free"), tmp_path / "run")
    rows = {row["method"]: row for row in summary(content)}
    assert rows["self-supervised"]["against"] == "unlabelled" and rows["data-free"]["against"] == "noise"
    base = rows["noise"]["error"] - rows["data-free"]["error"]
    assert rows["data-free"]["gain"] == pytest.approx(base) and rows["noise"]["against"] == "labels"


def test_students_without_labels_or_without_images_read_neither() -> None:
    x, labels = np.ones((40, 4), np.float32), np.zeros(40, int)
    teacher = MLP((4, 8, 3), seed=0)
    options: dict[str, Any] = {"epochs": 2, "batch_size": 8, "progress": False}

    def trained(name: str, x: Any, labels: Any) -> Any:
        student = MLP((4, 5, 3), seed=1)
        ENTRIES[name].train(student, teacher, x, labels, **options)
        return student.theta

    assert_same_bits(trained("unlabelled", x, labels), trained("unlabelled", x, labels + 2))
    assert_same_bits(trained("noise", x, labels), trained("noise", 2 * x, labels + 2))
    assert np.abs(trained("unlabelled", x, labels) - trained("unlabelled", 2 * x, labels)).max() > 0


def test_a_comparison_is_resumed_from_its_networks_and_two_jobs_give_the_same_bits(
    compared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, content = compared
    before = MLP.load(folder / "kd-T4-1-1.safetensors").theta
    (folder / "kd-T4-1-1.safetensors").unlink()
    again = compare(CONFIG, ("kd", "self-supervised", "born-again"), folder)
    assert_same_bits(MLP.load(folder / "kd-T4-1-1.safetensors").theta, before)
    for old, new in zip(content["records"], again["records"], strict=True):
        assert {**old, "seconds": 0} == {**new, "seconds": 0}
    one, two = (compare(CONFIG, ("rkd",), tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    for a, b in zip(one["records"], two["records"], strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}
    with pytest.raises(CheckpointError, match="belongs to another run"):
        compare(replace(CONFIG, epochs=3), ("kd",), folder)


def test_the_table_fits_a_terminal_and_is_shown_from_a_file(
    compared: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, content = compared
    main(["compare", "--show", str(folder / "compare.json")])
    printed = capsys.readouterr().out
    assert method_table(
        content
    ) in printed and "digits, student 8 on 100 images, teacher 16 on all, 2 epochs, 4 seeds" in " ".join(
        printed.split()
    )
    assert max(map(len, printed.splitlines())) <= 80
    for text in ("{", "[]", '{"settings": {}}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"bad\.json does not hold the numbers of a comparison"):
            read(tmp_path / "bad.json")


def test_the_command_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--student", "8", "--teacher", "8", "--epochs", "1", "--seeds", "1", "--methods", "label-smoothing"]
    main(["compare", *flags, "--no-pictures"])
    captured = capsys.readouterr()
    assert "1 methods, 1 seeds, in runs/compare-1/" in captured.out and "label-smoothing" in captured.out
    content = json.loads((tmp_path / "runs/compare-1/compare.json").read_text())
    assert content["settings"]["epochs"] == content["settings"]["teacher_epochs"] == 1
    assert {path.suffix for path in (tmp_path / "runs/compare-1").iterdir()} == {".safetensors", ".json"}


@pytest.mark.slow
def test_the_command_leaves_a_picture_and_a_report(tmp_path: Path) -> None:
    flags = ["--student", "8", "--teacher", "8", "--epochs", "1", "--seeds", "1", "--methods", "label-smoothing"]
    main(["compare", *flags, "--quiet", "--out", str(tmp_path / "run")])
    assert (tmp_path / "run/compare.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "run/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "kd,alchemy"], "--methods must be one of kd, logits"),
        (["--seeds", "0"], "--seeds must be"),
        (["--images", "0"], "--images must be at least 1, got 0"),
        (["--images", "900"], "--images must be from 10, one for each class, to 899, all training samples"),
        (["--images", "9"], "--images must be from 10"),
        (["--images", "10,20"], "--images: must be one whole number or all, got '10,20'"),
        (["--jobs", "0"], "--jobs must be"),
        (["--tuning-seeds", "0"], "--tuning-seeds must be at least 1, got 0"),
        (["--student", "0"], "--student widths must be"),
        (["--resume"], "--resume needs --out"),
        (["--out", "."], ". is there already"),
        (["--show", "nowhere.json"], "there is no file 'nowhere.json'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: Sequence[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "something").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["compare", *arguments])
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


@pytest.mark.parametrize("command", ["distill", "compare"])
def test_a_method_that_is_for_another_data_set_is_refused_before_anything_is_trained(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([command, "--method" if command == "distill" else "--methods", "on-policy", "--no-pictures"])
    assert stop.value.code != 0
    assert "method on-policy is for the data set words alone, got digits" in capsys.readouterr().err


def test_all_methods_are_those_that_suit_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def stop(config: Config, methods: Sequence[str], *rest: Any) -> None:
        asked.append(set(methods))
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("minikd.experiments.compare.compare", stop)
    for data in ("digits", "words"):
        with pytest.raises(SystemExit):
            main(["compare", "--data", data, "--no-pictures"])
    assert asked == [set(METHODS) - {"on-policy"}, set(METHODS)]


def test_the_command_lists_the_methods(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[: len(METHODS)]] == list(METHODS)


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_distill_teaches_by_any_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--epochs", "2", "--seeds", "1", "--teacher", "16", "--student", "8"]
    for method in ("dkd", "fitnets", "mutual", "self-supervised", "ensemble"):
        main(["distill", "--method", method, *quick, "--out", str(tmp_path / method)])
        assert f"method {method}" in capsys.readouterr().out
        main(["distill", "--resume", "--out", str(tmp_path / method)])
        assert f"method {method}" in capsys.readouterr().out
    thetas = [MLP.load(tmp_path / method / "distilled-0.safetensors").theta for method in ("dkd", "mutual")]
    assert np.abs(thetas[0] - thetas[1]).max() > 1e-3
    for arguments, message in (
        (["--method", "alchemy"], "--method must be one of kd"),
        (
            ["--method", "fitnets", *quick, "--epochs", "1"],
            "method fitnets: hint_epochs must leave some of the 1 epochs",
        ),
        (["--method", "dkd", "--temperature", "3"], "--temperature and --soft-weight are options of --method kd"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["distill", *arguments, "--out", str(tmp_path / "other")])
        assert stop.value.code in (1, 2) and message in capsys.readouterr().err
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
