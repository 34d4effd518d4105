"""A job that was asked for and is refused for want of a decision: its user is asked for it.

The engine says which decisions would let it go on (`Trouble.choices`); the user sees them as
buttons, and the job is begun again with the one that is taken. A save decides nothing and asks
nothing, and a client that cannot show buttons gets the refusal as it is. A training remembers in
the store that a licence was accepted; of other jobs, which keep none there, the session does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final, get_args

from dlm_engine.worker.messages import Accept, Choice, Ending, Result, Trouble
from dlm_server.conversion import Plain
from dlm_server.dispatch import Pending, RequestFailed
from dlm_server.engine.arguments import Target
from dlm_server.engine.queue import Job
from dlm_server.engine.service import Engine, void
from dlm_server.session import Session

READ: Final = "Read the licence"
_WARNING: Final = 2


def title(choice: Choice, trouble: Trouble) -> str:
    """What the button of a choice says."""
    said: dict[Choice, str] = {
        "fresh": "Train anew",
        "update": "Accept the change",
        "ignore": "Ignore it this once",
        "licence": f"Accept the licence {trouble.licence}",
    }
    return said[choice]


def chosen(accept: Accept, choice: Choice) -> Accept:
    """`accept` and that."""
    match choice:
        case "fresh":
            return replace(accept, fresh=True)
        case "licence":
            return replace(accept, licence=True)
        case "update" | "ignore":
            return replace(accept, lock=choice)


def decided(
    session: Session,
    engine: Engine,
    target: Target,
    accept: Accept,
    pending: Pending,
    done: Callable[[Result], None],
    start: Callable[[Accept, Callable[[Result], None]], Job],
    among: Collection[Choice],
) -> None:
    """Run the job that `start` begins, asking for what it takes; `done` gets the last word of the
    engine. It can be begun again with the choices `among` those that would help.

    What the user declines ends cancelled, as it has been read. Cancelling `pending` ends it all.
    """

    def run(accept: Accept) -> None:
        job = start(accept, lambda result: ended(result, accept))
        pending.on_cancel(lambda: void(engine.cancel(job)))

    def ended(result: Result, accept: Accept) -> None:
        trouble = result.trouble
        # One that was made already did not help.
        left = trouble.choices if trouble else ()
        left = tuple(c for c in left if c in among and chosen(accept, c) != accept)
        if trouble is None or not left or pending.cancelled:
            done(result)
        elif "licence" in left and (target.uri, trouble.url) in engine.licences:
            run(chosen(accept, "licence"))
        elif not session.client.show_message_actions:
            done(result)
        else:
            ask(result, trouble, left, accept)

    def ask(result: Result, trouble: Trouble, left: tuple[Choice, ...], accept: Accept) -> None:
        buttons = {title(choice, trouble): choice for choice in left}
        readable = trouble.url and session.client.show_document
        titles = [*buttons, *([READ] if readable else [])]
        message = f"{target.path.name}: {trouble}"

        def answered(taken: Any, error: RequestFailed | None) -> None:
            said = None if error else title_of(taken)
            if pending.cancelled:
                return
            if said == READ:
                shown = Plain(uri=trouble.url, external=True)
                session.request("window/showDocument", shown, lambda *_: None)
                ask(result, trouble, left, accept)
            elif said in buttons and session.settings.trusted:
                if buttons[said] == "licence":
                    engine.licences.add((target.uri, trouble.url))
                run(chosen(accept, buttons[said]))
            else:
                done(replace(result, ending=Ending.CANCELLED))

        offered = Plain(type=_WARNING, message=message, actions=[{"title": t} for t in titles])
        session.request("window/showMessageRequest", offered, answered)

    run(accept)


def train(
    session: Session,
    engine: Engine,
    target: Target,
    accept: Accept,
    pending: Pending,
    done: Callable[[Result], None],
) -> None:
    """Train the saved file, asking for what it takes; see `decided`."""

    def start(accept: Accept, done: Callable[[Result], None]) -> Job:
        return engine.train(target.uri, target.path, "asked for", done=done, accept=accept)

    decided(session, engine, target, accept, pending, done, start, get_args(Choice))


def title_of(choice: Any) -> str | None:
    """What the user took of the buttons of a message; None for nothing."""
    return choice.get("title") if isinstance(choice, dict) else getattr(choice, "title", None)
