"""How far a machine can be trusted: how often its claims and the labels agree, by what a case looks like."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from labeling.core.errors import MissingExtraError

from .meeting import MACHINES, Traits, meetings
from .scenes import Scene

_LEARNED_FROM = 30_000
_FEWEST = 30
_MOST = 8.0


@dataclass(frozen=True, slots=True)
class Rule:
    """Log odds of an event as a sum over traits, as a logistic regression learned them.

    Attributes:
        base: log odds without any trait.
        weights: per trait; what was never seen weighs nothing.
    """

    base: float
    weights: Traits

    def odds(self, traits: Traits) -> float:
        """Return how much likelier the event is than its absence."""
        total = self.base + sum(value * self.weights.get(name, 0.0) for name, value in traits.items())
        return math.exp(min(max(total, -_MOST), _MOST))


@dataclass(frozen=True, slots=True)
class Trust:
    """What to expect of one machine.

    Attributes:
        found: a label has a claim at its place.
        confirmed: a claim has a label at its place.
        same: a claim and a label at one place have one class.
        measured: whether labels said so; False for a guess.
    """

    found: Rule
    confirmed: Rule
    same: Rule
    measured: bool = True


UNKNOWN = Trust(
    found=Rule(-0.5, {"size": 1.0, "class elsewhere": 0.5}),
    confirmed=Rule(0.0, {"score": 1.0}),
    same=Rule(1.0, {"score": 0.7}),
    measured=False,
)
"""For a machine whose habits nobody has measured."""


@dataclass(slots=True)
class _Cases:
    """What was seen of one event."""

    traits: list[Traits] = field(default_factory=list)
    happened: list[bool] = field(default_factory=list)

    def add(self, traits: Traits, happened: bool) -> None:
        self.traits.append(traits)
        self.happened.append(happened)

    def rule(self, otherwise: Rule) -> Rule:
        """Return what the cases teach; ``otherwise`` where there are too few of them to teach anything."""
        if len(self.happened) < _FEWEST:
            return otherwise
        yes = sum(self.happened)
        if not 2 <= yes <= len(self.happened) - 2:
            return Rule(math.log((yes + 1) / (len(self.happened) - yes + 1)), {})
        try:
            from sklearn.feature_extraction import DictVectorizer
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise MissingExtraError("scikit-learn", "curate") from error
        words = DictVectorizer()
        model = LogisticRegression(C=1.0, max_iter=300).fit(words.fit_transform(self.traits), self.happened)
        weights = dict(zip(words.get_feature_names_out().tolist(), model.coef_[0].tolist(), strict=True))
        return Rule(float(model.intercept_[0]), weights)


def learn_trust(scenes: Iterable[Scene]) -> dict[str, Trust]:
    """Return how far each machine can be trusted that has spoken beside labels, by its name.

    Only the labels themselves say so: where a machine and the labels nearly always agree, a disagreement is news;
    where they rarely do, it is not. A few wrong labels do not change the rule.

    Args:
        scenes: all images; the first 30,000 boxes of a kind are enough.

    Raises:
        MissingExtraError: scikit-learn or scipy is not installed.
    """
    cases = {name: (_Cases(), _Cases(), _Cases()) for name in MACHINES}
    for scene in scenes:
        for meeting in meetings(scene):
            found, confirmed, same = cases[meeting.machine]
            if min(len(found.happened), len(confirmed.happened)) >= _LEARNED_FROM:
                continue
            for i in range(len(meeting.labels)):
                found.add(meeting.label_traits(i), i in meeting.claim_of)
            for j in range(len(meeting.claims)):
                confirmed.add(meeting.claim_traits(j), j in meeting.label_of)
            for i, j in meeting.claim_of.items():
                same.add(meeting.claim_traits(j), meeting.labels[i].class_name == meeting.claims[j].class_name)
    return {
        name: Trust(found.rule(UNKNOWN.found), confirmed.rule(UNKNOWN.confirmed), same.rule(UNKNOWN.same))
        for name, (found, confirmed, same) in cases.items()
        if confirmed.happened
    }
