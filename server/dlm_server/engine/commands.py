"""What `workspace/executeCommand` can do: one table of names, argument types and functions.

Arguments are checked before anything happens; what cannot be done is an error that says what
to do. Engine work is answered when it ends, as a `Pending`. docs/lsp-extensions.md says each
command's argument and reply, and a test holds it to this table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from lsprotocol import types as lsp

from dlm_engine.errors import DlmError
from dlm_engine.worker.messages import (
    Accept,
    Choice,
    Ending,
    Export,
    Prompt,
    Result,
    Rollback,
    Text,
    read,
)
from dlm_engine.worker.words import for_editors
from dlm_server.dispatch import INVALID_PARAMS, REQUEST_FAILED, Pending, RequestFailed
from dlm_server.engine import document_commands, refused
from dlm_server.engine.arguments import (
    Nothing,
    OfBase,
    OfDocument,
    OfExport,
    OfNew,
    OfQuestion,
    OfSection,
    OfSelection,
    OfSource,
    OfTraining,
    OfVersion,
    Target,
    not_open,
    refusal,
    require_trust,
    target_of,
)
from dlm_server.engine.queue import Job
from dlm_server.engine.service import WAIT_SECONDS, Engine, engine_of
from dlm_server.engine.status import message_of
from dlm_server.engine.untrained import once_trained
from dlm_server.features.question_at import question_at
from dlm_server.session import Session

if TYPE_CHECKING:
    from dlm_engine.document import Section
    from dlm_server.engine.answers import Answers

# --- jobs ----------------------------------------------------------------------------------

_LICENCE: Final[tuple[Choice, ...]] = ("licence",)
#: begins a job, with the base's licence accepted or not
_Start = Callable[[bool, Callable[[Result], None]], Job]


def _when_done(
    session: Session,
    target: Target,
    start: _Start,
    value: Callable[[Result], Any],
    licence: bool = False,
) -> Pending:
    """The answer once the job has ended well; an error with the job's words otherwise. The user
    is asked for the licence where it takes that."""
    pending = Pending()
    done = _settling(pending, value)
    refused.decided(
        session,
        engine_of(session),
        target,
        Accept(licence=licence),
        pending,
        done,
        lambda accept, done: start(accept.licence, done),
        _LICENCE,
    )
    return pending


def _settling(pending: Pending, value: Callable[[Result], Any]) -> Callable[[Result], None]:
    def done(result: Result) -> None:
        if result.ending is Ending.DONE:
            pending.resolve(value(result))
        else:
            pending.reject(_failed(result))

    return done


def _failed(result: Result) -> RequestFailed:
    trouble = result.trouble
    message = str(trouble) if trouble else message_of("train", result)
    parts = asdict(trouble) if trouble else {"subject": "", "problem": message, "remedy": ""}
    data = {"ending": str(result.ending), **parts}
    return RequestFailed(REQUEST_FAILED, message, data)


def train(session: Session, argument: OfTraining) -> Pending:
    """Train the saved file now; the user is asked for what that takes."""
    require_trust(session)
    engine, target = engine_of(session), target_of(session, argument.uri)
    accept = Accept(argument.fresh, argument.acceptLock, argument.acceptLicence)

    def value(result: Result) -> dict[str, Any]:
        return {
            "outcome": result.outcome,
            "version": result.version,
            "known": result.known,
            "rows": result.rows,
            "steps": result.steps,
            "seconds": result.seconds,
        }

    pending = Pending()
    done = _settling(pending, value)
    refused.train(session, engine, target, accept, pending, done)
    return pending


def cancel(session: Session, argument: Nothing) -> dict[str, Any]:
    """Cancel what runs and what waits."""
    return {"cancelled": engine_of(session).cancel()}


def prompt(session: Session, argument: OfQuestion) -> Pending:
    """Ask one question; nothing is shown in the text, and the answer told as it comes."""
    require_trust(session)
    engine, target = engine_of(session), target_of(session, argument.uri)
    try:
        params = read(
            Prompt,
            {
                "path": str(target.path),
                "question": argument.question,
                "version": argument.version,
                "adapter": argument.adapter,
                "mix": argument.mix,
            },
        )
    except ValueError as error:
        raise _wrong_argument(error) from None

    def heard(text: Text) -> None:
        if argument.token is not None:
            session.notify("$/progress", {"token": argument.token, "value": {"text": text.text}})

    def run() -> Pending:
        return _when_done(
            session,
            target,
            lambda licence, done: engine.submit(
                "prompt",
                target.uri,
                "asked",
                "prompt",
                replace(params, accept_licence=licence),
                done=done,
                heard=heard,
            ),
            lambda result: {
                "text": result.text,
                "version": result.version,
                "shares": [asdict(share) for share in result.shares],
            },
            argument.acceptLicence,
        )

    if argument.version is not None:
        return run()
    return once_trained(session, engine, target, run, _failed)


def ask_section(session: Session, argument: OfSection) -> Pending:
    """Ask a section's questions; the answers are shown beside them."""
    require_trust(session)
    engine, target = engine_of(session), target_of(session, argument.uri)
    if argument.position is not None:
        found = _question_at(session, argument.uri, argument.position)
        asked = engine.answers.questions(target.live, *found)
    elif argument.sectionId is not None:
        section = target.live.document.section(argument.sectionId)
        asked = engine.answers.questions(target.live, section, argument.pair) if section else ()
    else:
        raise _wrong("argument sectionId", "or a position is needed")
    if not asked:
        raise refusal("the question", "is not in the document any more", "ask another one")
    return _ask(session, engine, target, asked)


def _ask(session: Session, engine: Engine, target: Target, asked: Answers.Asked) -> Pending:
    def run() -> Pending:
        return _when_done(
            session,
            target,
            lambda licence, done: engine.ask(
                target.uri,
                target.path,
                "asked",
                asked,
                kind="prompt",
                compare=True,
                licence=licence,
                done=done,
            ),
            _answers,
        )

    return once_trained(session, engine, target, run, _failed)


def _question_at(session: Session, uri: str, position: dict[str, int]) -> tuple[Section, int]:
    snapshot = session.snapshot(uri)
    if snapshot is None:
        raise not_open()
    try:
        place = lsp.Position(position["line"], position["character"])
    except (KeyError, TypeError, ValueError):
        raise _wrong("argument position", "must have a line and a character") from None
    found = question_at(snapshot.live, snapshot.offset(place))
    if found is None:
        raise refusal("there", "is no question here", "select text to ask it, or go to a `### Q`")
    return found


def ask_selection(session: Session, argument: OfSelection) -> Pending:
    """Ask what is selected."""
    require_trust(session)
    engine, target = engine_of(session), target_of(session, argument.uri)
    snapshot = session.snapshot(argument.uri)
    if snapshot is None:
        raise not_open()
    try:
        start, end = (
            lsp.Position(argument.range[which]["line"], argument.range[which]["character"])
            for which in ("start", "end")
        )
    except (KeyError, TypeError, ValueError):
        raise _wrong("argument range", "must have a start and an end") from None
    span = snapshot.span(lsp.Range(start, end))
    question = target.live.text[span.start : span.end].strip()
    section = target.live.section_at(span.start)
    if not question or section is None:
        raise refusal("the selection", "is no text of the body", "select a question there")
    asked = engine.answers.selection(target.live, section, question)
    return _ask(session, engine, target, (asked,))


def probe(session: Session, argument: OfDocument) -> Pending | dict[str, Any]:
    """Ask every question marked `!probe`."""
    require_trust(session)
    engine, target = engine_of(session), target_of(session, argument.uri)
    asked = engine.answers.to_ask_again(target.live, probes=True, answered=False)
    if not asked:
        return {"version": None, "answers": []}

    def run() -> Pending:
        return _when_done(
            session,
            target,
            lambda licence, done: engine.ask(
                target.uri,
                target.path,
                "asked for",
                asked,
                kind="probe",
                licence=licence,
                done=done,
            ),
            _answers,
        )

    return once_trained(session, engine, target, run, _failed)


def _answers(result: Result) -> dict[str, Any]:
    return {
        "version": result.version,
        "answers": [
            {
                "key": a.key,
                "adapted": a.adapted,
                "base": a.base,
                "right": a.right,
                "version": a.version,
                "adapter": a.adapter,
            }
            for a in result.answers
        ],
    }


def export(session: Session, argument: OfExport) -> Pending:
    """Export the current version, of one of several adapters or of a sum of them."""
    require_trust(session)
    engine, target = engine_of(session), target_of(session, argument.uri)
    params = Export(
        str(target.path),
        argument.target,
        argument.quant,
        wait_seconds=WAIT_SECONDS,
        adapter=argument.adapter,
        mix=argument.mix,
    )

    def run() -> Pending:
        return _when_done(
            session,
            target,
            lambda licence, done: engine.submit(
                "export",
                target.uri,
                "asked for",
                "export",
                replace(params, accept_licence=licence),
                "export",
                done=done,
            ),
            lambda result: {
                "folder": result.folder,
                "files": list(result.files),
                "answer": result.text,
            },
            argument.acceptLicence,
        )

    return once_trained(session, engine, target, run, _failed)


def rollback(session: Session, argument: OfVersion) -> Pending:
    """Make an earlier version the current one."""
    require_trust(session)
    engine, target = engine_of(session), target_of(session, argument.uri)
    params = Rollback(str(target.path), argument.version, adapter=argument.adapter)

    def value(result: Result) -> dict[str, Any]:
        engine.model_changed(target.uri)
        return {"version": result.version}

    return _when_done(
        session,
        target,
        lambda licence, done: engine.submit(
            "rollback",
            target.uri,
            "asked for",
            "rollback",
            replace(params, accept_licence=licence),
            "rollback",
            done=done,
        ),
        value,
    )


def restart_engine(session: Session, argument: Nothing) -> dict[str, Any]:
    """Start the engine anew, whatever state it is in."""
    engine = engine_of(session)
    engine.cancel()
    engine.client.restart()
    return {"engine": str(engine.client.state)}


# --- the table -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """`positional` names the arguments of commands that take them one by one."""

    argument: type
    run: Callable[[Session, Any], Any]
    positional: tuple[str, ...] = ()


COMMANDS: Final[dict[str, Command]] = {
    "dlm.train": Command(OfTraining, train),
    "dlm.cancel": Command(Nothing, cancel),
    "dlm.prompt": Command(OfQuestion, prompt),
    "dlm.askSection": Command(OfSection, ask_section),
    "dlm.askSelection": Command(OfSelection, ask_selection),
    "dlm.probe": Command(OfDocument, probe),
    "dlm.export": Command(OfExport, export),
    "dlm.adapters": Command(OfDocument, document_commands.adapters),
    "dlm.exportTargets": Command(OfDocument, document_commands.export_targets),
    "dlm.versions": Command(OfDocument, document_commands.versions),
    "dlm.rollback": Command(OfVersion, rollback),
    "dlm.runs": Command(OfDocument, document_commands.runs),
    "dlm.openStore": Command(OfDocument, document_commands.open_store),
    "dlm.restartEngine": Command(Nothing, restart_engine),
    "dlm.migrate": Command(OfDocument, document_commands.migrate),
    "dlm.newDocument": Command(OfNew, document_commands.new_document),
    "dlm.newId": Command(OfDocument, document_commands.new_id),
    "dlm.debugInformation": Command(Nothing, document_commands.debug_information),
    "dlm/listBaseModels": Command(Nothing, document_commands.list_base_models, ()),
    "dlm/documentState": Command(OfDocument, document_commands.document_state, ("uri",)),
    "dlm.setBaseModel": Command(OfBase, document_commands.set_base_model, ("uri", "key")),
    "dlm.addSourceDirective": Command(OfSource, document_commands.add_source, ("uri", "path")),
}


def execute(session: Session, name: str, arguments: Sequence[Any]) -> Any:
    """Run a command.

    Raises:
        RequestFailed: no such command, unusable arguments, or what went wrong.
    """
    command = COMMANDS.get(name)
    if command is None:
        raise _wrong(f"command {name[:60]!r}", "does not exist")
    try:
        return command.run(session, _argument(command, arguments))
    except DlmError as error:
        parts = {"subject": error.subject, "problem": error.problem, "remedy": error.remedy}
        said = {name: for_editors(part) for name, part in parts.items()}
        message = ": ".join(part for part in said.values() if part)
        raise RequestFailed(REQUEST_FAILED, message, said) from None


def _argument(command: Command, arguments: Sequence[Any]) -> Any:
    given: Any = arguments[0] if arguments else {}
    if command.positional and not isinstance(given, dict):
        given = dict(zip(command.positional, arguments, strict=False))
    try:
        return read(command.argument, given)
    except ValueError as error:
        raise _wrong_argument(error) from None


def _wrong_argument(error: ValueError) -> RequestFailed:
    """Of what `read` says, which begins with a type and a field."""
    name, _, problem = str(error).partition(": ")
    return _wrong(f"argument {name.partition('.')[2] or 'object'}", problem)


def _wrong(subject: str, problem: str) -> RequestFailed:
    data = {"subject": subject, "problem": problem, "remedy": ""}
    return RequestFailed(INVALID_PARAMS, f"{subject}: {problem}", data)
