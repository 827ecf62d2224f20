"""The array library: NumPy on the CPU, CuPy on an NVIDIA GPU.

Every array belongs to one library, so functions ask `xp_of(array)` and then write `xp.exp(...)`: the same line runs on
both. The device is named once, when something new is made (`MLP(..., device="cuda")`). There is no global switch and no
silent fallback: if there is no GPU, `device="cuda"` raises a DeviceError.

This is the only chapter that imports CuPy, and it does so only when a GPU is needed.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np

from .checks import check_choice, is_source
from .errors import DeviceError

Array = Any  # a NumPy array or, on a GPU, a CuPy array: the two share no base class that a type checker could use
DEVICES = ("cpu", "cuda")


def get_xp(device: str) -> Any:
    """The array library of a device: NumPy for "cpu", CuPy for "cuda".

    Raises
    ------
    ValueError
        The name is neither "cpu" nor "cuda".
    DeviceError
        CuPy or a GPU is missing. The message says what to install.
    """
    check_choice("device", device, DEVICES)
    if device == "cpu":
        return np
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() == 0:
            raise RuntimeError("CUDA finds no GPU here")
        _try_out(cupy)
        return cupy
    except Exception as error:  # a missing GPU, driver or compiler and a broken installation each raise their own
        why = f"an NVIDIA GPU with its driver, and a CuPy that works. CuPy says: {error}"
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            why = "CuPy, which is not installed: pip install 'minikd[cuda13]' (or [cuda12], as nvidia-smi shows)"
        raise DeviceError(f"device 'cuda' needs {why}. Or use device='cpu'") from error


@cache
def _try_out(cupy: Any) -> None:
    """Make a first array and run a first kernel, once: a missing driver or compiler shows here."""
    cupy.zeros(1) + 1


def xp_of(array: Array) -> Any:
    """The array library that `array` belongs to. Anything that is not a CuPy array counts as NumPy's."""
    if type(array) is np.ndarray:  # a shortcut, because this runs dozens of times a step
        return np
    # A CuPy array can only exist if CuPy was imported already, so NumPy users never pay for the import.
    cupy = sys.modules.get("cupy")
    return cupy if cupy is not None and isinstance(array, cupy.ndarray) else np


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """The values as a NumPy array: the same object if it is one already, otherwise a copy from the GPU."""
    return np.asarray(array if xp_of(array) is np else array.get())


def to_device(array: Array, device: str) -> Array:
    """The array on a device: the same object if it is there already, otherwise a copy."""
    xp = get_xp(device)
    return array if xp is not np and xp_of(array) is xp else xp.asarray(to_numpy(array))


def place(value: Any, device: str, dtype: str | None = None) -> Any:
    """The array on a device, with floats in `dtype`. A Source, a function or None is returned as it is."""
    if value is None or is_source(value) or callable(value):
        return value
    array = to_device(value, device)
    return array.astype(dtype, copy=False) if dtype is not None and array.dtype.kind == "f" else array


def shuffled(x: Any, seed: int, epoch: int) -> Array:
    """The row numbers of x, 0 to N - 1, in an order drawn from (seed, epoch), on the device of x."""
    order = np.random.default_rng((seed, epoch)).permutation(len(x))
    return xp_of(x).asarray(order)


def generator(device: str, *seed: int) -> Any:
    """A random generator on a device, seeded by one or more whole numbers."""
    return get_xp(device).random.default_rng(int(np.random.SeedSequence(seed).generate_state(1)[0]))
