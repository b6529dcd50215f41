"""Average precision of some objects or images: by size, by light, by sharpness, by number of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..curation.photo_facts import PhotoFacts
from ..objects import Objects
from .coco import CocoNumbers
from .kinds import kinds_of, sizes_of
from .resampling import Bounds, average_precisions, bounds, mean_of, resampled
from .table import LEVELS, Table


@dataclass(frozen=True, slots=True)
class SizeEvaluation:
    """Objects of one size; found objects of another size that answer none of them do not count against it.

    Attributes:
        name: small, medium or large.
        rule: what that means, for people.
        objects: that are there. COCO puts one of exactly 32 x 32 or 96 x 96 into both sizes; here it is in the larger.
        ap50, ap50_95, ar100: as for a class, as a mean over the classes that have such objects; None without any.
    """

    name: str
    rule: str
    objects: int
    ap50: float | None
    ap50_95: float | None
    ar100: float | None


@dataclass(frozen=True, slots=True)
class SliceEvaluation:
    """Images of one kind.

    Attributes:
        about: light, sharpness or number of objects.
        name: such as "dark".
        rule: what makes an image one of them, for people.
        images: how many.
        objects: in them.
        ap50: mean over the classes that are there; None without objects.
        ap50_interval: 95 %, images of the kind drawn again.
    """

    about: str
    name: str
    rule: str
    images: int
    objects: int
    ap50: float | None
    ap50_interval: Bounds | None


def by_size(table: Table, numbers: CocoNumbers) -> tuple[SizeEvaluation, ...]:
    """Return small, medium and large objects."""
    return tuple(
        SizeEvaluation(
            size,
            rule,
            int(members.sum()),
            numbers.ap(level=0, size=size),
            numbers.ap(size=size),
            numbers.ar(size=size),
        )
        for size, rule, members in sizes_of(table.truth_area)
    )


def by_kind(
    table: Table, truth: Sequence[Objects], facts: Mapping[str, PhotoFacts] | None, resamples: int, seed: int
) -> tuple[SliceEvaluation, ...]:
    """Return the kinds of images, see ``kinds_of``."""
    found = []
    for kind in kinds_of(truth, facts):
        part = table.of(kind.members)
        value = float(mean_of(average_precisions(part, np.ones((1, part.images)), LEVELS[:1]))[0])
        spread = resampled(part, levels=LEVELS[:1], resamples=resamples, seed=seed)
        found.append(
            SliceEvaluation(
                kind.about,
                kind.name,
                kind.rule,
                part.images,
                len(part.truth_class),
                None if np.isnan(value) else value,
                bounds(mean_of(spread), part.images),
            )
        )
    return tuple(found)
