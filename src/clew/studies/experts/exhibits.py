"""Tables and pictures of the study `experts`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from clew.kit import Kit
from clew.stats import null_range
from clew.studies.case_findings import BLUE, GREY, Picture, Table, new_figure
from clew.studies.charts import lying, named_rows, open_corner
from clew.studies.experts.claims import ExpertMeasures, ModelMeasures, over_clusters, permuted, token_domains
from clew.studies.experts.config import DENSE, DOMAINS
from clew.studies.experts.neurons import ExpertNeuron

TOKENS = 6
"""Tokens of every expert that are listed."""
MOST_DARK = 0.6
"""The share of a colour map's top from which on numbers are written in white."""


def model_table(measured: ExpertMeasures) -> Table:
    """Losses of every kind of model, and how far its experts are told apart."""
    rows = []
    for name, model in measured.models.items():
        contrasts = model.by_label if model is measured.tested else model.contrasts
        routed = "" if model.recipe is DENSE else ", ".join(model.unrouted()) or "none"
        rows.append((name, *model.losses().mean(0).tolist(), *over_clusters(contrasts), routed))
    return Table.of_rows(
        "Models",
        ["model", *DOMAINS, "diagonal", "diagonal low", "diagonal high", "experts without a token"],
        rows,
        note="Nats a token by domain with nothing ablated, means over seeds. `diagonal`: by how much more a domain's "
        "loss rises without its expert than without another. Experts without a domain from training are given the "
        "best one on other sentences.",
    )


def ablation_table(measured: ExpertMeasures) -> Table:
    """The ablation matrices, means over seeds."""
    rows = [
        (name, DOMAINS[expert], *values)
        for name, model in measured.models.items()
        for expert, values in enumerate(_shown(measured, model).mean(0).tolist())
    ]
    return Table.of_rows(
        "By how much each domain's loss rises without each expert",
        ["model", "without", *DOMAINS],
        rows,
        note="Nats a token, the mean over seeds. Of the dense model, a group of neurons stands for an expert.",
    )


def _shown(measured: ExpertMeasures, model: ModelMeasures) -> np.ndarray:
    return model.rises() if model is measured.tested else model.matrices


def routing_table(measured: ExpertMeasures) -> Table:
    """Where the tokens of each domain are routed, by layer."""
    rows = [
        (layer, DOMAINS[domain], *shares)
        for layer, domains in enumerate(measured.tested.routed(measured.test).mean(0).tolist())
        for domain, shares in enumerate(domains)
    ]
    return Table.of_rows(
        f"Where tokens are routed: {measured.tested.recipe.name}",
        ["layer", "tokens of", *(f"to {domain}" for domain in DOMAINS)],
        rows,
        note="The share of a domain's tokens that each expert gets, the mean over seeds.",
    )


def token_table(measured: ExpertMeasures, kit: Kit) -> Table:
    """The most frequent tokens of every expert in the first model under test."""
    chosen = measured.tested.parts[0]["chosen"].numpy()
    tokens, domains = np.concatenate(list(measured.test.ids)), token_domains(measured.test)
    rows = []
    for expert in range(len(DOMAINS)):
        of_expert = Counter(np.repeat(tokens[None], len(chosen), 0)[chosen == expert].tolist())
        for token, _ in of_expert.most_common(TOKENS):
            there = tokens == token
            shares = np.bincount(chosen[:, there].ravel(), minlength=len(DOMAINS)) / (there.sum() * len(chosen))
            spread = np.bincount(domains[there], minlength=len(DOMAINS)) / there.sum()
            name = kit.subject.token_strings([token])[0]
            rows.append((DOMAINS[expert], name, int(there.sum()), *shares.tolist(), float(spread[expert])))
    return Table.of_rows(
        f"The tokens that each expert gets most: {kit.subject.name}",
        ["expert", "token", "times", *(f"to {domain}" for domain in DOMAINS), "in its domain"],
        rows,
        note="`to ...`: where the token goes, over all its places and layers. `in its domain`: how often it stands in "
        "a sentence of the expert's domain.",
    )


def influence_table(measured: ExpertMeasures) -> Table:
    """Whose neurons answers use."""
    rows = [(DOMAINS[d], *shares) for d, shares in enumerate(measured.tested.influences().mean(0).tolist())]
    return Table.of_rows(
        "Whose neurons the influence on a sentence's last token passes through",
        ["sentences of", *(f"{domain} expert" for domain in DOMAINS)],
        rows,
        note="Exact graphs by the experts' own neurons, the choice of experts held; four sentences of each domain and "
        "model.",
    )


def neuron_table(measured: ExpertMeasures, neurons: Sequence[ExpertNeuron]) -> Table:
    """What the strongest neurons of every expert do."""
    rows = [
        (each.layer, DOMAINS[each.expert], f"L{each.layer}/{each.neuron}", each.domains[each.expert], each.promoted,
         each.fires_on)
        for each in neurons
    ]  # fmt: skip
    return Table.of_rows(
        "The neurons of every expert that write most",
        ["layer", "expert", "neuron", "in its domain", "promotes", "fires on"],
        rows,
        note="Of the first model under test. `in its domain`: the expert's domain's share of all that the neuron "
        "writes, domains counted alike; a quarter by chance.",
    )


def ablation_picture(measured: ExpertMeasures) -> Picture:
    """The ablation matrices of all models side by side."""
    models = list(measured.models.items())
    figure = new_figure(2.6 * len(models) + 0.7, 2.9)
    panels = np.atleast_1d(figure.subplots(1, len(models), sharey=True))
    shown = [_shown(measured, model).mean(0) for _, model in models]
    top = max(float(np.abs(matrix).max()) for matrix in shown)
    for axes, (name, _), matrix in zip(panels, models, shown, strict=True):
        axes.imshow(matrix, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto")
        for expert, row in enumerate(matrix):
            for domain, value in enumerate(row):
                colour = "white" if abs(value) > MOST_DARK * top else "black"
                axes.text(domain, expert, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(DOMAINS)), DOMAINS, fontsize=8)
        axes.set_yticks(range(len(DOMAINS)), DOMAINS, fontsize=8)
        axes.set_title(name, fontsize=9)
    panels[0].set_ylabel("expert ablated")
    figure.supxlabel("loss in sentences of (nats a token more)", fontsize=9)
    return Picture.of(
        figure,
        title="What is lost without each expert",
        text="By how many nats a token the loss of a column's sentences rises when a row's expert is taken away in "
        "every layer, the mean over seeds. Where experts are for something, only the diagonal is red. In the "
        "dense model a quarter of the neurons, grouped by domain, stands for an expert; in models whose experts were "
        "given no domain, rows are in the best order, found on other sentences.",
    )


def contrast_picture(measured: ExpertMeasures) -> Picture:
    """How far the diagonal stands out, beside permuted domains."""
    names = list(measured.models)
    figure = new_figure(6.0, 0.9 + 0.42 * len(names))
    axes = figure.subplots()
    for place, model in enumerate(reversed(list(measured.models.values()))):
        under_test = model is measured.tested
        null = null_range(permuted(_shown(measured, model), measured.config).tolist())
        axes.plot([null.low, null.high], [place, place], color=GREY, linewidth=6, alpha=0.5, solid_capstyle="butt")
        lying(axes, over_clusters(model.by_label if under_test else model.contrasts), place, BLUE)
    named_rows(axes, names)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_xlabel("nats a token: own expert ablated, less another")
    open_corner(axes)
    return Picture.of(
        figure,
        title="How far the diagonal stands out",
        text="By how much more a domain's loss rises without its expert than without another: mean and interval over "
        "seeds and domains (blue), and where 95 % of permuted domains lie (grey).",
    )


def routing_picture(measured: ExpertMeasures) -> Picture:
    """Where each domain's tokens go, layer by layer, in every model that routes."""
    models = [(name, model) for name, model in measured.models.items() if model.recipe is not DENSE]
    figure = new_figure(2.2 * measured.config.layers + 1.0, 1.9 * len(models) + 0.6)
    panels = figure.subplots(len(models), measured.config.layers, sharex=True, sharey=True, squeeze=False)
    for row, (name, model) in zip(panels, models, strict=True):
        for layer, (axes, shares) in enumerate(zip(row, model.routed(measured.test)[0], strict=True)):
            axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            for (domain, expert), value in np.ndenumerate(shares):
                colour = "white" if value > MOST_DARK else "black"
                axes.text(expert, domain, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
            axes.set_xticks(range(len(DOMAINS)), [str(expert + 1) for expert in range(len(DOMAINS))], fontsize=7)
            axes.set_yticks(range(len(DOMAINS)), DOMAINS, fontsize=7)
            axes.set_title(f"{name}, layer {layer}", fontsize=8)
    figure.supxlabel("expert (staged: 1 language, 2 logic, 3 social, 4 world; elsewhere bare numbers)", fontsize=8)
    figure.supylabel("tokens of sentences of", fontsize=8)
    return Picture.of(
        figure,
        title="Where tokens are routed",
        text="The share of each domain's tokens that goes to each expert, in the first seed's models. Only in the "
        "staged one was an expert trained on a domain.",
    )
