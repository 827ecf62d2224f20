"""On which device the tests run, and what makes them run the same every time.

pytest                    the tests that take three minutes together, in parallel
pytest -m ""              all tests; `-m slow` for those that the former leaves out
pytest -n 0               in this process alone, for a debugger

pytest                    each test that asks for `device` runs on the CPU and on a strict stand-in for CuPy
                          where a file says PLAIN_TOO = True, also on the CPU without kernels
pytest --device cuda      ... on a real GPU; without one this is an error, not a skip
pytest --device cpu       ... on the CPU alone; likewise --device strict
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

# Before anything imports NumPy: small products on one thread, or tests crawl where another program keeps a core busy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import host_kernels
import strict_cupy as stand_in
from hypothesis import HealthCheck, settings

# Before anything imports matplotlib: no windows.
os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples every time, and no clock: a slow machine is not a failing test. The `device` fixture holds for
# all examples of a test alike, so hypothesis need not worry about it.
settings.register_profile(
    "minikd", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("minikd")

DATA_BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option `--device`."""
    parser.addoption("--device", choices=["cpu", "strict", "cuda"], help="default: cpu and strict, one after the other")


def accept_ctrl_c() -> None:
    """Let the processes that tests start stop at SIGINT, also where a script started the tests in the background.

    A shell lets background jobs ignore SIGINT, and whatever they start ignores it as well.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """A GPU that was asked for and is not there stops the run before it starts."""
    accept_ctrl_c()
    if config.getoption("--device") == "cuda":
        from minikd.backend import get_xp
        from minikd.errors import DeviceError

        try:
            get_xp("cuda").zeros(1).get()
        except DeviceError as error:
            raise pytest.UsageError(f"--device cuda: {error}") from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses `device`, itself or through `xp`, once for each device."""
    if "device" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--device")
        devices = [chosen] if chosen else ["cpu", "strict"]
        if "cpu" in devices and getattr(metafunc.module, "PLAIN_TOO", False) and has_kernels():
            devices.insert(1, "plain")
        metafunc.parametrize("device", devices, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A quick test that a missing package skips must be marked `extras`, or .ci/run would never run it."""
    report = yield
    missing = report.skipped and re.search(r"could not import|not installed|pip install", str(report.longrepr))
    if missing and not any(item.iter_markers("slow")) and not any(item.iter_markers("extras")):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} needs a package: mark it with pytest.mark.extras. {report.longrepr}"
    return report


def has_kernels() -> bool:
    """Whether the CPU's tests run on Numba's kernels; if not, they run on the plain formulas already."""
    return importlib.util.find_spec("numba") is not None and os.environ.get("MINIKD_KERNELS") != "plain"


@pytest.fixture
def strict_cupy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> stand_in.StrictCupy:
    """The stand-in for CuPy, in CuPy's place, with its counters at 0."""
    monkeypatch.setitem(sys.modules, "cupy", stand_in.CUPY)
    monkeypatch.setitem(sys.modules, "cupyx", None)  # a real one would bring the real CuPy back
    stand_in.CUPY.reset_counts()
    if not host_kernels.has_compiler():  # then the plain formulas are what is tested, and test_kernels.py says so
        request.getfixturevalue("plain")
    return stand_in.CUPY


@pytest.fixture(autouse=True, scope="session")
def quiet_kernels() -> None:
    """What a test finds on stderr must not depend on whether Numba has compiled its kernels before."""
    from minikd import fast

    fast.quiet = True


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No kernels, on any device, as with MINIKD_KERNELS=plain."""
    monkeypatch.setenv("MINIKD_KERNELS", "plain")
    yield from found_anew(monkeypatch)


@pytest.fixture
def with_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels wherever there are any, also where the whole run is without: MINIKD_KERNELS=plain pytest."""
    monkeypatch.delenv("MINIKD_KERNELS", raising=False)
    yield from found_anew(monkeypatch)


def found_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels are looked for anew, for a test and after it."""
    from minikd import fast

    fast.forget()
    yield
    monkeypatch.undo()
    fast.forget()


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """What minikd calls the device of this test: "cpu" or "cuda"."""
    if request.param in ("strict", "plain"):
        request.getfixturevalue("strict_cupy" if request.param == "strict" else "plain")
    return "cpu" if request.param in ("cpu", "plain") else "cuda"


@pytest.fixture
def xp(device: str) -> Any:
    """The array library of this test's device."""
    from minikd.backend import get_xp

    return get_xp(device)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run in this process draw nothing; `no_pictures.py` does the same for one of its own."""
    from no_pictures import draw_nothing, report_nothing

    draw_nothing(monkeypatch.setattr)
    report_nothing(monkeypatch.setattr)


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """The folder with the real data sets; tests that need it are skipped where it is missing."""
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("MINIKD_DATA_DIR"):
            if not DATA_BESIDE_THE_CHECKOUT.is_dir():
                pytest.skip("real data: set MINIKD_DATA_DIR to the folder that holds it")
            patch.setenv("MINIKD_DATA_DIR", str(DATA_BESIDE_THE_CHECKOUT))
        yield Path(os.environ["MINIKD_DATA_DIR"])
