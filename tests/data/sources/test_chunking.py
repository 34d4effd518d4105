"""Where texts are cut, and that the pieces are the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlm_engine.data.sources import chunks

PYTHON = '''\
"""A module."""

import os


# about one
@decorated
def one():
    return 1


class Two:
    """Two."""

    def a(self):
        return "a" * 40

    # about b
    def b(self):
        return "b" * 40


x = 3
'''
MARKDOWN = """\
# Top

Words under the top.

## Part one

Words of the first part, a good many of them.

```md
## no heading
```

### Detail

Details, details.

## Part two

The end of it all.
"""
C = """\
int one(void) {

    return 1;
}

int two(void)
{
    return 2;
}
"""


def bodies(text: str, label: str, length: int) -> list[str]:
    return [chunk.body for chunk in chunks(text, label, length)]


@pytest.mark.parametrize(
    ("text", "label", "length", "begin"),
    [
        (
            PYTHON,
            "m.py",
            40,
            ['"""A module', "class Two", "    # about b"],
        ),
        (PYTHON, "m.py", 32, ['"""A module', "# about one", "class Two", "    # about b"]),
        (MARKDOWN, "m.md", 40, ["# Top", "## Part one", "### Detail"]),
        (MARKDOWN, "m.md", 24, ["# Top", "## Part", "Words", "```md", "### Detail", "## Part two"]),
        (C, "m.c", 24, ["int one", "int two"]),
        ("def broken(:\n  x\n\ny = 1\n", "m.py", 8, ["def broken", "y = 1"]),
    ],
)
def test_seams(text: str, label: str, length: int, begin: list[str]) -> None:
    found = bodies(text, label, length)
    assert [body.startswith(start) for body, start in zip(found, begin, strict=False)] == [
        True
    ] * len(begin), found
    assert "".join(found) == text


def test_a_piece_says_where_it_is_from_and_what_was_before() -> None:
    found = chunks(PYTHON, "pkg/m.py", 40)
    inner = next(c for c in found if c.body.startswith("    # about b"))
    assert inner.context.startswith("# source: pkg/m.py\n\nclass Two:\n")
    part = next(c for c in chunks(MARKDOWN, "m.md", 24) if c.body.startswith("## Part two"))
    assert part.context.startswith("# source: m.md\n\n# Top\n")
    before = part.context.removeprefix("# source: m.md\n\n# Top\n")
    assert before
    assert (MARKDOWN.partition("## Part two")[0]).endswith(before)


def test_what_fits_is_one_piece() -> None:
    (only,) = chunks(PYTHON, "m.py", 2048)
    assert only.body == PYTHON
    assert only.context == "# source: m.py\n\n"


@given(
    st.text(alphabet="ab \n#`:(\u2028é\r\t", max_size=400),
    st.sampled_from(["a.py", "a.md", "a.txt", "a"]),
    st.integers(4, 64),
)
def test_the_pieces_are_the_text_and_none_is_too_long(text: str, label: str, length: int) -> None:
    found = chunks(text, label, length)
    assert "".join(chunk.body for chunk in found) == text
    assert all(len(chunk.body) <= max(1, int(length * 2.25)) for chunk in found)
    assert found == chunks(text, label, length)


def test_hostile_python_is_only_text() -> None:
    text = "(" * 20_000 + "\n" + "x = 1\n" * 100
    assert "".join(bodies(text, "a.py", 100)) == text
