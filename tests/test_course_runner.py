"""What protects a grader: users, files, the kernel's locks, and bounds on what a submission can make the grader do."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from coursework import SOLUTION

from minikd.course.exercises import EXERCISES
from minikd.course.exercises.exercise import run_check
from minikd.course.grading.grade import grade
from minikd.course.grading.submission import MAX_FOLDERS, read_submission
from minikd.course.sandbox.conversation import Failed, TimeBudget
from minikd.course.sandbox.restrictions import Kernel
from minikd.course.sandbox.runner import Runner, RunnerError, claim_user


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """One forkserver for all."""
    with Runner(seconds=2.0) as one:
        yield one


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="needs root to become somebody else")
def test_graders_that_run_side_by_side_have_users_of_their_own(runner: Runner) -> None:
    code = "import collections\ndef log_softmax(z, T): return z * 0 + collections._sys.modules['os'].getuid()\n"
    source = [("solution.py", code)]
    uids = set()
    with Runner(seconds=5.0) as other, Runner(seconds=5.0) as third:
        for one in (runner, other, third):
            with one.open(source) as child:
                uids.add(float(child.call("log_softmax", np.zeros((1, 1)), 1.0)[0, 0]))
                assert one.uid in uids
        first, claim = claim_user()
        assert claim is not None
        uids.add(first)
        claim.close()
        again, claim = claim_user()
        assert claim is not None
        claim.close()
        assert again == first, "free again"
    assert len(uids) == 4


def test_a_submission_has_three_standard_files_and_two_pipes_and_nothing_else(runner: Runner) -> None:
    source = (
        "import collections\nos = collections._sys.modules['os']\n\ndef log_softmax(z, T):\n"
        "    for fd in range(1000):\n"
        "        try: print(fd, os.lseek(fd, 0, 1))\n        except OSError as error:\n"
        "            if error.errno != 9: print(fd, 'pipe')\n    return z\n"
    )
    with runner.open([("solution.py", source)]) as child:
        child.call("log_softmax", np.zeros((1, 1)), 1.0)
    kinds = [line.split()[1] for line in runner.output.splitlines()]
    assert kinds == ["0", "pipe", "pipe", "pipe", "pipe"], "/dev/null, then pipes: output twice, requests, replies"


def attempts(folder: Path, null: int) -> dict[str, bool]:
    """What a process that has locked itself up can still do, among what would harm: name and whether it worked."""
    file, parent = folder / "grades.csv", os.getppid()
    outcome = {}
    for name, act in {
        "read": file.read_text, "write": lambda: file.write_text("100"), "list": lambda: os.listdir(folder),
        "rename": lambda: file.rename(folder / "other"), "remove": lambda: (folder / "spare").unlink(),
        "truncate": lambda: os.truncate(file, 0), "make": (folder / "x").mkdir, "chmod": lambda: file.chmod(0o700),
        "utime": lambda: os.utime(file, (0, 0)), "owner": lambda: os.chown(file, 1, 1), "look up": file.stat,
        "signal": lambda: os.kill(parent, 0), "group": lambda: os.killpg(0, 0), "socket": socket.socket,
        "fork": lambda: os.fork() or os._exit(0), "own by fcntl": lambda: fcntl.fcntl(null, fcntl.F_SETOWN, parent),
        "nice": lambda: os.nice(1), "affinity": lambda: os.sched_setaffinity(0, {0}), "session": os.setsid,
        "limits": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE), "dup": lambda: os.dup(null),
        "run": lambda: os.execv("/bin/true", ["true"]),
    }.items():  # fmt: skip
        try:
            act()
            outcome[name] = True
        except OSError:
            outcome[name] = False
    return outcome


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")
@pytest.mark.parametrize("one", ["landlock", "seccomp", "both"])
def test_the_kernel_refuses_what_would_harm_and_the_layers_are_told_truthfully(one: str, tmp_path: Path) -> None:
    for name in ("grades.csv", "spare"):
        (tmp_path / name).write_text("0")
    kernel, null = Kernel(), os.open(os.devnull, os.O_RDWR)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # no audit hook here, and the same user as the grader: the kernel alone
        try:
            kernel.libc.prctl(38, 1, 0, 0, 0)
            if one == "both":
                held = kernel.restrict()
            else:
                held = [one] if (kernel._landlock() if one == "landlock" else kernel._seccomp()) else []
            os.write(writer, json.dumps([held, attempts(tmp_path, null)]).encode())
        finally:
            os._exit(0)
    os.close(writer), os.close(null)
    with os.fdopen(reader) as pipe:
        held, worked = json.loads(pipe.read())
    os.waitpid(pid, 0)
    if "seccomp" in held:
        assert not any(worked.values()), worked
    elif "landlock" in held:
        assert not any(worked[name] for name in ("read", "write", "list", "remove", "rename", "make")), worked
        assert worked["chmod"], "Landlock alone does not see to this, which is why there is seccomp"
    else:
        assert all(worked[name] for name in ("read", "write", "list", "chmod")), "a layer that held was not told"


def test_where_a_process_cannot_be_locked_up_nothing_runs_and_no_student_is_blamed(tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text(SOLUTION)
    with Runner(seconds=5.0) as broken:
        broken._connect()
        broken.uid = "nobody"  # type: ignore[assignment]  # what no system call takes
        if os.getuid() == 0:
            with pytest.raises(RunnerError, match="could not be locked up"):
                grade(tmp_path, broken, 1, only=("E1",))


def test_a_submission_does_not_pay_for_the_graders_own_time(runner: Runner) -> None:
    budget = TimeBudget(5.0)
    with runner.open([("solution.py", SOLUTION)], (), budget) as child:
        time.sleep(0.1)  # the first use of a kernel compiles it, say
        assert budget.left == 5.0
        child.call("log_softmax", np.zeros((1, 1)), 1.0)
    assert 0 < budget.left < 5.0
    late = runner.open([("solution.py", SOLUTION)], (), TimeBudget(0.0))
    with pytest.raises(Failed, match="too long"), late as child:
        child.call("log_softmax", np.zeros((1, 1)), 1.0)


def test_a_runner_that_is_stopped_ends_what_runs_and_begins_nothing_more() -> None:
    source = [("solution.py", "def log_softmax(z, T):\n    while True: pass\n")]
    with Runner(seconds=60.0) as one:
        begun = time.monotonic()
        with pytest.raises(Failed, match="died"), one.open(source) as child:
            threading.Timer(0.2, one.stop).start()
            child.call("log_softmax", np.zeros((1, 1)), 1.0)
        assert time.monotonic() - begun < 30 and one._server is None, "the forkserver has ended, too"
        with pytest.raises(RunnerError, match="stopped"), one.open(source):
            pass


HUGE = {
    "E11": "test_e11(f): f(np.zeros((100_000, 2)), np.zeros((100_000, 2)), 1.0)",
    "E12": "test_e12(f):\n    while True: f(np.zeros((2_000, 100)), np.zeros((2_000, 100)), 1.0)",
    "E16": "test_e16(f): f(np.zeros((1, 200_000)), np.zeros((1, 200_000)), np.zeros((200_000, 1)), 1.0, 1.0, 200)",
    "E17": "test_e17(f): f(np.zeros((200_000, 1)), np.zeros((1, 200_000)), 1.0, 0.5, 1)",
    "E18": "test_e18(f): f(np.zeros((200_000, 1)), np.zeros((1, 200_000)), np.zeros(200_000), 0.5, 1)",
    "E19": "test_e19(f): f(np.zeros((200_000, 1)))",
    "E20": "test_e20(f): f(np.zeros((3, 1)), np.zeros((3, 1)), np.zeros(2_000_000))",
    "E21": "test_e21(f): f(np.zeros((100_000, 2)), np.zeros((100_000, 2)), 1.0)",
    "E22": "test_e22(f): f(np.zeros((3_000, 20)), np.zeros((3_000, 20)), 0.5)",
    "E23": "test_e23(f): f(np.zeros((1, 100_000, 3)), np.zeros((1, 100_000), int), np.array([1]))",
    "E7": "numerical_gradient(f, x, h):\n    while True: f(x)",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HUGE)
def test_the_grader_cannot_be_made_to_compute_without_end(name: str, runner: Runner) -> None:
    source = f"import numpy as np\n\ndef {HUGE[name]}\n"
    begun = time.process_time(), time.monotonic()
    result = run_check(EXERCISES[name], 0, runner, [("museum.py", source)], 1)
    assert time.process_time() - begun[0] < 3.0 and time.monotonic() - begun[1] < 30, "the grader's own time"
    assert result.kind in ("raised", "time") and result.score == 0, result
    said = ("at most", "more than 5,000", "each row number", "too long")
    assert any(words in result.words for words in said), result.words


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"cells": ' + "[" * 50_000, '{"cells": 1}', '{"cells": [1]}', '{"cells": [{"cell_type": "code"}]}',
     '{"cells": [{"cell_type": "code", "source": [1]}]}', '{"cells": {"a": 1}}', "null", "1" * 10_000, ""],
    ids=range(10),
)  # fmt: skip
def test_a_notebook_that_is_none_is_a_problem_and_not_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "work.ipynb").write_text(content)
    assert "is not a notebook" in " ".join(read_submission(tmp_path).problems)


def test_odd_trees_are_read_in_bounded_time(tmp_path: Path) -> None:
    (tmp_path / "solution.py").mkdir()
    (tmp_path / "solution.py" / "museum.py").write_text("x = 1\n")
    for i in range(MAX_FOLDERS + 20):
        (tmp_path / f"unread{i:03d}").mkdir()
    for i in range(6):
        (tmp_path / "solution.py" / f"large{i}.py").write_text("#" * 900_000)
    submission = read_submission(tmp_path)
    assert "museum.py" in [name for name, _ in submission.sources]
    assert sum(len(source) for _, source in submission.sources) <= 4_000_000
    assert "folders" in " ".join(submission.problems) and "in all" in " ".join(submission.problems)
    assert read_submission(tmp_path / ("x" * 300)).problems and read_submission(tmp_path / "missing").problems
