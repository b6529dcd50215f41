"""What there is of each class, where it lies and in which light, and what that calls for; counted in one pass."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from labeling.core.records import Annotation

from .curation import readiness
from .curation.photo_facts import PhotoFacts
from .curation.readiness import Verdict
from .curation.scenes import Scene
from .curation.slices import PhotoTally, Slice

SMALL_AREA = 32**2
"""Boxes of a smaller area in square pixels are small, those from LARGE_AREA on large: the sizes of COCO."""

LARGE_AREA = 96**2
MOST_AREAS = 20_000
CELLS = 16

_BORDER_PX = 1.0


@dataclass(frozen=True, slots=True)
class ClassBalance:
    """One class.

    Attributes:
        name: of the class.
        images: that hold it.
        boxes: of it.
        reviewed_images: those of the images that people have reviewed.
        small: boxes under 32 x 32 pixels of area, as COCO counts, clipped to the image.
        medium: boxes from there to 96 x 96.
        large: boxes of at least 96 x 96.
        touching_border: boxes that come within a pixel of the border, and so may be cut off.
        median_rel_area: of the boxes, as a share of the image; 0 where there are none.
        verdict: whether that is enough, see ``readiness.verdict``.
        wanted_images: so many more are needed to start.
        oversample: how often its images are shown in training, see ``readiness.repeat_factor``.
    """

    name: str
    images: int
    boxes: int
    reviewed_images: int
    small: int
    medium: int
    large: int
    touching_border: int
    median_rel_area: float
    verdict: Verdict
    wanted_images: int
    oversample: float


@dataclass(frozen=True, slots=True, eq=False)
class Balance:
    """The whole set.

    Attributes:
        images: with labels, or looked at for some.
        empty_images: those without any.
        reviewed_images: those that people have reviewed.
        boxes: in all images.
        classes: in the order of the ontology.
        together: (n, n) int64, images that hold both classes; the diagonal is the images of each class.
        positions: (16, 16) float64, how many boxes have their centre there; rows from the top of the image.
        rel_areas: (k,) float32, areas of boxes as shares of their image; k is at most 20,000, drawn by lot.
        brightness: (m,) float32, of the m images whose photos were looked at, see ``PhotoFacts``.
        sharpness: (m,) float32, of the same images.
        cameras: images by camera, where EXIF names it.
        hours: images by hour of the day, 0 to 23, where EXIF has a time.
        slices: images by kind of photo; empty where no photo was looked at.
        remarks: what is odd, one sentence each.
        plan: what to do next, the most urgent first, one line each.
    """

    images: int
    empty_images: int
    reviewed_images: int
    boxes: int
    classes: tuple[ClassBalance, ...]
    together: npt.NDArray[np.int64]
    positions: npt.NDArray[np.float64]
    rel_areas: npt.NDArray[np.float32]
    brightness: npt.NDArray[np.float32]
    sharpness: npt.NDArray[np.float32]
    cameras: Counter[str]
    hours: Counter[int]
    slices: tuple[Slice, ...]
    remarks: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()


def balance(
    scenes: Iterable[Scene],
    names: Sequence[str],
    facts: Mapping[str, PhotoFacts],
    *,
    subtle: Collection[str] = (),
    oversample_below: float = readiness.OVERSAMPLE_BELOW,
) -> Balance:
    """Count a set of labelled images and judge whether it is ready for training.

    Args:
        scenes: read once; labels of classes that are not among the names are left out.
        names: the classes, in the order of the ontology.
        facts: of photos, by sha256; scenes may be missing, and others may be there: limits of light and blur are
            chosen from all of them.
        subtle: classes that are hard to see, which need more images.
        oversample_below: classes that a smaller share of the images holds are repeated in training.
    """
    objects, photos = _Objects(names), PhotoTally(len(names), facts)
    for scene in scenes:
        photos.add(scene.sha256, objects.add(scene))
    found = Balance(
        images=objects.images,
        empty_images=objects.empty,
        reviewed_images=objects.reviewed,
        boxes=sum(one.boxes for one in objects.tallies),
        classes=tuple(
            one.judged(name, objects.images, name in subtle, oversample_below)
            for name, one in zip(names, objects.tallies, strict=True)
        ),
        together=objects.together,
        positions=objects.positions,
        rel_areas=_by_lot([one.areas for one in objects.tallies]),
        brightness=np.asarray(photos.brightness, dtype=np.float32),
        sharpness=np.asarray(photos.sharpness, dtype=np.float32),
        cameras=photos.cameras,
        hours=photos.hours,
        slices=photos.slices(),
    )
    return replace(found, remarks=tuple(readiness.remarks(found)), plan=tuple(readiness.plan(found, subtle)))


@dataclass(slots=True)
class _Tally:
    """What is counted of one class."""

    images: int = 0
    reviewed: int = 0
    boxes: int = 0
    small: int = 0
    large: int = 0
    border: int = 0
    areas: array[float] = field(default_factory=lambda: array("f"))

    def judged(self, name: str, of_images: int, subtle: bool, below: float) -> ClassBalance:
        return ClassBalance(
            name,
            self.images,
            self.boxes,
            self.reviewed,
            self.small,
            self.boxes - self.small - self.large,
            self.large,
            self.border,
            float(np.median(self.areas)) if self.boxes else 0.0,
            readiness.verdict(self.images, self.reviewed, subtle=subtle),
            max(0, readiness.target_of(subtle) - self.images),
            readiness.repeat_factor(self.images / of_images, below) if of_images else 1.0,
        )


class _Objects:
    """Counts labels, scene by scene."""

    def __init__(self, names: Sequence[str]) -> None:
        self.tallies = [_Tally() for _ in names]
        self.images = self.empty = self.reviewed = 0
        self.together = np.zeros((len(names), len(names)), dtype=np.int64)
        self.positions = np.zeros((CELLS, CELLS), dtype=np.float64)
        self._row_of = {name: row for row, name in enumerate(names)}

    def add(self, scene: Scene) -> Counter[int]:
        """Count one scene; return its boxes by place of their class."""
        seen: Counter[int] = Counter()
        for label in scene.labels:
            row = self._row_of.get(label.class_name)
            if row is not None:
                seen[row] += 1
                self._add_box(self.tallies[row], label, scene.size_wh)
        self.images += 1
        self.empty += not seen
        self.reviewed += scene.reviewed
        rows = list(seen)
        self.together[np.ix_(rows, rows)] += 1
        for row in rows:
            self.tallies[row].images += 1
            self.tallies[row].reviewed += scene.reviewed
        return seen

    def _add_box(self, tally: _Tally, label: Annotation, size_wh: tuple[int, int]) -> None:
        (left, top, right, bottom), (width, height) = label.box_xyxy, size_wh
        x0, x1 = max(left, 0.0), min(right, float(width))
        y0, y1 = max(top, 0.0), min(bottom, float(height))
        area = max(x1 - x0, 0.0) * max(y1 - y0, 0.0)
        tally.boxes += 1
        tally.small += area < SMALL_AREA
        tally.large += area >= LARGE_AREA
        tally.border += min(x0, y0, width - x1, height - y1) <= _BORDER_PX
        tally.areas.append(area / (width * height))
        across, down = (left + right) / (2 * width), (top + bottom) / (2 * height)
        self.positions[_cell(down), _cell(across)] += 1


def _cell(share: float) -> int:
    return int(min(max(share, 0.0) * CELLS, CELLS - 1))


def _by_lot(parts: Sequence[array[float]]) -> npt.NDArray[np.float32]:
    areas = np.concatenate([np.zeros(0, dtype=np.float32), *(np.asarray(part, dtype=np.float32) for part in parts)])
    if len(areas) <= MOST_AREAS:
        return areas
    picked = np.random.default_rng(0).choice(len(areas), MOST_AREAS, replace=False)
    return areas[np.sort(picked)]
