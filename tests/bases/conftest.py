"""Small bases made on the spot, and a model hub on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<spare>")


def make_tokenizer(folder: Path, template: str = CHATML, special: tuple[str, ...] = SPECIAL) -> int:
    """A byte-level tokenizer with `template` in `folder`; returns its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=list(special),
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a question and its answer"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": special[1],
        "eos_token": special[2],
        "pad_token": special[2],
        "unk_token": special[0],
        "chat_template": template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return int(tokenizer.get_vocab_size())


def make_base(folder: Path, family: str = "Llama", template: str = CHATML) -> Path:
    """A whole tiny base with random weights, made by transformers."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    size = make_tokenizer(folder, template)
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=48,
        vocab_size=size,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        max_position_embeddings=128,
    )
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture
def tiny_base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "tiny")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, not there yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DLM_CACHE_DIR", str(folder))
    return folder


@dataclass
class Hub:
    """What the loopback hub serves, and what it was asked for."""

    repository: str = "acme/tiny"
    commit: str = COMMIT
    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    error: str = ""
    gated: str | bool = False
    license: str = "apache-2.0"
    cut_after: int | None = None
    """Close the connection after this many bytes of a file longer than that."""
    lie_about: str = ""
    """Serve this file's bytes reversed."""
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def serve_folder(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tiny_base: Path) -> Iterator[Hub]:
    """A hub that serves `tiny_base` as acme/tiny, with some files nobody should fetch."""
    from huggingface_hub import constants

    served = Hub()
    served.serve_folder(tiny_base)
    served.files |= {
        "pytorch_model.bin": b"pickle",
        "modeling_tiny.py": b"code",
        "onnx/model.safetensors": b"other",
        "README.md": b"words",
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _lfs(name: str, data: bytes, hash_key: str) -> dict[str, Any]:
    if not name.endswith(".safetensors"):
        return {}
    digest = hashlib.sha256(data).hexdigest()
    return {"lfs": {"size": len(data), hash_key: digest, "pointerSize": 1}}


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            return

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(path)
            if hub.status != 200:
                headers = {"X-Error-Code": hub.error} if hub.error else {}
                self._send(hub.status, b"{}", headers, with_body)
                return
            if path.startswith(f"/api/models/{hub.repository}/tree/{hub.commit}"):
                self._tree(with_body)
                return
            if path.startswith(f"/api/models/{hub.repository}"):
                self._facts(path, with_body)
                return
            prefix = f"/{hub.repository}/resolve/{hub.commit}/"
            name = path.removeprefix(prefix)
            if not path.startswith(prefix) or name not in hub.files:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body)
                return
            self._file(name, with_body)

        def _facts(self, path: str, with_body: bool) -> None:
            rest = path.removeprefix(f"/api/models/{hub.repository}")
            if rest.startswith("/revision/") and not rest.endswith(hub.commit):
                self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, with_body)
                return
            siblings = [
                {"rfilename": name, "size": len(data), **_lfs(name, data, "sha256")}
                for name, data in hub.files.items()
            ]
            facts = {
                "id": hub.repository,
                "modelId": hub.repository,
                "sha": hub.commit,
                "private": False,
                "gated": hub.gated,
                "tags": [],
                "cardData": {"license": hub.license},
                "siblings": siblings,
            }
            self._send(200, json.dumps(facts).encode(), {}, with_body)

        def _tree(self, with_body: bool) -> None:
            entries = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(data),
                    "oid": hashlib.sha1(data).hexdigest(),
                    **_lfs(name, data, "oid"),
                }
                for name, data in hub.files.items()
            ]
            self._send(200, json.dumps(entries).encode(), {}, with_body)

        def _file(self, name: str, with_body: bool) -> None:
            data = hub.files[name]
            headers = {
                "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Repo-Commit": hub.commit,
                "Accept-Ranges": "bytes",
            }
            if name == hub.lie_about:
                data = data[::-1]
            wanted = self.headers.get("Range")
            start = int(wanted.split("=")[1].split("-")[0]) if wanted else 0
            if wanted:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            part = data[start:]
            if with_body and hub.cut_after is not None and len(part) > hub.cut_after:
                self._send(206 if wanted else 200, part, headers, False)
                self.wfile.write(part[: hub.cut_after])
                self.wfile.flush()
                self.close_connection = True
                return
            self._send(206 if wanted else 200, part, headers, with_body)

        def _send(self, status: int, data: bytes, headers: dict[str, str], with_body: bool) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            if with_body:
                self.wfile.write(data)

    return Handler
