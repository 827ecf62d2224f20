"""Start the command where the world around it is odd: it does its work, or says in one line why it cannot.

    python tests/surroundings.py

Each of CASES is one command in an environment of its own. What must hold of all of them: no traceback, an expected exit
code, and either the result or the words that belong to the case. A line a case; the exit code is 1 where one is not
as it should be. Linux; what needs root (a file system that is mounted read-only, another user) is said to be left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

RUN = ("distill", "--epochs", "1", "--seeds", "1", "--student", "4", "--teacher", "8", "-q", "--jobs", "1")
PLAIN = (*RUN, "--no-pictures")
MINIKD = f"{sys.executable} -c 'from minikd.cli.main import main; main()'"
WITHOUT_MPI = (
    f"{sys.executable} -c 'import sys; sys.modules[\"mpi4py\"] = None; from minikd.cli.main import main; main()'"
)


class Case(NamedTuple):
    """A command and its surroundings; `{minikd}` in `shell` stands for the command, a run in the folder `run`."""

    arguments: tuple[str, ...] = PLAIN
    env: Mapping[str, str] = MappingProxyType({})
    shell: str = "{minikd}"
    code: int = 0
    said: str = ""  # a regular expression on all that was printed
    root: bool = False  # whether root alone can make these surroundings
    command: str = MINIKD


GONE = r"minikd: No space left on device\."
CASES: dict[str, Case] = {
    # what a notebook or a desktop has left in the environment
    "a notebook's backend for pictures": Case(RUN, {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}),
    "a backend that does not exist": Case(RUN, {"MPLBACKEND": "nonsense"}),
    "odd sizes of a terminal": Case(PLAIN, {"COLUMNS": "abc", "LINES": "-1"}),
    "no home": Case(PLAIN, {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/proc/nowhere"}),
    "no folder for temporary files": Case(RUN, {"TMPDIR": "/nonexistent"}),
    "no folder for Numba's cache": Case(PLAIN, {"NUMBA_CACHE_DIR": "/proc/nowhere"}),
    # encodings
    "a Chinese locale that is not UTF-8": Case(RUN, {"LC_ALL": "zh_CN.GBK", "PYTHONUTF8": "0"}),
    "the C locale": Case(RUN, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "an output of ASCII": Case(PLAIN, {"PYTHONIOENCODING": "ascii"}, said=r"labels alone"),
    "data list in ASCII": Case(("data", "list"), {"PYTHONIOENCODING": "ascii"}, said="images of 28x28 pixels"),
    "a study's table in ASCII": Case(
        ("reproduce", "hinton2015", "--committed"), {"PYTHONIOENCODING": "ascii"}, said=r"\d\+-\d"
    ),
    "an output of Latin-1": Case(("data", "list"), {"PYTHONIOENCODING": "latin-1"}, said="udhr"),
    # streams
    "an output that is full": Case(shell="{minikd} >/dev/full", code=2, said=GONE),
    "a list to an output that is full": Case(("data", "list"), shell="{minikd} >/dev/full", code=2, said=GONE[:-2]),
    "a closed output": Case(shell="{minikd} >&-"),
    "a closed output for errors": Case(shell="{minikd} 2>&-"),
    "closed streams and several processes": Case((*PLAIN[:-3], "--jobs", "2"), shell="{minikd} >&- 2>&- <&-"),
    "a reader that has gone": Case(shell="{minikd} | head -n 1"),
    # limits
    "ten open files": Case(
        (*PLAIN[:-3], "--jobs", "2"), shell="ulimit -n 10; {minikd}", code=2, said=r"minikd: .*Too many open files"
    ),
    "files of 5 KiB at most": Case(shell="ulimit -f 5; {minikd}", code=2, said="minikd: cannot write .*File too large"),
    "a student of ten trillion units": Case(
        (*PLAIN, "--student", "10000000000000"), code=2, said="minikd: there is not enough memory: Unable to allocate"
    ),
    "little memory": Case(
        (*PLAIN, "--student", "10000000"),
        shell="ulimit -v 1200000; {minikd}",
        code=2,
        said="minikd: there is not enough memory",
    ),
    # folders
    "a folder in /proc": Case((*PLAIN, "--out", "/proc/x"), code=2, said="minikd: cannot make the folder /proc/x"),
    "a folder below a file": Case((*PLAIN, "--out", "/dev/null/x"), code=2, said="minikd: cannot make the folder"),
    "a folder with too long a name": Case((*PLAIN, "--out", "x" * 300), code=2, said="File name too long"),
    "a folder with a space in its name": Case((*PLAIN, "--out", "my run"), said="minikd explore 'my run'"),
    "a folder that holds nothing but what a killed save has left": Case(
        shell="mkdir run; touch run/.config.json.123.tmp; {minikd}"
    ),
    # other software
    "mpiexec without mpi4py": Case(
        PLAIN, {"PMI_SIZE": "4", "PMI_RANK": "0"}, code=2, said=r"minikd needs mpi4py: pip install", command=WITHOUT_MPI
    ),
    "no semaphores": Case(
        (*PLAIN[:-3], "--jobs", "2"),
        shell="unshare -m sh -c 'mount -t tmpfs -o ro none /dev/shm && {minikd}'",
        said="joblib will operate in serial mode",
        root=True,
    ),
}
SKIP = "only root can make these surroundings, where the system lets it"


def possible(case: Case) -> bool:
    """Whether this process can make the surroundings."""
    if not case.root:
        return True
    probe = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o ro none /dev/shm"]
    try:
        return subprocess.run(probe, capture_output=True).returncode == 0
    except OSError:
        return False


def run_case(case: Case, folder: Path) -> list[str]:
    """What is wrong with a case, or nothing."""
    quoted = " ".join(f"'{word}'" for word in case.arguments)
    out = "" if case.arguments[0] != "distill" or "--out" in case.arguments or "--help" in quoted else " --out run"
    command = f"{case.command} {quoted}{out}"
    if case.root:  # the command stands within quotes already
        command = command.replace("'", "'\\''")
    script = case.shell.replace("{minikd}", command)
    env = {**os.environ, **case.env}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=env, capture_output=True, timeout=300)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    wrong = []
    if "Traceback" in said or "Exception ignored" in said:
        wrong.append("a traceback")
    if done.returncode != case.code:
        wrong.append(f"exit code {done.returncode}, wanted {case.code}")
    if not re.search(case.said, said):
        wrong.append(f"did not say {case.said!r}")
    if case.code and len(complaints := re.findall("^minikd: ", said, re.MULTILINE)) != 1:
        wrong.append(f"{len(complaints)} lines of complaint")
    return [*wrong, said[-600:]] if wrong else []


def main() -> None:
    """Run all cases."""
    faults = 0
    for name, case in CASES.items():
        if not possible(case):
            print(f"{name}: left out, {SKIP}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            wrong = run_case(case, Path(folder))
        faults += bool(wrong)
        print(f"{name}: {'; '.join(wrong) or 'ok'}", flush=True)
    print(f"{len(CASES)} surroundings, {faults} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
