"""One server's address and key: JSON in, JSON out, patience in between. What the http engine speaks through.

Both come from the environment alone and never reach a message, a log or a repr. No redirect is followed.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import logging
import os
import random
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message as Headers
from threading import Event
from typing import Any
from urllib.parse import SplitResult, urlsplit

from truing.records import UserError

LOGGER = logging.getLogger(__name__)
LONGEST_WAIT = 300.0
"""seconds; a server that asks for more patience than this is taken to have said no"""


class Refused(UserError):
    """The server understood and said no; asking again would not help. `said` are its own words."""

    def __init__(self, sentence: str, status: int, said: str = "") -> None:
        super().__init__(sentence)
        self.status, self.said = status, said


class Fault(Exception):
    """Something that may pass by itself. `after` is how many seconds the server asked to wait."""

    def __init__(self, what: str, after: float | None = None) -> None:
        super().__init__(what)
        self.after = after


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        """The key has no business elsewhere: the 3xx becomes an error."""


class Server:
    """Where the model `model` is asked, as the environment says it.

    TRUING_API_<MODEL>_BASE and _KEY go before TRUING_API_BASE and _KEY. The general key goes only to the general
    server: a model with an address of its own has a key of its own, or none.
    """

    def __init__(self, model: str, timeout: float, retries: int, backoff: float) -> None:
        self._me, self._timeout, self._retries, self._backoff = f"api:{model}", timeout, retries, backoff
        own = "TRUING_API_" + re.sub(r"[^A-Z0-9]+", "_", model.upper())
        general = own if os.environ.get(own + "_BASE") else "TRUING_API"
        self._base_from = general + "_BASE"
        self._key_from = own + "_KEY" if os.environ.get(own + "_KEY") else general + "_KEY"
        self._base = os.environ.get(self._base_from, "").strip().rstrip("/")
        self._parts = self._address()
        self._key()
        self._open = urllib.request.build_opener(NoRedirects).open

    @property
    def host(self) -> str:
        """What tells this server from others; for hashing, not for showing."""
        return self._parts.netloc.lower() + self._parts.path

    def call(
        self, path: str, body: Mapping[str, Any] | None = None, want: str = "choices", stop: Event | None = None
    ) -> dict[str, Any]:
        """POST the body (GET without one) and return the reply, which has a list under `want`.

        A path that begins with a slash counts from the server's root, others from the API's base. `stop` ends waiting.
        """
        stop = stop or Event()
        for attempt in range(1, self._retries + 2):
            try:
                return self._checked(self._once(path, body), want)
            except Fault as fault:
                pause = self._pause(fault, attempt)
                if attempt > self._retries or pause > LONGEST_WAIT:
                    asked = f", and asks to wait {pause:.0f} s" if pause > LONGEST_WAIT else ""
                    tried = f"{attempt} attempt{'s' * (attempt > 1)}"
                    raise UserError(
                        f"{self._me}: no answer in {tried}; the last one met {fault}{asked}. "
                        f"See whether the server in {self._base_from} is up, or ask it with less concurrency"
                    ) from None
                LOGGER.warning("%s: %s; asking again in %.1f s", self._me, fault, pause)
            if stop.wait(pause):
                break
        raise UserError(f"{self._me}: given up, because another request failed")

    def foreign(self, what: str) -> Refused:
        return Refused(f"{self._me}: the server in {self._base_from} sends {what}: not the OpenAI protocol", 200)

    def _pause(self, fault: Fault, attempt: int) -> float:
        if fault.after is not None:
            return fault.after
        # Spread out, so that requests that failed together do not come back together.
        return min(self._backoff * 2 ** (attempt - 1) * random.uniform(0.75, 1.25), LONGEST_WAIT)

    def _checked(self, reply: Any, want: str) -> dict[str, Any]:
        if isinstance(reply, dict) and isinstance(reply.get(want), list):
            return reply
        if isinstance(reply, dict) and reply.get("error"):  # some gateways report an overloaded model with status 200
            raise Fault(f"an error ({self._clean(_message_of(json.dumps(reply)))})")
        raise self.foreign(f"a reply without {want}")

    def _once(self, path: str, body: Mapping[str, Any] | None) -> Any:
        url = (self._base.removesuffix("/v1") + path) if path.startswith("/") else f"{self._base}/{path}"
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "truing"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        try:
            with self._open(urllib.request.Request(url, data, headers), timeout=self._timeout) as reply:
                content = reply.read()
        except urllib.error.HTTPError as error:
            with error:
                raise self._failure(error, path) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            late = isinstance(reason, TimeoutError)
            what = f"{self._timeout:g} s of silence" if late else f"a lost connection ({reason!s})"
            raise Fault(self._clean(what)) from None
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise Fault("something that is not JSON") from None

    def _failure(self, error: urllib.error.HTTPError, path: str) -> Exception:
        """What an HTTP status means, and what to do about it."""
        status, said = error.code, ""
        with contextlib.suppress(OSError, http.client.HTTPException):  # the status says enough
            said = self._clean(_message_of(error.read(65536).decode("utf-8", "replace")))
        if status in (408, 429) or status >= 500:
            return Fault(f"status {status}" + (f" ({said})" if said else ""), _retry_after(error.headers))
        if status in (401, 403):
            key = "refuses the key in" if self._key() else "wants a key, and there is none in"
            sentence = f"the server {key} {self._key_from} (status {status})"
        elif status == 404:
            sentence = (
                f"the server has no such model, or nothing at {path!r} (status 404); check the name, and that "
                f"{self._base_from} ends where the API begins, mostly with /v1"
            )
        elif 300 <= status < 400:
            sentence = f"the server redirects (status {status}), which is not followed; put the final address in "
            sentence += self._base_from
        else:
            sentence = f"the server refuses the request (status {status})"
        return Refused(f"{self._me}: {sentence}" + (f". It says: {said}" if said else ""), status, said)

    def _address(self) -> SplitResult:
        if not self._base:
            raise UserError(f"{self._me}: set {self._base_from} to the server's address, up to /v1")
        try:
            parts = urlsplit(self._base)
            host = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number
            host = None
        if not host or parts.username is not None or parts.query or parts.fragment or re.search(r"\s", self._base):
            raise UserError(
                f"{self._me}: {self._base_from} is not a plain address: http or https, a host, perhaps a port and a "
                f"path. A key belongs in {self._key_from}"
            )
        return parts

    def _key(self) -> str:
        """Read anew each time, so that it is kept nowhere."""
        key = os.environ.get(self._key_from, "").strip()
        if not (key.isascii() and key.isprintable()):  # http.client would quote it in its complaint
            raise UserError(f"{self._me}: {self._key_from} holds characters that no key has; copy it again")
        return key

    def _clean(self, text: str) -> str:
        """Foreign text, fit for a message: one short line, without key and address in case the server repeats them."""
        for secret in filter(None, (self._key(), self._base, self._parts.netloc, self._parts.hostname)):
            text = text.replace(secret, "[…]")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= 300 else text[:299] + "…"


def _message_of(content: str) -> str:
    """The message within an error reply, in whichever of the usual places it stands, else the reply itself."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return content
    for key in ("error", "message"):
        found = found.get(key, found) if isinstance(found, dict) else found
    return found if isinstance(found, str) else json.dumps(found)


def _retry_after(headers: Headers) -> float | None:
    """Seconds from now; the header holds seconds or a date."""
    value = str(headers.get("Retry-After", "")).strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None
