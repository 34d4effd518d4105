"""What stays in memory between the jobs of one process: a base, and what it always computes.

Loading a base takes seconds and a retrain of one fact takes two, so whoever runs one job
after another keeps a `Resident` and hands it to each. At most one base is held. Adapters
are put into it in place (PEFT wraps its layers), so there is one owner of that fact: `base`
takes off whatever is attached, `attached` says what was put on. What is kept is only ever
what a fresh process would compute from the same inputs, bit for bit; a job never behaves
differently for having one, only sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from dlm_engine.bases import Weights
from dlm_engine.data.chat import Chat
from dlm_engine.hardware import Hardware
from dlm_engine.inference.loading import Place, asking_precision, device_of, load_base

#: Of one kept value, in bytes: wider bases compute theirs again rather than fill the memory.
MOST_KEPT: Final = 512 * 2**20

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Loading:
    """What decides how a base lies in memory."""

    sha256: str
    precision: str
    attention: str
    device: str
    four_bit_type: str | None
    place: Place | None = None


class Resident:
    """One base in memory, for jobs that run one at a time."""

    def __init__(self) -> None:
        self._loading: _Loading | None = None
        self._base: Any = None
        self._attached: Any = None
        self._adapter: Hashable = None
        self._kept: dict[str, tuple[Hashable, Any]] = {}
        self._chat: tuple[Hashable, Chat] | None = None

    def base(
        self,
        weights: Weights,
        precision: str,
        attention: str,
        device: str,
        four_bit_type: str | None = None,
        place: Place | None = None,
    ) -> Any:
        """The base with nothing attached; see `load_base`."""
        wanted = _Loading(weights.sha256, precision, attention, device, four_bit_type, place)
        if wanted != self._loading:
            self.forget()
            self._base = load_base(weights, precision, attention, device, four_bit_type, place)
            self._loading = wanted
        elif self._attached is not None:
            # Forgotten first: if taking it off fails, the base is not to be trusted either.
            attached, self._attached, self._adapter = self._attached, None, None
            base, self._base, loading, self._loading = self._base, None, self._loading, None
            attached.unload()
            self._base, self._loading = base, loading
        return self._base

    def attached(self, model: Any, adapter: Hashable = None) -> None:
        """Say that `model` is the base with an adapter put in, and which one if it is whole."""
        self._attached, self._adapter = model, adapter

    @contextmanager
    def asking(
        self,
        weights: Weights,
        hardware: Hardware,
        adapter: Path | None,
        digest: str | None,
        four_bit_type: str | None = None,
    ) -> Iterator[Any]:
        """The base ready to answer, with the adapter in `adapter` on it (None: without any).

        `digest` says what that adapter is, so that one that is attached already is used.
        """
        from dlm_engine.inference.generate import attach

        precision, device = asking_precision(hardware), device_of(hardware)
        wanted = _Loading(weights.sha256, precision, "sdpa", device, four_bit_type)
        fits = wanted == self._loading and self._attached is not None
        if adapter is None and fits:
            self._attached.eval()
            with self._attached.disable_adapter():
                yield self._attached
            return
        if not fits or adapter is None or digest is None or digest != self._adapter:
            base = self.base(weights, precision, "sdpa", device, four_bit_type)
            if adapter is None:
                yield base.eval()
                return
            model = attach(base, adapter)
            self.attached(model, digest)
        self._attached.eval()
        yield self._attached

    def keep(self, name: str, key: Hashable, make: Callable[[], Value]) -> Value:
        """What `make` computes from the base that is held, once for `key`; the last of a `name`.

        A value says in `nbytes`, where it has that, how large it is.
        """
        kept = self._kept.get(name)
        if kept is not None and kept[0] == key:
            found: Value = kept[1]
            return found
        value = make()
        self._kept.pop(name, None)
        if getattr(value, "nbytes", 0) <= MOST_KEPT:
            self._kept[name] = (key, value)
        return value

    def chat(self, weights: Weights, system_prompt: str | None) -> Chat:
        """The base's tokenizer and template with this system prompt; see `Chat.of`."""
        key = (weights.sha256, system_prompt)
        if self._chat is None or self._chat[0] != key:
            self._chat = (key, Chat.of(weights, system_prompt))
        return self._chat[1]

    def forget(self) -> None:
        """Give the base's memory back."""
        self._loading = self._base = self._attached = self._adapter = None
        self._kept = {}
