"""Messages between the grader and the process that runs a submission: numbers, never objects.

A message is one value. A value is a tag of one byte, the length of its payload in eight bytes, and the payload:

- A: an array, as the bytes of an .npy file
- S: a text in UTF-8
- L: a list, its values one after another
- F: a function of the other side, with its number and the names of its parameters
- N: None
- U: a value that cannot be sent, as the name of its type

The reader trusts nothing. A length is compared with a limit before any byte is read. An .npy header must be short, name
one of a few number types, and claim exactly as many elements as there are bytes, before an array is made. Nothing is
pickled. This file needs only the standard library and NumPy, because the isolated process also uses it.
"""

import inspect
import io
import keyword
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

MAX_BYTES = 16 * 2**20  # bytes of a message
HEADER_SIZE = 9  # bytes: a tag and a length
MAX_DEPTH = 8  # lists within lists
MAX_VALUES = 10_000  # values in one message
MAX_SIGNATURE = 200  # characters of a function's number and its parameters' names
DTYPES = ("<f8", "<f4", "<f2", "<c16", "<c8", "|b1", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1")


class MessageError(Exception):
    """The bytes are not a message, or a message that is not allowed."""


class RemoteFunction:
    """A function of the other side: its number, and the names of its parameters."""

    def __init__(self, number: int, names: Sequence[str]) -> None:
        self.number = number
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])


def pack(value: Any, functions: list[Callable[..., Any]] | None = None, depth: int = 0) -> bytes:
    """The bytes of a value. Functions are appended to `functions` and sent as their index in it."""
    if value is None:
        return _frame(b"N", b"")
    if isinstance(value, str):
        return _frame(b"S", value.encode("utf-8", "replace"))
    if isinstance(value, tuple | list) and depth < MAX_DEPTH:
        return _frame(b"L", b"".join(pack(item, functions, depth + 1) for item in value))
    if isinstance(value, np.ndarray | np.generic | bool | int | float | complex):
        array = np.array(value, order="C", copy=True, subok=False)
        if array.dtype.newbyteorder("<").str in DTYPES:
            buffer = io.BytesIO()
            np.lib.format.write_array(
                buffer, array.astype(array.dtype.newbyteorder("<")), version=(1, 0), allow_pickle=False
            )
            return _frame(b"A", buffer.getvalue())
        return _frame(b"U", f"array of {array.dtype}".encode())
    if callable(value) and functions is not None:
        functions.append(value)
        return _frame(b"F", " ".join([str(len(functions) - 1), *inspect.signature(value).parameters]).encode())
    return _frame(b"U", type(value).__name__[:80].encode("utf-8", "replace"))


def _frame(tag: bytes, payload: bytes) -> bytes:
    return tag + len(payload).to_bytes(8, "big") + payload


def size_of(header: bytes, limit: int = MAX_BYTES) -> int:
    """The number of bytes after a message's header; MessageError if it exceeds the limit."""
    size = int.from_bytes(header[1:HEADER_SIZE], "big")
    if header[:1] not in (b"A", b"L", b"S", b"F", b"N", b"U"):
        raise MessageError(f"a message of unknown kind {header[:1]!r}")
    if size > limit:
        raise MessageError(f"a message of {size:,} bytes, more than {limit:,}")
    return size


def unpack(message: bytes) -> Any:
    """The value of a message: array, text, list, None, `RemoteFunction` or `Unsendable`; or MessageError."""
    value, end = _value(memoryview(message), 0, 0, [MAX_VALUES])
    if end != len(message):
        raise MessageError(f"{len(message) - end} bytes too many")
    return value


class Unsendable:
    """A value that the other side could not send; `name` is its type, as the other side reports it."""

    def __init__(self, name: str) -> None:
        self.name = name


def _value(message: memoryview, start: int, depth: int, left: list[int]) -> tuple[Any, int]:
    left[0] -= 1
    if left[0] < 0:
        raise MessageError(f"more than {MAX_VALUES:,} values")
    header = bytes(message[start : start + HEADER_SIZE])
    if len(header) < HEADER_SIZE or depth > MAX_DEPTH:
        raise MessageError("a truncated message, or lists that are nested too deeply")
    size, start = size_of(header), start + HEADER_SIZE
    payload, end = message[start : start + size], start + size
    if len(payload) < size:
        raise MessageError("a truncated message")
    tag = header[:1]
    if tag == b"L":
        items, at = [], 0
        while at < size:
            item, at = _value(payload, at, depth + 1, left)
            items.append(item)
        return items, end
    if tag == b"A":
        return _array(bytes(payload)), end
    text = bytes(payload).decode("utf-8", "replace")
    if tag == b"F":
        number, *names = text[:MAX_SIGNATURE].split(" ")
        if not number.isascii() or not number.isdigit() or len(number) > 6 or len(text) > MAX_SIGNATURE:
            raise MessageError(f"a function numbered {text[:20]!r}")
        if not all(map(str.isidentifier, names)) or any(map(keyword.iskeyword, names)) or len({*names}) < len(names):
            raise MessageError(f"a function with the parameters {text[:80]!r}")
        return RemoteFunction(int(number), names), end
    return {b"S": text, b"N": None, b"U": Unsendable(text[:100])}[tag], end


def _array(payload: bytes) -> np.ndarray:
    """The array in the bytes of an .npy file, after its header has been checked."""
    buffer = io.BytesIO(payload)
    try:
        if payload[:8] != b"\x93NUMPY\x01\x00" or int.from_bytes(payload[8:10], "little") > 512:
            raise ValueError("not an .npy of version 1.0 with a short header")
        np.lib.format.read_magic(buffer)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(buffer)
    except Exception as error:  # any error of the parser on forged bytes
        raise MessageError(f"an array whose header cannot be read: {str(error)[:100]}") from None
    if dtype.str not in DTYPES or dtype.hasobject:
        raise MessageError(f"an array of {dtype}: only numbers are read")
    room = len(payload) - buffer.tell()
    possible = len(shape) <= 8 and all(type(n) is int and 0 <= n <= MAX_BYTES for n in shape)  # True is not a size
    if not possible or math.prod(shape) * dtype.itemsize != room:
        raise MessageError(f"an array that claims the shape {shape} with {room} bytes of numbers")
    flat = np.frombuffer(payload, dtype, offset=buffer.tell())
    return flat.reshape(shape, order="F" if fortran else "C").copy()
