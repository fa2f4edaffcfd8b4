"""Pictures of the glossary: the parts of a model, and what is active in it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import torch
from glossary_bench import (
    BLUE,
    FAMILIES,
    FEATURE,
    GREY,
    HEAD,
    LATER,
    ORANGE,
    PROMPT,
    Bench,
    Say,
    bars,
    grid,
    picture,
)
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import clew
from clew.organism import World
from clew.studies.charts import keys, legend, named_rows, open_corner
from clew.subject.recording import Add, Affine, Attend, Normalize, advance

if TYPE_CHECKING:
    from torch import Tensor

# --- the model ------------------------------------------------------------------------------------------------------


def towards_paris(bench: Bench) -> Tensor:
    """The direction of the last token's final stream along which the logit of Paris grows, the norm's scale held."""
    affine, norm = (
        next(s for s in reversed(bench.recording.steps) if isinstance(s, kind)) for kind in (Affine, Normalize)
    )
    unembedding = bench.subject.unembedding
    direction = (unembedding[bench.paris] - unembedding.mean(0)) * affine.weight * norm.scale[-1]
    return (direction - direction.mean()).detach()


@picture("residual-stream", 3.1)
def residual_stream(bench: Bench, figure: Figure, say: Say) -> None:
    direction, registers, sites = towards_paris(bench), {}, {}
    names, parts, sums = [], [], []
    for step in bench.recording.steps:
        advance(registers, sites, step)
        if "stream" in registers and (not names or isinstance(step, Add)):
            total = float(registers["stream"][-1] @ direction)
            number = (len(names) - 1) // 2
            kind = say("attention", "внимание") if len(names) % 2 else "MLP"
            names.append(f"{kind} {number}" if names else say("token", "токен"))
            parts.append(total - (sums[-1] if sums else 0.0))
            sums.append(total)
    axes = figure.subplots()
    places = range(len(names))
    axes.bar(places, parts, color=[BLUE if part >= 0 else ORANGE for part in parts], width=0.7)
    axes.plot(places, sums, color="black", marker="o", markersize=3, linewidth=1)
    axes.set_xticks(places, names, rotation=40, ha="right", fontsize=8)
    axes.axhline(0, color=GREY, linewidth=0.7)
    axes.set_ylabel(say("towards “Paris”, logits", "в пользу «Paris», логиты"))
    axes.set_title(
        say(
            "The stream at “is”: every part adds to it, nothing is overwritten",
            "Поток у «is»: каждая часть прибавляет, ничто не стирается",
        )
    )
    keys(
        axes,
        (BLUE, "s", say("what a part writes", "что пишет часть")),
        (ORANGE, "s", say("writes against", "пишет против")),
        ("black", "o", say("the stream so far", "поток до сих пор")),
    )
    legend(axes, loc="upper left")
    open_corner(axes)


@picture("logit", 2.6)
def logit(bench: Bench, figure: Figure, say: Say) -> None:
    logits = bench.recording.logits[-1]
    chosen = logits.topk(7).indices.tolist()
    names = [token.strip() for token in bench.subject.token_strings(chosen)]
    left, right = figure.subplots(1, 2, sharey=True)
    bars(left, names, [float(logits[i] - logits.mean()) for i in chosen], form="{:.1f}")
    bars(right, names, [100 * float(bench.recording.probabilities[-1][i]) for i in chosen], form="{:.2f}")
    left.set_title(say("logits less their mean", "логиты минус их среднее"))
    right.set_title(say("after the softmax: probability, %", "после softmax: вероятность, %"))


@picture("attention-head", 3.2)
def attention_head(bench: Bench, figure: Figure, say: Say) -> None:
    pattern = bench.recording.patterns()[0][HEAD].numpy().copy()
    pattern[np.triu_indices(len(pattern), 1)] = np.nan
    axes = figure.subplots()
    grid(axes, pattern, 1.0)
    axes.set_xticks(range(len(bench.tokens)), bench.tokens)
    axes.set_yticks(range(len(bench.tokens)), bench.tokens)
    axes.set_xlabel(say("looks at (key)", "куда смотрит (ключ)"))
    axes.set_ylabel(say("looks from (query)", "откуда смотрит (запрос)"))
    axes.set_title(
        say(f"Head L0H{HEAD}: every row sums to one", f"Головка L0H{HEAD}: каждая строка в сумме даёт единицу")
    )


@picture("qk-and-ov", 2.7)
def qk_and_ov(bench: Bench, figure: Figure, say: Say) -> None:
    steps = bench.recording.steps
    place = next(i for i, step in enumerate(steps) if isinstance(step, Attend))
    attend, registers = steps[place], {}
    for step in steps[:place]:
        advance(registers, {}, step)
    norm, affine = (next(s for s in steps[place:] if isinstance(s, kind)) for kind in (Normalize, Affine))
    encoder = bench.dictionary.encoder_rows(0, torch.tensor([int(FEATURE.split("/")[1])]))[0]
    reads = affine.weight * encoder * norm.scale[-1]
    reads = reads - reads.mean() if norm.centred else reads
    written = (registers[attend.source] @ attend.value[HEAD] + attend.value_bias[HEAD]) @ attend.output[HEAD] @ reads
    weights = attend.pattern[HEAD, -1]
    panels = figure.subplots(1, 3, sharey=True)
    columns = (weights, written, weights * written)
    titles = (
        say("QK: how much “is” looks", "QK: сколько смотрит «is»"),
        say("OV: what would arrive", "OV: что пришло бы"),
        say("their product arrives", "приходит произведение"),
    )
    for axes, values, title, form in zip(panels, columns, titles, ("{:.2f}", "{:+.1f}", "{:+.1f}"), strict=True):
        bars(axes, bench.tokens, [float(x) for x in values.detach()], form=form)
        axes.set_title(title)
    panels[1].set_xlabel(
        say(f"to feature {FEATURE}, in its pre-activation", f"признаку {FEATURE}, в его предактивации")
    )


# --- features -------------------------------------------------------------------------------------------------------


@picture("activation", 2.6)
def activation(bench: Bench, figure: Figure, say: Say) -> None:
    text = "The capital of France is Paris. The sum of 34 and 29 is 63. You find Lyon in France."
    (seen,) = bench.kit.activations([text])
    tokens = [token.strip() or token for token in bench.subject.token_strings(seen.token_ids)]
    axes = figure.subplots()
    for shift, (name, colour) in enumerate(((FEATURE, BLUE), (LATER, ORANGE))):
        values = seen.of([name])[:, 0].tolist()
        axes.bar([i + 0.4 * shift - 0.2 for i in range(len(values))], values, width=0.4, color=colour, label=name)
    axes.set_xticks(range(len(tokens)), tokens, rotation=60, ha="right", fontsize=8)
    axes.set_ylabel(say("activation", "активация"))
    axes.set_title(
        say("Two features on one text: silent almost everywhere", "Два признака на одном тексте: почти везде молчат")
    )
    legend(axes)
    open_corner(axes)


@picture("superposition", 3.2)
def superposition(bench: Bench, figure: Figure, say: Say) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    layers = range(bench.dictionary.n_layers)
    counts = [bench.dictionary.d_features(layer) for layer in layers]
    left.bar(layers, counts, color=BLUE, width=0.7)
    left.axhline(bench.subject.d_model, color=ORANGE, label=say("numbers in the stream: 128", "чисел в потоке: 128"))
    left.set_xlabel(say("layer", "слой"))
    left.set_title(say("features", "признаки"))
    left.set_ylim(0, 1.15 * max(counts))
    legend(left)
    open_corner(left)
    neurons = clew.Kit(bench.subject)
    graph = neurons.trace(PROMPT)
    weights = graph.inputs(graph.n_nodes - 1)[: graph.n_features]
    neuron = str(graph.node(int(weights.argmax())).id).partition("@")[0]
    texts = {name: [] for name in FAMILIES}
    for statement in islice(World(seed=1).statements(), 6000):
        if len(texts.get(statement.family, [None] * 40)) < 40:
            texts[statement.family].append(statement.text)
    for shift, (kit, name, colour, what) in enumerate(
        (
            (neurons, neuron, GREY, say("neuron", "нейрон")),
            (bench.kit, LATER, BLUE, say("feature", "признак")),
        )
    ):
        fires = [
            100 * np.mean([float(a.of([name]).max()) > 0 for a in kit.activations(texts[family])])
            for family in FAMILIES
        ]
        rows = [len(FAMILIES) - 1 - i + 0.2 - 0.4 * shift for i in range(len(FAMILIES))]
        right.barh(rows, fires, height=0.38, color=colour, label=f"{what} {name}")
    named_rows(right, FAMILIES)
    right.set_title(say("% of sentences in which it fires", "% предложений, в которых он активен"))
    right.set_xlim(0, 135)
    legend(right, loc="lower right")
    open_corner(right)


@picture("feature", 2.5)
def feature(bench: Bench, figure: Figure, say: Say) -> None:
    card = bench.kit.atlas[LATER]
    axes = figure.subplots()
    axes.set_axis_off()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes.set_title(
        say(
            f"{LATER}: the contexts of the corpus where it is most active",
            f"{LATER}: контексты корпуса, где он активнее всего",
        )
    )
    renderer = canvas.get_renderer()
    contexts = [context for context in card.top if context.at >= 4]
    contexts += [context for band in card.bands for context in band.contexts if context.at >= 4]
    different = {context.tokens[context.at - 4 : context.at + 2]: context for context in reversed(contexts)}
    ranked = sorted(different.values(), key=lambda context: -context.activation)
    for row, context in enumerate(ranked[:6]):
        left, first = 0.0, max(0, context.at - 9)
        near = zip(context.shown, context.activations, strict=True)
        for token, value in list(near)[first : context.at + 3]:
            shade = mpl.colormaps["Blues"](0.75 * value / card.max_activation)
            label = axes.text(
                left,
                0.9 - 0.15 * row,
                token.replace(" ", "\u00a0"),
                fontsize=9,
                transform=axes.transAxes,
                bbox={"boxstyle": "square,pad=0.12", "facecolor": shade if value else "none", "edgecolor": "none"},
            )
            left += label.get_window_extent(renderer).width / axes.get_window_extent(renderer).width
    promoted = " · ".join(weight.token.strip() for weight in card.promoted[:6])
    axes.text(0, -0.02, say("it promotes: ", "продвигает: ") + promoted, fontsize=9, transform=axes.transAxes)


@picture("sae", 3.0)
def sae(bench: Bench, figure: Figure, say: Say) -> None:
    dictionary, layer = bench.trained("sae"), 3
    stream = bench.recording.sites[dictionary.read_site, layer]
    values = dictionary.activations(layer, stream)[-1]
    rebuilt = dictionary.reconstruct({layer: dictionary.encode(layer, stream)}, {layer: stream}, len(stream))[layer]
    missed = float((stream - rebuilt)[-1].square().sum() / (stream[-1] - stream[-1].mean()).square().sum())
    upper, lower = figure.subplots(2, 1)
    for axes, numbers, title in (
        (
            upper,
            stream[-1],
            say(
                f"The stream at “is”, layer {layer}: {len(stream[0])} numbers, all in use",
                f"Поток у «is», слой {layer}: {len(stream[0])} чисел, заняты все",
            ),
        ),
        (
            lower,
            values,
            say(
                f"The same in {len(values)} features: {int((values > 0).sum())} active; {missed:.0%} of it is missed",
                f"То же в {len(values)} признаках: активны {int((values > 0).sum())}; упущено {missed:.0%}",
            ),
        ),
    ):
        axes.vlines(range(len(numbers)), 0, numbers.detach(), color=BLUE, linewidth=1.4 if axes is upper else 2)
        axes.axhline(0, color=GREY, linewidth=0.6)
        axes.set_title(title)
        open_corner(axes)


@picture("transcoder", 3.2)
def transcoder(bench: Bench, figure: Figure, say: Say) -> None:
    dictionary, layer = bench.dictionary, 0  # features of the first layer alone write there
    left, right = figure.subplots(1, 2)
    reads, writes = (bench.recording.sites[site, layer] for site in (dictionary.read_site, dictionary.write_site))
    rebuilt = dictionary.reconstruct({layer: dictionary.encode(layer, reads)}, {layer: reads}, len(reads))[layer]
    neurons = clew.Kit(bench.subject).dictionary.activations(layer, bench.recording.sites["mlp_in", layer])[-1]
    features = dictionary.activations(layer, reads)[-1]
    for values, colour, what in (
        (neurons, GREY, say("neurons", "нейроны")),
        (features, BLUE, say("features", "признаки")),
    ):
        ranked = values[values > 0].sort(descending=True).values.detach()
        left.plot(
            range(1, len(ranked) + 1), ranked, color=colour, marker="o", markersize=3, label=f"{what}: {len(ranked)}"
        )
    left.set_title(say("What is active at “is”, layer 0", "Что активно у «is», слой 0"))
    left.set_xlabel(say("rank", "ранг"))
    legend(left)
    right.scatter(writes[1:].detach(), rebuilt[1:].detach(), s=5, color=BLUE, linewidths=0)
    edge = float(writes[1:].abs().max())
    right.plot([-edge, edge], [-edge, edge], color=GREY, linewidth=0.8)
    missed = float((writes - rebuilt)[1:].square().sum() / (writes[1:] - writes[1:].mean(0)).square().sum())
    right.set_title(say(f"{missed:.0%} of the variance is missed", f"упущено {missed:.0%} дисперсии"))
    right.set_xlabel(say("what the MLP writes", "что пишет MLP"))
    right.set_ylabel(say("what the features write", "что пишут признаки"))
    open_corner(left, right)


@picture("clt", 3.0)
def clt(bench: Bench, figure: Figure, say: Say) -> None:
    keys_, activations, n_layers = bench.graph.feature_keys, bench.graph.activations, bench.dictionary.n_layers
    written = np.full((n_layers, n_layers), np.nan)
    for layer in range(n_layers):
        mine = keys_[:, 0] == layer
        rows = bench.dictionary.decoder_rows(layer, keys_[mine, 2]) * activations[mine, None, None]
        for slot, out in enumerate(bench.dictionary.written_layers(layer)):
            written[layer, out] = float(rows[:, slot].norm(dim=1).sum())
    axes = figure.subplots()
    grid(axes, written, np.nanmax(written), "{:.0f}")
    axes.set_xlabel(say("layer to whose MLP output they write", "слой, в выход MLP которого они пишут"))
    axes.set_ylabel(say("layer that they read", "слой, который они читают"))
    axes.set_title(
        say(
            "What active features write, by layer (sum of activation × decoder norm)",
            "Что пишут активные признаки, по слоям (сумма: активация × норма декодера)",
        )
    )
