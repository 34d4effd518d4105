from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.tiny import document_text, write_base
from tests.training.sessions import SHORT, Place, small_and_polite


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture
def document(tmp_path: Path, tiny_base: Path) -> Path:
    """Three facts on the tiny base, which learns them in about sixty steps."""
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(tiny_base)))
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few everyday questions and one thread, for this test."""
    threads = torch.get_num_threads()
    small_and_polite(monkeypatch)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trained_once(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A document that was trained for four steps; `trained` is a copy of it."""
    folder = tmp_path_factory.mktemp("trained")
    document = folder / "facts.dlm"
    document.write_text(document_text(str(tiny_base), extra=SHORT))
    with pytest.MonkeyPatch.context() as patch:
        small_and_polite(patch)
        outcome = Place(document, folder / "home").train()
    return Place(document, folder / "home", outcome)


@pytest.fixture
def trained(small: None, trained_once: Place, tmp_path: Path) -> Place:
    """A copy of its own of the document and the home that hold version 1."""
    shutil.copytree(trained_once.home, tmp_path / "home")
    shutil.copy(trained_once.document, tmp_path / "facts.dlm")
    return Place(tmp_path / "facts.dlm", tmp_path / "home", trained_once.outcome)


@pytest.fixture
def fresh(small: None, tiny_base: Path, tmp_path: Path) -> Place:
    """The same document with a home that does not exist yet."""
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(tiny_base), extra=SHORT))
    return Place(path, tmp_path / "home")
