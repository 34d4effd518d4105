"""What leaves the worker names nothing that only the command line has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dlm_engine
from dlm_engine.worker.jobs_adapter import Context
from dlm_engine.worker.messages import Phase, Progress, Text
from dlm_engine.worker.words import for_editors

ENGINE = Path(dlm_engine.__file__).parent
#: a flag or a command of dlm; pip's are typed in a terminal wherever they were read
NAMED = re.compile(r"(?<![\w-])--[a-z][a-z-]*|`dlm ")
PIP = re.compile(r"pip install (?:--[a-z-]+ )+")

#: What no job of the worker comes to, and why. A text of "" stands for the whole file.
ELSEWHERE = {
    ("data/sources/scaffold.py", ""): "`dlm train FOLDER`",
    ("training/purging.py", ""): "`dlm purge`",
    ("training/resuming.py", ""): "only --resume",
    ("training/starting.py", ""): "only --resume and --phase",
    ("training/support.py", ""): "only --phase",
    ("training/sinks.py", ""): "only dashboards",
    ("training/ranks.py", ""): "only several processes",
    ("hardware/plan.py", "--shard"): "only several processes",
    ("training/session.py", "--early-stop"): "only that flag",
    ("store/upkeep.py", ""): "`dlm gc` and `dlm prune`",
    ("document/frontmatter.py", ""): "what a key means, for the format's reference",
    ("checks.py", ""): "what a code means, for the format's reference",
    ("export/convert.py", ""): "llama.cpp's own flags",
    ("export/capabilities.py", "--dequantize"): "only that flag",
    ("export/capabilities.py", "add --merged or drop it"): "only that flag",
    (
        "export/capabilities.py",
        "merged into the full-precision base, as asked with --dequantize",
    ): "only that flag",
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a file but its docstrings; what is filled in is a number or a path."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    alone = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in inner | alone:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "7" for v in node.values]
            yield node.lineno, "".join(str(part) for part in parts)


def naming() -> list[tuple[str, int, str]]:
    """The engine's texts that name a flag or a command, those of the command line left out."""
    return [
        (path.relative_to(ENGINE).as_posix(), line, text)
        for path in sorted(ENGINE.rglob("*.py"))
        if path.relative_to(ENGINE).parts[0] != "cli"
        and path.relative_to(ENGINE).as_posix() != "worker/words.py"
        for line, text in texts(path)
        if NAMED.search(PIP.sub("", text))
    ]


def test_no_text_of_the_engine_leaves_it_in_words_of_the_command_line() -> None:
    left = [
        f"{path}:{line}: {for_editors(text)}"
        for path, line, text in naming()
        if (path, "") not in ELSEWHERE
        and (path, text) not in ELSEWHERE
        and NAMED.search(PIP.sub("", for_editors(text)))
    ]
    assert left == []


def test_what_is_left_out_is_still_there() -> None:
    found = {(path, text) for path, _, text in naming()} | {(path, "") for path, _, _ in naming()}
    assert set(ELSEWHERE) <= found


@pytest.mark.parametrize(
    ("said", "here"),
    [
        ("train again with --fresh", "train the document anew"),
        ("run `dlm train /a b/facts.dlm` first", "train the document first"),
        ("--adapter-mix 'a=0'", "the mix 'a=0'"),
        ("`dlm rollback` to 3, the newest one", "go back to version 3, the newest one"),
        ("choose a shorter home with --home", "a shorter home is set with dlm.home"),
        ("install it (pip install --no-deps x)", "install it (pip install --no-deps x)"),
        ("check the disk and try again", "check the disk and try again"),
    ],
)  # fmt: skip
def test_words_of_an_editor(said: str, here: str) -> None:
    assert for_editors(said) == here


def test_what_a_job_says_meanwhile_is_in_those_words(tmp_path: Path) -> None:
    said: list[Progress | Text] = []
    context = Context(1, tmp_path, said.append)
    context.phase(Phase.PREPARING, "the preferences wait for --resume")
    assert said == [Progress(1, Phase.PREPARING, "the preferences wait for the next training")]
