"""Files: every way reading or writing fails is one clear error, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.document.marked import HEAD

from dlm_engine.document import decode, files, read_document, write_document
from dlm_engine.errors import DocumentError


def test_what_is_written_is_what_was_given(tmp_path: Path) -> None:
    path = tmp_path / "a.dlm"
    text = "\ufeff" + HEAD.replace("\n", "\r\n") + "é 😀\u2028\r"
    write_document(path, text)
    assert path.read_bytes() == text.encode()
    document, problems = read_document(path)
    assert (document.text, problems) == (text, [])
    assert [p.name for p in tmp_path.iterdir()] == ["a.dlm"]


def test_reading_keeps_mark_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.dlm"
    path.write_bytes(b"\xef\xbb\xbf" + HEAD.replace("\n", "\r\n").encode())
    document, problems = read_document(path)
    assert document.text == "\ufeff" + HEAD.replace("\n", "\r\n")
    assert problems == []


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"---\nab\xff", "0xff at offset 6"),
        (b"\xc3", "offset 0"),
        (b"ok \xe2\x82", "offset 3"),
        ("---\n".encode("utf-16"), "UTF-16"),
        (b"\xed\xa0\x80", "offset 0"),
    ],
)
def test_not_utf8(data: bytes, what: str) -> None:
    with pytest.raises(DocumentError, match=what) as error:
        decode(data, "x.dlm")
    assert str(error.value).startswith("x.dlm: is ")
    assert error.value.remedy == "save it as UTF-8"


def test_unreadable_paths(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    pipe = tmp_path / "pipe"
    cases = [
        (tmp_path / "none.dlm", "does not exist"),
        (tmp_path, "is a folder"),
        (file / "below.dlm", "goes through a file"),
        (Path("a\0b"), "no possible path"),
        (tmp_path / ("a" * 300), "cannot be read"),
    ]
    if os.name == "posix":
        os.mkfifo(pipe)
        cases += [(Path(os.devnull), "not a regular file"), (pipe, "not a regular file")]
    for path, what in cases:
        with pytest.raises(DocumentError, match=what):
            read_document(path)


def test_only_what_can_be_a_document_is_advised_to_be_begun(tmp_path: Path) -> None:
    for name, remedy in (("a.dlm", f"dlm init {tmp_path}/a.dlm"), ("a", "check the name")):
        with pytest.raises(DocumentError, match=remedy):
            read_document(tmp_path / name)


def test_forbidden_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DocumentError, match="may not be read"):
        read_document(tmp_path / "a.dlm")


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.dlm"
    path.write_text("x" * 11)
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    with pytest.raises(DocumentError, match="larger than"):
        read_document(path)


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.dlm"
    write_document(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DocumentError, match="the disk is full"):
        write_document(path, "new")
    assert path.read_text() == "old\n" or path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.dlm"]


def test_unwritable_paths(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="folder does not exist"):
        write_document(tmp_path / "no" / "a.dlm", "x")
    with pytest.raises(DocumentError):
        write_document(tmp_path, "x")


def test_write_follows_links_and_keeps_permissions(tmp_path: Path) -> None:
    target = tmp_path / "target.dlm"
    target.write_text("old")
    target.chmod(0o640)
    link = tmp_path / "link.dlm"
    link.symlink_to(target)
    write_document(link, "new\n")
    assert link.is_symlink()
    assert target.read_text() == "new\n"
    assert target.stat().st_mode & 0o777 == 0o640
