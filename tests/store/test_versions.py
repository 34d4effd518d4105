"""Committing, rejecting and checking versions, and the stores of other writers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dlm_engine.errors import StoreError
from dlm_engine.store import RunRecord, Store, TrainingRunSummary, Version, VersionState, now

Train = Callable[..., Version]
WEIGHTS = "adapter_model.safetensors"


def fill(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"weights")


def current(store: Store, adapter: str | None = None) -> Version:
    version = store.current(adapter)
    assert version is not None
    return version


def test_a_commit_is_sealed_recorded_and_current(store: Store, train: Train) -> None:
    committed = train(store)

    version = current(store)
    assert version == committed
    assert (version.number, version.path.name, version.complete) == (1, "v0001", True)
    version.verify()
    assert (store.root / "adapter" / "current.txt").read_bytes() == b"adapter/versions/v0001\n"
    marker = json.loads((version.path / "COMPLETE.json").read_text(encoding="utf-8"))
    assert sorted(marker["files"]) == [
        "adapter_config.json",
        WEIGHTS,
        "dlm_run.json",
        "tokens/tokenizer.json",
    ]
    manifest = store.read_manifest()
    assert manifest is not None
    assert [run.adapter_version for run in manifest.training_runs] == [1]
    assert manifest.adapter_sha256 == marker["files"][WEIGHTS]["sha256"]


def test_every_file_and_folder_is_fsynced_before_the_rename_and_the_pointer_is_last(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def path_of(fd: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{fd}")).name.split("-")[0]

    def logged_fsync(fd: int) -> None:
        events.append(f"fsync {path_of(fd)}")
        fsync(fd)

    def logged_rename(source: Path, target: Path) -> None:
        events.append(f"rename {Path(target).name}")
        rename(source, target)

    def logged_replace(source: Path, target: Path) -> None:
        events.append(f"replace {Path(target).name}")
        replace(source, target)

    with store.lock("test"), store.stage() as staging:
        (staging.path / "inner").mkdir()
        (staging.path / "inner" / "a").write_bytes(b"a")
        (staging.path / "b").write_bytes(b"b")
        monkeypatch.setattr("os.fsync", logged_fsync)
        monkeypatch.setattr("os.rename", logged_rename)
        monkeypatch.setattr("os.replace", logged_replace)
        staging.commit(run(1, staging.number))

    flip = events.index("replace current.txt")
    renamed = events.index("rename v0001")
    sealed = events.index("replace COMPLETE.json")
    data = {events.index(f"fsync {name}") for name in ("a", "b", "inner")}
    assert max(data) < sealed < renamed < events.index("replace manifest.json") < flip
    assert "fsync tmp" in events[sealed:renamed]
    assert "fsync versions" in events[renamed:flip]
    assert [event for event in events[flip:] if "replace" in event] == ["replace current.txt"]
    assert events[flip + 1] == "fsync adapter"


def run(run_id: int, number: int, adapter: str | None = None) -> TrainingRunSummary:
    return TrainingRunSummary(
        run_id=run_id, started_at=now(), adapter_version=number, adapter_name=adapter, seed=1
    )


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"), "was changed after"),
        (lambda path: os.truncate(path, 10), "has 10 bytes where"),
        (lambda path: os.truncate(path, 0), "has 0 bytes where"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: (path.parent / "adapter_model.bin").write_bytes(b"x"), "was added after"),
        (lambda path: (path.parent / "link").symlink_to(path), "is not a plain file"),
        (lambda path: (path.parent / "COMPLETE.json").write_bytes(b"{"), "is damaged, not JSON"),
        (lambda path: (path.parent / "COMPLETE.json").unlink(), "was never completed"),
    ],
)
def test_verify_finds_what_was_done_to_a_version(
    damage: Callable[[Path], object], problem: str, store: Store, train: Train
) -> None:
    version = train(store)
    damage(version.path / WEIGHTS)

    with pytest.raises(StoreError, match=problem):
        version.verify()


def test_a_version_under_anothers_number_is_not_complete(store: Store, train: Train) -> None:
    version = train(store)
    version.path.rename(version.path.with_name("v0009"))

    listed = store.versions()

    assert [(v.number, v.complete) for v in listed] == [(9, False)]
    with pytest.raises(StoreError, match="committed under another number"):
        listed[0].verify()


def test_files_a_desktop_drops_do_not_spoil_a_version(store: Store, train: Train) -> None:
    version = train(store)
    (version.path / ".DS_Store").write_bytes(b"x")
    current(store).verify()


@pytest.mark.parametrize("keep", ["cut", "gone"])
def test_a_damaged_current_version_is_named_with_a_way_out(
    keep: str, store: Store, train: Train
) -> None:
    train(store)
    second = train(store)
    if keep == "cut":
        os.truncate(second.path / WEIGHTS, 3)
    else:
        second.path.rename(store.root / "elsewhere")

    with pytest.raises(StoreError, match=r"is current but (damaged|missing).*`dlm rollback` to 1"):
        store.current()
    store.recover()
    assert current(store).number == 1


def test_leaving_the_block_without_an_end_leaves_nothing(store: Store, train: Train) -> None:
    train(store)
    with store.stage() as staging:
        fill(staging.path)
    assert not staging.path.exists()
    with pytest.raises(RuntimeError, match="boom"), store.stage() as staging:
        raise RuntimeError("boom")

    assert not staging.path.exists()
    assert [v.number for v in store.versions()] == [1]
    assert current(store).number == 1


def test_a_rejected_run_is_kept_with_its_reason_and_its_number_is_used_up(
    store: Store, train: Train
) -> None:
    train(store)
    with store.stage() as staging:
        (staging.path / "adapter_config.json").write_text("{}", encoding="utf-8")
        rejected = staging.reject("the loss became NaN at step 3")

    assert (rejected.number, rejected.path.name) == (2, "v0002-rejected")
    assert rejected.rejection_reason() == "the loss became NaN at step 3"
    assert current(store).number == 1
    assert train(store).number == 3
    assert [(v.number, v.state.value) for v in store.versions()] == [
        (1, "complete"),
        (2, "rejected"),
        (3, "complete"),
    ]


def test_named_adapters_have_their_own_versions(store: Store, train: Train) -> None:
    train(store, "knowledge")
    train(store, "knowledge")
    train(store, "tone")

    assert store.adapters() == ["knowledge", "tone"]
    assert store.current() is None
    assert current(store, "knowledge").number == 2
    assert current(store, "tone").path == store.root / "adapter/tone/versions/v0001"
    manifest = store.read_manifest()
    assert manifest is not None
    assert manifest.adapter_versions == {"knowledge": 2, "tone": 1}
    assert manifest.adapter_version == 0
    assert [run.run_id for run in manifest.training_runs] == [1, 2, 3]


def test_a_run_that_names_another_version_is_a_bug(store: Store) -> None:
    with store.stage() as staging:
        fill(staging.path)
        with pytest.raises(ValueError, match="the run says"):
            staging.commit(run(1, staging.number + 1))
    assert store.versions() == []


def test_a_record_the_trainer_wrote_is_used(store: Store) -> None:
    with store.stage() as staging:
        record = RunRecord(run=run(1, staging.number), section_ids=("f" * 16,))
        extended = {**record.model_dump(mode="json"), "settings": {"rank": 16}}
        (staging.path / "dlm_run.json").write_text(json.dumps(extended), encoding="utf-8")
        version = staging.commit()

    assert version.run_record() == record
    manifest = store.read_manifest()
    assert manifest is not None
    assert manifest.content_hashes == {"f" * 16: "f" * 16}


def test_links_and_empty_folders_are_not_committed(store: Store) -> None:
    with store.stage() as staging:
        (staging.path / "weights").symlink_to("/etc/hostname")
        with pytest.raises(StoreError, match="is not a plain file"):
            staging.commit()
    with pytest.raises(ValueError, match="without files"), store.stage() as staging:
        staging.commit()


def test_ending_twice_is_a_bug(store: Store) -> None:
    with store.stage() as staging:
        (staging.path / "a").write_bytes(b"a")
        staging.commit()
        with pytest.raises(RuntimeError, match="already committed"):
            staging.reject("late")


def test_a_version_is_bound_to_its_base(store: Store, train: Train) -> None:
    version = train(store)

    version.require_base("smollm2-135m", "b" * 64)
    version.require_base("smollm2-135m", None)
    with pytest.raises(StoreError, match=r"was trained on smollm2-135m, not on qwen2\.5"):
        version.require_base("qwen2.5-0.5b", None)
    with pytest.raises(StoreError, match="other weights of smollm2-135m"):
        version.require_base("smollm2-135m", "c" * 64)


# --- stores of other writers -------------------------------------------------------------


def test_another_writers_versions_are_read(reference_store: Store) -> None:
    states = [(v.path.name, v.state) for v in reference_store.versions()]

    assert states == [
        ("v0001", VersionState.INCOMPLETE),
        ("v0002", VersionState.UNSEALED),
        ("v0002-rejected", VersionState.REJECTED),
        ("v0003", VersionState.INCOMPLETE),
    ]
    version = current(reference_store)
    assert version.number == 2
    version.verify()
    assert version.run_record() is None
    assert reference_store.recover().actions == []


def test_another_writers_weights_cut_short_are_found(reference_store: Store) -> None:
    weights = current(reference_store).path / WEIGHTS
    os.truncate(weights, weights.stat().st_size - 1)
    with pytest.raises(StoreError, match="is current but damaged"):
        reference_store.current()


def test_committing_after_another_writer(reference_store: Store, train: Train) -> None:
    version = train(reference_store)

    assert version.number == 4
    assert current(reference_store).number == 4
    manifest = reference_store.read_manifest()
    assert manifest is not None
    assert [(r.run_id, r.adapter_version) for r in manifest.training_runs] == [(2, 2), (3, 4)]


def test_a_marker_that_was_lost_does_not_make_a_version_of_another_writer(
    store: Store, train: Train
) -> None:
    version = train(store)
    (version.path / "COMPLETE.json").unlink()
    assert [v.state for v in store.versions()] == [VersionState.INCOMPLETE]


def test_a_reader_follows_a_pointer_that_moves_while_it_reads(
    store: Store, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(store)
    answers = iter([9, 1, 1])  # version 9 was removed just after the pointer was read
    monkeypatch.setattr(
        "dlm_engine.store.versions.read_pointer", lambda root, adapter: next(answers)
    )
    assert current(store).number == 1
