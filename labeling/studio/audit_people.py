"""How each person worked: images, seconds, how much they changed, and whether they accept everything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import comb

from .audit_spread import Spread, spread

ENOUGH_IMAGES = 20
"""So many pre-labelled images have to be accepted, and so many seen by others, before anybody is flagged."""

UNLIKELY = 0.01
"""Chance below which changing nothing is no accident."""


@dataclass(frozen=True, slots=True)
class Person:
    """One annotator.

    Attributes:
        annotator: mail address or name.
        submitted: images with an answer.
        skipped: images without one.
        seconds: per submitted image.
        judged: submitted images on which the person saw the teacher's labels.
        accepted: those of them that were left as they were.
        others_judged: the same of everybody else together.
        others_accepted: the same of everybody else together.
        chance: of accepting every image by accident if all people change equally often (Fisher's exact test, one side);
            None unless the person accepted all of them and there are enough to say.
        accepts_everything: ``chance`` is below ``UNLIKELY``.
    """

    annotator: str
    submitted: int
    skipped: int
    seconds: Spread
    judged: int
    accepted: int
    others_judged: int
    others_accepted: int
    chance: float | None
    accepts_everything: bool

    @property
    def share_accepted(self) -> float | None:
        """Share of pre-labelled images that were left as they were."""
        return self.accepted / self.judged if self.judged else None

    @property
    def share_skipped(self) -> float:
        """Share of all images that were skipped."""
        return self.skipped / (self.submitted + self.skipped)


@dataclass(slots=True)
class _So:
    """One person so far."""

    submitted: int = 0
    skipped: int = 0
    judged: int = 0
    accepted: int = 0
    seconds: list[float] = field(default_factory=list)


class People:
    """Everybody so far."""

    def __init__(self) -> None:
        self._people: dict[str, _So] = {}

    def add(self, annotator: str, seconds: float | None, *, skipped: bool, judged: bool, accepted: bool) -> None:
        """Take in one answer.

        Args:
            annotator: who.
            seconds: how long it took; None where nobody measured it.
            skipped: there is no answer.
            judged: the person saw the teacher's labels.
            accepted: and left them as they were.
        """
        so = self._people.setdefault(annotator, _So())
        if skipped:
            so.skipped += 1
            return
        so.submitted += 1
        so.judged += judged
        so.accepted += judged and accepted
        so.seconds += [] if seconds is None else [seconds]

    def rows(self) -> tuple[Person, ...]:
        """Return everybody by name."""
        return tuple(self._row(name) for name in sorted(self._people))

    def _row(self, name: str) -> Person:
        so = self._people[name]
        others = _sums(other for key, other in self._people.items() if key != name)
        chance = None
        if so.judged == so.accepted >= ENOUGH_IMAGES and others[0] >= ENOUGH_IMAGES:
            chance = chance_of_no_change(so.judged, *others)
        flagged = chance is not None and chance < UNLIKELY
        counts = (so.judged, so.accepted, *others)
        return Person(name, so.submitted, so.skipped, spread(so.seconds), *counts, chance, flagged)


def chance_of_no_change(judged: int, others_judged: int, others_accepted: int) -> float:
    """Return how likely all images with a change fall to the others, if everybody changes equally often.

    The hypergeometric probability that ``judged`` images, drawn from all of them, hold none that was changed.
    """
    everything, unchanged = judged + others_judged, judged + others_accepted
    return float(Fraction(comb(unchanged, judged), comb(everything, judged)))


def _sums(people: Iterable[_So]) -> tuple[int, int]:
    rows = [(so.judged, so.accepted) for so in people]
    return sum(judged for judged, _ in rows), sum(accepted for _, accepted in rows)
