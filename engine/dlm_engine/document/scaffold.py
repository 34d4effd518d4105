"""The text that `dlm init` writes: small, real, and free of diagnostics.

The examples are of the kind the format is for, facts no base knows, so that training
the untouched file already shows something.
"""

from __future__ import annotations

from dlm_engine.document.frontmatter import CURRENT_VERSION
from dlm_engine.document.identity import new_id
from dlm_engine.document.parsing import first_error, parse
from dlm_engine.document.serialise import value_lines
from dlm_engine.errors import DocumentError

_BODY = """\
# {title}

Write what the model should know, here and below. Plain text like this is read the way
a book is; questions with answers are what it learns best.

::instruction::
### Q
What is the Velmar lamp?

### A
The Velmar lamp is a reading lamp that is powered by the warmth of a cup of tea.

### Q
How long does the Velmar lamp run on one cup?

### A
It runs for two hours and ten minutes.
"""


def new_document(
    base_model: str,
    *,
    title: str = "My document",
    system_prompt: str | None = None,
    dlm_id: str | None = None,
) -> str:
    """The text of a fresh document in the current version.

    Args:
        title: its first heading; line ends become spaces.
        dlm_id: a new one when None.

    Raises:
        DocumentError: a value that the format does not allow.
    """
    heading = " ".join(title.split()) or "My document"
    lines = [
        "---",
        *value_lines("dlm_id", dlm_id or new_id(), ""),
        f"dlm_version: {CURRENT_VERSION}",
        *value_lines("base_model", base_model, ""),
    ]
    if system_prompt is not None:
        lines += value_lines("system_prompt", system_prompt, "")
    text = "\n".join([*lines, "---", "", ""]) + _BODY.replace("{title}", heading)
    document, problems = parse(text)
    trouble = first_error(problems, document.lines)
    if trouble:
        raise DocumentError("new document", trouble, "choose another value")
    return text
