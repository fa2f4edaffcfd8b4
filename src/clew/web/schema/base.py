"""What every view of the page shares: the base class of views, kinds of names, the answer to a refused request.

Ids of features and nodes are the texts of `clew.ids`. A number that has no value is null, never NaN. What is not there
may be left out, so that large views stay small.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

NameKind = Literal["person", "model", "heuristic", "promoted", "imported", ""]
"""Who named a feature; `promoted` where it goes by the tokens that it promotes, nothing where it has no name."""

Row = Annotated[
    list[str] | None,
    Field(
        description="The tokens as one reads them in a row: a character that several share stands at one of them, the "
        "others are empty. Null where these are the tokens' names"
    ),
]


class View(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Problem(View):
    """Why a request was refused, in one line."""

    error: str
