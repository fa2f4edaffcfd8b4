"""A few sentences, each token in the colour of the expert that it goes to in every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from clew.kit import Kit
from clew.studies.case_findings import BLUE, GREEN, GREY, ORANGE, Picture, new_figure
from clew.studies.experts.claims import ExpertMeasures
from clew.studies.experts.config import DOMAINS
from clew.studies.experts.measures import chosen_experts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, ORANGE, GREEN, GREY)
LONGEST = 16
"""Tokens of a sentence that is shown."""


def sentence_picture(measured: ExpertMeasures, kit: Kit) -> Picture:
    """One sentence of every domain, as the first model under test routes it."""
    from matplotlib.patches import Patch

    figure = new_figure(9.0, 5.2)
    for domain, axes in enumerate(figure.subplots(len(DOMAINS), 1)):
        _draw(axes, kit, _sentence(measured, domain), measured.test.start)
        axes.set_title(f"a sentence of {DOMAINS[domain]}", fontsize=8, loc="left", color=COLOURS[domain])
    patches = [Patch(color=colour, label=f"{name} expert") for colour, name in zip(COLOURS, DOMAINS, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(DOMAINS), frameon=False, fontsize=8)
    return Picture.of(
        figure,
        title="Sentences as they are routed",
        text="One sentence of every domain: a column a token, a row a layer, the first at the bottom, the colour that "
        "of the expert.",
    )


def _sentence(measured: ExpertMeasures, domain: int) -> np.ndarray:
    """The longest of the domain's sentences that can be shown whole."""
    of_domain = [measured.test.ids[place] for place in np.flatnonzero(measured.test.domains == domain)]
    fitting = [ids for ids in of_domain if len(ids) <= LONGEST]
    return max(fitting, key=len) if fitting else of_domain[0][:LONGEST]


def _draw(axes: Axes, kit: Kit, ids: np.ndarray, start: int) -> None:
    chosen = chosen_experts(kit.subject, torch.tensor([[start, *ids.tolist()]]))[:, 0, 1:].tolist()
    for layer, experts in enumerate(chosen):
        axes.bar(range(len(ids)), 0.92, bottom=layer, width=0.94, color=[COLOURS[expert] for expert in experts])
    names = [name.strip() or name for name in kit.subject.token_strings(ids.tolist())]
    axes.set_xticks(range(len(ids)), names, fontsize=8)
    axes.set_yticks(
        [layer + 0.46 for layer in range(len(chosen))], [str(layer) for layer in range(len(chosen))], fontsize=7
    )
    axes.set_xlim(-0.6, LONGEST - 0.4)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
