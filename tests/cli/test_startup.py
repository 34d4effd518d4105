"""Start-up: what is loaded for `--version`, `--help` and the light commands.

How long they take is for `python -m tests.bench startup`.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "peft", "trl", "accelerate", "safetensors", "numpy", "gguf"}


def loaded_by(*arguments: str) -> set[str]:
    """Top-level modules in `sys.modules` after `dlm ARGUMENTS`."""
    code = (
        "import sys\n"
        "from dlm_engine.cli.entry import main\n"
        "try:\n"
        f"    main({list(arguments)!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('\\n@@', *sorted({m.split('.')[0] for m in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.rsplit("@@", 1)[1].split())


def test_version_is_answered_before_typer_is_imported() -> None:
    assert not loaded_by("--version") & (HEAVY | {"typer", "pydantic", "rich", "dataclasses"})


def test_help_loads_no_command() -> None:
    code = (
        "import sys\n"
        "from dlm_engine.cli.entry import main\n"
        "main(['--help'])\n"
        "print('@@', [m for m in sys.modules if m.startswith('dlm_engine.cli.commands')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.rsplit("@@", 1)[1].strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("check", "examples/tidewater.dlm"),
        ("show", "examples/tidewater.dlm"),
        ("versions", "examples/tidewater.dlm"),
        ("metrics", "show", "examples/tidewater.dlm"),
        ("migrate", "--dry-run", "examples/tidewater.dlm"),
        ("gc", "--dry-run", "examples/tidewater.dlm"),
        ("init", "--help"),
        ("train", "--help"),
        ("prompt", "--help"),
        ("export", "--help"),
        ("doctor", "--help"),
    ],
    ids=" ".join,
)
def test_light_commands_load_no_heavy_library(arguments: tuple[str, ...]) -> None:
    assert not loaded_by(*arguments) & {"torch", "transformers", "peft", "trl", "accelerate"}
