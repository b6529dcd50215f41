"""What holds where only what reaches a score counts: right, false and missed, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from labeling.core.errors import InputError
from labeling.core.matching import bootstrap

from ..curation.photo_facts import PhotoFacts
from ..objects import Objects
from .backgrounds import Backgrounds, backgrounds
from .kinds import kinds_of, sizes_of
from .resampling import Bounds
from .table import Flags, Numbers, Table, check, matched

ALL = "all"


@dataclass(frozen=True, slots=True)
class Answers:
    """How one class, or all together, is answered at IoU 0.5.

    Attributes:
        name: of the class, or "all".
        score: from which found objects count; None for all classes where theirs differ.
        objects: that are there.
        right: found objects that answer one of them.
        false: found objects that answer none.
        missed: objects that nothing answers.
        precision: None where nothing was found.
        recall: None where nothing is there.
        f1: None where nothing is there.
        precision_interval, recall_interval, f1_interval: 95 %, images drawn again; None with fewer than two images.
    """

    name: str
    score: float | None
    objects: int
    right: int
    false: int
    missed: int
    precision: float | None
    recall: float | None
    f1: float | None
    precision_interval: Bounds | None
    recall_interval: Bounds | None
    f1_interval: Bounds | None


@dataclass(frozen=True, slots=True)
class Part:
    """How a kind of images or a size of objects is answered, all classes together.

    Attributes:
        about: light, sharpness, number of objects, or size.
        name: such as "dark".
        rule: what belongs to it, for people.
        images: of the kind; for a size those that hold such an object.
        objects: that are there.
        found: objects that are answered.
        recall: None without objects.
        recall_interval: 95 %, images drawn again.
        false_per_image: false alarms per image of the kind; None for a size.
    """

    about: str
    name: str
    rule: str
    images: int
    objects: int
    found: int
    recall: float | None
    recall_interval: Bounds | None
    false_per_image: float | None


@dataclass(frozen=True, slots=True, eq=False)
class AtThreshold:
    """What holds at an operating point.

    Attributes:
        images: how many.
        overall: all classes together: every object counts the same.
        classes: in the order of the names.
        confusion: (classes + 1, classes + 1) int64; rows are what is there, columns what was said of it, the last of
            each is background: objects that nobody named and names without an object. What answers its own class stands
            on the diagonal, so precision and recall can be read from it; of the rest the best found object takes the
            object that it overlaps most, whatever its class.
        backgrounds: images in which there is nothing.
        parts: kinds of images, and sizes of objects.
    """

    images: int
    overall: Answers
    classes: tuple[Answers, ...]
    confusion: npt.NDArray[np.int64]
    backgrounds: Backgrounds
    parts: tuple[Part, ...]


def at_threshold(
    truth: Sequence[Objects],
    found: Sequence[Objects],
    names: Sequence[str],
    score: float | Sequence[float],
    *,
    masks: bool = False,
    facts: Mapping[str, PhotoFacts] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> AtThreshold:
    """Count what is right, false and missed among found objects that reach a score.

    Args:
        truth: what is there; one per image.
        found: what somebody says of the same images, in the same order.
        names: the classes.
        score: from which found objects count, in [0, 1]; one for all or one for each class.
        masks: compare masks instead of boxes.
        facts: of photos, for parts by light and sharpness.
        resamples: how often the images are drawn again.
        seed: of the draws.

    Raises:
        InputError: the two do not speak of the same images, or the scores are not one or one per class.
    """
    if np.ndim(score) and len(np.atleast_1d(score)) != len(names):
        raise InputError(f"expected one score or one for each of {len(names)} classes, got {score}")
    scores: Numbers = np.broadcast_to(np.asarray(score, dtype=np.float64), len(names))
    check(truth, found, len(names))
    # What lies below takes part in nothing, not even in what is mistaken for what.
    table = matched(truth, [_reaching(one, scores) for one in found], len(names), masks=masks, most=None)
    overall = _answers(table, names, scores, resamples, seed)
    return AtThreshold(
        len(truth),
        overall[-1],
        tuple(overall[:-1]),
        _confusion(table),
        backgrounds(table),
        _parts(table, truth, facts, resamples, seed),
    )


def _reaching(objects: Objects, scores: Numbers) -> Objects:
    rows = np.flatnonzero(objects.scores >= scores[objects.class_ids])
    return replace(
        objects,
        boxes_xyxy=objects.boxes_xyxy[rows],
        class_ids=objects.class_ids[rows],
        scores=objects.scores[rows],
        rles=None if objects.rles is None else tuple(objects.rles[row] for row in rows),
    )


def _answers(table: Table, names: Sequence[str], scores: Numbers, resamples: int, seed: int) -> list[Answers]:
    """Return one for each class and one for all."""
    right = table.right[0]
    each = np.zeros((3, table.images, table.classes))  # objects, right and said
    each[0] = table.truths
    np.add.at(each[1], (table.image[right], table.class_id[right]), 1)
    np.add.at(each[2], (table.image, table.class_id), 1)
    each = np.concatenate([each, each.sum(axis=2, keepdims=True)], axis=2)
    sums = each.sum(axis=1).astype(int)
    by_image = each.transpose(1, 0, 2).reshape(table.images, 3 * each.shape[2])
    low, high = bootstrap(by_image, _rates, resamples=resamples, seed=seed)
    values = _rates(sums.reshape(1, -1))[0].reshape(3, -1)
    low, high = low.reshape(3, -1), high.reshape(3, -1)
    one_score = float(scores[0]) if len(set(scores.tolist())) == 1 else None
    return [
        Answers(
            name=name,
            score=level,
            objects=int(sums[0, k]),
            right=int(sums[1, k]),
            false=int(sums[2, k] - sums[1, k]),
            missed=int(sums[0, k] - sums[1, k]),
            precision=_known(values[0, k]),
            recall=_known(values[1, k]),
            f1=_known(values[2, k]),
            precision_interval=_interval(low[0, k], high[0, k]),
            recall_interval=_interval(low[1, k], high[1, k]),
            f1_interval=_interval(low[2, k], high[2, k]),
        )
        for k, (name, level) in enumerate(zip((*names, ALL), (*scores.tolist(), one_score), strict=True))
    ]


def _rates(sums: Numbers) -> Numbers:
    """Return precision, recall and F1, (r, 3k), of objects, right and said, (r, 3k)."""
    objects, right, said = np.asarray(sums, dtype=np.float64).reshape(len(sums), 3, -1).transpose(1, 0, 2)
    with np.errstate(invalid="ignore"):
        f1 = np.where(objects > 0, 2 * right / (objects + said), np.nan)
        return np.concatenate([right / said, right / objects, f1], axis=1)


def _confusion(table: Table) -> npt.NDArray[np.int64]:
    nothing = table.classes
    counted = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    answered = np.where(table.right[0], table.partner[0], table.mistaken)
    there = np.append(table.truth_class, nothing)[answered]  # -1 is the last: nothing
    np.add.at(counted, (there, table.class_id), 1)
    unnamed = np.ones(len(table.truth_class) + 1, dtype=bool)
    unnamed[answered] = False
    np.add.at(counted, (table.truth_class[unnamed[:-1]], nothing), 1)
    return counted


def _parts(
    table: Table, truth: Sequence[Objects], facts: Mapping[str, PhotoFacts] | None, resamples: int, seed: int
) -> tuple[Part, ...]:
    answered = np.zeros(len(table.truth_class), dtype=bool)
    answered[table.partner[0][table.right[0]]] = True
    false = np.bincount(table.image[~table.right[0]], minlength=table.images)

    def part(about: str, name: str, rule: str, members: Flags, objects: Flags, alarms: float | None) -> Part:
        each = np.stack(
            [
                np.bincount(table.truth_image[rows], minlength=table.images)[members]
                for rows in (objects, objects & answered)
            ],
            axis=1,
        )
        there, found = (int(value) for value in each.sum(axis=0))
        low, high = bootstrap(each, _recall, resamples=resamples, seed=seed)
        recall = found / there if there else None
        return Part(about, name, rule, len(each), there, found, recall, _interval(low[0], high[0]), alarms)

    found_parts = [
        part(
            kind.about,
            kind.name,
            kind.rule,
            kind.members,
            kind.members[table.truth_image],
            float(false[kind.members].mean()) if kind.members.any() else None,
        )
        for kind in kinds_of(truth, facts)
    ]
    for name, rule, objects in sizes_of(table.truth_area):
        holding = np.bincount(table.truth_image[objects], minlength=table.images) > 0
        found_parts.append(part("size", name, rule, holding, objects, None))
    return tuple(found_parts)


def _recall(sums: Numbers) -> Numbers:
    with np.errstate(invalid="ignore"):
        return sums[:, 1:] / sums[:, :1]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _interval(low: float, high: float) -> Bounds | None:
    return None if np.isnan(low) else (float(low), float(high))
