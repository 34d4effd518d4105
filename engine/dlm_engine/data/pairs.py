"""Preferences to tokens: a prompt with the answer wanted and the one not wanted, kept together.

Both answers are written by the same chat template behind the same prompt ids, as questions
and answers are, and both lie in one pack, so that one pass gives what a loss over the pair
needs. An answer cannot be learned in windows, as a preference is about the whole of it: what
does not fit is cut at its end and `cut` says so; who trains tells the author.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlm_engine.data.chat import Chat
from dlm_engine.data.packs import Pack, pack, shared_prefix
from dlm_engine.data.rows import digest
from dlm_engine.data.tokens import Encoded
from dlm_engine.document.model import Document


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    section_id: str
    prompt: str
    chosen: str
    rejected: str

    @property
    def key(self) -> str:
        return digest("preference", self.prompt, self.chosen, self.rejected)


@dataclass(frozen=True, slots=True)
class Pair:
    """`cut`: an answer was longer than the sequence and lost its end."""

    key: str
    prompt: str
    chosen: Encoded
    rejected: Encoded
    cut: bool

    @property
    def tokens(self) -> int:
        return len(self.chosen.ids) + len(self.rejected.ids)


def preferences_of(document: Document) -> tuple[PreferenceRow, ...]:
    """The preferences of a document in document order, repetitions left out.

    So are those whose two answers are one: they prefer nothing, and the document's check
    says so.
    """
    rows = (
        PreferenceRow(section.id, triple.prompt, triple.chosen, triple.rejected)
        for section in document.sections
        for triple in section.triples
        if triple.chosen != triple.rejected
    )
    return tuple({row.key: row for row in rows}.values())


def encode_pair(row: PreferenceRow, chat: Chat, sequence_len: int) -> Pair | None:
    """Both sides, each at most `sequence_len` tokens.

    None where the cut leaves no difference: a prompt that fills the sequence, or answers
    that differ behind its end only.
    """
    prompt = tuple(chat.prompt_ids(row.prompt))
    chosen, rejected = (
        prompt + tuple(chat.answer_ids(row.prompt, answer)) for answer in (row.chosen, row.rejected)
    )
    cut = max(len(chosen), len(rejected)) > sequence_len
    chosen, rejected = chosen[:sequence_len], rejected[:sequence_len]
    if chosen == rejected:
        return None

    def side(name: str, ids: tuple[int, ...]) -> Encoded:
        return Encoded(f"{row.key}:{name}", row.section_id, "chat", ids, len(prompt))

    return Pair(row.key, row.prompt, side("chosen", chosen), side("rejected", rejected), cut)


def pair_packs_of(
    pairs: Sequence[Pair], budget: int, most_rows: int | None = None
) -> list[tuple[Pack, tuple[Pair, ...]]]:
    """Packs of whole pairs: at least one, else at most `budget` tokens and `most_rows` rows.

    A pack's rows are chosen, rejected, chosen, … of the pairs beside it. Ordered by length,
    ties by key, so that the result does not depend on document order.
    """
    ordered = sorted(pairs, key=lambda pair: (pair.tokens, pair.key))
    if not ordered:
        return []
    common = shared_prefix([row for pair in ordered for row in (pair.chosen, pair.rejected)])
    groups: list[list[Pair]] = [[]]
    size = common
    for pair in ordered:
        own = pair.tokens - 2 * common
        group = groups[-1]
        full = size + own > budget or (most_rows is not None and 2 * len(group) + 2 > most_rows)
        if group and full:
            groups.append([])
            size = common
        groups[-1].append(pair)
        size += own
    return [
        (pack([row for pair in group for row in (pair.chosen, pair.rejected)]), tuple(group))
        for group in groups
    ]
