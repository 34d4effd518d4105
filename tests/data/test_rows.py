from __future__ import annotations

from dlm_engine.data.rows import ChatRow, TextRow, rows_of
from dlm_engine.document import parse

HEAD = "---\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\ndlm_version: 15\nbase_model: smollm2-135m\n---\n"


def rows(body: str) -> tuple[ChatRow | TextRow, ...]:
    document, _ = parse(HEAD + body)
    return rows_of(document)


def test_sections_become_rows_in_document_order() -> None:
    found = rows(
        "\nSome prose.\n\n::instruction::\n### Q\na?\n### A\nb\n\n### Q !probe\nc?\n### A\nd\n"
    )
    assert [type(row).__name__ for row in found] == ["TextRow", "ChatRow", "ChatRow"]
    assert [row.probe for row in found if isinstance(row, ChatRow)] == [False, True]


def test_a_fact_said_twice_is_one_row() -> None:
    pair = "\n::instruction::\n### Q\na?\n### A\nb\n"
    assert len(rows(pair + pair)) == 1


def test_a_rows_key_depends_on_what_it_says_and_not_on_where_it_stands() -> None:
    alone = rows("\n::instruction::\n### Q\na?\n### A\nb\n")[0]
    moved = rows("\nProse.\n\n::instruction::\n### Q\nx?\n### A\ny\n\n### Q\na?\n### A\nb\n")[-1]
    assert alone.key == moved.key
    assert ChatRow("s", "ab", "c").key != ChatRow("s", "a", "bc").key


def test_preferences_and_blank_prose_give_no_rows() -> None:
    body = "\n\n   \n::preference::\n### Prompt\np\n### Chosen\nc\n### Rejected\nr\n"
    assert rows(body) == ()
