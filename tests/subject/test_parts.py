"""A block is a list of parts: every list names every site, and serial and parallel blocks differ in one place."""

from collections import Counter
from typing import Any, get_args

import pytest

from clew.subject.parts import AddPart, Block, MlpPart, ModulePart, NormPart, SitePart, parallel_block, serial_block
from clew.subject.recording import SiteName
from tests import models
from tests.models import ARCHITECTURES

PATHS = {"attention_norm": "a", "attention": "b", "mlp_norm": "c", "mlp": "d"}
POST_NORMS = {"post_attention_norm": "e", "post_mlp_norm": "f"}
BLOCKS = {
    "serial": serial_block(**PATHS),
    "parallel": parallel_block(**PATHS),
    "both norms": serial_block(**PATHS, **POST_NORMS),
    "one post-norm": serial_block(**PATHS, post_mlp_norm="f"),
}


def sites_of(block: Block) -> list[str]:
    return [part.name for part in block if isinstance(part, SitePart)] + [
        part.site for part in block if isinstance(part, NormPart) and part.site
    ]


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_names_every_site_once(name: str) -> None:
    assert Counter(sites_of(BLOCKS[name])) == Counter(get_args(SiteName))


@pytest.mark.parametrize("name", BLOCKS)
def test_a_site_lies_at_the_block_or_at_a_module_of_the_list(name: str) -> None:
    roles = [part.role for part in BLOCKS[name] if isinstance(part, ModulePart)]
    assert len(roles) == len(set(roles))
    assert {part.role for part in BLOCKS[name] if isinstance(part, SitePart)} <= {"block", *roles}


def test_a_serial_block_adds_its_attention_before_the_mlp_and_a_parallel_one_behind_it() -> None:
    for name, expected in (("serial", ["mixed", "mlp", "out"]), ("parallel", ["mlp", "mixed", "out"])):
        order = [
            part.source if isinstance(part, AddPart) else part.role
            for part in BLOCKS[name]
            if isinstance(part, AddPart | MlpPart)
        ]
        assert order == expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_has_the_modules_that_its_block_lists(architecture: str) -> None:
    subject = models.subject(architecture)
    listed: list[Any] = [part for part in subject.block if isinstance(part, ModulePart)]
    for layer in range(subject.n_layers):
        block = subject.modules["block", layer]
        for part in listed:
            assert subject.modules[part.role, layer] is block.get_submodule(part.path)
    assert len(subject.modules) == subject.n_layers * (1 + len(listed))
