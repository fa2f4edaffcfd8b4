"""Words that decide the answer together, though each alone may change: "share the last bread", and who does it.

Where no word decides by itself, spans of neighbouring words are replaced as a whole, by what the model would say in
their place: each of its likeliest other beginnings, gone on with greedily for as many tokens. The shortest span without
which most of the answer goes stands for its words from then on, as one word. Of a long prompt only the most influential
spans are tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.circuit.measuring import LiveRuns
from clew.circuit.replacements import BROKEN, Dependence, fallen, lost_activation
from clew.circuit.words import Word

DECIDES = 0.2  # share of the answer that a word decides by itself: then no phrase is looked for
MOST = 0.5  # of the answer, which must go with a phrase
NEARLY = 0.8  # of what goes with the best span: the shortest with so much is the phrase
LONGEST = 4  # words of a phrase
BEGINNINGS = 3  # texts that stand in its place
TRIED = 60  # spans, each of which takes a few runs


@torch.no_grad()
def with_phrase(
    runs: LiveRuns, words: Sequence[Word], found: Dependence, influence: Float[Tensor, " pos"]
) -> tuple[list[Word], Dependence]:
    """The words with those of a phrase as one, and what depends on it; as they were where a word decides, or no span
    does."""
    outputs = {target.position for target in runs.graph.targets}
    before = [place for place, word in enumerate(words) if max(word.positions) < min(outputs)]
    if runs.subject.tokenizer is None or max((float(found.answer[p]) for p in before), default=1.0) >= DECIDES:
        return list(words), found
    spans = [
        (start, stop)
        for start in before
        for stop in range(start + 2, start + LONGEST + 1)
        if stop - 1 in before and all(_is_free(words[p], found, p) for p in (start, stop - 1))
    ]
    weight = [float(influence[list(word.positions)].sum()) for word in words]
    tried = sorted(spans, key=lambda span: -mean(weight[slice(*span)]))[:TRIED]
    measured = [(span, _without(runs, words[slice(*span)])) for span in sorted(tried)]
    falls = {span: each[0] for span, each in measured if each is not None}
    best = max(falls.values(), default=0.0)
    if best < MOST:
        return list(words), found
    start, stop = min((s for s in falls if falls[s] >= NEARLY * best), key=lambda s: (s[1] - s[0], -falls[s]))
    features = next(each[1] for span, each in measured if span == (start, stop) and each is not None)
    return _joined(runs, words, found, (start, stop), falls[start, stop], features)


def _is_free(word: Word, found: Dependence, place: int) -> bool:
    """Whether a word may be at the end of a phrase: one for which another may stand. Numbers are no phrase: where all
    that were tried do as well, the answer depends on what they share."""
    return bool(found.tried[place]) and any(map(str.isalpha, word.text))


def _joined(
    runs: LiveRuns,
    words: Sequence[Word],
    found: Dependence,
    span: tuple[int, int],
    fall: float,
    features: Float[Tensor, " feature"],
) -> tuple[list[Word], Dependence]:
    start, stop = span
    positions = tuple(range(words[start].positions[0], words[stop - 1].positions[-1] + 1))
    ids = [runs.graph.token_ids[position] for position in positions]
    phrase = Word(text=runs.subject.text_of(ids), positions=positions)
    joined = Dependence(
        features=torch.cat([found.features[:, :start], features[:, None], found.features[:, stop:]], 1),
        answer=torch.cat([found.answer[:start], torch.tensor([fall]), found.answer[stop:]]),
        tried=torch.cat([found.tried[:start], torch.ones(1, dtype=torch.bool), found.tried[stop:]]),
    )
    return [*words[:start], phrase, *words[stop:]], joined


def _without(runs: LiveRuns, words: Sequence[Word]) -> tuple[float, Float[Tensor, " feature"]] | None:
    """What replacing some words together takes from the answer and every feature; None where each text is broken."""
    first, last = words[0].positions[0], words[-1].positions[-1]
    prompts = _replaced(runs, first, last)
    outcomes = runs.on_prompts(prompts)
    less = outcomes.likelihood[0] - outcomes.likelihood[1:]
    texts = (less <= BROKEN).nonzero()[:, 0]
    if not len(texts):
        return None
    return float(fallen(runs, outcomes)[texts].mean()), lost_activation(runs, outcomes)[texts].mean(0)


def _replaced(runs: LiveRuns, first: int, last: int) -> Int[Tensor, "row pos"]:
    """The prompt, then with other tokens from `first` to `last`: likely beginnings, each gone on with greedily."""
    ids = runs.ids.cpu()
    own = int(ids[first])
    said = runs.subject.unembed(runs.final[first - 1]) if first else None
    if said is None:
        return ids[None]
    tokenizer = runs.subject.tokenizer
    special = set() if tokenizer is None else {*tokenizer.all_special_ids}
    likely = [t for t in said.topk(BEGINNINGS + 1 + len(special)).indices.tolist() if t not in {own, *special}]
    likely = likely[:BEGINNINGS]
    rows = ids.repeat(len(likely), 1)
    rows[:, first] = torch.tensor(likely)
    for position in range(first + 1, last + 1):
        final = runs.subject.run(rows[:, :position].to(runs.subject.device)).final[:, -1]
        logits = runs.subject.unembed(final)
        logits[:, list(special)] = -torch.inf  # what ends a text stands in no phrase
        rows[:, position] = logits.argmax(-1).cpu()
    return torch.cat([ids[None], rows])
