#!/usr/bin/env python3
"""`make quickstart`: the main job on the shipped example, as a new user would type it.

Runs the real commands in their own processes and shows each one before it runs, so that
what works here works when typed. Stops at the first that fails.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = "examples/tidewater.dlm"
#: asked in the document's words, and in others
ASKED = "Who founded the Tidewater Ferry Cooperative?"
REWORDED = "Who started the Tidewater Ferry Cooperative?"
OTHER = "What is the capital of France?"

BOLD, DIM, GREEN, PLAIN = (
    ("\033[1m", "\033[2m", "\033[32m", "\033[0m")
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ
    else ("", "", "", "")
)
STEPS = 6


def step(number: int, title: str) -> None:
    print(f"\n{BOLD}[{number}/{STEPS}] {title}{PLAIN}", flush=True)


def stop(code: int) -> NoReturn:
    print(
        "\nThe quickstart stopped here. docs/troubleshooting.md explains the message above; "
        "`make quickstart` may be run again at any time.",
        file=sys.stderr,
    )
    raise SystemExit(code)


def dlm(*arguments: str) -> None:
    """Run one command as typed; its output goes to the terminal."""
    print(f"{DIM}$ dlm {shlex.join(arguments)}{PLAIN}", flush=True)
    code = subprocess.run([sys.executable, "-m", "dlm_engine", *arguments], cwd=ROOT).returncode
    if code != 0:
        stop(code)


def dlm_json(*arguments: str) -> dict[str, Any]:
    """The same with `--json`: progress goes to the terminal, the result comes back."""
    print(f"{DIM}$ dlm {shlex.join(arguments)}{PLAIN}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "dlm_engine", *arguments, "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        stop(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def ask(question: str, *options: str) -> str:
    answer = str(dlm_json("prompt", DOCUMENT, question, "--temp", "0", *options)["answer"]).strip()
    print(f"  {GREEN}{answer}{PLAIN}", flush=True)
    return answer


def main() -> None:
    began = time.monotonic()
    print(f"{BOLD}dlm quickstart{PLAIN}: a text file becomes a model that knows it.")

    step(1, f"The document: {DOCUMENT}, twelve facts about a ferry company that does not exist")
    dlm("check", DOCUMENT)

    step(2, "Before: the base model cannot know them (its weights are prepared once)")
    ask(ASKED, "--base")

    step(3, "Training")
    trained = dlm_json("train", DOCUMENT)

    step(4, "After: the same question, the same in other words, and one about the world")
    ask(ASKED)
    ask(REWORDED)
    ask(OTHER)

    step(5, "Export to GGUF, as Q4_K_M")
    exported = dlm_json("export", DOCUMENT, "--quant", "Q4_K_M", "--ask", ASKED)

    step(6, "The same question, answered by llama.cpp from the exported file")
    print(f"  {GREEN}{exported['answer'].strip()}{PLAIN}", flush=True)

    summary(trained, exported, time.monotonic() - began)


def summary(trained: dict[str, Any], exported: dict[str, Any], elapsed: float) -> None:
    steps, seconds = trained["steps"], trained["seconds"]
    print(f"\n{BOLD}Done in {elapsed:.0f} s{PLAIN}")
    if trained["ending"] == "unchanged":
        print("  learned   in an earlier run; nothing had changed since")
    else:
        print(f"  learned   {trained['learned']} of {trained['rows']} answers, word for word")
        print(f"  cost      {seconds:.0f} s, start included; {steps} steps")
    print(f"  adapter   version {trained['version']}, {trained['path']}")
    print(f"  export    {exported['folder']}")
    print(f"\n{BOLD}Next{PLAIN}")
    print("  source .venv/bin/activate")
    print("  dlm init notes.dlm            # a document of your own; then edit it")
    print("  dlm train notes.dlm && dlm prompt notes.dlm 'your question'")
    print("  docs/getting-started.md       # ten minutes, step by step")


if __name__ == "__main__":
    main()
