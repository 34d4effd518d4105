"""One worker process and its three pipes, read and written by threads that post to the loop.

The invariant: the loop never waits for the process. What it says arrives as calls on the
loop's thread, in order, and its end arrives last and once. It has a process group of its
own, so killing it takes along what it started; it dies with us, because it watches us.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, Final, Protocol, cast

from dlm_engine.worker.wire import Message, WireError, frame, read_frame

#: What is kept of the worker's standard error, in bytes.
RING_BYTES: Final = 256 * 2**10
_CHUNK: Final = 8192


class Timer(Protocol):
    def cancel(self) -> None: ...


class Loop(Protocol):
    """The one thread that owns everything here."""

    def post(self, act: Callable[[], None]) -> None:
        """Have the loop call `act`; from any thread."""

    def after(self, seconds: float, act: Callable[[], None]) -> Timer:
        """Have the loop call `act` later; from the loop only."""


class Ring:
    """The last bytes that were written to it. Safe to use from two threads."""

    def __init__(self, size: int = RING_BYTES) -> None:
        self._size = size
        self._held = 0
        self._chunks: deque[bytes] = deque()
        self._lock = threading.Lock()

    def write(self, chunk: bytes) -> None:
        with self._lock:
            self._chunks.append(chunk[-self._size :])
            self._held += len(self._chunks[-1])
            while self._held - len(self._chunks[0]) >= self._size:
                self._held -= len(self._chunks.popleft())

    def text(self, most: int | None = None) -> str:
        """The last `most` bytes, or all that is held, as text."""
        with self._lock:
            data = b"".join(self._chunks)[-self._size :]
        return (data if most is None else data[-most:]).decode("utf-8", errors="replace")


class WorkerProcess:
    """A started worker. `heard` and `ended` are called on the loop.

    `ended` gets the exit status (negative: the signal) and what was wrong with the stream,
    if that is why it ended. Start it from a thread that lives as long as this process: on
    Linux the worker is told of the end of the thread that started it.

    Raises:
        OSError: the program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        loop: Loop,
        heard: Callable[[Message], None],
        ended: Callable[[int, str], None],
        ring: Ring,
    ) -> None:
        self._loop = loop
        self._heard = heard
        self._ended = ended
        self._ring = ring
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._oom_kills = oom_kills()
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=sys.platform != "win32",
        )
        errors = threading.Thread(target=self._read_errors, name="dlm-engine-errors", daemon=True)
        errors.start()
        threading.Thread(target=self._write, name="dlm-engine-writer", daemon=True).start()
        threading.Thread(
            target=self._read, args=(errors,), name="dlm-engine-reader", daemon=True
        ).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Message) -> None:
        self._outgoing.put(frame(message))

    def close_input(self) -> None:
        """Nothing more will be sent: the worker ends by itself."""
        self._outgoing.put(None)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within `seconds`."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def was_killed_for_memory(self) -> bool:
        """Whether the system has killed something for want of memory since this one started."""
        return oom_kills() > self._oom_kills

    def _signal(self, number: int) -> None:
        if self._process.poll() is not None:
            return
        try:
            if sys.platform == "win32":
                self._process.send_signal(number)
            else:
                os.killpg(self._process.pid, number)
        except (OSError, ValueError):
            return

    # --- threads -------------------------------------------------------------------------

    def _read(self, errors: threading.Thread) -> None:
        stream = cast("BinaryIO", self._process.stdout)
        problem = ""
        try:
            while (message := read_frame(stream)) is not None:
                self._loop.post(lambda message=message: self._heard(message))  # type: ignore[misc]
        except (WireError, OSError, ValueError) as error:
            problem = str(error)
            self.kill()
        # A worker that closed its pipe but does not end is of no use.
        if not self.wait(2.0):
            self.kill()
        status = self._process.wait()
        errors.join(1.0)
        self._outgoing.put(None)
        self._loop.post(lambda: self._ended(status, problem))

    def _write(self) -> None:
        stream = self._process.stdin
        assert stream is not None
        try:
            while (data := self._outgoing.get()) is not None:
                stream.write(data)
                stream.flush()
            stream.close()
        except (OSError, ValueError):
            return

    def _read_errors(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        while chunk := os.read(stream.fileno(), _CHUNK):
            self._ring.write(chunk)


def oom_kills() -> int:
    """How many processes the system has killed for want of memory; 0 where it does not say."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError):
        return 0
    return 0
