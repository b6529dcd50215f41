"""Plant label errors of known kinds among good labels: wrong class, missing, spurious, shifted and duplicated boxes.

A pure function of the labels and a seed. What was planted comes back beside the labels, so that a ranked list of
suspects can be measured by how early it shows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distill.curation.doubts import KINDS, Kind
from labeling.core.errors import InputError
from labeling.core.geometry import clip_boxes, iou
from labeling.core.records import Annotation, Provenance

Box = tuple[float, float, float, float]

SHARE = 0.01
"""Share of the boxes that get each kind of error."""

SHIFT = 0.5
"""A shifted box is moved by so much of its width or height; half leaves an IoU of 1/3 with the true box."""

JITTER = 0.05
"""Each edge of a duplicate lies off by at most so much of the side: nobody draws the same box twice."""

FOUND_IOU = 0.5
"""A candidate shows a missing label when they share at least so much, whatever its class."""

_PLACES = 40
"""So many places are tried in an image before the next one."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One planted error.

    Attributes:
        kind: what is wrong; a shifted box is a "bad box".
        sha256: the image.
        before: the label as people made it; None for a spurious one.
        after: the labels that show the error: the changed or invented one, or both copies of a duplicated one; none
            where the label was taken away.
    """

    kind: Kind
    sha256: str
    before: Annotation | None
    after: tuple[Annotation, ...]

    def shown_by(self, label: Annotation | None, claim: Annotation | None) -> bool:
        """Say whether a row of a ranked list leads to this error.

        Args:
            label: the doubted label of the row; None where the row says that a label is missing.
            claim: what should stand there, where somebody said so.
        """
        if label is not None:
            return any(label.id == shown.id for shown in self.after)
        if self.before is None or self.after or claim is None or claim.sha256 != self.sha256:
            return False
        return bool(iou([claim.box_xyxy], [self.before.box_xyxy])[0, 0] >= FOUND_IOU)


def plant(
    labels: Mapping[str, Sequence[Annotation]],
    sizes: Mapping[str, tuple[int, int]],
    names: Sequence[str],
    seed: int,
    *,
    share: float = SHARE,
) -> tuple[dict[str, list[Annotation]], list[Planted]]:
    """Return the labels with errors among them, and what was planted; the same seed plants the same errors.

    No box takes part in two errors. A wrong class is drawn from all others alike. A spurious box has the class and
    the size of a label drawn from all labels, and overlaps no box, neither a true nor a planted one.

    Args:
        labels: of every image, by sha256; they stay as they are.
        sizes: width and height of every image in pixels.
        names: all classes, two at least.
        seed: of every draw.
        share: of the boxes for each kind; at least one box each.

    Raises:
        InputError: too few boxes or classes.
    """
    everything = [label for sha256 in sorted(labels) for label in labels[sha256]]
    count = max(round(share * len(everything)), 1)
    if len(everything) < 4 * count or len(names) < 2:
        raise InputError(
            f"{len(everything)} boxes of {len(names)} classes: planting {count} of each kind needs {4 * count} boxes "
            "and 2 classes"
        )
    random = np.random.default_rng(seed)
    order = random.permutation(len(everything))
    # Only some boxes have room to be moved, so they are chosen first.
    shifted = [row for row in order if _shifts(everything[row].box_xyxy, sizes[everything[row].sha256])][:count]
    rest = [row for row in order if row not in set(shifted)]
    planted: list[Planted] = []
    for row in shifted:
        label = everything[row]
        places = _shifts(label.box_xyxy, sizes[label.sha256])
        moved = _made(label, seed, "bad box", box=places[random.integers(len(places))])
        planted.append(Planted("bad box", label.sha256, label, (moved,)))
    for row in rest[:count]:
        label = everything[row]
        others = [name for name in names if name != label.class_name]
        wrong = _made(label, seed, "wrong class", class_name=others[random.integers(len(others))])
        planted.append(Planted("wrong class", label.sha256, label, (wrong,)))
    for row in rest[count : 2 * count]:
        planted.append(Planted("missing", everything[row].sha256, everything[row], ()))
    for row in rest[2 * count : 3 * count]:
        label = everything[row]
        copy = _made(label, seed, "duplicate box", box=_jittered(label.box_xyxy, sizes[label.sha256], random))
        planted.append(Planted("duplicate box", label.sha256, label, (label, copy)))
    planted += _spurious(everything, planted, sizes, seed, count, random)
    return _changed(labels, planted), sorted(planted, key=lambda error: KINDS.index(error.kind))


def _shifts(box: Box, size_wh: tuple[int, int]) -> list[Box]:
    """Return the box moved left, right, up and down, as far as it stays inside the image."""
    x0, y0, x1, y1 = box
    right, down = SHIFT * (x1 - x0), SHIFT * (y1 - y0)
    moved = [(x0 + dx, y0 + dy, x1 + dx, y1 + dy) for dx, dy in ((-right, 0), (right, 0), (0, -down), (0, down))]
    return [at for at in moved if at[0] >= 0 and at[1] >= 0 and at[2] <= size_wh[0] and at[3] <= size_wh[1]]


def _jittered(box: Box, size_wh: tuple[int, int], random: np.random.Generator) -> Box:
    x0, y0, x1, y1 = box
    sides = np.array([x1 - x0, y1 - y0] * 2)
    x0, y0, x1, y1 = clip_boxes([np.array(box) + random.uniform(-JITTER, JITTER, 4) * sides], size_wh)[0].tolist()
    return x0, y0, x1, y1


def _spurious(
    everything: Sequence[Annotation],
    planted: Sequence[Planted],
    sizes: Mapping[str, tuple[int, int]],
    seed: int,
    count: int,
    random: np.random.Generator,
) -> Iterator[Planted]:
    """Yield boxes of the class and the size of random labels, at places where nothing lies.

    A size that fits into no image is drawn anew, so crowded sets get fewer of the largest ones.
    """
    taken: dict[str, list[Box]] = {sha256: [] for sha256 in sorted(sizes)}
    for label in [*everything, *(shown for error in planted for shown in error.after)]:
        taken[label.sha256].append(label.box_xyxy)
    images = list(taken)
    left = count
    for row in random.permutation(len(everything)):
        like = everything[row]
        x0, y0, x1, y1 = like.box_xyxy
        for at in random.permutation(len(images)):
            box = _free_place((x1 - x0, y1 - y0), sizes[images[at]], taken[images[at]], random)
            if box is not None:
                invented = _made(replace(like, sha256=images[at], rle=None), seed, "spurious", box=box)
                taken[images[at]].append(box)
                yield Planted("spurious", images[at], None, (invented,))
                left -= 1
                break
        if not left:
            return


def _free_place(
    wh: tuple[float, float], size_wh: tuple[int, int], taken: Sequence[Box], random: np.random.Generator
) -> Box | None:
    """Return a box of the given width and height that touches none of the taken ones; None where none was found."""
    room = np.array(size_wh) - wh
    if (room < 0).any():
        return None
    corners = random.uniform(0, 1, (_PLACES, 2)) * room
    boxes = np.concatenate([corners, corners + wh], axis=1)
    free = iou(boxes, taken).max(axis=1) == 0 if taken else np.ones(_PLACES, dtype=bool)
    if not free.any():
        return None
    x0, y0, x1, y1 = boxes[int(free.argmax())].tolist()
    return x0, y0, x1, y1


def _made(
    label: Annotation, seed: int, kind: Kind, *, class_name: str | None = None, box: Box | None = None
) -> Annotation:
    """Return a changed copy with an id of its own; a moved box has no mask."""
    class_name, at = class_name or label.class_name, box or label.box_xyxy
    content = f"planted {seed} {kind} {label.id} {label.sha256} {class_name} {at}"
    return Annotation(
        id=hashlib.sha256(content.encode()).hexdigest()[:32],
        sha256=label.sha256,
        class_name=class_name,
        box_xyxy=at,
        provenance=Provenance("human", annotator=label.provenance.annotator),
        rle=label.rle if box is None else None,
    )


def _changed(labels: Mapping[str, Sequence[Annotation]], planted: Sequence[Planted]) -> dict[str, list[Annotation]]:
    """Return the labels with the planted errors in place, in random-looking but fixed order."""
    gone = {error.before.id for error in planted if error.before is not None}
    changed = {sha256: [label for label in some if label.id not in gone] for sha256, some in labels.items()}
    for error in planted:
        changed[error.sha256].extend(error.after)
    # Planted labels would stand last in their image otherwise.
    return {sha256: sorted(some, key=lambda label: label.id) for sha256, some in changed.items()}
