"""What the labels of a feature say, in words."""

from __future__ import annotations

from clew.features.atlas import Atlas
from clew.features.label import Label, Score
from clew.ids import FeatureId
from clew.labels.store import LabelStore


def known_labels(feature: FeatureId, store: LabelStore | None, atlas: Atlas) -> tuple[Label, ...]:
    """Every label of a feature, the one that stands for it first: those in the store, then those by rule.

    Labels of programs that say nothing are left out; a person's "unclear" hides what programs say.
    """
    stored = () if store is None else store.of(feature)
    if stored and stored[0].kind == "person" and not stored[0].clear:
        return stored[:1]
    clear = tuple(label for label in stored if label.clear)
    if any(label.kind == "heuristic" for label in stored):
        return clear
    return clear + tuple(label for label in atlas.rules([feature]).values() if label.clear)


def scores_of(label: Label) -> str:
    """Every score with its interval and its null, in a line."""
    return ", ".join(f"{s.test} {s.value:.2f} [{s.low:.2f}, {s.high:.2f}]{_null(s)} by {s.judge}" for s in label.scores)


def _null(score: Score) -> str:
    return "" if score.null is None else f" null {score.null:.2f}"
