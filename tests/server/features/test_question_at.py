"""The question a cursor stands in: from its header to the next, in each line's middle or end."""

from __future__ import annotations

import pytest
from tests.server.features.cursor import HEAD, at_cursor

from dlm_server.features.question_at import question_at

PAIRS = (
    "::instruction::\n### Q !probe\nWhy?\nReally?\n\n### A\nBecause.\n\n### Q\nWho?\n### A\nAna.\n"
)


@pytest.mark.parametrize(
    ("marked", "question"),
    [
        ("‸" + HEAD + PAIRS, None),
        (HEAD + "Some pr‸ose.\n" + PAIRS, None),
        (HEAD + PAIRS.replace("::instruction::", "::instruction::‸"), None),
        (HEAD + PAIRS.replace("### Q !probe", "### Q !pr‸obe"), "Why?\nReally?"),
        (HEAD + PAIRS.replace("Really?", "Really?‸"), "Why?\nReally?"),
        (HEAD + PAIRS.replace("Because.\n", "Because.\n‸"), "Why?\nReally?"),
        (HEAD + PAIRS.replace("### Q\n", "‸### Q\n"), "Who?"),
        (HEAD + PAIRS.replace("Ana.\n", "Ana.\n‸"), "Who?"),
        (HEAD + PAIRS + "### Q\nWhen‸?\n", None),
        (HEAD + PAIRS + "### Q\nWhen?\n::prose::\nMore.‸\n", None),
        ("no head‸\n", None),
    ],
)
def test_where(marked: str, question: str | None) -> None:
    found = question_at(*at_cursor(marked))
    assert (None if found is None else found[0].pairs[found[1]].question) == question
