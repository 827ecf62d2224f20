"""`minikd export`: a network as a file that other programs read."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import CheckpointError
from ..exchange.export import SUFFIXES, export
from ..exchange.teachers import describe_teacher, read_teacher
from ..mlp import MLP


def run(options: argparse.Namespace) -> None:
    """Do what was asked for."""
    source = Path(options.model)
    model = read_teacher(source, activation=options.activation)
    if not isinstance(model, MLP):
        raise CheckpointError(
            f"{source} is no MLP, but an {describe_teacher(model)}: export takes minikd's own networks"
        )
    target = options.out or source.with_suffix(SUFFIXES[options.to])
    if target.resolve() == source.resolve() or target.is_dir():
        raise CheckpointError(
            f"--out {target} is {'a folder' if target.is_dir() else 'the network itself'}: name a file"
        )
    checked = export(model, target, options.to)
    print(f"{target}: {target.stat().st_size:,} bytes; {checked}")
