"""The fixture `client`: a client whose end is checked when the test is over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.server.harness import Client


@pytest.fixture
def client() -> Iterator[Client]:
    """Not initialised; finished, with all that `finish` checks, after the test."""
    made = Client()
    yield made
    made.finish()
