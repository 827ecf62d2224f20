"""Gu et al. 2023 ("MiniLLM") and Agarwal et al. 2023 ("GKD"): KL directions and the student's own words, for letters.

Source: arXiv 2306.08543 and arXiv 2306.13649. Both distil language models of millions to billions of parameters.
MiniLLM trains with reverse KL, KL(student || teacher). It says that forward KL makes a small student cover all of the
teacher's distribution, including unlikely outputs, while reverse KL makes it seek the modes that it can fit. In GKD the
student generates text during training, and the teacher gives the next-token probabilities in the student's own
contexts. Without this, the student meets contexts in use that it was not trained on: exposure bias.

Question. We test the same claims for a model that predicts the next letter of a word from the six letters before it
(`minikd/data/words.py`). The teacher, 256-256, learns 24,000 words. Students with 64 hidden units learn from 1,000 of
them, from the same initial weights, for 40 epochs, each in one way:

- labels: the labels of the words alone, to the end or stopped early
- forward KL: KL(teacher || student) at T = 1 in each context of the words, without labels
- reverse KL: KL(student || teacher) instead
- half own: in each epoch, half of the contexts are replaced by contexts of words that the student makes up
- half teacher: the same with words that the teacher makes up, so as many new contexts, but not the student's own
- JSD 0.5: the Jensen-Shannon divergence at β = 0.5
- top 5: forward KL from the teacher's five largest probabilities (`top-k`, "rest")
- sequence level: labels of words that the teacher makes up in each epoch (`sequence-level`)

Labels and forward KL are also compared with 500 and 2,000 words.

Measures:

- held-out: NLL of the test words in nats per letter. It is low for a student that covers.
- own words: the teacher's NLL of 10,000 words that the student makes up. It is low for a student that seeks.
- real: the share of these words that are in the whole list, including training words
- own contexts: the mean of KL(teacher || student) in the contexts of these words
- exposure: the excess of that over the mean in the contexts of 10,000 words of the teacher

The claims are about differences between two students of the same seed. Another seed changes the initial weights, the
teacher, the students' training words and the made-up words. Both papers report scores of long answers by automatic
judges. So here a claim is only the sign of a difference.

The split. Words that derive from each other stay in one part, so no test word is a regular inflection of a training
word. A random split would be easier for every network, by 0.03 to 0.13 nats per letter (docs/reproduce.md).

How settings were chosen: on validation words, with one seed; NLL in nats per letter.

- The teacher's dropout: 2.017 with 0.1, 1.968 with 0.2, 1.951 with 0.3, 1.958 with 0.4. Used: 0.3.
- The students' rate and batch; forward and reverse KL, by a teacher with dropout 0.2. Adam at 0.001, batches of 128:
  2.171 and 2.386; at 0.003: 2.124 and 2.276; at 0.01: 2.131 and 2.239. Batches of 32, at 0.003: 2.125 and 2.236; at
  0.01: 2.146 and 2.286. Batches of 64 and 256, forward KL at 0.003: 2.123 and 2.134. Used: 0.003 and 32.
- Epochs of labels alone, which overfit: with 1,000 words 2.295 after 5, 2.270 after 10, 2.324 after 20. With 500 and
  2,000 words, 10 is also best. "Stopped early" means 10, and the gain of distillation is relative to this student.

Training uses the training part only, also in the full run, so that the chosen settings are exactly those evaluated.

What we do differently. Students start at random weights, while both papers start with pretrained models. Own words are
drawn once per epoch. Reverse KL is differentiated within each context only; MiniLLM's gradient through the choice of
contexts is left out, as in GKD.

What was tried because there is no exposure bias here: other widths and depths, and more words. With 16,000 words,
forward KL has one (docs/reproduce.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from minikd import MLP, cross_entropy, evaluate, fit
from minikd.data import few
from minikd.data.words import OneHot, encode, real_words
from minikd.losses import Loss
from minikd.methods.jsd import jsd_loss
from minikd.methods.kd import kl_loss
from minikd.methods.language import SYMBOLS, Drawn, Following, nll_per_letter, sample
from minikd.methods.reverse_kl import reverse_kl_loss
from minikd.methods.top_k import top_k_loss
from minikd.metrics import Predictor
from minikd.training import no_labels

from ..report.style import LOOKS
from .lab import Lab
from .study import ABOVE_0, Row, Study, Values, means

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEACHER, STUDENT = 0, 1  # numbers for initial weights
FORWARD, REVERSE = (partial(loss, temperature=1.0, soft_weight=1.0) for loss in (kl_loss, reverse_kl_loss))
TAUGHT: dict[str, tuple[Loss, float]] = {  # the loss, and the share of contexts from new words
    "forward KL": (FORWARD, 0.0),
    "forward KL, half own": (FORWARD, 0.5),
    "reverse KL": (REVERSE, 0.0),
    "reverse KL, half own": (REVERSE, 0.5),
    "forward KL, half teacher": (FORWARD, 0.5),
    "JSD 0.5": (partial(jsd_loss, beta=0.5, temperature=1.0, soft_weight=1.0), 0.0),
    "top 5": (partial(top_k_loss, k=5, rest="rest", soft_weight=1.0), 0.0),
}
KINDS = ("labels", "labels, stopped early", *TAUGHT, "sequence level")
BY_SIZE = KINDS[:3]  # those also trained on other numbers of words
POINTS = (("#000000", "", "*"), *(LOOKS[i] for i in (0, 0, 1, 1, 6, 2, 3, 5)))  # for the teacher and the students
FIXED, MAIN = ("forward KL", "reverse KL"), tuple(TAUGHT)[:5]
PRACTICE = tuple((kind, f"{kind}, half own") for kind in FIXED)
CONTROL = ("forward KL, half teacher", "forward KL, half own")  # equally many new contexts; only their author differs
MEASURES = {  # measure: label, unit, decimal digits, and the networks in the table
    "held-out": ("held-out words, NLL", "", 3, ("teacher", *BY_SIZE[:2], *MAIN)),
    "own words": ("own words, NLL by the teacher", "", 3, ("teacher", *MAIN)),
    "real": ("own words that are real", " %", 1, ("teacher", *FIXED)),
    "own contexts": ("KL in own contexts", "", 3, MAIN[:4]),
    "exposure": ("exposure bias", "", 3, FIXED),
}
GAINS = tuple((f"{BY_SIZE[1]}{words}", f"{BY_SIZE[2]}{words}") for words in ("", ", 500 words", ", 2,000 words"))
CLAIMS = {  # for each measure, pairs (the student with more, the student with less)
    "held-out": (*GAINS, ("reverse KL", "forward KL"), *PRACTICE, CONTROL),
    "own words": (("forward KL", "reverse KL"), *PRACTICE, CONTROL),
    "own contexts": PRACTICE,
    "exposure": PRACTICE,
}


@dataclass(frozen=True)
class Protocol:
    """The settings of the study.

    Parameters
    ----------
    words : int
        Training words of the students that are compared.
    others : tuple of int
        Other numbers of training words, for labels and forward KL.
    early : int
        The number of epochs that is best for labels alone on validation words.
    said : int
        Words that each network makes up for the measures.
    """

    teacher: tuple[int, ...] = (256, 256)
    dropout: tuple[float, ...] = (0.0, 0.3, 0.3)
    teacher_epochs: int = 10
    student: tuple[int, ...] = (64,)
    words: int = 1000
    others: tuple[int, ...] = (500, 2000)
    epochs: int = 40
    early: int = 10
    lr: float = 3e-3
    batch_size: int = 32
    teacher_batch_size: int = 128
    said: int = 10_000


def run(lab: Lab, p: Protocol) -> dict[str, float]:
    """One seed: the teacher, then students that start from the same weights."""
    teacher = lab.network(*p.teacher, dropout=p.dropout, number=TEACHER)
    settings: dict[str, Any] = {"epochs": p.teacher_epochs, "lr": p.lr, "batch_size": p.teacher_batch_size}
    fit(teacher, lab.x, lab.y, loss=cross_entropy, **lab.training("language-teacher", teacher, **settings))
    values = measured(lab, p, teacher, teacher, "teacher")
    for words in (*p.others, p.words):
        for kind in KINDS if words == p.words else BY_SIZE:
            name = kind + f", {words:,} words" * (words != p.words)
            values |= measured(lab, p, teacher, taught(lab, p, teacher, kind, words), name)
    for measure, pairs in CLAIMS.items():
        for more, less in (pair for pair in pairs if f"{measure}: {pair[0]}" in values):
            values[f"{measure}: {more} less {less}"] = values[f"{measure}: {more}"] - values[f"{measure}: {less}"]
    return values


def taught(lab: Lab, p: Protocol, teacher: MLP, kind: str, words: int) -> MLP:
    """A student trained on this number of words in one of the ways KINDS."""
    rows = few(lab.y, words, words=lab.x.word, seed=lab.seed)
    x, targets, loss = lab.x.take(rows), cast(Any, lab.y[rows]), cross_entropy
    if kind in TAUGHT:
        loss, share = TAUGHT[kind]
        speaker = teacher if kind.endswith("half teacher") else None  # who writes the new words; None: the student
        x, targets = Drawn(x, share, speaker), (no_labels, Predictor(teacher, "teacher", SYMBOLS))
    elif kind == "sequence level":
        x = Drawn(x, 1.0, teacher)
        targets = Following(x)
    model, epochs = lab.network(*p.student, number=STUDENT), p.early if kind == "labels, stopped early" else p.epochs
    name = f"language-{kind.replace(',', '').replace(' ', '-')}-{words}"
    fit(model, x, targets, loss=loss, **lab.training(name, model, epochs=epochs, lr=p.lr, batch_size=p.batch_size))
    return model


def measured(lab: Lab, p: Protocol, teacher: MLP, model: MLP, name: str) -> dict[str, float]:
    """The MEASURES of a model, with keys "measure: name"."""
    said = sample(model, p.said, seed=lab.seed)
    own, ideal = (apart(teacher, model, words) for words in (said, sample(teacher, p.said, seed=lab.seed)))
    known = real_words()
    values = {
        "held-out": lab.exam.nll(model),
        "own words": nll_per_letter(teacher, said),
        "real": 100 * float(np.mean([word in known for word in said])),
        "own contexts": own,
        "teacher's contexts": ideal,
        "exposure": own - ideal,
    }
    return {f"{measure}: {name}": value for measure, value in values.items()}


def apart(teacher: MLP, model: MLP, words: Sequence[str]) -> float:
    """The mean of KL(teacher || model) over the contexts of these words, in nats."""
    codes, following, word = encode(words)
    return evaluate(model, OneHot(codes, word), following, teacher=teacher).kl


def draw(figure: Figure, values: Values, lab: Lab, p: Protocol) -> None:
    """Left, NLL of held-out words by the number of words; right, held-out words against own words for each student."""
    figure.set_size_inches(11.5, 4.8)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    sizes = sorted((p.words, *p.others))
    for kind, (colour, line, marker) in zip(BY_SIZE, (LOOKS[6], LOOKS[5], LOOKS[0]), strict=True):
        mean, half = means(values, [f"held-out: {kind}" + f", {n:,} words" * (n != p.words) for n in sizes])
        left.errorbar(sizes, mean, half, ls=line, marker=marker, color=colour, label=kind)
    left.axhline(means(values, ["held-out: teacher"])[0][0], color="black", ls="--", lw=1, label="teacher")
    left.set(xscale="log", xlabel="words that the student is given", ylabel="held-out words, nats a letter")
    left.set_xticks(sizes, [f"{n:,}" for n in sizes])
    left.minorticks_off()
    for kind, (colour, _, marker) in zip(("teacher", *KINDS[2:]), POINTS, strict=True):
        (x, y), (dx, dy) = means(values, [f"held-out: {kind}", f"own words: {kind}"])
        fill = "none" if "half" in kind else colour
        right.errorbar(x, y, dy, dx, ls="", marker=marker, ms=8, mfc=fill, color=colour, label=kind)
    right.set(xlabel="held-out words, nats a letter", ylabel="own words, nats a letter by the teacher")
    left.margins(y=0.25)
    left.legend(loc="upper right")
    right.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in figure.axes:
        axes.grid(alpha=0.3)


def _rows() -> Iterator[Row]:
    """The rows of each measure, followed by its claims."""
    for measure, (words, unit, digits, kinds) in MEASURES.items():
        claim = ABOVE_0 if measure == "exposure" else None
        names = [f"{words}: {kinds[0]}", *(f"  {kind}" for kind in kinds[1:])]
        for name, kind in zip(names, kinds, strict=True):
            yield Row(name, f"{measure}: {kind}", claim, unit, digits)
        for more, less in CLAIMS.get(measure, ()):
            name = f"    {more} less {less.removeprefix(f'{more}, ')}"
            yield Row(name, f"{measure}: {more} less {less}", ABOVE_0, unit, digits)


STUDY = Study(
    name="language",
    title="Divergences, and a student's own words, for a language model of letters",
    source="arXiv 2306.08543 and 2306.13649",
    rows=tuple(_rows()),
    full=Protocol(),
    quick=Protocol(teacher_epochs=2, others=(), epochs=10, early=5, said=2000),
    run=run,
    draw=draw,
    data="words",
)
