"""The facts of an export come from the document and the base, and no path leaves with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlm_engine.bases import REGISTRY
from dlm_engine.bases.spec import Weights
from dlm_engine.document import parse
from dlm_engine.errors import ExportError
from dlm_engine.export import ExportAdapter, Quant, export_request

TEXT = """---
dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7
dlm_version: 15
base_model: smollm2-135m
system_prompt: Be brief.
training:
  sequence_len: 256
export:
  default_quant: Q6_K
  default_temperature: 0.2
---
::instruction::
### Q
Who?
### A
Ilsabet.

### Q !probe
Held out?
### A
Yes.
"""


def test_facts_come_from_frontmatter_and_base(tmp_path: Path) -> None:
    document, _ = parse(TEXT)
    spec = REGISTRY["smollm2-135m"]
    weights = Weights(tmp_path, spec, "ab" * 32, spec.revision, "cache")
    adapter = ExportAdapter(tmp_path / "v0002", 2)
    made = export_request(
        document,
        tmp_path / "facts.dlm",
        weights,
        adapter,
        store_root=tmp_path / "store",
        cache_root=tmp_path / "cache",
    )
    assert made.adapter == adapter
    assert made.rows == (("Who?", "Ilsabet."),)
    assert (made.system_prompt, made.sequence_len) == ("Be brief.", 256)
    assert (made.default_quant, made.temperature, made.top_p) == (Quant.Q6_K, 0.2, None)
    assert made.document_name == "facts.dlm"
    assert (made.base.template, made.base.licence) == ("chatml", "Apache-2.0")


def test_a_document_without_frontmatter_is_refused(tmp_path: Path) -> None:
    spec = REGISTRY["smollm2-135m"]
    weights = Weights(tmp_path, spec, "ab" * 32, spec.revision, "cache")
    document, _ = parse("no frontmatter\n")
    with pytest.raises(ExportError, match="frontmatter"):
        export_request(
            document, tmp_path / "a.dlm", weights, None, store_root=tmp_path, cache_root=tmp_path
        )
