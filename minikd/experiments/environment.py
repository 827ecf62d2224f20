"""What a run is made on and with, and how many threads suit it."""

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
LARGE = ("mnist",)  # data sets whose products are worth more than one thread


def suited_threads(data: str, processes: int = 1) -> int | None:
    """How many threads matrix products should use, where so many processes share this machine; None: no limit.

    It depends on nothing else, so that a resumed run has as many threads as it began with, and ends with the same bits.
    """
    if data not in LARGE:
        return 1
    return max(1, cores() // processes) if processes > 1 else None


def suited_jobs(data: str, device: str, wanted: int | None = None) -> int:
    """How many networks should be trained at a time: `wanted`, or one for each core that a network leaves free.

    ValueError and TypeError, which begin with "jobs", for a number that cannot be.
    """
    if wanted is not None:
        return check_count("jobs", wanted)
    return 1 if device != "cpu" or suited_threads(data) is None else cores()


def machine() -> dict[str, Any]:
    """What the numbers are measured on and with."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": blas_threads() or "unknown",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("minikd", "numpy")}},
    }


def provenance() -> dict[str, Any]:
    """By which command numbers were made, and when."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"command": shlex.join(["minikd", *sys.argv[1:]]), "date": date}


def processor() -> str:
    """The processor's name. Some clouds name no more than the maker; family and model tell the generation."""
    fields = _cpuinfo()
    if "model name" not in fields:
        return platform.processor() or sys.platform
    return f"{fields['model name']} (family {fields.get('cpu family')}, model {fields.get('model')})"


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor, and nothing elsewhere."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
