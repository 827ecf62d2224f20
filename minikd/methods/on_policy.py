"""On-policy distillation: ask the teacher about the student's own words (Agarwal et al. 2023, "GKD").

Idea. A language model that writes reads its own symbols. In training it reads those of people or of a teacher. A
student that has made a mistake is then in a context that it has never been trained on, and the next mistake is
likelier: this drift is called exposure bias. The cure is to let the student write in training also, and to ask the
teacher what should come next in just those contexts. Only a teacher can answer: no data set has labels for them.

Loss. c ~ π is a context: with probability λ it is from words that the student made up, otherwise from the words of the
data. D is a divergence between what both say after it, q = softmax(v(c) / T), p = softmax(z(c) / T):

    L = T² E_c~π D(q, p),         D = KL(q || p), "forward",  or  KL(p || q), "reverse"

Gradient. That of `kd` or `reverse_kl` in each context. The contexts depend on the student's weights as well, since the
student wrote them; this dependence is not differentiated. The words are treated as data that happen to be the
student's, as in GKD, so a step needs no gradient through sampling, whose estimates (REINFORCE) are noisy.

Draws. At the beginning of each epoch the student of that moment writes, and a share λ of the rows is replaced by rows
of its words (GKD replaces a share of the batches, at each step). Which rows, and the words, come from (seed, epoch), so
that a run that is resumed ends with the same bits. The teacher is asked batch by batch.

Defaults. λ = 0.5; forward; T = 1. GKD starts from students that can write already. Ours starts from random weights,
and its first words are noise; λ = 1, which reads no word of the data, does as well here as λ = 0.5.

When. For language models, and so for the data set "words" alone. Student 64 on 1,000 words (5 seeds) has 2.042 nats a
letter on held-out words instead of 2.084 (forward), and 2.105 instead of 2.151 (reverse): new contexts help where words
are few. It need not be the student who writes them: contexts of the teacher's words help as much (-0.001 ±0.004). The
NLL that the teacher gives the student's own words falls by 0.014 and 0.011. There is no exposure bias to cure: a word
of eight letters leaves little room to drift (`minikd reproduce language`).

Source: arXiv 2306.13649, algorithm 1; Gu et al. 2023, arXiv 2306.08543, for the reverse direction.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..checks import check_choice, check_number, describe
from ..data.words import OneHot
from ..losses import Loss
from ..metrics import History, Predictor
from ..mlp import MLP
from ..optim import Adam
from ..training import fit, no_labels
from .base import MakeOptimizer, Method
from .kd import kl_loss
from .language import SYMBOLS, Drawn, check_same_language
from .reverse_kl import reverse_kl_loss

DIVERGENCES: dict[str, Loss] = {"forward": kl_loss, "reverse": reverse_kl_loss}


def train(
    student: MLP,
    teacher: Any,
    x: OneHot,
    labels: Any = None,
    *,
    strength: float = 1.0,
    share: float = 0.5,
    divergence: str = "forward",
    temperature: float = 1.0,
    optimizer: MakeOptimizer = Adam,
    **fit_options: Any,
) -> History:
    """`fit` on what the teacher says after contexts of x and after contexts that the student writes.

    x           contexts of letters, as load_data("words") has them; labels are not read
    share       λ in [0, 1], of the rows that are the student's own: 0 is `kd` without labels
    divergence  "forward" or "reverse"

    strength has no meaning here. ValueError and TypeError for other data, for a teacher that is not a language model
    with the student's alphabet and context, and for augment, which would change letters.
    """
    if not isinstance(x, OneHot):
        words = 'be the contexts of load_data("words"), because the student writes words in training'
        raise TypeError(f"x must {words}; got {describe(x)}")
    check_same_language(student, teacher)
    check_choice("divergence", divergence, DIVERGENCES)
    check_number("temperature", temperature, 0, open_low=True)
    if fit_options.get("augment") is not None:
        raise ValueError("augment must be left out: the student's words are what is added")
    loss = partial(DIVERGENCES[divergence], temperature=temperature, soft_weight=1.0)
    targets = no_labels, Predictor(teacher, "teacher", SYMBOLS)
    return fit(student, Drawn(x, share), targets, loss=loss, optimizer=optimizer(student), **fit_options)


METHOD = Method(
    "on-policy",
    "the teacher corrects words of the student's own",
    "Agarwal et al. 2023, arXiv 2306.13649",
    train,
    weighted=False,
    teacher="network",
    temperature="temperature",
    reads="images",
    only="words",
)
