"""What a user may set: one table of names, types, defaults and words, and how values are read.

`SETTINGS` is the only place that knows a setting. The dataclass below carries the values, the
clients' schemas and the table in the docs are printed from it, and every value from a client is
checked against it. A wrong value keeps the default and is reported; it never stops the server.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

PREFIX = "dlm"


@dataclass(frozen=True, slots=True)
class Settings:
    """The values in force: `dlm.train.maxSteps` is `train_max_steps`."""

    train_on: Literal["never", "armed", "manualSave"] = "armed"
    train_max_steps: int = 72
    train_max_seconds: float = 60.0
    train_settle_milliseconds: int = 300
    train_keep_versions: int = 10
    probes_after_training: bool = True
    results_display: Literal["inline", "hints", "off"] = "inline"
    results_max_lines: int = 12
    inlay_hints_enabled: bool = True
    inlay_hints_tokens: bool = True
    code_lens_enabled: bool = True
    diagnostics_debounce_milliseconds: int = 200
    diagnostics_secrets: bool = True
    home: str | None = None
    engine_python: str | None = None
    engine_idle_minutes: float = 15.0
    engine_memory_limit_gib: float | None = None
    trusted: bool = True


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `kind` is the JSON type; `least` and `most` are inclusive."""

    name: str
    field: str
    kind: Literal["string", "integer", "number", "boolean"]
    meaning: str
    choices: tuple[str, ...] = ()
    #: one line for each of `choices`
    choice_meanings: tuple[str, ...] = ()
    nullable: bool = False
    least: float | None = None
    most: float | None = None
    #: "resource" settings may differ between the folders of a window; "machine" ones name
    #: programs and places and are never taken from a folder that is not trusted
    scope: Literal["window", "machine"] = "window"

    @property
    def default(self) -> object:
        return getattr(_DEFAULTS, self.field)

    def problem(self, value: object) -> str | None:
        """What is wrong with `value`, or None."""
        if value is None:
            return None if self.nullable else f"must be {self._wanted()}"
        right: dict[str, bool] = {
            "string": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "integer": isinstance(value, int | float)
            and not isinstance(value, bool)
            and float(value).is_integer(),
            "number": isinstance(value, int | float) and not isinstance(value, bool),
        }
        if not right[self.kind]:
            return f"must be {self._wanted()}"
        if self.choices and value not in self.choices:
            return f"must be {self._wanted()}"
        if isinstance(value, int | float) and not isinstance(value, bool):
            # Written so that "not a number" fails as well.
            if self.least is not None and not value >= self.least:
                return f"must be at least {self.least:g}"
            if self.most is not None and not value <= self.most:
                return f"must be at most {self.most:g}"
        return None

    def value(self, given: object) -> object:
        """`given`, which has no problem, as the dataclass carries it."""
        if given is None:
            return None
        if self.kind == "integer" and isinstance(given, int | float):
            return int(given)
        if self.kind == "number" and isinstance(given, int | float):
            return float(given)
        return given

    def schema(self) -> dict[str, object]:
        """The setting as JSON Schema, the way editors' manifests write it."""
        found: dict[str, object] = {
            "type": [self.kind, "null"] if self.nullable else self.kind,
            "default": self.default,
            "description": self.meaning,
        }
        if self.choices:
            found["enum"] = list(self.choices)
            found["enumDescriptions"] = list(self.choice_meanings)
        if self.least is not None:
            found["minimum"] = self.least
        if self.most is not None:
            found["maximum"] = self.most
        return found

    def _wanted(self) -> str:
        if self.choices:
            return "one of " + ", ".join(self.choices)
        named = {
            "string": "text",
            "boolean": "true or false",
            "integer": "a whole number",
            "number": "a number",
        }[self.kind]
        return f"{named} or null" if self.nullable else named


_DEFAULTS = Settings()

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "dlm.train.on",
        "train_on",
        "string",
        "When saving a document trains it.",
        ("never", "armed", "manualSave"),
        (
            "Only when the command is given.",
            "When a document is saved by hand that has been trained once.",
            "Whenever a document is saved by hand.",
        ),
    ),
    Setting(
        "dlm.train.maxSteps",
        "train_max_steps",
        "integer",
        "Most optimiser steps of one training after a save.",
        least=1,
        most=100_000,
    ),
    Setting(
        "dlm.train.maxSeconds",
        "train_max_seconds",
        "number",
        "Most seconds of one training after a save.",
        least=1,
        most=86_400,
    ),
    Setting(
        "dlm.train.settleMilliseconds",
        "train_settle_milliseconds",
        "integer",
        "How long to wait after a save for a newer one before training begins.",
        least=0,
        most=60_000,
    ),
    Setting(
        "dlm.train.keepVersions",
        "train_keep_versions",
        "integer",
        "How many versions that saves made are kept; 0 keeps all. The current one, those that a "
        "command made, and those that were exported or gone back to always stay.",
        least=0,
        most=100_000,
    ),
    Setting(
        "dlm.probes.afterTraining",
        "probes_after_training",
        "boolean",
        "Ask every question marked `!probe` again after each training.",
    ),
    Setting(
        "dlm.results.display",
        "results_display",
        "string",
        "Where the model's answers are shown.",
        ("inline", "hints", "off"),
        (
            "Beside the question, drawn by the editor.",
            "As short inlay hints.",
            "Nowhere in the text.",
        ),
    ),
    Setting(
        "dlm.results.maxLines",
        "results_max_lines",
        "integer",
        "Most lines of an answer that are drawn in the text, or shown in the tooltip of a hint.",
        least=1,
        most=200,
    ),
    Setting(
        "dlm.inlayHints.enabled",
        "inlay_hints_enabled",
        "boolean",
        "Show in the text what `auto`, and what is left out, resolve to, and other hints.",
    ),
    Setting(
        "dlm.inlayHints.tokens",
        "inlay_hints_tokens",
        "boolean",
        "Show about how many tokens each section has.",
    ),
    Setting(
        "dlm.codeLens.enabled",
        "code_lens_enabled",
        "boolean",
        "Show actions such as Train and Ask above the lines they concern.",
    ),
    Setting(
        "dlm.diagnostics.debounceMilliseconds",
        "diagnostics_debounce_milliseconds",
        "integer",
        "How long typing must rest before problems are shown; 0 shows them at once.",
        least=0,
        most=10_000,
    ),
    Setting(
        "dlm.diagnostics.secrets",
        "diagnostics_secrets",
        "boolean",
        "Warn of text that looks like a key, token or password.",
    ),
    Setting(
        "dlm.home",
        "home",
        "string",
        "Where dlm keeps what it makes; null means $DLM_HOME or ~/.dlm.",
        nullable=True,
        scope="machine",
    ),
    Setting(
        "dlm.engine.python",
        "engine_python",
        "string",
        "The Python that has dlm's engine; null means the one the server runs on.",
        nullable=True,
        scope="machine",
    ),
    Setting(
        "dlm.engine.idleMinutes",
        "engine_idle_minutes",
        "number",
        "The engine frees its memory after this many minutes without work.",
        least=0.1,
        most=10_080,
    ),
    Setting(
        "dlm.engine.memoryLimitGiB",
        "engine_memory_limit_gib",
        "number",
        "The engine is stopped when it and what it starts use more memory; "
        "null means 90 % of the machine's.",
        nullable=True,
        least=0.25,
        most=4096,
    ),
    Setting(
        "dlm.trusted",
        "trusted",
        "boolean",
        "Whether the folder is trusted; without trust nothing is trained or asked.",
    ),
)

_BY_NAME = {s.name: s for s in SETTINGS}
_GROUPS = {name.rsplit(".", depth)[0] for name in _BY_NAME for depth in (1, 2)} - {PREFIX}


def resolve(*layers: object) -> tuple[Settings, list[str]]:
    """The settings that `layers` ask for, later ones winning, and what is wrong with them.

    A layer is what a client sent: `{"dlm": {...}}`, `{"settings": ...}`, the inner object
    itself, nested or with dotted keys, or null.
    """
    values: dict[str, object] = {}
    problems: list[str] = []
    for layer in layers:
        for name, given in _flatten(_unwrapped(layer), PREFIX):
            setting = _BY_NAME.get(name)
            if setting is None:
                problems.append(_unknown(name))
            elif (problem := setting.problem(given)) is not None:
                problems.append(f"{name} {problem}")
            else:
                values[setting.field] = setting.value(given)
    changes: dict[str, Any] = values
    return replace(_DEFAULTS, **changes), list(dict.fromkeys(problems))


def _unwrapped(layer: object) -> object:
    """The innermost object that holds settings, whatever the client wrapped it in."""
    while isinstance(layer, Mapping):
        wrapper = next((k for k in ("settings", PREFIX) if k in layer), None)
        if wrapper is None:
            return layer
        inner = {} if layer[wrapper] is None else layer[wrapper]
        if not isinstance(inner, Mapping):
            return inner
        # Dotted keys may stand beside the wrapper: `{"dlm": {}, "dlm.home": "/x"}`.
        beside = {k: v for k, v in layer.items() if str(k).startswith(f"{PREFIX}.")}
        layer = {**inner, **beside}
    return layer


def _flatten(value: object, prefix: str) -> Iterable[tuple[str, object]]:
    """(full name, value) of every leaf. A name that is a group is entered, never a leaf."""
    if not isinstance(value, Mapping):
        if value is not None and prefix == PREFIX:
            yield prefix, value
        return
    for key, inner in value.items():
        word = str(key)
        name = word if word.startswith(f"{PREFIX}.") else f"{prefix}.{word}"
        if isinstance(inner, Mapping) and name not in _BY_NAME:
            if inner or name in _GROUPS:
                yield from _flatten(inner, name)
            else:
                yield name, inner
        else:
            yield name, inner


def _unknown(name: str) -> str:
    if name == PREFIX:
        return "dlm must be an object of settings"
    words = {known.removeprefix(f"{PREFIX}."): known for known in _BY_NAME}
    near = difflib.get_close_matches(name.removeprefix(f"{PREFIX}.")[:80], list(words), 1, 0.75)
    return f"{name} is no setting" + (f" (is {words[near[0]]} meant?)" if near else "")
