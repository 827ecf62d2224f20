"""Students in C: what a C compiler makes of the file computes the same as minikd, in int8 to the bit.

Without a C compiler the tests that compile are skipped, and say so; CI has one.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits, sample

from minikd import MLP, Adam, cross_entropy, evaluate, fit, load_data
from minikd.cli import export as cli_export
from minikd.cli.main import main
from minikd.data import Data
from minikd.errors import CheckpointError
from minikd.exchange import c_file, int8
from minikd.exchange.c_file import c_name, write_c
from minikd.exchange.cost import precision_table
from minikd.exchange.export import export
from minikd.exchange.int8 import Int8Network, quantise

ROOT = Path(__file__).parents[1]
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wmissing-prototypes"]
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler: apt-get install gcc")
SIZES = [(64, 12, 9, 10), (64, 10), (64, 40, 3, 70, 4)]


def cc(*arguments: str, folder: Path) -> None:
    """Compile, strictly."""
    result = subprocess.run(["cc", *STRICT, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def compiled(file: Path) -> Any:
    """The functions of a C file, in this process."""
    cc("-O2", "-shared", "-fPIC", file.name, "-lm", "-o", f"{file.stem}.so", folder=file.parent)
    return ctypes.CDLL(str(file.with_suffix(".so")))


def forward(file: Path, x: np.ndarray, classes: int) -> np.ndarray:
    """What NAME_forward of the compiled file makes of x (N, D), row by row: (N, classes), of the type of x."""
    function = getattr(compiled(file), f"{file.stem}_forward")
    x, logits = np.ascontiguousarray(x), np.empty((len(x), classes), x.dtype)
    for row, out in zip(x, logits, strict=True):
        function(row.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p))
    return logits


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("digits")


@pytest.fixture(scope="module")
def student(data: Data) -> MLP:
    """A network that reads digits well."""
    model = MLP((64, 32, 10), seed=1)
    how = {"loss": cross_entropy, "optimizer": Adam(model, 1e-2), "epochs": 15, "progress": False}
    fit(model, data.x_train, data.y_train, **how)
    return model


def with_biases(model: MLP, scale: float = 1.0) -> MLP:
    """The network with biases that are not 0."""
    for i, b in enumerate(model.biases):
        b[...] = sample(len(b), seed=i, scale=scale)
    return model


# ---- float --------------------------------------------------------------------------------------------------------


@needs_cc
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("activation", c_file.ACTIVATIONS)
def test_the_float_file_computes_what_predict_does(activation: str, sizes: tuple[int, ...], tmp_path: Path) -> None:
    model = with_biases(MLP(sizes, activation=activation, seed=4))
    write_c(model, tmp_path / "net.c")
    x = sample(50, 64).astype("float32")
    assert_close(forward(tmp_path / "net.c", x, sizes[-1]), model.predict(x), 1e-5)


@needs_cc
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_activations_in_c_bear_any_number(activation: str, tmp_path: Path) -> None:
    model = MLP((1, 1, 1), activation=activation, dtype="float64")
    model.theta[...] = [1, 1, 0, 0]
    write_c(model, tmp_path / "net.c")
    x = np.array([*range(-30, 31), -1e30, -1e4, -90, -1e-6, 1e-6, 90, 1e4, 1e30], np.float32)[:, None]
    assert_close(forward(tmp_path / "net.c", x, 1), model.predict(x).astype("float32"), 1e-6)


@needs_cc
def test_the_weights_of_a_trained_student_are_in_the_file_to_the_last_bit(student: MLP, tmp_path: Path) -> None:
    write_c(student, tmp_path / "net.c")
    numbers = re.findall(r"(-?[\d.]+(?:e[-+]?\d+)?)f,", (tmp_path / "net.c").read_text())
    wanted = [a for W, b in zip(student.weights, student.biases, strict=True) for a in (*W.T.ravel(), *b)]
    assert_same_bits(np.array(numbers, np.float32), np.array(wanted))


# ---- int8: the numbers ---------------------------------------------------------------------------------------------


def int8_network(sizes: tuple[int, ...], scale: float = 1.0) -> Int8Network:
    return quantise(with_biases(MLP(sizes, seed=4), scale), sample(300, sizes[0], seed=7) + 0.3)


@needs_cc
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_int8_file_computes_the_same_bits_as_numpy(sizes: tuple[int, ...], scale: float, tmp_path: Path) -> None:
    network = int8_network(sizes, scale)
    write_c(network, tmp_path / "net.c")
    q = np.random.default_rng(0).integers(-128, 128, (300, 64)).astype(np.int8)
    q[0], q[1] = -128, 127
    assert_same_bits(forward(tmp_path / "net.c", q, sizes[-1]), network.forward(q))


@needs_cc
def test_a_digit_goes_through_quantiser_and_network_to_the_same_bits(student: MLP, data: Data, tmp_path: Path) -> None:
    network = quantise(student, data.x_train)
    write_c(network, tmp_path / "net.c")
    functions = compiled(tmp_path / "net.c")
    functions.net_quantise.argtypes, functions.net_quantise.restype = [ctypes.c_float], ctypes.c_int8
    functions.net_dequantise.argtypes, functions.net_dequantise.restype = [ctypes.c_int8], ctypes.c_float
    q = np.array([[functions.net_quantise(v) for v in row] for row in data.x_test], np.int8)
    assert_same_bits(q, network.quantise(data.x_test))
    logits = forward(tmp_path / "net.c", q, 10)
    assert_same_bits(logits, network.forward(q))
    real = np.array([[functions.net_dequantise(v) for v in row] for row in logits.tolist()], np.float32)
    assert_same_bits(real, network.predict(data.x_test))
    edges = [functions.net_quantise(v) for v in (np.nan, -np.inf, -1e30, 0, 1e30, np.inf)]
    assert edges == [-128, -128, -128, network.inputs.zero_point, 127, 127]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_int8_tables_are_as_tensorflow_lite_specifies_them(sizes: tuple[int, ...]) -> None:
    model, x = with_biases(MLP(sizes, seed=4)), sample(300, 64, seed=7) + 0.3
    network = quantise(model, x)
    grid = network.inputs
    assert network.sizes == sizes
    assert grid.scale == np.float32((x.max() - x.min()) / 255) and -128 <= grid.zero_point <= 127
    for layer, W in zip(network.layers, model.weights, strict=True):
        assert layer.W.dtype == np.int8 and (np.abs(layer.W.astype(int)).max(axis=1) == 127).all()
        scale = np.abs(W).max(axis=0) / 127  # (K,): one for each output, and zero point 0
        assert (np.abs(layer.W * scale[:, None] - W.T) <= 0.5001 * scale[:, None]).all()
        assert (layer.multiplier >= 2**30).all() and layer.b.dtype == layer.multiplier.dtype == np.int32
        assert layer is network.layers[-1] or layer.zero_point == -128  # so that the clamp at -128 is relu


def test_an_int8_layer_rounds_the_exact_product_once_and_halves_up() -> None:
    network = int8_network((20, 15))
    (layer,), q = network.layers, np.random.default_rng(1).integers(-128, 128, (40, 20)).astype(np.int8)
    for row, got in zip(q.tolist(), network.forward(q).tolist(), strict=True):
        for k in range(15):
            a = sum(w * v for w, v in zip(layer.W[k].tolist(), row, strict=True)) + int(layer.b[k])
            exact = Fraction(a * int(layer.multiplier[k]), 2 ** int(layer.shift[k]))
            assert got[k] == min(127, max(-128, layer.zero_point + (exact + Fraction(1, 2)).__floor__()))
    half = int8.Int8Layer(
        np.array([[1]], np.int8),
        np.array([0], np.int32),
        np.array([2**30], np.int32),
        np.array([31], np.uint8),
        0,
    )
    halved = Int8Network(network.inputs, (half,), network.logits).forward(np.array([[-3], [-1], [1], [3]], np.int8))
    assert halved.ravel().tolist() == [-1, 0, 1, 2]  # of -1.5, -0.5, 0.5, 1.5


def test_int8_logits_are_within_the_steps_of_their_grids() -> None:
    """Rounding of inputs, weights and outputs: half a step each."""
    model, x = with_biases(MLP((64, 10), seed=4)), sample(300, 64, seed=7).astype("float32")
    network = quantise(model, x)
    steps = network.inputs.scale * np.abs(model.weights[0]).sum(axis=0)  # (K,): of the inputs
    steps = steps + np.abs(x).sum(axis=1, keepdims=True) * np.abs(model.weights[0]).max(axis=0) / 127  # (N, K): weights
    assert (np.abs(network.predict(x) - model.predict(x)) <= 0.51 * (steps + network.logits.scale)).all()


@needs_cc
@pytest.mark.parametrize("what", ["no weights", "dead layer", "no inputs", "huge bias", "everything 0", "tiny"])
def test_networks_at_the_edge_become_int8_all_the_same(what: str, tmp_path: Path) -> None:
    model, x = with_biases(MLP((6, 5, 4), seed=2)), sample(30, 6).astype("float32")
    if what == "no weights":
        model.weights[0][:, 1] = 0
        model.weights[1][...] = 0
    elif what == "dead layer":
        model.biases[0][...] = -100
    elif what == "no inputs":
        x[...] = 0
    elif what == "huge bias":
        model.biases[0][...] = [1e9, -1e9, 1, 0, 1e-9]
    elif what == "everything 0":
        model.theta[...] = 0
    elif what == "tiny":
        model.theta *= np.float32(1e-30)
    network = quantise(model, x)
    write_c(network, tmp_path / "net.c")
    q = np.random.default_rng(0).integers(-128, 128, (100, 6)).astype(np.int8)
    assert_same_bits(forward(tmp_path / "net.c", q, 4), network.forward(q))
    largest = max(float(np.abs(model.predict(x)).max()), 1e-30)
    assert np.abs(network.predict(x) - model.predict(x)).max() < 0.05 * largest


def test_sums_of_the_widest_layer_fit_32_bits() -> None:
    model, n = MLP((int8.MOST_INPUTS, 1)), int8.MOST_INPUTS
    model.weights[0][...], model.biases[0][...] = -1, -(2**30) / 255 / 127  # the largest bias that keeps W at -127
    (layer,) = quantise(model, np.array([np.zeros(n), np.ones(n)])).layers
    assert (layer.W == -127).all()
    ends = [int(layer.b[0]) - 127 * n * q for q in (-128, 127)]
    assert -(2**31) < min(ends) < -(2**30) - 127 * 255 * n * 0.99


# ---- int8: what it costs ------------------------------------------------------------------------------------------


def test_int8_costs_a_good_student_few_errors_and_the_table_says_so(student: MLP, data: Data) -> None:
    network = quantise(student, data.x_train)
    scores = evaluate(network.predict, data.x_test, data.y_test, teacher=student)
    plain = evaluate(student, data.x_test, data.y_test)
    assert plain.accuracy > 0.9 and abs(scores.errors - plain.errors) <= 3
    assert scores.agreement > 0.99 and abs(scores.nll - plain.nll) < 0.01
    title, *rows = precision_table(student, data.x_test, data.y_test, network)
    assert title == ["weights", "bytes", "errors", "agreement", "NLL"]
    assert [row[:2] for row in rows] == [["float32", "9,640"], ["float16", "4,820"], ["int8", f"{network.nbytes:,}"]]
    assert network.nbytes == 64 * 32 + 32 * 10 + 42 * (4 + 4 + 1)
    assert rows[2][2:] == [f"{scores.errors}", f"{100 * scores.agreement:.2f} %", f"{scores.nll:.4f}"]
    assert rows[0][2:] == [f"{plain.errors}", "100.00 %", f"{plain.nll:.4f}"]


def test_a_weight_that_float16_cannot_hold_becomes_its_largest_number(data: Data) -> None:
    model = MLP((64, 10))
    model.biases[0][0] = 1e6
    assert [row[0] for row in precision_table(model, data.x_test, data.y_test)] == ["weights", "float32", "float16"]


# ---- the file -----------------------------------------------------------------------------------------------------


@needs_cc
@pytest.mark.parametrize("kind", ["float", "tanh", "int8"])
def test_the_file_needs_no_library_but_expf_and_no_memory_that_must_be_filled(kind: str, tmp_path: Path) -> None:
    model = MLP((64, 12, 9, 10), activation="tanh" if kind == "tanh" else "relu")
    said = export(model, tmp_path / "net.c", "c", samples=sample(20, 64) if kind == "int8" else None)
    if shutil.which("nm") is None or shutil.which("size") is None:
        pytest.skip("nm and size are missing: apt-get install binutils")
    cc("-Os", "-c", "net.c", folder=tmp_path)
    undefined = subprocess.run(["nm", "-u", "net.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert set(undefined.split()) - {"U", "_GLOBAL_OFFSET_TABLE_"} == ({"expf"} if kind == "tanh" else set())
    text, data, bss = (int(n.replace(",", "")) for n in re.findall(r"(?:text|data|bss) ([\d,]+)", said))
    cell, tables = (1, 64 * 12 + 12 * 9 + 90 + 31 * 9) if kind == "int8" else (4, 4 * model.num_params)
    assert tables < text < tables + 2500 and data == 0 and cell * 21 <= bss <= cell * 21 + 64
    assert "measured by cc -Os and size" in said and f"Memory: {said}.\n" in (tmp_path / "net.c").read_text()


@pytest.mark.parametrize("kind", ["float", "int8"])
def test_without_a_compiler_sizes_are_computed_and_the_words_say_so(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    model = MLP((64, 12, 9, 10))
    said = export(model, tmp_path / "net.c", "c", samples=sample(20, 64) if kind == "int8" else None)
    sizes = "text 1,245, data 0, bss 21 bytes" if kind == "int8" else "text 3,988, data 0, bss 84 bytes"
    assert said == f"{sizes}, computed from the tables without the code, because cc or size is missing or failed"


@needs_cc
@pytest.mark.parametrize("kind", ["float", "int8"])
def test_the_main_of_the_file_reads_samples_and_prints_logits(kind: str, tmp_path: Path) -> None:
    model, x = with_biases(MLP((6, 5, 4), seed=2)), sample(30, 6).astype("float32")
    network: Any = quantise(model, x) if kind == "int8" else model
    write_c(network, tmp_path / "a net.c")
    cc("-DA_NET_MAIN", "a net.c", "-lm", "-o", "net", folder=tmp_path)
    text = "\n".join(" ".join(str(v) for v in row) for row in x)

    def answer(given: str) -> Any:
        return subprocess.run([tmp_path / "net"], input=given, capture_output=True, text=True, timeout=30)

    assert answer(text).returncode == 0
    printed = np.array([line.split() for line in answer(text).stdout.splitlines()], np.float32)
    assert_close(printed, network.predict(x), 1e-5)
    assert [answer(bad).returncode for bad in (f"{text} 1 2", f"{text} word", "")] == [1, 1, 0]


@needs_cc
@pytest.mark.parametrize("name", ["net.c", "my net-1.c", "'Schüler' $HOME.c"])
def test_the_command_in_the_file_compiles_it(name: str, tmp_path: Path) -> None:
    model, x = with_biases(MLP((6, 5, 4), activation="tanh")), sample(3, 6).astype("float32")
    write_c(model, tmp_path / name)
    (command,) = re.findall(r"cc -std=c99 .* < samples\.txt", (tmp_path / name).read_text(encoding="utf-8"))
    np.savetxt(tmp_path / "samples.txt", x)
    result = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert_close(np.loadtxt(result.stdout.splitlines()), model.predict(x), 1e-5)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/student.safetensors", "student"),
        ("distilled-0.safetensors", "distilled_0"),
        ("student.pytorch.safetensors", "student_pytorch"),
        ("3 Schüler.c", "mlp_3_Sch_ler"),
        ("_x.c", "mlp__x"),
    ],
)
def test_functions_are_named_after_the_file(path: str, name: str) -> None:
    assert c_name(path) == name


def test_what_c_has_not_is_named() -> None:
    model = MLP((4, 3, 2), activation="gelu")
    with pytest.raises(ValueError, match="activation must be one of relu, tanh, sigmoid in C, got 'gelu'"):
        write_c(model, "net.c")
    with pytest.raises(ValueError, match="activation must be relu in int8, got 'tanh'; the float file also has others"):
        quantise(MLP((4, 3, 2), activation="tanh"), sample(5, 4))
    with pytest.raises(ValueError, match="sizes must be at most 32,768 inputs a layer in int8, got 40,000"):
        quantise(MLP((40_000, 1)), sample(1, 40_000))
    with pytest.raises(ValueError, match=r"samples must have 4 columns"):
        quantise(MLP((4, 2)), sample(5, 3))
    for dtype, value, got in (("float32", np.nan, "nan"), ("float64", 1e39, "inf")):
        model = MLP((4, 2), dtype=dtype)
        model.theta[1] = value
        with pytest.raises(ValueError, match=rf"theta in float32 must be finite, got {got} at index \(1,\)"):
            write_c(model, "net.c")
    model = MLP((4, 2), dtype="float64")
    model.biases[0][0] = 1e60
    for network, samples in ((MLP((4, 2)), np.full((5, 4), 1e300)), (model, np.zeros((5, 4)))):
        with pytest.raises(ValueError, match="activations in float32 must be finite, got inf"):  # without a warning
            quantise(network, samples)
    write_c_of_one_layer = c_file.c_source(MLP((4, 2), activation="gelu"), "net", "")  # it has no activation
    assert "gelu" not in write_c_of_one_layer
    with pytest.raises(CheckpointError, match="cannot write"):
        write_c(MLP((4, 2)), "no/such/folder/net.c")


# ---- the command --------------------------------------------------------------------------------------------------


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    printed = capsys.readouterr()
    assert exit.value.code == 2 and printed.err.count("\n") == 1 and not printed.out
    return printed.err


def test_the_command_writes_c_and_prints_what_each_precision_costs(
    student: MLP, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = str(tmp_path / "student-0.safetensors")
    student.save(own)
    main(["export", own, "--to", "c"])
    printed = capsys.readouterr().out
    assert "student_0.c: " in printed and "text" in printed and "float16" not in printed
    main(["export", own, "--to", "c", "--int8", "--data", "digits"])
    printed = capsys.readouterr().out
    assert "student_0_int8.c: " in printed and "on the 536 test samples of digits:" in printed
    rows = {line.split()[0]: line.split()[1:] for line in printed.strip().splitlines()[-3:]}
    scores = evaluate(quantise(student, data.x_train).predict, data.x_test, data.y_test, teacher=student)
    assert rows["int8"] == ["2,746", str(scores.errors), f"{100 * scores.agreement:.2f}", "%", f"{scores.nll:.4f}"]
    assert "int8_t student_0_int8_quantise(float x);" in (tmp_path / "student_0_int8.c").read_text()
    first = (tmp_path / "student_0_int8.c").read_text()
    np.save(tmp_path / "x.npy", data.x_train)
    main(["export", own, "--to", "c", "--int8", "--samples", str(tmp_path / "x.npy")])
    assert (tmp_path / "student_0_int8.c").read_text() == first and "float16" not in capsys.readouterr().out
    MLP((64, 8, 10), activation="tanh").save(own)
    main(["export", own, "--to", "c", "--data", "digits", "--out", str(tmp_path / "other.c")])
    printed = capsys.readouterr().out
    assert "float16" in printed and "int8" not in printed
    assert "void other_forward(const float x[64], float logits[10]);" in (tmp_path / "other.c").read_text()


def test_the_table_of_a_layer_too_wide_for_int8_leaves_int8_out(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "MOST_INPUTS", 63)
    table = cli_export._costs(MLP((64, 8, 10)), data, "digits")
    assert "float16" in table and "int8" not in table


def test_the_command_says_what_c_and_int8_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, gelu, x = (str(tmp_path / name) for name in ("s.safetensors", "g.safetensors", "x.npy"))
    MLP((64, 8, 10)).save(own)
    MLP((64, 8, 10), activation="gelu").save(gelu)
    np.save(x, np.zeros(64))
    for arguments, words in (
        ([gelu, "--to", "c"], "g.safetensors cannot be written as c: activation must be one of .*, got 'gelu'"),
        ([own, "--to", "c", "--int8"], "--int8 measures .* training samples.*--data NAME.*--samples FILE.npy"),
        ([own, "--to", "npz", "--int8"], "--int8, --data and --samples belong to --to c, and --to is npz"),
        ([own, "--to", "c", "--samples", x], "--samples belongs to --int8"),
        (
            [own, "--to", "c", "--int8", "--samples", x],
            r"x.npy holds float64 of shape \(64,\), wanted training samples",
        ),
        ([own, "--to", "c", "--int8", "--data", "words"], "takes 64 inputs and knows 10 classes, but words has 162"),
        ([own, "--to", "c", "--int8", "--samples", x, "--data", "digits"], "not allowed with"),
    ):
        assert re.search(words, refused(["export", *arguments], capsys)), words
    assert {p.name for p in tmp_path.iterdir()} == {"s.safetensors", "g.safetensors", "x.npy"}


@needs_cc
def test_the_commands_in_docs_run(student: MLP, tmp_path: Path) -> None:
    found = re.search(r"<!-- c -->\n```sh\n(.*?)```", (ROOT / "docs/exchange.md").read_text(), re.DOTALL)
    assert found
    student.save(tmp_path / "student.safetensors")
    run = f'set -e\nminikd() {{ python -m minikd "$@"; }}\npython() {{ "{sys.executable}" "$@"; }}\n{found[1]}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(
        ["bash", "-c", run], cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment
    )
    assert result.returncode == 0, result.stderr
    *_, last = result.stdout.split("\n\n")
    logits = np.array([line.split() for line in last.splitlines()[-3:]], np.float64)
    assert logits.shape == (3, 10) and (logits.argmax(axis=1) == load_data("digits").y_test[:3]).all()
