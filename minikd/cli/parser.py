"""The arguments of the `minikd` command and their help. Nothing here imports a subcommand, so that --help is fast."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__, fast
from .course_arguments import add_course
from .process import in_columns

STUDIES = ("hinton2015", "muller2019", "subclass2020", "capacity", "generations", "subliminal2025", "few", "language")
DATA = ("digits", "mnist", "fsdd", "udhr", "words")
DEVICES = ("cpu", "cuda")
FORMATS = ("onnx", "pytorch", "npz", "c")
ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu")
TEACHER_HELP = "use a trained teacher: a minikd file, PyTorch safetensors, ONNX, or an .npy file of logits"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports a wrong argument on one line and exits with code 2."""

    def error(self, message: str) -> NoReturn:
        """Print the message on one line and exit with code 2."""
        self.exit(2, in_columns(f"{self.prog}: {message} (see {self.prog} --help)") + "\n")


class Version(argparse.Action):
    """Print the version and the kernels in use, or why no kernels are in use."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> NoReturn:
        """Print both and exit."""
        print(f"minikd {__version__}\nkernels: {fast.status()}")
        parser.exit()


def command_parser() -> argparse.ArgumentParser:
    """The parser of the whole command. `run` in its result is the name of the module that runs the subcommand."""
    parser = Parser(
        prog="minikd", description="Knowledge distillation from scratch. Without arguments, run `minikd distill`."
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
    _command(commands, "methods", "list the distillation methods")
    return parser


def _command(commands: Any, name: str, words: str, text: str | None = None, *parents: argparse.ArgumentParser) -> Any:
    p = commands.add_parser(name, help=words, description=text, parents=parents)
    p.set_defaults(run=name)
    return p


# ---- flags that several commands share, as argparse parents -------------------------------------------------------


def _flag(name: str, words: str, *, below: bool = False, **options: Any) -> argparse.ArgumentParser:
    """A parent parser with one flag, listed above the command's own flags or, with `below`, after them."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("run options") if below else parent
    group.add_argument(name, help=words, **options)
    return parent


def _folder(name: str, resume: str) -> tuple[argparse.ArgumentParser, ...]:
    out = _flag("--out", f"output folder (default runs/{name}-1, -2, ...)", below=True, type=Path, metavar="DIR")
    return out, _flag("--resume", resume, below=True, action="store_true")


def _jobs(words: str, default: int | None = None) -> argparse.ArgumentParser:
    return _flag("--jobs", words, below=True, type=int, default=default, metavar="N")


def _device(default: str | None = None) -> argparse.ArgumentParser:
    words = "cpu, or cuda for an NVIDIA GPU (default cpu)"
    return _flag("--device", words, below=True, choices=DEVICES, default=default, metavar="DEVICE")


def _seeds(default: str = "5") -> argparse.ArgumentParser:
    return _flag("--seeds", f"number of repetitions (default {default})", below=True, type=int, metavar="N")


def _data(words: str = " (default digits)", required: bool = False) -> argparse.ArgumentParser:
    return _flag("--data", ", ".join(DATA) + words, choices=DATA, metavar="NAME", required=required)


def _images(words: str) -> argparse.ArgumentParser:
    return _flag("--images", words, type=_count_or_all, metavar="N")


def _network(name: str, metavar: str, default: str = "") -> argparse.ArgumentParser:
    return _flag(f"--{name}", f"widths of the {name}'s hidden layers{default}", type=_widths, metavar=metavar)


def _activation(choices: tuple[str, ...] | None = ACTIVATIONS) -> argparse.ArgumentParser:
    words = "activation of the hidden layers in a PyTorch file: relu, tanh, sigmoid or gelu"
    return _flag("--activation", words, choices=choices, metavar="NAME")


def _pictures() -> argparse.ArgumentParser:
    return _flag("--no-pictures", "make no picture and no report", below=True, action="store_true")


def _loudness() -> argparse.ArgumentParser:
    parent = argparse.ArgumentParser(add_help=False)
    either = parent.add_mutually_exclusive_group()
    either.add_argument("-q", "--quiet", action="store_true", help="print only the result, no progress")
    either.add_argument("-v", "--verbose", action="store_true", help=VERBOSE)
    return parent


VERBOSE = "print how many threads NumPy's BLAS uses"
SEEDS_AT_A_TIME = "seeds to run at the same time; they share the cores (default 1)"
NETWORKS_AT_A_TIME = "networks to train at the same time (default one per core; mnist: one)"
SHOWN = "number of training samples for the students, or all (default 100); the teacher gets all"
USE_NETWORKS = "reuse the networks in --out: load finished ones, continue the others"


def _page() -> tuple[argparse.ArgumentParser, ...]:
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("folder", type=Path, metavar="RUN_FOLDER", help="the folder of a finished run")
    return parent, _flag("--no-open", "print the path of the page, and open nothing", action="store_true")


# ---- the commands -------------------------------------------------------------------------------------------------


def _add_distill(commands: Any) -> None:
    text = (
        "Train a teacher on all samples, then the same small student three times on a few samples: on labels alone, "
        "with label smoothing, and by distillation. Repeat this for several seeds, print the test scores, and write "
        "networks, numbers and pictures to a folder. Some defaults depend on the data set; those for digits are shown."
    )
    networks = _network("teacher", "N-N", " (default 256-256)"), _network("student", "N", " (default 64)")
    folder = *_folder("NAME", "continue the run in --out, with its own settings"), _pictures()
    own = _images(SHOWN), *networks, _activation(None)
    families = (_data(), *own, _loudness(), _seeds(), _jobs(NETWORKS_AT_A_TIME), _device(), *folder)
    words = "distil a teacher into a student, and compare with the student alone"
    p = _command(commands, "distill", words, text, *families)
    add = p.add_argument
    add("--without", type=_names, metavar="A,B", help="classes to leave out of the students' training samples")
    add("--teacher-from", type=_file, metavar="FILE", help=TEACHER_HELP)
    words = "use an .npy file of logits even if it agrees with the labels no better than chance"
    add("--trust-teacher", action="store_true", default=None, help=words)
    add("--method", metavar="NAME", help="distillation method, a name from `minikd methods` (default kd)")
    add("--temperature", type=float, metavar="T", help="kd: temperature of the softened probabilities (default 4)")
    add("--soft-weight", type=float, metavar="W", help="kd: weight of the teacher in the loss, 0 to 1 (default 0.9)")
    add("--epochs", type=int, metavar="N", help="epochs of each student (default 100)")
    add("--teacher-epochs", type=int, metavar="N", help="epochs of the teacher (default 20, or those of --epochs)")
    add("--batch-size", type=int, metavar="N", help="samples per step (default 32)")
    add("--lr", type=float, metavar="RATE", help="the students' learning rate (default 0.03)")
    add("--teacher-lr", type=float, metavar="RATE", help="the teacher's learning rate (default 0.003)")


def _add_evaluate(commands: Any) -> None:
    families = (_data("", required=True), _activation(), _device("cpu"))
    p = _command(commands, "evaluate", "evaluate a trained network on test data", None, *families)
    p.add_argument("model", type=_file, metavar="MODEL", help="a minikd, PyTorch or ONNX file")
    words = "also print how closely MODEL agrees with this network, and the cost of both"
    p.add_argument("--teacher", type=_file, metavar="FILE", help=words)
    p.add_argument("-v", "--verbose", action="store_true", help=VERBOSE)


def _add_export(commands: Any) -> None:
    text = "Write a network in a format that other programs read, check the file, and print its path."
    p = _command(commands, "export", "write a network as an ONNX, PyTorch, NumPy or C file", text, _activation())
    p.add_argument("model", type=_file, metavar="STUDENT", help="a minikd file")
    p.add_argument("--to", choices=FORMATS, metavar="FORMAT", required=True, help=", ".join(FORMATS))
    p.add_argument("--out", type=Path, metavar="FILE", help="output file (default: STUDENT with another ending)")
    words = "c: use 8-bit integers as TensorFlow Lite specifies them; needs --data or --samples"
    p.add_argument("--int8", action="store_true", help=words)
    either = p.add_mutually_exclusive_group()
    words = "c: print what float32, float16 and int8 cost on test data; --int8 measures ranges on training data"
    either.add_argument("--data", choices=DATA, metavar="NAME", help=f"{words}: {', '.join(DATA)}")
    words = "c: --int8 measures the ranges of activations on these training samples (N, D), an .npy file"
    either.add_argument("--samples", type=_file, metavar="FILE", help=words)


def _add_reproduce(commands: Any) -> None:
    text = (
        "Run a published experiment and compare the results with the paper's numbers. Without NAME, list the "
        "experiments. Networks, numbers (JSON, CSV) and the picture are written to a folder. Several experiments may "
        "use the same folder; they then share the networks that they have in common."
    )
    jobs, folder = _jobs(SEEDS_AT_A_TIME, 1), _folder("NAME", USE_NETWORKS)
    families = (_loudness(), _seeds("5, with --quick 1"), jobs, _device("cpu"), *folder)
    p = _command(commands, "reproduce", "rerun published experiments and compare with the papers", text, *families)
    add = p.add_argument
    add("name", nargs="?", choices=STUDIES, metavar="NAME", help=", ".join(STUDIES))
    add("--quick", action="store_true", help="a short version of about a minute, to try it out")
    add("--validation", action="store_true", help="evaluate on validation samples instead of test samples")
    add("--committed", action="store_true", help="run nothing; show the results that come with minikd")


def _add_compare(commands: Any) -> None:
    text = (
        "Train the same student by several methods, and compare each with training on labels alone. Only the method "
        "differs. Its temperature and strength are tuned on validation data. Networks, numbers (JSON) and the picture "
        "are written to a folder. Defaults are those of `minikd distill` for the data set."
    )
    networks = _network("teacher", "N-N"), _network("student", "N")
    folder = *_folder("compare", USE_NETWORKS), _pictures()
    families = (_images(SHOWN), *networks, _loudness(), _seeds(), _jobs(NETWORKS_AT_A_TIME), _device(), *folder)
    p = _command(commands, "compare", "compare distillation methods on the same student", text, _data(), *families)
    add = p.add_argument
    add("--methods", metavar="A,B", help="methods to compare, names from `minikd methods` (default all)")
    add("--epochs", type=int, metavar="N", help="epochs of each student")
    words = "number of seeds on which temperature and strength are tuned (default 3)"
    add("--tuning-seeds", type=int, default=3, metavar="N", help=words)
    add("--show", type=_file, metavar="FILE", help="run nothing; print the table of a compare.json")


def _add_sweep(commands: Any) -> None:
    text = (
        "Train a student for every combination of temperature, soft weight, student and seed, and choose the best "
        "setting on validation samples. With several --images, measure how much a teacher helps at each number of "
        "training samples. Separate the values of a list by commas. One file of results, the networks, the picture and "
        "the report are written to a folder. Other defaults are those of `minikd distill` for the data set."
    )
    jobs = _jobs("students to train at the same time (default one per core)")
    folder = *_folder("sweep", "continue the sweep in --out, with its own settings"), _pictures()
    families = (_data(), _network("teacher", "N-N"), _loudness(), _seeds(), jobs, *folder)
    p = _command(commands, "sweep", "which temperature, soft weight and student", text, *families)
    add = p.add_argument
    add("--images", type=_counts_or_all, metavar="N,N", help="numbers of training samples for the student: 50,100,all")
    add("--temperature", type=_numbers, metavar="T,T", help="default 1,2,4,8,20; several --images: as in `distill`")
    add("--soft-weight", type=_numbers, metavar="W,W", help="default 0.5,0.9,1; several --images: as in `distill`")
    add("--student", type=_students, metavar="N,N-N", help="hidden layers of one or several students: 32,64-64")
    add("--method", metavar="NAME", help="distillation method, a name from `minikd methods` (default kd)")
    add("--epochs", type=int, metavar="N", help="epochs of teacher and students")
    add("--dask", metavar="ADDRESS", help="train on the Dask cluster with this scheduler: tcp://HOST:8786")


def _add_explore(commands: Any) -> None:
    text = (
        "Open report.html, the report of a finished run of `minikd distill`, `compare` or `sweep`: numbers, pictures, "
        "and the predictions of teacher and students for single test samples. If there is no report yet, it is made."
    )
    _command(commands, "explore", "open the report of a run in the browser", text, *_page())


def _add_draw(commands: Any) -> None:
    text = (
        "Make draw.html in the folder of a finished run of `minikd distill` or `minikd compare`, and open it: draw a "
        "digit (data digits or mnist) or type how a word begins (words), and teacher and students answer at once."
    )
    _command(commands, "draw", "draw a digit, and let teacher and students read it", text, *_page())


def _add_data(commands: Any) -> None:
    p = _command(commands, "data", "list or download data sets")
    actions = p.add_subparsers(metavar="ACTION", dest="action", required=True, parser_class=Parser)
    actions.add_parser("list", help="list the data sets with their sources and licences")
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
