"""The far end of `processes.Worker`: a process that does what JSON lines on its standard input ask for.

    {"make": "module:function", "with": {...}}  call the function and keep what it returns
    {"call": "method", "with": {...}}           call a method of what was kept
    {"run": "module:function", "with": {...}}   call the function

Each line is answered with one line, {"value": ...} or {"error": ..., "status": a word for the table}.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any


def main() -> None:
    """Answer line by line until standard input ends."""
    # The answers get standard output to themselves: what libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    kept = None
    for line in sys.stdin:
        request = json.loads(line)
        arguments = request.get("with", {})
        try:
            if "make" in request:
                kept = None  # the old one goes before the new one comes, so that they do not share the memory
                kept, value = _find(request["make"])(**arguments), None
            elif "call" in request:
                value = getattr(kept, request["call"])(**arguments)
            else:
                value = _find(request["run"])(**arguments)
            answer = {"value": value}
        except Exception as error:  # whatever a library may raise is a result of the benchmark
            text = " ".join(f"{type(error).__name__}: {error}".split())
            answer = {"error": text, "status": _status(error)}
        print(json.dumps(answer), file=answers)


def _status(error: Exception) -> str:
    """ "missing" for a library that is not installed, "no data" for a data set that is not there, else "failed"."""
    if isinstance(error, ImportError):
        return "missing"
    return "no data" if "DataError: " in f"{type(error).__name__}: {error}" else "failed"


def _find(target: str) -> Any:
    module, name = target.split(":")
    return getattr(import_module(module), name)


if __name__ == "__main__":
    main()
