"""Work the client shows while it runs: created late, told seldom, always ended.

The client is asked for a place to show it only once the work has run for a moment, so quick
work shows nothing; nobody waits for the client's answer. What the client was asked for is
always ended, even if the work was over first, and then forgotten on both sides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp

from dlm_server.dispatch import RequestFailed, notification

if TYPE_CHECKING:
    from dlm_server.loop import Timer
    from dlm_server.session import Session

DELAY_SECONDS = 0.3
#: clients redraw for each report
INTERVAL_SECONDS = 0.05


class Progress:
    """One piece of work. Use it on the loop's thread only."""

    def __init__(
        self,
        session: Session,
        title: str,
        on_cancel: Callable[[], None] | None = None,
        token: int | str | None = None,
        delay: float = DELAY_SECONDS,
    ) -> None:
        """`token` is one that the client gave with its request; then nothing is asked for."""
        self._session = session
        self._title = title
        self._on_cancel = on_cancel
        self._message: str | None = None
        self._percentage: int | None = None
        self._begun = False
        self._ended = False
        self._last = 0.0
        self._timer: Timer | None = None
        self.cancelled = False
        self.token: int | str = session.new_token() if token is None else token
        if on_cancel is not None:
            session.cancellable[self.token] = self.cancel
        if token is not None:
            self._begin()
        elif session.client.work_done_progress:
            self._timer = session.after(delay, self._create)

    def report(self, message: str | None = None, percentage: int | None = None) -> None:
        """What is being done now; the newest is shown, at most twenty a second."""
        self._message = message if message is not None else self._message
        self._percentage = percentage if percentage is not None else self._percentage
        if self._begun and not self._ended and self._timer is None:
            wait = self._last + INTERVAL_SECONDS - time.monotonic()
            if wait <= 0:
                self._tell()
            else:
                self._timer = self._session.after(wait, self._tell)

    def end(self, message: str | None = None) -> None:
        """The work is over; later calls do nothing."""
        if self._ended:
            return
        self._ended = True
        self._message = message
        self._session.cancellable.pop(self.token, None)
        if self._timer is not None:
            self._timer.cancel()
        if self._begun:
            self._send(lsp.WorkDoneProgressEnd(message=message))

    def cancel(self) -> None:
        """The client wants it to stop. Whoever does the work still calls `end`."""
        if not self._ended and not self.cancelled:
            self.cancelled = True
            if self._on_cancel is not None:
                self._on_cancel()

    def _create(self) -> None:
        self._timer = None

        def created(result: Any, error: RequestFailed | None) -> None:
            if error is not None:
                return
            over, self._ended = self._ended, False
            message = self._message
            self._begin()
            if over:
                self.end(message)

        self._session.request(
            "window/workDoneProgress/create",
            lsp.WorkDoneProgressCreateParams(self.token),
            created,
        )

    def _begin(self) -> None:
        self._begun = True
        self._last = time.monotonic()
        self._send(
            lsp.WorkDoneProgressBegin(
                title=self._title,
                cancellable=self._on_cancel is not None,
                message=self._message,
                percentage=self._percentage,
            )
        )

    def _tell(self) -> None:
        self._timer = None
        self._last = time.monotonic()
        self._send(
            lsp.WorkDoneProgressReport(
                cancellable=self._on_cancel is not None,
                message=self._message,
                percentage=self._percentage,
            )
        )

    def _send(self, value: object) -> None:
        self._session.notify("$/progress", lsp.ProgressParams(token=self.token, value=value))


@notification("window/workDoneProgress/cancel")
def cancel(session: Session, params: lsp.WorkDoneProgressCancelParams) -> None:
    act = session.cancellable.get(params.token)
    if act is not None:
        act()
