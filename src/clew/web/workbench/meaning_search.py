"""Features searched by the meaning of their labels; the labels are read once, in a thread of their own."""

from __future__ import annotations

import threading

from clew.errors import ClewError
from clew.ids import FeatureId
from clew.search import queries
from clew.web.errors import BusyError
from clew.web.workbench.open_kit import OpenKit

_PATIENCE = 5.0  # seconds that a search waits for labels that are read for the first time


class MeaningSearch:
    """An index of an open kit's labels by meaning. Several threads may share it."""

    def __init__(self, open_kit: OpenKit) -> None:
        self.open_kit = open_kit
        self._indexing, self._starting = threading.Lock(), threading.Lock()
        self._encoder: queries.Encoder | None = None
        self._first_reading: threading.Thread | None = None
        self._error: ClewError | None = None

    def nearest(self, query: str, limit: int) -> list[tuple[FeatureId, str, float | None]]:
        """Features by the cosine of their nearest label: the feature, its label in words, the cosine.

        BusyError while the labels are read for the first time, ClewError when they cannot be.
        """
        with self._starting:
            if self._first_reading is None:
                self._first_reading = threading.Thread(target=self._read_labels, name="clew-meanings", daemon=True)
                self._first_reading.start()
        self._first_reading.join(_PATIENCE)
        if self._first_reading.is_alive():
            raise BusyError("the labels are being read for their meaning, once: ask again in a moment")
        if self._error is not None:
            raise self._error
        nearest: dict[FeatureId, tuple[str, float]] = {}
        for label, cosine in self._index().nearest(query, limit=limit):
            nearest.setdefault(label.feature, (f"label: {label.text}", cosine))
        return [(feature, why, cosine) for feature, (why, cosine) in nearest.items()]

    def _read_labels(self) -> None:
        """Read all labels; their vectors are kept in the workspace, so that only new labels are read later."""
        try:
            self._index()
        except ClewError as error:
            self._error = error

    def _index(self) -> queries.Meanings:
        with self._indexing:
            if self._encoder is None:
                from clew.labels.sentence_encoder import SentenceEncoder

                self._encoder = SentenceEncoder()
            return queries.meanings(self.open_kit.workspace.labels, self._encoder, atlas=self.open_kit.atlas)
