"""Make the pictures of the workbench in `docs/page`, of every view, light and dark.

python docs/screenshots.py
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

import clew
from clew.web.app import make_app

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.browser import browser, explained, serving, tab, to_graph

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = Path(__file__).parent / "page"
PROMPT = "The capital of France is"
LIST = "Again: 14 93 97 button fence book clay 58; 14 93 97 button"
COLOURS = 128
SIZE = {"width": 1280, "height": 720}
SIDE = "side => new URLSearchParams(document.location.hash.split('?')[1]).get(side)"


def main() -> None:
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as workspace, serving(make_app(workspace, clew.load("minnow"))) as address:
        for scheme in ("light", "dark"):
            with browser() as opened, tab(opened, color_scheme=scheme) as found:
                views(found.page, address, scheme)


def views(page: Page, address: str, scheme: str) -> None:
    """Walk through every view, and take a picture of each."""
    page.goto(address)
    page.wait_for_selector("#prompt")
    page.wait_for_timeout(500)
    keep(page, f"welcome-{scheme}")
    explain(page, scheme)
    to_graph(page)
    page.keyboard.press("Escape")
    page.mouse.move(400, 300)
    page.wait_for_timeout(700)
    keep(page, f"trace-{scheme}")
    page.locator("#panel button.row").filter(has_text="L").first.click()
    page.wait_for_selector("#panel p.kind code")
    page.wait_for_timeout(700)
    keep(page, f"node-{scheme}")
    explanations(page, scheme)
    attention(page, scheme)
    node = page.locator("#panel p.kind code").inner_text()
    page.get_by_role("tab", name="Card").click()
    page.get_by_text("Strongest contexts").wait_for()
    keep(page, f"card-{scheme}")
    page.keyboard.press("e")
    page.get_by_role("heading", name="Edit", exact=True).wait_for()
    page.get_by_label("What is done to it").select_option("scale")
    page.get_by_label("Strength as a number").fill("-3")  # turned the other way: the answer is another
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Next token: probability").wait_for()
    page.wait_for_selector(".running", state="detached")
    page.wait_for_timeout(1500)
    keep(page, f"edit-{scheme}")
    page.get_by_role("button", name="Audit", exact=True).click()
    page.get_by_text("Null: the same graph").wait_for()
    page.get_by_role("heading", name="Audit of the whole graph").scroll_into_view_if_needed()
    page.get_by_text("Null: the same graph").evaluate("each => each.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(500)
    keep(page, f"audit-{scheme}")
    page.goto(f"{address}#/feature/{node.partition('@')[0]}")
    page.get_by_text("Strongest contexts").wait_for()
    page.wait_for_timeout(500)
    keep(page, f"feature-{scheme}")
    page.goto(f"{address}#/features")
    page.wait_for_timeout(1500)
    keep(page, f"features-{scheme}")
    page.goto(f"{address}#/compare")
    page.wait_for_function(SIDE, arg="a")  # the view opens with the latest graphs
    for name, who in (("A", "a preschooler"), ("B", "a graduate student")):
        line = page.get_by_label(name, exact=True)
        prompt = f"You are {who}. Question: what is the square root of 50, rounded? Answer:"
        if line.input_value() == prompt:
            continue
        before = page.evaluate(SIDE, name.lower())
        line.fill(prompt)
        line.press("Enter")
        page.wait_for_function(f"([side, before]) => ({SIDE})(side) !== before", arg=[name.lower(), before])
    page.get_by_text("Features, the largest change first").wait_for()
    page.locator(".differencerow").nth(1).wait_for()
    page.evaluate("document.activeElement.blur()")  # so that both prompts are seen from their beginning
    page.wait_for_timeout(700)
    keep(page, f"compare-{scheme}")
    page.get_by_role("heading", name="Both as one graph").evaluate("each => each.scrollIntoView()")
    page.locator(".differencerow").nth(1).click()
    page.wait_for_timeout(300)
    keep(page, f"difference-{scheme}")
    page.goto(f"{address}#/studies")
    page.get_by_text("Does a word of the prompt leak").first.wait_for()
    page.wait_for_timeout(500)
    keep(page, f"studies-{scheme}")
    page.goto(f"{address}#/guide")
    page.wait_for_timeout(700)
    keep(page, f"guide-{scheme}")


def explain(page: Page, scheme: str) -> None:
    """The explanation of the prompt, one of its groups with a swap, the same in Russian, and on a phone."""
    explained(page, PROMPT)
    page.keyboard.press("Escape")
    page.mouse.move(20, 700)
    page.wait_for_timeout(500)
    keep(page, f"explanation-{scheme}")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(500)
    keep(page, f"phone-{scheme}")
    page.set_viewport_size(SIZE)
    page.get_by_role("button", name="Русский").click()
    page.wait_for_timeout(300)
    keep(page, f"russian-{scheme}")
    page.get_by_role("button", name="English").click()
    page.locator("#sentence button").first.click()
    page.locator("#swap").fill("The capital of Italy is")
    page.keyboard.press("Enter")
    page.locator(".swapresult table").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)
    keep(page, f"group-{scheme}")
    page.locator("#panel .close").first.click()


def explanations(page: Page, scheme: str) -> None:
    """The strongest edge into the chosen node, and the head that carries most of it."""
    page.keyboard.press("x")
    page.get_by_role("heading", name="Heads that carry its value").wait_for()
    page.wait_for_timeout(300)
    keep(page, f"edge-{scheme}")
    page.locator("#panel button.row").first.click()
    page.get_by_role("heading", name="At the keys").wait_for()
    page.wait_for_timeout(300)
    keep(page, f"head-{scheme}")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.wait_for_selector("#panel p.kind code")


def attention(page: Page, scheme: str) -> None:
    """A head that repeats a list, on the whole prompt; the page then is where it was."""
    before = page.url
    page.goto(f"{before.partition('#')[0]}#/trace")
    explained(page, LIST)
    to_graph(page)
    page.keyboard.press("a")
    page.locator("#head-5-3 canvas").wait_for()
    page.locator("#head-4-0").click()
    page.mouse.move(20, 700)
    page.wait_for_timeout(500)
    keep(page, f"attention-{scheme}")
    page.goto(before)
    page.wait_for_selector("#panel p.kind code")


def keep(page: Page, name: str) -> None:
    """A picture with few colours: a fifth of the bytes, and nothing that an eye would miss."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
