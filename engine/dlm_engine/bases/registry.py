"""The bases that have a short name, as data.

Invariant: every entry can be trained and exported by this version; a name that cannot
stands in `NOT_OFFERED` with the reason, so a document from elsewhere gets an explanation
rather than "unknown". Revisions are pinned here: nothing is looked up at run time.
"""

from __future__ import annotations

from typing import NamedTuple

from dlm_engine.bases.spec import ARCHITECTURES, BaseSpec

_HUB = "https://huggingface.co/"


class _Licence(NamedTuple):
    spdx: str
    url: str | None
    requires_acceptance: bool
    redistributable: bool


_APACHE = _Licence("Apache-2.0", None, False, True)
_MIT = _Licence("MIT", None, False, True)
_QWEN_RESEARCH = _Licence(
    "LicenseRef-Qwen-Research",
    "https://huggingface.co/Qwen/Qwen2.5-3B-Instruct/blob/main/LICENSE",
    True,
    False,
)
_LLAMA32 = _Licence("LicenseRef-Llama-3.2", "https://www.llama.com/llama3_2/license/", True, False)
_LLAMA33 = _Licence("LicenseRef-Llama-3.3", "https://www.llama.com/llama3_3/license/", True, False)
_GEMMA = _Licence("LicenseRef-Gemma", "https://ai.google.dev/gemma/terms", True, False)

_MIRROR = "published by a third party, not by the model's makers; check that you may use it"
_SMALL = (
    "small base: it learns facts that are stated in the document, and reasons little; "
    "prefer 1B parameters or more where the machine allows"
)


class _Row(NamedTuple):
    key: str
    hf_id: str
    revision: str
    architecture: str
    params: float
    """In thousands of millions."""
    template: str
    tokenizer_pre: str | None
    licence: _Licence
    context: int
    sequence: int
    fp16_gb: float
    reasoning: str = ""
    effective_context: int | None = None
    warning: str | None = None


_Q, _Q3, _L, _G = "Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM", "Gemma2ForCausalLM"
_P = "Phi3ForCausalLM"

# fmt: off
_ROWS: tuple[_Row, ...] = (
    _Row("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B-Instruct", "7ae557604adf67be50417f59c2c2f167def9a775",
         _Q, 0.5, "chatml", "qwen2", _APACHE, 32768, 2048, 1.0),
    _Row("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B-Instruct", "989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
         _Q, 1.5, "chatml", "qwen2", _APACHE, 32768, 2048, 3.1),
    _Row("qwen2.5-3b", "Qwen/Qwen2.5-3B-Instruct", "aa8e72537993ba99e69dfaafa59ed015b17504d1",
         _Q, 3, "chatml", "qwen2", _QWEN_RESEARCH, 32768, 2048, 6.2),
    _Row("qwen2.5-coder-1.5b", "Qwen/Qwen2.5-Coder-1.5B-Instruct",
         "2e1fd397ee46e1388853d2af2c993145b0f1098a",
         _Q, 1.5, "chatml", "qwen2", _APACHE, 32768, 2048, 3.1),
    _Row("qwen3-1.7b", "Qwen/Qwen3-1.7B", "70d244cc86ccca08cf5af4e1e306ecf908b1ad5e",
         _Q3, 1.7, "chatml", "qwen2", _APACHE, 32768, 2048, 3.4, "reasoning"),
    _Row("qwen3-1.7b-thinking", "Qwen/Qwen3-1.7B", "70d244cc86ccca08cf5af4e1e306ecf908b1ad5e",
         _Q3, 1.7, "qwen3thinking", "qwen2", _APACHE, 32768, 2048, 3.4, "reasoning"),
    _Row("qwen3-4b", "Qwen/Qwen3-4B", "1cfa9a7208912126459214e8b04321603b3df60c",
         _Q3, 4, "chatml", "qwen2", _APACHE, 32768, 2048, 8.0, "reasoning"),
    _Row("qwen3-8b", "Qwen/Qwen3-8B", "b968826d9c46dd6066d109eabc6255188de91218",
         _Q3, 8, "chatml", "qwen2", _APACHE, 32768, 2048, 16.0, "reasoning"),
    _Row("llama-3.2-1b", "meta-llama/Llama-3.2-1B-Instruct",
         "9213176726f574b556790deb65791e0c5aa438b6",
         _L, 1, "llama3", "llama-bpe", _LLAMA32, 131072, 4096, 2.5),
    _Row("llama-3.2-3b", "meta-llama/Llama-3.2-3B-Instruct",
         "0cb88a4f764b7a12671c53f0838cd831a0843b95",
         _L, 3, "llama3", "llama-bpe", _LLAMA32, 131072, 4096, 6.5),
    _Row("llama-3.3-8b-instruct", "allura-forge/Llama-3.3-8B-Instruct",
         "df95224cf87c32d9f4958dd284a07ded620aa4fc",
         _L, 8, "llama3", "llama-bpe", _LLAMA33, 131072, 4096, 16.5,
         effective_context=8192, warning=_MIRROR),
    _Row("smollm3-3b", "HuggingFaceTB/SmolLM3-3B", "a07cc9a04f16550a088caea529712d1d335b0ac1",
         "SmolLM3ForCausalLM", 3, "smollm3", None, _APACHE, 65536, 4096, 6.2, "reasoning"),
    _Row("olmo-2-7b-instruct", "allenai/OLMo-2-1124-7B-Instruct",
         "470b1fba1ae01581f270116362ee4aa1b97f4c84",
         "Olmo2ForCausalLM", 7, "olmo2", None, _APACHE, 4096, 2048, 14.6),
    _Row("gemma-2-2b-it", "google/gemma-2-2b-it", "299a8560bedf22ed1c72a8a11e7dce4a7f9f51f8",
         _G, 2.6, "gemma2", None, _GEMMA, 8192, 2048, 5.2),
    _Row("gemma-2-9b-it", "google/gemma-2-9b-it", "11c9b309abf73637e4b6f9a3fa1e92e615547819",
         _G, 9, "gemma2", None, _GEMMA, 8192, 2048, 18.0),
    _Row("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct",
         "12fd25f77366fa6b3b4b768ec3050bf629380bac",
         _L, 0.135, "chatml", "smollm", _APACHE, 8192, 1024, 0.27, warning=_SMALL),
    _Row("smollm2-360m", "HuggingFaceTB/SmolLM2-360M-Instruct",
         "a10cc1512eabd3dde888204e902eca88bddb4951",
         _L, 0.36, "chatml", "smollm", _APACHE, 8192, 1024, 0.72),
    _Row("smollm2-1.7b", "HuggingFaceTB/SmolLM2-1.7B-Instruct",
         "31b70e2e869a7173562077fd711b654946d38674",
         _L, 1.7, "chatml", "smollm", _APACHE, 8192, 2048, 3.4),
    _Row("phi-3.5-mini", "microsoft/Phi-3.5-mini-instruct",
         "2fe192450127e6a83f7441aef6e3ca586c338b77",
         _P, 3.8, "phi3", None, _MIT, 131072, 2048, 7.6),
    _Row("phi-4-mini-reasoning", "microsoft/Phi-4-mini-reasoning",
         "0e3b1e2d02ee478a3743abe3f629e9c0cb722e0a",
         _P, 3.8, "phi4mini", None, _MIT, 131072, 2048, 7.6, "reasoning"),
)
# fmt: on

_MEDIA = "it takes {0}, and this version trains and exports text only"
_REMOTE_CODE = "loading it means running Python code from its repository, which dlm never does"

NOT_OFFERED: dict[str, str] = {
    "internvl2-2b": _REMOTE_CODE,
    "internvl3-2b": _REMOTE_CODE,
    "paligemma-3b-mix-224": _MEDIA.format("images"),
    "qwen2-vl-2b-instruct": _MEDIA.format("images"),
    "mistral-small-3.1-24b-instruct": _MEDIA.format("images"),
    "qwen2-audio-7b-instruct": _MEDIA.format("sound"),
    "mixtral-8x7b-instruct": (
        "it is a mixture of experts, which the memory plan and the adapter export of this "
        "version do not cover"
    ),
}


def _spec(row: _Row) -> BaseSpec:
    architecture = ARCHITECTURES[row.architecture]
    return BaseSpec(
        key=row.key,
        hf_id=row.hf_id,
        revision=row.revision,
        architecture=row.architecture,
        params=round(row.params * 1e9),
        target_modules=architecture.linear_modules,
        template=row.template,
        gguf_arch=architecture.gguf_arch,
        tokenizer_pre=row.tokenizer_pre,
        license_spdx=row.licence.spdx,
        license_url=row.licence.url or f"{_HUB}{row.hf_id}",
        requires_acceptance=row.licence.requires_acceptance,
        redistributable=row.licence.redistributable,
        size_gb_fp16=row.fp16_gb,
        context_length=row.context,
        context_length_effective=row.effective_context,
        recommended_seq_len=row.sequence,
        reasoning_tuned=bool(row.reasoning),
        capability_warning=row.warning,
    )


REGISTRY: dict[str, BaseSpec] = {row.key: _spec(row) for row in _ROWS}
