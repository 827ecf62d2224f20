"""Files are whole and honest or not there at all: round trips, damage, hostile contents, full disks and kills."""

from __future__ import annotations

import ast
import errno
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_training import bits, blobs, network

import minikd
from minikd import SGD, Adam, CheckpointError, History, cross_entropy, fit
from minikd import checkpoint as checkpoint_module
from minikd.backend import to_numpy
from minikd.checkpoint import load_arrays, save_arrays, write_atomically
from minikd.mlp import MLP

pytestmark = pytest.mark.extras

PACKAGE = Path(minikd.__file__).parent


def train(path: Path, model: MLP | None = None, epochs: int = 3, **options: Any) -> History:
    """The run whose checkpoint these tests damage."""
    x, labels = blobs()
    return fit(model or network(), x, labels, loss=cross_entropy, epochs=epochs, checkpoint=path, **options)


class Interrupted(Exception):
    """Stops a run after two epochs."""


def interrupt(model: MLP, history: History) -> None:
    """A callback that stops a run after two epochs."""
    if len(history) == 2:
        raise Interrupted


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's checkpoint after two of three epochs, with Adam's state."""
    path = tmp_path_factory.mktemp("good") / "run.safetensors"
    with pytest.raises(Interrupted):
        train(path, callbacks=[interrupt])
    return path


def run(source: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run a Python program that can import the minikd under test."""
    command = [sys.executable, "-c", source, *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)


def environment() -> dict[str, str]:
    """An environment in which a subprocess finds the minikd under test."""
    return {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "OPENBLAS_NUM_THREADS": "1"}


# ---- round trips -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
def test_a_network_comes_back_bit_for_bit(tmp_path: Path, device: str, dtype: str, activation: str) -> None:
    model = MLP((4, 7, 5, 3), activation=activation, dropout=(0.1, 0.0, 0.25), seed=3, device=device, dtype=dtype)
    model.biases[1][...] = 0.5
    model.save(tmp_path / "model")
    for where in dict.fromkeys([device, "cpu"]):
        loaded = MLP.load(tmp_path / "model", device=where)
        assert bits(loaded) == bits(model)
        for name in ("sizes", "activation", "dropout", "dtype", "num_params"):
            assert getattr(loaded, name) == getattr(model, name)
        assert loaded.device == where
    x = blobs()[0]
    assert np.array_equal(to_numpy(MLP.load(tmp_path / "model", device).predict(x)), to_numpy(model.predict(x)))


def test_a_file_from_the_cpu_is_read_onto_the_device(tmp_path: Path, device: str) -> None:
    model = network("cpu", seed=3)
    model.save(str(tmp_path / "model"))
    assert bits(MLP.load(str(tmp_path / "model"), device=device)) == bits(model)


def test_a_loaded_network_can_be_trained_and_its_file_stays_as_it_was(tmp_path: Path, device: str) -> None:
    network(device).save(tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    loaded, original = MLP.load(tmp_path / "model", device), network(device)
    x, labels = blobs()
    for model in (loaded, original):
        fit(model, x, labels, loss=cross_entropy, epochs=2)
    assert bits(loaded) == bits(original)
    assert (tmp_path / "model").read_bytes() == content


def test_the_checkpoint_of_a_run_is_a_model_file(tmp_path: Path, device: str) -> None:
    model = network(device, dropout=0.1)
    history = train(tmp_path / "run", model)
    loaded = MLP.load(tmp_path / "run")
    assert bits(loaded) == bits(model) and loaded.dropout == model.dropout
    arrays, metadata = load_arrays(tmp_path / "run")
    assert set(arrays) == {"theta", "optimizer.m", "optimizer.v"}
    assert json.loads(metadata["training"])["rows"] == history.rows


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 1, 4), (0,), (2, 0)])
def test_arrays_of_any_shape_and_type_come_back(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    save_arrays(tmp_path / "file", {"a": array, "b": array.T}, {})
    arrays, _ = load_arrays(tmp_path / "file")
    for name, expected in (("a", array), ("b", array.T)):
        assert arrays[name].shape == expected.shape and arrays[name].dtype == expected.dtype
        assert np.array_equal(arrays[name], expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.0, 5e-324])
def test_unusual_numbers_come_back_bit_for_bit(tmp_path: Path, xp: Any, value: float) -> None:
    save_arrays(tmp_path / "file", {"a": xp.full(3, value)}, {})
    assert load_arrays(tmp_path / "file")[0]["a"].tobytes() == np.full(3, value).tobytes()


def test_metadata_comes_back_whatever_is_in_it(tmp_path: Path) -> None:
    metadata = {"empty": "", "unicode": "κ → ∞ 🙂", "lines": 'a\nb\t"c"\\', "=": "=", "zero": "a\0b"}
    save_arrays(tmp_path / "file", {}, metadata)
    arrays, loaded = load_arrays(tmp_path / "file")
    assert arrays == {} and {name: loaded[name] for name in metadata} == metadata


def test_a_file_is_plain_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    network().save(tmp_path / "model")
    assert load_file(tmp_path / "model")["theta"].tobytes() == bits(network())


# ---- damage ----------------------------------------------------------------------------------------------------


def header_end(content: bytes) -> int:
    """Where the numbers begin."""
    return 8 + int(struct.unpack("<Q", content[:8])[0])


def assert_refused(path: Path, device: str = "cpu") -> None:
    """Loading and resuming must both refuse the file, name it, and leave the model that was to be resumed alone."""
    with pytest.raises(CheckpointError) as caught:
        MLP.load(path, device)
    assert str(path) in str(caught.value)
    assert_not_resumed(path, device)


def assert_not_resumed(path: Path, device: str = "cpu") -> str:
    """Resuming must refuse the file, name it, and leave model, optimizer and file as they are. Returns the message."""
    model = network(device, seed=8)
    optimizer = Adam(model, 1e-3)
    train_one_epoch(model, optimizer)
    before = everything(model, optimizer)
    content = path.read_bytes() if path.is_file() else None
    with pytest.raises(CheckpointError) as caught:
        train(path, model, optimizer=optimizer, resume=True)
    assert str(path) in str(caught.value)
    assert everything(model, optimizer) == before
    assert content is None or path.read_bytes() == content
    return str(caught.value)


def train_one_epoch(model: MLP, optimizer: Any) -> None:
    """So that neither the weights nor the optimizer's state are those of the start."""
    x, labels = blobs()
    fit(model, x, labels, loss=cross_entropy, epochs=1, optimizer=optimizer)


def everything(model: MLP, optimizer: Any) -> list[Any]:
    """All that a resumed run could have changed."""
    state = optimizer.state()
    return [bits(model), optimizer.lr, state.pop("t"), *(to_numpy(vector).tobytes() for vector in state.values())]


def test_the_undamaged_file_is_accepted(good: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(good.read_bytes())
    MLP.load(tmp_path / "copy")
    model = network(seed=8)
    assert len(train(tmp_path / "copy", model, resume=True)) == 3
    alone = network()
    train(tmp_path / "alone", alone)
    assert bits(model) == bits(alone)


def test_a_file_cut_short_anywhere_is_refused(good: Path, tmp_path: Path) -> None:
    content, path = good.read_bytes(), tmp_path / "cut"
    end = header_end(content)
    places = {len(content) * k // 20 for k in range(20)} | {0, 1, 7, 8, 9, end - 1, end, end + 1, len(content) - 1}
    for length in sorted(places):
        path.write_bytes(content[:length])
        assert_refused(path)


def test_a_small_file_cut_short_at_every_byte_is_refused(tmp_path: Path) -> None:
    MLP((2, 3)).save(tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    for length in range(len(content)):
        (tmp_path / "model").write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            MLP.load(tmp_path / "model")


def test_a_flipped_bit_is_found_in_every_byte_of_a_small_file(tmp_path: Path) -> None:
    MLP((2, 3)).save(tmp_path / "model")
    content, rng = bytearray((tmp_path / "model").read_bytes()), random.Random(0)
    for position in range(len(content)):
        bit = 1 << rng.randrange(8)
        content[position] ^= bit
        (tmp_path / "model").write_bytes(content)
        with pytest.raises(CheckpointError):
            MLP.load(tmp_path / "model")
        content[position] ^= bit


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"F32", b"I32"), (b"[2,3]", b"[3,2]"), (b"[2,3]", b"[1,6]"), (b'"first"', b'"other"')],
)
def test_the_same_numbers_under_another_type_shape_or_name_are_found(tmp_path: Path, old: bytes, new: bytes) -> None:
    save_arrays(tmp_path / "file", {"first": np.ones((2, 3), np.float32)}, {})
    content = (tmp_path / "file").read_bytes()
    assert content.count(old) == 1
    (tmp_path / "file").write_bytes(content.replace(old, new))
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_arrays(tmp_path / "file")


def test_metadata_cannot_be_changed_in_place(tmp_path: Path) -> None:
    network(activation="relu").save(tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content.replace(b"relu", b"gelu"))
    with pytest.raises(CheckpointError, match="SHA-256"):
        MLP.load(tmp_path / "file")


def test_hundreds_of_random_flips_in_a_checkpoint_are_found(good: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(300):
        content = bytearray(good.read_bytes())
        for _ in range(rng.choice([1, 1, 1, 2, 10])):
            content[rng.randrange(len(content))] ^= rng.randrange(1, 256)
        (tmp_path / "flipped").write_bytes(content)
        assert_refused(tmp_path / "flipped")


def test_more_bytes_at_the_end_are_found(good: Path, tmp_path: Path) -> None:
    for extra in (b"\0", b"a", good.read_bytes()):
        (tmp_path / "longer").write_bytes(good.read_bytes() + extra)
        assert_refused(tmp_path / "longer")


@pytest.mark.parametrize("block", [512, 4096])
def test_a_hole_where_a_block_was_not_written_is_found(tmp_path: Path, block: int) -> None:
    model = MLP((40, 100, 10))
    model.theta += 1  # nowhere 0, for a hole is 0
    model.save(tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    for start in range(0, len(content), block):
        (tmp_path / "model").write_bytes(
            content[:start] + bytes(len(content[start:][:block])) + content[start + block :]
        )
        with pytest.raises(CheckpointError, match="model"):
            MLP.load(tmp_path / "model")


# ---- hostile files ---------------------------------------------------------------------------------------------

DELETE: Any = object()
BOMB = "[" * 100_000


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with the entries of `new`; those that are DELETE are gone."""
    return {name: value for name, value in {**old, **new}.items() if value is not DELETE}


def forge(good: Path, path: Path, metadata: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """The good checkpoint with other contents, and a checksum that fits them: damage that somebody means.

    A dictionary in `metadata` changes entries of the JSON text of that name.
    """
    old_arrays, old = load_arrays(good)
    texts = {
        name: json.dumps(changed(json.loads(old[name]), value)) if isinstance(value, dict) else value
        for name, value in metadata.items()
    }
    new_arrays = {name: value(old_arrays) if callable(value) else value for name, value in arrays.items()}
    save_arrays(path, changed(old_arrays, new_arrays), changed(old, texts))


def mlp(**entries: Any) -> dict[str, Any]:
    """Other contents of the JSON text that describes the network."""
    return {"metadata": {"mlp": entries}}


def theta(change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    """Other weights."""
    return {"arrays": {"theta": lambda arrays: change(arrays["theta"])}}


def with_entry(index: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    """A function that copies an array but for one entry."""
    return lambda array: np.where(np.arange(array.size) == index, np.float32(value), array)


# Files with a checksum that fits, from which no network can be made.
FORGED_MODELS: dict[str, dict[str, Any]] = {
    "no description": {"metadata": {"mlp": DELETE}},
    "description not JSON": {"metadata": {"mlp": "relu"}},
    "description a list": {"metadata": {"mlp": "[]"}},
    "description a number": {"metadata": {"mlp": "7"}},
    "description empty": {"metadata": {"mlp": ""}},
    "description a nested bomb": {"metadata": {"mlp": BOMB}},
    "description a nested bomb of objects": {"metadata": {"mlp": '{"sizes":' * 100_000}},
    "sizes a nested bomb": {"metadata": {"mlp": '{"sizes": ' + BOMB + "]" * 100_000 + "}"}},
    "sizes missing": mlp(sizes=DELETE),
    "sizes huge": mlp(sizes=[1_000_000_000, 1_000_000_000]),
    "sizes big enough to allocate lazily": mlp(sizes=[100_000, 100_000]),
    "sizes astronomical": mlp(sizes=[10**40, 3]),
    "sizes with too many digits": {"metadata": {"mlp": '{"sizes": [' + "9" * 5000 + ", 3]}"}},
    "sizes infinite": mlp(sizes=[float("inf"), 3]),
    "sizes NaN": mlp(sizes=[float("nan"), 3]),
    "sizes negative": mlp(sizes=[-4, 12, 3]),
    "sizes whose negative parts cancel": mlp(sizes=[4, -12, -20, 3]),
    "sizes zero": mlp(sizes=[4, 0, 3]),
    "sizes strings": mlp(sizes=["4", "12", "3"]),
    "sizes a string": mlp(sizes="4, 12, 3"),
    "sizes floats": mlp(sizes=[4.0, 12.0, 3.0]),
    "sizes booleans": mlp(sizes=[True, True]),
    "sizes nested": mlp(sizes=[[4, 12], 3]),
    "sizes an object": mlp(sizes={"4": 12}),
    "sizes null": mlp(sizes=None),
    "sizes empty": mlp(sizes=[]),
    "sizes of one": mlp(sizes=[99]),
    "sizes of another network": mlp(sizes=[4, 12, 4]),
    "activation missing": mlp(activation=DELETE),
    "activation unknown": mlp(activation="swish"),
    "activation null": mlp(activation=None),
    "activation a list": mlp(activation=["relu"]),
    "activation dunder": mlp(activation="__import__"),
    "dropout missing": mlp(dropout=DELETE),
    "dropout 1": mlp(dropout=1.0),
    "dropout negative": mlp(dropout=[-0.1, 0.0]),
    "dropout NaN": mlp(dropout=float("nan")),
    "dropout for too many layers": mlp(dropout=[0.1, 0.1, 0.1]),
    "dropout a string": mlp(dropout="0.1"),
    "dropout null": mlp(dropout=None),
    "dropout astronomical": mlp(dropout=10**400),
    "dtype missing": mlp(dtype=DELETE),
    "dtype unknown": mlp(dtype="float16"),
    "dtype of another width": mlp(dtype="float64"),
    "dtype null": mlp(dtype=None),
    "dtype a list": mlp(dtype=["float32"]),
    "weights missing": {"arrays": {"theta": DELETE}},
    "weights NaN": theta(with_entry(5, np.nan)),
    "weights infinite": theta(with_entry(-1 + 99, np.inf)),
    "weights too few": theta(lambda array: array[:-1]),
    "weights too many": theta(lambda array: np.append(array, array[:1])),
    "weights none": theta(lambda array: array[:0]),
    "weights a matrix": theta(lambda array: array[None]),
    "weights a single number": theta(lambda array: array[0]),
    "weights float64": theta(lambda array: array.astype("float64")),
    "weights float16": theta(lambda array: array.astype("float16")),
    "weights integers": theta(lambda array: array.astype("int32")),
    "weights booleans": theta(lambda array: array > 0),
    "weights complex": theta(lambda array: array.astype("complex64")),
}

# Files with a checksum that fits and a good network, but nothing that a run could be resumed from.
FORGED_RUNS: dict[str, dict[str, Any]] = {
    "no run": {"metadata": {"training": DELETE}},
    "run not JSON": {"metadata": {"training": "{"}},
    "run a list": {"metadata": {"training": "[]"}},
    "run a string": {"metadata": {"training": '"settings"'}},
    "run null": {"metadata": {"training": "null"}},
    "run a nested bomb": {"metadata": {"training": BOMB}},
    "settings missing": {"metadata": {"training": {"settings": DELETE}}},
    "settings a list": {"metadata": {"training": {"settings": []}}},
    "settings null": {"metadata": {"training": {"settings": None}}},
    "settings empty": {"metadata": {"training": {"settings": {}}}},
    "steps missing": {"metadata": {"training": {"t": DELETE}}},
    "steps a word": {"metadata": {"training": {"t": "two"}}},
    "steps null": {"metadata": {"training": {"t": None}}},
    "steps infinite": {"metadata": {"training": {"t": float("inf")}}},
    "steps NaN": {"metadata": {"training": {"t": float("nan")}}},
    "steps negative": {"metadata": {"training": {"t": -2}}},
    "history missing": {"metadata": {"training": {"rows": DELETE}}},
    "history a string": {"metadata": {"training": {"rows": "ab"}}},
    "history a number": {"metadata": {"training": {"rows": 2}}},
    "history null": {"metadata": {"training": {"rows": None}}},
    "history of numbers": {"metadata": {"training": {"rows": [1, 2]}}},
    "history longer than the run": {"metadata": {"training": {"rows": [{"epoch": 1, "loss": 1.0, "lr": 1e-3}] * 9}}},
    "seconds missing": {"metadata": {"training": {"seconds": DELETE}}},
    "seconds a word": {"metadata": {"training": {"seconds": "two"}}},
    "state missing": {"arrays": {"optimizer.m": DELETE}},
    "state extra": {"arrays": {"optimizer.u": np.zeros(99, np.float32)}},
    "state of unknown name": {"arrays": {"momentum": np.zeros(99, np.float32)}},
    "state of wrong shape": {"arrays": {"optimizer.v": np.zeros(98, np.float32)}},
    "state a matrix": {"arrays": {"optimizer.v": np.zeros((1, 99), np.float32)}},
    "state NaN": {"arrays": {"optimizer.m": lambda arrays: with_entry(3, np.nan)(arrays["optimizer.m"])}},
    "state infinite": {"arrays": {"optimizer.v": lambda arrays: with_entry(3, np.inf)(arrays["optimizer.v"])}},
    "state too large for its type": {"arrays": {"optimizer.m": np.full(99, 1e300)}},
    "state complex": {"arrays": {"optimizer.m": np.full(99, 1j, np.complex64)}},
    "network of another shape": {
        "metadata": {"mlp": {"sizes": [4, 3], "dropout": 0.0}},
        "arrays": {"theta": np.zeros(15, np.float32)},
    },
    "network of another type": {
        "metadata": {"mlp": {"dtype": "float64"}},
        "arrays": {"theta": np.zeros(99)},
    },
}


def safetensors_bytes(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file by hand: the length of the header, the header, the data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: str = "F32", shape: Any = (4,), stop: int = 16, metadata: Any = None, name: str = "theta") -> bytes:
    """A file with one tensor and, unless told otherwise, metadata like minikd's, but for the checksum."""
    metadata = {"format": "minikd", "version": "1"} if metadata is None else metadata
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, stop]}
    return safetensors_bytes({"__metadata__": metadata, name: entry}, bytes(stop))


class Marker:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


# Anything but a file that minikd wrote. Each is given the path to write to and a good file.
FOREIGN: dict[str, Callable[[Path, Path], Any]] = {
    "missing": lambda path, good: None,
    "in a missing folder": lambda path, good: None,
    "a folder": lambda path, good: path.mkdir(),
    "a link to nowhere": lambda path, good: path.symlink_to("nowhere"),
    "a link to itself": lambda path, good: path.symlink_to(path.name),
    "empty": lambda path, good: path.write_bytes(b""),
    "one byte": lambda path, good: path.write_bytes(b"{"),
    "text": lambda path, good: path.write_text("theta = 1, 2, 3\n" * 100),
    "zeros": lambda path, good: path.write_bytes(bytes(5000)),
    "ones": lambda path, good: path.write_bytes(b"\xff" * 5000),
    "random bytes": lambda path, good: path.write_bytes(random.Random(0).randbytes(5000)),
    "npz": lambda path, good: save_with(np.savez, path, theta=np.zeros(99)),
    "npy": lambda path, good: save_with(np.save, path, np.zeros(99)),
    "pickle": lambda path, good: path.write_bytes(pickle.dumps({"theta": np.zeros(99)})),
    "malicious pickle": lambda path, good: path.write_bytes(pickle.dumps(Marker(path.with_name("executed")))),
    "malicious npz": lambda path, good: save_with(np.savez, path, theta=np.array([Marker(path.with_name("executed"))])),
    "foreign safetensors": lambda path, good: path.write_bytes(
        safetensors_bytes({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8))
    ),
    "foreign metadata": lambda path, good: path.write_bytes(tensor(metadata={"format": "pt"})),
    "no checksum": lambda path, good: path.write_bytes(tensor()),
    "version 2": lambda path, good: path.write_bytes(tensor(metadata={"format": "minikd", "version": "2"})),
    "version of many lines": lambda path, good: path.write_bytes(
        tensor(metadata={"format": "minikd", "version": "1\n" * 9999})
    ),
    "no version": lambda path, good: path.write_bytes(tensor(metadata={"format": "minikd"})),
    "the good file with another version": lambda path, good: path.write_bytes(
        good.read_bytes().replace(b'"version":"1"', b'"version":"9"')
    ),
    "the good file with another format": lambda path, good: path.write_bytes(
        good.read_bytes().replace(b'"format":"minikd"', b'"format":"minikx"')
    ),
    "metadata a number": lambda path, good: path.write_bytes(tensor(metadata={"format": 1})),
    "metadata a list": lambda path, good: path.write_bytes(tensor(metadata=["minikd"])),
    "header of 2^64 - 1 bytes": lambda path, good: path.write_bytes(safetensors_bytes(b"{}", length=2**64 - 1)),
    "header of 2^63 bytes": lambda path, good: path.write_bytes(safetensors_bytes(b"{}", length=2**63)),
    "header of 99 MB": lambda path, good: path.write_bytes(safetensors_bytes(b"{}", length=99_000_000)),
    "header of 0 bytes": lambda path, good: path.write_bytes(safetensors_bytes(b"", b"{}")),
    "header not JSON": lambda path, good: path.write_bytes(safetensors_bytes(b"{'a': 1}")),
    "header not UTF-8": lambda path, good: path.write_bytes(safetensors_bytes(b'{"\xff": 1}')),
    "header a nested bomb": lambda path, good: path.write_bytes(safetensors_bytes(b"[" * 1_000_000)),
    "header a nested bomb of objects": lambda path, good: path.write_bytes(safetensors_bytes(b'{"a":' * 200_000)),
    "tensor of 2^80 numbers": lambda path, good: path.write_bytes(tensor(shape=[2**40, 2**40])),
    "tensor of 2^62 by 0 numbers": lambda path, good: path.write_bytes(tensor(shape=[2**62, 0], stop=0)),
    "tensor of 4 GB in 16 bytes": lambda path, good: path.write_bytes(tensor(shape=[2**30])),
    "tensor of negative shape": lambda path, good: path.write_bytes(tensor(shape=[-4])),
    "tensor of 100 dimensions": lambda path, good: path.write_bytes(tensor(shape=[1] * 99 + [4])),
    "tensor of unknown type": lambda path, good: path.write_bytes(tensor("F31")),
    "tensor of bfloat16": lambda path, good: path.write_bytes(tensor("BF16", stop=8)),
    "tensor of an 8-bit float": lambda path, good: path.write_bytes(tensor("F8_E4M3", stop=4)),
    "tensor of a 6-bit float": lambda path, good: path.write_bytes(tensor("F6_E2M3", stop=3)),
    "tensor of a 4-bit float": lambda path, good: path.write_bytes(tensor("F4", stop=2)),
    "tensor named like a path": lambda path, good: path.write_bytes(tensor(name="../../theta")),
}


def save_with(writer: Callable[..., Any], path: Path, *args: Any, **kwargs: Any) -> None:
    """np.save and np.savez add a suffix to a path, but not to an open file."""
    with open(path, "wb") as file:
        writer(file, *args, **kwargs)


@pytest.fixture
def forged(good: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The hostile file whose name is the test's parameter."""
    name, path = request.param, tmp_path / "hostile.safetensors"
    if name in FOREIGN:
        if name == "in a missing folder":
            path = tmp_path / "missing" / path.name
        FOREIGN[name](path, good)
    else:
        changes = {"metadata": {}, "arrays": {}} | (FORGED_MODELS | FORGED_RUNS)[name]
        forge(good, path, **changes)
    return path


def test_forging_without_a_change_gives_a_file_that_is_accepted(good: Path, tmp_path: Path) -> None:
    forge(good, tmp_path / "forged", {"training": {}, "mlp": {}, "comment": "x" * 100_000}, {})
    MLP.load(tmp_path / "forged")
    model = network(seed=8)
    assert len(train(tmp_path / "forged", model, resume=True)) == 3


@pytest.mark.parametrize("forged", [*FORGED_MODELS, *FOREIGN], indirect=True)
def test_what_holds_no_network_is_refused_quickly_and_in_little_memory(forged: Path) -> None:
    size = forged.stat().st_size if forged.is_file() else 0
    for _ in range(2):  # the first time imports what it needs
        tracemalloc.start()
        started = time.process_time()
        try:
            with pytest.raises(CheckpointError) as caught:
                MLP.load(forged)
            peak, seconds = tracemalloc.get_traced_memory()[1], time.process_time() - started
        finally:
            tracemalloc.stop()
    message = str(caught.value)
    assert str(forged) in message
    assert peak < 100_000 + 20 * size and seconds < 2
    assert "\n" not in message and len(message) < 400 + len(str(forged))
    assert not (forged.parent / "executed").exists()


RESUMABLE_BY_NAME = ("missing", "in a missing folder", "a link to nowhere", "a link to itself")  # there is no file yet


@pytest.mark.parametrize(
    "forged", [n for n in (*FORGED_MODELS, *FORGED_RUNS, *FOREIGN) if n not in RESUMABLE_BY_NAME], indirect=True
)
def test_no_run_is_resumed_from_a_hostile_file_and_nothing_is_changed(forged: Path, device: str) -> None:
    message = assert_not_resumed(forged, device)
    assert "\n" not in message and len(message) < 600 + len(str(forged))
    assert not (forged.parent / "executed").exists()


@pytest.mark.parametrize("forged", FORGED_RUNS, indirect=True)
def test_a_file_with_a_good_network_and_a_bad_run_still_gives_the_network(forged: Path) -> None:
    assert MLP.load(forged).sizes[-1] == 3


def test_a_model_file_is_not_a_run(tmp_path: Path) -> None:
    network().save(tmp_path / "model")
    assert "does not hold a training run" in assert_not_resumed(tmp_path / "model")


def test_a_run_with_another_optimizer_is_not_resumed(tmp_path: Path) -> None:
    model = network()
    train(tmp_path / "run", model, optimizer=SGD(model, 0.1, momentum=0.9))
    assert "optimizer" in assert_not_resumed(tmp_path / "run")


def test_a_checkpoint_error_for_the_file_is_not_given_for_a_device_that_does_not_exist(good: Path) -> None:
    with pytest.raises(ValueError, match="device must be one of cpu, cuda, got 'gpu'"):
        MLP.load(good, device="gpu")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("missing", "cannot read .*: No such file"),
        ("a folder", "cannot read .*directory|cannot read .*folder"),
        ("foreign safetensors", "not one that minikd wrote"),
        ("version 2", "version '?2'?; this minikd reads version 1"),
        ("empty", "not a whole safetensors file"),
        ("no checksum", "SHA-256"),
    ],
)
def test_the_message_says_what_is_wrong(good: Path, tmp_path: Path, name: str, pattern: str) -> None:
    FOREIGN[name](tmp_path / "file", good)
    with pytest.raises(CheckpointError, match=pattern):
        MLP.load(tmp_path / "file")


# ---- nothing is ever unpickled ---------------------------------------------------------------------------------

UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "torch"}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_module_imports_a_pickle_or_allows_one(file: Path) -> None:
    # Two that are about running code of others: a submission, locked up; and joblib, between processes of one user.
    allowed = {"course/sandbox/child.py": {"exec"}, "scale/pool.py": {"joblib"}}.get(
        file.relative_to(PACKAGE).as_posix(), set()
    )
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & UNPICKLERS - allowed
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec", "__import__"} - allowed


# ---- saving is atomic ------------------------------------------------------------------------------------------


class FullDisk:
    """An open file that takes some bytes and then says that the disk is full."""

    def __init__(self, file: Any, error: BaseException) -> None:
        self.file, self.error = file, error

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *details: Any) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: bytes) -> int:
        self.file.write(content[: len(content) // 2])
        raise self.error


def open_on_a_full_disk(error: BaseException, *args: Any, **kwargs: Any) -> FullDisk:
    """What stands in for `open`."""
    return FullDisk(open(*args, **kwargs), error)


def break_writing(monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException) -> None:
    """Let one of the steps of a save fail."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    if where == "open":
        monkeypatch.setattr(checkpoint_module, "open", fail, raising=False)
    elif where == "write":
        monkeypatch.setattr(checkpoint_module, "open", partial(open_on_a_full_disk, error), raising=False)
    else:
        monkeypatch.setattr(os, where, fail)


STEPS = ["open", "write", "fsync", "replace"]


@pytest.mark.parametrize("where", STEPS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_save_that_fails_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, code: int
) -> None:
    path = tmp_path / "model.safetensors"
    network().save(path)
    content = path.read_bytes()
    break_writing(monkeypatch, where, OSError(code, os.strerror(code)))
    with pytest.raises(CheckpointError, match=f"cannot write .*model.safetensors: {os.strerror(code)}"):
        network(seed=1).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    network(seed=1).save(path)
    assert bits(MLP.load(path)) == bits(network(seed=1))


@pytest.mark.parametrize("where", STEPS)
def test_ctrl_c_during_a_save_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path = tmp_path / "model.safetensors"
    network().save(path)
    content = path.read_bytes()
    break_writing(monkeypatch, where, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        network(seed=1).save(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_whose_disk_fills_up_keeps_its_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.safetensors"
    weights = []

    def fill_up(model: MLP, history: History) -> None:
        weights.append(bits(model))
        if len(history) == 2:
            break_writing(monkeypatch, "write", OSError(errno.ENOSPC, "No space left on device"))

    with pytest.raises(CheckpointError, match=r"cannot write .*run.safetensors: No space left on device"):
        train(path, callbacks=[fill_up])
    monkeypatch.undo()
    assert bits(MLP.load(path)) == weights[1]
    model, alone = network(seed=8), network()
    train(path, model, resume=True)
    train(tmp_path / "alone", alone)
    assert bits(model) == bits(alone)


def test_the_numbers_are_on_the_disk_before_the_file_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, name=name, original=original: (order.append(name), original(*args))[1]
        )
    write_atomically(tmp_path / "file", b"content")
    assert order[:2] == ["fsync", "replace"]
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize("place", ["missing/model", "file/model", "folder", "a" * 300, "locked/model"])
def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked").mkdir(mode=0o500)
    path = tmp_path / place
    if place == "locked/model" and os.access(path.parent, os.W_OK):
        pytest.skip("root may write anywhere")
    with pytest.raises(CheckpointError) as caught:
        network().save(path)
    assert str(path) in str(caught.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder", "locked"]


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from minikd import MLP, CheckpointError, cross_entropy, fit

folder = Path(sys.argv[1])
big, small = MLP((50, 50, 3)), MLP((4, 3))
small.save(folder / "model")
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))  # Python ignores SIGXFSZ, so writing more is an OSError
for call in (
    lambda: big.save(folder / "model"),
    lambda: fit(big, np.ones((5, 50)), np.zeros(5, int), loss=cross_entropy, checkpoint=folder / "model"),
):
    try:
        call()
    except CheckpointError as error:
        print(error)
assert (MLP.load(folder / "model").theta == small.theta).all()
print(*(path.name for path in folder.iterdir()))
"""


def test_a_disk_that_is_really_full_leaves_the_old_file(tmp_path: Path) -> None:
    result = run(FULL_DISK, tmp_path)
    assert result.returncode == 0, result.stderr
    first, second, listing = result.stdout.splitlines()
    assert first == second and str(tmp_path / "model") in first and "cannot write" in first
    assert listing == "model"


# Saves over an old file, in a process of its own for every kill: a SIGKILL at the n-th call or return within the save,
# for every n that there is, and one by the system when half of the bytes are written. Then says what the file holds.
SAVE_AND_BE_KILLED = """
import os, resource, signal, sys
from itertools import count
from minikd import MLP

path = sys.argv[1]
old, new = MLP((20, 30, 10)), MLP((20, 30, 10))
old.theta[...], new.theta[...] = 0, 1


def killed(prepare):
    "Whether the system killed the process that saves, before it was done."
    old.save(path)
    child = os.fork()
    if not child:
        prepare()
        new.save(path)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def kill_at(n):
    "Let this process kill itself at the n-th call or return from now on."
    left = n

    def follow(frame, event, argument):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(follow)


def die_half_way():
    "Let the system kill this process when it has written half of the file."
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    half = os.stat(path).st_size // 2
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (half, half))


def held():
    theta = MLP.load(path).theta
    assert len(theta) == new.num_params and (theta == theta[0]).all()
    return int(theta[0])


new.save(path)  # imports what it needs
print("half", killed(die_half_way), held())
for n in count(1):
    if not killed(lambda: kill_at(n)):
        break
    print(n, True, held())
print("end", False, held())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_file(tmp_path: Path) -> None:
    result = run(SAVE_AND_BE_KILLED, tmp_path / "model")
    assert result.returncode == 0, result.stderr
    moments = [line.split() for line in result.stdout.splitlines()]
    assert moments[0] == ["half", "True", "0"] and moments[-1] == ["end", "False", "1"]
    held = [int(value) for _, _, value in moments]
    assert held == sorted(held) and len(moments) > 50  # the old file until the new one takes its name, at one moment
    assert held[-2] == 1  # some kills came after that
