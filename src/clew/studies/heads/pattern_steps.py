"""Runs of the study `heads` as finished parts: patterns on texts and on repeated sequences, silenced heads, relations.

Heads are chosen on every other text and measured on the rest, and so are the random keys beside them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.heads import scores
from clew.studies.heads.conllu import Sentence
from clew.studies.heads.head_model import HeadModel
from clew.studies.heads.relations import RelatedWords, between_words, most_attended, word_ids
from clew.studies.heads.texts import DomainText, Repeat

MAPPED = 48
"""Texts, at most, on which distances between heads are measured."""
_BATCH = 32


def text_scores(model: HeadModel, texts: Sequence[DomainText], draws: int, seed: int) -> Steps:
    """Scores of all heads on every text, random keys for two of them [draw, head], and distances on some texts."""
    found: dict[str, list[np.ndarray]] = {}
    mapped = set(np.linspace(0, len(texts) - 1, min(MAPPED, len(texts))).astype(int).tolist())
    for place, text in enumerate(texts):
        if place % _BATCH == 0:
            yield Progress(what="patterns", done=place, of=len(texts), unit="texts")
        pattern = model.patterns(text.ids).numpy().astype(np.float64)
        content, delimiters = model.content(text.ids).numpy(), model.delimiters(text.ids).numpy()
        numbers = {
            scores.FIRST: scores.first_share(pattern, content),
            scores.DELIMITERS: scores.delimiter_share(pattern, content, delimiters),
            scores.ENTROPY: scores.relative_entropy(pattern, content, causal=model.causal),
        }
        generator = np.random.default_rng([seed, place])
        for name, offset in ((scores.PREVIOUS, -1), (scores.NEXT, 1)):
            pairs = scores.neighbours(content, offset, causal=model.causal)
            numbers[name] = pairs.attention(pattern)
            if place % 2:
                numbers[f"{name}.null"] = pairs.random_attention(pattern, draws, generator)
        if place in mapped:
            numbers["distance"] = scores.distances(pattern, content)
        for name, number in numbers.items():
            found.setdefault(name, []).append(number)
    stacked = {name: torch.from_numpy(np.stack(each)) for name, each in found.items()}
    return {name: each.nanmean(0) if name.endswith(".null") else each for name, each in stacked.items()}


def repeat_scores(model: HeadModel, kinds: Mapping[str, Sequence[Repeat]], draws: int, seed: int) -> Steps:
    """Induction and duplicates of all heads on every sequence [sequence, head], and random keys [draw, head]."""
    found: dict[str, Tensor] = {}
    for number, (kind, sequences) in enumerate(kinds.items()):
        yield Progress(what="repeated sequences", done=number, of=len(kinds), unit="kinds")
        numbers: dict[str, list[np.ndarray]] = {}
        for place, each in enumerate(sequences):
            pattern = model.patterns(each.ids).numpy().astype(np.float64)
            generator = np.random.default_rng([seed, number, place])
            for name, shift in ((scores.INDUCTION, 1), (scores.DUPLICATE, 0)):
                pairs = scores.copies(
                    each.first, each.second, each.length, shift, len(each.ids), causal=model.causal
                )  # fmt: skip
                numbers.setdefault(f"{name}.{kind}", []).append(pairs.attention(pattern))
                if place % 2:
                    drawn = pairs.random_attention(pattern, draws, generator)
                    numbers.setdefault(f"{name}.{kind}.null", []).append(drawn)
        for name, rows in numbers.items():
            whole = torch.from_numpy(np.stack(rows))
            found[name] = whole.nanmean(0) if name.endswith(".null") else whole
    return found


def silenced_effects(model: HeadModel, texts: Sequence[DomainText]) -> Steps:
    """What every head's silence does to every text [text, head]: nats more a token, or one minus the cosine."""
    means = yield from _mean_writings(model, texts)
    order = sorted(range(len(texts)), key=lambda place: len(texts[place].ids))
    effects = torch.zeros(len(texts), model.n_layers * model.n_heads, dtype=torch.float64)
    size = means.shape[1] // model.n_heads
    for start in range(0, len(order), _BATCH):
        part = order[start : start + _BATCH]
        ids = torch.zeros(len(part), max(len(texts[place].ids) for place in part), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, place in enumerate(part):
            ids[row, : len(texts[place].ids)] = torch.tensor(texts[place].ids)
            mask[row, : len(texts[place].ids)] = 1
        whole = model.outcome(ids, mask)
        for head in range(effects.shape[1]):
            if head % model.n_heads == 0:
                done = (start + len(part) * head / effects.shape[1]) * effects.shape[1]
                yield Progress(what="silenced heads", done=int(done), of=len(order) * effects.shape[1], unit="runs")
            layer, number = divmod(head, model.n_heads)
            mean = means[layer, number * size : (number + 1) * size]
            silent = model.outcome(ids, mask, {layer: (number, mean)})
            change = silent - whole if whole.ndim == 1 else 1 - (silent * whole).sum(1)
            effects[part, head] = change.double().cpu()
    return {"effects": effects}


def _mean_writings(model: HeadModel, texts: Sequence[DomainText]) -> Generator[Progress, None, Tensor]:
    """The mean of what heads write, over all tokens of all texts [layer, d]."""
    total, count = None, 0
    for place, text in enumerate(texts):
        if place % _BATCH == 0:
            yield Progress(what="what heads write", done=place, of=len(texts), unit="texts")
        rows = model.written(text.ids)[:, model.content(text.ids)].double()
        total = rows.sum(1) if total is None else total + rows.sum(1)
        count += rows.shape[1]
    assert total is not None, "there are no texts"
    return total / count


def relation_hits(model: HeadModel, sentences: Sequence[Sentence], pairs: RelatedWords) -> Steps:
    """In which pairs each head looks most at the wanted word [pair, head]."""
    right = torch.zeros(len(pairs.asked), model.n_layers * model.n_heads, dtype=torch.uint8)
    for number, sentence in enumerate(sentences):
        if number % _BATCH == 0:
            yield Progress(what="relations", done=number, of=len(sentences), unit="sentences")
        mine = np.flatnonzero(pairs.sentence == number)
        ids, words = word_ids(sentence, model.piece_ids)
        pattern = model.patterns((*model.prefix, *ids, *model.suffix)).numpy().astype(np.float64)
        attention = between_words(pattern, len(model.prefix), words, len(sentence.words))
        best = most_attended(attention, causal=model.causal)
        hits = best[:, pairs.asked[mine]] == pairs.wanted[mine]
        right[mine] = torch.from_numpy(hits.T.astype(np.uint8))
    return {"right": right}
