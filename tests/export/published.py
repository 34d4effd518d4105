"""Whether a folder holds exactly one whole export."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from dlm_engine.export import ExportManifest


def verified(folder: Path) -> ExportManifest:
    """The manifest, after every file was compared with it."""
    text = (folder / "export_manifest.json").read_text(encoding="utf-8")
    manifest = ExportManifest.model_validate_json(text)
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    listed = {a.path for a in manifest.artifacts}
    assert listed | {"export_manifest.json"} == {p.name for p in folder.iterdir()}
    for artifact in manifest.artifacts:
        data = (folder / artifact.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == artifact.sha256
        assert len(data) == artifact.size_bytes
    return manifest
