"""The array decides the library, and a GPU that is asked for and absent is an error that says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minikd.backend import get_xp, to_device, to_numpy, xp_of
from minikd.errors import DeviceError, MinikdError

pytestmark = pytest.mark.extras

# ---- where things are ------------------------------------------------------------------------------------------


def test_each_device_has_its_library(device: str, xp: Any) -> None:
    assert get_xp(device) is xp
    assert xp.__name__ == {"cpu": "numpy", "cuda": "cupy"}[device]


def test_an_array_knows_its_library(device: str, xp: Any) -> None:
    assert xp_of(xp.ones(3)) is xp
    assert xp_of(xp.ones(3).sum()) is xp


@pytest.mark.parametrize("value", [np.ones(2), np.float32(1), 1.0, 1, [1, 2], None, "text"])
def test_what_is_not_a_cupy_array_counts_as_numpys(device: str, value: Any) -> None:
    assert xp_of(value) is np


def test_to_numpy_brings_values_to_the_host(xp: Any) -> None:
    host = to_numpy(xp.arange(6, dtype=xp.float32).reshape(2, 3).T)
    assert type(host) is np.ndarray and host.dtype == np.float32
    assert host.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_to_numpy_keeps_a_numpy_array_as_it_is(device: str) -> None:
    host = np.arange(3)
    assert to_numpy(host) is host


def test_to_numpy_of_a_gpu_array_is_a_copy(strict_cupy: Any) -> None:
    on_device = strict_cupy.ones(3)
    to_numpy(on_device)[:] = 5
    assert on_device.tolist() == [1, 1, 1]


def test_to_device_brings_values_there_and_keeps_their_type(device: str, xp: Any) -> None:
    for host in (np.arange(6, dtype=np.float32).reshape(2, 3), np.array([True, False]), np.zeros((0, 2), np.int32)):
        there = to_device(host, device)
        assert isinstance(there, xp.ndarray) and there.dtype == host.dtype and there.shape == host.shape
        assert to_numpy(there).tolist() == host.tolist()


def test_to_device_keeps_an_array_that_is_there_already(device: str, xp: Any) -> None:
    there = xp.ones(3)
    assert to_device(there, device) is there


def test_to_device_brings_a_gpu_array_back_to_the_cpu(xp: Any) -> None:
    host = to_device(xp.arange(3), "cpu")
    assert type(host) is np.ndarray and host.tolist() == [0, 1, 2]


def test_an_array_on_the_gpu_is_not_looked_at_when_it_is_there_already(strict_cupy: Any) -> None:
    there = to_device(np.ones(3), "cuda")
    to_device(there, "cuda")
    xp_of(there)
    assert (strict_cupy.uploads, strict_cupy.syncs) == (1, 0)


# ---- no such device --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpu", "CPU", "cuda:0", "", "numpy"])
def test_an_unknown_device_is_a_value_error_that_lists_the_known(name: str) -> None:
    for call in (get_xp, lambda name: to_device(np.ones(2), name)):
        with pytest.raises(ValueError, match=rf"device must be one of cpu, cuda, got '{name}'"):
            call(name)


@pytest.mark.parametrize("value", [None, 0, True, b"cpu", np, ["cpu"]])
def test_a_device_that_is_no_name_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="device must be a name, got "):
        get_xp(value)


def test_cuda_without_cupy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    for call in (get_xp, lambda device: to_device(np.ones(2), device)):
        with pytest.raises(DeviceError, match=r"needs CuPy.*pip install 'minikd\[cuda13\]'.*device='cpu'"):
            call("cuda")


def test_the_cpu_works_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    host = np.ones(3)
    assert get_xp("cpu") is np and xp_of(host) is np and to_numpy(host) is host
    assert to_device(host, "cpu") is host


def test_cuda_without_a_driver_says_what_cuda_says(strict_cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> int:
        raise strict_cupy.cuda.runtime.CUDARuntimeError(100)

    monkeypatch.setattr(strict_cupy.cuda.runtime, "getDeviceCount", no_driver)
    with pytest.raises(DeviceError, match=r"needs an NVIDIA GPU.*no CUDA-capable device is detected.*device='cpu'"):
        get_xp("cuda")


@pytest.mark.parametrize("where", ["import", "array", "kernel", "dependency"])
def test_a_cupy_that_is_installed_but_broken_is_a_device_error_with_its_own_reason(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package cupy that fails as real ones do: at its import, at its first array, or at its first kernel."""
    body = {
        "import": "raise RuntimeError('libnvrtc.so.13 is missing')",
        "dependency": "import fastrlock_that_is_missing",
        "array": "def zeros(n): raise RuntimeError('libnvrtc.so.13 is missing')",
        "kernel": "class A:\n def __add__(self, n): raise RuntimeError('libnvrtc.so.13 is missing')\n"
        "def zeros(n): return A()",
    }[where]
    (tmp_path / "cupy").mkdir()
    gpu = "import types\ncuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=lambda: 1))\n"
    (tmp_path / "cupy" / "__init__.py").write_text(gpu + body)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    reason = "No module named 'fastrlock_that_is_missing'" if where == "dependency" else "libnvrtc.so.13 is missing"
    with pytest.raises(DeviceError, match=rf"a CuPy that works. CuPy says: {reason}. Or use device='cpu'"):
        get_xp("cuda")
    sys.modules.pop("cupy", None)  # the one before is put back


def test_cuda_with_no_gpu_in_the_machine_is_an_error(strict_cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_cupy.cuda.runtime, "getDeviceCount", lambda: 0)
    with pytest.raises(DeviceError, match=r"needs an NVIDIA GPU.*device='cpu'"):
        get_xp("cuda")


def test_a_device_error_is_one_of_minikds() -> None:
    assert issubclass(DeviceError, MinikdError)


# ---- what importing costs --------------------------------------------------------------------------------------


def test_importing_minikd_and_using_it_loads_numpy_and_nothing_heavy() -> None:
    heavy = ["cupy", "matplotlib", "tqdm", "pooch", "safetensors", "torch"]
    script = f"import sys, minikd; minikd.MLP; print('numpy' in sys.modules, [n for n in {heavy} if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    assert answer.stdout.strip() == "True []"


def test_importing_minikd_leaves_the_environment_as_it_is() -> None:
    script = "import os; e = dict(os.environ); import minikd; print(e == os.environ)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    assert answer.stdout.strip() == "True"


def test_every_public_name_can_be_imported_from_minikd_and_an_unknown_one_is_an_error() -> None:
    import minikd

    assert all(hasattr(minikd, name) for name in minikd.__all__)
    assert minikd.optim.cosine
    with pytest.raises(AttributeError, match="nothing"):
        minikd.nothing  # noqa: B018


def test_asking_for_the_cpu_does_not_load_cupy() -> None:
    script = "import sys, numpy, minikd.backend as b; b.to_device(numpy.ones(2), 'cpu'); print('cupy' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    assert answer.stdout.strip() == "False"
