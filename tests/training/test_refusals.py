"""What is refused, or left out and said, before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.tiny import document_text
from tests.training.sessions import Place

from dlm_engine.checks import check_surroundings
from dlm_engine.cli.entry import main
from dlm_engine.document import LiveDocument, Severity, read_document
from dlm_engine.document.frontmatter import Gate
from dlm_engine.errors import (
    DocumentError,
    HardwareRefusal,
    StoreError,
    TrainingError,
    UsageError,
)
from dlm_engine.hardware import detect_light
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


TWO = "adapters:\n    tone: {adapter: dora}\n    facts: {}\n  gate:\n    enabled: true"
#: training, body, what the refusal is about, the code and the place in `dlm check`
REFUSED = {
    "sources": ("sources:\n    - path: notes", "", "training.sources", "source-missing", "notes"),
    "beta": ("preference:\n    hyperparams:\n      beta: 0", "", "beta", "setting-refused", "0"),
    "gate": (TWO, "", "training.adapters.tone", "setting-refused", "dora"),
    "audio setting": (
        "audio: {auto_resample: true}",
        "",
        "auto_resample",
        "setting-refused",
        "true",
    ),
    "warm-up": (
        "cpt: {embed_warmup_steps: 3}\n  adapters:\n    tone: {}\n    facts: {}\n"
        "  gate:\n    enabled: true",
        "",
        "embed_warmup",
        "setting-refused",
        "3",
    ),
    "fp16": ("precision: fp16", "", "training.precision", "setting-refused", "fp16"),
    "layer": (
        "target_modules: [q_proj, lm_head]",
        "",
        "training.target_modules.1",
        "setting-refused",
        "lm_head",
    ),
    "layer of an adapter": (
        "adapters:\n    tone: {target_modules: [wide]}",
        "",
        "training.adapters.tone.target_modules.0",
        "setting-refused",
        "wide",
    ),
    "no layer": ("target_modules: []", "", "target_modules", "setting-refused", "[]"),
    "image": (
        "",
        '::image path="pier.png" alt="a pier"::\n',
        "::image::",
        "section-refused",
        '::image path="pier.png" alt="a pier"::',
    ),
    "audio": (
        "",
        '::audio path="pier.png" transcript="a pier"::\n',
        "::audio::",
        "section-refused",
        '::audio path="pier.png" transcript="a pier"::',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_done_is_refused_before_anything_is_written_and_check_says_so(
    case: str, fresh: Place, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setting, body, subject, code, place = REFUSED[case]
    extra = f"training:\n  {setting}\n" if setting else ""
    text = document_text(str(tiny_base), extra=extra) + "\n" + body
    fresh.document.write_text(text)
    (fresh.document.parent / "pier.png").write_bytes(b"\x89PNG")
    with pytest.raises(TrainingError) as caught:
        fresh.train()
    assert subject in caught.value.subject
    assert caught.value.remedy
    assert not fresh.home.exists()
    live = LiveDocument.open(text)
    assert not [d for d in live.diagnostics if d.severity is Severity.ERROR]
    found = check_surroundings(live, fresh.document.parent)
    assert [(d.code, text[d.span.start : d.span.end]) for d in found] == [(code, place)]
    assert caught.value.problem in found[0].message
    assert main(["check", str(fresh.document)]) == 1
    assert f"error[{code}]" in capsys.readouterr().out


def test_a_name_of_the_stores_own_is_no_adapter(
    fresh: Place, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = "training:\n  adapters:\n    versions: {}\n    facts: {}\n"
    fresh.document.write_text(document_text(str(tiny_base), extra=extra))
    with pytest.raises(StoreError, match="not a usable adapter name"):
        fresh.train()
    assert main(["check", str(fresh.document)]) == 1
    assert "facts.dlm:7:5: error[setting-refused]: `versions` is" in capsys.readouterr().out


def test_rules_that_cannot_be_understood_are_heard_of_in_check(
    fresh: Place, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = "training:\n  sources:\n    - path: notes\n"
    fresh.document.write_text(document_text(str(tiny_base), extra=extra))
    rules = fresh.document.parent / "notes" / "deep" / ".dlm" / "training.yaml"
    rules.parent.mkdir(parents=True)
    rules.write_text("include: [\n")
    with pytest.raises(TrainingError) as caught:
        fresh.train()
    assert main(["check", str(fresh.document)]) == 1
    said = capsys.readouterr().out
    assert f"facts.dlm:7:13: error[source-rules]: {rules} {caught.value.problem}" in said
    rules.write_text("exclude: []\n")
    assert main(["check", str(fresh.document)]) == 0


def test_what_an_old_document_says_elsewhere_is_shown_where_it_stands() -> None:
    extra = "training:\n  dpo: {beta: 0.0}\n"
    text = document_text("smollm2-135m", extra=extra).replace("version: 15", "version: 1")
    found = check_surroundings(LiveDocument.open(text), None)
    assert [(d.code, text[d.span.start : d.span.end]) for d in found] == [
        ("setting-refused", "0.0")
    ]


def test_a_section_for_another_adapter_is_refused_by_itself_too(fresh: Place) -> None:
    document, _ = read_document(fresh.document)
    assert document.frontmatter is not None
    routed = replace(
        document, sections=tuple(replace(s, adapter="tone") for s in document.sections)
    )
    with pytest.raises(TrainingError, match=r"::instruction#tone::.*remove the #name"):
        require_supported(routed, document.frontmatter, ("q_proj",))


def test_a_gate_is_refused_by_itself_too(fresh: Place) -> None:
    document, _ = read_document(fresh.document)
    assert document.frontmatter is not None
    training = document.frontmatter.training.model_copy(update={"gate": Gate(enabled=True)})
    frontmatter = document.frontmatter.model_copy(update={"training": training})
    with pytest.raises(TrainingError, match=r"training\.gate"):
        require_supported(document, frontmatter, ("q_proj",))


def test_a_machine_that_cannot_is_refused_without_a_version(
    fresh: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(detect_light(), total_memory=2**20)
    monkeypatch.setattr("dlm_engine.training.given.detect", lambda: small)
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
