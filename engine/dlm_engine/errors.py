"""The one hierarchy of errors a person can cause or meet.

Each error carries the three parts of the message that the CLI renders in one
place, `subject: what is wrong: what to do`, and the exit code. Code that finds
trouble raises one of these; nothing but the CLI prints them. A bug raises an
ordinary exception, so the two are never confused.
"""

from __future__ import annotations


class DlmError(Exception):
    """Something a person can act on.

    Args:
        subject: what the trouble is about: a path, a flag, a base.
        problem: what is wrong, one clause without a full stop.
        remedy: what to do about it, one clause; may be empty.
    """

    exit_code = 1

    def __init__(self, subject: str, problem: str, remedy: str = "") -> None:
        self.subject = subject
        self.problem = problem
        self.remedy = remedy
        super().__init__(": ".join(part for part in (subject, problem, remedy) if part))


class UsageError(DlmError):
    """A flag or argument that cannot be obeyed."""

    exit_code = 2


class DocumentError(DlmError):
    """The `.dlm` file cannot be read, parsed or edited."""


class StoreError(DlmError):
    """The store is unreadable, foreign, full or damaged."""


class StoreLocked(StoreError):
    """Another process holds the store; the problem names it."""


class LockDrift(StoreError):
    """The inputs differ from what `dlm.lock` recorded."""


class BaseModelError(DlmError):
    """The base is unknown, unobtainable or damaged."""


class LicenceRequired(BaseModelError):
    """The base's licence, which has this name and text, has not been accepted."""

    def __init__(self, subject: str, problem: str, remedy: str, name: str, url: str) -> None:
        super().__init__(subject, problem, remedy)
        self.name = name
        self.url = url


class HardwareRefusal(DlmError):
    """This machine cannot do what was asked; the problem says why."""


class TrainingError(DlmError):
    """Training could not start or did not give a usable adapter."""


class OutOfMemory(TrainingError):
    """The memory does not last, however little of the run goes through at once."""


class ProcessLost(TrainingError):
    """Another process of the same run is gone. Whoever started them says which, and ends with 1."""

    exit_code = 75


class InferenceError(DlmError):
    """There is nothing to ask, or asking failed."""


class ExportError(DlmError):
    """The export was refused, failed, or its check failed."""
