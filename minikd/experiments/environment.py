"""A note of the machine that a run was made on."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """What the numbers were measured on and with."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "one a core"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("minikd", "numpy")}},
    }


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
