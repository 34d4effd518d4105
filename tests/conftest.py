"""What every test stands on: a home of its own, no network, the same random numbers.

Converted base weights are the one thing tests share: they lie in `.cache/dlm` of the
checkout (git-ignored), so the real base is converted once per checkout and not per run.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from dlm_engine.training import polite

if TYPE_CHECKING:
    from dlm_engine.bases import Weights

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "dlm"

# Before anything imports the libraries that read them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["DLM_CACHE_DIR"] = str(CACHE)
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(CACHE.parent / "hypothesis")
polite.prepare()
for name in ("DLM_HOME", "DLM_THREADS", "DLM_VERBOSE", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
    os.environ.pop(name, None)

# A shell starts what it runs in the background with SIGINT ignored, and that is inherited: the
# commands that tests interrupt are started as a person's terminal starts them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("dlm", deadline=None, derandomize=True, database=None)
settings.load_profile("dlm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: most mistakes show within seconds."""
    items.sort(
        key=lambda i: 2 if i.get_closest_marker("model") else bool(i.get_closest_marker("slow"))
    )


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh HOME and DLM_HOME; the returned path is DLM_HOME and does not exist yet."""
    home = tmp_path_factory.mktemp("home")
    for variable in ("HOME", "USERPROFILE", "APPDATA"):
        monkeypatch.setenv(variable, str(home))
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    dlm_home = home / ".dlm"
    monkeypatch.setenv("DLM_HOME", str(dlm_home))
    return dlm_home


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def base_weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """The real SmolLM2-135M-Instruct, converted once per checkout."""
    from dlm_engine.bases import obtain_weights, resolve

    home = tmp_path_factory.mktemp("base-home")
    spec = resolve("smollm2-135m", pinned_revision=None, home=home)
    return obtain_weights(spec, home, report=lambda message: None)
