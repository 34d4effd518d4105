"""One question to a document's model, from the path to the answer. Writes nothing to the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dlm_engine.case import Case, open_case
from dlm_engine.errors import InferenceError
from dlm_engine.inference.model import PromptOutcome, PromptRequest, Sampling
from dlm_engine.store import Version

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
    case = open_case(request.path, request.home, accept_licence=request.accept_licence)
    frontmatter = case.frontmatter
    version = None if request.version == "base" else _version(case, request.version)
    weights = case.weights(report)
    if version is not None:
        version.verify()
        version.require_base(frontmatter.base_model, weights.sha256)
    notes = _changed_since(version, [s.id for s in case.document.sections]) if version else ()

    from dlm_engine.hardware import detect
    from dlm_engine.inference.generate import fitting, generate
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
    )
    hardware = detect()
    four_bits = version is not None and version.four_bit_base()
    if four_bits and not hardware.bitsandbytes:
        notes = (*notes, "trained on a base in 4 bits, asked on the whole one: no bitsandbytes")
    asking = memory.asking(
        weights,
        hardware,
        version.path if version else None,
        version.adapter_sha256() if version else None,
        "nf4" if four_bits and hardware.bitsandbytes else None,
    )
    question = request.question.strip()
    with asking as model:
        context = case.spec.effective_context
        context = min(context, getattr(model.config, "max_position_embeddings", context))
        room = context - min(request.max_tokens, context // 2)
        earlier = fitting(chat, question, request.earlier, room)
        answer = generate(model, chat, question, sampling, on_text, cancelled, earlier)
    return PromptOutcome(
        answer=answer.text,
        version=version.number if version else None,
        base_model=case.spec.key,
        prompt_tokens=len(chat.prompt_ids(question, earlier)),
        answer_tokens=answer.tokens,
        stopped=answer.stopped,
        temperature=temperature,
        seconds=time.monotonic() - began,
        notes=notes,
        left_out=len(request.earlier) - len(earlier),
    )


def _version(case: Case, number: int | None) -> Version:
    found = case.version(number)
    if found is None:
        raise InferenceError(
            str(case.path),
            "has not been trained yet",
            f"run `dlm train {case.path}`, or ask the base with --base",
        )
    return found


def _changed_since(version: Version, section_ids: list[str]) -> tuple[str, ...]:
    """A remark when the document says something else than what the version learned."""
    record = version.run_record()
    if record is None or not record.section_ids or set(record.section_ids) == set(section_ids):
        return ()
    return (f"the document changed since version {version.number} was trained",)
