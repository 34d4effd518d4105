from __future__ import annotations

import pytest

from dlm_engine.data.sources.patterns import patterns


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("**/*", ["a", "a/b", ".x/y.z"], []),
        ("*", ["a", ".a"], ["a/b"]),
        ("*.md", ["a.md"], ["a/b.md", "amd"]),
        ("**/*.md", ["a.md", "a/b/c.md"], ["a.mdx"]),
        ("docs/**", ["docs/a", "docs/a/b"], ["docs", "xdocs/a", "a/docs/b"]),
        ("docs/**/*.md", ["docs/a.md", "docs/x/y/a.md"], ["docsa.md"]),
        ("**/.env", [".env", "a/.env"], ["my.env", "a/b.env"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("app/[id].tsx", ["app/[id].tsx"], ["app/i.tsx"]),
        ("a+b(c).txt", ["a+b(c).txt"], ["aab(c).txt"]),
        ("/top.txt", ["top.txt"], ["a/top.txt"]),
        ("./top.txt", ["top.txt"], []),
        ("a\nb", ["a\nb"], []),
        ("**/*", ["a\nb/c"], []),
    ],
)
def test_files(pattern: str, matches: list[str], others: list[str]) -> None:
    compiled = patterns([pattern])
    assert [p for p in [*matches, *others] if compiled.match(p)] == matches


@pytest.mark.parametrize(
    ("pattern", "covered", "others"),
    [
        ("old", ["old"], ["older", "a/old"]),
        ("old/", ["old"], ["a/old"]),
        ("old/**", ["old"], ["a/old"]),
        ("**/old/**", ["old", "a/b/old"], ["bold"]),
        ("*", [], ["a"]),
        ("**/*.md", [], ["a.md"]),
        ("**", ["a", "a/b"], []),
        ("a/*/c", ["a/b/c"], ["a/c"]),
    ],
)
def test_folders_left_out_whole(pattern: str, covered: list[str], others: list[str]) -> None:
    compiled = patterns([pattern])
    assert [p for p in [*covered, *others] if compiled.cover(p)] == covered


def test_no_pattern_is_nothing() -> None:
    assert not patterns([]).match("")
    assert not patterns([]).cover("")
