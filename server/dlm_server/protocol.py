"""JSON-RPC between the client and the handlers: every request is answered exactly once.

A request is open from its arrival until its one answer has been sent, whatever happens in
between: wrong parameters, an unknown method, an exception, a cancellation, the end of the
server. Messages are handled in the order they came. What may overtake: a cancellation, and
the refusal of a question whose answer a later edit, already here, would make useless. Edits of
a document that wait right behind each other are one: nobody asks about the text between them.
"""

from __future__ import annotations

import itertools
import logging
import traceback
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from dlm_server import changes, watchdog
from dlm_server.capabilities import client_features, offered
from dlm_server.conversion import Plain, params_of, plain
from dlm_server.dispatch import (
    CONTENT_MODIFIED,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NOTIFICATIONS,
    PARSE_ERROR,
    REQUEST_CANCELLED,
    SERVER_CANCELLED,
    SERVER_NOT_INITIALIZED,
    Pending,
    Reach,
    RequestFailed,
    handler_of,
)
from dlm_server.framing import Malformed, encoded

if TYPE_CHECKING:
    from dlm_server.session import Session

log = logging.getLogger(__name__)

Id = int | str
Answer = Callable[[Any, RequestFailed | None], None]

#: questions that clients ask again by themselves after an edit: an answer for the text before
#: it would be computed and sent for nothing
ASKED_AGAIN = frozenset(
    {
        "textDocument/codeLens",
        "textDocument/foldingRange",
        "textDocument/inlayHint",
        "textDocument/semanticTokens/full",
        "textDocument/semanticTokens/full/delta",
        "textDocument/semanticTokens/range",
    }
)
_PULL = "textDocument/diagnostic"
_CHANGE = "textDocument/didChange"


class State(Enum):
    """Where the session stands in its life."""

    NEW = "new"
    INITIALIZED = "initialized"
    SHUT_DOWN = "shut down"


@dataclass(slots=True)
class Waiting:
    """A message that has arrived and is not handled yet. `id` is None for a notification."""

    method: str
    params: object
    id: Id | None
    cancelled: bool = False


class Protocol:
    """One connection. Everything here runs on the loop's thread."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        make_session: Callable[[Protocol, Mapping[str, Any]], Session],
    ) -> None:
        """`make_session` is given what `initialize` brought, after it has been answered."""
        self._write = write
        self._waiting: deque[Waiting] = deque()
        #: questions of the client without an answer so far
        self._open: dict[Id, Waiting | Pending] = {}
        #: our questions without an answer so far
        self._asked: dict[Id, tuple[str, Answer | None]] = {}
        self._numbers = itertools.count(1)
        #: edits that have arrived and are not applied yet, by document
        self._edits: Counter[str] = Counter()
        self._known_faults: set[str] = set()
        self.state = State.NEW
        self._session: Session | None = None
        self._make_session = make_session
        self._initialization: Mapping[str, Any] = {}
        self.exit: Callable[[], None] = lambda: None
        #: called by the watchdog, on its own thread
        self.client_gone: Callable[[], None] = lambda: None

    @property
    def session(self) -> Session:
        """Made at the first use, because that imports most of the server."""
        if self._session is None:
            self._session = self._make_session(self, self._initialization)
        return self._session

    @property
    def begun(self) -> bool:
        return self._session is not None

    # -- what arrives

    def take(self, message: Any) -> None:
        """Note a message's arrival; answers, cancellations and nonsense are dealt with at once."""
        if isinstance(message, Malformed):
            log.warning("unreadable message: %s", message.reason)
            self._send_error(None, RequestFailed(PARSE_ERROR, message.reason))
        elif isinstance(message, list):
            self._refuse_batch(message)
        elif isinstance(message, dict):
            self._take_object(message)
        else:
            self._send_error(None, RequestFailed(INVALID_REQUEST, "a message must be an object"))

    def _take_object(self, message: dict[str, Any]) -> None:
        method, number = message.get("method"), message.get("id")
        if method is None and ("result" in message or "error" in message):
            self._take_answer(message)
            return
        wrong = None
        if not isinstance(method, str):
            wrong = "a message must name its method"
        elif "id" in message and (isinstance(number, bool) or not isinstance(number, int | str)):
            wrong = "an id must be a whole number or text"
        if wrong is not None or not isinstance(method, str):
            usable = number if isinstance(number, int | str) and number is not True else None
            usable = None if isinstance(usable, bool) else usable
            self._send_error(usable, RequestFailed(INVALID_REQUEST, wrong or ""))
            return
        waiting = Waiting(method, message.get("params"), number)
        if number is not None:
            if number in self._open:
                error = f"the id {number!r} belongs to a request that is not answered yet"
                self._send_error(number, RequestFailed(INVALID_REQUEST, error))
                return
            self._open[number] = waiting
        elif method == "$/cancelRequest":
            self._cancel(waiting.params)
            return
        elif method == _CHANGE:
            self._edits[_uri_of(waiting.params)] += 1
        self._waiting.append(waiting)

    def _refuse_batch(self, batch: list[Any]) -> None:
        error = RequestFailed(INVALID_REQUEST, "batches are no part of the protocol")
        ids = [m["id"] for m in batch if isinstance(m, dict) and "method" in m and "id" in m]
        usable = [i for i in ids if isinstance(i, int | str) and i not in self._open]
        nobody: list[Id | None] = [None]
        for number in usable or nobody:
            self._send_error(number, error)

    def _take_answer(self, message: dict[str, Any]) -> None:
        number = message.get("id")
        asked = self._asked.pop(number, None) if isinstance(number, int | str) else None
        if asked is None:
            log.warning("an answer to a question that was not asked: id %r", number)
            return
        method, then = asked
        error = message.get("error")
        failure = None
        if error is not None:
            detail = error if isinstance(error, dict) else {}
            code, text = detail.get("code"), detail.get("message")
            failure = RequestFailed(
                code if isinstance(code, int) else INTERNAL_ERROR,
                text if isinstance(text, str) else str(error),
            )
            log.info("the client answered %s with an error: %s", method, failure.message)
        if then is not None:
            self._guarded(method, lambda: then(message.get("result"), failure))

    def _cancel(self, params: object) -> None:
        number = params.get("id") if isinstance(params, dict) else None
        found = self._open.get(number) if isinstance(number, int | str) else None
        if isinstance(found, Pending):
            self._guarded("$/cancelRequest", found.cancel)
        elif found is not None:
            found.cancelled = True

    # -- what is handled

    def step(self) -> bool:
        """Handle the oldest message; False when none waits."""
        if not self._waiting:
            return False
        waiting = self._waiting.popleft()
        if waiting.id is not None:
            self._answer(waiting.id, waiting)
        elif waiting.method == _CHANGE:
            self._notified(_CHANGE, *self._changes(waiting.params))
        else:
            self._notified(waiting.method, waiting.params)
        return True

    def _changes(self, params: object) -> list[object]:
        """A change, and the changes of the same document that wait right behind it."""
        uri = _uri_of(params)
        found = [params]
        while self._waiting:
            behind = self._waiting[0]
            if behind.method != _CHANGE or behind.id is not None or _uri_of(behind.params) != uri:
                break
            found.append(self._waiting.popleft().params)
        self._edits[uri] -= len(found)
        if not self._edits[uri]:
            del self._edits[uri]
        return found

    def _notified(self, method: str, *several: object) -> None:
        """Act on a notification, or on several changes of one document as if they were one."""
        if method == "exit":
            self.exit()
            return
        if self.state is not State.INITIALIZED:
            log.warning("%s before initialize or after shutdown is ignored", method)
            return
        session = self.session
        acts = NOTIFICATIONS.get(method)
        found = [each for params in several for each in self._read(method, params)] if acts else []
        if not acts or not found:
            return
        params = found[0] if len(found) == 1 else changes.joined(found)
        for act in acts:
            try:
                act(session, params)
            except RequestFailed as error:
                self._unusable(method, error)
            except Exception as error:
                self._fault(method, error)
                self._tell_once(method, f"dlm failed at {method}; the server's log has the reason")

    def _read(self, method: str, params: object) -> list[Any]:
        """The parameters of a notification as their type; none if they are not usable."""
        try:
            return [params_of(method, params)]
        except RequestFailed as error:
            self._unusable(method, error)
            return []

    def _unusable(self, method: str, error: RequestFailed) -> None:
        log.warning("%s", error.message)
        self._tell_once(method, f"dlm could not use a message: {error.message}")

    def _answer(self, number: Id, waiting: Waiting) -> None:
        """Find the answer and send it, or leave a `Pending` that will."""
        try:
            value = self._value(waiting)
        except RequestFailed as error:
            self._settle(number, None, error)
            return
        except Exception as error:
            self._fault(waiting.method, error)
            text = f"{waiting.method} failed inside the server: {type(error).__name__}: {error}"
            self._settle(number, None, RequestFailed(INTERNAL_ERROR, text))
            return
        if isinstance(value, Pending):
            self._open[number] = value
            value.when_settled(lambda result, error: self._settle(number, result, error))
        else:
            self._settle(number, value, None)

    def _value(self, waiting: Waiting) -> object:
        method = waiting.method
        if waiting.cancelled:
            raise RequestFailed(REQUEST_CANCELLED, "cancelled")
        self._require_state(method)
        if method == "initialize":
            return self._initialize(waiting.params)
        if method == "shutdown":
            self.state = State.SHUT_DOWN
            return None
        session = self.session
        handler = handler_of(method)
        if handler is None:
            raise RequestFailed(METHOD_NOT_FOUND, f"{method} is not known here")
        self._require_fresh(method, waiting.params)
        params = params_of(method, waiting.params)
        if handler.reach is Reach.SESSION:
            return handler.function(session, params)
        snapshot = session.snapshot(params.text_document.uri)
        return None if snapshot is None else handler.function(snapshot, params)

    def _require_state(self, method: str) -> None:
        if self.state is State.SHUT_DOWN:
            raise RequestFailed(INVALID_REQUEST, "the server has been shut down")
        if self.state is State.NEW and method != "initialize":
            raise RequestFailed(SERVER_NOT_INITIALIZED, f"{method} before initialize")
        if self.state is State.INITIALIZED and method == "initialize":
            raise RequestFailed(INVALID_REQUEST, "initialize came a second time")

    def _initialize(self, params: object) -> object:
        if not isinstance(params, Mapping):
            raise RequestFailed(INVALID_PARAMS, "initialize: the parameters must be an object")
        from dlm_engine import __version__

        self._initialization = params
        client = client_features(params)
        process = params.get("processId")
        if isinstance(process, int) and not isinstance(process, bool):
            watchdog.watch(process, self.client_gone)
        self.state = State.INITIALIZED
        info = {"name": "dlm", "version": __version__}
        return Plain(capabilities=offered(client), serverInfo=info)

    def _require_fresh(self, method: str, params: object) -> None:
        """Refuse a question that the client will ask again after an edit that is already here."""
        if method not in ASKED_AGAIN and method != _PULL:
            return
        if not self._edits[_uri_of(params)]:
            return
        if method == _PULL:
            data = {"retriggerRequest": True}
            raise RequestFailed(SERVER_CANCELLED, "the document has changed again", data)
        raise RequestFailed(CONTENT_MODIFIED, "the document has changed again")

    # -- what is sent

    def notify(self, method: str, params: object) -> None:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = plain(params)
        self._write(encoded(message))

    def request(self, method: str, params: object, then: Answer | None = None) -> int:
        number = next(self._numbers)
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": method}
        if params is not None:
            message["params"] = plain(params)
        data = encoded(message)
        self._asked[number] = (method, then)
        self._write(data)
        return number

    def end(self) -> None:
        """Answer whatever is still open, because nobody will any more."""
        for number in list(self._open):
            error = RequestFailed(REQUEST_CANCELLED, "the server is ending")
            self._settle(number, None, error)

    def _settle(self, number: Id, value: object, error: RequestFailed | None) -> None:
        if self._open.pop(number, None) is None:
            log.error("a second answer to request %r is dropped", number)
            return
        if error is not None:
            self._send_error(number, error)
            return
        try:
            data = encoded({"jsonrpc": "2.0", "id": number, "result": plain(value)})
        except Exception as fault:
            self._fault("the answer", fault)
            text = f"an answer that cannot be sent: {fault}"
            self._send_error(number, RequestFailed(INTERNAL_ERROR, text))
            return
        self._write(data)

    def _send_error(self, number: Id | None, error: RequestFailed) -> None:
        detail: dict[str, Any] = {"code": error.code, "message": error.message}
        if error.data is not None:
            detail["data"] = plain(error.data)
        self._write(encoded({"jsonrpc": "2.0", "id": number, "error": detail}))

    # -- faults of our own

    def _guarded(self, what: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self._fault(what, error)

    def _fault(self, what: str, error: Exception) -> None:
        """Log a fault with its traceback, and only its name when it comes again."""
        where = traceback.extract_tb(error.__traceback__)
        place = f"{where[-1].filename}:{where[-1].lineno}" if where else ""
        key = f"{what} {type(error).__name__} {place}"
        if key in self._known_faults:
            log.error("%s failed again: %s: %s", what, type(error).__name__, error)
        else:
            self._known_faults.add(key)
            log.error("%s failed", what, exc_info=error)

    def _tell_once(self, kind: str, message: str) -> None:
        """Show a message about a notification: nobody gets an answer to one. Once for each kind."""
        from lsprotocol import types as lsp

        key = f"told {kind}"
        if key not in self._known_faults:
            self._known_faults.add(key)
            self.session.show_message(lsp.MessageType.Error, message)


def _uri_of(params: object) -> str:
    """The document that parameters, not checked so far, are about; empty when there is none."""
    document = params.get("textDocument") if isinstance(params, Mapping) else None
    uri = document.get("uri") if isinstance(document, Mapping) else None
    return uri if isinstance(uri, str) else ""
