"""Cards and labels in published layouts: Neuronpedia's bulk files, and the feature JSON of attribution pages.

    {model}/{layer}-{source}/release.jsonl, model.jsonl, sourceset.jsonl, source.jsonl
    {model}/{layer}-{source}/features/batch-0.jsonl.gz        one line a feature: figures and promoted tokens
    {model}/{layer}-{source}/activations/batch-0.jsonl.gz     one line a context
    {model}/{layer}-{source}/explanations/batch-0.jsonl.gz    one line a label

Keys and layout are those of its public files; its importer was not run on ours. `maxValue` is the largest activation
in the context, which in a band may stand at another token than the one for which the context was drawn
(`qualifyingTokenIndex`).
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clew import files
from clew.attribution.graph_json_nodes import cantor
from clew.dictionary.dictionary import Dictionary
from clew.dictionary.layouts.hook_names import READ_HOOKS, WRITE_HOOKS
from clew.errors import InputError
from clew.features.card import Band, Card, Context, Histogram
from clew.features.label import Label
from clew.ids import FeatureId

_BATCH = 1024  # features a file
_LARGEST = 65504.0  # of float16
_HOOKS = {site: hook for hook, site in (READ_HOOKS | WRITE_HOOKS).items()}
_NAME = re.compile(r"\w[\w.-]*")


def write_bulk(
    folder: Path | str,
    cards: Iterable[Card],
    labels: Mapping[FeatureId, Sequence[Label]],
    *,
    model: str,
    source: str,
    dictionary: Dictionary | None = None,
) -> int:
    """Write cards, one layer after the other, with their labels; returns how many features.

    `model` and `source` are the names that the files give. The Dictionary gives the hook to which a feature writes
    first and its decoder there (of a CLT's decoders the first); both are empty without one.
    InputError when a name cannot name a folder, or the cards of a layer do not stand together.
    """
    for name in (model, source):
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} cannot name a folder: use letters, digits, dots and dashes")
    written, seen = 0, set[int]()
    for layer, together in groupby(cards, key=lambda card: card.feature.layer):
        if layer in seen:
            raise InputError(f"the cards of layer {layer} do not stand together: sort them by feature")
        seen.add(layer)
        name = f"{layer}-{source}"
        source_folder = Path(folder) / model / name
        _write_heads(source_folder, model, source, name)
        rest = iter(together)
        for number in count():
            batch = list(islice(rest, _BATCH))
            if not batch:
                break
            _write_batch(source_folder, number, batch, labels, {"modelId": model, "layer": name}, dictionary)
            written += len(batch)
    return written


def _write_heads(folder: Path, model: str, source: str, name: str) -> None:
    description = "written by clew"
    heads = {
        "release": {"name": source, "description": description},
        "model": {"id": model, "displayName": model},
        "sourceset": {"modelId": model, "name": source, "description": description, "releaseName": source},
        "source": {"modelId": model, "id": name, "setName": source},
    }
    for kind, head in heads.items():
        files.write_text(folder / f"{kind}.jsonl", json.dumps(head, ensure_ascii=False) + "\n")


def _write_batch(
    folder: Path,
    number: int,
    cards: Sequence[Card],
    labels: Mapping[FeatureId, Sequence[Label]],
    head: Mapping[str, str],
    dictionary: Dictionary | None,
) -> None:
    def about(card: Card) -> dict[str, Any]:
        return {**head, "index": str(card.feature.index)}

    written = _written(dictionary, cards)
    tables = {
        "features": [{**about(card), **_neuron(card), **more} for card, more in zip(cards, written, strict=True)],
        "activations": [{**about(card), **line} for card in cards for line in _activations(card)],
        "explanations": [{**about(card), **_explanation(n)} for card in cards for n in labels.get(card.feature, ())],
    }
    for kind, lines in tables.items():
        text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
        files.write_bytes(folder / kind / f"batch-{number}.jsonl.gz", gzip.compress(text.encode(), mtime=0))


def _neuron(card: Card) -> dict[str, Any]:
    near = [related for related in card.nearest_decoder if related.feature.layer == card.feature.layer]
    return {
        "maxActApprox": card.max_activation,
        "frac_nonzero": card.density,
        "pos_str": [weight.token for weight in card.promoted],
        "pos_values": [weight.weight for weight in card.promoted],
        "neg_str": [weight.token for weight in card.suppressed],
        "neg_values": [weight.weight for weight in card.suppressed],
        **_bars("freq_hist_data", card.linear_histogram),
        **_bars("logits_hist_data", card.logits),
        "topkCosSimIndices": [related.feature.index for related in near],
        "topkCosSimValues": [related.value for related in near],
    }


def _written(dictionary: Dictionary | None, cards: Sequence[Card]) -> list[dict[str, Any]]:
    """The hook and the decoder of every feature of one layer."""
    if dictionary is None:
        return [{"hookName": "", "vector": []} for _ in cards]
    layer = cards[0].feature.layer
    hook = _HOOKS[dictionary.write_site]
    rows = dictionary.decoder_rows(layer, torch.tensor([card.feature.index for card in cards]))[:, 0].float()
    name = f"blocks.{dictionary.written_layers(layer)[0]}.{hook}"
    return [{"hookName": name, "vector": row.tolist()} for row in rows]


def _bars(name: str, histogram: Histogram) -> dict[str, Any]:
    return {f"{name}_bar_heights": list(histogram.counts), f"{name}_bar_values": list(histogram.edges[:-1])}


def _activations(card: Card) -> Iterator[dict[str, Any]]:
    strongest = Band(low=0.0, high=card.max_activation, fired=card.fired, contexts=card.top)
    for band in (strongest, *card.bands):
        for context in band.contexts:
            bounds = {"binMin": band.low, "binMax": band.high, "binContains": band.fired / max(card.fired, 1)}
            yield {**_activation(context, card, None if band is strongest else band), **bounds}
    for context in card.silent:
        yield {**_activation(context, card), "binMin": 0.0, "binMax": 0.0, "binContains": 1 - card.density}


def _activation(context: Context, card: Card, band: Band | None = None) -> dict[str, Any]:
    """A context, its 16-bit activations clipped to the 32-bit bounds that stand beside them."""
    rounded = float(np.float16(min(card.max_activation, _LARGEST)))
    values = [card.max_activation if value >= rounded > 0 else value for value in context.activations]
    if band is not None:
        below = float(np.nextafter(np.float32(band.high), np.float32(0)))
        values[context.at] = min(max(values[context.at], band.low), below)
    return {
        "tokens": list(context.shown),
        "values": values,
        "maxValue": max(values),
        "maxValueTokenIndex": values.index(max(values)),
        "minValue": min(values),
        "qualifyingTokenIndex": context.at,
        "dataIndex": str(context.document),
        "dataSource": "clew",
    }


def _explanation(label: Label) -> dict[str, Any]:
    score = label.score("detection")
    return {
        "description": label.text,
        "typeName": f"clew_{label.kind}",
        "explanationModelName": label.author,
        "notes": label.note,
        "scoreV1": None if score is None else score.value,
    }


# --- feature JSON ---------------------------------------------------------------------------------------------------


def write_features(folder: Path | str, cards: Iterable[Card]) -> int:
    """One JSON file a feature, named by the number that a graph's JSON gives it; returns how many."""
    with files.new_folder(folder) as new:
        written = 0
        for card in cards:
            number = cantor(card.feature.layer, card.feature.index)
            files.write_json(new / f"{number}.json", feature_json(card), indent=None)
            written += 1
    return written


def feature_json(card: Card) -> dict[str, Any]:
    """A card as attribution pages read a feature; the index is the feature's within its layer."""
    groups = [("Top activations", card.top)]
    groups += [(f"Activations from {band.low:.3g} to {band.high:.3g}", band.contexts) for band in card.bands]
    return {
        "index": card.feature.index,
        "examples_quantiles": [
            {
                "quantile_name": name,
                "examples": [{"tokens": list(c.shown), "tokens_acts_list": list(c.activations)} for c in contexts],
            }
            for name, contexts in groups
            if contexts
        ],
        "top_logits": [weight.token for weight in card.promoted],
        "bottom_logits": [weight.token for weight in card.suppressed],
    }
