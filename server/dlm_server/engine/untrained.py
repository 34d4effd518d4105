"""What is asked of a document that was never trained: its user is offered to train it first.

In words of the editor, because the engine's own name the command line. A client that cannot
offer anything gets them as the error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dlm_engine.worker.messages import NOTHING, Ending, Result
from dlm_server.conversion import Plain
from dlm_server.dispatch import REQUEST_FAILED, Pending, RequestFailed
from dlm_server.engine import refused
from dlm_server.engine.arguments import Target
from dlm_server.engine.service import Engine
from dlm_server.session import Session

TRAIN_NOW: Final = "Train now"
_INFO: Final = 3


def once_trained(
    session: Session,
    engine: Engine,
    target: Target,
    run: Callable[[], Pending],
    failed: Callable[[Result], RequestFailed],
) -> Pending:
    """The answer of `run()`, for a document without a version after the user had it trained.

    `failed` makes an error of a training that gave no version.
    """
    known = session.providers
    live = target.live
    # Of what cannot be read the engine says what is wrong with it.
    readable = live.frontmatter is not None and known.store_trouble(live) is None
    if not readable or known.trained(live) is not None:
        return run()
    pending = Pending()
    problem = "has not been trained yet, so it has no model of its own"
    remedy = "train it with the command dlm.train"
    data: dict[str, Any] = {"subject": target.path.name, "problem": problem, "remedy": remedy}
    message = f"{target.path.name} {problem}"
    if not session.client.show_message_actions:
        pending.reject(RequestFailed(REQUEST_FAILED, f"{message}: {remedy}", data))
        return pending

    def chosen(choice: Any, error: RequestFailed | None) -> None:
        if (
            error is not None
            or refused.title_of(choice) != TRAIN_NOW
            or not session.settings.trusted
        ):
            # The user has read it: clients need not say it again.
            data["ending"] = str(Ending.CANCELLED)
            pending.reject(RequestFailed(REQUEST_FAILED, message, data))
        elif not pending.cancelled:
            refused.train(session, engine, target, NOTHING, pending, trained)

    def trained(result: Result) -> None:
        if result.outcome not in ("trained", "unchanged"):
            pending.reject(failed(result))
        elif not pending.cancelled:
            try:
                answer = run()
            except RequestFailed as error:
                pending.reject(error)
                return
            pending.follow(answer)

    offered = Plain(type=_INFO, message=message, actions=[{"title": TRAIN_NOW}])
    session.request("window/showMessageRequest", offered, chosen)
    return pending
