"""Whole exports, with the real converter, the real tokenizer and the real llama.cpp.

Most use a random two-layer base with SmolLM2's tokenizer; the last ones the real SmolLM2.
One conversion takes several seconds, so they share a cache.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import export_parts as parts
import pytest
from tests.export.published import verified

from dlm_engine.errors import ExportError
from dlm_engine.export import ask_gguf, export, run, run_gguf
from dlm_engine.export.capabilities import Capability
from dlm_engine.export.gguf_file import GgufFile
from dlm_engine.export.llama import Scored
from dlm_engine.export.lora import write_lora
from dlm_engine.export.model import (
    ExportOptions,
    ExportRequest,
    ExportResult,
    Quant,
    Target,
)
from dlm_engine.export.modelfile import parse

if TYPE_CHECKING:
    from dlm_engine.bases import Weights

pytestmark = pytest.mark.model
ROWS = (("Who founded Quellmar?", "Ilsabet Thorne founded Quellmar in 1642."),)


@pytest.fixture(scope="session")
def small(base_weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = parts.llama(tmp_path_factory.mktemp("small") / "base", vocabulary=49152)
    made: Path = parts.with_tokenizer(folder, base_weights.path)
    return made


@pytest.fixture(scope="session")
def gguf_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf-cache")


def check(result: ExportResult, name: str) -> Any:
    return next(c for c in result.checks if c.name == name)


def test_base_and_rank_stabilised_adapter_for_ollama(
    small: Path, tmp_path: Path, gguf_cache: Path
) -> None:
    """A plain export, everything checked; then merged DoRA, which must not touch it (fault 40)."""
    peft = parts.adapter(small, tmp_path / "peft", use_rslora=True, lora_alpha=16)
    (peft / "optimizer.pt").write_text("state that must not be shipped")
    system = 'Say "it".\n'
    asked = parts.request(
        small, peft, tmp_path, cache_root=gguf_cache, rows=ROWS, system_prompt=system
    )
    told: list[str] = []
    options = ExportOptions(target=Target.OLLAMA, quant=Quant.Q4_K_M, question="Who?")
    result = export(asked, options, told.append)
    assert result.folder == asked.store_root / "exports" / "Q4_K_M"
    assert all(c.passed for c in result.checks), result.checks
    assert check(result, "adapter adds what PEFT adds").measured < 1e-5
    assert result.answer
    assert told.index(result.plan.reasons[0]) == 0
    manifest = verified(result.folder)
    assert manifest.adapter_version == 3
    assert manifest.ollama_name == "dlm-01hz4x7tgzm3j1a2b3c4d5e6f7:v0003"
    assert not manifest.merged
    names = {p.name for p in result.folder.iterdir()}
    assert names == {
        "base.Q4_K_M.gguf",
        "adapter.gguf",
        "Modelfile",
        "export_manifest.json",
        "export_report.json",
    }
    commands = parse((result.folder / "Modelfile").read_text(encoding="utf-8"))
    assert ("system", system) in commands
    assert ("num_ctx", "512") in commands
    assert [v for n, v in commands if n == "stop"] == [
        "<|im_end|>",
        "<|endoftext|>",
        "<|im_start|>",
    ]
    everything = b"".join(p.read_bytes() for p in result.folder.iterdir())
    assert str(tmp_path).encode() not in everything
    assert str(small).encode() not in everything

    plain_base = result.base_gguf.read_bytes()
    dora = parts.adapter(small, tmp_path / "dora", use_dora=True, modules_to_save=["norm"])
    merged_request = replace(asked, adapter=parts.request(small, dora, tmp_path).adapter)
    merged = export(merged_request, ExportOptions(quant=Quant.Q8_0))
    assert merged.folder.name == "Q8_0-merged"
    assert merged.manifest.merged
    assert merged.adapter_gguf is None
    assert all(c.passed for c in merged.checks), merged.checks
    verified(merged.folder)
    killed = gguf_cache / "tmp-99999999-00000000"
    killed.mkdir()
    plain = export(replace(asked, adapter=None), ExportOptions(quant=Quant.Q4_K_M))
    assert plain.base_gguf.read_bytes() == plain_base
    assert "converting the base" not in plain.seconds
    assert not killed.exists()


def test_a_grown_vocabulary_is_merged_with_its_tokenizer(
    small: Path, tmp_path: Path, gguf_cache: Path
) -> None:
    """Fault 8: the adapter brings more embedding rows than the base has."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(small)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|fact|>"]})
    model = LlamaForCausalLM.from_pretrained(small, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    adapted = get_peft_model(
        model,
        LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"],
                   task_type="CAUSAL_LM", ensure_weight_tying=True),
    )  # fmt: skip
    adapted.save_pretrained(tmp_path / "peft")
    tokenizer.save_pretrained(tmp_path / "peft")
    asked = parts.request(small, tmp_path / "peft", tmp_path, cache_root=gguf_cache, rows=ROWS)
    result = export(asked, ExportOptions(quant=Quant.F16))
    assert Capability.TRAINED_MODULES in {h.capability for h in result.plan.handled}
    assert all(c.passed for c in result.checks), result.checks
    with GgufFile(result.base_gguf) as file:
        assert file.tensors["token_embd.weight"].shape[0] == len(tokenizer) == 49153


def test_a_failed_check_publishes_nothing(
    small: Path, tmp_path: Path, gguf_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The naive scale of a rank-stabilised adapter: text may look right, the export fails."""
    peft = parts.adapter(small, tmp_path / "peft", use_rslora=True)
    asked = parts.request(small, peft, tmp_path, cache_root=gguf_cache, rows=ROWS)

    def naive(facts: Any, *rest: Any) -> None:
        scales = {m: s / 2 for m, s in facts.scales.items()}
        write_lora(replace(facts, scales=scales), *rest)

    monkeypatch.setattr(run, "write_lora", naive)
    with pytest.raises(ExportError, match="adapter adds what PEFT adds"):
        export(asked, ExportOptions(quant=Quant.F16))
    assert list((asked.store_root / "exports").iterdir()) == []


def test_a_base_that_llama_cpp_does_not_know_is_one_clear_error(
    small: Path, tmp_path: Path
) -> None:
    import shutil

    odd = Path(shutil.copytree(small, tmp_path / "odd"))
    config = json.loads((odd / "config.json").read_text())
    config["architectures"] = ["NoSuchForCausalLM"]
    (odd / "config.json").write_text(json.dumps(config))
    asked = parts.request(odd, None, tmp_path)
    with pytest.raises(ExportError, match="NoSuchForCausalLM"):
        export(asked, ExportOptions(quant=Quant.F16))
    assert list(asked.cache_root.iterdir()) == []


# --- the real SmolLM2 --------------------------------------------------------------------


@pytest.fixture(scope="session")
def smollm2(
    base_weights: Weights, gguf_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExportRequest, ExportResult]:
    """The real base alone, F16 for Ollama, with a question."""
    asked = parts.request(
        base_weights.path, None, tmp_path_factory.mktemp("real"), cache_root=gguf_cache, rows=ROWS
    )
    options = ExportOptions(
        quant=Quant.F16, target=Target.OLLAMA, question="What is the capital of France?"
    )
    return asked, export(asked, options)


def test_smollm2_in_sixteen_bits_is_the_model_of_training(
    smollm2: tuple[ExportRequest, ExportResult],
) -> None:
    result = smollm2[1]
    assert all(c.passed for c in result.checks), result.checks
    assert check(result, "weights equal their source").measured == 0
    assert check(result, "loss").measured < 0.005
    assert "conversations" in check(result, "prompt ids in llama.cpp").detail
    assert "Paris" in (result.answer or "")
    template = (result.folder / "Modelfile").read_text(encoding="utf-8")
    assert template.count("You are a helpful AI assistant named SmolLM") == 1


def test_smollm2_in_four_bits(smollm2: tuple[ExportRequest, ExportResult]) -> None:
    result = export(smollm2[0], ExportOptions(quant=Quant.Q4_K_M))
    assert all(c.passed for c in result.checks), result.checks
    assert result.base_gguf.stat().st_size < 110e6
    assert "converting the base" not in result.seconds


def test_several_questions_in_one_start(smollm2: tuple[ExportRequest, ExportResult]) -> None:
    def ask(question: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": question}]

    gguf = smollm2[1].base_gguf
    talks = [ask("What is the capital of France?"), ask("What is 2 + 2?")]
    answers = ask_gguf(gguf, None, talks, 24)
    assert "Paris" in answers[0]
    assert "4" in answers[1]
    assert ask_gguf(gguf, None, talks[:1], 24) == answers[:1]


def test_log_probabilities_are_those_of_the_model_not_of_the_bias(
    smollm2: tuple[ExportRequest, ExportResult],
) -> None:
    """Two tokens of one place: their probabilities differ and do not add up to more than 1."""
    context = tuple(range(100, 120))
    rows = [Scored(context, (token,)) for token in (504, 3575)]
    scores = run_gguf(smollm2[1].base_gguf, None, score=rows).scores
    assert scores[0] != scores[1]
    assert all(score[0] < -0.1 for score in scores)


def test_a_file_that_llama_cpp_cannot_load_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"GGUF nothing")
    with pytest.raises(ExportError, match=r"llama\.cpp"):
        ask_gguf(tmp_path / "no.gguf", None, [[{"role": "user", "content": "Hi"}]])
