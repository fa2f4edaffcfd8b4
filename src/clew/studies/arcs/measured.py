"""What was measured of stories: their trajectories in their own order and in others, and what follows from both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from clew.stats import Interval, bootstrap, cluster_sums, correlation, wilson
from clew.studies.arcs.spectra import (
    SHUFFLED,
    SpectrumNull,
    cosines,
    grams,
    operator,
    shares_of,
    span_overlap,
    spectrum_null,
    spectrum_of,
)
from clew.studies.arcs.stories import StoryText, arc_paths

NOISE_DRAWS = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class ArcsMeasured:
    """Stories and what was followed through them, one array [step, d] a story."""

    stories: Sequence[StoryText]
    series: Sequence[Float[np.ndarray, "_ d"]]
    shuffled: Sequence[Sequence[Float[np.ndarray, "_ d"]]]
    """The same stories read with their sentences in other orders, draw by draw."""
    title: str
    """What was followed, in words."""
    window: int
    points: int
    components: int
    seed: int

    @cached_property
    def trajectories(self) -> Float[np.ndarray, "story pos d"]:
        return self._set_on_points(self.series)

    @cached_property
    def shuffled_trajectories(self) -> list[Float[np.ndarray, "story pos d"]]:
        return [self._set_on_points(series) for series in self.shuffled]

    def _set_on_points(self, series: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([operator(len(each), self.window, self.points) @ each for each in series])

    @cached_property
    def null(self) -> SpectrumNull:
        """The spectrum of the stories beside all nulls."""
        return spectrum_null(
            self.trajectories,
            window=self.window,
            lengths=[len(each) for each in self.series],
            shuffled=self.shuffled_trajectories,
            draws=NOISE_DRAWS,
            seed=self.seed,
        )

    def _resampled(
        self, statistic: Callable[[Float[np.ndarray, "draw pos pos"]], Float[np.ndarray, " draw"]]
    ) -> Interval:
        """A number of a sum of products, with the interval of resampled stories; NaN where nothing varies."""
        products = grams(self.trajectories)
        n = products.shape[1]

        def of_sums(sums: Float[np.ndarray, "term draw"]) -> Float[np.ndarray, " draw"]:
            whole = sums.T.reshape(-1, n, n)
            varying = np.trace(whole, axis1=1, axis2=2) > 0
            numbers = np.full(len(whole), np.nan)
            numbers[varying] = statistic(whole[varying])
            return numbers

        return bootstrap(products.reshape(len(products), -1).T, of_sums)

    @cached_property
    def shares(self) -> list[Interval]:
        """The share of every component."""
        return [self._resampled(lambda sums, k=k: shares_of(sums)[:, k]) for k in range(self.points - 1)]  # type: ignore[misc]

    @cached_property
    def reach(self) -> Interval:
        """What the first components have together."""
        return self._resampled(lambda sums: shares_of(sums)[:, : self.components].sum(1))

    @cached_property
    def cosine_overlap(self) -> Interval:
        """How much of the span of the first shapes lies in that of the first cosines, 0 to 1."""
        return self._resampled(lambda sums: np.array([self._overlap(spectrum_of(each).shapes) for each in sums]))

    @property
    def shuffled_overlaps(self) -> tuple[float, ...]:
        """The same of every draw of shuffled text."""
        return tuple(self._overlap(shapes) for shapes in self.null.shapes[SHUFFLED])

    def _overlap(self, shapes: Float[np.ndarray, "component pos"]) -> float:
        return span_overlap(shapes[: self.components], cosines(self.points, self.components))

    @property
    def valences(self) -> Float[np.ndarray, " sentence"] | None:
        """The valence of every sentence in a row; None where it is not known."""
        if not all(story.valences for story in self.stories):
            return None
        return np.concatenate([np.array(story.valences, dtype=float) for story in self.stories])

    def reading(self, exchanged: np.random.Generator | None = None) -> Interval:
        """The correlation of what is followed with the known valence, resampled over stories.

        With a generator, of sentences whose valences were exchanged.
        """
        wanted = self.valences
        assert wanted is not None, "no valence is known"
        read = np.concatenate([each[:, 0] for each in self.series])
        cluster = np.repeat(np.arange(len(self.series)), [len(each) for each in self.series])
        x = read - read.mean()
        y = (wanted if exchanged is None else exchanged.permutation(wanted)) - wanted.mean()
        terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y])
        return bootstrap(cluster_sums(terms, cluster), correlation, resamples=1 if exchanged is not None else 1000)

    @property
    def arcs_known(self) -> bool:
        """Whether every story has an arc of the world, and one number is followed."""
        return self.trajectories.shape[2] == 1 and all(story.arc for story in self.stories)

    @cached_property
    def nearest_arcs(self) -> list[str]:
        """The arc of every story that its trajectory is most like."""
        return self._nearest(self.trajectories)

    def _nearest(self, trajectories: Float[np.ndarray, "story pos d"]) -> list[str]:
        paths = {length: arc_paths(length, self.window, self.points) for length in {len(each) for each in self.series}}
        nearest = []
        for trajectory, series in zip(trajectories, self.series, strict=True):
            row = trajectory[:, 0] - trajectory[:, 0].mean()
            fits = {arc: float(row @ _unit(path)) for arc, path in paths[len(series)].items()}
            nearest.append(max(fits, key=fits.__getitem__))
        return nearest

    @property
    def recovered(self) -> Interval:
        """The share of stories whose own arc is the nearest."""
        right = sum(arc == story.arc for arc, story in zip(self.nearest_arcs, self.stories, strict=True))
        return wilson(right, len(self.stories))

    @property
    def shuffled_recovered(self) -> tuple[float, ...]:
        """The same of every draw of shuffled text."""
        arcs = [story.arc for story in self.stories]
        return tuple(
            float(np.mean([one == other for one, other in zip(self._nearest(each), arcs, strict=True)]))
            for each in self.shuffled_trajectories
        )


def _unit(path: Float[np.ndarray, " pos"]) -> Float[np.ndarray, " pos"]:
    """A path, centred and of length 1."""
    centred: np.ndarray = path - path.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-12)
