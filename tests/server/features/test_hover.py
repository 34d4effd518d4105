"""Hover: every key, and every kind of thing in the body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import pytest
from tests.server.features.cursor import HEAD, at_cursor, declared

from dlm_engine.document import Section
from dlm_server.features.hover import Known, hover, plain
from dlm_server.features.schema_docs import table
from dlm_server.views import Origin

ID = "---\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\nbase_model: smollm2-135m\n"
PAIR = "::instruction::\n### Q\nWhere are the oars?\n### A\nIn the shed.\n"
BROKEN = ID + "training:\n  seed: [1\n  cpt:\n    sche‸dule: sft\n---\n"


@dataclass(frozen=True)
class Trained:
    answer: Literal["never", "trained", "new"]
    version: int | None = 3
    section_ids: frozenset[str] = frozenset()
    when: datetime | None = datetime(2026, 3, 4, 5, 6)
    loss: float | None = 0.1234
    versions: int = 3
    current: Mapping[str | None, int] = field(default_factory=dict)

    first: str = "3"

    def state(self, section: Section) -> Literal["never", "trained", "new"]:
        return self.answer

    def origin(self, section: Section) -> Origin:
        return Origin(self.first, str(self.version), self.loss)


@dataclass(frozen=True)
class Result:
    section_id: str = ""
    question: str = "Where?"
    state: Literal["running", "ok", "stale", "error", "passed", "failed", "changed"] = "ok"
    base: str | None = "I do *not* know."
    adapted: str | None = "In the\nshed."
    reference: str | None = None
    model_version: int | None = 3
    adapter: str | None = None


def said(marked: str, known: Known | None = None) -> str:
    live, offset = at_cursor(marked)
    found = hover(live, offset, known or Known())
    if found is None:
        return ""
    assert found.span.start <= offset <= found.span.end
    return found.markdown


@pytest.mark.parametrize(
    ("marked", "words"),
    [
        # type, bounds, default, what it is for, and what counts
        (
            ID + "training:\n  lora‸_r: 32\n---\n",
            [
                "whole number from 1 to 256",
                "default `8`",
                "planned",
                "Rank of the adapter",
                "In effect: `32`",
            ],
        ),
        (ID + "training:\n  lora_r: 3‸2\n---\n", ["**training.lora_r**", "In effect: `32`"]),
        (ID + "training:\n  lora_r: 999‸\n---\n", ["In effect: `8`"]),
        (ID + "training:\n  grad_a‸ccum: auto\n---\n", ["In effect: planned when training"]),
        (ID + "training:\n  preci‸sion: null\n---\n", ["In effect: planned when training"]),
        (
            ID + "training:\n  sequence‸_len: 32768\n---\n",
            ["In effect: `8192`, all that smollm2-135m"],
        ),
        (
            ID + "training:\n  target_modules: [q_‸proj]\n---\n",
            ["**training.target_modules**", "In effect: `[q_proj]`"],
        ),
        (ID + "train‸ing:\n  seed: 1\n---\n", ["**training**", "`lora_r`"]),
        (ID + "training: {se‸ed: 7}\n---\n", ["**training.seed**", "In effect: `7`"]),
        (
            ID + "training:\n  sources:\n    - pa‸th: x\n---\n",
            ["**training.sources.0.path**", "required"],
        ),
        (ID + "training:\n  gate:\n    ena‸bled: false\n---\n", ["each named adapter"]),
        (BROKEN, ["How prose is learned"]),
        (declared("to‸ne") + "::prose#tone::\nx\n", ["**Adapter tone**", "1 section chooses it"]),
        ("---\nbase_model: llama-3‸.2-1b\n---\n", ["2.5 GiB"]),
        (
            ID.replace("smollm2-135m", "llama-3‸.2-1b") + "---\n",
            ["2.5 GiB", "131072 tokens", "LicenseRef-Llama-3.2", "has to be accepted"],
        ),
        (
            ID.replace("base_model", "base‸_model") + "---\n",
            ["**smollm2-135m**", "Note: small base"],
        ),
        (ID.replace("smollm2-135m", "hf:a‸/b") + "---\n", ["[a/b](https://huggingface.co/a/b)"]),
        (
            ID.replace("smollm2-135m", "smollm2-13‸m") + "---\n",
            ["not in the registry", "`smollm2-135m`"],
        ),
        (ID.replace("smollm2-135m", "internvl2‸-2b") + "---\n", ["is not offered", "Python code"]),
        (ID.replace("smollm2-135m", "./x‸") + "---\n", ["A folder that holds a model"]),
    ],
)
def test_frontmatter(marked: str, words: list[str]) -> None:
    text = said(marked)
    assert [w for w in words if w not in text] == [], text


@pytest.mark.parametrize(
    "marked",
    [
        ID + "noth‸ing: 1\n---\n",
        ID + "training:\n ‸ seed: 1\n---\n",
        "--‸-\n---\n",
        HEAD + "words\nplain wo‸rds\n",
        HEAD + "```\n::ins‸truction::\n```\n",
        HEAD + "‸",
        "‸",
        HEAD + '::image path="a.png" alt="so‸me"::\n',
    ],
)
def test_there_is_nothing_to_say(marked: str) -> None:
    assert said(marked) == ""


@pytest.mark.parametrize("path", [p for p in table() if "*" not in p], ids=lambda p: ".".join(p))
def test_every_key_has_words(path: tuple[str, ...]) -> None:
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(path)]
    lines[-1] = lines[-1].replace(path[-1], f"‸{path[-1]}") + " 1"
    marked = "---\n" + "\n".join(lines) + "\n---\n"
    assert table()[path].description in said(marked)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "::instruc‸tion::\n### Q !probe\na b c d\n### A\ne f g h\n",
            [
                "**instruction**",
                "- Id: `",
                "About 3 tokens, 1 question (1 marked `!probe`)",
                "Not trained yet",
            ],
        ),
        ("::pro‸se#tone::\nx\n", ["for the adapter `tone`"]),
        (
            "::pref‸erence::\n### Prompt\na\n### Chosen\nb\n### Rejected\nc\n",
            ["1 preference", "likelier"],
        ),
        (
            '::instruction::\n<!-- dlm-auto-harvest: source="x" -->\n### Q\na\n### A\nb\n'
            "::pro‸se::\nx\n",
            ["**prose**"],
        ),
        (
            '::instruction‸::\n<!-- dlm-auto-harvest: source="x" -->\n### Q\na\n### A\nb\n',
            ["Harvested"],
        ),
        (
            '::instruction::\n<!-- dlm-auto-har‸vest: source="x" -->\n### Q\na\n### A\nb\n',
            ["**Harvested**", "not learned"],
        ),
        ("::instruction::\n### Q !pr‸obe\na\n### A\nb\n", ["keep an eye on"]),
        ("::instruction::\n##‸# Q\naaaa bbbb\n### A\nb\n", ["**Question**", "About 2 tokens"]),
        ("::instruction::\n### Q\na\n#‸## A\nbbbb cccc dddd\n", ["**Answer**", "About 3 tokens"]),
        ("# He‸ad\n\nwords\n", ["**prose**", "- Id: `"]),
        ("::preference::\n### Pr‸ompt\na\n### Chosen\nb\n### Rejected\nc\n", ["**Prompt**"]),
    ],
)
def test_body(body: str, words: list[str]) -> None:
    text = said(declared("tone") + body)
    assert [w for w in words if w not in text] == [], text


@pytest.mark.parametrize(
    ("trained", "words"),
    [
        (Trained("trained"), "- Trained in version 3, 2026-03-04 05:06, loss 0.123"),
        (Trained("trained", when=None, loss=None), "- Trained in version 3"),
        (
            Trained("trained", first="1"),
            "- Trained in version 1; current is 3, 2026-03-04 05:06, loss 0.123",
        ),
        (Trained("new"), "- New or changed since version 3"),
        (Trained("never", version=None), "- Not trained yet"),
    ],
)
def test_a_section_tells_when_it_was_trained(trained: Trained, words: str) -> None:
    text = said(HEAD + "‸" + PAIR, Known(trained=trained))
    assert words in text.split("\n")


def test_a_section_and_its_question_tell_the_newest_answers() -> None:
    def result(section: str, number: int) -> Result | None:
        return Result(section, state="failed") if number == 1 else None

    two = PAIR + "### Q\nWhere?\n### A\nThere.\n"
    on_the_fence = said(HEAD + "‸" + two, Known(result=result))
    on_the_header = said(
        HEAD + two.replace("### Q\nWhere?", "#‸## Q\nWhere?"), Known(result=result)
    )
    for text in (on_the_fence, on_the_header):
        assert "- Answer of version 3: In the shed." in text
        assert r"- Answer of the base: I do \*not\* know." in text
        assert "- Probe failed" in text
    assert "Answer of" not in said(HEAD + two.replace("### Q", "#‸## Q", 1), Known(result=result))


def test_an_answer_says_whose_it_is() -> None:
    text = said(HEAD + "‸" + PAIR, Known(result=lambda section, _: Result(adapter="tone")))
    assert "- Answer of version 3 of tone: In the shed." in text


def test_tokens_are_counted_where_the_tokenizer_is_known() -> None:
    text = said(HEAD + "‸" + PAIR, Known(encoding=lambda text: len(text.split())))
    assert "- 7 tokens, 1 question" in text


def test_a_media_path_tells_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x" * 2048)
    marked = HEAD + '::image path="a‸.png"::\n'
    text = said(marked, Known(folder=tmp_path))
    assert "2.0 KiB" in text
    assert (tmp_path / "a.png").as_uri() in text
    assert "no such file" in said(marked.replace("a‸", "b‸"), Known(folder=tmp_path))
    assert "relative to the document" in said(marked)


def test_plain_text_has_no_marks() -> None:
    markdown = "**a** `b` [c](https://d/e) *f*"
    assert plain(markdown) == "a b c (https://d/e) *f*"
