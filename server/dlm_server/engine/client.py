"""The engine as the server sees it: a state, one job at a time, and answers that always come.

Starts the worker when it is first needed, watches it, and starts it again when it dies:
after 1, 5 and 30 seconds, until three deaths within three minutes say that it will not get
better, and never by itself after it ran out of memory. The invariant: every job handed to
`run` is answered exactly once with a `Result`, whatever becomes of the process. All methods
belong to the loop's thread; language features never wait for any of this.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from dlm_engine.errors import DlmError
from dlm_engine.worker.messages import (
    EXIT_OUT_OF_MEMORY,
    OUT_OF_MEMORY,
    Ending,
    Initialize,
    Initialized,
    Progress,
    Result,
    Text,
    Trouble,
    plain,
    read,
)
from dlm_engine.worker.wire import Message
from dlm_server.engine.process import Loop, Ring, Timer, WorkerProcess

BACKOFF_SECONDS: Final = (1.0, 5.0, 30.0)
MOST_FAILURES: Final = 3
FAILURE_WINDOW_SECONDS: Final = 180.0
START_SECONDS: Final = 60.0
#: A job that says nothing for so long hangs.
SILENCE_SECONDS: Final = 900.0
TERM_SECONDS: Final = 1.0
KILL_SECONDS: Final = 1.0
#: The end of the server must not wait for long; the store survives a kill at any moment.
CLOSE_SECONDS: Final = 0.5
_MOST_GRACE: Final = 20.0
_SIGKILL: Final = -9
RESTART: Final = "restart the engine with the command dlm.restartEngine"


class State(StrEnum):
    OFF = "off"
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    RESTARTING = "restarting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Launch:
    """How a worker is started and what it is told first."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    initialize: Initialize


@dataclass(slots=True)
class _Call:
    """The job the worker has. `longest` is the longest wait between two of its steps."""

    method: str
    params: Mapping[str, Any]
    said: Callable[[Progress | Text], None]
    done: Callable[[Result], None]
    request: int | None = None
    heard: bool = False
    cancelled: bool = False
    resent: bool = False
    stepped_at: float | None = None
    longest: float = 0.0
    timers: list[Timer] = field(default_factory=list)
    heard_at: float = 0.0


class EngineClient:
    """See the module. `launch` is asked at every start, so settings take effect then;
    `changed` is told of every change of `state`."""

    def __init__(
        self,
        loop: Loop,
        launch: Callable[[], Launch],
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._launch = launch
        self._changed = changed
        self._clock = clock
        self.state = State.OFF
        self.message: str | None = None
        self.ring = Ring()
        #: what ended workers that nobody had asked to end, newest last
        self.deaths: list[str] = []
        self._process: WorkerProcess | None = None
        self._ready = False
        self._numbers = 0
        self._init_request = 0
        self._call: _Call | None = None
        self._failures: list[float] = []
        self._consecutive = 0
        self._exiting = ""
        self._expected = False
        self._start_timer: Timer | None = None
        self._restart_timer: Timer | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def free(self) -> bool:
        """Whether `run` may be called."""
        return self._call is None

    # --- what the owner asks -------------------------------------------------------------

    def run(
        self,
        method: str,
        params: object,
        said: Callable[[Progress | Text], None],
        done: Callable[[Result], None],
    ) -> None:
        """Hand over a job; `done` gets its end. Only while `free`."""
        assert self._call is None
        call = _Call(method, plain(params), said, done)
        self._call = call
        if self.state is State.FAILED:
            trouble = Trouble("engine", "the engine", self.message or "has failed", RESTART)
            self._finish(call, Result(Ending.UNAVAILABLE, trouble))
        elif self._process is None:
            if self._restart_timer is None:
                self._start()
        elif self._ready:
            self._send_call(call)

    def cancel(self) -> None:
        """End the running job: kindly first, by force when that does not help."""
        call = self._call
        if call is None or call.cancelled:
            return
        call.cancelled = True
        if call.request is None or self._process is None:
            self._finish(call, Result(Ending.CANCELLED))
            return
        self._request("cancel", {"id": call.request})
        # A step that takes longer than the grace would lose what it could still keep.
        grace = min(_MOST_GRACE, max(TERM_SECONDS, 2 * call.longest))
        self._kill_later(call, grace)

    def restart(self) -> None:
        """Forget all failures and start anew; a running job ends as cancelled."""
        self._failures.clear()
        self._consecutive = 0
        self._stop_restart_timer()
        if self._call is not None:
            self._call.cancelled = True
        if self._process is not None:
            self._expected, self._ready = True, False
            self._process.kill()
            self._set(State.RESTARTING, "restarting as asked")
        else:
            self._start()

    def stop(self) -> None:
        """Have the worker end; it is killed if it takes more than two seconds."""
        self._stop_restart_timer()
        process = self._process
        if process is None:
            self._set(State.OFF, None)
            return
        if self._call is not None:
            self._call.cancelled = True
        self._expected, self._ready = True, False
        self._request("shutdown", {})
        process.close_input()
        self._loop.after(TERM_SECONDS, lambda: self._kill_if(process, process.terminate))
        self._loop.after(TERM_SECONDS + KILL_SECONDS, lambda: self._kill_if(process, process.kill))

    def close(self) -> None:
        """As `stop`, for the end of the server: waits a moment, then kills."""
        self._stop_restart_timer()
        process, self._process = self._process, None
        if process is None:
            return
        process.close_input()
        if not process.wait(CLOSE_SECONDS):
            process.kill()

    # --- starting ------------------------------------------------------------------------

    def _start(self) -> None:
        self._restart_timer = None
        try:
            launch = self._launch()
        except DlmError as error:
            self._give_up(f"cannot be started: {error}")
            return
        self._ready = False
        self._expected = False
        self._exiting = ""
        try:
            process = WorkerProcess(
                launch.command,
                launch.environment,
                self._loop,
                lambda message: self._heard(process, message),
                lambda status, problem: self._ended(process, status, problem),
                self.ring,
            )
        except OSError as error:
            self._give_up(f"cannot be started ({launch.command[0]}: {error.strerror or error})")
            return
        self._process = process
        self._set(State.STARTING, None)
        self._init_request = self._request("initialize", plain(launch.initialize))
        self._start_timer = self._loop.after(
            START_SECONDS, lambda: self._kill_if(process, process.kill)
        )

    def _started(self, message: Message) -> None:
        self._cancel_start_timer()
        error = message.get("error")
        try:
            if error is not None:
                raise ValueError(str(error.get("message", error)))
            read(Initialized, message.get("result"))
        except ValueError as problem:
            self._expected = True
            self._give_up(f"refused to start: {problem}")
            return
        self._ready = True
        if self._call is None:
            self._set(State.IDLE, None)
        else:
            self._send_call(self._call)

    def _send_call(self, call: _Call) -> None:
        call.request = self._request(call.method, call.params)
        call.heard_at = self._clock()
        self._listen_for_silence(call, SILENCE_SECONDS)
        self._set(State.BUSY, None)

    def _request(self, method: str, params: Mapping[str, Any]) -> int:
        assert self._process is not None
        self._numbers += 1
        self._process.send(
            {"jsonrpc": "2.0", "id": self._numbers, "method": method, "params": dict(params)}
        )
        return self._numbers

    # --- what the worker says ------------------------------------------------------------

    def _heard(self, process: WorkerProcess, message: Message) -> None:
        if process is not self._process:
            return
        if "method" in message:
            self._notified(str(message["method"]), message.get("params"))
        elif message.get("id") == self._init_request:
            self._started(message)
        elif self._call is not None and message.get("id") == self._call.request:
            self._answered(self._call, message)

    def _notified(self, method: str, params: object) -> None:
        call = self._call
        if method == "exiting" and isinstance(params, dict):
            self._exiting = str(params.get("reason", ""))
        if call is None or method not in ("progress", "text"):
            return
        said: Progress | Text
        try:
            said = read(Progress, params) if method == "progress" else read(Text, params)
        except ValueError:
            return
        if said.id != call.request:
            return
        call.heard = True
        call.heard_at = now = self._clock()
        if isinstance(said, Progress) and said.step is not None:
            if call.stepped_at is not None:
                call.longest = max(call.longest, now - call.stepped_at)
            call.stepped_at = now
        if not call.cancelled:
            call.said(said)

    def _answered(self, call: _Call, message: Message) -> None:
        try:
            if message.get("error") is not None:
                raise ValueError(str(message["error"].get("message")))
            result = read(Result, message.get("result"))
        except ValueError as error:
            result = Result(
                Ending.FAILED, Trouble("protocol", "the engine", str(error), "restart the engine")
            )
        if result.ending is Ending.DONE:
            self._consecutive = 0
        self._finish(call, result)

    def _finish(self, call: _Call, result: Result) -> None:
        if self._call is not call:
            return
        self._call = None
        for timer in call.timers:
            timer.cancel()
        if self.state is State.BUSY:
            self._set(State.IDLE, None)
        call.done(result)

    # --- the worker's end ----------------------------------------------------------------

    def _ended(self, process: WorkerProcess, status: int, problem: str) -> None:
        if process is not self._process:
            return
        self._process = None
        self._ready = False
        self._cancel_start_timer()
        call = self._call
        if self._no_memory(process, status):
            self._out_of_memory(call)
        elif call is not None and call.cancelled:
            restarting = self.state is State.RESTARTING
            self._set(State.OFF, None)
            self._finish(call, Result(Ending.CANCELLED))
            if restarting and self._process is None:
                self._start()
        elif self._expected:
            restarting = self.state is State.RESTARTING
            self._set(State.OFF, None)
            if restarting or call is not None:
                self._start()
        elif status == 0 and not problem and (call is None or not call.resent):
            # It left for want of work, perhaps just as some came.
            self._set(State.OFF, None)
            if call is not None and not call.heard:
                call.resent, call.request = True, None
                self._start()
            elif call is not None:
                self._died(call, "ended in the middle of a job")
        else:
            self._died(call, _how(status, problem))

    def _no_memory(self, process: WorkerProcess, status: int) -> bool:
        if self._exiting == OUT_OF_MEMORY or status == EXIT_OUT_OF_MEMORY:
            return True
        return status == _SIGKILL and not self._expected and process.was_killed_for_memory()

    def _out_of_memory(self, call: _Call | None) -> None:
        self.deaths.append("had no memory left")
        self._set(State.FAILED, "had no memory left; it is not started again by itself")
        if call is not None:
            trouble = Trouble(
                OUT_OF_MEMORY, "the engine", "had no memory left", f"free some, then {RESTART}"
            )
            self._finish(call, Result(Ending.FAILED, trouble))

    def _died(self, call: _Call | None, how: str) -> None:
        now = self._clock()
        self.deaths = [*self.deaths[-9:], how]
        self._failures = [t for t in self._failures if now - t < FAILURE_WINDOW_SECONDS] + [now]
        self._consecutive += 1
        begun = call is not None and call.request is not None
        if len(self._failures) >= MOST_FAILURES:
            self._set(State.FAILED, f"{how}, {len(self._failures)} times in three minutes")
        else:
            pause = BACKOFF_SECONDS[min(self._consecutive, len(BACKOFF_SECONDS)) - 1]
            self._restart_timer = self._loop.after(pause, self._start)
            self._set(State.RESTARTING, f"{how}; starting again in {pause:g} s")
        if call is None:
            return
        if begun or self.state is State.FAILED:
            ending = Ending.FAILED if begun else Ending.UNAVAILABLE
            remedy = RESTART if self.state is State.FAILED else "it starts again by itself"
            self._finish(call, Result(ending, Trouble("crash", "the engine", how, remedy)))

    def _give_up(self, problem: str) -> None:
        """What will not get better by trying again."""
        process = self._process
        if process is not None:
            self._process = None
            process.kill()
        self._set(State.FAILED, problem)
        if self._call is not None:
            trouble = Trouble("engine", "the engine", problem, RESTART)
            self._finish(self._call, Result(Ending.UNAVAILABLE, trouble))

    # --- force and time ------------------------------------------------------------------

    def _kill_later(self, call: _Call, grace: float) -> None:
        process = self._process
        assert process is not None

        def unless_ended(act: Callable[[], None]) -> Callable[[], None]:
            return lambda: act() if self._call is call and self._process is process else None

        call.timers = [
            self._loop.after(grace, unless_ended(process.terminate)),
            self._loop.after(grace + KILL_SECONDS, unless_ended(process.kill)),
        ]

    def _kill_if(self, process: WorkerProcess, act: Callable[[], None]) -> None:
        if self._process is process:
            act()

    def _listen_for_silence(self, call: _Call, seconds: float) -> None:
        def look() -> None:
            if self._call is not call or self._process is None:
                return
            left = call.heard_at + SILENCE_SECONDS - self._clock()
            if left <= 0:
                self._process.kill()
            else:
                self._listen_for_silence(call, left)

        self._loop.after(seconds, look)

    def _cancel_start_timer(self) -> None:
        if self._start_timer is not None:
            self._start_timer.cancel()
            self._start_timer = None

    def _stop_restart_timer(self) -> None:
        if self._restart_timer is not None:
            self._restart_timer.cancel()
            self._restart_timer = None

    def _set(self, state: State, message: str | None) -> None:
        if (state, message) != (self.state, self.message):
            self.state, self.message = state, message
            self._changed()


def _how(status: int, problem: str) -> str:
    if problem:
        return f"said something that is no message ({problem})"
    if status < 0:
        return f"was killed (signal {-status})"
    return f"ended with status {status}"
