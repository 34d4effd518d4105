"""Whether an answer is right, by the answer that the document gives.

An answer is right when it says what the reference says, in whatever words around it: it
contains the reference, or all of its telling words in their order, which are those that the
question does not already hold and that are not mere grammar. Case, punctuation and the form
of Unicode do not count; a "not" that only one of the two has does. Asking another model
would cost more than the answer and could not be repeated.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_WORD = re.compile(r"\w+(?:[.,:]\d+)*")
#: Scripts without spaces between words: Thai, kana, Chinese characters, Hangul.
_RUNNING = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_NEGATIONS = frozenset({"not", "no", "never", "none", "nobody", "nothing", "neither", "without"})
_GRAMMAR = frozenset(
    re.findall(
        r"\w+",
        "a an the it its is are was were be been being am do does did has have had of in on at to "
        "by for from with and or as that this these those there here he she they them his her "
        "their you your i we our us will would can could should may might must then so than into",
    )
)


def right(answer: str, reference: str, question: str = "") -> bool:
    """Whether `answer` says what `reference`, the document's answer to `question`, says."""
    said, expected = words(answer), words(reference)
    if not expected:
        return not said
    if _contains(said, expected):
        return True
    if _RUNNING.search(reference):
        return "".join(expected) in "".join(said)
    asked = set(words(question))
    telling = [word for word in expected if word not in asked and word not in _GRAMMAR]
    if not telling or bool(_NEGATIONS & set(said)) != bool(_NEGATIONS & set(expected)):
        return False
    return _in_order(telling, said)


def words(text: str) -> list[str]:
    """The words of a text in one form; a number keeps its decimal point and its colon."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return _WORD.findall(re.sub(r"n't\b", " not", plain).replace("'", ""))


def _contains(whole: Sequence[str], part: Sequence[str]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def _in_order(wanted: Sequence[str], found: Sequence[str]) -> bool:
    rest = iter(found)
    return all(word in rest for word in wanted)
