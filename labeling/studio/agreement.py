"""How far people who drew on the same photos agree: per class, per pair of people, and where they do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Literal

import numpy as np

from ..core.geometry import area
from ..core.matching import match
from .chance import NO_OBJECT, UNSEEN
from .kappa import Estimate, Measures, Ratings, measure

Box = tuple[float, float, float, float]
Object = tuple[str, Box]
"""Class name and box: x0, y0, x1, y1 in absolute pixels of the upright image."""

_Edge = tuple[int, int, int, int, float]
"""Person, position of the box, other person, position of the box, IoU."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What each person drew on one image; only those who submitted it are named, with no objects if they saw none."""

    image: str
    objects: Mapping[str, Sequence[Object]]


@dataclass(frozen=True, slots=True)
class Group:
    """The agreement of some people on the images that two of them or more have seen.

    Attributes:
        annotators: their names, sorted.
        images: how many images they share.
        units: how many objects somebody saw there; boxes that match are one.
        table: how often a person said the first class and one later in the names the second; None is "no object".
        overall: over all classes. Kappa is Cohen's in a pair, Fleiss' among everyone.
        classes: each class against the rest, sorted by name.
    """

    annotators: tuple[str, ...]
    images: int
    units: int
    table: Mapping[tuple[str | None, str | None], int]
    overall: Measures
    classes: Mapping[str, Measures]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One object about which people differ.

    Attributes:
        image: as it was given.
        kind: two classes were said (``class``), or somebody who saw the image has not drawn it (``object``).
        said: what each person who saw the image said, None where they drew nothing.
        boxes: of those who drew it.
        share: of the pairs of people, how many differ; in (0, 1].
    """

    image: str
    kind: Literal["class", "object"]
    said: Mapping[str, str | None]
    boxes: Mapping[str, Box]
    share: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """What ``agreement`` found.

    Attributes:
        everyone: all people together.
        pairs: every two people who share an image, by name.
        images: how many images were given; ``everyone.images`` of them have two people or more.
        drawn: boxes per class on the images with two people or more.
        disagreements: the worst first: the larger share of people, then two classes before a missing box, then size.
        min_iou: from which boxes match.
        confidence: of all intervals.
    """

    everyone: Group
    pairs: tuple[Group, ...]
    images: int
    drawn: Mapping[str, int]
    disagreements: tuple[Disagreement, ...]
    min_iou: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether people agree well enough.

    Attributes:
        threshold: what is asked for.
        statistic: Krippendorff's alpha with "no object" of everyone. With one class alone, specific agreement: alpha
            cannot exceed 0 there once a box is missing, and with many places that nobody draws on, kappa tends to
            specific agreement (Hripcsak and Rothschild 2005).
        estimate: its value and interval.
        passed: None when nobody drew anything.
    """

    threshold: float
    statistic: Literal["alpha", "found"]
    estimate: Estimate
    passed: bool | None


def agreement(
    seen: Sequence[Seen],
    *,
    min_iou: float = 0.5,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Compare what people drew on the same images.

    The boxes of every two people are matched by IoU, whatever their class; of pairings with the same total IoU the one
    with more equal classes counts. With three people and more, matched boxes become one unit, the most alike first, as
    long as no person has two boxes in it. A person who saw the image and has no box in a unit said "no object".

    Args:
        seen: one entry per image; an image with fewer than two people is counted and not compared.
        min_iou: from which two boxes can be one object, in [0, 1].
        confidence: of the intervals, in (0, 1).
        resamples: of the bootstrap over images; equal arguments give equal intervals.
        seed: of the bootstrap.

    Raises:
        MissingExtraError: scipy, scikit-learn or krippendorff is not installed.
    """
    shared = [one for one in seen if len(one.objects) >= 2]
    drawn = Counter(name for one in shared for objects in one.objects.values() for name, _box in objects)
    names = sorted(drawn)
    label = {name: position for position, name in enumerate(names, start=1)}
    people = sorted({person for one in shared for person in one.objects})
    everyone, pairs = _Scope(tuple(people)), dict[tuple[str, str], _Scope]()
    disagreements: list[Disagreement] = []
    for one in shared:
        edges: list[_Edge] = []
        for first, second in combinations(sorted(one.objects), 2):
            matched = _matched(one.objects[first], one.objects[second], min_iou)
            pair = pairs.setdefault((first, second), _Scope((first, second)))
            pair.add(one.objects, [(0, i, 1, j, iou) for i, j, iou in matched], label)
            p, q = people.index(first), people.index(second)
            edges += [(p, i, q, j, iou) for i, j, iou in matched]
        units = everyone.add(one.objects, edges, label)
        disagreements += _disagreements(one, [{people[person]: i for person, i in unit.items()} for unit in units])

    measured = partial(measure, class_names=names, confidence=confidence, resamples=resamples, seed=seed)
    return Agreement(
        everyone.group(names, partial(measured, cohen=False)),
        tuple(pairs[key].group(names, partial(measured, cohen=True)) for key in sorted(pairs)),
        len(seen),
        {name: drawn[name] for name in names},
        tuple(sorted(disagreements, key=_badness)),
        min_iou,
        confidence,
    )


def gate(found: Agreement, threshold: float = 0.7) -> Gate:
    """Hold the agreement of everyone against a threshold; equal passes."""
    one_class = len(found.everyone.classes) < 2
    estimate = found.everyone.overall.found if one_class else found.everyone.overall.alpha
    passed = None if estimate.value is None else estimate.value >= threshold
    return Gate(threshold, "found" if one_class else "alpha", estimate, passed)


@dataclass(slots=True)
class _Scope:
    """Some people, and what they said so far."""

    people: tuple[str, ...]
    rows: list[list[int]] = field(default_factory=list)
    image: list[int] = field(default_factory=list)
    pairs: list[tuple[float, float, float]] = field(default_factory=list)
    images: int = 0

    def add(
        self, objects: Mapping[str, Sequence[Object]], edges: Sequence[_Edge], label: Mapping[str, int]
    ) -> list[dict[int, int]]:
        """Take in one image; return its units, each as person -> position of the box."""
        drawn = [[label[name] for name, _box in objects.get(person, ())] for person in self.people]
        unseen = [NO_OBJECT if person in objects else UNSEEN for person in self.people]
        units = _units(drawn, edges)
        for unit in units:
            self.rows.append([drawn[p][unit[p]] if p in unit else unseen[p] for p in range(len(self.people))])
        for p, i, q, j, iou in edges:
            self.pairs.append((self.images, drawn[p][i] if drawn[p][i] == drawn[q][j] else 0, iou))
        self.image += [self.images] * len(units)
        self.images += 1
        return units

    def group(self, names: Sequence[str], measured: Callable[[Ratings], tuple[Measures, dict[str, Measures]]]) -> Group:
        """Return what the people agree about."""
        labels = np.array(self.rows, dtype=np.int64).reshape(len(self.rows), len(self.people))
        pairs = np.array(self.pairs, dtype=np.float64).reshape(-1, 3)
        overall, classes = measured(Ratings(labels, np.array(self.image, dtype=np.int64), pairs, self.images))
        said, table = (None, *names), Counter[tuple[str | None, str | None]]()
        for p, q in combinations(range(len(self.people)), 2):
            both, n = np.unique(
                labels[(labels[:, [p, q]] != UNSEEN).all(axis=1)][:, [p, q]], axis=0, return_counts=True
            )
            for (x, y), number in zip(both.tolist(), n.tolist(), strict=True):
                table[said[x], said[y]] += number
        return Group(self.people, self.images, len(labels), dict(table), overall, classes)


def _matched(ours: Sequence[Object], theirs: Sequence[Object], min_iou: float) -> list[tuple[int, int, float]]:
    same = [[name == other for other, _box in theirs] for name, _box in ours]
    return match([box for _name, box in ours], [box for _name, box in theirs], min_iou=min_iou, prefer=same)


def _units(drawn: Sequence[Sequence[int]], edges: Sequence[_Edge]) -> list[dict[int, int]]:
    """Merge matched boxes, the most alike first, into units with at most one box of each person."""
    of = {(p, i): {p: i} for p, labels in enumerate(drawn) for i in range(len(labels))}
    for p, i, q, j, _iou in sorted(edges, key=lambda e: (-e[4], drawn[e[0]][e[1]] != drawn[e[2]][e[3]], e)):
        first, second = of[p, i], of[q, j]
        if not first.keys() & second.keys():
            first |= second
            of.update(dict.fromkeys(second.items(), first))
    return list({id(unit): unit for unit in of.values()}.values())


def _disagreements(one: Seen, units: Sequence[Mapping[str, int]]) -> list[Disagreement]:
    found = []
    for unit in units:
        drawn = {person: one.objects[person][position] for person, position in unit.items()}
        said = {person: drawn[person][0] if person in drawn else None for person in sorted(one.objects)}
        pairs = list(combinations(said.values(), 2))
        share = sum(first != second for first, second in pairs) / len(pairs)
        if share:
            classes = {name for name, _box in drawn.values()}
            boxes = {person: box for person, (_name, box) in sorted(drawn.items())}
            found.append(Disagreement(one.image, "class" if len(classes) > 1 else "object", said, boxes, share))
    return found


def _badness(one: Disagreement) -> tuple[float, bool, float, str]:
    return -one.share, one.kind == "object", -float(area(list(one.boxes.values())).max()), one.image
