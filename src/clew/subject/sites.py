"""Sites in a running model: what each holds, and changes put in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from clew.errors import InputError
from clew.subject.hooks import Watch, changing, normalized, watching
from clew.subject.parts import Side
from clew.subject.recording import SiteAt, SiteName

Seen = Callable[[SiteName, int], Tensor]
"""What a site of a layer holds in a run that has passed it."""
Change = Callable[[Tensor, Seen], Tensor]
"""What to put in the place of what a site holds."""


def plus(leaf: Float[Tensor, "*batch pos d_model"]) -> Change:
    """A site with something added: where that is zero and requires a gradient, what the run gives has one there."""
    return lambda value, seen: value + leaf


@dataclass(frozen=True, kw_only=True)
class ModelSites:
    """Where the sites of a model lie in its modules."""

    modules: Mapping[tuple[str, int], nn.Module]
    places: Mapping[SiteName, tuple[str, Side]]
    centred: bool

    def watching(self, sites: Iterable[SiteAt]) -> AbstractContextManager[Watch]:
        """Watch the modules of these sites."""
        inputs: dict[tuple[str, int], nn.Module] = {}
        outputs: dict[tuple[str, int], nn.Module] = {}
        for site, layer in sites:
            role, side = self.places[site]
            (outputs if side == "output" else inputs)[role, layer] = self.modules[role, layer]
        return watching(inputs, outputs)

    def value(self, watch: Watch, site: SiteName, layer: int) -> Float[Tensor, "batch pos d_model"]:
        """What a site holds in a run that is watched."""
        role, side = self.places[site]
        passed = (watch.outputs if side == "output" else watch.inputs)[role, layer]
        if side == "scaled":
            return normalized(passed, self.modules[role, layer], self.centred)[0]
        return passed if isinstance(passed, Tensor) else passed[0]

    @contextmanager
    def changing(
        self, changes: Mapping[SiteAt, Change], seen: Seen, keep: Sequence[SiteAt]
    ) -> Iterator[Mapping[SiteAt, Tensor]]:
        """Change sites; yields what the sites to keep held before, those of them that are overwritten in place.

        InputError at a site inside a norm.
        """
        inputs: dict[nn.Module, Callable[[Tensor], Tensor]] = {}
        outputs: dict[nn.Module, Callable[[Tensor], Tensor]] = {}
        overwritten: dict[SiteAt, Tensor] = {}
        for site_at, new in changes.items():
            module, is_input = self._changeable(*site_at)
            side = inputs if is_input else outputs
            step = partial(_after, side.get(module), new, seen)
            side[module] = partial(_noted, overwritten, site_at, step) if is_input and site_at in keep else step
        with changing(inputs, outputs):
            yield overwritten

    def _changeable(self, site: SiteName, layer: int) -> tuple[nn.Module, bool]:
        """The module where a site is changed, and whether it is the module's input."""
        role, side = self.places[site]
        if side == "scaled":
            raise InputError(f"{site} lies inside a norm and cannot be edited: use a dictionary that writes elsewhere")
        return self.modules[role, layer], side == "input"


def _after(earlier: Callable[[Tensor], Tensor] | None, new: Change, seen: Seen, value: Tensor) -> Tensor:
    """Apply a change after the one that another site of the same place asked for."""
    return new(value if earlier is None else earlier(value), seen)


def _noted(notes: dict[SiteAt, Tensor], site_at: SiteAt, step: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """Keep what an input holds before it is overwritten."""
    notes[site_at] = value
    return step(value)
