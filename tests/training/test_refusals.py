"""What is refused, or left out and said, before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.tiny import document_text
from tests.training.sessions import Place

from dlm_engine.document import read_document
from dlm_engine.document.frontmatter import Gate
from dlm_engine.errors import (
    DocumentError,
    HardwareRefusal,
    TrainingError,
    UsageError,
)
from dlm_engine.jobs import (
    Ending,
)
from dlm_engine.training import polite
from dlm_engine.training.support import require_supported


def test_a_document_with_an_error_is_refused_where_it_stands(fresh: Place) -> None:
    text = fresh.document.read_text().replace("training:", "nonsense: 1\ntraining:")
    fresh.document.write_text(text)
    with pytest.raises(DocumentError) as caught:
        fresh.train()
    assert caught.value.subject.startswith(f"{fresh.document}:5:")
    assert f"dlm check {fresh.document}" in caught.value.remedy
    assert not fresh.home.exists()


def test_nothing_to_learn_ends_empty_and_writes_nothing(fresh: Place) -> None:
    text = fresh.document.read_text()
    fresh.document.write_text(text[: text.index("::instruction::")])
    outcome = fresh.train()
    assert (outcome.ending, outcome.version) == (Ending.EMPTY, None)
    assert not fresh.home.exists()


REFUSED = {
    "sources": ("sources:\n    - path: notes", "", "training.sources"),
    "beta": ("preference:\n    hyperparams:\n      beta: 0", "", "beta"),
    "gate": (
        "adapters:\n    tone: {adapter: dora}\n    facts: {}\n  gate:\n    enabled: true",
        "",
        "training.adapters.tone",
    ),
    "warm-up": ("cpt:\n    embed_warmup_steps: 3", "", "embed_warmup_steps"),
    "image": ("", '::image path="pier.png" alt="a pier"::\n', "::image::"),
}


@pytest.mark.parametrize(("setting", "body", "subject"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_done_is_refused_before_anything_is_written(
    setting: str, body: str, subject: str, fresh: Place, tiny_base: Path
) -> None:
    extra = f"training:\n  {setting}\n" if setting else ""
    fresh.document.write_text(document_text(str(tiny_base), extra=extra) + "\n" + body)
    (fresh.document.parent / "pier.png").write_bytes(b"\x89PNG")
    with pytest.raises(TrainingError) as caught:
        fresh.train()
    assert subject in caught.value.subject
    assert caught.value.remedy
    assert not fresh.home.exists()


def test_a_section_for_another_adapter_is_refused_by_itself_too(fresh: Place) -> None:
    document, _ = read_document(fresh.document)
    assert document.frontmatter is not None
    routed = replace(
        document, sections=tuple(replace(s, adapter="tone") for s in document.sections)
    )
    with pytest.raises(TrainingError, match=r"::instruction#tone::.*remove the #name"):
        require_supported(routed, document.frontmatter)


def test_a_gate_is_refused_by_itself_too(fresh: Place) -> None:
    document, _ = read_document(fresh.document)
    assert document.frontmatter is not None
    training = document.frontmatter.training.model_copy(update={"gate": Gate(enabled=True)})
    frontmatter = document.frontmatter.model_copy(update={"training": training})
    with pytest.raises(TrainingError, match=r"training\.gate"):
        require_supported(document, frontmatter)


@pytest.mark.parametrize(
    "setting", ["precision: fp16", "optimizer: galore_adamw", "optimizer: galore_adamw_8bit"]
)
def test_a_machine_that_cannot_is_refused_without_a_version(
    setting: str, fresh: Place, tiny_base: Path
) -> None:
    extra = f"training:\n  {setting}\n"
    fresh.document.write_text(document_text(str(tiny_base), extra=extra))
    with pytest.raises(HardwareRefusal):
        fresh.train()
    assert not fresh.home.exists()


def test_a_wrong_number_of_threads_is_refused_before_anything_is_written(
    fresh: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(polite.THREADS_VARIABLE, "many")
    with pytest.raises(UsageError):
        fresh.train()
    assert not fresh.home.exists()
