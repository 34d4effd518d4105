"""From the `base_model` of a document to one pinned `BaseSpec`.

Invariant: a name is looked up on the network at most once, when the document is
initialised; from then on the pinned revision decides, and a base whose weights are cached
resolves with no network at all. What this version cannot train or export is refused here,
with the reason, before anything is fetched.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlm_engine.bases.cache import base_folder, read_marker
from dlm_engine.bases.files import read_json
from dlm_engine.bases.hub import HubFacts, download, hub_config, hub_facts, require_weights
from dlm_engine.bases.local import (
    count_parameters,
    fingerprint,
    is_local,
    local_folder,
    revision_of,
    template_text,
)
from dlm_engine.bases.registry import NOT_OFFERED, REGISTRY
from dlm_engine.bases.spec import (
    ARCHITECTURES,
    COMMIT,
    FINGERPRINT,
    HUB_ID,
    Architecture,
    BaseSpec,
    Origin,
)
from dlm_engine.errors import BaseModelError

HUB_PREFIX = "hf:"

_MARKS: tuple[tuple[str, str], ...] = (
    ("<start_of_turn>", "gemma2"),
    ("<|start_header_id|>", "llama3"),
    ("[INST]", "mistral"),
    ("<|im_start|>", "chatml"),
    ("<|end|>", "phi3"),
)
_BY_ARCHITECTURE = {
    "Gemma2ForCausalLM": "gemma2",
    "MistralForCausalLM": "mistral",
    "Olmo2ForCausalLM": "olmo2",
    "Phi3ForCausalLM": "phi3",
    "SmolLM3ForCausalLM": "smollm3",
}


def resolve(
    base_model: str,
    *,
    pinned_revision: str | None,
    home: Path,
    relative_to: Path | None = None,
) -> BaseSpec:
    """The base that a document names.

    Args:
        base_model: registry key, `hf:org/name`, or a path (`./dir`, `/abs`, `~/dir`).
        pinned_revision: what `revision` was when this same `base_model` was first
            resolved (see `pin_for`); None looks it up.
        home: where the cache is, unless `$DLM_CACHE_DIR` says otherwise.
        relative_to: folder of the document, for relative paths; default the current one.

    Raises:
        BaseModelError: unknown, unsupported, unreachable, or changed since it was pinned.
    """
    if is_local(base_model):
        folder = local_folder(base_model, (relative_to or Path()).absolute())
        return _local_spec(base_model, folder, pinned_revision, home)
    if pinned_revision is not None and not COMMIT.fullmatch(pinned_revision):
        raise BaseModelError(
            base_model, f"the recorded revision {pinned_revision!r} is not a commit"
        )
    if base_model.startswith(HUB_PREFIX):
        return _hub_spec(base_model, pinned_revision, home)
    return _registry_spec(base_model, pinned_revision)


def pin_for(
    base_model: str, recorded_base: str | None, recorded_revision: str | None
) -> str | None:
    """The revision to pin `base_model` to, given what the store recorded.

    Raises `BaseModelError` when the store was made with another base: an adapter is bound
    to the base that it was trained on.
    """
    if recorded_base is None:
        return None
    if recorded_base != base_model:
        raise BaseModelError(
            base_model,
            f"this document's store was made with {recorded_base}, and an adapter fits only "
            "the base it was trained on",
            f"set base_model back to {recorded_base}, or give the document a new dlm_id",
        )
    return recorded_revision


def dialect_of(template: str | None, architecture: str, name: str) -> str:
    """The chat dialect, read from the template where there is one."""
    lowered = name.lower()
    if architecture in ("Olmo2ForCausalLM", "SmolLM3ForCausalLM"):
        return _BY_ARCHITECTURE[architecture]
    for mark, dialect in _MARKS if template else ():
        if template and mark in template:
            return "phi4mini" if dialect == "phi3" and "phi-4-mini" in lowered else dialect
    if architecture == "LlamaForCausalLM" and ("llama-3" in lowered or "llama3" in lowered):
        return "llama3"
    return _BY_ARCHITECTURE.get(architecture, "chatml")


def architecture_of(name: str, config: Mapping[str, Any]) -> tuple[str, Architecture]:
    """The supported architecture that `config` names; `BaseModelError` where there is none."""
    names = config.get("architectures")
    declared = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    known = ARCHITECTURES.get(declared)
    if known is not None:
        return declared, known
    if config.get("auto_map"):
        raise BaseModelError(
            name,
            "loading it means running Python code from its repository, which dlm never does",
            "choose a base of a supported architecture",
        )
    raise BaseModelError(
        name,
        f"its architecture ({declared or 'none named in config.json'}) is not supported",
        f"supported: {', '.join(sorted(ARCHITECTURES))}",
    )


def _registry_spec(key: str, pinned: str | None) -> BaseSpec:
    spec = REGISTRY.get(key)
    if spec is not None:
        if pinned is None or pinned == spec.revision:
            return spec
        return spec.model_copy(update={"revision": pinned})
    usable = "`dlm init --help` lists the bases"
    if key in NOT_OFFERED:
        raise BaseModelError(key, f"this base is not offered: {NOT_OFFERED[key]}", usable)
    if HUB_ID.fullmatch(key):
        raise BaseModelError(key, "no such base", f"for a model on the hub write hf:{key}")
    close = difflib.get_close_matches(key.lower(), REGISTRY, n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(REGISTRY)}"
    raise BaseModelError(key, "no such base", remedy)


def _hub_spec(base_model: str, pinned: str | None, home: Path) -> BaseSpec:
    hf_id = base_model.removeprefix(HUB_PREFIX)
    if not HUB_ID.fullmatch(hf_id) or ".." in hf_id or "--" in hf_id:
        raise BaseModelError(base_model, "a hub base is written hf:org/name")
    if pinned is not None:
        cached = _cached_spec(base_model, hf_id, pinned, home)
        if cached is not None:
            return cached
    facts = hub_facts(hf_id, pinned)
    require_weights(facts)
    with tempfile.TemporaryDirectory(prefix="dlm-config-") as scratch:
        folder = Path(scratch)
        config = hub_config(facts, folder)
        architecture, known = architecture_of(base_model, config)
        small = ("chat_template.jinja", "tokenizer_config.json")
        wanted = tuple(file for file in facts.files if file.name in small)
        download(HubFacts(hf_id, facts.commit, facts.gated, None, None, wanted), folder)
        template = template_text(folder)
    size = sum(file.size or 0 for file in facts.files if file.name.endswith(".safetensors"))
    width = 4 if _dtype(config) == "float32" else 2
    spdx = facts.license or "unknown"
    return _spec(
        config,
        key=base_model,
        origin=Origin.HUB,
        hf_id=hf_id,
        revision=facts.commit,
        architecture=architecture,
        params=max(1, size // width),
        target_modules=known.linear_modules,
        template=dialect_of(template, architecture, hf_id),
        gguf_arch=known.gguf_arch,
        license_spdx=spdx if spdx != "other" else "LicenseRef-Other",
        license_url=facts.license_link or f"https://huggingface.co/{hf_id}",
        requires_acceptance=facts.gated,
    )


def _cached_spec(base_model: str, hf_id: str, pinned: str, home: Path) -> BaseSpec | None:
    marker = read_marker(base_folder(home, f"{hf_id.replace('/', '--')}--{pinned[:12]}"))
    if marker is None or marker.spec.revision != pinned:
        return None
    return marker.spec.model_copy(update={"key": base_model, "origin": Origin.HUB})


def _local_spec(base_model: str, folder: Path, pinned: str | None, home: Path) -> BaseSpec:
    config = read_json(folder / "config.json")
    architecture, known = architecture_of(base_model, config)
    params = count_parameters(folder)
    revision = pinned or revision_of(fingerprint(folder, home))
    if not FINGERPRINT.fullmatch(revision):
        raise BaseModelError(base_model, f"the recorded revision {revision!r} is no fingerprint")
    return _spec(
        config,
        key=base_model,
        origin=Origin.LOCAL,
        hf_id=None,
        path=folder,
        revision=revision,
        architecture=architecture,
        params=params,
        target_modules=known.linear_modules,
        template=dialect_of(template_text(folder), architecture, folder.name),
        gguf_arch=known.gguf_arch,
        license_spdx="unknown",
        license_url="",
        requires_acceptance=False,
    )


def _spec(config: Mapping[str, Any], **known: Any) -> BaseSpec:
    context = config.get("max_position_embeddings")
    length = context if isinstance(context, int) and context > 0 else 4096
    return BaseSpec(
        **known,
        redistributable=False,
        size_gb_fp16=max(0.01, round(known["params"] * 2 / 2**30, 2)),
        context_length=length,
        recommended_seq_len=min(length, 2048),
    )


def _dtype(config: Mapping[str, Any]) -> str:
    return str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
