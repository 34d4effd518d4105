"""An adapter folded into its base: a folder in Hugging Face form, in 32 bits.

The sum is made and stored in 32 bits and rounded once, to 16 bits, by the converter: a
small update added to 16-bit weights would be rounded away. An adapter that carries more
rows of embeddings than the base (a grown vocabulary) grows the base first and brings its
own tokenizer.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlm_engine.errors import ExportError
from dlm_engine.export.capabilities import AdapterFacts, base_shapes

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)


def merge_adapter(facts: AdapterFacts, base: Path, out: Path) -> None:
    """Write base plus adapter to the new folder `out`.

    Raises:
        ExportError: the adapter cannot be loaded on this base, or the sum is not finite.
    """
    import torch

    model = load_adapted(facts, base)
    with torch.no_grad():
        merged = model.merge_and_unload(safe_merge=False)
    for name, parameter in merged.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ExportError(
                str(facts.path), f"merging gives numbers that are not finite in {name}",
                "train again, or roll back",
            )  # fmt: skip
    merged.save_pretrained(out, safe_serialization=True)
    for source in dict.fromkeys((base, tokenizer_folder(facts, base))):
        for name in _TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, out / name)


def load_adapted(facts: AdapterFacts | None, base: Path) -> Any:
    """The base in 32 bits on the CPU with the adapter on it (PeftModel), in evaluation mode.

    Raises:
        ExportError: PEFT refuses the adapter.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with quiet_loading():
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.float32, local_files_only=True, attn_implementation="eager"
        )
        if facts is None:
            return model.eval()
        from peft import PeftModel

        if _vocabulary_rows(facts) > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(_vocabulary_rows(facts), mean_resizing=False)
        try:
            return PeftModel.from_pretrained(model, facts.path, local_files_only=True).eval()
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            raise ExportError(
                str(facts.path),
                f"PEFT cannot load this adapter ({error})",
                "train again, or roll back",
            ) from error


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without the libraries' progress bars and notes to their own authors."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def tokenizer_folder(facts: AdapterFacts | None, base: Path) -> Path:
    """Where the tokenizer is that belongs to the result: the adapter's own when it grew."""
    if facts is None or not (facts.path / "tokenizer.json").is_file():
        return base
    rows = _vocabulary_rows(facts)
    shapes = base_shapes(base)
    grown = any(rows > s[0] for n, s in shapes.items() if n.endswith("embed_tokens.weight"))
    return facts.path if grown else base


def _vocabulary_rows(facts: AdapterFacts) -> int:
    """Rows of the embeddings that the adapter carries; 0 when it carries none."""
    rows = [
        shape[0]
        for name, shape in facts.shapes.items()
        if len(shape) == 2 and name.endswith(("embed_tokens.weight", "lm_head.weight"))
    ]
    return max(rows, default=0)
