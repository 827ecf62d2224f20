"""The process in which a submission runs. It receives numbers, calls the submission, and sends numbers back.

The process holds nothing that decides about points: no reference, no expected value, no seed. Whatever a submission
does to this process, it can only send other numbers. There are two ways to start it::

    python -I -S child.py NUMPY_FOLDER CONTROL_FD   # a forkserver (POSIX)
    python -I child.py                              # one conversation over stdin and stdout

The forkserver imports NumPy once. Each check gets a fork of it, so no submission has run in that process before. The
single conversation has no protection; it is for learners who check their own solutions.

A fork gives up everything that a submission does not need, before it reads a line of the submission:

- session: its own, so that all of its processes can be killed at once; its output goes into a pipe of limited size
- user: a user that owns no files, if the grader is root
- limits: memory, processor time, file size, open files, processes, core dumps
- Landlock (Linux): no file can be opened, for reading or writing
- seccomp (Linux): only system calls that computing needs; no process can be started, signalled or inspected, no socket
  can be opened, and no file's mode or time can be changed
- imports: only NumPy and harmless parts of the standard library; an audit hook refuses the rest

The kernel enforces all of these except the last one, which is defence in depth against accidents and curiosity. The
unprotected conversation uses the same rule for imports, so that learners see what grading will do.
This file needs only the standard library and NumPy.
"""

import builtins
import contextlib
import importlib.util
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

restrictions: Any = None  # the files beside this one; see `load_beside`
messages: Any = None
cells: Any = None

NUMPY_PARTS = ("linalg", "fft", "random", "testing", "polynomial", "ma", "lib.stride_tricks", "char", "rec", "typing")
MAX_LINE = 300  # characters in a line of a traceback
MAX_ERROR = 4000  # characters in the description of an error
HERE = Path(__file__).parent


# ---- one conversation -------------------------------------------------------------------------------------------


class Responder:
    """Answers the grader's messages over two files."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self.reader, self.writer = reader, writer
        self.files: Any = None

    def receive(self) -> Any:
        """The next message; EOFError if the grader has closed the connection."""
        header = self._read(messages.HEADER_SIZE)
        return messages.unpack(header + self._read(messages.size_of(header, 2**31)))

    def _read(self, size: int) -> bytes:
        data = self.reader.read(size)
        if len(data) < size:
            raise EOFError
        return bytes(data)

    def send(self, value: Any) -> None:
        """Send a value."""
        self.writer.write(messages.pack(value))
        self.writer.flush()

    def serve(self) -> None:
        """Load the submission's sources and answer calls, until the grader closes the pipe."""
        while True:
            kind, *rest = self.receive()
            self.send(self.load(*rest) if kind == "load" else self.call(*rest))

    def load(self, sources: list[Any], functions: list[str]) -> list[Any]:
        """Execute what these functions need. Returns ["ok", [[label, line, exception] of each cell that raised]]."""
        self.files = cells.Files(sources, restrictions.own, restrictions.guarded)
        self.files.load(functions)
        return ["ok", [[label, *brief(label, error)] for label, _, error in self.files.problems]]

    def call(self, name: str, arguments: list[Any]) -> list[Any]:
        """[kind, value or words]: "ok", "missing", "todo" (NotImplementedError), "assert" or "raised"."""
        function = self.files.find(name)
        if function is None:
            errors = [describe(error) for _, text, error in self.files.problems if name in text]
            return ["missing", "\n".join(errors)[:MAX_ERROR]]
        try:
            return ["ok", function(*[self.as_argument(argument) for argument in arguments])]
        except NotImplementedError as error:
            return ["todo", str(error)[:MAX_ERROR]]
        except AssertionError as error:
            return ["assert", str(error)[:MAX_ERROR]]
        except BaseException as error:
            return ["raised", describe(error)]

    def as_argument(self, value: Any) -> Any:
        """A value as the submission sees it. A function of the grader becomes a function that calls the grader."""
        if isinstance(value, list):
            return [self.as_argument(item) for item in value]
        if hasattr(value, "ndim") and value.ndim == 0:
            return value.item()
        if not isinstance(value, messages.RemoteFunction):
            return value
        number, signature = value.number, value.signature

        def function(*arguments: Any, **named: Any) -> Any:
            for name in named.keys() - signature.parameters.keys():
                raise TypeError(f"got an unexpected keyword argument {name!r}")
            self.send(["callback", str(number), list(signature.bind(*arguments, **named).args)])
            kind, answer = self.receive()
            if kind == "error":
                raise ValueError(answer)
            answer = self.as_argument(answer)
            return tuple(answer) if isinstance(answer, list) else answer

        return function


def describe(error: BaseException) -> str:
    """The exception, and where in the submission it was raised."""
    try:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent != HERE]
        where = [f"{f.filename}, line {f.lineno}: {(f.line or '').strip()}"[:MAX_LINE] for f in frames[-3:]]
        words = f"{type(error).__name__}: {error}"[:MAX_ERROR]
    except BaseException:  # an exception that cannot even be printed
        return "an exception that cannot be shown"
    if isinstance(error, SyntaxError) and error.filename:
        where.append(f"{error.filename}, line {error.lineno}: {(error.text or '').strip()}"[:MAX_LINE])
    return "\n".join([*where, words])[:MAX_ERROR]


def brief(label: str, error: BaseException) -> tuple[str, str]:
    """The line in which a cell stopped, or "" if it did not start, and the exception."""
    try:
        if isinstance(error, SyntaxError):
            return "", f"{type(error).__name__}: {error.msg}"[:MAX_LINE] + f" (line {error.lineno})" * bool(
                error.lineno
            )
        lines = [str(f.lineno) for f in traceback.extract_tb(error.__traceback__) if f.filename == label]
        alone = " alone" * (getattr(error, "in_statement", False))
        return lines[0] + alone if lines else "", f"{type(error).__name__}: {error}"[:MAX_LINE]
    except BaseException:  # an exception that cannot even be printed
        return "", "an exception that cannot be shown"


# ---- the forkserver ---------------------------------------------------------------------------------------------


def preload() -> None:
    """Import everything that a submission may use."""
    for name in restrictions.ALLOWED_MODULES:
        importlib.import_module(name)
    for part in NUMPY_PARTS:
        importlib.import_module(f"numpy.{part}")
    import numpy

    numpy.__all__ = [name for name in numpy.__all__ if name in vars(numpy)]  # `import *` would import the others now
    load_beside("messages")
    load_beside("cells")


def limit_imports() -> None:
    """From now on, imports go through `restricted_import`."""
    builtins.__import__ = restrictions.restricted_import
    for name in ("ctypes", "_ctypes", "socket", "_socket", "resource", "json", "__main__"):
        sys.modules.pop(name, None)


def forkserver(control: socket.socket) -> None:
    """For each request: fork, send the process number, wait for the order to end it, and kill what is left of it."""
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(control, 65536, 3)
        except OSError:
            data = b""
        if not data:
            os._exit(0)
        settings = json.loads(data)
        pid = os.fork()
        if pid == 0:
            run_child(control, fds, settings)
        for fd in fds:
            os.close(fd)
        there = b""
        with contextlib.suppress(OSError):  # the grader may be killed at any time
            control.sendall(f"{pid}\n".encode())
            there = control.recv(1)
        ended = end_all(pid)
        if not there:
            os._exit(0)
        with contextlib.suppress(OSError):
            control.sendall(json.dumps(ended).encode() + b"\n")


def end_all(pid: int) -> dict[str, Any]:
    """Kill a child and all its descendants; returns how the child ended, if it had ended before."""
    done, status, usage = os.wait4(pid, os.WNOHANG)
    for _ in range(1000):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        for other in children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(other, signal.SIGKILL)
        try:
            ended, code, used = os.wait4(-1, 0)
        except ChildProcessError:
            break
        if ended == pid and not done:
            done, status, usage = 0, code, used
    return {"exited": bool(done), "status": status, "cpu_seconds": usage.ru_utime + usage.ru_stime}


def children() -> list[int]:
    """The children of this process, including orphans that it has adopted as subreaper."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8").split()]
    except OSError:
        return []


def run_child(control: socket.socket, fds: list[int], settings: dict[str, Any]) -> None:
    """Give up all rights, and answer the grader until it closes the connection. Does not return."""
    try:
        control.close()
        os.setsid()
        requests, replies, output = fds
        null = os.open(os.devnull, os.O_RDWR)
        for fd, source in ((0, null), (1, output), (2, output)):
            os.dup2(source, fd)
        for fd in (null, output):
            os.close(fd)
        sys.stdout = os.fdopen(1, "w", buffering=1, errors="replace", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="replace", closefd=False)
        responder = Responder(os.fdopen(requests, "rb"), os.fdopen(replies, "wb"))
        try:
            layers = restrictions.restrict_process(settings)
        except (OSError, ValueError) as error:  # no submission runs in a process without its restrictions
            responder.send(["cannot", f"{type(error).__name__}: {error}"])
            return
        limit_imports()
        responder.send(["ready", layers])
        responder.serve()
    except EOFError:
        pass
    finally:
        os._exit(0)


def main() -> None:
    """Start as a forkserver or as a single conversation; see above."""
    load_beside("restrictions")
    if len(sys.argv) == 3:
        for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
            os.environ[variable] = "1"
        sys.path.insert(0, sys.argv[1])
        preload()
        sys.path.remove(sys.argv[1])
        if sys.platform == "linux":
            restrictions.Kernel().subreaper()
        forkserver(socket.socket(fileno=int(sys.argv[2])))
    preload()
    # The channel uses copies of stdin and stdout, because a submission may read and print.
    responder = Responder(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    limit_imports()
    responder.send(["ready", []])
    with contextlib.suppress(EOFError):
        responder.serve()


def load_beside(name: str) -> None:
    """Load a file beside this one by its path, because minikd cannot be imported here."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    globals()[name] = module


if __name__ == "__main__":
    main()
