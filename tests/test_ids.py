"""Ids are written one way and read back; nothing else parses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.errors import InputError
from clew.ids import FeatureId, NodeId

NUMBERS = st.integers(0, 10**9)
FEATURES = st.builds(FeatureId, NUMBERS, NUMBERS)
NODES = st.one_of(
    st.builds(lambda p, layer, i: NodeId("feature", p, layer, i), NUMBERS, NUMBERS, NUMBERS),
    st.builds(lambda p, layer: NodeId("error", p, layer), NUMBERS, NUMBERS),
    st.builds(lambda p: NodeId("token", p), NUMBERS),
    st.builds(lambda p, i: NodeId("target", p, None, i), NUMBERS, NUMBERS),
)


@given(FEATURES)
def test_a_feature_id_reads_back(feature: FeatureId) -> None:
    assert FeatureId.parse(str(feature)) == feature


@given(NODES)
def test_a_node_id_reads_back(node: NodeId) -> None:
    assert NodeId.parse(str(node)) == node


@given(NODES, NODES)
def test_two_nodes_never_share_a_name(one: NodeId, other: NodeId) -> None:
    assert (str(one) == str(other)) == (one == other)


@pytest.mark.parametrize("text", ["", "L3", "L3/", "3/1207", "L3/1207@4", "L-1/2", "L3/1207 x", "l3/1"])
def test_other_text_is_no_feature(text: str) -> None:
    with pytest.raises(InputError, match="write L<layer>/<index>"):
        FeatureId.parse(text)


@pytest.mark.parametrize("text", ["", "L3/1207", "E2", "T", "O@3", "E@1", "X3@1", "L3/1207@", "T@-1"])
def test_other_text_is_no_node(text: str) -> None:
    with pytest.raises(InputError, match="write L3/1207@4"):
        NodeId.parse(text)


def test_only_a_feature_node_has_a_feature() -> None:
    assert NodeId.parse("L3/1207@4").feature == FeatureId(3, 1207)
    with pytest.raises(InputError, match="E2@4 is a error node"):
        _ = NodeId.parse("E2@4").feature
