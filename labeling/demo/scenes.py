"""Warehouse scenes with exact boxes and masks: perspective, shading, clutter, occlusion, sensor noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .objects import COLOURS, NOUNS, Brush

RgbImage = npt.NDArray[np.uint8]

#: Colour and noun pairs that no training scene shows and no training caption names.
UNSEEN_PAIRS: frozenset[tuple[str, str]] = frozenset(
    zip(
        ("red", "orange", "yellow", "green", "blue", "purple", "white", "black") * 2,
        (
            "barrel",
            "cone",
            "forklift",
            "ladder",
            "box",
            "pallet",
            "person",
            "helmet",
            "shelf",
            "bucket",
            "sign",
            "spool",
            "trolley",
            "tire",
            "box",
            "barrel",
        ),
        strict=True,
    )
)

_MIN_VISIBLE = 0.45
_MIN_SIDE = 12
_TRIES = 12


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene.

    Attributes:
        noun: key of ``NOUNS``.
        colour: key of ``COLOURS``.
        mask: (height, width) bool, the visible pixels.
        box_xyxy: the box around the visible pixels, absolute, half-open.
    """

    noun: str
    colour: str
    mask: npt.NDArray[np.bool_]
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and the truth about it.

    Attributes:
        jpeg: the encoded file.
        picture: (height, width, 3) uint8 RGB, as decoded from ``jpeg``.
        things: what stands in it, far to near.
    """

    jpeg: bytes
    picture: RgbImage
    things: tuple[Thing, ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    noun: str
    colour: str
    foot_xy: tuple[float, float]
    size: float
    mirror: float
    seed: int
    inside: npt.NDArray[np.bool_]  # its pixels in the picture, were nothing in front of it
    area: int  # all its pixels, those outside the picture too


def render_scene(
    seed: int, *, size_wh: tuple[int, int] = (480, 360), pairs: tuple[tuple[str, str], ...], most: int = 7
) -> Scene:
    """Draw one scene.

    Args:
        seed: the same seed gives the same bytes.
        size_wh: width and height of the picture in pixels.
        pairs: the (colour, noun) pairs that may appear.
        most: the largest number of objects; at least 1.
    """
    rng = np.random.default_rng(seed)
    width, height = size_wh
    horizon = height * rng.uniform(0.18, 0.4)
    room = draw_room(rng, width, height, horizon)
    placed: list[_Placed] = []
    for _ in range(int(rng.integers(1, most + 1))):
        _place(rng, placed, pairs, room, horizon)
    picture, ids = _paint(room, placed)
    picture = _photograph(rng, picture)
    ok, jpeg = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 95))])
    decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR) if ok else None
    if decoded is None:
        raise RuntimeError("OpenCV could not write the scene as JPEG")
    things = tuple(thing_of(item.noun, item.colour, ids == number) for number, item in enumerate(placed, start=1))
    return Scene(jpeg.tobytes(), np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8), things)


def all_pairs(*, unseen: bool = False) -> tuple[tuple[str, str], ...]:
    """Return every (colour, noun) pair that training may show or, with ``unseen``, every pair there is."""
    every = ((colour, noun) for noun in NOUNS for colour in COLOURS)
    return tuple(pair for pair in every if unseen or pair not in UNSEEN_PAIRS)


def thing_of(noun: str, colour: str, mask: npt.NDArray[np.bool_]) -> Thing:
    """Return the object whose visible pixels these are; at least one is True."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return Thing(noun, colour, mask, box)


def _place(
    rng: np.random.Generator,
    placed: list[_Placed],
    pairs: tuple[tuple[str, str], ...],
    room: RgbImage,
    horizon: float,
) -> None:
    """Add one object where it and all others stay visible enough; give up after a few tries."""
    height, width = room.shape[:2]
    for _ in range(_TRIES):
        colour, noun = pairs[int(rng.integers(len(pairs)))]
        foot = rng.uniform(horizon + 0.18 * (height - horizon), height * 0.98)
        depth = (foot - horizon) / (height - horizon)
        size = NOUNS[noun].height * height * (0.16 + 0.4 * depth) * rng.uniform(0.85, 1.2)
        foot_xy = (float(rng.uniform(0.05, 0.95) * width), float(foot))
        mirror, seed = (1.0 if rng.random() < 0.5 else -1.0), int(rng.integers(1 << 31))
        inside, area = _silhouette(noun, foot_xy, float(size), mirror, seed, (height, width))
        item = _Placed(noun, colour, foot_xy, float(size), mirror, seed, inside, area)
        trial = sorted([*placed, item], key=lambda one: one.foot_xy[1])
        if _all_visible(trial):
            placed[:] = trial
            return


def _silhouette(
    noun: str, foot_xy: tuple[float, float], size: float, mirror: float, seed: int, size_hw: tuple[int, int]
) -> tuple[npt.NDArray[np.bool_], int]:
    margin = size_hw[0] // 2  # so that what the picture cuts off counts too
    shape = (size_hw[0] + 2 * margin, size_hw[1] + 2 * margin)
    ids = np.zeros(shape, np.uint8)
    foot = (foot_xy[0] + margin, foot_xy[1] + margin)
    brush = Brush(np.zeros((1, 1, 3), np.uint8), ids, 1, (0, 0, 0), foot, size, mirror)
    NOUNS[noun].draw(brush, np.random.default_rng(seed))
    return ids[margin:-margin, margin:-margin] > 0, cv2.countNonZero(ids)


def _all_visible(placed: list[_Placed]) -> bool:
    """Say whether each object shows enough of itself: not hidden, not cut off, not tiny."""
    nearer = np.zeros_like(placed[0].inside)
    for item in reversed(placed):
        visible = item.inside & ~nearer
        if np.count_nonzero(visible) < _MIN_VISIBLE * item.area:
            return False
        if np.count_nonzero(visible.any(0)) < _MIN_SIDE or np.count_nonzero(visible.any(1)) < _MIN_SIDE:
            return False
        nearer |= item.inside
    return True


def _paint(room: RgbImage, placed: list[_Placed]) -> tuple[RgbImage, npt.NDArray[np.uint8]]:
    picture, ids = room.copy(), np.zeros(room.shape[:2], np.uint8)
    for number, item in enumerate(placed, start=1):
        shadow = picture.copy()
        x, y = item.foot_xy
        cv2.ellipse(
            shadow,
            (int(x + 0.12 * item.size), int(y)),
            (int(0.5 * item.size) + 2, int(0.08 * item.size) + 2),
            0,
            0,
            360,
            (25, 25, 28),
            -1,
            cv2.LINE_AA,
        )
        picture = cv2.addWeighted(shadow, 0.4, picture, 0.6, 0.0)
        brush = Brush(picture, ids, number, COLOURS[item.colour], item.foot_xy, item.size, item.mirror)
        NOUNS[item.noun].draw(brush, np.random.default_rng(item.seed))
    return picture, ids


def draw_room(rng: np.random.Generator, width: int, height: int, horizon: float) -> RgbImage:
    """Draw wall, floor and the clutter that nobody asks for: (height, width, 3) uint8; the wall ends at the horizon."""
    wall = rng.integers(95, 205) + rng.integers(-16, 17, 3)
    floor = rng.integers(90, 175) + rng.integers(-12, 13, 3)
    room = np.empty((height, width, 3), np.float32)
    edge = int(horizon)
    room[:edge] = wall * np.linspace(0.8, 1.0, max(edge, 1))[:, None, None]
    room[edge:] = floor * np.linspace(0.75, 1.1, height - edge)[:, None, None]
    picture = np.clip(room, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(2, 7))):  # panels and pipes on the wall
        x, w = int(rng.uniform(0, width)), int(rng.uniform(4, 70))
        tone = [int(v) for v in np.clip(wall * rng.uniform(0.7, 1.15), 0, 255)]
        top = int(rng.uniform(0, horizon * 0.7))
        cv2.rectangle(picture, (x, top), (x + w, edge - int(rng.uniform(0, 6))), tone, -1)
    vanish = (width * rng.uniform(0.3, 0.7), horizon - height * 0.05)
    for _ in range(int(rng.integers(1, 5))):  # lane markings
        near = rng.uniform(-0.3, 1.3) * width
        tone = [int(v) for v in (rng.integers(150, 235, 3) if rng.random() < 0.6 else floor * 0.7)]
        far = (near + (vanish[0] - near) * 0.85, height + (horizon - height) * 0.97)
        cv2.line(picture, (int(near), height), (int(far[0]), int(far[1])), tone, int(rng.integers(1, 5)), cv2.LINE_AA)
    for _ in range(int(rng.integers(3, 12))):  # stains, scraps, cables
        x, y = int(rng.uniform(0, width)), int(rng.uniform(horizon, height))
        tone = [int(v) for v in rng.integers(40, 215, 3)]
        reach = int(rng.uniform(2, 14))
        kind = rng.random()
        if kind < 0.4:
            mark = picture.copy()
            cv2.ellipse(mark, (x, y), (reach * 3, reach), 0, 0, 360, tone, -1, cv2.LINE_AA)
            picture = cv2.addWeighted(mark, 0.25, picture, 0.75, 0.0)
        elif kind < 0.75:
            corners = (rng.uniform(-reach, reach, (4, 2)) * (1.0, 0.5) + (x, y)).astype(np.int32)
            cv2.fillConvexPoly(picture, cv2.convexHull(corners), tone, cv2.LINE_AA)
        else:
            bend = np.cumsum(rng.uniform(-18, 18, (6, 2)) * (1.0, 0.4), axis=0) + np.array([x, y])
            cv2.polylines(picture, [bend.astype(np.int32)], False, [t // 2 for t in tone], 2, cv2.LINE_AA)
    return picture


def _photograph(rng: np.random.Generator, picture: RgbImage) -> RgbImage:
    """Light the scene from one side, then let an ordinary camera see it."""
    height, width = picture.shape[:2]
    across = np.linspace(rng.uniform(0.75, 1.1), rng.uniform(0.75, 1.1), width, dtype=np.float32)
    down = np.linspace(rng.uniform(0.85, 1.05), rng.uniform(0.9, 1.1), height, dtype=np.float32)
    tint = rng.uniform(0.93, 1.07, 3).astype(np.float32) * np.float32(rng.uniform(0.85, 1.12))
    light = picture.astype(np.float32) * (down[:, None] * across[None, :])[..., None] * tint
    if rng.random() < 0.3:
        light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.4, 0.9)))
    light += rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(rng.uniform(1.0, 7.0))
    seen: RgbImage = np.clip(light, 0, 255).astype(np.uint8)
    return seen
