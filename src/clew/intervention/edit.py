"""An intervention as a value: which feature or direction, what is done to it, and where.

`ablate`, `set`, `scale` and `add` say what a feature's activation becomes; what they say is relative to the activation
in the run without any edit. `steer` adds a direction to the residual stream: a feature's decoder or any vector.
Edits are written as `L3/1207@4=2.5`: a feature, the positions, the strength; `L3/1207:L5@4=2.5` steers along the
feature's decoder into layer 5. A direction has no written form, only JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clew import files
from clew.dictionary.dictionary import Dictionary
from clew.errors import FileError, InputError, MismatchError
from clew.ids import FeatureId

Verb = Literal["ablate", "set", "scale", "add", "steer"]
Where = Literal["all", "prompt", "generated"]
Positions = Where | tuple[int, ...]
ENVELOPE = files.Envelope(format="clew.edits", schema=1, what="edits")


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One intervention. Make it with `ablate`, `set`, `scale`, `add` or `steer`; InputError for a NaN strength."""

    verb: Verb
    feature: FeatureId | None = None
    strength: float = 0.0
    positions: Positions = "all"
    """Positions counted from the first token, rising, or `all`, `prompt`, `generated`; a left-out first one is never
    edited."""
    layer: int | None = None
    """Of `steer`: the layer whose output gets the direction."""
    direction: tuple[float, ...] | None = None
    """Of `steer` without a feature: the vector that is added, times the strength."""

    def __post_init__(self) -> None:
        if self.verb not in get_args(Verb):
            raise InputError(f"unknown edit {self.verb!r}: choose from {', '.join(get_args(Verb))}")
        if (self.feature is None) == (self.direction is None):
            raise InputError("an edit needs a feature or a direction, and not both")
        if not isinstance(self.positions, str):
            object.__setattr__(self, "positions", tuple(sorted({*self.positions})))
        if not math.isfinite(self.strength):
            raise InputError(f"{self}: the strength is {self.strength}, give a finite number")
        if self.verb == "ablate" and self.strength != 0:
            raise InputError(f"{self}: ablating takes no strength, but it is {self.strength}; use `set`")
        if self.feature is not None and self.layer is not None and self.verb != "steer":
            raise InputError(f"{self}: only steering goes into a layer of its own")
        if isinstance(self.positions, str):
            if self.positions not in get_args(Where):
                raise InputError(f"{self}: positions are numbers or one of {', '.join(get_args(Where))}")
        elif not self.positions or self.positions[0] < 0:
            raise InputError(f"{self}: positions count from 0, at least one must be given")
        if self.direction is not None:
            if self.verb != "steer" or self.layer is None:
                raise InputError("a direction can only be steered along, and needs the layer whose output gets it")
            if not all(map(math.isfinite, self.direction)):
                raise InputError("the direction to steer along holds NaN or infinity")

    @classmethod
    def ablate(cls, feature: FeatureId | str, *, positions: Positions | int | None = None) -> Edit:
        """Set the activation to zero."""
        return cls._of("ablate", feature, 0.0, positions)

    @classmethod
    def set(cls, feature: FeatureId | str, value: float, *, positions: Positions | int | None = None) -> Edit:
        """Give the activation a value, whether the feature was active or not."""
        return cls._of("set", feature, value, positions)

    @classmethod
    def scale(cls, feature: FeatureId | str, factor: float, *, positions: Positions | int | None = None) -> Edit:
        """Multiply the activation."""
        return cls._of("scale", feature, factor, positions)

    @classmethod
    def add(cls, feature: FeatureId | str, amount: float, *, positions: Positions | int | None = None) -> Edit:
        """Add to the activation, whether the feature was active or not."""
        return cls._of("add", feature, amount, positions)

    @classmethod
    def steer(
        cls,
        along: FeatureId | str | Tensor | Sequence[float],
        strength: float,
        *,
        layer: int | None = None,
        positions: Positions | int | None = None,
    ) -> Edit:
        """Add `strength` times a direction to what `layer` gives to the residual stream; everything after is real.

        Along a feature it is the feature's decoder into that layer (the first that it writes to, if none is given), for
        an SAE its decoder. InputError when positions or layer are given twice, or a strength is not finite.
        """
        if isinstance(along, FeatureId | str):
            edit = cls._of("steer", along, strength, positions)
            if layer is not None and edit.layer is not None:
                raise InputError(f"{along} says a layer, and it is given a second time")
            return edit if layer is None else replace(edit, layer=layer)
        values = along.flatten().tolist() if isinstance(along, Tensor) else along
        return cls(
            verb="steer",
            strength=float(strength),
            positions=_positions(positions),
            layer=layer,
            direction=tuple(map(float, values)),
        )

    @classmethod
    def parse(cls, verb: Verb, text: str) -> Edit:
        """Read `L3/1207`, `L3/1207@4`, `L3/1207@2,5=1.5`, `L3/1207@generated=3`; InputError for any other form.

        What `written` gives is read back as the same edit.
        """
        left, equals, right = text.partition("=")
        if bool(equals) == (verb == "ablate"):
            wanted = "L3/1207@4" if verb == "ablate" else "L3/1207@4=2.5"
            raise InputError(f"{verb} {text!r}: write it like {wanted}")
        try:
            strength = float(right) if equals else 0.0
        except ValueError:
            raise InputError(f"{verb} {text!r}: {right!r} is not a number") from None
        return cls._of(verb, left, strength, None)

    @classmethod
    def _of(cls, verb: Verb, feature: FeatureId | str, strength: float, positions: Positions | int | None) -> Edit:
        if isinstance(feature, str):
            feature, separator, written = feature.partition("@")
            if separator and positions is not None:
                raise InputError(f"{feature}@{written} says positions, and they are given a second time")
            positions = _parse_positions(written) if separator else positions
        layer = None
        if isinstance(feature, str):
            feature, colon, into = feature.partition(":")
            feature, layer = FeatureId.parse(feature), _parse_layer(into) if colon else None
        return cls(verb=verb, feature=feature, strength=float(strength), positions=_positions(positions), layer=layer)

    def __str__(self) -> str:
        return f"{self.verb} {self.written or f'a direction in layer {self.layer}{self._rest}'}"

    @property
    def written(self) -> str | None:
        """The form that `parse` reads, verb aside; None along a direction."""
        if self.feature is None:
            return None
        return f"{self.feature}{'' if self.layer is None else f':L{self.layer}'}{self._rest}"

    @property
    def _rest(self) -> str:
        where = self.positions if isinstance(self.positions, str) else ",".join(map(str, self.positions))
        short = f"{self.strength:g}"
        strength = short if float(short) == self.strength else repr(self.strength)
        return ("" if where == "all" else f"@{where}") + ("" if self.verb == "ablate" else f"={strength}")

    def mask(self, start: int, stop: int, *, n_prompt: int, first: int) -> Bool[Tensor, " pos"]:
        """Which positions start..stop-1 are edited; the prompt ends at `n_prompt`, `first` is the first that counts."""
        positions = torch.arange(start, stop)
        match self.positions:
            case "all":
                chosen = torch.ones_like(positions, dtype=torch.bool)
            case "prompt":
                chosen = positions < n_prompt
            case "generated":
                chosen = positions >= n_prompt
            case listed:
                chosen = torch.isin(positions, torch.tensor(listed))
        return chosen & (positions >= first)

    def result(self, activation: Float[Tensor, "*pos"]) -> Float[Tensor, "*pos"]:
        """What the edit makes of a feature's activation."""
        match self.verb:
            case "scale":
                return activation * self.strength
            case "add":
                return activation + self.strength
            case _:
                return torch.full_like(activation, self.strength)

    @property
    def linear(self) -> tuple[float, float]:
        """Factor and constant of what `result` makes of an activation."""
        factor = self.strength if self.verb == "scale" else float(self.verb == "add")
        return factor, 0.0 if self.verb == "scale" else self.strength

    def to_json(self) -> dict[str, Any]:
        """The edit as plain values; `from_json` reads it."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return plain | ({"feature": str(self.feature)} if self.feature is not None else {})

    @classmethod
    def from_json(cls, value: Any) -> Edit:
        """Read what `to_json` gave; InputError when it is no edit."""
        if not isinstance(value, Mapping):
            raise InputError(f"{value!r} is not an edit: it must be an object with a verb")
        if unknown := {str(name) for name in value} - {f.name for f in fields(cls)}:
            raise InputError(f"not an edit: unknown {', '.join(sorted(unknown))}")
        if value.get("verb") not in get_args(Verb):
            raise InputError(f"not an edit: its verb is {value.get('verb')!r}, known are {', '.join(get_args(Verb))}")
        fields_given = {name: _JSON[name](v) for name, v in value.items() if name != "verb"}
        return cls(verb=value["verb"], **fields_given)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"not an edit: {value!r} is no number")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"not an edit: {value!r} is no layer or position")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise InputError(f"not an edit: {value!r} is no list")
    return list(value)


def _feature(value: Any) -> FeatureId:
    return FeatureId.parse(value if isinstance(value, str) else repr(value))


_JSON: dict[str, Callable[[Any], Any]] = {
    "feature": _feature,
    "strength": _number,
    "positions": lambda value: value if isinstance(value, str) else tuple(map(_count, _list(value))),
    "layer": _count,
    "direction": lambda value: tuple(map(_number, _list(value))),
}


def _positions(positions: Positions | int | None) -> Positions:
    if positions is None:
        return "all"
    return (positions,) if isinstance(positions, int) else positions if isinstance(positions, str) else tuple(positions)


def _parse_layer(text: str) -> int:
    if not (text.startswith("L") and text[1:].isdecimal()):
        raise InputError(f"{text!r} is no layer to steer into: write it like L3/1207:L5")
    return int(text[1:])


def _parse_positions(text: str) -> Positions:
    if text in get_args(Where):
        return text  # type: ignore[return-value]
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"{text!r} are no positions: write numbers like 2,5 or one of {', '.join(get_args(Where))}")
    return tuple(int(part) for part in parts)


def check(
    edits: Sequence[Edit], dictionary: Dictionary, *, n_positions: int, first: int, through: int | None, growing: int
) -> int:
    """The last clamped layer, once all edits are known to be possible; InputError otherwise.

    The prompt has `n_positions` tokens, and `growing` tokens may be generated behind it.
    """
    for edit in edits:
        _check_target(edit, dictionary)
        if edit.positions == "generated" and not growing:
            raise InputError(f"{edit}: no token is generated here, so it would change nothing")
        for position in edit.positions if isinstance(edit.positions, tuple) else ():
            if position >= n_positions + growing:
                more = f" and {growing} generated ones" if growing else ""
                raise InputError(f"{edit}: position {position} is outside the prompt's {n_positions} tokens{more}")
            if position < first:
                raise InputError(f"{edit}: position {position} is left out, it is a special token or an attention sink")
    of_feature: dict[FeatureId | None, list[Edit]] = {}
    for edit in edits:
        of_feature.setdefault(edit.feature, []).append(edit)
    for edit_a, edit_b in (pair for alike in of_feature.values() for pair in combinations(alike, 2)):
        if _contradict(edit_a, edit_b, n_positions):
            raise InputError(f"{edit_a} and {edit_b} contradict each other: give one edit a feature and position")
    return last_clamped(edits, dictionary, through)


def last_clamped(edits: Sequence[Edit], dictionary: Dictionary, through: int | None) -> int:
    """`through`, or the lowest that it can be: every edited feature writes at least once; or InputError."""
    layers = [edit.feature.layer for edit in edits if edit.feature is not None and edit.verb != "steer"]
    last = 0 if dictionary.kind == "sae" else max((dictionary.written_layers(layer)[0] for layer in layers), default=0)
    if through is None:
        return last
    if dictionary.kind == "sae":
        raise InputError("an SAE's edits change the stream where it reads; nothing can be clamped through a layer")
    if not layers:
        raise InputError(f"through={through}: steering clamps nothing; leave it out")
    if not last <= through < dictionary.n_layers:
        raise InputError(f"through={through}: edits reach layer {last}, give one of {last}..{dictionary.n_layers - 1}")
    return through


def on_prompt(edits: Iterable[Edit], n_prompt: int) -> tuple[Edit, ...]:
    """What edits come to before anything is generated: positions behind the prompt are left out."""
    kept_edits = []
    for edit in edits:
        if isinstance(edit.positions, tuple):
            within = tuple(position for position in edit.positions if position < n_prompt)
            kept_edits += [replace(edit, positions=within)] if within else []
        elif edit.positions != "generated":
            kept_edits.append(edit)
    return tuple(kept_edits)


def _check_target(edit: Edit, dictionary: Dictionary) -> None:
    if edit.direction is not None:
        if len(edit.direction) != dictionary.d_model:
            raise InputError(f"{edit}: it has {len(edit.direction)} entries, the model's width is {dictionary.d_model}")
        if not 0 <= (edit.layer or 0) < dictionary.n_layers:
            raise InputError(f"{edit}: the model has layers 0..{dictionary.n_layers - 1}")
        return
    assert edit.feature is not None
    layer, index = edit.feature.layer, edit.feature.index
    if layer not in dictionary.layers:
        raise InputError(f"{edit}: the dictionary has no layer {layer}, only {_spans(dictionary.layers)}")
    if index >= dictionary.d_features(layer):
        raise InputError(f"{edit}: layer {layer} has features 0..{dictionary.d_features(layer) - 1}")
    if edit.layer is not None and edit.layer not in dictionary.written_layers(layer):
        raise InputError(f"{edit}: the feature writes to layers {_spans(dictionary.written_layers(layer))} only")


def _spans(layers: Iterable[int]) -> str:
    numbers = sorted(layers)
    return (
        f"{numbers[0]}..{numbers[-1]}"
        if numbers == list(range(numbers[0], numbers[-1] + 1))
        else ", ".join(map(str, numbers))
    )


def _contradict(edit_a: Edit, edit_b: Edit, n_positions: int) -> bool:
    """Whether two edits say two things of one activation; several additions are one sum."""
    if edit_a.feature != edit_b.feature or edit_a.feature is None or "steer" in (edit_a.verb, edit_b.verb):
        return False
    if edit_a.verb == edit_b.verb == "add":
        return False
    last = max([n_positions, *(p for e in (edit_a, edit_b) if isinstance(e.positions, tuple) for p in e.positions)]) + 2
    mask_a, mask_b = (edit.mask(0, last, n_prompt=n_positions, first=0) for edit in (edit_a, edit_b))
    return bool((mask_a & mask_b).any())


def save_edits(path: Path | str, edits: Sequence[Edit], dictionary: Dictionary) -> None:
    """Write edits as JSON, with the fingerprint of the Dictionary that gives them their meaning."""
    head = ENVELOPE.head(dictionary=dictionary.fingerprint, name=dictionary.name)
    files.write_json(path, {**head, "edits": [edit.to_json() for edit in edits]})


def load_edits(path: Path | str, dictionary: Dictionary) -> tuple[Edit, ...]:
    """Read edits, as `save_edits` writes them or as a bare list, which a person writes and which names no Dictionary.

    FileError when the file holds none, MismatchError when they belong to another Dictionary.
    """
    value = files.read_json(path)
    if isinstance(value, list):
        return _edits(path, value)
    if not ENVELOPE.matches(value) or not isinstance(value.get("edits"), list):
        raise FileError(f"{path} holds no edits")
    ENVELOPE.check(value, path)
    if value.get("dictionary") != dictionary.fingerprint:
        raise MismatchError(
            f"{path} was made for the dictionary {value.get('name', 'unknown')!r}, which is not {dictionary.name!r}: "
            "its features have other meanings here"
        )
    return _edits(path, value["edits"])


def _edits(path: Path | str, values: Sequence[Any]) -> tuple[Edit, ...]:
    try:
        return tuple(map(Edit.from_json, values))
    except InputError as error:
        raise FileError(f"{path}: {error}") from error
