"""The things that stand on the warehouse floor: one drawing routine per noun, in the object's own coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

#: Base colours as RGB; a lamp's tint, shade and noise move them about.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (200, 35, 35),
    "orange": (240, 130, 25),
    "yellow": (240, 215, 40),
    "green": (45, 150, 65),
    "blue": (40, 85, 200),
    "purple": (130, 55, 165),
    "white": (238, 238, 235),
    "black": (38, 38, 42),
}

DARK, STEEL, WOOD, SKIN = (45, 45, 48), (130, 134, 140), (176, 134, 84), (205, 160, 130)
Colour = tuple[int, int, int]
Points = list[tuple[float, float]]
_SHIFT = 4  # cv2 takes coordinates in 1/16 px


@dataclass(frozen=True, slots=True)
class Brush:
    """Draws one object into the picture and, at the same places, its number into the id map.

    Object coordinates: the origin is where the object touches the floor, x to the right, y up, in units of the
    object's height.

    Attributes:
        picture: (height, width, 3) uint8 RGB, drawn on.
        ids: (height, width) uint8, drawn on.
        number: what is written into ``ids``.
        base: the object's own colour.
        foot_xy: the origin in pixels.
        size: the object's height in pixels.
        mirror: 1.0, or -1.0 to swap left and right.
    """

    picture: npt.NDArray[np.uint8]
    ids: npt.NDArray[np.uint8]
    number: int
    base: Colour
    foot_xy: tuple[float, float]
    size: float
    mirror: float

    def _shade(self, shade: float, colour: Colour | None) -> Colour:
        red, green, blue = (int(min(255.0, max(0.0, part * shade))) for part in (colour or self.base))
        return red, green, blue

    def _pixels(self, points: Points) -> npt.NDArray[np.int32]:
        at = np.array(points) * (self.mirror * self.size, -self.size) + self.foot_xy
        return np.round(at * (1 << _SHIFT)).astype(np.int32)

    def polygon(self, points: Points, shade: float = 1.0, colour: Colour | None = None) -> None:
        """Fill a polygon."""
        at = self._pixels(points)
        cv2.fillPoly(self.picture, [at], self._shade(shade, colour), cv2.LINE_AA, _SHIFT)
        cv2.fillPoly(self.ids, [at], self.number, cv2.LINE_8, _SHIFT)

    def box(self, x0: float, y0: float, x1: float, y1: float, shade: float = 1.0, colour: Colour | None = None) -> None:
        """Fill an upright rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], shade, colour)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, shade: float = 1.0, colour: Colour | None = None
    ) -> None:
        """Fill an ellipse."""
        angle = np.linspace(0.0, 2.0 * np.pi, 25)[:-1]
        self.polygon(list(zip(x + rx * np.cos(angle), y + ry * np.sin(angle), strict=True)), shade, colour)

    def bar(
        self,
        a: tuple[float, float],
        b: tuple[float, float],
        width: float,
        shade: float = 1.0,
        colour: Colour | None = None,
    ) -> None:
        """Fill a straight bar of the given width between two points."""
        along = np.array(b) - np.array(a)
        side = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6) * width / 2
        corners = [np.array(a) + side, np.array(b) + side, np.array(b) - side, np.array(a) - side]
        self.polygon([(float(x), float(y)) for x, y in corners], shade, colour)

    def path(self, points: Points, width: float, shade: float = 1.0, colour: Colour | None = None) -> None:
        """Draw a chain of bars."""
        for a, b in pairwise(points):
            self.bar(a, b, width, shade, colour)


Drawing = Callable[[Brush, np.random.Generator], None]


def _forklift(b: Brush, rng: np.random.Generator) -> None:
    lift = float(rng.uniform(0.02, 0.3))
    b.box(0.42, 0.05, 0.48, 1.0, 1.0, DARK)
    b.box(0.52, 0.05, 0.57, 1.0, 1.2, DARK)
    b.box(0.4, lift, 0.85, lift + 0.05, 1.0, STEEL)
    b.polygon([(-0.6, 0.12), (0.42, 0.12), (0.42, 0.4), (0.2, 0.48), (-0.25, 0.52), (-0.6, 0.46)])
    b.polygon([(-0.6, 0.12), (-0.32, 0.12), (-0.25, 0.52), (-0.6, 0.46)], 0.72)
    b.path([(-0.42, 0.48), (-0.3, 0.95), (0.22, 0.95), (0.36, 0.42)], 0.05, 0.85)
    b.bar((-0.36, 0.95), (0.28, 0.95), 0.06, 1.1)
    b.box(-0.22, 0.5, 0.0, 0.62, 1.0, DARK)
    for x, r in ((-0.36, 0.15), (0.26, 0.17)):
        b.ellipse(x, r, r, r, 0.8, DARK)
        b.ellipse(x, r, r * 0.5, r * 0.5, 1.0, STEEL)


def _pallet(b: Brush, rng: np.random.Generator) -> None:
    boards = int(rng.integers(4, 7))
    b.polygon([(-1.5, 0.5), (1.5, 0.5), (1.15, 1.0), (-1.15, 1.0)], 0.62)
    for i in range(boards):
        t0, t1 = (i + 0.08) / boards, (i + 0.86) / boards
        edges = [-1.5 + 3.0 * t0, -1.5 + 3.0 * t1, -1.15 + 2.3 * t1, -1.15 + 2.3 * t0]
        b.polygon([(edges[0], 0.5), (edges[1], 0.5), (edges[2], 1.0), (edges[3], 1.0)], 1.08)
    b.box(-1.5, 0.32, 1.5, 0.5, 0.9)
    for x in (-1.5, -0.25, 1.0):
        b.box(x, 0.1, x + 0.5, 0.34, 0.68)
    b.box(-1.5, 0.0, 1.5, 0.12, 0.82)


def _box(b: Brush, rng: np.random.Generator) -> None:
    w, d = float(rng.uniform(0.4, 0.62)), float(rng.uniform(0.14, 0.26))
    b.box(-w, 0.0, w, 0.78)
    b.polygon([(w, 0.0), (w + d, 0.18), (w + d, 0.97), (w, 0.78)], 0.66)
    b.polygon([(-w, 0.78), (w, 0.78), (w + d, 0.97), (-w + d, 0.97)], 1.16)
    b.box(-0.07, 0.42, 0.07, 0.78, 0.86)
    if rng.random() < 0.6:
        b.box(-w * 0.8, 0.12, -w * 0.3, 0.32, 1.0, (228, 226, 220))


def _barrel(b: Brush, rng: np.random.Generator) -> None:
    b.ellipse(0, 0.08, 0.34, 0.08, 0.7)
    b.box(-0.34, 0.08, 0.34, 0.92)
    b.box(0.14, 0.06, 0.34, 0.92, 0.72)
    b.box(-0.26, 0.06, -0.16, 0.92, 1.2)
    for y in (0.34, 0.62):
        b.box(-0.36, y, 0.36, y + 0.045, 0.6)
    b.ellipse(0, 0.92, 0.34, 0.08, 1.12)
    b.ellipse(0.1, 0.92, 0.06, 0.02, 0.45)


def _cone(b: Brush, rng: np.random.Generator) -> None:
    stripe = (60, 60, 64) if min(b.base) > 200 else (240, 240, 238)
    b.polygon([(-0.46, 0.0), (0.46, 0.0), (0.36, 0.12), (-0.36, 0.12)], 0.8)
    b.polygon([(-0.29, 0.1), (0.29, 0.1), (0.05, 1.0), (-0.05, 1.0)])
    b.polygon([(-0.215, 0.38), (0.215, 0.38), (0.155, 0.6), (-0.155, 0.6)], 1.0, stripe)
    b.polygon([(0.09, 0.1), (0.29, 0.1), (0.05, 1.0), (0.015, 1.0)], 0.75)


def _ladder(b: Brush, rng: np.random.Generator) -> None:
    lean, w = float(rng.uniform(-0.12, 0.12)), float(rng.uniform(0.15, 0.2))
    for y in np.linspace(0.12, 0.9, 6):
        x = lean * y
        b.bar((x - w, float(y)), (x + w, float(y)), 0.055, 0.85)
    for side in (-w, w):
        b.bar((side, 0.0), (side + lean, 1.0), 0.07, 1.05)


def _person(b: Brush, rng: np.random.Generator) -> None:
    stride = float(rng.uniform(0.02, 0.1))
    trousers = ((50, 60, 90), (70, 70, 74), (95, 80, 60))[int(rng.integers(3))]
    reach = float(rng.uniform(-0.05, 0.2))
    b.bar((-0.05, 0.46), (-0.05 - stride, 0.03), 0.11, 0.85, trousers)
    b.bar((0.06, 0.46), (0.06 + stride, 0.03), 0.11, 1.0, trousers)
    for x in (-0.04 - stride, 0.08 + stride):
        b.ellipse(x, 0.025, 0.07, 0.03, 1.0, DARK)
    b.bar((-0.14, 0.76), (-0.2, 0.48), 0.075, 0.75)
    b.polygon([(-0.14, 0.42), (0.14, 0.42), (0.18, 0.8), (0.08, 0.84), (-0.08, 0.84), (-0.18, 0.8)])
    b.box(-0.15, 0.56, 0.155, 0.6, 1.35)
    b.bar((0.15, 0.76), (0.2 + reach / 2, 0.5 + reach), 0.075, 0.8)
    b.ellipse(0.2 + reach / 2, 0.48 + reach, 0.035, 0.035, 1.0, SKIN)
    b.ellipse(0.0, 0.91, 0.075, 0.09, 1.0, SKIN)
    b.polygon([(-0.08, 0.92), (-0.06, 1.0), (0.06, 1.0), (0.08, 0.93), (0.0, 0.96)], 1.0, (60, 42, 30))


def _helmet(b: Brush, rng: np.random.Generator) -> None:
    arc = np.linspace(0.0, np.pi, 15)
    b.polygon(list(zip(0.72 * np.cos(arc), 0.22 + 0.78 * np.sin(arc), strict=True)))
    b.polygon(list(zip(0.28 + 0.42 * np.cos(arc), 0.22 + 0.7 * np.sin(arc), strict=True)), 0.78)
    b.polygon(list(zip(-0.04 + 0.1 * np.cos(arc), 0.22 + 0.8 * np.sin(arc), strict=True)), 1.2)
    b.polygon([(-0.78, 0.1), (1.05, 0.02), (1.1, 0.14), (0.74, 0.3), (-0.74, 0.3)], 0.62)


def _bucket(b: Brush, rng: np.random.Generator) -> None:
    arc = np.linspace(0.15, np.pi - 0.15, 9)
    b.path(list(zip(0.42 * np.cos(arc), 0.62 + 0.36 * np.sin(arc), strict=True)), 0.045, 1.0, STEEL)
    b.ellipse(0, 0.06, 0.3, 0.06, 0.75)
    b.polygon([(-0.3, 0.06), (0.3, 0.06), (0.44, 0.68), (-0.44, 0.68)])
    b.polygon([(0.1, 0.06), (0.3, 0.06), (0.44, 0.68), (0.18, 0.68)], 0.7)
    b.ellipse(0, 0.68, 0.46, 0.1, 1.15)
    b.ellipse(0, 0.68, 0.39, 0.075, 0.4)


def _shelf(b: Brush, rng: np.random.Generator) -> None:
    w = float(rng.uniform(0.42, 0.6))
    b.box(-w, 0.04, w, 0.98, 0.38)
    for y in (0.06, 0.36, 0.66, 0.94):
        b.box(-w, y, w, y + 0.06, 1.05)
    for y in (0.12, 0.42, 0.72):
        for left in np.arange(-w + 0.08, w - 0.2, 0.24).tolist():
            if rng.random() < 0.5:
                height = float(rng.uniform(0.08, 0.18))
                b.box(left, y, left + 0.18, y + height, float(rng.uniform(0.7, 1.1)), WOOD)
    for x in (-w, w - 0.06):
        b.box(x, 0.0, x + 0.06, 1.0, 0.85)


def _trolley(b: Brush, rng: np.random.Generator) -> None:
    b.path([(-0.62, 0.22), (-0.72, 0.98), (-0.66, 1.0)], 0.06, 0.8)
    b.bar((-0.78, 0.97), (-0.56, 0.97), 0.07, 1.0, DARK)
    b.bar((-0.69, 0.6), (-0.64, 0.6), 0.05, 0.8)
    b.polygon([(-0.66, 0.2), (0.72, 0.2), (0.6, 0.36), (-0.56, 0.36)], 1.12)
    b.box(-0.66, 0.13, 0.72, 0.22, 0.75)
    for x in (-0.48, 0.54):
        b.ellipse(x, 0.08, 0.09, 0.08, 1.0, DARK)
        b.ellipse(x, 0.08, 0.035, 0.035, 1.0, STEEL)


def _sign(b: Brush, rng: np.random.Generator) -> None:
    mark = (235, 235, 230) if sum(b.base) < 240 else DARK
    b.polygon([(-0.2, 0.0), (0.2, 0.0), (0.13, 0.06), (-0.13, 0.06)], 0.9, DARK)
    b.box(-0.03, 0.04, 0.03, 0.5, 1.0, STEEL)
    b.polygon([(-0.36, 0.44), (0.36, 0.44), (0.0, 1.0)], 1.0, mark)
    b.polygon([(-0.29, 0.48), (0.29, 0.48), (0.0, 0.93)])
    b.box(-0.025, 0.6, 0.025, 0.78, 1.0, mark)
    b.ellipse(0.0, 0.545, 0.03, 0.025, 1.0, mark)


def _tire(b: Brush, rng: np.random.Generator) -> None:
    outer, inner = np.linspace(0.0, 2 * np.pi, 29), np.linspace(2 * np.pi, 0.0, 29)
    for radius, hole, shade in ((0.5, 0.22, 0.8), (0.45, 0.24, 1.0), (0.32, 0.22, 0.65)):
        ring = list(zip(radius * np.cos(outer), 0.5 + radius * np.sin(outer), strict=True))
        ring += list(zip(hole * np.cos(inner), 0.5 + hole * np.sin(inner), strict=True))
        b.polygon(ring, shade)
    for angle in np.linspace(0.0, 2 * np.pi, 13)[:-1]:
        spoke = np.array([np.cos(angle), np.sin(angle)])
        a, c = spoke * 0.43 + (0, 0.5), spoke * 0.49 + (0, 0.5)
        b.bar((float(a[0]), float(a[1])), (float(c[0]), float(c[1])), 0.05, 0.5)


def _spool(b: Brush, rng: np.random.Generator) -> None:
    b.box(-0.4, 0.22, 0.4, 0.78, 0.8)
    for x in np.linspace(-0.36, 0.32, 7):
        b.box(float(x), 0.2, float(x) + 0.05, 0.8, 0.55)
    for x, shade in ((-0.5, 1.05), (0.36, 0.9)):
        b.ellipse(x + 0.07, 0.5, 0.14, 0.5, shade * 0.7)
        b.ellipse(x + 0.03, 0.5, 0.14, 0.5, shade)
    b.ellipse(-0.47, 0.5, 0.04, 0.12, 1.0, DARK)


@dataclass(frozen=True, slots=True)
class Noun:
    """One kind of object: how it is drawn, how tall it is, and what else people call it.

    Attributes:
        draw: the drawing routine.
        height: usual height in units of a person's.
        synonyms: other words for the same thing.
    """

    draw: Drawing
    height: float
    synonyms: tuple[str, ...] = ()


NOUNS: dict[str, Noun] = {
    "forklift": Noun(_forklift, 1.15),
    "pallet": Noun(_pallet, 0.3, ("skid",)),
    "box": Noun(_box, 0.6, ("carton",)),
    "barrel": Noun(_barrel, 0.8, ("drum",)),
    "cone": Noun(_cone, 0.65),
    "ladder": Noun(_ladder, 1.25),
    "person": Noun(_person, 1.15, ("worker",)),
    "helmet": Noun(_helmet, 0.38, ("hardhat",)),
    "bucket": Noun(_bucket, 0.55, ("pail",)),
    "shelf": Noun(_shelf, 1.2, ("rack",)),
    "trolley": Noun(_trolley, 0.75, ("cart",)),
    "sign": Noun(_sign, 0.95),
    "tire": Noun(_tire, 0.6, ("wheel",)),
    "spool": Noun(_spool, 0.62, ("reel",)),
}
