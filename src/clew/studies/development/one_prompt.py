"""The circuit of one prompt found anew at every snapshot: its groups, the heads of its edges, why one of them looks.

1. *Groups*: the circuit by exact neurons of each snapshot, and how many of its members are those of the last one.
2. *Loadings*: the edges from the country's token into the five most influential neurons at the last token, by head.
3. *Look*: the score with which the head that carries most at the end looks at the country, less that of other tokens,
   taken apart into its sources on the query's and on the key's side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from clew.attribution.edge_parts import head_loadings
from clew.attribution.graph import Graph
from clew.attribution.influence import top_features
from clew.attribution.local_model import LocalModel
from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.development.circuits import all_heads
from clew.studies.development.lessons import LessonQuestion, Lessons
from clew.studies.development.snapshots import SnapshotModel
from clew.studies.small_model import WeightSnapshot

FAMILY = "capitals"
TARGETS = 5
"""Neurons whose edges are taken apart."""
SOURCES = ("the token itself", "other tokens", "neurons", "biases and positions")


def prompt_of(lessons: Lessons) -> LessonQuestion:
    """The question whose circuit is found at every snapshot."""
    return lessons.questions(FAMILY, 1)[0]


def followed(lessons: Lessons, seed: int, weights: Sequence[WeightSnapshot]) -> Steps:
    """Of every snapshot: `groups` and `members`, `shared` with the last, `alone` (the answer's probability with the
    circuit alone as a share), `loadings` [snapshot, head], and `look` [snapshot, side, source] of head `head`."""
    question, model = prompt_of(lessons), SnapshotModel(lessons, seed)
    graphs, sets, numbers = [], [], []
    for done, each in enumerate(weights):
        yield Progress(what="the circuit of one prompt", done=done, of=len(weights), note=question.text)
        kit = model.put(each)
        graph = kit.trace(list(question.token_ids), targets=list(question.right))
        circuit = kit.circuit(graph, draws=1)
        members = frozenset(member for group in circuit.groups if group.role != "against" for member in group.members)
        graphs.append(_loadings(kit, graph, question.key))
        sets.append(members)
        numbers.append([len(circuit.groups), len(members), circuit.answer.probability, circuit.without])
    last = sets[-1]
    head = int(graphs[-1].argmax())
    looks = []
    for each in weights:
        kit = model.put(each)
        looks.append(_look(kit, question, *all_heads(kit.subject)[head]))
    table = torch.tensor(numbers)
    return {
        "groups": table[:, 0],
        "members": table[:, 1],
        "probability": table[:, 2],
        "without": table[:, 3],
        "shared": torch.tensor([len(members & last) / max(1, len(members | last)) for members in sets]),
        "loadings": torch.stack(graphs),
        "look": torch.stack(looks),
        "head": torch.tensor([head]),
    }


def _loadings(kit: Kit, graph: Graph, key: int) -> Float[Tensor, " head"]:
    """The share of the edges from a token into influential neurons at the last one that passes each head."""
    local = LocalModel.of_graph(kit.subject, kit.dictionary, graph)
    positions, last = graph.feature_keys[:, 1], graph.n_tokens - 1
    places = [place for place in top_features(graph, graph.n_features).tolist() if int(positions[place]) == last]
    token = graph.token_range[key]
    total, carried = 0.0, torch.zeros(len(all_heads(kit.subject)))
    for place in places[:TARGETS]:
        value, loadings = head_loadings(local, graph, place)
        total += float(value[token].abs())
        for number, head in enumerate(all_heads(kit.subject)):
            if head in loadings:
                carried[number] += float(loadings[head][token].abs())
    return carried / max(total, 1e-30)


def _look(kit: Kit, question: LessonQuestion, layer: int, head: int) -> Float[Tensor, "side source"]:
    """What a head looks from the last token to the deciding one for, the score's contrast by source."""
    query = len(question.token_ids) - 1
    graph = kit.looks(list(question.token_ids), layer=layer, head=head, query=query, key=question.key, effects=False)
    sides = []
    for target, place in zip(graph.target_range, (query, question.key), strict=True):
        inputs = graph.inputs(target)
        tokens = inputs[graph.part("token")]
        own = tokens[place]
        parts = (own, tokens.sum() - own, inputs[graph.part("feature")].sum(), graph.offsets[target].sum())
        sides.append(torch.stack([part.float() for part in parts]))
    return torch.stack(sides)
