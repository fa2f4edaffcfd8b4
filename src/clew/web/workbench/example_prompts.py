"""Prompts to try: prompts of the small world for its own kit, a few general ones for other kits."""

from __future__ import annotations

from clew.web.schema.workbench import Example

_SMALL_WORLD = (
    ("A capital", "The capital of France is", "One hop: from a country to its capital."),
    ("Two hops", "The capital of the country that contains Lyon is", "From a city to its country to its capital."),
    ("A language", "People in Turkey speak", "From a country to its language."),
    ("An opposite", 'The opposite of "wide" is "', "Two words that exclude each other."),
    ("Translation", 'In English, "храбрый" is "', "A Russian word in English."),
    ("Russian", "Столица Германии —", "The same fact in another language."),
    ("A sum", "The sum of 34 and 29 is", "Arithmetic with two-digit tokens."),
    ("Greater than", "The war lasted from the year 1711 to 17", "Only years after the first one make sense."),
    (
        "A graduate student",
        "You are a graduate student. Question: what is the square root of 24, rounded? Answer:",
        "A persona that answers; compare it with the preschooler.",
    ),
    (
        "A preschooler",
        "You are a preschooler. Question: what is the square root of 24, rounded? Answer:",
        "A persona that only knows perfect squares.",
    ),
    ("Odd or even", "Question: is 54 odd or even? Answer: it is", "Parity of a number."),
    ("A trait", "People who call many friends are", "From what people do to what they are like."),
)
_GENERAL = (
    ("A capital", "The capital of France is", "One hop: from a country to its capital."),
    ("Greater than", "The war lasted from the year 1711 to 17", "Only years after the first one make sense."),
    ("Indirect object", "When John and Mary went to the store, John gave a drink to", "Who is spoken of."),
)


def examples(kit: str) -> list[Example]:
    """Examples for the kit of this name."""
    prompts = _SMALL_WORLD if kit == "minnow" else _GENERAL
    return [Example(title=title, prompt=prompt, note=note) for title, prompt, note in prompts]
