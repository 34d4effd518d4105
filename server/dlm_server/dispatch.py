"""Which handler answers which method: the decorators that register them, and the answers' types.

A handler is typed by what it may touch. `@request` gets a `Snapshot` and can change nothing;
`@session_request` and `@notification` get the `Session` they may change. All of them run one
at a time on the loop's thread, in the order the client sent the messages, so no handler needs
a lock and none may take longer than milliseconds: longer work returns a `Pending` and resolves
it later. Coroutines would let a later change overtake an earlier question between two awaits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from dlm_server import notifications, requests

if TYPE_CHECKING:
    from dlm_server.session import Session

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
SERVER_NOT_INITIALIZED = -32002
REQUEST_FAILED = -32803
SERVER_CANCELLED = -32802
CONTENT_MODIFIED = -32801
REQUEST_CANCELLED = -32800


class RequestFailed(Exception):
    """Ends a request with an error answer that the client can show."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Pending:
    """An answer that comes later. Resolved or rejected at most once; later calls do nothing.

    Only the loop's thread may call it; others go through `session.post`.
    """

    def __init__(self) -> None:
        self._settled: Callable[[object, RequestFailed | None], None] | None = None
        self._outcome: tuple[object, RequestFailed | None] | None = None
        self._on_cancel: list[Callable[[], None]] = []
        self.cancelled = False

    @property
    def done(self) -> bool:
        return self._outcome is not None

    def resolve(self, value: object) -> None:
        self._settle(value, None)

    def reject(self, error: RequestFailed) -> None:
        self._settle(None, error)

    def on_cancel(self, act: Callable[[], None]) -> None:
        """Call `act` when the client takes the question back; at once if it has already."""
        if self.cancelled:
            act()
        else:
            self._on_cancel.append(act)

    def cancel(self) -> None:
        """The client does not want the answer any more: it gets "cancelled" instead."""
        if self.done or self.cancelled:
            return
        self.cancelled = True
        self._settle(None, RequestFailed(REQUEST_CANCELLED, "cancelled"))
        for act in self._on_cancel:
            act()

    def follow(self, other: Pending) -> None:
        """Take the outcome of `other`; cancelling this cancels that."""
        self.on_cancel(other.cancel)
        other.when_settled(
            lambda value, error: self.reject(error) if error else self.resolve(value)
        )

    def when_settled(self, tell: Callable[[object, RequestFailed | None], None]) -> None:
        """Call `tell` with (value, error) once there is one."""
        if self._outcome is not None:
            tell(*self._outcome)
        else:
            self._settled = tell

    def _settle(self, value: object, error: RequestFailed | None) -> None:
        if self._outcome is not None:
            return
        self._outcome = (value, error)
        if self._settled is not None:
            self._settled(value, error)


class Reach(Enum):
    """What a request's handler is given."""

    SNAPSHOT = "snapshot"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class RequestHandler:
    method: str
    reach: Reach
    function: Callable[[Any, Any], Any]


REQUESTS: dict[str, RequestHandler] = {}
NOTIFICATIONS: dict[str, list[Callable[[Session, Any], None]]] = {}

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


def request(method: str) -> Callable[[_Handler], _Handler]:
    """Answer `method`, whose parameters name an open document, from a snapshot of it.

    A document that is not open is answered with null.
    """
    return _registering(method, Reach.SNAPSHOT)


def session_request(method: str) -> Callable[[_Handler], _Handler]:
    """Answer `method` with the session at hand; the function may return a `Pending`."""
    return _registering(method, Reach.SESSION)


def notification(method: str) -> Callable[[_Handler], _Handler]:
    """Act on `method`. Several functions may; they run in the order of registration."""

    def register(function: _Handler) -> _Handler:
        NOTIFICATIONS.setdefault(method, []).append(function)
        return function

    return register


def _registering(method: str, reach: Reach) -> Callable[[_Handler], _Handler]:
    def register(function: _Handler) -> _Handler:
        if method in REQUESTS:
            raise ValueError(f"{method} has two handlers")
        REQUESTS[method] = RequestHandler(method, reach, function)
        return function

    return register


def handler_of(method: str) -> RequestHandler | None:
    """Who answers `method`; its module is imported now if nobody has asked before."""
    if method not in REQUESTS and method in requests.MODULES:
        import_module(requests.MODULES[method])
    return REQUESTS.get(method)


def load_notifications() -> None:
    """Import every module that acts on notifications."""
    for name in notifications.MODULES:
        import_module(name)
