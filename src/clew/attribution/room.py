"""The memory that a trace takes, foreseen before it is taken: a refusal names what would need less.

A long prompt needs memory in two places. The recorded run keeps every attention pattern, which grows with the square of
the prompt and which no option makes smaller. The rows of the graph are features by sources: `max_features` bounds them.
"""

from __future__ import annotations

from clew.attribution.sources import Sources
from clew.errors import InputError
from clew.memory import SMALL, address_space, check_room, free_memory, in_words
from clew.subject.subject import Subject


def pattern_bytes(subject: Subject, n_positions: int) -> int:
    """Bytes of the attention patterns of one layer, in single precision."""
    heads = int(getattr(subject.model.config, "num_attention_heads", 0) or 0)
    return 4 * heads * n_positions**2


def check_recording(subject: Subject, n_positions: int, *, effects: bool = False) -> None:
    """InputError when the run of a prompt so long does not fit into memory.

    Effects hold two tensors more of the size of a pattern, the slope of the scores and its product with the pattern.
    """
    patterns = (3 if effects else 1) * subject.n_layers * pattern_bytes(subject, n_positions)
    needed = patterns + 4 * 2 * n_positions * len(subject.unembedding)  # logits and probabilities
    what = f"the recorded run of {n_positions:,} tokens, with its attention patterns and logits,"
    check_room(needed, what, "give a shorter prompt", subject.device)


def check_rows(sources: Sources, n_targets: int, n_features: int, *, kinds: int = 1) -> None:
    """InputError when the rows of so many features and of the targets do not fit into memory.

    A row is written as far as its position sees. Of features that are chosen later it is not known where they are, so
    that all of their rows count; and a limit on the address space counts what is never written too. `kinds` is 2 where
    effects stand beside values.
    """
    size, n_columns = kinds * sources.dtype.itemsize, sources.n_nodes
    whole = (n_targets + n_features) * n_columns * size
    if whole <= SMALL:
        return
    written = whole
    if n_features == sources.n_features:
        per_position = sources.feature_keys[:, 1].bincount(minlength=len(sources.position_ends)).tolist()
        seen = sum(count * end for count, end in zip(per_position, sources.position_ends, strict=True))
        written = (n_targets * n_columns + seen) * size
    free, space = free_memory(sources.device), address_space()
    lack = written > free
    if not lack and (sources.device.type != "cpu" or space is None or whole <= space):
        return
    most = free if lack or space is None else space
    fitting = int(0.9 * most) // (n_columns * size) - n_targets
    advice = f"give max_features (--max-features) of at most {fitting:,}, or " if fitting > 0 else "give "
    raise InputError(
        f"the rows of {n_features:,} of {sources.n_features:,} active features over {len(sources.position_ends):,} "
        f"positions take {in_words(written if lack else whole)} of memory, and {in_words(most)} are free: {advice}a "
        "shorter prompt"
    )
