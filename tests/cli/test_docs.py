"""Pages that the code decides are current, and pages that name things name things that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dlm_engine.cli.app import LazyCommands
from dlm_engine.cli.catalogue import COMMANDS
from dlm_engine.document import Severity, parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_docs.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists():
            missing.append(target)
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}
            if anchor not in slugs:
                missing.append(target)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_shown_exist_with_their_options(page: Path) -> None:
    """Every `dlm …` line in a shell block: the command is there and has the options used."""
    commands = LazyCommands()
    wrong = []
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            for part in re.split(r"&&|\|", line.split(" #")[0]):
                words = shlex.split(part.strip())
                if not words or words[0] != "dlm":
                    continue
                options = {w for w in words[1:] if w.startswith("--")}
                names = [w for w in words[1:] if not w.startswith("-")]
                if names and names[0] in COMMANDS:
                    command = commands[names[0]]
                    command = getattr(command, "commands", {}).get(names[1], command)
                    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
                    unknown = options - known - {"--help", "--home", "--verbose", "--quiet"}
                    wrong += [f"{names[0]} {o}" for o in sorted(unknown)]
                elif names:
                    wrong.append(names[0])
    assert wrong == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.dlm")), ids=lambda p: p.name)
def test_examples_have_no_problems(path: Path) -> None:
    document, diagnostics = parse(path.read_text(encoding="utf-8"))
    assert [d for d in diagnostics if d.severity is not Severity.INFORMATION] == []
    assert document.frontmatter is not None


def test_the_quickstart_example_sets_nothing_but_the_base() -> None:
    """Twelve facts, and every choice left to dlm: what the figures in README.md are about."""
    document, _ = parse((ROOT / "examples" / "tidewater.dlm").read_text(encoding="utf-8"))
    assert document.frontmatter is not None
    assert document.frontmatter.model_fields_set == {"dlm_id", "dlm_version", "base_model"}
    assert sum(len(s.pairs) for s in document.sections) == 12


def test_no_machine_path_in_the_docs() -> None:
    named = [p.name for p in PAGES if re.search(r"/(work|root|home/\w+)/", p.read_text("utf-8"))]
    assert named == []
