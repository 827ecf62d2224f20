"""Submissions that lie, cheat, attack, or are simply broken; and some that look odd and are right.

Each is a source, put before or after the reference solution of E1 and E4 (or in its place), and what it must earn there:
points of E1 and E4, 5 each. `{good}` stands for the reference solution.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A submission, and what E1 and E4 must earn: the text of solution.py, or the cells of a notebook."""

    name: str
    source: str | bytes | tuple[str, ...]
    e1: float = 0.0
    e4: float = 0.0
    kinds: tuple[str, ...] = ()  # of which each check's outcome must be one


def inside(body: str, name: str = "log_softmax", arguments: str = "z, T") -> str:
    """The reference, in which a function has another body."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"{{good}}\n\n\nright_{name} = {name}\n\n\ndef {name}({arguments}):\n{lines}\n"


# Reaches modules that cannot be imported, by way of one that can: a back door that Python has many of.
FRAME = "def frame(tag, b): return tag + len(b).to_bytes(8, 'big') + b\n"
MODULES = "import collections\nsys = collections._sys\nos = sys.modules['os']\n"

CASES = [
    # ---- ending the process ----
    Case("sys.exit at import", "raise SystemExit(0)\n{good}", kinds=("missing",)),
    Case("sys.exit in a call", inside("raise SystemExit(0)"), e4=0, kinds=("raised",)),
    Case("os._exit at import", MODULES + "os._exit(0)\n{good}", kinds=("died",)),
    Case("os._exit in a call", MODULES + inside("os._exit(0)"), kinds=("died",)),
    Case("BaseException at import", "class E(BaseException): pass\nraise E\n{good}", kinds=("missing",)),
    Case("BaseException in a call", inside("raise KeyboardInterrupt"), kinds=("raised",)),
    Case("an exception that cannot be shown", inside(
        "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E"), kinds=("raised",)),
    Case("segmentation fault", inside("def f(): return f()\nimport types\nf.__code__ = f.__code__.replace(co_stacksize=0, "
                                      "co_code=b'\\x64\\xff' * 40)\nreturn f()"), kinds=("died", "raised")),
    # ---- taking time and space ----
    Case("endless loop at import", "while True: pass\n{good}", kinds=("loading", "missing")),
    Case("endless loop in a call", inside("while True: pass"), kinds=("time", "missing", "died")),
    Case("endless sleep", "import time\n" + inside("time.sleep(1e6)"), kinds=("time", "missing")),
    Case("8 GB", inside("import numpy as np\na = np.ones(2**30)\nreturn right_log_softmax(z, T)"), kinds=("raised", "died")),
    Case("8 GB at import", "a = bytearray(2**33)\n{good}", kinds=("missing", "died")),
    Case("endless recursion", inside("return log_softmax(z, T)"), kinds=("raised", "died")),
    Case("fork bomb", MODULES + "while True: os.fork()\n{good}", kinds=("missing", "died", "loading")),
    Case("double-forked daemon", MODULES + (
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: pass\n    os._exit(0)\n{good}"),
        kinds=("missing", "died")),
    Case("threads", MODULES + inside(
        "threading = sys.modules['threading']\n"
        "[threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start() for _ in range(99)]\n"
        "return right_log_softmax(z, T) * 0"), kinds=("raised", "died", "time", "wrong")),
    Case("80 MB of output", inside("for _ in range(80): print('x' * 10**6)\nraise ValueError"), kinds=("raised",)),
    # ---- forging ----
    Case("forged prints", "print('100/100')\nprint('{{\"score\": 100}}')\ndef log_softmax(z, T): print('passed'); return 'passed'\n",
         kinds=("wrong", "missing")),
    Case("results.json at once", MODULES + "open('/autograder/results/results.json', 'w').write('{{\"score\": 100}}')\n{good}",
         kinds=("missing",)),
    Case("results.json at exit", MODULES + (
        "import atexit\natexit.register(lambda: open('results.json', 'w').write('{{}}'))\n"), kinds=("missing",)),
    Case("pickle on the pipe", MODULES + inside(
        "import pickle\n[os.write(fd, pickle.dumps(100.0)) for fd in range(3, 9)]\nos._exit(0)"), kinds=("raised",)),
    Case("bytes on the pipe", MODULES + inside(
        "for fd in range(3, 16):\n    try: os.write(fd, b'\\x80\\x04K\\x64.' * 100)\n    except OSError: pass\nos._exit(0)"),
        kinds=("protocol", "died")),
    Case("a header that claims 10^13 elements", MODULES + inside(
        "h = b\"\\x93NUMPY\\x01\\x00v\\x00{{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }}\"\n"
        "h = h.ljust(127) + b'\\n'\n"
        "def frame(tag, b): return tag + len(b).to_bytes(8, 'big') + b\n"
        "m = frame(b'L', frame(b'S', b'ok') + frame(b'A', h + bytes(80)))\n"
        "for fd in range(3, 16):\n    try: os.write(fd, m)\n    except OSError: pass\nos._exit(0)"), kinds=("protocol",)),
    Case("a message of 10^15 bytes", MODULES + inside(
        "for fd in range(3, 16):\n    try: os.write(fd, b'A' + (10**15).to_bytes(8, 'big'))\n    except OSError: pass\nos._exit(0)"),
        kinds=("protocol",)),
    Case("a verdict on the pipe", MODULES + inside(
        "def frame(tag, b): return tag + len(b).to_bytes(8, 'big') + b\n"
        "m = frame(b'L', frame(b'S', b'passed') + frame(b'S', b'100'))\n"
        "for fd in range(3, 16):\n    try: os.write(fd, m)\n    except OSError: pass\nos._exit(0)"), kinds=("protocol",)),
    Case("answers before it is asked", MODULES + FRAME + (
        "import numpy as np\nb = sys.modules['io'].BytesIO()\nnp.lib.format.write_array(b, np.zeros((5, 7)), (1, 0))\n"
        "m = frame(b'L', frame(b'S', b'ok') + frame(b'A', b.getvalue()))\n"
        "for fd in range(3, 16):\n    try: os.write(fd, m * 20)\n    except OSError: pass\n{good}"), kinds=("wrong", "protocol")),
    Case("asks for a function that there is not", MODULES + FRAME + inside(
        "m = frame(b'L', frame(b'S', b'callback') + frame(b'S', '\\u00b2'.encode()) + frame(b'L', b''))\n"
        "for fd in range(3, 16):\n    try: os.write(fd, m)\n    except OSError: pass\nos._exit(0)"), kinds=("protocol",)),
    Case("a million values", inside("return [None] * 10**6"), kinds=("protocol", "time", "missing")),
    Case("16 MB for each answer", inside("import numpy as np\nreturn np.zeros(2**21 - 100)"), kinds=("wrong",)),
    Case("more than 16 MB", inside("import numpy as np\nreturn np.zeros(2**21)"), kinds=("protocol",)),
    Case("a text of 15 MB", inside("return 'x' * 15_000_000"), kinds=("wrong",)),
    Case("what terminals obey, in an error", inside("raise ValueError('\\x1b]0;100 of 100\\x07\\x1b[2J\\u202e')"), kinds=("raised",)),
    Case("what terminals obey, in a type", inside("return type('\\x1b[2J', (), {{}})()"), kinds=("wrong",)),
    # ---- numbers that are none ----
    Case("numbers at the edge", inside("import numpy as np\nreturn np.where(z > 0, 1.7e308, -1.7e308)") + (
        "\n\ndef kd_loss(zs, zt, T): return -1.7e308, np.where(zs > 0, 1.7e308, -np.inf)\n"), kinds=("wrong",)),
    Case("object dtype", inside("import numpy as np\nreturn np.array([[object()] * z.shape[1]] * z.shape[0])"), kinds=("wrong",)),
    Case("arrays that lie about equality", inside(
        "import numpy as np\nclass A(np.ndarray):\n    def __eq__(self, o): return True\n    def __le__(self, o): return True\n"
        "    def __sub__(self, o): return np.zeros(self.shape)\n    __rsub__ = __abs__ = lambda self, *a: np.zeros(self.shape)\n"
        "return np.zeros_like(z).view(A)"), kinds=("wrong",)),
    Case("NaN", inside("return z * float('nan')"), kinds=("wrong",)),
    Case("wrong shape", inside("return right_log_softmax(z, T).T.copy()"), kinds=("wrong",)),
    Case("a scalar that would broadcast", inside("return 0.0"), kinds=("wrong",)),
    Case("complex", inside("return right_log_softmax(z, T) + 0j"), kinds=("wrong",)),
    Case("bool", inside("return right_log_softmax(z, T) > 0"), kinds=("wrong",)),
    Case("float32", inside("return right_log_softmax(z, T).astype('float32')"), kinds=("wrong",)),
    Case("nothing", inside("right_log_softmax(z, T)"), kinds=("wrong",)),
    Case("a dictionary", inside("return {{'result': right_log_softmax(z, T)}}"), kinds=("wrong",)),
    Case("a list without end", inside("a = []\na.append(a)\nreturn a"), kinds=("wrong", "raised", "protocol", "died")),
    # ---- changing the world ----
    Case("patched numpy", (
        "import numpy as np\nnp.allclose = np.array_equal = lambda *a, **k: True\nnp.abs = np.max = lambda *a, **k: 0.0\n"
        "np.testing.assert_allclose = lambda *a, **k: None\ndef log_softmax(z, T): return z * 0\n"
        "def kd_loss(zs, zt, T): return 0.0, zs * 0\n"), kinds=("wrong", "raised", "died", "missing")),
    Case("patched builtins", MODULES + (
        "b = sys.modules['builtins']\nb.abs = b.max = b.sum = b.len = lambda *a, **k: 0\nb.isinstance = lambda *a: True\n"
        "def log_softmax(z, T): return 0\n"), kinds=("wrong", "raised", "died", "missing", "protocol")),
    Case("patched modules", MODULES + (
        "for name in list(sys.modules):\n    if 'minikd' in name or 'messages' in name or 'pytest' in name: sys.modules[name] = None\n"
        "def log_softmax(z, T): return z\n"), kinds=("wrong", "missing")),
    Case("the checker's own functions", MODULES + (
        "import types\nfor m in list(sys.modules.values()):\n    for n in ('pack', 'unpack', 'expect', 'run_check', 'Wrong'):\n"
        "        if hasattr(m, n): setattr(m, n, lambda *a, **k: True)\ndef log_softmax(z, T): return z\n"),
        kinds=("wrong", "missing", "protocol", "died", "raised")),
    Case("stack frames", MODULES + inside(
        "f = sys._getframe()\nwhile f is not None:\n    for k, v in list(f.f_locals.items()):\n"
        "        if k in ('want', 'expected', 'reference', 'seed'): return v\n    f = f.f_back\nreturn z"), kinds=("wrong",)),
    Case("gc", MODULES + inside(
        "gc = sys.modules.get('gc')\nfor o in gc.get_objects() if gc else []:\n"
        "    if type(o) is dict and ('want' in o or 'kd' in o): return o\nreturn z"), kinds=("wrong", "raised")),
    Case("ctypes", "import ctypes\nctypes.string_at(0)\n{good}", kinds=("missing",)),
    Case("ctypes by the back door", MODULES + (
        "import numpy as np\nc = np.ctypeslib if hasattr(np, 'ctypeslib') else None\nc.ctypes.string_at(0)\n{good}"),
        kinds=("missing", "died")),
    # ---- help from elsewhere ----
    *[Case(f"uses {name}", f"import {name}\n{name}.{attribute}\n{{good}}", kinds=("missing",)) for name, attribute in (
        ("minikd", "MLP((2, 2))"), ("autograd", "grad(abs)"),
        ("subprocess", "run(['ls'])"), ("socket", "socket()"))],
    Case("imports all of torch", "from torch import *\n{good}", e1=5, e4=5, kinds=("passed",)),
    Case("uses torch", "import torch\ntorch.manual_seed(0)\n{good}", e1=5, e4=5, kinds=("passed",)),
    Case("uses jax", "import jax\njax.numpy.ones(2)\n{good}", e1=5, e4=5, kinds=("passed",)),
    Case("loses with torch", "import torch\n\n\ndef log_softmax(z, T):\n"
         "    return torch.log_softmax(torch.tensor(z) / T, 1).numpy()\n", kinds=("raised",)),
    Case("is of torch", "import torch\n\n\nclass log_softmax(torch.autograd.Function): pass\n", kinds=("missing",)),
    Case("log_softmax of scipy", "from scipy.special import log_softmax\n", kinds=("raised",)),
    Case("imports minikd by the back door", MODULES + (
        "sys.path.extend({folders!r})\n__builtins__['__import__'] = sys.modules['importlib'].__import__\n"
        "from minikd import log_softmax as right\ndef log_softmax(z, T): return right(z, T)\n"), kinds=("missing",)),
    Case("reads the package's source", "source = open({package!r}).read()\n{good}", kinds=("missing",)),
    Case("reads it by the descriptor", MODULES + "fd = os.open({package!r}, 0)\n{good}", kinds=("missing",)),
    Case("the reference's own folder", MODULES + "exec(open({reference!r}).read())\n", kinds=("missing",)),
    Case("numerical differentiation", (
        "import numpy as np\ndef log_softmax(z, T):\n    z = (z - z.max(axis=1, keepdims=True)) / T\n"
        "    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))\n"
        "def loss(zs, zt, T):\n    p, q = log_softmax(zs, T), log_softmax(zt, T)\n    return T**2 * (np.exp(q) * (q - p)).sum(axis=1)\n"
        "def kd_loss(zs, zt, T):\n    d = np.zeros_like(zs)\n    for k in range(zs.shape[1]):\n        h = np.zeros_like(zs); h[:, k] = 1e-5\n"
        "        d[:, k] = (loss(zs + h, zt, T) - loss(zs - h, zt, T)) / 2e-5\n    return loss(zs, zt, T).mean(), d / len(zs)\n"),
        e1=5.0, kinds=("passed", "wrong", "time", "missing", "died")),
    Case("complex steps, which are exact", (
        "import numpy as np\ndef log_softmax(z, T):\n    z = (z - z.real.max(axis=1, keepdims=True)) / T\n"
        "    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))\n"
        "def loss(zs, zt, T):\n    p, q = log_softmax(zs, T), log_softmax(zt, T)\n    return T**2 * (np.exp(q) * (q - p)).sum(axis=1)\n"
        "def kd_loss(zs, zt, T):\n    d = np.zeros_like(zs)\n    for k in range(zs.shape[1]):\n        h = np.zeros(zs.shape, complex); h[:, k] = 1e-30j\n"
        "        d[:, k] = loss(zs + h, zt, T).imag / 1e-30\n    return loss(zs, zt, T).mean(), d / len(zs)\n"),
        e1=5.0, kinds=("passed", "time", "missing", "died")),
    Case("changes what it was given", inside("z[...] = 0\nT = 0\nreturn z"), kinds=("wrong",)),
    Case("remembers earlier answers", (
        "import numpy as np\nseen = []\ndef log_softmax(z, T):\n    seen.append(z)\n    return seen[0]\n"), kinds=("wrong", "missing")),
    Case("weights pasted in", "import numpy as np\nW = np.arange(35.0).reshape(5, 7)\ndef log_softmax(z, T): return W\n",
         kinds=("wrong", "missing")),
    # ---- the grader itself ----
    Case("kills its parent", MODULES + "os.kill(os.getppid(), 9)\n{good}", kinds=("missing",)),
    Case("kills everybody", MODULES + "os.kill(-1, 9)\n{good}", kinds=("missing",)),
    Case("kills through signal", MODULES + "sys.modules['signal'].raise_signal(9)\n{good}", kinds=("missing", "died")),
    Case("writes to its parent", MODULES + "open('/proc/%d/mem' % os.getppid(), 'r+b')\n{good}", kinds=("missing",)),
    Case("listens and connects", MODULES + (
        "s = sys.modules.get('_socket') or sys.modules.get('socket')\ns.socket()\n{good}"), kinds=("missing",)),
    Case("stops its own clock", MODULES + (
        "import types\nr = sys.modules.get('resource')\nr.setrlimit(r.RLIMIT_CPU, (-1, -1))\n{good}"), kinds=("missing",)),
    # ---- notebooks and loads ----
    Case("an await without end", ("async def f():\n    while True: pass\nawait f()", "{good}"), kinds=("loading", "missing")),
    Case("a thousand cells of commands", ("!ls\n" * 300,) * 990 + ("def log_softmax(z, T): return z",), kinds=("wrong", "loading", "missing")),
    Case("a line that takes long to be recognised", ("(" + " " * 300_000 + "x", "def log_softmax(z, T): return z"),
         kinds=("wrong", "loading", "missing")),
    Case("problems without end", ("raise ValueError('x' * 10**7)",) * 900 + ("def log_softmax(z, T): return z",), kinds=("wrong", "loading", "missing")),
    Case("a problem that cannot be shown", ("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E", "x = 1"), kinds=("missing",)),
    Case("problems of others", FRAME + MODULES + (
        "m = frame(b'L', frame(b'S', b'ok') + frame(b'L', frame(b'L', frame(b'S', b'ada.py') + frame(b'S', b'1') + frame(b'S', b'copied'))))\n"
        "for fd in range(3, 16):\n    try: os.write(fd, m)\n    except OSError: pass\n{good}"), kinds=("protocol",)),
    Case("loads of a second", "import time\ntime.sleep(1)\ndef log_softmax(z, T): return z\n", kinds=("wrong", "loading", "missing")),
    Case("imports itself", "import solution\nfrom solution import log_softmax\n{good}", kinds=("missing",)),
    Case("in place of the checker's files", MODULES + (
        "for name in ('messages', 'cells', 'restrictions', 'own', 'guarded'):\n    sys.modules[name] = None\n"
        "g = __builtins__['__import__'].__globals__\ng['own'].clear(), g['guarded'].clear(), g['ALLOWED_MODULES'].append('os')\n"
        "import os\nos.listdir('/')\n{good}"), kinds=("missing",)),
    Case("a library's name", "__name__ = 'numpy'\nimport subprocess\nsubprocess.run(['ls'])\n{good}", kinds=("missing",)),
    Case("right in the first check alone", "n = 0\n" + inside(
        "global n\nn += 1\nreturn right_log_softmax(z, T) if z.shape == (5, 7) and abs(z).max() < 50 else z"), e1=2.5,
        kinds=("passed", "wrong")),
    Case("answers for the next check", MODULES + FRAME + "n = 0\n" + inside(
        "global n\nimport numpy as np\nn += 1\nb = sys.modules['io'].BytesIO()\nnp.lib.format.write_array(b, z, (1, 0))\n"
        "if n == 3:\n    m = frame(b'L', frame(b'S', b'ok') + frame(b'A', b.getvalue()))\n"
        "    for fd in range(3, 16):\n        try: os.write(fd, m * 20)\n        except OSError: pass\nreturn z * 0"), kinds=("wrong", "protocol")),
    # ---- broken files ----
    Case("a syntax error", "def log_softmax(z, T:\n    return z\n{good}", kinds=("missing",)),
    Case("null bytes", b"x = 1\0\n", kinds=("missing",)),
    Case("bad encoding", b"# caf\xe9\ndef log_softmax(z, T): return z\n", kinds=("missing",)),
    Case("nested beyond reason", "x = " + "(" * 5000 + ")" * 5000 + "\n{good}", kinds=("missing", "died")),
    Case("100 MB", b"#" * 100_000_000, kinds=("missing",)),
    Case("an empty file", b"", kinds=("missing",)),
]  # fmt: skip

# Odd, and right: 5 points for each of E1 and E4.
HONEST = [
    Case("strided results", inside("import numpy as np\nout = np.zeros((2 * z.shape[0], 3 * z.shape[1]))[::2, ::3]\n"
                                   "out[...] = right_log_softmax(z, T)\nreturn out"), 5, 5),
    Case("Fortran order", inside("import numpy as np\nreturn np.asfortranarray(right_log_softmax(z, T))"), 5, 5),
    Case("noisy prints", inside("for i in range(3000): print('step', i, '\\x1b[31m')\nreturn right_log_softmax(z, T)"), 5, 5),
    Case("helper classes", (
        "{good}\n\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass Loss:\n    T: float\n    def __call__(self, zs, zt):\n"
        "        return right(zs, zt, self.T)\n\n\nright = kd_loss\n\n\ndef kd_loss(zs, zt, T):\n    return Loss(T)(zs, zt)\n"), 5, 5),
    Case("slow but honest", "import math, time\n" + inside(
        "import numpy as np\ntime.sleep(0.2)\nout = np.zeros_like(z)\nfor i, row in enumerate(z.tolist()):\n    top = max(row)\n"
        "    total = math.log(sum(math.exp((v - top) / T) for v in row))\n"
        "    for k, v in enumerate(row):\n        out[i, k] = (v - top) / T - total\nreturn out") + "\n", 5, 5),
    Case("in place on copies", inside("z = z.copy()\nz -= z.max(axis=1, keepdims=True)\nz /= T\nimport numpy as np\n"
                                      "z -= np.log(np.exp(z).sum(axis=1, keepdims=True))\nreturn z"), 5, 5),
    Case("a subclass that is honest", inside(
        "import numpy as np\nclass A(np.ndarray): pass\nreturn right_log_softmax(z, T).view(A)"), 5, 5),
    Case("much of NumPy", inside(
        "import numpy as np, warnings, statistics\nfrom decimal import Decimal\nwarnings.warn('\\N{{GREEK SMALL LETTER ALPHA}}')\n"
        "a = z[:, :3]\nu, s, v = np.linalg.svd(a)\nnp.fft.fft(s), np.random.default_rng().normal(), np.random.seed(1)\n"
        "np.polynomial.Polynomial([1, 2])(3), np.ma.array(s), np.einsum('ij,ij->i', a, a, optimize=True), np.char.upper('a')\n"
        "np.linalg.solve(a.T @ a + np.eye(3), a.T), np.sort(a, axis=None), np.strings.upper('a'), Decimal(1) / 3\n"
        "return right_log_softmax(z, T)"), 5, 5),
    Case("imports what nothing uses", (
        "import os, sys, json, logging, pytest, torch, jax, minikd, subprocess\nimport matplotlib.pyplot as plt\nimport os.path as p\n"
        "from scipy.special import softmax\nimport pandas as pd\n"
        "def save(path: os.PathLike | None, frame: pd.DataFrame | None = None): plt.plot(json.dumps(sys.argv))\n{good}"), 5, 5),
    Case("is ready for an import to fail", (
        "try:\n    import cupy as np\nexcept ImportError:\n    import numpy as np\n{good}\n\n\n" + inside(
        "try:\n    from scipy.special import log_softmax as f\nexcept ImportError:\n    f = right_log_softmax\nreturn f(z, T)").partition("{good}")[2]), 5, 5),
    Case("a cell with 10^5 lines that are not Python", ("!ls\n" * 100_000, "{good}"), 5, 5),
    Case("a notebook in which all else is wrong", ("1 / 0", "def f(:", "%%perl\nx", "import os\nos.fork()", "raise SystemExit", "{good}", "exit()"), 5, 5),
    Case("a byte order mark", "\ufeff{good}", 5, 5),
    Case("BOM-less CRLF", "{good_crlf}", 5, 5),
]  # fmt: skip
