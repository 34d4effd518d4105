"""The language server of dlm: what an editor talks to about `.dlm` files.

It reads documents, answers questions about them and hands training and asking to the
engine's worker process. It never imports torch, transformers, peft or trl.
"""

from __future__ import annotations
