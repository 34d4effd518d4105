"""The beginning of a session: what `initialize` said, and what follows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlm_server.capabilities import client_features
from dlm_server.dispatch import RequestFailed, notification
from dlm_server.from_proto import path_of
from dlm_server.session import Session

if TYPE_CHECKING:
    pass

#: files whose coming and going changes what is known or reported about documents
WATCHED = "**/*.{dlm,png,jpg,jpeg,gif,webp,wav,mp3,flac,ogg,m4a}"


def begin(session: Session, params: Mapping[str, Any]) -> None:
    """Take in what `initialize` said."""
    session.client = client_features(params)
    session.folders = _folders(params)
    session.given_options(params.get("initializationOptions"))


def _folders(params: Mapping[str, Any]) -> tuple[Path, ...]:
    """The workspace's folders; clients older than the notion of several name one root."""
    given = params.get("workspaceFolders")
    uris = (
        [f.get("uri") for f in given if isinstance(f, Mapping)] if isinstance(given, list) else []
    )
    if not uris:
        uris = [params.get("rootUri")]
    paths = [path_of(uri) for uri in uris if isinstance(uri, str)]
    if not any(paths) and isinstance(params.get("rootPath"), str):
        paths = [Path(params["rootPath"])]
    return tuple(dict.fromkeys(p for p in paths if p is not None and p.is_absolute()))


@notification("initialized")
def initialized(session: Session, params: object) -> None:
    session.configure()
    pull_configuration(session)
    if session.client.watched_files or session.client.dynamic_configuration:
        _register(session)
    session.index.scan(session.folders)


def _register(session: Session) -> None:
    """Ask the client to tell of files and settings."""
    from lsprotocol import types as lsp

    registrations = []
    if session.client.watched_files:
        watcher = lsp.FileSystemWatcher(glob_pattern=WATCHED)
        registrations.append(
            lsp.Registration(
                id="dlm-files",
                method="workspace/didChangeWatchedFiles",
                register_options=lsp.DidChangeWatchedFilesRegistrationOptions([watcher]),
            )
        )
    if session.client.dynamic_configuration:
        registrations.append(
            lsp.Registration(
                id="dlm-settings",
                method="workspace/didChangeConfiguration",
                register_options=lsp.DidChangeConfigurationRegistrationOptions(section="dlm"),
            )
        )
    session.request("client/registerCapability", lsp.RegistrationParams(registrations))


def pull_configuration(session: Session) -> None:
    """Ask the client for the settings, where it can be asked."""
    if not session.client.configuration:
        return

    answered = session.expect_configuration()

    def take(result: Any, error: RequestFailed | None) -> None:
        if error is None and isinstance(result, list) and result:
            session.configure(configuration=result[0] if result[0] is not None else {})
        answered()

    from lsprotocol import types as lsp

    items = [lsp.ConfigurationItem(section="dlm")]
    session.request("workspace/configuration", lsp.ConfigurationParams(items), take)
