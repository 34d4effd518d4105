"""Making hundreds of thousands of small objects that all stay.

Python's collector looks through everything there is each time their number has grown by a
quarter. Nothing made here is garbage, and looking took longer than making.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No cyclic collection inside; also a decorator."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
