"""Sites by the names that TransformerLens gives them, which published dictionaries carry.

`mlp.hook_out` is the MLP's output before a post-norm, `hook_mlp_out` the one after it.
"""

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
}
WRITE_HOOKS: dict[str, SiteName] = {"mlp.hook_out": "mlp_raw_out", "hook_mlp_out": "mlp_out"}


def site_of(hook: Any, sites: Mapping[str, SiteName]) -> SiteName:
    """The site that a configuration names; InputError when the hook is not known."""
    if hook not in sites:
        raise InputError(f"hook {hook!r} is not known: {', '.join(sites)}")
    return sites[hook]


def hook_of(site: SiteName, sites: Mapping[str, SiteName]) -> str:
    """The hook that stands for a site."""
    return next(hook for hook, name in sites.items() if name == site)
