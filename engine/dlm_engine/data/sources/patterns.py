"""The patterns of `include` and `exclude`: over the whole path, not as in `.gitignore`.

`**` is any run of characters, `*` any without a slash, `?` one that is no slash; everything
else stands for itself, brackets too (folders named `[id]` are common). `**/` is any number of
whole folders, so `**/.env` is not also `my.env`. `pathlib` matches such paths from Python
3.13 on only, and there brackets are classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PARTS = re.compile(r"(?P<folders>(?:(?<=/)|^)\*\*/)|(?P<any>\*\*)|(?P<run>\*)|(?P<one>\?)")
_MEANING = {"folders": "(?:.*/)?", "any": ".*", "run": "[^/]*", "one": "[^/]"}


@dataclass(frozen=True, slots=True)
class Patterns:
    """Compiled patterns of one list."""

    files: re.Pattern[str]
    folders: re.Pattern[str]

    def match(self, path: str) -> bool:
        """Whether any pattern is this file."""
        return self.files.fullmatch(path) is not None

    def cover(self, path: str) -> bool:
        """Whether any pattern is this folder with all that is in it: `old`, `old/`, `old/**`."""
        return self.folders.fullmatch(path) is not None


def patterns(written: Iterable[str]) -> Patterns:
    """Compile; a leading `./` or `/` means nothing, since every path starts at the source."""
    listed = [each.removeprefix("./").lstrip("/") for each in written]
    whole = [
        re.sub(r"/(?:\*\*/?)?$", "", each)
        for each in listed
        if each.endswith(("/", "/**")) or not re.search(r"[*?]", each.rpartition("/")[2])
    ]
    whole += ["**"] if "**" in listed or "**/*" in listed else []
    return Patterns(_one_of(listed), _one_of(whole))


def _one_of(listed: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(_expression, listed)) or r"(?!)", re.DOTALL)


def _expression(pattern: str) -> str:
    found: list[str] = []
    at = 0
    for match in _PARTS.finditer(pattern):
        found += [re.escape(pattern[at : match.start()]), _MEANING[match.lastgroup or ""]]
        at = match.end()
    return "".join([*found, re.escape(pattern[at:])])
