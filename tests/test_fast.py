"""Kernels stand in for the bodies of `@fused` functions where they can, and are never missed where they cannot.

That they compute the same is checked in test_kernels.py.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits, sample, some_labels

from minikd import MLP, Adam, cross_entropy, distillation_loss, fast, losses, ops

pytestmark = pytest.mark.extras

STEP = """
import numpy as np
from minikd import MLP, Adam, distillation_loss, fast

model = MLP((6, 5, 4), seed=1)
optimizer = Adam(model)
x, labels = np.ones((3, 6), "float32"), np.array([0, 1, 2])
for _ in range(3):
    _, dlogits = distillation_loss(model.forward(x, train=True), labels, np.eye(3, 4, dtype="float32"))
    model.backward(dlogits)
    optimizer.step()
"""


def environment(**variables: str) -> dict[str, str]:
    """This process's, without what it says about kernels."""
    kept = {name: value for name, value in os.environ.items() if name != "MINIKD_KERNELS"}
    return {**kept, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), **variables}


def run(code: str, **variables: str) -> tuple[str, str]:
    """Standard output and error of a program."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def fresh(with_kernels: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Kernels as by default; a test may change that and call fast.forget()."""
    return monkeypatch


def step(model: MLP, optimizer: Adam, seed: int) -> float:
    """One training step."""
    x, v = sample(16, 12, seed=seed).astype(model.dtype), sample(16, 5, seed=seed + 1).astype(model.dtype)
    loss, dlogits = distillation_loss(model.forward(x, train=True), some_labels(16, 5), v)
    model.backward(dlogits)
    optimizer.step()
    return float(loss)


# ---- which runs -------------------------------------------------------------------------------------------------


def test_the_body_is_called_for_what_a_kernel_declines_or_is_not_made_for(fresh: Any) -> None:
    calls = []

    @fast.fused
    def halves(array: Any, factor: float) -> Any:
        calls.append("body")
        return array / 2 * factor

    def kernel(array: Any, factor: float) -> Any:
        calls.append("kernel")
        return NotImplemented if factor == 0 else array * 0.5 * factor

    try:
        halves.kernels[np.ndarray] = kernel
        assert halves(np.ones(2), 3.0).tolist() == [1.5, 1.5] and calls == ["kernel"]
        assert halves(np.ones(2), 0.0).tolist() == [0, 0] and calls[1:] == ["kernel", "body"]
        assert halves(np.float64(1), 1.0) == 0.5 and calls[3:] == ["body"]
        assert halves.body is halves.__wrapped__ and halves.__name__ == "halves"
    finally:
        del fast.FUSED["halves"]


def test_an_array_of_a_kind_of_its_own_goes_to_the_body(fresh: Any, tmp_path: Path) -> None:
    z = np.memmap(tmp_path / "z", "float32", "w+", shape=(4, 3))
    z[...] = sample(4, 3)
    loss, dlogits = cross_entropy(z, some_labels(4, 3))
    expected = losses.cross_entropy.body(np.asarray(z), some_labels(4, 3))
    assert losses.cross_entropy.kernels[np.memmap] is losses.cross_entropy.body
    assert float(loss) == float(expected[0])
    assert_same_bits(np.asarray(dlogits), expected[1])


def test_numba_is_used_where_it_is_installed(fresh: Any) -> None:
    numba = pytest.importorskip("numba")
    assert fast.name() == "numba" and fast.status() == f"Numba {numba.__version__}"
    cross_entropy(sample(4, 3), some_labels(4, 3))
    assert losses.cross_entropy.kernels[np.ndarray].__module__ == "minikd.fast.cpu"


def test_kernels_can_be_turned_off(fresh: Any) -> None:
    fresh.setenv("MINIKD_KERNELS", "plain")
    fast.forget()
    cross_entropy(sample(4, 3), some_labels(4, 3))
    assert losses.cross_entropy.kernels[np.ndarray] is losses.cross_entropy.body
    assert fast.name() == fast.name("cuda") == "plain"
    assert fast.status() == "plain NumPy (MINIKD_KERNELS=plain)"


def test_another_wish_is_refused(fresh: Any) -> None:
    fresh.setenv("MINIKD_KERNELS", "quick")
    fast.forget()
    with pytest.raises(ValueError, match="MINIKD_KERNELS must be one of auto, plain, got 'quick'"):
        fast.status()


def test_without_numba_the_bodies_run_and_the_status_says_what_to_install(fresh: Any) -> None:
    fresh.setitem(sys.modules, "numba", None)
    fresh.delitem(sys.modules, "minikd.fast.cpu", raising=False)
    fast.forget()
    assert step(MLP((12, 8, 5)), Adam(model := MLP((12, 8, 5))), 0) > 0 and model.num_params
    assert fast.name() == "plain"
    assert fast.status() == "plain NumPy (Numba is not installed: pip install 'minikd[fast]')"


def test_a_numba_that_does_not_know_this_python_is_not_used_and_the_status_says_so(fresh: Any, tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs Python 3.9 or less')")
    code = STEP + "print(fast.name(), fast.status(), sep=chr(10))"
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    out, err = run(code, PYTHONPATH=path)
    assert out.splitlines() == ["plain", "plain NumPy (Numba cannot be used: Numba needs Python 3.9 or less)"]
    assert err == ""


def test_importing_minikd_imports_no_numba() -> None:
    out, _ = run("import sys, minikd; print('numba' in sys.modules)")
    assert out.strip() == "False"


# ---- compiling --------------------------------------------------------------------------------------------------


def test_the_first_compilation_is_announced_once_and_kept(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    out, err = run(STEP + "fast.quiet = False", NUMBA_CACHE_DIR=str(tmp_path))
    assert err == "minikd: Numba compiles its kernels, which takes some seconds once\n" and out == ""
    assert run(STEP, NUMBA_CACHE_DIR=str(tmp_path)) == ("", "")  # they are read back from disk


@pytest.mark.parametrize("obstacle", ["no folder", "full disk"])
def test_where_nothing_can_be_kept_kernels_work_all_the_same(obstacle: str, tmp_path: Path) -> None:
    pytest.importorskip("numba")
    variables = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    code = STEP.replace("import numpy", "from minikd import fast; fast.quiet = True\nimport numpy")
    if obstacle == "no folder":
        variables["NUMBA_CACHE_DIR"] = os.devnull
    else:
        code = (
            "from numba.core import caching\n"
            "def save(*args): raise OSError(28, 'No space left on device')\n"
            "caching.IndexDataCacheFile.save = save\n"
        ) + code
    out, err = run(code + "print(fast.name())", **variables)
    assert (out, err) == ("numba\n", "")


# ---- pickles, forks, threads ------------------------------------------------------------------------------------


def test_a_fused_function_can_be_pickled() -> None:
    for function in fast.FUSED.values():
        assert pickle.loads(pickle.dumps(function)) is function


def forked(queue: Any) -> None:
    """Ten steps in a process of its own."""
    model = MLP((12, 8, 5))
    optimizer = Adam(model)
    queue.put([step(model, optimizer, seed) for seed in range(10)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_takes_the_same_steps() -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Queue(), context.Queue()
    forked(here)
    process = context.Process(target=forked, args=(there,))
    process.start()
    assert there.get(timeout=60) == here.get(timeout=60)
    process.join(timeout=60)
    assert process.exitcode == 0


def test_networks_trained_on_several_threads_end_as_on_one(fresh: Any) -> None:
    def train(seed: int) -> np.ndarray:
        model = MLP((12, 8, 5), seed=seed)
        optimizer = Adam(model)
        for i in range(20):
            step(model, optimizer, i)
        return model.theta

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(train, range(8)))
    for seed, theta in enumerate(together):
        assert_same_bits(theta, train(seed))


def test_with_kernels_and_without_training_ends_alike(fresh: Any) -> None:
    results = []
    for kernels in ("auto", "plain"):
        fresh.setenv("MINIKD_KERNELS", kernels)
        fast.forget()
        model = MLP((12, 8, 5), dtype="float64", dropout=0.2, activation="gelu")
        optimizer = Adam(model, 0.01)
        losses_seen = [step(model, optimizer, seed) for seed in range(20)]
        results.append((model.theta, np.array(losses_seen)))
    for got, wanted in zip(*results, strict=True):
        assert_close(got, wanted, 1e-9)
    assert ops.bias_activation.kernels
