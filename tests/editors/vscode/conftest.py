"""A real VS Code with the extension, served on loopback to one headless browser."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from filelock import FileLock

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def _setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "setup_vscode", ROOT / "scripts" / "setup_vscode.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Seen:
    """What one step of a scenario saw; `problem` is why it failed."""

    step: str
    seconds: float
    seen: Any
    problem: str | None


@dataclass(frozen=True)
class Editor:
    """`storage` is where the extension may keep what it makes for every folder."""

    url: str
    folder: Path
    storage: Path
    failures: Path
    modules: Path
    chromium: str

    def drive(self, scenario: str, patience: float, **given: object) -> dict[str, Seen]:
        """Run a scenario; what its steps saw, by name. Raises AssertionError for a failed one."""
        settings = {
            "scenario": scenario,
            "url": self.url,
            "folder": str(self.folder),
            "modules": str(self.modules),
            "chromium": self.chromium,
            "failures": str(self.failures),
            "pictures": _pictures(),
            "scale": 1,
            "patience": patience * 1000,
            **given,
        }
        done = subprocess.run(
            ["node", "drive.mjs"],
            cwd=HERE,
            input=json.dumps(settings),
            capture_output=True,
            text=True,
            check=False,
        )
        steps = [
            Seen(said["step"], said["seconds"], said.get("seen"), said.get("problem"))
            for said in map(json.loads, done.stdout.splitlines())
        ]
        failed = next((step for step in steps if step.problem is not None), None)
        assert failed is None, f"{failed}; see {self.failures}"
        assert done.returncode == 0, done.stderr
        return {step.step: step for step in steps}


@pytest.fixture(scope="session")
def code() -> Path:
    """VS Code's server, ready to run; without it the tests cannot be run here."""
    made = prepared()
    if made is None and os.environ.get("DLM_VSCODE") != "required":
        pytest.skip("run scripts/setup_vscode.py to try the extension in a real VS Code")
    assert made is not None, "scripts/setup_vscode.py has not been run"
    return made


def prepared() -> Path | None:
    """VS Code's server, None where it was not set up."""
    setup = _setup()
    if not setup.STAMP.is_file() or shutil.which("chromium") is None:
        return None
    return Path(setup.CODE) / "out" / "server-main.js"


@pytest.fixture(scope="session")
def package(code: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension as users get it."""
    return packaged(tmp_path_factory.mktemp("package"))


def packaged(folder: Path) -> Path:
    """The extension in `folder`, built from the sources as they are.

    It is built in their tree, where another process of the tests may be building it too.
    """
    with FileLock(ROOT / ".cache" / "editors" / "package.lock"):
        subprocess.run([sys.executable, ROOT / "scripts" / "package_vscode.py"], check=True)
        built = ROOT / "clients" / "vscode" / "out" / "dlm.vsix"
        return Path(shutil.copy(built, folder))


@pytest.fixture
def surroundings() -> dict[str, str]:
    """What the editor's environment has besides what it has here."""
    return {}


@pytest.fixture
def editor(
    code: Path,
    package: Path,
    surroundings: dict[str, str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Editor]:
    wanted = getattr(request, "param", {})
    with started(code, package, tmp_path, wanted, surroundings) as editor:
        yield editor


@contextmanager
def started(
    code: Path,
    package: Path,
    top: Path,
    wanted: Mapping[str, object],
    surroundings: Mapping[str, str],
) -> Iterator[Editor]:
    """An editor whose files are below `top`, with the settings `wanted` besides those of tests
    and `surroundings` besides the environment."""
    data, extensions, folder = (top / name for name in ("data", "extensions", "notes"))
    machine = data / "data" / "Machine"
    machine.mkdir(parents=True)
    folder.mkdir(exist_ok=True)
    settings = {
        "dlm.server.path": str(Path(sys.prefix) / "bin" / "dlm-server"),
        # For whoever looks into a failure: the log lies beside its picture.
        "dlm.trace.server": "messages",
        "telemetry.telemetryLevel": "off",
        "workbench.startupEditor": "none",
        "workbench.tips.enabled": False,
        "files.autoSave": "off",
        **wanted,
    }
    (machine / "settings.json").write_text(json.dumps(settings))
    # Neither of these may end up in the editor that is being tested.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VSCODE_")}
    environment |= surroundings
    command = [
        "node",
        str(code),
        "--accept-server-license-terms",
        "--disable-telemetry",
        "--server-data-dir",
        str(data),
    ]
    command += ["--extensions-dir", str(extensions)]
    subprocess.run(
        [*command, "--install-extension", str(package)],
        env=environment,
        check=True,
        capture_output=True,
    )
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    where = ["--host", "127.0.0.1", "--port", str(port), "--without-connection-token"]
    failures = top / "failures"
    failures.mkdir()
    with (top / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, *where], env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        try:
            _wait_for(port, server)
            chromium = shutil.which("chromium")
            assert chromium is not None
            modules = code.parents[5] / "package.json"
            storage = data / "data" / "User" / "globalStorage" / "dlm.dlm"
            yield Editor(f"http://127.0.0.1:{port}", folder, storage, failures, modules, chromium)
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Until somebody listens; a connection that is refused says at once that nobody does."""
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert server.poll() is None, "the editor's server has ended"
            assert time.monotonic() < end, "the editor's server does not listen"


def _pictures() -> str | None:
    """Where pictures are wanted: a folder of the checkout or a full path."""
    wanted = os.environ.get("DLM_PICTURES")
    if not wanted:
        return None
    folder = ROOT / wanted
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
