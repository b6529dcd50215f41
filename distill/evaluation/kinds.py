"""Kinds of images and sizes of objects that a student may see less well in than in others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..balance import LARGE_AREA, SMALL_AREA
from ..curation.photo_facts import PhotoFacts
from ..curation.slices import limits
from ..objects import Objects
from .coco import Size
from .table import Flags, Numbers

_CROWDED = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Some of the images.

    Attributes:
        about: light, sharpness or number of objects.
        name: such as "dark".
        rule: what makes an image one of them, for people.
        members: (images,) which of them it holds.
    """

    about: str
    name: str
    rule: str
    members: Flags


def kinds_of(truth: Sequence[Objects], facts: Mapping[str, PhotoFacts] | None) -> tuple[Kind, ...]:
    """Return the kinds by light and sharpness, of images that have facts, and by number of objects.

    Args:
        truth: what is there; one per image.
        facts: by sha256; limits are chosen from all of them, so they may be of more images than are here.
    """
    return (*_of_photos(truth, facts or {}), *_of_crowds(truth))


def sizes_of(areas: Numbers) -> tuple[tuple[Size, str, Flags], ...]:
    """Return name, rule and members, (m,), of small, medium and large objects; the borders of COCO."""
    small, large = areas < SMALL_AREA, areas >= LARGE_AREA
    return (
        ("small", "area under 32 x 32 pixels", small),
        ("medium", "area from 32 x 32 to 96 x 96 pixels", ~small & ~large),
        ("large", "area of at least 96 x 96 pixels", large),
    )


def _of_photos(truth: Sequence[Objects], facts: Mapping[str, PhotoFacts]) -> tuple[Kind, ...]:
    if not any(one.sha256 in facts for one in truth):
        return ()
    border = limits(facts.values())
    rules = border.rules
    found = [set(border.kinds(facts[one.sha256])) if one.sha256 in facts else {"unknown"} for one in truth]

    def holding(*names: str) -> Flags:
        return np.array([bool(kinds & set(names)) for kinds in found])

    return (
        Kind("light", "dark", rules["dark"], holding("dark")),
        Kind("light", "ordinary", "neither dark nor bright", ~holding("dark", "bright", "unknown")),
        Kind("light", "bright", rules["bright"], holding("bright")),
        Kind("sharpness", "blurred", rules["blurred"], holding("blurred")),
        Kind("sharpness", "sharp", "neither blurred nor too flat to tell", ~holding("blurred", "flat", "unknown")),
    )


def _of_crowds(truth: Sequence[Objects]) -> tuple[Kind, ...]:
    many = np.array([len(one) for one in truth], dtype=np.int64)
    if not many.any():
        return ()
    border = int(np.quantile(many[many > 0], _CROWDED, method="higher"))
    return (
        Kind("number of objects", "few", f"1 to {border}", (many > 0) & (many <= border)),
        Kind("number of objects", "crowded", f"more than {border}, as in the fullest quarter", many > border),
    )
