"""C files: a network as one file of C99 for a microcontroller, without allocation and with no library except `expf`.

The float file computes z_k = sum_d W_kd x_d + b_k in float32 and supports relu, tanh and sigmoid. The int8 file
computes the integers of int8.py and supports relu. The C code is in templates.c.txt; here it is filled in.

The tables are `const`, so that they stay in flash. Two static buffers hold the hidden layers in turn. They are static
because the linker counts them and reports if RAM does not suffice. A stack, which is often 1 KiB, would overflow
without a message. The disadvantage is that one call must end before the next begins.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from ..backend import to_numpy
from ..checkpoint import write_atomically
from ..checks import check_finite
from ..mlp import MLP
from .int8 import Int8Network

# a = f(z) of ops.py. e^z may become infinite. Then the quotient is 0, which is correct.
ACTIVATIONS = {
    "relu": "z > 0.0f ? z : 0.0f",
    "tanh": "1.0f - 2.0f / (1.0f + expf(2.0f * z))",
    "sigmoid": "1.0f / (1.0f + expf(-z))",
}
_TEXT = Path(__file__).with_name("templates.c.txt").read_text(encoding="utf-8")
TEMPLATES = {part: Template(c) for part, c in re.findall(r"^//// (\w+)\n(.*?)(?=^////|\Z)", _TEXT, re.M | re.S)}


def c_name(path: str | os.PathLike[str]) -> str:
    """A C identifier from the name of a file: "distilled-0.safetensors" gives distilled_0."""
    name = re.sub(r"\W", "_", Path(path).stem, flags=re.ASCII)
    return name if name[:1].isalpha() else f"mlp_{name}"


def write_c(network: MLP | Int8Network, path: str | os.PathLike[str]) -> str:
    """Write a network as C99. Returns its sizes in flash and RAM, in words.

    The names of the functions begin with the name of the file: NAME_forward(x, logits), of floats or int8. An int8 file
    also has NAME_quantise(x) and NAME_dequantise(q), for one number each.

    Parameters
    ----------
    network : MLP or Int8Network
        The network.
    path : str or os.PathLike
        The file.

    Returns
    -------
    str
        The sizes as `cc -Os` and `size` measure them. If these programs are missing, the sizes of the tables alone,
        without the code, and the text says so.

    Raises
    ------
    ValueError
        C does not support the activation, or a parameter is not finite in float32. The message names it.
    CheckpointError
        The file cannot be written.
    """
    if isinstance(network, MLP):
        if network.activation not in ACTIVATIONS and len(network.weights) > 1:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)} in C, got {network.activation!r}")
        with np.errstate(over="ignore"):  # of float64
            check_finite("theta in float32", to_numpy(network.theta).astype(np.float32))
    memory = measured_size(c_source(network, path, "not measured")) or _computed_size(network)
    write_atomically(path, c_source(network, path, memory).encode())
    return memory


def c_source(network: MLP | Int8Network, path: str | os.PathLike[str], memory: str) -> str:
    """The text of the file `path`. Its first comment contains `memory`, the text about sizes."""
    name = c_name(path)
    file = Path(path).name.encode("utf-8", "replace").decode()  # a file's name may be no text
    words = _int8_words(network, name) if isinstance(network, Int8Network) else _float_words(network)
    words |= {
        "name": name,
        "file": file,
        "quoted": shlex.quote(file),
        "macro": f"{name.upper()}_MAIN",
        "memory": memory,
    }
    words |= {"sizes": "-".join(map(str, network.sizes)), "D": network.sizes[0], "K": network.sizes[-1]}
    words["forward"] = Template("void ${name}_forward(const $type x[$D], $type logits[$K])").substitute(words)
    parts = [TEMPLATES["head"].substitute(words), *_tables(network)]
    if isinstance(network, Int8Network):
        parts.append(TEMPLATES["int8"].substitute(words))
    if buffers := [f"static {words['type']} {a}[{size}];\n" for a, size in _buffers(network.sizes).items()]:
        parts.append("".join(["/* The outputs of the hidden layers, which take turns. */\n", *buffers]))
    parts.append(f"{words['forward']}\n{{\n{''.join(_layers(network, words))}}}\n")
    return "\n".join((*parts, TEMPLATES["main"].substitute(words)))


def _float_words(model: MLP) -> dict[str, Any]:
    """The values of the template's fields in a float file."""
    hidden = ACTIVATIONS[model.activation] if len(model.weights) > 1 else ""
    words = {"kind": f"float32, {model.activation}" if hidden else "float32", "type": "float", "hidden": hidden}
    words |= {"include": "#include <math.h>\n" if "expf" in hidden else "", "others": ""}
    return words | {"sum_type": "float", "sum": "z", "cast": "", "read": "number", "logit": "logits[k]"}


def _int8_words(network: Int8Network, name: str) -> dict[str, Any]:
    """The values of the template's fields in an int8 file."""
    words: dict[str, Any] = {"kind": "int8 as TensorFlow Lite specifies it, relu", "type": "int8_t"}
    words |= {"include": "#include <stdint.h>\n", "sum_type": "int32_t", "sum": "acc", "cast": "(int32_t)"}
    words["others"] = f"\nint8_t {name}_quantise(float x);\nfloat {name}_dequantise(int8_t q);"
    for end, grid in (("x", network.inputs), ("r", network.logits)):
        words |= {f"s_{end}": _number(grid.scale), f"z_{end}": grid.zero_point}
    return words | {"read": f"{name}_quantise(number)", "logit": f"{name}_dequantise(logits[k])"}


def _buffers(sizes: tuple[int, ...]) -> dict[str, int]:
    """Name and size of the buffers: one for the odd hidden layers, one for the even ones."""
    return {name: max(found) for name, found in (("h1", sizes[1:-1:2]), ("h2", sizes[2:-1:2])) if found}


def _layers(network: MLP | Int8Network, words: dict[str, Any]) -> list[str]:
    """The loops of the layers."""
    steps, x = list(pairwise(network.sizes)), "x"
    loops = []
    for i, (D, K) in enumerate(steps, 1):
        last = i == len(steps)
        a = "logits" if last else f"h{1 + (i + 1) % 2}"
        if isinstance(network, Int8Network):
            result = f"requantise(acc, m{i}[k], n{i}[k], {network.layers[i - 1].zero_point})"
            what = "round((W x + b) m / 2^n) + z, clamped" + ("" if last else ": relu")
        else:
            result = "z" if last else words["hidden"]
            what = "W x + b" if last else f"{network.activation}(W x + b)"
        own = {"i": i, "what": what, "x": x, "D": D, "a": a, "K": K, "result": result}
        loops.append(TEMPLATES["layer"].substitute(words | own))
        x = a
    return loops


def _tables(network: MLP | Int8Network) -> list[str]:
    """The constants of every layer. A row of weights belongs to one output."""
    if isinstance(network, MLP):
        pairs = zip(network.weights, network.biases, strict=True)
        return [_layer_tables(i, W=to_numpy(W).T, b=to_numpy(b)) for i, (W, b) in enumerate(pairs, 1)]
    return [_layer_tables(i, W=W, b=b, m=m, n=n) for i, (W, b, m, n, *_) in enumerate(network.layers, 1)]


def _layer_tables(i: int, **tables: np.ndarray) -> str:
    K, D = tables["W"].shape
    lines = [f"/* Layer {i}: {D} inputs, {K} outputs; {', '.join(f'{name}{i}' for name in tables)}. */"]
    for name, array in tables.items():
        kind = "float" if array.dtype.kind == "f" else f"{array.dtype}_t"
        if array.ndim == 1:
            lines.append(f"static const {kind} {name}{i}[{K}] = {{\n{_rows(array)}\n}};")
        else:
            rows = "\n".join(f"  {{ /* to output {k} */\n{_rows(row)}\n  }}," for k, row in enumerate(array))
            lines.append(f"static const {kind} {name}{i}[{K}][{D}] = {{\n{rows}\n}};")
    return "\n".join(lines) + "\n"


def _rows(array: np.ndarray) -> str:
    """The numbers of a table, in lines of 16 bytes or 8 larger numbers."""
    numbers = [_number(v) if array.dtype.kind == "f" else str(v) for v in array]
    step = 16 if array.itemsize == 1 else 8
    return "\n".join(f"    {', '.join(numbers[i : i + step])}," for i in range(0, len(numbers), step))


def _number(value: float) -> str:
    """The shortest decimal that is equal to this float32: 0.1f."""
    return f"{np.float32(value)!s}f"


def measured_size(source: str) -> str | None:
    """The sizes of a C file by `cc -std=c99 -Os -c` and `size`, in words. None if one of them is missing or fails."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "net.c").write_text(source, encoding="utf-8")
        command = "cc -std=c99 -Os -c net.c -o net.o && size net.o"
        result = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    titles, *numbers = (line.split()[:3] for line in result.stdout.splitlines() or ["none"])
    if result.returncode or titles != ["text", "data", "bss"]:
        return None
    return f"{_bytes(*map(int, numbers[0]))}, measured by cc -Os and size on {platform.machine()}"


def _computed_size(network: MLP | Int8Network) -> str:
    tables, cell = (network.nbytes, 1) if isinstance(network, Int8Network) else (4 * network.num_params, 4)
    words = _bytes(tables, 0, cell * sum(_buffers(network.sizes).values()))
    return f"{words}, computed from the tables without the code, because cc or size is missing or failed"


def _bytes(text: int, data: int, bss: int) -> str:
    return f"text {text:,}, data {data:,}, bss {bss:,} bytes"
