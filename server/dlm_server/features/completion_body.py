"""Fences, headers, adapters and attributes, offered where the body allows them.

Nothing is offered in a code block or in the middle of prose: an editor that interrupts
writing is turned off. Headers come in legal order only, so the first one is always right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dlm_engine.document import SectionType, Span, TextEdit
from dlm_server.features.adapters import offered
from dlm_server.features.body_place import BodyPlace, body_place
from dlm_server.features.completion_items import Completion, Completions, Offer, Surroundings
from dlm_server.features.completion_paths import IMAGES, SOUNDS, path_completions

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument

_COLONS = re.compile(r":{1,3}(?P<word>[A-Za-z]*)")
_ADAPTER = re.compile(r"::(?:prose|instruction|preference)#(?P<name>[A-Za-z0-9_]*)")
_MEDIA = re.compile(r"::(?P<kind>image|audio)(?=[ \t])")
_ATTRIBUTE = re.compile(r"""(?P<name>[A-Za-z_]+)="(?P<value>[^"]*)(?P<closed>"?)""")
_HASHES = re.compile(r"[ \t]{0,3}(?P<header>#{1,3}[ \t]*(?P<word>[A-Za-z]*))")
_REST = re.compile(r"[A-Za-z!]*[ \t]*")
_PROBE = re.compile(r"[ \t]{0,3}### Q[ \t]+(?P<word>!?[a-z]*)")

#: fence types with what they are for, their plain text and their snippet
_FENCES: dict[SectionType, tuple[str, str, str]] = {
    SectionType.INSTRUCTION: (
        "questions and answers",
        "::instruction::",
        "::instruction::\n### Q\n$1\n\n### A\n$0",
    ),
    SectionType.PREFERENCE: (
        "a prompt with a better and a worse answer",
        "::preference::",
        "::preference::\n### Prompt\n$1\n\n### Chosen\n$2\n\n### Rejected\n$0",
    ),
    SectionType.PROSE: ("plain text, learned as text", "::prose::", "::prose::\n$0"),
    SectionType.IMAGE: (
        "an image",
        '::image path="" alt=""::',
        '::image path="$1" alt="$2"::\n$0',
    ),
    SectionType.AUDIO: (
        "a recording and what is said in it",
        '::audio path="" transcript=""::',
        '::audio path="$1" transcript="$2"::\n$0',
    ),
}
_ATTRIBUTES: dict[str, tuple[tuple[str, str], ...]] = {
    "image": (("path", "the image file, required"), ("alt", "what it shows")),
    "audio": (("path", "the sound file, required"), ("transcript", "what is said, required")),
}
_HEADERS = {
    "question": ("### Q", "a question"),
    "answer": ("### A", "its answer"),
    "prompt": ("### Prompt", "what is asked"),
    "chosen": ("### Chosen", "the better answer"),
    "rejected": ("### Rejected", "the worse answer"),
}
_ORDER = {
    SectionType.INSTRUCTION: ("question", "answer"),
    SectionType.PREFERENCE: ("prompt", "chosen", "rejected"),
}


def complete_body(live: LiveDocument, offset: int, around: Surroundings) -> Completions:
    """What may stand at `offset`, which is outside the frontmatter."""
    place = body_place(live, offset)
    if place is None:
        return Completions()
    before = place.text[: place.column]
    if not place.text.strip():
        token = Span(place.start, place.start + len(place.text))
        fences = _fences(live, token) if _group_is_complete(place) else ()
        return Completions((*_headers(place, token), *fences))
    media = _MEDIA.match(place.text)
    if media and place.column > media.end():
        return _media(live, place, media, offset, around)
    adapter = _ADAPTER.match(place.text)
    if adapter and adapter.start("name") <= place.column <= adapter.end("name"):
        return Completions(tuple(_adapters(live, place, adapter)))
    if _COLONS.fullmatch(before):
        return _after_colons(live, place)
    probe = _PROBE.fullmatch(before)
    if probe and place.kind is SectionType.INSTRUCTION:
        return _probe(place, probe)
    hashes = _HASHES.fullmatch(before)
    if hashes and _REST.fullmatch(place.text, place.column):
        end = max(offset, place.start + len(place.text.rstrip()))
        token = Span(place.start + hashes.start("header"), end)
        return Completions(tuple(_headers(place, token)))
    return Completions()


def _group_is_complete(place: BodyPlace) -> bool:
    """Whether a new section may start here without cutting a question from its answer."""
    order = _ORDER.get(place.kind) if place.kind else None
    return order is None or place.header_above == order[-1]


def _after_colons(live: LiveDocument, place: BodyPlace) -> Completions:
    rest = re.match(r"[A-Za-z]*:{0,3}[ \t]*", place.text[place.column :])
    assert rest is not None
    end = place.column + rest.end()
    if end < len(place.text):
        return Completions()
    return Completions(tuple(_fences(live, Span(place.start, place.start + end))))


def _fences(live: LiveDocument, token: Span) -> Iterator[Completion]:
    for i, (kind, (about, plain, snippet)) in enumerate(_FENCES.items()):
        yield Completion(
            label=plain.split(" ")[0] + ("::" if " " in plain else ""),
            offer=Offer.FENCE,
            edit=TextEdit(token, plain),
            detail=about,
            sort=f"1{i}",
            snippet=snippet,
        )
        if kind.value not in _ATTRIBUTES:
            for name in offered(live):
                yield Completion(
                    label=f"::{kind}#{name}::",
                    offer=Offer.FENCE,
                    edit=TextEdit(token, f"::{kind}#{name}::"),
                    detail=f"{about}, for the adapter {name}",
                    sort=f"2{i}{name}",
                    snippet=snippet.replace(f"::{kind}::", f"::{kind}#{name}::"),
                )


def _adapters(live: LiveDocument, place: BodyPlace, match: re.Match[str]) -> Iterator[Completion]:
    token = Span(place.start + match.start("name"), place.start + match.end("name"))
    rest = place.text[match.end() :]
    colons = len(rest) - len(rest.lstrip(":"))
    for i, name in enumerate(offered(live)):
        edit = TextEdit(token, name + "::"[min(colons, 2) :])
        yield Completion(name, Offer.ADAPTER, edit, detail="adapter", sort=f"{i:02}")


def _media(
    live: LiveDocument, place: BodyPlace, media: re.Match[str], offset: int, around: Surroundings
) -> Completions:
    kind = media["kind"]
    present = set()
    for match in _ATTRIBUTE.finditer(place.text):
        present.add(match["name"])
        if not match.start("value") <= place.column <= match.end("value"):
            continue
        if match["name"] != "path":
            return Completions()
        value = match["value"] if match["closed"] else match["value"].split("::")[0]
        start = place.start + match.start("value")
        token = Span(start, max(offset, start + len(value)))
        wanted = IMAGES if kind == "image" else SOUNDS
        return path_completions(around.folder, live.text, token, offset, wanted)
    word = re.search(r"[ \t]([A-Za-z_]*)$", place.text[: place.column])
    if word is None:
        return Completions()
    rest = re.match(r"[A-Za-z_]*", place.text[place.column :])
    end = offset + (rest.end() if rest else 0)
    token = Span(place.start + word.start(1), end)
    return Completions(
        tuple(
            Completion(
                label=name,
                offer=Offer.ATTRIBUTE,
                edit=TextEdit(token, f'{name}=""'),
                detail=about,
                sort=str(i),
                snippet=f'{name}="$1"$0',
            )
            for i, (name, about) in enumerate(_ATTRIBUTES[kind])
            if name not in present
        )
    )


def legal_headers(place: BodyPlace) -> tuple[str, ...]:
    """The headers that may stand on this line, as field types."""
    order = _ORDER.get(place.kind) if place.kind else None
    if order is None:
        return ()
    if place.header_above is None or place.header_above not in order:
        return order[:1]
    following = order[(order.index(place.header_above) + 1) % len(order)]
    # A field that has its follower already takes no second one.
    return () if following == place.header_below and following != order[0] else (following,)


def _headers(place: BodyPlace, token: Span) -> Iterator[Completion]:
    for field in legal_headers(place):
        header, about = _HEADERS[field]
        ways = (header, f"{header} !probe") if field == "question" else (header,)
        for i, way in enumerate(ways):
            yield Completion(
                label=way,
                offer=Offer.HEADER,
                edit=TextEdit(token, way),
                detail=about if i == 0 else "a question to keep an eye on",
                sort=f"0{i}",
                snippet=f"{way}\n$0",
            )


def _probe(place: BodyPlace, match: re.Match[str]) -> Completions:
    if not _REST.fullmatch(place.text, place.column):
        return Completions()
    end = place.start + max(place.column, len(place.text.rstrip()))
    token = Span(place.start + match.start("word"), end)
    item = Completion(
        label="!probe",
        offer=Offer.VALUE,
        edit=TextEdit(token, "!probe"),
        detail="keep an eye on this question",
        documentation="The question is asked again after each training; it is trained like "
        "any other.",
    )
    return Completions((item,))
