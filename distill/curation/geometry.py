"""Boxes whose size, shape or place is unlike all others of their class, and images with far more boxes than usual."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from labeling.core.errors import MissingExtraError
from labeling.core.records import Annotation

from .doubts import Doubt
from .scenes import Scene

FEWEST = 5
"""A class with fewer boxes has no usual shape; all classes together speak for it."""

_PRIOR = 0.02
"""Odds that a box is wrong before its shape is seen."""

_FLOOR = 0.1
_MEASURED = 200_000
_FULL = 0.98
_SLIVER = 3.0

_TRAITS = ("size", "shape", "height in the image", "place across the image")
_LEAST = (0.15, 0.1, 0.1, 0.2)
"""A class whose spread is smaller is taken to spread so much: log10 of share, log10 of ratio, shares of the image."""

Usual = Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
"""Median and spread of every trait, by class; "" is all classes."""


def geometry(scenes: Callable[[], Iterable[Scene]]) -> Iterator[Doubt]:
    """Yield boxes that are unlike the others of their class, each for its strangest trait.

    How far a trait lies from the median, in robust standard deviations (1.4826 times the median absolute deviation),
    becomes the chance q of a heavy-tailed value (Student's t, 3 degrees of freedom) to lie as far; the strength is
    p / (p + q). Areas and aspect ratios are compared by their logarithm, relative to the image.

    Args:
        scenes: called twice, returns all images each time.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.stats import t
    except ImportError as error:
        raise MissingExtraError("scipy", "curate") from error
    usual, many = _usual(scenes())
    for scene in scenes():
        if not scene.labels:
            continue
        traits = np.array([_traits(label, scene.size_wh) for label in scene.labels])
        centre, spread = (
            np.stack([usual.get(label.class_name, usual[""])[part] for label in scene.labels]) for part in (0, 1)
        )
        away = (traits - centre) / spread
        strengths = _PRIOR / (_PRIOR + 2 * t.sf(np.abs(away), 3))
        counted = Counter(label.class_name for label in scene.labels)
        for i, label in enumerate(scene.labels):
            yield from _about(scene, label, traits[i], centre[i], strengths[i])
            yield from _crowd(scene, label, counted[label.class_name], many)


def _usual(scenes: Iterable[Scene]) -> tuple[Usual, dict[str, tuple[float, float]]]:
    traits: dict[str, list[tuple[float, ...]]] = {"": []}
    counts: dict[str, list[float]] = {}
    for scene in scenes:
        for label in scene.labels:
            own = traits.setdefault(label.class_name, [])
            if len(own) < _MEASURED:
                own.append(_traits(label, scene.size_wh))
        for name, count in Counter(label.class_name for label in scene.labels).items():
            counts.setdefault(name, []).append(math.log(count))
    measured = {name: np.array(rows) for name, rows in traits.items() if len(rows) >= FEWEST}
    every = [rows for name, rows in traits.items() if rows]
    measured[""] = np.concatenate([np.array(rows) for rows in every]) if every else np.zeros((1, len(_TRAITS)))
    usual = {name: (np.median(rows, axis=0), _spread(rows, np.array(_LEAST))) for name, rows in measured.items()}
    many = {
        name: (float(np.median(rows)), float(_spread(np.array(rows)[:, None], np.array([0.4]))[0]))
        for name, rows in counts.items()
        if len(rows) >= FEWEST
    }
    return usual, many


def _spread(rows: npt.NDArray[np.float64], least: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    away = np.abs(rows - np.median(rows, axis=0))
    return np.asarray(np.maximum(1.4826 * np.median(away, axis=0), least))


def _traits(label: Annotation, size_wh: tuple[int, int]) -> tuple[float, ...]:
    x0, y0, x1, y1 = label.box_xyxy
    width, height = max(x1 - x0, 0.5), max(y1 - y0, 0.5)
    return (
        math.log10(width * height / (size_wh[0] * size_wh[1])),
        math.log10(width / height),
        (y0 + y1) / 2 / size_wh[1],
        (x0 + x1) / 2 / size_wh[0],
    )


def _about(
    scene: Scene,
    label: Annotation,
    traits: npt.NDArray[np.float64],
    centre: npt.NDArray[np.float64],
    strengths: npt.NDArray[np.float64],
) -> Iterator[Doubt]:
    """Yield the doubt about one box, if there is one."""
    x0, y0, x1, y1 = label.box_xyxy
    (width, height), name = scene.size_wh, label.class_name
    worst = int(strengths.argmax())
    strength = float(strengths[worst])
    if worst == 0:
        ratio = 10 ** (traits[0] - centre[0])
        reason = f"{ratio:.3g} times the area that is usual for {name}"
    elif worst == 1:
        reason = f"{10 ** traits[1]:.2g} times as wide as high, {name} usually {10 ** centre[1]:.2g} times"
    else:
        reason = f"unusual {_TRAITS[worst]} for {name}: {traits[worst]:.0%}, usually {centre[worst]:.0%}"
    if min(x1 - x0, y1 - y0) < _SLIVER:
        strength, reason = max(strength, 0.5), f"a sliver of {x1 - x0:.3g} x {y1 - y0:.3g} pixels"
    elif (x1 - x0) * (y1 - y0) >= _FULL * width * height:
        strength, reason = max(strength, 0.3), "covers the whole image"
    if strength >= _FLOOR:
        yield Doubt(scene.sha256, "bad box", label, None, strength, "geometry", reason)


def _crowd(scene: Scene, label: Annotation, count: int, many: Mapping[str, tuple[float, float]]) -> Iterator[Doubt]:
    """Yield a weak doubt about every box of a class that an image has far too many of."""
    usual, spread = many.get(label.class_name, (math.inf, 1.0))
    away = (math.log(count) - usual) / spread
    if away >= 5:
        reason = f"one of {count} {label.class_name} in this image, usual are {math.exp(usual):.0f}"
        yield Doubt(scene.sha256, "spurious", label, None, min(0.02 * away, 0.3), "geometry", reason)
