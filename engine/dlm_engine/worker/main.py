"""The worker's two threads and the life of a request between them.

The reader takes requests off the pipe and answers what costs nothing; the main thread runs
one job after another. The invariant: whatever happens, every request is answered exactly
once, because answering takes its id out of `_open` and only what stands there is answered.
Jobs end in a `Result`, also when they fail; JSON-RPC errors are for requests that make no
sense.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from dlm_engine import __version__
from dlm_engine.errors import DlmError, LicenceRequired
from dlm_engine.store.atomic import store_error
from dlm_engine.worker import guards
from dlm_engine.worker.jobs_adapter import RUNNERS, STARTS_OTHERS, Context, Stopped
from dlm_engine.worker.messages import (
    EXIT_OUT_OF_MEMORY,
    OUT_OF_MEMORY,
    PROTOCOL,
    Ask,
    Ending,
    Exiting,
    Export,
    Initialize,
    Initialized,
    Progress,
    Prompt,
    Result,
    Rollback,
    Text,
    Train,
    Trouble,
    WorkerStatus,
    plain,
    read,
)
from dlm_engine.worker.wire import Message, WireError, Writer, read_frame
from dlm_engine.worker.words import choices, for_editors

log = logging.getLogger("dlm.worker")

#: How long a running job gets to end well when the pipe is closed.
_LAST_SECONDS: Final = 1.0

_PARSE_ERROR, _INVALID_REQUEST, _NO_METHOD, _INVALID_PARAMS = -32700, -32600, -32601, -32602
_NOT_INITIALIZED: Final = -32002

_JOBS: Final[dict[str, type]] = {
    "train": Train,
    "prompt": Prompt,
    "ask": Ask,
    "export": Export,
    "rollback": Rollback,
}
_OWN: Final = frozenset({"initialize", "cancel", "status", "shutdown"})


@dataclass(frozen=True, slots=True)
class _Job:
    """`params` is one of the types that `RUNNERS` knows."""

    request: object
    params: Any
    context: Context


class Worker:
    """Answers what comes in on `incoming` until it ends or a shutdown is asked for."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming = incoming
        self._writer = Writer(outgoing)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open: dict[object, _Job | None] = {}
        self._running: _Job | None = None
        self._numbers = 0
        self._home: Path | None = None
        self._shutdown: object | None = None
        self._stopping = False
        self._ended = threading.Event()
        self._busy_at = time.monotonic()

    def run(self) -> int:
        """Serve until the end; returns the exit status."""
        threading.Thread(target=self._read, name="dlm-worker-reader", daemon=True).start()
        status = 0
        while (job := self._jobs.get()) is not None:
            status = self._run(job)
            if status:
                break
        if self._shutdown is not None:
            self._notify("exiting", Exiting("shutdown"))
            self._answer(self._shutdown, None)
        self._ended.set()
        return status

    # --- the job thread ------------------------------------------------------------------

    def _run(self, job: _Job) -> int:
        with self._lock:
            if job.request not in self._open:
                return 0
            self._running = job
        result = self._outcome(job)
        job.context.settle()
        with self._lock:
            self._running = None
            self._busy_at = time.monotonic()
        full = result.trouble is not None and result.trouble.kind == OUT_OF_MEMORY
        if full:
            self._notify("exiting", Exiting(OUT_OF_MEMORY))
        self._answer(job.request, plain(result))
        return EXIT_OUT_OF_MEMORY if full else 0

    def _outcome(self, job: _Job) -> Result:
        context = job.context
        try:
            if context.cancelled():
                return Result(Ending.CANCELLED)
            return RUNNERS[type(job.params)](job.params, context)
        except Stopped:
            return Result(Ending.CANCELLED)
        except BaseException as error:
            if guards.is_out_of_memory(error):
                return Result(Ending.FAILED, _no_memory(str(error)))
            if isinstance(error, OSError) and error.errno is not None:
                # A library met it: a full disk is full for all of them.
                log.exception("the system refused something")
                error = store_error(error, job.context.home)
            if isinstance(error, DlmError):
                ending = Ending.FAILED if context.begun else Ending.UNAVAILABLE
                return Result(ending, _trouble(error))
            log.exception("a job ended in a bug")
            said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            return Result(Ending.FAILED, Trouble("bug", "bug in dlm", said, "see the engine's log"))

    # --- the reader thread ---------------------------------------------------------------

    def _read(self) -> None:
        try:
            while (message := read_frame(self._incoming)) is not None:
                self._receive(message)
        except WireError as error:
            log.error("what came through the pipe is no message: %s", error)
            self._writer.write(_error(None, _PARSE_ERROR, str(error)))
        except Exception:
            log.exception("the reader ended in a bug")
        self._leave()

    def _leave(self) -> None:
        """The pipe is closed: nobody hears us, so what runs gets a moment to end well."""
        with self._lock:
            self._stopping = True
            running = self._running
        if running is not None:
            running.context.cancel.set()
        self._jobs.put(None)
        self._ended.wait(_LAST_SECONDS)
        os._exit(0)

    def _receive(self, message: Message) -> None:
        request, method = message.get("id"), message.get("method")
        if request is None or not isinstance(method, str):
            self._writer.write(_error(request, _INVALID_REQUEST, "not a request"))
            return
        with self._lock:
            if isinstance(request, dict | list) or request in self._open:
                problem = "the id is in use or unusable"
                self._writer.write(_error(None, _INVALID_REQUEST, problem))
                return
            self._open[request] = None
            self._busy_at = time.monotonic()
        if method not in _JOBS and method not in _OWN:
            self._refuse(request, _NO_METHOD, f"there is no method {method[:60]!r}")
        elif method != "initialize" and self._home is None:
            self._refuse(request, _NOT_INITIALIZED, "initialize comes first")
        elif self._stopping:
            self._refuse(request, _INVALID_REQUEST, "the worker is shutting down")
        else:
            try:
                self._accept(request, method, message.get("params") or {})
            except ValueError as error:
                self._refuse(request, _INVALID_PARAMS, str(error))

    def _accept(self, request: object, method: str, params: object) -> None:
        if method in _JOBS:
            self._enqueue(request, read(_JOBS[method], params))
        elif method == "initialize":
            self._initialize(request, read(Initialize, params))
        elif method == "cancel":
            wanted = params.get("id") if isinstance(params, dict) else None
            self._answer(request, {"cancelled": self._cancel(wanted)})
        elif method == "status":
            self._answer(request, plain(self._status()))
        else:
            with self._lock:
                self._stopping = True
                waiting = [r for r, job in self._open.items() if job is not None]
            for job in waiting:
                self._cancel(job)
            self._shutdown = request
            self._jobs.put(None)

    def _initialize(self, request: object, params: Initialize) -> None:
        if params.protocol != PROTOCOL:
            self._refuse(
                request,
                _INVALID_PARAMS,
                f"this engine (dlm {__version__}) speaks protocol {PROTOCOL}, the server "
                f"{params.protocol}; install the same dlm for both",
            )
            return
        self._home = Path(params.home)
        guards.die_with_parent(params.parent)
        memory = params.memory_limit or guards.default_memory_limit()
        guards.watch(
            guards.Limits(params.parent, memory, params.idle_seconds),
            guards.Reactions(self._idle_for, self._starts_others, self._when_idle, self._when_full),
        )
        self._answer(request, plain(Initialized(os.getpid(), __version__)))

    def _enqueue(self, request: object, params: object) -> None:
        assert self._home is not None
        with self._lock:
            self._numbers += 1
            context = Context(
                request if isinstance(request, int) else self._numbers, self._home, self._say
            )
            job = _Job(request, params, context)
            self._open[request] = job
        self._jobs.put(job)

    def _cancel(self, wanted: object) -> bool:
        with self._lock:
            if isinstance(wanted, dict | list):
                return False
            job = self._open.get(wanted)
            running = self._running
        if job is None:
            return False
        job.context.cancel.set()
        if job is not running:
            self._answer(job.request, plain(Result(Ending.CANCELLED)))
        return True

    def _status(self) -> WorkerStatus:
        with self._lock:
            running = self._running
            waiting = sum(job is not None and job is not running for job in self._open.values())
        return WorkerStatus(
            running.context.id if running else None,
            waiting,
            guards.memory_used(),
            "torch" in sys.modules,
        )

    # --- the guard's thread --------------------------------------------------------------

    def _idle_for(self) -> float:
        with self._lock:
            return 0.0 if self._open else time.monotonic() - self._busy_at

    def _starts_others(self) -> bool:
        with self._lock:
            return self._running is not None and type(self._running.params) in STARTS_OTHERS

    def _when_idle(self) -> None:
        self._notify("exiting", Exiting("idle"), timeout=1.0)
        os._exit(0)

    def _when_full(self, used: int) -> None:
        with self._lock:
            jobs = [job for job in self._open.values() if job is not None]
        self._notify("exiting", Exiting(OUT_OF_MEMORY), timeout=1.0)
        for job in jobs:
            trouble = _no_memory(f"{used / 2**30:.1f} GiB are in use")
            self._answer(job.request, plain(Result(Ending.FAILED, trouble)), timeout=1.0)
        guards.end_children()
        os._exit(EXIT_OUT_OF_MEMORY)

    # --- writing -------------------------------------------------------------------------

    def _answer(self, request: object, result: object, timeout: float = -1) -> None:
        self._reply(request, {"jsonrpc": "2.0", "id": request, "result": result}, timeout)

    def _refuse(self, request: object, code: int, message: str) -> None:
        self._reply(request, _error(request, code, message))

    def _reply(self, request: object, message: Message, timeout: float = -1) -> None:
        with self._lock:
            if request not in self._open:
                return
            del self._open[request]
        self._writer.write(message, timeout)

    def _say(self, message: Progress | Text) -> None:
        self._notify("progress" if isinstance(message, Progress) else "text", message)

    def _notify(self, method: str, params: object, timeout: float = -1) -> None:
        self._writer.write({"jsonrpc": "2.0", "method": method, "params": plain(params)}, timeout)


def _trouble(error: DlmError) -> Trouble:
    licence = error if isinstance(error, LicenceRequired) else None
    return Trouble(
        type(error).__name__,
        for_editors(error.subject),
        for_editors(error.problem),
        for_editors(error.remedy),
        choices(error.remedy),
        licence.name if licence else None,
        licence.url if licence else None,
    )


def _no_memory(details: str) -> Trouble:
    return Trouble(
        OUT_OF_MEMORY,
        "the engine",
        f"has no memory left ({details[:200]})",
        "choose a smaller base or a shorter training.sequence_len, then restart the engine",
    )


def _error(request: object, code: int, message: str) -> Message:
    return {"jsonrpc": "2.0", "id": request, "error": {"code": code, "message": message}}
