"""`clew edit`: change features or steer, and see the next token, other features and the text that follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from clew.cli.kits import KitOptions, on_few_threads
from clew.cli.options import JsonOption, Only, keywords, with_settings
from clew.cli.outputs import OutputFile, ReplaceOption, check_outputs
from clew.cli.tables import table, tokens_line
from clew.errors import InputError
from clew.intervention.edit import ENVELOPE, Edit, last_clamped, load_edits, on_prompt
from clew.intervention.edit import save_edits as write_edits
from clew.intervention.generate import GenerateSettings, Step, side_by_side
from clew.intervention.run import EditSettings, Effect
from clew.kit import Kit

Pairs = Iterator[tuple[Step | None, Step | None]]
_TOKENS, _FEATURES, _LISTED = 6, 10, 100  # next tokens and features that are shown, features in the JSON
_PREDICTED = {
    "effects": "Predicted by effects, to first order: a large edit may do otherwise.",
    "frozen": "Predicted by the frozen model: attention patterns and norm scales held.",
    "direct": "Predicted by edges alone: patterns, norm scales and all other features held.",
}
_ENDS = {"eos": " ■", "context": " … the context is full", "tokens": " …"}


def _many(verb: str, meaning: str) -> Any:
    return typer.Option(f"--{verb}", help=meaning, metavar="FEATURE", show_default=False)


@dataclass(frozen=True, kw_only=True)
class EditOptions:
    """The edits, as written on the command line or in a file."""

    ablate: Annotated[list[str] | None, _many("ablate", "Switch a feature off, for example L3/1207@4.")] = None
    set_: Annotated[list[str] | None, _many("set", "Give a feature an activation: L3/1207@4=2.5.")] = None
    scale: Annotated[list[str] | None, _many("scale", "Multiply a feature's activation: L3/1207@4=3.")] = None
    add: Annotated[list[str] | None, _many("add", "Add to a feature's activation: L3/1207@4=1.")] = None
    steer: Annotated[
        list[str] | None,
        _many("steer", "Add a feature's decoder to the stream, clamping nothing: L3/1207@generated=4."),
    ] = None
    edits: Annotated[Path | None, typer.Option("--edits", help="Read edits from a file, besides those given.")] = None
    save_edits: Annotated[Path | None, typer.Option("--save-edits", help="Write the edits to a file.")] = None
    replace: ReplaceOption = False

    def check(self) -> None:
        """Read what is written here before a model is loaded; InputError when it is no edit, or there is none."""
        if not self._parsed() and self.edits is None:
            raise _no_edit()
        if self.save_edits is not None:
            check_outputs([OutputFile("--save-edits", self.save_edits, ENVELOPE.format)], replace=self.replace)

    def read(self, kit: Kit) -> tuple[Edit, ...]:
        """All edits, those of the file first; InputError when there is none."""
        from_file = () if self.edits is None else load_edits(self.edits, kit.dictionary)
        edits = (*from_file, *self._parsed())
        if not edits:
            raise _no_edit()
        return edits

    def _parsed(self) -> tuple[Edit, ...]:
        by_verb = {"ablate": self.ablate, "set": self.set_, "scale": self.scale, "add": self.add, "steer": self.steer}
        return tuple(Edit.parse(verb, text) for verb, texts in by_verb.items() for text in texts or [])  # type: ignore[arg-type]


def _no_edit() -> InputError:
    return InputError("no edit is given: name at least one, for example --ablate L3/1207@4")


@with_settings()
def edit(
    options: EditOptions,
    settings: Annotated[EditSettings, Only("through", "predict", "add_bos")],
    sampling: Annotated[GenerateSettings, Only("temperature", "top_p", "seed")],
    source: KitOptions,
    prompt: Annotated[str | None, typer.Argument(help="The text to edit the model on.", show_default=False)] = None,
    generate: Annotated[int | None, typer.Option(help="Go on for this many tokens, with and without.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Edit features and see what follows: predicted by effects, measured in the real model.

    A feature stands at all positions (`L3/1207`), at some (`L3/1207@2,5`), at `@prompt` or at `@generated` ones.

    Example: `clew edit "You find Lyon in" --set L0/447@4=12 --generate 5`
    """
    if prompt is None:
        raise InputError('give a prompt; for example: clew edit "You find Lyon in" --set L0/447@4=12')
    if generate is not None and sampling.temperature == 0 and sampling != GenerateSettings():
        raise InputError("--top-p and --seed are for draws, and at temperature 0 none is made: give a --temperature")
    if generate is None and sampling != GenerateSettings():
        raise InputError("--temperature, --top-p and --seed say how to --generate: give a number of tokens to it")
    options.check()
    kit = source.load()
    on_few_threads(kit)
    edits = options.read(kit)
    message: Any = [{"role": "user", "content": prompt}] if chat else prompt
    ids = kit.subject.encode(message, add_bos=settings.add_bos)
    pairs, edits_on_prompt = None, edits
    if generate is not None:
        sampling = replace(sampling, tokens=generate, through=settings.through)
        pairs = side_by_side(kit.subject, kit.dictionary, ids, edits, **keywords(sampling))
        edits_on_prompt = on_prompt(edits, len(ids))
        through = last_clamped(edits, kit.dictionary, settings.through) if _clamps(kit, edits_on_prompt) else None
        settings = replace(settings, through=through)
    effect = kit.edit(ids, edits_on_prompt, **keywords(settings)) if edits_on_prompt else None
    if options.save_edits is not None:
        write_edits(options.save_edits, edits, kit.dictionary)
    if as_json:
        print(json.dumps(_as_json(kit, prompt, edits, effect, pairs), ensure_ascii=False, indent=1))
        return
    console = Console(highlight=False)
    _print_edits(console, kit, prompt, edits, kit.subject.token_strings(ids.tolist()))
    if effect is not None:
        _print_effect(console, kit, effect)
    if pairs is not None:
        _print_texts(console, pairs)


def _clamps(kit: Kit, edits: tuple[Edit, ...]) -> bool:
    return kit.dictionary.kind != "sae" and any(edit.verb != "steer" for edit in edits)


# --- for people -----------------------------------------------------------------------------------------------------


def _print_edits(console: Console, kit: Kit, prompt: str, edits: tuple[Edit, ...], tokens: tuple[str, ...]) -> None:
    console.print(Text(prompt, style="bold"))
    console.print(Text(f"{kit.subject.name}, {kit.dictionary.name}", style="dim"))
    console.print(tokens_line(tokens), "", sep="\n")
    labels = kit.names({edit.feature for edit in edits if edit.feature is not None})
    shown = table("edit", "")
    for edit in edits:
        shown.add_row(Text(str(edit)), Text("" if edit.feature is None else labels[edit.feature]))
    console.print(shown, "")


def _print_effect(console: Console, kit: Kit, effect: Effect) -> None:
    said = [_PREDICTED[effect.prediction]] if effect.prediction is not None else []
    console.print(*map(Text, (*said, _clamped(kit, effect))), "", sep="\n")
    names = kit.subject.token_strings
    outputs = table("next token", ">before", ">predicted", ">measured", "")
    for token, before, predicted, measured in effect.top_tokens(count=_TOKENS):
        bar = Text("█" * round(30 * measured), style="blue")
        outputs.add_row(Text(repr(names([token])[0])), f"{before:.4f}", _value(predicted, 4), f"{measured:.4f}", bar)
    console.print(outputs, "")
    changes = effect.changes[:_FEATURES]
    labels = kit.names({change.node.feature for change in changes})
    title = f"Features that changed most, of {len(effect.changes):,}"
    features = table("feature", "at", ">before", ">predicted", ">measured", "", title=title)
    for change in changes:
        where = Text(repr(effect.tokens[change.node.position]))
        values = f"{change.before:.2f}", _value(change.predicted, 2), f"{change.measured:.2f}"
        label = Text(labels[change.node.feature], no_wrap=True, overflow="ellipsis")
        features.add_row(str(change.node), where, *values, label)
    console.print(*([features, ""] if changes else ["No feature changed.\n"]))


def _value(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _clamped(kit: Kit, effect: Effect) -> str:
    """Which MLP outputs were held, and what that means for what was measured."""
    if effect.through is None:
        where = "where it reads" if kit.dictionary.kind == "sae" else "in the stream"
        return f"Measured with nothing clamped: the edit is made {where}, and all that follows is the real model's."
    layers = [edit.feature.layer for edit in effect.edits if edit.feature is not None and edit.verb != "steer"]
    first, last = min(layers), effect.through
    which = f"layer {last}" if first == last else f"layers {first} to {last}"
    return (
        f"Measured with the MLP output of {which} clamped: as without edits, plus what the edited features write "
        "there; all that follows is the real model's."
    )


def _print_texts(console: Console, pairs: Pairs) -> None:
    """Both texts as they grow; where the output is no terminal, once they are whole."""
    texts = Text(), Text()

    def both() -> Any:
        shown = table("default", "edited")
        shown.columns[0].max_width = shown.columns[1].max_width = max(20, console.width // 2 - 2)
        shown.add_row(*texts)
        return shown

    with Live(both(), console=console, refresh_per_second=20) as live:
        for pair in pairs:
            for text, step in zip(texts, pair, strict=True):
                if step is not None:
                    text.append(step.text).append(_ENDS.get(step.end or "", ""), style="dim")
            live.update(both())
    console.print()


# --- for machines ---------------------------------------------------------------------------------------------------


def _as_json(
    kit: Kit, prompt: str, edits: tuple[Edit, ...], effect: Effect | None, pairs: Pairs | None
) -> dict[str, Any]:
    value: dict[str, Any] = {
        "prompt": prompt,
        "subject": kit.subject.name,
        "dictionary": kit.dictionary.name,
        "edits": [edit.to_json() for edit in edits],
        **kit.dictionary.other_model,
    }
    if effect is not None:
        value |= _effect_as_json(kit, effect)
    if pairs is not None:
        streams = zip(*pairs, strict=True)
        value["generated"] = dict(zip(("default", "edited"), map(_stream_as_json, streams), strict=True))
    return value


def _effect_as_json(kit: Kit, effect: Effect) -> dict[str, Any]:
    changes = effect.changes[:_LISTED]
    labels = kit.names({change.node.feature for change in changes})
    return {
        "tokens": list(effect.tokens),
        "through": effect.through,
        "prediction": effect.prediction,
        "outputs": [
            {"token": kit.subject.token_strings([i])[0], "before": before, "predicted": predicted, "measured": measured}
            for i, before, predicted, measured in effect.top_tokens()
        ],
        "n_changed": len(effect.changes),
        "changes": [
            {
                "feature": str(change.node),
                "before": change.before,
                "predicted": change.predicted,
                "measured": change.measured,
                "label": labels[change.node.feature],
            }
            for change in changes
        ],
    }


def _stream_as_json(steps: tuple[Step | None, ...]) -> dict[str, Any]:
    taken = [step for step in steps if step is not None]
    tokens = [{"id": step.token_id, "text": step.text, "probability": step.probability} for step in taken]
    return {"text": "".join(step.text for step in taken), "end": taken[-1].end, "tokens": tokens}
