"""Which commands there are, in the order of use, each with the line `dlm --help` shows.

The lines stand here, and not only in the commands' docstrings, so that help need not
import eleven modules; a test holds the two equal.
"""

from __future__ import annotations

from typing import Final

#: name -> one-line help; the module is `dlm_engine.cli.commands.<name>`
COMMANDS: Final[dict[str, str]] = {
    "init": "Write a new document to start from.",
    "check": "Report every problem in documents, without changing anything.",
    "train": "Train, so that the model knows what the document says.",
    "prompt": "Ask the trained model a question.",
    "repl": "Talk with the trained model; it remembers the conversation.",
    "export": "Write the trained model as GGUF, for llama.cpp and Ollama.",
    "show": "Show what a document contains and what was trained from it.",
    "metrics": "Show what runs and exports measured, also while they go on.",
    "versions": "List the trained versions of a document.",
    "rollback": "Make an earlier version the current one.",
    "purge": "Make the model forget what was removed from the document.",
    "gc": "Delete old versions and leftovers to free disk space.",
    "cache": "Show, prune or clear the tokens kept between runs.",
    "migrate": "Bring documents to the current version of the format.",
    "lsp": "Serve an editor over standard input and output.",
    "doctor": "Say what this machine can train, how, and why.",
}
