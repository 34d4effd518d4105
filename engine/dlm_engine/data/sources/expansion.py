"""From `training.sources` to files: a walk that never leaves the source and reads within bounds.

The invariant: every file taken lies physically inside its source. No symbolic link is
followed, of file or folder: what it points to counts where it lies, if that is inside, and
then by the rules that hold there. A file that is opened is compared with the entry that was
judged, so a link put in its place in between is not read either. Nothing is written; what
was read once and has not changed since (`known`) is not read again.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dlm_engine.data.bulk import collector_paused
from dlm_engine.data.sources.denied import is_secret_path
from dlm_engine.data.sources.model import (
    Expansion,
    Found,
    Judged,
    Known,
    KnownFile,
    LeftOut,
    Problem,
    Reason,
    SourceFile,
    Stamp,
)
from dlm_engine.data.sources.rules import MAX_BYTES as MAX_RULES
from dlm_engine.data.sources.rules import RulesError, ignore_rules, training_rules
from dlm_engine.data.sources.verdict import Scope
from dlm_engine.document.frontmatter import Source, Training
from dlm_engine.document.secrets import find_secrets
from dlm_engine.errors import TrainingError

#: A larger file is data and not text that anyone wrote.
MAX_FILE_BYTES = 16 * 2**20
#: Of all sources together: a text is held in memory, and its tokens take four times as much.
MAX_TOTAL_BYTES = 2**30
#: A file changed less than this before it was noted may have changed since at the same time.
_SETTLED_NS = 2_000_000_000
RULES_FOLDER = ".dlm"

Rules = TypeVar("Rules")


@dataclass(frozen=True, slots=True)
class Root:
    """Where a source lies, links resolved."""

    path: Path
    is_file: bool


def base_folder(folder: Path) -> Path:
    """What relative sources of a document in `folder` start from: above `.dlm`, else there."""
    folder = folder.absolute()
    return folder.parent if folder.name == RULES_FOLDER else folder


def root_of(path: str, base: Path, *, strict: bool) -> Root | Problem:
    """Where the source written as `path` lies, or why it cannot be used. Looks, reads nothing."""

    def missing(what: str) -> Problem:
        return Problem("missing", path, what, "correct the path, or remove the entry")

    def denied(what: str, remedy: str) -> Problem:
        return Problem("denied", path, what, remedy)

    try:
        wanted = Path(path).expanduser()
        resolved = (base / wanted).resolve(strict=True)
        mode = resolved.stat().st_mode
        inside = resolved.is_relative_to(base.resolve())
    except (FileNotFoundError, NotADirectoryError):
        return missing(f"there is nothing at {path}")
    except PermissionError:
        return denied(f"{path} may not be read", "check its permissions")
    except (OSError, RuntimeError, ValueError):
        return missing(f"{path} is no usable path")
    if strict and not inside:
        return denied(
            f"{path} lies outside the document's folder, and training.sources_policy is strict",
            "move it inside, or choose the policy permissive",
        )
    if is_secret_path(resolved, folder=stat.S_ISDIR(mode)):
        return denied(
            f"{path} is where keys or passwords are kept, and a model repeats what it learned",
            "name another path",
        )
    if resolved.parent == resolved:
        return denied(f"{path} is the whole disk", "name a folder in it")
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        return denied(f"{path} is neither a file nor a folder", "name a file or a folder")
    return Root(resolved, stat.S_ISREG(mode))


@collector_paused()
def expand(
    training: Training,
    document: Path,
    known: Callable[[Path], Known] = lambda root: {},
    clock: Callable[[], int] = time.time_ns,
    home: Path | None = None,
) -> Expansion:
    """The files that the sources of `document` stand for, in document and then path order.

    `known(root)` gives what is known of the files under a root. What dlm keeps in its `home`
    is never among them. A source that cannot be used has a `problem`; nothing is raised.
    """
    base = base_folder(document.parent)
    reader = _Reader(_identity(document), clock, kept_in(home))
    found = []
    for source in training.sources or ():
        root = root_of(source.path, base, strict=training.sources_policy == "strict")
        if isinstance(root, Problem):
            found.append(Found(source.path, problem=root))
        else:
            found.append(reader.expanded(source, root, known(root.path)))
    return Expansion(tuple(found), reader.fresh, tuple(reader.met))


def kept_in(home: Path | None) -> frozenset[tuple[int, int]]:
    """What dlm writes in `home`: a model would learn the texts of removed rows, and each run
    would change what the next one learns."""
    if home is None:
        return frozenset()
    # Editors look at sources without any base.
    from dlm_engine.bases import cache_root

    places = (home / "store", home / "cache", home / "history", cache_root(home))
    return frozenset(found for place in places if (found := _identity(place)) is not None)


def rules_problem(source: Source, root: Root) -> Problem | None:
    """What is wrong with the first bad file of rules below `root`; opens no other file."""
    try:
        if not root.is_file:
            deque(_walk(root.path, Scope.of(source.include, source.exclude)), maxlen=0)
    except _RulesProblem as error:
        return error.problem
    return None


def read_source(file: SourceFile) -> str:
    """The text of a file that was judged, now or earlier.

    Raises:
        TrainingError: it is gone, or no longer what was judged.
    """
    if file.text is not None:
        return file.text
    data = _read(Path(file.path), file.stamp, MAX_FILE_BYTES)
    if data is None or hashlib.sha256(data).hexdigest() != file.sha256:
        raise TrainingError(file.path, "changed while it was being read", "run it again")
    return _text(data)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or folder met on the walk; `path` is relative to the root."""

    path: str
    name: str
    full: str
    kind: str
    scope: Scope
    stat: os.stat_result | None


class _RulesProblem(Exception):
    def __init__(self, path: Path, what: str) -> None:
        self.problem = Problem("rules", str(path), what, "correct it, or remove it")


class _Reader:
    """What runs through all sources of a document: what was taken, and how much it is."""

    def __init__(
        self,
        document: tuple[int, int] | None,
        clock: Callable[[], int],
        kept: frozenset[tuple[int, int]],
    ) -> None:
        self.document = document
        self.kept = kept
        self.clock = clock
        self.fresh: dict[bytes, KnownFile] = {}
        self.met: list[bytes] = []
        self.taken: set[tuple[int, int]] = set()
        self.bytes = 0

    def expanded(self, source: Source, root: Root, known: Known) -> Found:
        if any(_identity(path) in self.kept for path in (root.path, *root.path.parents)):
            what = f"{source.path} lies where dlm keeps its stores"
            return Found(
                source.path, problem=Problem("denied", source.path, what, "name another path")
            )
        files: list[SourceFile] = []
        left_out: list[LeftOut] = []
        most = source.max_bytes_per_file or MAX_FILE_BYTES
        scope = Scope.of(source.include, source.exclude)
        entries = _named(root, scope) if root.is_file else _walk(root.path, scope, self.kept)
        try:
            for entry in entries:
                if entry.kind != "file":
                    left_out.append(LeftOut(_label(entry.path), Reason(entry.kind)))
                    continue
                if source.max_files is not None and len(files) >= source.max_files:
                    left_out.append(LeftOut(_label(entry.path), Reason.LIMIT))
                    # What comes after is not looked for: that is what the limit is for.
                    break
                taken = self._judge(entry, min(most, MAX_FILE_BYTES), known)
                if isinstance(taken, LeftOut):
                    left_out.append(taken)
                    continue
                files.append(taken)
                self.bytes += taken.stamp.size
                if self.bytes > MAX_TOTAL_BYTES:
                    what = f"with it the sources hold more than {MAX_TOTAL_BYTES >> 30} GiB of text"
                    problem = Problem("size", source.path, what, "take less with include")
                    return Found(source.path, problem=problem)
        except _RulesProblem as error:
            return Found(source.path, problem=error.problem)
        return Found(source.path, tuple(files), tuple(left_out))

    def _judge(self, entry: _Entry, most: int, known: Known) -> SourceFile | LeftOut:
        label = _label(entry.path)
        facts = entry.stat
        if facts is None:
            return LeftOut(label, Reason.UNREADABLE)
        identity = (facts.st_dev, facts.st_ino)
        if identity == self.document:
            return LeftOut(label, Reason.ITSELF)
        if identity in self.taken:
            return LeftOut(label, Reason.TWICE)
        weight = entry.scope.weight
        if weight == 0:
            return LeftOut(label, Reason.WEIGHT)
        if facts.st_size > most:
            return LeftOut(label, Reason.TOO_LARGE, f"{facts.st_size} bytes")
        stamp = Stamp(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
        name = os.fsencode(entry.full)
        before = known.get(name)
        text: str | None = None
        if before is not None and before.stamp == stamp and _settled(before):
            judged = before.judged
            self.met.append(name)
        else:
            noted = self.clock()
            data = _read(Path(entry.full), stamp, most)
            if data is None:
                return LeftOut(label, Reason.UNREADABLE)
            judged, text = _look(data)
            self.fresh[name] = KnownFile(stamp, judged, noted)
        if judged.reason is not None:
            return LeftOut(label, judged.reason, judged.detail)
        self.taken.add(identity)
        tags = tuple(sorted(entry.scope.tags.items()))
        return SourceFile(entry.full, label, stamp, judged.sha256, tags, weight, text)


def _settled(known: KnownFile) -> bool:
    """Whether a change after the file was noted would show in its times."""
    return max(known.stamp.mtime_ns, known.stamp.ctime_ns) + _SETTLED_NS < known.noted_ns


def _look(data: bytes) -> tuple[Judged, str | None]:
    """What a file's bytes are, and their text if that may be learned."""
    digest = hashlib.sha256(data).hexdigest()
    if b"\0" in data:
        return Judged(digest, Reason.BINARY), None
    try:
        text = _text(data)
    except UnicodeDecodeError as error:
        return Judged(digest, Reason.ENCODING, f"byte {error.start}"), None
    if not text.strip():
        return Judged(digest, Reason.EMPTY), None
    secrets = find_secrets(text)
    if secrets:
        line = text.count("\n", 0, secrets[0].span.start) + 1
        what = secrets[0].message.partition(";")[0].replace("this looks", "it looks")
        return Judged(digest, Reason.SECRET, f"line {line}: {what}"), None
    return Judged(digest), text


def _text(data: bytes) -> str:
    text = data.decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _named(root: Root, scope: Scope) -> Iterator[_Entry]:
    """The one file of a source that is a file: the defaults do not hold for what was named."""
    name = root.path.name
    matched = scope.include[1].match(name) and not any(p.match(name) for _, p in scope.exclude)
    kind = "file" if matched else Reason.EXCLUDED
    yield _Entry(name, name, str(root.path), kind, scope, _stat(root.path))


def _walk(
    root: Path, scope: Scope, kept: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[_Entry]:
    """Everything below `root` in the order of paths, folders that are left out unentered.

    An entry's kind is `file`, or the reason why it is left out.
    """
    waiting = list(_listed(str(root), "", scope, _stat(root), kept))
    while waiting:
        entry = waiting.pop()
        if entry.kind == "folder":
            waiting += _listed(entry.full, entry.path + "/", entry.scope, entry.stat, kept)
        else:
            yield entry


def _listed(
    folder: str,
    path: str,
    above: Scope,
    judged: os.stat_result | None,
    kept: frozenset[tuple[int, int]],
) -> Iterator[_Entry]:
    """What is in a folder, last name first; `path` is "" or ends in a slash."""
    listed = None if judged is None else _contents(folder, judged)
    if listed is None:
        yield _Entry(path or ".", "", folder, Reason.UNREADABLE, above, None)
        return
    scope = _with_rules(folder, path, above)
    for name, facts in sorted(listed.items(), reverse=True):
        below, full = path + name, os.path.join(folder, name)
        if name == RULES_FOLDER:
            continue
        if facts is None:
            yield _Entry(below, name, full, Reason.UNREADABLE, scope, None)
            continue
        folder_too = stat.S_ISDIR(facts.st_mode)
        kind: str | None = scope.refusal(below, name, folder=folder_too)
        if kind is None and (facts.st_dev, facts.st_ino) in kept:
            kind = Reason.KEPT
        if kind is None and stat.S_ISLNK(facts.st_mode):
            kind = Reason.LINK
        elif kind is None and not folder_too:
            kind = "file" if stat.S_ISREG(facts.st_mode) else Reason.SPECIAL
        elif kind is None:
            kind = "folder"
        shown = below + "/" if folder_too and kind != "folder" else below
        yield _Entry(shown, name, full, kind, scope, facts)


def _contents(folder: str, judged: os.stat_result) -> dict[str, os.stat_result | None] | None:
    """What is in a folder by its name; None if it cannot be read or is another by now."""
    found: dict[str, os.stat_result | None] = {}
    handle: int | None = None
    try:
        if os.scandir in os.supports_fd:
            # By its handle: a link put in the place of a folder on the way would lead outside.
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            facts = os.fstat(handle)
            if (facts.st_dev, facts.st_ino) != (judged.st_dev, judged.st_ino):
                return None
        with os.scandir(folder if handle is None else handle) as entries:
            for entry in entries:
                try:
                    found[entry.name] = entry.stat(follow_symlinks=False)
                except OSError:
                    found[entry.name] = None
    except OSError:
        return None
    finally:
        if handle is not None:
            os.close(handle)
    return found


def _with_rules(folder: str, path: str, above: Scope) -> Scope:
    """`above` with the rules of the folder's own `.dlm`, if it has one."""
    own = Path(folder, RULES_FOLDER)
    facts = _stat(own)
    if facts is not None and stat.S_ISLNK(facts.st_mode):
        raise _RulesProblem(own, "is a link, and no link is followed")
    if facts is None or not stat.S_ISDIR(facts.st_mode):
        return above
    rules = _rules(own / "training.yaml", training_rules)
    ignore = _rules(own / "ignore", ignore_rules)
    return above if rules is None and ignore is None else above.below(path, rules, ignore)


def _rules(path: Path, read: Callable[[str], Rules]) -> Rules | None:
    if _stat(path) is None and os.access(path.parent, os.R_OK | os.X_OK):
        return None
    data = _read(path, None, MAX_RULES)
    if data is None:
        raise _RulesProblem(path, "is no readable file of at most 256 KiB")
    try:
        return read(_text(data))
    except UnicodeDecodeError:
        raise _RulesProblem(path, "is not UTF-8") from None
    except RulesError as error:
        raise _RulesProblem(path, str(error)) from None


def _read(path: Path, stamp: Stamp | None, most: int) -> bytes | None:
    """The bytes of a regular file, None if it cannot be read, is longer or is another by now."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as stream:
            facts = os.fstat(stream.fileno())
            same = stamp is None or (facts.st_ino, facts.st_size) == (stamp.inode, stamp.size)
            if not same or not stat.S_ISREG(facts.st_mode):
                return None
            data = stream.read(most + 1)
    except OSError:
        return None
    return data if len(data) <= most else None


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _label(path: str) -> str:
    """A path as text: bytes that are no UTF-8 and control characters replaced."""
    if path.isprintable():
        return path
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
