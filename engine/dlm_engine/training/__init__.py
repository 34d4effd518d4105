"""Settings, losses, the loop, checkpoints and determinism. `model` alone is light to import."""
