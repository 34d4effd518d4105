"""Lenses as `title -> command` in the order of the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from tests.server.features.cursor import HEAD

from dlm_engine.document import LiveDocument, Section
from dlm_server.features.lenses import Facts, Lens, ask_argument, ask_title, asked, document_lenses

TEXT = HEAD + (
    "\nProse.\n\n::instruction::\n### Q\nWho?\n### A\nShe.\n### Q !probe\nWhen?\n### A\nThen.\n"
)


@dataclass(frozen=True)
class Result:
    state: str


@dataclass(frozen=True)
class Trained:
    version: int | None
    section_ids: frozenset[str] = field(default_factory=frozenset)

    def state(self, section: Section) -> str:
        return "trained" if section.id in self.section_ids else "new"


def made(
    text: str,
    *,
    trusted: bool = True,
    busy: bool = False,
    trained: Trained | None = None,
    results: Mapping[tuple[str, int], Result] | None = None,
) -> tuple[Lens, ...]:
    known = results or {}
    facts = Facts("file:///a.dlm", trusted, busy, trained, lambda *key: known.get(key))
    live = LiveDocument.open(text)
    made = document_lenses(live, facts)
    for _, section in asked(live, facts):
        for index, pair in enumerate(section.pairs):
            title, argument = ask_title(facts, section, index), ask_argument(facts, section, index)
            made.append(Lens(pair.question_span, title, "dlm.askSection", argument))
    return tuple(made)


def shown(found: tuple[Lens, ...]) -> list[str]:
    return [f"{lens.title} -> {lens.command}" for lens in found]


ASK = ["Ask -> dlm.askSection", "Ask probe -> dlm.askSection"]
IDS = frozenset(s.id for s in LiveDocument.open(TEXT).document.sections)


def test_before_the_first_training() -> None:
    found = made(TEXT)
    assert shown(found) == ["Train -> dlm.train", *ASK]
    assert found[0].argument == {"uri": "file:///a.dlm"}
    section = LiveDocument.open(TEXT).document.sections[1].id
    assert found[2].argument == {"uri": "file:///a.dlm", "sectionId": section, "pair": 1}
    assert [TEXT[lens.span.start : lens.span.end] for lens in found] == ["", "Who?", "When?"]


@pytest.mark.parametrize(
    ("learned", "title"),
    [
        (IDS, "Train again"),
        (frozenset(sorted(IDS)[:1]), "Train again · 1 section changed since version 4"),
        (IDS | {"0" * 16, "1" * 16}, "Train again · 2 sections changed since version 4"),
        (frozenset({"0" * 16}), "Train again · 2 sections changed since version 4"),
    ],
)
def test_after_training(learned: frozenset[str], title: str) -> None:
    assert shown(made(TEXT, trained=Trained(4, learned)))[:3] == [
        f"{title} -> dlm.train",
        "Export… -> dlm.export",
        "Versions · 4 -> dlm.versions",
    ]


def test_sections_that_nothing_is_learned_from_do_not_count() -> None:
    text = TEXT + '\n::image path="a"::\ncaption\n'
    assert shown(made(text, trained=Trained(4, IDS)))[0] == "Train again -> dlm.train"


def test_cancel_while_a_job_runs() -> None:
    found = made(TEXT, busy=True, trained=Trained(1, IDS))
    assert shown(found)[:2] == ["Cancel -> dlm.cancel", "Export… -> dlm.export"]
    assert found[0].argument == {}


def test_without_trust_only_what_shows() -> None:
    assert shown(made(TEXT, trusted=False, trained=Trained(4, IDS))) == [
        "Versions · 4 -> dlm.versions"
    ]
    assert made(TEXT, trusted=False) == ()


@pytest.mark.parametrize(
    "text", ["", "::instruction::\n### Q\na\n### A\nb\n", "---\nbase_model: x\n---\n"]
)
def test_none_without_usable_settings(text: str) -> None:
    assert made(text) == ()


@pytest.mark.parametrize(
    ("state", "titles"),
    [
        ("ok", ["Ask again", "Ask probe again"]),
        ("stale", ["Ask · stale", "Ask probe · stale"]),
        ("passed", ["Ask · passed", "Ask probe · passed"]),
        ("changed", ["Ask · changed", "Ask probe · changed"]),
        ("running", ["Asking…", "Asking…"]),
    ],
)
def test_the_latest_state_of_each_question(state: str, titles: list[str]) -> None:
    section = LiveDocument.open(TEXT).document.sections[1].id
    found = made(TEXT, results={(section, n): Result(state) for n in (0, 1)})
    assert [lens.title for lens in found[1:]] == titles
    only_first = made(TEXT, results={(section, 0): Result(state)})
    assert [lens.title for lens in only_first[1:]] == [titles[0], "Ask probe"]
