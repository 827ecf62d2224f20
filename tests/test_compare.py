"""`minikd compare` trains every method alike, tunes on validation samples alone, and says what the seeds can tell."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_bits
from no_pictures import report_nothing

from minikd import MLP
from minikd.cli.main import main
from minikd.errors import CheckpointError
from minikd.experiments.compare import STRENGTHS, compare, method_table, read, settings_for, summary, verdict
from minikd.experiments.config import Config
from minikd.methods import METHODS

CONFIG = Config.for_data(student=(8,), teacher=(16,), epochs=2, seeds=2, batch_size=64)


def made_up(accuracies: dict[tuple[str, float], tuple[float, float]], seeds: int = 5) -> dict[str, Any]:
    """Numbers in which (method, strength) has these validation and test accuracies, a little different by seed."""
    records = [
        {"method": name, "strength": s, "seed": i, "seconds": 2.0, "val_accuracy": val + i / 1000,
         "accuracy": test + i / 1000 + (0.0001 * i if name == "kd" else 0), "nll": 0.1}
        for (name, s), (val, test) in accuracies.items() for i in range(seeds)
    ]  # fmt: skip
    settings = {"data": "digits", "student": [8], "teacher": [16], "epochs": 2, "seeds": seeds}
    return {"settings": settings, "strengths": STRENGTHS, "records": records}


def test_the_strength_is_tuned_on_validation_samples_and_never_on_test_samples() -> None:
    content = made_up({("labels", 1.0): (0.9, 0.9), ("kd", 0.25): (0.92, 0.91), ("kd", 1.0): (0.94, 0.92),
                       ("kd", 4.0): (0.93, 0.99)})  # fmt: skip
    (row,) = [row for row in summary(content) if row["method"] == "kd"]
    assert row["strength"] == 1.0 and row["error"] == pytest.approx(8 - 0.22)
    for record in content["records"]:
        record["accuracy"] = 0.5 if record["method"] == "kd" else record["accuracy"]
    (row,) = [row for row in summary(content) if row["method"] == "kd"]
    assert row["strength"] == 1.0


def test_the_gain_is_paired_by_seed_and_called_one_only_where_its_interval_is_on_one_side() -> None:
    content = made_up({("labels", 1.0): (0.9, 0.9), ("kd", 1.0): (0.9, 0.92), ("dkd", 1.0): (0.9, 0.88)})
    rows = {row["method"]: row for row in summary(content)}
    assert [verdict(rows[name]) for name in ("labels", "kd", "dkd")] == ["", "fewer errors", "more errors"]
    assert rows["kd"]["gain"] == pytest.approx(2.02) and rows["kd"]["gain_half"] < 0.05 < rows["kd"]["half"]
    for record in content["records"]:  # the same mean, but from seed to seed one way and the other
        if record["method"] == "kd":
            record["accuracy"] += 0.1 * (-1) ** record["seed"]
    rows = {row["method"]: row for row in summary(content)}
    assert verdict(rows["kd"]) == "no difference"
    assert (
        verdict(summary(made_up({("labels", 1.0): (0.9, 0.9), ("kd", 1.0): (0.9, 0.92)}, seeds=1))[0])
        == "no difference"
    )


def test_the_cost_is_that_of_the_fastest_seed_so_that_a_busy_machine_does_not_decide_it() -> None:
    content = made_up({("labels", 1.0): (0.9, 0.9), ("kd", 1.0): (0.9, 0.92)})
    for record in content["records"]:
        record["seconds"] *= 3 if record["method"] == "kd" else 1
        record["seconds"] += 50 if record["seed"] == 1 and record["method"] == "labels" else 0
    assert [row["cost"] for row in summary(content)] == pytest.approx([3.0, 1.0])


def test_smaller_batches_make_as_many_steps_as_the_recipe_of_the_data_set() -> None:
    mnist, digits = settings_for("mnist"), settings_for("digits")
    assert (mnist.batch_size, mnist.epochs, mnist.teacher_epochs) == (64, 10, 15)  # instead of 128, 20, 15
    assert (digits.batch_size, digits.epochs, digits.teacher_epochs) == (32, 100, 50)
    assert settings_for("mnist", epochs=3).teacher_epochs == settings_for("mnist", epochs=3).epochs == 3


def test_an_unknown_method_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="methods must be one of kd, logits"):
        compare(CONFIG, ("kd", "alchemy"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_of_equals_the_default_strength_is_taken() -> None:
    content = made_up({("labels", 1.0): (0.9, 0.9), **{("dkd", s): (0.9, 0.9) for s in STRENGTHS}})
    assert [row["strength"] for row in summary(content)] == [1.0, 1.0]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A comparison of three methods, and its folder."""
    folder = tmp_path_factory.mktemp("compare") / "run"
    return folder, compare(CONFIG, ("kd", "self-supervised", "born-again"), folder)


def test_every_method_starts_from_the_same_weights_and_is_handed_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bytes, dict[str, Any]]] = []

    def watched(student: MLP, teacher: Any, x: Any, labels: Any, **options: Any) -> Any:
        seen.append((student.theta.tobytes(), {n: options[n] for n in ("epochs", "batch_size", "seed")}))
        return METHODS["kd"].train(student, teacher, x, labels, **options)

    monkeypatch.setitem(METHODS, "one", replace(METHODS["dkd"], name="one", train=watched))
    monkeypatch.setitem(METHODS, "two", replace(METHODS["dkd"], name="two", train=watched))
    compare(replace(CONFIG, seeds=1), ("one", "two"), tmp_path)
    assert len(seen) == 2 * len(STRENGTHS) and all(s == seen[0] for s in seen)


def test_each_strength_leaves_a_network(
    compared: tuple[Path, dict[str, Any]],
) -> None:
    folder, content = compared
    kinds = {(r["method"], r["strength"], r["seed"]) for r in content["records"]}
    weighted = {(m, s) for m in ("kd", "born-again") for s in STRENGTHS}
    assert kinds == {
        (m, s, i) for m, s in {("teacher", 1.0), ("labels", 1.0), ("self-supervised", 1.0)} | weighted for i in (0, 1)
    }
    names = {path.name for path in folder.iterdir()}
    assert {"compare.json", "kd-0.25-0.safetensors", "born-again-4-1-generation-0.safetensors"} <= names
    one, two = (MLP.load(folder / f"kd-{s}-0.safetensors").theta for s in ("0.25", "4"))
    assert np.abs(one - two).max() > 0
    assert all(record["seconds"] > 0 for record in content["records"])


def test_a_comparison_is_resumed_from_its_networks_and_two_jobs_give_the_same_numbers(
    compared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, content = compared
    before = MLP.load(folder / "kd-4-1.safetensors").theta
    (folder / "kd-4-1.safetensors").unlink()
    again = compare(CONFIG, ("kd", "self-supervised", "born-again"), folder)
    assert_same_bits(MLP.load(folder / "kd-4-1.safetensors").theta, before)
    for old, new in zip(content["records"], again["records"], strict=True):
        assert {**old, "seconds": 0} == {**new, "seconds": 0}
    two = compare(CONFIG, ("kd",), tmp_path / "two", jobs=2)
    for record in two["records"]:
        (same,) = [r for r in content["records"] if all(r[k] == record[k] for k in ("method", "strength", "seed"))]
        assert abs(same["accuracy"] - record["accuracy"]) < 0.004  # a sample or two: threads change the last bits
    with pytest.raises(CheckpointError, match="belongs to another run"):
        compare(Config.for_data(student=(8,), teacher=(16,), epochs=3, seeds=2, batch_size=64), ("kd",), folder)


def test_the_table_fits_a_terminal_and_is_shown_from_a_file(
    compared: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, content = compared
    main(["compare", "--show", str(folder / "compare.json")])
    printed = capsys.readouterr().out
    assert method_table(content) in printed and "digits, student 8, teacher 16, 2 epochs, 2 seeds" in printed
    assert max(map(len, printed.splitlines())) <= 80
    for text in ("{", "[]", '{"settings": {}}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"bad\.json does not hold the numbers of a comparison"):
            read(tmp_path / "bad.json")


def test_the_command_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    report_nothing(monkeypatch.setattr)
    monkeypatch.chdir(tmp_path)
    flags = ["--student", "8", "--teacher", "8", "--epochs", "1", "--seeds", "1", "--methods", "label-smoothing"]
    main(["compare", *flags])
    captured = capsys.readouterr()
    assert "1 methods, 1 seeds, in runs/compare-1/" in captured.out and "label-smoothing" in captured.out
    assert "seed 1/1: label-smoothing-4" in captured.err
    content = json.loads((tmp_path / "runs/compare-1/compare.json").read_text())
    assert content["settings"]["epochs"] == content["settings"]["teacher_epochs"] == 1


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
        (["--jobs", "0"], "--jobs must be"),
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
