"""The written names of features and nodes: the only place that formats or parses them.

A feature is `L<layer>/<index>`; at a position it is `L<layer>/<index>@<position>`. The other nodes of a graph carry
their kind in the prefix, so that no two nodes share a name: `E<layer>@<position>` (error), `T@<position>` (token),
`O<rank>@<position>` (output target).
"""

import re
from dataclasses import dataclass
from typing import Literal

from clew.errors import InputError

NodeKind = Literal["feature", "error", "token", "target"]
_FEATURE = re.compile(r"L(\d+)/(\d+)")
_NODE = re.compile(r"(?:L(?P<layer>\d+)/(?P<index>\d+)|E(?P<error>\d+)|(?P<token>T)|O(?P<rank>\d+))@(?P<position>\d+)")


@dataclass(frozen=True, order=True)
class FeatureId:
    """One feature of a Dictionary: the layer it reads, and its index there."""

    layer: int
    index: int

    def __str__(self) -> str:
        return f"L{self.layer}/{self.index}"

    @classmethod
    def parse(cls, text: str) -> "FeatureId":
        """Read `L3/1207`; InputError when the text has another form."""
        match = _FEATURE.fullmatch(text.strip())
        if match is None:
            raise InputError(f"{text!r} is not a feature: write L<layer>/<index>, for example L3/1207")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, order=True)
class NodeId:
    """One node of a Graph. `layer` is None for tokens and targets; `index` is a feature's index or a target's rank."""

    kind: NodeKind
    position: int
    layer: int | None = None
    index: int | None = None

    def __str__(self) -> str:
        match self.kind:
            case "feature":
                return f"L{self.layer}/{self.index}@{self.position}"
            case "error":
                return f"E{self.layer}@{self.position}"
            case "token":
                return f"T@{self.position}"
            case "target":
                return f"O{self.index}@{self.position}"

    @classmethod
    def parse(cls, text: str) -> "NodeId":
        """Read `L3/1207@4`, `E2@4`, `T@4` or `O0@4`; InputError when the text has another form."""
        match = _NODE.fullmatch(text.strip())
        if match is None:
            raise InputError(
                f"{text!r} is not a node: write L3/1207@4 (feature), E2@4 (error), T@4 (token) or O0@4 (target)"
            )
        position = int(match["position"])
        if match["index"] is not None:
            return cls("feature", position, int(match["layer"]), int(match["index"]))
        if match["error"] is not None:
            return cls("error", position, int(match["error"]))
        if match["token"] is not None:
            return cls("token", position)
        return cls("target", position, None, int(match["rank"]))

    @property
    def feature(self) -> FeatureId:
        """The feature of a feature node; InputError for any other kind."""
        if self.kind != "feature" or self.layer is None or self.index is None:
            raise InputError(f"{self} is a {self.kind} node, not a feature")
        return FeatureId(self.layer, self.index)
