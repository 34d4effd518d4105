"""The command line: turns arguments into requests and outcomes into text, and nothing else.

`entry` is what the `dlm` script calls; it answers `--version` before importing anything.
`app` knows the commands by name and one-line help only, and imports a command's module
when that command is asked for. Command modules import torch, transformers and the rest
inside the function that needs them, so that `--help`, `check`, `show` stay quick.
"""
