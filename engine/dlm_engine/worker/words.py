"""Refusals in the words of an editor: the engine's own name flags and commands of the command line.

The one table from those to what a person at an editor can do. Whoever refuses knows one front,
the command line; the worker's border and the server's put what leaves them through here, so no
module of the engine has to know two. A test walks every text of the engine and finds none that
still names a flag or a command behind this border. What only the command line can do is said so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dlm_engine.worker.messages import Choice

_NAMED: Final = re.compile(r"--[a-z]|`dlm ")

#: compiled only where something is named, as the server starts without
_WORDS: Final = (
    # training
    (r"\btrain (?:again |anew )?with --fresh", "train the document anew"),
    (r"\brun `dlm train[^`]*` (?:first|to get the base)", "train the document first"),
    (r"\brun `dlm train[^`]*`", "train the document first"),
    (
        r"`--update-lock` accepts what is here now and writes the lock anew",
        "train the document and accept what is here now, which writes the lock anew",
    ),
    (
        r"accept them with `--update-lock` \(`--ignore-lock` runs once without touching the lock\)",
        "train the document and accept the change, for good or this once",
    ),
    (
        r"then run the command once with --i-accept-license; the acceptance is remembered",
        "then accept it; a training remembers the acceptance",
    ),
    (r"\bwait for --resume\b", "wait for the next training"),
    (r"^--resume$", "the kept run"),
    # documents and bases
    (r"\brun `dlm init` on a base it has", "choose another base"),
    (r"`dlm init --help` lists the bases", "choose one of the bases"),
    (r"\bcreate it with `dlm init [^`]*`", "save it first"),
    (r"`dlm init` writes a fresh document with a valid one", "give the document a new id"),
    (r"\brun `dlm check` to see why", "see its problems"),
    (r"`dlm check [^`]*` lists everything", "its problems list everything"),
    # the store
    (r"\bchoose (another|another store|a shorter home) with --home", r"\1 is set with dlm.home"),
    (
        r"free some space \(`dlm gc` removes old versions\) or choose another --home",
        "free some space, keep fewer versions (dlm.train.keepVersions) or set another dlm.home",
    ),
    (r"\bgive --home an existing folder", "set dlm.home to an existing folder"),
    (r"`dlm versions [^`]*` lists those that are", "the list of versions has those that are"),
    (r"`dlm rollback` to one of the versions", "going back to one of the versions"),
    (r"`dlm rollback` to (\d+), the newest", r"go back to version \1, the newest"),
    # asking
    (r"^--adapter-mix\b", "the mix"),
    (r"\bask the base with --base", "ask the base"),
    (r"\bleave out --adapter", "leave out the adapter"),
    (r"\bchoose with --adapter", "choose an adapter"),
    (r"^--adapter$", "an adapter"),
    (r"^--gate auto$", "the gate"),
    (r"^--base$", "the base"),
    # exporting
    (r"\bsee `dlm export --help`", "choose one of the targets that are offered"),
    (r"\b(?:export with|use) --target gguf", "export GGUF files for llama.cpp"),
    (r"\bexport with --merged instead", "only the command line can export it merged"),
    (
        r"\bexport without --merged, or accept the difference with --merged --dequantize",
        "only the command line can export it merged, and accept the difference",
    ),
    (
        r"^accept the difference with --merged --dequantize",
        "only the command line can accept the difference that merging it makes",
    ),
    (r"\bgive --out a folder that is new or empty", "move that folder away"),
)  # fmt: skip


#: the flags of a remedy with which a training goes on, and what they are in `messages.Accept`
_CHOICES: Final[dict[str, Choice]] = {
    "--fresh": "fresh",
    "--update-lock": "update",
    "--ignore-lock": "ignore",
    "--i-accept-license": "licence",
}


def choices(remedy: str) -> tuple[Choice, ...]:
    """What a person may choose of, where the engine's own `remedy` is a choice."""
    return tuple(choice for flag, choice in _CHOICES.items() if flag in remedy)


def for_editors(text: str) -> str:
    """`text` of a refusal or a remark, saying what a person at an editor can do."""
    if _NAMED.search(text) is None:
        return text
    for named, said in _WORDS:
        text = re.sub(named, said, text)
    return text
