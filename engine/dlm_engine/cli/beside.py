"""`dlm train --watch --repl`: a conversation in the foreground, trainings beside it.

One heavy job at a time: a question waits for the training that runs, a training for the answer
that is being given. Two at once would each take longer than both in turn, and the base in memory
holds one adapter. What the trainings say appears above the line that is being typed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dlm_engine.cli.app import Globals
from dlm_engine.cli.commands.repl import Talk, converse
from dlm_engine.cli.console import Console, is_terminal
from dlm_engine.cli.conversation import Parameters
from dlm_engine.errors import DlmError
from dlm_engine.jobs import PromptRequest, TrainRequest

if TYPE_CHECKING:
    from dlm_engine.jobs import Resident


def talk_beside(
    at: Globals,
    request: TrainRequest,
    resident: Resident,
    work: Callable[[Globals, AbstractContextManager[object]], None],
    ended: threading.Event,
    adapters: tuple[str, ...] = (),
) -> None:
    """Converse while `work` runs, which trains holding what it is given, and is over once `ended`
    is set. Of several `adapters` the first is asked, until another is chosen.

    Raises:
        DlmError: from `work`, after the conversation; a line of a pipe could not be answered.
    """
    asking = PromptRequest(
        request.path,
        request.home,
        "",
        accept_licence=request.accept_licence,
        adapter=adapters[0] if len(adapters) > 1 else None,
    )
    parameters = Parameters(None, None, 256, None)
    talk = Talk(at.console, asking, parameters, None, None, resident=resident)
    beside = replace(at, console=_Aside(at.console.verbosity, talk=talk))
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work(beside, talk.machine)
        except BaseException as error:  # of a thread nobody would hear
            failed.append(error)
            if isinstance(error, DlmError):
                beside.console.error(error)
            beside.console.warning("saves are no longer trained")

    worker = threading.Thread(target=run, daemon=True)
    at.console.status(
        f"talking with {request.path}; a save is trained, and the newest version answers"
    )
    if len(adapters) > 1:
        others = ", ".join(adapters[1:])
        at.console.status(f"asking {adapters[0]}; /adapter NAME asks another: {others}")
    worker.start()
    try:
        converse(talk)
    finally:
        ended.set()
        worker.join()
    if failed:
        raise failed[0]


@dataclass(frozen=True, slots=True)
class _Aside(Console):
    """Says things when no answer is being given, above the line that is being typed."""

    talk: Talk = field(kw_only=True)

    def status(self, message: str) -> None:
        with self._above():
            Console.status(self, message)

    def warning(self, message: str) -> None:
        with self._above():
            Console.warning(self, message)

    def error(self, error: DlmError) -> None:
        with self._above():
            Console.error(self, error)

    @contextmanager
    def _above(self) -> Iterator[None]:
        with self.talk.machine:
            shown = self.talk.shown if is_terminal(sys.stdout) else ""
            if not shown:
                yield
                return
            import readline

            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
            yield
            sys.stdout.write(shown + readline.get_line_buffer())
            sys.stdout.flush()
