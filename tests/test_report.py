"""The report of a run is built from its folder alone, always the same, and says what is wrong with a folder."""

from __future__ import annotations

import html
import json
import re
import shutil
import webbrowser
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from no_pictures import draw_nothing

from minikd.cli.main import main
from minikd.data import load_data
from minikd.data.fsdd import log_mel, test_sounds
from minikd.data.udhr import hash_n_grams, test_texts
from minikd.errors import CheckpointError
from minikd.experiments import selection, sweep
from minikd.experiments.compare import compare, settings_for
from minikd.experiments.config import Config
from minikd.experiments.distill import Experiment
from minikd.experiments.summary import NAMES, STUDENTS, Trained, cells, regime, verdict_cells
from minikd.mlp import MLP
from minikd.report import html as report
from minikd.report.page import confusion_table
from minikd.report.run_plots import confusion
from minikd.report.samples import HARD, choose

QUICK = {"epochs": 2, "teacher": (16,), "student": (4,)}
test_sounds.__test__ = test_texts.__test__ = False  # functions of the package, not tests
Run = tuple[Path, list[Trained]]


def train(folder: Path, data: str = "digits", **given: object) -> list[Trained]:
    """A small run in a folder, without its report."""
    config = Config.for_data(data, **{**QUICK, "seeds": 1, **given})
    config.write(folder)
    return Experiment(config, folder).run()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, train(folder, seeds=2)


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    """The report of the run."""
    return report.build(run[0])


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Path:
    """A copy of the run without its report, to be damaged."""
    return Path(shutil.copytree(run[0], tmp_path / "copy", ignore=shutil.ignore_patterns(report.NAME)))


@pytest.fixture
def empty_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have empty pictures, where a test is about their words or their files."""
    draw_nothing(monkeypatch.setattr)


def words_of(page: str) -> str:
    """The text of a page, without tags, style and script."""
    page = re.sub(r"<(style|script|svg).*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


def numbers_of(page: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="numbers">(.*?)</script>', page, re.DOTALL)
    assert found
    numbers: dict[str, Any] = json.loads(found[1])
    return numbers


@pytest.mark.slow
def test_the_same_folder_gives_the_same_bytes(run: Run, page: str) -> None:
    assert report.write(run[0]).read_bytes() == page.encode()
    assert not list(run[0].glob(".*"))  # nothing half-written is left


def test_what_is_read_back_is_what_the_run_returned(run: Run) -> None:
    folder, done = run
    again = report.finished(folder, Config.read(folder), load_data("digits"))
    assert [(t.kind, t.seed, t.scores, t.history.rows) for t in again] == [
        (t.kind, t.seed, t.scores, t.history.rows) for t in done
    ]
    assert cells(again) == cells(done) and verdict_cells(again) == verdict_cells(done)


def test_the_page_shows_table_verdict_and_settings(run: Run, page: str) -> None:
    _, done = run
    words = words_of(page)
    first = {"errors": 0, "NLL": 1, "score": 0, "": 1}  # what a phone shows comes first
    for head, *rows in (cells(done), verdict_cells(done)):
        order = sorted(range(1, len(head)), key=lambda i: first.get(head[i], i + 2))
        for row in rows:
            assert " ".join(" ".join([row[0], *(row[i] for i in order)]).split()) in words
    assert regime(Config.read(run[0]), load_data("digits"), done) in words
    for setting in ("16 hidden units, 1,210 parameters", "T = 4, soft weight 0.9", "batches of 32, 2 seeds, on CPU"):
        assert setting in words


def test_the_page_shows_how_often_each_class_was_taken_for_each_on_one_scale(run: Run, page: str) -> None:
    data, first = load_data("digits"), [t for t in run[1] if t.seed == 0 and t.kind in NAMES]
    tables = re.findall(r'<table class="confusion">\n<caption>(.*?)</caption>.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert [name for name, _ in tables] == [NAMES[t.kind] for t in first]
    counts = [confusion(t.model.predict(data.x_test), data.y_test) for t in first]
    most = max((c - np.diag(np.diag(c))).max() for c in counts)
    for (_, body), expected in zip(tables, counts, strict=True):
        cells = re.findall(r"<td(?: style=\"--part: (.*?)\" title=\"(.*?)\")?>(\d*)</td>", body)
        np.testing.assert_array_equal([int(count or 0) for *_, count in cells], expected.ravel())
        for (i, j), (part, title, count) in zip(np.ndindex(expected.shape), cells, strict=True):
            wrong = i != j and bool(count)  # what is right has no colour
            assert part == (f"{int(count) / most:.2f}" if wrong else "")
            assert title == (f"{i} predicted as {j}: {count}" if wrong else "")
    legend = re.search(r'<p class="scale">(.*?)</p>', page)
    assert legend and legend[1].startswith("One colour scale for all networks") and "<i>0</i>" in legend[1]
    steps = re.findall(r'<i style="--part: (.*?)">(\d+)</i>', legend[1])
    assert [part for part, _ in steps] == [f"{int(step) / most:.2f}" for _, step in steps]
    assert int(steps[-1][1]) == most and len(steps) == len({step for _, step in steps})


def test_a_confusion_of_many_classes_is_small_and_its_names_are_text() -> None:
    names = ["<a>", *(f"language {k}" for k in range(1, 20))]
    table = confusion_table("teacher", 3 - np.eye(20, dtype=int), names, 4, small=True)
    assert '<table class="confusion small">' in table and "<a>" not in table
    assert table.count('title="&lt;a&gt; predicted as language ') == 19 and table.count("--part: 0.75") == 380


def test_a_page_of_digits_holds_all_test_images_and_every_network_of_the_first_seed(page: str) -> None:
    numbers = numbers_of(page)
    assert numbers["index"] == list(range(536)) and numbers["labels"] == load_data("digits").y_test.tolist()
    assert [network["kind"] for network in numbers["networks"]] == ["teacher", *STUDENTS]


@pytest.mark.usefixtures("empty_pictures")
def test_one_seed_has_no_spread_and_says_so(tmp_path: Path) -> None:
    train(tmp_path / "one")
    words = words_of(report.build(tmp_path / "one"))
    assert "One seed, on 536 test samples of digits." in words and "cannot tell this from luck" in words
    assert "±" not in words.split("Explorer")[1].split("What the columns mean")[0]


def test_a_run_with_a_given_teacher_has_a_report(run: Run, tmp_path: Path) -> None:
    train(tmp_path / "given", seeds=2, teacher_from=str(run[0] / "teacher-0.safetensors"))
    made = report.build(tmp_path / "given")
    assert "trained before" in words_of(made) and made.count("<svg") == 3
    assert "After the last epoch: labels alone" in words_of(made)  # a teacher that was not trained has no curve


@pytest.mark.usefixtures("empty_pictures")
def test_old_runs_without_a_method_in_their_settings_have_a_report(copy: Path) -> None:
    content = json.loads((copy / "config.json").read_text())
    del content["settings"]["method"]
    (copy / "config.json").write_text(json.dumps(content))
    assert "soft targets" in words_of(report.build(copy))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metrics.json", None, "is not finished: minikd distill --resume --out"),
        ("metrics.json", "{", "damaged"),
        ("metrics.json", '{"test": []}', "networks are missing"),
        ("history.csv", None, "history.csv: No such file"),
        ("history.csv", "model,seed,loss\nteacher,0\n", "damaged"),
        ("config.json", None, "no config.json"),
        ("config.json", "[]", "damaged"),
        ("distilled-0.safetensors", None, "distilled-0.safetensors"),
        ("distilled-0.safetensors", "noise", "not a whole safetensors file"),
    ],
)
def test_a_damaged_folder_is_an_error_that_names_what_is_wrong(
    copy: Path, name: str, content: str | None, words: str
) -> None:
    (copy / name).unlink() if content is None else (copy / name).write_text(content)
    with pytest.raises(CheckpointError, match=re.escape(words)):
        report.write(copy)
    assert not list(copy.glob("*report*"))  # and nothing half-written is left


def test_a_comparison_has_a_report_with_each_method_at_its_tuned_strength(tmp_path: Path) -> None:
    config = settings_for(**{**QUICK, "seeds": 2})
    compare(config, ("kd", "dkd"), tmp_path)
    made = report.build(tmp_path)
    names = [network["name"] for network in numbers_of(made)["networks"]]
    assert names[:2] == ["teacher", "labels alone"] and set(names[2:]) == {"kd", "dkd"}
    assert "Verdicts on 2 methods against labels alone:" in words_of(made) and report.build(tmp_path) == made
    (tmp_path / "compare.json").unlink()
    with pytest.raises(CheckpointError, match="not finished: minikd compare --resume"):
        report.build(tmp_path)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished sweep over numbers of images."""
    folder = tmp_path_factory.mktemp("sweep") / "run"
    flags = ["--images", "20,all", "--student", "4", "--teacher", "8", "--seeds", "2", "--epochs", "2", "--quiet"]
    main(["sweep", *flags, "--jobs", "1", "--no-pictures", "--out", str(folder)])
    return folder


def test_a_sweep_over_images_has_a_report_with_its_table_and_picture(swept: Path) -> None:
    made = report.build(swept)
    plan, records = sweep.read(swept)
    words = words_of(made)
    for row in selection.image_cells(plan, records)[1:]:
        assert " ".join(" ".join(row).split()) in words
    assert made.count("<svg") == 1 and "Test errors of the same student" in words and "Explorer" not in words
    assert "all 899" in made and report.build(swept) == made


def test_a_sweep_over_settings_has_a_report_with_heat_maps(tmp_path: Path) -> None:
    flags = ["--temperature", "1,4", "--student", "4", "--teacher", "8", "--seeds", "1", "--epochs", "1", "--quiet"]
    main(["sweep", *flags, "--jobs", "1", "--no-pictures", "--out", str(tmp_path / "run")])
    made = report.build(tmp_path / "run")
    assert "Validation scores of every setting." in words_of(made) and "Chosen by validation errors" in words_of(made)


def test_an_unfinished_sweep_has_none_and_says_how_to_go_on(swept: Path, tmp_path: Path) -> None:
    lines = (swept / sweep.FILE).read_bytes().splitlines(keepends=True)
    (tmp_path / sweep.FILE).write_bytes(b"".join(lines[:-1]))
    with pytest.raises(CheckpointError, match=f"is not finished: minikd sweep --resume --out {tmp_path}"):
        report.build(tmp_path)


def test_chosen_samples_are_the_hard_ones_and_an_even_share_of_the_others() -> None:
    labels = np.arange(1000) % 10
    teacher = 5 * np.eye(10)[labels]  # sure and right ...
    teacher[100:300, 0] = 4.5  # ... or in doubt, and right ...
    student = teacher.copy()
    student[900:910] = -student[900:910]  # ... and a student wrong about ten
    chosen = choose([teacher, student], labels, 100)
    assert len(set(chosen.tolist())) == 100 and (np.diff(chosen) > 0).all()
    assert set(range(900, 910)) <= set(chosen.tolist())
    in_doubt = ((chosen >= 100) & (chosen < 300) & (labels[chosen] != 0)).sum()
    assert in_doubt >= HARD * 100 - 10
    rest = np.setdiff1d(chosen, np.arange(100, 300))
    assert np.bincount(labels[rest[rest < 900]], minlength=10).min() >= 2
    assert choose([teacher], labels, 1000).tolist() == list(range(1000))


def test_test_texts_are_what_the_rows_were_made_from(data_dir: Path) -> None:
    codes = np.array([[ord(character) for character in text] for text in test_texts()], np.uint32)
    assert np.array_equal(hash_n_grams(codes), load_data("udhr").x_test)


def test_test_sounds_are_what_the_rows_were_made_from(data_dir: Path) -> None:
    x, sounds = load_data("fsdd").x_test, test_sounds()
    assert len(sounds) == len(x) == 300
    raw = np.stack([log_mel(sound).ravel() for sound in sounds])
    for column in range(0, raw.shape[1], 97):  # each feature was shifted and scaled, and nothing else
        assert np.corrcoef(raw[:, column], x[:, column])[0, 1] > 0.99999


@pytest.mark.usefixtures("empty_pictures")
def test_explore_opens_the_report_and_builds_it_where_there_is_none(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    main(["explore", str(copy), "--no-open"])
    assert (copy / report.NAME).is_file() and str(copy / report.NAME) in capsys.readouterr().out and not opened
    (copy / report.NAME).write_text("mine")
    main(["explore", str(copy)])
    assert opened == [(copy / report.NAME).resolve().as_uri()]
    assert (copy / report.NAME).read_text() == "mine"  # what is there is opened, not made again


@pytest.mark.usefixtures("empty_pictures")
def test_explore_says_where_the_report_is_if_there_is_no_browser(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    main(["explore", str(copy)])
    assert f"no browser to open it in: {copy / report.NAME}" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["nothing", "empty", "file", "unfinished"])
def test_explore_of_what_is_no_finished_run_is_one_line_and_exit_code_2(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / what
    if what == "file":
        folder.write_text("")
    elif what == "unfinished":
        Config.for_data("digits").write(folder)
        MLP((64, 10)).save(folder / "teacher-0.safetensors")
    elif what == "empty":
        folder.mkdir()
    with pytest.raises(SystemExit) as stopped:
        main(["explore", str(folder)])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    todo = {"empty": "make one with minikd distill", "unfinished": f"minikd distill --resume --out {folder}"}
    assert todo.get(what, "give the folder of a run") in said


def test_a_missing_browser_is_a_skip_but_in_ci_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"pip install playwright|apt-get install chromium"):
        browser.need_browser()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"pip install playwright|apt-get install chromium"):
        browser.need_browser()
