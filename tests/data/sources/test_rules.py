from __future__ import annotations

import pytest

from dlm_engine.data.sources.rules import RulesError, ignore_rules, training_rules


def test_scalars_are_taken_as_they_are_written() -> None:
    rules = training_rules(
        "dlm_training_version: 1\nexclude: [a]\nexclude_defaults: no\n"
        "metadata: {generated: true, year: 2024, half: 1e3}\n"
        "weights:\n  generated: {true: 0.5}\n  year: {2024: 2}\n"
    )
    assert rules.metadata == {"generated": "true", "year": "2024", "half": "1e3"}
    assert rules.weights == {"generated": {"true": 0.5}, "year": {"2024": 2.0}}
    assert rules.exclude == ("a",)
    assert rules.exclude_defaults is False


@pytest.mark.parametrize("text", ["", "# only a comment\n", "{}"])
def test_an_empty_file_says_nothing(text: str) -> None:
    assert not training_rules(text).model_fields_set


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("exclude: [a\n", "is not valid YAML in line 2"),
        ("- a\n", "is not a list of `key: value` entries"),
        ("exclude: a\n", "has a wrong `exclude`"),
        ("excludes: [a]\n", "has a wrong `excludes`"),
        ("exclude: [a]\nexclude: [b]\n", "says `exclude` twice, again in line 2"),
        ("weights: {a: {b: -1}}\n", "has a wrong `weights.a.b`"),
        ("weights: {a: {b: .inf}}\n", "has a wrong `weights.a.b`"),
        ("dlm_training_version: 2\n", "has a wrong `dlm_training_version`"),
        ("metadata: {a: [1]}\n", "has a wrong `metadata.a`"),
        ("[a]: b\n", "has a key that is no text in line 1"),
        ("exclude: &x [*x]\n", "is nested too deeply"),
        ("exclude: " + "[" * 5000 + "\n", "is n"),
        ("a: \x00", "is not valid YAML"),
    ],
)
def test_what_cannot_be_understood_is_never_ignored(text: str, what: str) -> None:
    with pytest.raises(RulesError) as raised:
        training_rules(text)
    assert str(raised.value).startswith(what)


def test_an_ignore_line_that_is_no_pattern() -> None:
    with pytest.raises(RulesError, match="no pattern"):
        ignore_rules("ok\n!\n")
