"""The http engine against real servers on this machine, well-behaved and not."""

from __future__ import annotations

import base64
import logging
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from truing.engine.base import require
from truing.engine.http import HttpEngine
from truing.records import Answer, Example, Message, Part, Sampling, UserError

from .server import KEY, Endpoint, Handler, Vllm, logp


def talk(text: str) -> tuple[Message, ...]:
    return (Message("system", "Be brief."), Message("user", text))


def serve(kind: type[Endpoint], environment: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    server = kind()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    environment.setenv("TRUING_API_BASE", server.base)
    environment.setenv("TRUING_API_KEY", KEY)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    yield from serve(Endpoint, monkeypatch)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    yield from serve(Vllm, monkeypatch)


@pytest.fixture(autouse=True)
def no_secret_anywhere(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test provokes, neither the key nor the address may stand in the log."""
    caplog.set_level(logging.DEBUG)
    yield
    assert KEY not in caplog.text
    assert "127.0.0.1" not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("truing"))


def engine(**settings: Any) -> HttpEngine:
    return HttpEngine("tiny/model-1.5", **{"backoff": 0.001, "timeout": 10.0, **settings})


def refusal(call: Any, *words: str) -> str:
    """The sentence a call ends in; it has the words, names the model and keeps the secrets."""
    with pytest.raises(UserError) as caught:
        call()
    sentence = str(caught.value)
    for word in ("api:tiny/model-1.5", *words):
        assert word in sentence
    error: BaseException | None = caught.value
    while error is not None:  # a traceback prints the chain
        assert KEY not in str(error) + repr(error)
        assert "127.0.0.1" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return sentence


def status(code: int, content: Any = None, **headers: str) -> Any:
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return lambda handler: handler.send(code, content or {"error": {"message": f"broken {code}"}}, named)


ONE = Sampling(max_tokens=20)


# What is asked and what comes back


def test_a_conversation_goes_to_chat_and_a_string_to_completions(endpoint: Endpoint) -> None:
    sampling = Sampling(n=2, max_tokens=9, temperature=0.7, top_p=0.9, top_k=5, stop=("\n", "Q:"), seed=3)
    chat, raw = engine().sample([talk("hello"), "Once upon"], sampling)
    (asked,) = endpoint.asked("/v1/chat/completions")
    (plain,) = endpoint.asked("/v1/completions")
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    assert plain["prompt"] == "Once upon"
    for body in (asked, plain):
        expected = {"model": "tiny/model-1.5", "n": 2, "max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "top_k": 5}
        assert expected.items() <= body.items()
        assert body["stop"] == ["\n", "Q:"]
    assert chat.prompt == talk("hello") and raw.prompt == "Once upon"
    assert all(a.text.startswith("hello #") and a.by == "api:tiny/model-1.5" for a in chat.answers)
    assert all(a.text.startswith("Once upon #") for a in raw.answers)


def test_the_key_is_sent_only_as_a_header(endpoint: Endpoint) -> None:
    engine().sample([talk("a")], ONE)
    ((_, headers, body),) = endpoint.seen
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in str(body)
    assert KEY not in repr(engine()) + str(vars(engine()))


def test_log_probabilities_where_the_server_gives_them(endpoint: Endpoint) -> None:
    for prompt in (talk("a"), "a"):
        (answer,) = engine().sample([prompt], ONE)[0].answers
        assert answer.logps == tuple(-0.25 * (i + 1) for i in range(len(answer.text.split())))
    endpoint.logprobs = False
    for prompt in (talk("a"), "a"):
        assert engine().sample([prompt], ONE)[0].answers[0].logps is None


def test_results_keep_the_order_of_the_prompts(endpoint: Endpoint) -> None:
    endpoint.delay = lambda body: (hash(body["messages"][-1]["content"]) % 7) / 200  # answers overtake each other
    prompts = [talk(f"prompt {i}") for i in range(60)]
    examples = engine(concurrency=16).sample(prompts, ONE)
    assert [e.prompt for e in examples] == prompts
    assert all(e.answers[0].text.startswith(f"prompt {i} #") for i, e in enumerate(examples))


def test_progress_is_heard_as_answers_come_in(endpoint: Endpoint) -> None:
    heard: list[int] = []
    engine().sample([talk("a"), talk("b")], Sampling(n=3), heard.append)
    assert heard == [3, 3]


def test_requests_run_side_by_side_up_to_the_limit(endpoint: Endpoint) -> None:
    now, most, lock = 0, 0, threading.Lock()

    def busy(body: Any) -> float:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return 0.0

    endpoint.delay = busy
    engine(concurrency=4).sample([talk(str(i)) for i in range(16)], ONE)
    assert 2 <= most <= 4


def test_a_server_that_gives_fewer_answers_is_asked_again_with_another_seed(endpoint: Endpoint) -> None:
    endpoint.most = 2
    answers = engine().sample([talk("a")], Sampling(n=5))[0].answers
    assert len(answers) == 5
    assert [body["n"] for body in endpoint.asked("/v1/chat/completions")] == [5, 3, 1]
    assert len({body["seed"] for body in endpoint.asked("/v1/chat/completions")}) == 3


def test_a_server_that_gives_more_answers_is_cut_short(endpoint: Endpoint) -> None:
    endpoint.change = lambda reply: {"choices": reply["choices"] * 3}
    assert len(engine().sample([talk("a")], Sampling(n=2))[0].answers) == 2


def test_the_seed_depends_on_seed_and_prompt_and_not_on_neighbours(endpoint: Endpoint) -> None:
    def seeds(texts: list[str], seed: int) -> dict[str, int]:
        endpoint.seen.clear()
        engine().sample([talk(t) for t in texts], Sampling(seed=seed))
        return {b["messages"][-1]["content"]: b["seed"] for b in endpoint.asked("/v1/chat/completions")}

    one = seeds(["a", "b", "c"], 0)
    assert len(set(one.values())) == 3
    assert seeds(["c", "a"], 0) == {k: one[k] for k in "ca"}
    assert not set(seeds(["a", "b", "c"], 1).values()) & set(one.values())


@pytest.mark.parametrize(
    ("told", "stop", "finish"),
    [
        ({"finish_reason": "length"}, (), "length"),
        ({"finish_reason": "stop"}, (), "end"),
        ({"finish_reason": "stop"}, ("\n",), None),  # an end marker or the stop text: the server does not say
        ({"finish_reason": "stop", "stop_reason": None}, ("\n",), "end"),
        ({"finish_reason": "stop", "stop_reason": "\n"}, ("\n",), "stop"),
    ],
)
def test_how_an_answer_ended(endpoint: Endpoint, told: dict[str, Any], stop: tuple[str, ...], finish: Any) -> None:
    endpoint.change = lambda reply: {"choices": [reply["choices"][0] | told]}
    (answer,) = engine().sample([talk("a")], Sampling(stop=stop))[0].answers
    assert answer.finish == finish and "finish" not in answer.meta


def test_a_filtered_answer_and_another_model_are_noted(endpoint: Endpoint) -> None:
    filtered = {"index": 0, "message": {"content": None}, "finish_reason": "content_filter"}
    endpoint.change = lambda reply: {"model": "tiny-2031-01-01", "choices": [filtered]}
    (answer,) = engine().sample([talk("a")], ONE)[0].answers
    assert answer.text == "" and answer.meta == {"model": "tiny-2031-01-01", "finish": "content_filter"}


def test_an_image_travels_inside_the_request(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.change = lambda reply: {"choices": [{"message": {"content": "a cat"}}]}
    (tmp_path / "cat.png").write_bytes(b"\x89PNG bytes")
    look = (Message("user", (Part("text", "What is it?"), Part("image", str(tmp_path / "cat.png")))),)
    assert engine().sample([look], ONE)[0].answers[0].text == "a cat"
    text, image = endpoint.asked("/v1/chat/completions")[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64" and base64.b64decode(data) == b"\x89PNG bytes"
    missing = (Message("user", (Part("image", str(tmp_path / "dog.png")),)),)
    with pytest.raises(UserError, match=r"dog\.png"):
        engine().sample([missing], ONE)


# Fields that servers refuse


@pytest.mark.parametrize(
    ("field", "unless", "says"),
    [
        ("logprobs", None, "this model does not support logprobs"),
        ("n", 1, "only one completion choice is allowed"),
        ("max_tokens", None, "'max_tokens' is not supported with this model, use 'max_completion_tokens' instead"),
    ],
)
def test_what_can_be_put_otherwise_is(endpoint: Endpoint, field: str, unless: Any, says: str) -> None:
    original = endpoint.answer

    def answer(path: str, body: Any) -> tuple[int, Any]:
        if body.get(field, unless) != unless:
            return 400, {"error": {"message": says}}
        return original(path, body)

    endpoint.answer = answer  # type: ignore[method-assign]
    model = engine(concurrency=1)
    first, second = model.sample([talk("a"), talk("b")], Sampling(n=3, max_tokens=7))
    assert len(first.answers) == len(second.answers) == 3
    bodies = endpoint.asked("/v1/chat/completions")
    assert sum(body.get(field, unless) != unless for body in bodies) == 1, "the refusal is remembered"
    assert all(7 in (body.get("max_tokens"), body.get("max_completion_tokens")) for body in bodies)


def test_greedy_answers_are_asked_for_one_by_one(endpoint: Endpoint) -> None:
    answers = engine().sample([talk("a")], Sampling(n=3, temperature=0))[0].answers
    bodies = endpoint.asked("/v1/chat/completions")
    assert [body["n"] for body in bodies] == [1, 1, 1] and len({a.text for a in answers}) == 1


def test_a_request_that_is_simply_wrong_is_explained_at_once(endpoint: Endpoint) -> None:
    endpoint.faults = [status(400, {"error": {"message": "context is 4096 tokens,\nyou sent 5000"}})] * 9
    refusal(lambda: engine().sample([talk("a")], ONE), "400", "context is 4096 tokens, you sent 5000")
    assert len(endpoint.seen) == 1


# Faults that pass


FAULTS = {
    "500": status(500),
    "503 with a page": status(503, b"<html>down</html>"),
    "not JSON": status(200, b"<html>starting</html>"),
    "half of it": status(200, b'{"choices": [{"text": '),
    "error with status 200": status(200, {"error": {"message": "overloaded", "code": 502}}),
    "hangs up": lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
    "promises more": lambda handler: _cut(handler),
}


def _cut(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices"')
    handler.close_connection = True


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_that_passes_is_waited_out(endpoint: Endpoint, fault: Any) -> None:
    endpoint.faults = [fault, fault]
    assert engine(retries=2).sample([talk("a")], ONE)[0].answers[0].text.startswith("a #0")
    assert len(endpoint.seen) == 3


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_that_stays_ends_in_one_sentence(endpoint: Endpoint, fault: Any) -> None:
    endpoint.faults = [fault] * 50
    refusal(lambda: engine(retries=2).sample([talk("a")], ONE), "3 attempts", "TRUING_API_BASE")
    assert len(endpoint.seen) == 3


@pytest.mark.parametrize("in_words", [False, True])
def test_retry_after_is_honoured(endpoint: Endpoint, in_words: bool) -> None:
    when: list[float] = []
    late = formatdate(time.time() + 2, usegmt=True) if in_words else "0.4"

    def busy(handler: Handler) -> None:
        when.append(time.time())
        handler.send(429, {"error": {"message": "slow down"}}, {"Retry-After": late})

    endpoint.faults = [busy]
    endpoint.delay = lambda body: when.append(time.time()) or 0.0  # type: ignore[func-returns-value]
    engine().sample([talk("a")], ONE)
    asked, again = when
    assert again - asked >= (0.9 if in_words else 0.4)  # never before; how long after is the machine's business


def test_a_server_that_asks_for_an_hour_has_said_no(endpoint: Endpoint) -> None:
    endpoint.faults = [status(429, {"error": {"message": "quota"}}, Retry_After="3600")] * 9
    refusal(lambda: engine().sample([talk("a")], ONE), "quota", "wait 3600 s")
    assert len(endpoint.seen) == 1


def test_silence_is_a_fault(endpoint: Endpoint) -> None:
    release = threading.Event()

    def silent(handler: Handler) -> None:
        release.wait(20)

    endpoint.faults = [silent, silent]
    refusal(lambda: engine(timeout=0.2, retries=1).sample([talk("a")], ONE), "2 attempts", "0.2 s of silence")
    release.set()


def test_nobody_there(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("TRUING_API_BASE", f"http://127.0.0.1:{port}/v1")
    refusal(lambda: engine(retries=1).sample([talk("a")], ONE), "2 attempts", "lost connection", "TRUING_API_BASE")


def test_one_failure_ends_the_run_and_those_who_wait(endpoint: Endpoint) -> None:
    """Otherwise the error would show only after every other request has been tried, or waited out."""

    def answer(path: str, body: Any) -> tuple[int, Any]:
        if body["messages"][-1]["content"] == "bad":
            return 400, {"error": {"message": "no"}}
        return 500, {"error": {"message": "later"}}

    endpoint.answer = answer  # type: ignore[method-assign]
    model = engine(concurrency=2, retries=8, backoff=200.0)  # the patient one would wait for many minutes
    refusal(lambda: model.sample([talk("patient"), talk("bad"), *[talk("c")] * 50], ONE), "400")
    assert len(endpoint.seen) <= 4


# What is wrong for good


def test_a_wrong_key(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint.key = "another"  # the server's complaint repeats the key it was sent
    sentence = refusal(lambda: engine().sample([talk("a")], ONE), "refuses the key in TRUING_API_KEY", "401")
    assert "wrong key Bearer […]" in sentence
    refusal(lambda: require(engine(), "sample"), "refuses the key")
    refusal(lambda: engine().fingerprint, "refuses the key")
    monkeypatch.delenv("TRUING_API_KEY")
    refusal(lambda: engine().sample([talk("a")], ONE), "wants a key, and there is none in TRUING_API_KEY")
    assert "Authorization" not in endpoint.seen[-1][1]


def test_a_wrong_path_or_model(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUING_API_BASE", endpoint.base.removesuffix("/v1"))
    refusal(lambda: engine().sample([talk("a")], ONE), "404", "/v1", "TRUING_API_BASE")


def test_a_redirect_is_not_followed(endpoint: Endpoint) -> None:
    """Another host would be sent the prompts and, by some clients, the key."""
    other = Endpoint()
    threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    for code in (301, 302, 307, 308):
        endpoint.faults = [status(code, Location=other.base + "/chat/completions")]
        refusal(lambda: engine().sample([talk("a")], ONE), "redirects", "TRUING_API_BASE")
    other.shutdown()
    other.server_close()
    assert other.seen == []


@pytest.mark.parametrize(
    "reply", [[], {"choices": []}, {"choices": "x"}, {"choices": [{}]}, {"choices": [7]}, {"id": 1}, 3, None]
)
def test_a_reply_in_another_shape(endpoint: Endpoint, reply: Any) -> None:
    endpoint.change = lambda _: reply
    refusal(lambda: engine().sample([talk("a")], ONE), "not the OpenAI protocol")
    assert len(endpoint.seen) == 1


# Address and key


def test_a_model_with_its_own_address_never_gets_the_general_key(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUING_API_TINY_MODEL_1_5_BASE", endpoint.base)
    monkeypatch.setenv("TRUING_API_BASE", "http://elsewhere.invalid/v1")
    refusal(lambda: engine().sample([talk("a")], ONE), "none in TRUING_API_TINY_MODEL_1_5_KEY")
    assert "Authorization" not in endpoint.seen[-1][1]
    monkeypatch.setenv("TRUING_API_TINY_MODEL_1_5_KEY", KEY)
    monkeypatch.setenv("TRUING_API_KEY", "the general one")
    engine().sample([talk("a")], ONE)


def test_a_key_of_its_own_at_the_general_server(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUING_API_KEY", "the general one")
    monkeypatch.setenv("TRUING_API_TINY_MODEL_1_5_KEY", KEY + "\n")  # as `$(cat file)` leaves it on some shells
    engine().sample([talk("a")], ONE)


@pytest.mark.parametrize(
    "base",
    [
        "",
        "host/v1",
        "file:///etc/passwd",
        "http://",
        f"https://user:{KEY}@host/v1",
        f"https://host/v1?key={KEY}",
        "http://host:port/v1",
        "http://a b/v1",
    ],
)
def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setenv("TRUING_API_BASE", base)
    sentence = refusal(engine, "TRUING_API_BASE")
    assert not base or base not in sentence


@pytest.mark.parametrize("tail", ["\nHost: elsewhere", "“"])
def test_a_key_that_is_none(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tail: str) -> None:
    monkeypatch.setenv("TRUING_API_KEY", KEY + tail)
    refusal(engine, "TRUING_API_KEY")


# Fingerprint


def test_the_fingerprint_names_server_model_and_origin(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = engine().fingerprint
    assert engine().fingerprint == bare
    assert HttpEngine("other").fingerprint != bare
    endpoint.models = [{"id": "other", "root": "x"}, {"id": "tiny/model-1.5", "root": "org/base", "created": 1}]
    rooted = engine().fingerprint
    endpoint.models[1]["created"] = 2  # vLLM: the time of the question
    assert rooted != bare and engine().fingerprint == rooted
    endpoint.models[1]["root"] = "org/tuned"
    assert engine().fingerprint != rooted
    endpoint.faults = [status(404)]
    assert engine().fingerprint == bare
    monkeypatch.setenv("TRUING_API_BASE", endpoint.base.replace("127.0.0.1", "localhost"))
    endpoint.models = []
    assert engine().fingerprint != bare


# Scoring, with the second flavour of server


def expected(prompt: str, answer: str) -> list[float]:
    ids = [1, *map(ord, prompt + answer)]
    return [logp(s, t) for s, t in pairwise(ids)][len(prompt) :]


def test_scores_are_those_of_the_answer_tokens_alone(vllm: Endpoint) -> None:
    raw = Example("2+2=", (Answer("4"), Answer("five")))
    chat = Example(talk("hi"), (Answer("hello"),))
    model = engine()
    require(model, "sample", "score")
    (four, five), (hello,) = model.score([raw, chat])
    assert four.logps == pytest.approx(expected("2+2=", "4")) and four.tokens == 1
    assert five.logps == pytest.approx(expected("2+2=", "five")) and five.tokens == 4
    assert hello.logps == pytest.approx(expected("<system>Be brief.<user>hi<assistant>", "hello"))
    assert hello.logp == pytest.approx(sum(hello.logps or ()))
    assert hello.reward is None


def test_a_server_without_echo_is_told_of_before_the_work(endpoint: Endpoint) -> None:
    model = engine()
    require(model, "sample")
    refusal(lambda: require(model, "score"), "cannot score", "it can sample", "log-probabilities", "vLLM")
    before = len(endpoint.seen)
    assert model.can == {"sample"} and len(endpoint.seen) == before, "asked once"


@pytest.mark.parametrize("given", [[-1.0], [None], [-1.0, -1.0], [], None])
def test_a_server_that_ignores_echo_cannot_score(vllm: Endpoint, given: Any) -> None:
    """It sends the log-probabilities of new tokens, which must not pass for the prompt's."""
    tokenises = vllm.answer

    def answer(path: str, body: Any) -> tuple[int, Any]:
        if body.pop("echo", None):
            return 200, {"choices": [{"text": "!", "logprobs": {"token_logprobs": given}}]}
        return tokenises(path, body)

    vllm.answer = answer  # type: ignore[method-assign]
    assert engine().can == {"sample"}
    refusal(lambda: engine().score([Example("a", (Answer("b"),))]), "does not echo")


@pytest.mark.parametrize("answer", [Answer(""), Answer("a", more=(Message("user", "b"),))])
def test_answers_that_cannot_be_scored_are_named(vllm: Endpoint, answer: Answer) -> None:
    example = Example("a", (Answer("fine"), answer))
    refusal(lambda: engine().score([example]), example.id)


def test_training_is_refused_by_name(vllm: Endpoint) -> None:
    refusal(lambda: require(engine(), "sample", "forward_backward", "step"), "cannot forward_backward or step")
