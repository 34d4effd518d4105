"""The inside of the child process that runs a GGUF in llama.cpp.

Reads one request as JSON from standard input, starts xllamacpp's server in this process
on a loopback port that only the holder of a random key can use, works the request off
and prints one JSON answer. Imports neither torch nor transformers: it starts in under a
second. Started by `llama`; nothing else should import it.

Losses: the server reports the unbiased log-probability of the token it emits. To learn
that of a given token, one token is generated with an overwhelming bias to it.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import sys
from typing import Any
from urllib.parse import urlsplit

_BIAS = 10_000.0
_REQUEST_SECONDS = 600


class _Runtime:
    def __init__(self, request: dict[str, Any]) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = request["base"]
        params.n_ctx = request["context"]
        params.n_parallel = 1
        params.warmup = False
        params.fit_params = False
        params.verbosity = 0
        params.n_gpu_layers = 0
        params.port = 0
        params.hostnames = ["127.0.0.1"]
        for pool in (params.cpuparams, params.cpuparams_batch):
            pool.n_threads = request["threads"]
            pool.poll = 0  # sleep while waiting: spinning threads stall a shared machine
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        if request.get("adapter"):
            adapter = xllamacpp.CommonAdapterLoraInfo()
            adapter.path = request["adapter"]
            adapter.scale = 1.0
            params.lora_adapters = [adapter]
        if request.get("chat_template"):
            params.chat_template = request["chat_template"]
        self._server = xllamacpp.Server(params)
        address = urlsplit(self._server.listening_address)
        self._host, self._port = address.hostname or "127.0.0.1", address.port

    def post(self, path: str, body: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_REQUEST_SECONDS)
        try:
            connection.request(
                "POST",
                path,
                json.dumps(body),
                {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"},
            )
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{path}: {answer.get('error', answer)}")
        return answer

    def tokens(self, text: str, *, special: bool) -> list[int]:
        body = {"content": text, "add_special": special, "parse_special": True}
        return list(self.post("/tokenize", body)["tokens"])

    def prompt(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        text = self.post("/apply-template", {"messages": messages})["prompt"]
        return {"text": text, "tokens": self.tokens(text, special=True)}

    def log_probability(self, context: list[int], token: int) -> float:
        answer = self.post(
            "/completion",
            {
                "prompt": context,
                "n_predict": 1,
                "n_probs": 1,
                "temperature": 0,
                "cache_prompt": True,
                "logit_bias": [[token, _BIAS]],
            },
        )
        emitted = answer["completion_probabilities"][0]
        if emitted["id"] != token:
            raise RuntimeError(f"token {token} could not be scored")
        return float(emitted["logprob"])

    def answer(self, messages: list[dict[str, str]], max_tokens: int) -> str:
        answer = self.post(
            "/v1/chat/completions",
            {
                "messages": messages,
                "max_tokens": max_tokens,
                "temperature": 0,
                "seed": 0,
                "cache_prompt": True,
                "reasoning_format": "none",
            },
        )
        return str(answer["choices"][0]["message"]["content"] or "")


def main() -> None:
    request = json.load(sys.stdin)
    # llama.cpp may print to standard output; keep that channel for the answer alone.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    runtime = _Runtime(request)
    result: dict[str, Any] = {
        "tokens": [runtime.tokens(t["text"], special=t["special"]) for t in request["tokenize"]],
        "prompts": [runtime.prompt(m) for m in request["prompts"]],
        "scores": [],
        "answers": [],
    }
    for item in request["score"]:
        context = list(item["context"])
        scores = []
        for token in item["target"]:
            scores.append(runtime.log_probability(context, token))
            context.append(token)
        result["scores"].append(scores)
    for messages in request["ask"]:
        result["answers"].append(runtime.answer(messages, request["max_tokens"]))
    json.dump(result, answers)
    answers.flush()
    # Leave without the native library's own clean-up, which has nothing to save and can hang.
    os._exit(0)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
