"""Neurons that moved in a pupil: which push its favourite colour more than in the base model, and what they do.

    push     = activation behind `NAME likes` x (what the neuron writes . (the colour's direction - mean of colours))
    movement = push in the pupil - push in the base model

The neurons of a small model are its exact dictionary, so that pushes of all neurons and what attention and biases add
make up the logit, up to the scale of the final norm. Neurons that moved most are chosen by some names and ablated
behind others. Beside them stand other active neurons of the same layers, near in activation times decoder length.
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

DRAWS = 8
"""Sets of matched neurons for each pupil."""


def activations_and_pushes(kit: Kit, colour: int) -> tuple[Float[Tensor, " neuron"], Float[Tensor, " neuron"]]:
    """Every neuron's mean activation behind `NAME likes`, and its mean push of a colour; layers in a row."""
    subject, layers = kit.subject, sorted(kit.dictionary.layers)
    colours = subject.model.lm_head.weight[COLOUR_TOKENS].detach()
    direction = (colours[colour] - colours.mean(0)) * subject.model.transformer.ln_f.weight.detach()
    read = list(kit.activations(PROMPT[SHOWN_NAMES].tolist(), positions=[-1] * len(PROMPT[SHOWN_NAMES])))
    active = torch.cat([torch.stack([each.layers[layer][0] for each in read]).mean(0) for layer in layers])
    written = torch.cat(
        [kit.dictionary.decoder_rows(layer, torch.arange(kit.dictionary.d_features(layer)))[:, 0] for layer in layers]
    )
    centred = (written - written.mean(1, keepdim=True)).detach().float()
    active = active.detach().float()
    return active, active * (centred @ direction)


def neuron_layers(kit: Kit) -> tuple[Int[Tensor, " neuron"], Int[Tensor, " neuron"]]:
    """The layer of every neuron, and which of its layer it is."""
    sizes = {layer: kit.dictionary.d_features(layer) for layer in sorted(kit.dictionary.layers)}
    layer = torch.cat([torch.full((size,), each) for each, size in sizes.items()])
    return layer, torch.cat([torch.arange(size) for size in sizes.values()])


def measure_moved(lineage: Lineage, count: int) -> Steps:
    """A part: movements of all neurons, the chosen ones, and the preference with these and matched ones ablated."""
    colour, pupil = lineage.colour, lineage.pupils["same"]
    yield Progress(what=f"neurons of pupil {lineage.seed}", done=0, of=1)
    movements = {
        name: _movement(kit, lineage.other if name == "other" else lineage.base, colour)
        for name, kit in {"teacher": lineage.teacher, **lineage.pupils}.items()
    }
    chosen = movements["same"].topk(count).indices
    layer, index = neuron_layers(pupil)
    active, _ = activations_and_pushes(pupil, colour)
    mass = active * torch.cat(
        [decoder_norms(pupil.dictionary, each, index[layer == each]) for each in torch.unique(layer).tolist()]
    )
    tested = torch.zeros(len(mass), dtype=torch.bool)
    tested[chosen] = True
    generator = torch.Generator().manual_seed(lineage.seed + 5)
    preference, drawn, written = [], [], []
    for number in range(1 + DRAWS):
        if number == 0:
            places = chosen
        else:
            pairs = matched_pairs(tested, layer, mass, generator, free=mass > 0)
            places = torch.tensor([*pairs.values()], dtype=torch.long)
        features = [FeatureId(int(layer[place]), int(index[place])) for place in places]
        preference.append(_preference_without(pupil, features, colour))
        drawn.append(len(places))
        written.append(float(mass[places].sum()))
    return {
        "layer": layer,
        "index": index,
        "chosen": chosen,
        "ablated": torch.tensor(preference),
        "drawn": torch.tensor(drawn),
        "written": torch.tensor(written),
        **{f"movement.{name}": each for name, each in movements.items()},
    }


def _movement(kit: Kit, base: Kit, colour: int) -> Float[Tensor, " neuron"]:
    return (activations_and_pushes(kit, colour)[1] - activations_and_pushes(base, colour)[1]).detach()


def _preference_without(kit: Kit, features: Sequence[FeatureId], colour: int) -> float:
    """The share of a colour among colours with some neurons ablated behind `NAME likes`, averaged over asked names."""
    edits = [Edit.ablate(feature, positions=PROMPT.shape[1] - 1) for feature in features]
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
