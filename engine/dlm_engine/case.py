"""A document together with its store and its base, as every job begins with them.

Opening reads and never writes. The base is the one the store was made with: a registry
key or hub name is looked up once, and pinned from then on to what the manifest recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dlm_engine.bases import (
    BaseSpec,
    LicenceAcceptance,
    Weights,
    accept,
    obtain_weights,
    pin_for,
    require_licence,
    resolve,
)
from dlm_engine.document import (
    Diagnostic,
    Document,
    Frontmatter,
    Severity,
    adapter_names,
    one_adapter,
    read_document,
)
from dlm_engine.document.routing import part_for
from dlm_engine.errors import DocumentError, StoreError
from dlm_engine.store import LicenceRecord, Manifest, Store, Version


@dataclass(frozen=True, slots=True)
class Case:
    """What a job is about. `licence` is the acceptance on record, or the one just given.

    `adapter` is the named adapter whose part of the document this is; None for a whole one.
    """

    path: Path
    home: Path
    document: Document
    diagnostics: tuple[Diagnostic, ...]
    frontmatter: Frontmatter
    store: Store
    manifest: Manifest | None
    spec: BaseSpec
    licence: LicenceAcceptance | None
    adapter: str | None = None

    def parts(self) -> tuple[Case, ...]:
        """One case for each declared adapter; the case itself where there is no name."""
        return tuple(self.part(name) for name in adapter_names(self.frontmatter)) or (self,)

    def part(self, name: str | None) -> Case:
        """The document as the adapter `name` sees it; the only one's when None.

        Raises:
            UsageError: it is not declared, or there are several and none was named.
        """
        if self.adapter is not None and name in (None, self.adapter):
            return self
        chosen = one_adapter(self.frontmatter, name)
        if chosen is None:
            return self
        document = part_for(self.document, chosen)
        assert document.frontmatter is not None
        return replace(self, document=document, frontmatter=document.frontmatter, adapter=chosen)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity is Severity.ERROR)

    @property
    def licence_record(self) -> LicenceRecord | None:
        return LicenceRecord(**self.licence.model_dump()) if self.licence else None

    def require_sound(self) -> None:
        """Raise `DocumentError` for the first error of the document, counting the others."""
        require_sound(self.path, self.document, self.diagnostics)

    def weights(self, report: Callable[[str], None]) -> Weights:
        """The weights, converted or downloaded if need be; `report` hears what takes long."""
        return obtain_weights(self.spec, self.home, report=report, accepted=self.licence)

    def version(self, number: int | None) -> Version | None:
        """Version `number`, or the current one (None when there is none); files not yet hashed.

        Raises:
            StoreError: there is no such version.
        """
        if number is None:
            return self.store.current(self.adapter) if self.store.exists() else None
        versions = self.store.versions(self.adapter) if self.store.exists() else []
        for version in versions:
            if version.number == number and version.complete:
                return version
        raise StoreError(
            f"version {number}", "is not there", f"`dlm versions {self.path}` lists those that are"
        )


def open_case(path: Path, home: Path, *, accept_licence: bool = False) -> Case:
    """Read the document and its store and find its base.

    Raises:
        DocumentError: unreadable, or without a usable frontmatter.
        StoreError: the store is damaged or another document's.
        BaseModelError: the base is unknown; `LicenceRequired` when it must be accepted first.
    """
    document, diagnostics = read_document(path)
    frontmatter = document.frontmatter
    if frontmatter is None:
        frontmatter = require_sound(path, document, tuple(diagnostics))
    store = Store(home, frontmatter.dlm_id)
    manifest = store.read_manifest()
    pinned = pin_for(
        frontmatter.base_model,
        manifest.base_model if manifest else None,
        manifest.base_model_revision if manifest else None,
    )
    spec = resolve(
        frontmatter.base_model,
        pinned_revision=pinned,
        home=home,
        relative_to=path.absolute().parent,
    )
    kept = manifest.license_acceptance if manifest else None
    licence = LicenceAcceptance.model_validate(kept.model_dump()) if kept else None
    if accept_licence and spec.requires_acceptance:
        licence = accept(spec, "cli_flag")
    require_licence(spec, licence)
    return Case(
        path, home, document, tuple(diagnostics), frontmatter, store, manifest, spec, licence
    )


def require_sound(
    path: Path, document: Document, diagnostics: tuple[Diagnostic, ...]
) -> Frontmatter:
    """The frontmatter of a document without errors; `DocumentError` for one with any."""
    errors = [d for d in diagnostics if d.severity is Severity.ERROR]
    if not errors and document.frontmatter is not None:
        return document.frontmatter
    first = errors[0] if errors else diagnostics[0]
    line, column = document.lines.line_column(first.span.start)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    raise DocumentError(
        f"{path}:{line + 1}:{column + 1}",
        f"{first.message}{more}",
        f"`dlm check {path}` lists everything",
    )
