"""The `.dlm` format: parse, diagnose, migrate, serialise, edit. Pure, but for `files`.

What other rooms may use is named here; the modules below are this room's own affair.
Imports neither torch nor anything that does.
"""

from __future__ import annotations

from dlm_engine.document.codes import CODES, Code
from dlm_engine.document.content import content_digest
from dlm_engine.document.edits import (
    append_section,
    escape,
    instruction_text,
    migrate_text,
    preference_text,
    prose_text,
    remove_section,
    set_key,
)
from dlm_engine.document.files import back_up, read_document, read_text, write_document
from dlm_engine.document.frontmatter import (
    CURRENT_VERSION,
    Adapter,
    Export,
    Frontmatter,
    Preference,
    Source,
    Training,
)
from dlm_engine.document.identity import new_id
from dlm_engine.document.live import LiveDocument
from dlm_engine.document.migrations import Migration, apply_edits
from dlm_engine.document.model import (
    Diagnostic,
    Document,
    Fix,
    KeySpan,
    LineIndex,
    PreferenceTriple,
    QuestionAnswer,
    Section,
    SectionType,
    Severity,
    Span,
    TextEdit,
)
from dlm_engine.document.parsing import first_error, parse
from dlm_engine.document.places import Places
from dlm_engine.document.routing import adapter_names, one_adapter, require_adapter, teaches
from dlm_engine.document.scaffold import new_document
from dlm_engine.document.serialise import serialise
from dlm_engine.document.text import decode

__all__ = [
    "CODES",
    "CURRENT_VERSION",
    "Adapter",
    "Code",
    "Diagnostic",
    "Document",
    "Export",
    "Fix",
    "Frontmatter",
    "KeySpan",
    "LineIndex",
    "LiveDocument",
    "Migration",
    "Places",
    "Preference",
    "PreferenceTriple",
    "QuestionAnswer",
    "Section",
    "SectionType",
    "Severity",
    "Source",
    "Span",
    "TextEdit",
    "Training",
    "adapter_names",
    "append_section",
    "apply_edits",
    "back_up",
    "content_digest",
    "decode",
    "escape",
    "first_error",
    "instruction_text",
    "migrate_text",
    "new_document",
    "new_id",
    "one_adapter",
    "parse",
    "preference_text",
    "prose_text",
    "read_document",
    "read_text",
    "remove_section",
    "require_adapter",
    "serialise",
    "set_key",
    "teaches",
    "write_document",
]
