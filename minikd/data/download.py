"""Files from the internet, downloaded once and checked every time they are read.

All files are in one folder: the one that the environment variable MINIKD_DATA_DIR names, or else the user's cache. The
folder may be read-only if the files in it are correct, packed or unpacked, because reading writes nothing. A file that
is missing or damaged is downloaded from the first mirror that delivers a correct one. If another whole archive has its
name (the files of Fashion-MNIST have the names of MNIST's), that one is left alone, and ours is kept beside it.

A download is checked before it gets its name. It is written under a temporary name in the same folder and then renamed,
which the operating system does in one step. So a file under its own name is always complete, even after a killed
process, on a full disk, or with two processes at once.
"""

from __future__ import annotations

import gzip
import os
import re
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError

TIMEOUT = (10.0, 30.0)  # seconds to wait for a connection, and then for each next piece of the file


def plain(raw: bytes) -> tuple[bytes, str]:
    """The bytes as they are, and their SHA-256."""
    import hashlib  # here, not above: `import minikd` should cost little more than NumPy

    return raw, hashlib.sha256(raw).hexdigest()


def gunzip(raw: bytes) -> tuple[bytes, str]:
    """The decompressed bytes, and their SHA-256. Mirrors compress the same content to different bytes.

    Some servers decompress on the way, so bytes that do not start like gzip are returned as they are.
    """
    return plain(gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw)


class OtherFileError(DataError):
    """A complete file has the name of one of a data set, but other content. It is not overwritten, because somebody may
    need it.
    """


class RemoteFile(NamedTuple):
    """A file that can be downloaded.

    `unpack` turns the raw bytes into the content and a SHA-256, which equals `sha256` if the file is correct. It may
    raise anything for a broken file.
    """

    path: str  # below the data folder
    urls: tuple[str, ...]  # the mirrors, in the order in which they are tried
    sha256: str
    unpack: Callable[[bytes], tuple[Any, str]] = plain


def data_dir() -> Path:
    """The folder of all data sets: MINIKD_DATA_DIR if it is set, else the user's cache folder for minikd."""
    folder = os.environ.get("MINIKD_DATA_DIR")
    if folder:
        return Path(folder).expanduser()
    import pooch

    return Path(pooch.os_cache("minikd"))


def read(file: RemoteFile) -> Any:
    """The checked content of a file, as its `unpack` returns it. It is downloaded first if it is missing or damaged.

    DataError, which says what to do, if no mirror delivers the correct file or it cannot be written.
    """
    path = data_dir() / file.path
    own = path.with_name(f"{path.name}.minikd")
    problem, target = "is not there", path
    for place in (path, *([path.with_suffix("")] if path.suffix == ".gz" else []), own):
        try:
            return _check(file, place.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, DataError) as error:
            if place == path:
                problem, target = f"cannot be used ({error})", own if isinstance(error, OtherFileError) else path
    if target == own:
        warnings.warn(f"{path} is left as it is: it is another file of that name. {own} is downloaded", stacklevel=2)
    return _download(file, target, problem)


def _check(file: RemoteFile, raw: bytes) -> Any:
    """The content of `raw`, or DataError if it is not the right file."""
    try:
        content, sha256 = file.unpack(raw)
    except MemoryError:
        raise
    except Exception as error:  # a broken archive makes gzip, zlib and zipfile raise a dozen kinds of exceptions
        raise DataError(f"truncated or corrupt: {type(error).__name__}: {error}") from error
    if sha256 != file.sha256:
        kind = DataError if content is raw else OtherFileError  # an archive that can be unpacked is not damaged
        raise kind(f"wrong content: SHA-256 {sha256[:12]}…, not {file.sha256[:12]}…")
    return content


def _download(file: RemoteFile, path: Path, problem: str) -> Any:
    """The content of `file` from the first mirror that delivers a correct one, saved at `path`."""
    import tempfile

    answers = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        part = Path(name)
    except OSError as error:
        raise DataError(
            f"{path} {problem}, and nothing can be written there: {error}. "
            "Set MINIKD_DATA_DIR to a folder that holds the file, or to one where it may be written"
        ) from error
    try:
        for url in file.urls:
            try:
                _get(url, part, path.name)
                content = _check(file, part.read_bytes())
                _publish(part, path)
                return content
            except (OSError, ValueError, DataError) as error:
                answers.append(f"\n  {url}: {_reason(error)}")
    finally:
        part.unlink(missing_ok=True)
    raise DataError(
        f"{path} {problem}, and no mirror delivered it:{''.join(answers)}\n"
        f"Check the connection and try again; or put the file there by hand (SHA-256 of its content {file.sha256}); "
        "or set MINIKD_DATA_DIR to a folder that has it"
    )


def _get(url: str, part: Path, title: str) -> None:
    """Download `url` to the file `part`, with a progress bar on the standard error stream."""
    import pooch
    from tqdm import tqdm

    # The total is 1 until the server sends the real size: pooch calls bool(bar), which needs a number.
    with tqdm(desc=title, total=1, unit="B", unit_scale=True, ncols=100) as bar:
        # Some servers would compress or decompress on the way; we want the file as it is.
        fetch = pooch.HTTPDownloader(
            progressbar=bar, chunk_size=1 << 16, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"}
        )
        fetch(url, str(part), None)


def _publish(part: Path, path: Path) -> None:
    """Give the finished file its name, in one step, after its bytes are safely on the disk."""
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    part.chmod(0o644)  # temporary files are private, but data need not be
    os.replace(part, path)


def _sweep(path: Path) -> None:
    """Remove what killed downloads of this file left behind: temporary files that have not changed for an hour."""
    for part in path.parent.glob(f".{path.name}.*.part"):
        with suppress(OSError):  # another process may remove the same files
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink()


def _reason(error: Exception) -> str:
    """What went wrong with a mirror, in a few words."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"answered {response.status_code} {response.reason}"
    if isinstance(error, DataError):
        return str(error)
    # The libraries wrap the reason in the place where it happened: "HTTPSConnection(host=…): the reason"))
    return f"{type(error).__name__}: " + re.sub(r"""^.*[)>]: |["']\)+$""", "", str(error))
