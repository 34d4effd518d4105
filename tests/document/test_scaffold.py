"""The text of a fresh document."""

from __future__ import annotations

import pytest

from dlm_engine.document import CURRENT_VERSION, new_document, parse, serialise
from dlm_engine.errors import DocumentError


@pytest.mark.parametrize("base", ["smollm2-135m", "hf:org/name", "./models/my base", "123", "~/x"])
def test_fresh_document_has_no_diagnostics(base: str) -> None:
    document, problems = parse(new_document(base, title="Lamps\n::x::", system_prompt="a\nb"))
    assert problems == []
    assert document.dlm_version == CURRENT_VERSION
    assert document.frontmatter is not None
    assert (document.frontmatter.base_model, document.frontmatter.system_prompt) == (base, "a\nb")
    assert [s.type.value for s in document.sections] == ["prose", "instruction"]
    assert document.sections[0].content.startswith("# Lamps ::x::")


def test_fresh_document_is_canonical_and_has_its_own_id() -> None:
    text = new_document("smollm2-135m")
    assert serialise(parse(text)[0]) == text
    assert new_document("smollm2-135m") != text


def test_refuses_what_the_format_does_not_allow() -> None:
    with pytest.raises(DocumentError):
        new_document("")
    with pytest.raises(DocumentError):
        new_document("x", dlm_id="../../etc")
