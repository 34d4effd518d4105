"""Section ids: the reference's values, and where ours differ on purpose."""

from __future__ import annotations

import re

import pytest
from tests.document.marked import HEAD

from dlm_engine.document import Section, SectionType, new_id, parse
from dlm_engine.document.identity import section_id


def sections(body: str) -> tuple[Section, ...]:
    return parse(HEAD + body)[0].sections


@pytest.mark.parametrize(
    ("body", "reference"),
    [
        ("::instruction::\n", "6450ab006a4d2029"),
        ("::preference::\n", "79ec32192b041a1c"),
        ("x", "728a946efc508e1d"),
        ("\nx\n", "728a946efc508e1d"),
        ("::instruction::\n### Q\na\n### A\nb", "de9305cbed345335"),
        ('::image path="a.png"::\n', "6f59425a29eca438"),
    ],
)
def test_values_of_the_reference(body: str, reference: str) -> None:
    (section,) = sections(body)
    assert section.id == section.legacy_id == reference


def test_blank_lines_around_a_section_do_not_count() -> None:
    plain = sections("x\n::instruction::\n### Q\na\n### A\nb\n::prose::\ny\n")
    airy = sections("\n\n\nx\n\n\n::instruction::\n\n### Q\na\n### A\nb\n\n \n::prose::\n\ny\n\n\n")
    assert [s.id for s in plain] == [s.id for s in airy]
    assert [s.legacy_id for s in plain] != [s.legacy_id for s in airy]


def test_id_of_raw_content_is_that_of_stripped_content() -> None:
    assert section_id(SectionType.PROSE, "\n \nx\n\n", {}) == "728a946efc508e1d"
    assert section_id(SectionType.PROSE, "  x", {}) != "728a946efc508e1d"


def test_legacy_id_counts_the_blank_lines_the_reference_counted() -> None:
    first, second = sections("\nx\n\n::prose::\nx\n\n")
    # "x\n" as the reference kept it, with the blank line before the next fence
    assert first.legacy_id == second.legacy_id == "342ce6e9a27d6e3f"
    assert first.id == "728a946efc508e1d"


def test_section_is_found_by_both_ids() -> None:
    document, _ = parse(HEAD + "\nx\n\n::instruction::\n### Q\na\n### A\nb\n")
    prose = document.sections[0]
    assert prose.id != prose.legacy_id
    assert document.section(prose.id) is prose
    assert document.section(prose.legacy_id) is prose
    assert document.section("0" * 16) is None


def test_line_ends_and_mark_do_not_count() -> None:
    text = HEAD + "x\n\n::instruction::\n### Q\na\n### A\nb\n"
    ids = [(s.id, s.legacy_id) for s in parse(text)[0].sections]
    for other in (text.replace("\n", "\r\n"), text.replace("\n", "\r"), "\ufeff" + text):
        assert [(s.id, s.legacy_id) for s in parse(other)[0].sections] == ids


def test_caption_and_transcript_count() -> None:
    one, two, bare = sections(
        '::image path="a"::\none\n::image path="a"::\ntwo\n::image path="a"::\n'
    )
    assert len({one.id, two.id, bare.id}) == 3
    assert one.legacy_id == two.legacy_id == bare.legacy_id == bare.id
    first, second = sections(
        '::audio path="a" transcript="x"::\n::audio path="a" transcript="y"::\n'
    )
    assert first.id != second.id
    assert first.legacy_id == second.legacy_id


def test_alt_and_adapter_do_not_count() -> None:
    one, two = sections('::image path="a" alt="x"::\n::image path="a"::\n')
    assert one.id == two.id
    plain, routed = sections("::prose::\nx\n::prose#a::\nx\n")
    assert plain.id == routed.id


def test_new_ids_are_ulids_and_differ() -> None:
    made = {new_id() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"[0-7][0-9A-HJ-KM-NP-TV-Z]{25}", i) for i in made)
