"""Neurons that moved in a pupil: which push its favourite colour more than in the base model, and what they do.

    push     = activation behind `NAME likes` x (what the neuron writes . (the colour's direction - mean of colours))
    movement = push in the pupil - push in the base model

The neurons of a small model are its exact dictionary: pushes of all of them, and what attention and biases add, make up
the colour's logit before the final norm's scale. Those that moved most are chosen by some names, and ablated behind
others: the MLPs' outputs of both layers are held but for what the ablated neurons wrote. Beside them stand other active
neurons of the same layers, near in activation times decoder length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clew.ids import FeatureId
from clew.intervention.edit import Edit
from clew.intervention.matched_sets import decoder_norms, matched_pairs
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.subliminal.language import ASKED_NAMES, COLOUR_TOKENS, PROMPT, SHOWN_NAMES
from clew.studies.subliminal.lineage import Lineage, preferences

COUNTS = (10, 25, 50, 100, 150)
"""Numbers of neurons that are ablated for the picture."""
DRAWS = 8
"""Sets of matched neurons for each pupil."""


def pushes_and_masses(kit: Kit, colour: int) -> tuple[Float[Tensor, " neuron"], Float[Tensor, " neuron"]]:
    """Every neuron's mean push of a colour behind `NAME likes`, and how much it writes there; layers in a row."""
    model, dictionary, layers = kit.subject.model, kit.dictionary, sorted(kit.dictionary.layers)
    colours = model.lm_head.weight[COLOUR_TOKENS]
    direction = (colours[colour] - colours.mean(0)) * model.transformer.ln_f.weight
    direction = (direction - direction.mean()).detach()
    prompts = PROMPT[SHOWN_NAMES].tolist()
    read = list(kit.activations(prompts, positions=[-1] * len(prompts)))
    pushes, masses = [], []
    for layer in layers:
        active = torch.stack([each.layers[layer][0] for each in read]).mean(0).detach().float().cpu()
        ids = torch.arange(len(active))
        pushes.append(active * (dictionary.decoder_rows(layer, ids)[:, 0].detach() @ direction))
        masses.append(active * decoder_norms(dictionary, layer, ids).detach())
    return torch.cat(pushes), torch.cat(masses)


def neuron_layers(kit: Kit) -> tuple[Int[Tensor, " neuron"], Int[Tensor, " neuron"]]:
    """The layer of every neuron, and which of its layer it is."""
    sizes = {layer: kit.dictionary.d_features(layer) for layer in sorted(kit.dictionary.layers)}
    layer = torch.cat([torch.full((size,), each) for each, size in sizes.items()])
    return layer, torch.cat([torch.arange(size) for size in sizes.values()])


def measure_moved(lineage: Lineage, count: int) -> Steps:
    """A part: movements of all neurons, the chosen ones, and the preference without these and without matched ones."""
    colour, pupil = lineage.colour, lineage.pupils["same"]
    yield Progress(what=f"neurons of pupil {lineage.seed}", done=0, of=1)
    movements = {
        name: _movement(kit, lineage.other if name == "other" else lineage.base, colour)
        for name, kit in {"teacher": lineage.teacher, **lineage.pupils}.items()
    }
    order = movements["same"].argsort(descending=True)
    layer, index = neuron_layers(pupil)
    mass = pushes_and_masses(pupil, colour)[1]
    generator = torch.Generator().manual_seed(lineage.seed + 5)

    def without(places: Tensor, kit: Kit = pupil) -> float:
        features = [FeatureId(int(layer[place]), int(index[place])) for place in places]
        return _preference_without(kit, features, colour)

    def matched(chosen: Tensor) -> Tensor:
        tested = torch.zeros(len(mass), dtype=torch.bool)
        tested[chosen] = True
        pairs = matched_pairs(tested, layer, mass, generator, free=mass > 0)
        return torch.tensor([*pairs.values()], dtype=torch.long)

    curve = [(without(order[:n]), without(matched(order[:n]))) for n in COUNTS]
    sets = [order[:count]] + [matched(order[:count]) for _ in range(DRAWS)]
    return {
        "layer": layer,
        "index": index,
        "chosen": order[:count],
        "ablated": torch.tensor([without(places) for places in sets]),
        "base ablated": torch.tensor(without(order[:count], lineage.base)),
        "drawn": torch.tensor([len(places) for places in sets]),
        "written": torch.tensor([float(mass[places].sum()) for places in sets]),
        "curve": torch.tensor(curve),
        **{f"movement.{name}": each for name, each in movements.items()},
    }


def _movement(kit: Kit, base: Kit, colour: int) -> Float[Tensor, " neuron"]:
    return pushes_and_masses(kit, colour)[0] - pushes_and_masses(base, colour)[0]


def _preference_without(kit: Kit, features: Sequence[FeatureId], colour: int) -> float:
    """The share of a colour among colours with some neurons ablated at every token, averaged over asked names."""
    edits = [Edit.ablate(feature) for feature in features]
    shares = [
        said.logits[COLOUR_TOKENS].softmax(-1)[colour]
        for said in kit.edits([(ids, edits) for ids in PROMPT[ASKED_NAMES].tolist()])
    ]
    return float(torch.stack(shares).mean())


def measure_preferences(lineage: Lineage) -> Steps:
    """A part: the share of the favourite and of every other colour, by model, averaged over asked names."""
    yield Progress(what=f"favourites of lineage {lineage.seed}", done=0, of=1)
    models: Mapping[str, Kit] = {
        "base": lineage.base,
        "other base": lineage.other,
        "teacher": lineage.teacher,
        **lineage.pupils,
    }
    return {name: preferences(kit, ASKED_NAMES).mean(0) for name, kit in models.items()}
