"""A strict stand-in for CuPy, so that code which would only work on NumPy fails on a machine without a GPU.

Its `ndarray` holds a NumPy array and shares nothing else with NumPy. Like CuPy's it refuses to become a NumPy
array by accident, refuses to be mixed with one, keeps the result of a sum on the "device" as a 0-d array, and
offers only those functions and keywords that CuPy has. Where CuPy would quietly copy a NumPy array to the GPU
(an index, for instance) the stand-in refuses too: such a copy is a mistake in a training loop.

What CuPy has is written in cupy_api.json, made from an installed CuPy (no GPU needed) with

    python tests/strict_cupy.py --write-api

Looking at a value on the host makes CuPy wait for the GPU; `CUPY.syncs` counts those looks, `CUPY.uploads` the copies
from host to device, and `CUPY.launches`, roughly, the kernels: one for each function, method or kernel that computes.

Elementwise kernels in CUDA really run, compiled for the host (host_kernels.py).
"""

from __future__ import annotations

import functools
import inspect
import json
import operator
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from host_kernels import HostKernel

API_FILE = Path(__file__).with_name("cupy_api.json")
IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
)

# Joining and creating functions take lists; every other function wants an array (or a scalar) as its first argument.
TAKES_A_LIST = (  # noqa: SIM905
    "array asarray asanyarray block broadcast_shapes column_stack concatenate dstack empty full hstack indices ix_ "
    "linalg.multi_dot meshgrid ones ravel_multi_index result_type stack tri unravel_index vstack zeros"
).split()
# These make room, or look at an array in another way, and start nothing on the device.
STARTS_NOTHING = (  # noqa: SIM905
    "asarray atleast_1d atleast_2d broadcast_to diagonal empty empty_like expand_dims lib.stride_tricks.as_strided "
    "lib.stride_tricks.sliding_window_view ndim ravel real reshape result_type shape size squeeze swapaxes "
    "transpose view"
).split()
# The shape of these results depends on the values, so CuPy has to look at them.
LOOKS_AT_VALUES = (  # noqa: SIM905
    "argwhere array_repr array_str array2string bincount compress extract flatnonzero in1d intersect1d isin nonzero "
    "setdiff1d trim_zeros union1d unique"
).split()
# NumPy answers these with a bool; CuPy keeps the answer on the device.
STAYS_ON_DEVICE = {"allclose", "array_equal", "array_equiv"}
# Of cupy.cuda, what a NumPy-like program may need; the whole of it is large.
CUDA_NAMES = (  # noqa: SIM905
    "cuda.Device cuda.Event cuda.Stream cuda.get_current_stream cuda.get_elapsed_time cuda.is_available "
    "cuda.runtime.CUDARuntimeError cuda.runtime.deviceSynchronize cuda.runtime.getDeviceCount"
).split()
# What CUDA has atomic instructions for.
SCATTER_DTYPES = ("int32", "float16", "float32", "float64", "uint32", "uint64")


# ---- what CuPy has ---------------------------------------------------------------------------------------------


@functools.cache
def signature(text: str) -> inspect.Signature:
    """The signature written as in a stub file: 'a, axis=..., *, out=...'."""
    return inspect.signature(eval(f"lambda {text}: None"))


def load_api() -> dict[str, Any]:
    """The table of what CuPy has, as written by `--write-api`."""
    api: dict[str, Any] = json.loads(API_FILE.read_text(encoding="utf-8"))
    return api


def read_wheel_api() -> dict[str, Any]:
    """The same table, read from the CuPy that is installed here. It imports without a GPU."""
    import cupy

    functions, names = {}, []
    for prefix in ("", "lib.stride_tricks.", "linalg.", "random."):
        module = operator.attrgetter(prefix[:-1])(cupy) if prefix else cupy
        for name, value in _public(module):
            if isinstance(value, cupy.ufunc):
                functions[prefix + name] = _ufunc_text(value)
            elif callable(value) and not isinstance(value, type):
                functions[prefix + name] = _function_text(value)
            elif not (prefix and isinstance(value, ModuleType)):
                names.append(prefix + name)
    names += [name for name in CUDA_NAMES if operator.attrgetter(name)(cupy)]
    methods = {name: value for name, value in _public(cupy.ndarray) if callable(value)}
    generator = {name: value for name, value in _public(cupy.random.Generator) if callable(value)}
    ufuncs = {name: _ufunc_methods(value) for name, value in _public(cupy) if isinstance(value, cupy.ufunc)}
    return {
        "version": cupy.__version__,
        "functions": functions,
        "ufunc_methods": {name: " ".join(methods) for name, methods in ufuncs.items() if methods},
        "ndarray": {name: _method_text(value) for name, value in methods.items()},
        "ndarray_attributes": [name for name, _ in _public(cupy.ndarray) if name not in methods],
        "generator": {name: _method_text(value) for name, value in generator.items()},
        "names": sorted(names),
    }


def _public(owner: Any) -> Iterator[tuple[str, Any]]:
    """The public names of a module or class with their values, sorted."""
    for name in dir(owner):
        if not name.startswith("_") and name != "annotations":
            yield name, getattr(owner, name)


def _function_text(function: Any) -> str:
    """The parameters of a function; from the first line of its docstring if it is compiled or takes `**kwargs`."""
    line = (inspect.getdoc(function) or "").split("\n")[0]
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        return _doc_text(line)
    if any(p.kind is p.VAR_KEYWORD for p in parameters) and line.startswith(f"{function.__name__}("):
        return _doc_text(line)
    bare = [p.replace(annotation=p.empty, default=p.default if p.default is p.empty else ...) for p in parameters]
    return str(inspect.Signature(bare))[1:-1].replace("=Ellipsis", "=...")


def _method_text(method: Any) -> str:
    """The parameters of a method, without `self`."""
    try:
        text = _function_text(method)
    except ValueError:
        text = _doc_text(method.__doc__.split("\n")[0])
    return re.sub(r"^self(, )?", "", text)


def _doc_text(line: str) -> str:
    """The parameters in a line such as 'ndarray.sort(self, int axis=-1, kind=None) -> None'."""
    match = re.fullmatch(r"[\w.]+\((.*)\)(?: ->.*)?", line.strip())
    if match is None:
        raise ValueError(f"no signature in {line!r}")
    texts = []
    for parameter in filter(None, (part.strip() for part in match[1].split(","))):
        name = parameter.split("=")[0].split()[-1]  # 'int axis' -> 'axis'
        texts.append(f"{name}=..." if "=" in parameter else name)
    return ", ".join(texts)


def _ufunc_text(ufunc: Any) -> str:
    """The parameters of a ufunc, found by offering it every keyword that a NumPy ufunc has."""
    inputs = ", ".join(f"x{i + 1}" for i in range(ufunc.nin))
    outputs = ", ".join(f"out{i + 1}=..." for i in range(ufunc.nout)) + ", /, *, out" if ufunc.nout > 1 else "/, out"
    taken = []
    for keyword in ("casting", "dtype", "order", "signature", "subok", "where"):
        try:
            ufunc(*[1] * ufunc.nin, **{keyword: None})
        except Exception as error:
            if not str(error).startswith("Wrong arguments"):
                taken.append(keyword)
    return f"{inputs}, {outputs}=..., " + ("*, " if ufunc.nout == 1 else "") + ", ".join(f"{k}=..." for k in taken)


def _ufunc_methods(ufunc: Any) -> list[str]:
    """Which of reduce, accumulate, ... work for a ufunc; CuPy has the others by name only."""

    class Anything:
        """An array that agrees to everything, so that no GPU is needed."""

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *args, **kwargs: None

    methods = []
    for name, arguments in (("accumulate", ()), ("at", (0, 1)), ("reduce", ()), ("reduceat", (0,))):
        try:
            getattr(ufunc, name)(Anything(), *arguments)
        except NotImplementedError:
            continue
        methods.append(name)
    return methods


# ---- between the stand-in and NumPy ----------------------------------------------------------------------------


def _is_foreign(value: Any) -> bool:
    """Whether `value` is an array of another library."""
    return not isinstance(value, (ndarray, np.generic, type)) and hasattr(value, "__array__")


def _lower(value: Any) -> Any:
    """An argument as NumPy wants it. Arrays of NumPy (or anyone else) are refused, as CuPy refuses them."""
    if isinstance(value, ndarray):
        return value._a
    if _is_foreign(value):
        raise TypeError(f"Unsupported type {type(value)}")
    if type(value) in (list, tuple):
        return type(value)(_lower(item) for item in value)
    return value


def _lift(result: Any, *arguments: Any) -> Any:
    """A NumPy result as the stand-in returns it: scalars become 0-d arrays, and an `out` array is itself again."""
    if isinstance(result, (np.ndarray, np.generic)):
        for argument in arguments:
            if isinstance(argument, ndarray) and argument._a is result:
                return argument
            if isinstance(argument, tuple) and any(isinstance(a, ndarray) and a._a is result for a in argument):
                return _lift(result, *argument)
        return _wrap(np.asarray(result))
    if isinstance(result, (list, tuple)):
        items = [_lift(item, *arguments) for item in result]
        return tuple(items) if isinstance(result, tuple) else items
    return result


def _wrap(array: np.ndarray[Any, Any]) -> ndarray:
    """A new stand-in array that holds (and shares the memory of) `array`."""
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > (16 if array.dtype.kind == "c" else 8):
        raise ValueError(f"Unsupported dtype {array.dtype}")
    wrapped = ndarray.__new__(ndarray)
    wrapped._a = array
    return wrapped


@functools.cache
def _bind(name: str, text: str, count: int, *keywords: str) -> None:
    """A TypeError if CuPy's function does not take this number of arguments with these keywords."""
    try:
        signature(text).bind(*range(count), **dict.fromkeys(keywords))
    except TypeError as error:
        raise TypeError(f"cupy.{name}() {error}; it takes ({text})") from None


@functools.cache
def _positional(text: str) -> list[str]:
    """The names of the parameters that can be given by position."""
    return [p.name for p in signature(text).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]


@functools.cache
def _names(function: Callable[..., Any]) -> list[str] | None:
    """The names of a NumPy function's parameters, or None where NumPy does not tell."""
    try:
        return [name for name in inspect.signature(function).parameters if name != "self"]
    except ValueError:
        return None


def _run(target: Callable[..., Any], ours: list[str] | None, text: str, args: Any, kwargs: Any) -> Any:
    """Call NumPy's function with arguments meant for CuPy's, whose parameters can come in another order."""
    theirs = _positional(text)
    ours = theirs if ours is None else ours
    if len(theirs) >= len(args):
        same = next((i for i in range(1, len(args)) if ours[i : i + 1] != theirs[i : i + 1]), len(args))
        kwargs = {**dict(zip(theirs[same : len(args)], args[same:], strict=True)), **kwargs}
        kwargs = {name: value for name, value in kwargs.items() if value is not None or name in ours}
        args = args[:same]
    with np.errstate(all="ignore"):  # a GPU does not warn
        result = target(*[_lower(a) for a in args], **{k: _lower(v) for k, v in kwargs.items()})
    return _lift(result, *args, *kwargs.values())


def _look(times: int = 1) -> None:
    """Count a value that the host waited for."""
    CUPY.syncs += times


def _start(times: int = 1) -> None:
    """Count a kernel that the device was told to run."""
    CUPY.launches += times


# ---- the array -------------------------------------------------------------------------------------------------


class ndarray:
    """An array "on the device". It holds a NumPy array in `_a`, where no honest code looks."""

    __slots__ = ("__weakref__", "_a")
    __hash__ = None  # type: ignore[assignment]
    _a: np.ndarray[Any, Any]
    shape: tuple[int, ...]
    dtype: Any
    ndim: int
    size: int

    def __init__(self, shape: Any, dtype: Any = float, order: str = "C") -> None:
        self._a = _wrap(np.empty(shape, dtype, order))._a  # type: ignore[call-overload]

    # Refusals

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(IMPLICIT)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """What NumPy asks for `numpy_thing + a` and np.exp(a). Only a NumPy scalar may stand beside an array."""
        foreign = [value for value in (*inputs, *kwargs.get("out", ())) if _is_foreign(value)]
        if foreign:
            raise TypeError(f"Unsupported type {type(foreign[0])}")
        if method != "__call__" or kwargs or not any(isinstance(value, np.generic) for value in inputs):
            raise TypeError(f"np.{ufunc.__name__} was called on a CuPy array: use xp.{ufunc.__name__}")
        return getattr(CUPY, ufunc.__name__)(*inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"np.{function.__name__} was called on a CuPy array: use xp.{function.__name__}")

    # What needs the value on the host

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        """A copy of the values as a NumPy array: the one honest way out."""
        _look()
        if out is None:
            return self._a.copy(order)  # type: ignore[arg-type]
        if not isinstance(out, np.ndarray) or out.dtype != self.dtype:
            raise TypeError(f"out must be a numpy.ndarray of {self.dtype}")
        if out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        out[...] = self._a
        return out

    def item(self) -> Any:
        """The only element, as a Python number."""
        return self.get().item()

    def tolist(self) -> Any:
        """The values as nested lists."""
        return self.get().tolist()

    def tobytes(self, order: str = "C") -> bytes:
        """The values as bytes."""
        return bytes(self.get().tobytes(order))

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def __iter__(self) -> Iterator[ndarray]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        _look()
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        return len(self._a)

    def __copy__(self) -> ndarray:
        return _wrap(self._a.copy())

    def __deepcopy__(self, memo: Any) -> ndarray:
        return _wrap(self._a.copy())

    def __reduce__(self) -> Any:
        return _array, (self.get(),)

    def set(self, arr: Any, stream: Any = None) -> None:
        """Copy a NumPy array of the same shape and dtype to the device."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        CUPY.uploads += 1
        self._a[...] = arr

    # Indexing

    def __getitem__(self, key: Any) -> ndarray:
        index = self._index(key)
        if any(isinstance(part, np.ndarray) and part.dtype == bool for part in index):
            _look()  # how many are True?
        _start(any(isinstance(part, np.ndarray) for part in index))
        return _wrap(self._a[index])

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(value, (ndarray, np.generic, bool, int, float, complex)):
            raise TypeError(f"Unsupported type {type(value)}: a CuPy array is filled from CuPy arrays and scalars")
        index = self._index(key)
        if isinstance(value, ndarray) and value.size > 1 and any(isinstance(part, np.ndarray) for part in index):
            cells = np.arange(self.size).reshape(self.shape)[index]
            if np.unique(cells).size != cells.size:
                raise ValueError("an index that is repeated: which of the values CuPy stores is undefined")
        self._a[index] = _lower(value)
        _start()

    def _index(self, key: Any) -> tuple[Any, ...]:
        """An index as NumPy wants it; a trailing ellipsis keeps `a[0]` a view where NumPy would return a scalar."""
        parts = key if isinstance(key, tuple) else (key,)
        if sum(isinstance(part, ndarray) and part.dtype == bool for part in parts) > 1:
            raise IndexError("CuPy supports only one boolean array in an index")
        if any(isinstance(part, list) for part in parts):
            CUPY.uploads += 1
        lowered = tuple(np.asarray(part) if isinstance(part, list) and part else part for part in map(_lower, parts))
        return lowered if any(part is ... for part in parts) else (*lowered, ...)

    # What an array says of itself

    @property
    def flags(self) -> Any:
        """Memory layout: CuPy knows these three, and not `writeable`."""
        flags = self._a.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata)

    @property
    def base(self) -> ndarray | None:
        """The array whose memory this one shares."""
        return None if self._a.base is None else _wrap(np.asarray(self._a.base))

    @property
    def data(self) -> Any:
        """Where the memory is."""
        return SimpleNamespace(ptr=self._a.ctypes.data)

    @property
    def device(self) -> Device:
        """The device that the array is on."""
        return Device()

    @property
    def flat(self) -> Any:
        """Not in the stand-in: on a GPU it is a loop over single elements."""
        raise NotImplementedError("the stand-in for CuPy has no flat: use ravel()")

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        """The same memory, seen as another dtype."""
        return _wrap(self._a.view() if dtype is None else self._a.view(dtype))

    def ptp(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """Maximum minus minimum."""
        return CUPY.ptp(self, axis, out, keepdims)

    def scatter_add(self, slices: Any, value: Any) -> None:
        """Like np.add.at."""
        CUPY.add.at(self, slices, value)

    def scatter_max(self, slices: Any, value: Any) -> None:
        """Like np.maximum.at."""
        CUPY.maximum.at(self, slices, value)

    def scatter_min(self, slices: Any, value: Any) -> None:
        """Like np.minimum.at."""
        CUPY.minimum.at(self, slices, value)


def _operator(name: str, kind: str) -> Callable[..., Any]:
    """An operator of `ndarray`, in one of three kinds: a + b, b + a (reflected) or a += b (inplace)."""

    def operate(self: ndarray, other: Any) -> Any:
        if not isinstance(other, (ndarray, np.generic, bool, int, float, complex)):
            return NotImplemented  # a NumPy array then asks __array_ufunc__
        operands = (other, self) if kind == "reflected" else (self, other)
        return getattr(CUPY, name)(*operands, **({"out": self} if kind == "inplace" else {}))

    return operate


def _give_ndarray_its_operators() -> None:
    """Python's operators. There is no `@=`: with CuPy, `a @= b` makes a new array."""
    arithmetic = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "mod": "remainder"}
    arithmetic |= {"floordiv": "floor_divide", "pow": "power", "lshift": "left_shift", "rshift": "right_shift"}
    arithmetic |= {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
    for short, name in {**arithmetic, "matmul": "matmul", "divmod": "divmod"}.items():
        setattr(ndarray, f"__{short}__", _operator(name, "plain"))
        setattr(ndarray, f"__r{short}__", _operator(name, "reflected"))
    for short, name in arithmetic.items():
        setattr(ndarray, f"__i{short}__", _operator(name, "inplace"))
    comparisons = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater"}
    for short, name in {**comparisons, "ge": "greater_equal"}.items():
        setattr(ndarray, f"__{short}__", _operator(name, "plain"))
    for short, name in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
        setattr(ndarray, f"__{short}__", lambda self, name=name: getattr(CUPY, name)(self))


def _give_ndarray_its_methods(api: dict[str, Any]) -> None:
    """The methods and attributes in the table that are not written out above."""
    for name, text in api["ndarray"].items():
        if name not in vars(ndarray):
            setattr(ndarray, name, _method(name, text))
    for name in api["ndarray_attributes"]:
        if name not in vars(ndarray) and hasattr(np.ndarray, name):
            setattr(ndarray, name, property(lambda self, name=name: _lift(getattr(self._a, name))))


def _method(name: str, text: str) -> Callable[..., Any]:
    """One method of `ndarray`, done by NumPy's method of the same name."""

    def method(self: ndarray, /, *args: Any, **kwargs: Any) -> Any:
        _bind(f"ndarray.{name}", text, len(args), *kwargs)
        if not hasattr(np.ndarray, name):
            raise NotImplementedError(f"the stand-in for CuPy has no ndarray.{name}")
        _look(name in LOOKS_AT_VALUES)
        result = _run(getattr(self._a, name), _names(getattr(np.ndarray, name)), text, args, kwargs)
        _start(name not in STARTS_NOTHING and getattr(result, "_a", None) is not self._a)  # astype may give `self` back
        return result

    method.__name__ = name
    return method


# ---- the functions ---------------------------------------------------------------------------------------------


class ufunc:
    """An elementwise function."""

    def __init__(self, name: str, text: str, methods: str) -> None:
        self.name, self.__name__ = f"cupy_{name}", name
        self._numpy = getattr(np, name)
        self._text = text
        self._methods = methods.split()
        self.nin, self.nout, self.nargs = self._numpy.nin, self._numpy.nout, self._numpy.nargs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _bind(self.__name__, self._text, len(args), *kwargs)
        for value in args[: self.nin]:
            if not isinstance(value, (ndarray, np.generic, bool, int, float, complex)):
                raise TypeError(f"Unsupported type {type(value)}")
        with np.errstate(all="ignore"):
            result = self._numpy(*map(_lower, args), **{k: _lower(v) for k, v in kwargs.items()})
        _start()
        return _lift(result, *args, *kwargs.values())

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        """Apply in place, once for each index."""
        self._need("at")
        if str(a.dtype) not in SCATTER_DTYPES:
            raise TypeError(f"scatter_{self.__name__} only supports {', '.join(SCATTER_DTYPES)}, got {a.dtype}")
        self._numpy.at(a._a, a._index(indices), _lower(b))

    def outer(self, A: Any, B: Any, **kwargs: Any) -> Any:
        """Apply to all pairs."""
        return self(A.reshape(A.shape + (1,) * B.ndim), B, **kwargs)

    def reduce(self, array: ndarray, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        """Sum or product."""
        self._need("reduce")
        return getattr(array, "sum" if self.__name__ == "add" else "prod")(axis, dtype, out, keepdims)

    def accumulate(self, array: ndarray, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        """Running sum or product."""
        self._need("accumulate")
        return getattr(array, "cumsum" if self.__name__ == "add" else "cumprod")(axis, dtype, out)

    def _need(self, method: str) -> None:
        if method not in self._methods:
            raise NotImplementedError(f"`{self.name}.{method}` is not supported yet")


def _function(name: str, text: str) -> Callable[..., Any]:
    """One function of the module, done by NumPy's function of the same name."""
    target: Any = np
    for part in name.split("."):
        target = getattr(target, part, None)

    def function(*args: Any, **kwargs: Any) -> Any:
        _bind(name, text, len(args), *kwargs)
        if not callable(target) or name.startswith(("random.", "cuda.")):
            raise NotImplementedError(f"the stand-in for CuPy has no {name}")
        if args and type(args[0]) in (list, tuple) and name not in TAKES_A_LIST:
            raise TypeError(f"cupy.{name} wants a cupy.ndarray, got {type(args[0])}")
        _look(name in LOOKS_AT_VALUES or (name == "where" and len(args) + len(kwargs) == 1))
        result = _run(target, _names(target), text, args, kwargs)
        _start(name not in STARTS_NOTHING)
        return _wrap(np.asarray(result)) if name in STAYS_ON_DEVICE else result

    function.__name__ = name
    return function


def _array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    **_: Any,
) -> ndarray:
    """cupy.array: from CuPy arrays, and, as one of very few functions, from NumPy arrays and lists."""
    if isinstance(obj, ndarray):
        values = np.array(obj._a, dtype, copy=copy, order=order, ndmin=ndmin)
        return obj if values is obj._a else _wrap(values)
    if copy is False:
        raise ValueError("a copy from the host cannot be avoided")
    CUPY.uploads += 1
    return _wrap(np.array(_lower(obj) if isinstance(obj, (list, tuple)) else obj, dtype, order=order, ndmin=ndmin))


def _asarray(
    a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False
) -> ndarray:
    """cupy.asarray: the same object if it is a CuPy array of that dtype already."""
    return _array(a, dtype, copy, order or "K")


def _ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    """cupy.ascontiguousarray: at least 1-d, as NumPy's."""
    return _array(a, dtype, None, "C", ndmin=1)


def _asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> Any:
    """cupy.asnumpy: NumPy arrays pass through."""
    return a.get(order=order, out=out) if isinstance(a, ndarray) else np.asarray(a, order=order)  # type: ignore[call-overload]


def _get_array_module(*args: Any) -> ModuleType:
    """cupy.get_array_module: CuPy if any argument is a CuPy array, else NumPy."""
    return CUPY if any(isinstance(a, ndarray) for a in args) else np


class ElementwiseKernel(HostKernel):
    """cupy.ElementwiseKernel: runs on arrays of the stand-in, and refuses all others."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for value in args:
            if not isinstance(value, (ndarray, np.generic, bool, int, float, complex)):
                raise TypeError(f"Unsupported type {type(value)}")
        result = super().__call__(*map(_lower, args), **kwargs)
        _start()
        return _lift(result, *args)


def _fuse(*args: Any, **kwargs: Any) -> Any:
    """cupy.fuse as a decorator, with or without arguments: here the function stays what it was."""
    return args[0] if args and callable(args[0]) else lambda function: function


class Generator:
    """cupy.random.Generator: the methods that CuPy has (it cannot shuffle, choose or permute)."""

    def __init__(self, seed: Any = None) -> None:
        self._rng = np.random.default_rng(seed)

    def _draw(self, name: str, text: str, args: Any, kwargs: Any) -> Any:
        _bind(f"random.Generator.{name}", text, len(args), *kwargs)
        given = dict(signature(text).bind(*args, **kwargs).arguments)
        target = getattr(self._rng, name)
        dtype = given.pop("dtype", None) if name in ("uniform", "beta") else None  # NumPy's take none
        result = _lift(target(**{k: _lower(v) for k, v in given.items()}), *given.values())
        _start()
        return result if dtype is None else result.astype(dtype)


def _give_generator_its_methods(api: dict[str, Any]) -> None:
    """The methods in the table."""
    for name, text in api["generator"].items():
        setattr(Generator, name, lambda self, *a, name=name, text=text, **k: self._draw(name, text, a, k))


# ---- the machine -----------------------------------------------------------------------------------------------


class CUDARuntimeError(RuntimeError):
    """What CUDA raises, made from its status number as in CuPy."""

    def __init__(self, status: int) -> None:
        self.status = status
        known = {100: "cudaErrorNoDevice: no CUDA-capable device is detected"}
        super().__init__(known.get(status, f"CUDA error {status}"))


class Waits:
    """Something to wait for, and to use in a `with` block."""

    def synchronize(self) -> None:
        """Wait for the device."""
        _look()

    def __enter__(self) -> Waits:
        return self

    def __exit__(self, *error: Any) -> None:
        return None


class Stream(Waits):
    """A queue of work; work that names no stream goes to `Stream.null`."""

    null: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        """Nothing runs by itself here, so a stream has no state."""


Stream.null = Stream()


class Device(Waits):
    """The one device there is."""

    def __init__(self, device: int = 0) -> None:
        self.id = device


class _NeedsCuda:
    """Kernels in which threads know of each other: the stand-in cannot run them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("the stand-in for CuPy cannot compile CUDA kernels other than ElementwiseKernel")


class StrictCupy(ModuleType):
    """The module itself, with its three counters."""

    syncs: int = 0
    uploads: int = 0
    launches: int = 0

    def reset_counts(self) -> None:
        """Set the counters to 0."""
        self.syncs = self.uploads = self.launches = 0

    def __getattr__(self, name: str) -> Any:  # only called for a name that is not there
        raise AttributeError(f"module 'cupy' has no attribute {name!r}")


def make_module() -> StrictCupy:
    """The stand-in, to be put in `sys.modules["cupy"]`: whatever is in the table, and nothing else."""
    api, cupy = load_api(), StrictCupy("cupy")
    modules: dict[str, Any] = {"": cupy}
    for name in ("lib", "lib.stride_tricks", "linalg", "random", "cuda", "cuda.runtime"):
        parent, _, last = name.rpartition(".")
        modules[name] = ModuleType(f"cupy.{name}")
        setattr(modules[parent], last, modules[name])
    known: dict[str, Any] = {name: _function(name, text) for name, text in api["functions"].items()}
    for name, text in api["functions"].items():
        if text.startswith("x1") and isinstance(getattr(np, name, None), np.ufunc):
            known[name] = ufunc(name, text, api["ufunc_methods"].get(name, ""))
    known |= {name: getattr(np, name) for name in api["names"] if hasattr(np, name) and name not in modules}
    known |= {"array": _array, "asarray": _asarray, "asanyarray": _asarray, "ascontiguousarray": _ascontiguousarray}
    known |= {"asnumpy": _asnumpy, "get_array_module": _get_array_module, "fuse": _fuse, "is_available": lambda: True}
    known |= dict.fromkeys(("RawKernel", "RawModule", "ReductionKernel"), _NeedsCuda)
    known |= {"ElementwiseKernel": ElementwiseKernel}
    known |= {"ndarray": ndarray, "ufunc": ufunc, "random.Generator": Generator, "random.default_rng": Generator}
    known |= {"cuda.Stream": Stream, "cuda.Device": Device, "cuda.get_current_stream": lambda: Stream.null}
    known |= {"cuda.is_available": lambda: True, "cuda.runtime.getDeviceCount": lambda: 1}
    known |= {"cuda.runtime.CUDARuntimeError": CUDARuntimeError, "cuda.runtime.deviceSynchronize": _look}
    for name, value in known.items():
        module, _, last = name.rpartition(".")
        setattr(modules[module], last, value)
    cupy.__version__ = api["version"]  # type: ignore[attr-defined]
    return cupy


if __name__ == "__main__":
    if sys.argv[1:] not in (["--write-api"], ["--print-api"]):
        sys.exit(f"usage: python {sys.argv[0]} --write-api | --print-api")
    table = json.dumps(read_wheel_api(), indent=1) + "\n"
    if sys.argv[1] == "--print-api":
        print(table)
    else:
        API_FILE.write_text(table, encoding="utf-8")
else:
    _give_ndarray_its_operators()
    _give_ndarray_its_methods(load_api())
    _give_generator_its_methods(load_api())
    CUPY = make_module()
