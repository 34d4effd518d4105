"""Every diagnostic code there is: its severity and what it means, in one line.

The table is the only place that knows a code's severity, so a code cannot be an
error in one module and a warning in another, and the reference page of codes is
printed from it. `report` is the only way this room makes a diagnostic; a code that
is missing here fails at once.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import lru_cache

from dlm_engine.document.model import Diagnostic, Fix, Severity, Span


@dataclass(frozen=True, slots=True)
class Code:
    code: str
    severity: Severity
    meaning: str


def _table(*rows: tuple[str, Severity, str]) -> dict[str, Code]:
    return {code: Code(code, severity, meaning) for code, severity, meaning in rows}


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFORMATION

CODES: dict[str, Code] = _table(
    # frontmatter: delimiters and YAML
    ("frontmatter-missing", _E, "The file does not start with a `---` line."),
    ("frontmatter-unclosed", _E, "No `---` line ends the frontmatter."),
    ("frontmatter-delimiter", _E, "A line looks like `---` but is not exactly that."),
    ("frontmatter-trailing-space", _W, "Blanks after a `---` line."),
    ("frontmatter-too-large", _E, "The frontmatter is longer than 64 KiB."),
    ("yaml-syntax", _E, "The frontmatter is not valid YAML at this place."),
    ("yaml-character", _E, "A character that YAML does not allow."),
    ("yaml-not-mapping", _E, "The frontmatter is not a list of `key: value` entries."),
    ("yaml-duplicate-key", _E, "The same key stands twice in one mapping."),
    ("yaml-key", _E, "A key that is not plain text."),
    (
        "yaml-value",
        _E,
        "A value that cannot be read: an unknown tag, an impossible date or number.",
    ),
    ("yaml-too-complex", _E, "Nested too deeply, or aliases that refer to themselves."),
    # frontmatter: schema
    ("key-unknown", _E, "A key that dlm does not know here."),
    ("key-missing", _E, "A required key is missing."),
    ("value-type", _E, "A value of the wrong kind."),
    ("value-range", _E, "A number or text outside its bounds."),
    ("value-choice", _E, "A value that is not one of the allowed words."),
    ("value-conflict", _E, "Two settings that exclude each other."),
    ("id-invalid", _E, "`dlm_id` is not a ULID."),
    ("adapter-name", _E, "An adapter name that is not a lower-case word of at most 32 characters."),
    ("version-invalid", _E, "`dlm_version` is not a whole number of at least 1."),
    ("version-newer", _E, "The document was written for a newer dlm."),
    ("version-old", _I, "The document is in an older version of the format."),
    # fences
    ("fence-unknown", _E, "A fence with a section type that does not exist."),
    ("fence-near-miss", _W, "A line that is almost a fence."),
    ("fence-adapter-invalid", _E, "The part after `#` in a fence is not an adapter name."),
    ("fence-adapter-undeclared", _E, "A fence names an adapter that `training.adapters` lacks."),
    ("fence-attributes-required", _E, "An image or audio fence without its attributes."),
    ("fence-attributes-refused", _E, "Attributes on a section that takes none."),
    ("fence-attributes-malformed", _E, 'Attributes that are not written as `name="value"`.'),
    ("attribute-unknown", _E, "An attribute that this section does not have."),
    ("attribute-duplicate", _E, "The same attribute twice on one fence."),
    ("attribute-missing", _E, "A required attribute is missing."),
    ("attribute-empty", _E, "A required attribute is empty."),
    ("attribute-not-ascii", _E, "An attribute value with characters outside ASCII."),
    ("code-block-unclosed", _E, "A code block that is never closed."),
    # sections
    ("section-empty", _W, "A section without content; nothing is learned from it."),
    ("section-text-unused", _W, "Text under a section that has no use for it."),
    ("text-before-header", _E, "Text before the first header of a section."),
    ("header-malformed", _E, "A line stands where a header is needed and is almost one."),
    ("header-near-miss", _W, "A line that is almost a header but is read as text."),
    ("header-outside-section", _W, "A `### Q` or `### A` line in prose, where it is no header."),
    ("answer-missing", _E, "A question without `### A`."),
    ("answer-empty", _E, "`### A` without text."),
    ("question-missing", _E, "An answer without a question before it."),
    ("question-empty", _E, "`### Q` without text."),
    ("question-duplicate", _I, "The same question and answer twice."),
    ("question-contradiction", _W, "One question with different answers."),
    ("preference-order", _E, "A preference triple out of the order Prompt, Chosen, Rejected."),
    ("preference-missing", _E, "A preference triple lacks one of its three parts."),
    ("preference-empty", _E, "A part of a preference triple has no text."),
    ("preference-equal", _W, "Chosen and rejected are the same text."),
    ("marker-malformed", _E, "A mined or synth provenance marker that cannot be read."),
    ("marker-near-miss", _W, "A line that is almost a provenance marker."),
    ("marker-misplaced", _W, "A provenance marker in a section where it means nothing."),
    # content
    ("secret", _W, "Something that looks like a key, token or password."),
)


def report(code: str, span: Span, message: str, fix: Fix | None = None) -> Diagnostic:
    """A diagnostic with the severity of its code. KeyError for a code not in the table."""
    return Diagnostic(code, CODES[code].severity, message, span, fix)


@lru_cache(maxsize=512)
def closest(word: str, choices: tuple[str, ...], cutoff: float = 0.6) -> str | None:
    """The choice a misspelt word most likely means, or None."""
    # Longer words are no misspellings, and comparing is quadratic in length.
    near = difflib.get_close_matches(word[:64], sorted(choices), 1, cutoff)
    return near[0] if near else None
