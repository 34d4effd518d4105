"""`dlm.lock`: its form, the severity table, and the modes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from dlm_engine.errors import LockDrift, StoreError
from dlm_engine.store import (
    DriftSeverity,
    LicenceRecord,
    LockFile,
    LockMode,
    Store,
    check_lock,
    compare,
    read_lock,
    write_lock,
)

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
LICENCE = LicenceRecord(
    accepted_at=datetime(2026, 1, 2, tzinfo=UTC),
    license_url="https://example.invalid/licence",
    license_spdx="Apache-2.0",
    via="cli_flag",
)
LOCK = LockFile(
    created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    dlm_id=DLM_ID,
    dlm_sha256="1" * 64,
    base_model_revision="a" * 40,
    base_model_sha256="b" * 64,
    pinned_versions={
        "torch": "2.13.0+cpu",
        "transformers": "5.23.0",
        "peft": "0.21.2",
        "bitsandbytes": "0.50.2",
    },
    hardware_tier="cpu",
    seed=42,
    determinism_class="strong",
    determinism_flags={"deterministic_algorithms": True},
    conditions={"instruction_set": "AVX512", "dtype": "float32", "threads": "2"},
    license_acceptance=LICENCE,
    last_run_id=3,
)


def with_pins(**pins: str | None) -> dict[str, object]:
    return {"pinned_versions": {**LOCK.pinned_versions, **pins}}


TABLE: list[tuple[dict[str, object], list[tuple[str, str]]]] = [
    ({}, []),
    ({"created_at": datetime(2027, 1, 1, tzinfo=UTC), "last_run_id": 9}, []),
    ({"dlm_sha256": "2" * 64}, [("dlm_sha256", "allow")]),
    ({"base_model_revision": "c" * 40}, [("base_model_revision", "error")]),
    ({"base_model_sha256": "c" * 64}, [("base_model_sha256", "error")]),
    ({"base_model_sha256": None}, []),
    (with_pins(torch="3.0.0"), [("torch", "error")]),
    (with_pins(torch="2.14.0"), [("torch", "warn")]),
    (with_pins(torch="2.13.0+cu128"), [("torch", "warn")]),
    (with_pins(torch="1!2.13.0"), [("torch", "error")]),
    (with_pins(torch="a git checkout"), [("torch", "warn")]),
    (with_pins(torch=None), [("torch", "warn")]),
    (with_pins(bitsandbytes=None), [("bitsandbytes", "warn")]),
    (with_pins(transformers="6.0.0"), [("transformers", "warn")]),
    (with_pins(peft="1.0"), [("peft", "warn")]),
    (with_pins(accelerate="1.15.0"), [("accelerate", "warn")]),
    (with_pins(llama_cpp="b1"), [("llama_cpp", "warn")]),
    ({"hardware_tier": "cuda-sm80+"}, [("hardware_tier", "warn")]),
    ({"determinism_class": "advisory"}, [("determinism_class", "warn")]),
    ({"determinism_flags": {}}, []),
    (
        {"determinism_flags": {"deterministic_algorithms": False, "cudnn_benchmark": False}},
        [
            ("determinism_flags.cudnn_benchmark", "warn"),
            ("determinism_flags.deterministic_algorithms", "warn"),
        ],
    ),
    (
        {"conditions": {**LOCK.conditions, "instruction_set": "AVX2", "attention": "sdpa"}},
        [("conditions.attention", "warn"), ("conditions.instruction_set", "warn")],
    ),
    ({"conditions": {**LOCK.conditions, "threads": "1", "threads_interop": "4"}}, []),
    ({"conditions": {}}, []),
    ({"seed": 43}, [("seed", "warn")]),
    ({"cuda_version": "12.8"}, [("cuda_version", "warn")]),
    ({"rocm_version": "6.4"}, [("rocm_version", "warn")]),
    ({"world_size": 2}, [("world_size", "warn")]),
    ({"license_acceptance": None}, [("license_acceptance", "warn")]),
    (
        {"license_acceptance": LICENCE.model_copy(update={"license_spdx": "MIT"})},
        [("license_acceptance.spdx", "warn")],
    ),
    (
        {"license_acceptance": LICENCE.model_copy(update={"license_url": "https://b.invalid"})},
        [("license_acceptance.url", "warn")],
    ),
    (
        {
            "license_acceptance": LICENCE.model_copy(
                update={"accepted_at": datetime(2027, 1, 1, tzinfo=UTC), "via": "interactive"}
            )
        },
        [],
    ),
    (
        {"seed": 1, "base_model_revision": "d" * 40, **with_pins(torch="3.0", trl="1.0")},
        [
            ("base_model_revision", "error"),
            ("torch", "error"),
            ("seed", "warn"),
            ("trl", "warn"),
        ],
    ),
]


def changed(changes: dict[str, object]) -> LockFile:
    return LockFile.model_validate({**LOCK.model_dump(), **changes})


@pytest.mark.parametrize(("changes", "expected"), TABLE)
def test_the_severity_table(changes: dict[str, object], expected: list[tuple[str, str]]) -> None:
    drifts = compare(LOCK, changed(changes), LockMode.DEFAULT)
    assert [(drift.name, drift.severity.value) for drift in drifts] == expected

    strict = compare(LOCK, changed(changes), LockMode.STRICT)
    raised = {"warn": "error", "error": "error", "allow": "allow"}
    assert [drift.severity.value for drift in strict] == [raised[s] for _, s in expected]
    for mode in (LockMode.UPDATE, LockMode.IGNORE):
        assert compare(LOCK, changed(changes), mode) == []


def test_the_file_is_canonical_and_comes_back(store: Store) -> None:
    write_lock(store, LOCK)

    text = (store.root / "dlm.lock").read_text(encoding="ascii")
    value = json.loads(text)
    assert text == json.dumps(value, sort_keys=True, indent=2) + "\n"
    assert value["lock_version"] == 1
    assert value["created_at"] == "2026-01-02T03:04:05.678901Z"
    assert read_lock(store) == LOCK


def test_another_writers_lock_is_read(store: Store) -> None:
    value = LOCK.model_dump(mode="json")
    del value["conditions"]
    value |= {"base_model_sha256": None, "determinism_flags": {}}
    value["created_at"] = "2026-01-02T03:04:05.678901+00:00"
    value["pinned_versions"]["sway"] = None
    (store.root / "dlm.lock").write_text(json.dumps(value), encoding="utf-8")

    lock = read_lock(store)

    assert lock is not None
    assert lock.created_at == LOCK.created_at
    assert "sway" not in lock.pinned_versions
    # What it left empty says nothing.
    assert compare(lock, LOCK, LockMode.DEFAULT) == []


def test_an_error_lists_everything_and_what_to_do(store: Store) -> None:
    write_lock(store, LOCK)
    new = changed({"base_model_revision": "d" * 40, "base_model_sha256": "e" * 64, "seed": 1})
    path = store.root / "dlm.lock"
    before = path.read_bytes()

    with pytest.raises(LockDrift) as caught:
        check_lock(store, new, LockMode.DEFAULT)

    assert caught.value.subject == str(path)
    assert "base_model_revision was aaaa" in caught.value.problem
    assert "base_model_sha256 was bbbbbbbbbbbb… and is now eeeeeeeeeeee…" in caught.value.problem
    assert "seed" not in caught.value.problem
    assert "--update-lock" in caught.value.remedy
    with pytest.raises(LockDrift, match="seed was 42 and is now 1"):
        check_lock(store, new, LockMode.STRICT)
    assert path.read_bytes() == before


def test_what_each_mode_does_after_the_run(store: Store) -> None:
    new = changed({"seed": 1, "dlm_sha256": "9" * 64})
    assert check_lock(store, new, LockMode.DEFAULT).writes
    write_lock(store, LOCK)

    check = check_lock(store, new, LockMode.DEFAULT)
    assert check.writes
    assert [drift.name for drift in check.warnings] == ["seed"]
    assert check.drifts[0].severity is DriftSeverity.ALLOW
    assert check_lock(store, new, LockMode.UPDATE).writes
    ignored = check_lock(store, new, LockMode.IGNORE)
    assert (ignored.writes, ignored.drifts) == (False, ())


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda value: "{", "is damaged, not JSON"),
        (lambda value: {**value, "lock_version": 2}, "was written by a newer dlm"),
        (lambda value: {**value, "lock_version": 0}, "lock_version is 0 where 1 is expected"),
        (lambda value: {**value, "surprise": 1}, "at `surprise`"),
        (lambda value: {**value, "dlm_sha256": "short"}, "at `dlm_sha256`"),
        (lambda value: {**value, "created_at": "2026-01-02T03:04:05"}, "at `created_at`"),
        (lambda value: {**value, "dlm_id": "01HZ4X7TGZM3J1A2B3C4D5E6F8"}, "another document"),
    ],
)
def test_an_unreadable_lock_stops_all_but_update(
    spoil: Callable[[dict[str, object]], object], problem: str, store: Store
) -> None:
    content = spoil(LOCK.model_dump(mode="json"))
    text = content if isinstance(content, str) else json.dumps(content)
    (store.root / "dlm.lock").write_text(text, encoding="utf-8")

    for mode in (LockMode.DEFAULT, LockMode.STRICT):
        with pytest.raises(StoreError, match=problem) as caught:
            check_lock(store, LOCK, mode)
        assert caught.value.remedy
    assert check_lock(store, LOCK, LockMode.UPDATE).writes
    assert not check_lock(store, LOCK, LockMode.IGNORE).writes
    write_lock(store, LOCK)
    assert read_lock(store) == LOCK


def test_a_lock_of_another_document_is_not_written(store: Store) -> None:
    with pytest.raises(ValueError, match="another document"):
        write_lock(store, changed({"dlm_id": "01HZ4X7TGZM3J1A2B3C4D5E6F8"}))
