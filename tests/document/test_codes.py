"""The table of codes, and that every code in it can happen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dlm_engine.document as room
from dlm_engine.document import CODES, Span
from dlm_engine.document.codes import report

FOLDER = Path(str(room.__file__)).parent
SOURCE = "".join(
    path.read_text() for path in sorted(FOLDER.glob("*.py")) if path.name != "codes.py"
)


@pytest.mark.parametrize("code", CODES)
def test_code_is_stable_in_form_explained_and_used(code: str) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert CODES[code].meaning.endswith(".")
    assert "\n" not in CODES[code].meaning
    assert f'"{code}"' in SOURCE


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_tested(code: str) -> None:
    tests = "".join(
        path.read_text()
        for path in Path(__file__).parent.glob("test_*.py")
        if path.name != "test_codes.py"
    )
    assert re.search(rf"[\"'⟦,]{code}[\"'|,]", tests), f"no test mentions {code}"


def test_unknown_code_fails_at_once() -> None:
    with pytest.raises(KeyError):
        report("no-such-code", Span(0, 0), "")
