"""A circuit in words, English and Russian: names of groups, and the sentence, built from the structure alone.

Every number in the sentence was measured, and every word of it stands for a group, an edge or a token of the circuit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from clew.circuit.naming import GroupName
from clew.errors import InputError

Language = Literal["en", "ru"]
HALF = 0.5  # of the answer: where more of it stands without the groups that are named, what is left without all is told
_KINDS_RU = {
    "country": ("страна", "страну"),
    "city": ("город", "город"),
    "capital": ("столица", "столицу"),
    "language": ("язык", "язык"),
    "animal": ("животное", "животное"),
    "number": ("число", "число"),
}
_WORDS = {
    "en": {
        "reads": "reads {words}",
        "quoted": "'{}'",
        "kind": "the {kind} {words}",
        "with": " with ",
        "like": "{a} {kind} like {words}",
        "asks": "asks for {a} {kind}",
        "gives": "says {a} {kind}",
        "phrase": "the phrase {words}",
        "whole": "the phrase as a whole",
        "says": "says {words}",
        "against": "writes against {words}",
        "rest": "other words",
        "at": " (at '{place}')",
        "word": "word",
    },
    "ru": {
        "reads": "читает {words}",
        "quoted": "«{}»",
        "kind": "{kind} {words}",
        "with": " вместе с ",
        "like": "{kind} вроде {words}",
        "asks": "спрашивает {kind}",
        "gives": "говорит {kind}",
        "phrase": "фраза {words}",
        "whole": "фраза в целом",
        "says": "говорит {words}",
        "against": "пишет против {words}",
        "rest": "остальные слова",
        "at": " (на «{place}»)",
        "word": "слово",
    },
}


def group_text(name: GroupName, language: Language) -> str:
    """What a group is called in a language."""
    words = _WORDS[checked(language)]
    if name.called:
        return name.called
    listed = words["with"].join(name.words)
    kind = _kind(name.kind, language)
    match name.does:
        case "reads":
            plain = words["quoted"].format(listed)
            text = words["reads"].format(words=words["kind"].format(kind=kind, words=listed) if kind else plain)
        case "phrase":
            text = words["phrase"].format(words=words["quoted"].format(" … ".join(name.words)))
            text = text if name.words else words["whole"]
        case "holds":
            text = listed if len(name.words) > 1 else f"{kind or words['word']}: {listed}"
        case "like":
            word = listed if kind else words["quoted"].format(listed)
            kind = kind or words["word"]
            text = words["like"].format(a="an" if kind[:1] in "aeiou" else "a", kind=kind, words=word)
        case "asks" | "gives":
            asked = _KINDS_RU.get(name.kind, (name.kind, name.kind))[1] if language == "ru" else name.kind
            text = words[name.does].format(a="an" if asked[:1] in "aeiou" else "a", kind=asked)
        case does:
            text = words[does].format(words=listed)
    return text + (words["at"].format(place=name.place) if name.place else "")


def _kind(kind: str, language: Language) -> str:
    return _KINDS_RU.get(kind, (kind, kind))[0] if language == "ru" else kind


def checked(language: str) -> Language:
    """The language; InputError for one that nothing is told in."""
    if language not in get_args(Language):
        raise InputError(f"there is no language {language!r}: choose from {', '.join(get_args(Language))}")
    return language  # type: ignore[return-value]


def percent(share: float) -> str:
    """A probability for a person: whole per cents, one place more near both ends."""
    value = 100 * share
    places = 0 if value < 0.05 or 10 <= value < 99 or value >= 99.95 else 1
    return f"{value:.{places}f} %"


@dataclass(frozen=True, kw_only=True)
class Story:
    """What the sentence says: of which words the first group is made, what it makes, what goes without them."""

    answer: str
    before: float
    after: float
    """The answer's probability without the groups that are named."""
    sources: tuple[str, ...] = ()
    """The words that the first group is made of."""
    place: str = ""
    heads: tuple[str, ...] = ()
    last_place: str = ""
    """Where the last group stands, if that is elsewhere, and the heads that bring the first there."""
    last_heads: tuple[str, ...] = ()
    names: tuple[GroupName, ...] = ()
    """The first group, others that it stands beside, the one that they make; none where no group matters."""
    makes: bool = False
    """Whether the last is what the others make; else it stands beside them."""
    after_all: float = 0.0
    """The answer's probability without any group, told where half of it stands without those that are named."""
    n_groups: int = 0


def sentence(story: Story, language: Language) -> str:
    """How the answer came about, in one sentence; where no group matters, that."""
    words = _SENTENCE[checked(language)]
    answer = words["quoted"].format(story.answer)
    numbers = {"answer": answer, "before": percent(story.before), "after": percent(story.after)}
    if not story.names:
        return words["nothing"].format(**numbers)
    first, *others = story.names
    first = replace(first, place="") if first.place == story.place else first  # the sentence says where it stands
    names = [f"*{group_text(name, language)}*" for name in (first, *others)]
    place, by = words["quoted"].format(story.place), _by(story.heads, words)
    source = words["and"].join(words["quoted"].format(each) for each in story.sources)
    whence = {"source": source, "name": names[0], "place": place, "by": by}
    beside = words["and"].join(names[1:-1] if story.makes else names[1:])
    made = ("stands", "made", "made_of_several")[min(2, len(story.sources))]
    made = "made_of_several" if made == "made" and " " in story.sources[0] else made  # a phrase
    parts = [words[made].format(**whence)]
    if story.makes:
        last = words["makes"].format(beside=words["beside"].format(beside) if beside else "", name=names[-1])
        if story.last_place:
            last += words["place"].format(words["quoted"].format(story.last_place)) + _by(story.last_heads, words)
        parts.append(last)
    elif beside:
        parts.append(words["stands_beside"].format(beside))
    fall = words[
        "stays" if numbers["before"] == numbers["after"] else "falls" if story.after < story.before else "goes"
    ]
    fall = fall.format(them=words["it" if len(names) == 1 else "them"], **numbers)
    if story.after > HALF * story.before and story.after_all < story.after:
        fall += words["all"].format(n=story.n_groups, after=percent(story.after_all))
    return "; ".join([*parts, fall]) + "."


def _by(heads: tuple[str, ...], words: Mapping[str, str]) -> str:
    return words["heads" if len(heads) > 1 else "head"].format(", ".join(heads)) if heads else ""


_SENTENCE = {
    "en": {
        "quoted": "'{}'",
        "heads": " (heads {})",
        "head": " (head {})",
        "and": " and ",
        "it": "it",
        "them": "them",
        "nothing": "No group of features matters for {answer}: with them it stands at {before}, without at {after}.",
        "made": "{source} (token) makes {name} at {place}{by}",
        "stands": "{name} stands at {place}",
        "stands_beside": "beside it stands {}",
        "stays": "without {them} {answer} stays at {after}",
        "all": ", without all {n} groups it comes to {after}",
        "made_of_several": "{source} (tokens) make {name} at {place}{by}",
        "place": " at {}",
        "beside": "with {} ",
        "makes": "{beside}it makes {name}",
        "falls": "without {them} {answer} falls from {before} to {after}",
        "goes": "without {them} {answer} goes from {before} to {after}",
    },
    "ru": {
        "quoted": "«{}»",
        "heads": " (головы {})",
        "head": " (голова {})",
        "and": " и ",
        "it": "неё",
        "them": "них",
        "nothing": "Ни одна группа признаков не важна для {answer}: с ними {before}, без них {after}.",
        "made": "{source} (токен) создаёт группу {name} на {place}{by}",
        "stands": "группа {name} стоит на {place}",
        "stands_beside": "рядом с ней {}",
        "stays": "без {them} {answer} остаётся на {after}",
        "all": ", а без всех групп ({n}) — {after}",
        "made_of_several": "{source} (токены) создают группу {name} на {place}{by}",
        "place": " на {}",
        "beside": "вместе с {} ",
        "makes": "{beside}она создаёт {name}",
        "falls": "без {them} {answer} падает с {before} до {after}",
        "goes": "без {them} {answer} меняется с {before} до {after}",
    },
}
