"""Words that several language models make up, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..data.words import real_words, split_words
from ..methods.language import sample
from ..mlp import MLP
from .text import text_table

SHOWN, COUNTED = 12, 1000  # words


def made_up(models: Mapping[str, MLP], shown: Iterable[int]) -> str:
    """Words that each network makes up, in a column each, with a mark at real words.

    The last row is the share of real words among COUNTED. Words that the students were shown do not count, because a
    student can learn its few words by heart; `shown` holds their numbers in the training part.
    """
    known, train = real_words(), split_words()["train"]
    new = known - {train[i] for i in shown}
    columns = []
    for name, model in models.items():
        words = sample(model, COUNTED)
        marked = [word + "*" * (word in known) for word in words[:SHOWN]]
        columns.append([name, *marked, f"{sum(word in new for word in words) / COUNTED:.1%} real, not shown"])
    return text_table(list(zip(*columns, strict=True)), [-25] * len(columns), gap=" ")
