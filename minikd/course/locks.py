"""What Linux and Python refuse to a process that runs a submission, once it has asked for that itself.

Landlock and seccomp are the kernel's: what they refuse stays refused, whatever the process does. The import list and
the audit hook are Python's, and defence in depth: they stop accidents and the curious. Loaded by its path, before the
fork; this file needs the standard library alone.
"""

import builtins
import ctypes
import os
import platform
import struct
import sys
from typing import Any, ClassVar

MODULES = """
    __future__ abc array bisect cmath collections contextlib copy dataclasses decimal enum fractions functools heapq
    inspect itertools math numbers operator random re statistics string textwrap time types typing unittest warnings
""".split()  # noqa: SIM905


class Kernel:
    """Linux's own locks, by way of the C library."""

    # Numbers of system calls by processor: Landlock's three have the same everywhere.
    CALLS: ClassVar = {
        "x86_64": (0xC000003E, {
            "kill": 62, "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "ptrace": 101,
            "process_vm_readv": 310, "process_vm_writev": 311, "fork": 57, "vfork": 58, "clone": 56, "clone3": 435,
            "execve": 59, "execveat": 322, "socket": 41, "socketpair": 53, "setns": 308, "unshare": 272, "bpf": 321,
            "pidfd_send_signal": 424, "pidfd_open": 434, "pidfd_getfd": 438, "io_uring_setup": 425, "mount": 165,
            "keyctl": 250, "add_key": 248, "request_key": 249, "setpgid": 109, "setsid": 112, "prlimit64": 302,
            "setpriority": 141, "sched_setaffinity": 203, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240,
            "userfaultfd": 323, "perf_event_open": 298, "memfd_create": 319,
        }),
        "aarch64": (0xC00000B7, {
            "kill": 129, "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "ptrace": 117,
            "process_vm_readv": 270, "process_vm_writev": 271, "clone": 220, "clone3": 435, "execve": 221,
            "execveat": 281, "socket": 198, "socketpair": 199, "setns": 268, "unshare": 97, "bpf": 280,
            "pidfd_send_signal": 424, "pidfd_open": 434, "pidfd_getfd": 438, "io_uring_setup": 425, "mount": 40,
            "keyctl": 219, "add_key": 217, "request_key": 218, "setpgid": 154, "setsid": 157, "prlimit64": 261,
            "setpriority": 140, "sched_setaffinity": 122, "shmget": 194, "msgget": 186, "semget": 190, "mq_open": 180,
            "userfaultfd": 282, "perf_event_open": 241, "memfd_create": 279,
        }),
    }  # fmt: skip

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)

    def subreaper(self) -> None:
        """Descendants whose parent has gone become children of this process, so that it can see and end them."""
        self.libc.prctl(36, 1, 0, 0, 0)

    def lock(self) -> list[str]:
        """Landlock and seccomp, as far as this kernel has them: the names of those that hold now."""
        layers = []
        self.libc.prctl(38, 1, 0, 0, 0)  # no new privileges: without this the kernel grants neither
        if self._landlock():
            layers.append("landlock")
        if self._seccomp():
            layers.append("seccomp")
        return layers

    def _landlock(self) -> bool:
        abi = self.libc.syscall(444, None, 0, 1)
        if abi < 1:
            return False
        files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1  # every way to touch a file that this kernel knows
        ruleset = struct.pack("QQQ", files, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)  # TCP; sockets and signals
        size = 8 if abi < 4 else 16 if abi < 6 else 24
        fd = self.libc.syscall(444, ctypes.create_string_buffer(ruleset, 24), size, 0)
        held = fd >= 0 and self.libc.syscall(446, fd, 0) == 0  # no rule is added: nothing is allowed
        if fd >= 0:
            os.close(fd)
        return bool(held)

    def _seccomp(self) -> bool:
        if platform.machine() not in self.CALLS or sys.maxsize < 2**32:
            return False
        arch, calls = self.CALLS[platform.machine()]
        load, equal, least, end = 0x20, 0x15, 0x35, 0x06
        refuse, allow, kill = 0x00050001, 0x7FFF0000, 0x80000000  # EPERM; go on; end the process
        program = [(load, 0, 0, 4), (equal, 1, 0, arch), (end, 0, 0, kill), (load, 0, 0, 0)]
        if platform.machine() == "x86_64":
            program += [(least, 0, 1, 0x40000000), (end, 0, 0, kill)]  # the same calls under x32's numbers
        for number in calls.values():
            program += [(equal, 0, 1, number), (end, 0, 0, refuse)]
        program.append((end, 0, 0, allow))
        code = b"".join(struct.pack("HBBI", operation, yes, no, k) for operation, yes, no, k in program)
        buffer = ctypes.create_string_buffer(code, len(code))
        filter_ = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
        return bool(self.libc.prctl(22, 2, ctypes.create_string_buffer(filter_, 16), 0, 0) == 0)


# ---- Python's own, in addition ----------------------------------------------------------------------------------

REFUSED = (
    "open", "os.", "subprocess.", "socket.", "ctypes.", "shutil.", "signal.", "fcntl.", "mmap.", "pty.", "tempfile.",
    "urllib.", "webbrowser.", "winreg.", "glob.", "sqlite3.", "gc.", "syslog.",
)  # fmt: skip


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: defence in depth, for who has ctypes or a debugger can go round it."""
    if event.startswith(REFUSED):
        raise PermissionError(f"{event} is not allowed here")


def only_known(name: str, *arguments: Any, **options: Any) -> Any:
    """In place of `__import__`: modules that are loaded already and allowed; defence in depth, too."""
    level = options.get("level", arguments[3] if len(arguments) > 3 else 0)
    top = name.partition(".")[0]
    if level == 0 and (top in MODULES or top in ("numpy", "solution", "museum", "typing_extensions") or top in OWN):
        return original_import(name, *arguments, **options)
    if level == 0 and importing_from_library(arguments):
        return original_import(name, *arguments, **options)
    raise ImportError(f"{name} cannot be imported here: NumPy and {', '.join(MODULES[1:])} can")


def importing_from_library(arguments: tuple[Any, ...]) -> bool:
    """Whether it is the library itself that imports, lazily, what it needs."""
    importer = (arguments[0] or {}).get("__name__", "") if arguments else ""
    return importer.partition(".")[0] in {*MODULES, "numpy"} and importer in sys.modules


OWN: set[str] = set()  # names of the submission's own files
original_import = builtins.__import__
