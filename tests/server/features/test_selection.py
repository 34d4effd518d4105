"""The steps of a growing selection, one to a line, line ends as `/`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.features.cursor import at_cursor
from tests.server.features.random_documents import documents

from dlm_engine.document import LiveDocument
from dlm_server.features.selection import selections


def steps(marked: str) -> list[str]:
    live, offset = at_cursor(marked)
    return [live.text[a:b].replace("\n", "/") for a, b in selections(live, offset)]


FIELD = "::instruction::\n### Q\nWho fou‸nded\nit then?\n\nReally?\n### A\nMe.\n"


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        pytest.param(
            FIELD,
            [
                "founded",
                "Who founded",
                "Who founded/it then?",
                "Who founded/it then?//Really?",
                "### Q/Who founded/it then?//Really?",
                "### Q/Who founded/it then?//Really?/### A/Me.",
                "::instruction::/### Q/Who founded/it then?//Really?/### A/Me.",
                FIELD.replace("‸", "").replace("\n", "/"),
            ],
            id="word, line, paragraph, text, field, content, section",
        ),
        pytest.param(
            "::instruction#to‸ne::\na\n",
            ["tone", "::instruction#tone::", "::instruction#tone::/a", "::instruction#tone::/a/"],
            id="fence",
        ),
        pytest.param(
            '::image path="a b/c‸.png"::',
            ["c", "a b/c.png", 'path="a b/c.png"', '::image path="a b/c.png"::'],
            id="attribute",
        ),
        pytest.param(
            "---\na:\n  b: x‸y\n  c: 1\n---\n",
            ["xy", "b: xy", "b: xy/  c: 1", "a:/  b: xy/  c: 1"],
            id="value, entry, mapping",
        ),
        pytest.param(
            "a\n```py\nx = ‸1\ny = 2\n```\n",
            ["1", "x = 1", "x = 1/y = 2", "```py/x = 1/y = 2/```"],
            id="code",
        ),
        pytest.param(
            "# A\n\n## B\nx‸\n# C\n",
            ["x", "## B/x", "# A//## B/x", "# A//## B/x/# C"],
            id="headings",
        ),
        pytest.param("‸", [""], id="empty"),
    ],
)
def test_steps(marked: str, expected: list[str]) -> None:
    assert steps(marked)[: len(expected)] == expected


@given(documents(), st.data())
@settings(deadline=None, max_examples=150)
def test_every_step_holds_the_one_before(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    found = selections(LiveDocument.open(text), offset)
    assert found[-1] == (0, len(text))
    inner = (offset, offset)
    for span in found:
        assert span.start <= inner[0] <= inner[1] <= span.end
        assert span != inner or not text
        inner = span
