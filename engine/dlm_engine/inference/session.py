"""One question to a document's model, from the path to the answer. Writes nothing to the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dlm_engine.case import Case, open_case
from dlm_engine.document import require_adapter
from dlm_engine.errors import InferenceError, UsageError
from dlm_engine.inference.model import (
    Answering,
    GateUse,
    Mix,
    MixMethod,
    PromptOutcome,
    PromptRequest,
    Sampling,
    Share,
)
from dlm_engine.store import Version
from dlm_engine.store.layout import gate_path

if TYPE_CHECKING:
    from dlm_engine.inference.resident import Resident

TextListener = Callable[[str], None]


def prompt(
    request: PromptRequest,
    on_text: TextListener = lambda text: None,
    report: Callable[[str], None] = lambda message: None,
    resident: Resident | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> PromptOutcome:
    """Ask; `on_text` gets the answer as it comes, `report` what takes a moment.

    `cancelled` is asked after every token; when it says so the answer ends there.

    Raises:
        DlmError: no question, no version yet, a damaged version, another base.
    """
    began = time.monotonic()
    if not request.question.strip():
        raise InferenceError("the question", "is empty", "type one after the path, or pipe it in")
    case, versions, gated = _answering(request)
    frontmatter = case.frontmatter
    weights = case.weights(report)
    notes: tuple[str, ...] = ()
    for version, _ in versions:
        version.verify()
        version.require_base(frontmatter.base_model, weights.sha256)
        notes += _changed_since(version, case)

    from dlm_engine.hardware import detect
    from dlm_engine.inference.generate import fitting, generate
    from dlm_engine.inference.mixing import adapter_of
    from dlm_engine.inference.resident import Resident

    system = request.system if request.system is not None else frontmatter.system_prompt
    memory = resident or Resident()
    chat = memory.chat(weights, system)
    temperature = request.temperature
    if temperature is None:
        temperature = frontmatter.export.default_temperature or 0.0
    sampling = Sampling(
        temperature,
        request.top_p or frontmatter.export.default_top_p,
        request.max_tokens,
        request.seed,
        request.top_k,
        request.repetition_penalty or 1.0,
    )
    hardware = detect()
    four_bits = any(version.four_bit_base() for version, _ in versions)
    if four_bits and not hardware.bitsandbytes:
        notes = (*notes, "trained on a base in 4 bits, asked on the whole one: no bitsandbytes")
    loading = "nf4" if four_bits and hardware.bitsandbytes else None
    question = request.question.strip()
    gate = None
    if gated:
        from dlm_engine.inference.gate import features, require_gate

        numbers = {str(version.adapter): version.number for version, _ in versions}
        gate = require_gate(gate_path(case.store.root), numbers, weights.sha256)
        with memory.asking(weights, hardware, None, None, loading) as bare:
            weighed = gate.weights(features(bare, chat, [question]))[0]
        versions = [(v, float(w)) for (v, _), w in zip(versions, weighed, strict=True)]
        if gate.config.reason:
            notes += (f"every adapter counts alike: {gate.config.reason}",)
    method = request.mix.method if request.mix else MixMethod.LINEAR
    with (
        adapter_of(versions, method) as adapter,
        memory.asking(weights, hardware, adapter.path, adapter.digest, loading) as model,
    ):
        if adapter.note:
            report(adapter.note)
        context = case.spec.effective_context
        context = min(context, getattr(model.config, "max_position_embeddings", context))
        room = context - min(request.max_tokens, context // 2)
        earlier = fitting(chat, question, request.earlier, room)
        answer = generate(model, chat, question, sampling, on_text, cancelled, earlier)
    return PromptOutcome(
        answer=answer.text,
        version=_only(versions),
        base_model=case.spec.key,
        prompt_tokens=len(chat.prompt_ids(question, earlier)),
        answer_tokens=answer.tokens,
        stopped=answer.stopped,
        temperature=temperature,
        seconds=time.monotonic() - began,
        notes=notes,
        left_out=len(request.earlier) - len(earlier),
        shares=_shares(versions),
        gate=gate.config.mode if gate else None,
    )


def require_answerable(request: PromptRequest) -> Answering:
    """Who would answer; refuses what `prompt` would refuse before it loads anything, whatever the
    question.

    Raises:
        DlmError: no version yet, no such adapter, or which one was left open.
    """
    case, versions, gated = _answering(request)
    return Answering(case.spec.key, _only(versions), _shares(versions), gated)


def _only(versions: list[tuple[Version, float]]) -> int | None:
    return versions[0][0].number if len(versions) == 1 else None


def _shares(versions: list[tuple[Version, float]]) -> tuple[Share, ...]:
    return tuple(Share(v.adapter, v.number, share) for v, share in versions if v.adapter)


def _answering(request: PromptRequest) -> tuple[Case, list[tuple[Version, float]], bool]:
    """The versions that answer, each with its weight, and whether the gate will change those."""
    case = open_case(request.path, request.home, accept_licence=request.accept_licence)
    gated = _gated(case, request)
    return case, _current(case) if gated else _versions(case, request), gated


def _gated(case: Case, request: PromptRequest) -> bool:
    """Whether the gate says who answers."""
    chosen = request.adapter or request.mix or request.version is not None
    if request.gate is GateUse.AUTO and chosen:
        raise UsageError("--gate auto", "chooses by itself", "leave the other choice out")
    enabled = case.frontmatter.training.gate.enabled
    if request.gate is GateUse.AUTO and not enabled:
        raise UsageError("--gate auto", "the document has no gate", "set training.gate.enabled")
    return enabled and not chosen and request.gate is not GateUse.OFF


def _current(case: Case) -> list[tuple[Version, float]]:
    return [(_version(part, None), 1.0) for part in case.parts()]


def _versions(case: Case, request: PromptRequest) -> list[tuple[Version, float]]:
    """The versions that answer, each with its weight; none for the bare base."""
    if request.version == "base":
        if request.adapter or request.mix:
            raise UsageError("--base", "asks without any adapter", "leave one of them out")
        return []
    return versions_of(case, request.adapter, request.mix, request.version)


def versions_of(
    case: Case, adapter: str | None, mix: Mix | None, number: int | None
) -> list[tuple[Version, float]]:
    """The versions that are meant, each with its weight; one of them counts whole.

    Raises:
        UsageError: an adapter is not declared, or which one was left open.
        StoreError: there is no such version. InferenceError: there is none at all.
    """
    if mix is None:
        return [(_version(case.part(adapter), number), 1.0)]
    if number is not None:
        problem = "takes the current version of each adapter"
        raise UsageError("--adapter-mix", problem, "leave out the number of a version")
    if adapter is not None:
        raise UsageError("--adapter-mix", "names the adapters itself", "leave out --adapter")
    names = [require_adapter(case.frontmatter, name) for name, _ in mix.shares]
    return [
        (_version(case.part(name), None), weight)
        for name, (_, weight) in zip(names, mix.shares, strict=True)
    ]


def _version(case: Case, number: int | None) -> Version:
    found = case.version(number)
    if found is None:
        raise InferenceError(
            str(case.path) if case.adapter is None else f"adapter {case.adapter}",
            "has not been trained yet",
            f"run `dlm train {case.path}`, or ask the base with --base",
        )
    return found


def _changed_since(version: Version, case: Case) -> tuple[str, ...]:
    """A remark when the document says something else than what the version learned."""
    record = version.run_record()
    sections = (
        case.document.sections
        if version.adapter is None
        else case.part(version.adapter).document.sections
    )
    if (
        record is None
        or not record.section_ids
        or set(record.section_ids) == {s.id for s in sections}
    ):
        return ()
    of = f" of {version.adapter}" if version.adapter else ""
    return (f"the document changed since version {version.number}{of} was trained",)
