"""A real HTTP server on this machine that speaks the OpenAI protocol, with faults on order.

Its model answers "<n words> <seed>" to nothing in particular: enough to see which request an answer belongs to.
`faults` is a list of functions that take the handler; each request eats one before any is answered properly.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

KEY = "sk-very-secret-0123456789"
Fault = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _serve(self, body: Any) -> None:
        with self.server.lock:
            self.server.seen.append((self.path, dict(self.headers), body))
            fault = self.server.faults.pop(0) if self.server.faults else None
        if fault is not None:
            return fault(self)
        if self.server.key is not None and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            return self.send(401, {"error": {"message": f"wrong key {self.headers.get('Authorization')}"}})
        self.send(*self.server.answer(self.path, body))

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


class Endpoint(ThreadingHTTPServer):
    """Chat and completions, no tokens, no echo: what most hosted models offer."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        self.faults: list[Fault] = []
        self.key: str | None = KEY
        self.logprobs = True
        self.most = 100  # answers it gives at a time, whatever it is asked for
        self.models: list[dict[str, Any]] = []
        self.change: Callable[[dict[str, Any]], Any] = lambda reply: reply
        self.delay: Callable[[dict[str, Any]], float] = lambda body: 0.0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def asked(self, path: str) -> list[Any]:
        return [body for p, _, body in self.seen if p == path]

    def handle_error(self, *args: Any) -> None:
        """A client that hung up is part of the tests."""

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "/v1/models":
            return 200, {"object": "list", "data": self.models}
        if path not in ("/v1/chat/completions", "/v1/completions"):
            return 404, {"error": {"message": "no such path"}}
        time.sleep(self.delay(body))
        chat = path.endswith("chat/completions")
        said = body["messages"][-1]["content"] if chat else body["prompt"]
        choices = [self.choice(chat, i, f"{said} #{i} seed {body['seed']}") for i in range(min(body["n"], self.most))]
        return 200, self.change({"model": body["model"], "choices": choices[::-1]})

    def choice(self, chat: bool, index: int, text: str) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index, "finish_reason": "stop", "logprobs": None}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        if self.logprobs:
            numbers = [-0.25 * (i + 1) for i in range(len(text.split()))]
            choice["logprobs"] = (
                {"content": [{"token": "?", "logprob": x} for x in numbers]} if chat else {"token_logprobs": numbers}
            )
        return choice


class Vllm(Endpoint):
    """The second flavour: tokenises (one token per character, 1 begins a text) and echoes log-probabilities.

    log π of token t after token s is −(s mod 7) − t/1000: it depends on both, so a shifted boundary shows.
    """

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "/tokenize":
            return 200, {"tokens": self.tokenize(body)}
        if path == "/v1/completions" and body.get("echo"):
            ids = [*body["prompt"], ord("!")]  # one new token, because it was asked for one
            logps = [None, *(logp(s, t) for s, t in pairwise(ids))]
            return 200, {"choices": [{"index": 0, "text": "…", "logprobs": {"token_logprobs": logps}}]}
        return super().answer(path, body)

    def tokenize(self, body: dict[str, Any]) -> list[int]:
        if "messages" in body:
            text = "".join(f"<{m['role']}>{m['content']}" for m in body["messages"])
            return [1, *map(ord, text + "<assistant>" * body["add_generation_prompt"])]
        return [1] * body["add_special_tokens"] + [*map(ord, body["prompt"])]


def logp(before: int, token: int) -> float:
    return -(before % 7) - token / 1000
