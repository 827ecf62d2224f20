"""Downloads that go wrong in every way we could think of: never a wrong file under a right name, always a way out."""

from __future__ import annotations

import errno
import functools
import gzip
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minikd.data import DATASETS, download, fetch
from minikd.data.download import RemoteFile, gunzip, plain, read
from minikd.errors import DataError

ROOT = Path(__file__).resolve().parents[1]
CONTENT = np.random.RandomState(0).bytes(300_000)
PACKED = gzip.compress(CONTENT, mtime=0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Mirror(ThreadingHTTPServer):
    """A server on this machine whose misbehaviour is the path that it is asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.released = threading.Event()  # ends all hanging
        self.asked: Counter[str] = Counter()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{behaviour}"


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        behaviour = self.path.strip("/")
        self.server.asked[behaviour] += 1
        flipped = bytearray(PACKED)
        flipped[len(flipped) // 2] ^= 1
        if behaviour == "silent":
            self.server.released.wait(30)
        elif behaviour in ("404", "500"):
            self.send_error(int(behaviour))
        elif behaviour == "decompressing":
            self.answer(PACKED, **{"Content-Encoding": "gzip"})
        else:
            body = {
                "corrupt": bytes(flipped),
                "short": PACKED[: len(PACKED) // 2],  # and says so: only its content can give it away
                "truncated": PACKED[: len(PACKED) // 2],
                "hanging": PACKED[: len(PACKED) // 2],
                "login": b"<html>Welcome to the hotel's network, please sign in</html>",
                "another": gzip.compress(b"a whole file, but not the one that was asked for"),
                "empty": b"",
            }.get(behaviour, PACKED)
            self.answer(body, len(PACKED) if behaviour in ("truncated", "hanging") else len(body))
            if behaviour == "hanging":
                self.server.released.wait(30)

    def answer(self, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    server = Mirror()
    thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.02))
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, short patience, and no proxy on the way to this machine."""
    monkeypatch.setenv("MINIKD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "TIMEOUT", (0.5, 0.3))
    return tmp_path / "data"


def remote(*urls: str) -> RemoteFile:
    return RemoteFile("set/file.gz", urls, SHA256, gunzip)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def refusing_url() -> str:
    with socket.socket() as free:  # nobody listens on a port that was just given back
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/good"


FAILURES = {
    "404": "answered 404",
    "500": "answered 500",
    "truncated": "IncompleteRead",
    "hanging": "timed out",
    "silent": "timed out",
    "short": "truncated or corrupt",
    "corrupt": "truncated or corrupt",
    "login": "wrong content",
    "another": "wrong content",
    "empty": "wrong content",
}


def test_a_missing_file_is_downloaded_once_and_then_read_from_the_folder(folder: Path, mirror: Mirror) -> None:
    for _ in range(3):
        assert read(remote(mirror.url("good"))) == CONTENT
    assert mirror.asked == {"good": 1}
    assert (folder / "set" / "file.gz").read_bytes() == PACKED
    assert files_in(folder) == ["file.gz"]


def test_a_progress_bar_names_the_file_and_reaches_the_end(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    read(remote(mirror.url("good")))
    bar = capsys.readouterr().err
    assert "file.gz" in bar and "100%" in bar


@pytest.mark.parametrize("behaviour", FAILURES)
def test_a_bad_mirror_ends_in_an_error_that_says_what_to_do_and_leaves_nothing(
    behaviour: str, folder: Path, mirror: Mirror
) -> None:
    with pytest.raises(DataError) as caught:
        read(remote(mirror.url(behaviour)))
    message = str(caught.value)
    for part in (
        str(folder / "set" / "file.gz"),
        mirror.url(behaviour),
        FAILURES[behaviour],
        "try again",
        "MINIKD_DATA_DIR",
    ):
        assert part in message
    assert files_in(folder) == []
    assert read(remote(mirror.url("good"))) == CONTENT


def test_a_refused_connection_ends_in_an_error_that_says_what_to_do(folder: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)is not there.*refused.*MINIKD_DATA_DIR"):
        read(remote(refusing_url()))
    assert files_in(folder) == []


@pytest.mark.parametrize("behaviour", FAILURES)
def test_the_next_mirror_is_tried_when_one_fails(behaviour: str, folder: Path, mirror: Mirror) -> None:
    assert read(remote(refusing_url(), mirror.url(behaviour), mirror.url("good"), mirror.url("never"))) == CONTENT
    assert mirror.asked == {behaviour: 1, "good": 1}
    assert files_in(folder) == ["file.gz"]


def test_the_error_lists_what_each_mirror_answered(mirror: Mirror) -> None:
    with pytest.raises(DataError) as caught:
        read(remote(mirror.url("404"), mirror.url("corrupt"), mirror.url("500")))
    lines = str(caught.value).splitlines()[1:4]
    assert [line.split(": ")[0].strip() for line in lines] == [mirror.url(b) for b in ("404", "corrupt", "500")]
    assert "404" in lines[0] and "corrupt" in lines[1] and "500" in lines[2]


@pytest.mark.parametrize("damage", [b"", PACKED[:1000], PACKED[:-1], PACKED[:2000] + b"x" + PACKED[2001:], b"<html>"])
def test_a_damaged_file_is_never_used_and_is_replaced_when_a_mirror_has_it(
    damage: bytes, folder: Path, mirror: Mirror
) -> None:
    path = folder / "set" / "file.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    with pytest.raises(DataError, match=r"cannot be used \((truncated or corrupt|wrong content)"):
        read(remote(mirror.url("404")))
    assert path.read_bytes() == damage  # whoever put it there may want to look at it
    assert read(remote(mirror.url("good"))) == CONTENT
    assert path.read_bytes() == PACKED


def test_another_file_of_that_name_is_kept_and_the_right_one_put_beside_it(folder: Path, mirror: Mirror) -> None:
    path, theirs = folder / "set" / "file.gz", gzip.compress(b"Fashion-MNIST has the same names")
    path.parent.mkdir(parents=True)
    path.write_bytes(theirs)
    with pytest.warns(UserWarning, match=r"file\.gz is left as it is: .*file\.gz\.minikd is downloaded"):
        assert read(remote(mirror.url("good"))) == CONTENT
    assert path.read_bytes() == theirs and files_in(folder) == ["file.gz", "file.gz.minikd"]
    assert read(remote()) == CONTENT  # from then on without a word


def test_a_file_that_was_unpacked_by_hand_is_read(folder: Path) -> None:
    (folder / "set").mkdir(parents=True)
    (folder / "set" / "file").write_bytes(CONTENT)
    assert read(remote()) == CONTENT
    (folder / "set" / "file").write_bytes(CONTENT[1:])
    with pytest.raises(DataError, match="is not there, and no mirror delivered it"):
        read(remote())


def test_too_little_memory_is_not_taken_for_a_damaged_file(folder: Path, mirror: Mirror) -> None:
    (folder / "set").mkdir(parents=True)
    (folder / "set" / "file.gz").write_bytes(PACKED)

    def unpack(raw: bytes) -> tuple[Any, str]:
        raise MemoryError

    with pytest.raises(MemoryError):
        read(remote(mirror.url("good"))._replace(unpack=unpack))
    assert not mirror.asked


def test_other_gzip_bytes_with_the_same_content_are_right(folder: Path) -> None:
    (folder / "set").mkdir(parents=True)
    (folder / "set" / "file.gz").write_bytes(gzip.compress(CONTENT, compresslevel=0))
    assert read(remote()) == CONTENT


def test_a_server_that_decompresses_on_the_way_is_understood(mirror: Mirror) -> None:
    for _ in range(2):
        assert read(remote(mirror.url("decompressing"))) == CONTENT


def test_reading_writes_nothing_so_the_folder_may_be_read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "set" / "file.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(PACKED)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    before = [(p, p.stat().st_mtime_ns) for p in (folder, path.parent, path)]
    monkeypatch.setattr(download, "_download", None)
    assert read(remote()) == CONTENT
    assert [(p, p.stat().st_mtime_ns) for p, _ in before] == before
    assert files_in(folder) == ["file.gz"]
    path.parent.chmod(0o755)


def test_a_folder_that_cannot_be_written_ends_in_an_error_that_says_what_to_do(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in the way").write_text("a file where a folder should be")  # stops even the superuser
    monkeypatch.setenv("MINIKD_DATA_DIR", str(tmp_path / "in the way"))
    with pytest.raises(DataError, match=r"nothing can be written there.*MINIKD_DATA_DIR"):
        read(remote(mirror.url("good")))
    assert not mirror.asked


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_litter(
    step: str, folder: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "set").mkdir(parents=True)
    (folder / "set" / "file.gz").write_bytes(b"old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, step, full)
        with pytest.raises(DataError, match="No space left on device"):
            read(remote(mirror.url("good")))
    assert (folder / "set" / "file.gz").read_bytes() == b"old"
    assert files_in(folder) == ["file.gz"]


def test_ctrl_c_leaves_no_litter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(url: str, part: Path, title: str) -> None:
        part.write_bytes(PACKED[:1000])
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read(remote("http://127.0.0.1/"))
    assert files_in(folder) == []


def in_another_process(*urls: str) -> subprocess.Popen[str]:
    """A process of its own that reads the file from these mirrors and prints the SHA-256 of what it got."""
    code = (
        "import hashlib; from minikd.data.download import RemoteFile, gunzip, read\n"
        f"content = read(RemoteFile('set/file.gz', {urls!r}, {SHA256!r}, gunzip))\n"
        "print(hashlib.sha256(content).hexdigest())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_several_processes_at_once_all_succeed_and_leave_one_whole_file(folder: Path, mirror: Mirror) -> None:
    processes = [in_another_process(mirror.url("corrupt"), mirror.url("good")) for _ in range(4)]
    results = [process.communicate(timeout=60) for process in processes]
    assert [out.strip() for out, _ in results] == [SHA256] * 4, results
    assert mirror.asked["good"] >= 1
    assert (folder / "set" / "file.gz").read_bytes() == PACKED
    assert files_in(folder) == ["file.gz"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s in vain"
        time.sleep(0.01)


def test_a_kill_in_mid_download_leaves_nothing_that_is_taken_for_whole(folder: Path, mirror: Mirror) -> None:
    process = in_another_process(mirror.url("hanging"))
    wait_for(lambda: any(part.stat().st_size > 0 for part in folder.rglob("*.part")))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    (half,) = folder.rglob("*.part")
    assert not (folder / "set" / "file.gz").exists()

    with pytest.raises(DataError, match="is not there"):
        read(remote(mirror.url("404")))
    assert half.exists()  # young: its writer might be alive
    an_hour_ago = time.time() - 3601
    os.utime(half, (an_hour_ago, an_hour_ago))
    assert read(remote(mirror.url("good"))) == CONTENT
    assert files_in(folder) == ["file.gz"]


def test_fetch_downloads_every_file_of_a_data_set(
    folder: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tuple(RemoteFile(f"set/{i}.gz", (mirror.url("good"),), SHA256, gunzip) for i in range(3))
    monkeypatch.setitem(DATASETS, "set", DATASETS["mnist"]._replace(files=files))
    assert fetch("set") == folder / "set"
    assert files_in(folder) == ["0.gz", "1.gz", "2.gz"]


def test_plain_files_are_checked_byte_by_byte(folder: Path, mirror: Mirror) -> None:
    packed_sha256 = hashlib.sha256(PACKED).hexdigest()
    assert read(RemoteFile("set/file.gz", (mirror.url("good"),), packed_sha256, plain)) == PACKED
    with pytest.raises(DataError, match="wrong content"):
        read(RemoteFile("set/file.gz", (), SHA256, plain))


def test_without_the_variable_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINIKD_DATA_DIR", "~/my data")
    assert download.data_dir() == tmp_path / "my data"
    for unset in (lambda: monkeypatch.setenv("MINIKD_DATA_DIR", ""), lambda: monkeypatch.delenv("MINIKD_DATA_DIR")):
        unset()
        assert download.data_dir().name == "minikd" and download.data_dir() != Path("minikd")
