"""The page: a server on this machine, for the browser on this machine unless told otherwise."""

from __future__ import annotations

import contextlib
import ipaddress
import shlex
import socket
import webbrowser
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from cyclopts import Parameter

from unfeature import console
from unfeature.errors import BadFile, BadOption
from unfeature.plugins import register

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
TOKEN = 16
"""Characters of a token at least."""

HTTP = 80
"""The port that browsers leave out of addresses."""


def open_(
    runs: Annotated[Path, Parameter(help="Folder of runs, or one run folder.")] = Path("runs"),
    /,
    *,
    port: Annotated[int, Parameter(help="0: any that is free.")] = 0,
    host: Annotated[str, Parameter(help="Address to listen on; others than loopback need --token.")] = "127.0.0.1",
    token: Annotated[
        str, Parameter(help=f"What others must know, at least {TOKEN} characters; on this machine alone one is made.")
    ] = "",
    name: Annotated[
        tuple[str, ...], Parameter(help="Another name of this machine that browsers use; repeat the flag.", negative="")
    ] = (),
    browser: Annotated[bool, Parameter(help="Open the page in a browser.")] = True,
) -> None:
    """Serve until Ctrl-C."""
    runs = runs if runs.name not in ("", "..") else runs.resolve()
    first = runs.name if (runs / "run.json").is_file() else ""
    serve(runs.parent if first else runs, first, port=port, host=host, token=token, names=name, browser=browser)


def demo_page(run: Path) -> None:
    """The demo by hand: its generator and judge, nothing marked yet."""
    from unfeature import workflow

    options = workflow.read_options(base="demo")
    if not (run / "request.json").is_file():
        with console.working(f"drawing pictures of {options.generator}"):
            workflow.sample(run, options.generator, options.sample)
            workflow.request(run, options.feature, options.marks, options.mark)
    serve(run.parent, run.name)


def serve(
    runs: Path,
    first: str = "",
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    token: str = "",
    names: tuple[str, ...] = (),
    browser: bool = True,
) -> None:
    """The server, until it is stopped; BadOption for an address that others can reach without a token of the user's.

    On loopback the user's own is made and kept: other accounts of this machine reach that too.
    """
    remote = not is_loopback(host)
    if remote and len(token) < TOKEN:
        raise BadOption(
            f"--host {host} lets others reach the page; expected --token with at least {TOKEN} characters beside it. "
            "Leave --host out to work on this machine alone."
        )
    if runs.exists() and not runs.is_dir():
        raise BadFile(f"{runs} is a file; expected a folder of runs, or one that is not there yet. Name another.")
    import uvicorn

    from unfeature.web.app import page
    from unfeature.web.desk import Desk
    from unfeature.web.security import own_token

    desk = Desk(runs, first, remote=remote)
    if first:
        desk.folder(first)  # under a name that it can show
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    called = _names(host, remote, names)
    known = frozenset(f"{name}:{port}" for name in called) | {n.lower() for n in (called if port == HTTP else names)}
    shown = _shown(host) + (f":{port}" if port != HTTP else "")
    token = token or own_token(register().with_name("page-token"))
    address = f"http://{shown}/?token={quote(token, safe='')}"
    app = page(desk, known, token)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=3
    )
    console.say(f"The page is at  {address}")
    console.say(f"It works on the runs in {runs}. Ctrl-C stops it; everything is saved as it is made.")
    if browser and not remote:
        webbrowser.open(address)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
    console.then("Open it again:", f"unfeature open {shlex.quote(str(runs / first if first else runs))}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(host: str) -> str:
    """The host as it stands in an address; this machine's name for all of its addresses."""
    with contextlib.suppress(ValueError):  # of a name
        host = socket.gethostname() if ipaddress.ip_address(host).is_unspecified else host
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; BadOption where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        return listening
    except (OSError, OverflowError) as error:
        listening.close()
        raise BadOption(
            f"cannot listen on {host} port {port}: {error}; expected an address of this machine and a free port. "
            "Leave both out, or name another port:  --port 0"
        ) from error


def _names(host: str, remote: bool, names: tuple[str, ...]) -> set[str]:
    """What browsers may call this server, in lower case."""
    found = {f"[{host}]" if ":" in host else host, *names, *LOOPBACK}
    if remote:
        found |= {socket.gethostname(), f"{socket.gethostname()}.local"}
    return {name.lower() for name in found}
