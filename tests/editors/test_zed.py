"""The Zed extension, as Zed's own code reads it: manifest, language, queries, and its grammar."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tree_sitter import Language, Query

import tree_sitter_dlm

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "clients" / "zed"
LANGUAGE = EXTENSION / "languages" / "dlm"
GRAMMAR = "grammar/tree-sitter-dlm"

#: what Zed needs of a query and what else it reads there
CAPTURES = {
    "injections": ({"injection.content"}, {"injection.language"}),
    "outline": ({"item", "name"}, {"context"}),
}


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_the_queries_are_up_to_date() -> None:
    run(sys.executable, ROOT / "scripts" / "generate_zed.py", "--check")


@pytest.mark.parametrize("name", ["highlights", "injections", "outline"])
def test_a_query_compiles_and_has_what_zed_needs(name: str) -> None:
    query = Query(
        Language(tree_sitter_dlm.language()),
        (LANGUAGE / f"{name}.scm").read_text(encoding="utf-8"),
    )
    captures = {query.capture_name(n) for n in range(query.capture_count)}
    needed, read = CAPTURES.get(name, (captures, set()))
    assert needed <= captures <= needed | read


def test_no_colour_is_named_as_no_theme_of_zed_does() -> None:
    text = (LANGUAGE / "highlights.scm").read_text(encoding="utf-8")
    assert "@markup" not in text
    assert "(heading) @title" in text


def test_the_manifest_and_the_language_name_each_other() -> None:
    manifest, language = read(EXTENSION / "extension.toml"), read(LANGUAGE / "config.toml")
    assert {"id", "name", "version", "schema_version"} <= set(manifest)
    assert manifest["language_servers"]["dlm"]["languages"] == [language["name"]]
    assert language["path_suffixes"] == ["dlm"]
    assert language["grammar"] == Language(tree_sitter_dlm.language()).name
    # With a comment sign, `### Q` would go on as a comment in the next line.
    assert "line_comments" not in language
    crate = read(EXTENSION / "Cargo.toml")
    assert crate["lib"] == {"crate-type": ["cdylib"]}
    assert crate["package"]["version"] == manifest["version"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of dlm, as far as the extension needs one."""
    root = tmp_path / "a clone"
    for part in ("clients/zed", "scripts", GRAMMAR):
        shutil.copytree(ROOT / part, root / part)
    run("git", "init", "-q", root)
    run("git", "add", ".", cwd=root)
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    run("git", *who, "commit", "-qm", "all", cwd=root)
    return root


def packaged(checkout: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    script = checkout / "scripts" / "package_zed.py"
    return subprocess.run([sys.executable, script, folder], capture_output=True, text=True)


def test_the_packaged_extension_has_a_grammar_that_zed_can_fetch(
    checkout: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "zed"
    for _ in range(2):
        done = packaged(checkout, folder)
        assert done.returncode == 0, done.stderr
    assert (folder / "src" / "lib.rs").is_file()
    grammar = read(folder / "extension.toml")["grammars"]["dlm"]
    # What Zed does with it.
    fetched = folder / "grammars" / "dlm"
    run("git", "init", "-q", fetched)
    run("git", "remote", "add", "origin", grammar["repository"], cwd=fetched)
    run("git", "fetch", "-q", "--depth", "1", "origin", grammar["rev"], cwd=fetched)
    run("git", "checkout", "-q", grammar["rev"], cwd=fetched)
    for name in ("parser.c", "scanner.c"):
        source = fetched / grammar["path"] / "src" / name
        assert source.read_bytes() == (ROOT / GRAMMAR / "src" / name).read_bytes()


def test_what_cannot_be_packaged_is_said(checkout: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "extension.toml").write_text('id = "another"\n')
    for taken in (mine, mine / "extension.toml"):
        done = packaged(checkout, taken)
        assert done.returncode == 1
        assert "holds something else" in done.stderr
    (checkout / GRAMMAR / "src" / "parser.c").write_text("")
    done = packaged(checkout, tmp_path / "zed")
    assert done.returncode == 1
    assert "not committed" in done.stderr
    shutil.rmtree(checkout / ".git")
    done = packaged(checkout, tmp_path / "zed")
    assert done.returncode == 1
    assert "no git repository" in done.stderr
    assert not (tmp_path / "zed").exists()
