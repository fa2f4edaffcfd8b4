"""Clusters of prompts by their circuits: planted ones are found and stable, impossible numbers are refused."""

from dataclasses import replace

import numpy as np
import pytest

import clew
from clew.attribution.clusters import average_linkage, cluster_prompts, influence_vectors
from clew.errors import InputError, MismatchError
from tests.graphs import random_graph


def test_prompts_of_two_tasks_are_told_apart():
    kit = clew.load("minnow")
    texts = [f"The capital of {country} is" for country in ("France", "Italy", "Spain")]
    texts += [f"The war lasted from the year 17{year} to 17" for year in (11, 35, 52)]
    found = cluster_prompts([kit.trace(text) for text in texts], 2, draws=20)
    assert set(found.members) == {(0, 1, 2), (3, 4, 5)}
    assert min(found.stability) > 0.9
    assert found.label_of(0) == found.label_of(2) != found.label_of(3)


def test_average_linkage_joins_by_mean_distance():
    points = np.array([0.0, 1.0, 3.5, 10.0])
    apart = np.abs(points[:, None] - points[None, :])
    assert average_linkage(apart, 2) == [(0, 1, 2), (3,)]
    assert average_linkage(apart, 3) == [(0, 1), (2,), (3,)]
    assert average_linkage(apart, 4) == [(0,), (1,), (2,), (3,)]


def test_a_vector_adds_up_a_features_positions():
    graph = random_graph(1, n_features=12, d_features=2)
    [vector] = influence_vectors([graph])
    names = {(layer, index) for layer, _, index in graph.feature_keys.tolist()}
    assert len(vector) == len(names) < 12


def test_what_makes_no_clusters_is_refused():
    graph = replace(random_graph(1), subject="minnow", dictionary="CLT")
    for count in (0, 3):
        with pytest.raises(InputError, match="2 graphs make 1 to 2 clusters"):
            cluster_prompts([graph, graph], count)
    with pytest.raises(MismatchError, match="different kits"):
        cluster_prompts([graph, replace(graph, dictionary="PLT")], 1)
    with pytest.raises(InputError, match="there is no graph 7 among 2"):
        cluster_prompts([graph, graph], 1, draws=1).label_of(7)
