"""Who may ask the page for what: Host and Origin checked, a token, small bodies, no framing.

Plain ASGI, in front of everything else, so that no route can forget it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from unfeature.plugins import write_own

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY = 2 * 2**20
"""Bytes of a request's body at most: a file of marks."""

TOO_LARGE = 413, "TooLarge", f"more than {BODY // 2**20} MiB were sent; expected a file of marks. Send less."

COOKIE = "unfeature"

LENGTH = 24
"""Random bytes of a token of ours, and characters at least."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": POLICY,
}


class TooLarge(Exception):
    """A body beyond `BODY`."""


@dataclass(frozen=True)
class Guard:
    """In front of the application."""

    app: App
    hosts: frozenset[str]
    """Values of the Host header that are ours, in lower case."""
    token: str
    """Needed for everything but annotators' own links: other accounts of this machine reach loopback too."""
    remote: bool = False
    """Others can reach it: addresses in numbers are ours too."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            return await _answer(send, *refusal)
        if self._brings_token(scope):
            return await _welcome(send, scope["path"], self.cookie_value())
        if not self._known(scope, headers):
            sentence = "this page asks for its token; expected the whole address that the command printed. Open that."
            return await _answer(send, 401, "NoToken", sentence)
        return await self._passed_on(scope, receive, send)

    async def _passed_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer; `TOO_LARGE` in its place where the body, sent in parts, turns out to be."""
        seen, begun, answer = 0, False, _with_headers(send)

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > BODY:
                raise TooLarge
            return message

        async def sending(message: Message) -> None:
            nonlocal begun
            if begun or seen <= BODY:
                begun = True
                await answer(message)

        with suppress(TooLarge):
            await self.app(scope, limited, sending)
        if seen > BODY and not begun:
            await _answer(send, *TOO_LARGE)

    def cookie_value(self) -> str:
        """What a browser shows instead of the token."""
        return hmac.digest(self.token.encode(), b"unfeature page", hashlib.sha256).hex()

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, str] | None:
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        if host not in self.hosts and not (self.remote and _is_address(host)):
            return 421, "WrongHost", "this server is not known under that name; expected its own. Use its own address."
        if scope["method"] not in ("GET", "HEAD"):
            if origin is None and headers.get("sec-fetch-site", "same-origin") != "same-origin":
                return 403, "WrongOrigin", "another page asked for a change; expected this page. Open it itself."
            if origin is not None and origin.lower() not in {f"http://{host}", f"https://{host}"}:
                return 403, "WrongOrigin", "another page asked for a change; expected this page. Open it itself."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY:
            return TOO_LARGE
        return None

    def _brings_token(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return scope["method"] == "GET" and _same(given, self.token)

    def _known(self, scope: Scope, headers: dict[str, str]) -> bool:
        path = scope["path"]
        if path.startswith(("/s/", "/static/")):
            return True
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return _same(bearer, self.token) or any(_same(value, self.cookie_value()) for value in _cookies(headers))


def own_token(path: Path) -> str:
    """The user's own, kept in a file that nobody else can read; one for this time where none can be kept."""
    with suppress(OSError, UnicodeDecodeError):
        kept = path.read_text(encoding="ascii")
        if len(kept) >= LENGTH and not path.stat().st_mode & 0o077:
            return kept
    made = secrets.token_urlsafe(LENGTH)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_own(path, made)
    return made


def _cookies(headers: dict[str, str]) -> list[str]:
    """Values of ours; others on this host may have any form, and ports share them."""
    parts = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return [value for name, _, value in parts if name == COOKIE]


def _is_address(host: str) -> bool:
    """Whether a Host header is a bare address, with or without a port: no foreign name can have led here."""
    bare = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    try:
        return bool(ipaddress.ip_address(bare))
    except ValueError:
        return False


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _with_headers(send: Send) -> Send:
    """Every answer carries `HEADERS`, unless the route chose its own."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name.lower() for name, _ in message["headers"]}
            more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in own]
            if b"cache-control" not in own:
                more.append((b"cache-control", b"no-store"))
            message["headers"] = [*message["headers"], *more]
        await send(message)

    return sending


async def _answer(send: Send, status: int, kind: str, sentence: str) -> None:
    body = f'{{"error": "{sentence}", "kind": "{kind}"}}'.encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "cache-control": "no-store"}
    plain = [(name.encode(), value.encode()) for name, value in (headers | HEADERS).items()]
    await send({"type": "http.response.start", "status": status, "headers": plain})
    await send({"type": "http.response.body", "body": body})


async def _welcome(send: Send, path: str, cookie: str) -> None:
    """The token leaves the address bar and becomes a cookie."""
    place = quote(path) if path.startswith("/") and not path.startswith("//") else "/"
    told = f"{COOKIE}={cookie}; HttpOnly; SameSite=Strict; Path=/"
    headers = [(b"location", place.encode()), (b"set-cookie", told.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
