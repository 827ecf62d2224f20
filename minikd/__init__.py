"""minikd: knowledge distillation from scratch.

A tiny MLP library without autograd: every forward and backward pass, softmax with temperature and distillation
gradient is derived and written by hand, on NumPy or, with device="cuda", on CuPy. The public names are in `api.py`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # NumPy loads with the first public name that is used, and not before: its BLAS reads how many threads to start
    # only then, and the `minikd` command has something to say about that.
    api = import_module("minikd.api")
    if hasattr(api, name):
        return getattr(api, name)
    if f"minikd.{name}" in sys.modules:
        return sys.modules[f"minikd.{name}"]
    raise AttributeError(f"module 'minikd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *import_module("minikd.api").__all__])
