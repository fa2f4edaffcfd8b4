"""What an atlas must say, worked out the plain way: every activation kept, one feature at a time, lists and sorting."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch

from clew.training.activations import parts_of

MASK = 2**64 - 1
GOLDEN, OTHER = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def draw_of(document, position):
    return mix(mix((document + GOLDEN) & MASK) ^ (position * OTHER & MASK))


@dataclass
class Plain:
    """A corpus with all activations: `rows[document]` is [position, feature], features of all layers side by side."""

    documents: object
    config: object
    rows: dict = field(default_factory=dict)
    first: dict = field(default_factory=dict)
    """The number of every layer's first feature."""

    def tokens(self, document):
        starts = self.documents.starts
        return self.documents.tokens[starts[document] : starts[document + 1]].tolist()

    def places(self):
        for document in range(len(self.documents)):
            start = int(self.documents.starts[document])
            for position in range(len(self.tokens(document))):
                if self.documents.counted[start + position]:
                    yield document, position

    def window(self, document, position):
        low = max(0, position - self.config.before)
        return position - low, tuple(self.tokens(document)[low : position + self.config.after + 1])

    def around(self, document, position, feature):
        low = max(0, position - self.config.before)
        values = self.rows[document][low : position + self.config.after + 1, feature]
        return tuple(float(np.float16(v)) for v in values)

    def firings(self, feature):
        """(activation, document, position) wherever it fires."""
        return [
            (float(row[position, feature]), document, int(position))
            for document, row in sorted(self.rows.items())
            for position in np.flatnonzero(row[:, feature] > 0)
        ]

    def distinct(self, places):
        """Without those whose tokens around came before."""
        seen, kept = set(), []
        for document, position in places:
            if (window := self.window(document, position)) not in seen:
                seen.add(window)
                kept.append((document, position))
        return kept

    def below(self, wanted):
        """Positions whose hash is small enough to be drawn, in order of hash."""
        everywhere = list(self.places())
        limit = min(MASK, wanted * 2**64 // len(everywhere))
        return sorted((place for place in everywhere if draw_of(*place) <= limit), key=lambda p: draw_of(*p))


@torch.no_grad()
def activations(subject, dictionary, documents, config, chunk):
    """All activations, dense, documents batched as a harvest does, so that they are equal to the bit."""
    found, layers = Plain(documents, config), sorted(dictionary.layers)
    sizes = [dictionary.d_features(layer) for layer in layers]
    found.first = dict(zip(layers, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
    for first in range(0, len(documents), chunk):
        for part in parts_of(documents, torch.arange(first, min(first + chunk, len(documents)))):
            ids, counted = documents.padded(part)
            held = subject.capture(ids, [dictionary.read_site])
            dense = []
            for layer in sorted(dictionary.layers):
                pre = dictionary.preactivations(layer, held[dictionary.read_site, layer][counted])
                values = torch.zeros(*ids.shape, pre.shape[1])
                values[counted] = dictionary.layers[layer].nonlinearity.apply(pre).float()
                dense.append(values)
            whole = torch.cat(dense, -1).numpy()
            for row, document in enumerate(part.tolist()):
                found.rows[document] = whole[row, : int(documents.lengths[document])]
    return found


def check_card(card, plain, subject, feature, drawn, pool):
    """Everything that text says of a feature, to the last token."""
    config, firings = plain.config, plain.firings(feature)
    values = [v for v, _, _ in firings]
    everywhere = list(plain.places())
    assert card.positions == len(everywhere)
    assert card.fired == len(firings)
    assert card.fired_documents == len({document for _, document, _ in firings})
    assert card.max_activation == max(values, default=0)
    assert math.isclose(card.mean_activation, math.fsum(values) / max(1, len(values)), rel_tol=1e-9)
    _check_histograms(card, values)
    for places, shares in ((Counter(p for _, _, p in firings), card.places.fired),):
        bounds = [*card.places.bounds, math.inf]
        for low, high, share in zip(bounds, bounds[1:], shares, strict=False):
            assert math.isclose(share * max(1, len(firings)), sum(n for p, n in places.items() if low <= p < high))
    at_end = sum(p + 1 == len(plain.tokens(d)) for _, d, p in firings)
    assert math.isclose(card.places.at_last * max(1, len(firings)), at_end)
    ranked = sorted(firings, key=lambda f: (-f[0], f[1], f[2]))
    wanted = plain.distinct([(d, p) for _, d, p in ranked])[: config.contexts]
    _check_contexts(card.top, wanted, plain, subject, feature)
    _check_bands(card, plain, subject, feature, firings)
    _check_contexts(card.silent, _silent(card, plain, feature, pool), plain, subject, feature)


def _silent(card, plain, feature, pool):
    """A third of any kind, a third with a token at which it fires, a third near which similar features fire."""

    def fires_near(at, number):
        document, position = at
        low = max(0, position - plain.config.before)
        return (plain.rows[document][low : position + plain.config.after + 1, number] > 0).any()

    tokens = {context.token_ids[context.at] for context in card.top}
    siblings = [plain.first[each.feature.layer] + each.feature.index for each in card.nearest_encoder]
    kinds = (
        lambda at: True,
        lambda at: plain.tokens(at[0])[at[1]] in tokens,
        lambda at: any(fires_near(at, number) for number in siblings),
        lambda at: True,
    )
    rest = [at for at in pool if not fires_near(at, feature)]
    rest.sort(key=lambda at: mix(draw_of(*at) ^ (feature * OTHER & MASK)))
    chosen, third = [], math.ceil(plain.config.silent / 3)
    for number, kind in enumerate(kinds):
        free = plain.config.silent - len(chosen)
        chosen += [at for at in rest if at not in chosen and kind(at)][: free if number == 3 else min(third, free)]
    return chosen


def _check_contexts(found, wanted, plain, subject, feature):
    assert [(c.document, c.position) for c in found] == wanted
    for context in found:
        at, tokens = plain.window(context.document, context.position)
        assert (context.at, context.token_ids) == (at, tokens)
        assert context.tokens == subject.token_strings(tokens)
        assert context.activations == plain.around(context.document, context.position, feature)


def _check_histograms(card, values):
    log, linear = card.log_histogram, card.linear_histogram
    for histogram in (log, linear):
        assert sum(histogram.counts) == len(values)
        for low, high, count in zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False):
            low = 0 if low == 2.0**-10 else low  # what is smaller is counted in the first bin
            assert count == sum(low <= v < high for v in values)
    if values:
        assert all(math.isclose(b / a, 2**0.25) for a, b in zip(log.edges, log.edges[1:], strict=False))
        assert 32 <= max(values) / linear.edges[1] < 64
        assert log.counts[0] > 0
        assert log.counts[-1] > 0


def _check_bands(card, plain, subject, feature, firings):
    octaves = sorted({math.floor(math.log2(v)) for v, _, _ in firings}, reverse=True)
    octaves = [o for o in octaves if o > octaves[0] - 8]
    assert [(band.low, band.high) for band in card.bands] == [(2.0**o, 2.0 ** (o + 1)) for o in octaves]
    for band in card.bands:
        inside = [(d, p) for v, d, p in firings if band.low <= v < band.high]
        assert band.fired == len(inside)
        inside.sort(key=lambda at: mix(draw_of(*at) ^ (feature * GOLDEN & MASK)))
        wanted = plain.distinct(inside)[: plain.config.a_band]
        _check_contexts(band.contexts, wanted, plain, subject, feature)


def check_together(card, atlas, plain, feature, drawn):
    """Pairs counted one by one on the drawn positions."""
    own = [at for at in drawn if plain.rows[at[0]][at[1], feature] > 0]
    joint = Counter(g for d, p in own for g in np.flatnonzero(plain.rows[d][p] > 0).tolist() if g != feature)
    counts = Counter(g for d, p in drawn for g in np.flatnonzero(plain.rows[d][p] > 0).tolist() if g in joint)
    pmi = {g: math.log(n * len(drawn) / (len(own) * counts[g])) for g, n in joint.items() if n >= 5}
    best = sorted((v for v in pmi.values() if v > 0), reverse=True)[: plain.config.related]
    np.testing.assert_allclose([r.value for r in card.together], best, rtol=2e-3)
    for related in card.together:
        assert math.isclose(related.value, pmi[atlas.number(related.feature)], rel_tol=2e-3)


class Weights:
    """Relations by whole matrices in float64."""

    def __init__(self, subject, dictionary):
        layers, width = sorted(dictionary.layers), dictionary.d_model
        gemma, gpt = (name in type(subject.model).__name__ for name in ("Gemma2", "GPT2"))

        def weight(norm):
            return norm.weight.detach().double() + (1 if gemma else 0)

        def centred(rows):
            return rows - rows.mean(-1, keepdim=True) if gpt else rows

        self.read, encoders, decoders, scaled, written = [], [], [], [], []
        for layer in layers:
            ids = torch.arange(dictionary.d_features(layer))
            encoder = dictionary.encoder_rows(layer, ids).double()
            whole = torch.zeros(len(ids), dictionary.n_layers, width, dtype=torch.float64)
            whole[:, list(dictionary.writes[layer])] = dictionary.decoder_rows(layer, ids).double()
            encoders.append(encoder)
            decoders.append(whole.sum(1))
            if gemma and dictionary.write_site == "mlp_raw_out":
                whole *= torch.stack([weight(b.post_feedforward_layernorm) for b in subject.model.model.layers])
            written.append(whole)
            through = encoder * weight(subject.modules["mlp_norm", layer])
            scaled.append(centred(through) if dictionary.read_site == "mlp_in" else encoder)
            self.read += [layer] * len(ids)
        self.encoder, self.decoder = (_unit(torch.cat(rows)) for rows in (encoders, decoders))
        self.scaled, self.written = torch.cat(scaled), torch.cat(written)
        final = weight(subject.model.transformer.ln_f if gpt else subject.model.model.norm)
        logits = (centred(self.written.sum(1)) * final) @ subject.unembedding.double().T
        self.logits = logits - logits.mean(1, keepdim=True)

    def virtual(self, source, target):
        """From feature to feature: zero unless the source writes before the target reads."""
        return float(self.written[source, : self.read[target]].sum(0) @ self.scaled[target])

    def check(self, card, atlas, f, related):
        n = len(self.read)
        for shown, sign in ((card.promoted, 1), (card.suppressed, -1)):
            best = (sign * self.logits[f]).topk(len(shown)).values * sign
            np.testing.assert_allclose([t.weight for t in shown], best, rtol=2e-3, atol=2e-3)
            ids = [t.token_id for t in shown]
            np.testing.assert_allclose(self.logits[f][ids], best, rtol=2e-3, atol=2e-3)
        assert sum(card.logits.counts) == self.logits.shape[1]
        inner = np.array(card.logits.edges[1:-1])
        np.testing.assert_allclose(
            np.cumsum(card.logits.counts)[:-1], [(self.logits[f] < e).sum() for e in inner], atol=2
        )
        for shown, rows in ((card.nearest_decoder, self.decoder), (card.nearest_encoder, self.encoder)):
            cosines = rows @ rows[f]
            cosines[f] = -2
            _check_related(shown, cosines, atlas, related)
        into = torch.tensor([self.virtual(s, f) if self.read[s] < self.read[f] else 0.0 for s in range(n)])
        out = torch.tensor([self.virtual(f, t) if self.read[t] > self.read[f] else 0.0 for t in range(n)])
        for shown, values in ((card.inputs, into), (card.outputs, out)):
            if not bool(values.any()):
                assert shown == ()
            else:
                _check_related(shown, values, atlas, related, strongest=True)


def _check_related(shown, values, atlas, related, *, strongest=False):
    size = values.abs() if strongest else values
    best = size.topk(related).values
    found = values[[atlas.number(r.feature) for r in shown]]
    np.testing.assert_allclose([r.value for r in shown], found, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(found.abs() if strongest else found, best, rtol=2e-3, atol=2e-3)


def _unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)
