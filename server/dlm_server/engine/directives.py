"""Changes of the frontmatter that commands make, as one small edit of the text.

The invariant: what is returned was tried first. The edited text is parsed, and an edit that
adds an error, touches the body or does not take effect is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from dlm_engine.document import (
    Document,
    LiveDocument,
    Severity,
    Span,
    TextEdit,
    apply_edits,
    new_id,
    parse,
    set_key,
)
from dlm_engine.errors import DocumentError


def base_model_edit(live: LiveDocument, key: str) -> TextEdit | None:
    """Set `base_model`; None when it is so already. Raises `DocumentError`."""
    return smallest_edit(live.text, set_key(live.text, "base_model", key))


def new_id_edit(live: LiveDocument) -> TextEdit | None:
    """A fresh `dlm_id`, for a copy that shall have a store of its own."""
    return smallest_edit(live.text, set_key(live.text, "dlm_id", new_id()))


def smallest_edit(old: str, new: str) -> TextEdit | None:
    """The one edit between what two texts begin and end with alike."""
    if old == new:
        return None
    most = min(len(old), len(new))
    start = 0
    while start < most and old[start] == new[start]:
        start += 1
    end = 0
    while end < most - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return TextEdit(Span(start, len(old) - end), new[start : len(new) - end])


def source_edit(live: LiveDocument, path: str) -> TextEdit:
    """Add an entry to `training.sources`.

    Raises:
        DocumentError: the frontmatter is broken or laid out so that none of the usual places fits.
    """
    old = live.document
    for edit in _places(old, path):
        new, problems = parse(apply_edits(old.text, [edit]))
        worse = sum(p.severity is Severity.ERROR for p in problems) > sum(
            p.severity is Severity.ERROR for p in live.diagnostics
        )
        if not worse and _took(old, new, path):
            return edit
    raise DocumentError("training.sources", "has no place for another entry", "write it by hand")


def _took(old: Document, new: Document, path: str) -> bool:
    if old.frontmatter is None or new.frontmatter is None:
        return False
    before = old.frontmatter.training.sources or ()
    after = new.frontmatter.training.sources or ()
    same_body = old.text[old.body_start :] == new.text[new.body_start :]
    return same_body and after[:-1] == before and len(after) > 0 and after[-1].path == path


def _places(document: Document, path: str) -> Iterator[TextEdit]:
    """Where the entry may stand, likeliest first."""
    text, keys, span = document.text, document.keys, document.frontmatter_span
    if span is None:
        return
    ending = "\r\n" if "\r\n" in text else "\n"
    entry = f"path: {_scalar(path)}"
    sources = keys.get("training.sources")
    if sources is not None and "training.sources.0" in keys:
        at = _after_line(text, sources.value.end)
        yield TextEdit(Span(at, at), f"{_indent(text, sources.value.start)}- {entry}{ending}")
        end = keys[_last_source(document)].value.end
        yield TextEdit(Span(end, end), f", {{{entry}}}")
    elif sources is not None:
        yield TextEdit(sources.value, f"[{{{entry}}}]")
        yield TextEdit(sources.value, f" [{{{entry}}}]")
    elif (training := keys.get("training")) is not None:
        children = [k for n, k in keys.items() if n.startswith("training.") and n.count(".") == 1]
        if children:
            indent = _indent(text, children[0].key.start)
            at = _after_line(text, max(k.value.end for k in children))
            lines = f"{indent}sources:{ending}{indent}  - {entry}{ending}"
            yield TextEdit(Span(at, at), lines)
        value = training.value
        separator = ", " if children else ""
        inside = value.start + 1
        yield TextEdit(Span(inside, inside), f"sources: [{{{entry}}}]{separator}")
        yield TextEdit(value, f"{ending}  sources:{ending}    - {entry}")
    else:
        at = text.rfind("\n", span.start, span.end) + 1
        yield TextEdit(Span(at, at), f"training:{ending}  sources:{ending}    - {entry}{ending}")


def _last_source(document: Document) -> str:
    """The key of the last entry of `training.sources`."""
    names = [n for n in document.keys if n.startswith("training.sources.") and n.count(".") == 2]
    return max(names, key=lambda name: int(name.rpartition(".")[2]))


def _scalar(path: str) -> str:
    from dlm_engine.document.yaml_text import scalar_text

    return scalar_text(path)


def _indent(text: str, at: int) -> str:
    start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    return " " * (at - start)


def _after_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1
