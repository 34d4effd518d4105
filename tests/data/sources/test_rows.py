"""Files to windows of tokens: nothing dropped, nothing twice, nothing read for no reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.sources.tree import expanded, write

from dlm_engine.data import ChatRow, SourceRow, TextRow, encode_row, encode_rows
from dlm_engine.data.packs import pack
from dlm_engine.data.sources import require_usable, source_rows, summary
from dlm_engine.data.token_cache import TokenCache
from dlm_engine.errors import TrainingError

END = 2
NONE = TokenCache(None)


class Letters:
    """A chat whose tokens are the letters of the texts."""

    system_prompt = None

    def prompt_ids(self, question: str) -> list[int]:
        return [0, *map(ord, question), 1]

    def answer_ids(self, question: str, answer: str) -> list[int]:
        return [*map(ord, answer), END]

    def text_ids(self, text: str) -> list[int]:
        return [0, *map(ord, text), END]

    def opening_ids(self, text: str) -> list[int]:
        return [0, *map(ord, text)]

    def closing_ids(self, text: str) -> list[int]:
        return [*map(ord, text), END]

    def ids(self, text: str) -> list[int]:
        return [*map(ord, text)]


def row(text: str, label: str = "a.txt", weight: float = 1.0) -> SourceRow:
    return SourceRow("s", label, f"{hash(text):064x}", weight, lambda: text)


@pytest.mark.parametrize("length", [64, 100, 1000])
@pytest.mark.parametrize(
    "text",
    ["short", "one two three\n" * 60, "x" * 900, "\n\n".join(f"block {n}" for n in range(90))],
)
def test_every_token_of_a_file_is_supervised_exactly_once(text: str, length: int) -> None:
    windows = encode_row(row(text), Letters(), length)  # type: ignore[arg-type]
    supervised = [i for w in windows for i in w.ids[w.start :]]
    assert supervised == [*map(ord, text), END]
    assert all(len(w.ids) <= length and w.start >= 1 and w.kind == "text" for w in windows)
    assert windows[0].ids[1:12] == tuple(map(ord, "# source: a"))


def test_a_text_that_stands_in_several_places_is_one_row() -> None:
    same = "The same words.\n"
    other = row("Others.", "b.txt")
    found = encode_rows(
        [
            TextRow("d", same.strip()),
            row(same),
            row(same, "copy.txt"),
            other,
            ChatRow("q", "A", "B"),
        ],
        Letters(),  # type: ignore[arg-type]
        1000,
        "base",
        NONE,
    )
    assert [w.section_id for w in found.windows] == ["d", "s", "q"]
    assert sorted(found.questions.values()) == ["", "", "A"]


def test_weights_come_along_and_make_no_copies() -> None:
    heavy, plain = row("heavy", weight=2.5), row("plain", "b")
    windows = encode_rows([heavy, plain], Letters(), 1000, "base", NONE).windows  # type: ignore[arg-type]
    assert [w.weight for w in windows] == [2.5, 1.0]
    packed = pack(windows)
    assert packed.weights is not None
    assert packed.weights.tolist() == [2.5] * 6 + [1.0] * 6
    assert pack(windows[1:]).weights is None


def test_rows_of_an_expansion_and_what_is_said_of_it(tmp_path: Path) -> None:
    write(tmp_path / "s", {"a.md": "text", "b.bin": b"\0", "c.md": "more", ".env": "A=1"})
    found = expanded(tmp_path, {"path": "s"})
    require_usable(found)
    rows = source_rows(found)
    assert [(r.label, r.read()) for r in rows] == [("a.md", "text"), ("c.md", "more")]
    assert len({r.section_id for r in rows}) == 2
    assert summary(found) == "sources: 2 files, 0.0 KiB; left out 2: 1 secret (.env), 1 binary"


def test_a_source_that_is_not_there_stops_a_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"training\.sources: gone: there is nothing at gone"):
        require_usable(expanded(tmp_path, {"path": "gone"}))
