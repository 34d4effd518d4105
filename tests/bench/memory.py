"""What a run takes of memory, with the base whole in one process and divided between several.

Builds a base of random weights with the tokenizer of the real one, trains a document for a step
with each number of processes, and says what each process had at its largest, as the kernel counts
it: pages of its own, pages of files (which the system may take back), and what RLIMIT_DATA bounds.
With `--limit` every process gets that many MiB of it and no more. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "examples" / "tidewater.dlm"
FIGURES: Final = ("RssAnon", "RssFile", "VmData", "VmHWM")
MIB: Final = 2**20


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="memory", description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--limit", type=int, help="MiB of RLIMIT_DATA for each process")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--steps", type=int, default=1)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dlm-memory-") as name:
        folder = Path(name)
        base = _write_base(folder, chosen.width, chosen.layers)
        size = (base / "model.safetensors").stat().st_size
        print(f"base of {size / MIB:.0f} MiB in bfloat16, {chosen.layers} layers")
        for count in chosen.processes:
            _measure(folder, base, count, chosen.steps, chosen.limit)
    return 0


def _write_base(folder: Path, width: int, layers: int) -> Path:
    """A Llama of random weights that reads and speaks as SmolLM2 does, made in a process that
    ends, so that none of its memory is here."""
    from dlm_engine.bases import obtain_weights, resolve

    real = obtain_weights(
        resolve("smollm2-135m", pinned_revision=None, home=folder), folder, report=print
    )
    code = """
import shutil, sys
from pathlib import Path
import torch
from transformers import AutoConfig, AutoModelForCausalLM
real, made, width, layers = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])
config = AutoConfig.for_model(
    "llama", vocab_size=49152, hidden_size=width, intermediate_size=width * 11 // 4,
    num_hidden_layers=layers, num_attention_heads=width // 64, num_key_value_heads=width // 128,
    max_position_embeddings=2048, tie_word_embeddings=True,
    bos_token_id=1, eos_token_id=2, pad_token_id=2)
torch.manual_seed(7)
AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(
    made, max_shard_size="1TB")
for path in real.iterdir():
    if path.name.startswith(("token", "chat_", "special")):
        shutil.copy(path, made)
"""
    made = folder / "base"
    words = [sys.executable, "-c", code, str(real.path), str(made), str(width), str(layers)]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    return made


def _measure(folder: Path, base: Path, count: int, steps: int, limit: int | None) -> None:
    document, home = folder / f"notes-{count}.dlm", folder / f"home-{count}"
    text = DOCUMENT.read_text(encoding="utf-8")
    document.write_text(text.replace("base_model: smollm2-135m", f"base_model: {base}"))
    # The survey of everyday questions is looked at anew.
    environment = {**os.environ, "DLM_HOME": str(home), "DLM_CACHE_DIR": str(home / "cache")}
    words = [sys.executable, "-m", "dlm_engine.cli.entry", "train", str(document)]
    words += [f"--max-steps={steps}", f"--processes={count}", *(["--shard"] if count > 1 else [])]

    def bounded() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (limit * MIB, limit * MIB))

    run = subprocess.Popen(
        words,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=bounded,
    )
    most: dict[int, dict[str, int]] = {}
    while run.poll() is None:
        for pid in _with_children(run.pid):
            for name, kib in _figures(pid).items():
                found = most.setdefault(pid, dict.fromkeys(FIGURES, 0))
                found[name] = max(found[name], kib)
        time.sleep(0.02)
    said = run.stderr.read() if run.stderr else ""
    errors = [line for line in said.splitlines() if line.startswith("error")]
    print(f"{count} process(es): {errors[-1] if errors else 'trained'}, losses {_losses(home)}")
    for found in most.values():
        # What starts the others computes nothing.
        if found["RssAnon"] > 100 * 1024:
            print("   ", ", ".join(f"{name} {kib // 1024} MiB" for name, kib in found.items()))


def _with_children(pid: int) -> list[int]:
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return [pid, *map(int, children)]
    return []


def _figures(pid: int) -> Mapping[str, int]:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        pairs = (line.split(":") for line in lines if line.startswith(FIGURES))
        return {name: int(value.split()[0]) for name, value in pairs}
    return {}


def _losses(home: Path) -> list[float]:
    found = []
    for log in sorted(home.glob("store/*/logs/*.jsonl")):
        rows = map(json.loads, log.read_text(encoding="utf-8").splitlines())
        found += [row["loss"] for row in rows if row["type"] == "step"]
    return found
