"""`dlm train --listen-rpc`: questions with answers, received over HTTP for the next cycle.

Whoever sends is a stranger until the token says otherwise, and a nuisance after that: so each
request has few bytes, one deadline and one thread of a fixed number, and no path, header, body or
exception of it reaches a log. There is no encryption here; what leaves the machine belongs in a
tunnel, which is why anything but loopback is warned of.
"""

from __future__ import annotations

import hmac
import io
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from dlm_engine.cli.injected import Injections, Probe, QueueFull
from dlm_engine.document.model import LINE_END
from dlm_engine.document.secrets import find_secrets
from dlm_engine.errors import UsageError
from dlm_engine.store import timestamp

TOKEN_VARIABLE: Final = "DLM_PROBE_TOKEN"
PATH: Final = "/rpc"
MOST_BODY: Final = 64 * 1024
#: Of a request altogether, its head included.
_MOST_BYTES: Final = 2 * MOST_BODY
#: Seconds from the connection to the last byte of the request.
_DEADLINE: Final = 10.0
MOST_CONNECTIONS: Final = 32
_MOST_PORT: Final = 65535
#: What is still read of a request that was refused, so that the answer arrives (bytes, seconds).
_MOST_DISCARDED: Final = 1024 * 1024
_DISCARDING: Final = 1.0
_BUSY: Final = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b'Connection: close\r\n\r\n{"error": "too many connections"}\n'
)


def usable_token(token: str | None) -> str:
    """`token`, which senders must know.

    Raises:
        UsageError: there is none, or it cannot stand in a header.
    """
    if not token:
        raise UsageError(
            "--listen-rpc", f"{TOKEN_VARIABLE} is not set", "set it to a long random word"
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(TOKEN_VARIABLE, "is not one word of ASCII characters", "choose another")
    return token


def address_of(text: str) -> tuple[str, int]:
    """HOST and PORT of `HOST:PORT`; an IPv6 address stands in brackets.

    Raises:
        UsageError: it is no such thing.
    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    known = bool(bare) and (bare != host or ":" not in host)
    if not (colon and known and port.isascii() and port.isdigit()):
        raise UsageError(
            f"--listen-rpc {text}", "is not HOST:PORT", "127.0.0.1:7464 listens to this machine"
        )
    if int(port[:6]) > _MOST_PORT:
        problem = f"the port is too large: there are none above {_MOST_PORT}"
        raise UsageError(f"--listen-rpc {text[:80]}", problem, "choose a smaller one")
    return bare, int(port)


@contextmanager
def listening(address: tuple[str, int], token: str, injections: Injections) -> Iterator[Listener]:
    """Receive into `injections` while the block runs.

    Raises:
        UsageError: the address cannot be listened to.
    """
    host, port = address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = Listener(found[0], found[4], token, injections)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no such address"
        raise UsageError(
            f"--listen-rpc {host}:{port}", f"cannot listen there ({why})", "choose another"
        ) from error
    thread = threading.Thread(target=listener.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        injections.close()
        listener.shutdown()
        listener.server_close()
        thread.join()


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, family: int, address: Any, token: str, injections: Injections) -> None:
        self.address_family = family
        self.expected = f"Bearer {token}".encode("ascii")
        self.injections = injections
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, _Request)

    def server_bind(self) -> None:
        # HTTPServer's own asks name servers who this machine is.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    @property
    def url(self) -> str:
        host = self.server_name
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}{PATH}"

    @property
    def is_local(self) -> bool:
        return ipaddress.ip_address(self.server_name.partition("%")[0]).is_loopback

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            with suppress(OSError):
                request.setblocking(False)
                request.send(_BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is its sender's trouble; a traceback could hold the token."""


class _Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        self.status = status
        self.why = why
        super().__init__(why)


class _Params(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt: str
    reference: str
    tags: list[str] = []


class _Request(BaseHTTPRequestHandler):
    server: Listener

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._body = _Limited(self.connection, time.monotonic() + _DEADLINE, _MOST_BYTES)
        self.rfile = io.BufferedReader(self._body)

    def finish(self) -> None:
        """Closing on unread bytes would reset the connection, and lose the answer."""
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            rest = _Limited(self.connection, time.monotonic() + _DISCARDING, _MOST_DISCARDED)
            while rest.read(65536):
                pass
        with suppress(OSError):
            super().finish()

    def __getattr__(self, name: str) -> Any:
        # Whatever the method of the request is called, it is answered in one order.
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def _handle(self) -> None:
        try:
            self._answer(200, self._accepted())
        except _Refused as refusal:
            self._answer(refusal.status, {"error": refusal.why})
        except QueueFull:
            waiting = self.server.injections.waiting
            self._answer(429, {"error": "the queue is full", "queue_depth": waiting})

    def _accepted(self) -> dict[str, object]:
        if self.command != "POST" or self.path != PATH:
            raise _Refused(404, f"only POST {PATH} is served")
        given = self.headers.get_all("Authorization") or [""]
        known = hmac.compare_digest(given[0].strip().encode("utf-8"), self.server.expected)
        if not known or len(given) != 1:
            raise _Refused(401, "the token is missing or wrong")
        params = _params(_json(self._read_body()))
        source = f"{self.client_address[0]}:{self.client_address[1]}"
        probe = Probe(params.prompt, params.reference, tuple(params.tags), source, timestamp())
        depth = self.server.injections.put(probe)
        eta = self.server.injections.seconds_to_next_cycle()
        return {"accepted": True, "next_cycle_eta_s": eta, "queue_depth": depth}

    def _read_body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length") or []
        written = lengths[0].strip() if len(lengths) == 1 else ""
        if not (written.isascii() and written.isdigit()) or self.headers["Transfer-Encoding"]:
            raise _Refused(400, "Content-Length is missing or wrong")
        # A number of many digits is not worth reading as one.
        if len(written) > 9 or not 0 < int(written) <= MOST_BODY:
            raise _Refused(400, f"the body must have 1 to {MOST_BODY} bytes")
        try:
            body = self.rfile.read(int(written))
        except TimeoutError:
            self.connection.settimeout(_DISCARDING)
            raise _Refused(400, "the body did not arrive in time") from None
        if len(body) < int(written):
            raise _Refused(400, "the body is shorter than Content-Length")
        return body

    def _answer(self, status: int, value: dict[str, object]) -> None:
        data = json.dumps(value).encode("ascii") + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """For what is no HTTP; the library's own page repeats what was sent."""
        self.close_connection = True
        self.request_version = "HTTP/1.0"  # else an answer to what names none has no head
        self._answer(400, {"error": "this is no request that is understood here"})

    def version_string(self) -> str:
        return "dlm"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a request line may hold anything, also the token."""


class _Limited(io.RawIOBase):
    """The bytes of a connection until a deadline, and so many at most."""

    def __init__(self, connection: socket.socket, deadline: float, bytes_left: int) -> None:
        self._connection = connection
        self._deadline = deadline
        self._left = bytes_left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        rest = self._deadline - time.monotonic()
        if rest <= 0:
            raise TimeoutError
        view = memoryview(buffer)[: self._left]
        if not view:
            return 0
        self._connection.settimeout(rest)
        count = self._connection.recv_into(view)
        self._left -= count
        return count


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _Refused(400, "the body is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise _Refused(400, "the body is not a JSON object")
    return value


def _params(value: dict[str, Any]) -> _Params:
    method = value.get("method")
    if not isinstance(method, str):
        raise _Refused(400, "method is missing")
    if method != "inject_probe":
        raise _Refused(404, "there is no such method; inject_probe is the only one")
    try:
        found = _Params.model_validate(value.get("params"))
    except ValidationError:
        raise _Refused(
            400, "params must be {prompt: text, reference: text, tags: [text]}"
        ) from None
    texts = {"prompt": found.prompt, "reference": found.reference}
    tags = {f"tags[{number}]": tag for number, tag in enumerate(found.tags)}
    for name, text in (texts | tags).items():
        # By their place: what was sent is repeated nowhere.
        if not _is_text(text):
            raise _Refused(400, f"{name} has characters that no text has")
        if find_secrets(text):
            raise _Refused(400, f"{name} looks like it holds a secret, which would be learned")
    prompt, reference = (LINE_END.sub("\n", text).strip() for text in texts.values())
    if not prompt or not reference:
        raise _Refused(400, "prompt and reference must not be blank")
    return _Params(prompt=prompt, reference=reference, tags=found.tags)


def _is_text(text: str) -> bool:
    """Neither half a character nor a control character, except those between words and lines."""
    return not any(
        "\ud800" <= c <= "\udfff" or (c < " " and c not in "\t\n\r") or c == "\x7f" for c in text
    )
