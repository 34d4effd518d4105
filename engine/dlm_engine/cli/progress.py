"""Events of a job as they happen: a line that rewrites itself on a terminal, plain lines elsewhere.

Logs and editors get a line every few seconds and never a control character; a terminal
gets one line that is overwritten, and left standing when something else must be said.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dlm_engine.cli.console import Console, Verbosity, is_terminal, visible
from dlm_engine.cli.stopping import stopping
from dlm_engine.cli.tables import seconds
from dlm_engine.jobs import Choice, Event, Listener, Phase, PhaseBegan, Progress, Status

#: seconds between progress lines where lines stay
INTERVAL = 5.0
_CLEAR = "\r\x1b[K"


@contextmanager
def told(console: Console) -> Iterator[tuple[Listener, Callable[[], bool]]]:
    """For a job that trains: whom it tells, and whether Ctrl-C or SIGTERM asked it to end."""
    printer = EventPrinter(console)
    with stopping(printer.say) as stop:

        def listen(event: Event) -> None:
            stop.begun = stop.begun or isinstance(event, Progress)
            printer(event)

        try:
            yield listen, lambda: stop.asked
        finally:
            printer.finish()


@dataclass
class EventPrinter:
    """Call it with every event, and `finish` at the end, whatever the end is."""

    console: Console
    live: bool = field(default_factory=lambda: is_terminal(sys.stderr))
    _printed_at: float | None = None
    _pending: str = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Choice):
            self.say(f"  {event.name} = {event.value}: {event.reason}")
        elif isinstance(event, Status):
            self.say(event.message)
        elif isinstance(event, PhaseBegan):
            # Its clock begins anew.
            self.finish()
            self._printed_at = None

    def finish(self) -> None:
        """Leave the last state of the rewritten line, or print the last plain one."""
        if not self._pending:
            return
        if self.live and self.console.verbosity is not Verbosity.QUIET:
            sys.stderr.write("\n")
            sys.stderr.flush()
        elif not self.live:
            self.console.status(self._pending)
        self._pending = ""

    def say(self, text: str) -> None:
        """A line of its own, also while a step line stands."""
        self.finish()
        self.console.status(text)

    def _progress(self, event: Progress) -> None:
        goal = "preferred" if event.phase is Phase.PREFERENCE else "known"
        line = (
            f"step {event.step} (at most {event.cap})  loss {event.loss:.3f}  "
            f"{event.learned} of {event.rows} {goal}  {seconds(event.elapsed)}"
        )
        if self.console.verbosity is Verbosity.VERBOSE:
            line += (
                f"  drift {event.divergence:.4f}  rate {event.rate:.2g}  "
                f"{event.tokens_per_second:.0f} tokens/s"
            )
        if self.live:
            if self.console.verbosity is not Verbosity.QUIET:
                width = shutil.get_terminal_size().columns - 1
                sys.stderr.write(_CLEAR + visible(line)[:width])
                sys.stderr.flush()
            self._pending = line
            return
        due = self._printed_at is None or event.elapsed - self._printed_at >= INTERVAL
        if due:
            self._printed_at = event.elapsed
            self.console.status(line)
        self._pending = "" if due else line
