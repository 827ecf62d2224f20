"""The restrictions of Linux and Python that a process puts on itself before it runs a submission.

Landlock and seccomp belong to the kernel: the process cannot undo them. The import list and the audit hook belong to
Python. They are defence in depth against accidents and curiosity. The file is loaded by its path before the fork, so it
needs only the standard library.
"""

import builtins
import contextlib
import ctypes
import os
import platform
import struct
import sys
from collections.abc import Callable
from typing import Any, ClassVar

ALLOWED_MODULES = """
    __future__ abc array bisect cmath collections contextlib copy dataclasses decimal enum fractions functools heapq
    inspect itertools math numbers operator random re statistics string textwrap time types typing unicodedata
    unittest warnings
""".split()  # noqa: SIM905


class Kernel:
    """Landlock and seccomp, through the C library."""

    # The system calls that stay allowed, by their numbers: computing, waiting, and using files that are open already.
    # Everything else is refused, such as opening or changing files, starting or ending processes, and connecting.
    # (x86-64, 64-bit ARM); 0 if a processor does not have the call.
    ALLOWED: ClassVar = {
        "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "close": (3, 57), "lseek": (8, 62),
        "fstat": (5, 80), "poll": (7, 0), "ppoll": (271, 73), "select": (23, 0), "pselect6": (270, 72),
        "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216), "brk": (12, 214),
        "madvise": (28, 233), "futex": (202, 98), "membarrier": (324, 283), "sched_yield": (24, 124),
        "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
        "restart_syscall": (219, 128), "nanosleep": (35, 101), "clock_nanosleep": (230, 115),
        "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, 0),
        "times": (100, 153), "getrusage": (98, 165), "getrandom": (318, 278), "getcpu": (309, 168),
        "sched_getaffinity": (204, 123), "sysinfo": (99, 179), "uname": (63, 160), "rseq": (334, 293),
        "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175),
        "getgid": (104, 176), "getegid": (108, 177), "set_robust_list": (273, 99), "exit": (60, 93),
        "exit_group": (231, 94),
    }  # fmt: skip
    ARCHITECTURES: ClassVar = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)

    def subreaper(self) -> None:
        """Orphaned descendants become children of this process, so that it can find and end them."""
        self.libc.prctl(36, 1, 0, 0, 0)

    def restrict(self) -> list[str]:
        """Apply Landlock and seccomp if the kernel has them; returns the names of those in force."""
        layers = []
        self.libc.prctl(38, 1, 0, 0, 0)  # no new privileges: the kernel requires this for both
        if self._landlock():
            layers.append("landlock")
        if self._seccomp():
            layers.append("seccomp")
        return layers

    def _landlock(self) -> bool:
        abi = self.libc.syscall(444, None, 0, 1)
        if abi < 1:
            return False
        files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1  # all file rights that this kernel knows
        ruleset = struct.pack("QQQ", files, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)  # TCP; sockets and signals
        size = 8 if abi < 4 else 16 if abi < 6 else 24
        fd = self.libc.syscall(444, ctypes.create_string_buffer(ruleset, 24), size, 0)
        held = fd >= 0 and self.libc.syscall(446, fd, 0) == 0  # no rule is added, so nothing is allowed
        if fd >= 0:
            os.close(fd)
        return bool(held)

    def _seccomp(self) -> bool:
        if platform.machine() not in self.ARCHITECTURES or sys.maxsize < 2**32:
            return False
        column, arch = self.ARCHITECTURES[platform.machine()]
        load, equal, end = 0x20, 0x15, 0x06
        refuse, allow, kill = 0x00050001, 0x7FFF0000, 0x80000000  # EPERM; allow; end the process
        # Check the architecture, then the call. Numbers of x32 are not in the list, so they are refused.
        program = [(load, 0, 0, 4), (equal, 1, 0, arch), (end, 0, 0, kill), (load, 0, 0, 0)]
        for name, numbers in self.ALLOWED.items():
            if numbers[column] or name == "read":
                program += [(equal, 0, 1, numbers[column]), (end, 0, 0, allow)]
        program.append((end, 0, 0, refuse))
        code = b"".join(struct.pack("HBBI", operation, yes, no, k) for operation, yes, no, k in program)
        buffer = ctypes.create_string_buffer(code, len(code))
        filter_ = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
        return bool(self.libc.prctl(22, 2, ctypes.create_string_buffer(filter_, 16), 0, 0) == 0)


# ---- Python's own, in addition ----------------------------------------------------------------------------------

REFUSED_EVENTS = (
    "open", "os.", "subprocess.", "socket.", "ctypes.", "shutil.", "signal.", "fcntl.", "mmap.", "pty.", "tempfile.",
    "urllib.", "webbrowser.", "winreg.", "glob.", "sqlite3.", "gc.", "syslog.",
)  # fmt: skip


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook. It is only defence in depth, because ctypes or a debugger can bypass it."""
    if event.startswith(REFUSED_EVENTS):
        raise PermissionError(f"{event} is not allowed here")


def restricted_import(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    """Replaces `__import__`. A module that is not allowed becomes `Unavailable`. This is also defence in depth.

    Within a `try`, and for `from os import *`, the ImportError is raised at once.
    """
    importer, top = (globals or {}).get("__name__"), name.partition(".")[0] or "."
    of_library = importer not in own and getattr(sys.modules.get(str(importer)), "__dict__", None) is globals
    if of_library and globals:  # it imports what it needs lazily
        return original_import(name, globals, locals, fromlist or (), level)
    if level == 1 and top in own:  # from .helpers import softmax
        level = 0
    if top in own:
        own[top]()
    if level == 0 and (top in own or top in ("numpy", *ALLOWED_MODULES)):
        return original_import(name, globals, locals, fromlist or (), level)
    caller = sys._getframe(1)
    if "*" in (fromlist or ()) or (caller.f_code.co_filename, caller.f_lineno) in guarded:
        raise not_here(top)
    return Unavailable(name if fromlist else top)


own: dict[str, Callable[[], None]] = {}  # name of each module of the submission -> function that executes it
guarded: set[tuple[str, int]] = set()  # (file, line) of its imports within a `try`
original_import = builtins.__import__


# Most top-level uses of such modules are set-up (a path, a log, a plot style), so only their own statement is skipped.
# Use of one of these modules ends the file, because a submission does not need them.
SERIOUS = "ctypes subprocess socket multiprocessing minikd autograd".split()  # noqa: SIM905


def not_here(name: str) -> ImportError:
    """The error for the use of a module that cannot be imported."""
    words = "cannot be used here: checks and grading have NumPy and harmless parts of the standard library"
    error = ModuleNotFoundError(f"{name} {words}")
    error.in_statement = name not in SERIOUS  # type: ignore[attr-defined]
    return error


class Unavailable:
    """Replaces a module that cannot be imported, and everything in it. Using it raises an ImportError.

    Importing it, reading its attributes, printing it and naming it in an annotation do not count as use.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":  # names that Python itself looks up
            raise AttributeError(name)
        return Unavailable(f"{self._name}.{name}")

    def __repr__(self) -> str:
        return f"<{self._name} cannot be used here>"

    def __contains__(self, item: Any) -> bool:
        return False  # "google.colab" in sys.modules

    def __or__(self, other: Any) -> Any:
        return self

    __ror__ = __or__


def _refuse(self: Any, *_: Any, **__: Any) -> Any:
    raise not_here(self._name.partition(".")[0])


USES = """
    call getitem setitem delitem iter next reversed len enter exit await aiter bool int float complex index
    mro_entries instancecheck subclasscheck array lt le gt ge neg pos abs invert add radd sub rsub mul rmul matmul
    rmatmul truediv rtruediv floordiv rfloordiv mod rmod divmod rdivmod pow rpow and rand xor rxor lshift rlshift
    rshift rrshift
""".split()  # noqa: SIM905
for _method in USES:
    setattr(Unavailable, f"__{_method}__", _refuse)


# ---- what a fork gives up ---------------------------------------------------------------------------------------


def restrict_process(settings: dict[str, Any]) -> list[str]:
    """Give up everything that a submission does not need; returns the names of the layers in force."""
    import resource  # POSIX alone

    layers = []
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(settings["uid"])  # as root, this sets the real, effective and saved ID
        os.setuid(settings["uid"])
        layers.append("user")
    seconds = settings["cpu_seconds"]
    limits = {
        "RLIMIT_AS": settings["memory"],
        "RLIMIT_CPU": seconds,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NOFILE": 16,
        "RLIMIT_NPROC": 0,
        "RLIMIT_CORE": 0,
    }
    held = 0
    for name, limit in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):  # macOS does not limit memory
            number = getattr(resource, name)
            hard = limit + (name == "RLIMIT_CPU")  # the soft limit sends a signal, the hard limit kills
            _, most = resource.getrlimit(number)
            hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
            resource.setrlimit(number, (min(limit, hard), hard))
            held += 1
    if held == len(limits):
        layers.append("limits")
    if sys.platform == "linux":
        layers += Kernel().restrict()
    sys.addaudithook(audit)
    return layers
