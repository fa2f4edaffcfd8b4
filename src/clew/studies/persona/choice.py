"""By which rule features are grouped, and how large groups are: chosen on questions of which nothing is claimed.

1. Every rule of RULES with every share of SHARES is tried on a child's roots of the part CHOSEN, whose numbers no claim
   asks; features are found in the part FOUND, as for the claims.
2. Its score is how often the child still refuses without either group alone (the less of both) less how often it does
   without both: what the claims ask, in one number.
3. The highest score is taken; of equals the smaller share, then the earlier rule. What the config gives is not chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from clew.kit import Kit
from clew.progress import Progress
from clew.studies.case import Steps
from clew.studies.measuring import likeliest, read_answers
from clew.studies.persona.groups import INTERACTION, PERSONA, Written, find_groups
from clew.studies.persona.prompts import CHILD, CHOSEN, ROOT, RULES, PersonaConfig, RootQuestion, refusal_token, select
from clew.studies.persona.runs import BOTH, SHARES, PersonaRuns

TRIED = (PERSONA, INTERACTION, BOTH)


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupingChoice:
    """What was tried, and what is taken."""

    tried: Sequence[tuple[str, float]]
    """Rules and shares."""
    sizes: Float[Tensor, "tried set"]
    refused: Float[Tensor, "tried set"]
    """How many features each of TRIED has, and how often the child refuses without them."""
    prompts: int

    @property
    def scores(self) -> Float[Tensor, " tried"]:
        """The less of both groups alone, less both together."""
        return self.refused[:, :2].amin(1) - self.refused[:, 2]

    @property
    def taken(self) -> int:
        """The place of what is taken."""
        order = sorted(range(len(self.tried)), key=lambda i: (-float(self.scores[i]), self.tried[i][1], i))
        return order[0]

    @property
    def rule(self) -> str:
        """The rule that is taken."""
        return self.tried[self.taken][0]

    @property
    def share(self) -> float:
        """The share that is taken."""
        return self.tried[self.taken][1]

    @property
    def sentence(self) -> str:
        """What is taken, and how it came about."""
        how = f"chosen on {self.prompts} other prompts" if len(self.tried) > 1 else "as given"
        return f"{self.share:.0%} of each group by the rule {self.rule!r}, {how}"

    @classmethod
    def of(cls, config: PersonaConfig, found: Mapping[str, Tensor]) -> GroupingChoice:
        """From what `try_rules` returned."""
        return cls(
            tried=candidates(config), sizes=found["sizes"], refused=found["refused"], prompts=int(found["prompts"])
        )


def candidates(config: PersonaConfig) -> list[tuple[str, float]]:
    """The rules and shares that may be taken."""
    rules = RULES if config.rule is None else (config.rule,)
    return [*product(rules, SHARES if config.share is None else (config.share,))]


def try_rules(kit: Kit, config: PersonaConfig, questions: Sequence[RootQuestion], written: Written) -> Steps:
    """How large the groups of every candidate are, and how often a child refuses without them."""
    token, places = refusal_token(kit, config), select(questions, CHILD, ROOT, part=CHOSEN)
    asked = [(questions[place].token_ids, ()) for place in places]
    plain = yield from read_answers(kit, asked, likeliest, what="answers", note="to choose by")
    tried, sizes, refused = candidates(config), list[list[float]](), list[list[float]]()
    for done, (rule, share) in enumerate(tried):
        yield Progress(what="rules", done=done, of=len(tried), unit="rules", note=f"{rule} {share:g}")
        groups = find_groups(written, questions, rule)
        runs = PersonaRuns(kit=kit, config=config, questions=questions, written=written, groups=groups, share=share)
        changes = [runs.ablation(name, share) for name in TRIED]
        sizes.append([float(len(change.columns)) for change in changes])
        refused.append([])
        for change in changes:
            tops = yield from runs.changed(change, places, plain)
            refused[-1].append(float((tops == token).float().mean()))
    return {"sizes": torch.tensor(sizes), "refused": torch.tensor(refused), "prompts": torch.tensor(len(places))}
