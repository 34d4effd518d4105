"""The base in memory: for asking and, with the plan's settings, for training."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from dlm_engine.bases import Weights
from dlm_engine.errors import BaseModelError
from dlm_engine.hardware import Hardware
from dlm_engine.inference.hollow import Places, hollow_base

#: Puts a base onto a device, and where its weights are to be filled in, reads them there.
Place = Callable[[Any, Places, str], Any]


def load_base(
    weights: Weights,
    precision: str,
    attention: str,
    device: str,
    four_bit_type: str | None = None,
    place: Place | None = None,
) -> Any:
    """The base, ready to compute: local safetensors only, no remote code.

    `precision` is "fp32" or "bf16"; `four_bit_type` "nf4" loads linear layers in 4 bits
    with bitsandbytes. `place` puts the base onto the device in a way of its own.

    Raises:
        BaseModelError: the files do not make a model.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    # transformers warns of what its own code calls; a person can do nothing about it.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    # Packs carry a mask of their own, which flash attention does not take.
    attention = "sdpa" if attention == "flash_attention_2" else attention
    options: dict[str, Any] = {}
    if four_bit_type is not None:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=four_bit_type,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        options["device_map"] = {"": device}
    try:
        hollow = hollow_base(weights, dtype, attention) if place else None
        model = (
            hollow.base
            if hollow
            else AutoModelForCausalLM.from_pretrained(
                str(weights.path),
                dtype=dtype,
                attn_implementation=attention,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                **options,
            )
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BaseModelError(
            str(weights.path),
            f"cannot be loaded ({str(error)[:200]})",
            "remove the folder to have it prepared again",
        ) from error
    if four_bit_type is None:
        places = hollow.places if hollow else {}
        return (place(model, places, device) if place else model.to(device)).eval()
    for module in model.modules():
        # On some CPUs bitsandbytes packs a layer at its first use that is no training, for a
        # product that passes no gradients on; a base is asked and trained by turns.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def device_of(hardware: Hardware) -> str:
    """The name torch has for this machine's device."""
    return {"cuda": "cuda", "rocm": "cuda", "mps": "mps"}.get(hardware.backend, "cpu")


def asking_precision(hardware: Hardware) -> str:
    """The precision that is fast here."""
    return "bf16" if hardware.bf16_native else "fp32"
