"""Links: which words lead where."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.server.features.cursor import places

from dlm_server.features.links import links

HOME = Path("/room")


@pytest.mark.parametrize(
    ("marked", "targets"),
    [
        (
            "---\nbase_model: ⟦hf:Qwen/Qwen3-4B⟧ # x\n---\n",
            ["https://huggingface.co/Qwen/Qwen3-4B"],
        ),
        (
            "---\nbase_model: ⟦smollm2-135m⟧\n---\n",
            ["https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct"],
        ),
        ('---\nbase_model: "⟦hf:a/b⟧"\n---\n', ["https://huggingface.co/a/b"]),
        ("---\nbase_model: ⟦./models/x⟧\n---\n", [HOME / "models/x"]),
        ("---\nbase_model: ⟦/models/x⟧\n---\n", [Path("/models/x")]),
        ("---\nbase_model: hf:nonsense\n---\n", []),
        ("---\nbase_model: unknown\n---\n", []),
        (
            "---\ntraining:\n  sources:\n    - path: ⟦a.md⟧\n    - {path: '⟦b c.md⟧'}\n---\n",
            [HOME / "a.md", HOME / "b c.md"],
        ),
        (
            '---\n---\n::image path="⟦a/b.png⟧" alt="x"::\n'
            '::audio transcript="t" path="⟦/c.wav⟧"::\n',
            [HOME / "a/b.png", Path("/c.wav")],
        ),
        ('---\n---\n::image path=""::\n```\n::image path="x"::\n```\n', []),
    ],
)
def test_links_stand_on_exactly_the_name(marked: str, targets: list[Path | str]) -> None:
    live, spans = places(marked)
    found = list(links(live, HOME))
    assert [link.span for link in found] == spans
    assert [link.target for link in found] == targets
    assert all(link.tooltip for link in found)


def test_the_home_folder_is_known() -> None:
    live, _ = places("---\nbase_model: ~/models/x\n---\n")
    assert [link.target for link in links(live, HOME)] == [Path("~/models/x").expanduser()]


def test_a_document_that_is_not_on_disk_has_no_relative_links() -> None:
    live, _ = places('---\nbase_model: hf:a/b\n---\n::image path="a.png"::\n')
    assert [link.target for link in links(live, None)] == ["https://huggingface.co/a/b"]
