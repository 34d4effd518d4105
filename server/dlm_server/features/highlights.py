"""How each kind of text is coloured: one table for every way an editor can ask.

The names are the captures of the grammar's highlight query, which editors with tree-sitter
use as it is. The language server turns the same captures into semantic tokens and the
TextMate grammar of VS Code is generated with the scopes of this table, so a document has
the same colours wherever it is opened. A capture that the table lacks fails at once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Highlight:
    """One kind of text.

    `token` is the semantic token type: a standard one where there is one, for themes know
    those. None where colouring would hide what another language's colours show.
    """

    capture: str
    token: str | None
    scope: str
    meaning: str


#: captures of grammar/tree-sitter-dlm/queries/highlights.scm
GRAMMAR = (
    Highlight(
        "punctuation.delimiter",
        "punctuation",
        "punctuation.definition.fence.dlm",
        "`::` and `#` of a fence, `---` around the frontmatter.",
    ),
    Highlight("markup.heading", "heading", "markup.heading.dlm", "A heading of prose."),
    Highlight("type", "type", "entity.name.type.section.dlm", "A section type that is not known."),
    Highlight("keyword", "keyword", "keyword.control.section.dlm", "A section type."),
    Highlight("module", "namespace", "entity.name.namespace.adapter.dlm", "A fence's adapter."),
    Highlight("attribute", "parameter", "entity.other.attribute-name.dlm", "An attribute's name."),
    Highlight("operator", "operator", "keyword.operator.assignment.dlm", "`=` of an attribute."),
    Highlight("string", "string", "string.quoted.double.dlm", "An attribute's value, or text."),
    Highlight("comment", "comment", "comment.block.provenance.dlm", "Provenance, and comments."),
    Highlight("keyword.directive", "macro", "keyword.other.directive.dlm", "A marker's kind."),
    Highlight("markup.heading.3", "header", "markup.heading.3.dlm", "`### Q` and its like."),
    Highlight("keyword.modifier", "modifier", "storage.modifier.probe.dlm", "`!probe`."),
    Highlight(
        "markup.raw.delimiter",
        "punctuation",
        "punctuation.definition.fenced.dlm",
        "Backticks or tildes around code.",
    ),
    Highlight("label", "label", "fenced_code.block.language.dlm", "The language of a code block."),
    Highlight("markup.raw.block", None, "markup.fenced_code.block.dlm", "Code."),
    Highlight(
        "comment.warning",
        "nearMiss",
        "invalid.illegal.near-miss.dlm",
        "A line that is almost a fence, a header or a marker, and is read as text.",
    ),
)

#: what the frontmatter adds, under the names of the usual YAML query
FRONTMATTER = (
    Highlight("property", "property", "entity.name.tag.yaml", "A key."),
    Highlight("number", "number", "constant.numeric.yaml", "A number."),
    Highlight("boolean", "boolean", "constant.language.boolean.yaml", "`true` or `false`."),
    Highlight("constant.builtin", "keyword", "constant.language.null.yaml", "`null`."),
    Highlight("constant", "enumMember", "constant.other.choice.yaml", "One of the allowed words."),
)

BY_CAPTURE = {row.capture: row for row in (*GRAMMAR, *FRONTMATTER)}

#: the legend: token types in the order of the table
TOKEN_TYPES: tuple[str, ...] = tuple(
    dict.fromkeys(row.token for row in BY_CAPTURE.values() if row.token is not None)
)

#: types that themes do not know, with the scopes to colour them by
_STANDARD = frozenset(
    (
        *("namespace", "type", "parameter", "property", "enumMember", "keyword", "modifier"),
        *("comment", "string", "number", "operator", "macro", "label"),
    )
)


def token_scopes() -> dict[str, list[str]]:
    """Scopes of the token types that are no standard ones, for a client's manifest."""
    scopes: dict[str, list[str]] = {}
    for row in BY_CAPTURE.values():
        if row.token is not None and row.token not in _STANDARD:
            scopes.setdefault(row.token, []).append(row.scope)
    return scopes


def scope_of(capture: str) -> str:
    """The TextMate scope of a capture."""
    return BY_CAPTURE[capture].scope
