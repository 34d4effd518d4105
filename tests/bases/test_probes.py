"""Probes and token facts on tiny models of several families and on the real SmolLM2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlm_engine.bases import (
    Outcome,
    Weights,
    load_tokenizer,
    obtain_weights,
    probe,
    resolve,
    token_facts,
)
from dlm_engine.bases import llama_cpp as converter
from dlm_engine.bases.probes import pre_tokenizer
from dlm_engine.errors import BaseModelError

from .conftest import CHATML, make_base, make_tokenizer

NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_PREFIX = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'now answer:' }}{% endif %}"
)
MUTE = "{% for m in messages %}{{ m['role'] }}{% endfor %}"
NO_END = CHATML.replace("<|im_end|>", "")


def weights_of(folder: Path, home: Path) -> Weights:
    spec = resolve(str(folder), pinned_revision=None, home=home)
    return obtain_weights(spec, home, report=lambda message: None)


def outcomes(weights: Weights) -> dict[str, Outcome]:
    return {result.name: result.outcome for result in probe(weights)}


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Gemma2"])
def test_tiny_models_pass_all_but_the_table_of_known_tokenizers(
    family: str, cache: Path, tmp_path: Path
) -> None:
    found = outcomes(weights_of(make_base(tmp_path / family, family), tmp_path))
    # A tokenizer trained on one sentence is in nobody's table.
    assert found.pop("pre_tokenizer") is not Outcome.PASSED
    allowed = {Outcome.PASSED, Outcome.SKIPPED if converter.conversion_folder() is None else None}
    assert set(found.values()) <= allowed


@pytest.mark.parametrize(
    ("template", "failing"),
    [(NO_PREFIX, "chat_template"), (MUTE, "chat_template"), (NO_END, "end_of_turn")],
)
def test_a_template_that_cannot_be_trained_on_fails(
    template: str, failing: str, tiny_base: Path, cache: Path, tmp_path: Path
) -> None:
    make_tokenizer(tiny_base, template)
    assert outcomes(weights_of(tiny_base, tmp_path))[failing] is Outcome.FAILED


def test_a_template_without_a_system_role_passes_and_says_so(
    tiny_base: Path, cache: Path, tmp_path: Path
) -> None:
    make_tokenizer(tiny_base, NO_SYSTEM)
    weights = weights_of(tiny_base, tmp_path)
    result = next(each for each in probe(weights) if each.name == "chat_template")
    assert result.outcome is Outcome.PASSED
    assert "system prompt goes before" in result.detail
    facts = token_facts(weights, load_tokenizer(weights))
    assert not facts.system_role
    assert facts.template_bos


def test_more_tokens_than_embedding_rows_fail(tiny_base: Path, cache: Path, tmp_path: Path) -> None:
    path = tiny_base / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 100}))
    found = outcomes(weights_of(tiny_base, tmp_path))
    assert found["weights"] is Outcome.FAILED
    assert found["vocabulary"] is Outcome.FAILED


def test_a_missing_tokenizer_is_one_failed_probe(
    tiny_base: Path, cache: Path, tmp_path: Path
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tiny_base / name).unlink()
    assert outcomes(weights_of(tiny_base, tmp_path))["tokenizer"] is Outcome.FAILED


def test_without_the_converter_its_probes_are_skipped(
    tiny_base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter, "conversion_folder", lambda: None)
    results = {result.name: result for result in probe(weights_of(tiny_base, tmp_path))}
    for name in ("gguf_architecture", "pre_tokenizer"):
        assert results[name].outcome is Outcome.SKIPPED
        assert "not installed" in results[name].detail


TABLE = """
class ModelBase:
    def get_vocab_base_pre(self, tokenizer):
        chktxt = "abc"
        res = None
        if chkhsh == "{digest}":
            # where it is from
            res = "known"
        return res

@ModelBase.register("LlamaForCausalLM", "Other")
class LlamaModel(TextModel):
    pass
"""


class Fixed:
    """A tokenizer that gives one answer."""

    def __init__(self, *ids: int) -> None:
        self.ids = list(ids)

    def encode(self, text: str) -> list[int]:
        return self.ids if text == "abc" else []


def test_the_label_comes_from_the_tokenizer_itself(
    tiny_base: Path, cache: Path, tmp_path: Path
) -> None:
    """Fault 14: "default" was assumed, and is in no table."""
    from hashlib import sha256

    folder = tmp_path / "conversion"
    folder.mkdir()
    digest = sha256(b"[1, 2, 3]").hexdigest()
    (folder / "base.py").write_text(TABLE.format(digest=digest))
    assert converter.architectures(folder) == {"LlamaForCausalLM", "Other"}
    weights = weights_of(tiny_base, tmp_path)
    assert pre_tokenizer(weights, Fixed(1, 2, 3), folder) == (Outcome.PASSED, "known")
    assert pre_tokenizer(weights, Fixed(1, 2), folder)[0] is Outcome.FAILED


def test_a_converter_of_another_shape_is_skipped_and_not_guessed(
    tiny_base: Path, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "base.py").write_text("x = 1\n")
    weights = weights_of(tiny_base, tmp_path)
    assert pre_tokenizer(weights, Fixed(1), tmp_path)[0] is Outcome.SKIPPED


@pytest.mark.parametrize(
    ("special", "pad"),
    [
        (("<unk>", "<s>", "</s>", "<pad>", "<x>"), "<pad>"),
        (("<unk>", "<s>", "</s>", "<|fim_pad|>", "<x>"), "<|fim_pad|>"),
        (("<unk>", "<s>", "</s>", "<|reserved_0|>", "<x>"), "<|reserved_0|>"),
        (("<unk>", "<s>", "</s>", "<x>"), "<x>"),
        (("<unk>", "<s>", "</s>"), "<unk>"),
    ],
)
def test_padding_is_never_a_stop_and_never_new(
    special: tuple[str, ...], pad: str, tiny_base: Path, cache: Path, tmp_path: Path
) -> None:
    template = CHATML.replace("<|im_start|>", "<s>").replace("<|im_end|>", "</s>")
    size = make_tokenizer(tiny_base, template, special)
    weights = weights_of(tiny_base, tmp_path)
    tokenizer = load_tokenizer(weights)
    facts = token_facts(weights, tokenizer)
    assert facts.pad_token == pad
    assert facts.pad_id not in facts.stop_ids
    assert facts.pad_id < size == len(tokenizer)


def test_every_id_that_ends_a_text_is_a_stop(tiny_base: Path, cache: Path, tmp_path: Path) -> None:
    path = tiny_base / "generation_config.json"
    path.write_text(json.dumps({"eos_token_id": [2, 0]}))
    weights = weights_of(tiny_base, tmp_path)
    facts = token_facts(weights, load_tokenizer(weights))
    assert facts.stop_ids == (0, 2)
    assert facts.end_of_turn_ids == (2,)


def test_a_tokenizer_with_nothing_for_padding_is_refused(
    tiny_base: Path, cache: Path, tmp_path: Path
) -> None:
    make_tokenizer(tiny_base, CHATML, ("<|im_start|>", "<|im_start|>", "<|im_end|>"))
    settings = tiny_base / "tokenizer_config.json"
    value: dict[str, Any] = json.loads(settings.read_text())
    del value["unk_token"]
    settings.write_text(json.dumps(value))
    weights = weights_of(tiny_base, tmp_path)
    with pytest.raises(BaseModelError, match="could be padding"):
        token_facts(weights, load_tokenizer(weights))
