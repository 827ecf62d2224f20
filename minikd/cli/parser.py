"""The arguments of the `minikd` command and their help. Nothing here loads a command, so that help is quick."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__, fast
from .course_arguments import add_course

STUDIES = ("hinton2015", "muller2019", "subclass2020", "capacity", "generations", "subliminal2025", "few", "language")
DATA = ("digits", "mnist", "fsdd", "udhr", "words")
DEVICES = ("cpu", "cuda")
FORMATS = ("onnx", "pytorch", "npz", "c")
ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu")
TEACHER_HELP = "a trained teacher: a minikd file, safetensors of PyTorch, ONNX, or .npy of logits; trains none"


class Parser(argparse.ArgumentParser):
    """argparse, but a bad argument costs one line, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Say it in one line, and exit with 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class Version(argparse.Action):
    """Say the version, and which kernels compute, or why none do."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> NoReturn:
        """Print it, and exit."""
        print(f"minikd {__version__}\nkernels: {fast.status()}")
        parser.exit()


def command_parser() -> argparse.ArgumentParser:
    """The parser of the whole command; what it returns names in `run` the module of this folder that does it."""
    parser = Parser(
        prog="minikd", description="Knowledge distillation from scratch. Without arguments: minikd distill."
    )
    parser.add_argument(
        "--version", action=Version, nargs=0, help="show the version and which kernels are in use, and exit"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for add in (
        _add_distill,
        _add_evaluate,
        _add_export,
        _add_reproduce,
        _add_compare,
        _add_sweep,
        _add_explore,
        _add_draw,
    ):
        add(commands)
    add_course(commands, Parser)
    _add_data(commands)
    _command(commands, "methods", "list the methods of distillation")
    return parser


def _command(commands: Any, name: str, words: str, text: str | None = None, *parents: argparse.ArgumentParser) -> Any:
    p = commands.add_parser(name, help=words, description=text, parents=parents)
    p.set_defaults(run=name)
    return p


# ---- flags that several commands have, as parents of argparse -----------------------------------------------------


def _flag(name: str, words: str, *, below: bool = False, **options: Any) -> argparse.ArgumentParser:
    """A parent with one flag; `below` a command's own flags, or before them."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("how it is run") if below else parent
    group.add_argument(name, help=words, **options)
    return parent


def _folder(name: str, resume: str) -> tuple[argparse.ArgumentParser, ...]:
    out = _flag("--out", f"the folder (default runs/{name}-1, -2, ...)", below=True, type=Path, metavar="DIR")
    return out, _flag("--resume", resume, below=True, action="store_true")


def _jobs(words: str, default: int | None = None) -> argparse.ArgumentParser:
    return _flag("--jobs", words, below=True, type=int, default=default, metavar="N")


def _device(default: str | None = None) -> argparse.ArgumentParser:
    words = "cpu, or cuda for an NVIDIA GPU (default cpu)"
    return _flag("--device", words, below=True, choices=DEVICES, default=default, metavar="DEVICE")


def _seeds(default: str = "5") -> argparse.ArgumentParser:
    return _flag("--seeds", f"how often to repeat everything (default {default})", below=True, type=int, metavar="N")


def _data(words: str = " (default digits)", required: bool = False) -> argparse.ArgumentParser:
    return _flag("--data", ", ".join(DATA) + words, choices=DATA, metavar="NAME", required=required)


def _images(words: str) -> argparse.ArgumentParser:
    return _flag("--images", words, type=_count_or_all, metavar="N")


def _network(name: str, metavar: str, default: str = "") -> argparse.ArgumentParser:
    return _flag(f"--{name}", f"widths of the {name}'s hidden layers{default}", type=_widths, metavar=metavar)


def _activation(choices: tuple[str, ...] | None = ACTIVATIONS) -> argparse.ArgumentParser:
    words = "of a PyTorch file's hidden layers: relu, tanh, sigmoid or gelu"
    return _flag("--activation", words, choices=choices, metavar="NAME")


def _pictures() -> argparse.ArgumentParser:
    return _flag("--no-pictures", "draw nothing: no picture, no report", below=True, action="store_true")


def _loudness() -> argparse.ArgumentParser:
    parent = argparse.ArgumentParser(add_help=False)
    either = parent.add_mutually_exclusive_group()
    either.add_argument("-q", "--quiet", action="store_true", help="say nothing of progress, only the result")
    either.add_argument("-v", "--verbose", action="store_true", help=VERBOSE)
    return parent


VERBOSE = "say how many threads NumPy's BLAS uses"
SEEDS_AT_A_TIME = "seeds at a time, sharing the cores out (default 1)"
NETWORKS_AT_A_TIME = "networks at a time (default one for each core; mnist: one)"
SHOWN = "training samples that the students are shown, or all (default 100); the teacher has all"
USE_NETWORKS = "use the networks that are in --out already, finished or not"


def _page() -> tuple[argparse.ArgumentParser, ...]:
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("folder", type=Path, metavar="RUN_FOLDER", help="the folder of a finished run")
    return parent, _flag("--no-open", "say where the page is, and open nothing", action="store_true")


# ---- the commands -------------------------------------------------------------------------------------------------


def _add_distill(commands: Any) -> None:
    text = (
        "Train a teacher, and the same small student three times on a few samples: on labels alone, with label "
        "smoothing, and by distillation. Prints how they compare on test data over several seeds, and leaves networks, "
        "numbers and pictures in a folder. Where a default differs between data sets, the one for digits is shown."
    )
    networks = _network("teacher", "N-N", " (default 256-256)"), _network("student", "N", " (default 64)")
    folder = *_folder("NAME", "go on with the run in --out, with the settings it has"), _pictures()
    own = _images(SHOWN), *networks, _activation(None)
    families = (_data(), *own, _loudness(), _seeds(), _jobs(NETWORKS_AT_A_TIME), _device(), *folder)
    words = "a teacher teaches a student, compared with the student alone"
    p = _command(commands, "distill", words, text, *families)
    add = p.add_argument
    add("--without", type=_names, metavar="A,B", help="classes that the students are never shown")
    add("--teacher-from", type=_file, metavar="FILE", help=TEACHER_HELP)
    words = "use a file of answers even where they agree with the labels no more than by chance"
    add("--trust-teacher", action="store_true", default=None, help=words)
    add("--method", metavar="NAME", help="how the teacher teaches: a name that `minikd methods` lists (default kd)")
    add("--temperature", type=float, metavar="T", help="kd: softens the teacher's probabilities (default 4)")
    add("--soft-weight", type=float, metavar="W", help="kd: the teacher's part of the loss, 0 to 1 (default 0.9)")
    add("--epochs", type=int, metavar="N", help="passes of a student over the data (default 100)")
    words = "passes of the teacher (default 20, or as many as --epochs says)"
    add("--teacher-epochs", type=int, metavar="N", help=words)
    add("--batch-size", type=int, metavar="N", help="samples a step (default 32)")
    add("--lr", type=float, metavar="RATE", help="the students' learning rate (default 0.03)")
    add("--teacher-lr", type=float, metavar="RATE", help="the teacher's learning rate (default 0.003)")


def _add_evaluate(commands: Any) -> None:
    families = (_data("", required=True), _activation(), _device("cpu"))
    p = _command(commands, "evaluate", "measure a trained network on test data", None, *families)
    p.add_argument("model", type=_file, metavar="MODEL", help="a minikd, PyTorch or ONNX file")
    words = "also say how closely MODEL follows this network, and what either costs"
    p.add_argument("--teacher", type=_file, metavar="FILE", help=words)
    p.add_argument("-v", "--verbose", action="store_true", help=VERBOSE)


def _add_export(commands: Any) -> None:
    text = "Write a network in a format that other programs read, and check what was written. Says where it is."
    p = _command(commands, "export", "a network as ONNX, PyTorch's or NumPy's file, or as C", text, _activation())
    p.add_argument("model", type=_file, metavar="STUDENT", help="a minikd file")
    p.add_argument("--to", choices=FORMATS, metavar="FORMAT", required=True, help=", ".join(FORMATS))
    p.add_argument("--out", type=Path, metavar="FILE", help="default: beside STUDENT, with another ending")
    words = "c: 8-bit integers, as TensorFlow Lite specifies them; needs --data or --samples"
    p.add_argument("--int8", action="store_true", help=words)
    either = p.add_mutually_exclusive_group()
    words = "c: prints what float32, float16 and int8 cost on test data; --int8 measures ranges on training data"
    either.add_argument("--data", choices=DATA, metavar="NAME", help=f"{words}: {', '.join(DATA)}")
    words = "c: --int8 measures ranges of activations on these training samples (N, D), an .npy file"
    either.add_argument("--samples", type=_file, metavar="FILE", help=words)


def _add_reproduce(commands: Any) -> None:
    text = (
        "Run a published experiment on MNIST and compare with the paper's numbers. Without NAME: what there is. Leaves "
        "networks, numbers (JSON, CSV) and the picture in a folder. Several studies may share a folder, and then the "
        "networks that they have in common."
    )
    jobs, folder = _jobs(SEEDS_AT_A_TIME, 1), _folder("NAME", USE_NETWORKS)
    families = (_loudness(), _seeds("5, with --quick 1"), jobs, _device("cpu"), *folder)
    p = _command(commands, "reproduce", "the papers' numbers, beside ours", text, *families)
    add = p.add_argument
    add("name", nargs="?", choices=STUDIES, metavar="NAME", help=", ".join(STUDIES))
    add("--quick", action="store_true", help="a minute's version, to see how it goes")
    add("--validation", action="store_true", help="examine on validation samples, not on test samples")
    add("--committed", action="store_true", help="run nothing: the results that come with minikd")


def _add_compare(commands: Any) -> None:
    text = (
        "Train the same student by several methods, with everything else the same, and compare them with labels alone. "
        "Temperature and strength of each method are tuned on validation data. Leaves networks, numbers (JSON) and the "
        "picture in a folder. Defaults are those of `minikd distill` for the data set."
    )
    networks = _network("teacher", "N-N"), _network("student", "N")
    folder = *_folder("compare", USE_NETWORKS), _pictures()
    families = (_images(SHOWN), *networks, _loudness(), _seeds(), _jobs(NETWORKS_AT_A_TIME), _device(), *folder)
    p = _command(commands, "compare", "the methods, on the same student", text, _data(), *families)
    add = p.add_argument
    add("--methods", metavar="A,B", help="some of the names that `minikd methods` lists (default all)")
    add("--epochs", type=int, metavar="N", help="passes of a student over what it is shown")
    words = "the first seeds, on which temperature and strength are tuned (default 3)"
    add("--tuning-seeds", type=int, default=3, metavar="N", help=words)
    add("--show", type=_file, metavar="FILE", help="run nothing: the table of a compare.json")


def _add_sweep(commands: Any) -> None:
    text = (
        "Train a student for every combination of temperature, soft weight and student, and each seed; choose by "
        "validation samples. Or, with several --images, see how much a teacher helps the fewer of them there are. "
        "Lists have commas. Leaves one file of results, networks, the picture and the report in a folder. Defaults "
        "not named here are those of `minikd distill` for the data set."
    )
    jobs = _jobs("students at a time (default one for each core)")
    folder = *_folder("sweep", "go on with the sweep in --out, with the settings it has"), _pictures()
    families = (_data(), _network("teacher", "N-N"), _loudness(), _seeds(), jobs, *folder)
    p = _command(commands, "sweep", "which temperature, soft weight and student", text, *families)
    add = p.add_argument
    add("--images", type=_counts_or_all, metavar="N,N", help="training samples that the student is shown: 50,100,all")
    add("--temperature", type=_numbers, metavar="T,T", help="default 1,2,4,8,20; with several --images the usual one")
    add("--soft-weight", type=_numbers, metavar="W,W", help="default 0.5,0.9,1; with several --images the usual one")
    add("--student", type=_students, metavar="N,N-N", help="widths of hidden layers, of several students")
    add("--method", metavar="NAME", help="a name that `minikd methods` lists (default kd)")
    add("--epochs", type=int, metavar="N", help="passes of teacher and students over what they are shown")
    add("--dask", metavar="ADDRESS", help="train on the Dask cluster whose scheduler is there: tcp://HOST:8786")


def _add_explore(commands: Any) -> None:
    text = (
        "Open report.html, the page of a finished run of `minikd distill` or `minikd compare`: its numbers and "
        "pictures, and an explorer of what teacher and students think of test samples. Made now where there is none."
    )
    _command(commands, "explore", "look at a run in the browser", text, *_page())


def _add_draw(commands: Any) -> None:
    text = (
        "Make draw.html in the folder of a finished run of `minikd distill` or `minikd compare`, and open it: draw a "
        "digit (data digits or mnist) or type how a word begins (words), and teacher and students answer at once."
    )
    _command(commands, "draw", "draw a digit, and let teacher and students read it", text, *_page())


def _add_data(commands: Any) -> None:
    p = _command(commands, "data", "list the data sets, or fetch one")
    actions = p.add_subparsers(metavar="ACTION", dest="action", required=True, parser_class=Parser)
    actions.add_parser("list", help="what there is, where it comes from, its licence")
    fetch = actions.add_parser("fetch", help="download a data set and check it")
    fetch.add_argument("name", choices=DATA, metavar="NAME", help=", ".join(DATA))


# ---- types of arguments -------------------------------------------------------------------------------------------


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("-"))
    except ValueError:
        words = "whole numbers with dashes between them, such as 256-256"
        raise argparse.ArgumentTypeError(f"widths must be {words}, got {text!r}") from None


def _students(text: str) -> tuple[tuple[int, ...], ...]:
    return tuple(_widths(part) for part in text.split(","))


def _counts_or_all(text: str) -> tuple[int | None, ...]:
    try:
        return tuple(None if part == "all" else int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be whole numbers or all, got {text!r}") from None


def _count_or_all(text: str) -> tuple[int | None, ...]:
    if len(counts := _counts_or_all(text)) > 1:
        raise argparse.ArgumentTypeError(f"must be one whole number or all, got {text!r}")
    return counts


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


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
