"""The machine and the versions that a run uses, and the number of threads that suits it."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..checks import check_count
from ..fast.threads import blas_threads, cores

CPUINFO = Path("/proc/cpuinfo")
LARGE = ("mnist",)  # data sets whose matrix products are faster with several threads


def suited_threads(data: str, processes: int = 1) -> int | None:
    """The number of threads for matrix products if this many processes share the machine; None for no limit.

    It depends on nothing else, so that a resumed run has the same number of threads and ends with the same bits.
    """
    if data not in LARGE:
        return 1
    return max(1, cores() // processes) if processes > 1 else None


def suited_jobs(data: str, device: str, wanted: int | None = None) -> int:
    """The number of networks to train at the same time: `wanted`, or one per core if a network uses one thread.

    ValueError and TypeError, which begin with "jobs", for an invalid number.
    """
    if wanted is not None:
        return check_count("jobs", wanted)
    return 1 if device != "cpu" or suited_threads(data) is None else cores()


def machine() -> dict[str, Any]:
    """The machine and the versions on which numbers are measured."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": blas_threads() or "unknown",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("minikd", "numpy")}},
    }


def provenance() -> dict[str, Any]:
    """The command that made the numbers, and the date."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"command": shlex.join(["minikd", *sys.argv[1:]]), "date": date}


def processor() -> str:
    """The processor's name with family and model, because some clouds give only the maker's name."""
    fields = _cpuinfo()
    if "model name" not in fields:
        return platform.processor() or sys.platform
    return f"{fields['model name']} (family {fields.get('cpu family')}, model {fields.get('model')})"


def _cpuinfo() -> dict[str, str]:
    """What Linux reports about the first processor; empty on other systems."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
