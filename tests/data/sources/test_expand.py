"""Which files a source takes, and that no path, link or name leads round the rules."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.data.sources.tree import expanded, left_out, taken, training, write

from dlm_engine.data.sources import KnownFile, Reason, expand, summary
from dlm_engine.data.sources.expansion import read_source
from dlm_engine.errors import TrainingError

KEY = "AKIA" + "QX7Z2M5N3P4R6S2T"


def test_files_come_in_the_order_of_their_paths_with_their_text(tmp_path: Path) -> None:
    write(tmp_path / "src", {"b.txt": "B", "a/z.txt": "Z", "a.txt": "A", "a-b/c": "C", ".hid": "H"})
    found = expanded(tmp_path, {"path": "src"})
    assert taken(found) == [".hid", "a/z.txt", "a-b/c", "a.txt", "b.txt"]
    assert [file.text for file in found.files] == ["H", "Z", "C", "A", "B"]
    assert expanded(tmp_path, {"path": "src"}).found == found.found


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ({}, ["a.md", "old/b.md", "old/c.txt", "x/d.md"]),
        ({"include": ["*"]}, ["a.md"]),
        ({"include": ["**/*.md"]}, ["a.md", "old/b.md", "x/d.md"]),
        ({"include": ["old/*", "x/**"]}, ["old/b.md", "old/c.txt", "x/d.md"]),
        ({"exclude": ["old"]}, ["a.md", "x/d.md"]),
        ({"exclude": ["**/*.md"]}, ["old/c.txt"]),
        ({"include": ["**/*.md"], "exclude": ["old/**"]}, ["a.md", "x/d.md"]),
        ({"max_files": 2}, ["a.md", "old/b.md"]),
        ({"max_bytes_per_file": 3}, ["a.md", "x/d.md"]),
    ],
)
def test_directives(tmp_path: Path, source: dict[str, object], names: list[str]) -> None:
    files: dict[str, str | bytes] = {"a.md": "one", "x/d.md": "two"}
    write(tmp_path / "s", {**files, "old/b.md": "three", "old/c.txt": "seven"})
    assert taken(expanded(tmp_path, {"path": "s", **source})) == names


def test_a_source_may_be_one_file_which_the_defaults_do_not_concern(tmp_path: Path) -> None:
    write(tmp_path, {"Cargo.lock": "text", "b": "B"})
    assert taken(expanded(tmp_path, {"path": "Cargo.lock"})) == ["Cargo.lock"]
    assert taken(expanded(tmp_path, {"path": "b", "include": ["*.md"]})) == []


SECRETS = [
    ".env",
    ".ENV",
    ".env.local",
    "prod.env",
    ".envrc",
    "id_rsa",
    "id_ed25519.bak",
    "server.pem",
    "tls.KEY",
    "a.p12",
    ".npmrc",
    ".netrc",
    ".pypirc",
    ".git-credentials",
    "secrets.yaml",
    "credentials.json",
    "terraform.tfstate",
    ".ssh/config",
    ".aws/credentials",
    ".gnupg/x",
    ".kube/config",
]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("above", ["", "deep/er/"])
def test_secrets_are_denied_at_any_depth_and_nothing_takes_them_back(
    tmp_path: Path, name: str, above: str
) -> None:
    write(
        tmp_path / "s",
        {
            above + name: "text",
            "ok.md": "ok",
            ".dlm/ignore": f"!{name}\n!**\n!.ssh/\n",
            ".dlm/training.yaml": f"include: ['**/*', '**/{name}']\nexclude_defaults: false\n",
        },
    )
    found = expanded(tmp_path, {"path": "s", "include": ["**/*", name]})
    assert taken(found) == ["ok.md"]
    assert list(left_out(found).values()) == ["secret"]
    assert expanded(tmp_path, {"path": f"s/{above}{name}"}).problem is not None


@pytest.mark.parametrize("name", ["secrets.py", "environment.md", "keys.md", "secrets/notes.md"])
def test_names_that_only_look_alike_are_taken(tmp_path: Path, name: str) -> None:
    write(tmp_path / "s", {name: "text"})
    assert taken(expanded(tmp_path, {"path": "s"})) == [name]


def test_a_file_that_holds_a_secret_is_denied_with_its_line_and_without_the_secret(
    tmp_path: Path,
) -> None:
    write(tmp_path / "s", {"a.py": f"x = 1\nkey = '{KEY}'\n", "b.py": "y = 2\n"})
    found = expanded(tmp_path, {"path": "s"})
    (left,) = found.found[0].left_out
    assert (left.path, left.reason) == ("a.py", Reason.SECRET)
    assert left.detail.startswith("line 2: it looks like an AWS access key")
    assert KEY not in left.detail
    assert summary(found) == "sources: 1 file, 0.0 KiB; left out 1: 1 secret (a.py)"


def test_what_no_text_is(tmp_path: Path) -> None:
    write(
        tmp_path / "s",
        {
            "nul": b"text\0more",
            "late-nul": b"x" * 100_000 + b"\0",
            "latin": "café".encode("latin-1"),
            "utf16": "text".encode("utf-16"),
            "empty": "",
            "blank": " \n\t\n",
            "bom": b"\xef\xbb\xbfone\r\ntwo\rthree",
        },
    )
    os.mkfifo(tmp_path / "s" / "pipe")
    found = expanded(tmp_path, {"path": "s"})
    assert [(f.label, f.text) for f in found.files] == [("bom", "one\ntwo\nthree")]
    assert left_out(found) == {
        "nul": "binary",
        "late-nul": "binary",
        "latin": "not UTF-8",
        "utf16": "binary",
        "empty": "empty",
        "blank": "empty",
        "pipe": "no regular file",
    }


def test_links_are_never_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"private.txt": "private", "d/e.txt": "private"})
    root = write(tmp_path / "s", {"real.txt": "real", "sub/in.txt": "inside"})
    (root / "link.txt").symlink_to(outside / "private.txt")
    (root / "linked").symlink_to(outside, target_is_directory=True)
    (root / "again.txt").symlink_to(root / "real.txt")
    (root / "sub" / "loop").symlink_to(root, target_is_directory=True)
    (root / "dangling").symlink_to("nowhere")
    found = expanded(tmp_path, {"path": "s"})
    assert taken(found) == ["real.txt", "sub/in.txt"]
    assert set(left_out(found).values()) == {"link"}
    assert len(left_out(found)) == 5


def test_rules_behind_a_link_are_neither_followed_nor_ignored(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", {"ignore": "!build/\n"})
    root = write(tmp_path / "s", {"build/x": "x", "a": "a"})
    (root / ".dlm").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    problem = expanded(tmp_path, {"path": "s"}).problem
    assert problem is not None
    assert "is a link" in problem.what


def test_a_link_put_in_the_place_of_a_folder_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is swapped after it was met and before it is listed."""
    import dlm_engine.data.sources.expansion as module

    write(tmp_path, {"outside/deep/private.txt": "private", "s/sub/deep/a.txt": "a"})
    contents = module._contents

    def swapped(folder: str, judged: os.stat_result) -> object:
        if folder.endswith("deep"):
            (tmp_path / "s" / "sub").rename(tmp_path / "away")
            (tmp_path / "s" / "sub").symlink_to(tmp_path / "outside", target_is_directory=True)
        return contents(folder, judged)

    monkeypatch.setattr(module, "_contents", swapped)
    assert left_out(expanded(tmp_path, {"path": "s"})) == {"sub/deep/": "unreadable"}


def test_a_link_put_in_the_place_of_a_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is swapped after it was judged by its name and before it is opened."""
    write(tmp_path, {"outside.txt": "ab", "s/a.txt": "xy"})
    victim = tmp_path / "s" / "a.txt"
    import dlm_engine.data.sources.expansion as module

    read = module._read

    def swapped(path: Path, *rest: object) -> bytes | None:
        victim.unlink()
        os.link(tmp_path / "outside.txt", victim)
        return read(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_read", swapped)
    assert left_out(expanded(tmp_path, {"path": "s"})) == {"a.txt": "unreadable"}


@pytest.mark.parametrize(
    ("policy", "path", "kind"),
    [
        ("strict", "../out", "denied"),
        ("strict", "alias", "denied"),
        ("permissive", "../out", None),
        ("permissive", "alias", None),
        ("strict", "in", None),
        ("strict", ".", None),
        ("permissive", "nothing", "missing"),
        ("permissive", "in/a.txt/x", "missing"),
        ("permissive", "x" * 5000, "missing"),
        ("permissive", "a\0b", "missing"),
        ("permissive", "~nobody-of-that-name/x", "missing"),
        ("permissive", "/", "denied"),
    ],
)
def test_where_a_source_may_lie(tmp_path: Path, policy: str, path: str, kind: str | None) -> None:
    write(tmp_path, {"out/a.txt": "a", "doc/in/a.txt": "a"})
    (tmp_path / "doc" / "alias").symlink_to(tmp_path / "out", target_is_directory=True)
    found = expanded(tmp_path / "doc", {"path": path}, policy=policy)
    problem = found.problem
    assert (problem and problem.kind) == kind
    assert taken(found) == ([] if kind else ["in/a.txt"] if path == "." else ["a.txt"])


def test_a_document_in_a_dlm_folder_starts_from_above_it_and_never_learns_itself(
    tmp_path: Path,
) -> None:
    write(tmp_path, {"a.txt": "a", ".dlm/notes.dlm": "x", "copy/notes.dlm": "other"})
    found = expanded(tmp_path / ".dlm", {"path": "."}, policy="strict")
    assert taken(found) == ["a.txt", "copy/notes.dlm"]
    write(tmp_path, {"notes.dlm": "me"})
    assert left_out(expanded(tmp_path, {"path": "."}))["notes.dlm"] == "the document itself"


def test_a_file_of_two_sources_is_taken_once(tmp_path: Path) -> None:
    write(tmp_path / "s", {"a.txt": "a", "b.txt": "b"})
    found = expanded(tmp_path, {"path": "s/a.txt"}, {"path": "s"})
    assert taken(found) == ["a.txt", "b.txt"]
    assert left_out(found) == {"a.txt": "taken already"}


def test_defaults_hold_at_any_depth_and_can_be_taken_back(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = dict.fromkeys(
        (
            "node_modules/a.js",
            "web/node_modules/a.js",
            "x/.git/config",
            "x/uv.lock",
            "x/a.min.js",
            "x/__pycache__/a.txt",
            "x/.notes.dlm.4f2a.tmp",
            "x/notes.dlm.bak",
            "keep.js",
        ),
        "text",
    )
    root = write(tmp_path / "s", files)
    assert taken(expanded(tmp_path, {"path": "s"})) == ["keep.js"]
    write(root, {".dlm/ignore": "!node_modules/\nweb/node_modules\n!*.lock\n"})
    assert taken(expanded(tmp_path, {"path": "s"})) == ["keep.js", "node_modules/a.js", "x/uv.lock"]
    write(root, {"x/.dlm/training.yaml": "exclude_defaults: false\n"})
    assert "x/a.min.js" in taken(expanded(tmp_path, {"path": "s"}))
    write(root, {"x/.dlm/training.yaml": "metadata: {a: b}\n"})
    assert "x/a.min.js" not in taken(expanded(tmp_path, {"path": "s"}))


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ({".dlm/ignore": "/build/\n"}, ["b.log", "k", "x/b.log", "x/k"]),
        ({".dlm/ignore": "*.log\n"}, ["k", "x/k"]),
        ({".dlm/ignore": "x\n"}, ["b.log", "k"]),
        ({".dlm/ignore": "*.log\n!/x/*.log\n"}, ["k", "x/b.log", "x/k"]),
        ({".dlm/ignore": "*.log\n", "x/.dlm/ignore": "!b.log\n"}, ["k", "x/b.log", "x/k"]),
        ({".dlm/ignore": "x/\n!x/k\n"}, ["b.log", "k"]),
        ({".dlm/ignore": "# c\n\\#no\n[bk]*\n"}, []),
        ({"x/.dlm/training.yaml": "exclude: ['*.log']\n"}, ["b.log", "k", "x/k"]),
        ({"x/.dlm/training.yaml": "include: ['*.log']\n"}, ["b.log", "k", "x/b.log"]),
        ({".dlm/training.yaml": "exclude: [k]\n"}, ["b.log", "x/b.log", "x/k"]),
    ],
)
def test_rules_in_the_tree(tmp_path: Path, rules: dict[str, str], names: list[str]) -> None:
    files = dict.fromkeys(("b.log", "k", "x/b.log", "x/k", "build/o"), "text")
    write(tmp_path / "s", {**files, **rules})
    assert taken(expanded(tmp_path, {"path": "s"})) == names


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("training.yaml", "excludes: [a]", "has a wrong `excludes`"),
        ("training.yaml", b"\xff", "is not UTF-8"),
        ("training.yaml", "# " + "x" * 300_000, "256 KiB"),
        ("ignore", "!\n", "no pattern"),
    ],
)
def test_broken_rules_stop_everything(
    tmp_path: Path, file: str, content: str | bytes, what: str
) -> None:
    write(tmp_path / "s", {"a": "a", f"d/.dlm/{file}": content})
    found = expanded(tmp_path, {"path": "s"})
    assert found.problem is not None
    assert found.files == ()
    assert what in found.problem.what
    assert file in found.problem.subject


def test_tags_and_weights_hold_in_the_subtree_that_says_so(tmp_path: Path) -> None:
    write(
        tmp_path / "s",
        {
            ".dlm/training.yaml": "metadata: {kind: note}\nweights: {kind: {note: 2, gen: 0.5}}\n",
            "a": "a",
            "gen/.dlm/training.yaml": "metadata: {kind: gen, year: 2024}\n",
            "gen/b": "b",
            "own/.dlm/training.yaml": "weights: {kind: {note: 3}}\n",
            "own/c": "c",
            "none/.dlm/training.yaml": "metadata: {x: y}\nweights: {x: {y: 0}}\n",
            "none/d": "d",
        },
    )
    found = expanded(tmp_path, {"path": "s"})
    assert {f.label: f.weight for f in found.files} == {"a": 2.0, "gen/b": 0.5, "own/c": 3.0}
    assert dict(found.files[1].tags) == {"kind": "gen", "year": "2024"}
    assert left_out(found) == {"none/d": "weight 0"}


def test_what_is_known_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the reads of a first expansion, of an unchanged one and of one with a change."""
    import dlm_engine.data.sources.expansion as module

    write(tmp_path / "s", {f"d{n % 7}/f{n}.txt": f"text {n}" for n in range(60)})
    write(tmp_path / "s", {"key.txt": KEY, "nul": b"\0"})
    reads: list[Path] = []
    read = module._read

    def counted(path: Path, *rest: object) -> bytes | None:
        reads.append(path)
        return read(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_read", counted)
    known: dict[bytes, KnownFile] = {}
    now = [0]

    def run(later_s: float) -> list[str]:
        reads.clear()
        now[0] = int(os.stat(tmp_path / "s" / "nul").st_ctime_ns + later_s * 1e9)
        found = expand(
            training({"path": "s"}), tmp_path / "notes.dlm", lambda _: known, lambda: now[0]
        )
        known.update(found.fresh)
        assert len(found.files) == 60
        assert found.found[0].reasons[Reason.SECRET] == 1
        return sorted(path.name for path in reads)

    assert len(run(1)) == 62
    # Noted so soon after they were written that a change in between would not show.
    assert len(run(10)) == 62
    assert run(20) == []
    os.utime(tmp_path / "s" / "d0" / "f0.txt", (1, 1))
    assert run(30) == ["f0.txt"]


def test_what_is_left_out_is_not_walked_and_patterns_are_compiled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 91: ignored trees were walked, and patterns compiled for every file."""
    import dlm_engine.data.sources.expansion as module
    import dlm_engine.data.sources.patterns as compiling

    kept = {f"src/d{n}/f{n}.py": f"x = {n}" for n in range(20)}
    write(tmp_path / "s", {**kept, "node_modules/a/b.js": "b", "src/old/c/d.py": "d"})
    entered: list[str] = []
    contents = module._contents

    def noted(folder: str, judged: os.stat_result) -> dict[str, os.stat_result | None] | None:
        entered.append(os.path.relpath(folder, tmp_path / "s"))
        return contents(folder, judged)

    compiled: list[str] = []
    expression = compiling._expression

    def counted(pattern: str) -> str:
        compiled.append(pattern)
        return expression(pattern)

    monkeypatch.setattr(module, "_contents", noted)
    monkeypatch.setattr(compiling, "_expression", counted)
    wishes = {"path": "s", "include": ["**/*.py"], "exclude": ["src/old/**"]}
    assert len(taken(expanded(tmp_path, wishes))) == 20
    assert sorted(entered) == sorted([".", "src", *(f"src/d{n}" for n in range(20))])
    assert max(compiled.count(pattern) for pattern in ("**/*.py", "src/old/**")) <= 2


def test_a_file_that_changes_between_judging_and_reading_is_said(tmp_path: Path) -> None:
    from dataclasses import replace

    write(tmp_path / "s", {"a.txt": "one"})
    (file,) = expanded(tmp_path, {"path": "s"}).files
    assert read_source(replace(file, text=None)) == "one"
    (tmp_path / "s" / "a.txt").write_text("two")
    with pytest.raises(TrainingError, match="changed while"):
        read_source(replace(file, text=None))


def test_a_file_beyond_the_bound_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dlm_engine.data.sources.expansion as module

    monkeypatch.setattr(module, "MAX_FILE_BYTES", 10)
    monkeypatch.setattr(module, "MAX_TOTAL_BYTES", 25)
    write(tmp_path / "s", {"a": "a" * 10, "b": "b" * 11})
    assert left_out(expanded(tmp_path, {"path": "s"})) == {"b": "too large"}
    write(tmp_path / "s", {"c": "c" * 10, "d": "d" * 10})
    problem = expanded(tmp_path, {"path": "s"}).problem
    assert problem is not None
    assert problem.kind == "size"


def test_names_that_no_terminal_should_see(tmp_path: Path) -> None:
    write(tmp_path / "s", {"a\nb\x1b[2J.txt": "text"})
    (tmp_path / "s" / os.fsdecode(b"\xff.txt")).write_text("text")
    assert taken(expanded(tmp_path, {"path": "s"})) == ["a\ufffdb\ufffd[2J.txt", "\ufffd.txt"]


def test_what_dlm_keeps_in_its_home_is_not_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLM_CACHE_DIR", str(tmp_path / "s" / "bases"))
    home = {"store/01/learned.json": "{}", "cache/a.json": "{}", "history": "a", "notes.txt": "b"}
    write(tmp_path / "s", {**{f"home/{name}": text for name, text in home.items()}, "bases/c": "c"})
    wanted = training({"path": "s"}, {"path": "s/home/store/01"})
    found = expand(wanted, tmp_path / "notes.dlm", home=tmp_path / "s" / "home")
    assert taken(found) == ["home/notes.txt"]
    assert left_out(found) == dict.fromkeys(
        ["bases/", "home/cache/", "home/history", "home/store/"], "kept by dlm"
    )
    assert found.found[1].problem is not None
    assert found.found[1].problem.kind == "denied"
