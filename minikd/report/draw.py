"""The page of `minikd draw`: a reader draws a digit, or begins a word, and teacher and students answer.

It is one file, draw.html, that needs no network. The report has the same as a section, where its 2 MB suffice.
"""

from __future__ import annotations

from pathlib import Path

from .. import __version__
from ..checkpoint import write_atomically
from ..data import Data, load_data
from ..errors import DataError
from ..experiments import compare, sweep
from ..experiments.config import Config
from . import run_plots
from .html import build, finished, networks_of_comparison, networks_of_run
from .page import SECTIONS, own_page
from .samples import Network
from .weights import can_travel, pack_networks

NAME = "draw.html"
ROOM = 12_000_000  # bytes for networks


def draw(folder: Path) -> Path:
    """Make the page of the finished run of distill or compare in `folder`, there, atomically; returns where it is.

    CheckpointError where there is no such run, or an unfinished or damaged one; DataError where its data cannot be
    written by hand, or where a network is not minikd's own or too large.
    """
    path = folder / NAME
    write_atomically(path, build(folder, PAGES).encode())
    return path


def _of_run(folder: Path) -> str:
    config = Config.read(folder)
    _check_data(config.data)
    data = load_data(config.data)
    networks = networks_of_run(data, finished(folder, config, data))
    return _page(config.data, data, networks, config.temperature, config.soft_weight)


def _of_comparison(folder: Path) -> str:
    content = compare.read(folder / "compare.json")
    config, kd = Config.from_json(content["settings"]), Config.for_data(content["settings"]["data"])
    _check_data(config.data)
    data = load_data(config.data)
    networks = networks_of_comparison(folder, config, compare.summary(content), data)
    return _page(config.data, data, networks, kd.temperature, kd.soft_weight)


def _of_sweep(folder: Path) -> str:
    raise DataError(f"{folder} holds a sweep, and minikd draw needs the folder of a run of minikd distill or compare")


def _check_data(name: str) -> None:
    if name not in SECTIONS:
        wanted = "a run on images of digits (digits, mnist) or on words"
        raise DataError(f"the data of this run, {name}, cannot be drawn or typed: minikd draw needs {wanted}")


def _page(name: str, data: Data, networks: list[Network], temperature: float, soft_weight: float) -> str:
    if networks[0].kind != "teacher":
        raise DataError(
            "the teacher of this run is a file of answers, which cannot be asked: minikd draw needs a network"
        )
    if not can_travel(name, data, networks):
        raise DataError("the teacher of this run is an ONNX network: minikd draw needs one of minikd's or PyTorch's")
    content = pack_networks(name, data, networks, temperature, soft_weight, ROOM)
    if content is None:
        raise DataError(f"the teacher of this run is too large for a page: {networks[0].model.num_params:,} parameters")
    return own_page(title=f"Distillation on {name}", content=content, colours=run_plots.COLOURS, version=__version__)


# The file that a finished run has -> what makes its page.
PAGES = {"compare.json": _of_comparison, "metrics.json": _of_run, sweep.FILE: _of_sweep}
