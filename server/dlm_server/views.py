"""What a snapshot shows of things other than its own document: the shapes, and nothing to do.

Protocols where another room makes the value, so that a feature can be written and tested
without the store, the engine or the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from dlm_engine.document import Section


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A `.dlm` file of the workspace, open or not: only what others refer to."""

    uri: str
    path: Path | None
    dlm_id: str | None
    adapters: tuple[str, ...] = ()


class WorkspaceView(Protocol):
    """The other documents. An immutable value; a later scan makes another one."""

    def documents(self) -> Iterable[KnownDocument]: ...


@dataclass(frozen=True, slots=True)
class KnownDocuments:
    """A workspace view that is a plain tuple."""

    known: tuple[KnownDocument, ...] = ()

    def documents(self) -> Iterable[KnownDocument]:
        return self.known


@dataclass(frozen=True, slots=True)
class Origin:
    """Since which version a section is known, and by which it is now, as in "2 of harbour";
    `loss` in nats per token is the latter's."""

    first: str
    current: str
    loss: float | None = None


class TrainedView(Protocol):
    """What the store says about a document, read once and never changed."""

    @property
    def version(self) -> int | str | None: ...
    @property
    def section_ids(self) -> frozenset[str]: ...
    @property
    def when(self) -> datetime | None: ...
    @property
    def loss(self) -> float | None: ...
    @property
    def versions(self) -> int: ...
    @property
    def current(self) -> Mapping[str | None, int]: ...
    def state(self, section: Section) -> Literal["never", "trained", "new"]: ...
    def origin(self, section: Section) -> Origin:
        """Of a section that is trained; reads what each version was taught."""
        ...


class SectionResult(Protocol):
    """The newest answer of the model to a section's question."""

    @property
    def section_id(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def state(
        self,
    ) -> Literal["running", "ok", "stale", "error", "passed", "failed", "changed"]: ...
    @property
    def base(self) -> str | None: ...
    @property
    def adapted(self) -> str | None: ...
    @property
    def reference(self) -> str | None: ...
    @property
    def model_version(self) -> int | None: ...
    @property
    def adapter(self) -> str | None: ...
