"""Make the pictures of the glossary in `docs/glossary`, one a term and language, from the bundled kit.

python docs/glossary_pictures.py            # all, in about a minute
python docs/glossary_pictures.py null clt   # some

Every number in them is measured when this runs. What is not in the kit, a small SAE and small transcoders, is trained
here on sentences of the small world.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import clew
from clew.attribution.local_model import LocalModel
from clew.organism import World
from clew.runs.fidelity import replaced_logits
from clew.studies.charts import keys, legend, named_rows, open_corner
from clew.subject.recording import Add, Affine, Attend, Normalize, advance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

FOLDER = Path(__file__).parent / "glossary"
PROMPT = "The capital of France is"
HEAD, FEATURE, LATER = 1, "L0/2027", "L4/1590"  # the head of layer 0, and the features, that the prompt rests on
BLUE, ORANGE, GREY, PALE = "#1f6fb2", "#d1661a", "#8a8a8a", "#dce8f3"
COLOURS, DOTS = 48, 110  # of a picture, and per inch
FAMILIES = (
    "capitals",
    "languages",
    "cities",
    "translation",
    "opposites",
    "sums",
    "years",
    "roots",
    "behaviours",
    "stories",
)
QUESTIONS = (
    (PROMPT, " Paris"), ("The capital of Italy is", " Rome"), ("The language of Brazil is", " Portuguese"),
    ("You find Lyon in", " France"), ("The sum of 34 and 29 is", " 63"), ("The opposite of large is", " small"),
)  # fmt: skip

Say = Callable[[str, str], str]
"""Picks the English or the Russian wording."""
Picture = Callable[["Bench", Figure, Say], None]
PICTURES: dict[str, tuple[float, Picture]] = {}


class Bench:
    """What the pictures are made of: the kit, one traced prompt, and two small dictionaries that are trained here."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kit = folder, clew.load("minnow")
        self.subject, self.dictionary = self.kit.subject, self.kit.dictionary
        self.graph = self.kit.trace(PROMPT, effects=True)
        self.recording = self.subject.record(PROMPT)
        self.local = LocalModel.of_graph(self.subject, self.dictionary, self.graph)
        self.paris = self.graph.targets[0].token
        self.tokens = [token.strip() for token in self.graph.tokens]

    @cached_property
    def circuit(self) -> clew.Circuit:
        return self.kit.circuit(self.graph, draws=60)

    @cached_property
    def text(self) -> Path:
        path = self.folder / "world.txt"
        path.write_text("\n".join(World(seed=0).corpus(20_000).documents))
        return path

    def trained(self, kind: str) -> clew.Dictionary:
        """A small dictionary of a kind, trained once: 512 features a layer, eight of them active."""
        run = self.folder / kind
        if run.exists():
            return clew.Dictionary.load(run / "dictionary")
        settings: dict[str, Any] = {"features": 512, "k": 8, "steps": 400, "batch": 512, "held_out": 1000}
        for _ in clew.train(run, kit="minnow", text=str(self.text), kind=kind, check_every=0, **settings):
            pass
        return clew.Dictionary.load(run / "dictionary")

    def chance(self, cases: Sequence[Any], token: str) -> list[float]:
        """The probability of a token in each case, a prompt with its edits."""
        return [float(row[0]) for row in self.kit.readings(cases, [token]).probabilities]


def picture(name: str, height: float = 2.9) -> Callable[[Picture], Picture]:
    """Names the function that draws one term."""

    def named(draw: Picture) -> Picture:
        PICTURES[name] = (height, draw)
        return draw

    return named


def main(names: Sequence[str]) -> None:
    torch.set_num_threads(2)
    FOLDER.mkdir(exist_ok=True)
    mpl.rcParams.update({"font.size": 9, "axes.titlesize": 9, "axes.titlelocation": "left"})
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for name in names or PICTURES:
            height, draw = PICTURES[name]
            for place, language in enumerate(("en", "ru")):
                figure = Figure(figsize=(6.6, height), layout="constrained")
                draw(bench, figure, lambda *wordings, place=place: wordings[place])
                keep(figure, FOLDER / f"{name}-{language}.png")


def keep(figure: Figure, path: Path) -> None:
    """A picture with few colours."""
    content = io.BytesIO()
    figure.savefig(content, dpi=DOTS, facecolor="white")
    image = Image.open(content).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def bars(axes: Axes, names: Sequence[str], values: Sequence[float], colour: Any = BLUE, form: str = "{:+.2f}") -> None:
    """Bars that lie, the first at the top, each with its number."""
    rows = range(len(names) - 1, -1, -1)
    axes.barh(rows, values, color=colour, height=0.65)
    named_rows(axes, names)
    edge = max(map(abs, values))
    axes.set_xlim(min(0.0, 1.28 * min(values)), 1.22 * max(*values, 0.05 * edge))
    for row, value in zip(rows, values, strict=True):
        axes.annotate(
            form.format(value), (value, row), xytext=(3 if value >= 0 else -3, 0), textcoords="offset points",
            va="center", ha="left" if value >= 0 else "right", fontsize=8,
        )  # fmt: skip
    open_corner(axes)


def grid(axes: Axes, values: Any, top: float, form: str = "{:.2f}") -> Any:
    """A matrix in shades of blue, each cell with its number."""
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=top, aspect="auto")
    for (row, column), value in np.ndenumerate(np.asarray(values)):
        if np.isfinite(value):
            colour = "white" if value > 0.6 * top else "black"
            axes.text(column, row, form.format(value), ha="center", va="center", fontsize=7, color=colour)
    return image


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
        axes, (BLUE, "s", say("what a part writes", "что пишет часть")),
        (ORANGE, "s", say("writes against", "пишет против")), ("black", "o", say("the stream so far", "поток до сих пор")),
    )  # fmt: skip
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
    neuron = str(graph.node(int(weights.argmax())).id).split("@")[0]
    texts = {name: [] for name in FAMILIES}
    for statement in islice(World(seed=1).statements(), 6000):
        if len(texts.get(statement.family, [None] * 40)) < 40:
            texts[statement.family].append(statement.text)
    for shift, (kit, name, colour, what) in enumerate((
        (neurons, neuron, GREY, say("neuron", "нейрон")), (bench.kit, LATER, BLUE, say("feature", "признак")),
    )):  # fmt: skip
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
    axes.set_title(say(
        f"{LATER}: the contexts of the corpus where it is most active", f"{LATER}: контексты корпуса, где он активнее всего"
    ))  # fmt: skip
    renderer = canvas.get_renderer()
    for row, context in enumerate(card.top[:6]):
        left, first = 0.0, max(0, context.at - 9)
        near = zip(context.shown, context.activations, strict=True)
        for token, value in list(near)[first : context.at + 3]:
            shade = mpl.colormaps["Blues"](0.75 * value / card.max_activation)
            label = axes.text(
                left, 0.9 - 0.15 * row, token.replace(" ", "\u00a0"), fontsize=9, transform=axes.transAxes,
                bbox={"boxstyle": "square,pad=0.12", "facecolor": shade if value else "white", "edgecolor": "none"},
            )  # fmt: skip
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
        (upper, stream[-1], say(f"The stream at “is”, layer {layer}: {len(stream[0])} numbers, all in use", f"Поток у «is», слой {layer}: {len(stream[0])} чисел, заняты все")),
        (lower, values, say(
            f"The same in {len(values)} features: {int((values > 0).sum())} active; {missed:.0%} of it is missed",
            f"То же в {len(values)} признаках: активны {int((values > 0).sum())}; упущено {missed:.0%}",
        )),
    ):  # fmt: skip
        axes.vlines(range(len(numbers)), 0, numbers.detach(), color=BLUE, linewidth=1.4 if axes is upper else 2)
        axes.axhline(0, color=GREY, linewidth=0.6)
        axes.set_title(title)
        open_corner(axes)


@picture("transcoder", 3.2)
def transcoder(bench: Bench, figure: Figure, say: Say) -> None:
    dictionary, layer = bench.trained("plt"), 0
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
    axes.set_title(say(
        "What active features write, by layer (sum of activation × decoder norm)",
        "Что пишут активные признаки, по слоям (сумма: активация × норма декодера)",
    ))  # fmt: skip


# --- the method -----------------------------------------------------------------------------------------------------


@picture("replacement-model", 2.9)
def replacement_model(bench: Bench, figure: Figure, say: Say) -> None:
    real, replaced = [], []
    for prompt, answer in QUESTIONS:
        ids, token = bench.subject.encode(prompt)[None], bench.subject.token_ids(answer)[0]
        left_out = torch.zeros_like(ids, dtype=torch.bool)
        left_out[:, 0] = True
        logits = replaced_logits(bench.subject, bench.dictionary, ids, left_out)[0, -1]
        replaced.append(100 * float(logits.softmax(-1)[token]))
        real.append(100 * float(bench.subject.logits(ids)[0, -1].softmax(-1)[token]))
    axes = figure.subplots()
    rows = np.arange(len(QUESTIONS))[::-1]
    for shift, values, colour, name in (
        (0.2, real, GREY, say("the model", "модель")), (-0.2, replaced, BLUE, say("all MLPs replaced", "все MLP заменены")),
    ):  # fmt: skip
        axes.barh(rows + shift, values, height=0.38, color=colour, label=name)
        for row, value in zip(rows + shift, values, strict=True):
            axes.text(value + 1, row, f"{value:.0f}", va="center", fontsize=8)
    named_rows(axes, [f"{prompt} → {answer.strip()}" for prompt, answer in QUESTIONS])
    axes.set_xlim(0, 112)
    axes.set_xlabel(say("probability of the answer, %", "вероятность ответа, %"))
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    open_corner(axes)


@picture("error-node", 2.7)
def error_node(bench: Bench, figure: Figure, say: Say) -> None:
    errors, site = bench.local.errors, bench.dictionary.write_site
    outputs = torch.stack([bench.recording.sites[site, layer] for layer in range(bench.dictionary.n_layers)])
    share = (errors.norm(dim=-1) / outputs.norm(dim=-1)).detach().numpy()[::-1, 1:]
    axes = figure.subplots()
    grid(axes, 100 * share, 100, "{:.0f}")
    axes.set_xticks(range(len(bench.tokens) - 1), bench.tokens[1:])
    axes.set_yticks(range(len(share)), reversed(range(len(share))))
    axes.set_ylabel(say("layer", "слой"))
    axes.set_title(say(
        "How long each error is, in % of the MLP output that it belongs to", "Длина ошибки в % от выхода MLP, к которому она относится"
    ))  # fmt: skip


@picture("attribution", 3.2)
def attribution(bench: Bench, figure: Figure, say: Say) -> None:
    graph = bench.graph
    target = graph.n_nodes - 1
    row, offsets = graph.inputs(target), float(graph.offsets[target].sum())
    chosen = row.abs().topk(7).indices.tolist()
    names = [
        graph.node_label(i) if graph.node_label(i).startswith("L") else f"{say('token', 'токен')}{graph.node_label(i)}"
        for i in chosen
    ]
    rest = float(row.sum() - row[chosen].sum())
    values = [*row[chosen].tolist(), rest, offsets, float(row.sum()) + offsets]
    n_rest = int((row != 0).sum()) - len(chosen)
    names = [name if len(name) < 46 else f"{name[:44]}…" for name in names]
    names += [
        say(f"{n_rest} other nodes", f"прочие узлы: {n_rest}"),
        say("biases, positions, sink", "смещения, позиции, сток"),
        say("sum = the logit", "сумма = логит"),
    ]
    axes = figure.subplots()
    bars(axes, names, values, [*[BLUE if value > 0 else ORANGE for value in values[:-1]], "black"])
    axes.set_xlabel(say("what it adds to the logit of “Paris”", "что прибавляет к логиту «Paris»"))


@picture("attribution-graph", 3.6)
def attribution_graph(bench: Bench, figure: Figure, say: Say) -> None:
    graph = bench.graph.prune(node=0.8, edge=0.9)
    places: dict[int, tuple[float, float]] = {}
    taken: dict[tuple[int, int], int] = {}
    for index, node in enumerate(graph.nodes):
        layer = {"token": -1, "target": bench.dictionary.n_layers}.get(node.id.kind, getattr(node, "layer", 0))
        spot = taken[node.position, layer] = taken.get((node.position, layer), -1) + 1
        places[index] = (node.position + 0.11 * ((spot + 1) // 2) * (-1) ** spot, layer)
    axes = figure.subplots()
    largest = float(graph.rows.abs().max())
    for row, target in enumerate(graph.row_nodes.tolist()):
        for column in graph.rows[row].nonzero()[:, 0].tolist():
            weight, source = float(graph.rows[row, column]), int(graph.col_nodes[column])
            ends = zip(places[source], places[target], strict=True)
            axes.plot(*ends, color=BLUE if weight > 0 else ORANGE, linewidth=0.4 + 4 * abs(weight) / largest, alpha=0.4)
    looks = {"feature": ("o", BLUE), "error": ("D", GREY), "token": ("s", "black"), "target": ("s", "black")}
    for index, node in enumerate(graph.nodes):
        marker, colour = looks[node.id.kind]
        axes.plot(*places[index], marker=marker, color=colour, markersize=6, markeredgecolor="white")
    axes.set_xticks(range(len(bench.tokens)), bench.tokens)
    layers = [say("token", "токен"), *map(str, range(bench.dictionary.n_layers)), "Paris"]
    axes.set_yticks(range(-1, bench.dictionary.n_layers + 1), layers)
    axes.set_ylabel(say("layer", "слой"))
    axes.set_xlim(0.5, len(bench.tokens) - 0.3)
    keys(axes, (BLUE, "o", say("feature", "признак")), (GREY, "D", say("error", "ошибка")))
    legend(axes, loc="upper left")
    open_corner(axes)


@picture("circuit", 2.9)
def circuit(bench: Bench, figure: Figure, say: Say) -> None:
    found, axes = bench.circuit, figure.subplots()
    groups = [found.group(name) for name in found.chain]
    spots = {"T@4": (0.0, 1.0), "T@2": (0.0, 0.0), "answer": (3.0, 0.5)}
    spots |= {
        group.id: (2.0, 0.5) if group.role == "output" else (1.0, 1.0 if group is groups[0] else 0.0)
        for group in groups
    }
    texts = {"T@4": "France", "T@2": "capital", "answer": f"Paris\n{found.answer.probability:.1%}"}
    texts |= {group.id: f"{group.name}\n{len(group.members)} {say('features', 'призн.')}" for group in groups}
    for edge in found.edges:
        if edge.source in spots and edge.target in spots:
            (x, y), (to, up) = spots[edge.source], spots[edge.target]
            axes.annotate(
                "", (to - 0.02, up), (x + 0.02, y), zorder=0,
                arrowprops={"arrowstyle": "-|>", "color": BLUE, "linewidth": 0.6 + 3 * edge.measured, "shrinkA": 34, "shrinkB": 38},
            )  # fmt: skip
            near = 0.36 if edge.target == "answer" and edge.source == groups[0].id else 0.46
            note = f"{edge.measured:.0%}" + (f" ({', '.join(edge.heads[:1])})" if edge.heads else "")
            axes.text(
                x + near * (to - x), y + near * (up - y), note, fontsize=7.5, ha="center", va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
    for id, (x, y) in spots.items():
        axes.text(
            x,
            y,
            texts[id],
            ha="center",
            va="center",
            fontsize=8.5,
            bbox={"boxstyle": "round,pad=0.45", "facecolor": PALE, "edgecolor": BLUE},
        )
    axes.set(xlim=(-0.35, 3.35), ylim=(-0.35, 1.35))
    axes.set_axis_off()
    axes.set_title(say("Share of each end that is lost without its start", "Какая доля конца теряется без его начала"))


@picture("necessity-and-sufficiency", 3.0)
def necessity(bench: Bench, figure: Figure, say: Say) -> None:
    found, axes = bench.circuit, figure.subplots()
    groups = found.groups[:5]
    rows = np.arange(len(groups) + 1)[::-1]
    measured = [
        *[(g.without, g.alone, g.null.probability) for g in groups],
        (found.without, found.alone, found.null.probability),
    ]
    wordings = (
        say("without it", "без неё"),
        say("it alone", "только она"),
        say("without random features", "без случайных признаков"),
    )
    for column, (colour, marker, name) in enumerate(zip((ORANGE, BLUE, GREY), "so|", wordings, strict=True)):
        axes.plot(
            [100 * m[column] for m in measured],
            rows,
            marker,
            color=colour,
            markersize=8 if marker == "|" else 6,
            markeredgewidth=2 if marker == "|" else 1,
            label=name,
        )
    named_rows(axes, [*[g.name for g in groups], say("all groups", "все группы")])
    axes.grid(axis="y", color="#eeeeee")
    axes.set_xlabel(say("probability of “Paris”, %", "вероятность «Paris», %"))
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=8)
    open_corner(axes)


@picture("ablation-and-steering", 3.0)
def ablation_and_steering(bench: Bench, figure: Figure, say: Say) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    group = bench.circuit.groups[0]
    cases = [(PROMPT, group.edits()[:count]) for count in (0, 1, 4, 8, len(group.members))]
    values = [100 * value for value in bench.chance(cases, " Paris")]
    left.bar(range(len(cases)), values, color=ORANGE, width=0.65)
    left.set_xticks(range(len(cases)), [str(len(edits)) for _, edits in cases])
    left.set_xlabel(say("features of “country: France” ablated", "отключено признаков «country: France»"))
    left.set_ylabel(say("probability of “Paris”, %", "вероятность «Paris», %"))
    left.set_title(say("Ablation", "Отключение"))
    strengths = np.linspace(0, 20, 11)
    cases = [("You find Lyon in", [clew.Edit.set("L0/447@4", float(value))]) for value in strengths]
    for token, colour in ((" France", GREY), (" Italy", BLUE)):
        right.plot(
            strengths,
            [100 * p for p in bench.chance(cases, token)],
            color=colour,
            marker="o",
            markersize=3,
            label=token.strip(),
        )
    right.set_xlabel(say("strength of L0/447 at “in”", "сила L0/447 у «in»"))
    right.set_title(say("Steering: “You find Lyon in …”", "Управление: «You find Lyon in …»"))
    legend(right)
    open_corner(left, right)


@picture("null", 2.7)
def null(bench: Bench, figure: Figure, say: Say) -> None:
    group, axes = bench.circuit.groups[0], figure.subplots()
    draws = [100 * p for p in group.null.probabilities]
    axes.hist(
        draws,
        bins=np.linspace(0, 100, 41),
        color=GREY,
        label=say(f"{len(draws)} random sets, as heavy", f"{len(draws)} случайных наборов того же веса"),
    )
    axes.axvline(
        100 * group.without, color=ORANGE, linewidth=2, label=say(f"the group “{group.name}”", f"группа «{group.name}»")
    )
    axes.set_xlabel(
        say("probability of “Paris” that is left without them, %", "вероятность «Paris», которая остаётся без них, %")
    )
    axes.set_ylabel(say("sets", "наборов"))
    legend(axes, loc="upper left")
    open_corner(axes)


if __name__ == "__main__":
    main(sys.argv[1:])
