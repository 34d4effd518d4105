"""What of a document a model learns from, in one string."""

from __future__ import annotations

import hashlib

from dlm_engine.document.model import Document


def content_digest(document: Document) -> str:
    """Of the frontmatter and of every section in order; blank lines around them do not count.

    Equal digests teach the same, so there is nothing to train anew.
    """
    span = document.frontmatter_span
    whole = hashlib.sha256()
    head = document.text[span.start : span.end] if span else ""
    whole.update(head.encode("utf-8", errors="surrogatepass"))
    for section in document.sections:
        whole.update(f"\n{section.id} {section.adapter}".encode())
    return whole.hexdigest()
