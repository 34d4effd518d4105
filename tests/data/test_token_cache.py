"""Tokens kept between runs: found again, bounded, and never believed when damaged."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.sources.test_rows import Letters, row

from dlm_engine.data import ChatRow, TextRow, encode_rows
from dlm_engine.data.encoding import Encoding
from dlm_engine.data.sources import Judged, KnownFile, Reason, Stamp
from dlm_engine.data.token_cache import Limits, TokenCache, Window, _packed, _unpacked

LIMITS = Limits(10**9, 90)
DAY = 86_400
ROWS = (ChatRow("s", "Who?", "Ana."), TextRow("t", "Prose."), row("one\n" * 90, "f.md", 2.0))


@pytest.fixture
def cache(tmp_path: Path) -> TokenCache:
    return TokenCache(tmp_path / "deep" / "tokens.sqlite")


class Counted(Letters):
    """Counts how often anything is made into tokens."""

    def __init__(self, system_prompt: str | None = None) -> None:
        self.calls = 0
        self.system_prompt = system_prompt  # type: ignore[assignment]

    def ids(self, text: str) -> list[int]:
        self.calls += 1
        return super().ids(text)

    def text_ids(self, text: str) -> list[int]:
        self.calls += 1
        return super().text_ids(text)

    def prompt_ids(self, question: str) -> list[int]:
        self.calls += 1
        return super().prompt_ids(question)

    def closing_ids(self, text: str) -> list[int]:
        self.calls += 1
        return super().closing_ids(text)


def encoded(
    cache: TokenCache, *, length: int = 100, base: str = "b", system: str | None = None
) -> tuple[Encoding, int]:
    chat = Counted(system)
    found = encode_rows(ROWS, chat, length, base, cache)  # type: ignore[arg-type]
    assert cache.keep(found.fresh, {}, found.used, (), LIMITS) == ""
    return found, chat.calls


def test_what_was_made_once_is_found_again_and_is_the_same(cache: TokenCache) -> None:
    first, made = encoded(cache)
    again, remade = encoded(cache)
    assert made > 3
    assert remade == 0
    assert (again.windows, again.questions) == (first.windows, first.questions)
    assert len(again.used) == len(ROWS)
    assert again.fresh == {}


@pytest.mark.parametrize(
    ("change", "anew"),
    [({"length": 99}, 3), ({"base": "c"}, 3), ({"system": "Be brief."}, 1), ({}, 0)],
)
def test_whatever_tokens_depend_on_is_in_their_name(
    cache: TokenCache, change: dict[str, object], anew: int
) -> None:
    encoded(cache)
    assert len(encoded(cache, **change)[0].fresh) == anew  # type: ignore[arg-type]


def test_a_file_whose_tokens_are_known_is_not_read(cache: TokenCache) -> None:
    encoded(cache)

    def never() -> str:
        raise AssertionError("read")

    known = ROWS[2]
    unread = type(known)(known.section_id, known.label, known.sha256, 3.0, never)
    found = encode_rows([unread], Letters(), 100, "b", cache)  # type: ignore[arg-type]
    assert {window.weight for window in found.windows} == {3.0}


def test_without_a_cache_nothing_is_written(tmp_path: Path) -> None:
    none = TokenCache(None)
    assert encoded(none)[1] == encoded(none)[1] > 0
    assert none.clear() == none.prune(LIMITS) == ""
    assert list(tmp_path.iterdir()) == []


def test_reading_creates_nothing(cache: TokenCache) -> None:
    assert cache.windows([b"x"]) == {}
    assert cache.files_under(Path("/")) == {}
    assert cache.facts().texts == 0
    assert cache.clear() == ""
    assert cache.path is not None
    assert not cache.path.parent.exists()


def test_the_file_is_for_its_owner_alone(cache: TokenCache) -> None:
    encoded(cache)
    assert cache.path is not None
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o600


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=32, max_size=32),
            st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20),
        )
    )
)
def test_windows_come_back_as_they_were(given: list[tuple[bytes, list[int]]]) -> None:
    windows = tuple(Window(key.hex(), tuple(ids), len(ids)) for key, ids in given)
    assert _unpacked(_packed(windows)) == windows


@given(st.binary(max_size=120))
def test_any_bytes_are_windows_or_an_error(data: bytes) -> None:
    import struct

    try:
        found = _unpacked(data)
    except (ValueError, struct.error):
        return
    assert _packed(found) == data


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tokens SET windows = zeroblob(length(windows))",
        "UPDATE tokens SET windows = substr(windows, 1, length(windows) - 4)",
        "UPDATE tokens SET windows = (SELECT windows FROM tokens ORDER BY key LIMIT 1)",
        "UPDATE tokens SET seal = zeroblob(16)",
        "UPDATE tokens SET windows = NULL",
        "UPDATE tokens SET windows = 'text'",
        "DROP TABLE tokens",
        "PRAGMA user_version = 99",
    ],
)
def test_a_damaged_entry_is_made_anew(cache: TokenCache, damage: str) -> None:
    first, _ = encoded(cache)
    assert cache.path is not None
    with sqlite3.connect(cache.path) as db:
        db.execute(damage)
    db.close()
    again = encode_rows(ROWS, Counted(), 100, "b", cache)  # type: ignore[arg-type]
    assert again.windows == first.windows
    assert len(again.fresh) >= 2


@pytest.mark.parametrize("content", [b"", b"not a database at all, " * 99, b"SQLite format 3\0"])
def test_a_damaged_file_is_made_anew(cache: TokenCache, content: bytes) -> None:
    first, _ = encoded(cache)
    assert cache.path is not None
    cache.path.write_bytes(content)
    (cache.path.parent / "tokens.sqlite-journal").write_bytes(b"junk")
    again, made = encoded(cache)
    assert again.windows == first.windows
    assert made > 0
    assert encoded(cache)[1] == 0


def test_torn_pages_poison_nothing(cache: TokenCache) -> None:
    first, _ = encoded(cache)
    assert cache.path is not None
    whole = cache.path.read_bytes()
    for at in range(100, len(whole), 997):
        cache.path.write_bytes(
            whole[:at] + bytes(b ^ 255 for b in whole[at : at + 64]) + whole[at + 64 :]
        )
        assert encode_rows(ROWS, Counted(), 100, "b", cache).windows == first.windows  # type: ignore[arg-type]


def test_a_cache_that_cannot_be_written_is_said_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "tokens.sqlite").mkdir()
    cache = TokenCache(tmp_path / "tokens.sqlite")
    found = encode_rows(ROWS, Counted(), 100, "b", cache)  # type: ignore[arg-type]
    assert "could not be written" in cache.keep(found.fresh, {}, (), (), LIMITS)


def test_age_and_size_bound_it(tmp_path: Path) -> None:
    now = [1000.5 * DAY]
    cache = TokenCache(tmp_path / "t", lambda: now[0])
    window = (Window("ab" * 32, tuple(range(1000)), 1),)
    for day in range(4):
        now[0] = (1000.5 + day) * DAY
        assert cache.keep({bytes([day]): window}, {}, (), (), LIMITS) == ""
    assert cache.facts().texts == 4
    assert cache.facts().unused_days == 3
    assert cache.keep({}, {}, [b"\0"], (), LIMITS) == ""
    assert cache.prune(Limits(10**9, 1)) == ""
    assert set(cache.windows([bytes([d]) for d in range(4)])) == {b"\0", b"\2", b"\3"}
    one = cache.facts().bytes // 3
    assert cache.prune(Limits(2 * one, 90)) == ""
    assert set(cache.windows([bytes([d]) for d in range(4)])) == {b"\0", b"\3"}
    size = (tmp_path / "t").stat().st_size
    assert cache.clear() == ""
    assert cache.facts().texts == 0
    assert (tmp_path / "t").stat().st_size < size


def test_a_run_with_nothing_new_keeps_to_the_bounds_on_the_same_day(cache: TokenCache) -> None:
    window = (Window("ab" * 32, tuple(range(1000)), 1),)
    assert cache.keep({bytes([n]): window for n in range(4)}, {}, (), (), LIMITS) == ""
    smaller = Limits(cache.facts().bytes // 2, 90)
    assert cache.keep({}, {}, [b"\3"], (), smaller) == ""
    assert cache.facts().texts == 2
    assert cache.facts().bytes <= smaller.max_bytes


def test_what_is_known_of_files_comes_back_by_folder(cache: TokenCache) -> None:
    known = KnownFile(Stamp(3, -1, 2**62, 2**64 - 1), Judged("ab" * 32), 7)
    denied = KnownFile(Stamp(1, 2, 3, 4), Judged("cd" * 32, Reason.SECRET, "line 2"), 8)
    files = {b"/a/x": known, b"/a/\xff": denied, b"/ab/x": known, b"/a": known}
    assert cache.keep({}, files, (), (), LIMITS) == ""
    assert cache.files_under(Path("/a")) == {b"/a/x": known, b"/a/\xff": denied, b"/a": known}
    assert cache.files_under(Path("/")) == files
    assert cache.path is not None
    with sqlite3.connect(cache.path) as db:
        db.execute("UPDATE files SET sha256 = 'ef' WHERE path = ?", (b"/a/x",))
    db.close()
    assert b"/a/x" not in cache.files_under(Path("/a"))


FILL = """
import sys
from pathlib import Path
from dlm_engine.data.token_cache import Limits, TokenCache, Window

cache, first = TokenCache(Path(sys.argv[1])), int(sys.argv[2])
for number in range(first, first + 8):
    window = (Window(f"{number:064x}", (number, number), 1),)
    print(cache.keep({number.to_bytes(4, "big"): window}, {}, (), (), Limits(10**9, 90)), end="")
"""


def test_several_processes_keep_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", FILL, str(path), str(100 * n)], stdout=subprocess.PIPE
        )
        for n in range(3)
    ]
    assert [worker.communicate(timeout=60)[0] for worker in workers] == [b"", b"", b""]
    found = TokenCache(path).windows([n.to_bytes(4, "big") for n in range(300)])
    assert len(found) == 24


def test_a_kill_while_it_is_written_loses_only_what_was_being_written(tmp_path: Path) -> None:
    """The writer is killed inside its transaction, after the rows and before the commit."""
    path = tmp_path / "t"
    TokenCache(path).keep({b"old": (Window("ab" * 32, (1, 2), 1),)}, {}, (), (), LIMITS)
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from dlm_engine.data.token_cache import *\n"
        "cache = TokenCache(Path(sys.argv[1]))\n"
        "cache._let_go = lambda db, limits: (db.execute('PRAGMA cache_spill = 1'),"
        " os.kill(os.getpid(), signal.SIGKILL))\n"
        "many = {n.to_bytes(4, 'big'): (Window('cd' * 32, tuple(range(9000)), 1),)"
        " for n in range(300)}\n"
        "cache.keep(many, {}, (), (), Limits(10**9, 90))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ, timeout=60)
    assert done.returncode == -9
    cache = TokenCache(path)
    assert cache.keep({b"new": (Window("ef" * 32, (3,), 1),)}, {}, (), (), LIMITS) == ""
    assert set(cache.windows([b"old", b"new", (0).to_bytes(4, "big")])) == {b"old", b"new"}
