"""Provenance markers."""

from __future__ import annotations

import pytest
from tests.document.marked import HEAD, check_body

from dlm_engine.document import parse

QA = "### Q\na\n### A\nb\n"
TRIPLE = "### Prompt\np\n### Chosen\nc\n### Rejected\nr\n"
MINED = (
    'judge_name="j" judge_score_chosen="1.5" judge_score_rejected="-2" '
    'mined_at="2026-01-02T03:04:05Z" mined_run_id="3"'
)
SYNTH = (
    'synth_teacher="t" synth_strategy="s" synth_at="2026-01-02T03:04:05+00:00" '
    'source_section_id="728a946efc508e1d"'
)


def test_markers_are_read_and_no_part_of_the_content() -> None:
    markers = f'<!-- dlm-auto-harvest: source="probe" -->\n<!-- dlm-auto-synth: {SYNTH} -->\n'
    marked = f"::instruction::\n{markers}{QA}"
    (section,) = parse(HEAD + marked)[0].sections
    (bare,) = parse(HEAD + "::instruction::\n" + QA)[0].sections
    assert check_body(marked) == []
    assert section.provenance["harvest"] == {"source": "probe"}
    assert section.provenance["synth"]["synth_teacher"] == "t"
    assert (section.id, section.legacy_id, section.pairs[0].question) == (
        bare.id,
        bare.legacy_id,
        "a",
    )


def test_mined_marker_on_preference() -> None:
    body = f"::preference::\n<!-- dlm-auto-mined: {MINED} -->\n{TRIPLE}"
    assert check_body(body) == []
    (section,) = parse(HEAD + body)[0].sections
    assert section.provenance["mined"]["mined_run_id"] == "3"


@pytest.mark.parametrize(
    "marker",
    [
        '<!-- dlm-auto-mined: {m} ⟦marker-malformed|extra⟧="1" -->',
        '<!-- dlm-auto-mined: {m} ⟦marker-malformed|judge_name⟧="1" -->',
        MINED.replace("-2", "⟦marker-malformed|nan⟧").join(("<!-- dlm-auto-mined: ", " -->")),
        MINED.replace('="3"', '="⟦marker-malformed|0⟧"').join(("<!-- dlm-auto-mined: ", " -->")),
        MINED.replace("2026-01-02T03:04:05Z", "⟦marker-malformed|soon⟧").join(
            ("<!-- dlm-auto-mined: ", " -->")
        ),
        "⟦marker-misplaced|<!-- dlm-auto-synth: {s} -->⟧",
        '<!-- dlm-auto-harvest: source="x" ⟦marker-near-miss|more⟧="y" -->',
        "⟦marker-near-miss|<!-- dlm-auto-harvest: source=x -->⟧",
    ],
)
def test_damaged_marker(marker: str) -> None:
    marker = marker.replace("{m}", MINED).replace("{s}", SYNTH)
    check_body(f"::preference::\n{marker}\n{TRIPLE}")


def test_missing_attributes_are_named() -> None:
    body = '::preference::\n<!-- dlm-auto-mined: judge_name="j" -->\n' + TRIPLE
    messages = " ".join(p.message for p in parse(HEAD + body)[1])
    for name in ("judge_score_chosen", "judge_score_rejected", "mined_at", "mined_run_id"):
        assert name in messages


def test_marker_line_in_prose_is_pointed_at() -> None:
    check_body('::prose::\n⟦marker-near-miss|<!-- dlm-auto-harvest: source="x" -->⟧\n')
