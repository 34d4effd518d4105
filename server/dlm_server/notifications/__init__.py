"""What a client tells the server: one file per notification or family of them.

`MODULES` is the fixed list of modules that register handlers. A list rather than a
search of the folder, so that a stray file registers nothing and the order is known.
"""

from __future__ import annotations

MODULES: tuple[str, ...] = (
    "dlm_server.notifications.documents",
    "dlm_server.notifications.workspace",
    "dlm_server.notifications.engine",
)
