"""How values show themselves in a notebook, without knowing of HTML: each asks for the function that was named for it.

`import clew` names them, in `RENDERERS`: from a class to `module:function`, which is imported when something is shown.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in `typing`, which `import clew` does not load
if TYPE_CHECKING:
    from typing import Any

RENDERERS: dict[str, str] = {}


def rendered(what: str, value: Any, **options: Any) -> Any:
    """What the function that was named for `what` makes of a value; None when none was."""
    place = RENDERERS.get(what)
    if place is None:
        return None
    module, _, function = place.partition(":")
    return getattr(import_module(module), function)(value, **options)


def brief(text: str, most: int = 60) -> str:
    """A text as `repr` quotes it, cut behind so many characters: for the repr of what holds it."""
    return repr(text if len(text) <= most else f"{text[: most - 1]}…")


class Displayed:
    """A value with a rich display in notebooks."""

    def _repr_html_(self) -> str | None:
        html: str | None = rendered(type(self).__name__, self)
        return html
