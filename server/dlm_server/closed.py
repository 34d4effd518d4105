"""Problems of the workspace's documents that are not open, as `dlm check` finds them.

A client asks every few seconds, so what was found in a file is kept until the file has
another time or size, something that it names has come or gone beside it, or another document
took its id. The texts are not kept: there may be thousands. Everything here may run on any
thread, because it works on values that never change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dlm_engine.bases.local import is_local
from dlm_engine.checks import CODES, UNREADABLE, exists
from dlm_engine.document import LiveDocument, Severity
from dlm_engine.document import decode as decoded
from dlm_engine.errors import DocumentError
from dlm_server.capabilities import ClientFeatures
from dlm_server.publish import Report, report_of
from dlm_server.session import Snapshot
from dlm_server.settings import Settings
from dlm_server.to_proto import SEVERITIES, uri_of
from dlm_server.views import KnownDocument, KnownDocuments

#: of a larger file only its size is told
LARGEST = 1_000_000
_START = {"line": 0, "character": 0}


@dataclass(frozen=True, slots=True)
class Around:
    """What the problems of a file depend on besides its text and the files it names."""

    settings: Settings
    client: ClientFeatures
    by_id: Mapping[str, tuple[KnownDocument, ...]]

    @classmethod
    def of(
        cls, settings: Settings, client: ClientFeatures, known: Iterable[KnownDocument]
    ) -> Around:
        by_id: defaultdict[str, tuple[KnownDocument, ...]] = defaultdict(tuple)
        for document in known:
            if document.dlm_id is not None:
                by_id[document.dlm_id] += (document,)
        return cls(settings, client, by_id)

    def sharing(self, dlm_id: str | None) -> tuple[KnownDocument, ...]:
        return self.by_id.get(dlm_id, ()) if dlm_id is not None else ()


@dataclass(frozen=True, slots=True)
class _Kept:
    stamp: tuple[int, int]
    settings: Settings
    dlm_id: str | None
    sharing: tuple[KnownDocument, ...]
    #: the files that the document names, and whether each is there
    named: tuple[tuple[str, bool], ...]
    report: Report

    def holds(self, stamp: tuple[int, int], folder: Path, around: Around) -> bool:
        return (
            (self.stamp, self.settings) == (stamp, around.settings)
            and self.sharing == around.sharing(self.dlm_id)
            and all(exists(name, folder) == there for name, there in self.named)
        )


class ClosedFiles:
    """What was found in which file."""

    def __init__(self) -> None:
        self._kept: dict[Path, _Kept] = {}

    def report(self, path: Path, around: Around) -> Report | None:
        """The problems of the file at `path`; None when there is no such file."""
        try:
            facts = path.stat()
            stamp = (facts.st_mtime_ns, facts.st_size)
            kept = self._kept.get(path)
            if kept is not None and kept.holds(stamp, path.parent, around):
                return kept.report
            if facts.st_size > LARGEST:
                size = f"{facts.st_size / 1e6:.1f} MB"
                why = f"{size}: not checked while it is closed; `dlm check` checks it"
                return _alone("document-large", CODES["document-large"].severity, why)
            with path.open("rb") as file:
                data = file.read(LARGEST)
            live = LiveDocument.open(decoded(data, str(path)))
        except FileNotFoundError:
            self._kept.pop(path, None)
            return None
        except OSError as error:
            return _alone(UNREADABLE, Severity.ERROR, f"cannot be read ({error.strerror})")
        except DocumentError as error:
            return _alone(UNREADABLE, Severity.ERROR, f"{error.problem}: {error.remedy}")
        dlm_id = live.frontmatter.dlm_id if live.frontmatter else None
        sharing = around.sharing(dlm_id)
        others = KnownDocuments(sharing)
        report = report_of(
            Snapshot(uri_of(path), path, 0, live, around.settings, around.client, others)
        )
        named = _named(live)
        if named is not None:
            there = tuple((name, exists(name, path.parent)) for name in named)
            self._kept[path] = _Kept(stamp, around.settings, dlm_id, sharing, there, report)
        return report


def _named(live: LiveDocument) -> list[str] | None:
    """The files that a document names; None when it names a base, which is a whole folder."""
    names: list[str] = []
    if live.frontmatter is not None:
        if is_local(live.frontmatter.base_model):
            return None
        names += (source.path for source in live.frontmatter.training.sources or ())
    sections = (chunk.reading.section for chunk in live.chunks.items)
    names += (s.attributes["path"] for s in sections if s is not None and "path" in s.attributes)
    return names


def _alone(code: str, severity: Severity, message: str) -> Report:
    item = {
        "range": {"start": _START, "end": _START},
        "severity": SEVERITIES[severity],
        "code": code,
        "source": "dlm",
        "message": message,
    }
    return Report(0, [item])
