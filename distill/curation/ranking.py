"""One list of all labels and of all objects that may be missing, the most doubtful first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from labeling.core.geometry import iou
from labeling.core.records import Annotation

from .doubts import KINDS, Doubt, Kind, Suspect
from .scenes import Scene

_FACTORS: dict[tuple[str, Kind], float] = {
    ("teacher", "missing"): 2.0,
    ("student", "missing"): 2.0,
    ("teacher", "spurious"): 1.6,
    ("student", "spurious"): 1.6,
    ("teacher", "wrong class"): 0.6,
    ("student", "wrong class"): 0.6,
    ("company", "wrong class"): 2.5,
    ("geometry", "bad box"): 0.1,
    ("geometry", "spurious"): 0.3,
    ("looks", "wrong class"): 0.4,
    ("looks", "spurious"): 0.2,
}
"""What the odds of a strength are multiplied with so that signals can be compared; set on photos with planted errors.
A signal that is not named here has 1, mistakenness excepted."""

_MISTAKENNESS = 0.1
_SUREST = 0.99

_OWN_OPINION = frozenset({"geometry", "looks", "company", "mistakenness"})
_CONFIRMED_IOU = 0.7
_CONFIRMED = 0.1
"""Factor for what such a signal says where a machine says the same as the label."""

_ONE_OBJECT = 0.5
"""Two candidates that share so much are one."""


def rank(
    scenes: Iterable[Scene], doubts: Iterable[Doubt], *, accepted: Collection[tuple[str, str]] = ()
) -> list[Suspect]:
    """Return one row for each label and for each object that may be missing, the most doubtful first.

    Signals are taken for independent, so that the chance that nothing is wrong is the product of theirs (noisy or:
    Pearl, 1988, "Probabilistic Reasoning in Intelligent Systems", 4.3.2). The odds of a strength are made comparable
    by one factor per signal and kind. A machine that says the same as a label speaks against doubts by shape, looks
    and company.

    Args:
        scenes: all images.
        doubts: of every signal, in any order; those about labels that no scene has are left out.
        accepted: image and label that people have looked at and found right, with "" for the whole image.
    """
    by_image: dict[str, list[Doubt]] = {}
    for doubt in doubts:
        by_image.setdefault(doubt.sha256, []).append(doubt)
    accepted = frozenset(accepted)
    rows: list[Suspect] = []
    for scene in scenes:
        if (scene.sha256, "") in accepted:
            continue
        about: dict[str, list[Doubt]] = {}
        absent: list[Doubt] = []
        for doubt in by_image.get(scene.sha256, ()):
            if doubt.label is None:
                absent.append(doubt)
            else:
                about.setdefault(doubt.label.id, []).append(doubt)
        confirmed = _confirmed(scene) if about else frozenset()
        rows += [_row(scene.sha256, about.get(label.id, ()), label, label.id in confirmed) for label in scene.labels]
        rows += [_row(scene.sha256, one, None, False) for one in _objects(absent)]
    shown = (row for row in rows if (row.sha256, _identity(row)) not in accepted)
    return sorted(shown, key=lambda row: (-row.suspicion, row.sha256, _identity(row)))


def _row(sha256: str, doubts: Sequence[Doubt], label: Annotation | None, confirmed: bool) -> Suspect:
    """Return the row of one label, or of one object that may be missing."""
    if not doubts:
        return Suspect(sha256, "spurious", label, None, 0.0, (), ())
    weighed = ((_chance(doubt, confirmed), doubt) for doubt in doubts)
    chances = sorted(weighed, key=lambda pair: (-pair[0], pair[1].signal, pair[1].reason))
    kinds: dict[Kind, float] = {}
    for chance, doubt in chances:
        kinds[doubt.kind] = 1 - (1 - kinds.get(doubt.kind, 0.0)) * (1 - chance)
    right = 1.0
    for chance, _ in chances:
        right *= 1 - chance
    kind = max(kinds, key=lambda name: (kinds[name], -KINDS.index(name)))
    claims = [doubt.claim for _, doubt in chances if doubt.claim is not None]
    claim = next((doubt.claim for _, doubt in chances if doubt.kind == kind and doubt.claim is not None), None)
    return Suspect(
        sha256,
        kind,
        label,
        claim if label is not None else claims[0],
        1 - right,
        tuple(doubt.reason for _, doubt in chances),
        tuple(doubt.signal for _, doubt in chances),
    )


def _chance(doubt: Doubt, confirmed: bool) -> float:
    strength = min(max(doubt.strength, 0.0), _SUREST)
    factor = _FACTORS.get((doubt.signal, doubt.kind), _MISTAKENNESS if doubt.signal == "mistakenness" else 1.0)
    if confirmed and doubt.signal in _OWN_OPINION:
        factor *= _CONFIRMED
    odds = factor * strength / (1 - strength)
    return odds / (1 + odds)


def _confirmed(scene: Scene) -> frozenset[str]:
    """Return the labels about which a machine says the same, place and class."""
    if not scene.claims or not scene.labels:
        return frozenset()
    shared = iou([label.box_xyxy for label in scene.labels], [claim.box_xyxy for claim in scene.claims])
    return frozenset(
        label.id
        for i, label in enumerate(scene.labels)
        if any(
            claim.class_name == label.class_name and shared[i, j] >= _CONFIRMED_IOU
            for j, claim in enumerate(scene.claims)
        )
    )


def _objects(absent: Sequence[Doubt]) -> list[list[Doubt]]:
    """Return doubts about missing labels in groups of one object each, the surest of a group first."""
    groups: list[list[Doubt]] = []
    for doubt in sorted(absent, key=lambda doubt: -_chance(doubt, False)):
        assert doubt.claim is not None  # a missing label has a place
        for group in groups:
            first = group[0].claim
            assert first is not None
            if iou([first.box_xyxy], [doubt.claim.box_xyxy])[0, 0] >= _ONE_OBJECT:
                if doubt.signal not in (other.signal for other in group):
                    group.append(doubt)
                break
        else:
            groups.append([doubt])
    return groups


def _identity(row: Suspect) -> str:
    """Return the id of the label, or of the claim where a label is missing."""
    there = row.label or row.claim
    return there.id if there is not None else ""
