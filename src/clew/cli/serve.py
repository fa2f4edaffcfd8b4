"""`clew serve`: the workbench on this machine, opened in the browser."""

from __future__ import annotations

import os
import socket
import sys
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer
import uvicorn
from fastapi import FastAPI

from clew.cli.kits import KitOptions, on_few_threads, workspace_folder
from clew.cli.options import with_settings
from clew.errors import InputError
from clew.kit import Kit
from clew.web.app import make_app
from clew.web.connections import TimedProtocol
from clew.web.security import token_for

PORT = 4747


@with_settings()
def serve(
    source: KitOptions,
    workspace: Annotated[
        Path | None,
        typer.Option(help="The folder that keeps graphs, labels and results; one place for all commands unless given."),
    ] = None,
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes a free one.")] = PORT,
    host: Annotated[str, typer.Option(help="The interface; others than this machine's need a token.")] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(help="Ask for this token; made up where others can reach the server.")
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
) -> None:
    """Open the workbench: trace prompts, read and label features, edit, compare.

    Example: `clew serve --kit minnow --workspace work`

    It listens to this machine alone unless --host says otherwise, and says where it keeps what you make: in one place
    for all commands of yours, or in a folder `workspace` here that there is already. Ctrl-C ends it.
    """
    listening = _listen(host, port)
    with listening:
        token_for(host, token)  # refused before a kit is loaded
        folder = workspace_folder() if workspace is None else workspace
        app = make_app(folder, _kit(source), host=host, token=token)
        address = f"http://{_written(host)}:{listening.getsockname()[1]}/"
        if app.state.token is not None:
            address += "?" + urlencode({"token": app.state.token})
        _run(app, listening, address, folder, browse=not no_open)


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is loaded; InputError when it cannot be had."""
    if not 0 <= port <= 65535:
        raise InputError(f"--port is {port}: give a number from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or a kept connection waits 40 ms an answer
    try:
        listening.bind((host.strip("[]"), port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        why = error.strerror or str(error)
        raise InputError(f"cannot listen at {host}, port {port} ({why}): give another --port or --host") from error
    return listening


def _kit(source: KitOptions) -> Kit:
    kit = source.load()
    on_few_threads(kit)
    return kit


def _written(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host.strip('[]')}]" if ":" in host else host


def _run(app: FastAPI, listening: socket.socket, address: str, folder: Path, *, browse: bool) -> None:
    """Say where the page and the workspace are once the page can be asked for, and answer until the end."""

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"Clew is at {address}", f"Your work is kept in {folder.absolute()}", sep="\n", flush=True)
            if browse:
                webbrowser.open_new_tab(address)

    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        log_level="error",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    with suppress(KeyboardInterrupt):
        Server(config).run([listening])
    if any(thread.name.startswith("clew-") for thread in threading.enumerate()):
        sys.stdout.flush()  # work that cannot be ended in between: what was acknowledged is kept
        os._exit(0)
