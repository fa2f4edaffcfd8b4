"""From a prompt, a head and two positions to the Graph of why the head looks from one to the other."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch

from clew.attribution.graph import Graph
from clew.attribution.local_model import LocalModel, check_traceable
from clew.attribution.looks import LookRows, find_look
from clew.attribution.room import check_recording
from clew.attribution.trace import MOST_FEATURES, TraceSettings, graph_of
from clew.dictionary.dictionary import Dictionary
from clew.settings import Settings, accepts, option
from clew.subject.positions import first_position
from clew.subject.subject import Prompt, Subject


@dataclass(frozen=True, kw_only=True)
class LookSettings(Settings):
    """Which look to explain, and how much of it."""

    layer: int
    """The head's layer."""
    head: int
    """The head, counted from 0."""
    query: int = -1
    """The position that looks; -1 is the last."""
    key: int | None = None
    """The position that is looked at; left out, the one that the head looks at most."""
    max_features: int | None = MOST_FEATURES
    """Rows for this many features at most, the most influential ones."""
    effects: bool = True
    """Also find what changes when a source goes; without, values alone."""
    leave_out_first: bool = True
    """Leave the first position out when its token is a special one, or it is measured to be an attention sink."""
    add_bos: bool = field(default=True, metadata=option("--add-bos/--no-bos", kind=bool))
    """Begin a text with what the tokenizer puts there, or its BOS."""
    budget: int = 512 << 20
    """Bytes of gradients held at once, and of decoder rows kept."""

    def of_trace(self) -> TraceSettings:
        """The settings that a trace of outputs has too."""
        shared = ("max_features", "effects", "leave_out_first", "add_bos", "budget", "report")
        return TraceSettings(**{name: getattr(self, name) for name in shared})


@accepts(LookSettings)
def trace_look(subject: Subject, dictionary: Dictionary, prompt: Prompt, settings: LookSettings) -> Graph:
    """The graph whose two outputs are the sides of one head's score; see `looks`.

    InputError for a layer, head or position that does not exist and for a key behind the query; other errors are those
    of `trace`.
    """
    return trace_look_with(subject, dictionary, prompt, settings)


@torch.no_grad()
def trace_look_with(subject: Subject, dictionary: Dictionary, prompt: Prompt, settings: LookSettings) -> Graph:
    """`trace_look` with its settings as a value."""
    check_traceable(subject, dictionary)
    ids = subject.encode(prompt, add_bos=settings.add_bos)
    check_recording(subject, len(ids), effects=settings.effects)
    recording = subject.record(ids)
    first = first_position(subject, ids, recording)
    first_counted = int(settings.leave_out_first and first.left_out)
    look = find_look(subject, recording, settings.layer, settings.head, settings.query, settings.key, first_counted)
    model = LocalModel(
        subject=subject,
        recording=recording,
        dictionary=dictionary,
        first_position=first_counted,
        target_site=("resid_pre", look.layer),
        cache_bytes=settings.budget,
    )
    rows = LookRows(model, look, subject.token_strings(ids.tolist()))
    return graph_of(model, rows, prompt, first, settings.of_trace(), look=asdict(look))
