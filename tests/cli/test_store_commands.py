"""`dlm show`, `versions`, `rollback` and `gc` on a real store, and on a damaged one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.tiny import document_text, write_base

from dlm_engine.cli.entry import main
from dlm_engine.document import read_document
from dlm_engine.store import Manifest, Store, TrainingRunSummary, Version, now, plan_purge


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.dlm"
    assert main(["-q", "init", str(path)]) == 0
    return path


@pytest.fixture
def store(path: Path, own_home: Path) -> Store:
    document, _ = read_document(path)
    assert document.frontmatter is not None
    return Store(own_home, document.frontmatter.dlm_id)


def add_version(store: Store, *, loss: float = 0.5, adapter: str | None = None) -> Version:
    """One more trained version, as small as a version can be."""
    if store.read_manifest() is None:
        store.write_manifest(Manifest(dlm_id=store.dlm_id, base_model="smollm2-135m"))
    manifest = store.read_manifest()
    assert manifest is not None
    with store.stage(adapter) as staging:
        (staging.path / "adapter_model.safetensors").write_bytes(b"x" * 2048)
        return staging.commit(
            TrainingRunSummary(
                run_id=manifest.next_run_id(),
                started_at=now(),
                ended_at=now(),
                adapter_version=staging.number,
                seed=42,
                steps=21,
                final_train_loss=loss,
                adapter_name=adapter,
            )
        )


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# nothing trained yet


def test_show_of_an_untrained_document(
    path: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "smollm2-135m" in said
    assert f"trained not yet: dlm train {path}" in said
    assert not own_home.exists()


def test_show_says_which_exports_are_in_the_store(
    path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    def exports() -> object:
        assert main(["show", str(path), "--json"]) == 0
        return json.loads(capsys.readouterr().out)["store"]["exports"]

    assert exports() == []
    add_version(store)
    assert exports() == []
    # Only the last two are finished.
    for name in ("tmp-1-0123abcd", ".previous-Q5_K_M", "half", "Q8_0", "Q4_K_M"):
        folder = store.root / "exports" / name
        folder.mkdir(parents=True)
        if name != "half":
            (folder / "export_manifest.json").write_text("{}")
    assert exports() == ["Q4_K_M", "Q8_0"]
    assert main(["show", str(path)]) == 0
    assert f"Q4_K_M, Q8_0, in {store.root}/exports" in capsys.readouterr().out


def test_show_says_how_the_vocabulary_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_base(tmp_path / "base")
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(base)), encoding="utf-8")
    assert main(["show", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["vocabulary"]
    # Its tokens are bytes, so the longest words are split most.
    assert facts["tokens_per_word"] > 4
    assert len(facts["most_split"]) <= 10
    assert facts["most_split"][0]["tokens"] >= facts["most_split"][-1]["tokens"] >= 3
    assert main(["show", str(path)]) == 0
    said = capsys.readouterr().out
    assert "split most" in said
    assert facts["remark"] in said


def test_the_vocabulary_is_of_what_is_taught_and_not_of_headers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_base(tmp_path / "base")
    path = tmp_path / "facts.dlm"
    triple = "\n::preference::\n### Prompt\nWhy now?\n### Chosen\nWell.\n### Rejected\nNope.\n"
    path.write_text(document_text(str(base), (("What is it?", "Fine."),)) + triple)
    assert main(["show", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["vocabulary"]
    assert facts["words"] == 8
    assert facts["most_split"][0]["word"] in ("Fine", "Nope", "Well", "What")
    path.write_text(document_text(str(base), (("What is it?", "x" * 100_000),)))
    assert main(["show", str(path)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) < 300


def test_the_vocabulary_is_looked_at_with_the_sources_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_base(tmp_path / "base")
    (tmp_path / "notes").mkdir()
    for name in ("a.md", "b.md"):
        (tmp_path / "notes" / name).write_text("Ebbestromsvarningsanlage\n" * 3)
    path = tmp_path / "facts.dlm"
    extra = "training:\n  sources:\n    - path: notes\n"
    path.write_text(document_text(str(base), extra=extra), encoding="utf-8")

    def shown() -> tuple[dict[str, int], list[dict[str, object]]]:
        assert main(["show", str(path), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)["vocabulary"]
        return facts["source_files"], facts["most_split"]

    files, split = shown()
    assert files == {"read": 2, "all": 2}
    assert split[0] == {"word": "Ebbestromsvarningsanlage", "tokens": 25, "times": 6}
    monkeypatch.setattr("dlm_engine.cli.vocabulary.MOST_READ", 100)
    files, split = shown()
    assert (files, split[0]["times"]) == ({"read": 1, "all": 2}, 3)
    assert main(["show", str(path)]) == 0
    assert "1 of 2 source files read" in capsys.readouterr().out


def test_the_vocabulary_of_a_base_on_the_hub_is_known_once_it_was_trained(
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DLM_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "facts.dlm"
    path.write_text(document_text("hf:some/model"), encoding="utf-8")

    def shown() -> str:
        assert main(["show", str(path)]) == 0
        return " ".join(capsys.readouterr().out.split())

    assert "vocabulary not known: which revision of the base is meant" in shown()
    store = Store(own_home, "01HZ4X7TGZM3J1A2B3C4D5E6F7")
    store.write_manifest(
        Manifest(
            dlm_id=store.dlm_id, base_model="hf:some/model", base_model_revision="0123456789abcdef"
        )
    )
    assert "vocabulary not known: the base is not on this machine yet" in shown()
    write_base(tmp_path / "cache" / "bases" / "some--model--0123456789ab")
    assert "tokens, " in shown()


def test_show_says_why_a_vocabulary_that_is_not_here_is_not_known(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DLM_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["show", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["vocabulary"] is None
    assert "not on this machine yet" in facts["vocabulary_unknown"]


def test_versions_of_an_untrained_document(
    path: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["versions", str(path)]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "",
        f"{path} has not been trained yet: dlm train {path}\n",
    )
    assert not own_home.exists()


@pytest.mark.parametrize(
    ("arguments", "code"), [(["rollback", "PATH", "1"], 1), (["gc", "PATH"], 0)]
)
def test_changing_nothing_creates_nothing(
    path: Path, own_home: Path, arguments: list[str], code: int
) -> None:
    assert main([a.replace("PATH", str(path)) for a in arguments]) == code
    assert not own_home.exists()


# a store with versions


def test_show_json(path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    add_version(store)
    capsys.readouterr()
    assert main(["show", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["sections"] == {"instruction": 1, "prose": 1}
    assert facts["questions"] == 2
    assert facts["training"] == {}
    assert facts["store"]["current"] == 1
    assert facts["store"]["last_run"]["steps"] == 21
    assert [v["number"] for v in facts["store"]["versions"]] == [1]


def test_show_lists_what_the_author_set(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that were written appear, also when they equal the default; others do not."""
    settings = "training:\n  adapters:\n    a: {lora_r: 8}\n    b: {}\n  gate: {enabled: true}\n"
    text = path.read_text().replace("---\n\n", f"{settings}---\n\n", 1)
    path.write_text(text)
    assert main(["show", str(path)]) == 0
    said = capsys.readouterr().out
    assert "training.adapters.a.lora_r  8" in said
    assert "training.adapters.b         as planned" in said
    assert "training.gate.enabled       true" in said
    assert "training.seed" not in said


def test_show_lists_what_sources_come_to(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = "training:\n  sources:\n    - path: src\n    - path: gone\n---\n\n"
    path.write_text(path.read_text().replace("---\n\n", sources, 1))
    folder = path.parent / "src"
    folder.mkdir()
    (folder / "a.md").write_text("text")
    (folder / ".env").write_text("A=1")
    (folder / "b").write_bytes(b"\0")
    assert main(["show", str(path)]) == 0
    said = capsys.readouterr().out
    assert "1 files, 4 bytes; left out: 1 secret, 1 binary" in said
    assert ".env: secret" in said
    assert "cannot be used: there is nothing at gone" in said
    assert main(["show", str(path), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["sources"]
    assert [taken["path"] for taken in first["taken"]] == ["a.md"]
    assert first["reasons"] == {"secret": 1, "binary": 1}
    assert {left["path"]: left["reason"] for left in first["left_out"]} == {
        ".env": "secret",
        "b": "binary",
    }
    assert second["problem"] == "there is nothing at gone"


def test_versions_lists_all_and_marks_the_current_one(
    path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    add_version(store, loss=0.5)
    add_version(store, loss=0.25)
    with store.stage() as staging:
        (staging.path / "adapter_model.safetensors").write_bytes(b"x")
        staging.reject("numbers that are not finite")
    assert main(["versions", str(path)]) == 0
    header, first, second, rejected = capsys.readouterr().out.splitlines()
    assert header.split() == ["version", "when", "steps", "loss", "size", "state"]
    assert first.startswith("   1 ")
    assert "0.500" in first
    assert second.startswith("*  2 ")
    assert "0.250" in second
    assert rejected.endswith("rejected: numbers that are not finite")


def test_rollback(path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    add_version(store)
    add_version(store)
    assert main(["rollback", str(path), "1"]) == 0
    current = store.current()
    assert current is not None
    assert current.number == 1
    assert [v.number for v in store.versions()] == [1, 2]
    assert main(["rollback", str(path), "1"]) == 0
    assert capsys.readouterr().err == (
        f"{path}: version 1 is current now; no version was deleted\n"
        f"{path}: version 1 is current already\n"
    )


def test_rollback_of_an_untrained_document(
    path: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", str(path), "1"]) == 1
    assert f"error: {path}: has not been trained yet" in capsys.readouterr().err
    assert not own_home.exists()


def test_rollback_to_what_is_not_there(
    path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    add_version(store)
    before = tree(store.root)
    assert main(["rollback", str(path), "7"]) == 1
    assert capsys.readouterr().err == ("error: version 7: does not exist: complete versions: 1\n")
    assert tree(store.root / "adapter") == {k: v for k, v in before.items() if "/adapter/" in k}


def test_gc_dry_run_deletes_nothing(
    path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        add_version(store)
    before = tree(store.root)
    assert main(["gc", str(path), "--keep", "1", "--dry-run"]) == 0
    assert tree(store.root) == before
    captured = capsys.readouterr()
    assert captured.out.count("old version") == 2
    assert f"{path}: would free " in captured.err


def test_gc_keeps_the_newest_and_the_current(
    path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(4):
        add_version(store)
    assert main(["rollback", str(path), "2"]) == 0
    assert main(["gc", str(path), "--keep", "1", "--json"]) == 0
    assert [v.number for v in store.versions()] == [2, 4]
    facts = json.loads(capsys.readouterr().out)
    assert facts["dry_run"] is False
    assert [Path(i["path"]).name for i in facts["items"]] == ["v0001", "v0003"]


@pytest.mark.parametrize("arguments", [["show"], ["versions"], ["versions", "--json"]])
def test_looking_changes_nothing(path: Path, store: Store, arguments: list[str]) -> None:
    add_version(store)
    before = tree(store.root)
    assert main([*arguments, str(path)]) == 0
    assert tree(store.root) == before


# trouble


@pytest.mark.parametrize("command", ["show", "versions", "gc"])
@pytest.mark.parametrize("manifest", [b"{", b"[]", b"\xff", b'{"schema_version": 99}'])
def test_a_damaged_manifest_is_one_line(
    path: Path,
    store: Store,
    command: str,
    manifest: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_version(store)
    (store.root / "manifest.json").write_bytes(manifest)
    assert main([command, str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"error: {store.root / 'manifest.json'}: ")


@pytest.mark.parametrize("command", ["show", "versions", "rollback", "gc", "prompt", "export"])
def test_a_document_without_valid_settings_is_one_line_with_its_place(
    path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text("---\ndlm_id: nonsense\nbase_model: smollm2-135m\n---\n\nx\n")
    extra = {"rollback": ["1"], "prompt": ["Who?"]}.get(command, [])
    assert main([command, str(path), *extra]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}:2:")
    assert "dlm check" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "versions", "rollback", "gc", "prompt", "export"])
def test_a_missing_document_is_one_line(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone[1].dlm"
    extra = {"rollback": ["1"], "prompt": ["Who?"]}.get(command, [])
    assert main([command, str(gone), *extra]) == 1
    assert capsys.readouterr().err == (
        f"error: {gone}: does not exist: create it with `dlm init {gone}`\n"
    )


# named adapters


@pytest.fixture
def named(path: Path, store: Store) -> Store:
    """Two versions of `tone`, one of `facts`."""
    text = path.read_text().replace(
        "---\n\n", "training:\n  adapters: {tone: {}, facts: {}}\n---\n\n", 1
    )
    path.write_text(text + "\n::instruction#tone::\n### Q\nHow?\n### A\nSo.\n")
    for adapter in ("tone", "facts", "tone"):
        add_version(store, adapter=adapter)
    return store


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "gate not of these versions: dlm train makes it"),
        ({"mode": "trained", "adapter_versions": {"tone": 2, "facts": 1}}, "gate trained"),
        ({"mode": "uniform", "adapter_versions": {"tone": 2, "facts": 1}}, "gate every adapter"),
        ({"mode": "trained", "adapter_versions": {"tone": 1, "facts": 1}}, "gate not of these"),
    ],
)
def test_show_says_whether_the_gate_is_trained(
    path: Path,
    named: Store,
    config: dict[str, object] | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path.write_text(path.read_text().replace("facts: {}}", "facts: {}}\n  gate: {enabled: true}"))
    if config:
        folder = named.root / "adapter" / "_gate"
        folder.mkdir()
        (folder / "gate_config.json").write_text(json.dumps(config))
    assert main(["show", str(path)]) == 0
    assert said in " ".join(capsys.readouterr().out.split())


def test_an_adapter_that_is_no_longer_declared_takes_no_gate_away(
    path: Path, named: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(path.read_text().replace("facts: {}}", "facts: {}}\n  gate: {enabled: true}"))
    add_version(named, adapter="renamed")
    folder = named.root / "adapter" / "_gate"
    folder.mkdir()
    config = {"mode": "trained", "adapter_versions": {"tone": 2, "facts": 1}}
    (folder / "gate_config.json").write_text(json.dumps(config))
    assert main(["show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["store"]["gate"] == "trained"
    assert folder not in [item.path for item in plan_purge(named, ["a"]).items]
    path.write_text(path.read_text().replace("facts: {}}", "facts: {}, renamed: {}}"))
    assert main(["show", str(path)]) == 0
    assert "gate not of these versions" in " ".join(capsys.readouterr().out.split())


def test_versions_of_one_adapter(
    path: Path, named: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for adapter, numbers in (("tone", [1, 2]), ("facts", [1])):
        assert main(["versions", str(path), "--adapter", adapter, "--json"]) == 0
        listed = json.loads(capsys.readouterr().out)["versions"]
        assert [(v["adapter"], v["number"]) for v in listed] == [(adapter, n) for n in numbers]


def test_rollback_of_one_adapter_leaves_the_other(
    path: Path, named: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", str(path), "1"]) == 2
    assert "the document has the adapters tone, facts" in capsys.readouterr().err
    assert main(["rollback", str(path), "1", "--adapter", "tone"]) == 0
    assert "version 1 of tone is current now" in capsys.readouterr().err
    manifest = named.read_manifest()
    assert manifest is not None
    assert manifest.adapter_versions == {"facts": 1, "tone": 1}


def test_gc_of_one_adapter(path: Path, named: Store) -> None:
    add_version(named, adapter="facts")
    assert main(["gc", str(path), "--keep", "1", "--adapter", "tone"]) == 0
    assert [v.number for v in named.versions("tone")] == [2]
    assert [v.number for v in named.versions("facts")] == [1, 2]


def test_show_says_what_is_current_of_each_and_what_one_learns(
    path: Path, named: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["store"]["current_by_adapter"] == {"tone": 2, "facts": 1}
    assert main(["show", str(path), "--adapter", "facts", "--json"]) == 0
    part = json.loads(capsys.readouterr().out)
    assert part["questions"] == 0
    assert part["store"]["current_by_adapter"] == {"facts": 1}
    assert main(["show", str(path)]) == 0
    assert "adapter tone" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["versions", "show", "gc"])
def test_an_undeclared_adapter_is_refused(
    command: str, path: Path, named: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(path), "--adapter", "other"]) == 2
    assert "choose of: tone, facts" in capsys.readouterr().err


def test_an_undeclared_adapter_is_refused_of_an_untrained_document(path: Path) -> None:
    assert main(["versions", str(path), "--adapter", "other"]) == 2
