"""A document with two named adapters on the tiny base, for the tests of adapters."""

from __future__ import annotations

from pathlib import Path

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
HARBOUR = (("Who keeps the lamp?", "Ana keeps it."), ("Where is the pier?", "In Norby."))
KITCHEN = (("What is the code?", "It is 4417."), ("Who bakes the bread?", "Per does."))


def pairs(facts: tuple[tuple[str, str], ...]) -> str:
    return "\n\n".join(f"### Q\n{q}\n### A\n{a}" for q, a in facts)


def named_text(
    base: Path | str,
    harbour: tuple[tuple[str, str], ...] = HARBOUR,
    kitchen: tuple[tuple[str, str], ...] = KITCHEN,
    *,
    settings: str = "  num_epochs: 2\n",
    adapters: str = "    harbour: {}\n    kitchen: {}\n",
    more: str = "",
) -> str:
    return (
        f"---\ndlm_id: {DLM_ID}\ndlm_version: 15\nbase_model: {base}\n"
        f"training:\n{settings}  adapters:\n{adapters}---\n\n"
        f"::instruction#harbour::\n{pairs(harbour)}\n\n"
        f"::instruction#kitchen::\n{pairs(kitchen)}\n{more}"
    )
