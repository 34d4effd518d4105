"""Bytes to messages and back: the `Content-Length` framing, and how to find back into step.

A client that miscounts puts everything after it out of step. A header that stands inside a
body can only be the start of the next message, because JSON text has no bare line ends inside
strings and no letters outside them; so the damaged message is reported and the next one read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: a document of 100 MB in JSON; more is a wrong header
MOST_BYTES = 512 * 1024 * 1024
_MOST_HEADER_BYTES = 16 * 1024
_HEADER = re.compile(rb"content-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?\n", re.IGNORECASE)
_HEADER_WORD = re.compile(rb"content-length[ \t]*:", re.IGNORECASE)
_OTHER_HEADERS = re.compile(rb"(?:[!-9;-~]+:[^\r\n]*\r?\n)*")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
#: a body that holds this is no body: the length before it was wrong
_NEXT_HEADER = re.compile(rb"content-length[ \t]*:[ \t]*\d{1,18}[ \t]*\r\n", re.IGNORECASE)
_OVERLAP = 64


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that were no message, and why."""

    reason: str


class Framer:
    """Takes bytes as they come, in pieces of any size, and gives the messages in them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._length: int | None = None
        self._searched = 0
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages completed by `data`: decoded JSON, or `Malformed`."""
        self._buffer += data
        while True:
            if self._length is None:
                before = len(self._buffer)
                found = self._header()
                if found is not None:
                    yield found
                if len(self._buffer) == before:
                    return
                continue
            stray = self._stray_header()
            if stray is not None:
                self._drop(stray)
                yield Malformed("a message was shorter than its Content-Length")
                continue
            if len(self._buffer) < self._length:
                return
            body = bytes(self._buffer[: self._length])
            self._drop(self._length)
            message, used = _decoded(body)
            # What a length too great took from the next message goes back to it.
            self._buffer[:0] = body[used:]
            yield message

    def _stray_header(self) -> int | None:
        """Where the next message's header stands inside this one's body, if it does."""
        assert self._length is not None
        end = min(self._length, len(self._buffer))
        match = _NEXT_HEADER.search(self._buffer, max(0, self._searched - _OVERLAP), end)
        self._searched = end
        return match.start() if match else None

    def _header(self) -> Malformed | None:
        """Read the header at the buffer's start into `_length`; what is none is dropped."""
        end = _HEADER_END.search(self._buffer)
        if end is None:
            if len(self._buffer) <= _MOST_HEADER_BYTES:
                return None
            return self._skip_to_header(max(1, len(self._buffer) - _OVERLAP))
        head = bytes(self._buffer[: end.end()])
        lengths = list(_HEADER.finditer(head))
        if not lengths:
            if _HEADER_WORD.match(head):
                self._drop(end.end())
                return Malformed("a Content-Length that is no number")
            return self._skip_to_header(end.end())
        start = lengths[-1].start()
        before = head[:start]
        if before.strip() and not _OTHER_HEADERS.fullmatch(before):
            # The rest of a message that was longer than it said, and then a header.
            self._drop(start)
            if self._skipping:
                return None
            self._skipping = True
            return Malformed("a message was longer than its Content-Length")
        length = int(lengths[-1].group(1))
        self._drop(end.end())
        self._skipping = False
        if length > MOST_BYTES:
            return Malformed(f"a message of {length} bytes is too large")
        self._length = length
        self._searched = 0
        return None

    def _skip_to_header(self, most: int) -> Malformed | None:
        """Drop what is no header, up to the next one or `most` bytes; told once."""
        match = _HEADER_WORD.search(self._buffer, 1)
        self._drop(min(match.start(), most) if match else most)
        if self._skipping:
            return None
        self._skipping = True
        return Malformed("a header without Content-Length")

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._length = None
        self._searched = 0


def _decoded(body: bytes) -> tuple[Any, int]:
    """The message in `body`, and how many of its bytes it takes up."""
    try:
        return json.loads(body), len(body)
    except RecursionError:
        return Malformed("JSON that is nested too deeply"), len(body)
    except ValueError as error:
        used = len(body)
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            used = len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))
        return Malformed(f"not JSON: {error}"), used


def encoded(message: object) -> bytes:
    """A message with its header. ValueError for what JSON has no words for."""
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        body = text.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair, from a client's text: JSON can say it only as an escape.
        body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    return b"Content-Length: %d\r\n\r\n" % len(body) + body
