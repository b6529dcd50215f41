"""Kinds of photos that a camera brings along: dark, bright, flat, blurred, taken at night."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .photo_facts import PhotoFacts

_FAR = 3.5
"""So many robust standard deviations from the median is unlike the rest (Iglewicz and Hoaglin, 1993)."""

_ENOUGH = 20
"""With fewer photos only what holds for all photos is said."""

_NIGHT = "taken at night"
_NIGHT_HOURS = frozenset((*range(20, 24), *range(6)))


class Slice(NamedTuple):
    """The images of one kind.

    Attributes:
        name: such as "dark".
        images: how many.
        boxes: labels in them.
        rule: what makes an image one of them, for people.
        members: their sha256.
        class_images: how many of them hold each class, in the order of the classes.
    """

    name: str
    images: int
    boxes: int
    rule: str
    members: tuple[str, ...]
    class_images: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a photo begins to be dark and so on; each limit lies between what is clear and what is ordinary.

    Attributes:
        dark: darker photos are.
        bright: brighter ones are.
        flat: photos of less contrast are.
        blurred: photos of less relative sharpness are; flat photos are not judged.
    """

    dark: float
    bright: float
    flat: float
    blurred: float

    @property
    def rules(self) -> dict[str, str]:
        """What each kind of photo means, by its name, for people."""
        return {
            "dark": f"brightness under {self.dark:.2f}",
            "bright": f"brightness over {self.bright:.2f}",
            "flat": f"contrast under {self.flat:.2f}",
            "blurred": f"sharpness under {self.blurred:.3f} of the contrast",
        }

    def kinds(self, facts: PhotoFacts) -> Iterator[str]:
        """Yield the names of the kinds that a photo belongs to."""
        if facts.brightness < self.dark:
            yield "dark"
        if facts.brightness > self.bright:
            yield "bright"
        if facts.contrast < self.flat:
            yield "flat"
        elif relative_sharpness(facts) < self.blurred:
            yield "blurred"


def relative_sharpness(facts: PhotoFacts) -> float:
    """Return the variance of the Laplacian over the variance of the grey values: soft light does not count as blur."""
    variance = (255 * facts.contrast) ** 2
    return facts.sharpness / variance if variance > 0 else 0.0


def limits(facts: Iterable[PhotoFacts]) -> Limits:
    """Choose limits: what is unlike the rest counts, but for photos that are ordinary by any standard.

    Args:
        facts: of all photos.
    """
    rows = [(one.brightness, one.contrast, np.log(max(relative_sharpness(one), 1e-6))) for one in facts]
    if len(rows) < _ENOUGH:
        return Limits(dark=0.2, bright=0.85, flat=0.04, blurred=0.005)
    values = np.asarray(rows, dtype=np.float32)
    middle = np.median(values, axis=0)
    # 1.4826 median deviations are one standard deviation of a normal distribution; a floor keeps even light ordinary.
    spread = np.maximum(1.4826 * np.median(np.abs(values - middle), axis=0), (0.02, 0.01, 0.1))
    low, high = middle - _FAR * spread, middle + _FAR * spread
    return Limits(
        dark=float(np.clip(low[0], 0.2, 0.4)),
        bright=float(np.clip(high[0], 0.6, 0.85)),
        flat=float(np.clip(low[1], 0.04, 0.08)),
        blurred=float(np.clip(np.exp(low[2]), 0.005, 0.05)),
    )


def hour(facts: PhotoFacts) -> int | None:
    """Return the hour of the day at which a photo was taken, 0 to 23, by the camera's clock."""
    return int(facts.taken_at[11:13]) if facts.taken_at else None


class PhotoTally:
    """Counts kinds of photos, image by image.

    Args:
        classes: how many there are.
        facts: of photos, by sha256; limits are chosen from all of them.

    Attributes:
        brightness: of the images so far that have facts.
        sharpness: of the same images.
        cameras: images by camera.
        hours: images by hour of the day.
    """

    def __init__(self, classes: int, facts: Mapping[str, PhotoFacts]) -> None:
        self.brightness, self.sharpness = array("f"), array("f")
        self.cameras: Counter[str] = Counter()
        self.hours: Counter[int] = Counter()
        self._facts = facts
        self._limits = limits(facts.values())
        self._rules = self._limits.rules | {_NIGHT: "taken from 20 to 6 o'clock by the camera's clock"}
        self._members: dict[str, list[str]] = {name: [] for name in self._rules}
        self._boxes: Counter[str] = Counter()
        self._class_images = {name: np.zeros(classes, dtype=np.int64) for name in self._rules}

    def add(self, sha256: str, seen: Counter[int]) -> None:
        """Count one image that holds so many boxes of each class."""
        facts = self._facts.get(sha256)
        if facts is None:
            return
        self.brightness.append(facts.brightness)
        self.sharpness.append(facts.sharpness)
        taken = hour(facts)
        if facts.camera is not None:
            self.cameras[facts.camera] += 1
        if taken is not None:
            self.hours[taken] += 1
        for kind in (*self._limits.kinds(facts), *((_NIGHT,) if taken in _NIGHT_HOURS else ())):
            self._members[kind].append(sha256)
            self._boxes[kind] += seen.total()
            self._class_images[kind][list(seen)] += 1

    def slices(self) -> tuple[Slice, ...]:
        """Return every kind that photos can be judged by; night only where a camera wrote a time."""
        kinds = [kind for kind in self._rules if len(self.brightness) and (kind != _NIGHT or self.hours)]
        return tuple(
            Slice(
                kind,
                len(self._members[kind]),
                self._boxes[kind],
                self._rules[kind],
                tuple(self._members[kind]),
                tuple(self._class_images[kind].tolist()),
            )
            for kind in kinds
        )
