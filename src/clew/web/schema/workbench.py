"""What the page is sent of the workbench: the kit that is open, examples, limits, a text as tokens."""

from __future__ import annotations

from typing import Literal

from clew.web.schema.base import Row, View


class KitView(View):
    name: str
    subject: str
    dictionary: str
    dictionary_kind: str
    fingerprint: str
    n_layers: int
    start: list[str]
    """The tokens in front of every text unless `add_bos` is off; none where the tokenizer puts nothing there."""
    features: dict[str, int]
    """How many features read each layer, by the layer's number."""
    writes: dict[str, list[int]]
    """Which layers the features of each layer write to."""
    can_trace: bool
    """An SAE's graph cannot be traced; its cards, edits and steering can be used."""
    has_atlas: bool
    has_meaning: bool
    """Whether features can be searched by meaning."""
    positions: int
    """Positions of the text that the atlas was made from."""


class KitChoice(View):
    """A kit that `command` serves."""

    name: str
    origin: Literal["bundled", "workspace", "extra"]
    command: str


class KitChoices(View):
    open: str
    """The name of the kit that is open."""
    kits: list[KitChoice]


class Example(View):
    title: str
    prompt: str
    note: str


class Limits(View):
    prompt_tokens: int
    generated_tokens: int
    edits: int
    body_bytes: int
    import_bytes: int


class WorkbenchView(View):
    version: str
    kit: KitView
    examples: list[Example]
    gallery: list[Example]
    """Prompts whose explanations are worked through in the docs, each with what to look at."""
    author: str
    """The name under which labels are written, unless the page gives another."""
    limits: Limits


class Token(View):
    id: int
    text: str


class Tokens(View):
    tokens: list[Token]
    shown: Row = None
    first_position: int
    """Positions before it carry no features."""
