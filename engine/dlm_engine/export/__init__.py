"""Export: a trained document as files that llama.cpp and Ollama run, and proof that they do.

`export` makes and checks the files, `ask_gguf` asks them, `plan_export` says beforehand
what would happen. Importing this package imports neither torch nor transformers, and its
modules only when something of theirs is used: a language server that lists the targets
should not read all that writes them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlm_engine.export.capabilities import TABLE, Capability, ExportPlan, Handling, plan_export
    from dlm_engine.export.checks import Check
    from dlm_engine.export.llama import ask_gguf, run_gguf
    from dlm_engine.export.model import (
        ExportAdapter,
        ExportBase,
        ExportManifest,
        ExportOptions,
        ExportRequest,
        ExportResult,
        Form,
        Quant,
        Target,
    )
    from dlm_engine.export.request import export_request
    from dlm_engine.export.run import export

_MODULES = ("model", "capabilities", "checks", "llama", "request", "run")

__all__ = [
    "TABLE",
    "Capability",
    "Check",
    "ExportAdapter",
    "ExportBase",
    "ExportManifest",
    "ExportOptions",
    "ExportPlan",
    "ExportRequest",
    "ExportResult",
    "Form",
    "Handling",
    "Quant",
    "Target",
    "ask_gguf",
    "export",
    "export_request",
    "plan_export",
    "run_gguf",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = vars(import_module(f"{__name__}.{module}"))
            if name in found:
                globals()[name] = found[name]
                return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
