"""Where things lie under the home, and which names may become part of a path.

The invariant: an id or adapter name from a document, manifest or flag is checked
here before it touches a path, so no name can lead out of the store. Nothing in
this module creates anything; a path is only a path.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from dlm_engine.errors import StoreError
from dlm_engine.store.atomic import is_temporary

_DLM_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_ADAPTER_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
#: `adapter/versions` is the flat layout's folder, so no adapter can be called that.
_RESERVED_ADAPTER_NAMES = frozenset({"versions"})


def home_dir(override: Path | None = None) -> Path:
    """The home: `override`, else `$DLM_HOME`, else `%APPDATA%\\dlm` on Windows, else `~/.dlm`.

    Never creates it. Raises `StoreError` for a `~name` that stands for nobody.
    """
    if override is not None:
        return _expanded(override)
    from_environment = os.environ.get("DLM_HOME", "")
    if from_environment.strip():
        return _expanded(Path(from_environment))
    app_data = os.environ.get("APPDATA", "")
    if sys.platform == "win32" and app_data:
        return _expanded(Path(app_data) / "dlm")
    return _expanded(Path("~/.dlm"))


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:
        raise StoreError(
            str(path), f"cannot be used as the home ({error})", "give --home an existing folder"
        ) from error


def validate_dlm_id(dlm_id: str) -> str:
    """`dlm_id` itself when it is 26 upper-case Crockford base-32 characters.

    Raises:
        StoreError: it is not, so it must not become part of a path.
    """
    if _DLM_ID.fullmatch(dlm_id):
        return dlm_id
    raise StoreError(
        f"dlm_id {dlm_id[:64]!r}",
        "is not a document id (26 characters, 0-9 and A-Z without I, L, O, U)",
        "`dlm init` writes a fresh document with a valid one",
    )


def validate_adapter_name(name: str) -> str:
    """`name` itself when it may name an adapter's folder; `StoreError` when not."""
    if _ADAPTER_NAME.fullmatch(name) and name not in _RESERVED_ADAPTER_NAMES:
        return name
    raise StoreError(
        f"adapter {name[:64]!r}",
        "is not a usable adapter name",
        "use a lower-case letter, then up to 31 letters, digits or _; not `versions`",
    )


def token_cache_path(home: Path) -> Path:
    """`<home>/cache/tokens.sqlite`: beside the stores, and not in `$DLM_CACHE_DIR`."""
    return home / "cache" / "tokens.sqlite"


def store_root(home: Path, dlm_id: str) -> Path:
    """`<home>/store/<dlm_id>`; raises `StoreError` for an invalid id."""
    return home / "store" / validate_dlm_id(dlm_id)


def adapter_root(root: Path, adapter: str | None) -> Path:
    """`<root>/adapter` for the one flat adapter (None), `<root>/adapter/<name>` for a named one."""
    base = root / "adapter"
    return base if adapter is None else base / validate_adapter_name(adapter)


def versions_root(root: Path, adapter: str | None) -> Path:
    return adapter_root(root, adapter) / "versions"


def pointer_path(root: Path, adapter: str | None) -> Path:
    return adapter_root(root, adapter) / "current.txt"


def ledger_path(root: Path, adapter: str | None) -> Path:
    return adapter_root(root, adapter) / "ledger.json"


def checkpoint_path(root: Path, adapter: str | None) -> Path:
    """The folder of the state of a run that was stopped."""
    return (root if adapter is None else adapter_root(root, adapter)) / "checkpoint"


def checkpoint_folders(root: Path) -> list[Path]:
    """Those that can hold such a state, also of adapters that have no version yet."""
    named = sorted((root / "adapter").glob("*/checkpoint"))
    return [checkpoint_path(root, None), *(p for p in named if not p.parent.is_symlink())]


def gate_path(root: Path) -> Path:
    """The folder of the gate over the named adapters; no adapter can be called that."""
    return root / "adapter" / "_gate"


def exports_root(root: Path) -> Path:
    """Where exports go that are not asked for elsewhere, each in a folder of its own."""
    return root / "exports"


def export_folders(root: Path) -> list[Path]:
    """The finished exports there: the last file that is written into one is in it, and its name
    is the final one."""
    found = sorted(exports_root(root).glob("[!.]*/export_manifest.json"))
    return [file.parent for file in found if not is_temporary(file.parent.name)]


def version_name(number: int) -> str:
    """`v0001`; more digits when four are not enough."""
    return f"v{number:04d}"


def named_adapters(root: Path) -> list[str]:
    """Names of the adapters that have a folder of versions, sorted."""
    base = root / "adapter"
    if not base.is_dir():
        return []
    return sorted(
        entry.name
        for entry in base.iterdir()
        if _ADAPTER_NAME.fullmatch(entry.name)
        and entry.name not in _RESERVED_ADAPTER_NAMES
        and not entry.is_symlink()
        and (entry / "versions").is_dir()
    )
