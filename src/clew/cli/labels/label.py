"""`clew label`: name features, by rule, by a language model or by hand."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clew.cli.features.show import AtlasOption, open_atlas
from clew.cli.kits import WORKSPACE, JsonOption, KitOption, LabelsOption, bar
from clew.cli.labels.label_model import by_model, model_run
from clew.cli.labels.label_scores import Outcome, local_judge, say, scored
from clew.cli.labels.lists import store_of
from clew.cli.options import with_settings
from clew.errors import InputError

if TYPE_CHECKING:
    from clew.features.atlas import Atlas
    from clew.features.label import Label
    from clew.ids import FeatureId
    from clew.labels.store import LabelStore

_TOGETHER = 500  # features between two writes


@with_settings("clew.labels.endpoint_config:EndpointConfig")
def label(
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
    kit: KitOption = "minnow",
    atlas: AtlasOption = None,
    labels: LabelsOption = WORKSPACE,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Label features: by rules from their cards, which costs nothing; with --endpoint by a language model; with --text
    by hand. Every label is scored on contexts that its author did not see, beside labels of other features.

    Example: `clew label L3/120 --text "names of capitals"`
    """
    from clew.ids import FeatureId

    if judge not in ("tokens", "minilm", "model", "none"):
        raise InputError(f"there is no judge {judge!r}: choose tokens, minilm, model or none")
    run = model_run(settings, key_env, judge)
    if text is not None and (run is not None or len(features or []) != 1):
        raise InputError('--text labels one feature: clew label L3/120 --text "names of capitals"')
    with open_atlas(kit, atlas, None, None) as opened, store_of(labels, opened) as store:
        wanted = [FeatureId.parse(name) for name in features] if features else list(opened)
        for feature in features or ():
            opened.number(feature)  # an unknown one is refused before anything is written
        if run is not None:
            outcome = by_model(opened, store, wanted, run)
        else:
            local = local_judge(judge)
            made = _by_rule(opened, store, wanted) if text is None else [_by_hand(store, wanted[0], text, author)]
            outcome = Outcome(made=made, scores=scored(opened, store, made, local))
    say(outcome, labels, as_json)


# --- who labels -----------------------------------------------------------------------------------------------------


def _by_hand(store: LabelStore, feature: FeatureId, text: str, author: str | None) -> Label:
    from clew.features.label import Label

    made = Label(feature=feature, text=text, kind="person", author=author or getpass.getuser(), method="by hand")
    (number,) = store.add([made])
    return replace(made, id=number)


def _by_rule(atlas: Atlas, store: LabelStore, features: Sequence[FeatureId]) -> list[Label]:
    from clew.labels.rules import heuristic_label

    found: list[Label] = []
    with bar("labelling", len(features)) as report:
        for start in range(0, len(features), _TOGETHER):
            made = [heuristic_label(atlas[feature]) for feature in features[start : start + _TOGETHER]]
            found += [replace(label, id=number) for label, number in zip(made, store.add(made), strict=True)]
            report(len(found), len(features))
    return found
