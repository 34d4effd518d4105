"""A worker that misbehaves as told: `python fake_worker.py MOOD FOLDER`.

Each start leaves a file in FOLDER, so that moods can differ from start to start and tests can
count starts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from dlm_engine.worker.wire import Message, Writer, read_frame, take_standard_streams

mood, folder = sys.argv[1], Path(sys.argv[2])
start = len(list(folder.glob("start-*"))) + 1
(folder / f"start-{start}").touch()
if mood == "never starts":
    sys.exit("no module named dlm_engine")
incoming, outgoing = take_standard_streams()
writer = Writer(outgoing)


def reply(request: object, result: object) -> None:
    writer.write({"jsonrpc": "2.0", "id": request, "result": result})


def tell(method: str, **params: object) -> None:
    writer.write({"jsonrpc": "2.0", "method": method, "params": params})


def for_ever() -> None:
    signal.pause()


def act(message: Message) -> None:
    request, method = message["id"], message["method"]
    if method == "initialize":
        if mood == "slow start":
            (folder / "waiting").touch()
            while not (folder / "go").exists():
                time.sleep(0.01)
        if mood == "other version":
            error = {"code": -32602, "message": "speaks protocol 99"}
            writer.write({"jsonrpc": "2.0", "id": request, "error": error})
            return
        reply(request, {"pid": os.getpid(), "version": "0"})
        if mood == "leaves at once" and start == 1:
            incoming.read(1)
            os._exit(0)
    elif method == "cancel":
        if mood not in ("deaf", "deaf to the first signal"):
            reply(request, {"cancelled": True})
            reply(message["params"]["id"], {"ending": "cancelled"})
    elif method == "shutdown":
        if mood == "stays":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for_ever()
        reply(request, None)
        sys.exit(0)
    else:
        job(request, message)


def job(request: int, message: Message) -> None:
    print(f"job {request}", file=sys.stderr, flush=True)
    if mood == "two phases":
        tell("progress", id=request, phase="training", step=5, steps=9)
        while not (folder / "committed").exists():
            time.sleep(0.01)
        tell("progress", id=request, phase="training", step=7, steps=9, stage="preference")
        reply(request, {"ending": "done", "outcome": "trained", "version": 2})
        return
    tell("progress", id=request, phase="training", step=1, steps=4, known=0, rows=3, loss=2.5)
    if mood == "crashes" or (mood == "crashes once" and start == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    elif mood == "garbage":
        os.write(outgoing.fileno(), b"Traceback (most recent call last):\n" * 3)
    elif mood == "out of memory":
        tell("exiting", reason="out-of-memory")
        os._exit(12)
    elif mood == "nonsense":
        reply(request, {"ending": "perhaps"})
    elif mood in ("hangs", "deaf", "deaf to the first signal"):
        if mood != "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (folder / "hanging").touch()
    elif message["method"] == "train":
        lost = (folder / "lost").read_text().splitlines()
        reply(request, {"ending": "done", "outcome": "trained", "version": 2, "lost": lost})
    else:
        tell("text", id=request, key="", side="adapted", text=json.dumps(message["params"]))
        reply(request, {"ending": "done", "version": start})


try:
    while (received := read_frame(incoming)) is not None:
        act(received)
except BrokenPipeError:
    pass
