"""Names of hooks and modules in published settings are places of the residual stream, or refused."""

import pytest

from clew.dictionary.layouts.hook_names import place_of
from clew.errors import InputError


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("blocks.8.hook_resid_pre", ("resid_pre", 8)),
        ("blocks.0.hook_mlp_in", ("resid_mid", 0)),
        ("blocks.12.ln2.hook_normalized", ("mlp_normalized", 12)),
        ("blocks.3.mlp.hook_in", ("mlp_in", 3)),
        ("blocks.3.mlp.hook_out", ("mlp_raw_out", 3)),
        ("blocks.3.hook_mlp_out", ("mlp_out", 3)),
        ("layers.3", ("resid_post", 3)),
        ("layers.3.mlp", ("mlp_raw_out", 3)),
        ("layers.3.mlp.input", ("mlp_in", 3)),
        ("h.11.mlp", ("mlp_raw_out", 11)),
        ("transformer.h.2.ln_2.input", ("resid_mid", 2)),
        ("gpt_neox.layers.5.mlp.output", ("mlp_raw_out", 5)),
        ("model.layers.7.pre_feedforward_layernorm.output", ("mlp_in", 7)),
        ("model.layers.7.post_feedforward_layernorm.output", ("mlp_out", 7)),
        ("model.layers.7.output", ("resid_post", 7)),
        ("model.language_model.layers.7.input", ("resid_pre", 7)),
    ],
)
def test_a_name_is_a_site_of_a_layer(name: str, place: tuple[str, int]) -> None:
    assert place_of(name) == place


@pytest.mark.parametrize(
    "name",
    [
        "blocks.3.attn.hook_z",
        "hook_embed",
        "layers.3.self_attn.o_proj.input",
        "embed_tokens",
        "layers.x.mlp",
        None,
        3,
        "",
    ],
)
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(InputError, match="hook"):
        place_of(name)
