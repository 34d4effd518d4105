"""Enough of Go's text/template to run the templates we hand to Ollama.

Ollama renders a Modelfile's TEMPLATE with Go; what it will send to the model is only
known by running it. This evaluates the subset we write: text, trim markers, `range` over
messages with an index, `if`/`else if`/`else`, variables, fields, strings, numbers, and
`eq ne and or not`. Anything else is an error, so a template outside the subset is never
passed as checked. `render_ollama` adds what Ollama does around it.

Sources: pkg.go.dev/text/template; github.com/ollama/ollama template/template.go (collate)
and server/routes.go (where SYSTEM is put in front).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlm_engine.export.model import Message

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|:=|[(),=]|[^\s(),=]+')
_SPACE = " \t\r\n"


class TemplateError(ValueError):
    """The template is wrong, or uses what this evaluator does not know."""


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


@dataclass(frozen=True, slots=True)
class _Action:
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    """`range` or `if`: branches of (condition or range words, body); an else has no words."""

    keyword: str
    branches: tuple[tuple[tuple[str, ...], tuple[_Node, ...]], ...]


_Node = _Text | _Action | _Block


def render_ollama(template: str, messages: Sequence[Message], system: str | None) -> str:
    """The prompt Ollama would send for a chat request with these messages.

    `system` is the Modelfile's SYSTEM; it goes in front when the first message is not a
    system message. Neighbouring messages of one role are joined by a blank line.
    """
    told = [dict(m) for m in messages]
    if system is not None and system != "" and (not told or told[0]["role"] != "system"):
        told.insert(0, {"role": "system", "content": system})
    joined: list[dict[str, str]] = []
    for message in told:
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1]["content"] += "\n\n" + message["content"]
        else:
            joined.append(dict(message))
    data = {
        "System": "\n\n".join(m["content"] for m in told if m["role"] == "system"),
        "Messages": [{"Role": m["role"], "Content": m["content"]} for m in joined],
    }
    return execute(template, data)


def execute(template: str, data: Mapping[str, Any]) -> str:
    """Run a template. Raises `TemplateError`."""
    parts = list(_parts(template))
    nodes, rest = _parse(parts, 0, inside=False)
    if rest != len(parts):
        raise TemplateError("an {{end}} without a beginning")
    out: list[str] = []
    _run(nodes, data, [{"$": data}], out)
    return "".join(out)


def _parts(template: str) -> Iterator[_Text | _Action]:
    at, trim = 0, False
    for found in _ACTION.finditer(template):
        text = template[at : found.start()]
        text = text.lstrip(_SPACE) if trim else text
        text = text.rstrip(_SPACE) if found.group(1) else text
        if text:
            yield _Text(text)
        yield _Action(tuple(_TOKEN.findall(found.group(2))))
        at, trim = found.end(), bool(found.group(3))
    rest = template[at:]
    yield _Text(rest.lstrip(_SPACE) if trim else rest)


def _parse(
    parts: Sequence[_Text | _Action], at: int, *, inside: bool
) -> tuple[tuple[_Node, ...], int]:
    nodes: list[_Node] = []
    while at < len(parts):
        part = parts[at]
        if isinstance(part, _Text):
            nodes.append(part)
            at += 1
            continue
        keyword = part.words[0] if part.words else ""
        if keyword in {"end", "else"}:
            if inside:
                return tuple(nodes), at
            raise TemplateError(f"{keyword} outside of a block")
        if keyword in {"range", "if"}:
            block, at = _parse_block(parts, at, keyword)
            nodes.append(block)
            continue
        nodes.append(part)
        at += 1
    if inside:
        raise TemplateError("a block has no {{end}}")
    return tuple(nodes), at


def _parse_block(parts: Sequence[_Text | _Action], at: int, keyword: str) -> tuple[_Block, int]:
    branches = []
    words = _words(parts[at])[1:]
    while True:
        body, at = _parse(parts, at + 1, inside=True)
        branches.append((words, body))
        stop = _words(parts[at])
        if stop == ("end",):
            return _Block(keyword, tuple(branches)), at + 1
        if stop[:2] not in {("else",), ("else", "if")}:
            raise TemplateError(f"cannot read {' '.join(stop)}")
        words = stop[2:]


def _words(part: _Text | _Action) -> tuple[str, ...]:
    return part.words if isinstance(part, _Action) else ()


def _run(nodes: Sequence[_Node], dot: Any, scopes: list[dict[str, Any]], out: list[str]) -> None:
    for node in nodes:
        if isinstance(node, _Text):
            out.append(node.text)
        elif isinstance(node, _Block):
            _run_block(node, dot, scopes, out)
        else:
            _run_action(node.words, dot, scopes, out)


def _run_action(
    words: tuple[str, ...], dot: Any, scopes: list[dict[str, Any]], out: list[str]
) -> None:
    if len(words) > 2 and words[1] in {":=", "="}:
        value = _value(words[2:], dot, scopes)
        if words[1] == ":=":
            scopes[-1][words[0]] = value
            return
        scope = next((s for s in reversed(scopes) if words[0] in s), None)
        if scope is None:
            raise TemplateError(f"{words[0]} is not defined")
        scope[words[0]] = value
        return
    if words and words[0].startswith("/*"):
        return
    out.append(str(_value(words, dot, scopes)))


def _run_block(block: _Block, dot: Any, scopes: list[dict[str, Any]], out: list[str]) -> None:
    if block.keyword == "if":
        for words, body in block.branches:
            if not words or _truth(_value(words, dot, scopes)):
                _run(body, dot, [*scopes, {}], out)
                return
        return
    words, body = block.branches[0]
    names: tuple[str, ...] = ()
    if ":=" in words:
        split = words.index(":=")
        names = tuple(w for w in words[:split] if w != ",")
        words = words[split + 1 :]
    for index, item in enumerate(_value(words, dot, scopes)):
        bound = dict(zip(names, (index, item) if len(names) == 2 else (item,), strict=False))
        _run(body, item, [*scopes, bound], out)


def _value(words: Sequence[str], dot: Any, scopes: list[dict[str, Any]]) -> Any:
    value, rest = _operand(list(words), dot, scopes)
    if rest:
        raise TemplateError(f"cannot read {' '.join(words)}")
    return value


def _operand(words: list[str], dot: Any, scopes: list[dict[str, Any]]) -> tuple[Any, list[str]]:
    if not words:
        raise TemplateError("an action is empty")
    first, rest = words[0], words[1:]
    if first in {"eq", "ne", "and", "or", "not"}:
        arguments = []
        while rest and rest[0] != ")":
            value, rest = _argument(rest, dot, scopes)
            arguments.append(value)
        return _call(first, arguments), rest
    return _argument(words, dot, scopes)


def _argument(words: list[str], dot: Any, scopes: list[dict[str, Any]]) -> tuple[Any, list[str]]:
    first, rest = words[0], words[1:]
    if first == "(":
        value, rest = _operand(rest, dot, scopes)
        if rest[:1] != [")"]:
            raise TemplateError("a bracket is not closed")
        return value, rest[1:]
    if first.startswith('"'):
        return _unquote(first), rest
    if re.fullmatch(r"-?\d+", first):
        return int(first), rest
    if first in {"true", "false"}:
        return first == "true", rest
    if first.startswith((".", "$")):
        return _path(first, dot, scopes), rest
    raise TemplateError(f"{first} is not known here")


def _path(word: str, dot: Any, scopes: list[dict[str, Any]]) -> Any:
    head, *fields = word.split(".")
    if head == "":
        value = dot
    else:
        scope = next((s for s in reversed(scopes) if head in s), None)
        if scope is None:
            raise TemplateError(f"{head} is not defined")
        value = scope[head]
    for field in filter(None, fields):
        if not isinstance(value, Mapping) or field not in value:
            raise TemplateError(f"{word} is not known here")
        value = value[field]
    return value


def _call(name: str, arguments: list[Any]) -> Any:
    if name == "not" and len(arguments) == 1:
        return not _truth(arguments[0])
    if name == "eq" and len(arguments) > 1:
        return any(arguments[0] == other for other in arguments[1:])
    if name == "ne" and len(arguments) == 2:
        return arguments[0] != arguments[1]
    if name in {"and", "or"} and arguments:
        wanted = name == "or"
        return next((a for a in arguments[:-1] if _truth(a) is wanted), arguments[-1])
    raise TemplateError(f"{name} has the wrong number of arguments")


def _truth(value: Any) -> bool:
    return bool(value)


def quote(text: str) -> str:
    """A Go string literal in ASCII; control and special characters are escaped,
    and braces, so that no literal holds the end of an action."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(map(_escaped, escaped)) + '"'


def _escaped(character: str) -> str:
    if " " <= character <= "~" and character not in "{}":
        return character
    simple = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    if character in simple:
        return simple[character]
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _unquote(literal: str) -> str:
    def plain(found: re.Match[str]) -> str:
        body = found.group(1)
        if body[0] in "uU":
            return chr(int(body[1:], 16))
        simple = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
        if body not in simple:
            raise TemplateError(f"escape \\{body} is not known here")
        return simple[body]

    return re.sub(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", plain, literal[1:-1], flags=re.DOTALL)


def literal(text: str) -> str:
    """Template source that renders as `text`, whatever it holds.

    Plain where it can be, so that a person can read the Modelfile.
    """
    plain = all(c.isprintable() or c in "\n\t" for c in text)
    if plain and "{{" not in text and '"""' not in text and not text.endswith(("{", '"')):
        return text
    return "{{ " + quote(text) + " }}" if text else ""
