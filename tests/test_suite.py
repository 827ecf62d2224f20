"""The tests themselves: each has a time limit, Ctrl-C reaches what they start, and none is lost in silence."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import accept_ctrl_c

CI = Path(__file__).parents[1] / ".ci"
ci_is_here = pytest.mark.skipif(not CI.is_dir(), reason="this copy of the tests came without .ci")

HANDLER = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"]


def test_ctrl_c_reaches_what_tests_start_also_where_a_script_ignores_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert subprocess.run(HANDLER, capture_output=True, text=True).stdout == "True\n"
        accept_ctrl_c()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert subprocess.run(HANDLER, capture_output=True, text=True).stdout == "False\n"


def test_every_test_has_a_time_limit(request: pytest.FixtureRequest) -> None:
    assert request.config.pluginmanager.hasplugin("timeout")
    assert 60 <= float(request.config.getini("timeout")) <= 600


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="without this signal the limit ends the whole run")
@pytest.mark.timeout(1)
def test_a_test_that_waits_for_another_process_is_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with pytest.raises(pytest.fail.Exception, match="Timeout"):
            process.wait()
        process.kill()


NEEDS_PACKAGES = """
import pytest

def test_forgotten(): pytest.importorskip("no_such_package")

@pytest.mark.extras
def test_marked(): pytest.importorskip("no_such_package")

def test_skips_for_another_reason(): pytest.skip("this processor has one core")
"""


def test_a_quick_test_that_a_missing_package_skips_must_say_so(tmp_path: Path) -> None:
    (tmp_path / "test_made_up.py").write_text(NEEDS_PACKAGES, encoding="utf-8")
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "conftest", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, "-c", str(here.parent / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True, text=True, cwd=here, env={**os.environ, "PYTHONPATH": str(here)},
    )  # fmt: skip
    assert "1 failed, 2 skipped" in ran.stdout
    assert "test_forgotten needs a package: mark it with pytest.mark.extras" in ran.stdout


@ci_is_here
def test_every_part_of_ci_has_a_floor() -> None:
    parts = re.findall(r"^(?:\w+=\w+ )?tested (\w+) ", (CI / "run").read_text(encoding="utf-8"), re.MULTILINE)
    floor = re.findall(r"^(\w+) (\d+)$", (CI / "floor").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(parts) == 2 and sorted(parts) == sorted(name for name, _ in floor)
    assert all(int(number) > 1000 for _, number in floor)


@ci_is_here
@pytest.mark.parametrize(
    ("part", "command", "code", "words"),
    [
        ("one", "echo '=== 12 passed, 3 skipped in 1s ==='", 0, "one: 12 tests passed, of at least 12"),
        ("one", "echo '=== 11 passed, 13 skipped in 1s ==='", 1, "11 tests passed, but .ci/floor wants at least 12"),
        ("one", "echo '13 passed in all'; echo '=== 2 passed in 1s ==='", 1, "one: 2 tests passed, but"),
        ("one", "echo '=== no tests ran ==='", 1, "one: 0 tests passed, but"),
        ("one", "echo '=== 12 passed, 1 failed ==='; exit 3", 3, "12 passed, 1 failed"),
        ("other", "echo '=== 12 passed in 1s ==='", 1, ".ci/floor has no number for other"),
    ],
)  # fmt: skip
def test_ci_fails_where_fewer_tests_pass_than_its_floor_wants(
    part: str, command: str, code: int, words: str, tmp_path: Path
) -> None:
    found = re.search(r"^tested\(\) \{.*?^\}", (CI / "run").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert found
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "floor").write_text("# A comment.\none 12\n", encoding="utf-8")
    script = f'set -euo pipefail\n{found[0]}\ntested {part} bash -c "$1"\necho the end\n'
    ran = subprocess.run(["bash", "-c", script, "bash", command], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == code and words in ran.stdout + ran.stderr
    assert ("the end" in ran.stdout) == (code == 0)
