"""From the document, the base and a version in the store to the facts an export needs."""

from __future__ import annotations

from pathlib import Path

from dlm_engine.bases.spec import Weights
from dlm_engine.document.model import Document
from dlm_engine.errors import ExportError
from dlm_engine.export.model import ExportAdapter, ExportBase, ExportRequest, Quant


def export_request(
    document: Document,
    document_path: Path,
    weights: Weights,
    adapter: ExportAdapter | None,
    *,
    store_root: Path,
    cache_root: Path,
) -> ExportRequest:
    """Gather what `export` works on.

    `adapter` None exports the base alone. `cache_root` is where converted bases are kept
    (`gguf` below the dlm cache). Probes are held out of the rows, as in training.

    Raises:
        ExportError: the document has no readable frontmatter.
    """
    front, spec = document.frontmatter, weights.spec
    if front is None:
        raise ExportError(
            str(document_path), "has no readable frontmatter", "run `dlm check` to see why"
        )
    rows = tuple(
        (pair.question, pair.answer)
        for section in document.sections
        for pair in section.pairs
        if not pair.probe
    )
    base = ExportBase(
        path=weights.path,
        sha256=weights.sha256,
        revision=weights.revision,
        key=spec.key,
        # A local base is named by its folder's last part: no path leaves this machine.
        hf_id=spec.hf_id or weights.path.name,
        template=spec.template,
        context_length=spec.context_length_effective or spec.context_length,
        licence=spec.license_spdx,
        reasoning=spec.reasoning_tuned,
    )
    return ExportRequest(
        base=base,
        adapter=adapter,
        dlm_id=front.dlm_id,
        document_name=document_path.name,
        store_root=store_root,
        cache_root=cache_root,
        system_prompt=front.system_prompt,
        sequence_len=front.training.sequence_len,
        default_quant=Quant(front.export.default_quant),
        temperature=front.export.default_temperature,
        top_p=front.export.default_top_p,
        rows=rows,
    )
