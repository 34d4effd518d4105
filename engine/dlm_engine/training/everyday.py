"""What a base does with everyday questions, looked at once and kept on disk for every later run.

The survey is a constant of the base and of how it computes, and making it is several seconds
of every start. A kept one is used only under the very conditions it was made in, and only if
every byte of it is as it was written, so a run that reads one ends in the bytes of a run that
did not. It is a convenience: a disk that refuses it costs the seconds and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from dlm_engine.data import ChatRow, encode_row
from dlm_engine.data.chat import Chat
from dlm_engine.data.packs import Pack, packs_of
from dlm_engine.errors import StoreError
from dlm_engine.hardware.memory import SURVEY_KEPT
from dlm_engine.store import make_folders, write_atomic
from dlm_engine.store.atomic import is_abandoned
from dlm_engine.training import anchors, ranks
from dlm_engine.training.aim import Everyday, summed_up, survey
from dlm_engine.training.moments import Known
from dlm_engine.training.network import Trainee
from dlm_engine.training.settings import Settings

#: Of the folder, in bytes; SmolLM2-135M's takes 140 MB for each system prompt.
MOST_KEPT: Final = SURVEY_KEPT
_ENDING: Final = ".safetensors"
#: Raise when a survey of the same packs under the same conditions becomes another.
_MAKING: Final = 2

Lay = Callable[[Sequence[Pack]], list[tuple[Pack, torch.Tensor | None]]]


def everyday_packs(chat: Chat, settings: Settings) -> list[Pack]:
    """The everyday questions as this base is asked them, one pack for each step."""
    encoded = [
        window
        for question, answer in anchors.ANCHORS
        for window in encode_row(ChatRow("anchor", question, answer), chat, settings.sequence_len)
    ]
    each = settings.anchors_per_step
    groups = [encoded[i : i + each] for i in range(0, len(encoded), each)]
    return [p for group in groups for p in packs_of(group, settings.pack_tokens)]


def surveyed(
    folder: Path,
    conditions: Mapping[str, object],
    trainee: Trainee,
    packs: Sequence[Pack],
    lay: Lay,
    making: Callable[[], None],
) -> Everyday:
    """The survey of `packs`: the one kept in `folder`, or one made now and kept there.

    `conditions` is everything that its bytes depend on besides the packs; `making` is called
    before one is made. With a divided base each process has a part of it, which is not kept.
    """
    if trainee.divided:
        making()
        return survey(trainee, lay(packs))
    rows = [[(row.ids, row.start) for row in pack.rows] for pack in packs]
    facts = json.dumps([_MAKING, dict(conditions), rows], sort_keys=True)
    key = hashlib.sha256(facts.encode()).hexdigest()[:32]
    found = _read(folder, key, packs, trainee.device)
    if found is None:
        making()
        found = survey(trainee, lay(packs))
        if summed_up(trainee) <= MOST_KEPT:
            # Whoever reads it has it so, and a save need not add it up again.
            moments = {name: Known(each.rounded()) for name, each in found.moments.items()}
            found = replace(found, moments=moments)
            if ranks.leads():
                _write(folder, key, found)
    return found


def _read(folder: Path, key: str, packs: Sequence[Pack], device: torch.device) -> Everyday | None:
    for path in sorted(folder.glob(f"{key}-*{_ENDING}")):
        try:
            data = path.read_bytes()
            if path.name != _name(key, data):
                path.unlink()
                continue
            tensors = load(data)
            path.touch()
        except (OSError, SafetensorError):
            continue
        trunks = [_placed(tensors.get(f"trunk.{n}"), device) for n in range(len(packs))]
        return Everyday(
            tuple((pack.to(device), trunk) for pack, trunk in zip(packs, trunks, strict=True)),
            tuple(tensors[f"hidden.{n}"].to(device) for n in range(len(packs))),
            {
                name.removeprefix("moments."): Known(tensor)
                for name, tensor in tensors.items()
                if name.startswith("moments.")
            },
        )
    return None


def _placed(tensor: torch.Tensor | None, device: torch.device) -> torch.Tensor | None:
    return None if tensor is None else tensor.to(device)


def _write(folder: Path, key: str, made: Everyday) -> None:
    tensors: dict[str, Any] = {f"moments.{n}": m.rounded() for n, m in made.moments.items()}
    tensors |= {f"hidden.{number}": hidden for number, hidden in enumerate(made.hidden)}
    trunks = enumerate(trunk for _, trunk in made.packs)
    tensors |= {f"trunk.{number}": trunk for number, trunk in trunks if trunk is not None}
    data = save({name: tensor.to("cpu").contiguous() for name, tensor in tensors.items()})
    with suppress(StoreError, OSError):
        make_folders(folder)
        write_atomic(folder / _name(key, data), data)
        _prune(folder)


def _name(key: str, data: bytes) -> str:
    return f"{key}-{hashlib.sha256(data).hexdigest()}{_ENDING}"


def _prune(folder: Path) -> None:
    """Keep what was used last, up to `MOST_KEPT` bytes, and nothing that was left half written."""
    for entry in folder.iterdir():
        if is_abandoned(entry.name):
            entry.unlink(missing_ok=True)
    files = [(path, path.stat()) for path in folder.glob(f"*{_ENDING}")]
    files.sort(key=lambda each: -each[1].st_mtime_ns)
    for (path, _), total in zip(files, accumulate(s.st_size for _, s in files), strict=True):
        if total > MOST_KEPT:
            path.unlink(missing_ok=True)
