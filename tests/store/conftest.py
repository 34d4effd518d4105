"""What the tests of the store share: a store in a fresh home, and a way to fill it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from dlm_engine.store import Manifest, RunRecord, Store, TrainingRunSummary, Version

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Store:
    """A store with a manifest and no versions."""
    store = Store(home, DLM_ID)
    store.write_manifest(Manifest(dlm_id=DLM_ID, base_model="smollm2-135m"))
    return store


@pytest.fixture
def train() -> Callable[..., Version]:
    """Commit a version as the trainer does; its weights say which one it is."""
    return commit_version


def commit_version(store: Store, adapter: str | None = None, text: str = "") -> Version:
    with store.stage(adapter) as staging:
        fill(staging.path, text or f"weights {staging.number}")
        manifest = store.read_manifest()
        run_id = 1 if manifest is None else manifest.next_run_id()
        return staging.commit(run_record(run_id, staging.number, adapter))


def run_record(run_id: int, number: int, adapter: str | None = None) -> RunRecord:
    moment = datetime(2026, 1, 2, 3, 4, 5)
    return RunRecord(
        run=TrainingRunSummary(
            run_id=run_id,
            started_at=moment,
            ended_at=moment,
            adapter_version=number,
            adapter_name=adapter,
            base_model_revision="a" * 40,
            seed=7,
            steps=20,
            final_train_loss=0.25,
            pinned_versions={"torch": "2.13.0"},
        ),
        section_ids=(f"{number:016x}",),
        base_model="smollm2-135m",
        base_model_sha256="b" * 64,
    )


def fill(folder: Path, text: str) -> None:
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(safetensors(text.encode()))
    (folder / "tokens").mkdir()
    (folder / "tokens" / "tokenizer.json").write_text("{}", encoding="utf-8")


def safetensors(payload: bytes) -> bytes:
    """A one-tensor safetensors file, as other writers leave them."""
    size = len(payload)
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "a": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + payload


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, str]]:
    return tree_snapshot


def tree_snapshot(root: Path) -> dict[str, str]:
    """Every path under `root` with its content's hash and the time it was last changed."""
    if not root.exists():
        return {}
    found = {}
    for path in sorted([root, *root.rglob("*")]):
        info = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(root))] = f"{content} {info.st_mtime_ns} {info.st_mode}"
    return found


REFERENCE_MANIFEST = """{
  "adapter_config_sha256": null,
  "adapter_sha256": null,
  "adapter_version": 2,
  "adapter_versions": {},
  "base_model": "smollm2-135m",
  "base_model_revision": "12fd25f77366fa6b3b4b768ec3050bf629380bac",
  "base_model_sha256": null,
  "content_hashes": {
    "0123456789abcdef": "0123456789abcdef"
  },
  "created_at": "2026-01-02T03:04:05",
  "dlm_id": "01HZ4X7TGZM3J1A2B3C4D5E6F7",
  "exports": [
    {
      "adapter_gguf_sha256": null,
      "adapter_mix": [["knowledge", 0.5], ["tone", 1.0]],
      "adapter_name": null,
      "base_gguf_sha256": null,
      "exported_at": "2026-01-02T04:00:00",
      "llama_cpp_tag": "b1234",
      "merged": false,
      "ollama_name": "dlm-caf\u00e9",
      "ollama_version": "0.4.2",
      "quant": "Q4_K_M",
      "smoke_output_first_line": null,
      "target": "ollama"
    }
  ],
  "license_acceptance": {
    "accepted_at": "2026-01-02T03:04:05",
    "license_spdx": "Apache-2.0",
    "license_url": "https://example.invalid/licence",
    "via": "cli_flag"
  },
  "pinned_versions": {},
  "schema_version": 1,
  "source_path": "/home/a/a.dlm",
  "training_runs": [
    {
      "adapter_name": null,
      "adapter_version": 2,
      "base_model_revision": "12fd25f77366fa6b3b4b768ec3050bf629380bac",
      "ended_at": "2026-01-02T03:30:00",
      "final_train_loss": 1.5,
      "final_val_loss": NaN,
      "pinned_versions": {"torch": "2.11.0", "bitsandbytes": null},
      "run_id": 2,
      "seed": 42,
      "started_at": "2026-01-02T03:30:00",
      "status": "completed",
      "steps": 30,
      "summary_path": "logs/train-000002-20260102T033000.summary.json",
      "weight_distribution": null
    }
  ],
  "updated_at": "2026-01-02T03:30:00"
}
"""


@pytest.fixture
def reference_store(home: Path) -> Store:
    """A store as another writer leaves it: no markers, v0001 recorded nowhere, v0003 unfinished."""
    store = Store(home, DLM_ID)
    for number in (1, 2, 3):
        folder = store.root / "adapter" / "versions" / f"v{number:04d}"
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
        (folder / "adapter_model.safetensors").write_bytes(safetensors(b"weights"))
        (folder / "training_state.pt").write_bytes(b"not read")
    (store.root / "adapter" / "versions" / "v0002-rejected").mkdir()
    (store.root / "adapter" / "current.txt").write_text(" adapter/versions/v0002\n \n")
    (store.root / "manifest.json").write_text(REFERENCE_MANIFEST, encoding="utf-8")
    return store


@pytest.fixture(autouse=True)
def _fast_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk's own slowness is not under test; the order of the calls is, elsewhere."""
    monkeypatch.setattr("os.fsync", lambda fd: None)
