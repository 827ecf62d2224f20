"""What language models write: words made up by several, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..data.words import real_words, split_words
from ..methods.language import sample
from ..mlp import MLP
from .text import text_table

SHOWN, COUNTED = 12, 1000  # words


def made_up(models: Mapping[str, MLP], shown: Iterable[int]) -> str:
    """Words that each network makes up, real ones marked, as text in columns of these names.

    The last row counts real words among COUNTED, without those that students were shown: their numbers in the training
    part are `shown`. A student that has learned its few words by heart writes many of them.
    """
    known, train = real_words(), split_words()["train"]
    new = known - {train[i] for i in shown}
    columns = []
    for name, model in models.items():
        words = sample(model, COUNTED)
        marked = [word + "*" * (word in known) for word in words[:SHOWN]]
        columns.append([name, *marked, f"{sum(word in new for word in words) / COUNTED:.1%} real, not shown"])
    return text_table(list(zip(*columns, strict=True)), [-25] * len(columns), gap=" ")
