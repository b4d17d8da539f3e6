"""Any OpenAI-compatible endpoint as an engine that can be asked: a hosted model, vLLM, llama.cpp, a colleague's server.

`api:NAME` asks for the model NAME at the server in TRUING_API_BASE (its address up to /v1) with the key in
TRUING_API_KEY (left out: none is sent). For one model, TRUING_API_<NAME>_BASE and _KEY go first; there NAME is written
in capitals, with one underscore for each run of other characters. The general key goes only to the general server.

Addresses and keys come from the environment alone and never reach a message, a log or a repr; nothing is redirected.
"""

from __future__ import annotations

import base64
import functools
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from truing.engine.base import AnswerScore
from truing.engine.wire import Refused, Server
from truing.records import Answer, Example, Message, Part, Prompt, Sampling, UserError, fingerprint

Item = TypeVar("Item")
Result = TypeVar("Result")
Call = Callable[..., dict[str, Any]]
"""call(path, body, want=…): one exchange with the server, patience included"""


class HttpEngine:
    """A model behind an OpenAI-compatible endpoint. Nothing is sent before the first question.

    concurrency  requests under way at a time
    timeout      seconds without a sign of life after which a request counts as lost
    retries      further attempts after a lost connection, a 408, 429 or 5xx, or an answer that is not JSON; each
                 waits twice as long as the one before, starting at `backoff` seconds, or as long as the server says
    """

    def __init__(
        self, name: str, *, concurrency: int = 8, timeout: float = 120.0, retries: int = 5, backoff: float = 0.5
    ) -> None:
        self.name = f"api:{name}"
        self._model = name
        self._server = Server(name, timeout, retries, backoff)
        self._concurrency = concurrency
        self._limit = "max_tokens"
        self._logprobs = True
        self._several = True

    def __repr__(self) -> str:
        return f"HttpEngine({self._model!r})"

    @functools.cached_property
    def fingerprint(self) -> str:
        """Host, path and model name, and what the server says about the model's origin. A server that says nothing
        may exchange the weights unnoticed."""
        try:
            listed = self._server.call("models", want="data")["data"]
        except Refused as refusal:
            if refusal.status in (401, 403):
                raise
            listed = []  # many servers list nothing
        entry = next((e for e in listed if isinstance(e, dict) and e.get("id") == self._model), {})
        origin = {key: entry[key] for key in ("root", "parent", "revision") if entry.get(key)}
        return fingerprint([self._server.host, self._model, origin])

    @functools.cached_property
    def can(self) -> frozenset[str]:
        """Asks the server, once, whether it tokenises and echoes log-probabilities, which `score` is made of."""
        try:
            ids = self._tokens(self._server.call, "a", start=True)
            self._echo(self._server.call, ids)
        except Refused as refusal:
            if refusal.status in (401, 403):
                raise
            return frozenset({"sample"})
        return frozenset({"sample", "score"})

    @property
    def cannot(self) -> dict[str, str]:
        score = "Its server does not return the log-probabilities of a given text (a vLLM server does)"
        return {} if "score" in self.can else {"score": score}

    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, on_progress: Callable[[int], None] | None = None
    ) -> list[Example]:
        heard = on_progress or (lambda finished: None)
        ask = functools.partial(self._sample, sampling=sampling)
        return self._each(ask, prompts, lambda example: heard(len(example.answers)))

    def score(self, examples: Sequence[Example]) -> list[list[AnswerScore]]:
        """Σ log π over the answer's text, without an end marker, after the prompt in the server's own template.

        Prompt and answer are tokenised apart and joined as ids, so that the boundary is exact.
        """
        return self._each(self._score, examples, lambda scores: None)

    def _each(
        self, job: Callable[[Call, Item], Result], items: Sequence[Item], hear: Callable[[Result], None]
    ) -> list[Result]:
        """Jobs side by side, results in the order of the items. The first failure (or Ctrl-C) ends the others."""
        stop = Event()
        call = functools.partial(self._server.call, stop=stop)
        with ThreadPoolExecutor(self._concurrency) as pool:
            jobs = [pool.submit(job, call, item) for item in items]
            try:
                for done in as_completed(jobs):
                    hear(done.result())
                return [job.result() for job in jobs]
            finally:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def _sample(self, call: Call, prompt: Prompt, sampling: Sampling) -> Example:
        answers: list[Answer] = []
        while len(answers) < sampling.n:  # a server may give fewer at a time than it was asked for
            body = self._question(prompt, sampling, first=len(answers))
            try:
                reply = call("completions" if isinstance(prompt, str) else "chat/completions", body)
            except Refused as refusal:
                if not self._concede(body, refusal):
                    raise
                continue
            choices = reply["choices"][: sampling.n - len(answers)]
            if not choices:
                raise self._server.foreign("no answer at all")
            answers += [self._answer(choice, sampling, reply.get("model")) for choice in choices]
        return Example(prompt, tuple(answers), source=self.name)

    def _question(self, prompt: Prompt, sampling: Sampling, first: int) -> dict[str, Any]:
        chat = not isinstance(prompt, str)
        alike = sampling.temperature == 0  # vLLM refuses several greedy answers at a time
        body: dict[str, Any] = {
            "model": self._model,
            "n": sampling.n - first if self._several and not alike else 1,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": int(fingerprint([sampling.seed, Example(prompt).id, 0 if alike else first]), 16) % 2**31,
            self._limit if chat else "max_tokens": sampling.max_tokens,
        }
        body |= {"prompt": prompt} if isinstance(prompt, str) else {"messages": [_message(m) for m in prompt]}
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        if self._logprobs:
            body["logprobs"] = True if chat else 1
        return body

    def _concede(self, body: dict[str, Any], refusal: Refused) -> bool:
        """Servers differ in a few fields that can be put otherwise without asking for anything else. Remembered."""
        if refusal.status not in (400, 422):
            return False
        if "max_completion_tokens" in refusal.said and "max_tokens" in body and "messages" in body:
            self._limit = "max_completion_tokens"
        elif "logprob" in refusal.said and "logprobs" in body:
            self._logprobs = False
        elif body["n"] > 1:
            self._several = False
        else:
            return False
        return True

    def _answer(self, choice: Any, sampling: Sampling, model: str | None) -> Answer:
        meta = {"model": model} if model and model != self._model else {}
        try:
            if "message" in choice:
                text = choice["message"].get("content") or ""
                logps = [token["logprob"] for token in (choice.get("logprobs") or {}).get("content") or []]
            else:
                text = choice["text"]
                logps = (choice.get("logprobs") or {}).get("token_logprobs") or []
            finish = _finish(choice, sampling)
            if not isinstance(text, str):
                raise TypeError
        except (AttributeError, KeyError, TypeError):
            raise self._server.foreign("an answer without text") from None
        if finish is None and choice.get("finish_reason") not in ("stop", None):
            meta["finish"] = choice["finish_reason"]  # content_filter, tool_calls and the like
        known = tuple(map(float, logps)) if logps and None not in logps else None
        return Answer(text, by=self.name, logps=known, finish=finish, meta=meta)

    def _score(self, call: Call, example: Example) -> list[AnswerScore]:
        prompt = example.prompt
        if not isinstance(prompt, str) and any(isinstance(m.content, tuple) for m in prompt):
            raise UserError(
                f"{self.name} cannot score answers to images; score example {example.id} with a local model"
            )
        ids = self._tokens(call, prompt, start=True)
        return [self._score_one(call, ids, answer, example) for answer in example.answers]

    def _score_one(self, call: Call, prompt: list[int], answer: Answer, example: Example) -> AnswerScore:
        if answer.more or not answer.text:
            what = "of several turns" if answer.more else "without text"
            raise UserError(f"{self.name} cannot score an answer {what} (example {example.id}); take it out")
        ids = self._tokens(call, answer.text, start=False)
        logps = self._echo(call, prompt + ids)[len(prompt) :]
        return AnswerScore(sum(logps), len(logps), tuple(logps))

    def _tokens(self, call: Call, prompt: Prompt, start: bool) -> list[int]:
        """The server's own tokens for a prompt, or (not `start`) for a text that continues one."""
        body: dict[str, Any] = {"model": self._model}
        if isinstance(prompt, str):
            body |= {"prompt": prompt, "add_special_tokens": start}
        else:
            body |= {"messages": [_message(m) for m in prompt], "add_generation_prompt": True}
        return call("/tokenize", body, want="tokens")["tokens"]

    def _echo(self, call: Call, ids: list[int]) -> list[float]:
        """log π of each token given those before it; of the first, which nothing predicts, 0."""
        body = {"model": self._model, "prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
        try:
            logps = call("completions", body)["choices"][0]["logprobs"]["token_logprobs"][: len(ids)]
            if len(logps) == len(ids) and logps[0] is None:  # a server that ignores `echo` sends one new token
                return [0.0, *map(float, logps[1:])]
        except (LookupError, TypeError, AttributeError):
            pass
        raise Refused(f"{self.name}: the server does not echo log-probabilities, which scoring needs", 501)


def _finish(choice: Mapping[str, Any], sampling: Sampling) -> Any:
    """end, stop or length; None where the server does not tell an end marker from a stop text."""
    match choice.get("finish_reason"):
        case "length":
            return "length"
        case "stop" if isinstance(choice.get("stop_reason"), str):  # vLLM names the text it met
            return "stop"
        case "stop" if not sampling.stop or "stop_reason" in choice:
            return "end"
    return None


def _message(message: Message) -> dict[str, Any]:
    content = message.content
    return {"role": message.role, "content": content if isinstance(content, str) else [_part(p) for p in content]}


def _part(part: Part) -> dict[str, Any]:
    """Images travel inside the request: the server never fetches an address that stands in a data file."""
    if part.kind == "text":
        return {"type": "text", "text": part.value}
    kind = mimetypes.guess_type(part.value)[0] or ""
    try:
        content = base64.b64encode(Path(part.value).read_bytes()).decode()
    except OSError as error:
        raise UserError(f"image {part.value!r} cannot be read ({error.strerror}); check the path") from None
    if not kind.startswith("image/"):
        raise UserError(f"{part.value!r} is not named like an image (png, jpg, webp, …)")
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{content}"}}
