"""JSON-RPC frames over pipes, as the language server protocol frames them.

The invariant: a frame is written whole, under one lock, so threads never tear each other's;
and nothing but frames reaches the pipe, because the real standard output is taken away
(`take_standard_streams`) before any library that might print is imported.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

#: More is no message of ours; a header that claims it is garbage.
MAX_FRAME: Final = 64 * 2**20
_MAX_HEADER: Final = 8192

Message = dict[str, Any]


class WireError(Exception):
    """What came through the pipe is no frame."""


def read_frame(stream: BinaryIO) -> Message | None:
    """The next message, None at the end of the stream.

    Raises:
        WireError: no header where one must stand, no length, or no JSON object.
    """
    length = None
    header = 0
    while True:
        line = stream.readline(_MAX_HEADER)
        if not line:
            if header:
                raise WireError("the stream ended within a header")
            return None
        header += len(line)
        if header > _MAX_HEADER or not line.endswith(b"\n"):
            raise WireError("no header where one must stand")
        line = line.strip()
        if not line:
            break
        name, colon, value = line.partition(b":")
        # A traceback has colons as well: only the two headers that exist are taken for one.
        header_name = name.strip().lower()
        if not colon or header_name not in (b"content-length", b"content-type"):
            raise WireError(f"not a header line: {line[:60]!r}")
        if header_name == b"content-length":
            length = value.strip()
    if length is None or not length.isdigit() or not 0 < int(length) <= MAX_FRAME:
        raise WireError(f"no usable length: {length!r}")
    body = stream.read(int(length))
    if len(body) < int(length):
        raise WireError("the stream ended within a message")
    try:
        message = json.loads(body)
    except ValueError as error:
        raise WireError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise WireError("not a JSON object")
    return message


def frame(message: Mapping[str, Any]) -> bytes:
    """`message` as one frame; a number that is not finite raises `ValueError`."""
    body = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    data = body.encode("utf-8", errors="replace")
    return b"Content-Length: %d\r\n\r\n%s" % (len(data), data)


class Writer:
    """Writes frames from any thread. A closed pipe is no error: the reader tells of its end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, message: Mapping[str, Any], timeout: float = -1) -> bool:
        """Whether the frame went out; False when another thread is stuck for `timeout` seconds."""
        data = frame(message)
        if not self._lock.acquire(timeout=timeout):
            return False
        try:
            self._stream.write(data)
            self._stream.flush()
        except (OSError, ValueError):
            return False
        finally:
            self._lock.release()
        return True


def take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """The real (input, output) pipes; whoever prints or reads from now on meets others.

    Descriptor 1 becomes standard error, also for child processes and C libraries, and
    descriptor 0 is empty.
    """
    incoming = os.fdopen(os.dup(0), "rb", closefd=True)
    outgoing = os.fdopen(os.dup(1), "wb", closefd=True)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stderr
    return incoming, outgoing
