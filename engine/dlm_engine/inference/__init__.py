"""Asking: load base and adapter, generate, stream. `model` alone is light to import."""
