"""Text and its positions: line ends, line index, bytes to code points.

Offsets everywhere else are code points of the text as given, so this is the one
module that knows bytes. `ByteOffsets` keeps the places of the bytes that continue a
character and searches them: decoding from the start of a line is quadratic when a
document is one line.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import compress

from dlm_engine.document.model import LINE_END
from dlm_engine.errors import DocumentError

BOM = "\ufeff"
#: 1 for every byte that continues a character, 0 for every other
_CONTINUES = bytes(0x80 <= byte < 0xC0 for byte in range(256))


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


def line_end_of(text: str) -> str:
    """The line end the text uses first; `\\n` when it has none."""
    match = LINE_END.search(text)
    return match.group() if match else "\n"


def strip_blank_lines(text: str) -> str:
    """The text without leading and trailing blank lines; indentation of the first line stays."""
    end = len(text.rstrip())
    if not end:
        return ""
    start = text.rfind("\n", 0, len(text) - len(text.lstrip())) + 1
    last = text.find("\n", end)
    return text[start : last if last >= 0 else len(text)]


class ByteOffsets:
    """Code-point offset of a byte offset into `encode(text)`."""

    def __init__(self, data: bytes) -> None:
        found = () if data.isascii() else compress(range(len(data)), data.translate(_CONTINUES))
        self._continuations = array("Q", found)

    def __call__(self, byte: int) -> int:
        return byte - bisect_left(self._continuations, byte)
