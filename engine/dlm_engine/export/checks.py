"""Proof that an export is what it claims to be; each check is a measurement and a bound.

A generated sentence proves little: the right file may answer differently where two words
are equally likely, and an adapter at a quarter of its strength may still recite what it
was trained on. So the parts are compared with their source one by one: tensors, tokens,
prompts, losses, and the update the adapter makes. A check that could not run says so and
why; it never counts as passed.

The measurements that need a model or a runtime are made elsewhere (`reference`, `llama`)
and judged here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlm_engine.errors import ExportError
from dlm_engine.export.capabilities import ROWS
from dlm_engine.export.gguf_file import GgufFile, type_name
from dlm_engine.export.lora import lora_updates, relative_error, row_order, tensor_name
from dlm_engine.export.model import Quant
from dlm_engine.export.tensors import TensorReader, open_tensors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Largest relative error of a tensor by the type it is stored as. Real weights have
#: heavier tails than Gaussian ones; these are 1.5 times or more what SmolLM2 shows, and far
#: below what a wrong order or a wrong weight gives (1 or more).
ERROR_BOUND: Mapping[str, float] = {
    "F32": 1e-6,
    "F16": 2e-3,
    "BF16": 5e-3,
    "Q8_0": 0.012,
    "Q6_K": 0.03,
    "Q5_K": 0.08,
    "Q5_1": 0.08,
    "Q5_0": 0.08,
    "Q4_K": 0.13,
}
#: Largest difference of the mean loss per token, in nats, from the 32-bit model.
LOSS_BOUND: Mapping[Quant, float] = {
    Quant.F16: 0.02,
    Quant.Q8_0: 0.10,
    Quant.Q6_K: 0.12,
    Quant.Q5_K_M: 0.25,
    Quant.Q4_K_M: 0.40,
}
UPDATE_BOUND = 1e-3
_BLOCK_ELEMENTS = 2**20

#: Texts that tokenizers disagree on: spaces, line ends, digits, contractions, scripts,
#: joiners, marks that look like special tokens.
HARD_TEXTS: tuple[str, ...] = (
    "plain words",
    " leading and trailing ",
    "two  three   four    spaces",
    "line\nline\n\nline\n\n\n",
    "tab\tand\t\ttabs\r\n",
    "0 12 345 6789 1234567890 3.14159 1,000,000",
    "it's I'M we'LL they'd you've she'S",
    "snake_case CamelCase kebab-case SHOUTING",
    "def f(x): return x**2  # comment\n    pass",
    "https://example.org/a?b=c&d=%20#e",
    "Tromsø Ærø naïve façade Zürich ŁÓDŹ",
    "e\u0301 \u00e9 combining",
    "Ελληνικά русский עברית العربية हिन्दी",
    "日本語の文章 中文句子 한국어 문장",
    "🙂 👩‍👩‍👧 🇳🇴 ✍🏽 ☎️",
    "non\u00a0breaking thin\u2009space zero\u200bwidth line\u2028separator",
    "<|im_start|>user\nhello<|im_end|>",
    "<s>[INST] hi [/INST]</s> <|not_a_token|>",
    "\\n \\t {{ .System }} {% if x %} \"\"\" ''' ```",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "",
)


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `passed` is None when it could not run; `detail` says why or what failed."""

    name: str
    passed: bool | None
    detail: str
    measured: float | None = None
    bound: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def require_passed(checks: Iterable[Check]) -> None:
    """Raise `ExportError` naming every check that failed."""
    failed = [c for c in checks if c.passed is False]
    if failed:
        raise ExportError(
            "export",
            "checks failed, nothing was published: "
            + "; ".join(f"{c.name}: {c.detail}" for c in failed),
            "export again; if it fails again, report it with this message",
        )


def _bounded(name: str, measured: float, bound: float, detail: str) -> Check:
    # Written so that a NaN fails.
    return Check(name, bool(measured <= bound), detail, measured, bound)


# --- weights -----------------------------------------------------------------------------


def same_as_source(gguf: Path, folder_files: list[Path]) -> Check:
    """A 16-bit GGUF against the safetensors it was made from, block by block.

    Tensors that conversion renames only, or reorders by row, are compared; those it
    changes on purpose (stacked experts, shifted norms) are counted as not comparable.
    """
    name = "weights equal their source"
    worst, where, compared, total = 0.0, "", 0, 0
    with GgufFile(gguf) as file, open_tensors(folder_files) as source:
        for weight in source.names():
            total += 1
            module = weight.removesuffix(".weight")
            stored = tensor_name(file, module) if weight.endswith(".weight") else None
            if stored is None or file.tensors[stored].shape != source.shape(weight):
                continue
            if len(source.shape(weight)) != 2:
                continue
            try:
                error = _source_error(file, stored, source, weight)
            except ExportError:
                return Check(name, False, f"{stored} does not hold {weight}")
            compared += 1
            if not error <= worst:
                worst, where = error, stored
    if compared == 0:
        return Check(name, None, "this architecture renames every tensor")
    detail = f"{compared} of {total} tensors compared; largest relative error at {where or 'none'}"
    return _bounded(name, worst, ERROR_BOUND["F16"], detail)


def _source_error(file: GgufFile, stored: str, source: TensorReader, weight: str) -> float:
    order = row_order(file, stored, source, weight)
    if order is not None:
        return relative_error(file.rows(stored), source.rows(weight)[order])
    return max(
        relative_error(file.rows(stored, stop, start), source.rows(weight, stop, start))
        for start, stop in _blocks(source.shape(weight))
    )


def same_after_quantising(
    quantised: Path, source: Path, expected: Mapping[str, str]
) -> list[Check]:
    """A quantised GGUF against the 16-bit one: tensor list, shapes, types, and values.

    `expected` maps tensors to type names; empty when another program chose them.
    """
    with GgufFile(quantised) as file, GgufFile(source) as reference:
        shapes = {n: t.shape for n, t in file.tensors.items()}
        wanted = {n: t.shape for n, t in reference.tensors.items()}
        types = {n: type_name(t.type_id) for n, t in file.tensors.items()}
        odd = sorted(n for n in wanted.keys() | shapes.keys() if wanted.get(n) != shapes.get(n))
        odd += sorted(n for n, kind in expected.items() if types.get(n) != kind)
        if odd:
            return [Check("tensors", False, f"wrong shape or type: {', '.join(odd[:5])}")]
        checks = [Check("tensors", True, f"{len(shapes)} tensors, {_tally(types.values())}")]
        share, where = 0.0, ""
        for tensor, kind in types.items():
            bound = ERROR_BOUND.get(kind)
            if bound is None:
                return [*checks, Check("values", False, f"{tensor} is stored as {kind}")]
            error = max(
                relative_error(file.rows(tensor, stop, start), reference.rows(tensor, stop, start))
                for start, stop in _blocks(wanted[tensor])
            )
            if not error / bound <= share:
                share, where = error / bound, f"{tensor} ({kind}, {error:.4f} of {bound})"
        detail = f"nearest to its bound: {where or 'all exact'}"
        return [*checks, _bounded("values, as a share of the bound", share, 1.0, detail)]


def readable(gguf: Path, expected_types: Mapping[str, str]) -> Check:
    """The published file opens and has the tensors, with the types, that were planned."""
    with GgufFile(gguf) as file:
        types = {n: type_name(t.type_id) for n, t in file.tensors.items()}
    if not types:
        return Check("file", False, "holds no tensors")
    wrong = [n for n, kind in expected_types.items() if types.get(n) != kind]
    if wrong:
        return Check("file", False, f"wrong type: {', '.join(wrong[:5])}")
    return Check("file", True, f"{len(types)} tensors, {_tally(types.values())}")


def _blocks(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """All rows of a small tensor; first, middle and last block of rows of a large one."""
    rows = 1
    for size in shape[:-1]:
        rows *= size
    step = max(1, _BLOCK_ELEMENTS // shape[-1])
    if rows <= 3 * step:
        return [(0, rows)]
    middle = rows // 2 - step // 2
    return [(0, step), (middle, middle + step), (rows - step, rows)]


def _tally(kinds: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))


# --- adapter -----------------------------------------------------------------------------


def same_updates(
    adapter: Path,
    base_gguf: Path,
    base_files: list[Path],
    updates: Iterator[tuple[str, npt.NDArray[np.float32]]],
) -> Check:
    """What llama.cpp will add to each weight against what PEFT adds, for every module.

    `updates` yields (module, PEFT's own delta). The row order is measured again here, on
    the file that is shipped.
    """
    name = "adapter adds what PEFT adds"
    told = dict(lora_updates(adapter))
    worst, where, largest, count = 0.0, "", 0.0, 0
    with GgufFile(base_gguf) as file, open_tensors(base_files) as base:
        for module, delta in updates:
            tensor = tensor_name(file, module)
            if tensor is None or tensor not in told:
                return Check(name, False, f"{module} is missing from the file")
            order = row_order(file, tensor, base, f"{module}.weight")
            error = relative_error(told.pop(tensor), delta if order is None else delta[order])
            largest = max(largest, float(abs(delta).max(initial=0.0)))
            count += 1
            if not error <= worst:
                worst, where = error, module
    if told:
        return Check(name, False, f"the file adds to {sorted(told)[0]}, PEFT does not")
    if largest == 0.0:
        return Check(name, True, f"{count} modules, all zero: the adapter changes nothing", 0.0)
    detail = f"{count} modules; largest relative error at {where or 'none'}"
    return _bounded(name, worst, UPDATE_BOUND, detail)


def same_embeddings(gguf: Path, adapter: Path, tokens: Sequence[int], head: str | None) -> Check:
    """The embeddings of `tokens` in a merged model against the adapter's own, row by row.

    `head`: the module whose weight is tied to them, None where it is another.
    """
    name, worst, where = "embeddings are the adapter's", 0.0, ""
    with GgufFile(gguf) as file, open_tensors([adapter]) as source:
        own = source.rows(next(n for n in source.names() if ROWS in n))
        embeddings = tensor_name(file, "model.embed_tokens")
        if embeddings is None or len(own) != len(tokens):
            return Check(name, False, f"{len(own)} rows for {len(tokens)} tokens")
        # A tied head has no tensor of its own in most files.
        tied = tensor_name(file, head) if head else None
        for tensor in {embeddings, tied or embeddings}:
            bound = ERROR_BOUND[type_name(file.tensors[tensor].type_id)]
            for token, row in zip(tokens, own, strict=True):
                share = relative_error(file.rows(tensor, token + 1, token)[0], row) / bound
                if not share <= worst:
                    worst, where = share, f"token {token} in {tensor}"
    detail = f"{len(tokens)} rows; nearest to its bound: {where or 'all exact'}"
    return _bounded(f"{name}, as a share of the bound", worst, 1.0, detail)


# --- tokens and prompts ------------------------------------------------------------------


def same_tokens(
    texts: Sequence[str], ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]
) -> Check:
    """Token ids of hard texts in the tokenizer of training and in llama.cpp."""
    wrong = [t for t, a, b in zip(texts, ours, theirs, strict=True) if list(a) != list(b)]
    if wrong:
        return Check("tokens", False, f"{len(wrong)} of {len(texts)} texts differ: {wrong[:2]!r}")
    return Check("tokens", True, f"{len(texts)} texts give the same ids")


def same_prompts(
    name: str,
    labels: Sequence[str],
    ours: Sequence[object],
    theirs: Sequence[object],
) -> Check:
    """Prompts (texts or ids) of the same conversations on both sides."""
    wrong = [n for n, a, b in zip(labels, ours, theirs, strict=True) if a != b]
    if wrong:
        return Check(name, False, f"differ for: {', '.join(wrong)}")
    return Check(name, True, f"{len(labels)} conversations are the same")


def same_loss(
    quant: Quant, ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]
) -> Check:
    """Mean loss per supervised token, teacher-forced, in the 32-bit model and in llama.cpp."""
    left = [x for row in ours for x in row]
    right = [x for row in theirs for x in row]
    if not left or len(left) != len(right):
        return Check("loss", False, f"{len(left)} tokens against {len(right)}")
    here, there = -sum(left) / len(left), -sum(right) / len(right)
    detail = f"{here:.4f} in 32 bits, {there:.4f} in llama.cpp, {len(left)} tokens"
    return _bounded("loss", abs(here - there), LOSS_BOUND[quant], detail)
