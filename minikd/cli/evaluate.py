"""`minikd export` and `minikd evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoint import FORMAT
from ..data import load_data
from ..errors import CheckpointError
from ..exchange.cost import Network, cost_table
from ..exchange.export import SUFFIXES, export
from ..exchange.teachers import SUFFIXES as KINDS
from ..exchange.teachers import Answers, check_fits, describe_teacher, metadata_of, read_teacher
from ..metrics import evaluate
from ..mlp import MLP


def run_export(options: argparse.Namespace) -> None:
    """Write a student in another format."""
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


def run_evaluate(options: argparse.Namespace) -> None:
    """Print scores on test data, and what the networks cost."""
    data = load_data(options.data)
    files = (
        {"student": options.model}
        if options.teacher is None
        else {"teacher": options.teacher, "student": options.model}
    )
    networks: dict[str, Network] = {}
    for role, path in files.items():
        network = read_teacher(path, activation=_activation(options.activation, path), device=options.device)
        if isinstance(network, Answers):
            raise CheckpointError(f"{path} holds answers about training samples: they cannot be tested, a network can")
        check_fits(network, path, options.data, data.x_train, len(data.class_names))
        networks[role] = network
    student, teacher = networks["student"], networks.get("teacher")
    kind = (
        f"{describe_teacher(student)}, {student.activation}" if isinstance(student, MLP) else describe_teacher(student)
    )
    print(f"{options.model}: {kind}, {student.num_params:,} parameters")
    x, labels = data.x_test, data.y_test
    print(f"on the {len(labels):,} test samples of {options.data}:")
    for name, value in evaluate(student, x, labels, teacher=teacher).items():
        print(f"  {name:<10} {value:>8.4f}" if isinstance(value, float) else f"  {name:<10} {value:>8}")
    lines = cost_table(list(networks), list(networks.values()), x)
    print("\n" + "\n".join(lines))


def _activation(activation: str | None, path: str) -> str | None:
    """--activation is for files of bare layers: those that PyTorch made."""
    if activation is None or Path(path).suffix in KINDS[1:] or metadata_of(path).get("format") == FORMAT:
        return None
    return activation
