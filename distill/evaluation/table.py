"""Found objects beside true ones: which answers which, matched once as COCO does, and then only counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from labeling.core.errors import InputError
from labeling.core.geometry import area, clip_boxes, xyxy_to_xywh
from labeling.core.records import Rle

from ..objects import Objects

Numbers = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

LEVELS: Numbers = np.linspace(0.5, 0.95, 10, dtype=np.float64)
"""IoU from which a found object answers a true one; the first is that of AP50."""

MOST_FOUND = 100
"""So many objects of one class count in one image, the best ones; the limit of COCO."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What is true (m objects) and what was found (d objects, the best first).

    Attributes:
        images: how many.
        classes: how many.
        truth_image, truth_class: (m,) position of image and class of each true object.
        truth_area: (m,) square pixels, of the box or of the mask.
        image, class_id, score: (d,) of each found object, by falling score; equal ones in the order of the images.
        partner: (10, d) the true object of the same class that it answers at each of LEVELS, by row, or -1.
        mistaken: (d,) the true object of another class that it lies on, of those that nothing answers at IoU 0.5,
            or -1.
    """

    images: int
    classes: int
    truth_image: Rows
    truth_class: Rows
    truth_area: Numbers
    image: Rows
    class_id: Rows
    score: Numbers
    partner: Rows
    mistaken: Rows

    @property
    def right(self) -> Flags:
        """(10, d) whether a found object is right at each of LEVELS."""
        return np.asarray(self.partner >= 0)

    @property
    def truths(self) -> Rows:
        """(images, classes) how many true objects there are."""
        counted = np.zeros((self.images, self.classes), dtype=np.int64)
        np.add.at(counted, (self.truth_image, self.truth_class), 1)
        return counted

    def of(self, members: Flags) -> Table:
        """Return the table of some images alone; ``members`` is (images,)."""
        true, said = members[self.truth_image], members[self.image]
        place, row = np.cumsum(members) - 1, np.append(np.cumsum(true) - 1, -1)
        return Table(
            int(members.sum()),
            self.classes,
            place[self.truth_image[true]],
            self.truth_class[true],
            self.truth_area[true],
            place[self.image[said]],
            self.class_id[said],
            self.score[said],
            row[self.partner[:, said]],
            row[self.mistaken[said]],
        )


def matched(
    truth: Sequence[Objects],
    found: Sequence[Objects],
    classes: int,
    *,
    masks: bool = False,
    most: int | None = MOST_FOUND,
) -> Table:
    """Match every image: the best found object takes the true one it overlaps most, then the next best.

    At each IoU level a found object may answer one true object of its class that no better one has taken, as in
    pycocotools. What was found above a score is matched alike whether the rest is there or not. What answers nothing
    may then lie on a true object of another class.

    Args:
        truth: what is there; one per image.
        found: what somebody says of the same images, in the same order.
        classes: how many there are.
        masks: compare masks instead of boxes; the rectangle of its box stands for an object without a mask.
        most: objects of one class that count in one image; None for all.

    Raises:
        InputError: the two do not speak of the same images, or of classes that do not exist.
    """
    check(truth, found, classes)
    offset = 0
    # Each part: image, class, score, partner (10), mistaken of what was found in one image.
    parts: list[tuple[Rows, Rows, Numbers, Rows, Rows]] = []
    areas = [_areas(true, masks) for true in truth]
    for place, (true, said) in enumerate(zip(truth, found, strict=True)):
        order = _best(said, most)
        partner, mistaken = _answers(true, said, order, masks)
        parts.append(
            (
                np.full(len(order), place),
                said.class_ids[order],
                said.scores[order],
                np.where(partner >= 0, partner + offset, -1),
                np.where(mistaken >= 0, mistaken + offset, -1),
            )
        )
        offset += len(true)
    no_rows, no_numbers = np.zeros(0, dtype=np.int64), np.zeros(0)
    score = np.concatenate([no_numbers, *(part[2] for part in parts)])
    falling = np.argsort(-score, kind="stable")
    return Table(
        len(truth),
        classes,
        np.repeat(np.arange(len(truth)), [len(one) for one in truth]),
        np.concatenate([no_rows, *(one.class_ids for one in truth)]),
        np.concatenate([no_numbers, *areas]),
        np.concatenate([no_rows, *(part[0] for part in parts)])[falling],
        np.concatenate([no_rows, *(part[1] for part in parts)])[falling],
        score[falling],
        np.concatenate([np.zeros((len(LEVELS), 0), dtype=np.int64), *(part[3] for part in parts)], axis=1)[:, falling],
        np.concatenate([no_rows, *(part[4] for part in parts)])[falling],
    )


def check(truth: Sequence[Objects], found: Sequence[Objects], classes: int) -> None:
    """Raise InputError where the two do not speak of the same images, or of classes that do not exist."""
    if len(truth) != len(found):
        raise InputError(f"expected what was found in {len(truth)} images, in their order; got {len(found)} images")
    for place, (true, said) in enumerate(zip(truth, found, strict=True)):
        if said.sha256 and said.sha256 != true.sha256:
            raise InputError(
                f"image {place}: the truth is of {true.sha256[:12]} and what was found of {said.sha256[:12]}; "
                "give both for the same images in the same order"
            )
        if said.size_wh != true.size_wh:
            raise InputError(f"image {place} has {true.size_wh} pixels in the truth, {said.size_wh} in what was found")
        for one in (true, said):
            if len(one) and not 0 <= one.class_ids.min() <= one.class_ids.max() < classes:
                raise InputError(f"image {place}: expected class ids from 0 to {classes - 1}, got {one.class_ids}")


def masks_of(objects: Objects) -> list[Rle]:
    """Return the masks of all objects; the rectangle of its box for one that has none."""
    width, height = objects.size_wh
    boxes = xyxy_to_xywh(clip_boxes(objects.boxes_xyxy, objects.size_wh))
    found: list[Rle] = []
    for rle, box in zip(objects.rles or [None] * len(objects), boxes, strict=True):
        if rle is None:
            made = coco.frPyObjects(box[None], height, width)[0]
            rle = {"size": [height, width], "counts": made["counts"].decode("ascii")}
        found.append(rle)
    return found


def _areas(objects: Objects, masks: bool) -> Numbers:
    if not masks or not len(objects):
        return area(objects.boxes_xyxy)
    return np.asarray(coco.area(masks_of(objects)), dtype=np.float64)


def _best(said: Objects, most: int | None) -> Rows:
    """Return the rows that count, by falling score."""
    order: Rows = np.argsort(-said.scores, kind="stable")
    if most is None or len(order) <= most:
        return order
    kept = np.zeros(len(order), dtype=bool)
    for class_id in np.unique(said.class_ids):
        kept[np.flatnonzero(said.class_ids[order] == class_id)[:most]] = True
    best: Rows = order[kept]
    return best


def _answers(true: Objects, said: Objects, order: Rows, masks: bool) -> tuple[Rows, Rows]:
    """Return partners (10, n) and mistaken (n,) of one image, as rows of its true objects."""
    if not len(true) or not len(order):
        return np.full((len(LEVELS), len(order)), -1), np.full(len(order), -1)
    one, other = (masks_of(each) if masks else xyxy_to_xywh(each.boxes_xyxy) for each in (said, true))
    shared = np.asarray(coco.iou(one, other, [0] * len(true)))[order]
    same = said.class_ids[order][:, None] == true.class_ids[None, :]
    partner = _greedy(np.where(same, shared, -1.0), LEVELS)
    taken = np.zeros(len(true), dtype=bool)
    taken[partner[0][partner[0] >= 0]] = True
    left = (partner[0] < 0)[:, None] & ~taken[None, :] & ~same
    return partner, _greedy(np.where(left, shared, -1.0), LEVELS[:1])[0]


def _greedy(shared: Numbers, levels: Numbers) -> Rows:
    """Return which column each row takes at each level, (levels, rows), -1 for none; rows choose in their order."""
    partner = np.full((len(levels), len(shared)), -1)
    free = np.ones((len(levels), shared.shape[1]), dtype=bool)
    for row in np.flatnonzero(shared.max(axis=1) >= levels[0]):
        open_to = np.where(free & (shared[row] >= levels[:, None]), shared[row], -1.0)
        # Of equal ones the last, as in pycocotools.
        column = shared.shape[1] - 1 - open_to[:, ::-1].argmax(axis=1)
        takes = np.flatnonzero(open_to[np.arange(len(levels)), column] >= 0)
        partner[takes, row] = column[takes]
        free[takes, column[takes]] = False
    return partner
