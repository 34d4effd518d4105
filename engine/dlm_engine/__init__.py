"""dlm: a `.dlm` text file becomes a language model that knows it."""

__version__ = "0.1.0"
