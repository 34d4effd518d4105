"""Licences: who must accept what, and that it was accepted.

Invariant: an acceptance, once recorded, is honoured by every later command for the same
licence text address, and never for another one. The record has the manifest's fields, so
the store keeps it without translating; nothing here reads or writes the store.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from dlm_engine.bases.spec import BaseSpec
from dlm_engine.errors import LicenceRequired

AcceptedVia = Literal["cli_flag", "interactive", "frontmatter"]


class LicenceAcceptance(BaseModel):
    """That a person accepted one licence; `accepted_at` is naive UTC, whole seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepted_at: datetime
    license_url: str
    license_spdx: str
    via: AcceptedVia


def accept(spec: BaseSpec, via: AcceptedVia, now: datetime | None = None) -> LicenceAcceptance:
    """The record of accepting `spec`'s licence now (or at `now`, timezone-aware)."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return LicenceAcceptance(
        accepted_at=moment.replace(microsecond=0, tzinfo=None),
        license_url=spec.license_url,
        license_spdx=spec.license_spdx,
        via=via,
    )


def require_licence(spec: BaseSpec, accepted: LicenceAcceptance | None) -> None:
    """Raise `LicenceRequired` unless `spec` is free to use or its licence was accepted."""
    if not spec.requires_acceptance:
        return
    remedy = (
        f"read {spec.license_url}, then run the command once with --i-accept-license; "
        "the acceptance is remembered"
    )
    if accepted is None:
        problem = f"its licence ({spec.license_spdx}) must be accepted before use"
    elif (accepted.license_url, accepted.license_spdx) != (spec.license_url, spec.license_spdx):
        problem = (
            f"the acceptance on record is for {accepted.license_spdx} "
            f"({accepted.license_url}), not for {spec.license_spdx}"
        )
    else:
        return
    raise LicenceRequired(spec.key, problem, remedy, spec.license_spdx, spec.license_url)
