from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.server.engine.editor import Editor
from tests.server.engine.places import DLM_ID, PROBE, SHORT, Place
from tests.tiny import document_text, write_base

from dlm_engine.document import new_id


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Place:
    """Trained by command, in an editor, as a person begins."""
    folder = tmp_path_factory.mktemp("original")
    path = folder / "facts.dlm"
    text = document_text(str(tiny_base), extra=SHORT) + PROBE
    path.write_text(text)
    with Editor(folder / "home", {"probes": {"afterTraining": False}}) as editor:
        uri = editor.open(path)
        editor.save(uri, path, text)
        trained = editor.command("dlm.train", uri=uri)
        assert (trained["outcome"], trained["version"]) == ("trained", 1)
        # The save came first and the document was not armed: it trained nothing.
        causes = {s["job"]["cause"] for s in editor.told("dlm/status") if s["job"]}
        assert causes == {"asked for"}
        steps = editor.told("dlm/trainingProgress")
        assert steps[-1]["step"] == steps[-1]["total_steps"] == 12
        assert steps[-1]["run_id"] == 1
        kinds = [m["value"]["kind"] for m in editor.told("$/progress")]
        assert (kinds[0], kinds[-1]) == ("begin", "end")
    return Place(path, folder / "home", text)


@pytest.fixture(scope="module")
def window(original: Place) -> Iterator[Editor]:
    with Editor(original.home) as running:
        yield running


@pytest.fixture
def editor(window: Editor) -> Editor:
    """One editor for all tests, because its engine is warm; what it heard before is forgotten."""
    window.forget()
    return window


@pytest.fixture
def place(original: Place, tmp_path: Path) -> Place:
    """The trained document as another one, with a store of its own in the same home."""
    return another(original, tmp_path)


def another(original: Place, folder: Path) -> Place:
    """The same in `folder`; its store is a copy."""
    dlm_id = new_id()
    root = original.store.root
    shutil.copytree(root, root.with_name(dlm_id))
    for name in ("manifest.json", "dlm.lock"):
        file = root.with_name(dlm_id) / name
        file.write_text(file.read_text().replace(DLM_ID, dlm_id))
    text = original.text.replace(DLM_ID, dlm_id)
    path = folder / "facts.dlm"
    path.write_text(text)
    return Place(path, original.home, text, dlm_id)
