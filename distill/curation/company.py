"""Labels of a class that is strange to everything else in their image: what is seldom seen together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from labeling.core.geometry import iou
from labeling.core.records import Annotation

from .doubts import Doubt
from .scenes import Scene

FEWEST = 20
"""So few images say nothing about what is seen together."""

_PRIOR = 0.05
"""Odds that a class is wrong before its company is seen."""

_PSEUDO = 2.0
"""A pair of classes counts as if it had been seen as often as chance would have it in so many more images."""

_COMMON = 0.2
"""A class that so large a share of the images holds belongs everywhere: its company says nothing."""

_MET = 5
"""Another class that was seen in fewer other images is no company to judge by."""

_FLOOR = 0.06
_ELSEWHERE_IOU = 0.5


@dataclass(slots=True)
class _Seen:
    """In how many images classes were labelled: alone, by pairs, and more than once."""

    images: int = 0
    one: Counter[str] = field(default_factory=Counter)
    both: Counter[tuple[str, str]] = field(default_factory=Counter)
    several: Counter[str] = field(default_factory=Counter)

    def add(self, counted: Counter[str]) -> None:
        self.images += 1
        self.one.update(counted.keys())
        self.both.update((a, b) for a in counted for b in counted if a != b)
        self.several.update(name for name, count in counted.items() if count > 1)


def company(scenes: Callable[[], Iterable[Scene]]) -> Iterator[Doubt]:
    """Yield labels whose class is less often seen beside the other classes of the image than by chance.

    The lift of a class by another one is P(class | other) / P(class) over all images but this one. The mean of the
    logarithms over the other classes of the image, l, and over whether the class is there once more, gives the
    strength p e^-l / (1 + p e^-l). What machines claim elsewhere in the image counts as there once more. Common
    classes, and labels beside which nothing familiar speaks against them, yield nothing.

    Args:
        scenes: called twice, returns all images each time.
    """
    seen = _Seen()
    for scene in scenes():
        if scene.labels:
            seen.add(Counter(label.class_name for label in scene.labels))
    if seen.images < FEWEST or len(seen.one) < 2:
        return
    for scene in scenes():
        counted = Counter(label.class_name for label in scene.labels)
        for label in scene.labels:
            name = label.class_name
            if seen.one[name] - 1 >= _COMMON * (seen.images - 1):
                continue
            again = counted[name] > 1 or _claimed_elsewhere(scene, label)
            strange = _strange(seen, name, counted)
            odds = _PRIOR * math.exp(-_log_lift(seen, name, counted, again))
            strength = odds / (1 + odds)
            if strange and strength >= _FLOOR:
                other, beside = strange[0], seen.both[name, strange[0]] - 1
                reason = f"{name} is seldom seen beside {other}: in {beside} of {seen.one[other] - 1} other images"
                yield Doubt(scene.sha256, "wrong class", label, None, strength, "company", reason)


def _strange(seen: _Seen, name: str, counted: Counter[str]) -> list[str]:
    """Return other classes of an image with which a class is seen half as often as by chance, the commonest first."""
    share = (seen.one[name] - 1) / (seen.images - 1)
    expected = {other: share * (seen.one[other] - 1) for other in counted if other != name}
    rarely = [
        other
        for other, by_chance in expected.items()
        if by_chance > 0 and seen.one[other] > _MET and seen.both[name, other] - 1 <= by_chance / 2
    ]
    return sorted(rarely, key=lambda other: (-seen.one[other], other))


def _log_lift(seen: _Seen, name: str, counted: Counter[str], again: bool) -> float:
    """Return the mean log lift of a class in an image that is counted among the seen ones; this image is left out."""
    images, own = seen.images - 1, seen.one[name] - 1
    share = max(own, 0.5) / images
    repeated = (seen.several[name] - (counted[name] > 1) + 0.5) / (own + 1)
    # Once more says nearly all where it is true; a class that always comes in groups is strange alone.
    lifts = [math.log(1 / share) if again else math.log(max(1 - repeated, 0.05))]
    for other in counted:
        if other != name:
            together = (seen.both[name, other] - 1 + _PSEUDO * share) / (seen.one[other] - 1 + _PSEUDO)
            lifts.append(math.log((together + 1e-3) / (share + 1e-3)))
    return sum(lifts) / len(lifts)


def _claimed_elsewhere(scene: Scene, label: Annotation) -> bool:
    others = [claim.box_xyxy for claim in scene.claims if claim.class_name == label.class_name]
    return bool(others) and bool((iou([label.box_xyxy], others) < _ELSEWHERE_IOU).any())
