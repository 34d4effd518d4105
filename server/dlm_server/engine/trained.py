"""What the store says about a document, for whoever shows it. Reads, and nothing else.

The invariant: looking never writes and never raises; a store that cannot be read has no
version to show, and `trouble` says why. A view is kept as long as the store's
pointer, manifest and versions folder stay as they were, which costs three `stat` calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlm_engine.document import adapter_names, teaches
from dlm_server.views import Origin

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument, Section
    from dlm_engine.store import Store, Version
    from dlm_server.settings import Settings

Stamp = tuple[str | tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class StoreView:
    """The current version of a document. `loss` in nats per token, `versions` counts whole ones,
    `current` has the current version's number by adapter, None for one without a name.

    Of a document with named adapters `version` says those of all, and `learned` what each
    adapter knows; a section is trained once every adapter that it teaches knows it.
    """

    version: int | str
    section_ids: frozenset[str]
    when: datetime | None
    loss: float | None
    versions: int
    current: Mapping[str | None, int]
    store: Store
    learned: Mapping[str, frozenset[str]] | None = None

    def state(self, section: Section) -> Literal["never", "trained", "new"]:
        """Whether the current version has learned this section as it stands."""
        if not self.section_ids:
            return "never"
        if self.learned is None:
            return "trained" if section.id in self.section_ids else "new"
        taught = teaches(section, tuple(self.learned))
        known = all(section.id in self.learned.get(name, ()) for name in taught)
        return "trained" if known else "new"

    def origin(self, section: Section) -> Origin:
        """Of those versions that are still there: saves remove some."""
        from dlm_engine.errors import StoreError

        names = teaches(section, tuple(self.learned)) if self.learned else (None,)
        first, now = dict(self.current), self.current
        loss = None
        for name in names:
            try:
                found = (v for v in self.store.versions(name) if v.complete)
                versions = [v for v in found if v.number <= now.get(name, 0)]
                loss = _taught(versions[-1])[1] if versions and len(names) == 1 else None
                for version in reversed(versions):
                    if section.id not in _taught(version)[0]:
                        break
                    first[name] = version.number
            except (StoreError, OSError, ValueError):
                continue
        return Origin(_named(first, names), _named(now, names), loss)


class TrainedViews:
    """Views by store, read when first asked for and again when the store has changed."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[Stamp, StoreView | None, str | None]] = {}

    def of(self, settings: Settings, live: LiveDocument) -> StoreView | None:
        """None for a document that was never trained, or whose store cannot be read."""
        return self._look(settings, live)[0]

    def trouble(self, settings: Settings, live: LiveDocument) -> str | None:
        """Why the document's store cannot be read; None where it can, or is not there."""
        return self._look(settings, live)[1]

    def stamp(self, settings: Settings, live: LiveDocument) -> Stamp | None:
        """What is another once the store is: its place first. None where there is none."""
        from dlm_engine.errors import StoreError
        from dlm_engine.store import Store

        if live.frontmatter is None:
            return None
        try:
            root = Store(home_of(settings), live.frontmatter.dlm_id).root
        except StoreError:
            return None
        return _stamp(root, adapter_names(live.frontmatter))

    def _look(self, settings: Settings, live: LiveDocument) -> tuple[StoreView | None, str | None]:
        from dlm_engine.errors import StoreError
        from dlm_engine.store import Store

        if live.frontmatter is None:
            return None, None
        dlm_id, names = live.frontmatter.dlm_id, adapter_names(live.frontmatter)
        try:
            home = home_of(settings)
            store = Store(home, dlm_id)
        except StoreError as error:
            return None, str(error)
        stamp = _stamp(store.root, names)
        kept = self._kept.get(store.root)
        if kept is not None and kept[0] == stamp:
            return kept[1:]
        view, trouble = None, None
        try:
            view = _read_named(store, names) if names else _read(store)
        except (StoreError, OSError, ValueError) as error:
            trouble = str(error)
        self._kept[store.root] = (stamp, view, trouble)
        return view, trouble


def _named(versions: Mapping[str | None, int], names: Sequence[str | None]) -> str:
    told = ((versions[name], name) for name in names if name in versions)
    return ", ".join(f"{number} of {name}" if name else str(number) for number, name in told)


@lru_cache(maxsize=4096)
def _taught(version: Version) -> tuple[frozenset[str], float | None]:
    """The sections that a version was taught, and its loss."""
    record = version.run_record()
    if record is None:
        return frozenset(), None
    return frozenset(record.section_ids), record.run.final_train_loss


def home_of(settings: Settings) -> Path:
    """Where the engine of this session keeps what it makes; raises `StoreError` for a `~name`
    that stands for nobody."""
    from dlm_engine.store import home_dir

    return home_dir(Path(settings.home) if settings.home else None)


def _read(store: Store) -> StoreView | None:
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
        {None: current.number},
        store,
    )


def _read_named(store: Store, names: tuple[str, ...]) -> StoreView | None:
    found = {name: store.current(name) for name in names} if store.exists() else {}
    current = {name: version for name, version in found.items() if version is not None}
    if not current:
        return None
    records = {name: version.run_record() for name, version in current.items()}
    learned = {name: frozenset(r.section_ids if (r := records.get(name)) else ()) for name in names}
    runs = [record.run for record in records.values() if record is not None]
    ends = [run.ended_at or run.started_at for run in runs]
    return StoreView(
        ", ".join(f"{version.number} of {name}" for name, version in current.items()),
        frozenset().union(*learned.values()),
        max(ends).replace(tzinfo=UTC) if ends else None,
        None,
        sum(version.complete for name in names for version in store.versions(name)),
        {name: version.number for name, version in current.items()},
        store,
        learned,
    )


def _stamp(root: Path, names: tuple[str, ...]) -> Stamp:
    from dlm_engine.store.layout import pointer_path, versions_root
    from dlm_engine.store.manifest import MANIFEST_NAME

    paths: tuple[Path, ...] = (
        root / MANIFEST_NAME,
        pointer_path(root, None),
        versions_root(root, None),
    )
    for name in names:
        paths += (pointer_path(root, name), versions_root(root, name))
    return (str(root), *names, *(_facts(path) for path in paths))


def _facts(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
