"""`manifest.json`: the bytes it has, what is read, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dlm_engine.errors import StoreError
from dlm_engine.store import Manifest, Store, Version

KEYS = {
    "adapter_config_sha256", "adapter_sha256", "adapter_version", "adapter_versions",
    "base_model", "base_model_revision", "base_model_sha256", "content_hashes", "created_at",
    "dlm_id", "exports", "license_acceptance", "pinned_versions", "schema_version",
    "source_path", "training_runs", "updated_at",
}  # fmt: skip
RUN_KEYS = {
    "run_id", "started_at", "ended_at", "adapter_version", "base_model_revision", "seed",
    "steps", "final_train_loss", "final_val_loss", "status", "pinned_versions",
    "summary_path", "adapter_name", "weight_distribution",
}  # fmt: skip


def test_another_writers_manifest_is_read_and_written_back_with_the_same_keys(
    reference_store: Store,
) -> None:
    path = reference_store.root / "manifest.json"
    before = json.loads(path.read_text(encoding="utf-8"))

    manifest = reference_store.read_manifest()
    assert manifest is not None
    assert manifest.adapter_version == 2
    assert manifest.training_runs[0].final_val_loss is None
    assert manifest.training_runs[0].pinned_versions == {"torch": "2.11.0"}
    assert manifest.exports[0].adapter_mix == (("knowledge", 0.5), ("tone", 1.0))
    assert manifest.next_run_id() == 3
    reference_store.write_manifest(manifest)

    text = path.read_text(encoding="utf-8")
    after = json.loads(text)
    assert after.keys() == before.keys() == KEYS
    assert after["training_runs"][0].keys() == RUN_KEYS
    assert after["exports"][0] == before["exports"][0]
    assert after["created_at"] == "2026-01-02T03:04:05"
    assert text == json.dumps(after, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    assert "café" in text


def test_a_version_adds_no_key_of_its_own(store: Store, train: Callable[..., Version]) -> None:
    train(store)

    written = json.loads((store.root / "manifest.json").read_text(encoding="utf-8"))

    assert written.keys() == KEYS
    assert written["training_runs"][0].keys() == RUN_KEYS
    assert written["content_hashes"] == {f"{1:016x}": f"{1:016x}"}
    assert written["base_model_sha256"] == "b" * 64
    assert len(written["adapter_sha256"]) == len(written["adapter_config_sha256"]) == 64


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is damaged, not JSON"),
        (b"{", "is damaged, not JSON"),
        (b"\xff\xfe", "is damaged, not JSON"),
        (b"[" * 100_000, "is damaged, not JSON"),
        (b"[]", "is damaged, not a JSON object"),
        (b"{}", "is damaged or foreign at `dlm_id`"),
        (b'{"schema_version": 2}', r"was written by a newer dlm \(schema_version 2\)"),
        (b'{"schema_version": "x"}', "schema_version is 'x' where 1 is expected"),
        (b'{"schema_version": true}', "schema_version is True where 1 is expected"),
        (
            b'{"dlm_id": "01HZ4X7TGZM3J1A2B3C4D5E6F7", "base_model": "b", "adapter_version": -1}',
            "is damaged or foreign at `adapter_version`",
        ),
        (
            b'{"dlm_id": "01HZ4X7TGZM3J1A2B3C4D5E6F7", "base_model": "b", "surprise": 1}',
            "is damaged or foreign at `surprise`",
        ),
        (
            b'{"dlm_id": "01HZ4X7TGZM3J1A2B3C4D5E6F8", "base_model": "b"}',
            "belongs to another document",
        ),
    ],
)
def test_a_bad_manifest_is_one_clear_error_and_stays(
    content: bytes, problem: str, store: Store
) -> None:
    path = store.root / "manifest.json"
    path.write_bytes(content)

    with pytest.raises(StoreError, match=problem) as caught:
        store.read_manifest()

    assert caught.value.subject == str(path)
    assert caught.value.remedy
    with pytest.raises(StoreError):
        store.recover()
    assert path.read_bytes() == content


def test_a_manifest_that_is_far_too_large_is_not_loaded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlm_engine.store.records.MAX_JSON_BYTES", 10)
    with pytest.raises(StoreError, match="far too large"):
        store.read_manifest()


def test_another_documents_manifest_is_not_written(store: Store) -> None:
    with pytest.raises(StoreError, match="belongs to another document"):
        store.write_manifest(Manifest(dlm_id="01HZ4X7TGZM3J1A2B3C4D5E6F8", base_model="b"))


def test_a_lost_manifest_is_rebuilt_from_the_versions(
    store: Store, train: Callable[..., Version]
) -> None:
    train(store)
    train(store)
    (store.root / "manifest.json").unlink()

    actions = store.recover().actions

    manifest = store.read_manifest()
    assert actions[:2] == ["rebuilt the manifest from the versions", "recorded 2 finished runs"]
    assert manifest is not None
    assert [run.run_id for run in manifest.training_runs] == [1, 2]
    assert manifest.adapter_version == 2
    assert manifest.base_model == "smollm2-135m"


def test_a_folder_in_the_manifests_place(home: Path) -> None:
    store = Store(home, "01HZ4X7TGZM3J1A2B3C4D5E6F7")
    (store.root / "manifest.json").mkdir(parents=True)
    with pytest.raises(StoreError, match="file stands where a folder is expected"):
        store.read_manifest()


def test_a_document_whose_path_is_no_utf_8_is_recorded(reference_store: Store) -> None:
    manifest = reference_store.read_manifest()
    assert manifest is not None
    path = Path("/caf\udce9/notes.dlm")
    reference_store.write_manifest(manifest.model_copy(update={"source_path": path}))
    read = reference_store.read_manifest()
    assert read is not None
    assert read.source_path == path
