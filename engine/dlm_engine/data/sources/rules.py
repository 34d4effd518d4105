"""What `.dlm/training.yaml` and `.dlm/ignore` say. Pure: text in, rules out.

A file that cannot be understood is an error and never ignored: it may be what keeps
something out of the model. Every scalar of the YAML is taken as it is written (`true` as a
tag is the text "true"), so that no unquoted word changes its meaning.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import yaml
from pathspec import GitIgnoreSpec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

#: bytes of either file; larger is none that anyone wrote
MAX_BYTES = 256 * 1024
_MAX_DEPTH = 4

Version = Annotated[Literal[1], BeforeValidator(lambda value: 1 if value == "1" else value)]
Weight = Annotated[float, Field(ge=0, le=100)]
Word = Annotated[str, Field(min_length=1, max_length=200)]


class TrainingRules(BaseModel):
    """`.dlm/training.yaml`, version 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dlm_training_version: Version = 1
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exclude_defaults: bool = True
    metadata: dict[Word, str] = Field(default_factory=dict)
    weights: dict[Word, dict[str, Weight]] = Field(default_factory=dict)


class RulesError(ValueError):
    """What is wrong with a file of rules, in one clause."""


def training_rules(text: str) -> TrainingRules:
    """Read `training.yaml`; raises `RulesError`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = {} if node is None else _value(node, 0)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark is not None else ""
        raise RulesError(f"is not valid YAML{line}") from None
    except RecursionError:
        raise RulesError("is nested too deeply") from None
    if not isinstance(value, dict):
        raise RulesError("is not a list of `key: value` entries")
    try:
        return TrainingRules.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise RulesError(f"has a wrong `{where}` ({first['msg']})") from None


def ignore_rules(text: str) -> GitIgnoreSpec:
    """Read `ignore`, written as `.gitignore` is; raises `RulesError`."""
    try:
        return GitIgnoreSpec.from_lines(text.splitlines())
    except ValueError as error:
        raise RulesError(f"has a line that is no pattern ({error})") from None


def _value(node: yaml.Node, depth: int) -> Any:
    """The node's value, every scalar as its text; nothing here is deep."""
    if depth > _MAX_DEPTH:
        raise RulesError("is nested too deeply")
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, depth + 1) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        return node.value
    found: dict[Any, Any] = {}
    for key, value in node.value:
        name = _value(key, depth + 1)
        if not isinstance(name, str):
            raise RulesError(f"has a key that is no text in line {key.start_mark.line + 1}")
        if name in found:
            raise RulesError(f"says `{name}` twice, again in line {key.start_mark.line + 1}")
        found[name] = _value(value, depth + 1)
    return found
