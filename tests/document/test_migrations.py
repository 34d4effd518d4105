"""Migrations: only the lines they must change, every comment and the whole body kept."""

from __future__ import annotations

import pytest
from tests.document.marked import fixed

from dlm_engine.document import CURRENT_VERSION, migrate_text, parse
from dlm_engine.errors import DocumentError

ID = "dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\n"
BODY = "\n\nprose first\n\n\n::instruction::\n### Q\na\n### A\nb\n\n\n"

#: (frontmatter before, frontmatter after)
CASES = [
    pytest.param(
        f"{ID}base_model: x # why\n", f"{ID}dlm_version: 15\nbase_model: x # why\n", id="no version"
    ),
    pytest.param(
        f"# top\n{ID}# v\ndlm_version: 9 # old\nbase_model: x\n",
        f"# top\n{ID}# v\ndlm_version: 15 # old\nbase_model: x\n",
        id="comments",
    ),
    pytest.param(
        "base_model: x\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\n\ntraining: {lora_r: 4} # keep\n",
        "base_model: x\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\ndlm_version: 15\n\n"
        "training: {lora_r: 4} # keep\n",
        id="own order",
    ),
    pytest.param(
        "{dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7, base_model: x}\n",
        "{dlm_version: 15, dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7, base_model: x}\n",
        id="flow",
    ),
    pytest.param(
        f"{ID}dlm_version: 1\nbase_model: x\n"
        "training:\n"
        "  lora_r: 4\n"
        "  dpo: # tuned\n"
        "    # on for now\n"
        "    enabled: true\n"
        "    # sharper\n"
        "    beta: 0.2 # was 0.1\n"
        "    learning_rate: 1e-6\n"
        "\n"
        "    reference: pre_dpo_adapter # default\n"
        "    max_length: 512\n"
        "    loss_type: hinge\n"
        "    num_epochs: 2\n"
        "  seed: 1\n",
        f"{ID}dlm_version: 15\nbase_model: x\n"
        "training:\n"
        "  lora_r: 4\n"
        "  preference: # tuned\n"
        "    method: dpo\n"
        "    # on for now\n"
        "    enabled: true\n"
        "\n"
        "    reference: pre_adapter # default\n"
        "    loss_type: hinge\n"
        "    hyperparams:\n"
        "      # sharper\n"
        "      beta: 0.2 # was 0.1\n"
        "      learning_rate: 1e-6\n"
        "      num_epochs: 2\n"
        "  seed: 1\n",
        id="dpo block",
    ),
    pytest.param(
        f"{ID}base_model: x\ntraining:\n  dpo: {{enabled: true, beta: 0.3, reference: base}}\n",
        f"{ID}dlm_version: 15\nbase_model: x\ntraining:\n"
        "  preference: {method: dpo, enabled: true, reference: base, hyperparams: {beta: 0.3}}\n",
        id="dpo flow",
    ),
]


@pytest.mark.parametrize(("before", "after"), CASES)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_only_the_lines_it_must(before: str, after: str, ending: str, mark: str) -> None:
    text = mark + f"---\n{before}---\n{BODY}".replace("\n", ending)
    migration = migrate_text(text)
    assert migration.text == mark + f"---\n{after}---\n{BODY}".replace("\n", ending)
    assert migration.to_version == CURRENT_VERSION
    assert len(migration.applied) == CURRENT_VERSION - migration.from_version


@pytest.mark.parametrize(("before", "after"), CASES)
def test_meaning_and_ids_stay(before: str, after: str) -> None:
    old, problems = parse(f"---\n{before}---\n{BODY}")
    new, none = parse(migrate_text(old.text).text)
    assert [p.code for p in problems] == ["version-old"]
    assert none == []
    assert old.frontmatter == new.frontmatter
    assert old.frontmatter is not None
    assert [(s.id, s.legacy_id) for s in old.sections] == [
        (s.id, s.legacy_id) for s in new.sections
    ]


@pytest.mark.parametrize(("before", "after"), CASES)
def test_again_changes_nothing_and_the_fix_is_the_same(before: str, after: str) -> None:
    text = f"---\n{before}---\n{BODY}"
    migrated = migrate_text(text)
    assert fixed(text, "version-old") == migrated.text
    again = migrate_text(migrated.text)
    assert (again.text, again.applied, again.edits) == (migrated.text, (), ())


@pytest.mark.parametrize("version", range(1, CURRENT_VERSION))
def test_every_version_has_a_way(version: int) -> None:
    text = f"---\n{ID}dlm_version: {version}\nbase_model: x\n---\nx\n"
    migration = migrate_text(text)
    assert migration.from_version == version
    assert "dlm_version: 15\n" in migration.text
    assert parse(migration.text)[1] == []


def test_dpo_of_version_1_is_read_without_migrating_the_file() -> None:
    text = f"---\n{ID}base_model: x\ntraining:\n  dpo:\n    enabled: true\n    beta: 0.3\n---\n"
    frontmatter = parse(text)[0].frontmatter
    assert frontmatter is not None
    preference = frontmatter.training.preference
    assert (preference.enabled, preference.method, preference.hyperparams.beta) == (
        True,
        "dpo",
        0.3,
    )


def test_dpo_of_version_1_is_judged_at_its_place() -> None:
    text = f"---\n{ID}base_model: x\ntraining:\n  dpo:\n    beta: 7\n---\n"
    (problem,) = [p for p in parse(text)[1] if p.code == "value-range"]
    assert text[problem.span.start : problem.span.end] == "7"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("no frontmatter", "frontmatter"),
        (f"---\n{ID}base_model: x\n", "never closed"),
        (f"---\n{ID}base_model: [\n---\n", "this bracket is never closed"),
        (f"---\n{ID}dlm_version: 99\nbase_model: x\n---\n", "newer"),
        (f"---\n{ID}dlm_version: 0\nbase_model: x\n---\n", "at least 1"),
        (f"---\n{ID}dlm_version: two\nbase_model: x\n---\n", "whole number"),
        (f"---\n{ID}dlm_version: 3\n---\n", "base_model is missing"),
        (f"---\n{ID}base_model: x\ntraining:\n  dpo: yes\n---\n", "training.preference"),
        (f"---\n{ID}base_model: x\ntraining:\n  dpo: {{}}\n  preference: {{}}\n---\n", "both"),
        (
            f"---\n{ID}base_model: x\ntraining:\n  cache: &c\n    enabled: true\n"
            "  dpo:\n    <<: *c\n---\n",
            "<<",
        ),
    ],
)
def test_refusals(text: str, what: str) -> None:
    with pytest.raises(DocumentError, match=what):
        migrate_text(text)
