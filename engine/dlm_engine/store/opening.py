"""`Store`: one document's place under the home, and the only door to writing in it.

The invariant: everything that changes the store does so under its lock, which this
object takes by itself when the caller does not hold it, and reading creates
nothing. A `Store` belongs to one job: whoever has the object shares its lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlm_engine.errors import StoreError
from dlm_engine.store import commit, locks, manifest, versions
from dlm_engine.store.atomic import disk_errors, is_full, make_folders, store_error
from dlm_engine.store.commit import Recovery, Staging
from dlm_engine.store.layout import named_adapters, store_root, validate_adapter_name
from dlm_engine.store.manifest import Manifest
from dlm_engine.store.versions import Version


class Store:
    """The store of `dlm_id` under `home`; neither needs to exist yet.

    Raises:
        StoreError: `dlm_id` is not a document id.
    """

    def __init__(self, home: Path, dlm_id: str) -> None:
        self.home = home
        self.dlm_id = dlm_id
        self.root = store_root(home, dlm_id)
        self._depth = 0

    def exists(self) -> bool:
        """Whether the store's folder is there; `StoreError` when a file stands in its place."""
        with disk_errors(self.root):
            try:
                mode_is_dir = self.root.is_dir()
                if mode_is_dir or not (self.root.exists() or self.root.is_symlink()):
                    return mode_is_dir
            except NotADirectoryError:
                return False
        raise StoreError(str(self.root), "is not a folder", "move that file away")

    def require_free(self) -> None:
        """Raise `StoreLocked` where another process or object holds the store; creates nothing."""
        if not self._depth:
            locks.require_free(self.root)

    @contextmanager
    def lock(self, purpose: str, timeout: float = 0) -> Iterator[None]:
        """Hold the store while the block runs; nested uses of the same object join in.

        `purpose` ("training", "rollback") is what another process is told, `timeout`
        the seconds to wait for it.

        Raises:
            StoreLocked: another process, or another `Store` object, holds it.
            StoreError: the store cannot be written to.
        """
        if self._depth == 0:
            with locks.held(self.root, purpose, timeout):
                self._depth = 1
                try:
                    yield
                finally:
                    self._depth = 0
            return
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    # --- reading -------------------------------------------------------------------------

    def read_manifest(self) -> Manifest | None:
        """None for a store that was never written; `StoreError` when damaged or foreign."""
        self.exists()
        return manifest.read_manifest(self.root, self.dlm_id)

    def adapters(self) -> list[str]:
        """Names of the named adapters that have versions; the flat one has no name."""
        with disk_errors(self.root):
            return named_adapters(self.root)

    def versions(self, adapter: str | None = None) -> list[Version]:
        """Every version folder, by number; `StoreError` when the store is damaged."""
        return versions.list_versions(self.root, adapter, self.read_manifest())

    def current(self, adapter: str | None = None) -> Version | None:
        """The version to use, None when there is none yet; never an incomplete one."""
        return versions.current_version(self.root, adapter, self.read_manifest())

    # --- writing -------------------------------------------------------------------------

    def write_manifest(self, new: Manifest) -> None:
        """Replace the manifest durably; `StoreError` for another document's, or disk trouble."""
        with self.lock("writing the manifest"):
            manifest.write_manifest(self.root, self.dlm_id, new)

    @contextmanager
    def stage(self, adapter: str | None = None) -> Iterator[Staging]:
        """A folder to fill (`.path`), to `commit` as version `.number` or to `reject`.

        Holds the lock throughout and first puts the store in order. Leaving the
        block without either removes the folder. A disk error on the folder inside
        the block comes out as a `StoreError`, so savers need not translate theirs.
        """
        if adapter is not None:
            validate_adapter_name(adapter)
        with self.lock("writing a version"):
            self.recover()
            staging = Staging(self.root, self.dlm_id, adapter)
            try:
                yield staging
            except OSError as error:
                if is_full(error) or str(error.filename).startswith(str(staging.path)):
                    raise store_error(error, staging.path) from error
                raise
            finally:
                staging.close()

    def recover(self) -> Recovery:
        """Finish what a killed process left half done; every command that writes calls it.

        Creates nothing when there is no store. Running it twice changes nothing.
        """
        if not self.exists():
            return Recovery()
        with self.lock("recovery"):
            swept = commit.sweep(self.root)
            settled = commit.settle(self.root, self.dlm_id)
        return Recovery(swept.actions + settled.actions)

    def logs_dir(self) -> Path:
        """The folder of run logs, created."""
        folder = self.root / "logs"
        make_folders(folder)
        return folder
