"""The arguments of the `minikd` command and their help. Nothing here loads NumPy, so that help is quick."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from .course_arguments import add_course

STUDIES = ("hinton2015", "muller2019", "subclass2020", "capacity", "generations")
DATA = ("digits", "mnist", "fsdd", "udhr")
DEVICES = ("cpu", "cuda")
FORMATS = ("onnx", "pytorch", "npz")
ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu")
TEACHER_HELP = "a trained teacher: a minikd file, safetensors of PyTorch, ONNX, or .npy of logits; trains none"
ACTIVATION_HELP = "of a PyTorch file's hidden layers: relu, tanh, sigmoid or gelu"


class Parser(argparse.ArgumentParser):
    """argparse, but a bad argument costs one line, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Say it in one line, and exit with 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def command_parser() -> argparse.ArgumentParser:
    """The parser of the whole command; what it returns names in `run` the function of cli.py that does it."""
    parser = Parser(
        prog="minikd", description="Knowledge distillation from scratch. Without arguments: minikd distill."
    )
    parser.add_argument("--version", action="version", version=f"minikd {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    _add_distill(commands)
    _add_evaluate(commands)
    _add_export(commands)
    _add_reproduce(commands)
    _add_compare(commands)
    _add_sweep(commands)
    _add_explore(commands)
    add_course(commands, Parser)
    data = commands.add_parser("data", help="list the data sets, or fetch one")
    actions = data.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    commands.add_parser("methods", help="list the methods of distillation").set_defaults(run="list_methods")
    actions.add_parser("list", help="what there is, where it comes from, its licence").set_defaults(run="list_data")
    get = actions.add_parser("fetch", help="download a data set and check it")
    get.add_argument("name", choices=DATA, metavar="NAME", help=", ".join(DATA))
    get.set_defaults(run="fetch_data")
    return parser


def _add_distill(commands: Any) -> None:
    text = (
        "Train a teacher, and the same small student three times: on labels alone, with label smoothing, and by "
        "distillation. Prints how they compare on test data over several seeds, and leaves networks, numbers and "
        "pictures in a folder. Where a default differs between data sets, the one for digits is shown."
    )
    p = commands.add_parser(
        "distill", help="a teacher teaches a student, compared with the student alone", description=text
    )
    add = p.add_argument
    add("--data", choices=DATA, metavar="NAME", help=f"{', '.join(DATA)} (default digits)")
    add("--teacher", type=_widths, metavar="N-N", help="widths of the teacher's hidden layers (default 256-256)")
    add("--student", type=_widths, metavar="N", help="widths of the student's hidden layers (default 64)")
    add("--method", metavar="NAME", help="how the teacher teaches: a name that `minikd methods` lists (default kd)")
    add("--temperature", type=float, metavar="T", help="kd: softens the teacher's probabilities (default 4)")
    add("--soft-weight", type=float, metavar="W", help="kd: the teacher's part of the loss, 0 to 1 (default 0.9)")
    add("--epochs", type=int, metavar="N", help="passes of a student over the data (default 100)")
    add(
        "--teacher-epochs",
        type=int,
        metavar="N",
        help="passes of the teacher (default 50, or as many as --epochs says)",
    )
    add("--batch-size", type=int, metavar="N", help="samples a step (default 32)")
    add("--lr", type=float, metavar="RATE", help="the students' learning rate (default 0.03)")
    add(
        "--teacher-lr",
        type=float,
        metavar="RATE",
        help="the teacher's learning rate (default 0.002)",
    )
    add("--seeds", type=int, metavar="N", help="how often to repeat everything (default 5)")
    add("--device", choices=DEVICES, metavar="DEVICE", help="cpu, or cuda for an NVIDIA GPU (default cpu)")
    add("--teacher-from", type=_file, metavar="FILE", help=TEACHER_HELP)
    add("--activation", metavar="NAME", help=ACTIVATION_HELP)
    add("--out", type=Path, metavar="DIR", help="the run's folder (default runs/NAME-1, -2, ...)")
    _add_talk(p)
    add("--resume", action="store_true", help="go on with the run in --out, with the settings it has")
    p.set_defaults(run="distill")


def _add_evaluate(commands: Any) -> None:
    p = commands.add_parser("evaluate", help="measure a trained network on test data")
    p.add_argument("model", type=_file, metavar="MODEL", help="a minikd, PyTorch or ONNX file")
    p.add_argument("--data", choices=DATA, metavar="NAME", required=True, help=", ".join(DATA))
    words = "also say how closely MODEL follows this network, and what either costs"
    p.add_argument("--teacher", type=_file, metavar="FILE", help=words)
    p.add_argument("--activation", choices=ACTIVATIONS, metavar="NAME", help=ACTIVATION_HELP)
    p.add_argument("--device", choices=DEVICES, default="cpu", metavar="DEVICE", help="cpu or cuda (default cpu)")
    _add_verbose(p)
    p.set_defaults(run="evaluate")


def _add_export(commands: Any) -> None:
    text = "Write a network in a format that other programs read, and check what was written. Says where it is."
    p = commands.add_parser("export", help="a network as ONNX, PyTorch's or NumPy's file", description=text)
    p.add_argument("model", type=_file, metavar="STUDENT", help="a minikd file")
    p.add_argument("--to", choices=FORMATS, metavar="FORMAT", required=True, help=", ".join(FORMATS))
    p.add_argument("--out", type=Path, metavar="FILE", help="default: beside STUDENT, with another ending")
    p.add_argument("--activation", choices=ACTIVATIONS, metavar="NAME", help=ACTIVATION_HELP)
    p.set_defaults(run="export")


def _add_reproduce(commands: Any) -> None:
    text = (
        "Run a published experiment on MNIST and compare with the paper's numbers. Without NAME: what there is. Leaves "
        "networks, numbers (JSON, CSV) and the picture in a folder. Several studies may share a folder, and then the "
        "networks that they have in common."
    )
    p = commands.add_parser("reproduce", help="the papers' numbers, beside ours", description=text)
    add = p.add_argument
    add("name", nargs="?", choices=STUDIES, metavar="NAME", help=", ".join(STUDIES))
    add("--seeds", type=int, metavar="N", help="how often to repeat everything (default 5, with --quick 1)")
    add("--quick", action="store_true", help="a minute's version, to see how it goes")
    add("--jobs", type=int, default=1, metavar="N", help="seeds at a time, sharing the cores out (default 1)")
    add("--validation", action="store_true", help="examine on the last 10,000 training images, not on the test images")
    add("--committed", action="store_true", help="run nothing: the results that come with minikd")
    add("--device", choices=DEVICES, default="cpu", metavar="DEVICE", help="cpu or cuda (default cpu)")
    add("--out", type=Path, metavar="DIR", help="the folder (default runs/NAME-1, -2, ...)")
    add("--resume", action="store_true", help="use the networks that are in --out already, finished or not")
    _add_talk(p)
    p.set_defaults(run="reproduce", data="mnist")


def _add_compare(commands: Any) -> None:
    text = (
        "Train the same student by several methods, with everything else the same, and compare them with labels alone. "
        "How strongly the teacher counts is tuned for each method on validation data. Leaves networks, numbers (JSON) "
        "and the picture in a folder. Defaults are those of `minikd distill` for the data set."
    )
    p = commands.add_parser("compare", help="the methods, on the same student", description=text)
    add = p.add_argument
    add("--data", choices=DATA, metavar="NAME", help=f"{', '.join(DATA)} (default digits)")
    add("--student", type=_widths, metavar="N", help="widths of the student's hidden layers")
    add("--teacher", type=_widths, metavar="N-N", help="widths of the teacher's hidden layers")
    add("--methods", metavar="A,B", help="some of the names that `minikd methods` lists (default all)")
    add("--epochs", type=int, metavar="N", help="passes of a student over the data")
    add("--seeds", type=int, metavar="N", help="how often to repeat everything (default 5)")
    add("--jobs", type=int, default=1, metavar="N", help="seeds at a time, sharing the cores out (default 1)")
    add("--device", choices=DEVICES, metavar="DEVICE", help="cpu, or cuda for an NVIDIA GPU (default cpu)")
    add("--out", type=Path, metavar="DIR", help="the folder (default runs/compare-1, -2, ...)")
    add("--resume", action="store_true", help="use the networks that are in --out already, finished or not")
    add("--show", type=_file, metavar="FILE", help="run nothing: the table of a compare.json")
    _add_talk(p)
    p.set_defaults(run="compare")


def _add_sweep(commands: Any) -> None:
    text = (
        "Train a student for every combination of temperature, soft weight and student, and each seed; choose by "
        "validation samples. Lists have commas. Leaves one file of results, networks and heat maps in a folder. "
        "Defaults not named here are those of `minikd distill` for the data set."
    )
    p = commands.add_parser("sweep", help="which temperature, soft weight and student", description=text)
    add = p.add_argument
    add("--data", choices=DATA, metavar="NAME", help=f"{', '.join(DATA)} (default digits)")
    add("--temperature", type=_numbers, metavar="T,T", help="default 1,2,4,8,20")
    add("--soft-weight", type=_numbers, metavar="W,W", help="default 0.5,0.9,1")
    add("--student", type=_students, metavar="N,N-N", help="widths of hidden layers, of several students")
    add("--teacher", type=_widths, metavar="N-N", help="widths of the teacher's hidden layers")
    add("--method", metavar="NAME", help="a name that `minikd methods` lists (default kd)")
    add("--epochs", type=int, metavar="N", help="passes of teacher and students over the data")
    add("--seeds", type=int, metavar="N", help="how often to repeat everything (default 5)")
    add("--jobs", type=int, metavar="N", help="students at a time (default one for each core)")
    add("--dask", metavar="ADDRESS", help="train on the Dask cluster whose scheduler is there: tcp://HOST:8786")
    add("--out", type=Path, metavar="DIR", help="the folder (default runs/sweep-1, -2, ...)")
    add("--resume", action="store_true", help="go on with the sweep in --out, with the settings it has")
    _add_talk(p)
    p.set_defaults(run="sweep")


def _add_talk(p: argparse.ArgumentParser) -> None:
    either = p.add_mutually_exclusive_group()
    either.add_argument("-q", "--quiet", action="store_true", help="say nothing of progress, only the result")
    _add_verbose(either)


def _add_explore(commands: Any) -> None:
    text = (
        "Open report.html, the page of a finished run of `minikd distill` or `minikd compare`: its numbers and "
        "pictures, and an explorer of what teacher and students think of test samples. Made now where there is none."
    )
    p = commands.add_parser("explore", help="look at a run in the browser", description=text)
    p.add_argument("folder", type=Path, metavar="RUN_FOLDER", help="the folder of a finished run")
    p.add_argument("--no-open", action="store_true", help="say where the page is, and open nothing")
    p.set_defaults(run="explore")


def _add_verbose(p: Any) -> None:
    p.add_argument("-v", "--verbose", action="store_true", help="say which settings NumPy's BLAS is given")


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("-"))
    except ValueError:
        words = "whole numbers with dashes between them, such as 256-256"
        raise argparse.ArgumentTypeError(f"widths must be {words}, got {text!r}") from None


def _students(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(_widths(part) for part in text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        words = "numbers with commas between them, such as 1,2.5,4"
        raise argparse.ArgumentTypeError(f"must be {words}, got {text!r}") from None


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return str(Path(text).resolve())
