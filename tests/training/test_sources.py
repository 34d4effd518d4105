"""Training a document together with the files beside it, on the tiny base."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data.sources.tree import write
from tests.tiny import document_text
from tests.training.parts import make_run, rows

from dlm_engine.data import Split, encode_row, split_rows
from dlm_engine.data.packs import packs_of
from dlm_engine.data.token_cache import TokenCache
from dlm_engine.errors import TrainingError
from dlm_engine.jobs import Ending, Event, Start, Status, TrainOutcome, TrainRequest, train
from dlm_engine.store import token_cache_path
from dlm_engine.training import anchors
from dlm_engine.training.sft import Laid

SETTINGS = """\
training:
  num_epochs: 1
  sequence_len: 128
  sources:
    - path: notes
"""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:4])
    monkeypatch.setenv("DLM_THREADS", "1")
    yield
    torch.set_num_threads(threads)


def head_only(base: Path, settings: str = SETTINGS) -> str:
    text = document_text(str(base), extra=settings)
    return text[: text.index("::instruction::")]


def run(document: Path, events: list[Event] | None = None) -> TrainOutcome:
    said: list[Event] = [] if events is None else events
    return train(TrainRequest(document, document.parent / "home"), said.append)


def test_a_document_of_sources_alone_is_trained_and_every_change_is_seen(
    tmp_path: Path, tiny_base: Path
) -> None:
    document = tmp_path / "d.dlm"
    document.write_text(head_only(tiny_base))
    write(tmp_path / "notes", {"a.md": "The lamp is in Norby.\n", ".env": "TOKEN=abc", "b": b"\0"})
    events: list[Event] = []
    outcome = run(document, events)
    assert (outcome.ending, outcome.version, outcome.rows) == (Ending.TRAINED, 1, 1)
    said = [event.message for event in events if isinstance(event, Status)]
    assert "sources: 1 file, 0.0 KiB; left out 2: 1 secret (.env), 1 binary" in said
    (summary,) = (tmp_path / "home").rglob("*.summary.json")
    assert '"file_count": 1' in summary.read_text()
    assert '"skipped_binary": 1' in summary.read_text()
    assert run(document).ending is Ending.UNCHANGED
    write(tmp_path / "notes", {"a.md": "The lamp is in Sudby.\n"})
    assert run(document).version == 2
    write(tmp_path / "notes", {".dlm/training.yaml": "metadata: {a: b}\nweights: {a: {b: 3}}\n"})
    assert run(document).version == 3
    (home,) = (tmp_path / "home" / "store").iterdir()
    runs = json.loads((home / "manifest.json").read_text())["training_runs"]
    assert [r["weight_distribution"] for r in runs] == [None, None, {"a": {"b": 1}}]


def test_an_unchanged_rerun_reads_no_file_and_tokenises_nothing(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dlm_engine.data.encoding as encoding
    import dlm_engine.data.sources.expansion as expansion

    # A file is trusted only some time after its last change, and these are new.
    monkeypatch.setattr(expansion, "_SETTLED_NS", -(10**18))
    read, encode = expansion._read, encode_row
    reads: list[Path] = []
    encoded: list[object] = []

    def counted_read(path: Path, *rest: Any) -> bytes | None:
        reads.append(path)
        return read(path, *rest)

    def counted_encode(row: Any, *rest: Any) -> Any:
        encoded.append(row)
        return encode(row, *rest)

    monkeypatch.setattr(expansion, "_read", counted_read)
    monkeypatch.setattr(encoding, "encode_row", counted_encode)
    document = tmp_path / "d.dlm"
    document.write_text(document_text(str(tiny_base), extra=SETTINGS))
    write(tmp_path / "notes", {f"{n}.md": f"Lamp {n} is in Norby.\n" for n in range(5)})
    write(tmp_path / "notes", {"bad": b"\0"})
    first = run(document)
    assert (len(reads), len(encoded)) == (6, 8)
    again = train(TrainRequest(document, tmp_path / "home", start=Start.FRESH))
    assert (len(reads), len(encoded)) == (6, 8)
    assert again.adapter_sha256 == first.adapter_sha256
    write(tmp_path / "notes", {"3.md": "Lamp 3 is in Sudby, as of now.\n"})
    run(document)
    assert (reads[6:], len(encoded)) == ([tmp_path / "notes" / "3.md"], 9)
    without = SETTINGS + "  cache:\n    enabled: false\n"
    document.write_text(document_text(str(tiny_base), extra=without))
    run(document)
    assert (len(reads), len(encoded)) == (13, 17)


def test_no_file_is_half_learned_and_half_held_out(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dlm_engine.training.given as given

    made: list[Split] = []

    def split(*args: Any) -> Split:
        made.append(split_rows(*args))
        return made[-1]

    monkeypatch.setattr(given, "split_rows", split)
    document = tmp_path / "d.dlm"
    document.write_text(head_only(tiny_base, SETTINGS + "  seed: 3\n"))
    lines = {n: "".join(f"{n}: boat {i} is in.\n" for i in range(20)) for n in range(24)}
    write(tmp_path / "notes", {f"{n}.txt": text for n, text in lines.items()})
    assert run(document).ending is Ending.TRAINED
    learned, held = (
        {row.section_id for row in rows} for rows in (made[0].train, made[0].validation)
    )
    assert held
    assert not learned & held


def test_the_document_bounds_the_cache(tmp_path: Path, tiny_base: Path) -> None:
    document = tmp_path / "d.dlm"
    write(tmp_path / "notes", {"a.md": "text"})
    cache = TokenCache(token_cache_path(tmp_path / "home"))
    for limit, texts in (("10000000", 4), ("1", 0)):
        bounded = f"{SETTINGS}  cache:\n    max_bytes: {limit}\n"
        document.write_text(document_text(str(tiny_base), extra=bounded))
        train(TrainRequest(document, tmp_path / "home", start=Start.FRESH))
        assert cache.facts().texts == texts


def test_a_cache_out_of_use_costs_a_line_and_nothing_else(tmp_path: Path, tiny_base: Path) -> None:
    document = tmp_path / "d.dlm"
    document.write_text(document_text(str(tiny_base), extra=SETTINGS))
    write(tmp_path / "notes", {"a.md": "text"})
    (tmp_path / "home" / "cache" / "tokens.sqlite").mkdir(parents=True)
    events: list[Event] = []
    assert run(document, events).ending is Ending.TRAINED
    assert any("token cache is left aside" in e.message for e in events if isinstance(e, Status))


def test_sources_that_hold_nothing_are_nothing_to_learn(tmp_path: Path, tiny_base: Path) -> None:
    document = tmp_path / "d.dlm"
    document.write_text(head_only(tiny_base))
    write(tmp_path / "notes", {".env": "TOKEN=abc"})
    assert run(document).ending is Ending.EMPTY
    assert not (tmp_path / "home").exists()


def test_a_broken_rule_stops_the_run_before_anything_is_written(
    tmp_path: Path, tiny_base: Path
) -> None:
    document = tmp_path / "d.dlm"
    document.write_text(document_text(str(tiny_base), extra=SETTINGS))
    write(tmp_path / "notes", {"a.md": "text", ".dlm/training.yaml": "excludes: [a]"})
    with pytest.raises(TrainingError, match=r"training\.yaml: has a wrong `excludes`"):
        run(document)
    assert not (tmp_path / "home").exists()


def test_a_weight_scales_the_loss_of_its_row_and_of_no_other() -> None:
    """Gradients of a step: twice as large where every row counts twice; linear in each row."""

    def gradient(weights: list[float]) -> torch.Tensor:
        one = make_run(count=3, packs_per_step=99, anchor_weight=0.0)
        weighted = [replace(r, weight=w) for r, w in zip(rows(3), weights, strict=True)]
        packs = packs_of(weighted, 99)
        one.packs = [Laid(pack, one.trainee.trunk(pack)) for pack in packs]
        loss, _, _ = one._accumulate()
        assert loss == pytest.approx(base_loss)
        grads = [p.grad.flatten() for p in one.parameters.values() if p.grad is not None]
        return torch.cat(grads)

    base_loss = make_run(count=3, packs_per_step=99, anchor_weight=0.0)._accumulate()[0]
    plain = gradient([1, 1, 1])
    assert plain.abs().max() > 0
    torch.testing.assert_close(gradient([2, 2, 2]), 2 * plain)
    parts = [gradient([1.0 * (i == n) for i in range(3)]) for n in range(3)]
    torch.testing.assert_close(
        gradient([0.5, 1, 3]), 0.5 * parts[0] + parts[1] + 3 * parts[2], rtol=1e-3, atol=1e-6
    )
