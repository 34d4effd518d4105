"""What a document's surroundings show: the same in the editor and in `dlm check`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

import pytest
from tests.server.harness import GOOD, ID, Client

from dlm_engine.checks import CODES, about_tokens, check_surroundings
from dlm_engine.document import LiveDocument, Section, apply_edits
from dlm_server.features.checks import changed_since_trained, findings
from dlm_server.to_proto import uri_of
from dlm_server.views import Origin

LONG = "word " * 3000


def found(text: str, folder: Path | None) -> list[tuple[str, str]]:
    problems = check_surroundings(LiveDocument.open(text), folder)
    return [(d.code, text[d.span.start : d.span.end]) for d in problems]


@pytest.mark.parametrize(
    ("base", "fixed"),
    [
        ("smollm2-135m", None),
        ("smollm2-135", "smollm2-135m"),
        ('"SmolLM2-135M"', "smollm2-135m"),
        ("zzzzzzzz", None),
        ("org/name", "hf:org/name"),
        ("hf:org/name", None),
        ("hf:org", None),
        ("hf:a--b/c", None),
        ("./nowhere", None),
        ("./file", None),
        ("./good", None),
        ("./empty", None),
        ("./other", None),
    ],
)
def test_base(base: str, fixed: str | None, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, architecture in (("good", "LlamaForCausalLM"), ("other", "Mamba"), ("empty", None)):
        (tmp_path / name).mkdir()
        config = json.dumps({"architectures": [architecture]}) if architecture else ""
        (tmp_path / name / "config.json").write_text(config)
    text = GOOD.replace("smollm2-135m", base)
    right = base in ("smollm2-135m", "hf:org/name", "./good")
    problems = check_surroundings(LiveDocument.open(text), tmp_path)
    assert [d.code for d in problems] == ([] if right else ["base-unknown"])
    # A refusal says what could be there.
    assert all(d.fix or len(d.message) > len(f"there is no base {base}") for d in problems)
    fixes = [d.fix for d in problems if d.fix is not None]
    assert [apply_edits(text, f.edits) for f in fixes] == (
        [GOOD.replace("smollm2-135m", fixed)] if fixed else []
    )


def test_a_base_that_is_not_offered_says_why() -> None:
    from dlm_engine.bases.registry import NOT_OFFERED

    name, why = next(iter(NOT_OFFERED.items()))
    problem = check_surroundings(LiveDocument.open(GOOD.replace("smollm2-135m", name)), None)[0]
    assert why in problem.message


@pytest.mark.parametrize("name", ["a.png", "sub/a.png", "/nowhere/a.png", "x" * 300])
def test_media(name: str, tmp_path: Path) -> None:
    text = GOOD + f'::image path="{name}" alt="x"::\n'
    fence = f'::image path="{name}" alt="x"::'
    refused = [("section-refused", fence)]
    assert found(text, tmp_path) == [("media-missing", fence), *refused]
    if name in ("a.png", "sub/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        assert found(text, tmp_path) == refused
        assert found(text, None) == refused


def test_sources(tmp_path: Path) -> None:
    head = GOOD.removesuffix("---\n")
    text = head + "training:\n  sources:\n    - path: here\n    - path: 'not there'\n---\n"
    (tmp_path / "here").mkdir()
    assert found(text, tmp_path) == [("source-missing", "'not there'")]


@pytest.mark.parametrize(
    ("path", "policy", "code"),
    [
        ("..", "strict", "source-denied"),
        ("..", "permissive", None),
        ("link", "strict", "source-denied"),
        (".ssh", "permissive", "source-denied"),
        (".env", "permissive", "source-denied"),
        ("/", "permissive", "source-denied"),
        ("inside", "strict", None),
        ("inside/gone", "strict", "source-missing"),
    ],
)
def test_sources_that_may_not_be_learned(
    tmp_path: Path, path: str, policy: str, code: str | None
) -> None:
    folder = tmp_path / "doc"
    for name in ("inside", ".ssh"):
        (folder / name).mkdir(parents=True)
    (folder / ".env").write_text("A=1")
    (folder / "link").symlink_to(tmp_path, target_is_directory=True)
    text = GOOD.removesuffix("---\n") + (
        f"training:\n  sources_policy: {policy}\n  sources:\n    - path: {path}\n---\n"
    )
    assert found(text, folder) == ([(code, path)] if code else [])
    (folder / ".dlm").mkdir()
    assert found(text, folder / ".dlm") == ([(code, path)] if code else [])


@pytest.mark.parametrize(
    ("body", "marked"),
    [
        (f"{LONG}\n", [LONG.strip()]),
        (f"::instruction::\n### Q\n{LONG}\n### A\nyes\n### Q\nb\n### A\nc\n", [LONG.strip()]),
        ("word\n" * 500, []),
    ],
)
def test_long_sections(body: str, marked: list[str]) -> None:
    assert [(c, s.strip()) for c, s in found(GOOD + body, None)] == [
        ("section-long", text) for text in marked
    ]


def test_tokens_are_guessed_by_the_kind_of_script() -> None:
    assert about_tokens("word " * 84) == 100
    assert about_tokens("漢字" * 50) == 100


@dataclass(frozen=True)
class Trained:
    """A store that knows some sections."""

    section_ids: frozenset[str]
    version: int | None = 4
    when: datetime | None = None
    loss: float | None = None
    versions: int = 1
    current: Mapping[str | None, int] = field(default_factory=dict)

    def state(self, section: Section) -> Literal["never", "trained", "new"]:
        return "trained" if section.id in self.section_ids else "new"

    def origin(self, section: Section) -> Origin:
        return Origin(str(self.version), str(self.version))


def test_changed_since_trained() -> None:
    live = LiveDocument.open(GOOD + "\nOld words.\n\n::prose::\nNew words.\n\n::prose::\nMore.\n")
    old = live.document.sections[0].id
    problems = changed_since_trained(live, Trained(frozenset({old})))
    assert [live.text[d.span.start : d.span.end] for d in problems] == ["::prose::"]
    assert "2 sections are new or changed since version 4" in problems[0].message
    everything = frozenset(s.id for s in live.document.sections)
    assert changed_since_trained(live, Trained(everything)) == []
    assert changed_since_trained(live, Trained(frozenset(), version=None)) == []
    first = changed_since_trained(live, Trained(everything - {old}))
    assert [live.text[d.span.start : d.span.end] for d in first] == ["Old words."]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_the_place_of_a_base_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    assert found(GOOD.replace("smollm2-135m", "./"), tmp_path) == [("base-unknown", "./")]


def test_a_very_large_document_has_its_syntax_checked_and_says_so() -> None:
    live = LiveDocument.open(GOOD.replace("135m", "13") + "::instrction::\n" + LONG * 400)
    got = findings(live, path=None, uri="x", known=(), trained=None, secrets=True)
    assert [f.diagnostic.code for f in got][-1] == "document-large"
    assert "fence-unknown" in [f.diagnostic.code for f in got]
    assert "base-unknown" not in [f.diagnostic.code for f in got]


@pytest.mark.parametrize("code", CODES)
def test_codes_are_explained(code: str) -> None:
    assert CODES[code].meaning.endswith(".")
    page = Path(__file__).resolve().parents[2] / "docs" / "format.md"
    assert f"| `{code}` |" in page.read_text()


VERDICTS = {
    "good": GOOD + "Some words.\n",
    "refused": GOOD.removesuffix("---\n") + "training:\n  precision: fp16\n---\nWords.\n",
    "syntax": GOOD + "::instrction::\nx\n",
    "base": GOOD.replace("135m", "135"),
    "media": GOOD + '::image path="a.png" alt="x"::\n',
    "long": GOOD + LONG,
    "everything": GOOD.replace("135m", "9") + "::instrction::\n" + LONG + "\n```\nopen\n",
    "no frontmatter": "words\n",
    "empty": "",
}


def test_the_editor_and_dlm_check_give_the_same_verdict(client: Client, tmp_path: Path) -> None:
    names = {}
    for number, (name, text) in enumerate(VERDICTS.items()):
        path = tmp_path / f"{name}.dlm"
        path.write_text(text.replace(ID, f"{ID[:-1]}{number}"))
        names[str(path)] = name
    command = [sys.executable, "-m", "dlm_engine", "check", "--json", *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    listed = json.loads(done.stdout)["files"]
    checked = {
        names[file["path"]]: sorted(d["code"] for d in file["diagnostics"]) for file in listed
    }
    client.initialize()
    for file_name, name in names.items():
        uri = uri_of(Path(file_name))
        client.open(uri, Path(file_name).read_text(), 1)
        published = sorted(item["code"] for item in client.published(uri, 1))
        assert published == checked[name], name
        client.close(uri)
        client.published(uri)


def test_dlm_check_warns_of_two_files_with_one_id(tmp_path: Path) -> None:
    for name in ("a.dlm", "b.dlm"):
        (tmp_path / name).write_text(GOOD + "Words.\n")
    command = [sys.executable, "-m", "dlm_engine", "check", "--json", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    files = json.loads(done.stdout)["files"]
    assert [[d["code"] for d in f["diagnostics"]] for f in files] == [["id-duplicate"]] * 2
    assert done.returncode == 0
