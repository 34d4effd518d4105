"""An acceptance is stored once and honoured for that licence only."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dlm_engine.bases import (
    REGISTRY,
    LicenceAcceptance,
    accept,
    obtain_weights,
    require_licence,
)
from dlm_engine.errors import LicenceRequired

FREE, LLAMA, GEMMA = (REGISTRY[k] for k in ("smollm2-135m", "llama-3.2-1b", "gemma-2-2b-it"))


def test_a_free_base_needs_nothing() -> None:
    require_licence(FREE, None)


@pytest.mark.parametrize("key", ["llama-3.2-1b", "gemma-2-2b-it", "qwen2.5-3b"])
def test_a_gated_base_is_refused_and_the_message_says_how(key: str) -> None:
    with pytest.raises(LicenceRequired) as caught:
        require_licence(REGISTRY[key], None)
    assert REGISTRY[key].license_url in caught.value.remedy
    assert "--i-accept-license" in caught.value.remedy


def test_a_stored_acceptance_is_honoured_by_every_later_command() -> None:
    record = accept(LLAMA, "cli_flag", datetime(2026, 1, 2, 3, 4, 5, 678, UTC))
    stored = record.model_dump_json()
    assert '"accepted_at":"2026-01-02T03:04:05"' in stored
    require_licence(LLAMA, LicenceAcceptance.model_validate_json(stored))


def test_an_acceptance_is_for_one_licence() -> None:
    with pytest.raises(LicenceRequired, match="acceptance on record is for LicenseRef-Llama"):
        require_licence(GEMMA, accept(LLAMA, "interactive"))


def test_weights_are_not_obtained_without_it(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(LicenceRequired):
        obtain_weights(GEMMA, tmp_path, report=lambda message: None)
    assert not cache.exists()
