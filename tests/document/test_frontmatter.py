"""The frontmatter: schema, bounds, places, and reading what is sound beside what is not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tests.document.marked import HEAD, check, fixed, found, unmark

from dlm_engine.document import CURRENT_VERSION, Frontmatter, Training, parse

ID = "dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\n"
TOP = f"---\n{ID}dlm_version: 15\nbase_model: x\n"


def training(text: str) -> Training:
    frontmatter = parse(f"{TOP}training:\n{text}---\nx\n")[0].frontmatter
    assert frontmatter is not None
    return frontmatter.training


def test_defaults_of_the_schema() -> None:
    frontmatter = parse(HEAD)[0].frontmatter
    assert frontmatter is not None
    assert frontmatter.model_dump(exclude={"dlm_id"}) == {
        "dlm_version": CURRENT_VERSION,
        "base_model": "smollm2-135m",
        "system_prompt": None,
        "export": {
            "default_quant": "Q4_K_M",
            "default_temperature": None,
            "default_top_p": None,
        },
        "training": {
            "adapter": "lora",
            "lora_r": 8,
            "lora_alpha": 16,
            "lora_dropout": 0.05,
            "target_modules": "auto",
            "sequence_len": 2048,
            "micro_batch_size": "auto",
            "grad_accum": "auto",
            "learning_rate": 2e-4,
            "num_epochs": 3,
            "optimizer": "adamw_torch",
            "lr_scheduler": "cosine",
            "warmup_ratio": 0.1,
            "precision": None,
            "seed": 42,
            "preference": {
                "enabled": False,
                "method": "dpo",
                "hyperparams": {
                    "beta": 0.1,
                    "alpha": 0.1,
                    "learning_rate": 5e-6,
                    "num_epochs": 1,
                },
                "loss_type": "sigmoid",
                "reference": "pre_adapter",
            },
            "cpt": {"schedule": "auto", "embed_warmup_steps": 0},
            "gate": {
                "enabled": False,
                "hidden_proj_dim": 64,
                "steps": 200,
                "lr": 3e-4,
                "cold_start_floor": 4,
                "entropy_lambda": 0.01,
            },
            "cache": {
                "enabled": True,
                "max_bytes": 10_737_418_240,
                "prune_older_than_days": 90,
            },
            "audio": {"auto_resample": False},
            "adapters": None,
            "sources": None,
            "sources_policy": "permissive",
        },
    }


#: a field, the values at its bounds, the values just beyond
BOUNDS = [
    ("lora_r", ["1", "256"], ["0", "257"]),
    ("lora_alpha", ["1"], ["0"]),
    ("lora_dropout", ["0", "0.5"], ["-0.1", "0.51"]),
    ("sequence_len", ["64", "32768"], ["63", "32769"]),
    ("micro_batch_size", ["1", "auto"], ["0"]),
    ("grad_accum", ["1", "auto"], ["0"]),
    ("learning_rate", ["1e-9", "2"], ["0", "-1", ".inf", ".nan", "1.0e+400"]),
    ("num_epochs", ["1"], ["0"]),
    ("warmup_ratio", ["0", "0.5"], ["0.6"]),
    ("seed", ["-1", "9223372036854775807"], ["9223372036854775808"]),
    ("preference.hyperparams.beta", ["0", "1"], ["-0.1", "1.1"]),
    ("preference.hyperparams.alpha", ["0", "1"], ["-0.1", "1.1"]),
    ("preference.hyperparams.learning_rate", ["1e-9"], ["0"]),
    ("preference.hyperparams.num_epochs", ["1"], ["0"]),
    ("cpt.embed_warmup_steps", ["0"], ["-1"]),
    ("gate.hidden_proj_dim", ["8", "2048"], ["7", "2049"]),
    ("gate.steps", ["1", "10000"], ["0", "10001"]),
    ("gate.lr", ["1"], ["0", "1.1"]),
    ("gate.cold_start_floor", ["1", "1024"], ["0", "1025"]),
    ("gate.entropy_lambda", ["0", "1"], ["-0.1", "1.1"]),
    ("cache.max_bytes", ["1"], ["0"]),
    ("cache.prune_older_than_days", ["1"], ["0"]),
    ("adapters.a.lora_r", ["1", "256"], ["0", "257"]),
    ("adapters.a.lora_alpha", ["1"], ["0"]),
    ("adapters.a.lora_dropout", ["0", "0.5"], ["0.6"]),
    ("adapters.a.learning_rate", ["1e-9"], ["0"]),
]


def nested(path: str, value: str) -> str:
    steps = path.split(".")
    return "{" + ": {".join(steps) + f": {value}" + "}" * len(steps)


@pytest.mark.parametrize(("path", "inside", "outside"), BOUNDS)
def test_bounds(path: str, inside: list[str], outside: list[str]) -> None:
    for value in inside:
        check(f"{TOP}training: {nested(path, value)}\n---\n")
    for value in outside:
        check(f"{TOP}training: {nested(path, f'⟦value-range|{value}⟧')}\n---\n")


@pytest.mark.parametrize(
    ("line", "value"),
    [("default_temperature", "0"), ("default_temperature", "2.1"), ("default_top_p", "1.1")],
)
def test_export_bounds(line: str, value: str) -> None:
    check(f"{TOP}export:\n  {line}: ⟦value-range|{value}⟧\n---\n")
    check(f"{TOP}export:\n  {line}: 1\n---\n")


@pytest.mark.parametrize(
    "marked",
    [
        # types
        "training:\n  lora_r: ⟦value-type|true⟧\n",
        "training:\n  lora_r: ⟦value-type|8.5⟧\n",
        "training:\n  learning_rate: ⟦value-type|fast⟧\n",
        "training:\n  learning_rate: ⟦value-type|yes⟧\n",
        "training:\n  micro_batch_size: ⟦value-type|many⟧\n",
        "training:\n  target_modules: ⟦value-type|q_proj⟧\n",
        "training:\n  target_modules: ⟦value-type|[q_proj, 3]⟧\n",
        "training: ⟦value-type|null⟧\n",
        "training:⟦value-type|⟧\n",
        "training: ⟦value-type|[]⟧\n",
        "training:\n  preference: ⟦value-type|on⟧\n",
        "training:\n  sources:\n    - path: a\n      include: ⟦value-type|all⟧\n",
        "training:\n  sources:\n    - path: a\n      include: [b, ⟦value-type|1⟧]\n",
        "system_prompt: ⟦value-type|12⟧\n",
        "system_prompt: ⟦value-type|2024-01-01⟧\n",
        "training:\n  gate:\n    enabled: ⟦value-type|maybe⟧\n",
        "training:\n  sources:\n    - path: ⟦value-range|''⟧\n    - path: b\n",
        # words
        "training:\n  adapter: ⟦value-choice|LoRA⟧\n",
        "training:\n  precision: ⟦value-choice|int8⟧\n",
        "export:\n  default_quant: ⟦value-choice|Q4⟧\n",
        # keys
        "⟦key-unknown|trainning⟧: {}\n",
        "⟦key-unknown|lora_r⟧: 8\n",
        "training:\n  ⟦key-unknown|rank⟧: 8\n",
        "training:\n  adapters:\n    a:\n      ⟦key-unknown|lora_rr⟧: 8\n",
        "training:\n  sources:\n    - ⟦key-missing|exclude: []⟧\n",
        "⟦yaml-key|1⟧: x\n",
        "system_prompt: a\n⟦yaml-duplicate-key|system_prompt⟧: b\n",
        "training:\n  lora_r: 4\n  ⟦yaml-duplicate-key|lora_r⟧: 8\n",
        # names and conflicts
        "training:\n  adapters:\n    ⟦adapter-name|Big One⟧: {}\n",
        "training:\n  adapters: ⟦value-conflict|{}⟧\n",
        "training:\n  gate:\n    enabled: ⟦value-conflict|true⟧\n",
        "training:\n  seed: 1\n  lora_r: 4\n  gate: {enabled: ⟦value-conflict|true⟧}\n",
        "training:\n  ⟦value-conflict|lora_r⟧: 4\n  ⟦value-conflict|adapter⟧: dora\n"
        "  adapters:\n    a: {}\n",
        # YAML
        "system_prompt: ⟦yaml-value|2024-13-45⟧\n",
        "system_prompt: ⟦yaml-value|!!python/name:os.system x⟧\n",
        "system_prompt: a⟦yaml-syntax|:⟧ b\n",
        "training:\n⟦yaml-syntax|\t⟧lora_r: 8\n",
        "system_prompt: ⟦yaml-syntax|[⟧a\n",
        "system_prompt: a⟦yaml-character|\x00⟧b\n",
    ],
)
def test_complaint_is_at_its_place(marked: str) -> None:
    check(f"{TOP}{marked}---\nbody\n")


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("learning_rate: 2e-4", "learning_rate", 2e-4),
        ("learning_rate: 1", "learning_rate", 1.0),
        ("lora_r: '16'", "lora_r", 16),
        ("lora_r: 010", "lora_r", 8),
        ("lora_r: 16.0", "lora_r", 16),
        ("target_modules: []", "target_modules", ()),
        ("target_modules: [q_proj]", "target_modules", ("q_proj",)),
        ("gate: {enabled: no}", "gate", Training().gate),
        ("sources: []", "sources", ()),
    ],
)
def test_lenient_readings(line: str, field: str, value: object) -> None:
    assert getattr(training(f"  {line}\n"), field) == value


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_unusual_separators_end_no_line_and_stay_in_values(separator: str) -> None:
    prompt = f"one{separator}two"
    for written in (f"'{prompt}'", prompt, f"|-\n  {prompt}"):
        frontmatter = parse(f"{TOP}system_prompt: {written}\n---\n")[0].frontmatter
        assert frontmatter is not None
        assert frontmatter.system_prompt == prompt


def test_what_the_author_wrote_is_known() -> None:
    assert training("  lora_r: 8\n").model_fields_set == {"lora_r"}


def test_explicit_defaults_beside_adapters_are_no_conflict() -> None:
    check(f"{TOP}training:\n  lora_r: 8\n  adapters:\n    a: {{}}\n---\n")


def test_gate_with_two_adapters() -> None:
    check(f"{TOP}training:\n  gate: {{enabled: true}}\n  adapters: {{a: {{}}, b: {{}}}}\n---\n")


def test_aliases_and_merge_keys() -> None:
    read = training("  adapters:\n    a: &a {lora_r: 4}\n    b: {<<: *a, lora_alpha: 8}\n")
    assert read.adapters is not None
    assert (read.adapters["b"].lora_r, read.adapters["b"].lora_alpha) == (4, 8)


@pytest.mark.parametrize(
    "yaml",
    [
        "a: &a [*a]\n",
        "a: &a0 [1, 1, 1, 1]\n"
        + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
        "a: " + "[" * 5000 + "\n",
        "a: " + "{a: " * 900 + "\n",
    ],
)
def test_bombs_are_refused_at_once(yaml: str) -> None:
    assert "yaml-too-complex" in {code for code, _, _ in found(f"---\n{yaml}---\n")}


def test_too_large() -> None:
    text = "---\n" + "# comment\n" * 7000 + "---\nx\n"
    assert next(code for code, _, _ in found(text)) == "frontmatter-too-large"


@pytest.mark.parametrize(
    "marked",
    [
        "⟦frontmatter-missing|⟧",
        "⟦frontmatter-missing|hello⟧\n",
        "⟦frontmatter-delimiter|----⟧\nx\n",
        "\n⟦frontmatter-delimiter|---⟧\na: 1\n---\n",
        f"---⟦frontmatter-trailing-space| ⟧\n{ID}dlm_version: 15\nbase_model: x\n---\n",
        f"⟦frontmatter-unclosed|---⟧\n{ID}dlm_version: 15\nbase_model: x\n\n::prose::\nx\n",
        "⟦key-missing,key-missing,version-old|---⟧\n---\n",
        "⟦key-missing,key-missing|---⟧\n⟦yaml-not-mapping|- a⟧\n---\n",
        f"---\n{ID}dlm_version: 15\nbase_model: ⟦value-range|''⟧\n---\n",
        "---\ndlm_id: ⟦id-invalid|01hz⟧\ndlm_version: 15\nbase_model: x\n---\n",
        f"---\n{ID}dlm_version: ⟦version-newer|16⟧\nbase_model: x\nnovelty: 1\n---\n",
        f"---\n{ID}dlm_version: ⟦version-invalid|0⟧\nbase_model: x\n---\n",
        f"---\n{ID}dlm_version: ⟦version-invalid|true⟧\nbase_model: x\n---\n",
        f"---\n{ID}dlm_version: ⟦version-invalid|'15'⟧\nbase_model: x\n---\n",
        f"---\n{ID}dlm_version: ⟦version-invalid|1.5⟧\nbase_model: x\n---\n",
        f"---\n{ID}dlm_version: ⟦version-old|14⟧\nbase_model: x\n---\n",
        f"⟦version-old|---⟧\n{ID}base_model: x\n---\n",
    ],
)
def test_delimiters_identity_and_version(marked: str) -> None:
    check(marked)


def test_versions_as_written() -> None:
    read = {v: parse(f"---\n{ID}dlm_version: {v}\nbase_model: x\n---\n")[0] for v in (3, 15, 16)}
    assert [d.dlm_version for d in read.values()] == [3, 15, 16]
    assert {d.frontmatter and d.frontmatter.dlm_version for d in read.values()} == {15}
    assert parse(f"---\n{ID}base_model: x\n---\n")[0].dlm_version == 1


def test_broken_yaml_keeps_what_is_sound_and_the_body() -> None:
    marked = (
        f"---\n{ID}dlm_version: 15\nbase_model: x\ntraining:\n  lora_r: 4\n"
        "  lora_alpha⟦yaml-syntax| ⟧16\n  seed: 1\nexport:\n  default_quant: Q8_0\n---\n"
        "::⟦fence-unknown|poem⟧::\nx\n"
    )
    text, expected = unmark(marked)
    assert {code for code, _, _ in found(text)} == {code for code, _, _ in expected}
    frontmatter = parse(text)[0].frontmatter
    assert frontmatter is not None
    assert (frontmatter.training.lora_r, frontmatter.export.default_quant) == (4, "Q8_0")


def test_an_empty_mapping_with_a_syntax_error_behind_it() -> None:
    text = "---\n{}\n    other: {}\n---\n"
    assert "yaml-syntax" in {code for code, _, _ in found(text)}


def test_every_wrong_value_is_reported_and_the_rest_is_read() -> None:
    marked = (
        f"{TOP}training:\n  lora_r: ⟦value-range|0⟧\n  seed: 7\n  sources:\n"
        "    - path: a\n      max_files: ⟦value-range|0⟧\n"
        "    - ⟦value-type|3⟧\n    - path: b\n---\n"
    )
    check(marked)
    frontmatter = parse(unmark(marked)[0])[0].frontmatter
    assert frontmatter is not None
    assert (frontmatter.training.lora_r, frontmatter.training.seed) == (8, 7)
    assert [s.path for s in frontmatter.training.sources or ()] == ["a", "b"]


def test_places_of_keys() -> None:
    text = (
        f"{TOP}training:\n  sources:\n    - path: 'a b'  # c\n"
        "system_prompt: |\n  one\n  two\n\n---\n"
    )
    keys = parse(text)[0].keys
    shown = {k: text[v.value.start : v.value.end] for k, v in keys.items()}
    assert shown["training.sources.0.path"] == "'a b'"
    assert shown["system_prompt"] == "|\n  one\n  two"
    assert text[keys["base_model"].key.start : keys["base_model"].key.end] == "base_model"


@pytest.mark.parametrize(
    ("line", "code", "after"),
    [
        ("trainning: {}", "key-unknown", "training: {}"),
        ("training: {lora-r: 8}", "key-unknown", "training: {lora_r: 8}"),
        ("training: {adapter: LoRA}", "value-choice", "training: {adapter: lora}"),
        ("system_prompt: 12", "value-type", 'system_prompt: "12"'),
    ],
)
def test_fixes(line: str, code: str, after: str) -> None:
    text = fixed(f"{TOP}{line}\n---\n", code)
    assert text == f"{TOP}{after}\n---\n"
    assert found(text) == []


def test_messages_name_the_value_and_never_pydantic() -> None:
    (problem,) = parse(f"{TOP}training: {{lora_r: 0}}\n---\n")[1]
    assert problem.message == "training.lora_r must be at least 1, not 0"


def test_models_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError):
        Training().lora_r = 4
    with pytest.raises(ValidationError):
        Frontmatter.model_validate({"dlm_id": "0" * 26, "base_model": "x", "extra": 1})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("base_model smollm2", ["expected `key: value`"]),
        ("export: [", ["this bracket is never closed"]),
        ("export: {", ["this bracket is never closed"]),
        ("export: [a, b", ["this bracket is never closed"]),
    ],
)
def test_broken_yaml_is_said_once_and_plainly(line: str, said: list[str]) -> None:
    head = "---\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\ndlm_version: 15\n"
    problems = parse(f"{head}{line}\n---\n")[1]
    assert [p.message for p in problems if p.code.startswith("yaml-")] == said
