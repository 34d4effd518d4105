"""`dlm migrate`: only the lines that must, a backup that never overwrites, a real diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlm_engine.cli.entry import main
from dlm_engine.document import CURRENT_VERSION

OLD = """\
---
# mine
dlm_id: 01KADB8Q6NX3V7T0M5E9RCWZ4H
dlm_version: 3   # three
base_model: smollm2-135m
---

Text.
"""
NEW = OLD.replace("dlm_version: 3", f"dlm_version: {CURRENT_VERSION}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "old.dlm"
    path.write_text(OLD)
    return path


def test_migrating_keeps_comments_and_leaves_a_backup(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", str(path)]) == 0
    assert path.read_text() == NEW
    assert path.with_name("old.dlm.bak").read_text() == OLD
    assert capsys.readouterr().err == (
        f"backup: {path}.bak\nmigrated: {path} from version 3 to {CURRENT_VERSION}\n"
    )


def test_line_ends_and_mark_stay(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + OLD.replace("\n", "\r\n").encode())
    assert main(["migrate", str(path)]) == 0
    assert path.read_bytes() == b"\xef\xbb\xbf" + NEW.replace("\n", "\r\n").encode()


def test_an_older_backup_stays(path: Path) -> None:
    for name in ("old.dlm.bak", "old.dlm.bak.1"):
        path.with_name(name).write_text("older")
    assert main(["migrate", str(path)]) == 0
    assert path.with_name("old.dlm.bak").read_text() == "older"
    assert path.with_name("old.dlm.bak.1").read_text() == "older"
    assert path.with_name("old.dlm.bak.2").read_text() == OLD


def test_a_backup_that_does_not_fit_leaves_everything_as_it_was(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource")
    second = path.with_name("small.dlm")
    second.write_text(OLD)
    path.write_text(OLD + "Text.\n" * 20_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))
    try:
        assert main(["migrate", str(path), str(second)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"error: {path}.bak: cannot be written (File too large)" in capsys.readouterr().err
    assert path.read_text().startswith(OLD)
    assert second.read_text() == NEW
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "old.dlm",
        "small.dlm",
        "small.dlm.bak",
    ]


def test_a_backup_is_as_private_as_the_document(path: Path) -> None:
    path.chmod(0o600)
    assert main(["migrate", str(path)]) == 0
    assert path.with_name("old.dlm.bak").stat().st_mode & 0o777 == 0o600


def test_no_backup(path: Path) -> None:
    assert main(["migrate", str(path), "--no-backup"]) == 0
    assert [p.name for p in path.parent.iterdir()] == ["old.dlm"]


def test_dry_run_prints_a_diff_and_writes_nothing(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", "--dry-run", str(path)]) == 0
    assert path.read_text() == OLD
    assert [p.name for p in path.parent.iterdir()] == ["old.dlm"]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"--- {path} (now)"
    assert "-dlm_version: 3   # three" in said
    assert f"+dlm_version: {CURRENT_VERSION}   # three" in said


def test_a_current_document_is_left_alone(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(NEW)
    before = path.stat().st_mtime_ns
    assert main(["migrate", str(path)]) == 0
    assert path.stat().st_mtime_ns == before
    assert capsys.readouterr().err == f"{path}: already version {CURRENT_VERSION}\n"


def test_one_bad_file_does_not_stop_the_others(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = path.with_name("newer.dlm")
    newer.write_text(OLD.replace(": 3", ": 99"))
    gone = path.with_name("gone.dlm")
    assert main(["migrate", str(gone), str(newer), str(path)]) == 1
    assert path.read_text() == NEW
    said = capsys.readouterr().err
    assert f"error: {gone}: does not exist" in said
    assert f"error: {newer}: dlm_version is newer than" in said
