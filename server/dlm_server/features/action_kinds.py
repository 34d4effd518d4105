"""The kinds of code actions, apart from what makes them: a client is told them at once."""

from __future__ import annotations

from enum import StrEnum


class ActionKind(StrEnum):
    QUICK_FIX = "quickfix"
    REWRITE = "refactor.rewrite"
    FIX_ALL = "source.fixAll.dlm"
    MIGRATE = "source.migrate.dlm"


class Asked(StrEnum):
    BY_A_PERSON = "person"
    BY_THE_EDITOR = "editor"
