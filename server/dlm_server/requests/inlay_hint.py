"""`textDocument/inlayHint`: resolved settings, tokens, answers that nothing else shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from dlm_server.base_files import hidden_size, tokenizer_file
from dlm_server.dispatch import session_request
from dlm_server.engine.results import result_key
from dlm_server.features import planned
from dlm_server.features.checks import LARGE_CHARACTERS
from dlm_server.features.hints import Hint, answer_hints, setting_hints, token_hints
from dlm_server.features.token_counts import TOKENIZERS, Encoding, count
from dlm_server.session import Session, Snapshot
from dlm_server.views import SectionResult

if TYPE_CHECKING:
    from dlm_engine.bases import BaseSpec


@session_request("textDocument/inlayHint")
def inlay_hint(session: Session, params: lsp.InlayHintParams) -> list[lsp.InlayHint] | None:
    snapshot = session.snapshot(params.text_document.uri)
    if snapshot is None:
        return None

    def again() -> None:
        session.post(lambda: session.refresh("inlayHint"))

    return hints_of(snapshot, params.range, lambda file: TOKENIZERS.ready(file, again))


def hints_of(
    snapshot: Snapshot, range: lsp.Range, tokenizer: Callable[[Path], Encoding | None]
) -> list[lsp.InlayHint]:
    """The hints in a range; `tokenizer` gives the encoding of a file, or None."""
    settings = snapshot.settings
    within = snapshot.span(range)
    found: list[Hint] = []
    if settings.inlay_hints_enabled:
        spec = _base(snapshot)
        found += setting_hints(snapshot.live, spec, within)
        file = tokenizer_file(snapshot)
        encoding = tokenizer(file) if file is not None else None
        if settings.inlay_hints_tokens:
            found += token_hints(snapshot.live, encoding, within)
        if planned.within(snapshot.live, within):
            hint = _planned(snapshot, encoding)
            found += [hint] if hint is not None else []
    drawn_otherwise = settings.results_display == "inline" and snapshot.client.section_results
    if settings.results_display != "off" and not drawn_otherwise:

        def result(section: str, pair: int) -> SectionResult | None:
            return snapshot.results.get(result_key(section, pair))

        found += answer_hints(snapshot.live, result, within, settings.results_max_lines)
    return [
        lsp.InlayHint(
            position=snapshot.position(hint.offset),
            label=hint.label,
            tooltip=hint.tooltip,
            padding_left=True,
        )
        for hint in sorted(found, key=lambda h: h.offset)
    ]


def _planned(snapshot: Snapshot, encoding: Encoding | None) -> Hint | None:
    # Imported here because it brings what makes rows of a document.
    from dlm_engine.training.planning import training_rows

    live, settings, base = snapshot.live, snapshot.settings, _base(snapshot)
    if live.frontmatter is None or len(live.text) > LARGE_CHARACTERS:
        return None
    training = live.frontmatter.training
    length = training.sequence_len
    if base is not None:
        length = min(length, base.effective_context)
    rows = training_rows(
        live.document, length, training.seed, lambda text: count((text,), encoding).tokens
    )
    bound = f"after a save at most {settings.train_max_steps} or {settings.train_max_seconds:g} s"
    known = planned.Known(rows, hidden_size(snapshot), _last_precision(snapshot), bound)
    return planned.planned_hint(live, known)


def _last_precision(snapshot: Snapshot) -> str | None:
    """As the last training recorded it; None before the first."""
    from dlm_engine.errors import StoreError
    from dlm_engine.store import Store, read_lock
    from dlm_server.engine.trained import home_of

    frontmatter = snapshot.live.frontmatter
    assert frontmatter is not None
    try:
        lock = read_lock(Store(home_of(snapshot.settings), frontmatter.dlm_id))
    except StoreError:
        return None
    return lock.conditions.get("precision") if lock is not None else None


def _base(snapshot: Snapshot) -> BaseSpec | None:
    """The base where the registry knows it; others are resolved by the engine only."""
    # Imported here because it brings the libraries that fetch weights.
    from dlm_engine.bases import REGISTRY

    frontmatter = snapshot.live.frontmatter
    return REGISTRY.get(frontmatter.base_model) if frontmatter is not None else None
