"""What a terminal shows: progress, on a terminal, in a log file and with --quiet; no colours; at most 80 columns."""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minikd import MLP, cross_entropy, fit
from minikd.cli import progress as terminal
from minikd.cli.main import main
from minikd.cli.parser import STUDIES, command_parser
from minikd.cli.progress import Progress
from minikd.course.exercises import EXERCISES
from minikd.experiments.config import Config
from minikd.experiments.distill import Experiment
from minikd.experiments.progress import clock, epoch_words
from minikd.experiments.summary import STUDENTS
from minikd.experiments.text import text_table
from minikd.metrics import History
from minikd.reproduce import tell

ROOT = Path(__file__).parents[1]

QUICK = ("--epochs", "3", "--seeds", "2", "--teacher", "16", "--student", "4")
LOOK = r"epoch \d/3, loss \d[\d.e+-]*, val\. error \d+\.\d\d %(, \d\d:\d\d left)?( \[#* *\])? *"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def in_a_terminal(command: list[str], columns: int = 80, **variables: str) -> tuple[str, str]:
    """Run a command whose stderr is a terminal: what it wrote there, and on stdout."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **variables}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=its, text=True, env=environment) as process:
        os.close(its)
        seen = b""
        try:
            while True:
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # its end is closed
                    break
                if not piece:
                    break
                seen += piece
            out = process.stdout.read() if process.stdout else ""
            process.wait()
        finally:
            process.kill()  # where the test's time is over
    os.close(ours)
    assert process.returncode == 0, seen.decode()
    return seen.decode(), out


def minikd(*arguments: str) -> list[str]:
    """The command, without its pictures."""
    return [sys.executable, str(Path(__file__).with_name("no_pictures.py")), *arguments]


def looks(seen: str) -> list[str]:
    """The line as it looked, one time after another."""
    return [look for look in re.split(r"[\r\n]+", seen) if look.strip()]


# ---- on a terminal ------------------------------------------------------------------------------------------------

FIT = """
from minikd import MLP, cross_entropy, fit, load_data
d = load_data("digits")
options = {"epochs": 3, "validation": (d.x_val, d.y_val), "callbacks": [lambda model, history: time.sleep(0.11)]}
history = fit(MLP((64, 16, 10)), d.x_train, d.y_train, loss=cross_entropy, **options)
for row in history: print(row["epoch"], row["loss"], row["val_accuracy"])
"""


def test_fit_shows_epoch_loss_validation_accuracy_and_time_left() -> None:
    seen, out = in_a_terminal([sys.executable, "-c", "import time" + FIT])
    rows = [line.split() for line in out.splitlines()]
    shown = looks(seen)
    assert len(rows) == 3 and len(shown) >= 3 and "\x1b" not in seen
    for look in shown:
        found = re.fullmatch(r" *(\d+)%\|.+\| (\d)/3 \[\d\d:\d\d<(\?|\d\d:\d\d), .*epoch.*\] *", look)
        assert found and len(look) < 80 and int(found[1]) == round(100 * int(found[2]) / 3)
        if "loss=" in look:  # of this epoch, or where the bar has only moved, of the one before
            of = [row for row in rows if int(found[2]) - 1 <= int(row[0]) <= int(found[2]) + 1]
            assert any(f"loss={float(row[1]):.3g}, val_accuracy={float(row[2]):.3g}]" in look for row in of)
    assert " 3/3 [" in shown[-1] and "<00:00, " in shown[-1] and f"loss={float(rows[2][1]):.3g}" in shown[-1]
    assert seen.endswith("\n")


DISTILL = """
from minikd import MLP, SGD, distill, distillation_loss, load_data
d = load_data("digits")
teacher, student = MLP((64, 16, 10)), MLP((64, 16, 10))  # the same weights, so the student says what its teacher says
history = distill(student, teacher, d.x_train, None, soft_weight=1, optimizer=SGD(student, 0.0), epochs=2)
logits = teacher.predict(d.x_train)
print(history["loss"][-1], distillation_loss(logits, None, logits, soft_weight=1)[0])
"""


def test_distill_shows_the_divergence_from_the_teacher_and_not_the_cross_entropy() -> None:
    seen, out = in_a_terminal([sys.executable, "-c", DISTILL])
    recorded, cross_entropy_of_the_teacher = map(float, out.split())
    shown = [float(number) for number in re.findall(r"loss=([\d.e+-]+)", seen)]
    assert cross_entropy_of_the_teacher > 30
    assert shown and max(map(abs, shown)) < 1e-4 and abs(recorded) < 1e-4


@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.slow)])
def test_distill_shows_seed_network_epoch_loss_validation_error_and_time_left(columns: int, tmp_path: Path) -> None:
    command = minikd("distill", *QUICK, "--out", str(tmp_path / "run"))
    seen, out = in_a_terminal(command, columns, NO_COLOR="1", TERM="dumb")
    assert "\x1b" not in seen
    shown = looks(seen)
    assert shown and max(map(len, shown)) < columns
    assert any(re.fullmatch(rf"seed \d/2, \w+( \w+)?: {LOOK}", look) for look in shown)
    assert re.fullmatch(
        r"seed \d/2, (labels alone|label smoothing|distilled|all labels): epoch 3/3, .* %, 00:00 left.*", shown[-1]
    )
    assert "labels alone" in out and "\r" not in out and "\x1b" not in out


def test_colours_are_not_written_even_where_they_would_be_welcome(tmp_path: Path) -> None:
    command = minikd("compare", "--methods", "kd", "--seeds", "1", *QUICK[:2], *QUICK[4:], "--out", str(tmp_path / "r"))
    seen, out = in_a_terminal(command, TERM="xterm-256color", COLORTERM="truecolor")
    assert "\x1b" not in seen + out
    shown = [line for line in looks(seen) if re.match(r"kd-T[\d.]+-[\d.]+: network \d+ of \d+", line)]
    assert shown and re.search(r"network (\d+) of \1,", looks(seen)[-1])
    assert max(map(len, looks(seen))) < 80


# ---- in a log file, and quiet -------------------------------------------------------------------------------------


def test_a_log_file_has_no_carriage_returns_and_few_lines(tmp_path: Path) -> None:
    for name, command in {
        "distill": ("distill", *QUICK),
        "compare": ("compare", "--methods", "kd", "--seeds", "1", *QUICK[:2], *QUICK[4:]),
    }.items():
        log = tmp_path / f"{name}.log"
        with log.open("wb") as stream:
            call = minikd(*command, "--out", str(tmp_path / name))
            subprocess.run(call, stdout=subprocess.PIPE, stderr=stream, check=True, timeout=120)
        text = log.read_bytes().decode()
        assert "\r" not in text and "\x1b" not in text
        assert len(text.splitlines()) <= 9
        assert all(len(line) < 80 for line in text.splitlines())


def test_quiet_leaves_stderr_empty_and_the_result_on_stdout(tmp_path: Path) -> None:
    seen, out = in_a_terminal(minikd("distill", *QUICK, "-q", "--out", str(tmp_path / "run")))
    assert seen == ""
    assert re.search(r"^distilled +[\d.]+±", out, re.MULTILINE) and "Networks, numbers and pictures" in out


@pytest.mark.slow
def test_quiet_holds_for_the_processes_of_a_comparison(tmp_path: Path) -> None:
    command = ("compare", "--methods", "kd", "--jobs", "2", *QUICK, "--quiet", "--out", str(tmp_path / "run"))
    seen, out = in_a_terminal(minikd(*command))
    assert seen == ""
    assert re.search(r"^kd +[\d.]+ ±", out, re.MULTILINE)


def test_quiet_does_not_hide_what_went_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["distill", "--quiet", "--resume", "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "not the folder of a run" in capsys.readouterr().err


def test_quiet_and_verbose_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("distill", "compare", "reproduce"):
        with pytest.raises(SystemExit) as stop:
            main([command, "-q", "-v"])
        assert stop.value.code == 2
        assert "not allowed with" in capsys.readouterr().err


# ---- how far a run is ---------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def test_an_experiment_tells_how_many_of_all_its_epochs_are_done_even_when_it_goes_on(tmp_path: Path) -> None:
    config = Config(epochs=2, teacher_epochs=3, seeds=2, teacher=(8,), student=(4,), images=None)
    told: list[tuple[int, str]] = []

    def note(done: int, total: int, words: str, **more: Any) -> None:
        assert total == 18 and not more
        told.append((done, words))

    def stop(done: int, total: int, words: str) -> None:
        if done == 12:
            raise Stopped
        note(done, total, words)

    with pytest.raises(Stopped):
        Experiment(config, tmp_path, stop).run()
    assert [position for position, words in told if ":" in words] == list(range(1, 12))
    told.clear()
    experiment = Experiment(config, tmp_path, note)
    experiment.run()
    assert experiment.total_epochs == 2 * (3 + len(STUDENTS) * 2) == 18
    positions = [position for position, _ in told]
    assert positions == sorted(positions) and positions[-1] == 18
    assert (12, "seed 2/2, labels alone") in told  # the three networks before it were only read
    assert [position for position, words in told if ":" in words] == list(range(13, 19))


class Clock:
    """The time, for Progress and for tqdm, as a test wants it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(terminal.time, "monotonic", lambda: self.now)
        monkeypatch.setattr("tqdm.std.time", lambda: self.now)


def pretend(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None = None) -> tuple[io.StringIO, Clock]:
    """A stream in the place of stderr, a terminal unless another is given, and a clock; called in the test itself."""
    stream = Terminal() if stream is None else stream
    monkeypatch.setattr(sys, "stderr", stream)
    return stream, Clock(monkeypatch)


def test_time_left_is_that_of_the_epochs_that_were_trained_not_of_those_that_were_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen, its_clock = pretend(monkeypatch)
    with Progress() as progress:
        for second, done in ((2, 50), (4, 51), (6, 52)):  # 50 epochs were read from a file
            its_clock.now = second
            progress(done, 100, "words")
    assert looks(screen.getvalue())[-1].startswith("words, 02:24 left [")  # 48 epochs of 3 s
    assert looks(screen.getvalue())[0].startswith("words [")  # nothing is known yet


def test_the_line_is_not_written_more_often_than_the_eye_can_see_but_its_end_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen, its_clock = pretend(monkeypatch)
    with Progress() as progress:
        for done in range(1, 1001):
            its_clock.now += 0.01
            progress(done, 1000, f"epoch {done}")
    shown = looks(screen.getvalue())
    assert 80 <= len(shown) <= 102
    assert re.fullmatch(r"epoch 1000, 00:00 left \[#{30,}\]", shown[-1])
    assert max(map(len, shown)) < 80 and screen.getvalue().endswith("\n")


def test_a_log_gets_a_line_in_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    log, its_clock = pretend(monkeypatch, io.StringIO())
    with Progress() as progress:
        for done in range(1, 101):
            its_clock.now += 0.5
            progress(done, 100, f"epoch {done}")
    assert log.getvalue().splitlines() == [f"epoch {n}, 00:{50 - n // 2:02d} left" for n in (20, 40, 60, 80, 100)]


def test_a_shorter_line_leaves_nothing_of_a_longer_one_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, its_clock = pretend(monkeypatch)
    with Progress() as progress:
        for words in ("something long", "short"):
            its_clock.now += 1
            progress(0, 0, words)
        progress(0, 0, "a line that stays", stays=True)
    staying, after = "", ""
    for line in screen.getvalue().removesuffix("\n").split("\n"):
        staying, after = after, ""
        for look in line.split("\r"):
            after = look + after[len(look) :]
    assert staying.rstrip() == "a line that stays"
    assert re.fullmatch(r"short \[ *\]", after.rstrip())


def test_a_line_that_is_too_long_is_cut_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, its_clock = pretend(monkeypatch)
    words = epoch_words({"epoch": 10, "loss": 0.08349, "val_accuracy": 0.9765}, 100)
    with Progress() as progress:
        its_clock.now = 1.0
        progress(10, 100, f"seed 10/10, {'a-very-long-name' * 3}: {words}", left=3700)
        (look,) = looks(screen.getvalue())
    assert len(look) == 79
    assert look.startswith("seed 10/10, a-ver..: ")
    assert look.endswith("..: epoch 10/100, loss 0.0835, val. error 2.35 %, 1:01:40 left")


def test_a_study_tells_of_its_networks_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, its_clock = pretend(monkeypatch)
    history = History()
    with Progress() as progress:
        for epoch, seconds in ((1, 30.0), (2, 60.0), (3, 90.0)):
            history.rows.append({"epoch": epoch, "loss": 0.5 / epoch})
            history.seconds = its_clock.now = seconds
            tell(progress, 1, "teacher", 3, history)
    shown = looks(screen.getvalue())
    assert shown[0].startswith("seed 1, teacher: epoch 1/3, loss 0.5, 01:00 left [")
    assert shown[1].startswith("seed 1, teacher: epoch 2/3, loss 0.25, 00:30 left [")
    assert "seed 1: teacher, 3 epochs, 90 s" in shown


def test_words_and_clock() -> None:
    assert epoch_words({"epoch": 3, "loss": 0.08317}, 100) == "epoch 3/100, loss 0.0832"
    row: dict[str, Any] = {"epoch": 3, "loss": 12.0, "val_accuracy": 0.75}
    assert epoch_words(row, 100) == "epoch 3/100, loss 12, val. error 25.00 %"
    assert [clock(s) for s in (0, 59.6, 65, 3725)] == ["00:00", "01:00", "01:05", "1:02:05"]


# ---- within 80 columns --------------------------------------------------------------------------------------------


def too_long(text: str, *paths: Path) -> list[str]:
    """The lines of more than 80 columns, without those that a long path makes long."""
    return [line for line in text.splitlines() if len(line) > 80 and not any(str(path) in line for path in paths)]


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of all its subcommands."""
    yield parser
    for action in parser._actions:
        for other in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
            yield from parsers(other)


def test_every_help_fits_into_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    helps = {parser.prog: parser.format_help() for parser in parsers(command_parser())}
    assert len(helps) >= 24 and {"minikd", "minikd course bundle", "minikd data fetch"} <= set(helps)
    assert {name: lines for name, text in helps.items() if (lines := too_long(text))} == {}


LISTS = ("--version", "methods", "data list", "reproduce", *(f"reproduce {name} --committed" for name in STUDIES))
SHOWN = tuple(f"compare --show {path}" for path in sorted((ROOT / "docs").glob("compare-*.json")))
HINTS = tuple(f"course hint {name} -n {n}" for name in EXERCISES for n in (1, 2, 3))


def test_every_list_table_and_hint_fits_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(SHOWN) >= 4
    for command in (*LISTS, *SHOWN, *HINTS):
        with suppress(SystemExit):
            main(command.split())
        out = capsys.readouterr().out
        assert out and too_long(out) == [], command


@pytest.mark.parametrize("command", ["distill --images 100000", "distill --device tpu", "compare --methods kd,x"])
def test_an_error_is_wrapped_on_a_terminal_and_stays_one_line_in_a_log(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    said = {}
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with pytest.raises(SystemExit, match="2"):
            main(command.split())
        said[type(stream)] = stream.getvalue()
    assert said[io.StringIO].count("\n") == 1 and too_long(said[io.StringIO])
    assert too_long(said[Terminal]) == [] and said[Terminal].split() == said[io.StringIO].split()


def test_a_table_that_is_too_wide_goes_on_below_with_its_first_column() -> None:
    rows = [("", *(f"column {i}" for i in range(9))), ("a row", *(f"{i:.6f}" for i in range(9)))]
    lines = text_table(rows).splitlines()
    assert [line.split()[-1] for line in lines if line] == ["7", "7.000000", "8", "8.000000"]
    assert lines[1].startswith("a row ") and lines[4].startswith("a row ") and max(map(len, lines)) <= 80
    assert text_table([("a" * 90, "b", "c")]).count("a" * 90) == 2  # a first column that is too wide is not cut


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_what_runs_print_fits_into_80_columns(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hw, run, student = tmp_path / "class" / "ada", tmp_path / "run", tmp_path / "run" / "distilled-0.safetensors"
    sweep = "sweep --temperature 1,4 --student 8,16-16 --teacher 16 --epochs 2 --jobs 2"
    for command in (
        f"distill --without 3,5 --epochs 3 --out {run}",
        f"distill --data words --images 500 --epochs 1 --seeds 1 --out {tmp_path / 'words'}",
        "distill --method dkd --temperature 3",
        f"distill --resume --out {tmp_path / 'nowhere'}",
        f"distill --out {run}",
        f"distill --images 100000 --out {tmp_path / 'many'}",
        f"{sweep} --seeds 2 --out {tmp_path / 'sweep'}",
        f"{sweep} --seeds 1 --out {tmp_path / 'one-seed'}",
        f"sweep --images 20,50,all --epochs 2 --seeds 2 --jobs 2 --out {tmp_path / 'images'}",
        f"compare --methods kd,mutual --epochs 2 --seeds 2 --tuning-seeds 1 --jobs 2 --out {tmp_path / 'methods'}",
        f"evaluate {student} --data digits --teacher {run / 'teacher-0.safetensors'}",
        *(
            f"export {student} --to {to}"
            for to in ("onnx", "pytorch", "npz", "c", "c --int8", "c --int8 --data digits")
        ),
        f"course start {hw}",
        f"course check --folder {hw}",
        f"course check E1 E11 --folder {hw}",
        f"course progress --folder {hw}",
        f"course grade {hw.parent} --out {tmp_path / 'grades.csv'}",
        f"course report {tmp_path / 'grades.json'}",
        f"course similar {hw.parent}",
        "course selftest",
    ):
        with suppress(SystemExit):
            main(command.split())
        out, err = capfd.readouterr()
        err = "\n".join(line for line in err.splitlines() if not line.startswith("minikd: "))  # wrapped on a terminal
        assert too_long(out + err, tmp_path) == [], command


class OnlyWrites:
    """A stream as some programs put in the place of stderr: it can be written to, and nothing else."""

    def write(self, text: str) -> int:
        return len(text)


@pytest.mark.parametrize("stream", [OnlyWrites(), None])
@pytest.mark.parametrize("progress", [True, False])
def test_training_does_not_care_for_what_stands_in_the_place_of_stderr(
    stream: Any, progress: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    x, labels = np.ones((8, 2)), np.zeros(8, int)
    assert len(fit(MLP((2, 2)), x, labels, loss=cross_entropy, epochs=2, progress=progress)) == 2
    with Progress() as notify:
        notify(1, 2, "words")
        notify(2, 2, "words", stays=True)
