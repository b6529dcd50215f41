"""Labels against what a teacher or a student says about the same image: missing, spurious, wrong class, bad box."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .doubts import Doubt, Kind
from .meeting import SAME_IOU, Meeting, claim_traits, meetings
from .scenes import Scene
from .trust import UNKNOWN, Trust

_PRIOR: dict[Kind, float] = {"missing": 0.05, "spurious": 0.05, "wrong class": 0.2, "bad box": 0.2}
"""Odds that a label is wrong in this way, among all reasons to disagree; set on photos with planted errors."""

_UNSURE = 0.5
"""Share of the chance that an unseen label of a machine is wrong that goes into its strength."""

_LOOSE_IOU = 0.7


def disagreement(scene: Scene, trust: Mapping[str, Trust] | None = None) -> Iterator[Doubt]:
    """Yield what the claims about one image cast doubt on; the signal is the name of the machine that claims.

    A strength is p o / (1 + p o): o are the odds that a machine and right labels agree in such a case, p the odds of
    this error beforehand (Bayes' rule, where a wrong label never agrees). Labels that are a machine's own are doubted
    by their score.

    Args:
        scene: labels and claims.
        trust: what to expect of each machine, see ``trust.learn_trust``; without it only scores and sizes say so.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    known = trust or {}
    for meeting in meetings(scene):
        expected = known.get(meeting.machine, UNKNOWN)
        yield from _about_labels(scene.sha256, meeting, expected)
        yield from _about_claims(scene.sha256, meeting, expected)
    if not scene.reviewed:
        yield from _about_scores(scene, known)


def _about_labels(sha256: str, meeting: Meeting, expected: Trust) -> Iterator[Doubt]:
    machine = meeting.machine
    for i, label in enumerate(meeting.labels):
        j = meeting.claim_of.get(i, meeting.beside.get(i))
        if j is None:
            odds = expected.found.odds(meeting.label_traits(i))
            usual = f", though it finds {odds / (1 + odds):.0%} of such labels" if expected.measured else ""
            reason = f"the {machine} finds nothing here{usual}"
            yield Doubt(sha256, "spurious", label, None, _strength("spurious", odds), machine, reason)
            continue
        claim = meeting.claims[j]
        sure = f"the {machine} is {claim.provenance.score or 0:.2f} sure of"
        if claim.class_name != label.class_name:
            if not _also_says(meeting, i):
                strength = _strength("wrong class", expected.same.odds(meeting.claim_traits(j)))
                yield Doubt(sha256, "wrong class", label, claim, strength, machine, f"{sure} {claim.class_name} here")
        elif meeting.shared[i, j] < _LOOSE_IOU:
            share = float(meeting.shared[i, j])
            loose = min((_LOOSE_IOU - share) / (_LOOSE_IOU - SAME_IOU), 1) ** 2
            strength = loose * _strength("bad box", expected.confirmed.odds(meeting.claim_traits(j)))
            reason = f"{sure} a box that shares only {share:.0%} with this one"
            yield Doubt(sha256, "bad box", label, claim, strength, machine, reason)


def _about_claims(sha256: str, meeting: Meeting, expected: Trust) -> Iterator[Doubt]:
    placed = meeting.label_of.keys() | meeting.beside.values()
    for j, claim in enumerate(meeting.claims):
        if j in placed or meeting.covered(j):
            continue
        strength = _strength("missing", expected.confirmed.odds(meeting.claim_traits(j)))
        sure = f"the {meeting.machine} is {claim.provenance.score or 0:.2f} sure of {claim.class_name}"
        yield Doubt(sha256, "missing", None, claim, strength, meeting.machine, f"{sure} where no label is")


def _about_scores(scene: Scene, known: Mapping[str, Trust]) -> Iterator[Doubt]:
    for label in scene.labels:
        machine, score = label.provenance.source, label.provenance.score
        if score is None:
            continue
        others = tuple(other for other in scene.labels if other is not label)
        odds = known.get(machine, UNKNOWN).confirmed.odds(claim_traits(label, others, scene.size_wh))
        reason = f"the {machine} is only {score:.2f} sure of it"
        yield Doubt(scene.sha256, "spurious", label, None, _UNSURE / (1 + odds), machine, reason)


def _also_says(meeting: Meeting, i: int) -> bool:
    """Say whether the machine claims the class of a label at its place too, beside another one."""
    name = meeting.labels[i].class_name
    return any(
        claim.class_name == name and share >= SAME_IOU
        for claim, share in zip(meeting.claims, meeting.shared[i].tolist(), strict=True)
    )


def _strength(kind: Kind, odds: float) -> float:
    return _PRIOR[kind] * odds / (1 + _PRIOR[kind] * odds)
