"""`dlm export` is killed with SIGKILL at 50 random moments of its life.

Whatever it was doing, what stands under an export's name is whole, the store's version is
untouched, and once the next export looks, nothing of the killed one is left. Half of the
exports convert and quantise the base, the others find it in the cache and take the place of
an earlier export. All are forked from one process that has paid for the imports, and so are
the children an export starts.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.crash.nursery import Nursery
from tests.export.export_parts import llama, with_tokenizer
from tests.export.published import verified
from tests.tiny import document_text

from dlm_engine.store import Store
from dlm_engine.store.atomic import is_temporary

if TYPE_CHECKING:
    from dlm_engine.bases import Weights

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
MOMENTS = 50
#: each of these moments is followed by an export that nobody kills
EXPORT_AFTER = 9

NURSERY = """
import os, runpy, sys, threading
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", DLM_THREADS="1")
from pathlib import Path
from dlm_engine.training import polite
polite.prepare()
import torch
torch.set_num_threads(1)
import gguf, peft, sentencepiece, transformers, xllamacpp
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
from dlm_engine import jobs
from dlm_engine.cli import app, commands
from dlm_engine.cli.commands import export
from dlm_engine.cli.entry import main
from dlm_engine.export import dialects, engines, llama_child, lora, merge, quantise, reference, run
from dlm_engine.worker import guards
script = engines.converter()
sys.path[:0] = [str(script.parent / "gguf-py"), str(script.parent)]
runpy.run_path(str(script), run_name="imported")

class Ended:
    stderr = b""

def forked(command, input, **rest):
    # What subprocess.run does, for a Python program, without paying for its imports again.
    reads, gives = os.pipe()
    answers, said = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            guards.die_with_parent(parent)
            os.dup2(reads, 0)
            os.dup2(said, 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            for end in (reads, gives, answers, said):
                os.close(end)
            sys.stdin = open(0)
            sys.argv = command[2:] if command[1] == "-m" else command[1:]
            if command[1] == "-m":
                runpy.run_module(command[2], run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(command[1], run_name="__main__")
            os._exit(0)
        finally:
            os._exit(1)
    os.close(reads)
    os.close(said)
    with open(gives, "wb") as pipe:
        pipe.write(input)
    ended = Ended()
    with open(answers, "rb") as pipe:
        ended.stdout = pipe.read()
    ended.returncode = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return ended

document = sys.argv[1]
home = os.environ["DLM_HOME"]
if os.fork() == 0:
    request = jobs.TrainRequest(Path(document), Path(home), start=jobs.Start.FRESH, max_steps=1)
    os._exit(jobs.train(request).version != 1)
os.write(1, b"trained %d\\n" % os.wait()[1])
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        engines.subprocess.run = forked
        engines.bound = list
        os.environ["DLM_CACHE_DIR"] = line.strip()
        os._exit(main(["-q", "export", document]))
    os.write(1, b"started %d\\n" % child)
    status = os.waitpid(child, 0)[1]
    os.write(1, b"gone %d\\n" % os.waitstatus_to_exitcode(status))
"""


@pytest.fixture
def document(base_weights: Weights, tmp_path: Path) -> Path:
    base = with_tokenizer(llama(tmp_path / "base", vocabulary=49152), base_weights.path)
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(base)))
    return path


@pytest.fixture
def nursery(document: Path, own_home: Path) -> Iterator[Nursery]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(document)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        nursery = Nursery(process)
        assert nursery.line(120) == "trained 0"
        yield nursery
        process.kill()


def test_a_kill_at_any_moment_of_an_export_leaves_it_whole(
    nursery: Nursery, own_home: Path, tmp_path: Path
) -> None:
    store = Store(own_home, DLM_ID)
    # What the document's model is stays the same; only `exports` may change.
    exports = store.root / "exports"
    known, fresh = tmp_path / "known", tmp_path / "fresh"
    lives = {fresh: exported(nursery, fresh), known: 0.0}
    exported(nursery, known)
    lives[known] = exported(nursery, known)

    chance = random.Random(20260104)
    left, replaced = 0, 0
    for moment in range(MOMENTS):
        cache = (fresh, known)[moment % 2]
        if cache is fresh:
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(exports)
        # Each fiftieth of an export's life has its kill, so none of its parts is left out.
        share = (moment * 21 % MOMENTS + chance.random()) / MOMENTS
        replaced += replaces(nursery, store, cache, share * lives[cache])
        left += bool(temporary(own_home, cache))
        if moment % EXPORT_AFTER == 0:
            exported(nursery, cache)
            assert stamp(exports) is not None
            assert temporary(own_home, cache) == []
            assert store.recover().actions == []
    # Otherwise no kill fell into the writing, and nothing was tested.
    assert left >= MOMENTS // 4
    # One export takes the place of another last of all; how late that is, nobody knows before.
    seconds = lives[known]
    while not replaced:
        assert seconds < 120, "an export is never replaced"
        replaced += replaces(nursery, store, known, seconds)
        seconds *= 1.1


def replaces(nursery: Nursery, store: Store, cache: Path, seconds: float) -> bool:
    """Whether an export that is killed after `seconds` has taken the place of what was there."""
    exports = store.root / "exports"
    version, before = store.current(), stamp(exports)
    child = nursery.start(cache)
    ended = nursery.line(seconds)
    if not ended:
        os.kill(child, signal.SIGKILL)
        ended = nursery.line(60)
    assert ended in {f"gone {-signal.SIGKILL}", "gone 0"}
    now = store.current()
    assert now is not None
    assert now == version
    now.verify()
    return stamp(exports) != before


def exported(nursery: Nursery, cache: Path) -> float:
    """Seconds an export took that nobody killed."""
    began = time.monotonic()
    nursery.start(cache)
    assert nursery.line(120) == "gone 0"
    return time.monotonic() - began


def stamp(exports: Path) -> int | None:
    """What tells this export from any other, None where there is none; half of one is a failure."""
    shown = [p for p in exports.glob("*") if not is_temporary(p.name)]
    for folder in shown:
        verified(folder)
    return shown[0].stat().st_ino if shown else None


def temporary(*folders: Path) -> list[Path]:
    return [p for folder in folders for p in folder.rglob("*") if is_temporary(p.name)]
