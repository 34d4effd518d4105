"""How much goes through at once: whole packs, until the memory does not last.

A plan is made of estimates, and other programs take memory too. When a step runs out of it, what
was begun of the step is thrown away, the packs are taken apart into ones of half as many rows,
and the step is done again: the loss is added up per token of the whole step, so the step stays
the same. Looking at what is known is done again in the same way. It stays so for the rest of the
run. One row cannot be halved; then the run ends with what to change, and a state to go on from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import torch

from dlm_engine.data.packs import pack
from dlm_engine.errors import OutOfMemory
from dlm_engine.training import ranks
from dlm_engine.training.model import Choice
from dlm_engine.training.network import Trainee

if TYPE_CHECKING:
    from dlm_engine.training.sft import Laid

Own = TypeVar("Own")

_REMEDY = "close other programs, shorten training.sequence_len, or choose a smaller base"
_DIVIDED = "the memory does not last; with a divided base fewer rows at a time are not tried"
#: What torch says of memory besides `OutOfMemoryError`, which is of accelerators only.
_SAID = ("not enough memory", "out of memory", "can't allocate memory")


@dataclass
class Portions:
    """Packs in parts of at most `most` rows; None for whole packs."""

    trainee: Trainee
    most: int | None = None
    #: what was decided and not said yet
    news: Choice | None = None
    _parts: dict[int, tuple[Laid, list[Laid]]] = field(default_factory=dict)

    def of(self, laid: Laid, together: int = 1) -> list[Laid]:
        """`laid`, or its parts: rows in their order, `together` of them never apart."""
        rows = laid.pack.rows
        size = len(rows) if self.most is None else max(together, self.most // together * together)
        if len(rows) <= size:
            return [laid]
        if id(laid) not in self._parts:
            starts = range(0, len(rows), size)
            self._parts[id(laid)] = laid, [self._part(laid, at, at + size) for at in starts]
        return self._parts[id(laid)][1]

    def lasting(
        self, work: Callable[[], Own], packs: Callable[[], Iterable[tuple[Laid, int]]], doing: str
    ) -> list[Own]:
        """What `work` on `packs`, each with how many of its rows stay together, gives in each
        process; done again with fewer rows at a time for as long as the memory does not last, in
        this process or in another.

        Raises:
            OutOfMemory: it does not last for a single row.
        """
        while True:
            own = None
            try:
                own = work()
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                if self.trainee.divided:
                    # The others wait for this one in the middle of theirs.
                    raise OutOfMemory(doing, _DIVIDED, _REMEDY) from None
            every = ranks.everyones(own)
            done = [each for each in every if each is not None]
            if len(done) == len(every):
                return done
            # Behind the handler, where the error no longer holds on to the tensors.
            let_go(list(self.trainee.parameters().values()))
            self._halve(packs(), doing)

    def told(self) -> Choice | None:
        """What was decided since this was last asked."""
        news, self.news = self.news, None
        return news

    def _halve(self, packs: Iterable[tuple[Laid, int]], doing: str) -> None:
        """At most half as many rows at once from now on as the largest of `packs` had."""
        now = [(part.pack, own) for laid, own in packs for part in self.of(laid, own)]
        rows = max((len(pack.rows) for pack, own in now if len(pack.rows) > own), default=0)
        if not rows:
            longest = max(pack.tokens for pack, _ in now)
            raise OutOfMemory(
                doing,
                f"the memory does not last for one row at a time (up to {longest} tokens)",
                _REMEDY,
            )
        self.most = rows // 2
        self._parts.clear()
        self.news = Choice(
            "micro_batch",
            f"{self.most} row{'s' if self.most > 1 else ''} at a time",
            f"the memory did not last for {rows}; the step takes as many as before",
        )

    def _part(self, laid: Laid, start: int, stop: int) -> Laid:
        mine = (laid.pack.row_of >= start) & (laid.pack.row_of < stop)
        small = pack(laid.pack.rows[start:stop]).to(self.trainee.device)
        hidden = None if laid.base_hidden is None else laid.base_hidden[mine]
        trunk = None if laid.trunk is None else self.trainee.trunk(small)
        return replace(laid, pack=small, trunk=trunk, base_hidden=hidden)


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that there is no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _SAID)


@contextmanager
def memory_for(subject: str) -> Iterator[None]:
    """Within, running out of memory is an error that says so.

    Raises:
        OutOfMemory: it did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(subject, "the memory does not last", _REMEDY) from None


def let_go(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Forget what a step began, and give back what nothing holds any more."""
    for parameter in parameters:
        parameter.grad = None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
