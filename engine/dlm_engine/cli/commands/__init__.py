"""One module per command; each holds one function named `command`, which Typer reads."""
