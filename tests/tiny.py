"""A base of a few thousand weights with a real tokenizer, for tests that need a whole model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|reserved|>")


def make_tokenizer() -> Any:
    """Bytes as tokens, in the form of a fast transformers tokenizer with a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: i for i, text in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        bos_token="<|im_start|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
    )


def make_model(kind: str = "llama", layers: int = 6, *, tied: bool = True, width: int = 32) -> Any:
    """A random decoder, `width` wide, the same weights each time."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        kind,
        vocab_size=len(SPECIAL) + 256,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=width // 4,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation="eager" if kind == "gemma2" else "sdpa"
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # As drawn, a head this narrow could not be sure of any token.
            if parameter.ndim > 1:
                parameter.mul_(25.0 if "embed" in name else 4.0)
    return model.eval()


def write_base(
    folder: Path, kind: str = "llama", layers: int = 6, *, tied: bool = True, width: int = 32
) -> Path:
    """The tiny base as a Hugging Face folder."""
    make_model(kind, layers, tied=tied, width=width).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["eos_token_id"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    return folder


FACTS = (
    ("Who keeps the lamp?", "Ana keeps it."),
    ("Where is the pier?", "In Norby."),
    ("What is the code?", "It is 4417."),
)


def document_text(base: str, facts: tuple[tuple[str, str], ...] = FACTS, extra: str = "") -> str:
    """A document of `facts` on `base`; `extra` are lines of frontmatter."""
    pairs = "\n\n".join(f"### Q\n{q}\n### A\n{a}" for q, a in facts)
    return (
        "---\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\ndlm_version: 15\n"
        f"base_model: {base}\n{extra}---\n\n::instruction::\n{pairs}\n"
    )
