"""Text and its positions: line ends, line index, bytes to code points.

Offsets everywhere else are code points of the text as given, so this is the one
module that knows bytes. `ByteOffsets` counts the characters of a part in blocks, once:
decoding from the start of a line is quadratic when a document is one line, and a list
of all places is long to make when a section is the whole document.
"""

from __future__ import annotations

from itertools import accumulate

from dlm_engine.document.model import LINE_END
from dlm_engine.errors import DocumentError

BOM = "\ufeff"
#: every byte that continues a character
_CONTINUATION = bytes(range(0x80, 0xC0))
_BLOCK = 512


def decode(data: bytes, name: str) -> str:
    """The text of a `.dlm` file; byte-order mark and carriage returns stay.

    Raises:
        DocumentError: `data` is not UTF-8; the problem names the first bad byte.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DocumentError(
                name, "is UTF-16, not UTF-8 (first bad byte at offset 0)", "save it as UTF-8"
            ) from None
        bad = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        problem = f"is not UTF-8: {bad} ({error.reason})"
        raise DocumentError(name, problem, "save it as UTF-8") from None


def encode(text: str) -> bytes:
    """UTF-8 that never fails: a lone surrogate (only editors produce one) keeps three bytes."""
    return text.encode("utf-8", "surrogatepass")


def with_lf(text: str) -> str:
    """The text with every line end as one `\\n`."""
    if "\r" not in text:
        return text
    return text.replace("\r\n", "\n").replace("\r", "\n")


def line_end_of(text: str, start: int = 0, end: int | None = None) -> str:
    """The line end that a part of the text uses first; `\\n` when it has none."""
    match = LINE_END.search(text, start, len(text) if end is None else end)
    return match.group() if match else "\n"


def strip_blank_lines(text: str) -> str:
    """The text without leading and trailing blank lines; indentation of the first line stays."""
    end = len(text.rstrip())
    if not end:
        return ""
    start = text.rfind("\n", 0, len(text) - len(text.lstrip())) + 1
    last = text.find("\n", end)
    return text[start : last if last >= 0 else len(text)]


def count_line_ends(text: str, start: int, end: int) -> int:
    """How many line ends stand in a part that does not begin or end inside a `\\r\\n`."""
    ends = text.count("\n", start, end)
    if text.find("\r", start, end) >= 0:
        ends += text.count("\r", start, end) - text.count("\r\n", start, end)
    return ends


class ByteOffsets:
    """Code-point offset of a byte offset into `encode(text)`."""

    __slots__ = ("_characters", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        blocks = () if data.isascii() else range(0, len(data), _BLOCK)
        lengths = (len(_starts(data[at : at + _BLOCK])) for at in blocks)
        #: the characters that start before each block
        self._characters = list(accumulate(lengths, initial=0))

    def __call__(self, byte: int) -> int:
        if len(self._characters) == 1:
            return byte
        block = byte // _BLOCK
        return self._characters[block] + len(_starts(self._data[block * _BLOCK : byte]))


def _starts(data: bytes) -> bytes:
    """`data` without the bytes that continue a character."""
    return data.translate(None, _CONTINUATION)
