"""Puts the parts of the server together, runs it, and ends it whatever happens."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dlm_server import transport, watchdog
from dlm_server.loop import Loop
from dlm_server.protocol import Protocol, State

if TYPE_CHECKING:
    from dlm_server.session import Session
    from dlm_server.settings import Settings

#: what a client has to ask for anew after a change of these settings
_SHOWN: Final[dict[str, tuple[str, ...]]] = {
    "codeLens": ("code_lens_enabled",),
    "inlayHint": ("inlay_hints_enabled", "inlay_hints_tokens", "results_display"),
}
#: when what is imported after the first answer is there as well
_TIDY_SECONDS = 5.0


@dataclass(frozen=True)
class Server:
    """One server's parts, joined and not running yet."""

    loop: Loop
    protocol: Protocol

    @property
    def session(self) -> Session:
        return self.protocol.session


def build(write: Callable[[bytes], None]) -> Server:
    """A server that sends its messages to `write`."""
    loop = Loop()

    def make_session(protocol: Protocol, initialization: Mapping[str, Any]) -> Session:
        from dlm_server import dispatch, lifecycle
        from dlm_server.publish import Publisher
        from dlm_server.session import Session
        from dlm_server.workspace import WorkspaceIndex

        dispatch.load_notifications()
        session = Session(loop, protocol)
        session.index = WorkspaceIndex(session)
        session.publisher = Publisher(session, loop)
        session.on_settings(session.publisher.settings_changed)
        session.on_settings(partial(_show_anew, session))
        lifecycle.begin(session, initialization)
        return session

    protocol = Protocol(write, make_session)
    protocol.exit = loop.stop
    protocol.client_gone = lambda: loop.post(loop.stop)
    return Server(loop, protocol)


def _show_anew(session: Session, old: Settings, new: Settings) -> None:
    """Have the client ask again for what the settings show or hide."""
    for what, names in _SHOWN.items():
        if any(getattr(old, name) != getattr(new, name) for name in names):
            session.refresh(what)


def serve(incoming: int, outgoing: int, level: str, log_file: str | None) -> int:
    """Serve the client at the other end of two descriptors until it leaves."""
    _start_log(level, log_file)
    server = build(transport.Writer(outgoing))

    def gone() -> None:
        # Whatever runs then has a second to end; an editor's end must not wait for it.
        watchdog.force_end_after(watchdog.GRACE_SECONDS)
        server.loop.post(server.loop.stop)

    server.loop.after(_TIDY_SECONDS, _tidy)
    transport.start_reader(incoming, server.loop.deliver, gone)
    server.loop.run(server.protocol)
    in_order = server.protocol.state is State.SHUT_DOWN
    watchdog.force_end_after(watchdog.GRACE_SECONDS)
    end(server)
    logging.shutdown()
    sys.stderr.flush()
    # Threads of libraries must not keep the process: nothing is left to be done by any.
    os._exit(0 if in_order else 1)


def end(server: Server) -> None:
    """Stop what the session started, and answer what is still open."""
    if server.protocol.begun:
        server.session.ending()
    server.protocol.end()


def _tidy() -> None:
    """Once the first answers are out: collect garbage again, but not among what stays."""
    gc.collect()
    gc.freeze()
    # What is read of a text has no cycles. At the usual threshold half the time that a hundred
    # thousand problems take goes into looking for some.
    gc.set_threshold(50_000, 20, 100)
    gc.enable()


def _start_log(level: str, log_file: str | None) -> None:
    handlers: list[logging.Handler] = []
    if log_file is not None:
        try:
            handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
        except OSError as error:
            print(f"dlm-server: no log at {log_file}: {error.strerror}", file=sys.stderr)
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers or [logging.StreamHandler(sys.stderr)],
        force=True,
    )
