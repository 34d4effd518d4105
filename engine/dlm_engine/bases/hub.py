"""The model hub: what a repository says about itself, and its files at one commit.

Invariant: a download is of a pinned commit and of listed file names only (safetensors,
JSON, templates, tokenizer vocabularies); pickles and code are never asked for. Files are
checked against the hashes the hub publishes. A broken download keeps its hidden folder,
so that the next try goes on where it stopped. Everything the network can do wrong ends as
one `BaseModelError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlm_engine.bases.files import is_base_file, read_json, sha256_of
from dlm_engine.bases.spec import COMMIT
from dlm_engine.errors import BaseModelError

_AGAIN = "connect to the network and try again, or name a folder that holds the base"


class HubUnreachable(BaseModelError):
    """There is no way to the hub now; other ways may exist."""


@dataclass(frozen=True, slots=True)
class HubFile:
    name: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class HubFacts:
    """A repository at one commit."""

    hf_id: str
    commit: str
    gated: bool
    license: str | None
    license_link: str | None
    files: tuple[HubFile, ...]


def hub_facts(hf_id: str, revision: str | None) -> HubFacts:
    """Facts of `hf_id` at `revision` (its newest commit when None). Needs the network."""
    with _one_message(hf_id, revision):
        from huggingface_hub import HfApi

        info = HfApi(endpoint=_endpoint()).model_info(
            hf_id, revision=revision, files_metadata=True, timeout=30
        )
    if not info.sha or not COMMIT.fullmatch(info.sha):
        raise BaseModelError(hf_id, "the hub names no commit for it")
    if revision is not None and info.sha != revision:
        raise BaseModelError(
            hf_id, f"the hub answers commit {info.sha} when asked for {revision}", "try again"
        )
    card: Any = info.card_data
    files = (
        HubFile(
            name=sibling.rfilename,
            size=sibling.size,
            sha256=sibling.lfs.sha256 if sibling.lfs else None,
        )
        for sibling in info.siblings or ()
        if is_base_file(sibling.rfilename)
    )
    return HubFacts(
        hf_id=hf_id,
        commit=info.sha,
        gated=bool(info.gated),
        license=_text(card, "license"),
        license_link=_text(card, "license_link"),
        files=tuple(sorted(files, key=lambda file: file.name)),
    )


def hub_config(facts: HubFacts, folder: Path) -> dict[str, Any]:
    """`config.json` at the commit of `facts`, fetched into `folder`."""
    with _one_message(facts.hf_id, facts.commit):
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(
            facts.hf_id,
            "config.json",
            revision=facts.commit,
            local_dir=folder,
            endpoint=_endpoint(),
        )
    return read_json(Path(path))


def require_weights(facts: HubFacts) -> None:
    """Raise unless the repository has its weights in safetensors."""
    if not any(file.name.endswith(".safetensors") for file in facts.files):
        raise BaseModelError(
            facts.hf_id,
            "it has no weights in safetensors at its top level",
            "dlm loads no pickled weights (.bin, .pt): choose another base",
        )


def download(facts: HubFacts, folder: Path) -> None:
    """Fetch and check every base file into `folder`, going on after an earlier break."""
    with _one_message(facts.hf_id, facts.commit):
        from huggingface_hub import snapshot_download

        snapshot_download(
            facts.hf_id,
            revision=facts.commit,
            local_dir=folder,
            allow_patterns=[file.name for file in facts.files],
            ignore_patterns=["*/*"],
            endpoint=_endpoint(),
            max_workers=4,
        )
    for file in facts.files:
        path = folder / file.name
        if not path.is_file():
            raise BaseModelError(
                facts.hf_id, f"{file.name} did not arrive", "run the command again"
            )
        wrong_size = file.size is not None and path.stat().st_size != file.size
        if wrong_size or (file.sha256 is not None and sha256_of(path) != file.sha256):
            path.unlink()
            raise BaseModelError(
                facts.hf_id,
                f"{file.name} arrived damaged and was thrown away",
                "run the command again",
            )


def _endpoint() -> str | None:
    # Read now, not when huggingface_hub was imported, so that a caller may set it.
    return os.environ.get("HF_ENDPOINT") or None


def _text(card: Any, name: str) -> str | None:
    value = card.get(name) if card is not None else None
    return value if isinstance(value, str) and value else None


@contextmanager
def _one_message(hf_id: str, revision: str | None) -> Iterator[None]:
    """Turn every failure of a hub call into one `BaseModelError`."""
    from huggingface_hub import errors

    where = f"{hf_id} at {revision}" if revision else hf_id
    try:
        yield
    except errors.GatedRepoError as error:
        raise BaseModelError(
            hf_id,
            "its makers ask you to accept their terms on the hub first",
            f"accept them at https://huggingface.co/{hf_id}, then set HF_TOKEN",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise BaseModelError(
            where, "the hub no longer has this commit", "run `dlm init` on a base it has"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise BaseModelError(
            hf_id,
            "the hub has no such model, or it is private",
            "check the spelling; for a private one set HF_TOKEN",
        ) from error
    except (errors.RemoteEntryNotFoundError, errors.HFValidationError) as error:
        raise BaseModelError(where, "it is not a model dlm can read (no config.json)") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no"
        if status in (401, 403):
            raise BaseModelError(
                hf_id, f"the hub refuses access (status {status})", "set HF_TOKEN to a valid token"
            ) from error
        raise HubUnreachable(hf_id, f"the hub answered with status {status}", _AGAIN) from error
    except (OSError, errors.IncompleteSnapshotError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise HubUnreachable(hf_id, f"the hub cannot be reached ({reason})", _AGAIN) from error
    except Exception as error:
        # The HTTP library's own errors are not OSErrors and its name changes between releases.
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3")):
            raise
        raise HubUnreachable(
            hf_id, f"the hub cannot be reached ({type(error).__name__})", _AGAIN
        ) from error
