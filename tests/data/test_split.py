"""Which side a text falls on: files whole, everything else as ever."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import pytest
from tests.data.sources.test_rows import Letters
from tests.data.sources.tree import expanded, write

from dlm_engine.data import Split, TextRow, encode_rows, split_rows
from dlm_engine.data.encoding import Encoding
from dlm_engine.data.rows import Row
from dlm_engine.data.sources import source_rows
from dlm_engine.data.token_cache import TokenCache
from dlm_engine.data.tokens import Encoded

SEEDS = range(12)
LENGTH = 100


def note(number: int, lines: int = 12) -> str:
    return "".join(f"Note {number}, line {n}: boat {n * number} is in.\n" for n in range(lines))


def encoded(rows: list[Row]) -> Encoding:
    return encode_rows(rows, Letters(), LENGTH, "base", TokenCache(None))  # type: ignore[arg-type]


def of_files(folder: Path, texts: dict[str, str | bytes]) -> Encoding:
    write(folder, texts)
    return encoded([*source_rows(expanded(folder, {"path": "."}))])


def sides(folder: Path, split: Split) -> dict[str, set[str]]:
    """By the name of a file the sides that its pieces are on."""
    names = {row.section_id: row.label for row in source_rows(expanded(folder, {"path": "."}))}
    on: defaultdict[str, set[str]] = defaultdict(set)
    for name, rows in (("train", split.train), ("held out", split.validation)):
        for row in rows:
            on[names[row.section_id]].add(name)
    return on


@pytest.mark.parametrize("seed", SEEDS)
def test_a_file_is_learned_or_held_out_whole(tmp_path: Path, seed: int) -> None:
    found = of_files(tmp_path, {f"{n}.txt": note(n) for n in range(40)})
    assert len(found.windows) > 120
    split = split_rows(found.windows, seed, found.files)
    assert all(len(on) == 1 for on in sides(tmp_path, split).values())
    # As each piece shows the end of the one before it, no line is seen and held out.
    seen = {tuple(r.ids[at : at + 24]) for r in split.train for at in range(len(r.ids) - 23)}
    assert not any(tuple(row.ids[row.start :][:24]) in seen for row in split.validation)


def test_over_the_seeds_a_tenth_is_held_out(tmp_path: Path) -> None:
    found = of_files(tmp_path, {f"{n}.txt": note(n) for n in range(40)})
    held = [len(split_rows(found.windows, s, found.files).validation) for s in range(40)]
    assert 0.06 < sum(held) / 40 / len(found.windows) < 0.14


@pytest.mark.parametrize("seed", SEEDS)
def test_files_that_share_a_piece_go_together(tmp_path: Path, seed: int) -> None:
    def text(name: str) -> str:
        return f"def {name}():\n    return '{name * 20}'\n\n\n"

    texts: dict[str, str | bytes] = {
        f"{n}.py": text(f"own{n}") + text("common") + text(f"end{n}") for n in (1, 2)
    }
    found = of_files(tmp_path, {**texts, **{f"n{n}.txt": note(n) for n in range(40)}})
    assert len({found.files[w.key] for w in found.windows}) == 41
    on = sides(tmp_path, split_rows(found.windows, seed, found.files))
    assert on["1.py"] == on["2.py"]
    assert len(on["1.py"]) == 1


def test_which_of_the_files_comes_first_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path, {f"{n}.txt": note(n // 2) for n in range(50)})
    rows: list[Row] = [*source_rows(expanded(tmp_path, {"path": "."}))]
    forth, back = encoded(rows), encoded(rows[::-1])
    assert forth.files == back.files
    assert len(set(forth.files.values())) == 25


@pytest.mark.parametrize("seed", range(30))
def test_a_file_that_is_most_of_the_prose_is_never_held_out(tmp_path: Path, seed: int) -> None:
    found = of_files(
        tmp_path, {"0.txt": note(0, 400), **{f"{n}.txt": note(n) for n in range(1, 30)}}
    )
    assert sides(tmp_path, split_rows(found.windows, seed, found.files))["0.txt"] == {"train"}


def test_a_few_files_are_too_few_whatever_their_length(tmp_path: Path) -> None:
    found = of_files(tmp_path, {f"{n}.txt": note(n, 100) for n in range(3)})
    split = split_rows(found.windows, 1, found.files)
    assert (split.validation, len(split.train)) == ((), len(found.windows))
    assert split.reason.startswith("3 files and chunks of prose are too few")


@pytest.mark.parametrize("seed", SEEDS)
def test_without_sources_the_hash_of_each_chunk_decides_as_it_ever_did(seed: int) -> None:
    # Also of a section so long that it is cut.
    found = encoded([TextRow("s", note(n, 1 if n else 12)) for n in range(60)])
    assert not found.files

    def low(row: Encoded) -> bool:
        digest = hashlib.sha256(f"{seed}\0{row.key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < int(0.1 * 2**64)

    split = split_rows(found.windows, seed, found.files)
    assert split.validation == tuple(filter(low, found.windows))
    assert split == split_rows(found.windows, seed)


def test_a_text_of_the_document_that_is_a_file_too_goes_with_the_file(tmp_path: Path) -> None:
    write(tmp_path, {f"{n}.txt": note(n, 1) for n in range(40)})
    files = source_rows(expanded(tmp_path, {"path": "."}))
    found = encoded([TextRow("d", note(3, 1).strip()), *files])
    assert len(found.windows) == 40
    assert len(set(found.files.values())) == 40
