"""The page: a server on this machine, for the browser on this machine unless told otherwise."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from unfeature import console
from unfeature.errors import BadFile, BadOption

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
TOKEN = 16
"""Characters of a token at least."""


def open_(
    runs: Annotated[Path, Parameter(help="Folder of runs, or one run folder.")] = Path("runs"),
    /,
    *,
    port: Annotated[int, Parameter(help="0: any that is free.")] = 0,
    host: Annotated[str, Parameter(help="Address to listen on; others than loopback need --token.")] = "127.0.0.1",
    token: Annotated[str, Parameter(help=f"What others must know, at least {TOKEN} characters.")] = "",
    name: Annotated[
        tuple[str, ...], Parameter(help="Another name of this machine that browsers use; repeat the flag.", negative="")
    ] = (),
    browser: Annotated[bool, Parameter(help="Open the page in a browser.")] = True,
) -> None:
    """Serve until Ctrl-C."""
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
    """The server, until it is stopped; BadOption for an address that others can reach without a token."""
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

    listening = _listen(host, port)
    port = listening.getsockname()[1]
    known = frozenset(f"{known}:{port}" for known in _names(host, remote, names)) | {n.lower() for n in names}
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
    app = page(Desk(runs, first, remote=remote), known, token)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=3
    )
    console.say(f"The page is at  {address}")
    console.say(f"It works on the runs in {runs}. Ctrl-C stops it; everything is saved as it is made.")
    if browser and not remote:
        webbrowser.open(address)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
    console.then("Open it again:", f"unfeature open {runs / first if first else runs}")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
