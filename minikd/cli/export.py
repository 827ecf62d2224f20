"""`minikd export`: writes a network as a file that other programs read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..data import Data, load_data
from ..errors import CheckpointError
from ..exchange.c_file import c_name
from ..exchange.cost import precision_table
from ..exchange.export import SUFFIXES, export
from ..exchange.int8 import quantise
from ..exchange.teachers import check_fits, describe_teacher, read_npy, read_teacher
from ..experiments.text import text_table
from ..mlp import MLP
from .process import in_columns
from .shared import UsageError


def run(options: argparse.Namespace) -> None:
    """Write the file, check it, and print its path."""
    _check_flags(options)
    source = Path(options.model)
    model = read_teacher(source, activation=options.activation)
    if not isinstance(model, MLP):
        raise CheckpointError(f"{source} is no MLP, but an {describe_teacher(model)}: export takes MLPs")
    target = options.out or _beside(source, options)
    if target.resolve() == source.resolve() or target.is_dir():
        raise CheckpointError(
            f"--out {target} is {'a folder' if target.is_dir() else 'the network itself'}: name a file"
        )
    data = load_data(options.data) if options.data else None
    if data is not None:
        check_fits(model, str(source), options.data, data.x_train, len(data.class_names))
    samples: Any = data.x_train if data is not None and options.int8 else None
    if options.samples:
        samples = read_npy(options.samples, wanted="training samples (N, D): a row a sample")
    try:
        checked = export(model, target, options.to, samples=samples)
    except ValueError as error:
        raise CheckpointError(f"{source} cannot be written as {options.to}: {error}") from error
    print(in_columns(f"{target}: {target.stat().st_size:,} bytes; {checked}", "stdout"))
    if data is not None:
        print(_costs(model, data, options.data))


def _check_flags(options: argparse.Namespace) -> None:
    """UsageError for flags that need another flag or format."""
    if options.to != "c" and (options.int8 or options.data or options.samples):
        raise UsageError(f"--int8, --data and --samples belong to --to c, and --to is {options.to}")
    if options.int8 and not (options.data or options.samples):
        words = "--data NAME, a data set, or --samples FILE.npy, training samples (N, D)"
        raise UsageError(f"--int8 measures ranges of activations on training samples, and got none: add {words}")
    if options.samples and not options.int8:
        raise UsageError("--samples belongs to --int8: add --int8, or leave it out")


def _beside(source: Path, options: argparse.Namespace) -> Path:
    """The default output file, beside the network. The name of a C file is also a valid name of its functions."""
    if options.to == "c":
        return source.with_name(f"{c_name(source)}{'_int8' if options.int8 else ''}.c")
    return source.with_suffix(SUFFIXES[options.to])


def _costs(model: MLP, data: Data, name: str) -> str:
    """The table of precisions on test samples, with int8 if the network can be quantised."""
    try:
        int8 = quantise(model, data.x_train)
    except ValueError:  # another activation than relu, a layer too wide, or activations too large
        int8 = None
    table = precision_table(model, data.x_test, data.y_test, int8)
    return f"\non the {len(data.y_test):,} test samples of {name}:\n{text_table(table, gap='  ')}"
