"""Whoever runs a graph's prompt again refuses a graph of another dictionary or model."""

from dataclasses import replace

import pytest

from clew.attribution.add_effects import add_effects
from clew.attribution.local_model import LocalModel
from clew.attribution.trace import trace
from clew.attribution.trace_look import trace_look
from clew.errors import InputError, MismatchError
from clew.intervention.edit import Edit
from clew.intervention.live_effects import live_effects
from clew.intervention.look_effects import measured_contrast
from clew.intervention.predict_edits import predict_edits
from tests import models
from tests.models import PROMPT


@pytest.fixture(scope="module")
def subject():
    return models.subject("gpt2")


VERBS = {
    "of_graph": LocalModel.of_graph,
    "add_effects": add_effects,
    "live_effects": live_effects,
    "predict_edits": lambda *pair_and_graph: predict_edits(*pair_and_graph, [Edit.ablate("L0/1")]),
    "measured_contrast": lambda *pair_and_graph: measured_contrast(*pair_and_graph, [0]),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_graph_of_other_weights_or_of_other_tokens_is_refused(verb, subject):
    dictionary, other = (models.dictionary("clt", subject, seed=seed) for seed in (1, 2))
    if verb == "measured_contrast":
        graph = trace_look(subject, dictionary, PROMPT, layer=2, head=0)
    else:
        graph = trace(subject, dictionary, PROMPT)
    with pytest.raises(MismatchError, match="has other weights"):
        VERBS[verb](subject, other, graph)
    unknown = replace(graph, token_ids=(*graph.token_ids[:-1], models.VOCAB))
    with pytest.raises(MismatchError, match="belongs to another model"):
        VERBS[verb](subject, dictionary, unknown)


def test_an_sae_is_refused(subject):
    graph = trace(subject, models.dictionary("clt", subject), PROMPT)
    plt = models.dictionary("plt", subject)
    sae = replace(plt, kind="sae", read_site="resid_post", write_site="resid_post")
    with pytest.raises(InputError, match="an SAE has no linear path"):
        live_effects(subject, sae, graph)
