"""`clew label`: name features, by rule, by a language model or by hand."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from clew.cli.atlases import AtlasOptions
from clew.cli.labels.label_model import by_model, model_run
from clew.cli.labels.label_scores import LabelOutcome, local_judge, print_outcome, scored
from clew.cli.options import JsonOption, with_settings
from clew.cli.progress_bar import bar
from clew.errors import InputError
from clew.features.atlas import Atlas
from clew.features.label import RULE_METHOD, Label
from clew.ids import FeatureId
from clew.labels.endpoint_config import EndpointConfig
from clew.labels.rules import NOT_ASKED, heuristic_label
from clew.labels.store import LabelStore
from clew.progress import Progress

_TOGETHER = 500  # features between two writes


@with_settings(EndpointConfig)
def label(
    source: AtlasOptions,
    features: Annotated[
        list[str] | None,
        typer.Argument(help="Features to label, for example L3/120; left out, all.", show_default=False),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Your own label, for one feature.")] = None,
    author: Annotated[str | None, typer.Option(help="Your name; left out, that of your account.")] = None,
    judge: Annotated[
        str, typer.Option(help="Who scores: tokens (words of the label), minilm (meaning), model (--model), none.")
    ] = "tokens",
    key_env: Annotated[
        str | None, typer.Option("--key-env", help="Name of the environment variable that holds the endpoint's key.")
    ] = None,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Label features: by rules from their cards, which costs nothing; with --model by a language model, here or behind
    --endpoint; with --text by hand. Every label is scored on contexts that its author did not see, beside labels of
    other features.

    Example: `clew label L3/120 --text "names of capitals"`
    """
    if judge not in ("tokens", "minilm", "model", "none"):
        raise InputError(f"there is no judge {judge!r}: choose tokens, minilm, model or none")
    run = model_run(settings, key_env, judge)
    if text is not None and (run is not None or len(features or []) != 1):
        raise InputError('--text labels one feature: clew label L3/120 --text "names of capitals"')
    if author is not None and text is None:
        raise InputError("--author is the name that --text is signed with: give a text, or leave it out")
    with source.load() as atlas, source.write_labels(atlas) as store:
        chosen = [FeatureId.parse(name) for name in features] if features else list(atlas)
        for feature in features or ():
            atlas.number(feature)  # an unknown one is refused before anything is written
        if run is not None:
            outcome = by_model(atlas, store, chosen, run)
        else:
            local = local_judge(judge)
            labels = _by_rule(atlas, store, chosen) if text is None else [_by_hand(store, chosen[0], text, author)]
            outcome = LabelOutcome(labels=labels, scores=scored(atlas, store, labels, local))
    print_outcome(outcome, source.labels_path, as_json)
    if outcome.fruitless:
        raise typer.Exit(1)


# --- who labels -----------------------------------------------------------------------------------------------------


def _by_hand(store: LabelStore, feature: FeatureId, text: str, author: str | None) -> Label:
    label = Label(feature=feature, text=text, kind="person", author=author or getpass.getuser(), method="by hand")
    (number,) = store.add([label])
    return replace(label, id=number)


def _of_atlas(label: Label) -> Label | None:
    """The atlas' own label with its scores, unless it was made by older rules or none was asked for."""
    return label if label.method == RULE_METHOD and label.note != NOT_ASKED else None


def _by_rule(atlas: Atlas, store: LabelStore, features: Sequence[FeatureId]) -> list[Label]:
    labels: list[Label] = []
    with bar("labelling", len(features)) as report:
        for start in range(0, len(features), _TOGETHER):
            part = features[start : start + _TOGETHER]
            known = atlas.rules(part)
            batch = [_of_atlas(known[feature]) or heuristic_label(atlas[feature]) for feature in part]
            labels += [replace(label, id=number) for label, number in zip(batch, store.add(batch), strict=True)]
            report(Progress(what="labelling", done=len(labels), of=len(features), unit="features"))
    return labels
