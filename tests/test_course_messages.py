"""Messages between grader and submission: numbers go through unharmed, and nothing else is believed."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from minikd.course.sandbox.messages import (
    DTYPES,
    HEADER_SIZE,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_VALUES,
    MessageError,
    RemoteFunction,
    Unsendable,
    pack,
    size_of,
    unpack,
)

ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hn.arrays(np.dtype(dtype), hn.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
VALUES: Any = st.recursive(
    st.none() | st.text(max_size=30) | ARRAYS, lambda inner: st.lists(inner, max_size=4), max_leaves=8
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


@given(VALUES)
def test_what_is_sent_arrives(value: Any) -> None:
    assert same(unpack(pack(value)), value)


@given(ARRAYS, st.booleans())
def test_strides_and_order_do_not_matter(array: np.ndarray, fortran: bool) -> None:
    other = np.asfortranarray(array) if fortran else array[..., ::-1] if array.ndim else array
    assert np.array_equal(unpack(pack(other)).tobytes(), np.ascontiguousarray(other).tobytes())


def test_an_array_that_arrives_is_a_plain_writable_copy() -> None:
    class Liar(np.ndarray):
        def __eq__(self, other: object) -> Any:
            return True

        def __array_finalize__(self, other: object) -> None:
            pass

    got = unpack(pack(np.zeros(3).view(Liar)))
    assert type(got) is np.ndarray and got.flags.writeable and got.flags.owndata


@pytest.mark.parametrize(
    ("value", "name"),
    [({}, "dict"), (object(), "object"), (np.array([None]), "array of object"), (b"x", "bytes"), ({1}, "set"),
     (len, "builtin"), (np.array(["a"]), "array of <U1"), (np.zeros(1, "f8,f8"), "array of"),
     (1 << 80, "array of object")],
)  # fmt: skip
def test_what_is_no_number_becomes_its_types_name(value: Any, name: str) -> None:
    got = unpack(pack(value))
    assert isinstance(got, Unsendable) and got.name.startswith(name)


def test_functions_travel_as_numbers() -> None:
    functions: list[Any] = []
    got = unpack(pack([len, 1.0, abs], functions))
    assert [item.number for item in (got[0], got[2]) if isinstance(item, RemoteFunction)] == [0, 1]
    assert functions == [len, abs]


def test_a_function_knows_the_names_of_its_parameters() -> None:
    def kd_loss(zs: Any, zt: Any, T: Any) -> Any: ...

    (got,) = unpack(pack([kd_loss], []))
    assert isinstance(got, RemoteFunction) and list(got.signature.parameters) == ["zs", "zt", "T"]
    assert got.signature.bind(1, T=3, zt=2).args == (1, 2, 3)


def test_lists_within_lists_end_somewhere() -> None:
    endless: list[Any] = []
    endless.append(endless)
    got = unpack(pack(endless))
    for _ in range(MAX_DEPTH - 1):
        got = got[0]
    assert isinstance(got[0], Unsendable)


def frame(tag: bytes, payload: bytes, size: int | None = None) -> bytes:
    return tag + (len(payload) if size is None else size).to_bytes(8, "big") + payload


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1") + b"\n"
    return frame(b"A", b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data)


def about(descr: str = "'<f8'", shape: str = "(2,)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


MALFORMED = {
    "empty": b"",
    "half a header": b"A\0\0",
    "an unknown tag": frame(b"P", b"x"),
    "more promised than there is": frame(b"S", b"abc", 4),
    "more than is allowed": frame(b"S", b"", MAX_BYTES + 1),
    "2^64 - 1 bytes": frame(b"A", b"", 2**64 - 1),
    "bytes too many": frame(b"N", b"") + b"x",
    "a list cut off": frame(b"L", frame(b"S", b"ab")[:-1]),
    "too many values": frame(b"L", frame(b"N", b"") * (MAX_VALUES + 1)),
    "a function that is no number": frame(b"F", b"x1"),
    "a function of digits that are none": frame(b"F", "²".encode()),
    "a function of a million": frame(b"F", b"1000000"),
    "a parameter that is no name": frame(b"F", b"0 zs 1x"),
    "a parameter that is a keyword": frame(b"F", b"0 lambda"),
    "a parameter twice": frame(b"F", b"0 zs zt zs"),
    "two blanks": frame(b"F", b"0 zs  zt"),
    "too many parameters": frame(b"F", b"0" + b" a" * 200),
    "no .npy": frame(b"A", b"\x80\x04K\x64."),
    "version 2": npy(about(), bytes(16), b"\x02\x00"),
    "a long header": npy(about() + " " * 600, bytes(16)),
    "a header that is code": npy("__import__('os').system('true')", bytes(16)),
    "a header that is deep": npy("(" * 200 + ")" * 200, bytes(16)),
    "object dtype": npy(about("'|O'"), bytes(16)),
    "text dtype": npy(about("'<U2'"), bytes(16)),
    "times": npy(about("'<M8[s]'"), bytes(16)),
    "big-endian": npy(about("'>f8'"), bytes(16)),
    "a record": npy(about("[('a', '<f8')]"), bytes(16)),
    "10^13 elements": npy(about(shape="(10000000000000,)"), bytes(80)),
    "a product that overflows": npy(about(shape="(4294967296, 4294967296)"), b""),
    "a negative length": npy(about(shape="(-2, -1)"), bytes(16)),
    "nine axes": npy(about(shape="(1, 1, 1, 1, 1, 1, 1, 1, 2)"), bytes(16)),
    "too few bytes": npy(about(), bytes(15)),
    "too many bytes": npy(about(), bytes(17)),
}
MALFORMED["lists too deep"] = frame(b"N", b"")
for _ in range(MAX_DEPTH + 1):
    MALFORMED["lists too deep"] = frame(b"L", MALFORMED["lists too deep"])


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_is_refused_before_memory_is_taken(name: str) -> None:
    message = MALFORMED[name]
    tracemalloc.start()
    try:
        with pytest.raises(MessageError):
            size_of(message.ljust(HEADER_SIZE, b"\0"))
            unpack(message)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2_000_000 + 20 * len(message)


def read(message: bytes) -> None:
    """Either it is refused, or what is made of it is no larger than the message."""
    try:
        value = unpack(message)
    except MessageError:
        return
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, np.ndarray):
            assert item.nbytes <= len(message) and item.dtype.str in DTYPES


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_harmless(message: bytes) -> None:
    read(message)
    for tag in (b"A", b"L", b"S", b"F"):
        read(frame(tag, message))


@given(VALUES, st.data())
def test_a_cut_or_flipped_message_is_refused_or_harmless(value: Any, data: st.DataObject) -> None:
    message = pack(value)
    with pytest.raises(MessageError):
        unpack(message[: data.draw(st.integers(0, len(message) - 1))])
    flipped = bytearray(message)
    for _ in range(data.draw(st.integers(1, 4))):
        flipped[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    read(bytes(flipped))
