"""The data set of words: what it holds, that its parts share no word and no inflection, and how rows are made.

And language models of letters: sampling from one, measuring one, and what is refused.
"""

from __future__ import annotations

import gzip
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits

from minikd import MLP, Adam, cross_entropy, evaluate, fit, load_data
from minikd.backend import to_numpy
from minikd.cli.main import main
from minikd.data import DATASETS, Data, few, words
from minikd.data.words import ALPHABET, CONTEXT, OneHot, decode, encode
from minikd.errors import CheckpointError, DataError
from minikd.experiments import distill, made_up
from minikd.experiments.config import Config
from minikd.experiments.distill import Experiment
from minikd.methods import METHODS, language
from minikd.methods.language import Drawn
from minikd.metrics import teacher_targets
from minikd.scale.answers import cached_logits
from minikd.training import no_labels

pytestmark = pytest.mark.extras

DATA = load_data("words")
PARTS = words.split_words()
INPUTS = CONTEXT * len(ALPHABET)


def language_model(seed: int = 0, hidden: int = 20, context: int = CONTEXT, dtype: str = "float32") -> MLP:
    """An untrained language model; its biases are large enough to make some letters likelier than others."""
    model = MLP((context * len(ALPHABET), hidden, len(ALPHABET)), seed=seed, dtype=dtype)
    model.biases[-1][...] = np.random.default_rng(seed).standard_normal(len(ALPHABET))
    return model


# ---- the words and their parts ------------------------------------------------------------------------------------


def test_the_file_holds_the_plain_words_of_the_list_and_can_be_made_again(data_dir: Path) -> None:
    text = (data_dir / "words" / "american-english-small.txt").read_text(encoding="utf-8")
    held = (Path(words.__file__).parent / "words.txt.gz").read_bytes()
    plain = words.plain_words(text)
    assert gzip.decompress(held).decode().split("\n") == plain and len(plain) == 38_842
    assert len(held) < 130_000
    assert {"walk", "aardvark"} <= set(plain) and not {"it", "AIDS", "cat's", "café"} & set(plain)


def test_every_word_is_in_one_part_and_the_parts_have_their_sizes() -> None:
    assert {part: len(found) for part, found in PARTS.items()} == {"train": 24_000, "val": 7_421, "test": 7_421}
    assert len(set().union(*PARTS.values())) == 38_842
    assert all(found == sorted(found) for found in PARTS.values())
    assert all(3 <= len(word) <= 12 for found in PARTS.values() for word in found)


def inflections(word: str) -> set[str]:
    """The simple inflections of a word, made forwards: the code takes endings off, this puts them on."""
    endings = ("s", "es", "ed", "d", "ing", "er", "ers", "est", "ly")
    bases = {word, word + word[-1]}  # run, runn-ing
    bases |= {word[:-1]} if word.endswith("e") else set()  # bake, bak-ing
    bases |= {word[:-1] + "i"} if word.endswith("y") else set()  # city, citi-es
    return {base + ending for base in bases for ending in endings} | ({word[:-1] + "y"} if word[-2:] == "le" else set())


def test_no_word_is_an_inflection_of_a_word_of_another_part() -> None:
    part_of = {word: part for part, found in PARTS.items() for word in found}
    found = [(word, other) for word, part in part_of.items() for other in inflections(word)
             if part_of.get(other, part) != part]  # fmt: skip
    assert not found


@pytest.mark.parametrize(
    ("word", "stem"),
    [("walks", "walk"), ("passes", "pass"), ("baking", "bake"), ("bakers", "bake"), ("cities", "city"),
     ("running", "run"), ("happily", "happy"), ("gently", "gentle"), ("biggest", "big"), ("tried", "try")],
)  # fmt: skip
def test_a_stem_is_found_by_its_step(word: str, stem: str) -> None:
    assert stem in set(words.stems(word)) and "" not in set(words.stems(word))
    assert sorted(words.groups([word, stem, "lone"])) == sorted([sorted([word, stem]), ["lone"]])


def test_groups_join_what_is_joined_by_way_of_another_word_and_nothing_else() -> None:
    assert words.groups(["bake", "baker", "bakers", "baking", "knife", "knives"]) == [
        ["bake", "baker", "bakers", "baking"],
        ["knife"],
        ["knives"],
    ]
    sizes = [len(group) for group in words.groups(sorted(set().union(*PARTS.values())))]
    assert len(sizes) == 15_142 and max(sizes) == 19


def test_a_damaged_file_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "SHA256", "0" * 64)
    words.split_words.cache_clear()
    with pytest.raises(DataError, match=r"words\.txt\.gz inside minikd is damaged: reinstall"):
        load_data("words")
    monkeypatch.undo()
    words.split_words.cache_clear()


def test_the_licence_lies_beside_the_data_and_is_packed(data_dir: Path) -> None:
    notice = (data_dir / "words" / "COPYRIGHT.txt").read_text(encoding="utf-8")
    licence = (Path(words.__file__).parent / "LICENSE-words.txt").read_text(encoding="utf-8")
    assert notice in licence and "words.txt.gz" in licence
    assert "minikd/data/LICENSE-words.txt" in (Path(__file__).parents[1] / "pyproject.toml").read_text()


# ---- samples and one-hot rows -------------------------------------------------------------------------------------


def test_a_word_gives_a_sample_for_each_letter_and_one_for_its_end() -> None:
    codes, following, word = encode(["ad", "banana"], context=3)
    assert decode(codes) == ["___", "__a", "_ad", "___", "__b", "_ba", "ban", "ana", "nan", "ana"]
    assert "".join(ALPHABET[i] for i in following) == "ad_banana_"
    assert word.tolist() == [0] * 3 + [1] * 7
    assert codes.dtype == np.uint8 and following.dtype == np.int64


def test_the_parts_are_the_samples_of_their_words() -> None:
    for x, y, part in zip((DATA.x_train, DATA.x_val, DATA.x_test), DATA[1:6:2], PARTS, strict=True):
        codes, following, word = encode(PARTS[part])
        assert_same_bits(x.codes, codes)
        assert_same_bits(y, following)
        assert_same_bits(x.word, word)
        assert x.shape == (len(y), INPUTS) and x.words == len(PARTS[part])
    assert DATA.n_train == 24_000 and load_data("digits").n_train == 899
    assert DATA.class_names == tuple(ALPHABET) and DATA.image_shape is None


def test_texts_show_the_context_and_the_letter_to_guess() -> None:
    texts = DATASETS["words"].test_texts
    assert texts is not None
    found = texts()
    assert len(found) == len(DATA.y_test)
    first = PARTS["test"][0]
    assert found[: len(first) + 1] == [f"{('______' + first)[i : i + 6]} → {(first + '_')[i]}" for i in
                                       range(len(first) + 1)]  # fmt: skip


@pytest.mark.parametrize("which", [slice(3, 9), slice(None, None, 50_000), np.array([5, 5, 0]), 4, slice(0, 0)])
def test_rows_are_one_in_the_column_of_each_symbol(which: Any) -> None:
    x = DATA.x_train
    rows, codes = x[which], x.codes[which]
    assert rows.dtype == np.float32 and rows.shape == (*codes.shape[:-1], INPUTS)
    assert_same_bits(rows.reshape(*codes.shape, 27).argmax(axis=-1).astype(np.uint8), codes)
    assert (rows.sum(axis=-1) == CONTEXT).all() and set(np.unique(rows)) <= {0, 1}


def test_a_part_of_the_rows_is_a_source_with_its_own_fingerprint() -> None:
    part = DATA.x_train.take(np.array([9, 2, 700]))
    assert isinstance(part, OneHot) and part.shape == (3, INPUTS) and len(part) == 3
    assert_same_bits(part[:], DATA.x_train[np.array([9, 2, 700])])
    assert_same_bits(np.asarray(part), part[:])
    assert_same_bits(part.word, DATA.x_train.word[[9, 2, 700]])
    prints = {x.fingerprint for x in (part, DATA.x_train, DATA.x_val, DATA.x_train.take(np.array([9, 2, 701])))}
    assert len(prints) == 4 and part.fingerprint == DATA.x_train.take(np.array([9, 2, 700])).fingerprint
    assert pickle.loads(pickle.dumps(part)).fingerprint == part.fingerprint


def test_a_few_words_come_with_all_their_letters_and_more_words_contain_fewer() -> None:
    drawn = {n: few(DATA.y_train, n, seed=3, words=DATA.x_train.word) for n in (1, 50, 24_000)}
    for n, rows in drawn.items():
        numbers = np.unique(DATA.x_train.word[rows])
        assert len(numbers) == n == DATA.x_train.take(rows).words
        assert len(rows) == sum(len(PARTS["train"][i]) + 1 for i in numbers) and (np.diff(rows) > 0).all()
    assert set(drawn[1]) < set(drawn[50]) < set(drawn[24_000]) == set(range(len(DATA.y_train)))
    assert set(few(DATA.y_train, 50, seed=4, words=DATA.x_train.word)) != set(drawn[50])
    for n in (0, 24_001):
        with pytest.raises(ValueError, match=r"images must be (at least 1|from 1 to 24,000, all training samples)"):
            few(DATA.y_train, n, words=DATA.x_train.word)
    without = few(DATA.y_train, 50, without=(5,), seed=3, words=DATA.x_train.word)
    assert not (DATA.y_train[without] == 5).any()


# ---- training on them ---------------------------------------------------------------------------------------------


def test_training_and_measuring_on_the_source_is_what_it_is_on_an_array(device: str) -> None:
    part, labels = DATA.x_train.take(slice(0, 300)), DATA.y_train[:300]
    thetas, scores = [], []
    for x in (part, part[:]):
        model = MLP((INPUTS, 8, 27), device=device)
        options: dict[str, Any] = {"epochs": 2, "batch_size": 64, "progress": False, "validation": (x, labels)}
        history = fit(model, x, labels, loss=cross_entropy, optimizer=Adam(model), **options)
        thetas.append(model.theta)
        scores.append((evaluate(model, x, labels), history["val_nll"]))
        assert_same_bits(model.predict(x), model.predict(part[:]))
    assert_same_bits(*thetas)
    assert scores[0] == scores[1]


def test_a_teachers_answers_are_looked_up_by_index_and_kept_in_a_file(tmp_path: Path) -> None:
    part, student, teacher = DATA.x_train.take(slice(0, 3000)), language_model(1), language_model(2)
    asked = teacher_targets(teacher, student, part)
    assert_same_bits(asked, teacher.predict(part[:]))
    kept = cached_logits(tmp_path / "a.npy", teacher, part)
    assert_same_bits(np.asarray(kept[:]), asked)
    with pytest.raises(CheckpointError, match="about other samples"):
        cached_logits(tmp_path / "a.npy", teacher, part.take(slice(None, None, -1)))


def test_a_run_is_not_resumed_with_other_words(tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 2, "checkpoint": tmp_path / "s.safetensors", "resume": True, "progress": False}
    for rows in (slice(0, 100), slice(0, 100)):
        fit(language_model(), DATA.x_train.take(rows), DATA.y_train[rows], loss=cross_entropy, **options)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        fit(language_model(), DATA.x_train.take(slice(100, 200)), DATA.y_train[:100], loss=cross_entropy, **options)


@pytest.mark.parametrize("method", ["kd", "on-policy", "sequence-level", "rkd"])
def test_a_run_of_the_main_job_counts_words_and_is_resumed_with_the_same_bits(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = slice(0, 3000)
    parts = (value.take(rows) if isinstance(value, OneHot) else value[rows] for value in DATA[:6])
    fewer = Data._make([*parts, *DATA[6:]])
    monkeypatch.setattr(distill, "load_data", lambda name: fewer)
    small = {"teacher": (8,), "student": (6,), "teacher_from": str(tmp_path / "teacher.safetensors"), "seeds": 1}
    MLP((INPUTS, 8, 27), seed=5).save(tmp_path / "teacher.safetensors")
    config = Config.for_data("words", method=method, images=30, epochs=2, **small)
    assert config.temperature == 1 and config.soft_weight == 1
    thetas = []
    for _ in range(2):
        done = Experiment(config, tmp_path).run()
        thetas.append({t.kind: t.model.theta for t in done})
        assert DATA.x_train.take(Experiment(config, tmp_path).shown(0)).words == 30
    assert set(thetas[0]) == {"teacher", "labels", "smoothed", "distilled", "all"}
    for kind in thetas[0]:
        assert_same_bits(thetas[0][kind], thetas[1][kind])


# ---- a language model ---------------------------------------------------------------------------------------------


def test_the_likelihood_of_a_word_is_the_product_of_its_steps() -> None:
    model, word = language_model(), "adventure"
    steps, context = [], "_" * CONTEXT
    for symbol in f"{word}_":
        steps.append(language.next_symbol(model, context)[ALPHABET.index(symbol)])
        context = context[1:] + symbol
    assert language.word_log_likelihood(model, word) == pytest.approx(np.log(steps).sum(), rel=1e-6)
    assert language.nll_per_letter(model, [word]) == pytest.approx(-np.log(steps).mean(), rel=1e-6)
    assert_same_bits(language.next_symbol(model, "_adven"), language.next_symbol(model, "adven"))


def test_nll_is_evaluates_and_perplexity_its_exponential() -> None:
    model, held_out = language_model(), PARTS["val"]
    nll = language.nll_per_letter(model, held_out)
    assert nll == pytest.approx(evaluate(model, DATA.x_val, DATA.y_val).nll, rel=1e-9)
    assert language.perplexity(model, held_out) == pytest.approx(math.exp(nll))
    model.theta[...] = 0
    assert language.perplexity(model, ["any", "word"]) == pytest.approx(27)


def test_the_probabilities_of_all_short_words_and_of_longer_ones_sum_to_one() -> None:
    """With a context of 2: the words of up to two letters, and the mass of the prefixes of three, by the chain rule."""
    model = language_model(context=2)
    start = language.next_symbol(model, "")
    total = start[0]  # the empty word, which is never drawn
    for a in ALPHABET[1:]:
        total += math.exp(language.word_log_likelihood(model, a))
        for b in ALPHABET[1:]:
            total += math.exp(language.word_log_likelihood(model, a + b))
            mass = start[ALPHABET.index(a)] * language.next_symbol(model, a)[ALPHABET.index(b)]
            total += mass * (1 - language.next_symbol(model, a + b)[0])
    assert total == pytest.approx(1, abs=1e-5)


def test_samples_are_drawn_by_the_seed_and_are_never_empty(device: str) -> None:
    model = MLP((INPUTS, 20, 27), device=device)
    drawn = language.sample(model, 200, seed=4)
    assert drawn == language.sample(model, 200, seed=4) != language.sample(model, 200, seed=5)
    assert len(drawn) == 200 and all(1 <= len(word) <= language.LONGEST for word in drawn)
    assert set("".join(drawn)) <= set(ALPHABET[1:])


def test_letters_come_as_often_as_the_model_says() -> None:
    model = language_model(context=1)
    drawn = language.sample(model, 20_000, seed=1)
    first = np.bincount([ALPHABET.index(word[0]) for word in drawn], minlength=27) / len(drawn)
    p = language.next_symbol(model, "")
    p[0] = 0
    assert_close(first, p / p.sum(), 0.02)
    after = [(word + "_")[1] for word in drawn if word[0] == "e"]
    second = np.bincount([ALPHABET.index(symbol) for symbol in after], minlength=27) / len(after)
    assert_close(second, language.next_symbol(model, "e"), 0.08)


def test_a_low_temperature_draws_the_likeliest_word_and_a_high_one_every_letter_alike() -> None:
    model = language_model()
    cold = set(language.sample(model, 50, temperature=1e-3))
    assert len(cold) == 1
    hot = "".join(language.sample(model, 2000, temperature=1e3))
    assert_close(np.bincount([ALPHABET.index(c) for c in hot], minlength=27)[1:] / len(hot), np.full(26, 1 / 26), 0.01)


def test_a_word_that_does_not_end_is_cut_off() -> None:
    model = language_model()
    model.biases[-1][0] = -1e4
    assert {len(word) for word in language.sample(model, 20)} == {language.LONGEST}


def test_a_network_that_has_learnt_a_word_says_it() -> None:
    codes, following, word = encode(["banana"])
    model = MLP((INPUTS, 30, 27), seed=1)
    fit(
        model,
        OneHot(codes, word),
        following,
        loss=cross_entropy,
        optimizer=Adam(model, 0.03),
        epochs=60,
        progress=False,
    )
    assert language.sample(model, 20, seed=2).count("banana") >= 18
    assert language.word_log_likelihood(model, "banana") > -0.2


FITTING, STRANGER, LONG = language_model(), MLP((64, 5, 10)), language_model(context=8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode(["good", "naïve"]), r"words\[1\] must consist of letters from a to z, got 'ï' in 'naïve'"),
        (lambda: encode(["Good"]), r"words\[0\] must consist of letters from a to z, got 'G' in 'Good'"),
        (lambda: encode(["good", ""]), r"words\[1\] must consist of letters from a to z, got an empty word"),
        (lambda: encode([]), r"words must be a list of at least one word, got \[\]"),
        (lambda: encode("word"), "words must be a list of at least one word, got str 'word'"),  # type: ignore[arg-type]
        (lambda: encode([3]), r"words\[0\] must be a word, got 3"),  # type: ignore[list-item]
        (lambda: language.nll_per_letter(FITTING, ["two words"]), r"words\[0\] must .* got ' ' in 'two words'"),
        (lambda: language.word_log_likelihood(FITTING, ""), "got an empty word"),
        (lambda: language.next_symbol(FITTING, "_adventu"), "at most the model's 6 symbols, got 8 in '_adventu'"),
        (lambda: language.next_symbol(FITTING, "a_b"), "context must be letters from a to z, after end marks"),
        (lambda: language.sample(STRANGER, 3), "model must have a multiple of 27 inputs and 27 classes, .* got 64"),
        (lambda: language.sample(MLP((162, 26)), 3), "got 162 inputs and 26 classes"),
        (lambda: language.sample(FITTING.predict, 3), "model must be an MLP"),  # type: ignore[arg-type]
        (lambda: language.sample(FITTING, 0), "n must be at least 1"),
        (lambda: language.sample(FITTING, 3, temperature=0.0), "temperature must be in"),
        (lambda: language.sample(FITTING, 3, seed=-1), "seed must be at least 0"),
        (lambda: evaluate(LONG, DATA.x_val, DATA.y_val), "x must have 216 columns"),
        (lambda: METHODS["on-policy"].train(FITTING, FITTING, SOME), "teacher must be another network than student"),
        (lambda: teach("on-policy", teacher=STRANGER), "teacher must have a multiple of 27 inputs and 27 classes"),
        (lambda: teach("on-policy", teacher=LONG), "teacher must read as many symbols of context as student, 6, got 8"),
        (lambda: teach("on-policy", teacher=FITTING.predict), "teacher must be an MLP"),
        (lambda: teach("on-policy", x=np.zeros((5, INPUTS))), r'x must be the contexts of load_data\("words"\)'),
        (lambda: teach("on-policy", share=1.5), r"share must be in \[0, 1\], got 1.5"),
        (lambda: teach("on-policy", divergence="both"), "divergence must be one of forward, reverse, got 'both'"),
        (lambda: teach("on-policy", temperature=0), "temperature must be in"),
        (lambda: teach("on-policy", augment=lambda x, rng: x), "augment must be left out"),
        (lambda: teach("sequence-level", teacher=STRANGER), "teacher must have a multiple of 27 inputs"),
        (lambda: teach("sequence-level", teacher=LONG), "teacher must read as many symbols of context as student"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_name(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()


# ---- methods that make words up -----------------------------------------------------------------------------------

SOME = DATA.x_train.take(slice(0, 400))
SOME_LABELS = DATA.y_train[:400]


def teach(method: str, teacher: Any = None, x: Any = SOME, **options: Any) -> MLP:
    """A student after a few epochs of a method."""
    student = language_model(7, 8)
    options = {"epochs": 3, "batch_size": 64, "progress": False, **options}
    METHODS[method].train(
        student, language_model(3) if teacher is None else teacher, x, SOME_LABELS[: len(x)], **options
    )
    return student


def test_a_share_of_the_rows_is_replaced_in_each_epoch_by_words_of_the_speaker() -> None:
    speaker = language_model(3)
    drawn = Drawn(SOME, 0.25, speaker)
    before, epochs = SOME.codes.copy(), []
    for epoch in (0, 1, 0):
        drawn.begin_epoch(language_model(9), 5, epoch)
        changed = (drawn.codes != SOME.codes).any(axis=1)
        assert 60 < changed.sum() <= 100  # some contexts, those of first letters above all, come out as they were
        epochs.append((drawn.codes, drawn.following[changed].copy()))
    assert_same_bits(SOME.codes, before)
    assert (epochs[0][0] != epochs[1][0]).any()
    assert_same_bits(epochs[0][0], epochs[2][0])
    assert_same_bits(epochs[0][1], epochs[2][1])


def test_the_rows_of_a_speaker_are_contexts_of_words_that_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    original = language._sample
    monkeypatch.setattr(language, "_sample", lambda *args: said.extend(new := original(*args)) or new)
    drawn = Drawn(SOME, 1.0, language_model(3))
    drawn.begin_epoch(None, 0, 0)
    codes, following, _ = encode(said)
    pairs = sorted(zip(decode(drawn.codes), drawn.following, strict=True))
    assert pairs == sorted(zip(decode(codes[:400]), following[:400], strict=True))
    assert len(said) < 400


def test_the_student_of_the_moment_writes_unless_somebody_else_is_named() -> None:
    student, other = language_model(1), language_model(2)
    sources = Drawn(SOME, 1.0), Drawn(SOME, 1.0, student), Drawn(SOME, 1.0, other)
    for source in sources:
        source.begin_epoch(student, 0, 0)
    assert_same_bits(sources[0].codes, sources[1].codes)
    assert (sources[0].codes != sources[2].codes).any()
    assert len({source.fingerprint for source in (*sources, Drawn(SOME, 0.5))}) == 4


def test_on_policy_with_no_share_is_kd_without_labels() -> None:
    assert_close(teach("on-policy", share=0.0).theta, teach("kd", temperature=1.0, soft_weight=1.0).theta, 1e-5)
    reverse = teach("on-policy", share=0.0, divergence="reverse").theta
    assert_close(reverse, teach("reverse-kl", soft_weight=1.0).theta, 1e-5)
    assert np.abs(reverse - teach("on-policy", share=0.0).theta).max() > 1e-3
    assert np.abs(teach("on-policy").theta - teach("on-policy", share=0.0).theta).max() > 1e-3


def test_no_label_is_read_on_policy_and_no_word_at_the_level_of_sequences() -> None:
    for method, x in (
        ("on-policy", SOME),
        ("sequence-level", SOME),
        ("sequence-level", DATA.x_val.take(slice(0, 400))),
    ):
        with_labels, without = teach(method, x=SOME), language_model(7, 8)
        METHODS[method].train(without, language_model(3), x, None, epochs=3, batch_size=64, progress=False)
        assert_same_bits(with_labels.theta, without.theta)


def test_words_of_the_teacher_teach_what_it_says() -> None:
    """A student that is shown only words that the teacher made up gives held-out ones nearly the teacher's NLL."""
    x = DATA.x_train.take(slice(0, 4000))
    speaker = language_model(3)
    said = language.sample(speaker, 1000, seed=9)
    student = teach("sequence-level", speaker, x, epochs=12, optimizer=lambda m: Adam(m, 0.01))
    before, after, theirs = (language.nll_per_letter(model, said) for model in (language_model(7, 8), student, speaker))
    assert theirs < after < theirs + 0.15 < before


@pytest.mark.parametrize("method", ["on-policy", "sequence-level"])
def test_a_run_that_was_killed_and_resumed_ends_with_the_same_bits(method: str, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(model: MLP, history: Any) -> None:
        if len(history) == 2:
            raise Killed

    path, options = tmp_path / "s.safetensors", {"epochs": 5}
    whole = teach(method, **options)
    with pytest.raises(Killed):
        teach(method, checkpoint=path, resume=True, callbacks=(kill,), **options)
    for _ in range(2):
        assert_same_bits(teach(method, checkpoint=path, resume=True, **options).theta, whole.theta)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        teach(method, teacher=language_model(4), checkpoint=path, resume=True, **options)


def test_another_share_is_another_run(tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": tmp_path / "s.safetensors", "resume": True}
    teach("on-policy", **options)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        teach("on-policy", share=0.4, **options)


@pytest.mark.parametrize("method", ["on-policy", "sequence-level"])
def test_words_are_made_up_on_every_device_alike(method: str, device: str) -> None:
    if device == "cpu":
        pytest.skip("the CPU is what the other device is compared with")
    thetas = []
    for where in ("cpu", "cuda"):
        student, teacher = (MLP((INPUTS, 6, 27), seed=s, device=where) for s in (1, 2))
        METHODS[method].train(student, teacher, SOME, None, epochs=2, batch_size=100, progress=False)
        thetas.append(to_numpy(student.theta))
    assert_close(*thetas, 2e-3)


def test_fit_takes_a_source_without_labels() -> None:
    model = language_model()
    fit(model, SOME, (no_labels, SOME_LABELS), loss=lambda z, _, y: cross_entropy(z, y), epochs=1, progress=False)
    assert np.isfinite(model.theta).all()


# ---- the main job ---------------------------------------------------------------------------------------------------


def test_the_main_job_tells_perplexity_and_shows_words_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_words = {part: found[:300] for part, found in words.split_words().items()}
    monkeypatch.setattr(words, "split_words", lambda: few_words)
    arguments = ["--images", "40", "--seeds", "1", "--teacher", "16", "--teacher-epochs", "1", "--epochs", "2"]
    main(["distill", "--data", "words", *arguments, "--jobs", "1", "--out", str(tmp_path / "run"), "--no-pictures"])
    out = capsys.readouterr().out
    head = next(line for line in out.splitlines() if "NLL" in line)
    assert head.split()[:3] == ["perplexity", "acc.", "%"] and "errors" not in head
    results = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert all(row["perplexity"] == pytest.approx(math.exp(row["nll"])) for row in results)
    assert "letters of test words, the student's NLL is" in " ".join(out.split())
    table = out.split("* marks real ones:\n\n")[1].split("\n\n")[0].splitlines()
    assert table[0].split("  ")[0] == "teacher" and len(table) == 14 and max(map(len, table)) <= 80
    assert table[-1].count("real, not shown") == 3


def test_a_word_that_was_shown_is_marked_as_real_and_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_up, "sample", lambda model, n: ["bake", "xqzt", "walk", "bake"] * (n // 4))
    train = words.split_words()["train"]
    shown = [train.index(word) for word in ("bake", "walk") if word in train]
    every = {"bake", "walk"} & {word for part in words.split_words().values() for word in part}
    assert every == {"bake", "walk"}
    text = made_up.made_up({"one": MLP((162, 27))}, ())
    assert text.splitlines()[1:4] == ["bake*", "xqzt", "walk*"] and "75.0% real, not shown" in text
    left = {"bake": 50, "walk": 25}
    counted = sum(share for word, share in left.items() if word not in {train[i] for i in shown})
    assert f"{counted:.1f}% real, not shown" in made_up.made_up({"one": MLP((162, 27))}, shown)
