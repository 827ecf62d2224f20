"""Kill commands at random moments: do they say how to go on, leave nobody behind, and end with the same bits?

    python tests/kill.py --rounds 20

Each round starts one of COMMANDS, sends one of SIGNALS to it, and to it alone, after a random time, waits until the
processes it had started are gone, and resumes the run. Afterwards the networks must be those of a run that nobody
killed. A line a round, and at the end the counts; the exit code is 1 where anything was not as it should be.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

SMALL = ("--student", "8", "--teacher", "16", "--epochs", "40", "--seeds", "2", "--images", "100")
COMMANDS: dict[str, tuple[str, ...]] = {
    "distill": ("distill", *SMALL),
    "distill --jobs 2": ("distill", *SMALL, "--jobs", "2"),
    "sweep --jobs 2": ("sweep", *SMALL, "--jobs", "2", "--temperature", "2,4"),
    "compare --jobs 2": ("compare", *SMALL, "--jobs", "2", "--methods", "kd,dkd", "--tuning-seeds", "1"),
}
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL")
GONE_WITHIN = 5.0  # seconds after the end of the command in which its workers must have ended


class Outcome(NamedTuple):
    """What became of one command: what was wrong, or nothing; and after how many seconds it was killed."""

    wrong: list[str]
    seconds: float
    finished: bool  # before the signal came


def started(arguments: tuple[str, ...], folder: Path, error: Path) -> subprocess.Popen[bytes]:
    """A command in a session of its own, so that all its processes can be found."""
    command = [sys.executable, "-c", "from minikd.cli.main import main; main()", *arguments, "-q", "--out", str(folder)]
    with open(error, "wb") as stream:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream, start_new_session=True)


def session(number: int) -> list[int]:
    """The processes of a session that are alive (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = path.read_text(encoding="utf-8").rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == number and state != "Z":
            found.append(int(path.parent.name))
    return found


def networks(folder: Path) -> dict[str, str]:
    """A checksum of the weights in each network's file: the rest of a file tells how long its training took."""
    from minikd.checkpoint import load_arrays

    files = sorted(folder.glob("*.safetensors"))
    return {f.name: hashlib.sha256(load_arrays(f)[0]["theta"].tobytes()).hexdigest() for f in files}


def kill_once(arguments: tuple[str, ...], name: str, seconds: float, folder: Path) -> Outcome:
    """Start a command, send it the signal of that name after so many seconds, resume it."""
    error, wrong = folder.with_suffix(".err"), []
    process = started(arguments, folder, error)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(getattr(signal, name))
        process.wait(60)
    begun = folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir())
    # Python's own start and end, some hundredths of a second, are not minikd's: there a signal just ends it.
    finished = process.returncode == 0 or (folder / "report.html").exists()
    said = error.read_text(encoding="utf-8", errors="replace")
    if not finished and name != "SIGKILL":
        expected = rf"minikd: stopped, and nothing is lost\. To go on: minikd {arguments[0]} --resume --out \S+"
        if begun and not re.match(expected, said.strip().splitlines()[-1] if said.strip() else ""):
            wrong.append(f"said {said[-200:]!r}")
        if begun and process.returncode != 128 + getattr(signal, name):
            wrong.append(f"exit code {process.returncode}")
        if begun and "Traceback" in said:
            wrong.append(f"a traceback: {said[-1500:]}")
    deadline = time.monotonic() + GONE_WITHIN
    while (left := session(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        wrong.append(f"{len(left)} processes left behind")
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    again = started((*arguments, "--resume") if begun else arguments, folder, error)
    if again.wait(300) != 0:
        wrong.append(f"resumed with exit code {again.returncode}: {error.read_text(encoding='utf-8')[-200:]!r}")
    return Outcome(wrong, seconds, finished)


def rounds_of(command: str, names: tuple[str, ...], rounds: int, base: Path, seed: int = 0) -> list[str]:
    """Kill a command so often by each signal; prints a line a round, and returns what was wrong."""
    rng, found, whole = random.Random(f"{seed} {command}"), [], base / "whole"
    start = time.monotonic()
    assert started(COMMANDS[command], whole, base / "whole.err").wait(600) == 0, (base / "whole.err").read_text()
    length, wanted = time.monotonic() - start, networks(whole)
    for i in range(rounds):
        for name in names:
            folder = base / f"{name}-{i}"
            outcome = kill_once(COMMANDS[command], name, rng.uniform(0, length), folder)
            if not outcome.wrong and networks(folder) != wanted:
                outcome.wrong.append("other networks than without a kill")
            words = "; ".join(outcome.wrong) or ("ok, it had finished" if outcome.finished else "ok")
            print(f"{command}: {name} after {outcome.seconds:.1f} s: {words}", flush=True)
            found += [f"{command}, {name}: {what}" for what in outcome.wrong]
    return found


def main() -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each command and signal")
    parser.add_argument("--command", choices=COMMANDS, action="append", help="this one alone; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = []
    for command in options.command or COMMANDS:
        with tempfile.TemporaryDirectory() as base:
            found += rounds_of(command, SIGNALS, options.rounds, Path(base), options.seed)
    total = options.rounds * len(options.command or COMMANDS) * len(SIGNALS)
    print(f"{total} kills, {len(found)} faults")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
