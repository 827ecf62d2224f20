"""What the numbers were measured on and with."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

from processes import ROOT, Setup, WorkerError
from report import paragraph

from minikd.experiments.environment import processor

PACKAGES = (
    "numpy",
    "numba",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "torch",
    "jax",
    "jaxlib",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "threadpoolctl",
)
PREFIXES = ("OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "BLIS_", "GOTO_", "VECLIB_", "NUMBA_", "MINIKD_KERNELS")
KERNELS = "from minikd import fast; print(fast.status() if '{0}' == 'cpu' else fast.name('{0}'))"  # which are in use


def describe(setup: Setup, cpus: list[int]) -> dict[str, Any]:
    """Processor, GPU, versions, BLAS, contenders of minikd's own, threads, environment variables, and the date."""
    with setup.workers(["plain"]) as workers:
        try:
            blas_found = workers["plain"].run("machine:blas")
        except WorkerError as error:
            blas_found = {"error": str(error)}
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "cores_used": len(cpus) or None,
        "threads": setup.threads,
        "gpu": _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "minikd": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "contenders": {name: _contender(setup, name) for name in ("plain", "fast", "old")},
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "blas": blas_found,
        "set_by_user": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(PREFIXES)},
    }


def headline(machine: dict[str, Any]) -> str:
    """A few lines for the top of the tables."""
    blas = machine["blas"]
    kernels = {pool.get("architecture") for pool in blas.get("pools", ())} - {None}
    parts = [
        machine["cpu"],
        f"{machine['threads']} threads of {machine['cores']} cores",
        machine["gpu"],
        machine["date"][:10],
    ]
    more = [f"Python {machine['python']}", *(f"{name} {version}" for name, version in machine["versions"].items())]
    more.append(" ".join(filter(None, [blas.get("name"), blas.get("version"), *sorted(kernels)])))
    who = [f"- `{name}`: {text}" for name, text in machine["contenders"].items()]
    return "\n\n".join([paragraph(", ".join(filter(None, [*parts, *more]))), "\n".join(map(paragraph, who))])


class Others:
    """What other programs take of the CPUs' time, from 0 to 1, from now until `share` is called (on Linux).

    Threads that wait for each other actively lose far more by a busy core than the time it takes away, so numbers
    that were measured beside other programs say little. This process must have waited for all that it started.
    """

    def __init__(self) -> None:
        self._before = _cpu_seconds()

    def share(self) -> float | None:
        """The part of the time since the start that went to others."""
        after = _cpu_seconds()
        if self._before is None or after is None:
            return None
        others, everything = (b - a for a, b in zip(self._before, after, strict=True))
        return max(0.0, others) / max(everything, 0.01)


def blas() -> dict[str, Any]:
    """NumPy's BLAS: name, version and build; with threadpoolctl also the kernels that it chose for this processor.

    Runs in a contender's process, because the environment decides about the kernels.
    """
    import numpy as np

    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    found = {name: built.get(name) for name in ("name", "version", "openblas configuration")}
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return found
    names = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
    return {**found, "pools": [{name: pool.get(name) for name in names} for pool in threadpool_info()]}


def _contender(setup: Setup, name: str) -> str:
    """Which minikd it is, with which kernels or settings, or why it cannot take part."""
    try:
        if name == "old":
            setup.environment(name)
            settings = (f" with {key}={value}" for key, value in setup.baseline_settings.items())
            return "".join([f"minikd at {setup.baseline_name}", *settings])
        return f"minikd with kernels: {setup.output(name, KERNELS.format(setup.device))}"
    except WorkerError as error:
        return str(error)


def _cpu_seconds() -> tuple[float, float] | None:
    """Seconds of all CPUs so far: those that others used, and all that there were."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, idle, waiting, *rest = map(int, file.readline().split()[1:9])
    except OSError:
        return None
    import resource

    mine = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        mine += usage.ru_utime + usage.ru_stime
    tick = 1 / os.sysconf("SC_CLK_TCK")
    used = tick * (user + nice + system + sum(rest))
    return used - mine, used + tick * (idle + waiting)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None
