"""`python -m tests.bench saves`: from the save of a new fact to the model that answers it.

A real server and its engine over pipes, as an editor drives them: the harbour document is
trained by command, then ten facts are added and saved one after another. Printed for each:
wall seconds from `didSave` until the status says that it is learned, and whether the model then
says it; at the end, what all 22 facts and the general questions have come to. Three sets of ten:
about other things, worded like facts that are there already, and edits of ten of its answers
(then there are twelve facts, and it is counted how many old answers are still given). While the
first training runs, a hover of a key and one of a section, which asks the store and counts tokens,
are asked again and again: their round trips are printed too. Last, the seconds beside their bars;
the exit code is 1 when one is missed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.learning.bars import Bar
from tests.bench.learning.facts import IDS, LATER, WORLDS, Fact, document_of, put
from tests.bench.learning.measure import Score, asker, score
from tests.server.engine.editor import Editor

from dlm_engine.store import Store

#: seconds from a save to the version that knows, nothing else running
_MEDIAN: Final = 4.0
_LONGEST: Final = 6.0


@dataclass(frozen=True, slots=True)
class Save:
    """`seconds` from the save to the version, and whether the new fact was then said."""

    question: str
    seconds: float
    said: bool


@dataclass(frozen=True, slots=True)
class Saves:
    """All saves of a set; `hovers` are seconds of round trips during the first training, by what
    the hover is of, `stale` the questions that still get the answer that was edited away."""

    first: float
    hovers: dict[str, list[float]]
    saves: tuple[Save, ...]
    score: Score
    stale: tuple[str, ...]


def run(facts: Sequence[Fact], folder: Path) -> Saves:
    """Train the harbour in `folder`, add or edit `facts` one by one, and ask everything."""
    home, path = folder / "home", folder / "harbour.dlm"
    text = document_of("harbour")
    path.write_text(text, encoding="utf-8")
    # Probes would be asked after each training; there are none, and results stay off.
    with Editor(home, threads=None) as editor:
        uri = editor.open(path)
        began = time.monotonic()
        training = editor.send_command("dlm.train", uri=uri)
        hovers = _hover_until(editor, uri, text, training)
        first = time.monotonic() - began
        saves = []
        for fact in facts:
            text = put(text, fact)
            seen = editor.count("dlm/status")
            began = time.monotonic()
            editor.save(uri, path, text)
            editor.status(lambda status: _over(status, uri), seen)
            seconds = time.monotonic() - began
            said = editor.command("dlm.prompt", uri=uri, question=fact.question)["text"]
            saves.append(Save(fact.question, seconds, said == fact.answer))
    current = Store(home, IDS["harbour"]).current()
    assert current is not None
    ask = asker(_weights(home), current.path)
    before = {fact.question: fact for fact in WORLDS["harbour"]}
    now = before | {fact.question: fact for fact in facts}
    edited = [before[fact.question] for fact in facts if fact.question in before]
    asked = [(fact, words) for fact in edited for words in (fact.question, fact.reworded)]
    said = ask([words for _, words in asked]) if asked else []
    stale = (words for (fact, words), a in zip(asked, said, strict=True) if fact.key in a.lower())
    return Saves(first, hovers, tuple(saves), score(list(now.values()), ask), tuple(stale))


def _over(status: dict[str, Any], uri: str) -> bool:
    last = status["last"]
    over = status["job"] is None and status["queued"] == 0
    return bool(over and last and last["uri"] == uri and last["kind"] == "train")


def _hover_until(editor: Editor, uri: str, text: str, request: int) -> dict[str, list[float]]:
    """Round trips of hovers, asked in turn until `request` is answered."""
    places = {"a key": 2, "a section": text.splitlines().index("::instruction::")}
    taken: dict[str, list[float]] = {what: [] for what in places}
    while not any(m.get("id") == request and "method" not in m for m in list(editor.messages)):
        for what, line in places.items():
            began = time.monotonic()
            place = {"line": line, "character": 3}
            said = editor.ask("textDocument/hover", textDocument={"uri": uri}, position=place)
            taken[what].append(time.monotonic() - began)
            assert said, f"no hover of {what}"
            time.sleep(0.05)
    editor.answer(request)
    return taken


def _weights(home: Path) -> Any:
    from dlm_engine.bases import obtain_weights, resolve

    spec = resolve("smollm2-135m", pinned_revision=None, home=home)
    return obtain_weights(spec, home, report=print)


def show(name: str, found: Saves) -> None:
    """Print what a set of saves took and came to."""
    print(f"{name}: first training {found.first:.1f} s")
    for what, seconds in found.hovers.items():
        p95 = 1000 * statistics.quantiles(seconds, n=20)[-1]
        print(
            f"  {len(seconds)} hovers of {what} meanwhile: median "
            f"{1000 * statistics.median(seconds):.1f} ms, p95 {p95:.1f} ms (bar 20 ms)"
        )
    for save in found.saves:
        verdict = "said" if save.said else "NOT SAID"
        print(f"  {save.seconds:5.2f} s  {verdict:8}  {save.question}")
    print(f"  {found.score}")
    for question in found.stale:
        print(f"  the old answer still: {question}")


def bars_of(name: str, found: Saves) -> list[Bar]:
    """The bars of what a set of saves took."""
    seconds = [save.seconds for save in found.saves]
    median = round(statistics.median(seconds), 2)
    return [
        Bar(f"{name}, median seconds of a save", median, _MEDIAN, most=True),
        Bar(f"{name}, longest save in seconds", round(max(seconds), 2), _LONGEST, most=True),
    ]


def main(arguments: Sequence[str]) -> int:
    """Print every figure and every bar; 1 when a bar is missed."""
    bars: list[Bar] = []
    parser = argparse.ArgumentParser(prog="saves", description=__doc__)
    parser.add_argument("--sets", nargs="+", default=sorted(LATER), choices=sorted(LATER))
    parser.add_argument("--saves", type=int, default=10, help="how many of a set's ten")
    options = parser.parse_args(arguments)
    for name in options.sets:
        with tempfile.TemporaryDirectory() as folder:
            found = run(LATER[name][: options.saves], Path(folder))
        show(name, found)
        bars += bars_of(name, found)
    print(*bars, sep="\n")
    return int(not all(bar.met for bar in bars))
