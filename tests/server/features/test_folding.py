"""What folds: `[a-b]` in the margin of the expected lines, counted from 0."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from tests.server.features.cursor import HEAD
from tests.server.features.random_documents import documents

from dlm_engine.document import LiveDocument
from dlm_server.features.folding import at_most, folds


def found(text: str) -> list[tuple[int, int, str | None]]:
    return [(f.start_line, f.end_line, f.kind) for f in folds(LiveDocument.open(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("::prose::\na\nb\n\n\n", [(0, 2, "region")], id="to the last words"),
        pytest.param("::prose::\n\n\n", [], id="nothing under the fence"),
        pytest.param("a\nb\nc\n", [], id="prose without a fence"),
        pytest.param(
            "::instruction::\n### Q\na\n### A\nb\n\nc\n\n### Q\n### A\n",
            [(0, 9, "region"), (1, 2, None), (3, 6, None)],
            id="fields of several lines",
        ),
        pytest.param(
            "::preference::\n### Prompt\na\n### Chosen\nb\n### Rejected\nc\n",
            [(0, 6, "region"), (1, 2, None), (3, 4, None), (5, 6, None)],
            id="preferences",
        ),
        pytest.param(
            "::instruction::\n"
            '<!-- dlm-auto-harvest: source="x" -->\n<!-- dlm-auto-harvest: source="y" -->\n'
            "### Q\na\n",
            [(0, 4, "region"), (1, 2, "comment"), (3, 4, None)],
            id="markers",
        ),
        pytest.param(
            "::prose::\ntext\n```py\nx\n\n```\n", [(0, 5, "region"), (2, 5, None)], id="code"
        ),
        pytest.param(
            "::instruction::\n### Q\n```\nx\n```\n",
            [(0, 4, "region"), (1, 4, None), (2, 4, None)],
            id="code in a field",
        ),
        pytest.param(
            "# A\nx\n## B\ny\n\n# C\nz\n", [(0, 3, None), (2, 3, None), (5, 6, None)], id="headings"
        ),
        pytest.param(
            "---\na: 1\nb:\n  c:\n    - x\n    - y: 1\n      z: 2\n\nd: |\n  e\n  f\n---\n",
            [(0, 11, "region"), (2, 6, None), (3, 6, None), (5, 6, None), (8, 10, None)],
            id="frontmatter",
        ),
        pytest.param("---\na: 1\n", [(0, 1, "region")], id="frontmatter without an end"),
        pytest.param("::a::\r\nx\r\n::b::\ry\r", [(0, 1, "region"), (2, 3, "region")], id="CRLF"),
    ],
)
def test_folds(text: str, expected: list[tuple[int, int, str | None]]) -> None:
    assert found(text) == expected


def test_the_outermost_are_kept_where_the_client_takes_few() -> None:
    text = HEAD + "::instruction::\n### Q\na\n### A\nb\n::prose::\n# A\nx\n"
    kept = at_most(folds(LiveDocument.open(text)), 3)
    assert [(f.start_line, f.end_line) for f in kept] == [(0, 4), (5, 9), (10, 12)]
    assert at_most(kept, 0) == ()


@given(documents())
@settings(deadline=None, max_examples=150)
def test_folds_are_lines_of_the_text_and_start_once(text: str) -> None:
    live = LiveDocument.open(text)
    made = folds(live)
    assert len({f.start_line for f in made}) == len(made)
    for fold in made:
        assert 0 <= fold.start_line < fold.end_line < live.line_count
