"""Who may ask the page for what: the guard alone, without the rest of the page."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from unfeature.web.security import BODY, Guard, own_token

HOST = "127.0.0.1:8000"
TOKEN = "a-long-secret-token"


async def _behind(scope: Any, receive: Any, send: Any) -> None:
    """The application: says yes, having read everything."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"yes"})


async def _catching(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers by itself where it cannot read."""
    try:
        await _behind(scope, receive, send)
    except Exception:
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})


def ask(
    headers: dict[str, str] | None = None,
    method: str = "GET",
    path: str = "/",
    query: str = "",
    body: tuple[bytes, ...] = (b"",),
    app: Any = _behind,
    *,
    known: bool = True,
    remote: bool = False,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request, by somebody who is known or not."""
    told = {"host": HOST} | ({"authorization": f"Bearer {TOKEN}"} if known else {}) | (headers or {})
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode()}
    scope["headers"] = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
    parts, sent = list(body), []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(app, frozenset({HOST, "localhost:8000"}), TOKEN, remote)(scope, receive, send))
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}, sent[1]["body"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:8001", "", "evil.example:8000", "10.0.0.7:8000"]
)
def test_other_hosts_are_refused(host: str) -> None:
    status, _, body = ask({"host": host})
    assert status == 421 and b"WrongHost" in body and b"Use its own address" in body


@pytest.mark.parametrize("host", [HOST, "localhost:8000", "LOCALHOST:8000"])
def test_its_own_names_are_known(host: str) -> None:
    assert ask({"host": host})[0] == 200


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_changes_come_from_this_page_only(method: str) -> None:
    assert ask({"origin": "http://evil.example"}, method)[0] == 403
    assert ask({"origin": "null"}, method)[0] == 403
    assert ask({"origin": "http://localhost:8000"}, method)[0] == 403, (
        "another name of the same server is another origin"
    )
    assert ask({"sec-fetch-site": "cross-site"}, method)[0] == 403
    assert ask({"origin": f"http://{HOST}"}, method)[0] == 200
    assert ask({}, method)[0] == 200, "no browser sends it so: a script of the user's own"


def test_every_answer_forbids_framing_and_outside_requests() -> None:
    for status, headers, _ in (ask(), ask({"host": "evil.example"})):
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy, status
        assert "http" not in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_large_bodies_are_refused_before_and_while_they_are_read() -> None:
    assert ask({"content-length": str(BODY + 1)}, "POST")[0] == 413
    assert ask({"content-length": "-1"}, "POST")[0] == 413
    assert ask({"content-length": "many"}, "POST")[0] == 413
    half = b"x" * (BODY // 2 + 1)
    assert ask({}, "POST", body=(half,))[0] == 200
    for app in (_behind, _catching):
        status, headers, body = ask({}, "POST", body=(half, half), app=app)
        assert status == 413 and b"Send less." in body and headers["x-content-type-options"] == "nosniff"


def test_token_opens_once_and_leaves_the_address() -> None:
    assert ask(known=False)[0] == 401
    assert ask(query="token=wrong", known=False)[0] == 401
    status, headers, _ = ask(query=f"token={TOKEN}", known=False)
    assert status == 303 and headers["location"] == "/"
    assert "HttpOnly" in headers["set-cookie"] and "SameSite=Strict" in headers["set-cookie"]
    assert TOKEN not in headers["set-cookie"], "the cookie is not the token itself"
    cookie = headers["set-cookie"].partition(";")[0]
    assert ask({"cookie": cookie}, known=False)[0] == 200
    assert ask({"cookie": cookie[:-1] + "x"}, known=False)[0] == 401
    assert ask({"cookie": "unfeature=; =;"}, known=False)[0] == 401
    for other in ('theme={"a": 1}', "a[b]=1", "unfeature=stale", "x", ""):  # ports of a host share cookies
        assert ask({"cookie": f"{other}; {cookie}"}, known=False)[0] == 200, other
    assert ask({"authorization": f"Bearer {TOKEN}"}, known=False)[0] == 200


def test_redirection_stays_here() -> None:
    assert ask(path="//evil.example/", query=f"token={TOKEN}", known=False)[1]["location"] == "/"


def test_annotators_need_their_own_link_only() -> None:
    assert ask(path="/s/abc", known=False)[0] == 200
    assert ask(path="/static/page.js", known=False)[0] == 200
    assert ask(path="/api/start", known=False)[0] == 401


def test_addresses_in_numbers_are_known_where_others_can_reach_it() -> None:
    for host in ("10.0.0.7:8000", "[fe80::1]:8000"):
        assert ask({"host": host}, remote=True)[0] == 200
        assert ask({"host": host})[0] == 421
    assert ask({"host": "rebound.example:8000"}, remote=True)[0] == 421


def test_a_token_of_ones_own_is_kept_where_nobody_else_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "page-token"
    made = own_token(path)
    assert len(made) >= 24 and own_token(path) == made, "a page that is open goes on with the next server"
    assert path.stat().st_mode & 0o077 == 0
    path.chmod(0o644)
    assert own_token(path) != made, "others may have read it"
    path.write_bytes(b"\xff")
    assert len(own_token(path)) >= 24
    (tmp_path / "file").touch()
    one, other = (own_token(tmp_path / "file" / "page-token") for _ in range(2))
    assert one != other and len(one) >= 24, "nowhere to keep it: for this time"


def test_odd_bytes_in_headers_are_no_crash() -> None:
    assert ask({"cookie": "unfeature=\xff\xfe; a=\x80"}, known=False)[0] == 401
    assert ask({"authorization": "Bearer \xff"}, known=False)[0] == 401
    assert ask(query="token=%ff%00", known=False)[0] == 401
