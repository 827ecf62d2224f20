"""CuPy's ElementwiseKernel without a GPU: the same kernel, compiled for the host by its C++ compiler and run there.

The body of such a kernel is plain C++ in a loop over `i`. The loop here is our own; parameter lists, types,
broadcasting and errors follow CuPy (cupy/_core/_kernel.pyx), but arrays are NumPy's: strict_cupy.py puts its own
around them. In four things it is stricter than a GPU, which would go on with slow or undefined results:

  - float32 that becomes float64 unasked (`0.5 * x`, where T(0.5) was meant) does not compile
  - an index outside a `raw` array is an IndexError
  - arrays that overlap, but not element on element, are refused if one of them is written to
  - the loop runs backwards, because threads do not wait for each other in order
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FLAGS = "-std=c++14 -O1 -shared -fPIC -ffp-contract=off -Wdouble-promotion -Werror=double-promotion".split()  # noqa: SIM905
C_TYPES = {
    "bool": "bool",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
    "float32": "float",
    "float64": "double",
}
MAX_NDIM = 32

PRELUDE = """
#include <cmath>
#include <cstddef>
#define __device__
#define __forceinline__ inline
using namespace std;  // so that exp(float) is found beside C's exp(double), as in CUDA

struct Memory { char* data; ptrdiff_t ndim, shape[32], strides[32]; };

static bool astray;  // whether an index was outside its array

template <typename A> struct Writable { typedef A type; };
template <typename A> struct Writable<const A> { typedef A type; };

template <typename A> class CArray {  // as CuPy's: indexed by position in C order, whatever the strides are
    const Memory* memory;
  public:
    explicit CArray(const Memory* m) : memory(m) {}
    const ptrdiff_t* shape() const { return memory->shape; }
    const ptrdiff_t* strides() const { return memory->strides; }
    ptrdiff_t size() const {
        ptrdiff_t n = 1;
        for (int d = 0; d < memory->ndim; ++d) n *= memory->shape[d];
        return n;
    }
    const A& operator[](ptrdiff_t i) const { return at(i); }
    A& operator[](ptrdiff_t i) { return at(i); }
  private:
    A& at(ptrdiff_t i) const {
        static typename Writable<A>::type nowhere;
        if (i < 0 || i >= size()) { astray = true; return nowhere; }
        ptrdiff_t offset = 0;
        for (int d = memory->ndim; d-- > 0; i /= memory->shape[d]) offset += i % memory->shape[d] * memory->strides[d];
        return *reinterpret_cast<A*>(memory->data + offset);
    }
};

struct CIndexer { ptrdiff_t n; ptrdiff_t size() const { return n; } };
"""


class Memory(ctypes.Structure):
    """Where an array is and how it is laid out, as the prelude above declares it."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("ndim", ctypes.c_ssize_t),
        ("shape", ctypes.c_ssize_t * MAX_NDIM),
        ("strides", ctypes.c_ssize_t * MAX_NDIM),
    )


class Parameter(NamedTuple):
    """One parameter of a kernel: 'T x', 'float32 x', 'raw T x'. `dtype` is None where the type is a letter."""

    name: str
    type: str
    dtype: Any
    raw: bool


def parameters(text: str) -> list[Parameter]:
    """A parameter list, read as CuPy reads it: a type of one letter is a placeholder, any other NumPy's."""
    result = []
    for part in text.strip().split(",") if text else []:
        words = part.split()
        if len(words) < 2 or words[:-2] not in ([], ["raw"]):
            raise ValueError(f"Syntax error: {part}")
        kind, name = words[-2:]
        dtype = None if len(kind) == 1 else np.dtype(kind)
        result.append(Parameter(name, kind if dtype is None else c_type(dtype), dtype, words[0] == "raw"))
    return result


def c_type(dtype: Any) -> str:
    """The C++ name of a NumPy type."""
    if str(dtype) not in C_TYPES:
        raise NotImplementedError(f"the stand-in for CuPy cannot compile kernels for {dtype}")
    return C_TYPES[str(dtype)]


@functools.cache
def compiler() -> str | None:
    """The host's C++ compiler, None where there is none."""
    return next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


def has_compiler() -> bool:
    """Whether kernels can be compiled at all on this machine."""
    return compiler() is not None


@functools.cache
def folder() -> Path:
    """Where the compiled kernels lie until this process ends."""
    path = tempfile.mkdtemp(prefix="minikd-kernels-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


@functools.cache
def build(source: str) -> Any:
    """The function `run` of a C++ source; the same source is compiled once."""
    path = folder() / f"kernel{len(list(folder().glob('*.cpp')))}.cpp"
    path.write_text(source, encoding="utf-8")
    command = [str(compiler()), *FLAGS, str(path), "-o", str(path.with_suffix(".so"))]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if answer.returncode:
        raise RuntimeError(f"the kernel does not compile:\n{answer.stderr}")
    return ctypes.CDLL(str(path.with_suffix(".so"))).run


class HostKernel:
    """cupy.ElementwiseKernel on NumPy arrays."""

    def __init__(
        self,
        in_params: str,
        out_params: str,
        operation: str,
        name: str = "kernel",
        reduce_dims: bool = True,
        preamble: str = "",
        no_return: bool = False,
        return_tuple: bool = False,
    ) -> None:
        if not has_compiler():
            raise NotImplementedError(
                "the stand-in for CuPy cannot compile kernels: there is no C++ compiler (c++, g++, clang++)"
            )
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise ValueError(f'Invalid kernel name: "{name}"')
        self._ins, self._outs = parameters(in_params), parameters(out_params)
        self._params = self._ins + self._outs
        if any(p.name == "i" for p in self._params):
            raise ValueError("Can not use 'i' as a parameter name")
        self.nin, self.nout, self.nargs = len(self._ins), len(self._outs), len(self._params)
        self.name = self.__name__ = name
        self.operation, self.preamble = operation, preamble
        self.reduce_dims, self.no_return, self.return_tuple = reduce_dims, no_return, return_tuple

    def __call__(self, *args: Any, size: int = -1, block_size: int = 128, stream: Any = None, **wrong: Any) -> Any:
        if wrong:
            raise TypeError(f"Wrong arguments {wrong}")
        if block_size <= 0:
            raise ValueError("block_size must be greater than zero")
        if len(args) not in (self.nin, self.nargs):
            raise TypeError(
                f"Wrong number of arguments for {self.name!r}. It must be either {self.nin} or {self.nargs} (with "
                f"outputs), but given {len(args)}."
            )
        shape = self._shape(args, size)
        types = self._types(args)
        outs = self._results(args[self.nin :], shape, types, size != -1)
        if 0 not in shape:
            self._launch([*args[: self.nin], *outs], shape, types)
        if self.no_return:
            return None
        return outs[0] if self.nout == 1 and not self.return_tuple else tuple(outs)

    def _shape(self, args: Sequence[Any], size: int) -> tuple[int, ...]:
        """Over what to loop: `size` if that is given, else what the arrays that are not raw broadcast to."""
        pairs = zip(self._params, args, strict=False)
        shapes = [a.shape for p, a in pairs if isinstance(a, np.ndarray) and not p.raw]
        if size != -1 and shapes:
            raise ValueError("Specified 'size' can be used only if all of the ndarray are 'raw'.")
        if size == -1 and not shapes:
            raise ValueError("Loop size is undecided.")
        return np.broadcast_shapes(*shapes) if shapes else (size,)

    def _types(self, args: Sequence[Any]) -> dict[str, Any]:
        """What the letters stand for: the types of the arrays, results first; a scalar has no say."""
        found: dict[str, Any] = {}
        pairs = list(zip(self._params, args, strict=False))
        for p, a in pairs[self.nin :] + pairs[: self.nin]:
            if not isinstance(a, np.ndarray):
                continue
            wanted = found.setdefault(p.type, a.dtype) if p.dtype is None else p.dtype
            if a.dtype != wanted:
                raise TypeError(f"Type is mismatched. {p.name} {a.dtype} {wanted} {p.type}")
        for p in self._params:
            if p.dtype is None and p.type not in found:
                raise KeyError(p.type)
        return found

    def _results(
        self, given: Sequence[Any], shape: tuple[int, ...], types: dict[str, Any], sized: bool
    ) -> list[np.ndarray]:
        """The arrays to write to: those given, if they fit, or new ones."""
        if not given and not sized and any(p.raw for p in self._outs):
            raise ValueError("Output array size is Undecided")
        for p, a in zip(self._outs, given, strict=bool(given)):
            if not isinstance(a, np.ndarray):
                raise TypeError("Output arguments type must be cupy.ndarray")
            if not p.raw and a.shape != shape:
                raise ValueError("Out shape is mismatched")
        return list(given) or [np.empty(shape, types[p.type] if p.dtype is None else p.dtype) for p in self._outs]

    def _launch(self, args: list[Any], shape: tuple[int, ...], types: dict[str, Any]) -> None:
        """Compile if need be, and run."""
        for k, (p, a) in enumerate(zip(self._params, args, strict=True)):
            if isinstance(a, np.ndarray) and not p.raw:
                args[k] = np.broadcast_to(a, shape)
        self._refuse_overlap(args)
        run = build(self._source([isinstance(a, np.ndarray) for a in args], types))
        values = []
        for p, a in zip(self._params, args, strict=True):
            if isinstance(a, np.ndarray):
                values.append(ctypes.byref(Memory(a.ctypes.data, a.ndim, a.shape, a.strides)))
            else:
                dtype = types[p.type] if p.dtype is None else p.dtype
                if dtype.kind in "iub" and not isinstance(a, int | np.integer | np.bool_):
                    raise TypeError(f"{p.name} is {dtype}, got {a!r}: CuPy would cut it off")
                with np.errstate(all="ignore"):
                    values.append(np.ctypeslib.as_ctypes_type(dtype)(np.array(a, dtype).item()))
        if run(*values, ctypes.c_ssize_t(int(np.prod(shape)))):
            raise IndexError(f"kernel {self.name!r} reads or writes outside an array")

    def _refuse_overlap(self, args: Sequence[Any]) -> None:
        """No thread may write where another reads or writes. What is done with raw arrays cannot be known."""
        pairs = zip(self._params, args, strict=True)
        arrays = [a if isinstance(a, np.ndarray) and not p.raw else None for p, a in pairs]
        for k, out in enumerate(arrays[self.nin :], self.nin):
            if out is None:
                continue
            if any(n > 1 and not stride for n, stride in zip(out.shape, out.strides, strict=True)):
                raise ValueError(f"{self._params[k].name} has several elements in one place")
            for p, a in zip(self._params, arrays, strict=True):
                same = a is not None and (a.ctypes.data, a.strides) == (out.ctypes.data, out.strides)
                if a is not None and not same and np.shares_memory(a, out):
                    raise ValueError(f"{p.name} and {self._params[k].name} overlap, but not element on element")

    def _source(self, is_array: Sequence[bool], types: dict[str, Any]) -> str:
        """The kernel as a C++ function."""
        lines = [f"typedef {c_type(dtype)} {letter};" for letter, dtype in sorted(types.items())] + [self.preamble]
        signature = ", ".join([*self._declarations(is_array), "ptrdiff_t _size"])
        lines += [f'extern "C" int run({signature}) {{', "astray = false;", "const CIndexer _ind = {_size};"]
        elements = []
        for p, array, const in zip(self._params, is_array, [True] * self.nin + [False] * self.nout, strict=True):
            kind = f"const {p.type}" if const else p.type
            if array:
                name = p.name if p.raw else f"_raw_{p.name}"
                lines.append(f"{'const ' * const}CArray<{kind}> {name}(_memory_{p.name});")
                elements += [] if p.raw else [f"{kind} &{p.name} = _raw_{p.name}[i];"]
        lines += ["for (ptrdiff_t i = _size; i-- > 0;) {", *elements, f"{self.operation};", "}", "return astray;", "}"]
        return PRELUDE + "\n".join(lines) + "\n"

    def _declarations(self, is_array: Sequence[bool]) -> Iterator[str]:
        for p, array in zip(self._params, is_array, strict=True):
            yield f"const Memory* _memory_{p.name}" if array else f"const {p.type} {p.name}"
