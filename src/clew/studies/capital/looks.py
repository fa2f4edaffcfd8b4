"""How the country gets to the last token: what heads look at there, what a look is made of, what passes by which head.

1. *Weights*: how much of its attention each head gives, from the last token, to the country's.
2. *Looks*: the score of the first layer's surest head is taken apart into its sources on both sides.
3. *Loadings*: the edge from the country's token into carriers of the first layer at the last token, by head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clew.kit import Kit
from clew.progress import Progress
from clew.studies.capital.carriers import Carriers
from clew.studies.case import Steps
from clew.studies.columns import Columns
from clew.studies.slots import SlottedPrompt
from clew.subject.positions import first_counted

COUNTRIES = 12
"""Of how many countries patterns are recorded, in every sentence."""
SOURCES = ("the token itself", "other tokens", "features", "errors", "biases and positions")
NODES = 5
"""Carriers of which the edges are taken apart, in every prompt."""


@torch.no_grad()
def weights(kit: Kit, sentences: Sequence[Sequence[SlottedPrompt | None]]) -> Steps:
    """Attention from the last token to the country's, and the mean over the other tokens, [prompt, layer, head]."""
    prompts = [prompt for each in sentences for prompt in each[:COUNTRIES] if prompt is not None]
    own, others = [], []
    for done, prompt in enumerate(prompts):
        yield Progress(what="looks", done=done, of=len(prompts), unit="prompts")
        ids = torch.tensor(prompt.token_ids)
        first, places = first_counted(kit.subject, ids), prompt.at("country")
        rest = [place for place in range(first, len(ids)) if place not in places]
        patterns = [pattern[:, -1].float().cpu() for pattern in kit.subject.record(ids).patterns().values()]
        own.append(torch.stack([pattern[:, list(places)].sum(-1) for pattern in patterns]))
        others.append(torch.stack([pattern[:, rest].mean(-1) for pattern in patterns]))
    return {"own": torch.stack(own), "others": torch.stack(others)}


def sources(kit: Kit, prompts: Sequence[SlottedPrompt], head: int) -> Steps:
    """What the first layer's head looks at the country for: [prompt, side, source], the score's contrast by source."""
    rows = []
    for done, prompt in enumerate(prompts):
        yield Progress(what="looks taken apart", done=done, of=len(prompts), unit="prompts")
        query, key = len(prompt.token_ids) - 1, prompt.last("country")
        graph = kit.looks(list(prompt.token_ids), layer=0, head=head, query=query, key=key, effects=False)
        sides = []
        for target, place in zip(graph.target_range, (query, key), strict=True):
            inputs = graph.inputs(target)
            tokens = inputs[graph.part("token")]
            parts = (
                tokens[place],
                tokens.sum() - tokens[place],
                inputs[graph.part("feature")].sum(),
                inputs[graph.part("error")].sum(),
                graph.offsets[target].sum(),
            )
            sides.append(torch.stack([part.float() for part in parts]))
        rows.append(torch.stack(sides))
    return {"sources": torch.stack(rows)}


def loadings(kit: Kit, prompts: Sequence[SlottedPrompt], columns: Columns, carriers: Carriers) -> Steps:
    """The edges from the country's token into the strongest first-layer carriers, by head; last what passes none."""
    first = int(columns.layer.min())
    chosen = carriers.identity & (columns.layer == first)
    ids = {int(index) for index in columns.index[chosen]}
    rows: list[Tensor] = []
    for done, prompt in enumerate(prompts):
        yield Progress(what="edges taken apart", done=done, of=len(prompts), unit="prompts")
        graph, last = kit.trace(list(prompt.token_ids)), len(prompt.token_ids) - 1
        places = [
            place
            for place, (layer, at, index) in enumerate(graph.feature_keys.tolist())
            if layer == first and at == last and index in ids
        ]
        token = graph.token_range[prompt.last("country")]
        for place in sorted(places, key=lambda p: -float(graph.inputs(p)[token].abs()))[:NODES]:
            parts = kit.parts(graph, place)
            heads = sorted(key for key in parts.loadings if key[0] == first)
            by_head = torch.stack([parts.loadings[key][token] for key in heads])
            rows.append(torch.cat([by_head, (parts.value[token] - by_head.sum())[None]]).float())
    return {"loadings": torch.stack(rows) if rows else torch.zeros(0, 1)}
