"""Sites by the names that published dictionaries carry: TransformerLens' hooks, and paths of Hugging Face modules.

`mlp.hook_out` is the MLP's output before a post-norm, `hook_mlp_out` the one after it; `hook_mlp_in` is the stream
before the MLP's norm. A module's name stands for what goes out of it, unless `.input` follows.
"""

import re
from collections.abc import Mapping
from typing import Any

from clew.errors import InputError
from clew.subject.recording import SiteName

READ_HOOKS: dict[str, SiteName] = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "ln2.hook_normalized": "mlp_normalized",
    "mlp.hook_in": "mlp_in",
    "hook_mlp_in": "resid_mid",
}
WRITE_HOOKS: dict[str, SiteName] = {"mlp.hook_out": "mlp_raw_out", "hook_mlp_out": "mlp_out"}
HOOKS: dict[str, SiteName] = READ_HOOKS | WRITE_HOOKS
MODULES: dict[str, SiteName] = {
    "": "resid_post",
    ".output": "resid_post",
    ".input": "resid_pre",
    ".mlp": "mlp_raw_out",
    ".mlp.output": "mlp_raw_out",
    ".mlp.input": "mlp_in",
    ".pre_feedforward_layernorm.input": "resid_mid",
    ".pre_feedforward_layernorm.output": "mlp_in",
    ".post_feedforward_layernorm.input": "mlp_raw_out",
    ".post_feedforward_layernorm.output": "mlp_out",
    ".ln_2.input": "resid_mid",
    ".ln_2.output": "mlp_in",
}
"""What follows a block's number in the path of a module."""
_TRANSFORMER_LENS = re.compile(r"blocks\.(\d+)\.(.+)")
_MODULE = re.compile(r"(?:(?:model|transformer|gpt_neox|language_model)\.)*(?:layers|h)\.(\d+)((?:\..+)?)")


def site_of(hook: Any, sites: Mapping[str, SiteName]) -> SiteName:
    """The site that a configuration names; InputError when the hook is not known."""
    name = hook.removeprefix("blocks.{layer}.") if isinstance(hook, str) else hook
    if name not in sites:
        raise InputError(f"hook {hook!r} is not known: {', '.join(sites)}")
    return sites[name]


def hook_of(site: SiteName, sites: Mapping[str, SiteName]) -> str:
    """The hook that stands for a site."""
    return next(hook for hook, name in sites.items() if name == site)


def place_of(name: Any) -> tuple[SiteName, int]:
    """Site and layer of `blocks.3.hook_resid_pre` or `model.layers.3.mlp.output`; InputError when it is neither."""
    text = name if isinstance(name, str) else ""
    if match := _TRANSFORMER_LENS.fullmatch(text):
        return site_of(match[2], HOOKS), int(match[1])
    match = _MODULE.fullmatch(text)
    if match is None or match[2] not in MODULES:
        known = ", ".join([*HOOKS, *(f"layers.N{end}" for end in MODULES)])
        raise InputError(f"hook {name!r} is at no place that a dictionary can read or write here: {known}")
    return MODULES[match[2]], int(match[1])
