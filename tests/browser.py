"""A real browser on a real server of its own, which remembers what the page said and whom it asked."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
SECONDS = 60_000  # in milliseconds: CI's machines may be busy


def require_browser() -> str:
    """The browser's path; where there is none a test is skipped, but never in CI."""
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "there is no chromium in CI"
        pytest.skip("there is no chromium")
    return CHROMIUM


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, by Playwright."""
    path = require_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playing:
        opened = playing.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[str]:
    """An application on a port of its own, with options of uvicorn; yields its address."""
    import uvicorn

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


@dataclass
class Tab:
    """A page with what it complained of and whom it asked."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def check(self) -> None:
        """No error was logged, and no request left the machine."""
        assert self.complaints == []
        outside = [url for url in self.asked if urlparse(url).hostname not in (None, "", "127.0.0.1")]
        assert outside == []


@contextmanager
def tab(opened: Browser, **options: Any) -> Iterator[Tab]:
    """A new page; what it said and asked is checked at the end."""
    context = opened.new_context(viewport={"width": 1280, "height": 720}, **options)
    context.set_default_timeout(SECONDS)
    page = context.new_page()
    opened_tab = Tab(page)
    page.on("console", lambda message: opened_tab.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: opened_tab.complaints.append(str(error)))
    page.on("request", lambda request: opened_tab.asked.append(request.url))
    try:
        yield opened_tab
        opened_tab.check()
    finally:
        context.close()


def axe_script() -> str:
    """The source of axe, the checker of accessibility."""
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


def first_load() -> dict[str, int]:
    """Gzipped bytes of each file that the page asks for before it is drawn: what the index names, and its imports."""
    from clew.web.built_page import assets

    by_address = assets()
    names, sizes = ["/"], {}
    while names:
        name = names.pop()
        asset = by_address[name]
        sizes[name] = len(asset.compressed)
        text = asset.content.decode()
        if name == "/":
            names += [f"/{each}" for each in re.findall(r'"\./(assets/[^"]+)"', text)]
        elif name.endswith(".js"):
            names += [f"/assets/{each}" for each in re.findall(r'\b(?:from|import)"\./([^"]+)"', text)]
            assert len(names) < 100
    return sizes


def explained(page: Page, prompt: str = "The capital of France is") -> None:
    """Type a prompt, press Enter, and wait for the sentence that explains it."""
    line = page.locator("#prompt")  # of the trace view, which may be on its way: other views have prompts too
    line.wait_for()
    before = page.url.partition("?")[0]
    line.fill(prompt)
    line.press("Enter")
    page.wait_for_function("was => location.href.split('?')[0] !== was", arg=before)
    page.wait_for_selector("#sentence")


def traced(page: Page, prompt: str = "The capital of France is") -> None:
    """Type a prompt, press Enter, and wait for its graph, which lies behind the explanation."""
    explained(page, prompt)
    to_graph(page)


def to_graph(page: Page) -> None:
    """From the explanation, once it is there, to the graph behind it."""
    page.locator(".panes button").last.click()  # in either language
    page.wait_for_selector("g[role=option].target")


def chances(page: Page, token: str) -> list[float]:
    """A token's probability before, as predicted and as measured, in percent."""
    page.get_by_text("Next token: probability").wait_for()
    row = page.locator("table.numbers tbody tr").filter(has_text=token).first
    return [float(re.sub(r"[^\d.]", "", text)) for text in row.locator("td").all_inner_texts()[:3]]
