"""`dlm train FOLDER`: the document it finds or writes, and the flags that say how."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.test_train import Job
from tests.data.sources.tree import taken, write

from dlm_engine.cli.commands import train as module
from dlm_engine.cli.entry import main
from dlm_engine.data.sources import expand
from dlm_engine.document import Frontmatter, read_document

BASE = ("--base", "smollm2-135m")
ALL = ["a.md", "c.txt", "sub/b.md"]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    job = Job()
    monkeypatch.setattr(module, "train", job)
    return job


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "corpus", {"a.md": "A", "sub/b.md": "B", "c.txt": "C"})


def settings(path: Path) -> Frontmatter:
    document, problems = read_document(path)
    assert problems == []
    assert document.frontmatter is not None
    return document.frontmatter


@pytest.mark.parametrize(
    ("flags", "name", "files", "policy"),
    [
        ((), "corpus", ALL, "strict"),
        (("--no-recursive",), "corpus", ["a.md", "c.txt"], "strict"),
        (("--include", "**/*.md", "--exclude", "sub"), "corpus", ["a.md"], "strict"),
        (("--name", "x-y", "--policy", "permissive"), "x-y", ALL, "permissive"),
        (("--include", 'x": [1] #'), "corpus", [], "strict"),
    ],
)
def test_a_folder_gets_a_document_and_is_trained(
    job: Job, folder: Path, flags: tuple[str, ...], name: str, files: list[str], policy: str
) -> None:
    assert main(["train", str(folder), *BASE, *flags]) == 0
    path = folder / ".dlm" / f"{name}.dlm"
    assert [request.path for request in job.requests] == [path]
    written = settings(path)
    assert written.training.sources_policy == policy
    assert taken(expand(written.training, path)) == files
    assert str(folder) not in path.read_text()


def test_a_document_that_is_there_is_taken_as_it_is(job: Job, folder: Path) -> None:
    assert main(["train", str(folder), *BASE, "--name", "one"]) == 0
    path = folder / ".dlm" / "one.dlm"
    path.write_text(path.read_text() + "A line of my own.\n")
    before = path.read_text()
    assert main(["train", str(folder)]) == 0
    assert path.read_text() == before
    assert [request.path for request in job.requests] == [path, path]


def test_rescaffold_sets_the_source_and_keeps_the_rest(job: Job, folder: Path) -> None:
    assert main(["train", str(folder), *BASE]) == 0
    path = folder / ".dlm" / "corpus.dlm"
    text = path.read_text().replace("training:\n", "training:\n  seed: 7\n")
    text = text.replace("---\n", "---\n# mine\n", 1)
    path.write_text(text + "::instruction::\n### Q\nA?\n### A\nB.\n")
    old, whole = settings(path), path.read_text()
    assert main(["train", str(folder), "--rescaffold", "--include", "*.md"]) == 0
    new = settings(path)
    assert (new.dlm_id, new.base_model, new.training.seed) == (old.dlm_id, old.base_model, 7)
    assert path.read_text().endswith("::instruction::\n### Q\nA?\n### A\nB.\n")
    assert taken(expand(new.training, path)) == ["a.md"]
    assert path.with_name("corpus.dlm.bak").read_text() == whole


@pytest.mark.parametrize(
    ("there", "flags", "words"),
    [
        ([], (), "--base smollm2-135m"),
        ([], (*BASE, "--watch", "--json"), "--watch and --json exclude each other"),
        ([], (*BASE, "--watch", "--fresh"), "--watch and --fresh exclude each other"),
        ([], ("--name", "../x", *BASE), "is no name"),
        ([], ("--include", "*.md", "--no-recursive", *BASE), "give one of them"),
        (["a", "b"], (), "has several documents: a, b"),
        (["a"], ("--exclude", "x"), "--exclude would change nothing"),
        (["a"], BASE, "--base would change nothing"),
    ],
)
def test_what_is_not_clear_is_refused(
    job: Job,
    folder: Path,
    there: list[str],
    flags: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in there:
        assert main(["train", str(folder), *BASE, "--name", name]) == 0
    job.requests.clear()
    assert main(["train", str(folder), *flags]) == 2
    assert words in capsys.readouterr().err
    assert job.requests == []
    assert len(list(folder.glob(".dlm/*.dlm"))) == len(there)


def test_the_home_itself_is_no_place_for_a_document(
    job: Job, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(own_home.parent), *BASE]) == 2
    assert "where dlm keeps its stores" in capsys.readouterr().err
    assert not own_home.exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [(("--base", "no-such-base"), "no-such-base"), (("--base", "llama-3.2-1b"), "licence")],
)
def test_a_base_that_cannot_be_used_writes_nothing(
    job: Job, folder: Path, flags: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(folder), *flags]) == 1
    assert words in capsys.readouterr().err
    assert not (folder / ".dlm").exists()


@pytest.mark.parametrize("flag", [("--rescaffold",), ("--name", "x"), ("--include", "*"), BASE])
def test_flags_of_a_folder_are_refused_for_a_document(
    job: Job, tmp_path: Path, flag: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "a.dlm"), *flag]) == 2
    assert f"{flag[0]} is for a folder" in capsys.readouterr().err


def test_a_folder_that_is_not_there(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "nowhere"), *BASE]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert job.requests == []
