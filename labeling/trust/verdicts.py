"""Is a prompt enough for a class? Pure: what people said beside what the teacher said, on a few images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..core.errors import InputError
from ..core.matching import Numbers, bootstrap, interval, match
from .gold import GoldImage
from .opinions import Opinion

Verdict = Literal["ship", "correct", "train", "dont", "unknown"]

CLOSE = 0.75
"""A box that overlaps the object less is moved by whoever reviews; it counts as found from ``_FOUND`` on."""

_FOUND = 0.5
_ACTIONS = ("add", "delete", "move", "relabel")

Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Seconds:
    """What each action of a reviewer takes, in seconds, and where the numbers come from.

    Attributes:
        add: to draw a box around an object that is not there.
        delete: to see that a box is wrong and remove it.
        move: to pull a box into place.
        relabel: to give a box another class.
        look: at an image before anything is done.
        source: measured in this project, given, or from where.
    """

    add: float
    delete: float
    move: float
    relabel: float
    look: float
    source: str = "given"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a prompt. Raises InputError for a value out of range.

    Attributes:
        good: precision and recall from which nobody needs to review, in (0, 1).
        images: how many images there are to label in all.
        objects: of a class, that a student needs at least to learn it.
        saving: share of the time of labelling by hand that pre-labels have to save at least, in [0, 1).
    """

    good: float = 0.9
    images: int = 10_000
    objects: int = 150
    saving: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.good < 1:
            raise InputError(f"--good-enough is {self.good:g}: expected a share above 0 and below 1, such as 0.9")
        if self.images < 1 or self.objects < 1:
            raise InputError("expected at least 1 image and 1 object: --images 10000 --objects 150")
        if not 0 <= self.saving < 1:
            raise InputError(f"--saving is {self.saving:g}: expected a share from 0 up to 1, such as 0.1")


@dataclass(frozen=True, slots=True)
class Judged:
    """One class.

    Attributes:
        name: of the class.
        verdict: ship the prompt as it is; pre-label and correct; collect and train; don't; unknown without an object.
        firm: both ends of the intervals lead to the verdict.
        objects: that people marked.
        images: that hold one.
        reviewed: images in all.
        found, false, missed: boxes that are right, boxes that are wrong, objects without a box.
        moved: found boxes that people would have to pull into place.
        precision, recall: of the prompt; None without a box, without an object.
        precision_interval, recall_interval: 95 %, images drawn again; from counts alone where every image agrees.
        seconds: for one image, to correct what the prompt says about this class; None without an object.
        seconds_by_hand: for one image, to draw this class from nothing.
        ratio_interval: 95 % of seconds ÷ seconds_by_hand; None where that is not defined.
        expected: objects of the class among all images to label.
    """

    name: str
    verdict: Verdict
    firm: bool
    objects: int
    images: int
    reviewed: int
    found: int
    false: int
    missed: int
    moved: int
    precision: float | None
    recall: float | None
    precision_interval: Bounds | None
    recall_interval: Bounds | None
    seconds: float
    seconds_by_hand: float
    ratio_interval: Bounds | None
    expected: float


@dataclass(frozen=True, slots=True)
class Feasibility:
    """Everything that is said about a prompt.

    Attributes:
        images: that it was judged on.
        classes: in the order of the ontology.
        actions: regions to add, delete, move and relabel in an image, by action.
        seconds_per_image: to correct pre-labels, the look at the image included.
        seconds_by_hand: to label an image from nothing, likewise.
        seconds: of each action.
    """

    images: int
    classes: tuple[Judged, ...]
    actions: dict[str, float]
    seconds_per_image: float
    seconds_by_hand: float
    seconds: Seconds


def judge(
    gold: Sequence[GoldImage],
    opinions: Sequence[Opinion],
    names: Sequence[str],
    seconds: Seconds,
    wanted: Wanted,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Feasibility:
    """Judge every class.

    A box is right where it overlaps an object of its class by half (IoU 0.5), one to one. Of the boxes that are left,
    one that overlaps an object of another class that is left is relabelled, others are deleted; objects that are left
    are added.

    Args:
        gold: what people said.
        opinions: what the teacher says about the same images, in the same order, filtered as it would be.
        names: of the classes.
        seconds: of each action.
        wanted: of the prompt.
        resamples: how often the images are drawn again.
        seed: of the draws.

    Raises:
        InputError: the two do not speak of the same images.
    """
    if [one.sha256 for one in gold] != [one.sha256 for one in opinions]:
        raise InputError("expected opinions about the reviewed images, in their order")
    table = np.zeros((len(gold), len(names), 6))
    for row, (true, said) in enumerate(zip(gold, opinions, strict=True)):
        _count(table[row], true, said)
    classes = tuple(
        _judged(name, table[:, k], seconds, wanted, resamples=resamples, seed=seed) for k, name in enumerate(names)
    )
    found, false, missed, moved, relabelled, _ = table.sum(axis=(0, 1)) / max(len(gold), 1)
    actions = dict(zip(_ACTIONS, (missed - relabelled, false - relabelled, moved, relabelled), strict=True))
    work = sum(actions[name] * getattr(seconds, name) for name in _ACTIONS)
    by_hand = (found + missed) * seconds.add
    return Feasibility(len(gold), classes, actions, work + seconds.look, by_hand + seconds.look, seconds)


def _count(cells: Numbers, true: GoldImage, said: Opinion) -> None:
    """Add found, false, missed, moved, relabelled and mistaken of one image to (classes, 6) cells.

    A relabelled box is false and mistaken for the class that it names, missed and relabelled for that of the object.
    """
    left_said = set(range(len(said.class_ids)))
    left_true = set(range(len(true.class_ids)))
    for k in range(len(cells)):
        mine, theirs = np.flatnonzero(said.class_ids == k), np.flatnonzero(true.class_ids == k)
        if len(mine) and len(theirs):
            for i, j, overlap in match(said.boxes_xyxy[mine], true.boxes_xyxy[theirs], min_iou=_FOUND):
                cells[k, 0] += 1
                cells[k, 3] += overlap < CLOSE
                left_said.discard(int(mine[i]))
                left_true.discard(int(theirs[j]))
    boxes, objects = sorted(left_said), sorted(left_true)
    for i in boxes:
        cells[said.class_ids[i], 1] += 1
    for j in objects:
        cells[true.class_ids[j], 2] += 1
    if boxes and objects:
        for i, j, _overlap in match(said.boxes_xyxy[boxes], true.boxes_xyxy[objects], min_iou=_FOUND):
            cells[true.class_ids[objects[j]], 4] += 1
            cells[said.class_ids[boxes[i]], 5] += 1


def _judged(name: str, counts: Numbers, seconds: Seconds, wanted: Wanted, *, resamples: int, seed: int) -> Judged:
    """Judge one class from (images, 6) counts."""
    found, false, missed, moved = (float(value) for value in counts.sum(axis=0)[:4])
    images, objects = len(counts), found + missed
    precision, recall = _share(found, found + false), _share(found, objects)
    low, high = bootstrap(counts, lambda sums: _measures(sums, seconds), resamples=resamples, seed=seed)
    precision_interval = _interval(low[0], high[0], found, found + false)
    recall_interval = _interval(low[1], high[1], found, objects)
    measures = _measures(counts.sum(axis=0, keepdims=True), seconds)[0]
    ratio = float(measures[2])
    ratio_interval = None
    if recall is not None and recall_interval is not None:
        # Images that all agree draw no interval; that of the recall moves the work with it.
        per_found = 1 - (seconds.move / seconds.add * moved / found if found and seconds.add else 0.0)
        by_recall = [ratio + (recall - end) * per_found for end in recall_interval]
        ends = [float(end) for end in (low[2], high[2], *by_recall) if np.isfinite(end)]
        ratio_interval = (max(min(ends), 0.0), max(ends))
    expected = objects / max(images, 1) * wanted.images
    verdict, firm = _verdict(precision_interval, recall_interval, ratio, ratio_interval, expected, wanted)
    return Judged(
        name,
        verdict if objects else "unknown",
        firm and bool(objects),
        int(objects),
        int(((counts[:, 0] + counts[:, 2]) > 0).sum()),
        images,
        int(found),
        int(false),
        int(missed),
        int(moved),
        precision,
        recall,
        precision_interval,
        recall_interval,
        float(measures[3]) / max(images, 1),
        float(measures[4]) / max(images, 1),
        ratio_interval,
        expected,
    )


def _measures(sums: Numbers, seconds: Seconds) -> Numbers:
    """Return precision, recall, work ÷ work by hand, work and work by hand of (resamples, 6) sums of counts."""
    found, false, missed, moved, relabelled, mistaken = sums.T
    work = (missed - relabelled) * seconds.add + relabelled * seconds.relabel
    work = work + (false - mistaken) * seconds.delete + moved * seconds.move
    by_hand = (found + missed) * seconds.add
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = [found / (found + false), found / (found + missed), work / by_hand]
    defined = [np.where(np.isfinite(one), one, np.nan) for one in shares]
    return np.stack([*defined, work, by_hand], axis=1)


def _verdict(
    precision: Bounds | None,
    recall: Bounds | None,
    ratio: float,
    ratio_interval: Bounds | None,
    expected: float,
    wanted: Wanted,
) -> tuple[Verdict, bool]:
    """Return the verdict, and whether both ends of the intervals lead to it.

    What nobody will look at again has to be good at the lower end of its intervals. Between ways that people look at
    anyway the likeliest is chosen.
    """

    def at(end: int, work: float) -> Verdict:
        if precision and recall and min(precision[end], recall[end]) >= wanted.good:
            return "ship"
        if work <= 1 - wanted.saving:
            return "correct"
        return "train" if expected >= wanted.objects else "dont"

    low, high = (ratio, ratio) if ratio_interval is None else ratio_interval
    verdict = at(0, ratio)
    return verdict, verdict == at(0, high) == at(1, low)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _interval(low: float, high: float, part: float, whole: float) -> Bounds | None:
    """Return the bootstrap interval, widened to that of the counts: images that all agree draw no interval at all."""
    counted = interval(int(part), int(whole))
    if counted is None:
        return None
    if not np.isfinite(low):
        return counted
    return min(float(low), counted[0]), max(float(high), counted[1])
