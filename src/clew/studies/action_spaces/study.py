"""The study `action-spaces`: can a model play with actions that it has never seen, and how does it know which paid?

1. Two small GPT-2s are taught by Thompson sampling to play bandits of 4 to 20 arms. One sees its arms as random
   orthogonal embeddings, drawn anew for every game and listed in the prompt; the other has an embedding learned for
   every numbered arm.
2. Both play with up to 50 arms, beside Thompson sampling and a player who pulls any arm.
3. The heads that copy the embedding of an arm that paid are looked for, silenced beside as many others, and asked what
   they look for.
4. In the absent case every reward that a player sees is that of an arm drawn at random: there is nothing to learn.
"""

from __future__ import annotations

from collections.abc import Iterator

from clew.progress import Progress
from clew.studies.action_spaces.claims import ActionSpacesMeasures, claims_of
from clew.studies.action_spaces.config import ActionSpacesConfig
from clew.studies.action_spaces.copying import Copying, measured_ablations, measured_copying
from clew.studies.action_spaces.exhibits import head_picture, head_table, look_table, regret_picture, regret_table
from clew.studies.action_spaces.players import BanditPlayer, trained_player
from clew.studies.action_spaces.playing import measured_games, measured_teachers
from clew.studies.action_spaces.rewards import measured_flips, measured_look
from clew.studies.case import Case
from clew.studies.case_findings import CaseFindings
from clew.studies.study import Study, with_settings


def measure(case: Case[ActionSpacesConfig]) -> Iterator[Progress | CaseFindings]:
    """Measure one case; ends with its CaseFindings."""
    config = case.config
    players: dict[bool, BanditPlayer] = {}
    for learned in (False, True):
        for step in trained_player(case, learned=learned):
            if isinstance(step, BanditPlayer):
                players[learned] = step
            else:
                yield step
    player = players[False]
    copying = Copying.of((yield from case.part("copying", measured_copying(player, config))), config.heads)
    measured = ActionSpacesMeasures(
        config=config,
        teachers=(yield from case.part("teachers", measured_teachers(config))),
        drawn=(yield from case.part("drawn", measured_games(player, config))),
        learned=(yield from case.part("learned", measured_games(players[True], config))),
        copying=copying,
        ablations=(yield from case.part("ablations", measured_ablations(player, config, copying))),
        flips=(yield from case.part("flips", measured_flips(player, config, copying))),
        look=(yield from case.part("look", measured_look(player, config, copying))),
    )
    yield CaseFindings(
        claims=claims_of(measured),
        tables={"regret": regret_table(measured), "heads": head_table(measured), "look": look_table(measured)},
        figures={"regret": regret_picture(measured), "heads": head_picture(measured)},
    )


ACTION_SPACES = Study(
    name="action-spaces",
    question="Can a model play with actions that it has never seen, and which heads know what paid?",
    source="Sinii et al. 2024, In-Context Reinforcement Learning for Variable Action Spaces",
    config=ActionSpacesConfig,
    needs=lambda kit, config: "",
    measure=measure,
    absent=with_settings(
        "Every reward that a player sees, in training and in its games, is that of an arm drawn at random, and the "
        "pulls that it is trained on are random too: nothing that it reads says which arm pays.",
        shuffled=True,
    ),
    reduced=lambda config: None,
    quick={"steps": 100, "learned_steps": 50, "games": 60, "histories": 24},
)
