"""Documents that are not open are reported as `dlm check` reports them, each once it changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.server.harness import GOOD, ID, Client, Json, RemoteError, codes, insertion

from dlm_engine.checks import CODES
from dlm_engine.document import LiveDocument
from dlm_server import closed
from dlm_server.dispatch import REQUEST_CANCELLED
from dlm_server.to_proto import uri_of

ABLE: Json = {
    "textDocument": {"diagnostic": {}},
    "workspace": {"didChangeWatchedFiles": {"dynamicRegistration": True}},
}
OTHER = GOOD.replace(ID, "01KPQ9M3000000000000000001")
FILES = {
    "good.dlm": OTHER.replace("0001", "0002") + "Words.\n",
    "typo.dlm": OTHER.replace("0001", "0003") + "::instrction::\n### Q\n😀\n### A\nb\n",
    "copy.dlm": OTHER,
    "deep/copy.dlm": OTHER + '::image path="a.png" alt="x"::\n',
    "deep/.dlm/hidden.dlm": "no settings\n",
    "base.dlm": GOOD.replace("smollm2-135m", "./nowhere"),
}
LEFT_OUT = (".git/a.dlm", "node_modules/b.dlm", "env/lib/c.dlm", "__pycache__/d.dlm", "e.txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in LEFT_OUT:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("::instrction::\n")
    (tmp_path / "env" / "pyvenv.cfg").touch()
    return tmp_path


def start(client: Client, folder: Path, able: Json = ABLE) -> None:
    result = client.initialize(able, workspaceFolders=[{"uri": uri_of(folder), "name": "w"}])
    assert result["capabilities"]["diagnosticProvider"]["workspaceDiagnostics"]
    if able is ABLE:
        client.reply(client.expect_message("client/registerCapability"))


def asked(client: Client, *known: Json, **more: object) -> dict[str, Json]:
    """The reports by URI; `known` are earlier ones."""
    previous = [{"uri": k["uri"], "value": k["resultId"]} for k in known if "resultId" in k]
    found = client.request("workspace/diagnostic", {"previousResultIds": previous, **more})
    items: list[Json] = found["items"]
    assert len({item["uri"] for item in items}) == len(items)
    return {item["uri"]: item for item in items}


def test_the_verdict_is_that_of_dlm_check(client: Client, folder: Path) -> None:
    (folder / "bytes.dlm").write_bytes(b"\xff\x00")
    start(client, folder)
    found = asked(client)
    assert set(found) == {uri_of(folder / name) for name in [*FILES, "bytes.dlm"]}
    command = [sys.executable, "-m", "dlm_engine", "check", "--json", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    checked = {r["path"]: r for r in json.loads(done.stdout)["files"]}
    for name in FILES:
        ours = [
            (i["severity"] == 1, i["code"], i["message"])
            for i in found[uri_of(folder / name)]["items"]
        ]
        theirs = [
            (d["severity"] == "error", d["code"], d["message"])
            for d in checked[name]["diagnostics"]
        ]

        # Another file's name is said from here, not from where `dlm check` was started.
        def words(rows: list[Any]) -> list[Any]:
            return sorted(r if r[1] != "id-duplicate" else r[:2] for r in rows)

        assert words(ours) == words(theirs), name
    (item,) = found[uri_of(folder / "bytes.dlm")]["items"]
    assert (item["severity"], item["code"]) == (1, "file-unreadable")
    assert item["message"] == checked["bytes.dlm"]["unreadable"]


def test_what_has_not_changed_is_not_said_or_read_again(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(client, folder)
    first = asked(client)
    read: list[str] = []
    original = LiveDocument.open

    def counted(text: str) -> LiveDocument:
        read.append(text)
        return original(text)

    monkeypatch.setattr(closed, "LiveDocument", SimpleNamespace(open=counted))
    second = asked(client, *first.values())
    assert {item["kind"] for item in second.values()} == {"unchanged"}
    # A base in a folder is looked at each time.
    assert read == [FILES["base.dlm"]]
    # A text, a file beside one, and an id that is not shared any more.
    (folder / "typo.dlm").write_text(FILES["typo.dlm"].replace("instrction", "instruction"))
    (folder / "deep" / "a.png").touch()
    (folder / "copy.dlm").unlink()
    gone = [uri_of(folder / name) for name in ("typo.dlm", "deep/a.png", "copy.dlm")]
    changes = [{"uri": uri, "type": 2} for uri in gone]
    client.notify("workspace/didChangeWatchedFiles", {"changes": changes})
    client.settled()
    third = asked(client, *first.values())
    changed = {Path(uri).name for uri, item in third.items() if item["kind"] == "full"}
    assert changed == {"typo.dlm", "copy.dlm"}
    assert "fence-unknown" not in codes(third[uri_of(folder / "typo.dlm")]["items"])
    assert third[uri_of(folder / "copy.dlm")]["items"] == []
    assert codes(third[uri_of(folder / "deep/copy.dlm")]["items"]) == ["section-refused"]


def test_an_open_document_counts_as_it_is_in_the_editor(client: Client, folder: Path) -> None:
    start(client, folder)
    uri = uri_of(folder / "typo.dlm")
    client.open(uri, FILES["typo.dlm"], 4)
    client.change(uri, 5, insertion(5, 7, "u"))
    item = asked(client)[uri]
    assert (item["version"], codes(item["items"])) == (5, [])
    client.close(uri)
    client.settled()
    item = asked(client, item)[uri]
    assert (item["version"], codes(item["items"])) == (None, ["fence-unknown"])


def test_a_document_from_elsewhere_is_not_the_workspaces(client: Client, folder: Path) -> None:
    start(client, folder / "deep")
    for name in ("good.dlm", "node_modules/b.dlm"):
        client.open(uri_of(folder / name), GOOD)
        client.close(uri_of(folder / name))
    client.settled()
    inside = ("deep/copy.dlm", "deep/.dlm/hidden.dlm")
    assert set(asked(client)) == {uri_of(folder / name) for name in inside}


def test_without_watched_files_the_folders_are_looked_through_each_time(
    client: Client, folder: Path
) -> None:
    start(client, folder, {"textDocument": {"diagnostic": {}}})
    before = asked(client)
    (folder / "new.dlm").write_text("x")
    assert set(asked(client)) - set(before) == {uri_of(folder / "new.dlm")}


def test_parts_for_clients_that_take_them(client: Client, tmp_path: Path) -> None:
    for number in range(120):
        (tmp_path / f"{number}.dlm").write_text("x")
    start(client, tmp_path)
    result = client.request(
        "workspace/diagnostic", {"previousResultIds": [], "partialResultToken": "p"}
    )
    parts = [client.expect("$/progress", token="p")["value"]["items"] for _ in range(2)]
    assert [len(part) for part in (*parts, result["items"])] == [50, 50, 20]
    uris = {item["uri"] for part in (*parts, result["items"]) for item in part}
    assert len(uris) == 120


def test_a_cancelled_question_reads_no_further(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(client, folder)
    read: list[Path] = []
    original = closed.ClosedFiles.report

    def cancelling(self: closed.ClosedFiles, path: Path, around: closed.Around) -> Any:
        read.append(path)
        client.notify("$/cancelRequest", {"id": "this"})
        with pytest.raises(RemoteError) as caught:
            client.answer("this")
        assert caught.value.code == REQUEST_CANCELLED
        ended.append(True)
        return original(self, path, around)

    ended: list[bool] = []
    monkeypatch.setattr(closed.ClosedFiles, "report", cancelling)
    client.ask("workspace/diagnostic", {"previousResultIds": []}, "this")
    # The server answers other questions meanwhile.
    client.settled()
    client.settled()
    while not ended:
        client.settled()
    client.settled()
    assert len(read) == 1


def test_of_a_large_file_only_its_size_is_told(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed, "LARGEST", 100)
    monkeypatch.setattr(closed, "LiveDocument", None)
    (tmp_path / "a.dlm").write_text("x" * 101)
    report = closed.ClosedFiles().report(tmp_path / "a.dlm", closed.Around.of(*_nothing()))
    assert report is not None
    assert codes(report.items) == ["document-large"]
    assert report.items[0]["severity"] == 3
    assert CODES["document-large"].severity == "information"
    client.initialize()


def _nothing() -> tuple[Any, Any, Any]:
    from dlm_server.capabilities import ClientFeatures
    from dlm_server.settings import Settings

    return Settings(), ClientFeatures(), ()
