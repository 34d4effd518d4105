"""Embeddings of an adapter's own are in what is exported, to the row, and llama.cpp uses them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import export_parts as parts
import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tests.export.published import verified
from tests.tiny import document_text
from tests.training.sessions import small_and_polite
from transformers import LlamaForCausalLM

from dlm_engine.export import Quant, run_gguf
from dlm_engine.export.capabilities import read_adapter
from dlm_engine.export.checks import same_embeddings
from dlm_engine.export.gguf_file import GgufFile
from dlm_engine.export.llama import Scored
from dlm_engine.export.model import ExportAdapter, Form
from dlm_engine.jobs import ExportJob, ExportOptions, TrainRequest, export, train

if TYPE_CHECKING:
    from dlm_engine.bases import Weights

pytestmark = pytest.mark.model
WARMED = "training:\n  num_epochs: 2\n  precision: fp32\n  cpt:\n    embed_warmup_steps: 24\n"


def trained(base_weights: Weights, folder: Path) -> tuple[ExportJob, Path, Path]:
    """A document trained for two steps behind a warm-up; its base and its adapter."""
    base = parts.llama(folder / "base", vocabulary=49152)
    parts.with_tokenizer(base, base_weights.path)
    path = folder / "facts.dlm"
    path.write_text(document_text(str(base), extra=WARMED))
    with pytest.MonkeyPatch.context() as patch:
        small_and_polite(patch)
        outcome = train(TrainRequest(path, folder / "home"))
    assert outcome.path is not None
    options = ExportOptions(quant=Quant.F16, question="Where is the pier?")
    return ExportJob(path, folder / "home", options), base, outcome.path


def test_a_merged_export_has_the_rows_and_computes_what_peft_does(
    base_weights: Weights, tmp_path: Path
) -> None:
    job, base, adapter = trained(base_weights, tmp_path)
    told: list[str] = []
    made = export(job, told.append)
    assert made.plan.form is Form.MERGED
    assert any("embeddings of its own for some tokens" in line for line in told)
    assert all(c.passed for c in made.checks), made.checks
    assert "embeddings are the adapter's, as a share of the bound" in {c.name for c in made.checks}
    verified(made.folder)

    facts = read_adapter(ExportAdapter(adapter, 1), base)
    tensors = load_file(adapter / "adapter_model.safetensors")
    rows = next(t for name, t in tensors.items() if "trainable_tokens" in name).numpy()
    before = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    with GgufFile(made.base_gguf) as file:
        stored = np.stack([file.rows("token_embd.weight", i + 1, i)[0] for i in facts.tokens])
    np.testing.assert_allclose(stored, rows, rtol=1e-3, atol=1e-5)
    old = before.get_input_embeddings().weight[list(facts.tokens)].detach().numpy()
    assert np.abs(rows - old).max() > 50 * np.abs(stored - rows).max()

    # Sequences of the tokens whose embeddings changed: llama.cpp against plain PEFT.
    ids = list(facts.tokens)
    asked = Scored((1, *ids[::2]), tuple(ids[1::2]))
    plain = PeftModel.from_pretrained(before, adapter).eval()
    bare = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    (theirs,) = run_gguf(made.base_gguf, None, score=[asked]).scores
    assert likely(plain, asked) == pytest.approx(theirs, abs=0.01)
    away = max(abs(a - b) for a, b in zip(likely(bare, asked), theirs, strict=True))
    assert away > 0.1


@torch.no_grad()
def likely(model: Any, asked: Scored) -> list[float]:
    ids = torch.tensor([[*asked.context, *asked.target]])
    logits = model(input_ids=ids).logits[0, len(asked.context) - 1 : -1].float()
    chosen = logits.log_softmax(-1).gather(1, torch.tensor(asked.target)[:, None])
    return [float(x) for x in chosen[:, 0]]


def test_rows_that_are_not_the_adapters_are_found(
    tiny: Path, tiny_gguf: Path, tmp_path: Path
) -> None:
    folder = parts.adapter(tiny, tmp_path / "peft", trainable_token_indices=[7, 300])
    weights = folder / "adapter_model.safetensors"
    # As they were saved the rows are the base's.
    assert same_embeddings(tiny_gguf, weights, (7, 300), "lm_head").passed
    assert same_embeddings(tiny_gguf, weights, (7, 301), "lm_head").passed is False
    assert same_embeddings(tiny_gguf, weights, (7,), "lm_head").passed is False
    tensors = load_file(weights)
    name = next(n for n in tensors if "trainable_tokens" in n)
    tensors[name][1, 3] += 0.1
    save_file(tensors, tmp_path / "changed.safetensors")
    found = same_embeddings(tiny_gguf, tmp_path / "changed.safetensors", (7, 300), "lm_head")
    assert found.passed is False
    assert "token 300" in found.detail
