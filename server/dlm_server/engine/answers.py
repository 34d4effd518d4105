"""From what the model says to what the editor shows: inline results of open documents.

Results are kept per document, follow its edits, and are told to clients that can show them
(`dlm/sectionResults`), at most twenty times a second and document. A probe passes when its
answer says what the document says; one without a reference is compared with what the version
before answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dlm_engine.worker.messages import Answer, Ending, Question, Result, Text
from dlm_server.engine.pacing import Paced
from dlm_server.engine.results import DocumentResults, ResultState, SectionResult, result_key
from dlm_server.from_proto import same_document

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument, Section
    from dlm_server.session import Session

#: More questions than so many are not asked again after a training; their answers go stale.
MOST_ASKED_AGAIN: Final = 64

_ANSWERED: Final = frozenset({"ok", "stale", "passed", "failed", "changed"})


class Answers:
    """The results of all open documents. Belongs to the loop's thread."""

    Asked: TypeAlias = tuple[Question, ...]

    def __init__(self, session: Session) -> None:
        self._session = session
        self._documents: dict[str, DocumentResults] = {}
        self._paced: dict[str, Paced] = {}
        #: (document, key) -> the result before it was asked again
        self._before: dict[tuple[str, str], SectionResult] = {}

    def view(self, uri: str) -> Mapping[str, SectionResult]:
        """The results of a document, for a snapshot of it."""
        self.outdate(uri)
        found = self._followed(uri)
        return found.by_section() if found is not None else {}

    # --- what is asked -------------------------------------------------------------------

    def questions(self, live: LiveDocument, section: Section, pair: int | None) -> Asked:
        """Question number `pair` of a section, or all of them."""
        return tuple(
            _question(live, section, number)
            for number in range(len(section.pairs))
            if pair is None or pair == number
        )

    def to_ask_again(self, live: LiveDocument, *, probes: bool, answered: bool = True) -> Asked:
        """The questions marked `!probe`, and those that were asked before."""
        wanted: dict[str, Question] = {}
        for section in live.document.sections:
            for number, pair in enumerate(section.pairs):
                if pair.probe and probes:
                    wanted[result_key(section.id, number)] = _question(live, section, number)
        for result in self._results_of(live) if answered else ():
            if result.pair is None or result.verdict not in _ANSWERED:
                continue
            # Beside an edited section stands the answer to what it asked before.
            section_now = next((s for s in live.document.sections if s.id == result.place), None)
            if section_now is not None and result.pair < len(section_now.pairs):
                key = result_key(section_now.id, result.pair)
                wanted.setdefault(key, _question(live, section_now, result.pair))
        return tuple(list(wanted.values())[:MOST_ASKED_AGAIN])

    def selection(self, live: LiveDocument, section: Section, question: str) -> Question:
        """A question that was selected within a section."""
        return Question(result_key(section.id, None), question, adapter=_adapter(live, section))

    # --- what comes back -----------------------------------------------------------------

    def waiting(self, uri: str, asked: Asked, *, compare: bool) -> None:
        """These questions are being asked, with `compare` of the base as well."""
        results = self._followed(uri, create=True)
        if results is None:
            return
        for question in asked:
            section_id, pair = _parts(question.key)
            before = results.get(question.key)
            if before is not None and before.verdict != "running":
                self._before[same_document(uri), question.key] = before
            results.put(
                SectionResult(
                    section_id,
                    pair,
                    question.question,
                    "running",
                    section_id,
                    base=before.base if before and not compare else None,
                    reference=question.reference,
                    probe=self._is_probe(uri, section_id, pair),
                    adapter=question.adapter,
                )
            )
        self._changed(uri)

    def text(self, uri: str, said: Text) -> None:
        """More of an answer."""
        results = self._documents.get(same_document(uri))
        result = results.get(said.key) if results is not None else None
        if results is None or result is None:
            return
        if said.side == "base":
            results.change(said.key, base=(result.base or "") + said.text)
        else:
            results.change(said.key, adapted=(result.adapted or "") + said.text)
        self._changed(uri)

    def ended(self, uri: str, asked: Asked, result: Result) -> None:
        """The job that asked has ended: with answers for all, some or none of the questions."""
        results = self._followed(uri)
        answers = {answer.key: answer for answer in result.answers}
        for question in asked:
            before = self._before.pop((same_document(uri), question.key), None)
            if results is None or results.get(question.key) is None:
                continue
            answer = answers.get(question.key)
            if answer is not None:
                shown = results.get(question.key)
                assert shown is not None
                results.change(
                    question.key,
                    adapted=answer.adapted,
                    base=answer.base if answer.base is not None else shown.base,
                    model_version=answer.version,
                    verdict=_verdict(shown, answer, before),
                )
            elif result.ending is Ending.CANCELLED:
                if before is not None:
                    results.put(replace(before, place=before.section_id))
                else:
                    results.drop(question.key)
            else:
                said = str(result.trouble or "failed")
                results.change(question.key, verdict="error", error=said)
        if results is not None:
            document = self._session.document(uri)
            if document is not None:
                results.follow(document.live)
        self._changed(uri, now=True)

    def outdate(self, uri: str) -> None:
        """Answers of versions that are not current are stale until asked again. Looked up each
        time, because other windows and terminals train as well; that takes a few `stat` calls."""
        if self._has_outdated(uri):
            self._changed(uri)

    def _has_outdated(self, uri: str) -> bool:
        results, document = self._followed(uri), self._session.document(uri)
        if not results or document is None:
            return False
        view = self._session.providers.trained(document.live)
        if view is None:
            return False
        found = False
        for result in list(results):
            newest = view.current.get(result.adapter)
            if result.model_version != newest and result.verdict in _ANSWERED - {"stale"}:
                results.change(result.key, verdict="stale")
                found = True
        return found

    # --- documents -----------------------------------------------------------------------

    def edited(self, uri: str) -> None:
        """The document has changed; look at it at the next telling."""
        if same_document(uri) in self._documents:
            self._changed(uri)

    def forget(self, uri: str) -> None:
        self._documents.pop(same_document(uri), None)
        self._paced.pop(same_document(uri), None)
        for key in [key for key in self._before if key[0] == same_document(uri)]:
            del self._before[key]

    def tell(self, uri: str) -> None:
        """Send the results of a document."""
        self._has_outdated(uri)
        document = self._session.document(uri)
        results = self._followed(uri)
        snapshot = self._session.snapshot(uri)
        if document is None or results is None or snapshot is None:
            return
        if not self._session.client.section_results:
            self._session.refresh("inlayHint")
            return
        items: list[dict[str, Any]] = [
            {
                "sectionId": result.place,
                "pair": result.pair,
                "range": _range(snapshot.range(span)),
                "question": result.question,
                "state": result.state,
                "base": result.base,
                "adapted": result.adapted,
                "reference": result.reference,
                "modelVersion": result.model_version,
                "adapter": result.adapter,
                "error": result.error,
            }
            for result, span in results.placed(document.live)
        ]
        told = {"uri": document.uri, "version": document.version, "items": items}
        self._session.notify("dlm/sectionResults", told)

    def _followed(self, uri: str, *, create: bool = False) -> DocumentResults | None:
        """The results of a document, at its newest version."""
        key = same_document(uri)
        document = self._session.document(uri)
        if document is None:
            return None
        results = self._documents.get(key)
        if results is None:
            if not create:
                return None
            results = self._documents[key] = DocumentResults(document.live)
        results.follow(document.live)
        return results

    def _results_of(self, live: LiveDocument) -> Iterable[SectionResult]:
        for document in self._session.documents:
            if document.live is live:
                return list(self._followed(document.uri) or ())
        return ()

    def _is_probe(self, uri: str, section_id: str, pair: int | None) -> bool:
        document = self._session.document(uri)
        if document is None or pair is None:
            return False
        return any(
            section.id == section_id and pair < len(section.pairs) and section.pairs[pair].probe
            for section in document.live.document.sections
        )

    def _changed(self, uri: str, *, now: bool = False) -> None:
        key = same_document(uri)
        if key not in self._documents:
            return
        if key not in self._paced:
            self._paced[key] = Paced(self._session, lambda: self.tell(uri))
        self._paced[key].mark()
        if now:
            self._paced[key].flush()


def _verdict(shown: SectionResult, answer: Answer, before: SectionResult | None) -> ResultState:
    if not shown.probe:
        return "ok"
    if answer.right is not None:
        return "passed" if answer.right else "failed"
    said_before = before.adapted if before else None
    return "ok" if said_before in (None, answer.adapted) else "changed"


def _question(live: LiveDocument, section: Section, number: int) -> Question:
    pair = section.pairs[number]
    key, adapter = result_key(section.id, number), _adapter(live, section)
    return Question(key, pair.question, pair.answer or None, adapter)


def _adapter(live: LiveDocument, section: Section) -> str | None:
    """The named adapter that learns a section, the first of those that learn prose."""
    from dlm_engine.document import adapter_names, teaches

    names = adapter_names(live.frontmatter) if live.frontmatter else ()
    return next(iter(teaches(section, names)), None) if names else None


def _parts(key: str) -> tuple[str, int | None]:
    section_id, _, rest = key.partition("#")
    return section_id, None if rest == "selection" else int(rest or 0)


def _range(found: Any) -> dict[str, dict[str, int]]:
    return {
        "start": {"line": found.start.line, "character": found.start.character},
        "end": {"line": found.end.line, "character": found.end.character},
    }
