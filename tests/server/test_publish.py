"""Problems are published once, for the right version, and taken back; or fetched instead."""

from __future__ import annotations

from pathlib import Path

from tests.server.harness import GOOD, ID, Client, Json, codes, insertion
from tests.server.test_protocol import arrived, held

from dlm_server.to_proto import uri_of

URI = "file:///w/a.dlm"
PULL: Json = {"textDocument": {"diagnostic": {}}}
BAD = GOOD + "::instrction::\n"


def test_open_change_save_close(client: Client) -> None:
    client.initialize()
    client.open(URI, BAD, 7)
    assert "fence-unknown" in codes(client.published(URI, 7))
    client.change(URI, 9, insertion(5, 7, "u"))
    assert "fence-unknown" not in codes(client.published(URI, 9))
    client.notify("textDocument/didSave", {"textDocument": {"uri": URI}})
    client.settled()
    client.close(URI)
    assert client.published(URI) == []


def test_a_document_without_problems_is_published_as_such(client: Client) -> None:
    client.initialize()
    client.open(URI, GOOD + "Some words.\n", 1)
    assert client.published(URI, 1) == []


def test_a_burst_is_published_once_with_the_last_version(client: Client) -> None:
    client.initialize()
    client.open(URI, BAD, 1)
    client.published(URI, 1)
    go = held(client)
    for version in range(2, 52):
        client.change(URI, version, insertion(5, 0, "x"))
    arrived(client, go)
    client.published(URI, 51)
    client.settled()


def test_with_a_debounce_nothing_is_published_before_typing_rests(client: Client) -> None:
    client.initialize(options={"diagnostics": {"debounceMilliseconds": 60}})
    client.open(URI, BAD, 1)
    client.published(URI, 1)
    for version in range(2, 8):
        client.change(URI, version, insertion(5, 0, "x"))
    client.settled()
    client.published(URI, 7)


def test_closing_cancels_what_waits(client: Client) -> None:
    client.initialize(options={"diagnostics": {"debounceMilliseconds": 60}})
    client.open(URI, BAD, 1)
    client.published(URI, 1)
    client.change(URI, 2, insertion(5, 0, "x"))
    client.close(URI)
    assert client.published(URI) == []
    client.open(URI, BAD, 1)
    assert "fence-unknown" in codes(client.published(URI, 1))


def test_pulled_diagnostics_are_never_pushed_and_say_unchanged(client: Client) -> None:
    result = client.initialize(PULL)
    assert result["capabilities"]["diagnosticProvider"]["workspaceDiagnostics"]
    client.open(URI, BAD, 1)
    document = {"textDocument": {"uri": URI}}
    first = client.request("textDocument/diagnostic", document)
    assert "fence-unknown" in codes(first["items"])
    again = {**document, "previousResultId": first["resultId"]}
    second = client.request("textDocument/diagnostic", again)
    assert second == {"kind": "unchanged", "resultId": first["resultId"]}
    previous = [{"uri": URI, "value": first["resultId"]}]
    all_ = client.request("workspace/diagnostic", {"previousResultIds": previous})
    assert [(i["uri"], i["version"], i["kind"]) for i in all_["items"]] == [(URI, 1, "unchanged")]
    client.change(URI, 2, insertion(5, 7, "u"))
    third = client.request("textDocument/diagnostic", again)
    assert "fence-unknown" not in codes(third["items"])
    all_ = client.request("workspace/diagnostic", {"previousResultIds": previous})
    assert all_["items"][0]["items"] == third["items"]
    client.close(URI)
    client.settled()


def test_push_and_pull_say_the_same(client: Client) -> None:
    client.initialize(PULL)
    client.open(URI, BAD, 1)
    pulled = client.request("textDocument/diagnostic", {"textDocument": {"uri": URI}})["items"]
    other = Client()
    other.initialize()
    other.open(URI, BAD, 1)
    assert other.published(URI, 1) == pulled
    other.close(URI)
    assert other.published(URI) == []
    other.finish()


def test_what_a_client_can_show_is_sent(client: Client) -> None:
    able = {"dataSupport": True, "tagSupport": {"valueSet": [1]}}
    client.initialize({"textDocument": {"publishDiagnostics": able}})
    client.open(URI, GOOD + "::instrction::\n\n::prose::\n", 1)
    items = client.published(URI, 1)
    unknown = next(i for i in items if i["code"] == "fence-unknown")
    assert unknown["source"] == "dlm"
    assert unknown["severity"] == 1
    assert unknown["data"]["edits"] == [{"range": unknown["range"], "newText": "instruction"}]
    assert unknown["data"]["version"] == 1
    assert next(i["tags"] for i in items if i["code"] == "section-empty") == [1]


def test_secrets_are_not_reported_when_nobody_wants_them(client: Client) -> None:
    secret = GOOD + "token ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8\n"
    client.initialize(options={"diagnostics": {"debounceMilliseconds": 0}}, settings=None)
    client.open(URI, secret, 1)
    assert codes(client.published(URI, 1)) == ["secret"]
    settings = {"dlm": {"diagnostics": {"secrets": False}}}
    client.notify("workspace/didChangeConfiguration", {"settings": settings})
    assert client.published(URI, 1) == []


def test_more_problems_than_anyone_reads_are_counted(client: Client) -> None:
    client.initialize()
    client.open(URI, GOOD + "::instrction::\n\n" * 1500, 1)
    items = client.published(URI, 1)
    assert len(items) == 1000
    assert items[-1]["message"].startswith("2")
    assert all(i["code"] == "fence-unknown" for i in items[:-1])


def test_two_documents_with_one_id_know_of_each_other(client: Client, tmp_path: Path) -> None:
    able = {"textDocument": {"publishDiagnostics": {"relatedInformation": True}}}
    (tmp_path / "copy.dlm").write_text(GOOD)
    (tmp_path / "other.dlm").write_text(GOOD.replace(ID, "01KPQ9M3000000000000000001"))
    folder = {"uri": uri_of(tmp_path), "name": "w"}
    client.initialize(able, workspaceFolders=[folder])
    assert client.server.session.index.scanned.wait(20)
    uri = uri_of(tmp_path / "a.dlm")
    client.open(uri, GOOD, 1)
    items = client.published(uri, 1)
    assert codes(items) == ["id-duplicate"]
    related = items[0]["relatedInformation"][0]["location"]["uri"]
    assert related == uri_of(tmp_path / "copy.dlm")
    (tmp_path / "copy.dlm").unlink()
    event = {"uri": uri_of(tmp_path / "copy.dlm"), "type": 3}
    client.notify("workspace/didChangeWatchedFiles", {"changes": [event]})
    assert client.published(uri, 1) == []
    changed = {"added": [], "removed": [folder]}
    client.notify("workspace/didChangeWorkspaceFolders", {"event": changed})
    client.settled()
    assert client.server.session.folders == ()


WATCHES: Json = {
    "workspace": {
        "didChangeWatchedFiles": {"dynamicRegistration": True, "relativePatternSupport": True}
    }
}
SOURCE = GOOD[:-4] + "training:\n  sources:\n    - path: ../code\n---\n"


def test_a_source_that_comes_ends_its_problem_as_the_client_watches_it(
    client: Client, tmp_path: Path
) -> None:
    client.initialize(WATCHES)
    client.reply(client.expect_message("client/registerCapability"))
    folder, code = tmp_path / "notes", tmp_path / "code"
    folder.mkdir()
    uri = uri_of(folder / "a.dlm")
    client.open(uri, SOURCE, 1)
    assert "source-missing" in codes(client.published(uri, 1))
    asked = client.expect_message("client/registerCapability")
    client.reply(asked)
    [registration] = asked["params"]["registrations"]
    [watcher] = registration["registerOptions"]["watchers"]
    assert watcher["globPattern"] == {"baseUri": uri_of(tmp_path), "pattern": "code"}
    code.mkdir()
    event = {"uri": uri_of(code), "type": 1}
    client.notify("workspace/didChangeWatchedFiles", {"changes": [event]})
    assert "source-missing" not in codes(client.published(uri, 1))
    client.close(uri)
    assert client.published(uri) == []
    gone = client.expect_message("client/unregisterCapability")
    client.reply(gone)
    assert gone["params"]["unregisterations"][0]["id"] == registration["id"]


def test_a_save_has_the_client_ask_again_for_a_document_with_sources(client: Client) -> None:
    able = {**PULL, "workspace": {"diagnostics": {"refreshSupport": True}}}
    client.initialize(able)
    for uri, text in ((URI, SOURCE), ("file:///w/b.dlm", GOOD.replace(ID, ID[:-1] + "1"))):
        client.open(uri, text, 1)
        client.notify("textDocument/didSave", {"textDocument": {"uri": uri}})
    client.reply(client.expect_message("workspace/diagnostic/refresh"))
    client.settled()


def test_a_file_that_comes_beside_the_document_ends_its_problem(
    client: Client, tmp_path: Path
) -> None:
    client.initialize()
    uri = uri_of(tmp_path / "a.dlm")
    client.open(uri, GOOD + '::image path="a.png" alt="x"::\n', 1)
    assert "media-missing" in codes(client.published(uri, 1))
    (tmp_path / "a.png").write_bytes(b"")
    event = {"uri": uri_of(tmp_path / "a.png"), "type": 1}
    client.notify("workspace/didChangeWatchedFiles", {"changes": [event]})
    assert "media-missing" not in codes(client.published(uri, 1))
