"""The `minikd` command: which command is asked for, and how it ends. Without arguments it is `minikd distill`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from .. import fast
from ..errors import CheckpointError, DeviceError, MinikdError
from ..scale.mpi import is_first, is_together, job, let_the_first_speak
from .parser import command_parser
from .shared import Stopped, UsageError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exits with 0, 1 (it could not be done), 2 (it was asked wrongly) or 130 (Ctrl-C)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version")):
        given = ["distill", *given]
    options = command_parser().parse_args(given)
    fast.quiet |= getattr(options, "quiet", False)
    if is_together() and options.run != "distill":
        words = "mpiexec runs minikd distill, and no other command: start this one without it"
        sys.exit(_complain(words, 2) if is_first() else 2)
    try:
        with job():
            _run(options)
    except KeyboardInterrupt:
        sys.exit(_complain("stopped", 130))
    except BrokenPipeError:  # the reader of a pipe has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run(options: argparse.Namespace) -> None:
    """Run the command, a module of this folder, which is loaded now: help should not wait for all of them."""
    try:
        code: int | None = import_module(f".{options.run}", __package__).run(options)
    except (DeviceError, CheckpointError, UsageError) as error:
        sys.exit(_complain(error, 2))
    except MinikdError as error:
        sys.exit(_complain(error, 1))
    except Stopped as stop:
        sys.exit(_complain(stop, 130))
    if code is not None:
        sys.exit(code)


def _complain(what: object, code: int) -> int:
    let_the_first_speak()
    print(f"minikd: {what}", file=sys.stderr)
    return code
