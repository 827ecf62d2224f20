"""`minikd evaluate`: prints the test scores of a network, and what it costs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoint import FORMAT
from ..data import Data, load_data
from ..errors import CheckpointError
from ..exchange.cost import Network, cost_table
from ..exchange.teachers import SUFFIXES as KINDS
from ..exchange.teachers import Answers, check_fits, describe_teacher, metadata_of, read_teacher
from ..experiments.environment import suited_threads
from ..experiments.text import text_table
from ..metrics import evaluate
from ..mlp import MLP
from .shared import threads_for


def run(options: argparse.Namespace) -> None:
    """Evaluate the network, and the teacher if one is given."""
    data = load_data(options.data)
    with threads_for(options, suited_threads(options.data)):
        teacher = None if options.teacher is None else _read(options.teacher, options, data)
        student = _read(options.model, options, data)
        words = describe_teacher(student)
        kind = f"{words}, {student.activation}" if isinstance(student, MLP) else words
        print(f"{options.model}: {kind}, {student.num_params:,} parameters")
        x, labels = data.x_test, data.y_test
        print(f"on the {len(labels):,} test samples of {options.data}:")
        for name, value in evaluate(student, x, labels, teacher=teacher).items():
            print(f"  {name:<10} {value:>8.4f}" if isinstance(value, float) else f"  {name:<10} {value:>8}")
        networks = {"student": student} if teacher is None else {"teacher": teacher, "student": student}
        print("\n" + text_table(cost_table(list(networks), list(networks.values()), x), gap="  "))


def _read(path: str, options: argparse.Namespace, data: Data) -> Network:
    """The network in a file. CheckpointError if it does not fit the data set."""
    network = read_teacher(path, activation=_activation(options.activation, path), device=options.device)
    if isinstance(network, Answers):
        raise CheckpointError(f"{path} holds logits of training samples, not of test samples: give a network")
    check_fits(network, path, options.data, data.x_train, len(data.class_names))
    return network


def _activation(activation: str | None, path: str) -> str | None:
    """--activation applies to PyTorch files only, because they hold bare layers."""
    if activation is None or Path(path).suffix in KINDS[1:] or metadata_of(path).get("format") == FORMAT:
        return None
    return activation
