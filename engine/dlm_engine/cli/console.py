"""What the command line says and where: results to stdout, everything else to stderr.

The only module that prints. Nothing is markup: brackets in a path stay brackets. Text
that comes from documents or models loses its control characters before it reaches a
terminal, since an escape sequence in a document must not drive the reader's screen.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TextIO

from dlm_engine.errors import DlmError

#: everything a terminal obeys, except tab and newline
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Verbosity(StrEnum):
    QUIET = "quiet"
    NORMAL = "normal"
    VERBOSE = "verbose"


def visible(text: str) -> str:
    """`text` with control and direction characters written as escapes."""
    return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", text)


def is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (ValueError, AttributeError):  # closed, or not a real stream
        return False


def prepare_streams() -> None:
    """Characters the terminal's encoding lacks are written as escapes, never a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Console:
    verbosity: Verbosity = Verbosity.NORMAL

    def status(self, message: str) -> None:
        """Progress and explanations, to stderr; silent with `--quiet`."""
        if self.verbosity is not Verbosity.QUIET:
            print(visible(message), file=sys.stderr, flush=True)

    def detail(self, message: str) -> None:
        """What only `--verbose` shows."""
        if self.verbosity is Verbosity.VERBOSE:
            print(visible(message), file=sys.stderr, flush=True)

    def warning(self, message: str) -> None:
        print(f"warning: {visible(message)}", file=sys.stderr, flush=True)

    def result(self, text: str) -> None:
        """What was asked for, to stdout."""
        print(visible(text) if is_terminal(sys.stdout) else text)

    def result_part(self, text: str) -> None:
        """A piece of a streamed result, shown at once."""
        sys.stdout.write(visible(text) if is_terminal(sys.stdout) else text)
        sys.stdout.flush()

    def result_json(self, value: Any) -> None:
        """One JSON value, to stdout; the same input gives the same bytes."""
        print(json.dumps(value, ensure_ascii=False, indent=2))

    def error(self, error: DlmError) -> None:
        print(f"error: {visible(str(error))}", file=sys.stderr, flush=True)

    def failure(self, message: str) -> None:
        """Like an error, of what has no error of its own."""
        print(f"error: {visible(message)}", file=sys.stderr, flush=True)

    def usage_error(self, command: str, problem: str) -> None:
        remedy = f"see `{command} --help`"
        print(f"error: {command}: {visible(problem)}: {remedy}", file=sys.stderr, flush=True)

    def traceback(self, error: BaseException) -> None:
        if self.verbosity is Verbosity.VERBOSE:
            traceback.print_exception(error, file=sys.stderr)

    def bug(self, error: BaseException) -> None:
        """An exception nobody meant to raise: one line, or all of it with `--verbose`."""
        self.traceback(error)
        said = visible(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
        remedy = (
            "please report it with the traceback above"
            if self.verbosity is Verbosity.VERBOSE
            else "please report it; run again with --verbose for the traceback"
        )
        print(f"error: bug in dlm: {said}: {remedy}", file=sys.stderr, flush=True)
