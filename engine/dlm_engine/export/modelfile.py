"""The Ollama Modelfile: what it says, and text that survives its parser.

Ollama's parser knows no escapes. A value is either bare, in quotes, or in triple quotes,
ends at a quote that stands before a line end, and loses every character that Go does not
call printable (a no-break space, the joiner inside an emoji). So a text is quoted only if
reading it back gives the same text, and `write_modelfile` refuses to write what it cannot
read back; a system prompt that no quoting can carry moves into the template, as a Go
string, which has escapes.

Source: github.com/ollama/ollama parser/parser.go.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from dlm_engine.errors import ExportError

_SPACE, _NEWLINE = " \t", "\r\n"
_COMMANDS = {"from", "license", "template", "system", "adapter", "parameter"}
_BARE = {"from", "adapter", "parameter temperature", "parameter top_p", "parameter num_ctx"}


@dataclass(frozen=True, slots=True)
class Modelfile:
    """Contents of a Modelfile. `comments` are single lines; `system` is None when the
    template carries the system prompt or there is none."""

    comments: tuple[str, ...]
    base: str
    adapter: str | None
    template: str
    system: str | None
    stops: tuple[str, ...]
    temperature: float
    top_p: float
    context: int
    licence: str | None


def quote(text: str) -> str | None:
    """`text` as a Modelfile value, or None when the format cannot carry it."""
    marks = ('"""', '"') if "\n" in text or '"' in text else ('"', '"""')
    for candidate in (f"{mark}{text}{mark}" for mark in marks):
        with suppress(ExportError):
            if parse(f"SYSTEM {candidate}\n") == [("system", text)]:
                return candidate
    return None


def write_modelfile(content: Modelfile) -> str:
    """The file's text.

    Raises:
        ExportError: a value would not be read back as it is.
    """
    commands: list[tuple[str, str]] = [("from", content.base)]
    if content.adapter:
        commands.append(("adapter", content.adapter))
    commands.append(("template", content.template))
    commands += [("parameter stop", stop) for stop in content.stops]
    commands += [
        ("parameter temperature", f"{content.temperature:g}"),
        ("parameter top_p", f"{content.top_p:g}"),
        ("parameter num_ctx", str(content.context)),
    ]
    if content.system is not None:
        commands.append(("system", content.system))
    if content.licence:
        commands.append(("license", content.licence))
    lines = [f"# {' '.join(comment.split())}" for comment in content.comments]
    blocks = ["\n".join(lines)]
    for name, value in commands:
        written = value if name in _BARE else quote(value)
        if written is None:
            raise ExportError(
                "Modelfile", f"{name} holds text that Ollama's parser cannot carry",
                "export with --target gguf, or take the unusual characters out",
            )  # fmt: skip
        command, space, rest = name.partition(" ")
        blocks.append(f"{command.upper()}{space}{rest} {written}")
    text = "\n".join(blocks) + "\n"
    expected = [(name.removeprefix("parameter "), value) for name, value in commands]
    if parse(text) != expected:
        raise ExportError("Modelfile", "does not read back as it was written", "")
    return text


def parse(text: str) -> list[tuple[str, str]]:
    """Commands as Ollama's parser reads them: (name, value), a parameter under its own name.

    Raises:
        ExportError: Ollama would refuse the file.
    """
    commands: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        if text[at] in _SPACE + _NEWLINE:
            at += 1
        elif text[at] == "#":
            at = _line_end(text, at)
        else:
            name, at = _word(text, at)
            if name.lower() not in _COMMANDS:
                raise ExportError("Modelfile", f"{name} is not a command", "")
            if name.lower() == "parameter":
                name, at = _word(text, at)
            value, at = _value(text, at)
            commands.append((name.lower(), value))
    return commands


def _line_end(text: str, at: int) -> int:
    while at < len(text) and text[at] not in _NEWLINE:
        at += 1
    return at


def _word(text: str, at: int) -> tuple[str, int]:
    start = at
    while at < len(text) and (text[at].isalnum() or text[at] == "_"):
        at += 1
    if at == start or at == len(text) or text[at] not in _SPACE:
        raise ExportError("Modelfile", f"cannot be read at character {start}", "")
    return text[start:at], at + 1


def _value(text: str, at: int) -> tuple[str, int]:
    """Characters up to a line end at which what was read so far is a complete value."""
    read: list[str] = []
    while at < len(text):
        character = text[at]
        if character in _NEWLINE:
            value = _unquoted("".join(read).strip())
            if value is not None:
                return value, at
            read.append(character)
        elif character in _SPACE or character.isprintable():
            read.append(character)
        at += 1
    value = _unquoted("".join(read).strip())
    if value is None:
        raise ExportError("Modelfile", "ends inside a quoted value", "")
    return value, at


def _unquoted(text: str) -> str | None:
    for mark in ('"""', '"'):
        if text.startswith(mark):
            complete = len(text) >= 2 * len(mark) and text.endswith(mark)
            return text[len(mark) : -len(mark)] if complete else None
    return text
