"""Whether a file of a source is taken, by every rule above it. Pure: no disk.

Rules add up from the source's folder down. Secrets come first and nothing overrules them.
Then the nearest `include` must name the file; `exclude` lists and the defaults leave files
out; and `.dlm/ignore` files speak last, the deepest last of all, so that `!name` can take
back in what was left out. As in git, nothing inside a folder that is left out can be taken
back in: the walk does not enter it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pathspec import GitIgnoreSpec

from dlm_engine.data.sources.denied import is_left_out_by_default, is_secret
from dlm_engine.data.sources.model import Reason
from dlm_engine.data.sources.patterns import Patterns, patterns
from dlm_engine.data.sources.rules import TrainingRules


@dataclass(frozen=True, slots=True)
class Scope:
    """The rules in force in one folder. Numbers say how much of a path lies above a rule."""

    include: tuple[int, Patterns]
    exclude: tuple[tuple[int, Patterns], ...]
    ignore: tuple[tuple[int, GitIgnoreSpec], ...] = ()
    defaults: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, include: tuple[str, ...], exclude: tuple[str, ...]) -> Scope:
        """The rules of a directive, which hold from its folder down."""
        return cls((0, patterns(include)), ((0, patterns(exclude)),) if exclude else ())

    def below(
        self, folder: str, rules: TrainingRules | None, ignore: GitIgnoreSpec | None
    ) -> Scope:
        """The rules in `folder` ("" or with a slash at its end), which has these of its own."""
        at = len(folder)
        scope = self
        if rules is not None:
            wrote = rules.model_fields_set
            weights = {tag: {**by} for tag, by in self.weights.items()}
            for tag, by in rules.weights.items():
                weights.setdefault(tag, {}).update(by)
            scope = replace(
                scope,
                include=(at, patterns(rules.include)) if rules.include else self.include,
                exclude=(*self.exclude, (at, patterns(rules.exclude)))
                if rules.exclude
                else self.exclude,
                defaults=rules.exclude_defaults if "exclude_defaults" in wrote else self.defaults,
                tags={**self.tags, **rules.metadata},
                weights=weights,
            )
        if ignore is not None:
            scope = replace(scope, ignore=(*scope.ignore, (at, ignore)))
        return scope

    def refusal(self, path: str, name: str, *, folder: bool) -> Reason | None:
        """Why `path` (relative to the source, no slash at its end) is left out, None if it is not.

        A folder is left out only where everything in it is.
        """
        if is_secret(name, folder=folder):
            return Reason.SECRET
        if not folder:
            at, wanted = self.include
            if not wanted.match(path[at:]):
                return Reason.NOT_INCLUDED
        out = self.defaults and is_left_out_by_default(name, folder=folder)
        if folder:
            out = out or any(listed.cover(path[at:]) for at, listed in self.exclude)
        else:
            out = out or any(listed.match(path[at:]) for at, listed in self.exclude)
        slash = "/" if folder else ""
        for at, spec in self.ignore:
            said = spec.check_file(path[at:] + slash).include
            out = out if said is None else said
        return Reason.EXCLUDED if out else None

    @property
    def weight(self) -> float:
        """What a file here counts: the product of what its tags are given."""
        if not self.weights:
            return 1.0
        return math.prod(
            self.weights[tag][value]
            for tag, value in self.tags.items()
            if value in self.weights.get(tag, {})
        )
