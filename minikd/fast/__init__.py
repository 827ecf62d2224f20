"""Kernels: functions whose body is the definition, and compiled code that computes the same in one pass through memory.

A formula written with whole arrays reads and writes all of memory once for each operation. A kernel does the same
arithmetic for one element, or for one row of logits, from beginning to end. `@fused` marks the few functions for which
that pays. Their bodies, in the chapters, define what is computed. The kernels have the same names and arguments::

    cpu.py     for NumPy's arrays, compiled by Numba (pip install 'minikd[fast]')
    cuda.py    for CuPy's arrays, compiled by CuPy

The first argument decides. If there is a kernel for arrays of its type, the kernel is called. It may decline by
returning NotImplemented, and then the body runs. Both agree to rounding. MINIKD_KERNELS=plain turns all kernels off.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, partial, wraps
from importlib import import_module
from typing import Any, TypeVar, cast

import numpy as np

from ..checks import check_choice

Function = TypeVar("Function", bound=Callable[..., Any])

FUSED: dict[str, Any] = {}  # all fused functions; the attribute `kernels` of each holds its kernel for a type of array
CLEARED_EVERY = 100  # steps, after which an optimizer sets state that has decayed to almost nothing to 0
CLEARED_AT_A_TIME = 65_536  # numbers
MISSING = "Numba is not installed: pip install 'minikd[fast]'"
quiet = False  # True: do not announce on stderr that kernels are compiled, which takes a few seconds once


def clear_subnormal(vectors: Iterable[Any]) -> None:
    """Set what is below 100 times the smallest normal number (in float32, below 1.2e-36) to 0, in place.  each (P,)

    The state of a weight without gradient, for example of a unit that never fires, shrinks by a constant factor in each
    step until it is subnormal. It stays subnormal, because rounding stops it (0.9 · 4 units is 4 units). Many
    processors need a hundred times as long for a subnormal number as for another.
    """
    for vector in vectors:
        for start in range(0, len(vector), CLEARED_AT_A_TIME):
            part = vector[start : start + CLEARED_AT_A_TIME]
            part[abs(part) < 100 * np.finfo(part.dtype).tiny] = 0


def fused(body: Function) -> Function:
    """Let a kernel replace `body`, which defines what is computed. The type of the first argument, an array, decides
    which.
    """
    kernels: dict[type, Callable[..., Any]] = {}

    @wraps(body)
    def function(*args: Any, **options: Any) -> Any:
        kernel = kernels.get(type(args[0])) if args else body
        if kernel is None:
            kernel = kernels[type(args[0])] = _kernel(body.__name__, type(args[0])) or body
        try:
            result = kernel(*args, **options)
        except OSError:
            result = _call_again(partial(kernel, *args, **options))
        return body(*args, **options) if result is NotImplemented else result

    function.body, function.kernels = body, kernels  # type: ignore[attr-defined]
    FUSED[body.__name__] = function
    return cast(Function, function)


def _call_again(call: Callable[[], Any]) -> Any:
    """Call a kernel again if Numba found no room on disk for the code it had compiled.

    Nothing has been computed then, but one more of the loops that call each other is compiled and in memory.
    """
    for _ in range(8):
        with suppress(OSError):
            return call()
    return call()


def _kernel(name: str, array_type: type) -> Callable[..., Any] | None:
    """The kernel of that name for arrays of a type, or None if there is none."""
    cupy = sys.modules.get("cupy")
    if array_type is np.ndarray:
        module, _ = _load("cpu")
    elif cupy is not None and issubclass(array_type, cupy.ndarray):
        module, _ = _load("cuda")
    else:
        module = None
    return getattr(module, name, None)


@cache
def _load(name: str) -> tuple[Any, str]:
    """The module of kernels, cpu.py or cuda.py, or None and the reason why it is not in use."""
    wanted = os.environ.get("MINIKD_KERNELS") or "auto"
    check_choice("MINIKD_KERNELS", wanted, ("auto", "plain"))
    if wanted == "plain":
        return None, "MINIKD_KERNELS=plain"
    try:
        return import_module(f".{name}", __name__), ""
    except ImportError as error:
        reason = f"Numba cannot be used: {error}"  # the error says whether Python or NumPy is too new for Numba
        return None, MISSING if isinstance(error, ModuleNotFoundError) and error.name == "numba" else reason


def forget() -> None:
    """Look for kernels again: for tests, after MINIKD_KERNELS has changed."""
    _load.cache_clear()
    for function in FUSED.values():
        function.kernels.clear()


def name(device: str = "cpu") -> str:
    """The kernels in use on a device: "numba", "cuda", or "plain" for none. They are loaded if necessary."""
    module, _ = _load(device)
    return "plain" if module is None else "numba" if device == "cpu" else "cuda"


def status() -> str:
    """One line: the kernels in use on the CPU, or why there are none."""
    module, reason = _load("cpu")
    return f"Numba {module.numba.__version__}" if module is not None else f"plain NumPy ({reason})"
