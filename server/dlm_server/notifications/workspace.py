"""What changes around the documents: settings, folders, files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlm_server.dispatch import notification
from dlm_server.from_proto import path_of
from dlm_server.lifecycle import pull_configuration
from dlm_server.session import Session

if TYPE_CHECKING:
    from lsprotocol import types as lsp


@notification("workspace/didChangeConfiguration")
def did_change_configuration(session: Session, params: lsp.DidChangeConfigurationParams) -> None:
    """Newer clients send nothing and want to be asked; older ones send the settings."""
    if session.client.configuration:
        pull_configuration(session)
    elif params.settings is not None:
        session.configure(configuration=params.settings)


@notification("workspace/didChangeWorkspaceFolders")
def did_change_folders(session: Session, params: lsp.DidChangeWorkspaceFoldersParams) -> None:
    gone = {path_of(f.uri) for f in params.event.removed}
    come = [path_of(f.uri) for f in params.event.added]
    kept = [f for f in session.folders if f not in gone]
    session.folders = tuple(dict.fromkeys([*kept, *(p for p in come if p is not None)]))
    session.index.scan(session.folders)


@notification("workspace/didChangeWatchedFiles")
def did_change_watched_files(session: Session, params: lsp.DidChangeWatchedFilesParams) -> None:
    paths = [p for c in params.changes if (p := path_of(c.uri)) is not None]
    session.index.look_at([p for p in paths if p.suffix == ".dlm"])
    opened = {document.path for document in session.documents}
    if any(p.suffix == ".dlm" and p not in opened for p in paths):
        session.refresh("diagnostics")
    if any(p.suffix != ".dlm" for p in paths):
        session.publisher.surroundings_changed()
