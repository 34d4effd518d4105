"""`dlm init`: a document that is right at once, never in the place of another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlm_engine.bases import REGISTRY
from dlm_engine.cli.commands.init import DEFAULT_BASE
from dlm_engine.cli.entry import main
from dlm_engine.document import CURRENT_VERSION, read_document
from dlm_engine.store import Store

GATED = next(spec.key for spec in REGISTRY.values() if spec.requires_acceptance)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.dlm"


def test_the_default_base_trains_offline_on_any_machine() -> None:
    """A new user succeeds with it: weights come as a package, and it is the smallest there is."""
    assert min(REGISTRY.values(), key=lambda s: s.params).key == DEFAULT_BASE


def test_a_fresh_document_is_current_and_clean(
    path: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(path)]) == 0
    document, diagnostics = read_document(path)
    assert diagnostics == []
    assert document.frontmatter is not None
    assert document.frontmatter.base_model == DEFAULT_BASE
    assert document.dlm_version == CURRENT_VERSION
    assert main(["check", "--strict", str(path)]) == 0
    said = capsys.readouterr().err
    assert f"wrote {path}, on smollm2-135m" in said
    assert f"dlm train {path}" in said
    assert not own_home.exists()


def test_every_document_has_an_id_of_its_own(tmp_path: Path) -> None:
    ids = set()
    for name in ("a", "b"):
        main(["init", str(tmp_path / f"{name}.dlm")])
        ids.add(re.search(r"dlm_id: (\S+)", (tmp_path / f"{name}.dlm").read_text())[1])  # type: ignore[index]
    assert len(ids) == 2


def test_an_existing_file_stays(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text("mine")
    assert main(["init", str(path)]) == 1
    assert path.read_text() == "mine"
    assert capsys.readouterr().err == (
        f"error: {path}: exists already: choose another name, or overwrite it with --force\n"
    )


def test_force_overwrites(path: Path) -> None:
    path.write_text("mine")
    assert main(["init", str(path), "--force"]) == 0
    assert path.read_text().startswith("---\ndlm_id: ")


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("notes", 2, "the name of a document ends in .dlm: dlm init"),
        ("notes.md", 2, "the name of a document ends in .dlm: dlm init"),
        ("gone/notes.dlm", 1, "there is no such folder: create it first"),
    ],
)
def test_a_place_that_cannot_be(
    tmp_path: Path, name: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / name)]) == code
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_overwritten(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.mkdir()
    assert main(["init", str(path), "--force"]) == 1
    assert "is a folder" in capsys.readouterr().err


def test_an_unknown_base_writes_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(path), "--base", "smollm2-135"]) == 1
    assert capsys.readouterr().err.startswith("error: smollm2-135: no such base: did you mean ")
    assert not path.exists()


def test_a_gated_base_is_refused_without_acceptance(
    path: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(path), "--base", GATED]) == 1
    said = capsys.readouterr().err
    assert REGISTRY[GATED].license_url in said
    assert "--i-accept-license" in said
    assert not path.exists()
    assert not own_home.exists()


def test_an_acceptance_is_remembered(path: Path, own_home: Path) -> None:
    assert main(["init", str(path), "--base", GATED, "--i-accept-license"]) == 0
    document, _ = read_document(path)
    assert document.frontmatter is not None
    manifest = Store(own_home, document.frontmatter.dlm_id).read_manifest()
    assert manifest is not None
    assert manifest.license_acceptance is not None
    assert manifest.license_acceptance.license_url == REGISTRY[GATED].license_url
    assert manifest.base_model_revision == REGISTRY[GATED].revision
