"""`clew mcp`: a kit's verbs as tools for agents, over the standard streams."""

from __future__ import annotations

import os
import signal

from clew.cli.kits import KitOptions, on_few_threads
from clew.cli.leaving import INTERRUPTED
from clew.cli.options import with_settings
from clew.extras import needed_module


@with_settings()
def mcp(source: KitOptions) -> None:
    """Serve the verbs to agents by the Model Context Protocol, on the standard streams: trace, explain, audit and more.

    Example: `clew mcp --kit minnow`

    A client starts it; see the page on agents. It ends with its input.
    """
    needed_module("mcp", "mcp", "clew mcp")
    from clew.agents.server import serve  # it imports the extra

    kit = source.load()
    on_few_threads(kit)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)  # the event loop would end in a traceback, and there is nothing to keep
    serve(kit)


def _end(number: int, frame: object) -> None:
    os._exit(INTERRUPTED)
