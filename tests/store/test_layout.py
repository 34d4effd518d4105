"""Where the home is, and which ids and names may become part of a path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dlm_engine.errors import StoreError
from dlm_engine.store import Store, Version, home_dir, validate_adapter_name, validate_dlm_id

GOOD_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"


def test_home_is_the_override_before_the_environment_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("DLM_HOME", str(tmp_path / "from-env"))

    assert home_dir(tmp_path / "given") == tmp_path / "given"
    assert home_dir(Path("~/given")) == tmp_path / "given"
    assert home_dir() == tmp_path / "from-env"
    monkeypatch.setenv("DLM_HOME", "  ")
    monkeypatch.delenv("APPDATA", raising=False)
    assert home_dir() == tmp_path / ".dlm"
    assert list(tmp_path.iterdir()) == []


def test_home_of_nobody_is_one_clear_error() -> None:
    with pytest.raises(StoreError, match="cannot be used as the home"):
        home_dir(Path("~no-such-user-anywhere/x"))


@pytest.mark.parametrize(
    "dlm_id",
    [
        "",
        "..",
        "../../../etc/passwd/aaaaaaa",
        "01HZ4X7TGZM3J1A2B3C4D5E6F",
        "01HZ4X7TGZM3J1A2B3C4D5E6F77",
        "01hz4x7tgzm3j1a2b3c4d5e6f7",
        "01HZ4X7TGZM3J1A2B3C4D5E6FI",
        "01HZ4X7TGZM3J1A2B3C4D5E6F/",
        "01HZ4X7TGZM3J1A2B3C4D5E6F7\n",
        "01HZ4X7TGZM3J1A2B3C4D5E6F\x00",
        "01HZ4X7TGZM3J1A2B3C4D5E6F\u0667",
    ],
)
def test_an_id_is_checked_before_it_touches_a_path(dlm_id: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a document id"):
        Store(tmp_path, dlm_id)
    assert list(tmp_path.iterdir()) == []


def test_a_valid_id_names_one_folder(tmp_path: Path) -> None:
    assert validate_dlm_id(GOOD_ID) == GOOD_ID
    assert Store(tmp_path, GOOD_ID).root == tmp_path / "store" / GOOD_ID


@pytest.mark.parametrize("name", ["a", "knowledge", "a_1", "a" * 32])
def test_adapter_names(name: str) -> None:
    assert validate_adapter_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "1a", "_gate", "..", "a/b", "a" * 33, "a\n", "versions"])
def test_adapter_names_that_are_refused(name: str, store: Store) -> None:
    with pytest.raises(StoreError, match="is not a usable adapter name"):
        store.versions(name)
    with pytest.raises(StoreError, match="is not a usable adapter name"), store.stage(name):
        pass


@pytest.mark.parametrize(
    "target",
    [
        "adapter/versions/../../../../../etc",
        "/etc/passwd",
        "adapter/versions/v0001/../../..",
        "adapter/other/versions/v0001",
        "adapter/versions/latest",
        "adapter/versions/v1",
        "\x00\xff",
    ],
)
def test_a_pointer_that_names_no_version_is_refused(
    target: str, store: Store, train: Callable[..., Version]
) -> None:
    train(store)
    (store.root / "adapter" / "current.txt").write_text(target, encoding="latin-1")

    with pytest.raises(StoreError, match="does not name a version"):
        store.current()


def test_a_version_that_is_a_link_out_of_the_store_is_refused(
    store: Store, train: Callable[..., Version], tmp_path: Path
) -> None:
    version = train(store)
    outside = tmp_path / "outside"
    version.path.rename(outside)
    version.path.symlink_to(outside)

    with pytest.raises(StoreError, match="leads out of the store"):
        store.current()
    assert (outside / "adapter_config.json").exists()


def test_a_pointer_that_is_a_link_is_replaced_and_not_followed(
    store: Store, train: Callable[..., Version], tmp_path: Path
) -> None:
    train(store)
    victim = tmp_path / "victim"
    victim.write_text("adapter/versions/v0001\n", encoding="utf-8")
    pointer = store.root / "adapter" / "current.txt"
    pointer.unlink()
    pointer.symlink_to(victim)

    train(store)

    assert victim.read_text(encoding="utf-8") == "adapter/versions/v0001\n"
    assert not pointer.is_symlink()
    current = store.current()
    assert current is not None
    assert current.number == 2
