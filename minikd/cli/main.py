"""The `minikd` command: parses the arguments, runs a subcommand and exits. Without arguments it runs `distill`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from .. import fast
from ..errors import CheckpointError, DeviceError, MinikdError
from ..scale.mpi import is_first, is_together, job, let_the_first_speak
from .parser import command_parser
from .process import exit_code, in_columns, in_words, let_go_of_stdout, prepared
from .shared import Stopped, UsageError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Exit codes: 0 for success, 1 for a failed task, 2 for wrong arguments or an error of the system (a full disk, for
    example), and after a signal 128 plus its number: 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version")):
        given = ["distill", *given]
    try:
        with prepared():
            code = _run_given(given)
    except KeyboardInterrupt as stop:
        code = _complain("stopped", exit_code(stop))
    except BrokenPipeError:  # the reader of the pipe has closed it, as `| head` does
        code = 1
    except (OSError, MemoryError) as error:
        code = _complain(in_words(error), 2)
    finally:
        let_go_of_stdout()
    if code is not None:
        sys.exit(code)


def _run_given(given: list[str]) -> int | None:
    options = command_parser().parse_args(given)
    fast.quiet |= getattr(options, "quiet", False)
    if is_together() and options.run != "distill":
        words = "mpiexec runs minikd distill, and no other command: start this one without mpiexec"
        return _complain(words, 2) if is_first() else 2
    with job():
        if (code := _run(options)) is not None:
            sys.exit(code)
    sys.stdout.flush()  # a full disk raises here, and not while Python shuts down
    return None


def _run(options: argparse.Namespace) -> int | None:
    """Run the subcommand. Its module in this folder is imported only now, so that --help is fast."""
    try:
        code: int | None = import_module(f".{options.run}", __package__).run(options)
    except (DeviceError, CheckpointError, UsageError) as error:
        return _complain(error, 2)
    except Stopped as stop:
        return _complain(stop, stop.code)
    except MinikdError as error:
        return _complain(error, 1)
    except BrokenPipeError:
        raise
    except (OSError, MemoryError) as error:
        return _complain(in_words(error), 2)
    return code


def _complain(what: object, code: int) -> int:
    let_the_first_speak()
    print(in_columns(f"minikd: {what}"), file=sys.stderr)
    return code
