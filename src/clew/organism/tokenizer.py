"""The tokenizer of the small world: byte-level BPE in which every word that a study needs is one token.

1. Text is cut into words (with the space before them), numbers into pairs of digits from the left, signs one by one.
2. BPE is trained on a sample of the corpus plus a list of words, repeated so often that their merges come first.
3. Bytes are the alphabet, so that any text encodes and decodes to itself.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from clew.organism import places, social, traits, words
from clew.organism.world import World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 3072
BOS, EOS = "<bos>", "<eos>"
SAMPLE = 30_000
"""Statements on whose text BPE is trained."""

REPEATED = 1_000
"""How often each word of the list is added to the sample."""

PATTERN = r" ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]|\s+"


def whole_words() -> tuple[str, ...]:
    """Return the words that must be one token, each with the leading space it has in a sentence."""
    spaced: list[str] = []
    for country in places.countries():
        spaced += [country.name, country.capital, country.language, *country.cities]
    spaced += [
        *social.COLOURS,
        *social.JOBS,
        *social.FOODS,
        *words.MONTHS,
        *words.THINGS,
        *words.EVENTS,
        *words.ANIMALS,
    ]
    spaced += [*words.WEATHER, *words.FEMALE_NAMES, *words.MALE_NAMES]
    spaced += [*traits.CHILDREN, *" ".join(traits.GRADUATES).split(), "odd", "even"]
    spaced += [second for _, second in words.CONTRASTS]
    spaced += [str(n) for n in range(100)]
    bare = [word for pair in words.OPPOSITES for word in pair]
    bare += [*words.FEMALE_NAMES, *words.MALE_NAMES]
    bare += [*(str(n) for n in range(10)), *(f"{n:02d}" for n in range(100))]
    return tuple(dict.fromkeys([*(" " + word for word in spaced), *bare]))


def train_tokenizer(world: World, vocabulary: int = VOCABULARY) -> "PreTrainedTokenizerFast":
    """Train the world's tokenizer: `<bos>` is 0, `<eos>` is 1 and pads; it adds neither to a text by itself."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_sample(world), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        clean_up_tokenization_spaces=False,
        model_max_length=128,
    )


def load_tokenizer(folder: Path | str) -> "PreTrainedTokenizerFast":
    """Load a saved tokenizer from a model folder."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(str(folder))


def _sample(world: World) -> Iterator[str]:
    yield from world.corpus(SAMPLE).documents
    for word in whole_words():
        for _ in range(REPEATED):
            yield word
