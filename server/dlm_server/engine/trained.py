"""What the store says about a document, for whoever shows it. Reads, and nothing else.

The invariant: looking never writes and never raises; a store that cannot be read has no
version to show, and `trouble` says why. A view is kept as long as the store's
pointer, manifest and versions folder stay as they were, which costs three `stat` calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument, Section
    from dlm_server.settings import Settings

_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class StoreView:
    """The current version of a document. `loss` in nats per token, `versions` counts whole ones."""

    version: int
    section_ids: frozenset[str]
    when: datetime | None
    loss: float | None
    versions: int

    def state(self, section: Section) -> Literal["never", "trained", "new"]:
        """Whether the current version has learned this section as it stands."""
        if not self.section_ids:
            return "never"
        return "trained" if section.id in self.section_ids else "new"


class TrainedViews:
    """Views by store, read when first asked for and again when the store has changed."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[_Stamp, StoreView | None, str | None]] = {}

    def of(self, settings: Settings, live: LiveDocument) -> StoreView | None:
        """None for a document that was never trained, or whose store cannot be read."""
        return self._look(settings, live)[0]

    def trouble(self, settings: Settings, live: LiveDocument) -> str | None:
        """Why the document's store cannot be read; None where it can, or is not there."""
        return self._look(settings, live)[1]

    def _look(self, settings: Settings, live: LiveDocument) -> tuple[StoreView | None, str | None]:
        from dlm_engine.errors import StoreError
        from dlm_engine.store import Store

        if live.frontmatter is None:
            return None, None
        dlm_id = live.frontmatter.dlm_id
        try:
            home = home_of(settings)
            store = Store(home, dlm_id)
        except StoreError as error:
            return None, str(error)
        stamp = _stamp(store.root)
        kept = self._kept.get(store.root)
        if kept is not None and kept[0] == stamp:
            return kept[1:]
        view, trouble = None, None
        try:
            view = _read(home, dlm_id)
        except (StoreError, OSError, ValueError) as error:
            trouble = str(error)
        self._kept[store.root] = (stamp, view, trouble)
        return view, trouble


def home_of(settings: Settings) -> Path:
    """Where the engine of this session keeps what it makes; raises `StoreError` for a `~name`
    that stands for nobody."""
    from dlm_engine.store import home_dir

    return home_dir(Path(settings.home) if settings.home else None)


def _read(home: Path, dlm_id: str) -> StoreView | None:
    from dlm_engine.store import Store

    store = Store(home, dlm_id)
    if not store.exists() or (current := store.current()) is None:
        return None
    record = current.run_record()
    run = record.run if record else None
    when = (run.ended_at or run.started_at) if run else None
    return StoreView(
        current.number,
        frozenset(record.section_ids if record else ()),
        when.replace(tzinfo=UTC) if when else None,
        run.final_train_loss if run else None,
        sum(version.complete for version in store.versions()),
    )


def _stamp(root: Path) -> _Stamp:
    from dlm_engine.store.layout import pointer_path, versions_root
    from dlm_engine.store.manifest import MANIFEST_NAME

    paths = (root / MANIFEST_NAME, pointer_path(root, None), versions_root(root, None))
    return tuple(_facts(path) for path in paths)


def _facts(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
