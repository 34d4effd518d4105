"""One export from beginning to end: plan, convert, quantise, adapter, checks, question, publish.

Nothing is visible before every check has passed. The base comes out of the cache where
it can; a merged model never does and never goes in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dlm_engine
from dlm_engine.errors import ExportError
from dlm_engine.export import cache, checks, engines, publish
from dlm_engine.export.capabilities import Capability, ExportPlan, base_files, plan_export
from dlm_engine.export.checks import Check
from dlm_engine.export.convert import convert_to_gguf
from dlm_engine.export.dialects import (
    DIALECTS,
    go_template,
    has_system_role,
    prompt_renderer,
    read_turns,
    stop_texts,
)
from dlm_engine.export.gguf_file import GgufFile, type_name
from dlm_engine.export.gotemplate import render_ollama
from dlm_engine.export.llama import Reply, Text, run_gguf
from dlm_engine.export.lora import write_lora
from dlm_engine.export.merge import merge_adapter, tokenizer_folder
from dlm_engine.export.model import (
    Artifact,
    ExportManifest,
    ExportOptions,
    ExportRequest,
    ExportResult,
    Form,
    Quant,
    Report,
    Target,
)
from dlm_engine.export.modelfile import Modelfile, quote, write_modelfile
from dlm_engine.export.quantise import choose_types, quantise
from dlm_engine.store.atomic import sha256_file

_REPORT = "export_report.json"
_ADAPTER = "adapter.gguf"
_MODELFILE = "Modelfile"


@dataclass(slots=True)
class _Work:
    """What one export gathers on its way."""

    request: ExportRequest
    options: ExportOptions
    plan: ExportPlan
    folder: Path
    report: Report
    checks: list[Check] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    base_sha256: str | None = None

    @property
    def base(self) -> Path:
        kind = "model" if self.plan.form is Form.MERGED else "base"
        return self.folder / f"{kind}.{self.plan.quant}.gguf"

    @property
    def adapter(self) -> Path | None:
        with_file = self.plan.facts is not None and self.plan.form is Form.ADAPTER
        return self.folder / _ADAPTER if with_file else None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        self.report(stage)
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 2)


def export(
    request: ExportRequest, options: ExportOptions, report: Report = lambda message: None
) -> ExportResult:
    """Export a document's model and prove the result.

    `report` gets the plan with its reasons before anything is written, then each stage.

    Raises:
        ExportError: the export is refused, a package is missing, the disk is full, or a
            check failed. Earlier exports are untouched and nothing half-made is left.
    """
    plan = plan_export(request, options)
    for reason in plan.reasons:
        report(reason)
    engines.converter()
    engines.native_library()
    final = options.out or _default_folder(request, plan)
    publish.require_replaceable(final)
    publish.require_space(final.parent, plan.bytes_needed)
    publish.require_space(request.cache_root, plan.bytes_needed)
    with publish.disk_trouble(final), publish.staged(final) as folder:
        cache.sweep(request.cache_root)
        work = _Work(request, options, plan, folder, report)
        _write_base(work)
        if plan.facts is not None and work.adapter is not None:
            with work.timed("writing the adapter"):
                write_lora(plan.facts, request.base.path, work.base, work.adapter, _origin(work))
        template = _ollama_files(work) if options.target is Target.OLLAMA else None
        reply = _prove(work, template)
        checks.require_passed(work.checks)
        manifest = _write_manifest(work, reply)
        publish.publish(folder, final)
    adapter = final / _ADAPTER if work.adapter else None
    modelfile = final / _MODELFILE if template else None
    return ExportResult(
        folder=final,
        base_gguf=final / work.base.name,
        adapter_gguf=adapter,
        modelfile=modelfile,
        manifest=manifest,
        plan=plan,
        checks=tuple(work.checks),
        answer=_answer(options, reply),
        seconds=work.seconds,
    )


def _default_folder(request: ExportRequest, plan: ExportPlan) -> Path:
    # Apart, so that a merged export never takes the place of the plain one.
    suffix = "-merged" if plan.form is Form.MERGED else ""
    if request.adapter is not None and request.adapter.label is not None:
        suffix += f"-{request.adapter.label}"
    return request.store_root / "exports" / f"{plan.quant}{suffix}"


def _origin(work: _Work) -> dict[str, str]:
    adapter = work.request.adapter
    return {
        "base.hf_id": work.request.base.hf_id,
        "base.sha256": work.request.base.sha256,
        "document": work.request.dlm_id,
        "adapter_version": str(adapter.version or 0 if adapter else 0),
        **({"adapters": ", ".join(adapter.made_of)} if adapter and adapter.made_of else {}),
        "created_by": f"dlm-{dlm_engine.__version__}",
    }


# --- weights -----------------------------------------------------------------------------


def _write_base(work: _Work) -> None:
    if work.plan.form is Form.MERGED:
        _write_merged(work)
        return
    quant, root = work.plan.quant, work.request.cache_root
    key = _key(work, quant)
    found = cache.find(root, key, work.report)
    if found is not None:
        work.report(f"the {quant} base comes from the cache")
    elif quant is Quant.F16:
        found = _sixteen_bits(work)
    else:
        source = _sixteen_bits(work)
        work.checks += source.checks
        found = _stored(work, key, lambda out: _quantise(work, source.path, out))
        if source.path.stat().st_size > cache.KEEP_INTERMEDIATE_BYTES:
            cache.remove(root, _key(work, Quant.F16))
    work.checks += found.checks
    work.base_sha256 = found.sha256
    publish.link_or_copy(found.path, work.base)


def _key(work: _Work, quant: Quant) -> str:
    quantiser = "" if quant is Quant.F16 else engines.find_quantiser().identity
    return cache.cache_key(work.request.base, quant, engines.converter_identity(), quantiser)


def _sixteen_bits(work: _Work) -> cache.CachedGguf:
    base, key = work.request.base, _key(work, Quant.F16)
    found = cache.find(work.request.cache_root, key, work.report)
    if found is not None:
        return found

    def build(out: Path) -> list[Check]:
        with work.timed("converting the base"):
            convert_to_gguf(base.path, out, name=base.hf_id)
        with work.timed("comparing the base with its source"):
            made = [checks.same_as_source(out, base_files(base.path))]
            checks.require_passed(made)
        return made

    return _stored(work, key, build)


def _stored(work: _Work, key: str, build: cache.Build) -> cache.CachedGguf:
    facts = {"base": work.request.base.hf_id}
    return cache.store(work.request.cache_root, key, build, facts)


def _quantise(work: _Work, source: Path, out: Path) -> list[Check]:
    quantiser, quant = engines.find_quantiser(), work.plan.quant
    with work.timed(f"quantising to {quant}"):
        quantise(source, out, quant, quantiser)
    with work.timed("comparing the quantised weights"):
        expected = {} if quantiser.binary else _expected_types(source, quant)
        made = checks.same_after_quantising(out, source, expected)
        checks.require_passed(made)
    return made


def _expected_types(source: Path, quant: Quant) -> dict[str, str]:
    with GgufFile(source) as file:
        return choose_types(file.tensors, quant, file.number("expert_count") or 0)


def _write_merged(work: _Work) -> None:
    if work.plan.facts is None:
        raise AssertionError("a merged plan has an adapter")
    merged, source = work.folder / "merged", work.folder / "merged.F16.gguf"
    with work.timed("merging the adapter in 32 bits"):
        merge_adapter(work.plan.facts, work.request.base.path, merged)
    quant = work.plan.quant
    target = work.base if quant is Quant.F16 else source
    with work.timed("converting the merged model"):
        convert_to_gguf(merged, target, name=f"{work.request.base.hf_id} dlm")
        work.checks.append(checks.same_as_source(target, base_files(merged)))
        checks.require_passed(work.checks)
    publish.remove(merged)
    _require_embeddings(work, target)
    if quant is not Quant.F16:
        work.checks += _quantise(work, source, work.base)
        _require_embeddings(work, work.base)
        publish.remove(source)


def _require_embeddings(work: _Work, gguf: Path) -> None:
    facts = work.plan.facts
    if facts is not None and Capability.EMBEDDING_ROWS in facts.capabilities:
        weights = facts.path / "adapter_model.safetensors"
        work.checks.append(checks.same_embeddings(gguf, weights, facts.tokens, facts.tied_head))
        checks.require_passed(work.checks)


# --- Ollama ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Template:
    """TEMPLATE and SYSTEM as written; `adds_bos` is what the runtime does by itself."""

    text: str
    system: str | None
    adds_bos: bool


def _ollama_files(work: _Work) -> _Template:
    from dlm_engine.export.reference import load_tokenizer

    base, request = work.request.base, work.request
    dialect = DIALECTS.get(base.template)
    if dialect is None:
        raise ExportError(
            base.key, f"has no Ollama template for its dialect {base.template}", "use --target gguf"
        )
    tokenizer = load_tokenizer(tokenizer_folder(work.plan.facts, base.path))
    adds_bos = _adds_bos(work.base, tokenizer)
    render = prompt_renderer(tokenizer, adds_bos=adds_bos)
    turns = read_turns(render)
    system = request.system_prompt or None
    if system and turns.system_open is None:
        raise ExportError(
            base.key,
            "has a chat template without a system role, and the document has a system_prompt",
            "drop system_prompt, or use --target gguf",
        )
    quotable = system is None or quote(system) is not None
    template = _Template(
        go_template(turns, None if quotable else system), system if quotable else None, adds_bos
    )
    stops = stop_texts(dialect, _end_texts(base.path, tokenizer), _known(tokenizer))
    adapter = request.adapter
    content = Modelfile(
        comments=(
            f"Generated by dlm {dlm_engine.__version__} on {_now()}",
            f"Source: {Path(request.document_name).name}",
            f"dlm_id: {request.dlm_id}",
            f"adapter_version: {(adapter and adapter.version) or 'none'}",
            *(f"adapter: {source}" for source in (adapter.made_of if adapter else ())),
            f"base_model: {base.key} (revision {base.revision})",
            f"quant: {work.plan.quant}",
            f"merged: {work.plan.form is Form.MERGED}",
        ),
        base=f"./{work.base.name}",
        adapter=f"./{_ADAPTER}" if work.adapter else None,
        template=template.text,
        system=template.system,
        stops=tuple(stops),
        temperature=request.temperature or (0.6 if base.reasoning else 0.7),
        top_p=request.top_p or dialect.top_p,
        context=min(request.sequence_len, base.context_length),
        licence=base.licence,
    )
    (work.folder / _MODELFILE).write_text(write_modelfile(content), encoding="utf-8", newline="\n")
    return template


def _adds_bos(gguf: Path, tokenizer: Any) -> bool:
    with GgufFile(gguf) as file:
        told = file.values.get("tokenizer.ggml.add_bos_token")
    if isinstance(told, bool):
        return told
    return list(tokenizer("a")["input_ids"])[:1] == [tokenizer.bos_token_id]


def _end_texts(base: Path, tokenizer: Any) -> list[str]:
    """The tokens at which generation ends, as the base's own files say."""
    ids = {tokenizer.eos_token_id}
    path = base / "generation_config.json"
    if path.is_file():
        told = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
        ids |= set(told if isinstance(told, list) else [told])
    texts = [tokenizer.convert_ids_to_tokens(i) for i in sorted(i for i in ids if i is not None)]
    return [t for t in texts if t]


def _known(tokenizer: Any) -> Any:
    vocabulary = tokenizer.get_vocab()
    return lambda text: text in vocabulary


# --- proof -------------------------------------------------------------------------------


def _prove(work: _Work, template: _Template | None) -> Reply:
    from dlm_engine.export import reference

    request, facts = work.request, work.plan.facts
    tokenizer = reference.load_tokenizer(tokenizer_folder(facts, request.base.path))
    adds_bos = _adds_bos(work.base, tokenizer)
    render = prompt_renderer(tokenizer, adds_bos=adds_bos)
    talks = reference.conversations(
        request.system_prompt, request.rows, system_role=has_system_role(render)
    )
    labels = [t.label for t in talks]
    rows = reference.scored_rows(
        tokenizer, request.system_prompt, request.rows, sequence_len=request.sequence_len
    )
    go_prompts: list[str] = []
    if template is not None:
        go_prompts = [render_ollama(template.text, t.messages, None) for t in talks]
    with work.timed("running it in llama.cpp"):
        reply = run_gguf(
            work.base,
            work.adapter,
            tokenize=[*map(Text, checks.HARD_TEXTS), *(Text(p, special=True) for p in go_prompts)],
            prompts=[t.messages for t in talks],
            score=rows,
            ask=[_question(work)] if work.options.question else [],
            max_tokens=work.options.max_answer_tokens,
        )
    hard = [reference.text_tokens(tokenizer, t) for t in checks.HARD_TEXTS]
    ids = [tuple(reference.prompt_tokens(tokenizer, t.messages)) for t in talks]
    count = len(hard)
    work.checks += [
        checks.readable(work.base, {}),
        checks.same_tokens(checks.HARD_TEXTS, hard, reply.tokens[:count]),
        checks.same_prompts(
            "prompt ids in llama.cpp", labels, ids, [p.tokens for p in reply.prompts]
        ),
    ]
    if template is not None:
        expected = [render(t.messages, True) for t in talks]
        work.checks += [
            checks.same_prompts("prompts in Ollama's template", labels, expected, go_prompts),
            checks.same_prompts(
                "prompt ids of Ollama's template", labels, ids, reply.tokens[count:]
            ),
            _default_system_check(work, template, render),
        ]
    with work.timed("comparing with the 32-bit model"):
        if reference.fits_in_memory(request.base.path):
            model = reference.load_model(request.base.path, facts)
            ours = reference.log_probabilities(model, rows)
            work.checks.append(checks.same_loss(work.plan.quant, ours, reply.scores))
        else:
            model = reference.outline_model(request.base.path, facts) if facts else None
            work.checks.append(
                Check("loss", None, "the model in 32 bits does not fit into free memory")
            )
        if work.adapter is not None:
            made = reference.updates(model)
            files = base_files(request.base.path)
            work.checks.append(checks.same_updates(work.adapter, work.base, files, made))
    if work.options.question and not "".join(reply.answers).strip():
        work.checks.append(Check("answer", False, "llama.cpp answered nothing"))
    return reply


def _default_system_check(work: _Work, template: _Template, render: Any) -> Check:
    """A chat without a system message must get the document's, exactly once."""
    user = {"role": "user", "content": "Where do puffins nest?"}
    system = work.request.system_prompt
    told = [{"role": "system", "content": system}, user] if system else [user]
    return checks.same_prompts(
        "SYSTEM of the Modelfile",
        ["a chat that brings no system message"],
        [render(told, True)],
        [render_ollama(template.text, [user], template.system)],
    )


def _question(work: _Work) -> list[dict[str, str]]:
    system = work.request.system_prompt
    start = [{"role": "system", "content": system}] if system else []
    return [*start, {"role": "user", "content": work.options.question or ""}]


def _answer(options: ExportOptions, reply: Reply) -> str | None:
    return reply.answers[0] if options.question and reply.answers else None


# --- records -----------------------------------------------------------------------------


def _write_manifest(work: _Work, reply: Reply) -> ExportManifest:
    request, plan, options = work.request, work.plan, work.options
    report = {
        "plan": list(plan.reasons),
        "capabilities": [
            {"capability": h.capability, "handling": h.rule.handling, "reason": h.rule.reason}
            for h in plan.handled
        ],
        "checks": [c.as_json() for c in work.checks],
        "question": options.question,
        "answer": _answer(options, reply),
        "seconds": work.seconds,
        "engines": {
            "converter": engines.converter_identity(),
            "quantiser": None if plan.quant is Quant.F16 else engines.find_quantiser().identity,
            "runtime": engines.runtime_identity(),
        },
        "tensor_types": _types(work.base),
        "dlm_id": request.dlm_id,
        "adapters": list(request.adapter.made_of) if request.adapter else [],
        "base_model": request.base.key,
        "base_weights_sha256": request.base.sha256,
    }
    _write_json(work.folder / _REPORT, report)
    files = sorted(p for p in work.folder.iterdir() if p.is_file())
    ollama = options.target is Target.OLLAMA
    version = request.adapter.version if request.adapter else None
    label = f"-{request.adapter.label}" if request.adapter and request.adapter.label else ""
    default_name = f"dlm-{request.dlm_id.lower()}{label}:v{version or 0:04d}"
    manifest = ExportManifest(
        target=options.target.value,
        quant=plan.quant.value,
        merged=plan.form is Form.MERGED,
        dequantized=plan.dequantized,
        ollama_name=(options.ollama_name or default_name) if ollama else None,
        created_at=_now(),
        created_by=f"dlm-{dlm_engine.__version__}",
        llama_cpp_tag=engines.converter_identity(),
        base_model_hf_id=request.base.hf_id,
        base_model_revision=request.base.revision,
        adapter_version=version,
        artifacts=tuple(
            Artifact(path=p.name, sha256=_digest(work, p), size_bytes=p.stat().st_size)
            for p in files
        ),
    )
    _write_json(work.folder / publish.MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _digest(work: _Work, path: Path) -> str:
    if path == work.base and work.base_sha256:
        return work.base_sha256  # known since it came out of the cache a moment ago
    return sha256_file(path)


def _types(gguf: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    with GgufFile(gguf) as file:
        for tensor in file.tensors.values():
            kind = type_name(tensor.type_id)
            counts[kind] = counts.get(kind, 0) + 1
    return counts


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0).isoformat()
