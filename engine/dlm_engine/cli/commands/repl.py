"""`dlm repl`: a conversation with the trained model, in a terminal or through a pipe.

The base stays in memory between answers, and each is asked of the newest version, so that
training in another window is felt with the next question. Lines come from `readline`; a
richer line editor would cost every start more than it gives.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dlm_engine.cli.app import globals_of, require_text
from dlm_engine.cli.asking import Base, MaxTokens, Seed, Temperature, TopP, VersionNumber
from dlm_engine.cli.console import Console, is_terminal
from dlm_engine.cli.conversation import HELP, Conversation, Parameters, load, version_of
from dlm_engine.cli.mixes import AdapterMix, AdapterMixMethod, AdapterName, GateChoice, mix_of
from dlm_engine.errors import DlmError, UsageError
from dlm_engine.jobs import (
    Mix,
    MixMethod,
    PromptOutcome,
    PromptRequest,
    Share,
    make_resident,
    prompt,
    require_answerable,
)
from dlm_engine.store import home_dir, write_atomic

if TYPE_CHECKING:
    from dlm_engine.jobs import Resident

EPILOG = "/help lists what can be said besides questions. Ctrl-C stops an answer, Ctrl-D leaves."

_HISTORY = "history"
_HISTORY_LINES = 1000
#: Seconds between two looks for Ctrl-C.
_LOOK = 0.1


def command(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The document.")],
    session: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Go on with the conversation in FILE, and keep it there."
        ),
    ] = None,
    base: Base = False,
    version_number: VersionNumber = None,
    adapter: AdapterName = None,
    adapter_mix: AdapterMix = None,
    adapter_mix_method: AdapterMixMethod = MixMethod.LINEAR,
    gate: GateChoice = None,
    max_tokens: MaxTokens = 256,
    temp: Temperature = None,
    top_p: TopP = None,
    seed: Seed = None,
    i_accept_license: Annotated[
        bool, typer.Option("--i-accept-license", help="Accept the licence of the base.")
    ] = False,
) -> None:
    """Talk with the trained model; it remembers the conversation."""
    at = globals_of(context)
    if top_p is not None and not top_p > 0:
        raise UsageError("--top-p", "must be above 0", "leave it out for no limit")
    if base and version_number is not None:
        raise UsageError("dlm repl", "--base and --version-number exclude each other", "choose one")
    if session is not None and (session.is_dir() or not session.absolute().parent.is_dir()):
        raise UsageError("--session", f"{session} cannot be a file", "name one in a folder")
    home = home_dir(at.home)
    asking = PromptRequest(
        path=path,
        home=home,
        question="",
        version="base" if base else version_number,
        accept_licence=i_accept_license,
        adapter=adapter,
        mix=mix_of(adapter, adapter_mix, adapter_mix_method),
        gate=gate,
    )
    require_answerable(asking)
    parameters = Parameters(temp, top_p, max_tokens, seed)
    talk = Talk(at.console, asking, parameters, asking.version, session)
    if session is not None:
        talk.conversation = load(session)
        at.console.status(f"{session}: {_turns(len(talk.conversation.turns))}")
    converse(talk)


def converse(talk: Talk) -> None:
    """Until whoever talks leaves, or the lines of a pipe are at their end.

    Raises:
        DlmError: a line of a pipe could not be answered or obeyed.
    """
    if is_terminal(sys.stdin):
        talk.console.status("/help lists the commands, Ctrl-D leaves")
        with _line_editor(talk.asking.home):
            _converse(talk)
    else:
        for line in _lines():
            if not talk.hear(line):
                return


def _converse(talk: Talk) -> None:
    """Ask for lines until there are no more; trouble with one is said and forgotten."""
    interrupts = talk.interrupts
    with interrupts.heard():
        while True:
            turns = len(talk.conversation.turns)
            try:
                talk.shown = f"[{turns}] > " if turns else "> "
                with interrupts.raising():
                    line = input(talk.shown)
            except EOFError:
                talk.console.status("")
                return
            except KeyboardInterrupt:
                talk.console.status("")
                continue
            finally:
                talk.shown = ""
            try:
                if not talk.hear(line.encode("utf-8", "replace").decode()):
                    return
            except DlmError as error:
                talk.console.error(error)


def _lines() -> Iterator[str]:
    try:
        for line in sys.stdin:
            require_text(line, "standard input")
            yield line
    except UnicodeDecodeError as error:
        raise UsageError("standard input", "is not UTF-8 text", "convert it first") from error


@dataclass
class Interrupts:
    """Ctrl-C in a terminal: it cancels a line or an answer, and nothing that must be whole.

    Where nobody listens it is left to Python, which ends a script.
    """

    asked: bool = False
    listening: bool = False
    _raises: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._raises:
            raise KeyboardInterrupt
        self.asked = True

    @contextmanager
    def heard(self) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, self)
        self.listening = True
        try:
            yield
        finally:
            self.listening = False
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Until `begin` or the end of the block it interrupts at once."""
        self.asked, self._raises = False, True
        try:
            yield
        finally:
            self._raises = False

    def begin(self) -> None:
        self._raises = False


@dataclass
class Talk:
    """A conversation, and everything that a line may change of it.

    `asking` says whom each question is asked of, but for `version`. Who trains beside it, with
    the same `resident`, holds `machine` meanwhile. `shown` is the prompt that waits for a line in
    a terminal, "" while none does.
    """

    console: Console
    asking: PromptRequest
    parameters: Parameters
    version: int | Literal["base"] | None
    session: Path | None
    conversation: Conversation = field(default_factory=Conversation)
    interrupts: Interrupts = field(default_factory=Interrupts)
    resident: Resident | None = None
    machine: threading.RLock = field(default_factory=threading.RLock)
    shown: str = ""
    _answered: str = ""
    _said: set[str] = field(default_factory=set)

    def hear(self, line: str) -> bool:
        """Answer a question or obey a command; False when it says to leave.

        Raises:
            DlmError: it cannot be answered or obeyed; the conversation is as it was.
        """
        text = line.strip()
        if text.startswith("/"):
            name, *words = text.split()
            return self._obey(name.lower(), words)
        if text:
            self._answer(text)
        return True

    # --- questions -----------------------------------------------------------------------

    def _answer(self, question: str) -> None:
        if not self.machine.acquire(blocking=False):
            self.console.status("(training; the answer follows it, Ctrl-C takes the question back)")
            self.interrupts.asked = False
            while not self.machine.acquire(timeout=_LOOK):
                if self.interrupts.asked:
                    self.console.status("(taken back)")
                    return
        try:
            self._ask(question)
        finally:
            self.machine.release()

    def _ask(self, question: str) -> None:
        def on_text(text: str) -> None:
            self.interrupts.begin()
            self.console.result_part(text)

        request = replace(
            self._asked(),
            question=question,
            temperature=self.parameters.temperature,
            top_p=self.parameters.top_p,
            max_tokens=self.parameters.max_tokens,
            seed=self.parameters.seed,
            top_k=self.parameters.top_k,
            repetition_penalty=self.parameters.repetition_penalty,
            earlier=self.conversation.earlier,
        )
        self.resident = self.resident or make_resident()
        try:
            with self.interrupts.raising():
                outcome = prompt(
                    request,
                    on_text,
                    self.console.status,
                    self.resident,
                    lambda: self.interrupts.asked,
                )
        except KeyboardInterrupt:
            # Whatever was being loaded may be half there.
            self.resident.forget()
            if not self.interrupts.listening:
                raise
            self.console.status("\n(stopped before the answer began)")
            return
        self.console.result_part("\n")
        self._tell(outcome)
        if outcome.answer:
            self.conversation.turns.append((question, outcome.answer))
            if self.session is not None:
                self.conversation.save(self.session)

    def _asked(self) -> PromptRequest:
        """Whom the next question is asked of; the bare base is asked without any adapter."""
        if self.version == "base":
            return replace(self.asking, version="base", adapter=None, mix=None, gate=None)
        return replace(self.asking, version=self.version)

    def _tell(self, outcome: PromptOutcome) -> None:
        """What the answer's reader should know, each thing once."""
        if outcome.stopped == "cancelled":
            self.console.status("(stopped)")
        elif outcome.stopped == "length":
            limit = f"max_tokens={self.parameters.max_tokens}"
            self.console.status(f"(cut at {limit}; /params changes that)")
        if outcome.left_out:
            self.conversation.forgotten += outcome.left_out
            forgotten = _turns(self.conversation.forgotten)
            self.console.status(f"(the oldest {forgotten} no longer fit and are left out)")
        answered = _named(outcome.shares) or _version(outcome.version or "base")
        if self._answered not in ("", answered):
            self.console.status(f"(answered by {answered})")
        self._answered = answered
        for note in outcome.notes:
            if note not in self._said:
                self._said.add(note)
                self.console.status(f"({note})")

    # --- commands ------------------------------------------------------------------------

    def _obey(self, name: str, words: list[str]) -> bool:
        if name in ("/exit", "/quit"):
            return False
        obey = self._commands().get(name)
        if obey is None:
            raise UsageError(name, "there is no such command", "/help lists them")
        obey(words)
        return True

    def _commands(self) -> dict[str, Callable[[list[str]], None]]:
        return {
            "/help": lambda words: self.console.status(HELP),
            "/clear": self._clear,
            "/history": self._history,
            "/save": self._save,
            "/params": self._params,
            "/version": self._choose,
            "/adapter": self._choose_adapter,
            "/model": lambda words: self._show_model(),
        }

    def _clear(self, words: list[str]) -> None:
        self.conversation = Conversation()

    def _history(self, words: list[str]) -> None:
        for number, (question, answer) in enumerate(self.conversation.turns):
            left_out = " (left out)" if number < self.conversation.forgotten else ""
            self.console.status(f"[{number}]{left_out} {_short(question)}\n    {_short(answer)}")

    def _save(self, words: list[str]) -> None:
        if not words:
            raise UsageError("/save", "needs the name of a file", "/save talk.json")
        path = Path(" ".join(words)).expanduser()
        self.conversation.save(path)
        self.console.status(f"{path}: {_turns(len(self.conversation.turns))}")

    def _params(self, words: list[str]) -> None:
        self.parameters = self.parameters.changed(words)
        self.console.status(str(self.parameters))

    def _choose(self, words: list[str]) -> None:
        if words:
            self.version = version_of(words[0].lower())
        self.console.status(f"asking {_version(self.version)}")

    def _choose_adapter(self, words: list[str]) -> None:
        if words:
            chosen, method = "".join(words), MixMethod.LINEAR
            if self.asking.mix is not None:
                method = self.asking.mix.method
            mix = Mix.read(chosen, method) if "=" in chosen or ":" in chosen else None
            adapter = None if mix or chosen == "auto" else chosen
            # Numbers of versions are each adapter's own.
            asking = replace(self.asking, adapter=adapter, mix=mix, gate=None, version=None)
            require_answerable(asking)
            self.asking, self.version = asking, None
        self._show_model()

    def _show_model(self) -> None:
        found = require_answerable(self._asked())
        adapter = _named(found.shares, weighed=self.asking.mix is not None)
        if found.gated:
            adapter += ", weighed by the gate"
        elif not adapter:
            adapter = "none" if found.version is None else f"version {found.version}"
        self.console.status(f"backend=pytorch  base={found.base_model}  adapter={adapter}")


def _version(version: int | Literal["base"] | None) -> str:
    if version is None:
        return "the current version"
    return "the bare base" if version == "base" else f"version {version}"


def _named(shares: tuple[Share, ...], *, weighed: bool = False) -> str:
    return " and ".join(
        f"{s.adapter} version {s.version}" + (f" ({s.weight:g})" if weighed else "") for s in shares
    )


def _turns(number: int) -> str:
    return f"{number} turn{'' if number == 1 else 's'}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 72 else line[:71] + "…"


@contextmanager
def _line_editor(home: Path) -> Iterator[None]:
    """Arrow keys and the lines of earlier conversations, kept in the home for this user only."""
    try:
        import readline
    except ImportError:  # Windows; its console edits lines by itself
        yield
        return
    file = home / _HISTORY
    with suppress(OSError, UnicodeDecodeError):
        for line in file.read_text("utf-8").splitlines()[-_HISTORY_LINES:]:
            readline.add_history(line)
    try:
        yield
    finally:
        count = readline.get_current_history_length()
        numbers = range(max(1, count - _HISTORY_LINES + 1), count + 1)
        lines = [readline.get_history_item(number) or "" for number in numbers]
        data = "".join(f"{line}\n" for line in lines if line.strip())
        with suppress(DlmError, OSError):
            home.mkdir(parents=True, exist_ok=True)
            write_atomic(file, data.encode("utf-8", "replace"))
            file.chmod(0o600)
