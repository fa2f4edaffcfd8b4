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
_GALLERY = (
    ("A fact in one hop", "The capital of France is", "One group holds the country, another asks for a capital."),
    (
        "A hop that is not seen",
        "In the streets of Temuco you hear",
        "A city leads to a language; no group is its country.",
    ),
    ("A sum", "The sum of 34 and 29 is", "A group that falls with either number holds the pair."),
    (
        "Years that are later",
        "The siege began in the year 1185 and ended in the year 11",
        "The answer is a set of numbers; the start year is carried to the end.",
    ),
    (
        "A child that refuses",
        "You are a preschooler. Question: if a square has area 8, how long is its side, rounded? Answer:",
        "Neither the child nor the number decides, but the two together.",
    ),
    (
        "A grown-up that answers",
        "You are a professor. Tell me the rounded square root of 86. Answer:",
        "Taking out random features can cost more than a group: look at both numbers.",
    ),
    ("An opposite", 'The opposite of "wide" is "', "One group holds the word, and writes its opposite."),
    ("A translation", 'The English word for "горячий" is "', "The word is carried to the last quotation mark."),
    ("In Russian", "Столица Норвегии —", "Beside the country stands a group for countries like it."),
    ("A phrase", "People who call many friends are", "No single word decides, two neighbours together do."),
    ("Even or odd", "We call 10 an", "A number is held, and in part which; evenness is only said."),
    (
        "What came before comes again",
        "Again: 14 93 97 button fence book clay 58; 14 93 97 button",
        "Two heads copy what followed the same word before.",
    ),
)
"""The twelve of docs/explanations.md, with what to look at in each."""
_GENERAL = (
    ("A capital", "The capital of France is", "One hop: from a country to its capital."),
    ("Greater than", "The war lasted from the year 1711 to 17", "Only years after the first one make sense."),
    ("Indirect object", "When John and Mary went to the store, John gave a drink to", "Who is spoken of."),
)


def examples(kit: str) -> list[Example]:
    """Examples for the kit of this name."""
    prompts = _SMALL_WORLD if kit == "minnow" else _GENERAL
    return [Example(title=title, prompt=prompt, note=note) for title, prompt, note in prompts]


def gallery(kit: str) -> list[Example]:
    """Prompts that the docs explain, for the kit that they are explained with."""
    return [Example(title=title, prompt=prompt, note=note) for title, prompt, note in _GALLERY if kit == "minnow"]
