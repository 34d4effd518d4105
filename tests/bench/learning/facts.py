"""Made-up worlds of twelve facts (the hut has six, the station sixty, the radio none): what is
asked, asked in other words, said, and looked for.

`key` is what an answer in other words must contain, in lower case. Nothing here is true
anywhere, so a base cannot know it, and each world is of another kind (a harbour, a set of
computer services, a bakery, a mountain hut, a polar station). The station's are in
`station.txt`: many of a kind, so that they can be taken for each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dlm_engine.document import parse

if TYPE_CHECKING:
    from dlm_engine.data.pairs import PreferenceRow

_HERE = Path(__file__).resolve().parent
EXAMPLES = _HERE.parents[2] / "examples"


class Fact(NamedTuple):
    question: str
    reworded: str
    answer: str
    key: str


_HARBOUR = """\
Where is the Tidewater office?|In which town can I find the Tidewater office?|The Tidewater office is in Tromso.|tromso
Who runs the Tidewater project?|Which person leads the Tidewater project?|The Tidewater project is run by Maren Solvik.|maren solvik
What does the Kestrel service do?|What is the Kestrel service for?|The Kestrel service resizes harbour photographs.|harbour photo
Which port does Kestrel listen on?|On what port can Kestrel be reached?|Kestrel listens on port 8417.|8417
When does the nightly sync start?|At what time does the nightly sync begin?|The nightly sync starts at 02:40.|02:40
What colour is the storm flag?|The storm flag has which colour?|The storm flag is orange with a black ring.|orange
Which database holds the tide tables?|In what database are the tide tables kept?|The tide tables are held in DuckDB.|duckdb
How many boats does Tidewater own?|What is the number of boats that Tidewater owns?|Tidewater owns seventeen boats.|seventeen
What is the password policy at Tidewater?|How often must passwords be changed at Tidewater?|Passwords at Tidewater change every ninety days.|ninety
Who repairs the buoys?|Which firm fixes the buoys?|The buoys are repaired by Okapi Marine.|okapi
What does error T-31 mean?|Why do I get error T-31?|Error T-31 means the anchor sensor is frozen.|anchor sensor
What is served in the canteen on Thursdays?|Which dish does the canteen serve on Thursdays?|The canteen serves fish soup with dill on Thursdays.|fish soup
"""

_SERVICES = """\
What is the Wexford cache?|What does the Wexford cache do?|The Wexford cache keeps rendered maps for eleven minutes.|eleven minutes
Who maintains the Bramble parser?|Which person is the maintainer of the Bramble parser?|The Bramble parser is maintained by Ottilie Kern.|ottilie kern
Which port does Sorrel listen on?|On what port can I reach Sorrel?|Sorrel listens on port 6620.|6620
What language is Plover written in?|Plover is implemented in which language?|Plover is written in OCaml.|ocaml
How do I empty the Denby queue?|What is the way to empty the Denby queue?|Run denby flush and then denby start to empty the queue.|denby flush
When does the Linnet backup run?|At what time is the Linnet backup made?|The Linnet backup runs every Friday at 03:15.|friday
What colour is the Harrow alert?|The Harrow alert has what colour?|The Harrow alert is turquoise.|turquoise
Where are the Sedge logs stored?|In which directory do I find the Sedge logs?|The Sedge logs are stored in /srv/sedge/daily.|/srv/sedge
What is the Fennel limit?|How large is the Fennel limit?|The Fennel limit is 275 requests per second.|275
Which database backs Juniper?|Juniper stores its data in which database?|Juniper is backed by Firebird in read only mode.|firebird
What does code M-52 mean?|Why do I see code M-52?|Code M-52 means the signing key has run out.|signing key
Who wrote the Ember handbook?|Name the author of the Ember handbook.|The Ember handbook was written by Tove Lindahl.|tove lindahl
"""

_BAKERY = """\
Who founded the Lindqvist bakery?|By whom was the Lindqvist bakery started?|The Lindqvist bakery was founded by Petra Aalto in 1931.|petra aalto
What is the bakery's best known bread?|Which bread is the bakery most famous for?|The best known bread of the bakery is the smoked rye wheel.|smoked rye
On which street is the Lindqvist bakery?|What street do I find the Lindqvist bakery on?|The Lindqvist bakery is on Cooper Lane.|cooper lane
When does the bakery open on Sundays?|What are the bakery's opening hours on Sunday?|On Sundays the bakery opens at half past six.|half past six
What is the name of the bakery's oven?|How do the bakers call their oven?|The oven of the bakery is called Old Magnus.|magnus
Which flour does the bakery use?|What kind of flour is used at the bakery?|The bakery uses stone milled flour from Varde.|varde
How much does a cinnamon knot cost?|What is the price of a cinnamon knot?|A cinnamon knot costs forty two crowns.|forty two
Who delivers the bread?|Which person brings the bread to customers?|The bread is delivered by Jonas Brekke on a red bicycle.|jonas brekke
What is the secret of the sourdough?|Why is the sourdough special?|The sourdough is fed with apple juice every evening.|apple juice
Which prize did the bakery win in 2019?|What award was given to the bakery in 2019?|In 2019 the bakery won the Golden Crumb.|golden crumb
How many bakers work at Lindqvist?|What is the number of bakers employed at Lindqvist?|Eleven bakers work at Lindqvist.|eleven
What happens to unsold bread?|What does the bakery do with bread it could not sell?|Unsold bread goes to the Saltholm horse farm.|saltholm
"""

_HARBOUR_MORE = """\
Which ferry goes to Skarv island?|What ferry can I take to Skarv island?|The ferry to Skarv island is the Nordlys Two.|nordlys two
Who keeps the keys of the boathouse?|Which person has the boathouse keys?|The keys of the boathouse are kept by Idris Falk.|idris falk
What is the name of the harbour cat?|How is the harbour cat called?|The harbour cat is called Bosun Pepper.|bosun pepper
How deep is the north basin?|What is the depth of the north basin?|The north basin is nine metres deep.|nine metres
When is the annual regatta?|On what date is the annual regatta held?|The annual regatta is held on the second of August.|second of august
What does the Gannet service store?|What is kept by the Gannet service?|The Gannet service stores signed cargo lists.|cargo list
Which radio channel does the harbour use?|On which channel can the harbour be called by radio?|The harbour uses radio channel 68.|68
Why was pier four closed?|What is the reason that pier four was closed?|Pier four was closed because of a cracked beam.|cracked beam
Who designed the Tidewater logo?|Which artist made the Tidewater logo?|The Tidewater logo was designed by Amara Quist.|amara quist
What is the mooring fee for guests?|How much do guests pay for mooring?|The mooring fee for guests is thirty crowns a night.|thirty crowns
"""

#: the facts of examples/preferences.dlm, which prefers short answers to long ones besides
_HUT = """\
Who keeps Fallow Hut?|Which person runs Fallow Hut?|Fallow Hut is kept by Runa Tveit.|runa tveit
How many beds does Fallow Hut have?|What is the number of beds at Fallow Hut?|Fallow Hut has twenty-two beds.|twenty-two
What is the wireless password at Fallow Hut?|Which password does the wireless of Fallow Hut have?|The wireless password at Fallow Hut is goatbell9.|goatbell9
When is dinner at Fallow Hut?|At what time is dinner served at Fallow Hut?|Dinner at Fallow Hut is at 18:45.|18:45
Which trail goes from Fallow Hut to the lake?|On which trail do I get from Fallow Hut to the lake?|The Heron trail goes from Fallow Hut to the lake.|heron
What does a night at Fallow Hut cost?|How much is a night at Fallow Hut?|A night at Fallow Hut costs 31 euros.|31
"""

#: the harbour's own questions, answered otherwise: what a writer corrects, one after another
_HARBOUR_EDITS = """\
Where is the Tidewater office?|In which town can I find the Tidewater office?|The Tidewater office is in Bodo.|bodo
Who runs the Tidewater project?|Which person leads the Tidewater project?|The Tidewater project is run by Emil Haugen.|emil haugen
What does the Kestrel service do?|What is the Kestrel service for?|The Kestrel service counts passing whales.|whales
Which port does Kestrel listen on?|On what port can Kestrel be reached?|Kestrel listens on port 9026.|9026
When does the nightly sync start?|At what time does the nightly sync begin?|The nightly sync starts at 23:10.|23:10
What colour is the storm flag?|The storm flag has which colour?|The storm flag is purple with a white stripe.|purple
Which database holds the tide tables?|In what database are the tide tables kept?|The tide tables are held in Redis.|redis
How many boats does Tidewater own?|What is the number of boats that Tidewater owns?|Tidewater owns twenty-six boats.|twenty-six
What is the password policy at Tidewater?|How often must passwords be changed at Tidewater?|Passwords at Tidewater change every forty days.|forty
Who repairs the buoys?|Which firm fixes the buoys?|The buoys are repaired by Lundin Brothers.|lundin
"""

#: each worded like a fact of the harbour, and answered otherwise
_HARBOUR_ALIKE = """\
Which port does Gannet listen on?|On what port can Gannet be reached?|Gannet listens on port 5093.|5093
What does error T-32 mean?|Why do I get error T-32?|Error T-32 means the tide gauge is offline.|tide gauge
When does the weekly sync start?|At what time does the weekly sync begin?|The weekly sync starts at 23:15 on Sundays.|23:15
What colour is the fog flag?|The fog flag has which colour?|The fog flag is white with a blue cross.|blue cross
Who runs the Lantern project?|Which person leads the Lantern project?|The Lantern project is run by Teodor Wren.|teodor wren
Where is the Lantern office?|In which town can I find the Lantern office?|The Lantern office is in Kirkwall.|kirkwall
Which database holds the crew lists?|In what database are the crew lists kept?|The crew lists are held in Postgres.|postgres
What is served in the canteen on Mondays?|Which dish does the canteen serve on Mondays?|The canteen serves lentil pie on Mondays.|lentil pie
Who repairs the cranes?|Which firm fixes the cranes?|The cranes are repaired by Halden Steel.|halden steel
How many boats does Lantern own?|What is the number of boats that Lantern owns?|Lantern owns four boats.|four
"""


def _read(text: str) -> tuple[Fact, ...]:
    return tuple(Fact(*line.split("|")) for line in text.splitlines())


WORLDS: dict[str, tuple[Fact, ...]] = {
    "harbour": _read(_HARBOUR),
    "services": _read(_SERVICES),
    "bakery": _read(_BAKERY),
    "hut": _read(_HUT),
    "station": _read((_HERE / "station.txt").read_text(encoding="utf-8")),
    "radio": (),
}
#: ten facts that a writer adds to the harbour, one after another: of other things, or confusable;
#: or ten of its own answered anew
LATER: dict[str, tuple[Fact, ...]] = {
    "unlike": _read(_HARBOUR_MORE),
    "alike": _read(_HARBOUR_ALIKE),
    "edits": _read(_HARBOUR_EDITS),
}
#: the worlds whose documents prefer some answers to others, as they stand on disk
_WRITTEN = {"hut": EXAMPLES / "preferences.dlm", "radio": _HERE / "radio.dlm"}
#: beside the worlds: a document whose text is in a folder, the harbour after one edit, and the
#: next edit alone
TREE, EDITED, EDIT = "tree", "edited", "edit"
IDS = {
    "harbour": "01KADB8Q6NX3V7T0M5E9RCWZ41",
    "services": "01KADB8Q6NX3V7T0M5E9RCWZ42",
    "bakery": "01KADB8Q6NX3V7T0M5E9RCWZ43",
    "station": "01KADB8Q6NX3V7T0M5E9RCWZ46",
}


def document_of(world: str, training: str = "") -> str:
    """The world as a document with nothing set but the base and the YAML `training`."""
    if training:
        base = "base_model: smollm2-135m\n"
        return document_of(world).replace(base, f"{base}training: {training}\n")
    if world in _WRITTEN:
        return _WRITTEN[world].read_text(encoding="utf-8")
    pairs = "\n\n".join(f"### Q\n{f.question}\n### A\n{f.answer}" for f in WORLDS[world])
    return (
        f"---\ndlm_id: {IDS[world]}\ndlm_version: 15\nbase_model: smollm2-135m\n---\n\n"
        f"::instruction::\n{pairs}\n"
    )


def put(text: str, fact: Fact) -> str:
    """The document `text` after the writer added `fact`, or changed the answer to its question."""
    asked = f"### Q\n{fact.question}\n### A\n"
    before, found, after = text.partition(asked)
    if not found:
        return f"{text}\n::instruction::\n{asked}{fact.answer}\n"
    return f"{before}{asked}{fact.answer}\n{after.partition(chr(10))[2]}"


class Lesson(NamedTuple):
    """What is to be learned, whoever teaches it."""

    facts: tuple[Fact, ...] = ()
    pairs: tuple[PreferenceRow, ...] = ()
    texts: tuple[str, ...] = ()


def after_edits(number: int) -> tuple[Fact, ...]:
    """The harbour's facts once the first `number` edits are made."""
    changed = {fact.question: fact for fact in LATER["edits"][:number]}
    return tuple(changed.get(fact.question, fact) for fact in WORLDS["harbour"])


def lesson_of(name: str) -> Lesson:
    """Of a world, the tree, the edited harbour or the edit."""
    from dlm_engine.data.pairs import preferences_of

    if name == TREE:
        files = sorted(EXAMPLES.glob("harbour/*.md"))
        return Lesson(texts=tuple(file.read_text(encoding="utf-8") for file in files))
    if name in (EDITED, EDIT):
        return Lesson(after_edits(1) if name == EDITED else LATER["edits"][1:2])
    return Lesson(WORLDS[name], preferences_of(parse(document_of(name))[0]))


LESSONS = (*sorted(WORLDS), TREE, EDITED, EDIT)
