"""The server that the extension brings, installed in a real VS Code on a machine without dlm.

pip is real, and so are the virtual environment and the wheel. What dlm needs is not downloaded:
pip leaves it out, and the environment finds it where these tests have it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from tests.editors.vscode.conftest import Editor

from dlm_engine import __version__


@pytest.fixture
def surroundings() -> dict[str, str]:
    searched = [Path(entry) for entry in os.environ["PATH"].split(os.pathsep)]
    without_dlm = [p for p in searched if not {"dlm", "dlm-server"} & set(_names(p))]
    return {
        "PATH": os.pathsep.join(map(str, without_dlm)),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PYTHONPATH": sysconfig.get_path("purelib"),
    }


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


#: A Python without dlm, of the version that what lies in these tests' environment is made for.
BARE = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "editor", [{"dlm.server.path": None, "dlm.engine.python": BARE}], indirect=True
)
def test_the_server_is_installed_for_the_editor(editor: Editor, package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        # The wheel has compiled code: the editor must not install it elsewhere.
        assert b"TargetPlatform=" in archive.read("extension.vsixmanifest")
    (editor.folder / "notes.dlm").write_text("---\ntrainig: yes\n---\n")

    pointer = editor.storage / "server" / "current.json"

    seen = editor.drive("install", patience=60, file="notes.dlm", pointer=str(pointer))

    assert any("Install the one that comes with" in said for said in seen["missing"].seen)
    assert "GB" in seen["decline"].seen
    assert any("did you mean `training`" in row for row in seen["install"].seen)
    assert "installed for this editor" in seen["debug information"].seen
    # What was declined and cancelled has left nothing; the old one goes when nobody uses it.
    said = json.loads(pointer.read_text())
    left = {entry.name for entry in pointer.parent.iterdir()}
    assert left - {seen["update"].seen, f"gone-{seen['update'].seen}"} == {
        "current.json",
        said["folder"],
    }
    assert said["folder"] != seen["update"].seen
    python = pointer.parent / said["folder"] / "bin" / "python"
    version = [python, "-I", "-c", "import dlm_engine; print(dlm_engine.__version__)"]
    assert subprocess.check_output(version, text=True).strip() == __version__
