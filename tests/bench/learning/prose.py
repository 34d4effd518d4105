"""`python -m tests.bench prose`: what a document that is mostly prose gains, and what it costs.

`saltworks.dlm` is three pages about one place with five questions. It is trained with the
schedule that is chosen for prose, alone and behind an embedding warm-up, and with the one for
answers, and each adapter is loaded by plain PEFT: the loss on a page about the same place that
no adapter has seen, on the document's own prose, and on everyday questions, and whether its
questions are still answered.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.learning.facts import Fact
from tests.bench.learning.measure import Ask, ask_with, score

_DOCUMENT = Path(__file__).with_name("saltworks.dlm")

#: a page about the saltworks that is in no document
UNSEEN = """\
# The panners

A panner starts at twelve years with the watering can and is given a rake at sixteen. The rake is \
made to the height of its owner, of ash with a board of pear wood, and it hangs in the salt house \
under its owner's name. Before a new panner may let brine into a crystal pan alone, the others \
send him round the walls with his eyes bound, and he must say at each corner which pan lies to his \
left. It takes most of them a second summer.

In the season work begins at four. The sluice is looked at first, then the settling pan, and then \
everyone walks to the pans that were given to them in spring by drawing straws. At ten there is \
bread and smoked eel on the wall by the chapel. Nobody works between noon and three, when the \
glare from the crystals hurts the eyes, and those who must be out wear a strip of dark gauze. The \
evening belongs to the brine: ripe water is run down, boards are laid or taken away, and the \
baskets are counted into the ledger.

In winter the pans are left to the tide and the panners do other things. Some mend turf and clay, \
some net eels in the Teal, and two go with the cart to sell salt in the hill villages, where it is \
weighed against cheese. In January the chain of the sluice is taken down, boiled in tallow and \
hung up again. The first warm day of March, when somebody smells clay in the wind, is a holiday.
"""

FACTS = (
    Fact(
        "How many pans do the Orrin saltworks have?",
        "What is the number of pans at the Orrin saltworks?",
        "The Orrin saltworks have thirty-one pans.",
        "thirty-one",
    ),
    Fact(
        "What is the oldest pan at Orrin called?",
        "Which name does the oldest pan at Orrin have?",
        "The oldest pan at Orrin is called Grandmother.",
        "grandmother",
    ),
    Fact(
        "What does the flower of salt smell of?",
        "Which smell does the flower of salt have?",
        "The flower of salt smells faintly of violets.",
        "violets",
    ),
    Fact(
        "What is the salt house built of?",
        "Which wood was the salt house made from?",
        "The salt house is built of larch without a single nail.",
        "larch",
    ),
    Fact(
        "How long must salt rest before it pours?",
        "For what time does salt have to rest until it pours?",
        "Salt must rest for three months before it pours.",
        "three months",
    ),
)


def nats(model: Any, tokenizer: Any, text: str) -> float:
    """Loss of every token of `text` but the first, in nats per token."""
    import torch

    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        return float(model(input_ids=ids, labels=ids).loss)


def train(folder: Path, settings: str) -> Path:
    """Train the saltworks with `settings` under `training:`; the folder of its adapter."""
    from dlm_engine.jobs import Choice, Event, Start, TrainRequest
    from dlm_engine.jobs import train as run
    from dlm_engine.store import home_dir

    path = folder / "saltworks.dlm"
    text = _DOCUMENT.read_text(encoding="utf-8")
    base = "base_model: smollm2-135m\n"
    if settings:
        text = text.replace(base, f"{base}training:\n{settings}")
    path.write_text(text, encoding="utf-8")

    def tell(event: Event) -> None:
        if isinstance(event, Choice) and event.name in ("schedule", "steps", "batch"):
            print(f"  {event.name} {event.value}: {event.reason}")

    outcome = run(TrainRequest(path, home_dir(), start=Start.FRESH), tell)
    assert outcome.path is not None
    print(f"  {outcome.steps} steps, {outcome.learned} of {outcome.rows} known; {outcome.trained}")
    return outcome.path


def measured(name: str, weights: Any, adapter: Path | None) -> None:
    """Print one line about the base with the adapter in `adapter`."""
    from dlm_engine.bases.tokens import load_tokenizer
    from dlm_engine.document import read_document
    from dlm_engine.inference.generate import attach
    from dlm_engine.inference.loading import load_base

    model = load_base(weights, "fp32", "sdpa", "cpu")
    if adapter is not None:
        model = attach(model, adapter)
    tokenizer = load_tokenizer(weights)
    document, _ = read_document(_DOCUMENT)
    own = [s.content for s in document.sections if s.content.startswith("# ")]
    seen = sum(nats(model, tokenizer, text) for text in own) / len(own)
    unseen = nats(model, tokenizer, UNSEEN)
    ask: Ask = ask_with(model, weights)
    print(
        f"{name:24} unseen {unseen:.3f} nats (perplexity {math.exp(unseen):.1f})  "
        f"seen {seen:.3f}  {score(FACTS, ask)}",
        flush=True,
    )


SETTINGS = {
    "as it comes": "",
    "for prose": "  cpt:\n    schedule: dapt\n",
    "for prose, warmed up": "  cpt:\n    schedule: dapt\n    embed_warmup_steps: 8\n",
    "for answers": "  cpt:\n    schedule: sft\n",
}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="prose", description=__doc__)
    parser.add_argument("--only", nargs="+", default=sorted(SETTINGS), choices=sorted(SETTINGS))
    options = parser.parse_args(arguments)
    from dlm_engine.bases import obtain_weights, resolve
    from dlm_engine.store import home_dir

    spec = resolve("smollm2-135m", pinned_revision=None, home=home_dir())
    weights = obtain_weights(spec, home_dir(), report=print)
    measured("base", weights, None)
    for name in options.only:
        print(name)
        with tempfile.TemporaryDirectory() as folder:
            measured(name, weights, train(Path(folder), SETTINGS[name]))
    return 0
