"""Export: a trained document as files that llama.cpp and Ollama run, and proof that they do.

`export` makes and checks the files, `ask_gguf` asks them, `plan_export` says beforehand
what would happen. Importing this package imports neither torch nor transformers.
"""

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
