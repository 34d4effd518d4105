"""What the model still holds of rows that were taken out of its document.

Nothing is concluded from how it was trained: a removed question is asked, a removed passage is
looked at, and of a removed preference it is measured by how much the answer that was wanted is
still the likelier one. The base alone is asked the same, because no training can change it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from dlm_engine.case import Case
from dlm_engine.errors import DlmError
from dlm_engine.store import LearnedRow, Version, learned_by

if TYPE_CHECKING:
    from dlm_engine.bases import Weights
    from dlm_engine.data import Encoded
    from dlm_engine.data.pairs import Pair
    from dlm_engine.inference.resident import Resident


@dataclass(frozen=True, slots=True)
class Margin:
    """How much likelier the wanted answer is than the other one, in nats per token: with the
    newest version that learned the preference (None where it cannot be asked), now, and with the
    base alone."""

    before: float | None
    now: float
    base: float

    @property
    def kept(self) -> bool:
        """Whether it is still preferred, by more than half of what training had added.

        A base leans to one of two answers anyway, and what is learned beside them sways it too.
        """
        from dlm_engine.training.preference_settings import PREFERRED

        halfway = None if self.before is None else (self.before + self.base) / 2
        return self.now >= PREFERRED and (halfway is None or self.now > halfway)


@dataclass(frozen=True, slots=True)
class Proof:
    """What the model says now of one removed row.

    `answer` is its answer to the removed question, "" where there is none to ask. `known`: it
    still gives the old answer, still has the passage by heart, or still prefers what it preferred.
    `base_knows`: so does the base without any adapter, which no training can change. `margin` is
    of a preference.
    """

    row: LearnedRow
    answer: str
    known: bool
    base_knows: bool
    margin: Margin | None = None

    @property
    def forgotten(self) -> bool:
        return self.base_knows or not self.known


class Said(NamedTuple):
    """What one model says of a row: its answer, whether that is the row's, and the margin."""

    answer: str
    known: bool
    margin: float = 0.0


def proofs_of(
    case: Case,
    removed: Sequence[LearnedRow],
    versions: Sequence[Version],
    resident: Resident,
    report: Callable[[str], None],
) -> tuple[Proof, ...]:
    """One for each row that something can be asked about; `versions` are all of the store.

    None for files of `training.sources`, whose text is not kept, and for a preference whose two
    answers are one within the sequence.
    """
    weights = case.weights(report)
    asked = [row for row in removed if row.kind in ("chat", "text")]
    pairs = {row.key: pair for row in removed if (pair := _pair(row, case, weights, resident))}
    asked += [row for row in removed if row.key in pairs]
    ask = _Asking(case, weights, resident)

    def say(model: Any, row: LearnedRow) -> Said:
        pair = pairs.get(row.key)
        return _preferred(model, pair) if pair else _said(model, case, weights, resident, row)

    before: dict[str, float] = {}
    for version, rows in _holders(asked, pairs, versions).items():
        try:
            version.verify()
            version.require_base(case.frontmatter.base_model, weights.sha256)
            before |= {row.key: said.margin for row, said in ask(version, rows, say)}
        except DlmError as error:
            report(f"version {version.number} is not compared with: {error}")
    currents = [case.store.current(part.adapter) for part in case.parts()]
    # Of several adapters the one that gives the old answer is heard.
    each = [[said for _, said in ask(v, asked, say)] for v in currents if v is not None]
    now = [max(said, key=lambda one: (one.known, one.margin)) for said in zip(*each, strict=True)]
    proofs = []
    for said, (row, base) in zip(now, ask(None, asked, say), strict=True):
        proof = Proof(row, said.answer, said.known, base.known)
        if row.key in pairs:
            margin = Margin(before.get(row.key), said.margin, base.margin)
            proof = replace(proof, known=margin.kept, margin=margin)
        proofs.append(proof)
    return tuple(proofs)


class _Asking:
    """Rows put to one model after another, on the base that stays in memory."""

    def __init__(self, case: Case, weights: Weights, resident: Resident) -> None:
        from dlm_engine.hardware import detect

        self._weights, self._resident = weights, resident
        self._hardware = detect()

    def __call__(
        self,
        version: Version | None,
        rows: Sequence[LearnedRow],
        say: Callable[[Any, LearnedRow], Said],
    ) -> list[tuple[LearnedRow, Said]]:
        path, digest = (version.path, version.adapter_sha256()) if version else (None, None)
        four_bits = version is not None and version.four_bit_base() and self._hardware.bitsandbytes
        loading = "nf4" if four_bits else None
        with self._resident.asking(self._weights, self._hardware, path, digest, loading) as model:
            return [(row, say(model, row)) for row in rows]


def _holders(
    asked: Sequence[LearnedRow], pairs: dict[str, Pair], versions: Sequence[Version]
) -> dict[Version, list[LearnedRow]]:
    """The newest version that learned each preference, with those preferences."""
    newest: dict[str, Version] = {}
    for version in versions:
        if version.complete:
            newest |= {row.key: version for row in learned_by(version) or () if row.key in pairs}
    found: dict[Version, list[LearnedRow]] = {}
    for row in asked:
        if row.key in newest:
            found.setdefault(newest[row.key], []).append(row)
    return found


def _pair(row: LearnedRow, case: Case, weights: Weights, resident: Resident) -> Pair | None:
    from dlm_engine.data.pairs import PreferenceRow, encode_pair
    from dlm_engine.training.settings import sequence_length

    if row.kind != "preference":
        return None
    chat = resident.chat(weights, case.frontmatter.system_prompt)
    length = sequence_length(case.frontmatter.training, case.spec)
    wanted = PreferenceRow(row.section_id, row.question, row.text, row.instead)
    return encode_pair(wanted, chat, length)


def _preferred(model: Any, pair: Pair) -> Said:
    """Whether the model prefers as a run of preferences makes it."""
    from dlm_engine.training.preference_settings import PREFERRED

    chosen, rejected = (float(_likely(model, side).mean()) for side in (pair.chosen, pair.rejected))
    return Said("", chosen - rejected >= PREFERRED, chosen - rejected)


def _said(model: Any, case: Case, weights: Weights, resident: Resident, row: LearnedRow) -> Said:
    """The answer to the row's question, and whether it is the row's; "" for prose."""
    from dlm_engine.data import TextRow, encode_row
    from dlm_engine.inference.generate import generate
    from dlm_engine.inference.judge import right
    from dlm_engine.inference.model import Sampling
    from dlm_engine.training.settings import LEARNED_PROSE, sequence_length

    chat = resident.chat(weights, case.frontmatter.system_prompt)
    length = sequence_length(case.frontmatter.training, case.spec)
    if row.kind == "text":
        # As a run judges prose: of most tokens the model is surer than not.
        windows = encode_row(TextRow(row.section_id, row.text), chat, length)
        sure = [float((_likely(model, each).exp() >= 0.5).float().mean()) for each in windows]
        return Said("", all(share >= LEARNED_PROSE for share in sure))
    answer = generate(model, chat, row.question, Sampling()).text
    return Said(answer, right(answer, row.text, row.question))


def _likely(model: Any, window: Encoded) -> Any:
    """(supervised, 1) float32: nats of the window's tokens, 0 for what is sure."""
    import torch

    ids = torch.tensor([window.ids], device=next(model.parameters()).device)
    with torch.inference_mode():
        likely = model(input_ids=ids).logits[0, window.start - 1 : -1].float().log_softmax(-1)
    return likely.gather(1, ids[0, window.start :, None])
