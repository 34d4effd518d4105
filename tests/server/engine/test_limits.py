"""How the engine is started, and that nothing of it stays when the editor is killed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
from tests.server.engine.editor import Editor
from tests.server.engine.places import LONG, Place
from tests.server.harness import GOOD, Client

from dlm_server.engine.service import engine_of


def test_the_settings_of_the_engine_reach_it(client: Client, tmp_path: Path) -> None:
    engine = {"idleMinutes": 3, "memoryLimitGiB": 2.5}
    client.initialize(options={"dlm": {"home": str(tmp_path), "engine": engine}})
    told = engine_of(client.server.session)._launch().initialize
    assert (told.idle_seconds, told.memory_limit) == (180, int(2.5 * 2**30))
    assert (told.home, told.parent) == (str(tmp_path), os.getpid())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["idleMinutes", "memoryLimitGiB"])
def test_other_settings_of_the_engine_start_it_anew(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.dlm"
    path.write_text(GOOD + "words\n")
    with Editor(tmp_path / "home") as editor:
        uri = editor.open(path)
        # What needs the engine and nothing heavy.
        editor.refused("dlm.rollback", uri=uri, version=1)
        before = editor.worker()
        assert before is not None
        told = editor.count("dlm/status")
        editor.settings["engine"] = {name: 7}
        editor.tell("workspace/didChangeConfiguration", settings=None)
        editor.status(lambda s: s["engine"] == "off", after=told)
        editor.refused("dlm.rollback", uri=uri, version=1)
        assert editor.worker() not in (None, before)


#: An editor of its own, which says whom it started and then waits for its end.
EDITOR = """
import json, signal, sys
from pathlib import Path
from tests.server.engine.editor import Editor
path, home, text = map(Path, sys.argv[1:])
editor = Editor(home)
uri = editor.open(path)
editor.save(uri, path, text.read_text())
editor.status(lambda s: s["job"] and (s["job"]["step"] or 0) >= 1)
print(json.dumps([editor.process.pid, editor.worker()]), flush=True)
signal.pause()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="waits for processes that are no children")
def test_nothing_outlives_a_killed_editor(place: Place, tiny_base: Path, tmp_path: Path) -> None:
    text = tmp_path / "long.txt"
    text.write_text(place.facts(tiny_base, LONG))
    command = [sys.executable, "-c", EDITOR, *map(str, (place.path, place.home, text))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as editor:
        assert editor.stdout is not None
        left = [os.pidfd_open(process) for process in json.loads(editor.stdout.readline())]
        try:
            editor.kill()
            for descriptor in left:
                assert select.select([descriptor], [], [], 3)[0], "the server or its worker lives"
        finally:
            for descriptor in left:
                os.close(descriptor)
    assert place.numbers() == [1]
