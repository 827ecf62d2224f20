"""What the `minikd` command tells NumPy's BLAS before NumPy loads, for that is when a BLAS listens.

Only the command does this, for what the user has not set; `import minikd` changes no environment variable. Each
setting changes speed alone (and the last bits of a sum). They are OpenBLAS's; another BLAS does not look at them.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}  # what OpenBLAS's SkylakeX kernels are made of


def blas_settings(large: bool = True, processes: int = 1) -> dict[str, str]:
    """Environment variables that suit large products, or small ones, and so many processes on this machine.

    OPENBLAS_NUM_THREADS=1 for small products: two threads would mostly wait for each other, and where another
    program keeps a core busy they would wait hundreds of times as long as they work.

    OPENBLAS_THREAD_TIMEOUT=20 for large ones: after a product, OpenBLAS's threads stay awake for a tenth of a second,
    in which they keep the optimizer's threads from the cores. 2^20 ticks of the clock, less than half a millisecond,
    is long enough to be there for the next product of the same step.

    OPENBLAS_CORETYPE=SkylakeX on AMD processors with AVX-512: older releases of OpenBLAS took their AVX2 kernels there;
    0.3.31 takes these by itself.

    Several processes share the cores out, or their threads would wait for each other.
    """
    chosen = {"OPENBLAS_THREAD_TIMEOUT": "20"} if large else {"OPENBLAS_NUM_THREADS": "1"}
    if large and processes > 1:
        chosen["OPENBLAS_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // processes))
    if _is_amd_with_avx512():
        chosen["OPENBLAS_CORETYPE"] = "SkylakeX"
    return chosen


def set_where_unset(chosen: dict[str, str]) -> dict[str, str]:
    """Set those variables that the user has not set, and return them."""
    new = {name: value for name, value in chosen.items() if name not in os.environ}
    os.environ.update(new)
    return new


def processor() -> str:
    """The processor's name. Some clouds name no more than the maker; family and model tell the generation."""
    fields = _cpuinfo()
    if "model name" not in fields:
        return platform.processor() or sys.platform
    return f"{fields['model name']} (family {fields.get('cpu family')}, model {fields.get('model')})"


def _is_amd_with_avx512() -> bool:
    fields = _cpuinfo()
    return "AuthenticAMD" in fields.get("vendor_id", "") and set(fields.get("flags", "").split()) >= AVX512


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor, and nothing elsewhere."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
