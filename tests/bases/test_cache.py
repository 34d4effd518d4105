"""The cache of ready bases: whole or absent, changed files refused, one preparer at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlm_engine.bases import (
    REGISTRY,
    Weights,
    cache_root,
    config,
    find_weights,
    obtain_weights,
    verify_weights,
)
from dlm_engine.bases import weights as room
from dlm_engine.errors import BaseModelError

SPEC = REGISTRY["smollm2-135m"]


def quiet(message: str) -> None:
    return


@pytest.fixture
def prepared(tiny_base: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    """A base in the cache, put there as an installed package's would be."""
    monkeypatch.setattr(room, "find_package", lambda key: tiny_base / "config.json")
    monkeypatch.setattr(room, "convert_package", lambda key, path, target: copy(tiny_base, target))
    return obtain_weights(SPEC, cache.parent, report=quiet)


def copy(source: Path, target: Path) -> str:
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return "package test"


def test_the_cache_is_under_the_home_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLM_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert cache_root(tmp_path) == tmp_path / "elsewhere"
    monkeypatch.delenv("DLM_CACHE_DIR")
    assert cache_root(tmp_path) == tmp_path / "cache"


def test_finding_creates_nothing(cache: Path, tmp_path: Path) -> None:
    assert find_weights(SPEC, tmp_path) is None
    assert not cache.exists()


def test_what_was_prepared_is_found_unchanged(prepared: Weights, tmp_path: Path) -> None:
    assert find_weights(SPEC, tmp_path) == prepared
    assert prepared.source == "package test"
    assert config(prepared)["model_type"] == "llama"
    verify_weights(prepared)


def test_finding_does_not_write(prepared: Weights, tmp_path: Path) -> None:
    marker = prepared.path / "COMPLETE.json"
    os.utime(prepared.path / "config.json", ns=(1, 1))
    before = marker.read_bytes(), sorted(p.name for p in prepared.path.parent.iterdir())
    assert find_weights(SPEC, tmp_path) == prepared
    assert (marker.read_bytes(), sorted(p.name for p in prepared.path.parent.iterdir())) == before


def test_a_new_time_alone_is_accepted_and_recorded_by_the_next_command(
    prepared: Weights, tmp_path: Path
) -> None:
    os.utime(prepared.path / "model.safetensors", ns=(1, 1))
    assert obtain_weights(SPEC, tmp_path, report=quiet) == prepared
    assert '"mtime_ns": 1,' in (prepared.path / "COMPLETE.json").read_text()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "one bit": (lambda f: flip(f / "model.safetensors"), "was changed"),
    "a tokenizer": (lambda f: flip(f / "tokenizer.json"), "was changed"),
    "cut short": (lambda f: os.truncate(f / "model.safetensors", 100), "has 100 bytes"),
    "gone": (lambda f: (f / "model.safetensors").unlink(), "cannot be read"),
    "an adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "did not put there"),
    "code": (lambda f: (f / "modeling.py").write_text("boom"), "did not put there"),
    "no marker": (lambda f: (f / "COMPLETE.json").unlink(), "is missing"),
    "bad marker": (lambda f: (f / "COMPLETE.json").write_text("{"), "not JSON"),
    "odd marker": (lambda f: (f / "COMPLETE.json").write_text("{}"), "not what dlm writes"),
}


@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_a_changed_base_is_refused_by_every_way_in(
    damage: str, prepared: Weights, tmp_path: Path
) -> None:
    spoil, problem = DAMAGE[damage]
    spoil(prepared.path)
    with pytest.raises(BaseModelError, match=problem):
        find_weights(SPEC, tmp_path)
    with pytest.raises(BaseModelError, match=problem):
        obtain_weights(SPEC, tmp_path, report=quiet)


def test_a_change_that_hides_its_time_is_found_on_demand(prepared: Weights, tmp_path: Path) -> None:
    path = prepared.path / "model.safetensors"
    stat = path.stat()
    flip(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(BaseModelError, match="was changed"):
        verify_weights(prepared)


def test_a_full_disk_is_one_message(
    tiny_base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(key: str, path: Path, target: Path) -> str:
        (target / "config.json").write_text("{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room, "find_package", lambda key: tiny_base / "config.json")
    monkeypatch.setattr(room, "convert_package", full)
    with pytest.raises(BaseModelError, match="No space left"):
        obtain_weights(SPEC, tmp_path, report=quiet)
    assert find_weights(SPEC, tmp_path) is None
    assert [path.name for path in (cache / "bases").iterdir() if path.is_dir()] == []


def test_too_little_room_is_said_before_starting(
    tiny_base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "find_package", lambda key: tiny_base / "config.json")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(BaseModelError, match="GiB are free"):
        obtain_weights(SPEC, tmp_path, report=quiet)


def test_a_cache_that_cannot_be_made_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DLM_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(room, "find_package", lambda key: None)
    with pytest.raises(BaseModelError, match="cannot be written"):
        obtain_weights(SPEC, tmp_path, report=quiet)


PREPARE = """
import sys
from pathlib import Path
from dlm_engine.bases import REGISTRY, obtain_weights
from dlm_engine.bases import weights as room

source, home, role = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def say(message):
    print(message, flush=True)

def convert(key, path, target):
    (target / "model.safetensors").write_bytes(b"half")
    say("half")
    if role == "slow":
        sys.stdin.readline()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return "package by " + role

room.find_package = lambda key: source
room.convert_package = convert
say(obtain_weights(REGISTRY["smollm2-135m"], home, report=say).source)
"""


@contextmanager
def preparing(source: Path, home: Path, role: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(source), str(home), role],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the process ended without saying {text!r}")


def test_the_second_of_two_waits_and_uses_what_the_first_made(
    tiny_base: Path, cache: Path, tmp_path: Path
) -> None:
    with preparing(tiny_base, tmp_path, "slow") as first:
        until(first, "half")
        with preparing(tiny_base, tmp_path, "second") as second:
            until(second, "waiting for it")
            assert find_weights(SPEC, tmp_path) is None
            print(file=first.stdin, flush=True)
            until(first, "package by slow")
            until(second, "package by slow")


def test_a_killed_preparation_leaves_nothing_and_blocks_nobody(
    tiny_base: Path, cache: Path, tmp_path: Path
) -> None:
    with preparing(tiny_base, tmp_path, "slow") as process:
        until(process, "half")
        process.kill()
        process.wait()
    assert find_weights(SPEC, tmp_path) is None
    with preparing(tiny_base, tmp_path, "second") as process:
        until(process, "package by second")
    assert find_weights(SPEC, tmp_path)
    assert [p.name for p in (cache / "bases").iterdir() if p.is_dir()] == [SPEC.slug]
