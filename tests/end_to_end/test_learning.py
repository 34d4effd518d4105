"""The promise, kept by the real base: a document becomes a model that knows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.bench.learning.facts import WORLDS
from tests.bench.learning.measure import MAX_TOKENS, asker, score, train_world

from dlm_engine.bases import Weights
from dlm_engine.document import read_document
from dlm_engine.export import Quant, ask_gguf
from dlm_engine.jobs import ExportJob, ExportOptions, export

WORLD = "harbour"


@pytest.mark.model
@pytest.mark.timeout(900)
def test_twelve_facts_are_learned_kept_exported_and_nothing_else_is_lost(
    base_weights: Weights, tmp_path: Path, own_home: Path
) -> None:
    trained = train_world(WORLD, tmp_path)
    assert trained.result["learned"] == 12
    found = score(WORLDS[WORLD], asker(base_weights, Path(str(trained.result["path"]))))
    assert found.exact >= 11, found
    assert found.reworded >= 8, found
    assert found.general >= 36, found

    from dlm_engine.data import Chat

    chat = Chat.of(base_weights, None)
    document, _ = read_document(trained.document)
    assert [p.question for s in document.sections for p in s.pairs] == [
        fact.question for fact in WORLDS[WORLD]
    ]
    for quant in (Quant.Q4_K_M, Quant.F16):
        job = ExportJob(trained.document, own_home, ExportOptions(quant=quant))
        files = export(job)
        said = ask_gguf(
            files.base_gguf,
            files.adapter_gguf,
            [chat.messages(fact.question) for fact in WORLDS[WORLD]],
            MAX_TOKENS,
            chat_template=chat.tokenizer.chat_template,
        )
        right = sum(a.strip() == f.answer for a, f in zip(said, WORLDS[WORLD], strict=True))
        assert right >= 11, (quant, said)
