"""`dlm train --watch`: one training after another, for saves and for questions that are sent.

One heavy job at a time, always over the same base in memory. What cannot be trained is said, and
waited out. However the loop ends, what was accepted from outside is written down with what became
of it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from dlm_engine.cli.app import Globals
from dlm_engine.cli.documents import require_frontmatter
from dlm_engine.cli.watching import contents, follow
from dlm_engine.document import adapter_names, read_document
from dlm_engine.errors import DlmError, StoreError, UsageError
from dlm_engine.jobs import Ending, Start, TrainOutcome, TrainRequest, make_resident
from dlm_engine.store import Store
from dlm_engine.store.injected import INJECTED_NAME

if TYPE_CHECKING:
    from dlm_engine.cli.injected import Injections
    from dlm_engine.jobs import Resident

#: Trains with what is in memory; the last argument, where there is one, says when to stop.
Train = Callable[[Globals, TrainRequest, "Resident", Callable[[], bool] | None], TrainOutcome]
Report = Callable[[Globals, TrainOutcome], None]


@dataclass(frozen=True, slots=True)
class Watch:
    """`cycles`: end after so many retrainings. `listen`: HOST:PORT to take questions at.
    `repl`: talk with the model meanwhile."""

    cycles: int | None = None
    listen: str | None = None
    repl: bool = False

    def require_usable(self, *, watching: bool) -> None:
        """Raise `UsageError` for what cannot be obeyed, before a file is read or written."""
        given = {
            "--max-cycles": self.cycles is not None,
            "--listen-rpc": self.listen is not None,
            "--repl": self.repl,
        }
        flag = next((flag for flag, is_given in given.items() if is_given), None)
        if flag and not watching:
            raise UsageError(flag, "goes with --watch", "add --watch, or leave it out")
        if self.repl and self.cycles is not None:
            problem = "--repl and --max-cycles exclude each other"
            raise UsageError("dlm train", problem, "leave a conversation with Ctrl-D")
        if self.listen is not None:
            from dlm_engine.cli.listening import address_of

            _token()
            address_of(self.listen)


@dataclass
class _Cycles:
    """What one watch trains, time after time."""

    request: TrainRequest
    train: Train
    report: Report
    resident: Resident
    injections: Injections | None
    store: Store | None
    trouble: DlmError | None = None

    def once(self, at: Globals, first: bool, stop: Callable[[], bool] | None = None) -> bool:
        """Train what the document says now; False when that was stopped.

        What was sent waits for the second cycle, so that the number of cycles says what is in.
        """
        self.trouble = None
        injected = () if self.injections is None or first else self.injections.take()
        request = replace(self.request, start=Start.FURTHER, injected=injected)
        try:
            with nullcontext() if self.injections is None else self.injections.cycle():
                outcome = self.train(at, request, self.resident, stop)
        except DlmError as error:
            self.trouble = error
            at.console.error(error)
            if injected:
                at.console.status("what was sent stays for the next cycle")
            return True
        self.report(at, outcome)
        if outcome.ending is Ending.CANCELLED:
            return False
        if self.injections is not None and self.store is not None:
            try:
                self.injections.record(self.store)
            except StoreError as error:
                at.console.error(error)
        return True


def retrain(at: Globals, request: TrainRequest, watch: Watch, train: Train, report: Report) -> int:
    """Train now and after every change; returns the exit code.

    Raises:
        DlmError: something is refused before anything starts.
    """
    path = request.path
    document = read_document(path)[0]  # a name mistyped would be waited for without end
    with ExitStack() as stack:
        injections = None
        store = None
        if watch.listen is not None:
            store = Store(request.home, require_frontmatter(path)[1].dlm_id)
            injections = _listen(at, watch.listen, store, stack)
        stack.enter_context(_terminable())
        cycles = _Cycles(request, train, report, make_resident(), injections, store)
        ended = threading.Event()
        found = contents(path, injections.due if injections else lambda: False, ended, request.home)
        try:
            last = next(found)
            if not cycles.once(at, first=True):
                return 0
            if watch.repl:
                from dlm_engine.cli.beside import talk_beside

                def work(beside: Globals, machine: AbstractContextManager[object]) -> None:
                    def again() -> bool:
                        with machine:
                            return cycles.once(beside, first=False, stop=ended.is_set)

                    follow(found, last, path, again, beside.console.status)

                adapters: tuple[str, ...] = ()
                if document.frontmatter and not document.frontmatter.training.gate.enabled:
                    adapters = adapter_names(document.frontmatter)
                talk_beside(at, request, cycles.resident, work, ended, adapters)
            else:
                at.console.status(f"waiting for {path} to change; Ctrl-C ends")
                again = partial(cycles.once, at, first=False)
                follow(found, last, path, again, at.console.status, watch.cycles)
        except (KeyboardInterrupt, SystemExit):
            at.console.status("no longer watching")
    return 0 if watch.cycles is None or cycles.trouble is None else cycles.trouble.exit_code


def _listen(at: Globals, where: str, store: Store, stack: ExitStack) -> Injections:
    """Take questions until `stack` ends, and then write down the rest of them."""
    from dlm_engine.cli.injected import Injections
    from dlm_engine.cli.listening import address_of, listening

    injections = Injections()

    def record_rest() -> None:
        try:
            lost = injections.record_rest(store)
        except StoreError as error:
            at.console.error(error)
            return
        if lost:
            at.console.status(f"{lost} accepted, but learned by no version; see {INJECTED_NAME}")

    stack.callback(record_rest)
    listener = stack.enter_context(listening(address_of(where), _token(), injections))
    at.console.status(f"listening on {listener.url}")
    if not listener.is_local:
        at.console.warning(
            f"{listener.url}: others reach it, and the token and the texts travel unencrypted"
        )
    return injections


def _token() -> str:
    from dlm_engine.cli.listening import TOKEN_VARIABLE, usable_token

    return usable_token(os.environ.get(TOKEN_VARIABLE))


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the watch with everything written down, and not just a line of a conversation
    as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise SystemExit

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
