"""The store's lock: who holds it, that it dies with its process, and foreign lock files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlm_engine.errors import StoreLocked
from dlm_engine.store import Store, Version, lock_owner

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
HOLDER = """
import sys
from pathlib import Path
from dlm_engine.store import Store
with Store(Path(sys.argv[1]), sys.argv[2]).lock("training"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the store until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.home), DLM_ID],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_owner_is_named_and_reading_still_works(
    store: Store, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(StoreLocked) as caught, store.lock("rollback"):
        pass

    pattern = rf"is in use by process {holder.pid} \(training, since \d{{4}}-.* UTC\)"
    assert caught.match(pattern)
    assert "wait until it has finished" in caught.value.remedy
    assert store.read_manifest() is not None
    owner = lock_owner(store.root)
    assert owner is not None
    assert (owner.pid, owner.host, owner.purpose) == (holder.pid, socket.gethostname(), "training")
    for write in (store.recover, lambda: store.stage().__enter__()):
        with pytest.raises(StoreLocked):
            write()


def test_a_killed_holder_holds_nothing(
    store: Store, holder: subprocess.Popen[str], train: Callable[..., Version]
) -> None:
    holder.kill()
    holder.wait()
    assert lock_owner(store.root) is not None

    assert train(store).number == 1
    assert lock_owner(store.root) is None


def test_waiting_for_the_lock(store: Store, holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    threading.Timer(0.1, holder.stdin.close).start()
    with store.lock("rollback", timeout=30):
        owner = lock_owner(store.root)
        assert owner is not None
        assert owner.pid == os.getpid()


def test_nested_uses_of_one_store_join_and_two_stores_do_not(store: Store) -> None:
    with store.lock("training"), store.lock("inner"):
        with (
            pytest.raises(StoreLocked, match=rf"process {os.getpid()} \(training"),
            Store(store.home, DLM_ID).lock("other"),
        ):
            pass
        with store.lock("again"):
            pass
        assert lock_owner(store.root) is not None
    with Store(store.home, DLM_ID).lock("other"):
        pass


def test_the_lock_is_freed_when_the_block_fails(store: Store) -> None:
    with pytest.raises(RuntimeError, match="boom"), store.lock("training"):
        raise RuntimeError("boom")
    with Store(store.home, DLM_ID).lock("other"):
        pass


def test_a_stale_owner_file_is_not_believed(store: Store, holder: subprocess.Popen[str]) -> None:
    path = store.root / ".store-lock.json"
    owner = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**owner, "pid": 999_999_999}), encoding="utf-8")
    with (
        pytest.raises(StoreLocked, match="in use by another process"),
        store.lock("rollback"),
    ):
        pass


def test_an_owner_on_another_machine_is_named_with_it(
    store: Store, holder: subprocess.Popen[str]
) -> None:
    path = store.root / ".store-lock.json"
    owner = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**owner, "host": "elsewhere"}), encoding="utf-8")
    with (
        pytest.raises(StoreLocked, match=rf"process {holder.pid} on elsewhere \(training"),
        store.lock("rollback"),
    ):
        pass


def test_looking_whether_a_store_is_free(
    store: Store, holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with pytest.raises(StoreLocked, match=rf"process {holder.pid} \(training"):
        store.require_free()
    holder.kill()
    holder.wait()
    assert lock_owner(store.root) is not None
    store.require_free()
    with store.lock("training"):
        store.require_free()
    (store.root / ".lock").write_text(f"{os.getpid()}\n{socket.gethostname()}\n1.5\n")
    with pytest.raises(StoreLocked, match="uses the store"):
        store.require_free()
    other = Store(tmp_path / "none", DLM_ID)
    other.require_free()
    assert not other.home.exists()


@pytest.mark.parametrize("content", ["", "x", "1\n", "{}", "\x00"])
def test_a_damaged_owner_file_never_gets_in_the_way(content: str, store: Store) -> None:
    (store.root / ".store-lock.json").write_text(content, encoding="utf-8")
    assert lock_owner(store.root) is None
    with store.lock("rollback"):
        pass


def test_another_writers_lock_file_is_respected_while_its_process_lives(
    store: Store, tmp_path: Path
) -> None:
    foreign = store.root / ".lock"
    foreign.write_text(f"{os.getpid()}\n{socket.gethostname()}\n1767323045.5\n", encoding="utf-8")
    with (
        pytest.raises(StoreLocked, match=rf"process {os.getpid()} on .* uses the store"),
        store.lock("training"),
    ):
        pass

    foreign.write_text(f"999999999\n{socket.gethostname()}\n1767323045.5\n", encoding="utf-8")
    with store.lock("training"):
        pass

    foreign.write_text("999999999\nanother-machine\n1767323045.5\n", encoding="utf-8")
    with (
        pytest.raises(StoreLocked, match="another-machine") as caught,
        store.lock("training"),
    ):
        pass
    assert "delete the file" in caught.value.remedy
    assert foreign.exists()
