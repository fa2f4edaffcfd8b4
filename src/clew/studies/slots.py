"""Prompts with named spans: where in the tokens each slot lies, in whatever tokens the kit's tokenizer makes of it.

    template = Template("In {country} the capital is")
    prompt = template.fill(kit.subject, {"country": "France"})
    prompt.positions["country"], prompt.last("country"), prompt.places

A slot is a span of characters of the filled text; its tokens are those that have a character in it, the space in front
of a token aside. Where a token reaches beyond the slot, the slot has no tokens of its own and is refused: then another
template or other words are needed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from clew.errors import InputError
from clew.subject.subject import Subject
from clew.subject.token_names import checked_text

if TYPE_CHECKING:
    from clew.attribution.graph import Graph

_SLOT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
START = "start"
"""What the places of the tokens are called that a tokenizer puts in front of a text."""


@dataclass(frozen=True, kw_only=True)
class SlottedPrompt:
    """A filled template as tokens."""

    text: str
    token_ids: tuple[int, ...]
    values: Mapping[str, str]
    """What fills each slot."""
    positions: Mapping[str, tuple[int, ...]]
    """The tokens of each slot, rising."""
    places: tuple[str, ...]
    """Of every token, the same name in every prompt of a template: `country-1` is the last token of a slot, `text0+2`
    the third token of the text in front of the first slot, counted from the slot before it."""

    def last(self, slot: str) -> int:
        """The position of a slot's last token; InputError when there is no such slot."""
        return self.at(slot)[-1]

    def at(self, slot: str) -> tuple[int, ...]:
        """The positions of a slot's tokens; InputError when there is no such slot."""
        if slot not in self.positions:
            raise InputError(f"no slot {slot!r} in {self.text!r}: there are {', '.join(self.positions) or 'none'}")
        return self.positions[slot]


@dataclass(frozen=True)
class Template:
    """A text in which `{name}` stands for a slot. InputError without a slot, or when one stands there twice."""

    text: str

    def __post_init__(self) -> None:
        if not self.slots:
            raise InputError(f"the template {self.text!r} has no slot: write one like {{country}}")
        if len(set(self.slots)) < len(self.slots):
            raise InputError(f"the template {self.text!r} has a slot twice: give each a name of its own")
        if left := re.search(r"[{}]", _SLOT.sub("", self.text)):
            raise InputError(f"the template {self.text!r} has a {left[0]!r} that belongs to no slot")

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """The names of the slots, in their order."""
        return tuple(_SLOT.findall(self.text))

    def product(self, values: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
        """Every combination of the slots' values, the last slot's changing fastest."""
        return [dict(zip(self.slots, chosen, strict=True)) for chosen in product(*(values[s] for s in self.slots))]

    def fill(
        self, subject: Subject, values: Mapping[str, str], *, single: Collection[str] = (), add_bos: bool = True
    ) -> SlottedPrompt:
        """The prompt with these values. `single` are slots that must be one token each.

        InputError for a slot without a value, an empty one, one that is no run of whole tokens, and one of `single`
        that is several.
        """
        text, spans = self._filled(values)
        ids = subject.encode(text, add_bos=add_bos).tolist()
        start, ends = _token_spans(subject, text, ids)
        positions = {}
        for name, span in spans.items():
            positions[name] = _covered(subject, text, ids, ends, start, name, span)
            if name in single and len(positions[name]) > 1:
                tokens = subject.token_strings([ids[place] for place in positions[name]])
                raise InputError(
                    f"{values[name]!r} in slot {name!r} is {len(tokens)} tokens of {subject.name} ({_shown(tokens)}), "
                    "and one is needed: give another word"
                )
        return SlottedPrompt(
            text=text,
            token_ids=tuple(ids),
            values={name: values[name] for name in self.slots},
            positions=positions,
            places=_places(len(ids), start, positions),
        )

    def _filled(self, values: Mapping[str, str]) -> tuple[str, dict[str, tuple[int, int]]]:
        """The text, and where each slot lies in it, without the spaces around its value."""
        text, end = "", 0
        spans: dict[str, tuple[int, int]] = {}
        for match in _SLOT.finditer(self.text):
            name = match[1]
            if name not in values:
                raise InputError(f"the slot {name!r} of {self.text!r} has no value: give one")
            value = checked_text(values[name], f"value of slot {name!r}")
            if not value.strip():
                raise InputError(f"the slot {name!r} of {self.text!r} is empty: give a word")
            text += self.text[end : match.start()]
            begin = len(text) + len(value) - len(value.lstrip())
            spans[name] = begin, begin + len(value.strip())
            text, end = text + value, match.end()
        return text + self.text[end:], spans


def _token_spans(subject: Subject, text: str, ids: Sequence[int]) -> tuple[int, list[tuple[int, int]]]:
    """How many tokens stand in front of a text, and the characters of every later one, a space in front left out."""
    tokenizer = subject.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(f"the tokenizer of {subject.name} does not say which characters a token has: slots need that")
    assert tokenizer is not None
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    start = len(ids) - len(encoded["input_ids"])
    if start < 0 or list(ids[start:]) != list(encoded["input_ids"]):
        raise InputError(f"{subject.name} reads {text!r} in another way than its tokenizer does: it has no slots")
    spans = []
    for low, high in encoded["offset_mapping"]:
        part = text[low:high]
        spans.append((low + len(part) - len(part.lstrip()) if part.strip() else low, high))
    return start, spans


def _covered(
    subject: Subject,
    text: str,
    ids: Sequence[int],
    spans: Sequence[tuple[int, int]],
    start: int,
    name: str,
    span: tuple[int, int],
) -> tuple[int, ...]:
    """The tokens of a slot; InputError when one reaches beyond it."""
    low, high = span
    inside = [place for place, (begin, end) in enumerate(spans) if begin < high and end > low]
    begin, end = (spans[inside[0]][0], spans[inside[-1]][1]) if inside else (low, low)
    if not inside or begin < low or text[high:end].strip():
        tokens = subject.token_strings([ids[start + place] for place in inside])
        raise InputError(
            f"{text[low:high]!r} in slot {name!r} is no run of whole tokens of {subject.name}: its tokens are "
            f"{_shown(tokens) or 'none'}; put spaces around the slot, or give another word"
        )
    return tuple(start + place for place in inside)


def _shown(tokens: Iterable[str]) -> str:
    return ", ".join(map(repr, tokens))


def _places(n_tokens: int, start: int, positions: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """A name for every token: slots are counted from their ends, what stands between them from its beginning."""
    slots = {place: f"{slot}-{held[-1] + 1 - place}" for slot, held in positions.items() for place in held}
    ends = {held[-1] for held in positions.values()}
    names, section, offset = [f"{START}+{place}" for place in range(start)], 0, 0
    for place in range(start, n_tokens):
        names.append(slots.get(place, f"text{section}+{offset}"))
        section, offset = (section + 1, 0) if place in ends else (section, offset + (place not in slots))
    return tuple(names)


# --- many prompts ---------------------------------------------------------------------------------------------------


def last_positions(prompts: Sequence[SlottedPrompt], slot: str | None) -> Int[np.ndarray, " prompt"]:
    """Where the last token of a slot is in every prompt; without a slot, the last token of the prompt."""
    return np.array([len(each.token_ids) - 1 if slot is None else each.last(slot) for each in prompts], dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignedGraphs:
    """The features of several graphs, counted as one where layer, place in the template and feature agree."""

    keys: tuple[tuple[int, str, int], ...]
    """Layer, place and feature, sorted."""
    rows: Int[np.ndarray, "graph key"]
    """The number of the node in each graph; -1 where the graph has none."""

    def values(self, of_graphs: Sequence[np.ndarray], absent: float = 0.0) -> np.ndarray:
        """Numbers of every graph's nodes, such as activations, as [graph, key]; `absent` where there is no node."""
        padded = [np.append(np.asarray(numbers, dtype=np.float64), absent) for numbers in of_graphs]
        return np.stack([numbers[row] for numbers, row in zip(padded, self.rows, strict=True)])

    @property
    def share(self) -> np.ndarray:
        """In which share of the graphs each key has a node."""
        mean: np.ndarray = (self.rows >= 0).mean(0)
        return mean


def align(graphs: Sequence[Graph], prompts: Sequence[SlottedPrompt]) -> AlignedGraphs:
    """Line up graphs of prompts of one template by their slots; InputError for a graph of another prompt."""
    if not graphs or len(graphs) != len(prompts):
        raise InputError(f"{len(graphs)} graphs and {len(prompts)} prompts: give a prompt for each graph, at least one")
    nodes: list[dict[tuple[int, str, int], int]] = []
    for graph, prompt in zip(graphs, prompts, strict=True):
        if tuple(graph.token_ids) != prompt.token_ids:
            raise InputError(f"the graph of {graph.prompt!r} has other tokens than the prompt {prompt.text!r}")
        listed = enumerate(graph.feature_keys.tolist())
        nodes.append({(layer, prompt.places[position], feature): row for row, (layer, position, feature) in listed})
    keys = sorted(set().union(*nodes))
    rows = np.array([[found.get(key, -1) for key in keys] for found in nodes], dtype=np.int64)
    return AlignedGraphs(keys=tuple(keys), rows=rows.reshape(len(graphs), len(keys)))
