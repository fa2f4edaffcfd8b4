"""The small world: a law of text, a corpus drawn from it, a model trained on it, and its exam.

    from clew.organism import World
    world = World(seed=0)
    world.facts()                                    # every fact, how often the corpus holds it, what is held out
    for report in train(TrainingConfig(), "run"):    # clew.organism.training
        ...
    exam_folder("run/model", world).passed           # clew.organism.exam

`places`, `words`, `traits` and `tales` hold the words; `geography`, `language`, `numbers`, `social`, `stories` and
`processes` hold the families of statements; `families` is the law of one family, `world` that of all.
"""

from clew.organism.families import FactRow, Statement, StatementFamily, TableFamily
from clew.organism.world import Corpus, Fact, World

__all__ = ["Corpus", "Fact", "FactRow", "Statement", "StatementFamily", "TableFamily", "World"]
