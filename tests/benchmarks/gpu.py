"""Test and measure minikd on an NVIDIA GPU: `python tests/benchmarks/gpu.py`, ready to be sent in (docs/gpu.md).

    check   that CuPy compiles and launches a kernel here; without that, nothing else runs
    tests   every test that uses a device, by `pytest --device cuda`
    bench   the sections step, predict and fit of bench.py on the GPU

Everything goes into one file, tests/benchmarks/results/gpu.json. The command stops after --minutes; called again, it
goes on where it stopped, as long as GPU and commit are the same. It exits with 0 when all is done and every test
passes, 1 when a test fails or there is no GPU that works, and 3 when it must be called again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import bench
from gpu_recorder import outcomes, record
from processes import HERE, ROOT, Setup, WorkerError

RESULTS = HERE / "results" / "gpu.json"
SECTIONS = ("step", "predict", "fit")
AGAIN = 3
GRACE = 20  # seconds that a test which has started may go on after the time is up
HANGS = 120  # seconds after which a test that was stopped counts as one that hangs


def main() -> None:
    """Do what is left to do of everything, within the time."""
    parser = argparse.ArgumentParser(description="Test and measure minikd on an NVIDIA GPU.")
    add = parser.add_argument
    add("--json", type=Path, default=RESULTS, metavar="FILE", help="default tests/benchmarks/results/gpu.json")
    add("--minutes", type=float, default=10, help="stop after this time, to go on when called again (default 10)")
    options = bench.add_options(parser).parse_args()
    until = time.monotonic() + 60 * options.minutes
    with bench.started(options, "cuda") as (setup, fresh):
        try:
            fresh["check"] = checked(setup)
        except WorkerError as error:
            sys.exit(f"No result: {error}.\nNothing was tested or measured, and no file was written.")
        document = resumed(options.json, fresh)
        said = ", ".join(f"{name} {value}" for name, value in document["check"].items())
        print(f"CuPy compiles and launches kernels here: {said}", flush=True)
        log = options.json.with_suffix(".tests.jsonl")
        if not document.get("tests", {}).get("complete"):
            document["tests"] = run_tests(log, until, "cuda")
            bench.write(options.json, document)
        finished = document["tests"]["complete"] and bench.take(document, setup, SECTIONS, options.json, until)
    document["finished"] = finished
    bench.write(options.json, document)
    print(f"{bench.report(document)}\n\n{tests_said(document['tests'])}")
    if not finished:
        print(f"The time is up. Call the same command again to go on; {options.json} has what there is so far.")
        sys.exit(AGAIN)
    log.unlink(missing_ok=True)
    print(f"Done: {options.json} is ready to be sent in, see docs/gpu.md.")
    sys.exit(1 if document["tests"]["failed"] else 0)


# ---- the check ------------------------------------------------------------------------------------------------


def checked(setup: Setup) -> dict[str, Any]:
    """What `check` finds, in a process of its own; WorkerError with a sentence that says what is wrong."""
    with setup.workers(["plain"]) as workers:
        try:
            return workers["plain"].run("gpu:check")
        except WorkerError as error:
            raise WorkerError(str(error).rstrip(".")) from error


def check() -> dict[str, Any]:
    """Compile a kernel that CuPy's cache cannot have, launch it, multiply matrices, and describe the GPU."""
    from minikd.backend import get_xp

    cp = get_xp("cuda")  # DeviceError, with what to install
    try:
        number = time.time_ns() % 1_000_003
        kernel = cp.ElementwiseKernel("float32 x", "float32 y", f"y = 2 * x + {number % 97}", f"minikd_check_{number}")
        x = cp.arange(256, dtype="float32")
        wrong = int((kernel(x) != 2 * x + number % 97).sum())
        ones = cp.ones((64, 64), "float32")
        wrong += int((ones @ ones != 64).sum())
    except Exception as error:  # of CUDA's compiler, its driver or its libraries: all mean the same here
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        advice = "CuPy needs CUDA's own libraries: pip install 'minikd[cuda13]' (or 'minikd[cuda12]') brings them"
        raise RuntimeError(
            f"CuPy sees a GPU, but cannot compile and launch a kernel on it ({text}). {advice}"
        ) from error
    if wrong:
        raise RuntimeError(f"CuPy launches a kernel, but {wrong} of its results are wrong")
    runtime = cp.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    return {
        "device": properties["name"].decode(),
        "compute capability": f"{properties['major']}.{properties['minor']}",
        "memory": f"{properties['totalGlobalMem'] / 2**30:.0f} GiB",
        "CUDA driver": runtime.driverGetVersion(),
        "CUDA runtime": runtime.runtimeGetVersion(),
        "CuPy": cp.__version__,
    }


def resumed(path: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """The document that an earlier call left, if it was on the same GPU, commit and settings and is not finished."""
    if not path.exists():
        return fresh
    document = json.loads(path.read_text())
    same = document["check"] == fresh["check"] and document["settings"] == fresh["settings"]
    same = same and document["machine"]["minikd"] == fresh["machine"]["minikd"]
    if same and not document.get("finished"):
        print(f"Going on with {path}.")
        return document
    path.with_suffix(".tests.jsonl").unlink(missing_ok=True)
    return fresh


# ---- the tests ------------------------------------------------------------------------------------------------


def run_tests(log: Path, until: float, device: str, files: tuple[str, ...] = ("tests",)) -> dict[str, Any]:
    """Run what has no outcome in `log` yet, until all has or the time (of time.monotonic) is up, and sum it up.

    A test that ends the process counts as failed, and the rest goes on in a new one.
    """
    plain = ["-n", "0"] if importlib.util.find_spec("xdist") else []
    environment = Setup(device=device).environment("fast")
    environment["PYTHONPATH"] += os.pathsep + str(HERE)
    while (left := until - time.monotonic()) > 0:
        command = [sys.executable, "-m", "pytest", *files, "-q", "--device", device, "-p", "gpu_recorder", *plain]
        command += ["--record", str(log.resolve()), "--until", str(time.time() + left)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            said, _ = process.communicate(timeout=left + GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            _retire(log, "hangs", older_than=HANGS)
            break
        if _retire(log, f"ended the process, exit code {process.returncode}"):
            continue
        if process.returncode in (0, 1, 5):  # 5: no test was left
            return summary(log, complete=True)
        if process.returncode == 2:  # the time is up
            break
        sys.exit(f"pytest failed with exit code {process.returncode}:\n{said[-2000:]}")
    return summary(log, complete=False)


def summary(log: Path, complete: bool) -> dict[str, Any]:
    """How many tests passed, and the messages of those that failed or were skipped."""
    found = outcomes(log)
    kinds: dict[str, dict[str, str]] = {"failed": {}, "skipped": {}}
    for test, event in found.items():
        if event["outcome"] in kinds:
            kinds[event["outcome"]][test] = event["message"]
    passed = [event for event in found.values() if event["outcome"] == "passed"]
    seconds = sum(event.get("seconds", 0) for event in found.values())
    return {"complete": complete, "passed": len(passed), **kinds, "seconds": round(seconds, 1)}


def tests_said(tests: dict[str, Any]) -> str:
    """The summary in words, with the names of the tests that failed."""
    failed, skipped = tests["failed"], tests["skipped"]
    more = "" if tests["complete"] else ", and not all have run"
    lines = [f"Tests on the GPU: {tests['passed']} passed, {len(failed)} failed, {len(skipped)} were skipped{more}."]
    return "\n".join([*lines, *(f"- {test}: {message.partition(chr(10))[0]}" for test, message in failed.items())])


def _retire(log: Path, why: str, older_than: float = 0) -> bool:
    """Record the test that had started, and has no outcome, as failed; False where there is none."""
    for test, event in outcomes(log).items():
        if event["outcome"] == "started" and time.time() - event["time"] >= older_than:
            record(log, test=test, outcome="failed", message=why)
            return True
    return False


if __name__ == "__main__":
    main()
