"""Base models in words: what the registry knows, as one line and as a page.

Only what is pinned in the registry; a base of the hub or a folder is named and not looked up,
because an editor asks while someone types and must not wait for a network.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dlm_engine.document import Span

if TYPE_CHECKING:
    from dlm_engine.bases.spec import BaseSpec
    from dlm_engine.document import LiveDocument

HUB_PREFIX = "hf:"
HUB_PAGE = "https://huggingface.co/"


def written_base(live: LiveDocument) -> tuple[str, Span] | None:
    """What `base_model` says and where, without quotes, however broken the rest is."""
    places = live.keys.get("base_model")
    if places is None:
        return None
    start, end = places.value
    quoted = live.text[start : start + 1] in ('"', "'")
    span = Span(start + quoted, max(start + quoted, end - quoted))
    return live.text[span.start : span.end], span


def registry() -> Mapping[str, BaseSpec]:
    from dlm_engine.bases.registry import REGISTRY

    return REGISTRY


def base_line(spec: BaseSpec) -> str:
    """Parameters, size, context and licence in one line."""
    gated = ", accept first" if spec.requires_acceptance else ""
    return (
        f"{_parameters(spec.params)} · {spec.size_gb_fp16:g} GiB · "
        f"{spec.context_length} tokens · {spec.license_spdx}{gated}"
    )


def base_page(spec: BaseSpec) -> str:
    """What there is to know before choosing a base, in markdown."""
    licence = f"[{spec.license_spdx}]({spec.license_url})"
    if spec.requires_acceptance:
        licence += ", which has to be accepted before the first download"
    lines = [
        f"**{spec.key}** is [{spec.hf_id}]({HUB_PAGE}{spec.hf_id}), "
        f"pinned to `{spec.revision[:12]}`.",
        "",
        f"- Parameters: {_parameters(spec.params)}",
        f"- Size: {spec.size_gb_fp16:g} GiB in 16 bits",
        f"- Context: {_context(spec)}",
        f"- Licence: {licence}",
    ]
    if spec.reasoning_tuned:
        lines.append("- Thinks before it answers")
    if spec.capability_warning:
        lines += ["", f"Note: {spec.capability_warning}."]
    return "\n".join(lines)


def named_page(base_model: str) -> str:
    """The page of whatever `base_model` says, known or not."""
    from dlm_engine.bases.local import is_local
    from dlm_engine.bases.registry import NOT_OFFERED

    spec = registry().get(base_model)
    if spec is not None:
        return base_page(spec)
    if base_model.startswith(HUB_PREFIX):
        name = base_model.removeprefix(HUB_PREFIX)
        return (
            f"The model [{name}]({HUB_PAGE}{name}) of the hub, "
            "pinned to a commit when the document is first used."
        )
    if is_local(base_model):
        return "A folder that holds a model; its revision is the digest of its files."
    if base_model in NOT_OFFERED:
        return f"**{base_model}** is not offered: {NOT_OFFERED[base_model]}."
    near = closest_base(base_model)
    hint = f" Is `{near}` meant?" if near else ""
    return f"**{base_model}** is not in the registry.{hint}"


def is_known(base_model: str) -> bool:
    """Whether the name could resolve: a key of the registry, of the hub, or a folder."""
    from dlm_engine.bases.local import is_local

    return base_model in registry() or base_model.startswith(HUB_PREFIX) or is_local(base_model)


def closest_base(name: str) -> str | None:
    """The key of the registry that a misspelt name most likely means."""
    by_words = {key.lower(): key for key in registry()}
    by_words |= {str(s.hf_id).lower(): key for key, s in registry().items()}
    by_words |= {str(s.hf_id).rsplit("/", 1)[-1].lower(): key for key, s in registry().items()}
    near = difflib.get_close_matches(name[:100].lower(), list(by_words), 1, 0.6)
    return by_words[near[0]] if near else None


def _parameters(count: int) -> str:
    return f"{count / 1e9:.1f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"


def _context(spec: BaseSpec) -> str:
    words = f"{spec.context_length} tokens"
    if spec.context_length_effective:
        words += f", {spec.context_length_effective} of them useful"
    return words
